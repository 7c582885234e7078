"""Schedules: the right slots, each once, whatever happens in between."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.runtime.trigger_kit import DAY, DONE, HOUR, OPEN, SECOND, TENANT, World, moment, schedule, until, world

from callboard.runtime.core.durations import from_datetime
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.ports import StorageFullError
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings
from callboard.runtime.slots import slot_name
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.trigger_rows import TriggerFiring, TriggerRow
from callboard.runtime.writes import Outcome, Write

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = schedule("nightly", cron="30 2 * * *", time_zone="Europe/Berlin")
"""02:30 does not exist on 29 March 2026, and comes twice on 25 October 2026."""


def berlin_nights(first: date, days: int) -> list[int]:
    """The slots of NIGHTLY: once a night, at the moment of the jump where the clock jumps over it."""
    found: list[int] = []
    for day in (first + timedelta(days=number) for number in range(days)):
        wall = datetime(day.year, day.month, day.day, 2, 30, tzinfo=BERLIN)
        jumped = day == date(2026, 3, 29)
        found.append(moment("2026-03-29T01:00") if jumped else from_datetime(wall.astimezone(UTC)))
    return found


def ids(slots: list[int], name: str = "flow", trigger: str = "nightly") -> list[str]:
    return [f"{name}-{trigger}-{slot_name(slot)}" for slot in slots]


# A year


async def test_a_year_of_nights_in_berlin_fires_each_night_once() -> None:
    async with world("2026-01-01T00:00", horizon_seconds=12 * HOUR, check_seconds=3 * HOUR) as it:
        await it.publish([NIGHTLY])
        for _ in range(365):
            await it.pass_time(DAY)
        assert await it.started() == ids(berlin_nights(date(2026, 1, 1), 365))
        assert len(it.firings) == 365
        assert it.told == ["started"] * 365


async def test_a_year_with_restarts_at_every_hour_of_the_day_fires_each_night_once() -> None:
    async with world("2026-01-01T00:00", horizon_seconds=12 * HOUR, check_seconds=3 * HOUR) as it:
        await it.publish([NIGHTLY])
        for number in range(365):
            hours = number % 24
            await it.pass_time(hours * HOUR)
            await it.restart()
            await it.pass_time(DAY - hours * HOUR)
        assert await it.started() == ids(berlin_nights(date(2026, 1, 1), 365))
        assert len(it.firings) == 365


async def test_a_pattern_follows_the_wall_clock_through_both_changes() -> None:
    half_hours = schedule(cron="*/30 * * * *", time_zone="Europe/Berlin")
    async with world("2026-03-29T00:15") as it:
        await it.publish([half_hours])
        await it.pass_until("2026-03-29T02:15")
        await it.restart(0)
        await it.clock.advance((moment("2026-10-24T23:45") - it.clock.now()) / SECOND)
        await it.pass_until("2026-10-25T02:15")
        slots = [slot for slot in await it.slots() if slot >= "1025T" or slot < "0330T"]
    assert slots[:4] == ["0329T003000", "0329T010000", "0329T013000", "0329T020000"]
    assert slots[-5:] == ["1025T000000", "1025T003000", "1025T010000", "1025T013000", "1025T020000"]


async def test_a_sqlite_store_fires_each_slot_once_across_restarts(tmp_path: Path) -> None:
    def store() -> SqliteStore:
        return SqliteStore(tmp_path / "s.db")

    async with world("2026-03-27T00:00", store=store(), horizon_seconds=3 * DAY, check_seconds=DAY) as it:
        await it.publish([NIGHTLY])
        await until(lambda: len(it.schedules) == 1)
        for number in range(1, 5):
            await it.pass_time(5 * HOUR)
            await until(lambda: len(it.firings) == number)  # noqa: B023
            await it.down()
            it.store = store()
            await it.up()
            await it.pass_time(19 * HOUR)
        assert await it.started() == ids(berlin_nights(date(2026, 3, 27), 4))
        row = await it.row("nightly")
    assert row.next_slot == moment("2026-03-31T00:30")
    assert row.last_execution_id == ids(berlin_nights(date(2026, 3, 30), 1))[0]


# Lateness and catching up


async def test_a_slot_that_was_missed_is_skipped_and_the_next_one_fires() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")])
        await it.pass_until("2026-01-01T00:01:30")
        await it.restart(5 * 60)
        assert await it.slots() == ["0101T000100"]
        assert it.told == ["started", "late"]
        row = await it.row()
        assert (row.skipped, row.last_skipped, row.next_slot) == (
            1,
            moment("2026-01-01T00:02"),
            moment("2026-01-01T00:07"),
        )
        await it.pass_until("2026-01-01T00:07:30")
        assert await it.slots() == ["0101T000100", "0101T000700"]


@pytest.mark.parametrize(("late", "fires"), [(10, True), (11, False)])
async def test_a_slot_may_be_so_late_and_not_later(late: int, fires: bool) -> None:
    async with world() as it:
        await it.publish([schedule(cron="0 1 * * *")])
        await it.restart((moment("2026-01-01T01:00") - it.clock.now()) / SECOND + late)
        assert await it.slots() == (["0101T010000"] if fires else [])


async def test_catching_up_fires_what_is_younger_than_the_window_in_order() -> None:
    async with world() as it:
        await it.publish([schedule(cron="*/10 * * * *", catch_up="1h", overlap="ALLOW")])
        await it.pass_until("2026-01-01T00:10:30")
        await it.restart((moment("2026-01-01T03:35") - it.clock.now()) / SECOND)
        await it.clock.settle(500)
        assert await it.slots() == [
            "0101T001000",
            "0101T024000",
            "0101T025000",
            "0101T030000",
            "0101T031000",
            "0101T032000",
            "0101T033000",
        ]
        assert it.told == ["started", "late", *["started"] * 6]
        assert (await it.row()).skipped == 1
        assert len({firing.start.ref for firing in it.firings if firing.start}) == len(it.firings) == 7


async def test_overlap_holds_between_slots_that_are_caught_up() -> None:
    async with world() as it:
        await it.publish([schedule(cron="*/10 * * * *", catch_up="1h")], steps=OPEN)
        await it.restart((moment("2026-01-01T00:35") - it.clock.now()) / SECOND)
        await it.clock.settle(500)
        assert await it.slots() == ["0101T001000"]
        assert it.told == ["started", "overlap", "overlap"]


@pytest.mark.parametrize(("window", "late", "fires"), [("", 30, False), ("1h", 30 * 60, True), ("1h", 2 * HOUR, False)])
async def test_one_instant_is_caught_up_within_its_window_and_never_comes_again(
    window: str, late: int, fires: bool
) -> None:
    once: dict[str, Any] = {"at": "2026-01-01T01:00:00Z", **({"catch_up": window} if window else {})}
    async with world() as it:
        await it.publish([schedule(**once)])
        await it.restart((moment("2026-01-01T01:00") - it.clock.now()) / SECOND + late)
        assert await it.slots() == (["0101T010000"] if fires else [])
        assert (await it.row()).next_slot == 0
        await it.restart(DAY)
        assert len(await it.started()) == fires


async def test_what_was_caught_up_before_a_restart_is_not_fired_again() -> None:
    async with world() as it:
        await it.publish([schedule(cron="*/10 * * * *", catch_up="1d", overlap="ALLOW")])
        await it.down()
        await it.clock.advance(6 * HOUR)
        await it.up()
        while len(it.firings) < 10:
            await it.clock.settle(1)
        await it.restart(0)
        await it.clock.settle(2_000)
        started = await it.slots()
        assert len(started) == len(set(started)) == 36


# Overlap


async def test_skip_starts_nothing_while_an_earlier_one_runs() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")], steps=OPEN)
        await it.pass_until("2026-01-01T00:03:30")
        assert await it.slots() == ["0101T000100"]
        assert it.told == ["started", "overlap", "overlap"]
        assert ((await it.row()).skipped, (await it.row()).last_skipped) == (2, moment("2026-01-01T00:03"))
        await it.finish("flow-tick-20260101T000100Z")
        await it.pass_until("2026-01-01T00:04:30")
        assert await it.slots() == ["0101T000100", "0101T000400"]


async def test_allow_lets_them_run_side_by_side() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", overlap="ALLOW")], steps=OPEN)
        await it.pass_until("2026-01-01T00:03:30")
        assert [await it.status(each) for each in await it.started()] == ["RUNNING"] * 3


async def test_queue_runs_one_after_the_other_in_order() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", overlap="QUEUE")], steps=OPEN)
        await it.pass_until("2026-01-01T00:03:30")
        first, second, third = await it.started()
        assert [await it.status(each) for each in (first, second, third)] == ["RUNNING", "PENDING", "PENDING"]
        assert (await it.row()).waiting == 2
        await it.restart(0)
        await it.finish(first)
        assert [await it.status(each) for each in (first, second, third)] == ["COMPLETED", "RUNNING", "PENDING"]
        await it.cancel(third)
        await it.finish(second)
        assert [await it.status(each) for each in (first, second, third)] == ["COMPLETED", "COMPLETED", "CANCELLED"]


async def test_a_full_queue_stalls_the_schedule_and_drops_nothing() -> None:
    async with world(settings=Settings(slots_waiting_max=2)) as it:
        await it.publish([schedule(cron="* * * * *", overlap="QUEUE")], steps=OPEN)
        await it.pass_until("2026-01-01T00:08:30")
        waiting = await it.slots()
        assert waiting == ["0101T000100", "0101T000200", "0101T000300"]
        assert "full" in it.told
        assert "late" not in it.told
        await it.restart(5)
        await it.pass_until("2026-01-01T00:08:55")
        for number in range(1, 9):
            before = len(await it.started())
            await it.finish(f"flow-tick-2026{minute(number)}Z")
            assert len(await it.started()) == min(before + 1, 8), "the place that was left is taken at once"
        assert await it.slots() == [minute(number) for number in range(1, 9)]
        assert (await it.row()).skipped == 0
        assert "late" not in it.told


def minute(number: int) -> str:
    return f"0101T00{number:02}00"


async def test_cancel_running_starts_when_the_old_one_has_ended() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", overlap="CANCEL_RUNNING")], steps=OPEN)
        await it.pass_until("2026-01-01T00:03:30")
        assert [await it.status(each) for each in await it.started()] == ["CANCELLED", "CANCELLED", "RUNNING"]
        assert it.told == ["started"] * 3


@pytest.mark.parametrize("overlap", ["ALLOW", "SKIP", "QUEUE", "CANCEL_RUNNING"])
async def test_a_unique_key_that_is_taken_starts_nothing(overlap: str) -> None:
    one = schedule("one", cron="* * * * *", overlap="ALLOW", unique_key="'k'")
    other = schedule("other", cron="30 * * * *", overlap=overlap, unique_key="'k'")
    async with world() as it:
        await it.publish([one, other], steps=OPEN)
        await it.pass_until("2026-01-01T00:30:30")
        assert await it.slots() == ["0101T000100"]
        assert (await it.row("other")).skipped == 1
        assert set(it.told[1:]) == {"unique_key"}
        await it.finish("flow-one-20260101T000100Z")
        await it.pass_until("2026-01-01T00:31:30")
        assert len(await it.started()) == 2


async def test_keys_of_their_own_let_slots_queue_behind_each_other() -> None:
    queued = schedule(cron="* * * * *", overlap="QUEUE", unique_key="trigger.slot")
    async with world() as it:
        await it.publish([queued], steps=OPEN)
        await it.pass_until("2026-01-01T00:02:30")
        assert [await it.status(each) for each in await it.started()] == ["RUNNING", "PENDING"]


# Jitter


async def test_jitter_spreads_and_is_the_same_after_a_restart() -> None:
    async with world("2026-01-01T00:00:30") as it:
        await it.publish([schedule(cron="* * * * *", jitter="50s")])
        due: list[int] = []
        for number in range(1, 21):
            due.append((await it.row()).due - moment("2026-01-01T00:00") - number * 60 * SECOND)
            await it.restart(0)
            await it.pass_until(f"2026-01-01T00:{number:02}:55")
        await it.pass_until("2026-01-01T00:20:59")
        assert await it.slots() == [minute(number) for number in range(1, 21)]
        assert all(0 <= each < 50 * SECOND for each in due)
        assert len(set(due)) > 15


async def test_jitter_longer_than_the_interval_keeps_the_order_and_loses_nothing() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", jitter="10m", overlap="ALLOW")])
        await it.pass_until("2026-01-01T02:00:30")
        slots = await it.slots()
        assert slots == sorted(slots)
        assert len(slots) >= 110
        assert set(it.told) == {"started"}


# Lifecycle


async def test_what_a_pause_missed_is_not_made_up_for() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", catch_up="1d")])
        await it.pass_until("2026-01-01T00:01:30")
        await it.pause()
        await it.pass_until("2026-01-01T00:05:30")
        await it.restart(0)
        await it.pause(False)
        await it.pass_until("2026-01-01T00:06:30")
        assert await it.slots() == ["0101T000100", "0101T000600"]
        assert (await it.row()).skipped == 0


async def test_a_retracted_definition_makes_nothing_up_when_it_comes_back() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", catch_up="1d")])
        await it.pass_until("2026-01-01T00:01:30")
        await it.retract()
        await it.pass_until("2026-01-01T00:05:30")
        assert len(it.schedules) == 0
        await it.publish([schedule(cron="* * * * *", catch_up="1d")])
        await it.pass_until("2026-01-01T00:06:30")
        assert await it.slots() == ["0101T000100", "0101T000600"]


async def test_a_new_version_keeps_the_slots_of_the_same_times() -> None:
    async with world() as it:
        await it.publish([schedule(every="10m", jitter="5m")])
        before = await it.row()
        await it.pass_until("2026-01-01T00:05:30")
        await it.publish([schedule(every="10m", jitter="5m", overlap="ALLOW")], steps=OPEN)
        after = await it.row()
        assert (after.next_slot, after.due, after.version) == (before.next_slot, before.due, 2)
        await it.pass_until("2026-01-01T00:15:30")
        (only,) = await it.started()
        record = await it.store.execution(ExecutionRef(TENANT, only))
        assert record is not None
        assert record.head.version == 2


async def test_a_new_version_with_other_times_begins_with_those() -> None:
    async with world() as it:
        await it.publish([schedule(cron="0 5 * * *")])
        await it.publish([schedule(cron="*/2 * * * *")])
        await it.pass_until("2026-01-01T00:04:30")
        assert await it.slots() == ["0101T000200", "0101T000400"]
        await it.publish([schedule(cron="0 5 * * *")])
        await it.pass_until("2026-01-01T00:20:30")
        assert len(await it.started()) == 2


async def test_a_version_without_the_schedule_fires_it_no_more() -> None:
    async with world() as it:
        await it.publish([schedule("one", cron="* * * * *"), schedule("two", cron="* * * * *")])
        await it.publish([schedule("two", cron="* * * * *")])
        assert len(it.schedules) == 1
        await it.pass_until("2026-01-01T00:01:30")
        assert await it.started() == ["flow-two-20260101T000100Z"]


async def test_a_publish_at_the_moment_of_the_slot_fires_it_once() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")])
        for number in range(1, 11):
            await it.clock.advance(60 - 30 * (number == 1), steps_max=100_000)
            await it.publish([schedule(cron="* * * * *")])
        await it.clock.settle(200)
        assert await it.slots() == [minute(number) for number in range(1, 11)]


# What goes wrong


@pytest.mark.parametrize(
    "broken",
    [
        {"input": "${trigger.slot + 1}"},
        {"input": {"n": "text"}, "schema": {"properties": {"n": {"type": "integer"}}}},
        {"unique_key": "''"},
        {"labels": {"n": "${input.absent.more}"}},
    ],
    ids=["expression", "schema", "key", "label"],
)
async def test_a_slot_that_cannot_start_anything_passes(
    broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    more = {name: broken.pop(name) for name in ("labels",) if name in broken}
    if "schema" in broken:
        more["input_schema"] = broken.pop("schema")
    async with world() as it:
        await it.publish([schedule(cron="* * * * *", **broken)], **more)
        with caplog.at_level(logging.WARNING, "callboard.schedules"):
            await it.pass_until("2026-01-01T00:03:30")
        assert it.told == ["failed"] * 3
        assert (await it.row()).skipped == 3
        assert len([record for record in caplog.records if "flow/tick" in record.getMessage()]) == 3
        await it.publish([schedule(cron="* * * * *")])
        await it.pass_until("2026-01-01T00:04:30")
        assert await it.slots() == ["0101T000400"]


class Faulty(MemoryStore):
    """Fails as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.broken_reads = 0

    async def write(self, batch: Any) -> list[Outcome]:
        if self.full:
            raise StorageFullError("no room")
        return await super().write(batch)

    async def probe(self) -> bool:
        return not self.full

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        if self.broken_reads:
            self.broken_reads -= 1
            raise OSError("the disk is away")
        return await super().trigger(tenant, definition_id, trigger_id)


