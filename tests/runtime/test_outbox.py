import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.runtime.dispatching import append, ref

from callboard.runtime.alarms import Alarms
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.effects import CloseWait, Effect, EmitEvent
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.outbox import Outbox, OutboxSettings
from callboard.runtime.ports import StorageFailedError
from callboard.runtime.trigger_rows import OutboxRow

FULL = Refused(Refusal(Kind.BUSY, "STORAGE_FULL", "the disk is full"))


class Pages:
    """The store's one verb."""

    def __init__(self, read: Callable[[int, int, str], Awaitable[list[OutboxRow]]]) -> None:
        self._read = read

    async def outbox(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        return await self._read(after, limit, tenant)


class World:
    """A pump over rows in a dictionary; they go when they are delivered, unless `fault` says otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.alarms.start()
        self.rows: dict[int, OutboxRow] = {}
        self.given = 0
        self.delivered: list[str] = []
        self.tried: Counter[str] = Counter()
        self.reads = 0
        self.at_once = self.at_once_max = 0
        self.fault: Callable[[OutboxRow], Exception | None] = lambda row: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.outbox = self.pump(**settings)

    def pump(self, **settings: Any) -> Outbox:
        return Outbox(
            Pages(self.page), self.deliver, self.alarms, msgspec.structs.replace(OutboxSettings(), **settings)
        )

    async def page(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        self.reads += 1
        await asyncio.sleep(0)
        rows = (row for number, row in sorted(self.rows.items()) if number > after)
        return [row for row in rows if tenant in ("", row.ref.tenant)][:limit]

    async def deliver(self, row: OutboxRow) -> None:
        name = f"{row.key}:{row.name}"
        self.tried[name] += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if (fault := self.fault(row)) is not None:
                raise fault
        finally:
            self.at_once -= 1
        if self.rows.pop(row.id, None) is not None:
            self.delivered.append(name)

    def store(self, key: int, *names: str, tenant: str = "default") -> None:
        sender = ref(key)._replace(tenant=tenant)
        for name in names:
            self.given += 1
            self.rows[self.given] = OutboxRow(self.given, sender, key, self.given, name, "", b"null", b"{}", 0)

    def emit(self, key: int, *names: str, tenant: str = "default") -> None:
        self.store(key, *names, tenant=tenant)
        self.outbox.committed([append(key, *(EmitEvent(1, name, "", None) for name in names))])


Make = Callable[..., World]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[World] = []

    def make(**settings: Any) -> World:
        world = World(**settings)
        made.append(world)
        return world

    yield make
    for world in made:
        await world.outbox.close()
        await world.alarms.close()


async def test_what_is_stored_at_the_start_is_delivered_in_order(make: Make) -> None:
    world = make()
    world.store(1, "a", "b", "c")
    world.outbox.start()
    await world.clock.settle()
    assert world.delivered == ["1:a", "1:b", "1:c"]
    assert len(world.outbox) == 0


async def test_a_commit_that_emits_wakes_it_and_any_other_does_not(make: Make) -> None:
    world = make()
    world.outbox.start()
    await world.clock.settle()
    reads = world.reads
    others: tuple[Effect, ...] = (CloseWait("x"),)
    world.outbox.committed([append(1, *others)])
    await world.clock.settle()
    assert world.reads == reads
    world.emit(1, "a")
    await world.clock.settle()
    assert world.delivered == ["1:a"]


async def test_nothing_is_read_before_the_start(make: Make) -> None:
    world = make()
    world.emit(1, "a")
    await world.clock.settle()
    assert world.reads == 0
    world.outbox.start()
    await world.clock.settle()
    assert world.delivered == ["1:a"]


async def test_one_sender_goes_in_order_and_many_at_one_time(make: Make) -> None:
    world = make(delivering_max=3)
    world.gate.clear()
    for key in range(1, 9):
        world.store(key, "a", "b")
    world.outbox.start()
    await world.clock.settle()
    assert (world.at_once_max, set(world.tried.values())) == (3, {1})
    world.gate.set()
    await world.clock.settle(200)
    assert world.at_once_max == 3
    assert len(world.delivered) == 16
    assert all(world.delivered.index(f"{key}:a") < world.delivered.index(f"{key}:b") for key in range(1, 9))
    assert set(world.tried.values()) == {1}


async def test_more_than_memory_may_hold_comes_page_by_page_each_once(make: Make) -> None:
    world = make(held_max=10, delivering_max=4)
    for key in range(1, 101):
        world.store(key, "a")
    world.outbox.start()
    held = 0
    for _ in range(600):
        await asyncio.sleep(0)
        held = max(held, len(world.outbox))
    assert len(world.delivered) == 100
    assert set(world.tried.values()) == {1}
    assert held <= 10


async def test_a_flood_of_one_tenant_holds_up_no_other(make: Make) -> None:
    world = make(held_max=20, tenant_held_max=8, delivering_max=4)
    flood = [f"n{number}" for number in range(500)]
    world.store(1, *flood, tenant="loud")
    world.store(2, "a", "b", tenant="quiet")
    world.outbox.start()
    held = 0
    for _ in range(20_000):
        await asyncio.sleep(0)
        held = max(held, len(world.outbox))
        if len(world.delivered) >= 300 and world.given == 502:
            world.store(1, "last", tenant="loud")
            world.emit(3, "late", tenant="quiet")
    assert sorted(name for name in world.delivered[:200] if not name.startswith("1:")) == ["2:a", "2:b"]
    assert world.delivered.index("3:late") < 320
    assert [name for name in world.delivered if name.startswith("1:")] == [f"1:{name}" for name in [*flood, "last"]]
    assert set(world.tried.values()) == {1}
    assert held <= 10
    assert (len(world.outbox), world.rows) == (0, {})


async def test_many_tenants_with_floods_are_all_served_at_once(make: Make) -> None:
    world = make(held_max=10, tenant_held_max=8, delivering_max=4)
    for tenant in range(1, 31):
        world.store(tenant, *(f"n{number}" for number in range(20)), tenant=f"t-{tenant}")
    world.outbox.start()
    for _ in range(20_000):
        await asyncio.sleep(0)
    firsts = [world.delivered.index(f"{tenant}:n0") for tenant in range(1, 31)]
    assert max(firsts) < 200
    assert (len(world.delivered), set(world.tried.values()), world.rows) == (600, {1}, {})


async def test_a_full_disk_is_waited_for_in_order_however_long(make: Make) -> None:
    world = make()
    world.fault = lambda row: FULL
    world.store(1, "a", "b")
    world.outbox.start()
    await world.clock.advance(600)
    assert world.delivered == []
    assert world.tried["1:a"] > 20
    assert world.tried["1:b"] == 0
    world.fault = lambda row: None
    await world.clock.advance(31)
    assert world.delivered == ["1:a", "1:b"]


async def test_pauses_grow_up_to_the_longest(make: Make) -> None:
    world = make(first_seconds=1.0, longest_seconds=8.0)
    world.fault = lambda row: FULL
    world.store(1, "a")
    world.outbox.start()
    tries = []
    for _ in range(5):
        await world.clock.advance(1)
        tries.append(world.tried["1:a"])
    assert tries == [2, 2, 3, 3, 3]  # after 0, 1, 3, 7, 15, 23 seconds
    await world.clock.advance(18)
    assert world.tried["1:a"] == 6


async def test_one_that_fails_again_and_again_holds_up_nobody_and_is_not_lost(make: Make) -> None:
    world = make(tries_max=3)
    world.fault = lambda row: ValueError("poison") if row.name == "bad" else None
    world.store(1, "bad", "behind")
    world.store(2, "other")
    world.outbox.start()
    await world.clock.settle()
    assert world.delivered == ["2:other"]
    await world.clock.advance(5)
    assert world.delivered == ["2:other", "1:behind"]
    assert world.tried["1:bad"] == 3
    await world.clock.advance(300)
    assert world.tried["1:bad"] == 13  # once in 30 seconds
    world.fault = lambda row: None
    await world.clock.advance(30)
    assert world.delivered == ["2:other", "1:behind", "1:bad"]
    assert len(world.outbox) == 0


async def test_many_set_aside_do_not_stop_the_reading(make: Make) -> None:
    world = make(held_max=4, tries_max=1)
    world.fault = lambda row: ValueError("poison") if row.name == "bad" else None
    for key in range(1, 31):
        world.store(key, "bad")
    world.store(99, "good")
    world.outbox.start()
    await world.clock.settle(300)
    assert world.delivered == ["99:good"]
    assert len(world.outbox) == 30


async def test_a_read_that_fails_is_made_again(make: Make) -> None:
    world = make()
    failing = [OSError("no"), None]
    page = world.page

    async def read(after: int, limit: int, tenant: str) -> list[OutboxRow]:
        if failing and (error := failing.pop(0)) is not None:
            raise error
        return await page(after, limit, tenant)

    world.outbox = Outbox(Pages(read), world.deliver, world.alarms)
    world.store(1, "a")
    world.outbox.start()
    await world.clock.settle()
    assert world.delivered == []
    await world.clock.advance(31)
    assert world.delivered == ["1:a"]


async def test_after_a_failed_storage_nothing_is_tried_any_more(make: Make) -> None:
    world = make()
    world.fault = lambda row: StorageFailedError("gone")
    world.store(1, "a")
    world.outbox.start()
    await world.clock.advance(100)
    assert world.tried == {"1:a": 1}


async def test_closing_waits_for_what_is_on_its_way(make: Make) -> None:
    world = make()
    world.gate.clear()
    world.store(1, "a", "b")
    world.outbox.start()
    await world.clock.settle()
    closing = asyncio.create_task(world.outbox.close())
    await world.clock.settle()
    assert not closing.done()
    world.gate.set()
    await closing
    assert world.delivered == ["1:a"]
    assert list(world.rows) == [2]


async def test_what_is_left_comes_with_the_next_start_and_once_only(make: Make) -> None:
    world = make()
    world.fault = lambda row: FULL if row.name == "b" else None
    world.store(1, "a", "b")
    world.outbox.start()
    await world.clock.settle()
    await world.outbox.close()
    world.fault = lambda row: None
    world.outbox = world.pump()
    world.outbox.start()
    await world.clock.advance(60)
    assert world.delivered == ["1:a", "1:b"]
