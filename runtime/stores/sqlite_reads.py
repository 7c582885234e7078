"""The reads of executions: functions over a plain connection, each a few statements, each done within its page."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

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
    TaskRecord,
    TimerRecord,
)
from ..trigger_rows import OutboxRow, WaitRow
from .sql import Many, statements
from .sqlite_rows import record_of

_SQL = statements("reads.sql")
_KNOWN_EVENTS = Many(_SQL["known_events"])
_REQUESTS = Many(_SQL["requests"])
_TASK_INPUTS = Many(_SQL["task_inputs"])
_INT64_MAX = 2**63 - 1


def execution(connection: sqlite3.Connection, ref: ExecutionRef) -> ExecutionRecord | None:
    """By tenant and id."""
    row = connection.execute(_SQL["execution"], ref).fetchone()
    return record_of(row) if row is not None else None


def execution_by_key(connection: sqlite3.Connection, key: int) -> ExecutionRecord | None:
    """By the store's own key."""
    row = connection.execute(_SQL["execution_by_key"], (key,)).fetchone()
    return record_of(row) if row is not None else None


def events(connection: sqlite3.Connection, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
    """A page of one history."""
    page: list[StoredEvent] = []
    size = 0
    cursor = connection.execute(_SQL["events"], (key, after, limit))
    for sequence, name, payload, created_at, digest, to_state, event_id, context, position in cursor:
        size += len(payload)
        if page and size > bytes_max:
            break
        page.append(StoredEvent(sequence, name, payload, created_at, digest, to_state, event_id, context, position))
    cursor.close()
    if page and page[0].context is None:
        found = connection.execute(_SQL["context_before"], (key, page[0].sequence)).fetchone()
        page[0] = msgspec.structs.replace(page[0], context=found[0] if found is not None else None)
    return page


def snapshot(connection: sqlite3.Connection, key: int, until: int | None) -> Snapshot | None:
    """The newest one at or before a sequence (None: of all)."""
    row = connection.execute(_SQL["snapshot"], (key, _INT64_MAX if until is None else until)).fetchone()
    return None if row is None else Snapshot(*row)


def snapshots(connection: sqlite3.Connection, key: int) -> list[Snapshot]:
    """The kept ones, newest first."""
    return [Snapshot(*row) for row in connection.execute(_SQL["snapshots"], (key,))]


def known_events(connection: sqlite3.Connection, key: int, event_ids: Sequence[str]) -> set[str]:
    """Which of these stand in the history."""
    return {found for (found,) in _KNOWN_EVENTS.query(connection, [(key, event_id) for event_id in event_ids])}


def requests(connection: sqlite3.Connection, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
    """Those that have not expired."""
    found = [Request(*row) for row in _REQUESTS.query(connection, [(tenant, each) for each in request_ids])]
    return {request.request_id: request for request in found if request.expires_at > now}


def open_tasks(connection: sqlite3.Connection, after: tuple[int, str], limit: int) -> list[TaskRecord]:
    """A page in the order of (key, path)."""
    return [
        TaskRecord(
            ExecutionRef(tenant, execution_id),
            key,
            path,
            operation,
            attempt,
            scheduled,
            priority,
            attempt_timeout,
            since,
            bool(cancel_requested),
        )
        for (
            tenant,
            execution_id,
            key,
            path,
            operation,
            attempt,
            scheduled,
            priority,
            attempt_timeout,
            since,
            cancel_requested,
        ) in connection.execute(_SQL["open_tasks"], (*after, limit))
    ]


def task_inputs(connection: sqlite3.Connection, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
    """Payloads, in the order asked for."""
    found = {(key, sequence): payload for key, sequence, payload in _TASK_INPUTS.query(connection, wanted)}
    return [found.get((key, sequence)) for key, sequence in wanted]


def timers(connection: sqlite3.Connection, until: int, limit: int) -> list[TimerRecord]:
    """Those due first."""
    rows = connection.execute(_SQL["timers"], (until, limit))
    return [TimerRecord(ExecutionRef(row[0], row[1]), *row[2:]) for row in rows]


def inbox(connection: sqlite3.Connection, key: int, limit: int, events: bool) -> list[InboxRow]:
    """The oldest rows of one execution."""
    rows = connection.execute(_SQL["inbox" if events else "inbox_beside_events"], (key, limit))
    return [InboxRow(row[0], InboxKind(row[1]), *row[2:]) for row in rows]


def inbox_executions(connection: sqlite3.Connection, after_key: int, limit: int) -> list[tuple[int, ExecutionRef]]:
    """Executions with rows, by key."""
    rows = connection.execute(_SQL["inbox_executions"], (after_key, limit))
    return [(key, ExecutionRef(tenant, execution_id)) for key, tenant, execution_id in rows]


def dead_letters(
    connection: sqlite3.Connection, tenant: str, execution_id: str, after: int, limit: int
) -> list[DeadLetter]:
    """By id; of one execution where its id is not empty."""
    if execution_id:
        rows = connection.execute(_SQL["dead_letters_of"], (tenant, execution_id, after, limit))
    else:
        rows = connection.execute(_SQL["dead_letters"], (tenant, after, limit))
    return [DeadLetter(row[0], ExecutionRef(row[1], row[2]), *row[3:]) for row in rows]


def line(connection: sqlite3.Connection, tenant: str, definition_id: str, line: str, limit: int) -> list[ExecutionRef]:
    """Its first executions."""
    return [ExecutionRef(*row) for row in connection.execute(_SQL["line"], (tenant, definition_id, line, limit))]


def open_count(connection: sqlite3.Connection, tenant: str, definition_id: str, version: int) -> int:
    """Of one version, where it is not 0."""
    if version:
        row = connection.execute(_SQL["open_version_count"], (tenant, definition_id, version)).fetchone()
    else:
        row = connection.execute(_SQL["open_count"], (tenant, definition_id)).fetchone()
    return int(row[0])


def open_executions(
    connection: sqlite3.Connection, tenant: str, definition_id: str, version: int, after: int, limit: int
) -> list[tuple[int, ExecutionRef]]:
    """By key. The index is by version and status: each of them that there is gives its first ones. All at one moment,
    for an execution may go from one to another."""
    found: list[tuple[int, ExecutionRef]] = []
    connection.execute("BEGIN")
    try:
        for kind in connection.execute(_SQL["open_kinds"], (tenant, definition_id, version)).fetchall():
            rows = connection.execute(_SQL["open_executions"], (tenant, definition_id, *kind, after, limit))
            found += [(row[0], ExecutionRef(row[1], row[2])) for row in rows]
    finally:
        connection.execute("COMMIT")
    return sorted(found)[:limit]


def waits(
    connection: sqlite3.Connection, tenant: str, name: str, key: str, after: int, until: int, limit: int
) -> list[WaitRow]:
    """By id."""
    rows = connection.execute(_SQL["waits"], (tenant, name, key, after, until, limit))
    return [WaitRow(row[0], ExecutionRef(row[1], row[2]), row[3], row[4]) for row in rows]


def outbox(connection: sqlite3.Connection, after: int, limit: int, tenant: str) -> list[OutboxRow]:
    """By id."""
    rows = connection.execute(_SQL["outbox"], (after, tenant, limit))
    return [OutboxRow(row[0], ExecutionRef(row[1], row[2]), *row[3:]) for row in rows]


def counts(connection: sqlite3.Connection) -> Counts:
    """Counted now; grows with the store, so it belongs on the connection for pages."""
    return Counts(*connection.execute(_SQL["counts"]).fetchone())
