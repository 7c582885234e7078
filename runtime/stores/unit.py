"""What a batch of writes comes to: the rules of the store, applied in order of arrival, without touching a table.

An adapter looks up what a batch asks about (`Wanted` -> `Known`), lets `Unit.add` judge write after write, and carries
out the `Changes` that are left. `Known` moves along with every accepted write, so that the next one in the batch is
judged on what it will find. A write that is refused leaves no trace in either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, cast
from zlib import crc32

import msgspec

from ..core.effects import (
    BuryEvent,
    ClearTimer,
    CloseExecution,
    CloseTask,
    Continue,
    Effect,
    OpenTask,
    RequestCancel,
    SetTimer,
)
from ..core.state import ENDED
from ..core.values import Value, encode
from ..ports import (
    BuryInbox,
    Committed,
    DefinitionChange,
    DefinitionEvent,
    DefinitionHead,
    DefinitionVersion,
    DiscardLetter,
    ExecutionAppend,
    ExecutionRecord,
    ExecutionRef,
    Head,
    InboxInsert,
    InboxKind,
    Lost,
    Outcome,
    Request,
    RequeueLetter,
    Snapshot,
    StoredEvent,
    Why,
    Write,
)

SNAPSHOTS_KEPT = 2
_SHARDS = 1024


@lru_cache(maxsize=8192)
def shard_of(ref: ExecutionRef) -> int:
    """The fixed shard of an execution: rows keep it, so this function can never change."""
    return crc32(f"{ref.tenant}\0{ref.execution_id}".encode()) % _SHARDS


def time_of(write: Write) -> int:
    """When the write was decided, in microseconds since the epoch; 0: it does not say."""
    match write:
        case ExecutionAppend():
            return write.events[-1].created_at if write.events else write.head.updated_at
        case InboxInsert() | RequeueLetter():
            return write.accepted_at
        case BuryInbox():
            return write.died_at
        case DefinitionChange():
            return write.at
        case DiscardLetter():
            return 0


def _requests_of(write: Write) -> tuple[Request, ...]:
    return () if isinstance(write, BuryInbox) else write.requests


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
        self.definitions: set[tuple[str, str]] = set()
        self.tenants: set[str] = set()
        for write in batch:
            self._add(write)

    def _add(self, write: Write) -> None:
        for request in _requests_of(write):
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
            case DefinitionChange():
                self.definitions.add((write.tenant, write.definition_id))
                self.tenants.add(write.tenant)

    def _append(self, write: ExecutionAppend) -> None:
        if not write.key:
            self.refs.add(write.ref)
        else:
            self.keys.add(write.key)
            for event in write.events:
                if event.event_id:
                    self.history_ids.add((write.key, event.event_id))
        if write.consumed:
            self.inbox.update(write.consumed)
        if write.guard is not None:
            self.definitions.add((write.ref.tenant, write.guard.definition_id))


class LetterPlace(NamedTuple):
    """Where a dead letter belongs."""

    tenant: str
    key: int
    event_id: str


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
        self.definitions: dict[tuple[str, str], DefinitionHead] = {}
        self.revisions: dict[str, int] = {}


class Counters(msgspec.Struct):
    """The last numbers given; they never fall, so that no number is used twice."""

    execution: int = 0
    position: int = 0
    inbox: int = 0

    def copy(self) -> Counters:
        """For a batch that may yet be rolled back."""
        return Counters(self.execution, self.position, self.inbox)


class TaskRow(NamedTuple):
    """One row of open_tasks, in the order of its columns."""

    key: int
    path: str
    shard: int
    operation: str
    attempt: int
    scheduled: int
    priority: int
    attempt_timeout: int
    since: int
    cancel_requested: bool


class InboxEntry(NamedTuple):
    """One row of inbox, in the order of its columns."""

    id: int
    key: int
    shard: int
    kind: str
    event_id: str
    name: str
    payload: bytes
    context: bytes
    accepted_at: int


class Buried(NamedTuple):
    """An event of a history that becomes a dead letter."""

    ref: ExecutionRef
    key: int
    event_id: str
    name: str
    payload: bytes
    cause: str
    died_at: int


class Changes:
    """What has to become of the tables. The parts are carried out in this order."""

    def __init__(self) -> None:
        self.executions: list[ExecutionRecord] = []
        self.heads: dict[int, tuple[ExecutionRecord, Head]] = {}
        """As stored, and as it will be."""
        self.events: list[tuple[int, int, StoredEvent]] = []
        """Position, execution's key, event."""
        self.requests: list[Request] = []
        self.snapshots: list[tuple[int, Snapshot]] = []
        self.inbox: list[InboxEntry] = []
        self.requeued: list[tuple[int, int, int, int]] = []
        """Inbox id, letter, shard, accepted at."""
        self.letters_gone: list[int] = []
        self.inbox_buried: list[tuple[int, str, str, str, int]] = []
        """Inbox id, tenant, cause, message, died at."""
        self.inbox_gone: list[int] = []
        self.closed: dict[int, int] = {}
        """When each execution ended: its tasks and timers go, its inbox becomes dead letters."""
        self.cancels: dict[tuple[int, str], None] = {}
        self.tasks: defaultdict[int, dict[str, TaskRow | None]] = defaultdict(dict)
        """By execution and path; None: the row goes."""
        self.step_timers_gone: dict[tuple[int, str], None] = {}
        self.timers: defaultdict[int, dict[tuple[str, str], tuple[int, int] | None]] = defaultdict(dict)
        """By execution, path and name: shard and due time; None: the row goes."""
        self.buried: list[Buried] = []
        self.definitions: list[DefinitionHead] = []
        self.versions: list[tuple[str, str, DefinitionVersion]] = []
        self.definition_events: list[tuple[str, str, DefinitionEvent]] = []


