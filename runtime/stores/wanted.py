"""What a batch of writes asks about, and what the store holds of it.

An adapter fills `Known` with what `Wanted` names before the first write is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ..core.effects import LeaveLine
from ..feed_rows import FeedPruning, SubscriptionAck, SubscriptionCreation, SubscriptionDeletion, SubscriptionRow
from ..lifecycle_rows import DefinitionHead, LifecycleChange
from ..retention_rows import ExecutionDeletion, ExecutionPruning, JobBegin, LeftoverRemoval
from ..rows import (
    BuryInbox,
    DiscardLetter,
    ExecutionAppend,
    ExecutionRecord,
    ExecutionRef,
    InboxInsert,
    Request,
    RequeueLetter,
)
from ..trigger_rows import (
    EventAcceptance,
    EventExpansion,
    EventOutcome,
    ForgetJobs,
    JobUpdate,
    TriggerFiring,
    TriggerRow,
    WaitRow,
)
from ..writes import Write

DefinitionPlace: TypeAlias = tuple[str, str]
"""Tenant and definition id."""
LinePlace: TypeAlias = tuple[str, str, str]
"""Tenant, definition id, line."""
TriggerPlace: TypeAlias = tuple[str, str, str]
"""Tenant, definition id, trigger id."""
VersionPlace: TypeAlias = tuple[str, str, int]
"""Tenant, definition id, version; version 0: all of them."""
WaitPlace: TypeAlias = tuple[str, str, str]
"""Tenant, event name, event key."""


def requests_of(write: Write) -> tuple[Request, ...]:
    """The requests that a write stores by itself; a start that is part of it has its own."""
    match write:
        case (
            ExecutionAppend()
            | InboxInsert()
            | RequeueLetter()
            | DiscardLetter()
            | LifecycleChange()
            | EventAcceptance()
            | SubscriptionCreation()
            | SubscriptionAck()
            | SubscriptionDeletion()
            | ExecutionDeletion()
            | JobBegin()
        ):
            return write.requests
        case BuryInbox() | TriggerFiring() | EventExpansion() | JobUpdate() | ForgetJobs() | FeedPruning():
            return ()
        case ExecutionPruning() | LeftoverRemoval():
            return ()


class Wanted:
    """What a batch asks about."""

    def __init__(self, batch: Sequence[Write]) -> None:
        self.refs: set[ExecutionRef] = set()
        self.keys: set[int] = set()
        self.requests: set[tuple[str, str]] = set()
        self.history_ids: set[tuple[int, str]] = set()
        """(key, event id) to be looked for in histories."""
        self.event_ids: set[tuple[ExecutionRef, str]] = set()
        """To be looked for wherever an event id can be."""
        self.inbox: set[int] = set()
        self.letters: set[int] = set()
        self.definitions: set[DefinitionPlace] = set()
        self.tenants: set[str] = set()
        self.lines: set[LinePlace] = set()
        self.waits: dict[WaitPlace, int] = {}
        """How many waits are needed of each, beyond those of this batch."""
        self.published: set[tuple[str, str]] = set()
        self.outbox: set[int] = set()
        self.listeners: set[tuple[str, str]] = set()
        self.triggers: set[TriggerPlace] = set()
        self.trigger_sets: set[DefinitionPlace] = set()
        """Definitions of which all triggers are wanted."""
        self.open: set[VersionPlace] = set()
        """Where the open executions are to be counted."""
        self.subscriptions: set[tuple[str, str]] = set()
        self.subscribers: set[str] = set()
        """Tenants of which the subscriptions are to be counted."""
        self.pruned_refs: set[ExecutionRef] = set()
        self.pruned_keys: set[int] = set()
        """Executions that are to go."""
        self.secrets: set[int] = set()
        """Executions of which it is asked whether they have a key."""
        self.acknowledged: set[str] = set()
        """Tenants of which the subscription that is furthest behind is wanted."""
        for write in batch:
            self._add(write)

    def _add(self, write: Write) -> None:
        for request in requests_of(write):
            self.requests.add((request.tenant, request.request_id))
        match write:
            case ExecutionAppend():
                self._append(write)
            case InboxInsert():
                self.refs.add(write.ref)
                if write.event_id:
                    self.event_ids.add((write.ref, write.event_id))
            case BuryInbox():
                self.inbox.update(write.rows)
            case RequeueLetter() | DiscardLetter():
                self.letters.add(write.letter)
            case LifecycleChange():
                self._change(write)
            case TriggerFiring():
                self._firing(write)
            case EventAcceptance():
                self._acceptance(write)
            case EventExpansion():
                self.keys.update(offer.key for offer in write.offers)
            case SubscriptionCreation():
                self.subscriptions.add((write.row.tenant, write.row.subscription_id))
                self.subscribers.add(write.row.tenant)
            case SubscriptionAck() | SubscriptionDeletion():
                self.subscriptions.add((write.tenant, write.subscription_id))
                self.subscribers.add(write.tenant)
            case ExecutionDeletion():
                self.refs.add(write.ref)
                self.pruned_refs.add(write.ref)
            case ExecutionPruning():
                self.keys.update(write.keys)
                self.pruned_keys.update(write.keys)
                if write.patient:
                    self.acknowledged.add(write.tenant)
            case JobUpdate() | ForgetJobs() | FeedPruning() | LeftoverRemoval() | JobBegin():
                pass

    def _append(self, write: ExecutionAppend) -> None:
        if not write.key:
            self.refs.add(write.ref)
        else:
            self.keys.add(write.key)
            for event in write.events:
                if event.event_id:
                    self.history_ids.add((write.key, event.event_id))
            if write.secrets is not None or write.erases is not None:
                self.secrets.add(write.key)
        if write.consumed:
            self.inbox.update(write.consumed)
        if write.guard is not None:
            self.definitions.add((write.ref.tenant, write.guard.definition_id))
        if write.claims:
            self.lines.update(line_place(write, claim.line) for claim in write.claims)
        if write.head.ended_at:
            # Lines are left with the end alone, so that no other append is searched for it.
            self.lines.update(line_place(write, each.line) for each in write.effects if isinstance(each, LeaveLine))

    def _change(self, write: LifecycleChange) -> None:
        self.tenants.add(write.tenant)
        for change in write.changes:
            tenant, definition_id = place = (write.tenant, change.definition_id)
            self.definitions.add(place)
            self.listeners.update((tenant, name) for name, _ in change.listeners)
            if change.triggers is not None or change.pauses:
                self.trigger_sets.add(place)
            if change.idle is not None:
                self.open.update((tenant, definition_id, version) for version in change.idle or (0,))

    def _firing(self, write: TriggerFiring) -> None:
        self.definitions.add((write.tenant, write.guard.definition_id))
        self.triggers.add((write.tenant, write.definition_id, write.trigger_id))
        if write.start is not None:
            self._add(write.start)

    def _acceptance(self, write: EventAcceptance) -> None:
        self.published.add((write.tenant, write.event_id))
        self.listeners.add((write.tenant, write.name))
        if write.outbox:
            self.outbox.add(write.outbox)
        if write.key:
            place = (write.tenant, write.name, write.key)
            self.waits[place] = max(self.waits.get(place, 0), write.offers_max + 1)
        for start in write.starts:
            self._add(start.append)


def line_place(write: ExecutionAppend, line: str) -> LinePlace:
    """Where this execution's line is."""
    return (write.ref.tenant, write.head.definition_id, line)


