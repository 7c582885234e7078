"""One batch against the tables: look up what it asks about, let the rules judge it, carry out the changes.

Everything here runs in the writer's thread, inside a transaction that the caller has begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ..core.thinning import fallen_out
from ..rows import Request, Snapshot
from ..writes import Outcome, Write
from .changes import Changes, Counters, TaskRow
from .sql import Many, statements
from .sqlite_executions import write as write_executions
from .sqlite_feeds import write as write_feeds
from .sqlite_lookups import Heads, look_up
from .sqlite_retention import write as write_retention
from .sqlite_rows import definition_row, job_row, outcome_data, trigger_row
from .sqlite_secrets import overwriting
from .sqlite_secrets import write as write_secrets
from .unit import Unit
from .unit_retention import parts
from .wanted import Known, Wanted

_SQL = statements("writes.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}

_FORGOTTEN_PER_FLUSH = 64
"""Expired requests (and ids of published events) deleted with a flush that stores some, beyond one for each of them."""


def carry_out(
    connection: sqlite3.Connection, batch: Sequence[Write], counters: Counters, heads: Heads
) -> tuple[list[Outcome], Known]:
    """Judge and write the batch; `heads` are the executions known from earlier flushes."""
    first, *others = parts(batch) or [[]]
    outcomes, known = _carry_out(connection, first, counters, heads)
    for part in others:
        seen = {key: record for key, record in {**heads, **known.heads}.items() if key not in known.gone}
        more, later = _carry_out(connection, part, counters, seen)
        outcomes += more
        known.gone |= later.gone
        known.heads = {**known.heads, **later.heads}
        for key in known.gone:
            known.heads.pop(key, None)
        known.wiped = known.wiped or later.wiped
    return outcomes, known


def _carry_out(
    connection: sqlite3.Connection, batch: Sequence[Write], counters: Counters, heads: Heads
) -> tuple[list[Outcome], Known]:
    known = look_up(connection, Wanted(batch), heads)
    unit = Unit(known, counters)
    outcomes = [unit.add(write) for write in batch]
    _write(connection, unit.changes, unit.now)
    return outcomes, known


# -- write -----------------------------------------------------------------------------------------------------


def _write(connection: sqlite3.Connection, changes: Changes, now: int) -> None:
    write_executions(connection, changes)
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
        _write_snapshot(connection, key, snapshot)
    write_secrets(connection, changes)
    _write_inbox(connection, changes)
    _write_tasks(connection, changes)
    _write_timers(connection, changes)
    _bury_events(connection, changes)
    _write_lines(connection, changes)
    _write_waits(connection, changes)
    _write_published(connection, changes, now)
    if changes.revisions or changes.versions_gone:
        _write_definitions(connection, changes)
    _write_triggers(connection, changes)
    if changes.jobs:
        _many(connection, "put_jobs", [job_row(job) for job in changes.jobs.values()])
    for write in changes.jobs_forgotten:
        connection.execute(_SQL["forget_jobs"], (write.before, write.jobs_max))
    write_feeds(connection, changes)
    write_retention(connection, changes)


def _many(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        _MANY[name].run(connection, rows)


def _write_snapshot(connection: sqlite3.Connection, key: int, snapshot: Snapshot) -> None:
    """Store it, and drop those that need not be kept any longer. Where they are is read from the index alone: a state
    may be large."""
    row = (key, snapshot.sequence, snapshot.format, snapshot.check, snapshot.data, snapshot.created_at)
    _many(connection, "insert_snapshots", [row])
    kept = [sequence for (sequence,) in connection.execute(_SQL["snapshots_at"], (key,))]
    _many(connection, "delete_snapshots", [(key, sequence) for sequence in fallen_out(kept)])


def _write_requests(connection: sqlite3.Connection, requests: Sequence[Request], now: int) -> None:
    rows = [msgspec.structs.astuple(request) for request in requests]
    _many(connection, "insert_requests", rows)
    connection.execute(_SQL["forget_requests"], (_FORGOTTEN_PER_FLUSH + len(rows), now))


def _write_inbox(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "insert_inbox", changes.inbox)
    if changes.inbox_gone or changes.letters_gone or changes.closed:
        # What was sent lies in both of these as it was sent, sensitive values in the clear.
        with overwriting(connection):
            _clear_inbox(connection, changes)


def _clear_inbox(connection: sqlite3.Connection, changes: Changes) -> None:
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


def _write_lines(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "delete_lines", [(*place, key) for place, key in changes.lines_left])
    _many(connection, "insert_lines", [(*place, key) for place, key in changes.lines])


def _write_waits(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "delete_waits", list(changes.waits_gone))
    waits = [(row.id, *place, row.key, row.path) for opened in changes.waits.values() for place, row in opened]
    _many(connection, "insert_waits", waits)
    if changes.waits_until:
        connection.execute(_SQL["keep_waits_number"], (changes.waits_until,))


def _write_published(connection: sqlite3.Connection, changes: Changes, now: int) -> None:
    _many(connection, "delete_outbox", [(row,) for row in changes.outbox_gone])
    _many(connection, "insert_outbox", changes.outbox)
    rows = [(each.tenant, each.event_id, outcome_data(each.outcome), each.expires_at) for each in changes.published]
    if rows:
        _many(connection, "insert_published", rows)
        connection.execute(_SQL["forget_published"], (_FORGOTTEN_PER_FLUSH + len(rows), now))


def _write_definitions(connection: sqlite3.Connection, changes: Changes) -> None:
    _many(connection, "put_definitions", [definition_row(head) for head in changes.definitions.values()])
    _many(connection, "put_revisions", list(changes.revisions.items()))
    versions = [(*place, *msgspec.structs.astuple(version)) for *place, version in changes.versions]
    _many(connection, "insert_definition_versions", versions)
    _many(connection, "delete_definition_versions", changes.versions_gone)
    events = [(*place, *msgspec.structs.astuple(event)) for *place, event in changes.definition_events]
    _many(connection, "insert_definition_events", events)


def _write_triggers(connection: sqlite3.Connection, changes: Changes) -> None:
    if changes.triggers:
        _many(connection, "put_triggers", [trigger_row(trigger) for trigger in changes.triggers.values()])
    _many(connection, "start_triggers", [(*place, *start) for place, start in changes.trigger_starts.items()])
    _many(connection, "put_listeners", [(*place, revision) for place, revision in changes.listeners.items()])
