"""Feeds of tenants and subscriptions in SQLite: their part of a batch, and their reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..feed_rows import Before, FeedBounds, SubscriptionRow, TenantEvent, TenantPage
from ..rows import StoredEvent
from .changes import Changes
from .connection import Connections
from .sql import statements
from .wanted import Known, Wanted

_SQL = statements("feeds.sql")
_FIRST_STATE = "pending"


# -- within a batch --------------------------------------------------------------------------------------------


def look_up(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    """Add what is stored of the subscriptions that are wanted."""
    for place in wanted.subscriptions:
        row = connection.execute(_SQL["subscription"], place).fetchone()
        if row is not None:
            known.subscriptions[place] = SubscriptionRow(*row)
    for tenant in wanted.subscribers:
        (known.subscription_counts[tenant],) = connection.execute(_SQL["subscription_count"], (tenant,)).fetchone()


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Make the changes."""
    for place, row in changes.subscriptions.items():
        if row is None:
            connection.execute(_SQL["delete_subscription"], place)
        else:
            connection.execute(_SQL["put_subscription"], msgspec.structs.astuple(row))
    for mark in changes.feeds_pruned.items():
        connection.execute(_SQL["put_pruned"], mark)


# -- reads -----------------------------------------------------------------------------------------------------


def tenant_events(
    connection: sqlite3.Connection, tenant: str, after: int, scan_max: int, limit: int, bytes_max: int
) -> TenantPage:
    """Rows first, then the mark: a pruning that the rows could have lost something by is seen in it."""
    bound, scanned = connection.execute(_SQL["feed_bound"], (after, scan_max)).fetchone()
    position, end = (after, True) if bound is None else (bound, scanned < scan_max)
    events: list[TenantEvent] = []
    size = 0
    cursor = connection.execute(_SQL["feed"], (after, position, tenant, limit + 1))
    for execution_id, definition_id, key, *stored in cursor:
        size += len(stored[2])
        if len(events) == limit or (events and size > bytes_max):
            position, end = events[-1].stored.position, False
            break
        events.append(TenantEvent(execution_id, definition_id, key, StoredEvent(*stored)))
    cursor.close()
    return TenantPage(events, position, end, _pruned(connection, tenant))


def _pruned(connection: sqlite3.Connection, tenant: str) -> int:
    row = connection.execute(_SQL["feed_pruned"], (tenant,)).fetchone()
    return int(row[0]) if row is not None else 0


def feed_bounds(connection: sqlite3.Connection, tenant: str) -> FeedBounds:
    """The last position first: what is pruned by then lies before it."""
    row = connection.execute(_SQL["last_position"]).fetchone()
    return FeedBounds(_pruned(connection, tenant), int(row[0]) if row is not None else 0)


def tenant_count(connection: sqlite3.Connection, tenant: str, after: int, scan_max: int) -> tuple[int, int]:
    """Counted within so many events of all tenants."""
    bound, _ = connection.execute(_SQL["feed_bound"], (after, scan_max)).fetchone()
    if bound is None:
        return 0, after
    (count,) = connection.execute(_SQL["feed_count"], (after, bound, tenant)).fetchone()
    return int(count), int(bound)


def before(connection: sqlite3.Connection, places: Sequence[tuple[int, int]]) -> list[Before]:
    """In the order asked for."""
    return [_before(connection, place) for place in places]


def _before(connection: sqlite3.Connection, place: tuple[int, int]) -> Before:
    state = connection.execute(_SQL["state_before"], place).fetchone()
    context = connection.execute(_SQL["context_before"], place).fetchone()
    return Before(state[0] if state is not None else _FIRST_STATE, context[0] if context is not None else None)


def subscription(connection: sqlite3.Connection, tenant: str, subscription_id: str) -> SubscriptionRow | None:
    """One of them."""
    row = connection.execute(_SQL["subscription"], (tenant, subscription_id)).fetchone()
    return SubscriptionRow(*row) if row is not None else None


def subscriptions(connection: sqlite3.Connection, tenant: str, after: str, limit: int) -> list[SubscriptionRow]:
    """By id."""
    return [SubscriptionRow(*row) for row in connection.execute(_SQL["subscriptions"], (tenant, after, limit))]


class FeedReads(Connections, Protocol):
    """The part of `SqliteStore` that reads feeds and subscriptions."""

    async def tenant_events(self, tenant: str, after: int, scan_max: int, limit: int, bytes_max: int) -> TenantPage:
        """By position."""
        return await self._page(tenant_events, tenant, after, scan_max, limit, bytes_max)

    async def feed_bounds(self, tenant: str) -> FeedBounds:
        """As they are now."""
        return await self._point(feed_bounds, tenant)

    async def tenant_count(self, tenant: str, after: int, scan_max: int) -> tuple[int, int]:
        """Counted now."""
        return await self._page(tenant_count, tenant, after, scan_max)

    async def before(self, places: Sequence[tuple[int, int]]) -> list[Before]:
        """Looked for backwards from each."""
        return await self._page(before, places)

    async def subscription(self, tenant: str, subscription_id: str) -> SubscriptionRow | None:
        """One of them."""
        return await self._point(subscription, tenant, subscription_id)

    async def subscriptions(self, tenant: str, after: str, limit: int) -> list[SubscriptionRow]:
        """By id."""
        return await self._page(subscriptions, tenant, after, limit)