class LetterPlace(NamedTuple):
    """Where a dead letter belongs."""

    tenant: str
    key: int
    event_id: str
    """Of an event that a caller enqueued; else empty."""


class Member(NamedTuple):
    """An execution in a line."""

    key: int
    ref: ExecutionRef


class KnownWaits:
    """The waits for events of one name and key, by execution's key and path, in the order of their ids."""

    def __init__(self, rows: Sequence[WaitRow], limit: int) -> None:
        self.rows = {(row.key, row.path): row for row in rows}
        self.more_after = rows[-1].id if len(rows) >= limit else 0
        """The last id that was looked up, where there may be later ones; 0: this is all."""

    def opened(self, row: WaitRow) -> None:
        """A wait began. Where not all are here, it is one of the others."""
        if not self.more_after:
            self.rows[row.key, row.path] = row


class Known:
    """What the store holds of what a batch asks about; what is not here is not there."""

    def __init__(self, heads: dict[int, ExecutionRecord] | None = None) -> None:
        self.heads = heads if heads is not None else {}
        self.keys: dict[ExecutionRef, int] = {}
        self.requests: dict[tuple[str, str], Request] = {}
        self.history_ids: set[tuple[int, str]] = set()
        self.waiting_ids: set[tuple[int, str]] = set()
        """Event ids in the inbox or among the dead letters."""
        self.inbox: dict[int, int] = {}
        """The execution's key of each row."""
        self.letters: dict[int, LetterPlace] = {}
        self.definitions: dict[DefinitionPlace, DefinitionHead] = {}
        self.revisions: dict[str, int] = {}
        self.lines: dict[LinePlace, list[Member]] = {}
        """In order; the first one runs. Every line that was asked for is here."""
        self.waits: dict[WaitPlace, KnownWaits] = {}
        """Every place that was asked for is here."""
        self.published: dict[tuple[str, str], tuple[EventOutcome, int]] = {}
        """With the time until which it is remembered."""
        self.outbox: set[int] = set()
        self.listeners: dict[tuple[str, str], int] = {}
        self.triggers: dict[TriggerPlace, TriggerRow] = {}
        self.open: dict[VersionPlace, int] = {}
        """Every place that was asked for is here."""
        self.subscriptions: dict[tuple[str, str], SubscriptionRow] = {}
        self.subscription_counts: dict[str, int] = {}
        """Every tenant that was asked for is here."""
        self.last_positions: dict[int, int] = {}
        """Of the executions that are to go: the position of each one's last event."""
        self.emitting: set[int] = set()
        """Executions that are to go and have emitted events which are not accepted yet."""
        self.acknowledged: dict[str, int] = {}
        """Up to where all subscriptions of a tenant have acknowledged; not here: it has none."""
        self.gone: set[int] = set()
        """Executions that went with this batch."""
        self.secrets: set[int] = set()
        """Executions that have a key."""
        self.wiped = False
        """Something was erased with this batch that may not stay in any file."""

    def to_prune(self, wanted: Wanted) -> set[int]:
        """The keys of the executions that are to go."""
        named = {self.keys[ref] for ref in wanted.pruned_refs if ref in self.keys}
        return named | {key for key in wanted.pruned_keys if key in self.heads}
