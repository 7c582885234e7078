"""The store in memory: the same rules and answers as in SQLite, and nothing survives. For tests and throw-away use.

It tells the truth about durability by having none: `write` answers at once, and closing loses all.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ..backup_rows import Progress, StoreCopy
from ..core.refusals import Kind, Refusal, Refused
from ..lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from ..rows import (
    Counts,
    DeadLetter,
    ExecutionRecord,
    ExecutionRef,
    InboxKind,
    InboxRow,
    Request,
    Snapshot,
    StoredEvent,
    StoreInfo,
    TaskRecord,
    TimerRecord,
)
from ..trigger_rows import EventOutcome, JobRow, JobState, OutboxRow, TriggerRow, WaitRow
from ..writes import Lost, Outcome, Why, Write
from .changes import Counters
from .memory_executions import ExecutionTables, context_at, found
from .memory_feeds import FeedReads, FeedTables
from .memory_lifecycle import LifecycleTables
from .memory_listing import MemoryListing
from .memory_retention import Retention, RetentionTables
from .memory_secrets import SecretReads, SecretTables
from .unit import Unit
from .unit_retention import parts
from .wanted import Known, Wanted

T = TypeVar("T")


class MemoryStore(FeedReads, MemoryListing, SecretReads, Retention):
    """The `Store` port over dicts."""

    def __init__(self) -> None:
        self._info = StoreInfo(str(uuid.uuid4()), 1, 0, 1, secrets.token_bytes(32))
        self._counters = Counters()
        self._executions = ExecutionTables()
        self._feeds = FeedTables()
        self._secrets = SecretTables(self._executions)
        self._lifecycle = LifecycleTables(lambda key: self._executions.executions[key].ref)
        self._retention = RetentionTables(self._executions, self._lifecycle, self._feeds)

    async def open(self) -> StoreInfo:
        """Count the opening."""
        self._info = msgspec.structs.replace(self._info, boot=self._info.boot + 1)
        return self._info

    async def close(self) -> None:
        """Nothing to give back; the same object can be opened again, as after a restart."""

    # -- writing -----------------------------------------------------------------------------------------------

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        """All at once, or write by write where one of them raises."""
        return [outcome for part in parts(batch) for outcome in self._write(part)]

    def _write(self, batch: Sequence[Write]) -> list[Outcome]:
        try:
            return self._carry_out(batch)
        except Exception:  # noqa: BLE001 - whatever a write raised, only it may fail
            return [self._alone(write) for write in batch]

    async def probe(self) -> bool:
        """There is always room."""
        return True

    async def back_up(self, target: Path | None, progress: Progress | None = None) -> StoreCopy:
        """There is nothing that a backup could protect."""
        message = "the store is in memory: it ends with its process, and there is nothing to make a backup of"
        raise Refused(Refusal(Kind.UNSUPPORTED, "UNSUPPORTED", message))

    def _alone(self, write: Write) -> Outcome:
        try:
            return self._carry_out([write])[0]
        except Exception as error:  # noqa: BLE001 - whatever a write raised, only it may fail
            return Lost(Why.ROW, f"{type(error).__name__}: {error}")

    def _carry_out(self, batch: Sequence[Write]) -> list[Outcome]:
        unit = Unit(self._look_up(Wanted(batch)), self._counters.copy())
        outcomes = [unit.add(write) for write in batch]
        self._counters = unit.counters
        self._secrets.carry_out(unit.changes)
        self._executions.carry_out(unit.changes, unit.now)
        self._lifecycle.carry_out(unit.changes, unit.now)
        self._feeds.carry_out(unit.changes)
        self._retention.carry_out(unit.changes)
        return outcomes

    def _look_up(self, wanted: Wanted) -> Known:
        known = Known()
        self._executions.look_up(wanted, known)
        self._lifecycle.look_up(wanted, known)
        self._feeds.look_up(wanted, known)
        self._retention.look_up(wanted, known)
        self._secrets.look_up(wanted, known)
        return known

    # -- reading -----------------------------------------------------------------------------------------------

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """By tenant and id."""
        key = self._executions.keys.get(ref)
        return self._executions.executions[key] if key is not None else None

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """By key."""
        return self._executions.executions.get(key)

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """One page of a history."""
        history = self._executions.histories[key].events if key in self._executions.histories else []
        page = _fitting(history[after : after + limit], bytes_max)
        if page and page[0].context is None:
            page[0] = msgspec.structs.replace(page[0], context=context_at(history, after + 1))
        return page

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """One page, as stored."""
        history = self._executions.histories[key].events if key in self._executions.histories else []
        return _fitting(history[after : after + limit], bytes_max)

    async def snapshot(self, key: int, until: int | None = None) -> Snapshot | None:
        """The newest at or before a sequence."""
        kept = self._executions.snapshots.get(key, [])
        return next((each for each in kept if until is None or each.sequence <= until), None)

    async def snapshots(self, key: int) -> list[Snapshot]:
        """Newest first."""
        return list(self._executions.snapshots.get(key, []))

    async def known_events(self, key: int, event_ids: Sequence[str]) -> set[str]:
        """Which of these the history holds."""
        return (
            self._executions.histories[key].ids.intersection(event_ids) if key in self._executions.histories else set()
        )

    async def requests(self, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
        """Those that have not expired."""
        stored = found(self._executions.requests, [(tenant, request_id) for request_id in request_ids])
        return {place[1]: request for place, request in stored if request.expires_at > now}

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        """By key and path."""
        rows = [self._executions.tasks[place] for place in sorted(self._executions.tasks) if place > after][:limit]
        return [TaskRecord(self._executions.executions[row.key].ref, row.key, row.path, *row[3:]) for row in rows]

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Payloads of events."""
        return [self._payload(key, sequence) for key, sequence in wanted]

    def _payload(self, key: int, sequence: int) -> bytes | None:
        history = self._executions.histories[key].events if key in self._executions.histories else []
        return history[sequence - 1].payload if 0 < sequence <= len(history) else None

    async def timers(self, until: int, limit: int) -> list[TimerRecord]:
        """Those due first."""
        due = sorted((due, place) for place, due in self._executions.timers.items() if due <= until)[:limit]
        return [
            TimerRecord(self._executions.executions[key].ref, key, path, timer, at) for at, (key, path, timer) in due
        ]

    async def inbox(self, key: int, limit: int, events: bool = True) -> list[InboxRow]:
        """The oldest first."""
        rows = [
            self._executions.inbox[row]
            for row in sorted(self._executions.inbox)
            if self._executions.inbox[row].key == key
            and (events or self._executions.inbox[row].kind != InboxKind.EVENT)
        ][:limit]
        return [InboxRow(row.id, InboxKind(row.kind), *row[4:]) for row in rows]

    async def inbox_executions(self, after_key: int, limit: int) -> list[tuple[int, ExecutionRef]]:
        """By key."""
        keys = sorted({row.key for row in self._executions.inbox.values() if row.key > after_key})[:limit]
        return [(key, self._executions.executions[key].ref) for key in keys]

    async def dead_letters(self, tenant: str, execution_id: str, after: int, limit: int) -> list[DeadLetter]:
        """By id."""
        return _first(
            (each.letter for number, each in sorted(self._executions.letters.items()) if number > after),
            lambda letter: letter.ref.tenant == tenant and execution_id in ("", letter.ref.execution_id),
            limit,
        )

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where it stands."""
        return self._lifecycle.definitions.get((tenant, definition_id))

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """By id."""
        heads = [self._lifecycle.definitions[place] for place in sorted(self._lifecycle.definitions)]
        return _first(heads, lambda head: head.tenant == tenant and head.definition_id > after, limit)

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One of them."""
        return self._lifecycle.versions.get((tenant, definition_id), {}).get(version)

    async def definition_versions(
        self, tenant: str, definition_id: str, below: int, limit: int
    ) -> list[DefinitionVersion]:
        """Newest first."""
        versions = self._lifecycle.versions.get((tenant, definition_id), {})
        numbers = sorted((number for number in versions if not below or number < below), reverse=True)[:limit]
        return [versions[number] for number in numbers]

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """In order."""
        events = self._lifecycle.definition_events.get((tenant, definition_id), [])
        later = _first(events, lambda event: event.sequence > after and event.revision > after_revision, limit)
        return _fitting(later, bytes_max)

    async def tenant_definition_events(
        self, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
    ) -> list[tuple[str, DefinitionEvent]]:
        """Of all definitions, in order."""
        events = [
            ((event.revision, definition_id, event.sequence), event)
            for (owner, definition_id), stream in self._lifecycle.definition_events.items()
            for event in stream
            if owner == tenant
        ]
        later = sorted((each for each in events if each[0] > after), key=lambda each: each[0])[:limit]
        page = _fitting((event for _, event in later), bytes_max)
        return [(place[1], event) for (place, _), event in zip(later, page, strict=False)]

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """With the revision of the last change to them."""
        rows = await self.triggers(tenant, "", event_name, ("", ""), len(self._lifecycle.triggers))
        return self._lifecycle.listeners.get((tenant, event_name), 0), rows

    async def triggers(
        self, tenant: str, definition_id: str, event_name: str, after: tuple[str, str], limit: int
    ) -> list[TriggerRow]:
        """Active ones, by definition and id."""
        return _first(
            self._lifecycle.active_triggers(),
            lambda row: (
                row.tenant == tenant
                and definition_id in ("", row.definition_id)
                and event_name in ("", row.event_name)
                and (row.definition_id, row.trigger_id) > after
            ),
            limit,
        )

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """Active or not."""
        return self._lifecycle.trigger((tenant, definition_id, trigger_id))

    async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
        """Schedules, those due first."""
        rows = sorted(self._lifecycle.active_triggers(), key=lambda row: row.due)
        return _first(rows, lambda row: not row.paused and 0 < row.due <= until, limit)

    async def line(self, tenant: str, definition_id: str, line: str, limit: int) -> list[ExecutionRef]:
        """Its first executions."""
        return list(self._lifecycle.lines.get((tenant, definition_id, line), {}).values())[:limit]

    async def open_count(self, tenant: str, definition_id: str, version: int) -> int:
        """Counted now."""
        return len(self._executions.open_keys(tenant, definition_id, version))

    async def open_executions(
        self, tenant: str, definition_id: str, version: int, after: int, limit: int
    ) -> list[tuple[int, ExecutionRef]]:
        """By key."""
        keys = [key for key in self._executions.open_keys(tenant, definition_id, version) if key > after]
        return [(key, self._executions.executions[key].ref) for key in keys[:limit]]

    async def waits(self, tenant: str, name: str, key: str, after: int, until: int, limit: int) -> list[WaitRow]:
        """By id."""
        rows = self._lifecycle.waits.get((tenant, name, key), {}).values()
        return _first(rows, lambda row: after < row.id <= until, limit)

    async def outbox(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        """By id."""
        rows = self._lifecycle.outbox.values()
        return _first(rows, lambda row: row.id > after and tenant in ("", row.ref.tenant), limit)

    async def published_event(self, tenant: str, event_id: str, now: int) -> EventOutcome | None:
        """What it matched, while it is remembered."""
        outcome, expires_at = self._lifecycle.published.get((tenant, event_id), (None, 0))
        return outcome if expires_at > now else None

    async def job(self, tenant: str, job_id: str) -> JobRow | None:
        """One of them."""
        return self._lifecycle.jobs.get((tenant, job_id))

    async def jobs(self, tenant: str, below: int, limit: int) -> list[JobRow]:
        """Newest first."""
        rows = reversed(self._lifecycle.jobs.values())
        return _first(rows, lambda row: row.tenant == tenant and (not below or row.number < below), limit)

    async def open_jobs(self) -> list[JobRow]:
        """Oldest first."""
        return [row for row in self._lifecycle.jobs.values() if row.state is JobState.RUNNING]

    async def revision(self, tenant: str) -> int:
        """The tenant's last one."""
        return self._lifecycle.revisions.get(tenant, 0)

    async def counts(self) -> Counts:
        """Counted now."""
        return Counts(
            sum(not record.head.ended_at for record in self._executions.executions.values()),
            len(self._executions.tasks),
            len(self._executions.timers),
            len(self._executions.inbox),
            len(self._executions.letters),
            len(self._lifecycle.definitions),
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


def _first(rows: Iterable[T], wanted: Callable[[T], bool], limit: int) -> list[T]:
    return [row for row in rows if wanted(row)][:limit]
