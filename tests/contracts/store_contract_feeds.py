"""What every store must do with the feeds of tenants and with subscriptions."""

import msgspec
from tests.contracts.store_kit import (
    DAY,
    NOW,
    A,
    B,
    append,
    event,
    head,
    lost,
    request,
    start,
    started,
    whys,
    written,
)

from callboard.runtime.feed_rows import (
    Before,
    FeedBounds,
    FeedPruning,
    SubscriptionAck,
    SubscriptionCreation,
    SubscriptionDeletion,
    SubscriptionRow,
    TenantPage,
)
from callboard.runtime.ports import Store
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.writes import Why

OTHER = ExecutionRef("other", "a")
ROW = SubscriptionRow("acme", "s", 'event_name == "X"', 3, 1, NOW)


def creation(subscription_id: str = "s", tenant: str = "acme", limit: int = 10) -> SubscriptionCreation:
    return SubscriptionCreation(msgspec.structs.replace(ROW, tenant=tenant, subscription_id=subscription_id), limit, ())


def ack(position: int, at: int = NOW + 1, pruned: int = 0, tenant: str = "acme") -> SubscriptionAck:
    return SubscriptionAck(tenant, "s", position, pruned, at)


async def page(
    store: Store, after: int = 0, *, tenant: str = "acme", scan: int = 100, limit: int = 100, size: int = 1_000_000
) -> TenantPage:
    return await store.tenant_events(tenant, after, scan, limit, size)


def told(found: TenantPage) -> list[tuple[int, str, int]]:
    return [(each.stored.position, each.execution_id, each.stored.sequence) for each in found.events]


