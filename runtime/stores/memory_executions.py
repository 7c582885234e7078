"""The tables of executions in memory: what a batch asks about them, and what it changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from ..core.thinning import fallen_out
from ..rows import DeadLetter, ExecutionRecord, ExecutionRef, InboxKind, Request, Snapshot, StoredEvent
from .changes import Changes, InboxEntry, TaskRow
from .wanted import Known, LetterPlace, Wanted

K = TypeVar("K")
T = TypeVar("T")

_FORGOTTEN_PER_WRITE = 64


class History:
    """The events of one execution and where its callers' ids stand."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.ids: set[str] = set()


class Letter(NamedTuple):
    """A dead letter, and what else of the inbox row it was."""

    key: int
    letter: DeadLetter
    kind: str
    path: str


class ExecutionTables:
    """Executions, their histories, and what is open of them."""

    def __init__(self) -> None:
        self._letters_given = 0
        self.executions: dict[int, ExecutionRecord] = {}
        self.keys: dict[ExecutionRef, int] = {}
        self.histories: dict[int, History] = {}
        self.snapshots: dict[int, list[Snapshot]] = {}
        """Newest first."""
        self.tasks: dict[tuple[int, str], TaskRow] = {}
        self.timers: dict[tuple[int, str, str], int] = {}
        self.inbox: dict[int, InboxEntry] = {}
        self.letters: dict[int, Letter] = {}
        self.requests: dict[tuple[str, str], Request] = {}

    def look_up(self, wanted: Wanted, known: Known) -> None:
        """Add what is stored of what is wanted."""
        known.heads.update(found(self.executions, wanted.keys))
        known.keys.update(found(self.keys, wanted.refs))
        known.requests.update(found(self.requests, wanted.requests))
        known.inbox.update((row, entry.key) for row, entry in found(self.inbox, wanted.inbox))
        for number, (key, letter, kind, _) in found(self.letters, wanted.letters):
            event_id = letter.event_id if kind == InboxKind.EVENT else ""
            known.letters[number] = LetterPlace(letter.ref.tenant, key, event_id)
            known.heads[key] = self.executions[key]
        known.heads.update((key, self.executions[key]) for key in known.keys.values())
        waiting = [(self.keys[ref], event_id) for ref, event_id in wanted.event_ids if ref in self.keys]
        for key, event_id in (*wanted.history_ids, *waiting):
            if key in self.histories and event_id in self.histories[key].ids:
                known.history_ids.add((key, event_id))
        if waiting:
            known.waiting_ids.update((entry.key, entry.event_id) for entry in self.inbox.values())
            letters = (each for each in self.letters.values() if each.kind == InboxKind.EVENT)
            known.waiting_ids.update((each.key, each.letter.event_id) for each in letters)
        self._count_open(wanted, known)

    def _count_open(self, wanted: Wanted, known: Known) -> None:
        for tenant, definition_id, version in wanted.open:
            keys = self.open_keys(tenant, definition_id, version)
            known.open[tenant, definition_id, version] = len(keys)

    def open_keys(self, tenant: str, definition_id: str, version: int) -> list[int]:
        """Executions that have not ended, by key; of one version, where it is not 0."""
        return [
            key
            for key, record in sorted(self.executions.items())
            if record.ref.tenant == tenant
            and record.head.definition_id == definition_id
            and version in (0, record.head.version)
            and not record.head.ended_at
        ]

    def carry_out(self, changes: Changes, now: int) -> None:
        """Make the changes."""
        self._write_executions(changes)
        self._write_requests(changes, now)
        self._write_inbox(changes)
        self._write_tasks(changes)
        self._bury_events(changes)

    def _write_executions(self, changes: Changes) -> None:
        for record in changes.executions:
            self.executions[record.key] = record
            self.keys[record.ref] = record.key
            self.histories[record.key] = History()
        for key, (stored, head) in changes.heads.items():
            self.executions[key] = ExecutionRecord(stored.ref, key, head)
        for position, key, event in changes.events:
            history = self.histories[key]
            history.events.append(msgspec.structs.replace(event, position=position, event_id=event.event_id or None))
            if event.event_id:
                history.ids.add(event.event_id)
        for key, snapshot in changes.snapshots:
            kept = [other for other in self.snapshots.get(key, []) if other.sequence != snapshot.sequence]
            kept.append(snapshot)
            kept.sort(key=lambda each: each.sequence, reverse=True)
            gone = fallen_out([each.sequence for each in reversed(kept)])
            self.snapshots[key] = [each for each in kept if each.sequence not in gone]

    def _write_requests(self, changes: Changes, now: int) -> None:
        for request in changes.requests:
            self.requests.pop((request.tenant, request.request_id), None)
            self.requests[request.tenant, request.request_id] = request
        expired = [place for place, request in list(self.requests.items())[:64] if request.expires_at <= now]
        for place in expired if changes.requests else ():
            del self.requests[place]

    def _write_inbox(self, changes: Changes) -> None:
        for entry in changes.inbox:
            self.inbox[entry.id] = entry
        for row, number, shard, accepted_at in changes.requeued:
            self.inbox[row] = _again(self.letters[number], row, shard, accepted_at)
        for number in changes.letters_gone:
            del self.letters[number]
        for row, _, cause, message, died_at in changes.inbox_buried:
            self._bury(self.inbox[row], cause, message, died_at)
        for row in changes.inbox_gone:
            self.inbox.pop(row, None)
        for key, died_at in changes.closed.items():
            self._close(key, died_at)

    def _bury(self, entry: InboxEntry, cause: str, message: str, died_at: int) -> None:
        number = self._letters_given = self._letters_given + 1
        letter = DeadLetter(
            number,
            self.executions[entry.key].ref,
            entry.published_id or entry.event_id,
            entry.name,
            entry.payload,
            entry.context,
            cause,
            message,
            entry.accepted_at,
            died_at,
        )
        self.letters[number] = Letter(entry.key, letter, entry.kind, entry.path)

    def _close(self, key: int, died_at: int) -> None:
        for entry in [entry for entry in self.inbox.values() if entry.key == key]:
            if entry.kind == InboxKind.EVENT:
                self._bury(entry, "EXECUTION_ENDED", "the execution ended before the event was processed", died_at)
            del self.inbox[entry.id]
        for task in [task for task in self.tasks if task[0] == key]:
            del self.tasks[task]
        for timer in [timer for timer in self.timers if timer[0] == key]:
            del self.timers[timer]

    def _write_tasks(self, changes: Changes) -> None:
        for place in changes.cancels:
            if place in self.tasks:
                self.tasks[place] = self.tasks[place]._replace(cancel_requested=True)
        for key, tasks in changes.tasks.items():
            for path, row in tasks.items():
                put(self.tasks, (key, path), row)
        for step in changes.step_timers_gone:
            for timer in [timer for timer in self.timers if timer[:2] == step]:
                del self.timers[timer]
        for key, timers in changes.timers.items():
            for (path, name), due in timers.items():
                put(self.timers, (key, path, name), due[1] if due is not None else None)

    def _bury_events(self, changes: Changes) -> None:
        for event in changes.buried:
            history = self.histories[event.key].events
            origin = next((each for each in history if each.event_id and each.event_id == event.event_id), None)
            context = context_at(history, origin.sequence) if origin is not None else None
            entry = InboxEntry(
                0,
                event.key,
                0,
                InboxKind.EVENT.value,
                event.event_id,
                event.name,
                event.payload,
                context or b"{}",
                origin.created_at if origin is not None else event.died_at,
                "",
                "",
            )
            self._bury(entry, event.cause, "the execution ended before a step took the event", event.died_at)


def _again(letter: Letter, row: int, shard: int, accepted_at: int) -> InboxEntry:
    """The inbox row that a dead letter was."""
    key, dead, kind, path = letter
    event_id, published_id = ("", dead.event_id) if kind == InboxKind.OFFER else (dead.event_id, "")
    return InboxEntry(
        row, key, shard, kind, event_id, dead.name, dead.payload, dead.context, accepted_at, path, published_id
    )


def found(table: dict[K, T], places: Iterable[K]) -> list[tuple[K, T]]:
    """What the table holds at these places."""
    return [(place, table[place]) for place in places if place in table]


def put(table: dict[K, T], place: K, row: T | None) -> None:
    """Replace the row, or take it away."""
    if row is None:
        table.pop(place, None)
    else:
        table[place] = row


def context_at(history: Sequence[StoredEvent], sequence: int) -> bytes | None:
    """The context of the command that caused an event."""
    return next((event.context for event in reversed(history[:sequence]) if event.context is not None), None)
