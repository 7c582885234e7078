"""What is asked of a store about many executions at once, and its answers: one page, one slice of a count."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from .filters import EVERYTHING, Filter
from .rows import ExecutionRecord


class Order(enum.Enum):
    """What a listing goes by. But for UPDATED none of it changes while an execution lives, so pages stay put under
    writes."""

    CREATED = "created_at"
    """As they were accepted."""
    ENDED = "ended_at"
    """As they ended; those that have not are left out."""
    ID = "execution_id"
    """By the code points of their ids."""
    UPDATED = "updated_at"
    """As they changed last. Every step moves one, and none comes twice: what changes while the rest is listed may be
    left out, and is the newest of a new listing. No index stands in this order, for each step would pay for it: each
    page looks at all that may match."""


Position: TypeAlias = tuple[int | str, ...]
"""A place in a listing, of a row or between two: CREATED (key), ENDED (ended_at, key), ID (execution id), UPDATED
(updated_at, key, and the last change there was when the listing began). Empty: before the first."""


class ListQuery(msgspec.Struct, frozen=True):
    """Which executions to list."""

    tenant: str
    where: Filter = EVERYTHING
    order: Order = Order.CREATED
    descending: bool = True
    after: Position = ()
    limit: int = 100
    examined_max: int = 0
    """Rows to look at where an index does not tell which match: then the page ends early, or is refused where its order
    needs all of them. 0: any number."""


class ListPage(msgspec.Struct, frozen=True):
    """Some executions in the order asked for."""

    records: list[ExecutionRecord]
    after: Position
    """Where to go on; empty: there is nothing behind. Fewer records than asked for, even none, may have one."""
    too_many: bool = False
    """The order needs more rows to be looked at than may be: nothing is listed."""


LABEL_GROUPS: Final = "labels."


class CountQuery(msgspec.Struct, frozen=True):
    """Which executions to count, and by what."""

    tenant: str
    where: Filter = EVERYTHING
    group_by: str = ""
    """`status`, `state`, `definition_id`, `version`, `labels.<name>`; empty: the whole only."""
    before: int = 0
    """Only keys below this one; 0: from the newest."""
    examined_max: int = 0
    """As in ListQuery: then the slice ends early."""


class CountSlice(msgspec.Struct, frozen=True):
    """How many there are in a stretch of keys."""

    count: int
    groups: dict[str, int]
    """By value; without those that have no such label."""
    before: int
    """Where to go on; 0: this was all."""


def position_of(record: ExecutionRecord, order: Order) -> Position:
    """A row's place; for UPDATED without when the listing began."""
    match order:
        case Order.CREATED:
            return (record.key,)
        case Order.ENDED:
            return (record.head.ended_at, record.key)
        case Order.ID:
            return (record.ref.execution_id,)
        case Order.UPDATED:
            return (record.head.updated_at, record.key)


def by_change(places: Iterable[tuple[int, int]], query: ListQuery) -> tuple[list[int], Position]:
    """A page in the order UPDATED, of (updated_at, key) of all that match: the keys, and where to go on. What has
    changed since the listing began is left out, for it may have been in a page before."""
    standing = sorted(places, reverse=query.descending)
    if not standing:
        return [], ()
    after, began = query.after[:2], query.after[2:] or max(standing[0], standing[-1])[:1]
    if after:
        behind = [place for place in standing if (place < after if query.descending else place > after)]
        standing = [place for place in behind if place[:1] <= began]
    page = standing[: query.limit]
    return [key for _, key in page], (*page[-1], *began) if len(page) == query.limit else ()
