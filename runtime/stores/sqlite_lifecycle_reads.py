"""The reads of definitions, triggers, published events and jobs: functions over a plain connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ..lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from ..trigger_rows import EventOutcome, JobRow, TriggerRow
from .sql import statements
from .sqlite_rows import definition_of, job_of, outcome_of, trigger_of

_SQL = statements("reads.sql")
_INT64_MAX = 2**63 - 1


def definition(connection: sqlite3.Connection, tenant: str, definition_id: str) -> DefinitionHead | None:
    """Where it stands."""
    row = connection.execute(_SQL["definition"], (tenant, definition_id)).fetchone()
    return definition_of(row) if row is not None else None


def definitions(connection: sqlite3.Connection, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
    """By id."""
    return [definition_of(row) for row in connection.execute(_SQL["definitions"], (tenant, after, limit))]


def definition_version(
    connection: sqlite3.Connection, tenant: str, definition_id: str, version: int
) -> DefinitionVersion | None:
    """One of them."""
    row = connection.execute(_SQL["definition_version"], (tenant, definition_id, version)).fetchone()
    return DefinitionVersion(*row) if row is not None else None


def definition_versions(
    connection: sqlite3.Connection, tenant: str, definition_id: str, below: int, limit: int
) -> list[DefinitionVersion]:
    """Newest first."""
    place = (tenant, definition_id, below or _INT64_MAX, limit)
    return [DefinitionVersion(*row) for row in connection.execute(_SQL["definition_versions"], place)]


def definition_events(
    connection: sqlite3.Connection,
    tenant: str,
    definition_id: str,
    after: int,
    after_revision: int,
    limit: int,
    bytes_max: int,
) -> list[DefinitionEvent]:
    """In order; a draft's event holds its content, so that a page is bounded by bytes, too."""
    cursor = connection.execute(_SQL["definition_events"], (tenant, definition_id, after, after_revision, limit))
    return [event for _, event in _fitting(((definition_id, DefinitionEvent(*row)) for row in cursor), bytes_max)]


def tenant_definition_events(
    connection: sqlite3.Connection, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
) -> list[tuple[str, DefinitionEvent]]:
    """Of all definitions, by revision, definition and sequence."""
    cursor = connection.execute(_SQL["tenant_definition_events"], (tenant, *after, limit))
    return _fitting(((row[0], DefinitionEvent(*row[1:])) for row in cursor), bytes_max)


def _fitting(events: Iterable[tuple[str, DefinitionEvent]], bytes_max: int) -> list[tuple[str, DefinitionEvent]]:
    page: list[tuple[str, DefinitionEvent]] = []
    size = 0
    for definition_id, event in events:
        size += len(event.payload)
        if page and size > bytes_max:
            break
        page.append((definition_id, event))
    return page


def revision(connection: sqlite3.Connection, tenant: str) -> int:
    """The tenant's last one."""
    (found,) = connection.execute(_SQL["revision"], (tenant,)).fetchone()
    return int(found or 0)


def listeners(connection: sqlite3.Connection, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
    """The revision first: rows that are newer than it only make an acceptance decide again."""
    found = connection.execute(_SQL["listener_revision"], (tenant, event_name)).fetchone()
    rows = connection.execute(_SQL["listeners"], (tenant, event_name))
    return (found[0] if found is not None else 0, [trigger_of(row) for row in rows])


def triggers(
    connection: sqlite3.Connection,
    tenant: str,
    definition_id: str,
    event_name: str,
    after: tuple[str, str],
    limit: int,
) -> list[TriggerRow]:
    """Active ones, by definition and id."""
    place = (tenant, *after, limit)
    if definition_id:
        rows = connection.execute(_SQL["triggers_of_definition"], (*place, definition_id, event_name))
    elif event_name:
        rows = connection.execute(_SQL["triggers_of_event"], (*place, event_name))
    else:
        rows = connection.execute(_SQL["triggers"], place)
    return [trigger_of(row) for row in rows]


def trigger(connection: sqlite3.Connection, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
    """Active or not."""
    row = connection.execute(_SQL["trigger"], (tenant, definition_id, trigger_id)).fetchone()
    return trigger_of(row) if row is not None else None


def due_triggers(connection: sqlite3.Connection, until: int, limit: int) -> list[TriggerRow]:
    """Schedules, those due first."""
    return [trigger_of(row) for row in connection.execute(_SQL["due_triggers"], (until, limit))]


def published_event(connection: sqlite3.Connection, tenant: str, event_id: str, now: int) -> EventOutcome | None:
    """What it matched, while it is remembered."""
    row = connection.execute(_SQL["published_event"], (tenant, event_id, now)).fetchone()
    return outcome_of(row[0]) if row is not None else None


def job(connection: sqlite3.Connection, tenant: str, job_id: str) -> JobRow | None:
    """One of them."""
    row = connection.execute(_SQL["job"], (tenant, job_id)).fetchone()
    return job_of(row) if row is not None else None


def jobs(connection: sqlite3.Connection, tenant: str, below: int, limit: int) -> list[JobRow]:
    """Newest first."""
    return [job_of(row) for row in connection.execute(_SQL["jobs"], (tenant, below or _INT64_MAX, limit))]


def open_jobs(connection: sqlite3.Connection) -> list[JobRow]:
    """Oldest first."""
    return [job_of(row) for row in connection.execute(_SQL["open_jobs"])]