async def test_a_full_disk_delays_slots_and_loses_none() -> None:
    store = Faulty()
    async with world(store=store) as it:
        await it.publish([schedule(cron="* * * * *", overlap="ALLOW")])
        store.full = True
        await it.pass_until("2026-01-01T00:05:30")
        assert await it.started() == []
        store.full = False
        await it.pass_until("2026-01-01T00:06:30")
        assert await it.slots() == [minute(number) for number in range(1, 7)]
        assert set(it.told) == {"started"}


async def test_a_read_that_fails_is_tried_again() -> None:
    store = Faulty()
    async with world(store=store) as it:
        await it.publish([schedule(cron="* * * * *")])
        store.broken_reads = 5
        await it.pass_until("2026-01-01T00:01:50")
        assert await it.slots() == ["0101T000100"]


def break_bad(it: World) -> Callable[[], None]:
    """Definitions whose name begins with `bad` do not run until the answer is called."""
    whole = it.catalog.published

    async def broken(tenant: str, definition_id: str, version: int = 0) -> Any:
        if definition_id.startswith("bad"):
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", "it does not compile here"))
        return await whole(tenant, definition_id, version)

    def mend() -> None:
        it.catalog.published = whole  # type: ignore[method-assign]

    it.catalog.published = broken  # type: ignore[method-assign]
    it.catalog.cached_published = lambda *_: None  # type: ignore[method-assign]
    return mend


