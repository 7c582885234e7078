"""Lines, waits, inbox and outbox under pressure: what is full, late, given up or many holds up nobody else for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, until
from tests.runtime.event_kit import watched

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.state import Status
from callboard.runtime.core.turn import Limits
from callboard.runtime.engine import Runtime
from callboard.runtime.listing_rows import ListQuery
from callboard.runtime.requests import Caller, StartRequest, UniquePolicy
from callboard.runtime.settings import Settings
from callboard.runtime.trigger_rows import TriggerFiring
from callboard.runtime.writes import Write

FULL_SOON = Settings(decisions=Limits(kept_events_max=2, turn_events_max=6), turn_commands_max=4)
KEYED = """
id: keyed
steps:
  - {id: got, receive: {event: paid, key: input}}
output: "${steps.got.result.payload}"
"""
LONG = """
id: long
steps:
  - {id: go, receive: {event: go}}
  - {id: each, foreach: {items: "[1, 2, 3, 4, 5, 6, 7, 8]", steps: [{id: v, set: {v: "${item}"}}]}}
"""
NIGHTLY = """
id: nightly
triggers:
  - {id: night, schedule: {cron: "0 2 * * *", time_zone: UTC}}
steps:
  - {id: each, foreach: {items: "[1, 2, 3, 4, 5, 6, 7, 8]", steps: [{id: v, set: {v: "${item}"}}]}}
