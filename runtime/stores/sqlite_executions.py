"""The rows of executions in SQLite: the listing projection, the labels by which it is found, and the counts.

A step writes one row and no index entry. A column that is set costs the entries of all indexes that it stands in, or in
the condition of, even where its value stays: so there are statements for what changes often, and one for whatever may.
Counts are added up over a flush and written with it, once for each kind of execution that it changes.
"""

from __future__ import annotations

import sqlite3
from typing import Any, TypeAlias

import msgspec

from ..rows import ExecutionRecord, Head
from .changes import Changes, shard_of
from .sql import Many, statements

_SQL = statements("writes.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}
_ALONE = {"advance_executions": _SQL["advance_execution"], "end_executions": _SQL["end_execution"]}
"""For one row: a list of rows costs a table of its own, which pays from a few on."""
_LABELS = msgspec.json.Decoder(dict[str, str])

Kind: TypeAlias = tuple[str, str, int, str, str]
"""The key of execution_kinds: tenant, definition id, version, status, state."""
LabelRow: TypeAlias = tuple[str, str, str, str, int]
"""One row of labels: tenant, name, value, status, execution."""


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Make the changes to executions that stay, and to the labels and counts of all."""
    if not changes.executions and not changes.heads and not changes.gone:
        return
    rows = _Rows()
    for record in changes.executions:
        rows.begin(record)
    for stored, head in changes.heads.values():
        rows.advance(stored, head)
    for record in changes.gone:
        rows.end(record)
    for name, values in (
        ("insert_executions", rows.inserted),
        ("advance_executions", rows.advanced),
        ("enter_executions", rows.entered),
        ("end_executions", rows.ended),
        ("change_executions", rows.changed),
        ("delete_labels", rows.old_labels),
        ("insert_labels", rows.new_labels),
        ("count_executions", [(*kind, count) for kind, count in rows.counts.items() if count]),
        ("forget_kinds", list(rows.emptied)),
    ):
        if len(values) == 1 and name in _ALONE:
            connection.execute(_ALONE[name], values[0])
        elif values:
            _MANY[name].run(connection, values)


class _Rows:
    """What the executions of a flush come to."""

    def __init__(self) -> None:
        self.inserted: list[tuple[Any, ...]] = []
        self.advanced: list[tuple[Any, ...]] = []
        self.entered: list[tuple[Any, ...]] = []
        self.ended: list[tuple[Any, ...]] = []
        self.changed: list[tuple[Any, ...]] = []
        self.old_labels: list[LabelRow] = []
        self.new_labels: list[LabelRow] = []
        self.counts: dict[Kind, int] = {}
        self.emptied: dict[tuple[str, str, int], None] = {}
        """The versions of definitions, with their tenants, that have fewer executions than before."""

    def begin(self, record: ExecutionRecord) -> None:
        """A new one."""
        self.inserted.append(_new_row(record))
        self._count(record.ref.tenant, record.head, 1)
        if record.head.labels != b"{}":
            self.new_labels += _labels(record, record.head)

    def advance(self, stored: ExecutionRecord, head: Head) -> None:
        """One that is stored, and what it is now."""
        before, hot = stored.head, (stored.key, head.sequence, head.hash, head.updated_at)
        if _cold(before) != _cold(head):
            self.changed.append((*hot, head.state, head.status, head.ended_at, *_cold(head)))
        elif before.status != head.status or before.ended_at != head.ended_at:
            self.ended.append((*hot, head.state, head.status, head.ended_at))
        elif before.state != head.state:
            self.entered.append((*hot, head.state))
        else:
            self.advanced.append(hot)
            return
        if before.labels != head.labels or (before.status != head.status and head.labels != b"{}"):
            self.old_labels += _labels(stored, before)
            self.new_labels += _labels(stored, head)
        self._count(stored.ref.tenant, before, -1)
        self._count(stored.ref.tenant, head, 1)

    def end(self, record: ExecutionRecord) -> None:
        """One that goes: its row is taken away elsewhere."""
        self.old_labels += _labels(record, record.head)
        self._count(record.ref.tenant, record.head, -1)
        self.emptied[record.ref.tenant, record.head.definition_id, record.head.version] = None

    def _count(self, tenant: str, head: Head, more: int) -> None:
        kind = (tenant, head.definition_id, head.version, head.status, head.state)
        self.counts[kind] = self.counts.get(kind, 0) + more


def _labels(record: ExecutionRecord, head: Head) -> list[LabelRow]:
    """Where an execution with this head is found by its labels."""
    tenant, status, key = record.ref.tenant, head.status, record.key
    return [(tenant, name, value, status, key) for name, value in _LABELS.decode(head.labels).items()]


def _cold(head: Head) -> tuple[Any, ...]:
    """The columns that neither a step nor an end changes."""
    return (head.definition_id, head.version, head.labels, head.started_at, head.incidents)


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