async def test_a_defect_of_one_schedule_does_not_keep_the_others_from_firing() -> None:
    async with world(firing_max=1) as it:
        await it.publish([schedule(cron="* * * * *")], name="good")
        await it.publish([schedule(cron="* * * * *")], name="bad")
        mend = break_bad(it)
        await it.pass_until("2026-01-01T00:05:30")
        assert await it.started() == [f"good-tick-2026{minute(number)}Z" for number in range(1, 6)]
        mend()
        await it.pass_until("2026-01-01T00:06:10")
        assert len([each for each in await it.started() if each.startswith("bad")]) == 6


async def test_defects_that_fill_the_memory_do_not_keep_the_others_from_firing() -> None:
    async with world(held_max=4, check_seconds=5) as it:
        for number in range(8):
            await it.publish([schedule(cron="1 * * * *")], name=f"bad{number}")
            await it.publish([schedule(cron="2 * * * *")], name=f"good{number}")
        await it.restart(0)
        break_bad(it)
        await it.pass_until("2026-01-01T00:02:30")
        assert len(await it.started()) == 8


async def test_killed_between_commit_and_adoption_the_slot_has_passed_and_its_execution_goes_on() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")], steps=OPEN)
        it.adopts = False
        await it.pass_until("2026-01-01T00:01:05")
        assert it.supervisor.live == 0
        it.adopts = True
        await it.restart(1)
        assert await it.slots() == ["0101T000100"]
        await it.finish("flow-tick-20260101T000100Z")
        assert await it.status("flow-tick-20260101T000100Z") == "COMPLETED"
        assert len(it.firings) == 1


