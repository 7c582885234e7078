import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from tests.runtime.dispatching import append, ref, refusal

from callboard.runtime.alarms import Alarms
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import Command, FireTimer
from callboard.runtime.core.effects import ClearTimer, CloseExecution, Effect, SetTimer
from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.offers import Offers
from callboard.runtime.rows import ExecutionRef, TimerRecord
from callboard.runtime.timers import Timers, TimerSettings

SECOND = 1_000_000


class Reader:
    """The store's one verb."""

    def __init__(self, world: "World") -> None:
        self.timers = world.page


class World:
    """Timers over a store in a dictionary, and executions that consume what is fired unless told otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.alarms.start()
        self.rows: dict[tuple[int, str, str], int] = {}
        self.fired: list[tuple[str, float]] = []
        self.began = self.clock.now()
        self.refuse: Callable[[FireTimer], Refused | None] = lambda command: None
        self.consume = True
        self.uncertain: set[str] = set()
        self.during_read: Callable[[], None] = lambda: None
        self.reads = 0
        self.timers = Timers(
            store=Reader(self),
            clock=self.clock,
            alarms=self.alarms,
            offers=Offers(self.ask, self.alarms),
            settings=msgspec.structs.replace(TimerSettings(), **settings),
            premature=lambda key, path, timer: path in self.uncertain,
        )

    async def page(self, until: int, limit: int) -> list[TimerRecord]:
        self.reads += 1
        found = sorted((due, place) for place, due in self.rows.items() if due <= until)[:limit]
        self.during_read()
        await asyncio.sleep(0)
        return [TimerRecord(ref(key), key, path, timer, due) for due, (key, path, timer) in found]

    def ask(self, ref: ExecutionRef, command: Command) -> "asyncio.Future[Any]":
        assert isinstance(command, FireTimer)
        self.fired.append((command.path, (self.clock.now() - self.began) / SECOND))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if (refused := self.refuse(command)) is not None:
            reply.set_exception(refused)
            return reply
        if self.consume:
            key = int(ref.execution_id[1:])
            asyncio.get_running_loop().call_soon(self.commit, key, ClearTimer(command.path, command.timer))
        reply.set_result(None)
        return reply

    def commit(self, key: int, *effects: Effect) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer):
                self.rows[key, effect.path, effect.timer] = effect.due
            elif isinstance(effect, ClearTimer):
                for place in tuple(self.rows):
                    if place[:2] == (key, effect.path) and effect.timer in ("", place[2]):
                        del self.rows[place]
            elif isinstance(effect, CloseExecution):
                self.rows = {place: due for place, due in self.rows.items() if place[0] != key}
        self.timers.committed([append(key, *effects)])

    def set(self, key: int, path: str, seconds: float, timer: str = "wait") -> None:
        self.commit(key, SetTimer(path, timer, self.began + round(seconds * SECOND)))

    async def close(self) -> None:
        await self.timers.close()
        await self.alarms.close()


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def make(**settings: Any) -> World:
        world = World(**settings)
        made.append(world)
        return world

    yield make
    for world in made:
        await world.close()


Make = Callable[..., World]


async def test_a_timer_fires_when_it_is_due_and_once(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.set(1, "a", 10)
    await world.clock.advance(9.9)
    assert world.fired == []
    await world.clock.advance(100)
    assert [(path, round(at, 3)) for path, at in world.fired] == [("a", 10.0)]
    assert len(world.timers) == 0


async def test_a_wait_of_30_days_fires_in_time(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.set(1, "a", 30 * 86_400)
    assert len(world.timers) == 0
    await world.clock.advance(30 * 86_400 - 3_600)
    assert world.fired == []
    await world.clock.advance(3_600)
    assert [(path, round(at)) for path, at in world.fired] == [("a", 30 * 86_400)]


async def test_what_was_due_while_the_server_was_down_fires_at_start(make: Make) -> None:
    world = make()
    world.rows = {(1, "a", "wait"): world.began - 5, (2, "b", "wait"): world.began + 3 * SECOND}
    await world.timers.start()
    await world.clock.advance(0.01)
    assert [path for path, _ in world.fired] == ["a"]
    await world.clock.advance(3)
    assert [path for path, _ in world.fired] == ["a", "b"]


async def test_cleared_and_replaced_timers_do_not_fire(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.set(1, "one", 1)
    world.set(1, "all", 1, "first")
    world.set(1, "all", 1, "second")
    world.set(2, "ended", 1)
    world.set(3, "later", 1)
    world.commit(1, ClearTimer("one", "wait"), ClearTimer("all"))
    world.commit(2, CloseExecution())
    world.set(3, "later", 5)
    await world.clock.advance(2)
    assert world.fired == []
    await world.clock.advance(5)
    assert [(path, round(at)) for path, at in world.fired] == [("later", 5)]
    assert len(world.timers) == 0


async def test_a_timer_that_is_not_taken_is_offered_again_with_growing_pauses(make: Make) -> None:
    world = make()
    await world.timers.start()
    failures = iter([refusal(Kind.BUSY), refusal(Kind.UNAVAILABLE), refusal(Kind.INTERNAL)])
    world.refuse = lambda command: next(failures, None)
    world.set(1, "a", 1)
    await world.clock.advance(60)
    assert [round(at, 1) for _, at in world.fired] == [1.0, 1.1, 1.3, 1.7]


async def test_a_timer_whose_row_stays_is_offered_again(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.consume = False
    world.set(1, "a", 1)
    await world.clock.advance(1.2)
    assert len(world.fired) == 2
    world.commit(1, ClearTimer("a", "wait"))
    await world.clock.advance(600)
    assert len(world.fired) == 2


async def test_many_dormant_timers_cost_no_memory_and_are_read_when_their_time_comes(make: Make) -> None:
    world = make(horizon_seconds=60, check_seconds=10)
    world.rows = {(key, f"p{key}", "wait"): world.began + (100 + key) * SECOND for key in range(300)}
    await world.timers.start()
    assert len(world.timers) == 0
    world.set(1, "soon", 5)
    world.set(1, "late", 5_000)
    assert len(world.timers) == 1
    await world.clock.advance(450)
    assert len(world.fired) == 301
    assert all(path == "soon" or round(at) == 100 + int(path[1:]) for path, at in world.fired)
    assert world.reads < 30


async def test_memory_is_bounded_however_many_are_due_soon(make: Make) -> None:
    world = make(held_max=20)
    world.rows = {(key, f"p{key}", "wait"): world.began + (10 + key) * SECOND for key in range(200)}
    await world.timers.start()
    assert len(world.timers) == 20
    for key in range(300, 400):
        world.set(key, f"p{key}", 1 + key / 1000)
    assert len(world.timers) <= 41
    held = 0
    for _ in range(220):
        await world.clock.advance(1)
        held = max(held, len(world.timers))
    assert held <= 41
    assert len(world.fired) == len({path for path, _ in world.fired}) == 300
    assert world.rows == {}


async def test_more_timers_of_one_moment_than_memory_takes_all_fire(make: Make) -> None:
    world = make(held_max=10, firing_max=4)
    world.rows = {(key, f"p{key}", "wait"): world.began + 5 * SECOND for key in range(100)}
    await world.timers.start()
    assert len(world.timers) <= 11
    await world.clock.advance(5)
    await world.clock.settle(500)
    assert len(world.fired) == 100


async def test_timers_that_nobody_takes_do_not_keep_others_from_firing(make: Make) -> None:
    world = make(held_max=4, firing_max=2, check_seconds=5)
    world.refuse = lambda command: refusal(Kind.INTERNAL) if command.path.startswith("bad") else None
    world.rows = {(key, f"bad{key}", "wait"): world.began + SECOND for key in range(8)}
    world.rows |= {(key, f"good{key}", "wait"): world.began + 2 * SECOND for key in range(8)}
    await world.timers.start()
    await world.clock.advance(4_000)
    assert sum(path.startswith("good") for path, _ in world.fired) == 8


async def test_changes_while_a_page_is_read_win_over_the_page(make: Make) -> None:
    world = make()
    world.rows = {(key, "a", "wait"): world.began + 10 * SECOND for key in (1, 2, 3)}

    def meanwhile() -> None:
        world.commit(1, ClearTimer("a", "wait"))
        world.commit(2, CloseExecution())
        world.set(3, "a", 20)
        world.set(4, "new", 15)

    world.during_read = meanwhile
    await world.timers.start()
    world.during_read = lambda: None
    await world.clock.advance(60)
    assert [(path, round(at)) for path, at in world.fired] == [("new", 15), ("a", 20)]


async def test_a_wall_clock_set_back_does_not_fire_early(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.set(1, "a", 10)
    world.clock.jump(-100)
    await world.clock.advance(50)
    assert world.fired == []
    await world.clock.advance(61)
    assert [path for path, _ in world.fired] == ["a"]


async def test_a_wall_clock_set_forward_fires_within_the_check(make: Make) -> None:
    world = make(horizon_seconds=600, check_seconds=30)
    await world.timers.start()
    world.set(1, "near", 300)
    world.set(2, "far", 3_000)
    world.clock.jump(86_400)
    await world.clock.advance(31)
    assert sorted(path for path, _ in world.fired) == ["far", "near"]


async def test_a_timer_that_cannot_be_judged_yet_waits(make: Make) -> None:
    world = make()
    await world.timers.start()
    world.uncertain.add("a")
    world.set(1, "a", 1, "queue")
    await world.clock.advance(5)
    assert world.fired == []
    world.uncertain.clear()
    await world.clock.advance(1.1)
    assert [path for path, _ in world.fired] == ["a"]
