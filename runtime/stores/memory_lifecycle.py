"""The tables of definitions, triggers, waits, lines, published events and jobs in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ..lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from ..rows import ExecutionRef
from ..trigger_rows import EventOutcome, JobRow, OutboxRow, TriggerRow, WaitRow
from .changes import Changes
from .memory_executions import found
from .wanted import (
    DefinitionPlace,
    Known,
    KnownWaits,
    LinePlace,
    Member,
    TriggerPlace,
    WaitPlace,
    Wanted,
)

T = TypeVar("T")

_FORGOTTEN_PER_WRITE = 64


class LifecycleTables:
    """Definitions, and all that listens, waits or runs for them."""

    def __init__(self, ref_of: Callable[[int], ExecutionRef]) -> None:
        self._ref_of = ref_of
        self._emissions_given = 0
        self._jobs_given = 0
        self.definitions: dict[DefinitionPlace, DefinitionHead] = {}
        self.versions: dict[DefinitionPlace, dict[int, DefinitionVersion]] = {}
        self.definition_events: dict[DefinitionPlace, list[DefinitionEvent]] = {}
        self.revisions: dict[str, int] = {}
        self.triggers: dict[TriggerPlace, TriggerRow] = {}
        self.listeners: dict[tuple[str, str], int] = {}
        self.lines: dict[LinePlace, dict[int, ExecutionRef]] = {}
        """By execution's key, which grows."""
        self.waits: dict[WaitPlace, dict[int, WaitRow]] = {}
        self.waiting: dict[tuple[int, str], list[tuple[WaitPlace, int]]] = {}
        """Where the waits of a step are."""
        self.outbox: dict[int, OutboxRow] = {}
        self.published: dict[tuple[str, str], tuple[EventOutcome, int]] = {}
        self.jobs: dict[tuple[str, str], JobRow] = {}

    def look_up(self, wanted: Wanted, known: Known) -> None:
        """Add what is stored of what is wanted."""
        known.definitions.update(found(self.definitions, wanted.definitions))
        known.revisions.update(found(self.revisions, wanted.tenants))
        known.listeners.update(found(self.listeners, wanted.listeners))
        known.triggers.update(found(self.triggers, wanted.triggers))
        if wanted.trigger_sets:
            known.triggers.update(
                (place, row) for place, row in self.triggers.items() if place[:2] in wanted.trigger_sets
            )
        for place in wanted.lines:
            known.lines[place] = [Member(key, ref) for key, ref in self.lines.get(place, {}).items()]
        for place, limit in wanted.waits.items():
            known.waits[place] = KnownWaits(list(self.waits.get(place, {}).values())[:limit], limit)
        known.published.update(found(self.published, wanted.published))
        known.outbox.update(row for row in wanted.outbox if row in self.outbox)

    def carry_out(self, changes: Changes, now: int) -> None:
        """Make the changes."""
        self._write_lines(changes)
        self._write_waits(changes)
        self._write_published(changes, now)
        self._write_definitions(changes)
        self._write_triggers(changes)
        for place, job in changes.jobs.items():
            stored = self.jobs.get(place)
            if stored is None:
                self._jobs_given += 1
            number = stored.number if stored is not None else self._jobs_given
            self.jobs[place] = msgspec.structs.replace(job, number=number)
        for write in changes.jobs_forgotten:
            over = sorted(
                (job.ended_at, job.number, place) for place, job in self.jobs.items() if 0 < job.ended_at < write.before
            )
            for _, _, place in over[: write.jobs_max]:
                del self.jobs[place]

    def _write_lines(self, changes: Changes) -> None:
        for place, key in changes.lines_left:
            _remove(self.lines, place, key)
        for (place, key), ref in changes.lines.items():
            self.lines.setdefault(place, {})[key] = ref

    def _write_waits(self, changes: Changes) -> None:
        for step in changes.waits_gone:
            for place, number in self.waiting.pop(step, ()):
                _remove(self.waits, place, number)
        for step, opened in changes.waits.items():
            for place, row in opened:
                self.waits.setdefault(place, {})[row.id] = row
                self.waiting.setdefault(step, []).append((place, row.id))

    def _write_published(self, changes: Changes, now: int) -> None:
        for row in changes.outbox_gone:
            del self.outbox[row]
        for entry in changes.outbox:
            row = self._emissions_given = self._emissions_given + 1
            self.outbox[row] = OutboxRow(
                row,
                self._ref_of(entry.key),
                entry.key,
                entry.sequence,
                entry.name,
                entry.event_key,
                entry.payload,
                entry.context,
                entry.created_at,
            )
        for published in changes.published:
            place = (published.tenant, published.event_id)
            self.published.pop(place, None)
            self.published[place] = (published.outcome, published.expires_at)
        oldest = list(self.published.items())[:_FORGOTTEN_PER_WRITE] if changes.published else ()
        for place, (_, expires_at) in oldest:
            if expires_at <= now:
                del self.published[place]

    def _write_definitions(self, changes: Changes) -> None:
        self.definitions.update(changes.definitions)
        self.revisions.update(changes.revisions)
        for tenant, definition_id, version in changes.versions:
            self.versions.setdefault((tenant, definition_id), {})[version.version] = version
        for tenant, definition_id, number in changes.versions_gone:
            self.versions.get((tenant, definition_id), {}).pop(number, None)
        for tenant, definition_id, event in changes.definition_events:
            self.definition_events.setdefault((tenant, definition_id), []).append(event)

    def _write_triggers(self, changes: Changes) -> None:
        for place, row in changes.triggers.items():
            stored = self.triggers.get(place, row)
            self.triggers[place] = msgspec.structs.replace(
                row, last_execution_id=stored.last_execution_id, last_started_at=stored.last_started_at
            )
        for place, (execution_id, at) in changes.trigger_starts.items():
            if place in self.triggers:
                self.triggers[place] = msgspec.structs.replace(
                    self.triggers[place], last_execution_id=execution_id, last_started_at=at
                )
        self.listeners.update(changes.listeners)

    def trigger(self, place: TriggerPlace) -> TriggerRow | None:
        """The row, with its waiting executions counted."""
        row = self.triggers.get(place)
        if row is None:
            return None
        members = self.lines.get((row.tenant, row.definition_id, f"trigger:{row.trigger_id}"), {})
        return msgspec.structs.replace(row, waiting=max(0, len(members) - 1))

    def active_triggers(self) -> list[TriggerRow]:
        """All of them, by tenant, definition and id."""
        rows = (self.trigger(place) for place in sorted(self.triggers))
        return [row for row in rows if row is not None and row.active]


def _remove(table: dict[tuple[str, str, str], dict[int, T]], place: tuple[str, str, str], number: int) -> None:
    """Take one out; a place where nobody is left takes no room."""
    del table[place][number]
    if not table[place]:
        del table[place]
