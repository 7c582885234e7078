"""Pruning in SQLite: its part of a batch, its reads, and unused pages given back to the file system."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, Protocol

from ..retention_rows import Expired, ExpiredQuery
from ..rows import ExecutionRef
from .changes import Changes
from .connection import Connections
from .sql import Many, statements
from .sqlite_secrets import overwriting
from .wanted import Known, Wanted

_SQL = statements("retention.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}
_OF_EXECUTIONS: Final = (
    "drop_all_snapshots",
    "drop_waits",
    "drop_tasks",
    "drop_timers",
    "drop_expiries",
)
_IN_THE_CLEAR: Final = ("drop_inbox", "drop_letters")
"""What may hold sensitive values as they were sent."""
_SPARE_SHARE: Final = 10
"""One page in so many may stay unused: what is written next goes there, and the file need not grow again."""
_SPARE_PAGES_MIN: Final = 64


# -- within a batch --------------------------------------------------------------------------------------------


def look_up(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    """Add what is stored of the executions that are to go."""
    if not wanted.pruned_refs and not wanted.pruned_keys:
        return
    for tenant in wanted.acknowledged:
        (position,) = connection.execute(_SQL["acknowledged"], (tenant,)).fetchone()
        if position is not None:
            known.acknowledged[tenant] = position
    keys = [(key,) for key in known.to_prune(wanted)]
    if keys:
        known.last_positions.update(
            (key, position or 0) for key, position in _MANY["last_positions"].query(connection, keys)
        )
        known.emitting.update(key for (key,) in _MANY["emitting"].query(connection, keys))


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Make the changes."""
    if changes.expiries:
        _MANY["drop_expiries"].run(connection, [(key,) for key in changes.expiries])
        rows = [(tenant, at, key, position) for key, (tenant, at, position) in changes.expiries.items() if at]
        if rows:
            _MANY["put_expiries"].run(connection, rows)
    if changes.gone:
        _take_away(connection, changes)
    for removal in changes.leftovers:
        connection.execute(_SQL["remove_leftover"], (removal.key, removal.events_max))
        with overwriting(connection):
            connection.execute(_SQL["remove_leftover_values"], (removal.key, removal.events_max))
        connection.execute(_SQL["finish_leftover"], (removal.key,))


def _take_away(connection: sqlite3.Connection, changes: Changes) -> None:
    """All but the labels and the counts, which are written with those of the executions that stay."""
    keys = [(record.key,) for record in changes.gone]
    for statement in _OF_EXECUTIONS:
        _run(connection, statement, keys)
    with overwriting(connection):
        for statement in _IN_THE_CLEAR:
            _run(connection, statement, keys)
    _run(connection, "drop_events", [(key,) for (key,) in keys if key not in changes.left_over])
    _run(connection, "put_leftovers", [(key,) for key in changes.left_over])
    _run(connection, "drop_executions", keys)


def _run(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        _MANY[name].run(connection, rows)


# -- reads -----------------------------------------------------------------------------------------------------


def expired(connection: sqlite3.Connection, query: ExpiredQuery) -> list[Expired]:
    """By expiry and key."""
    rows = connection.execute(
        _SQL["expired"],
        (
            query.tenant,
            query.until,
            *query.after,
            query.ended_before,
            query.acknowledged,
            query.waited_until,
            query.limit,
        ),
    )
    return [Expired(expires_at, key, ExecutionRef(tenant, name)) for expires_at, key, tenant, name in rows]


def expired_count(connection: sqlite3.Connection, tenant: str, until: int, ended_before: int) -> int:
    """Counted now."""
    (count,) = connection.execute(_SQL["expired_count"], (tenant, until, ended_before)).fetchone()
    return int(count)


def first_expiries(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """By tenant."""
    return list(connection.execute(_SQL["first_expiries"]))


def leftovers(connection: sqlite3.Connection, limit: int) -> list[int]:
    """By key."""
    return [key for (key,) in connection.execute(_SQL["leftovers"], (limit,))]


# -- space -----------------------------------------------------------------------------------------------------


def give_back(connection: sqlite3.Connection, bytes_max: int) -> int:
    """Move pages from the end of the file into unused ones, in a transaction of its own; the file is cut off when the
    log is copied. A file that was made without `auto_vacuum` stays as long as it is, and what is written goes into its
    unused pages first."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    pages = min(max(1, bytes_max // page_bytes), unneeded(connection))
    if pages:
        # It goes on by a page a step, and gives no rows that would make `execute` take more than the first step.
        connection.executescript(f"PRAGMA incremental_vacuum({pages})")
    return unneeded(connection) * int(page_bytes)


def unneeded(connection: sqlite3.Connection) -> int:
    """How many pages there are to give back."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if not mode:
        return 0
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return max(0, int(unused) - max(_SPARE_PAGES_MIN, int(pages) // _SPARE_SHARE))


class Retention(Connections, Protocol):
    """The part of `SqliteStore` that serves pruning."""

    async def expired(self, query: ExpiredQuery) -> list[Expired]:
        """By expiry and key."""
        return await self._page(expired, query)

    async def expired_count(self, tenant: str, until: int, ended_before: int) -> int:
        """Counted now."""
        return await self._page(expired_count, tenant, until, ended_before)

    async def first_expiries(self) -> list[tuple[str, int]]:
        """By tenant."""
        return await self._page(first_expiries)

    async def leftovers(self, limit: int) -> list[int]:
        """By key."""
        return await self._point(leftovers, limit)

    async def give_back(self, bytes_max: int) -> int:
        """Between two flushes, where there is any."""
        if not await self._point(unneeded):
            return 0
        return await self._tidy(give_back, bytes_max)
