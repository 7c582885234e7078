"""Pruning in memory. A history goes with its execution, however long it is."""

from __future__ import annotations

from typing import Protocol

from ..retention_rows import Expired, ExpiredQuery
from ..rows import ExecutionRecord
from .changes import Changes
from .memory_executions import ExecutionTables
from .memory_feeds import FeedTables
from .memory_lifecycle import LifecycleTables
from .wanted import Known, Wanted


class RetentionTables:
    """When executions may be pruned by themselves."""

    def __init__(self, executions: ExecutionTables, lifecycle: LifecycleTables, feeds: FeedTables) -> None:
        self._executions = executions
        self._lifecycle = lifecycle
        self._feeds = feeds
        self.expiries: dict[int, tuple[str, int, int]] = {}
        """By execution: tenant, time, position of its last event."""

    def look_up(self, wanted: Wanted, known: Known) -> None:
        """Add what is stored of the executions that are to go."""
        for tenant in wanted.acknowledged:
            rows = [row.position for (owner, _), row in self._feeds.subscriptions.items() if owner == tenant]
            if rows:
                known.acknowledged[tenant] = min(rows)
        keys = known.to_prune(wanted)
        for key in keys:
            events = self._executions.histories[key].events
            known.last_positions[key] = events[-1].position if events else 0
        known.emitting.update(row.key for row in self._lifecycle.outbox.values() if row.key in keys)

    def carry_out(self, changes: Changes) -> None:
        """Make the changes."""
        for key, expiry in changes.expiries.items():
            self.expiries.pop(key, None)
            if expiry[1]:
                self.expiries[key] = expiry
        for record in changes.gone:
            self._take_away(record)

    def _take_away(self, record: ExecutionRecord) -> None:
        tables, key = self._executions, record.key
        del tables.executions[key], tables.keys[record.ref], tables.histories[key]
        tables.snapshots.pop(key, None)
        self.expiries.pop(key, None)
        for row in [row.id for row in tables.inbox.values() if row.key == key]:
            del tables.inbox[row]
        for number in [number for number, letter in tables.letters.items() if letter.key == key]:
            del tables.letters[number]


class _Tables(Protocol):
    """What the store keeps."""

    _executions: ExecutionTables
    _retention: RetentionTables


class Retention(_Tables, Protocol):
    """The part of `MemoryStore` that serves pruning."""

    async def expired(self, query: ExpiredQuery) -> list[Expired]:
        """By expiry and key."""
        found = sorted(
            Expired(expires_at, key, self._executions.executions[key].ref)
            for key, (tenant, expires_at, position) in self._retention.expiries.items()
            if tenant == query.tenant
            and query.after < (expires_at, key)
            and expires_at <= query.until
            and self._executions.executions[key].head.ended_at < query.ended_before
            and (position <= query.acknowledged or expires_at <= query.waited_until)
        )
        return found[: query.limit]

    async def expired_count(self, tenant: str, until: int, ended_before: int) -> int:
        """Counted now."""
        return len(await self.expired(ExpiredQuery(tenant, until, ended_before=ended_before, limit=2**62)))

    async def first_expiries(self) -> list[tuple[str, int]]:
        """By tenant."""
        first: dict[str, int] = {}
        for tenant, expires_at, _ in self._retention.expiries.values():
            first[tenant] = min(expires_at, first.get(tenant, expires_at))
        return sorted(first.items())

    async def leftovers(self, limit: int) -> list[int]:
        """There are none."""
        return []

    async def give_back(self, bytes_max: int) -> int:
        """There is no file."""
        return 0
