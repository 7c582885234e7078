"""What every store must do with histories that are read exactly as they are stored."""

import msgspec
from tests.contracts.store_kit import append, event, started, written

from callboard.runtime.ports import Store


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
