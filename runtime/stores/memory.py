"""The store in memory: the same rules and answers as in SQLite, and nothing survives. For tests and throw-away use.

It tells the truth about durability by having none: `write` answers at once, and closing loses all.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from ..ports import (
    Counts,
    DeadLetter,
    DefinitionEvent,
    DefinitionHead,
    DefinitionVersion,
    ExecutionQuery,
    ExecutionRecord,
    ExecutionRef,
    InboxKind,
    InboxRow,
    Lost,
    Outcome,
    Request,
    Snapshot,
    StoredEvent,
    StoreInfo,
    TaskRecord,
    TimerRecord,
    Why,
    Write,
)
from .unit import SNAPSHOTS_KEPT, Changes, Counters, InboxEntry, Known, LetterPlace, TaskRow, Unit, Wanted

T = TypeVar("T")


class _History:
    """The events of one execution and where its callers' ids stand."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.ids: set[str] = set()


class MemoryStore:
    """The `Store` port over dicts."""

    def __init__(self) -> None:
        self._info = StoreInfo(str(uuid.uuid4()), 1, 0, 1, secrets.token_bytes(32))
        self._counters = Counters()
        self._letters_given = 0
        self._executions: dict[int, ExecutionRecord] = {}
        self._keys: dict[ExecutionRef, int] = {}
        self._histories: dict[int, _History] = {}
        self._snapshots: dict[int, list[Snapshot]] = {}
        self._tasks: dict[tuple[int, str], TaskRow] = {}
        self._timers: dict[tuple[int, str, str], int] = {}
        self._inbox: dict[int, InboxEntry] = {}
        self._letters: dict[int, tuple[int, DeadLetter]] = {}
        """With the execution's key."""
        self._requests: dict[tuple[str, str], Request] = {}
        self._definitions: dict[tuple[str, str], DefinitionHead] = {}
        self._versions: dict[tuple[str, str], dict[int, DefinitionVersion]] = {}
        self._definition_events: dict[tuple[str, str], list[DefinitionEvent]] = {}
        self._revisions: dict[str, int] = {}

    async def open(self) -> StoreInfo:
        """Count the opening."""
        self._info = msgspec.structs.replace(self._info, boot=self._info.boot + 1)
        return self._info

    async def close(self) -> None:
        """Nothing to give back; the same object can be opened again, as after a restart."""

    # -- writing -----------------------------------------------------------------------------------------------

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        """All at once, or write by write where one of them raises."""
        try:
            return self._carry_out(batch)
        except Exception:  # noqa: BLE001 - whatever a write raised, only it may fail
            return [self._alone(write) for write in batch]

    async def probe(self) -> bool:
        """There is always room."""
        return True

    def _alone(self, write: Write) -> Outcome:
        try:
            return self._carry_out([write])[0]
        except Exception as error:  # noqa: BLE001 - whatever a write raised, only it may fail
            return Lost(Why.ROW, f"{type(error).__name__}: {error}")

    def _carry_out(self, batch: Sequence[Write]) -> list[Outcome]:
        unit = Unit(self._look_up(Wanted(batch)), self._counters.copy())
        outcomes = [unit.add(write) for write in batch]
        changes = unit.changes
        self._counters = unit.counters
        self._write_executions(changes)
        self._write_requests(changes, unit.now)
        self._write_inbox(changes)
        self._write_tasks(changes)
        self._bury_events(changes)
        self._write_definitions(changes)
        return outcomes

    def _look_up(self, wanted: Wanted) -> Known:
        known = Known(dict(_found(self._executions, wanted.keys)))
        known.keys.update(_found(self._keys, wanted.refs))
        known.requests.update(_found(self._requests, wanted.requests))
        known.definitions.update(_found(self._definitions, wanted.definitions))
        known.revisions.update(_found(self._revisions, wanted.tenants))
        known.inbox.update((row, self._inbox[row].key) for row in wanted.inbox if row in self._inbox)
        for number, (key, letter) in _found(self._letters, wanted.letters):
            known.letters[number] = LetterPlace(letter.ref.tenant, key, letter.event_id)
            known.heads[key] = self._executions[key]
        known.heads.update((key, self._executions[key]) for key in known.keys.values())
        waiting = [(self._keys[ref], event_id) for ref, event_id in wanted.event_ids if ref in self._keys]
        for key, event_id in (*wanted.history_ids, *waiting):
            if key in self._histories and event_id in self._histories[key].ids:
                known.history_ids.add((key, event_id))
        if waiting:
            known.waiting_ids.update((entry.key, entry.event_id) for entry in self._inbox.values())
            known.waiting_ids.update((key, letter.event_id) for key, letter in self._letters.values())
        return known

    def _write_executions(self, changes: Changes) -> None:
        for record in changes.executions:
            self._executions[record.key] = record
            self._keys[record.ref] = record.key
            self._histories[record.key] = _History()
        for key, (stored, head) in changes.heads.items():
            self._executions[key] = ExecutionRecord(stored.ref, key, head)
        for position, key, event in changes.events:
            history = self._histories[key]
            history.events.append(msgspec.structs.replace(event, position=position, event_id=event.event_id or None))
            if event.event_id:
                history.ids.add(event.event_id)
        for key, snapshot in changes.snapshots:
            kept = [other for other in self._snapshots.get(key, []) if other.sequence != snapshot.sequence]
            kept.append(snapshot)
            kept.sort(key=lambda each: each.sequence, reverse=True)
            self._snapshots[key] = kept[:SNAPSHOTS_KEPT]

    def _write_requests(self, changes: Changes, now: int) -> None:
        for request in changes.requests:
            self._requests.pop((request.tenant, request.request_id), None)
            self._requests[request.tenant, request.request_id] = request
        expired = [place for place, request in list(self._requests.items())[:64] if request.expires_at <= now]
        for place in expired if changes.requests else ():
            del self._requests[place]

    def _write_inbox(self, changes: Changes) -> None:
        for entry in changes.inbox:
            self._inbox[entry.id] = entry
        for row, number, shard, accepted_at in changes.requeued:
            key, letter = self._letters[number]
            self._inbox[row] = InboxEntry(
                row,
                key,
                shard,
                InboxKind.EVENT.value,
                letter.event_id,
                letter.name,
                letter.payload,
                letter.context,
                accepted_at,
            )
        for number in changes.letters_gone:
            del self._letters[number]
        for row, _, cause, message, died_at in changes.inbox_buried:
            self._bury(self._inbox[row], cause, message, died_at)
        for row in changes.inbox_gone:
            self._inbox.pop(row, None)
        for key, died_at in changes.closed.items():
            self._close(key, died_at)

    def _bury(self, entry: InboxEntry, cause: str, message: str, died_at: int) -> None:
        number = self._letters_given = self._letters_given + 1
        ref = self._executions[entry.key].ref
        self._letters[number] = (
            entry.key,
            DeadLetter(
                number,
                ref,
                entry.event_id,
                entry.name,
                entry.payload,
                entry.context,
                cause,
                message,
                entry.accepted_at,
                died_at,
            ),
        )

    def _close(self, key: int, died_at: int) -> None:
        for entry in [entry for entry in self._inbox.values() if entry.key == key]:
            if entry.kind == InboxKind.EVENT:
                self._bury(entry, "EXECUTION_ENDED", "the execution ended before the event was processed", died_at)
            del self._inbox[entry.id]
        for task in [task for task in self._tasks if task[0] == key]:
            del self._tasks[task]
        for timer in [timer for timer in self._timers if timer[0] == key]:
            del self._timers[timer]

    def _write_tasks(self, changes: Changes) -> None:
        for place in changes.cancels:
            if place in self._tasks:
                self._tasks[place] = self._tasks[place]._replace(cancel_requested=True)
        for key, tasks in changes.tasks.items():
            for path, row in tasks.items():
                _put(self._tasks, (key, path), row)
        for step in changes.step_timers_gone:
            for timer in [timer for timer in self._timers if timer[:2] == step]:
                del self._timers[timer]
        for key, timers in changes.timers.items():
            for (path, name), due in timers.items():
                _put(self._timers, (key, path, name), due[1] if due is not None else None)

    def _bury_events(self, changes: Changes) -> None:
        for event in changes.buried:
            history = self._histories[event.key].events
            origin = next((each for each in history if each.event_id and each.event_id == event.event_id), None)
            context = _context_at(history, origin.sequence) if origin is not None else None
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
            )
            self._bury(entry, event.cause, "the execution ended before a step took the event", event.died_at)

    def _write_definitions(self, changes: Changes) -> None:
        for head in changes.definitions:
            self._definitions[head.tenant, head.definition_id] = head
            self._revisions[head.tenant] = head.revision
        for tenant, definition_id, version in changes.versions:
            self._versions.setdefault((tenant, definition_id), {})[version.version] = version
        for tenant, definition_id, event in changes.definition_events:
            self._definition_events.setdefault((tenant, definition_id), []).append(event)

    # -- reading -----------------------------------------------------------------------------------------------

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """By tenant and id."""
        key = self._keys.get(ref)
        return self._executions[key] if key is not None else None

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """By key."""
        return self._executions.get(key)

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRecord]:
        """One page, newest first."""
        found = (
            self._executions[key]
            for key in sorted(self._executions, reverse=True)
            if (not query.before_key or key < query.before_key) and _matches(query, self._executions[key])
        )
        return [record for record, _ in zip(found, range(query.limit), strict=False)]

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """One page of a history."""
        history = self._histories[key].events if key in self._histories else []
        page = _fitting(history[after : after + limit], bytes_max)
        if page and page[0].context is None:
            page[0] = msgspec.structs.replace(page[0], context=_context_at(history, after + 1))
        return page

    async def snapshots(self, key: int) -> list[Snapshot]:
        """Newest first."""
        return list(self._snapshots.get(key, []))

    async def known_events(self, key: int, event_ids: Sequence[str]) -> set[str]:
        """Which of these the history holds."""
        return self._histories[key].ids.intersection(event_ids) if key in self._histories else set()

    async def requests(self, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
        """Those that have not expired."""
        found = _found(self._requests, [(tenant, request_id) for request_id in request_ids])
        return {place[1]: request for place, request in found if request.expires_at > now}

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        """By key and path."""
        rows = [self._tasks[place] for place in sorted(self._tasks) if place > after][:limit]
        return [TaskRecord(self._executions[row.key].ref, row.key, row.path, *row[3:]) for row in rows]

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Payloads of events."""
        return [self._payload(key, sequence) for key, sequence in wanted]

    def _payload(self, key: int, sequence: int) -> bytes | None:
        history = self._histories[key].events if key in self._histories else []
        return history[sequence - 1].payload if 0 < sequence <= len(history) else None

    async def timers(self, until: int, limit: int) -> list[TimerRecord]:
        """Those due first."""
        due = sorted((due, place) for place, due in self._timers.items() if due <= until)[:limit]
        return [TimerRecord(self._executions[key].ref, key, path, timer, at) for at, (key, path, timer) in due]

    async def inbox(self, key: int, limit: int) -> list[InboxRow]:
        """The oldest first."""
        rows = [self._inbox[row] for row in sorted(self._inbox) if self._inbox[row].key == key][:limit]
        return [InboxRow(row.id, InboxKind(row.kind), *row[4:]) for row in rows]

    async def inbox_executions(self, after_key: int, limit: int) -> list[tuple[int, ExecutionRef]]:
        """By key."""
        keys = sorted({row.key for row in self._inbox.values() if row.key > after_key})[:limit]
        return [(key, self._executions[key].ref) for key in keys]

    async def dead_letters(self, tenant: str, execution_id: str, after: int, limit: int) -> list[DeadLetter]:
        """By id."""
        return _first(
            (letter for number, (_, letter) in sorted(self._letters.items()) if number > after),
            lambda letter: letter.ref.tenant == tenant and execution_id in ("", letter.ref.execution_id),
            limit,
        )

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where it stands."""
        return self._definitions.get((tenant, definition_id))

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """By id."""
        heads = [self._definitions[place] for place in sorted(self._definitions)]
        return _first(heads, lambda head: head.tenant == tenant and head.definition_id > after, limit)

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One of them."""
        return self._versions.get((tenant, definition_id), {}).get(version)

    async def definition_versions(
        self, tenant: str, definition_id: str, below: int, limit: int
    ) -> list[DefinitionVersion]:
        """Newest first."""
        versions = self._versions.get((tenant, definition_id), {})
        numbers = sorted((number for number in versions if not below or number < below), reverse=True)[:limit]
        return [versions[number] for number in numbers]

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """In order."""
        events = self._definition_events.get((tenant, definition_id), [])
        later = _first(events, lambda event: event.sequence > after and event.revision > after_revision, limit)
        return _fitting(later, bytes_max)

    async def revision(self, tenant: str) -> int:
        """The tenant's last one."""
        return self._revisions.get(tenant, 0)

    async def counts(self) -> Counts:
        """Counted now."""
        return Counts(
            sum(not record.head.ended_at for record in self._executions.values()),
            len(self._tasks),
            len(self._timers),
            len(self._inbox),
            len(self._letters),
            len(self._definitions),
        )


K = TypeVar("K")
E = TypeVar("E", StoredEvent, DefinitionEvent)


def _fitting(events: Iterable[E], bytes_max: int) -> list[E]:
    page: list[E] = []
    size = 0
    for event in events:
        size += len(event.payload)
        if page and size > bytes_max:
            break
        page.append(event)
    return page


def _found(table: dict[K, T], places: Iterable[K]) -> list[tuple[K, T]]:
    return [(place, table[place]) for place in places if place in table]


def _put(table: dict[K, T], place: K, row: T | None) -> None:
    if row is None:
        table.pop(place, None)
    else:
        table[place] = row


def _first(rows: Iterable[T], wanted: Callable[[T], bool], limit: int) -> list[T]:
    return [row for row in rows if wanted(row)][:limit]


def _context_at(history: Sequence[StoredEvent], sequence: int) -> bytes | None:
    return next((event.context for event in reversed(history[:sequence]) if event.context is not None), None)


def _matches(query: ExecutionQuery, record: ExecutionRecord) -> bool:
    head = record.head
    labels = msgspec.json.decode(head.labels, type=dict[str, str])
    return (
        record.ref.tenant == query.tenant
        and (not query.statuses or head.status in query.statuses)
        and query.definition_id in ("", head.definition_id)
        and query.version in (0, head.version)
        and query.state in (None, head.state)
        and all(labels.get(name) == value for name, value in query.labels)
        and (query.incident is None or query.incident == (head.incidents > 0))
        and _between(head.started_at, query.started_after, query.started_before)
        and _between(head.updated_at, query.updated_after, query.updated_before)
    )


def _between(moment: int, after: int | None, before: int | None) -> bool:
    return (after is None or moment > after) and (before is None or moment < before)
