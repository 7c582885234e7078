"""What a batch asks about, read from the tables before its first write is judged.

Everything here runs in the writer's thread, inside the batch's transaction. What is not asked for costs nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..rows import ExecutionRecord, ExecutionRef, Request
from ..trigger_rows import WaitRow
from .sql import Many, statements
from .sqlite_feeds import look_up as look_up_subscriptions
from .sqlite_retention import look_up as look_up_pruned
from .sqlite_rows import definition_of, outcome_of, record_of, trigger_of
from .sqlite_secrets import look_up as look_up_secrets
from .wanted import Known, KnownWaits, LetterPlace, Member, Wanted

_SQL = statements("writes.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}

Heads: TypeAlias = dict[int, ExecutionRecord]


def look_up(connection: sqlite3.Connection, wanted: Wanted, heads: Heads) -> Known:
    """All of it; `heads` are the executions known from earlier flushes."""
    known = Known({key: heads[key] for key in wanted.keys if key in heads})
    _look_up_rows(connection, wanted, known)
    _look_up_executions(connection, wanted, known)
    _look_up_events(connection, wanted, known)
    _look_up_definitions(connection, wanted, known)
    _look_up_lines(connection, wanted, known)
    _look_up_waits(connection, wanted, known)
    look_up_subscriptions(connection, wanted, known)
    look_up_pruned(connection, wanted, known)
    look_up_secrets(connection, wanted, known)
    return known


def _query(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return _MANY[name].query(connection, rows) if rows else []


def _look_up_rows(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    for row in _query(connection, "requests_known", list(wanted.requests)):
        known.requests[row[0], row[1]] = Request(*row)
    known.inbox.update(_query(connection, "inbox_at", [(row,) for row in wanted.inbox]))
    for letter, *place in _query(connection, "letters_at", [(letter,) for letter in wanted.letters]):
        known.letters[letter] = LetterPlace(*place)
    for tenant, event_id, outcome, expires_at in _query(connection, "published_at", list(wanted.published)):
        known.published[tenant, event_id] = (outcome_of(outcome), expires_at)
    known.outbox.update(row for (row,) in _query(connection, "outbox_at", [(row,) for row in wanted.outbox]))


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


def _look_up_definitions(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    for row in _query(connection, "definitions_at", list(wanted.definitions)):
        known.definitions[row[0], row[1]] = definition_of(row)
    if wanted.tenants:
        asked = [(tenant,) for tenant in (*wanted.tenants, "")]
        known.revisions.update(_query(connection, "revisions_at", asked))
    for tenant, name, revision in _query(connection, "listeners_at", list(wanted.listeners)):
        known.listeners[tenant, name] = revision
    for statement, places in (("triggers_at", wanted.triggers), ("triggers_of", wanted.trigger_sets)):
        for row in _query(connection, statement, list(places)):
            known.triggers[row[0], row[1], row[2]] = trigger_of(row)
    for tenant, definition_id, version in wanted.open:
        if version:
            found = connection.execute(_SQL["open_version_at"], (tenant, definition_id, version))
        else:
            found = connection.execute(_SQL["open_at"], (tenant, definition_id))
        (known.open[tenant, definition_id, version],) = found.fetchone()


def _look_up_lines(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    for place in wanted.lines:
        known.lines[place] = []
    for tenant, definition_id, line, key, *ref in _query(connection, "lines_at", list(wanted.lines)):
        known.lines[tenant, definition_id, line].append(Member(key, ExecutionRef(*ref)))


def _look_up_waits(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    for place, limit in wanted.waits.items():
        rows = connection.execute(_SQL["waits_at"], (*place, limit)).fetchall()
        waits = [WaitRow(row[0], ExecutionRef(row[1], row[2]), row[3], row[4]) for row in rows]
        known.waits[place] = KnownWaits(waits, limit)
