"""Listing and counting in SQLite: a few walks along indexes, of bounded length, and one statement for the page.

Where the indexes meet rows that do not match, a first statement finds how far the walks go until they have looked at
as many rows as they may; the page then ends there. Each reading is one transaction, so that no row slips from one walk
into another meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from ..filters import All, Begins, Filter, after_prefix, fields_of
from ..listing_rows import LABEL_GROUPS, CountQuery, CountSlice, ListPage, ListQuery, Order, Position, position_of
from ..rows import ExecutionRecord
from .connection import Connection
from .listing_sql import CLASS_FIELDS, FEW_ROWS, WALKS_MAX, Cover, Group, Sql, Walk, condition, cover_of, joined
from .sqlite_rows import record_of

T = TypeVar("T")

_RECORD = """e.key, e.tenant, e.execution_id, e.status, e.state, e.definition_id, e.version, CAST(e.labels AS BLOB),
       e.sequence, e.hash, e.started_at, e.updated_at, e.ended_at, e.incidents"""
_INT64_MAX = 2**63 - 1


class SqliteListing:
    """The verbs `listed` and `counted`."""

    _pages: Connection

    async def listed(self, query: ListQuery) -> ListPage:
        """One page."""
        return await self._pages.run(lambda connection: _at_one_moment(connection, listed, query))

    async def counted(self, query: CountQuery) -> CountSlice:
        """One slice, the newest keys first."""
        return await self._pages.run(lambda connection: _at_one_moment(connection, counted, query))


def _at_one_moment(
    connection: sqlite3.Connection, read: Callable[[sqlite3.Connection, Any], T], query: ListQuery | CountQuery
) -> T:
    connection.execute("BEGIN")
    try:
        return read(connection, query)
    finally:
        connection.execute("COMMIT")


def listed(connection: sqlite3.Connection, query: ListQuery) -> ListPage:
    """A page in the order asked for."""
    match query.order:
        case Order.CREATED:
            return _by_key(connection, query)
        case Order.ENDED:
            return _ordered(connection, query, _ENDED)
        case Order.ID:
            return _ordered(connection, query, _by_id(query.where))


# -- by key ----------------------------------------------------------------------------------------------------


class _Way(NamedTuple):
    """A direction along the keys."""

    behind: str
    """The comparison of a key with one that came before."""
    up_to: str
    """The comparison of a key with the last one."""
    word: str
    start: int


_DOWN = _Way("<", ">=", "DESC", _INT64_MAX)
_UP = _Way(">", "<=", "ASC", 0)


def _by_key(connection: sqlite3.Connection, query: ListQuery) -> ListPage:
    cover = cover_of(query.where, _Survey(connection, query.tenant))
    way = _DOWN if query.descending else _UP
    after = int(query.after[0]) if query.after else way.start
    end = None if cover.exact else _end(connection, cover, way, after, query.examined_max)
    if not cover.walks:
        return ListPage([], ())
    sql = page_sql(query, cover, after, end)
    records = [record_of(row) for row in connection.execute(sql.text, sql.values)]
    return _page(records, query, (end,) if end is not None else ())


def _page(records: list[ExecutionRecord], query: ListQuery, end: Position) -> ListPage:
    """Whoever has filled the page goes on behind its last row, else where the walks have ended."""
    return ListPage(records, position_of(records[-1], query.order) if len(records) >= query.limit else end)


def page_sql(query: ListQuery, cover: Cover, after: int, end: int | None) -> Sql:
    """The statement of a page in the order of the keys; `end`: the last key to look at."""
    way = _DOWN if query.descending else _UP
    limit = Sql(f" ORDER BY k {way.word} LIMIT ?", (query.limit,))
    where = None if cover.exact else condition(query.where)
    branches = [
        joined("", [Sql("SELECT k FROM ("), _branch(walk, query.tenant, where, way, after, end), limit, Sql(")")])
        for walk in cover.walks
    ]
    head = Sql(f"SELECT {_RECORD} FROM (SELECT k FROM (")
    tail = Sql(f") AS p CROSS JOIN executions AS e ON e.key = p.k ORDER BY p.k {way.word}")
    return joined("", [head, joined(_between(cover), branches), Sql(")"), limit, tail])


def _between(cover: Cover) -> str:
    return " UNION ALL " if cover.disjoint else " UNION "


def _branch(walk: Walk, tenant: str, where: Sql | None, way: _Way, after: int, end: int | None) -> Sql:
    """The keys that one walk meets between two places."""
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


def _end(connection: sqlite3.Connection, cover: Cover, way: _Way, after: int, examined_max: int) -> int | None:
    """The key up to which the walks together meet about so many rows, at most half as many again; None: they end
    before."""
    if not examined_max or not cover.walks:
        return None
    ends: list[int] = []
    for walk, rows in zip(cover.walks, shares(cover.walks, examined_max), strict=True):
        sql = end_sql(walk, after, rows, descending=way is _DOWN)
        row = connection.execute(sql.text, sql.values).fetchone()
        if row is not None:
            ends.append(row[0])
    if not ends:
        return None
    return max(ends) if way is _DOWN else min(ends)


def shares(walks: Sequence[Walk], examined_max: int) -> list[int]:
    """How many rows of each walk may be looked at: as many as it has in proportion, for all end where the first one
    does, but never next to none."""
    equal = max(1, examined_max // len(walks))
    if not all(walk.rows for walk in walks):
        return [equal] * len(walks)
    total = sum(walk.rows for walk in walks)
    return [max(examined_max * walk.rows // total, equal // 4, 1) for walk in walks]


def end_sql(walk: Walk, after: int, rows: int, *, descending: bool) -> Sql:
    """The statement that tells the key of the last of so many rows of a walk."""
    way = _DOWN if descending else _UP
    text = (
        f"SELECT {walk.key} FROM {walk.source} WHERE {walk.found.text} AND {walk.key} {way.behind} ? "
        f"ORDER BY {walk.key} {way.word} LIMIT 1 OFFSET ?"
    )
    return Sql(text, (*walk.found.values, after, rows - 1))


class _Survey:
    """What execution_counts and the beginning of a walk tell."""

    def __init__(self, connection: sqlite3.Connection, tenant: str) -> None:
        self._connection = connection
        self.tenant = tenant

    def groups(self, tree: Filter) -> list[Group]:
        """From the counts."""
        where = condition(tree)
        text = (
            "SELECT e.definition_id, e.version, e.status, e.executions FROM execution_counts AS e "
            f"WHERE e.tenant = ? AND e.executions > 0 AND {where.text} LIMIT ?"
        )
        rows = self._connection.execute(text, (self.tenant, *where.values, WALKS_MAX + 1))
        return [Group(*row) for row in rows]

    def statuses(self) -> dict[str, int]:
        """From the counts."""
        text = (
            "SELECT status, sum(executions) FROM execution_counts WHERE tenant = ? AND executions > 0 GROUP BY status"
        )
        return dict(self._connection.execute(text, (self.tenant,)))

    def is_few(self, walk: Walk) -> bool:
        """By walking so far."""
        sql = end_sql(walk, _INT64_MAX, FEW_ROWS + 1, descending=True)
        return self._connection.execute(sql.text, sql.values).fetchone() is None


# -- in other orders -------------------------------------------------------------------------------------------


class _Index(NamedTuple):
    """An index that stands in the order asked for, and what of it is wanted."""

    source: str
    columns: tuple[str, ...]
    found: Sql


_ENDED = _Index(
    "executions AS e INDEXED BY executions_by_end", ("e.ended_at", "e.key"), Sql("e.tenant = ? AND e.ended_at > 0")
)


def _by_id(tree: Filter) -> _Index:
    """A filter on the beginning of the id, which stands alone or joined by &&, is a stretch of the index."""
    parts = tree.parts if isinstance(tree, All) else (tree,)
    found = [Sql("e.tenant = ?")]
    for part in parts:
        if isinstance(part, Begins) and part.field == "execution_id":
            end = after_prefix(part.prefix)
            found.append(Sql("e.execution_id >= ?", (part.prefix,)))
            found += [Sql("e.execution_id < ?", (end,))] if end is not None else []
    return _Index("executions AS e INDEXED BY executions_by_id", ("e.execution_id",), joined(" AND ", found))


def _ordered(connection: sqlite3.Connection, query: ListQuery, index: _Index) -> ListPage:
    place: Position = ()
    if query.examined_max and query.where != All():
        sql = ordered_sql(query, index, ", ".join(index.columns), (), 1, query.examined_max - 1)
        row = connection.execute(sql.text, sql.values).fetchone()
        place = tuple(row) if row is not None else ()
    sql = ordered_sql(query, index, _RECORD, place, query.limit, 0)
    return _page([record_of(row) for row in connection.execute(sql.text, sql.values)], query, place)


def ordered_sql(query: ListQuery, index: _Index, what: str, end: Position, limit: int, offset: int) -> Sql:
    """The statement that reads from an index in its own order; without an `end`, whatever the index meets."""
    way = _DOWN if query.descending else _UP
    # The index's columns one by one: SQLite would use only the first of a row value that ends in the key.
    parts = [Sql(index.found.text, (query.tenant, *index.found.values))]
    parts += _bounds(index.columns, query.after, way.behind) if query.after else []
    parts += _bounds(index.columns, end, way.up_to) if end else []
    if what == _RECORD:
        parts.append(condition(query.where))
    conditions = joined(" AND ", parts)
    order = ", ".join(f"{column} {way.word}" for column in index.columns)
    text = f"SELECT {what} FROM {index.source} WHERE {conditions.text} ORDER BY {order} LIMIT ? OFFSET ?"
    return Sql(text, (*conditions.values, limit, offset))


def _bounds(columns: Sequence[str], place: Position, comparison: str) -> list[Sql]:
    """Both a range of the first column, which the index answers, and the exact place."""
    first = Sql(f"{columns[0]} {comparison[0]}= ?", place[:1])
    if len(columns) == 1:
        return [Sql(f"{columns[0]} {comparison} ?", place)]
    return [first, Sql(f"({', '.join(columns)}) {comparison} ({', '.join('?' * len(place))})", place)]


# -- counting --------------------------------------------------------------------------------------------------

_VALUE_COLUMNS = {"status": "e.status", "state": "e.state", "definition_id": "e.definition_id", "version": "e.version"}


def counted(connection: sqlite3.Connection, query: CountQuery) -> CountSlice:
    """From the counts that are kept, where they tell; else from the newest key downwards."""
    if fields_of(query.where) <= CLASS_FIELDS and query.group_by in ("", *CLASS_FIELDS):
        return _from_counts(connection, query)
    cover = cover_of(query.where, _Survey(connection, query.tenant))
    before = query.before or _INT64_MAX
    if not cover.walks:
        return CountSlice(0, {}, 0)
    end = _end(connection, cover, _DOWN, before, query.examined_max)
    sql = slice_sql(query, cover, before, end)
    return _slice(connection.execute(sql.text, sql.values).fetchall(), query, end or 0)


def _slice(rows: Sequence[tuple[Any, int]], query: CountQuery, before: int) -> CountSlice:
    groups = {str(value): count for value, count in rows if value is not None} if query.group_by else {}
    return CountSlice(sum(count for _, count in rows), groups, before)


def _from_counts(connection: sqlite3.Connection, query: CountQuery) -> CountSlice:
    where = condition(query.where)
    value = _VALUE_COLUMNS[query.group_by] if query.group_by else "''"
    text = (
        f"SELECT {value}, sum(e.executions) FROM execution_counts AS e "
        f"WHERE e.tenant = ? AND e.executions > 0 AND {where.text} GROUP BY 1"
    )
    return _slice(connection.execute(text, (query.tenant, *where.values)).fetchall(), query, 0)


def slice_sql(query: CountQuery, cover: Cover, before: int, end: int | None) -> Sql:
    """The statement that counts between two keys."""
    where = None if cover.exact else condition(query.where)
    branches = [_branch(walk, query.tenant, where, _DOWN, before, end) for walk in cover.walks]
    keys = joined("", [Sql("("), joined(_between(cover), branches), Sql(")")])
    if not query.group_by:
        return Sql(f"SELECT '', count(*) FROM {keys.text}", keys.values)
    value = _value(query.group_by)
    text = f"SELECT {value.text}, count(*) FROM {keys.text} AS p CROSS JOIN executions AS e ON e.key = p.k GROUP BY 1"
    return Sql(text, value.values + keys.values)


def _value(group_by: str) -> Sql:
    if group_by.startswith(LABEL_GROUPS):
        name = group_by.removeprefix(LABEL_GROUPS)
        return Sql("(SELECT o.value FROM json_each(e.labels) AS o WHERE o.key = ?)", (name,))
    return Sql(_VALUE_COLUMNS[group_by])
