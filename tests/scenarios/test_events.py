"""Events from outside: each counts once, in an order that no clock can disturb, and none is lost."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import WAITING, Api, connect, eventually, payload, raw, refused, serve, status, value

from callboard.runtime.clock import ManualClock
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import payload_pb2, server_service_pb2

LATER = """
id: later
steps:
  - {id: nap, wait: {duration: 1h}}
  - {id: got, receive: {event: go}}
output: "${steps.got.result.payload}"
"""
COUNTING = """
id: counting
steps:
  - id: all
    foreach:
      items: "input"
      steps: [{id: got, receive: {event: e}}]
      collect: "${steps.got.result.payload}"
"""
EVENTS = int(os.environ.get("CALLBOARD_TEST_EVENTS", "10000"))
"""Events to one execution; fewer on a machine that is slow."""
CLIENTS = 50
IN_FLIGHT = 16


async def test_a_clock_that_jumps_back_an_hour_changes_neither_order_nor_replay(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        await api.submit("x-1", "more", "early")
        clock.jump(-3_600)
        await api.submit("x-1", "other", "an hour before")
        before = (await api.history("x-1"), await api.get("x-1"))
    async with serve(tmp_path, clock=clock) as api:
        assert (await api.history("x-1"), await api.get("x-1")) == before
        clock.jump(-3_600)
        await api.submit("x-1", "go", "late")
        history = await api.history("x-1")
        times = [event.created_at.ToNanoseconds() for event in history]
        assert times == sorted(times)
        assert [event.sequence for event in history] == list(range(1, len(history) + 1))
        execution = await api.get("x-1")
        assert value(execution.output) == ["late", "early"]
        assert execution.ended_at.ToNanoseconds() >= execution.started_at.ToNanoseconds()


async def test_a_retry_still_waits_its_backoff_when_the_clock_jumps_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LATER)
        await api.start("later", "x-1")
        clock.jump(-3_600)
        await clock.advance(7_300)
        await api.until("x-1", "StepScheduled", 2)


async def test_the_same_event_id_counts_once_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        answers = await asyncio.gather(*[api.submit("x-1", "go", {"n": 1}, event_id="e-1") for _ in range(20)])
        assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19
        assert {answer.event_id for answer in answers} == {"e-1"}
        assert {answer.execution.sequence for answer in answers} == {answers[0].execution.sequence}
        assert (await api.enqueue("x-1", "go", {"n": 1}, event_id="e-1")).duplicate
    async with serve(tmp_path) as api:
        assert (await api.submit("x-1", "go", {"n": 1}, event_id="e-1")).duplicate
        assert (await api.enqueue("x-1", "go", {"n": 1}, event_id="e-1")).duplicate
        events = await api.history("x-1")
        assert [event.event_name for event in events].count("EventReceived") == 1
        assert [event.event_id for event in events if event.event_name == "EventReceived"] == ["e-1"]
        await api.submit("x-1", "more", 2)
        assert value((await api.ended("x-1")).output) == [{"n": 1}, 2]


async def test_a_repeat_that_comes_after_the_end_is_told_that_it_was_taken(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    await api.enqueue("x-1", "go", 1, event_id="taken")
    await api.enqueue("x-1", "late", 1, event_id="not taken")
    await api.submit("x-1", "more", 2, event_id="last")
    assert (await api.ended("x-1")).status == status("COMPLETED")
    assert [letter.event_id for letter in await api.dead_letters("x-1")] == ["not taken"]
    for name in ("taken", "not taken", "last"):
        assert (await api.enqueue("x-1", "go", 1, event_id=name)).duplicate
    assert (await api.submit("x-1", "go", 1, event_id="taken")).duplicate
    for late in (api.enqueue("x-1", "go", 1, event_id="new"), api.submit("x-1", "go", 1, event_id="new")):
        assert (await refused(late)).reason == "EXECUTION_ENDED"


async def test_an_accepted_event_that_was_also_submitted_is_dropped_and_holds_up_nothing(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        _leave_inboxes_alone(api)
        assert not (await api.enqueue("x-1", "go", 1, event_id="e-1")).duplicate
        assert not (await api.submit("x-1", "go", 1, event_id="e-1")).duplicate
        await api.enqueue("x-1", "more", 2)
    async with serve(tmp_path) as api:
        assert value((await api.ended("x-1")).output) == [1, 2]
        assert (await api.names("x-1")).count("EventReceived") == 2
        counts = (await api.admin.GetServerInfo(server_service_pb2.GetServerInfoRequest())).counts
        assert (counts.inbox, counts.dead_letters) == (0, 0)


def _leave_inboxes_alone(api: Api) -> None:
    """Actors never get to what is accepted: as if the process died right after the acceptance."""
    api.server.runtime.supervisor.inbox_waits = lambda ref: None  # type: ignore[method-assign]


async def test_an_enqueued_event_wakes_a_dormant_execution_after_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
    async with serve(tmp_path) as api:
        assert api.server.runtime.supervisor.live == 0
        first = await api.enqueue("x-1", "go", 1, event_id="e-1")
        again = await api.enqueue("x-1", "go", 1, event_id="e-1")
        assert (first.duplicate, again.duplicate) == (False, True)
        await api.enqueue("x-1", "more", 2)
        assert value((await api.ended("x-1")).output) == [1, 2]
        assert (await api.names("x-1")).count("EventReceived") == 2


async def test_an_event_accepted_before_a_restart_is_processed_after_it(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        _leave_inboxes_alone(api)
        await api.enqueue("x-1", "go", 1)
        await api.enqueue("x-1", "more", 2)
    async with serve(tmp_path) as api:
        assert value((await api.ended("x-1")).output) == [1, 2]


async def test_an_event_that_is_accepted_while_the_inbox_is_being_read_is_not_overlooked(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    store: Any = api.server.runtime.store
    sound, read, go_on = store.inbox, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **more: Any) -> Any:
        rows = await sound(*args, **more)
        if not read.is_set():
            read.set()
            await go_on.wait()
        return rows

    store.inbox = slow
    await api.enqueue("x-1", "go", 1)
    await read.wait()
    await api.enqueue("x-1", "more", 2)
    go_on.set()
    assert value((await api.ended("x-1")).output) == [1, 2]


async def test_an_event_before_its_receive_is_reached_is_kept_and_then_taken(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LATER)
        for execution_id, send in (("x-1", api.enqueue), ("x-2", api.submit)):
            await api.start("later", execution_id)
            answer = await send(execution_id, "go", "early")
            assert getattr(answer, "kept", True)
            await api.until(execution_id, "EventReceived")
    async with serve(tmp_path, clock=clock) as api:
        await clock.advance(3_601)
        for execution_id in ("x-1", "x-2"):
            assert value((await api.ended(execution_id)).output) == "early"


async def test_what_was_enqueued_and_not_taken_at_the_end_is_a_dead_letter(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    await api.enqueue("x-1", "nobody", {"wants": "this"}, event_id="e-1")
    await api.submit("x-1", "go", 1)
    await api.submit("x-1", "more", 2)
    await api.ended("x-1")
    letters = await eventually(lambda: api.dead_letters("x-1"))
    assert [(one.event_id, one.event_name, one.cause.type) for one in letters] == [("e-1", "nobody", "EXECUTION_ENDED")]
    assert value(letters[0].payload) == {"wants": "this"}


POISON = '{"poison":true,"n":9007199254740993,"f":2.0,"z":-0.0,"e":"","s":"é\\"\\u0001","b":{"y":1,"a":[]}}'


@pytest.mark.parametrize("content", [raw(POISON), payload_pb2.Payload(content_type="x/y", data=b"\x00\xffpoison")])
async def test_a_poisoned_event_becomes_a_dead_letter_byte_for_byte(
    api: Api, content: payload_pb2.Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish(WAITING.partition("output:")[0])
    for execution_id in ("x-1", "x-2"):
        await api.start("waiting", execution_id)
    poison_decisions(monkeypatch)
    await api.of(user="ann").executions.EnqueueEvent(
        events_pb2.EnqueueEventRequest(execution_id="x-1", name="go", payload=content, event_id="e-1"),
        metadata=(("callboard-user", "ann"),),
    )
    await api.enqueue("x-1", "more", "sound")
    await api.enqueue("x-2", "go", "sound")
    await api.until("x-2", "StepCompleted")
    await api.until("x-1", "EventReceived")
    letter = (await eventually(lambda: api.dead_letters("x-1")))[0]
    assert (letter.event_id, letter.event_name, letter.cause.type) == ("e-1", "go", "EXECUTION_POISONED")
    assert letter.payload == content
    assert letter.user_id == "ann"
    monkeypatch.undo()
    request = events_pb2.RequeueDeadLetterRequest(dead_letter_id=letter.dead_letter_id, request_id="r-1")
    assert (await api.executions.RequeueDeadLetter(request)).dead_letter == letter
    await api.executions.RequeueDeadLetter(request)
    execution = await api.ended("x-1")
    assert execution.status == status("COMPLETED")
    received = [event for event in await api.history("x-1") if event.event_name == "EventReceived"]
    assert [event.event_id for event in received][1:] == ["e-1"]
    assert await api.dead_letters() == []


def poison_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding on an event raises where its payload is an object or bytes."""
    from callboard.runtime import actor

    sound = actor.decide

    def decide(state: Any, plan: Any, command: Any, facts: Any, limits: Any) -> Any:
        content = getattr(command, "payload", None)
        if content is not None and not isinstance(content, str):
            raise RuntimeError("poison")
        return sound(state, plan, command, facts, limits)

    monkeypatch.setattr(actor, "decide", decide)