async def test_killed_before_the_commit_the_slot_is_found_again() -> None:
    store = Faulty()
    async with world(store=store) as it:
        await it.publish([schedule(cron="* * * * *")])
        store.full = True
        await it.pass_until("2026-01-01T00:01:02")
        store.full = False
        await it.restart(3)
        assert await it.slots() == ["0101T000100"]


async def test_a_slot_that_was_fired_by_another_passes_without_a_second_execution() -> None:
    class Twice(MemoryStore):
        """Another process has made the same write just before."""

        async def write(self, batch: Any) -> list[Outcome]:
            firings: list[Write] = [write for write in batch if isinstance(write, TriggerFiring) and write.start]
            if firings:
                await super().write(firings)
            return await super().write(batch)

    async with world(store=Twice()) as it:
        await it.publish([schedule(cron="* * * * *")])
        await it.pass_until("2026-01-01T00:02:30")
        assert await it.slots() == ["0101T000100", "0101T000200"]


# Time and memory


async def test_a_wall_clock_set_back_fires_nothing_twice() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")])
        await it.pass_until("2026-01-01T00:02:10")
        it.clock.jump(-120)
        await it.pass_until("2026-01-01T00:04:30")
        assert await it.slots() == [minute(number) for number in range(1, 5)]


async def test_a_wall_clock_set_forward_is_noticed_within_the_check() -> None:
    async with world(check_seconds=30) as it:
        await it.publish([schedule(cron="0 * * * *", catch_up="1h")])
        it.clock.jump(65 * 60)
        await it.pass_time(31)
        assert await it.slots() == ["0101T010000"]


