"""Durable subscriptions: a named position in the events of a tenant, for readers that come back.

Events are pulled from the acknowledged position, each at least once: what was pulled and not acknowledged comes again.
Acknowledging goes forward only, so that a late acknowledgement of an earlier pull repeats nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from .batch import request_reused
from .core.refusals import Kind, Refusal, Refused
from .event_filters import event_filter
from .feed_rows import SubscriptionAck, SubscriptionCreation, SubscriptionDeletion, SubscriptionRow
from .ports import Clock, StorageFailedError, Store
from .positions import Position
from .requests import Caller, invalid
from .rows import Request
from .settings import Settings
from .tenant_feeds import FeedPage, Reader, TenantFeeds
from .writes import Lost, Outcome, Why, Write

SUBSCRIPTION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
_USED_EVERY_US: Final = 60_000_000
"""A pull is noted on disk this often."""
_LAG_SAMPLE_EVENTS: Final = 2_000
"""Events of all tenants after a position that are looked at for its lag; beyond them it is estimated."""
_SEARCH_SECONDS: Final = 1.0
"""How long a pull looks for an event that its filter wants, among those that are there, where it does not wait."""


class Subscription(msgspec.Struct, frozen=True):
    """A subscription as it is shown."""

    row: SubscriptionRow
    lag_events: int
    """How many events of the tenant come after its position; estimated where they are many."""

    @property
    def position(self) -> Position:
        """Up to where events are acknowledged."""
        return Position(self.row.position, self.row.pruned)


class Journal(Protocol):
    """What subscriptions need of the journal."""

    def submit(self, write: Write) -> asyncio.Future[Outcome]:
        """Put it into the next flush."""
        ...

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Submit, and wait for the answer."""
        ...