async def test_a_dead_letter_can_be_thrown_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    poison_decisions(monkeypatch)
    await api.enqueue("x-1", "go", {"bad": 1})
    letter = (await eventually(api.dead_letters))[0]
    discard = events_pb2.DiscardDeadLetterRequest(dead_letter_id=letter.dead_letter_id, reason="not ours")
    assert (await api.executions.DiscardDeadLetter(discard)).dead_letter == letter
    assert (await refused(api.executions.DiscardDeadLetter(discard))).reason == "DEAD_LETTER_NOT_FOUND"
    assert await api.dead_letters() == []


async def test_a_poisonous_submit_is_told_so_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    poison_decisions(monkeypatch)
    good, bad, other = await asyncio.gather(
        api.submit("x-1", "go", "a"),
        refused(api.submit("x-1", "go", {"bad": 1})),
        api.submit("x-1", "more", "b"),
    )
    assert (bad.code, bad.reason) == ("INTERNAL", "EXECUTION_POISONED")
    assert not good.duplicate
    assert not other.duplicate
    assert value((await api.ended("x-1")).output) == ["a", "b"]
    assert await api.dead_letters() == []


async def test_thousands_of_events_from_fifty_clients_are_all_there_gap_free_and_once(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(COUNTING)
        await api.start("counting", "x-1", input=payload(list(range(EVENTS))))
        async with AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(connect(api.server)) for _ in range(CLIENTS)]
            await asyncio.gather(*[_send(Api(api.server, channel), n) for n, channel in enumerate(channels)])
        execution = await api.ended("x-1")
        assert sorted(value(execution.output)) == list(range(EVENTS))
        history = await api.history("x-1")
        assert [event.sequence for event in history] == list(range(1, len(history) + 1))
        received = [event for event in history if event.event_name == "EventReceived"]
        assert len(received) == EVENTS
        assert {event.event_id for event in received} == {f"e-{n}" for n in range(EVENTS)}


async def _send(api: Api, client: int) -> None:
    """One client's share, with many calls in flight and every tenth sent twice."""
    share = iter(range(client, EVENTS, CLIENTS))

    async def lane() -> None:
        for n in share:
            answer = await api.submit("x-1", "e", n, event_id=f"e-{n}")
            assert not answer.duplicate
            if n % 10 == 0 and not answer.execution.ended_at.seconds:
                assert (await api.submit("x-1", "e", n, event_id=f"e-{n}")).duplicate

    await asyncio.gather(*[lane() for _ in range(IN_FLIGHT)])