async def test_memory_holds_what_is_due_soon_and_everything_fires() -> None:
    async with world(held_max=10, horizon_seconds=600, check_seconds=60) as it:
        for number in range(60):
            await it.publish([schedule(cron=f"{number} * * * *")], name=f"flow{number:02}")
        await it.restart(0)
        held = 0
        for _ in range(120):
            await it.pass_time(60)
            held = max(held, len(it.schedules))
        assert held <= 21
        slots = await it.slots()
        assert sorted(slots) == slots
        assert len(slots) == len(set(slots)) == 120
        assert set(it.told) == {"started"}


async def test_many_slots_of_one_moment_all_fire() -> None:
    async with world(held_max=20, firing_max=4) as it:
        for number in range(100):
            await it.publish([schedule(cron="0 1 * * *")], name=f"flow{number:02}")
        await it.pass_until("2026-01-01T01:00:00")
        await it.clock.settle(5_000)
        assert len(await it.started()) == 100
        assert set(it.told) == {"started"}


async def test_start_up_reads_no_definition() -> None:
    async with world() as it:
        for number in range(50):
            await it.publish([schedule(cron="0 1 * * *")], name=f"flow{number:02}")
        await it.restart(0)
        assert len(it.schedules) == 50
        assert (it.catalog.counts.hits, it.catalog.counts.misses) == (0, 0)


