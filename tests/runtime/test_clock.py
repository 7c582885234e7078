import asyncio

import pytest

from callboard.runtime.alarms import Alarms
from callboard.runtime.clock import ManualClock, ManualIds, SystemClock, SystemIds


async def test_a_wait_of_30_days_takes_no_time() -> None:
    clock = ManualClock()
    began = clock.now()
    sleeper = asyncio.ensure_future(clock.sleep_until(clock.monotonic() + 30 * 86_400))
    await clock.advance(30 * 86_400 - 1)
    assert not sleeper.done()
    await clock.advance(1)
    assert sleeper.done()
    assert clock.now() - began == 30 * 86_400 * 1_000_000


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock = ManualClock()
    woken: list[tuple[int, float]] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep_until(1_000.0 + seconds)
        woken.append((seconds, clock.monotonic() - 1_000.0))

    sleepers = [asyncio.ensure_future(sleep(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(10)
    assert woken == [(1, 1.0), (2, 2.0), (3, 3.0)]
    await asyncio.gather(*sleepers)


async def test_what_a_waking_starts_is_reached_in_the_same_advance() -> None:
    clock = ManualClock()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while ticks < 5:
            await clock.sleep_until(clock.monotonic() + 1)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    await clock.advance(5)
    assert ticks == 5
    await ticker


async def test_a_cancelled_sleeper_holds_nothing_up() -> None:
    clock = ManualClock()
    sleeper = asyncio.ensure_future(clock.sleep_until(clock.monotonic() + 1))
    await clock.settle()
    sleeper.cancel()
    await clock.advance(2)
    assert sleeper.cancelled()


async def test_the_wall_clock_jumps_alone() -> None:
    clock = ManualClock(start=0)
    clock.jump(-5)
    assert (clock.now(), clock.monotonic()) == (-5_000_000, 1_000.0)


async def test_the_system_clock_does_not_wake_early() -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + 0.005
    await clock.sleep_until(deadline)
    assert clock.monotonic() >= deadline


def test_ids_are_ordered_unique_and_of_uuid_form() -> None:
    ids = SystemIds(ManualClock())
    made = [ids.new() for _ in range(5_000)]
    assert made == sorted(set(made))
    assert all(len(one) == 36 and one[14] == "7" and one[19] in "89ab" for one in made)
    assert 0 <= ids.chance() < 1


def test_ids_stay_ordered_when_the_clock_runs_back() -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    first = ids.new()
    clock.jump(-3600)
    assert ids.new() > first


def test_manual_ids_count() -> None:
    ids = ManualIds(chance=0.25)
    assert [ids.new(), ids.new(), ids.chance()] == ["id-00000001", "id-00000002", 0.25]


async def test_alarms_ring_in_order_and_not_when_cancelled() -> None:
    clock = ManualClock()
    alarms = Alarms(clock)
    rung: list[str] = []
    alarms.after(2, lambda: rung.append("second"))
    alarms.start()
    await clock.settle()
    alarms.after(1, lambda: rung.append("first"))
    never = alarms.after(1.5, lambda: rung.append("never"))
    never.cancel()
    never.cancel()
    assert len(alarms) == 2
    await clock.advance(1)
    assert rung == ["first"]
    await clock.advance(1)
    assert rung == ["first", "second"]
    await alarms.close()


async def test_an_alarm_that_fails_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    alarms = Alarms(clock)
    alarms.start()
    rung: list[int] = []
    alarms.after(1, lambda: rung.append(1 // 0))
    alarms.after(1, lambda: rung.append(2))
    await clock.advance(1)
    assert rung == [2]
    assert "an alarm's callback failed" in caplog.text
    await alarms.close()


async def test_cancelled_alarms_do_not_pile_up() -> None:
    alarms = Alarms(ManualClock())
    kept = [alarms.after(10, lambda: None) for _ in range(10)]
    for _ in range(10_000):
        alarms.after(10, lambda: None).cancel()
    assert len(alarms) == len(kept)
    assert len(alarms._heap) < 1_000
