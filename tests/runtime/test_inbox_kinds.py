"""What reaches an execution by its inbox beside enqueued events: offers, releases, cancels; and adopted starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.engine_kit import ME, engine, until

from callboard.runtime.births import Births
from callboard.runtime.core.commands import KEY_LINE, Origin, Start
from callboard.runtime.core.state import Status
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import encode
from callboard.runtime.engine import Runtime
from callboard.runtime.requests import StartRequest
from callboard.runtime.rows import ExecutionRef, LineClaim
from callboard.runtime.settings import Settings
from callboard.runtime.trigger_rows import EventAcceptance
from callboard.runtime.writes import Committed

REF = ExecutionRef("default", "x-1")
KEYED = """
id: keyed
steps:
  - {id: got, receive: {event: paid, key: input, filter: event.ok}}
  - {id: more, receive: {event: more}}
output: "${steps.got.result}"
"""
LONG = """
id: long
steps:
  - {id: each, foreach: {items: "[1, 2, 3, 4, 5, 6, 7, 8]", steps: [{id: v, set: {v: "${item}"}}]}}
  - {id: got, receive: {event: go}}
"""


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "callboard.db")


async def publish_event(runtime: Runtime, event_id: str, payload: object, key: str = "o-1") -> Committed:
    """Accept a published event that no trigger listens to."""
    write = EventAcceptance(
        tenant="default",
        event_id=event_id,
        name="paid",
        key=key,
        payload=encode(payload),  # type: ignore[arg-type]
        context=b'{"user":"ann"}',
        accepted_at=runtime.clock.now(),
        expires_at=runtime.clock.now() + 1_000_000,
        listeners=0,
    )
    outcome = await runtime.journal.write(write)
    assert isinstance(outcome, Committed)
    return outcome


async def names(runtime: Runtime) -> list[str]:
    return [event.stored.name for event in await runtime.history(ME, "x-1")]


async def worked_off(runtime: Runtime) -> None:
    await until(lambda: not runtime.supervisor.busy)
    assert (await runtime.counts()).inbox == 0


async def test_an_offer_is_taken_under_its_own_id(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await runtime.start(ME, StartRequest("keyed", execution_id="x-1", input="o-1"))
        committed = await publish_event(runtime, "p-1", {"ok": True})
        assert committed.woken == (REF,)
        await worked_off(runtime)
        assert await names(runtime) == [
            "ExecutionStarted",
            "StepScheduled",
            "EventReceived",
            "StepCompleted",
            "StepScheduled",
        ]
        received = (await runtime.history(ME, "x-1"))[2]
        assert (received.user_id, received.stored.event_id) == ("ann", None)
        assert not (await runtime.submit(ME, "x-1", "more", event_id="p-1")).duplicate, "ids of two worlds"
        output = (await runtime.get(ME, "x-1")).output
        assert (output["event_id"], output["payload"]) == ("p-1", {"ok": True})


async def test_a_filter_refuses_and_what_comes_too_late_is_missed(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await runtime.start(ME, StartRequest("keyed", execution_id="x-1", input="o-1"))
        assert (await publish_event(runtime, "p-0", {"ok": True}, key="o-2")).woken == ()
        for event_id, ok in (("p-1", False), ("p-2", True)):
            await publish_event(runtime, event_id, {"ok": ok})
            await worked_off(runtime)
        assert (await names(runtime))[2:] == ["EventReceived", "StepCompleted", "StepScheduled"]
        assert (await publish_event(runtime, "p-3", {"ok": True})).woken == (), "the wait is closed"


async def test_two_offers_at_once_one_is_taken_and_one_missed(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await runtime.start(ME, StartRequest("keyed", execution_id="x-1", input="o-1"))
        append = runtime.journal.write(
            EventAcceptance("default", "p-1", "paid", "o-1", b'{"ok":true}', b"{}", 1, 2**50, 0)
        )
        await publish_event(runtime, "p-2", {"ok": True})
        assert isinstance(await append, Committed)
        await worked_off(runtime)
        assert sorted((await names(runtime))[2:]) == ["EventMissed", "EventReceived", "StepCompleted", "StepScheduled"]


async def test_an_offer_to_one_that_has_ended_goes_quietly(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await runtime.start(ME, StartRequest("keyed", execution_id="x-1", input="o-1"))
        offered = runtime.journal.write(
            EventAcceptance("default", "p-1", "paid", "o-1", b'{"ok":true}', b"{}", 1, 2**50, 0)
        )
        await runtime.terminate(ME, "x-1")
        assert isinstance(await offered, Committed)
        await worked_off(runtime)
        assert await runtime.dead_letters(ME, "x-1") == []


# Starts without an actor


async def birth(runtime: Runtime, definition_id: str, claims: tuple[LineClaim, ...] = (), behind: str = "") -> None:
    """Begin x-1 as a trigger would."""
    births = Births(runtime.clock, runtime.ids, runtime.settings, runtime.supervisor.adopt)
    plan = await runtime.catalog.plan("default", definition_id, 1)
    command = Start(definition_id, 1, "o-1", behind=behind, origin=Origin("t", slot=5))
    born = births.prepare(REF, command, plan, context=b"{}", claims=claims)
    outcome = await runtime.journal.write(born.append)
    assert isinstance(outcome, Committed)
    births.adopt(born, outcome)


async def test_an_adopted_execution_goes_on(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await birth(runtime, "keyed", (LineClaim(KEY_LINE + "k"),))
        view = await runtime.get(ME, "x-1")
        assert (view.status, view.unique_key, view.origin) == (Status.RUNNING, "k", Origin("t", slot=5))
        await publish_event(runtime, "p-1", {"ok": True})
        await worked_off(runtime)
        assert (await names(runtime))[2:] == ["EventReceived", "StepCompleted", "StepScheduled"]


async def test_an_adopted_execution_works_off_what_its_start_left(path: str) -> None:
    async with engine(path, settings=Settings(decisions=Limits(turn_events_max=4))) as runtime:
        await runtime.publish(LONG)
        await birth(runtime, "long")
        await worked_off(runtime)
        assert (await runtime.submit(ME, "x-1", "go")).view.status is Status.COMPLETED


async def test_without_room_it_sleeps_and_its_rest_stays_in_its_inbox(path: str) -> None:
    settings = Settings(decisions=Limits(turn_events_max=4), live_actors_max=0)
    async with engine(path, settings=settings) as runtime:
        await runtime.publish(LONG)
        await birth(runtime, "long")
        assert (runtime.live_actors(), (await runtime.counts()).inbox) == (0, 1)


async def test_one_that_is_awake_is_not_touched(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(KEYED)
        await runtime.start(ME, StartRequest("keyed", execution_id="x-1", input="o-1"))
        births = Births(runtime.clock, runtime.ids, runtime.settings, runtime.supervisor.adopt)
        plan = await runtime.catalog.plan("default", "keyed", 1)
        births.adopt(births.prepare(REF, Start("keyed", 1, "o-2"), plan, context=b"{}"), Committed(key=99))
        view = await runtime.get(ME, "x-1")
        assert (view.input, view.key) == ("o-1", (await runtime.get(ME, "x-1", full=True)).key)
        assert view.key != 99
