"""Listing and counting executions: the filter, the order, pages that stay put, counts in slices.

A page costs a bounded amount of work. Where no index tells what matches, it ends when it has looked at as many rows as
one page may, so it can be short or even empty and still have a token for the next one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from .core.refusals import Kind, Refusal, Refused, Violation
from .filter_text import parse_filter
from .listing import PageTokens, scope_of
from .listing_rows import LABEL_GROUPS, CountQuery, ListQuery, Order, Position, position_of
from .ports import Store
from .requests import Caller, invalid
from .rows import StoreInfo
from .settings import Settings
from .views import ExecutionView, basic_view

PAGE_ROWS_EXAMINED_MAX: Final = 10_000
"""Rows that one page looks at where no index tells which match."""
ORDERED_ROWS_MAX: Final = 5_000
"""Rows that a page in the order of the last change looks at, in which no index stands."""
SLICE_ROWS_EXAMINED_MAX: Final = 20_000
"""Rows of one slice of a count; other readings come between two slices."""
COUNT_GROUPS_MAX: Final = 10_000
"""Values that one count may tell apart."""
COUNT_GROUPS_SHOWN_MAX: Final = 1_000

_PAGE_ITEMS_DEFAULT: Final = 100
_GROUPS: Final = ("status", "state", "definition_id", "version")


class Page(msgspec.Struct, frozen=True):
    """One page of a listing."""

    items: list[ExecutionView]
    next_page_token: str
    """Empty: there is no more."""


class Count(msgspec.Struct, frozen=True):
    """How many executions match."""

    count: int
    groups: list[tuple[str, int]]
    """By value, the largest first, at most COUNT_GROUPS_SHOWN_MAX."""


class Listings:
    """What callers ask about many executions."""

    def __init__(self, store: Store, info: StoreInfo, settings: Settings) -> None:
        self._store = store
        self._tokens = PageTokens(info.secret, info.generation)
        self._page_items_max = settings.page_items_max

    async def page(
        self, caller: Caller, filter_text: str = "", page_size: int = 0, page_token: str = "", order_by: str = ""
    ) -> Page:
        """One page of executions, without their payloads. Raises Refused LIMIT_EXCEEDED where the order is that of the
        last change and the filter chooses too many."""
        if page_size < 0:
            raise invalid("page_size", "is below 0")
        order, descending = parse_order(order_by)
        scope = scope_of("ListExecutions", caller.tenant, filter_text, order.value, descending)
        token = self._tokens.read(scope, page_token)
        limit = min(page_size or _PAGE_ITEMS_DEFAULT, self._page_items_max)
        query = ListQuery(
            caller.tenant,
            parse_filter(filter_text),
            order,
            descending,
            after=msgspec.json.decode(token, type=Position) if token else (),
            limit=limit + 1,
            examined_max=ORDERED_ROWS_MAX if order is Order.UPDATED else PAGE_ROWS_EXAMINED_MAX,
        )
        found = await self._store.listed(query)
        if found.too_many:
            raise Refused(_too_many_to_order(order))
        after = found.after
        if len(found.records) > limit:
            place = position_of(found.records[limit - 1], order)
            after = (*place, *found.after[len(place) :])
        views = [basic_view(record) for record in found.records[:limit]]
        return Page(views, self._tokens.make(scope, msgspec.json.encode(after).decode()) if after else "")

    async def count(self, caller: Caller, filter_text: str = "", group_by: str = "") -> Count:
        """How many match; each that matches throughout is counted once, however long the counting takes. Raises
        Refused LIMIT_EXCEEDED where there are too many groups."""
        if group_by and group_by not in _GROUPS and group_by.removeprefix(LABEL_GROUPS) in ("", group_by):
            raise invalid("group_by", f"is one of {', '.join(_GROUPS)}, {LABEL_GROUPS}<name>")
        where = parse_filter(filter_text)
        query = CountQuery(caller.tenant, where, group_by, examined_max=SLICE_ROWS_EXAMINED_MAX)
        count, groups = 0, Counter[str]()
        while True:
            part = await self._store.counted(query)
            count += part.count
            groups.update(part.groups)
            if len(groups) > COUNT_GROUPS_MAX:
                raise Refused(_too_many_groups())
            if not part.before:
                break
            query = msgspec.structs.replace(query, before=part.before)
        largest = sorted(groups.items(), key=lambda group: (-group[1], group[0]))
        return Count(count, largest[:COUNT_GROUPS_SHOWN_MAX])


def parse_order(text: str) -> tuple[Order, bool]:
    """What to go by and whether downwards. Raises Refused: INVALID_FILTER."""
    words = text.split()
    if not words:
        return Order.CREATED, True
    field, *rest = words
    known = [order.value for order in Order]
    if field in known and rest in ([], ["desc"], ["asc"]):
        return Order(field), rest == ["desc"]
    message = f"order_by is one of {', '.join(known)}, with desc for the reverse, not {text!r}"
    raise Refused(
        Refusal(Kind.INVALID, "INVALID_FILTER", message, violations=(Violation("order_by", message, "INVALID_FILTER"),))
    )


def _too_many_to_order(order: Order) -> Refusal:
    message = (
        f"in the order of {order.value} a page looks at all executions that the filter may choose, at most "
        f"{ORDERED_ROWS_MAX}, and there are more; narrow the filter, or order by {Order.CREATED.value}"
    )
    return _too_much("order_by", message, "ordered_rows_max", ORDERED_ROWS_MAX)


def _too_many_groups() -> Refusal:
    message = f"there are more than {COUNT_GROUPS_MAX} groups; narrow the filter"
    return _too_much("group_by", message, "count_groups_max", COUNT_GROUPS_MAX)


def _too_much(field: str, message: str, limit: str, value: int) -> Refusal:
    violations = (Violation(field, message, "LIMIT_EXCEEDED"),)
    return Refusal(Kind.INVALID, "LIMIT_EXCEEDED", message, {"limit": limit, "value": str(value)}, violations)
