"""Counting in SQLite: from the counts that are kept, along an index, or row by row."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from ..filters import fields_of
from ..listing_rows import LABEL_GROUPS, CountQuery, CountSlice
from .listing_sql import Sql, condition, joined
from .listing_walks import COUNTED_FIELDS, Cover, Walk, cover_of
from .sqlite_walks import DOWN, INT64_MAX, TableSurvey, between, branch, end_of, key_at

ENTRIES_PER_ROW: Final = 80
"""Entries of an index in one slice for each row that it may look at: 20 of them are counted in the time of a row, and a
label of a million is to be done in a few slices."""
_ENTRIES_MIN: Final = 1_000

_COLUMNS = {"status": "e.status", "state": "e.state", "definition_id": "e.definition_id", "version": "e.version"}


def counted(connection: sqlite3.Connection, query: CountQuery) -> CountSlice:
    """From the counts that are kept, where they tell; else from the newest key downwards."""
    if fields_of(query.where) <= COUNTED_FIELDS and query.group_by in ("", *COUNTED_FIELDS):
        return _from_counts(connection, query)
    cover = cover_of(query.where, TableSurvey(connection, query.tenant))
    before = query.before or INT64_MAX
    if not cover.walks:
        return CountSlice(0, {}, 0)
    if _counts_alone(cover, query.group_by):
        return _along(connection, query, cover, before)
    end = end_of(connection, cover, DOWN, before, query.examined_max)
    sql = slice_sql(query, cover, before, end)
    return _slice(connection.execute(sql.text, sql.values).fetchall(), query, end or 0)


def _slice(rows: Sequence[tuple[Any, int]], query: CountQuery, before: int) -> CountSlice:
    groups = {str(value): count for value, count in rows if value is not None} if query.group_by else {}
    return CountSlice(sum(count for _, count in rows), groups, before)


def _from_counts(connection: sqlite3.Connection, query: CountQuery) -> CountSlice:
    where = condition(query.where)
    value = _COLUMNS[query.group_by] if query.group_by else "''"
    text = f"SELECT {value}, sum(e.executions) FROM execution_kinds AS e WHERE e.tenant = ? AND {where.text} GROUP BY 1"
    return _slice(connection.execute(text, (query.tenant, *where.values)).fetchall(), query, 0)


# -- along an index --------------------------------------------------------------------------------------------


def _counts_alone(cover: Cover, group_by: str) -> bool:
    """Whether counting what the walks meet is the answer."""
    told = not group_by or (group_by == "status" and all(walk.status for walk in cover.walks))
    return told and cover.exact and cover.disjoint and not any(walk.distinct for walk in cover.walks)


def _along(connection: sqlite3.Connection, query: CountQuery, cover: Cover, before: int) -> CountSlice:
    """Entries are counted, and no row is read. Every walk is counted as far down as the one that ends first."""
    most = max(query.examined_max * ENTRIES_PER_ROW // len(cover.walks), _ENTRIES_MIN) if query.examined_max else 0
    met = [_stretch(connection, walk, before, most) for walk in cover.walks]
    end = max(last for _, last in met)
    groups: Counter[str] = Counter()
    for walk, (count, last) in zip(cover.walks, met, strict=True):
        groups[walk.status] += count if last == end else _from(connection, walk, before, end)
    found = {status: count for status, count in groups.items() if count}
    return CountSlice(groups.total(), found if query.group_by else {}, end)


def _stretch(connection: sqlite3.Connection, walk: Walk, before: int, most: int) -> tuple[int, int]:
    """How many entries there are below a key, and the last one's key; 0: no more than `most` (0: any number)."""
    if not most:
        return _from(connection, walk, before, 0), 0
    text = (
        f"SELECT count(*) FROM (SELECT 1 FROM {walk.source} WHERE {walk.found.text} AND {walk.key} < ? "
        f"ORDER BY {walk.key} DESC LIMIT ?)"
    )
    (count,) = connection.execute(text, (*walk.found.values, before, most)).fetchone()
    return count, (key_at(connection, walk, DOWN, before, most) or 0) if count == most else 0


def _from(connection: sqlite3.Connection, walk: Walk, before: int, end: int) -> int:
    text = f"SELECT count(*) FROM {walk.source} WHERE {walk.found.text} AND {walk.key} < ? AND {walk.key} >= ?"
    (count,) = connection.execute(text, (*walk.found.values, before, end)).fetchone()
    return int(count)


# -- row by row ------------------------------------------------------------------------------------------------


def slice_sql(query: CountQuery, cover: Cover, before: int, end: int | None) -> Sql:
    """The statement that counts between two keys."""
    where = None if cover.exact else condition(query.where)
    branches = [branch(walk, query.tenant, where, DOWN, before, end) for walk in cover.walks]
    keys = joined("", [Sql("("), joined(between(cover), branches), Sql(")")])
    if not query.group_by:
        return Sql(f"SELECT '', count(*) FROM {keys.text}", keys.values)
    value = _value(query.group_by)
    text = f"SELECT {value.text}, count(*) FROM {keys.text} AS p CROSS JOIN executions AS e ON e.key = p.k GROUP BY 1"
    return Sql(text, value.values + keys.values)


def _value(group_by: str) -> Sql:
    if group_by.startswith(LABEL_GROUPS):
        name = group_by.removeprefix(LABEL_GROUPS)
        return Sql("(SELECT o.value FROM json_each(e.labels) AS o WHERE o.key = ?)", (name,))
    return Sql(_COLUMNS[group_by])