"""


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "callboard.db")


async def start(runtime: Runtime, execution_id: str, definition: str = "waiting", key: str = "") -> Status:
    request = StartRequest(
        definition, execution_id=execution_id, input="k", unique_key=key, unique_policy=UniquePolicy.CANCEL_EXISTING
    )
    return (await runtime.start(ME, request)).view.status


async def status(runtime: Runtime, execution_id: str) -> Status:
    return (await runtime.get(ME, execution_id)).status


async def come(runtime: Runtime, execution_id: str, wanted: Status) -> None:
    """Wait until the execution has this status."""
    for _ in range(2_000):
        if await status(runtime, execution_id) is wanted:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{execution_id} is {await status(runtime, execution_id)} and did not become {wanted}")


async def fill_up(runtime: Runtime, execution_id: str, count: int = 9) -> None:
    """Enqueue more events that nobody waits for than the execution can keep, and let it take what it can."""
    for number in range(count):
        await runtime.enqueue(ME, execution_id, "other", number)
    await until(lambda: not runtime.supervisor.busy)
    assert (await runtime.counts()).inbox == count - FULL_SOON.decisions.kept_events_max


async def test_a_pending_execution_that_can_keep_no_more_events_is_released(path: str) -> None:
    async with engine(path, settings=FULL_SOON) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: None, "s.one")
        await start(runtime, "x-1", "linear", "k")
        await until(lambda: bool(hands.seen))
        assert await start(runtime, "x-2", "linear", "k") is Status.PENDING
        await fill_up(runtime, "x-2")
        await runtime.terminate(ME, "x-1")
        await come(runtime, "x-2", Status.RUNNING)
        await hands.stop()


async def test_one_that_can_keep_no_more_events_makes_room_for_the_next(path: str) -> None:
    async with engine(path, settings=FULL_SOON) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1", key="k")
        await fill_up(runtime, "x-1")
        await start(runtime, "x-2", key="k")
        await come(runtime, "x-1", Status.CANCELLED)
        await come(runtime, "x-2", Status.RUNNING)


async def test_a_published_event_passes_those_that_nobody_waits_for(path: str) -> None:
    async with engine(path, settings=FULL_SOON) as runtime:
        await runtime.publish(KEYED)
        await start(runtime, "x-1", "keyed")
        await fill_up(runtime, "x-1")
        assert (await runtime.events.publish(ME, "paid", "k", 7)).outcome.offered_count == 1
        await come(runtime, "x-1", Status.COMPLETED)
        assert (await runtime.get(ME, "x-1")).output == 7


async def test_a_long_decision_goes_on_where_no_more_events_can_be_kept(path: str) -> None:
    async with engine(path, settings=FULL_SOON) as runtime:
        await runtime.publish(LONG)
        await start(runtime, "x-1", "long")
        await fill_up(runtime, "x-1")
        await runtime.submit(ME, "x-1", "go")
        await come(runtime, "x-1", Status.COMPLETED)


async def test_an_enqueued_event_that_is_waited_for_passes_those_of_other_names(path: str) -> None:
    async with engine(path, settings=FULL_SOON) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        await fill_up(runtime, "x-1", 4)
        await runtime.enqueue(ME, "x-1", "go", 1)
        await runtime.enqueue(ME, "x-1", "more", 2)
        await come(runtime, "x-1", Status.COMPLETED)
        assert (await runtime.get(ME, "x-1")).output == [1, 2]


async def test_what_is_fired_by_hand_goes_on_though_the_caller_has_gone(path: str) -> None:
    store = watched(path)
    async with engine(store=store, settings=FULL_SOON) as runtime:
        await runtime.publish(NIGHTLY)

        async def caller_goes(batch: Sequence[Write]) -> None:
            if any(isinstance(write, TriggerFiring) for write in batch):
                firing.cancel()

        store.before_write = caller_goes
        firing = asyncio.create_task(runtime.triggers.fire(ME, "nightly", "night"))
        with suppress(asyncio.CancelledError):
            await firing
        assert firing.cancelled()
        for _ in range(2_000):
            found = (await store.listed(ListQuery("default"))).records
            if [record.head.status for record in found] == [Status.COMPLETED]:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(await runtime.counts())


async def test_many_slots_of_one_tenant_hold_up_no_other() -> None:
    clock = ManualClock(start=1_767_225_600_000_000)  # 2026-01-01
    store = watched()
    async with engine(store=store, clock=clock) as runtime:
        for number in range(200):
            await runtime.publish(NIGHTLY.replace("id: nightly", f"id: nightly-{number}"), caller=Caller("loud"))
        await runtime.publish(NIGHTLY, caller=Caller("quiet"))
        await clock.advance(3 * 3_600)
        (quiet,) = (await store.listed(ListQuery("quiet"))).records
        assert len((await store.listed(ListQuery("loud", limit=500))).records) == 200
        assert quiet.key < 100


LOOP = """
id: loop
triggers: [{id: again, event: {name: ping}}]
steps:
  - {id: one, emit: {name: ping}}
  - {id: two, emit: {name: ping}}
"""
CALM = """
id: calm
triggers: [{id: t, event: {name: hello}}]
steps: [{id: wait, receive: {event: go}}]
"""
SAYS = """
id: says
steps: [{id: say, emit: {name: hello}}]
"""


async def test_executions_that_start_each_other_without_end_hold_up_no_other_tenant() -> None:
    loud, quiet = Caller("loud"), Caller("quiet")
    store = watched()
    async with engine(store=store) as runtime:
        await runtime.publish(LOOP, caller=loud)
        for text in (CALM, SAYS):
            await runtime.publish(text, caller=quiet)
        await runtime.events.publish(loud, "ping")
        for _ in range(100_000):
            if len(await store.outbox(0, 3_000)) == 3_000:
                break
            await asyncio.sleep(0)
        before = len((await store.listed(ListQuery("loud", limit=100_000))).records)
        await runtime.start(quiet, StartRequest("says", execution_id="s"))
        for _ in range(10_000):
            if len((await store.listed(ListQuery("quiet"))).records) == 2:
                break
            await asyncio.sleep(0)
        after = len((await store.listed(ListQuery("loud", limit=100_000))).records)
        await runtime.retract("loop", caller=loud)
        assert len((await store.listed(ListQuery("quiet"))).records) == 2
        assert after - before < 1_000
