"""What every store must do with histories that are read exactly as they are stored, and with snapshots of them."""

import msgspec
from tests.contracts.store_kit import NOW, B, append, event, head, started, written

from callboard.runtime.ports import Store
from callboard.runtime.rows import Snapshot


def snapshot(sequence: int, data: bytes = b"state") -> Snapshot:
    return Snapshot(sequence, 1, data, b"c" * 32, NOW + sequence)


async def snapshots_taken(store: Store, last: int) -> int:
    """An execution with a snapshot after each of its events."""
    key = await started(store)
    for number in range(1, last):
        await written(store, append(key, number, snapshot=snapshot(number + 1)))
    return key


class Histories:
    async def test_stored_events_have_nothing_filled_in(self, store: Store) -> None:
        key = await started(store)
        told = event(2, context=b'{"user":"v"}', to_state="paid", event_id="e-1")
        await written(store, append(key, 1, events=(told, event(3), event(4))))
        page = await store.stored_events(key, 0, 10, 1_000)
        assert [msgspec.structs.replace(each, position=0) for each in page[1:]] == [told, event(3), event(4)]
        assert [each.context for each in await store.stored_events(key, 2, 10, 1_000)] == [None, None]
        assert (await store.events(key, 2, 10, 1_000))[0].context == told.context
        positions = [each.position for each in page]
        assert positions == sorted(set(positions))

    async def test_stored_events_come_in_pages_of_at_least_one(self, store: Store) -> None:
        key = await started(store)
        await written(store, append(key, 1, events=tuple(event(number) for number in range(2, 8))))
        assert [each.sequence for each in await store.stored_events(key, 2, 3, 1_000)] == [3, 4, 5]
        assert [each.sequence for each in await store.stored_events(key, 2, 3, 1)] == [3]
        assert await store.stored_events(key, 7, 3, 1_000) == []
        assert await store.stored_events(key + 1, 0, 3, 1_000) == []

    async def test_the_newest_two_snapshots_are_kept_and_ever_fewer_of_the_older_ones(self, store: Store) -> None:
        key = await snapshots_taken(store, 100)
        kept = await store.snapshots(key)
        assert kept == [snapshot(number) for number in (100, 99, 96, 84, 48)]
        assert await store.snapshots(key + 1) == []

    async def test_the_newest_snapshot_at_or_before_a_sequence(self, store: Store) -> None:
        key = await snapshots_taken(store, 100)
        found = {until: await store.snapshot(key, until) for until in (1, 47, 48, 83, 98, 99, 100, 2**62)}
        assert found == {
            1: None,
            47: None,
            48: snapshot(48),
            83: snapshot(48),
            98: snapshot(96),
            99: snapshot(99),
            100: snapshot(100),
            2**62: snapshot(100),
        }
        assert await store.snapshot(key) == snapshot(100)
        assert await store.snapshot(key + 1) is None

    async def test_snapshots_of_one_batch_are_all_taken_into_account(self, store: Store) -> None:
        key, other = await started(store), await started(store, ref=B)
        await written(
            store,
            *(append(key, number, snapshot=snapshot(number + 1)) for number in range(1, 5)),
            append(other, 1, ref=B, snapshot=snapshot(2)),
        )
        assert [each.sequence for each in await store.snapshots(key)] == [5, 4, 3]
        assert [each.sequence for each in await store.snapshots(other)] == [2]

    async def test_a_snapshot_taken_again_takes_the_place_of_the_other(self, store: Store) -> None:
        key = await started(store)
        for data in (b"damaged", b"sound"):
            await written(store, append(key, 1, events=(), head=head(1), snapshot=snapshot(1, data)))
        assert await store.snapshots(key) == [snapshot(1, b"sound")]