class Subscriptions:
    """All durable subscriptions of one engine."""

    def __init__(self, store: Store, journal: Journal, feeds: TenantFeeds, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._journal = journal
        self._feeds = feeds
        self._clock = clock
        self._settings = settings

    async def create(
        self,
        caller: Caller,
        subscription_id: str,
        filter_text: str = "",
        position: Position | None = None,
        *,
        from_start: bool = False,
    ) -> Subscription:
        """A new subscription, after `position`, from the oldest event, or from now on; or the one that has this id and
        filter."""
        _check_id(subscription_id)
        event_filter(filter_text)
        begin = await self._feeds.begin(caller.tenant, position, from_start=from_start)
        row = SubscriptionRow(caller.tenant, subscription_id, filter_text, *begin, self._clock.now())
        write = SubscriptionCreation(row, self._settings.subscriptions_max, self._requests(caller, subscription_id))
        outcome = await self._journal.write(write)
        if isinstance(outcome, Lost):
            self._settle(caller, outcome, subscription_id, Why.EXISTS)
        stored = await self._row(caller.tenant, subscription_id)
        if stored.filter != filter_text:
            raise Refused(_taken(subscription_id, stored.filter))
        return await self._shown(stored)

    async def get(self, tenant: str, subscription_id: str) -> Subscription:
        """One subscription. Raises Refused SUBSCRIPTION_NOT_FOUND."""
        return await self._shown(await self._row(tenant, subscription_id))

    async def list(self, tenant: str, after: str = "", limit: int = 100) -> list[Subscription]:
        """Subscriptions by id, after this one."""
        rows = await self._store.subscriptions(tenant, after, min(limit, self._settings.page_items_max))
        return [await self._shown(row) for row in rows]

    async def pull(
        self, caller: Caller, subscription_id: str, limit: int, bytes_max: int, wait_us: int = 0
    ) -> FeedPage:
        """The next events, once there is one or the wait is over. Acknowledge the position also of a page without
        events: it spares the next pull the way there."""
        row = await self._row(caller.tenant, subscription_id)
        self._use(row)
        wanted, position = event_filter(row.filter), Position(row.position, row.pruned)
        with self._feeds.reading(caller.tenant, position, wanted) as reader:
            return await self._first(reader, limit, bytes_max, wait_us / 1_000_000)

    async def _first(self, reader: Reader, limit: int, bytes_max: int, wait_seconds: float) -> FeedPage:
        """The first page with events, or the last one in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            page = await reader.read(limit, bytes_max)
            spent = loop.time() - began
            if page.events or self._feeds.closing or spent >= max(wait_seconds, _SEARCH_SECONDS):
                return page
            if page.end:
                if spent >= wait_seconds:
                    return page
                await reader.rest(wait_seconds - spent)

    async def acknowledge(self, caller: Caller, subscription_id: str, position: Position) -> Subscription:
        """Events up to the position are taken care of; one behind the stored position changes nothing."""
        tenant, now = caller.tenant, self._clock.now()
        requests = self._requests(caller, subscription_id)
        write = SubscriptionAck(tenant, subscription_id, position.number, position.pruned, now, requests)
        outcome = await self._journal.write(write)
        if isinstance(outcome, Lost):
            self._settle(caller, outcome, subscription_id)
        return await self.get(tenant, subscription_id)

    async def delete(self, caller: Caller, subscription_id: str) -> None:
        """It goes, and its id is free again."""
        write = SubscriptionDeletion(caller.tenant, subscription_id, self._requests(caller, subscription_id))
        outcome = await self._journal.write(write)
        if isinstance(outcome, Lost):
            self._settle(caller, outcome, subscription_id)

    def _requests(self, caller: Caller, subscription_id: str) -> tuple[Request, ...]:
        request = caller.remembered(subscription_id, self._clock.now(), self._settings)
        return (request,) if request is not None else ()

    def _settle(self, caller: Caller, lost: Lost, subscription_id: str, *harmless: Why) -> None:
        """Nothing, where the write was a repeat or its loss is harmless. Raises Refused."""
        match lost.why:
            case Why.DUPLICATE_REQUEST:
                if lost.stored is not None and lost.stored.fingerprint != caller.fingerprint:
                    raise Refused(request_reused(caller.request_id))
            case Why.NOT_FOUND:
                raise Refused(_not_found(subscription_id))
            case Why.LIMIT:
                raise Refused(_full(self._settings.subscriptions_max))
            case why if why not in harmless:
                raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", lost.message or why.value))
            case _:
                pass

    async def _row(self, tenant: str, subscription_id: str) -> SubscriptionRow:
        row = await self._store.subscription(tenant, subscription_id)
        if row is None:
            raise Refused(_not_found(subscription_id))
        return row

    async def _shown(self, row: SubscriptionRow) -> Subscription:
        last = (await self._store.feed_bounds(row.tenant)).last
        count, looked = await self._store.tenant_count(row.tenant, row.position, _LAG_SAMPLE_EVENTS)
        if looked >= last or looked == row.position:
            return Subscription(row, count)
        return Subscription(row, count * (last - row.position) // (looked - row.position))

    def _use(self, row: SubscriptionRow) -> None:
        """Note the pull on disk, now and then. No part of the answer: reads go on where nothing can be written."""
        now = self._clock.now()
        if now - row.used_at < _USED_EVERY_US:
            return
        with suppress(Refused, StorageFailedError):
            noted = self._journal.submit(SubscriptionAck(row.tenant, row.subscription_id, 0, 0, now))
            noted.add_done_callback(lambda future: future.cancelled() or future.exception())


def _check_id(value: str) -> None:
    if not SUBSCRIPTION_ID.fullmatch(value):
        raise invalid("subscription_id", f"{value!r} does not match {SUBSCRIPTION_ID.pattern}")


def _not_found(subscription_id: str) -> Refusal:
    return Refusal(
        Kind.NOT_FOUND,
        "SUBSCRIPTION_NOT_FOUND",
        f"there is no subscription {subscription_id!r}",
        resource_type="subscription",
        resource=subscription_id,
    )


def _taken(subscription_id: str, filter_text: str) -> Refusal:
    return Refusal(
        Kind.EXISTS,
        "SUBSCRIPTION_ALREADY_EXISTS",
        f"subscription {subscription_id!r} exists, with the filter {filter_text!r}",
        {"filter": filter_text[:200]},
        resource_type="subscription",
        resource=subscription_id,
    )


def _full(limit: int) -> Refusal:
    return Refusal(
        Kind.BUSY,
        "SERVER_BUSY",
        f"the tenant has {limit} subscriptions already (subscriptions_max); delete those that nobody pulls from",
        {"limit": str(limit), "limit_name": "subscriptions_max"},
    )
