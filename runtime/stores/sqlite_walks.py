"""Walks along indexes as SQL: what one meets between two places, where it ends, and what the tables tell beforehand."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from ..filters import Filter, fields_of
from .listing_sql import Sql, condition, joined
from .listing_walks import Class, Cover, StateCount, Walk

INT64_MAX = 2**63 - 1


class Way(NamedTuple):
    """A direction along the keys."""

    behind: str
    """The comparison of a key with one that came before."""
    up_to: str
    """The comparison of a key with the last one."""
    word: str
    start: int


DOWN = Way("<", ">=", "DESC", INT64_MAX)
UP = Way(">", "<=", "ASC", 0)


def way_of(descending: bool) -> Way:
    """Downwards or upwards."""
    return DOWN if descending else UP


def between(cover: Cover) -> str:
    """What joins the walks of a cover."""
    return " UNION ALL " if cover.disjoint else " UNION "


def branch(walk: Walk, tenant: str, where: Sql | None, way: Way, after: int, end: int | None) -> Sql:
    """The keys `k` that one walk meets between two places, of rows that match."""
    what = "DISTINCT " if walk.distinct else ""
    parts = [walk.found, Sql(f"{walk.key} {way.behind} ?", (after,))]
    if end is not None:
        parts.append(Sql(f"{walk.key} {way.up_to} ?", (end,)))
    source = walk.source
    if where is not None:
        parts.append(where)
        if walk.key != "e.key":
            source += f" CROSS JOIN executions AS e ON e.key = {walk.key}"
            parts.append(Sql("e.tenant = ?", (tenant,)))
    conditions = joined(" AND ", parts)
    return Sql(f"SELECT {what}{walk.key} AS k FROM {source} WHERE {conditions.text}", conditions.values)


def end_of(connection: sqlite3.Connection, cover: Cover, way: Way, after: int, examined_max: int) -> int | None:
    """The key up to which the walks together meet about so many rows, at most half as many again; None: they end
    before."""
    if not examined_max or not cover.walks:
        return None
    ends: list[int] = []
    for walk, rows in zip(cover.walks, shares(cover.walks, examined_max), strict=True):
        key = key_at(connection, walk, way, after, rows)
        if key is not None:
            ends.append(key)
    if not ends:
        return None
    return max(ends) if way is DOWN else min(ends)


def shares(walks: Sequence[Walk], examined_max: int) -> list[int]:
    """How many rows of each walk may be looked at: as many as it has in proportion, for all end where the first one
    does, but never next to none."""
    equal = max(1, examined_max // len(walks))
    if not all(walk.rows for walk in walks):
        return [equal] * len(walks)
    total = sum(walk.rows for walk in walks)
    return [max(examined_max * walk.rows // total, equal // 4, 1) for walk in walks]


def nearest(connection: sqlite3.Connection, walks: Sequence[Walk], way: Way, after: int, count: int) -> list[Walk]:
    """Of many walks, those that begin next behind a place: a page of so many rows goes along no others."""
    begins = [(key, walk) for walk in walks if (key := key_at(connection, walk, way, after, 1)) is not None]
    begins.sort(key=lambda each: each[0], reverse=way is DOWN)
    return [walk for _, walk in begins[:count]]


def key_at(connection: sqlite3.Connection, walk: Walk, way: Way, after: int, rows: int) -> int | None:
    """The key of the last of so many rows; None: there are fewer."""
    sql = end_sql(walk, after, rows, way)
    row = connection.execute(sql.text, sql.values).fetchone()
    return row[0] if row is not None else None


def end_sql(walk: Walk, after: int, rows: int, way: Way) -> Sql:
    """The statement that tells the key of the last of so many rows of a walk."""
    text = (
        f"SELECT {walk.key} FROM {walk.source} WHERE {walk.found.text} AND {walk.key} {way.behind} ? "
        f"ORDER BY {walk.key} {way.word} LIMIT 1 OFFSET ?"
    )
    return Sql(text, (*walk.found.values, after, rows - 1))


def rows_up_to(connection: sqlite3.Connection, walk: Walk, rows_max: int) -> int:
    """How many rows a walk meets, counted so far."""
    text = f"SELECT count(*) FROM (SELECT 1 FROM {walk.source} WHERE {walk.found.text} LIMIT ?)"
    (count,) = connection.execute(text, (*walk.found.values, rows_max)).fetchone()
    return int(count)


# -- what the tables tell --------------------------------------------------------------------------------------


class TableSurvey:
    """What execution_kinds and the beginning of a walk tell."""

    def __init__(self, connection: sqlite3.Connection, tenant: str) -> None:
        self._connection = connection
        self.tenant = tenant

    def classes(self, tree: Filter, limit: int) -> list[Class]:
        """From the counts."""
        where = condition(tree)
        text = (
            "SELECT e.definition_id, e.version, e.status, sum(e.executions) FROM execution_kinds AS e "
            f"WHERE e.tenant = ? AND {where.text} GROUP BY 1, 2, 3 LIMIT ?"
        )
        rows = self._connection.execute(text, (self.tenant, *where.values, limit)).fetchall()
        partly = "state" in fields_of(tree)
        return [
            Class(definition, version, status, found, self._in_class(definition, version, status) if partly else found)
            for definition, version, status, found in rows
        ]

    def _in_class(self, definition_id: str, version: int, status: str) -> int:
        text = (
            "SELECT sum(executions) FROM execution_kinds "
            "WHERE tenant = ? AND definition_id = ? AND version = ? AND status = ?"
        )
        (count,) = self._connection.execute(text, (self.tenant, definition_id, version, status)).fetchone()
        return int(count)

    def statuses(self) -> dict[str, int]:
        """From the counts."""
        return self._statuses

    @cached_property
    def _statuses(self) -> dict[str, int]:
        text = "SELECT status, sum(executions) FROM execution_kinds WHERE tenant = ? GROUP BY status"
        return dict(self._connection.execute(text, (self.tenant,)))

    def states(self, states: Sequence[str]) -> list[StateCount]:
        """From the counts."""
        text = (
            "SELECT status, state, sum(executions) FROM execution_kinds "
            f"WHERE tenant = ? AND state IN ({', '.join('?' * len(states))}) GROUP BY 1, 2"
        )
        return [StateCount(*row) for row in self._connection.execute(text, (self.tenant, *states))]

    def few(self, walks: Sequence[Walk], rows_max: int) -> list[Walk] | None:
        """By walking so far."""
        left = rows_max
        found: list[Walk] = []
        for walk in walks:
            rows = rows_up_to(self._connection, walk, left + 1)
            left -= rows
            if left < 0:
                return None
            if rows:
                found.append(walk._replace(rows=rows))
        return found
