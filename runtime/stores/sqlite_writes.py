"""One batch against the tables: look up what it asks about, let the rules judge it, carry out the changes.

Everything here runs in the writer's thread, inside a transaction that the caller has begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..ports import DefinitionHead, ExecutionRecord, ExecutionRef, Head, Outcome, Request, Write
from .sql import Many, statements
from .unit import SNAPSHOTS_KEPT, Changes, Counters, Known, LetterPlace, TaskRow, Unit, Wanted, shard_of

assert SNAPSHOTS_KEPT == 2, "the statement drop_snapshots keeps two"

_SQL = statements("writes.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}

_FORGOTTEN_PER_FLUSH = 64
"""Expired requests deleted with a flush that stores requests, beyond one for each that it stores."""

Heads = dict[int, ExecutionRecord]


def carry_out(
    connection: sqlite3.Connection, batch: Sequence[Write], counters: Counters, heads: Heads
) -> tuple[list[Outcome], Known]:
    """Judge and write the batch; `heads` are the executions known from earlier flushes."""
    known = _look_up(connection, Wanted(batch), heads)
    unit = Unit(known, counters)
    outcomes = [unit.add(write) for write in batch]
    _write(connection, unit.changes, unit.now)
    return outcomes, known


def record_of(row: Sequence[Any]) -> ExecutionRecord:
    """The record of a row that has the columns of `executions_at`."""
    return ExecutionRecord(ExecutionRef(row[1], row[2]), row[0], Head(*row[3:]))


# -- look up ---------------------------------------------------------------------------------------------------


def _look_up(connection: sqlite3.Connection, wanted: Wanted, heads: Heads) -> Known:
    known = Known({key: heads[key] for key in wanted.keys if key in heads})
    _look_up_rows(connection, wanted, known)
    _look_up_executions(connection, wanted, known)
    _look_up_events(connection, wanted, known)
    return known


def _query(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return _MANY[name].query(connection, rows) if rows else []


def _look_up_rows(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    for row in _query(connection, "requests_known", list(wanted.requests)):
        known.requests[row[0], row[1]] = Request(*row)
    known.inbox.update(_query(connection, "inbox_at", [(row,) for row in wanted.inbox]))
    for letter, *place in _query(connection, "letters_at", [(letter,) for letter in wanted.letters]):
        known.letters[letter] = LetterPlace(*place)
    for row in _query(connection, "definitions_at", list(wanted.definitions)):
        known.definitions[row[0], row[1]] = DefinitionHead(*row)
    known.revisions.update(_query(connection, "revisions_at", [(tenant,) for tenant in wanted.tenants]))


def _look_up_executions(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    keys = wanted.keys | {letter.key for letter in known.letters.values()}
    missing = [(key,) for key in keys if key not in known.heads]
    for row in _query(connection, "executions_at", missing):
        known.heads[row[0]] = record_of(row)
    for row in _query(connection, "executions_of", list(wanted.refs)):
        record = record_of(row)
        known.heads[record.key] = record
        known.keys[record.ref] = record.key


def _look_up_events(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    waiting = [(known.keys[ref], event_id) for ref, event_id in wanted.event_ids if ref in known.keys]
    known.history_ids.update(_query(connection, "events_known", [*wanted.history_ids, *waiting]))
    known.waiting_ids.update(_query(connection, "inbox_known", waiting))
    known.waiting_ids.update(_query(connection, "letters_known", waiting))


# -- write -----------------------------------------------------------------------------------------------------


def _write(connection: sqlite3.Connection, changes: Changes, now: int) -> None:
    _write_executions(connection, changes)
    _many(
        connection,
        "insert_events",
        [
            (
                position,
                key,
                event.sequence,
                event.name,
                event.payload,
                event.created_at,
                event.hash,
                event.to_state,
                event.event_id or None,
                event.context,
            )
            for position, key, event in changes.events
        ],
    )
    if changes.requests:
        _write_requests(connection, changes.requests, now)
    for key, snapshot in changes.snapshots:
        row = (key, snapshot.sequence, snapshot.format, snapshot.check, snapshot.data)
        _many(connection, "insert_snapshots", [row])
        connection.execute(_SQL["drop_snapshots"], (key,))
    _write_inbox(connection, changes)
    _write_tasks(connection, changes)
    _write_timers(connection, changes)
    _bury_events(connection, changes)
    if changes.definitions:
        _write_definitions(connection, changes)


def _many(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        _MANY[name].run(connection, rows)


def _write_executions(connection: sqlite3.Connection, changes: Changes) -> None:
    inserted: list[tuple[Any, ...]] = []
    advanced: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    old_labels: list[tuple[str, str, str, int]] = []
    new_labels: list[tuple[str, str, str, int]] = []
    for record in changes.executions:
        inserted.append(_new_row(record))
        new_labels += _labels(record, record.head.labels)
    for key, (stored, head) in changes.heads.items():
        before = stored.head
        hot = (key, head.state, head.sequence, head.hash, head.updated_at)
        if _cold(before) == _cold(head):
            advanced.append(hot)
            continue
        changed.append((*hot, *_cold(head)))
        if before.labels != head.labels:
            old_labels += _labels(stored, before.labels)
            new_labels += _labels(stored, head.labels)
    _many(connection, "insert_executions", inserted)
    _many(connection, "advance_executions", advanced)
    _many(connection, "change_executions", changed)
    _many(connection, "delete_labels", old_labels)
    _many(connection, "insert_labels", new_labels)


def _cold(head: Head) -> tuple[Any, ...]:
    """The columns that a step leaves alone; some of them stand in an index."""
    return (
        head.status,
        head.definition_id,
        head.version,
        head.labels,
        head.started_at,
        head.ended_at,
        head.incidents,
    )


def _new_row(record: ExecutionRecord) -> tuple[Any, ...]:
    ref, head = record.ref, record.head
    return (
        record.key,
        ref.tenant,
        ref.execution_id,
        shard_of(ref),
        head.definition_id,
        head.version,
        head.labels,
        head.status,
        head.state,
        head.sequence,
        head.hash,
        head.started_at,
        head.updated_at,
        head.ended_at,
        head.incidents,
    )


def _labels(record: ExecutionRecord, labels: bytes) -> list[tuple[str, str, str, int]]:
    if labels == b"{}":
        return []
    decoded = msgspec.json.decode(labels, type=dict[str, str])
    return [(record.ref.tenant, name, value, record.key) for name, value in decoded.items()]


def _write_requests(connection: sqlite3.Connection, requests: Sequence[Request], now: int) -> None:
    rows = [msgspec.structs.astuple(request) for request in requests]
    _many(connection, "insert_requests", rows)
    connection.execute(_SQL["forget_requests"], (_FORGOTTEN_PER_FLUSH + len(rows), now))


def _write_inbox(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "insert_inbox", changes.inbox)
    for row in changes.requeued:
        connection.execute(_SQL["requeue_letter"], row)
    _many(connection, "delete_letters", [(letter,) for letter in changes.letters_gone])
    for buried in changes.inbox_buried:
        connection.execute(_SQL["bury_inbox"], buried)
    _many(connection, "delete_inbox", [(row,) for row in changes.inbox_gone])
    if changes.closed:
        keys = [(key,) for key in changes.closed]
        _many(connection, "close_letters", list(changes.closed.items()))
        _many(connection, "close_inbox", keys)
        _many(connection, "close_tasks", keys)
        _many(connection, "close_timers", keys)


def _write_tasks(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "cancel_tasks", list(changes.cancels))
    gone: list[tuple[int, str]] = []
    put: list[TaskRow] = []
    for key, rows in changes.tasks.items():
        for path, row in rows.items():
            if row is None:
                gone.append((key, path))
            else:
                put.append(row)
    _many(connection, "delete_tasks", gone)
    _many(connection, "put_tasks", put)


def _write_timers(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "delete_step_timers", list(changes.step_timers_gone))
    timers = [(key, *place, row) for key, rows in changes.timers.items() for place, row in rows.items()]
    _many(connection, "delete_timers", [(key, path, timer) for key, path, timer, row in timers if row is None])
    _many(connection, "put_timers", [(key, path, timer, *row) for key, path, timer, row in timers if row is not None])


def _bury_events(connection: sqlite3.Connection, changes: Changes) -> None:
    rows: list[tuple[Any, ...]] = []
    for event in changes.buried:
        found = connection.execute(_SQL["event_origin"], (event.key, event.event_id)).fetchone()
        accepted_at, context = found if found is not None else (event.died_at, None)
        message = "the execution ended before a step took the event"
        place = (event.ref.tenant, event.key, event.event_id, event.name)
        rows.append((*place, event.payload, context or b"{}", event.cause, message, accepted_at, event.died_at))
    _many(connection, "bury_events", rows)


def _write_definitions(connection: sqlite3.Connection, changes: Changes) -> None:
    for head in changes.definitions:
        connection.execute(_SQL["put_definitions"], msgspec.structs.astuple(head))
        connection.execute(_SQL["put_revision"], (head.tenant, head.revision))
    for tenant, definition_id, version in changes.versions:
        row = msgspec.structs.astuple(version)
        connection.execute(_SQL["insert_definition_versions"], (tenant, definition_id, *row))
    for tenant, definition_id, event in changes.definition_events:
        connection.execute(_SQL["insert_definition_events"], (tenant, definition_id, *msgspec.structs.astuple(event)))
