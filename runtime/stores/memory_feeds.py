"""Feeds of tenants and subscriptions in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..feed_rows import Before, FeedBounds, SubscriptionRow, TenantEvent, TenantPage
from .changes import Changes
from .memory_executions import ExecutionTables, context_at, found
from .wanted import Known, Wanted


class FeedTables:
    """Subscriptions, the marks of prunings, and where the events of all tenants stand by position."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int, int]] = []
        """Position, execution's key, sequence: of every event ever written, by position."""
        self.subscriptions: dict[tuple[str, str], SubscriptionRow] = {}
        self.pruned: dict[str, int] = {}

    def look_up(self, wanted: Wanted, known: Known) -> None:
        """Add what is stored of what is wanted."""
        known.subscriptions.update(found(self.subscriptions, wanted.subscriptions))
        for tenant in wanted.subscribers:
            known.subscription_counts[tenant] = sum(owner == tenant for owner, _ in self.subscriptions)

    def carry_out(self, changes: Changes) -> None:
        """Make the changes."""
        self.places += [(position, key, event.sequence) for position, key, event in changes.events]
        for place, row in changes.subscriptions.items():
            if row is None:
                self.subscriptions.pop(place, None)
            else:
                self.subscriptions[place] = row
        for tenant, position in changes.feeds_pruned.items():
            self.pruned[tenant] = max(position, self.pruned.get(tenant, 0))


class _Tables(Protocol):
    """What the store keeps."""

    _executions: ExecutionTables
    _feeds: FeedTables


class FeedReads(_Tables, Protocol):
    """The part of `MemoryStore` that reads feeds and subscriptions."""

    async def tenant_events(self, tenant: str, after: int, scan_max: int, limit: int, bytes_max: int) -> TenantPage:
        """By position."""
        pruned = self._feeds.pruned.get(tenant, 0)
        looked = self._stored_after(after, scan_max)
        events: list[TenantEvent] = []
        size = 0
        for event in self._of_tenant(tenant, looked):
            size += len(event.stored.payload)
            if len(events) == limit or (events and size > bytes_max):
                return TenantPage(events, events[-1].stored.position, False, pruned)
            events.append(event)
        return TenantPage(events, looked[-1][0] if looked else after, len(looked) < scan_max, pruned)

    def _stored_after(self, after: int, scan_max: int) -> list[tuple[int, int, int]]:
        later = (place for place in self._feeds.places if place[0] > after and place[1] in self._executions.histories)
        return [place for place, _ in zip(later, range(scan_max), strict=False)]

    def _of_tenant(self, tenant: str, places: list[tuple[int, int, int]]) -> Iterator[TenantEvent]:
        for _, key, sequence in places:
            record = self._executions.executions[key]
            if record.ref.tenant == tenant:
                stored = self._executions.histories[key].events[sequence - 1]
                yield TenantEvent(record.ref.execution_id, record.head.definition_id, key, stored)

    async def feed_bounds(self, tenant: str) -> FeedBounds:
        """As they are now."""
        places = self._feeds.places
        return FeedBounds(self._feeds.pruned.get(tenant, 0), places[-1][0] if places else 0)

    async def tenant_count(self, tenant: str, after: int, scan_max: int) -> tuple[int, int]:
        """Counted now."""
        looked = self._stored_after(after, scan_max)
        return sum(1 for _ in self._of_tenant(tenant, looked)), looked[-1][0] if looked else after

    async def before(self, places: Sequence[tuple[int, int]]) -> list[Before]:
        """Looked for backwards from each."""
        return [self._before(key, sequence) for key, sequence in places]

    def _before(self, key: int, sequence: int) -> Before:
        history = self._executions.histories[key].events[: sequence - 1] if key in self._executions.histories else []
        state = next((event.to_state for event in reversed(history) if event.to_state is not None), "pending")
        return Before(state, context_at(history, sequence))

    async def subscription(self, tenant: str, subscription_id: str) -> SubscriptionRow | None:
        """One of them."""
        return self._feeds.subscriptions.get((tenant, subscription_id))

    async def subscriptions(self, tenant: str, after: str, limit: int) -> list[SubscriptionRow]:
        """By id."""
        places = sorted(place for place in self._feeds.subscriptions if place[0] == tenant and place[1] > after)
        return [self._feeds.subscriptions[place] for place in places[:limit]]