class Unit:
    """Judges the writes of a batch and adds up what they change."""

    def __init__(self, known: Known, counters: Counters) -> None:
        self.known = known
        self.counters = counters
        self.changes = Changes()
        self.now = 0
        """The latest time any write of the batch was decided at."""

    def add(self, write: Write) -> Outcome:
        """Take the write in, or say why not."""
        at = time_of(write)
        self.now = max(self.now, at)
        requests = _requests_of(write)
        if requests and (lost := self._repeated(requests, at or self.now)) is not None:
            return lost
        match write:
            case ExecutionAppend():
                outcome = self._append(write, at)
            case InboxInsert():
                outcome = self._accept(write)
            case BuryInbox():
                outcome = self._bury(write)
            case RequeueLetter():
                outcome = self._requeue(write)
            case DiscardLetter():
                outcome = self._discard(write)
            case DefinitionChange():
                outcome = self._define(write)
        if requests and isinstance(outcome, Committed):
            for request in requests:
                self.known.requests[request.tenant, request.request_id] = request
                self.changes.requests.append(request)
        return outcome

    def _repeated(self, requests: Iterable[Request], at: int) -> Lost | None:
        for request in requests:
            stored = self.known.requests.get((request.tenant, request.request_id))
            if stored is not None and stored.expires_at > at:
                return Lost(Why.DUPLICATE_REQUEST, f"request {request.request_id!r} is stored already", stored)
        return None

    # -- executions --------------------------------------------------------------------------------------------

    def _append(self, write: ExecutionAppend, at: int) -> Outcome:
        lost = self._refuse_append(write)
        if lost is not None:
            return lost
        changes, known, key = self.changes, self.known, write.key
        if not key:
            key = self.counters.execution = self.counters.execution + 1
            record = ExecutionRecord(write.ref, key, write.head)
            known.keys[write.ref] = key
            changes.executions.append(record)
        elif write.events:
            record = ExecutionRecord(write.ref, key, write.head)
            stored, _ = changes.heads.get(key, (known.heads[key], None))
            changes.heads[key] = (stored, write.head)
        else:
            record = known.heads[key]
        known.heads[key] = record
        position = 0
        for event in write.events:
            position = self.counters.position = self.counters.position + 1
            changes.events.append((position, key, event))
            if event.event_id:
                known.history_ids.add((key, event.event_id))
        for row in write.consumed:
            known.inbox.pop(row, None)
        changes.inbox_gone += write.consumed
        if write.snapshot is not None:
            changes.snapshots.append((key, write.snapshot))
        if write.effects:
            self._effects(write.ref, key, write.effects, at)
        return Committed(key=key, position=position)

    def _refuse_append(self, write: ExecutionAppend) -> Lost | None:
        known, key = self.known, write.key
        if not key:
            if write.ref in known.keys:
                return Lost(Why.EXISTS, f"execution {write.ref.execution_id!r} exists")
            sequence = 0
        else:
            record = known.heads.get(key)
            if record is None:
                return Lost(Why.NOT_FOUND, f"there is no execution {write.ref.execution_id!r}")
            sequence = record.head.sequence
        if write.expected != sequence:
            return Lost(Why.SEQUENCE, f"expected sequence {write.expected}, stored is {sequence}")
        if (guard := write.guard) is not None:
            definition = known.definitions.get((write.ref.tenant, guard.definition_id))
            if definition is None or definition.revision != guard.revision:
                return Lost(Why.REVISION, f"definition {guard.definition_id!r} has changed since")
        for row in write.consumed:
            if not self._waits(row, key):
                return Lost(Why.SEQUENCE, f"inbox row {row} has been worked off already")
        return self._refuse_events(write, key, sequence)

    def _refuse_events(self, write: ExecutionAppend, key: int, sequence: int) -> Lost | None:
        seen: set[str] = set()
        for event in write.events:
            sequence += 1
            if event.sequence != sequence:
                return Lost(Why.ROW, f"event {event.sequence} stands where {sequence} was due")
            if event.event_id:
                if event.event_id in seen or (key, event.event_id) in self.known.history_ids:
                    return Lost(Why.DUPLICATE_EVENT, f"event id {event.event_id!r} is stored already")
                seen.add(event.event_id)
        if write.events and write.head.sequence != sequence:
            return Lost(Why.ROW, f"the head says sequence {write.head.sequence}, the last event is {sequence}")
        return None

    def _effects(self, ref: ExecutionRef, key: int, effects: Iterable[Effect], at: int) -> None:
        changes, shard = self.changes, shard_of(ref)
        tasks = changes.tasks[key]
        for effect in effects:
            match effect:
                case OpenTask(path=path):
                    tasks[path] = TaskRow(
                        key,
                        path,
                        shard,
                        effect.operation,
                        effect.attempt,
                        effect.scheduled,
                        effect.priority,
                        effect.attempt_timeout,
                        at,
                        False,
                    )
                case CloseTask(path=path):
                    tasks[path] = None
                case RequestCancel(path=path):
                    self._cancel(key, path)
                case SetTimer(path=path, timer=timer):
                    changes.timers[key][path, timer] = (shard, effect.due)
                case ClearTimer(path=path, timer=""):
                    changes.step_timers_gone[key, path] = None
                    timers = changes.timers[key]
                    for place in [place for place in timers if place[0] == path]:
                        del timers[place]
                case ClearTimer(path=path, timer=timer):
                    changes.timers[key][path, timer] = None
                case Continue():
                    self._enter(ref, key, InboxKind.CONTINUE, at)
                case BuryEvent():
                    payload = encode(cast(Value, effect.payload))
                    changes.buried.append(Buried(ref, key, effect.event_id, effect.name, payload, effect.cause, at))
                case CloseExecution():
                    changes.closed[key] = at
                    tasks.clear()
                    changes.timers.pop(key, None)

    def _cancel(self, key: int, path: str) -> None:
        tasks = self.changes.tasks[key]
        if path not in tasks:
            self.changes.cancels[key, path] = None
            return
        row = tasks[path]
        if row is not None:
            tasks[path] = row._replace(cancel_requested=True)

    def _waits(self, row: int, key: int) -> bool:
        return self.known.inbox.get(row) == key and key not in self.changes.closed

    # -- inbox and dead letters --------------------------------------------------------------------------------

    def _enter(
        self,
        ref: ExecutionRef,
        key: int,
        kind: InboxKind,
        accepted_at: int,
        *,
        event_id: str = "",
        name: str = "",
        payload: bytes = b"null",
        context: bytes = b"{}",
    ) -> int:
        row = self.counters.inbox = self.counters.inbox + 1
        self.changes.inbox.append(
            InboxEntry(row, key, shard_of(ref), kind.value, event_id, name, payload, context, accepted_at)
        )
        return row

    def _accept(self, write: InboxInsert) -> Outcome:
        key = self.known.keys.get(write.ref)
        if key is None:
            return Lost(Why.NOT_FOUND, f"there is no execution {write.ref.execution_id!r}")
        if self.known.heads[key].head.status in ENDED:
            return Lost(Why.ENDED, f"execution {write.ref.execution_id!r} has ended")
        if write.event_id:
            place = (key, write.event_id)
            if place in self.known.history_ids or place in self.known.waiting_ids:
                return Lost(Why.DUPLICATE_EVENT, f"event id {write.event_id!r} is stored already")
            self.known.waiting_ids.add(place)
        row = self._enter(
            write.ref,
            key,
            InboxKind.EVENT,
            write.accepted_at,
            event_id=write.event_id,
            name=write.name,
            payload=write.payload,
            context=write.context,
        )
        return Committed(key=key, inbox_id=row)

    def _bury(self, write: BuryInbox) -> Outcome:
        there = [row for row in write.rows if self._waits(row, write.key)]
        if not there:
            return Lost(Why.NOT_FOUND, "none of these inbox rows is there any more")
        for row in there:
            del self.known.inbox[row]
            self.changes.inbox_buried.append((row, write.ref.tenant, write.cause, write.message, write.died_at))
            self.changes.inbox_gone.append(row)
        return Committed(key=write.key)

    def _requeue(self, write: RequeueLetter) -> Outcome:
        letter = self.known.letters.get(write.letter)
        if letter is None or letter.tenant != write.tenant:
            return Lost(Why.NOT_FOUND, f"there is no dead letter {write.letter}")
        record = self.known.heads.get(letter.key)
        if record is None:
            return Lost(Why.NOT_FOUND, "its execution is not stored any more")
        if record.head.status in ENDED:
            return Lost(Why.ENDED, f"execution {record.ref.execution_id!r} has ended")
        del self.known.letters[write.letter]
        row = self.counters.inbox = self.counters.inbox + 1
        self.changes.requeued.append((row, write.letter, shard_of(record.ref), write.accepted_at))
        self.changes.letters_gone.append(write.letter)
        return Committed(key=letter.key, inbox_id=row, ref=record.ref)

    def _discard(self, write: DiscardLetter) -> Outcome:
        letter = self.known.letters.get(write.letter)
        if letter is None or letter.tenant != write.tenant:
            return Lost(Why.NOT_FOUND, f"there is no dead letter {write.letter}")
        del self.known.letters[write.letter]
        self.known.waiting_ids.discard((letter.key, letter.event_id))
        self.changes.letters_gone.append(write.letter)
        return Committed(key=letter.key)

    # -- definitions -------------------------------------------------------------------------------------------

    def _define(self, write: DefinitionChange) -> Outcome:
        place = (write.tenant, write.definition_id)
        stored = self.known.definitions.get(place)
        sequence = stored.sequence if stored is not None else 0
        if write.expected != sequence:
            return Lost(Why.SEQUENCE, f"expected change {write.expected}, stored is {sequence}")
        latest = stored.latest if stored is not None else 0
        if write.version is not None:
            if write.version.version != latest + 1:
                return Lost(Why.ROW, f"version {write.version.version} does not follow {latest}")
            latest = write.version.version
        revision = self.known.revisions.get(write.tenant, 0) + 1
        head = DefinitionHead(
            write.tenant,
            write.definition_id,
            write.events[-1].sequence if write.events else sequence,
            write.published,
            latest,
            revision,
            write.draft,
            stored.created_at if stored is not None else write.at,
            write.at,
        )
        self.known.definitions[place] = head
        self.known.revisions[write.tenant] = revision
        self.changes.definitions.append(head)
        if write.version is not None:
            self.changes.versions.append((*place, write.version))
        stamped = (msgspec.structs.replace(event, revision=revision) for event in write.events)
        self.changes.definition_events += [(*place, event) for event in stamped]
        return Committed(revision=revision)
