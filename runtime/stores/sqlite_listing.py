"""Listing in SQLite: a few walks along indexes, of bounded length, and one statement for the page.

Where the indexes meet rows that do not match, a first statement finds how far the walks go until they have looked at
as many rows as they may; the page then ends there. Each reading is one transaction, so that no row slips from one walk
into another meanwhile. How counts are read stands in sqlite_counting.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..filters import All, Begins, Filter, after_prefix
from ..listing_rows import CountQuery, CountSlice, ListPage, ListQuery, Order, Position, by_change, position_of
from ..rows import ExecutionRecord
from .connection import Connection
from .listing_sql import Sql, condition, joined
from .listing_walks import WALKS_MAX, Cover, cover_of
from .sqlite_counting import counted
from .sqlite_rows import record_of
from .sqlite_walks import DOWN, INT64_MAX, TableSurvey, between, branch, end_of, nearest, rows_up_to, way_of

T = TypeVar("T")

_RECORD = """e.key, e.tenant, e.execution_id, e.status, e.state, e.definition_id, e.version, CAST(e.labels AS BLOB),
       e.sequence, e.hash, e.started_at, e.updated_at, e.ended_at, e.incidents"""


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
        case Order.UPDATED:
            return _sorted(connection, query)


# -- by key ----------------------------------------------------------------------------------------------------


def _by_key(connection: sqlite3.Connection, query: ListQuery) -> ListPage:
    cover = cover_of(query.where, TableSurvey(connection, query.tenant))
    way = way_of(query.descending)
    after = int(query.after[0]) if query.after else way.start
    if len(cover.walks) > WALKS_MAX:
        query = msgspec.structs.replace(query, limit=min(query.limit, WALKS_MAX))
        cover = cover._replace(walks=tuple(nearest(connection, cover.walks, way, after, query.limit)))
    end = None if cover.exact else end_of(connection, cover, way, after, query.examined_max)
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
    way = way_of(query.descending)
    limit = Sql(f" ORDER BY k {way.word} LIMIT ?", (query.limit,))
    where = None if cover.exact else condition(query.where)
    branches = [
        joined("", [Sql("SELECT k FROM ("), branch(walk, query.tenant, where, way, after, end), limit, Sql(")")])
        for walk in cover.walks
    ]
    head = Sql(f"SELECT {_RECORD} FROM (SELECT k FROM (")
    tail = Sql(f") AS p CROSS JOIN executions AS e ON e.key = p.k ORDER BY p.k {way.word}")
    return joined("", [head, joined(between(cover), branches), Sql(")"), limit, tail])


# -- by the last change ----------------------------------------------------------------------------------------


def _sorted(connection: sqlite3.Connection, query: ListQuery) -> ListPage:
    """No index stands in this order: each page looks at all that the walks meet, and chooses."""
    cover = cover_of(query.where, TableSurvey(connection, query.tenant))
    if not cover.walks:
        return ListPage([], ())
    if not _meets_at_most(connection, cover, query.examined_max):
        return ListPage([], (), too_many=True)
    sql = places_sql(query, cover)
    keys, after = by_change(connection.execute(sql.text, sql.values).fetchall(), query)
    text = f"SELECT {_RECORD} FROM executions AS e WHERE e.key IN ({', '.join('?' * len(keys))})"
    records = {row[0]: record_of(row) for row in connection.execute(text, keys)}
    return ListPage([records[key] for key in keys], after)


def _meets_at_most(connection: sqlite3.Connection, cover: Cover, rows: int) -> bool:
    if len(cover.walks) > WALKS_MAX:
        return False
    left = rows or INT64_MAX - 1
    for walk in cover.walks:
        left -= walk.rows or rows_up_to(connection, walk, left + 1)
        if left < 0:
            return False
    return True


def places_sql(query: ListQuery, cover: Cover) -> Sql:
    """The statement that tells when each that matches has changed last, and its key."""
    where = None if cover.exact else condition(query.where)
    branches = [branch(walk, query.tenant, where, DOWN, DOWN.start, None) for walk in cover.walks]
    head = Sql("SELECT e.updated_at, e.key FROM (")
    return joined("", [head, joined(between(cover), branches), Sql(") AS p CROSS JOIN executions AS e ON e.key = p.k")])


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
    way = way_of(query.descending)
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
