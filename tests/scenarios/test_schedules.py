"""Schedules over the wire, with a clock moved by hand: every slot fires once, whatever happens around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.scenarios.kit import PATIENT, Api, eventually, refused, serve, value
from tests.scenarios.test_published_events import executions

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.plan import ScheduleSource
from callboard.runtime.slots import Slots
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import executions_pb2

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def at(text: str, zone: str = "UTC") -> int:
    """Microseconds of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000


def scheduled(schedule: str, steps: str = "{id: keep, set: {slot: 1}}", more: str = "") -> str:
    return f"""
id: timely
triggers:
  - {{id: tick, schedule: {{{schedule}}}, input: {{slot: "${{trigger.slot}}", local: "${{trigger.slot_local}}"}}{more}}}
steps:
  - {steps}
output: "${{input.slot}}"
"""


WAITS = "{id: hold, receive: {event: go}}"


async def slots(api: Api) -> list[str]:
    """The slots that have started executions, oldest first, as their ids name them."""
    return sorted(one.execution_id.rpartition("-")[2] for one in await executions(api, "definition_id == 'timely'"))


async def trigger(api: Api) -> Any:
    (found,) = (await api.definitions.ListTriggers(pb2.ListTriggersRequest(definition_id="timely"))).triggers
    return found


async def decided(api: Api, clock: ManualClock, seconds: float) -> Any:
    """Let time pass, and wait until every slot up to now has been decided."""
    await clock.advance(seconds)

    async def asked() -> Any:
        found = await trigger(api)
        return found if not found.HasField("next_slot") or found.next_slot.ToMicroseconds() > clock.now() else None

    return await eventually(asked)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at("2026-03-01T00:00:00"))


@pytest.fixture
async def timed(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Api]:
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        yield api


async def test_a_slot_starts_an_execution_named_after_it(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled('cron: "30 4 * * *", time_zone: Europe/Berlin, catch_up: 1d'))
    found = await trigger(timed)
    assert [one.ToJsonString() for one in found.next_slots][:2] == ["2026-03-01T03:30:00Z", "2026-03-02T03:30:00Z"]
    await decided(timed, clock, DAY)
    ended = await timed.ended("timely-tick-20260301T033000Z")
    assert value(ended.output) == "2026-03-01T03:30:00Z"
    assert value(ended.input)["local"] == "2026-03-01T04:30:00+01:00"
    assert (ended.trigger.trigger_id, ended.trigger.slot.ToJsonString()) == ("tick", "2026-03-01T03:30:00Z")
    found = await trigger(timed)
    assert found.last_execution_id == "timely-tick-20260301T033000Z"
    assert found.last_slot.ToJsonString() == "2026-03-01T03:30:00Z"


async def test_a_slot_fires_once_whatever_happens_to_the_server_around_it(tmp_path: Path, clock: ManualClock) -> None:
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(scheduled("every: 1m, catch_up: 1h"))
        await decided(api, clock, 90)
        assert len(await slots(api)) == 1
    await clock.advance(5)
    for _ in range(3):
        async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
            await decided(api, clock, 0)
            assert len(await slots(api)) == 1
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await decided(api, clock, 60)
        assert await slots(api) == ["20260301T000100Z", "20260301T000200Z"]


@pytest.mark.parametrize(("catch_up", "made_up"), [("", 0), (", catch_up: 2h", 2), (", catch_up: 30d", 5)])
async def test_slots_missed_while_it_was_down_follow_catch_up(
    tmp_path: Path, clock: ManualClock, catch_up: str, made_up: int
) -> None:
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(scheduled(f"every: 1h{catch_up}"))
    await clock.advance(5 * HOUR + 10 * MINUTE)
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        found = await decided(api, clock, 0)
        assert len(await slots(api)) == made_up
        assert found.skipped_count == (1 if made_up < 5 else 0) or found.skipped_count == 5 - made_up