async def test_a_change_while_the_first_page_is_read_wins_over_the_page() -> None:
    class Slow(MemoryStore):
        gate = asyncio.Event()

        async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
            page = await super().due_triggers(until, limit)
            await self.gate.wait()
            return page

    store = Slow()
    store.gate.set()
    async with world(store=store) as it:
        await it.publish([schedule(cron="*/5 * * * *")])
        await it.down()
        store.gate.clear()
        rising = asyncio.create_task(it.up())
        await it.clock.settle(20)
        await it.publish([schedule(cron="*/2 * * * *")])
        store.gate.set()
        await rising
        await it.pass_until("2026-01-01T00:05:30")
        assert await it.slots() == ["0101T000200", "0101T000400"]


async def test_time_that_passes_while_it_reads_ahead_is_caught_up_with() -> None:
    """As where a machine was suspended amid a read: nobody waits for the next look ahead."""

    class Slow(MemoryStore):
        gate = asyncio.Event()

        async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
            page = await super().due_triggers(until, limit)
            await self.gate.wait()
            return page

    store = Slow()
    store.gate.set()
    async with world(store=store, horizon_seconds=600, check_seconds=60) as it:
        await it.publish([schedule(cron="30 5 * * *", catch_up="1d")])
        store.gate.clear()
        await it.pass_time(600)
        await it.pass_until("2026-01-01T08:00")
        store.gate.set()
        await it.clock.settle(200)
        assert await it.slots() == ["0101T053000"]


async def test_firing_loads_a_definition_once() -> None:
    async with world() as it:
        await it.publish([schedule(cron="* * * * *")], steps=DONE)
        await it.pass_until("2026-01-01T00:01:30")
        misses = it.catalog.counts.misses
        for _ in range(5):
            await it.pass_time(60)
        assert len(await it.started()) == 6
        assert it.catalog.counts.misses == misses