class Feeds:
    """Inherited by `StoreContract`."""

    async def test_a_feed_has_the_events_of_one_tenant_by_position(self, store: Store) -> None:
        a = await started(store)
        await written(store, start(OTHER), start(B), append(a, 1))
        found = await page(store)
        assert told(found) == [(1, "a", 1), (3, "b", 1), (4, "a", 2)]
        assert (found.position, found.end, found.pruned) == (4, True, 0)
        first = found.events[0]
        assert (first.key, first.definition_id, first.stored.name) == (a, "d", "ExecutionStarted")
        assert first.stored.context == b'{"user":"u"}' and first.stored.hash == bytes([1]) * 32
        assert told(await page(store, tenant="other")) == [(2, "a", 1)]
        assert await page(store, tenant="nobody") == TenantPage([], 4, True, 0)

    async def test_a_feed_goes_on_after_a_position(self, store: Store) -> None:
        await written(store, start(), start(OTHER), start(B))
        assert told(await page(store, 1)) == [(3, "b", 1)]
        assert await page(store, 3) == TenantPage([], 3, True, 0)
        assert await page(store, 9) == TenantPage([], 9, True, 0)

    async def test_a_read_looks_at_so_many_events_of_all_tenants(self, store: Store) -> None:
        await written(store, start(OTHER), start(ExecutionRef("other", "b")), start(A), start(B))
        found = await page(store, scan=2)
        assert (told(found), found.position, found.end) == ([], 2, False)
        found = await page(store, 2, scan=2)
        assert (told(found), found.position, found.end) == ([(3, "a", 1), (4, "b", 1)], 4, False)
        assert (await page(store, 2, scan=3)).end

    async def test_a_page_is_bounded_by_number_and_by_bytes(self, store: Store) -> None:
        large = [event(number, payload=b'"' + b"x" * 100 + b'"') for number in (1, 2, 3)]
        await written(store, start(events=large), start(OTHER))
        found = await page(store, limit=2)
        assert (told(found), found.position, found.end) == ([(1, "a", 1), (2, "a", 2)], 2, False)
        found = await page(store, size=250)
        assert (told(found), found.position, found.end) == ([(1, "a", 1), (2, "a", 2)], 2, False)
        found = await page(store, 2, size=1)
        assert (told(found), found.position, found.end) == ([(3, "a", 3)], 4, True)
        found = await page(store, limit=3)
        assert (found.position, found.end) == (4, True)

    async def test_a_store_knows_its_last_position(self, store: Store) -> None:
        assert await store.feed_bounds("acme") == FeedBounds(0, 0)
        await written(store, start(OTHER), start())
        assert await store.feed_bounds("acme") == FeedBounds(0, 2)
        assert await store.feed_bounds("nobody") == FeedBounds(0, 2)

    async def test_events_of_a_tenant_are_counted_within_a_stretch(self, store: Store) -> None:
        await written(store, start(), start(OTHER), start(B))
        assert await store.tenant_count("acme", 0, 100) == (2, 3)
        assert await store.tenant_count("acme", 1, 1) == (0, 2)
        assert await store.tenant_count("acme", 3, 100) == (0, 3)

    async def test_what_holds_before_an_event_is_found(self, store: Store) -> None:
        events = [
            event(1, "ExecutionStarted", to_state="running", context=b'{"user":"u"}'),
            event(2),
            event(3, to_state="shipping"),
            event(4, context=b"{}"),
        ]
        key = await started(store, events=events)
        assert await store.before([(key, 4), (key, 1), (key, 3), (key, 5), (99, 2)]) == [
            Before("shipping", b'{"user":"u"}'),
            Before("pending", None),
            Before("running", b'{"user":"u"}'),
            Before("shipping", b"{}"),
            Before("pending", None),
        ]

    async def test_a_pruning_leaves_a_mark_that_never_goes_back(self, store: Store) -> None:
        await written(store, start(), start(B), FeedPruning("acme", 2))
        assert (await store.feed_bounds("acme")).pruned == 2
        await written(store, FeedPruning("acme", 1), FeedPruning("other", 1))
        assert (await store.feed_bounds("acme")).pruned == (await page(store)).pruned == 2
        assert (await page(store, tenant="other")).pruned == 1
        await written(store, FeedPruning("acme", 1), FeedPruning("acme", 5), FeedPruning("acme", 4))
        assert (await store.feed_bounds("acme")).pruned == 5

    async def test_a_subscription_is_made_once_and_found_in_its_tenant(self, store: Store) -> None:
        await written(store, creation())
        assert await store.subscription("acme", "s") == ROW
        assert await store.subscription("other", "s") is None
        assert (await lost(store, creation())).why is Why.EXISTS
        assert whys(await store.write([creation("t"), creation("t"), creation(tenant="other")])) == [
            None,
            Why.EXISTS,
            None,
        ]
        assert [row.subscription_id for row in await store.subscriptions("acme", "", 10)] == ["s", "t"]
        assert [row.subscription_id for row in await store.subscriptions("acme", "s", 10)] == ["t"]
        assert [row.tenant for row in await store.subscriptions("other", "", 10)] == ["other"]
        assert len(await store.subscriptions("acme", "", 1)) == 1

    async def test_a_tenant_has_so_many_subscriptions(self, store: Store) -> None:
        batch = [creation("s", limit=2), creation("s", "other", 2), creation("t", limit=2), creation("u", limit=2)]
        assert whys(await store.write(batch)) == [None, None, None, Why.LIMIT]
        gone = SubscriptionDeletion("acme", "t")
        assert whys(await store.write([gone, creation("u", limit=2), creation("v", limit=2)])) == [
            None,
            None,
            Why.LIMIT,
        ]

    async def test_an_acknowledgement_goes_forward_only(self, store: Store) -> None:
        await written(store, creation(), ack(7, NOW + 5), ack(5, NOW + 3, pruned=4))
        expected = msgspec.structs.replace(ROW, position=7, pruned=4, used_at=NOW + 5)
        assert await store.subscription("acme", "s") == expected
        await written(store, ack(0, NOW + 9))
        assert await store.subscription("acme", "s") == msgspec.structs.replace(expected, used_at=NOW + 9)
        assert (await lost(store, ack(9, tenant="other"))).why is Why.NOT_FOUND

    async def test_a_deleted_subscription_is_gone(self, store: Store) -> None:
        gone = SubscriptionDeletion("acme", "s")
        assert (await lost(store, gone)).why is Why.NOT_FOUND
        batch = [creation(), ack(7), gone, ack(8), gone, creation()]
        assert whys(await store.write(batch)) == [None, None, None, Why.NOT_FOUND, Why.NOT_FOUND, None]
        assert await store.subscription("acme", "s") == ROW
        await written(store, gone)
        assert await store.subscription("acme", "s") is None

    async def test_a_request_about_a_subscription_counts_once(self, store: Store) -> None:
        await written(store, msgspec.structs.replace(creation(), requests=(request("r-1", identity="s"),)))
        again = await lost(store, msgspec.structs.replace(creation("t"), requests=(request("r-1"),)))
        assert (again.why, again.stored) == (Why.DUPLICATE_REQUEST, request("r-1", identity="s"))
        await written(store, msgspec.structs.replace(ack(8), requests=(request("r-2"),)))
        assert (await lost(store, msgspec.structs.replace(ack(9), requests=(request("r-2"),)))).why is (
            Why.DUPLICATE_REQUEST
        )
        late = msgspec.structs.replace(ack(9, NOW + 2 * DAY), requests=(request("r-2", expires_at=NOW + 3 * DAY),))
        await written(store, late)
        stored = await store.subscription("acme", "s")
        assert stored is not None and stored.position == 9

    async def test_subscriptions_stand_beside_executions_in_one_batch(self, store: Store) -> None:
        key = await started(store)
        outcomes = await store.write([append(key, 1), creation(), append(key, 1), append(key, 2, head=head(3))])
        assert whys(outcomes) == [None, None, Why.SEQUENCE, None]
        assert (await page(store)).position == 3