async def test_overlap_skip_starts_nothing_while_the_earlier_one_runs(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h", WAITS))
    found = await decided(timed, clock, 3 * HOUR)
    assert await slots(timed) == ["20260301T010000Z"]
    assert (found.skipped_count, found.last_skipped_slot.ToJsonString()) == (2, "2026-03-01T03:00:00Z")
    await timed.submit("timely-tick-20260301T010000Z", "go")
    await timed.ended("timely-tick-20260301T010000Z")
    await decided(timed, clock, HOUR)
    assert await slots(timed) == ["20260301T010000Z", "20260301T040000Z"]


async def test_overlap_queue_runs_them_one_after_the_other(tmp_path: Path, clock: ManualClock) -> None:
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(scheduled("every: 1h, overlap: QUEUE", WAITS))
        found = await decided(api, clock, 3 * HOUR)
        assert found.queued_slots == 2
        first, second, third = (f"timely-tick-20260301T0{hour}0000Z" for hour in (1, 2, 3))
        waiting = await api.get(second)
        assert waiting.status == executions_pb2.EXECUTION_STATUS_PENDING
        assert waiting.waits_for_execution_id == first
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        for execution_id in (first, second, third):
            await api.until(execution_id, "StepScheduled")
            await api.submit(execution_id, "go")
            await api.ended(execution_id)
            if execution_id == first:
                assert (await api.get(third)).waits_for_execution_id == second
        assert (await trigger(api)).queued_slots == 0


async def test_overlap_cancel_running_starts_when_the_old_one_has_ended(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h, overlap: CANCEL_RUNNING", WAITS))
    await decided(timed, clock, 2 * HOUR)
    old, new = "timely-tick-20260301T010000Z", "timely-tick-20260301T020000Z"
    assert (await timed.ended(old)).status == executions_pb2.EXECUTION_STATUS_CANCELLED
    await timed.until(new, "StepScheduled")
    assert (await timed.get(new)).status == executions_pb2.EXECUTION_STATUS_RUNNING


async def test_overlap_allow_runs_them_side_by_side(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h, overlap: ALLOW", WAITS))
    await decided(timed, clock, 3 * HOUR)
    assert len(await slots(timed)) == 3
    assert len(await executions(timed, "status == 'RUNNING'")) == 3


async def test_jitter_delays_by_the_same_time_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    slot = at("2026-03-01T01:00:00")
    source = ScheduleSource(every=HOUR * 1_000_000, jitter=20 * MINUTE * 1_000_000)
    due = Slots(source).due("default/timely/tick", slot)
    assert slot <= due < slot + source.jitter
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(scheduled("every: 1h, jitter: 20m, catch_up: 1h"))
        await clock.advance((due - clock.now()) / 1_000_000 - 1)
        assert await slots(api) == []
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        assert await slots(api) == []
        await decided(api, clock, 1)
        assert await slots(api) == ["20260301T010000Z"]
        assert (await api.get("timely-tick-20260301T010000Z")).created_at.ToMicroseconds() == due


async def test_time_in_which_it_was_not_published_is_not_made_up_for(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h, catch_up: 30d"))
    await decided(timed, clock, HOUR)
    await timed.definitions.RetractDefinition(pb2.RetractDefinitionRequest(definition_id="timely"))
    await clock.advance(5 * HOUR)
    assert (await timed.definitions.ListTriggers(pb2.ListTriggersRequest())).triggers == []
    await timed.publish(scheduled("every: 1h, catch_up: 30d"))
    await decided(timed, clock, HOUR)
    assert await slots(timed) == ["20260301T010000Z", "20260301T070000Z"]


async def test_a_new_version_with_the_same_times_neither_loses_nor_doubles_a_slot(
    timed: Api, clock: ManualClock
) -> None:
    for number in range(1, 6):
        await timed.publish(scheduled("every: 1h").replace("slot: 1}", f"slot: {number}}}"))
        await decided(timed, clock, HOUR / 2)
        await timed.publish(scheduled("every: 1h").replace("slot: 1}", f"slot: {number + 100}}}"))
        await decided(timed, clock, HOUR / 2)
    assert await slots(timed) == [f"20260301T0{hour}0000Z" for hour in range(1, 6)]


async def test_a_paused_trigger_fires_nothing_and_makes_nothing_up(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h, catch_up: 30d"))
    pause = pb2.PauseTriggerRequest(definition_id="timely", trigger_id="tick")
    assert (await timed.definitions.PauseTrigger(pause)).trigger.paused
    await clock.advance(5 * HOUR)
    assert await slots(timed) == []
    await timed.publish(scheduled("every: 1h, catch_up: 30d").replace("slot: 1}", "slot: 2}"))
    assert (await trigger(timed)).paused
    resume = pb2.ResumeTriggerRequest(definition_id="timely", trigger_id="tick")
    assert not (await timed.definitions.ResumeTrigger(resume)).trigger.paused
    await decided(timed, clock, HOUR)
    assert await slots(timed) == ["20260301T060000Z"]
    request = pb2.PauseTriggerRequest(definition_id="timely", trigger_id="none")
    assert (await refused(timed.definitions.PauseTrigger(request))).reason == "TRIGGER_NOT_FOUND"


async def test_a_trigger_is_fired_by_hand(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("every: 1h", WAITS))
    request = pb2.FireTriggerRequest(definition_id="timely", trigger_id="tick", request_id="r-1")
    request.slot.FromJsonString("2026-02-01T00:00:00Z")
    fired = await timed.definitions.FireTrigger(request)
    assert (fired.started, fired.execution.execution_id) == (True, "timely-tick-20260201T000000Z")
    assert (await timed.definitions.FireTrigger(request)).started
    request.request_id = "r-2"
    assert not (await timed.definitions.FireTrigger(request)).started
    now = pb2.FireTriggerRequest(definition_id="timely", trigger_id="tick")
    taken = await refused(timed.definitions.FireTrigger(now))
    assert (taken.code, taken.reason) == ("ALREADY_EXISTS", "UNIQUE_KEY_TAKEN")
    await timed.submit("timely-tick-20260201T000000Z", "go")
    await timed.ended("timely-tick-20260201T000000Z")
    assert (await timed.definitions.FireTrigger(now)).started


async def test_a_slot_whose_input_cannot_be_made_passes_and_the_next_one_comes(timed: Api, clock: ManualClock) -> None:
    text = scheduled("every: 1h").replace(
        '"${trigger.slot}"', "\"${int(trigger.slot.substring(11, 13)) % 2 == 0 ? dyn('a') : dyn(1)}\""
    )
    await timed.publish(text + "input_schema: {type: object, properties: {slot: {type: string}}}\n")
    found = await decided(timed, clock, 4 * HOUR)
    assert await slots(timed) == ["20260301T020000Z", "20260301T040000Z"]
    assert found.skipped_count == 2


async def test_a_moment_fires_once_and_never_again(timed: Api, clock: ManualClock) -> None:
    await timed.publish(scheduled("at: 2026-03-02T12:00:00Z, catch_up: 30d"))
    found = await decided(timed, clock, 10 * DAY)
    assert await slots(timed) == ["20260302T120000Z"]
    assert not found.HasField("next_slot")


async def test_a_year_of_a_cron_with_daylight_saving(tmp_path: Path) -> None:
    """02:30 does not exist on 29 March in Berlin, and comes twice on 25 October: one slot each."""
    zone = ZoneInfo("Europe/Berlin")
    clock = ManualClock(at("2026-01-01T00:00:00", "Europe/Berlin"))
    fired: list[str] = []
    for quarter in range(4):
        async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
            if quarter == 0:
                await api.publish(scheduled('cron: "30 2 * * *", time_zone: Europe/Berlin, catch_up: 8d'))
            end = at(
                f"2026-{3 * quarter + 4:02}-01T00:00:00" if quarter < 3 else "2027-01-01T00:00:00", "Europe/Berlin"
            )
            while clock.now() < end:
                await decided(api, clock, min(7 * DAY, (end - clock.now()) / 1_000_000))
            fired = await slots(api)
    moments = [datetime.strptime(slot, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).astimezone(zone) for slot in fired]
    assert len(moments) == len({moment.date() for moment in moments}) == 365
    odd = [moment for moment in moments if (moment.hour, moment.minute) != (2, 30)]
    assert [moment.isoformat() for moment in odd] == ["2026-03-29T03:00:00+02:00"]
