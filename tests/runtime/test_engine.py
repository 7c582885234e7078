"""The embedded engine over both stores: starting, events, ends, restarts, and what it refuses."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, started, until

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import ResolveAction
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.refusals import Refused
from callboard.runtime.executions import Enqueued, Started, Submitted
from callboard.runtime.handlers import Operations
from callboard.runtime.local_worker import LocalTask
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings

REF = ExecutionRef("default", "x-1")
SECOND = 1_000_000


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "callboard.db")


def reason(caught: pytest.ExceptionInfo[Refused]) -> str:
    return caught.value.refusal.reason


async def test_an_execution_runs_to_its_end(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: {"from": task.path})
        await started(runtime, "linear", "x-1")
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert (view.status, view.output) == ("COMPLETED", {"from": "two"})
        assert [task.path for task in hands.seen] == ["one", "two"]
        await hands.stop()


async def test_history_tells_every_event_with_its_states(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await runtime.start(Caller(user_id="ann"), StartRequest("waiting", execution_id="x-1"))
        await runtime.submit(Caller(user_id="bob"), "x-1", "go", 1)
        history = await runtime.history(ME, "x-1")
        assert [(e.stored.sequence, e.stored.name, e.user_id) for e in history] == [
            (1, "ExecutionStarted", "ann"),
            (2, "StepScheduled", "ann"),
            (3, "EventReceived", "bob"),
            (4, "StepCompleted", "bob"),
            (5, "StepScheduled", "bob"),
        ]
        assert [(e.from_state, e.to_state) for e in history][:2] == [("pending", "running"), ("running", "running")]
        tail = await runtime.history(ME, "x-1", after_sequence=3)
        assert (tail[0].from_state, tail[0].user_id) == ("running", "bob")


async def test_events_nobody_waits_for_are_kept_and_taken_in_order(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        assert (await runtime.submit(ME, "x-1", "more", "early")).kept
        answer = await runtime.submit(ME, "x-1", "go", "now")
        assert not answer.kept
        assert answer.view.output == ["now", "early"]


async def test_the_same_event_id_counts_once(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        both = await asyncio.gather(
            runtime.submit(ME, "x-1", "go", 1, event_id="e-1"), runtime.submit(ME, "x-1", "go", 1, event_id="e-1")
        )
        again = await runtime.submit(ME, "x-1", "go", 1, event_id="e-1")
        assert [answer.duplicate for answer in both] == [False, True]
        assert again.duplicate
        names = [e.stored.name for e in await runtime.history(ME, "x-1")]
        assert names.count("EventReceived") == 1


async def test_the_same_request_has_its_effect_once(path: str) -> None:
    caller = Caller(request_id="r-1", fingerprint=b"a")
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        first = await runtime.start(caller, StartRequest("waiting"))
        again = await runtime.start(caller, StartRequest("waiting"))
        assert first.view.ref == again.view.ref
        assert again.started
        with pytest.raises(Refused) as caught:
            await runtime.start(Caller(request_id="r-1", fingerprint=b"b"), StartRequest("waiting"))
        assert reason(caught) == "REQUEST_ID_REUSED"


async def test_an_execution_id_is_used_once(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await runtime.publish(LINEAR)
        first, second = await asyncio.gather(
            runtime.start(ME, StartRequest("waiting", execution_id="x-1")),
            runtime.start(ME, StartRequest("waiting", execution_id="x-1")),
        )
        assert (first.started, second.started) == (True, False)
        for request in (
            StartRequest("waiting", execution_id="x-1", reject_existing=True),
            StartRequest("linear", execution_id="x-1"),
        ):
            with pytest.raises(Refused) as caught:
                await runtime.start(ME, request)
            assert reason(caught) == "EXECUTION_ALREADY_EXISTS"


async def test_enqueued_events_are_processed_in_order_and_once(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.enqueue(ME, "x-1", "go", 1, event_id="e-1")
        again = await runtime.enqueue(ME, "x-1", "go", 1, event_id="e-1")
        await runtime.enqueue(ME, "x-1", "more", 2)
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert view.output == [1, 2]
        assert again.duplicate


async def test_an_ended_execution_takes_nothing(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.terminate(ME, "x-1", "enough")
        for call in (runtime.submit(ME, "x-1", "go"), runtime.enqueue(ME, "x-1", "go"), runtime.cancel(ME, "x-1")):
            with pytest.raises(Refused) as caught:
                await call
            assert reason(caught) == "EXECUTION_ENDED"
        view = await runtime.get(ME, "x-1", full=True)
        assert (view.status, view.reason) == ("TERMINATED", "enough")


async def test_unknown_things_are_named(path: str) -> None:
    async with engine(path) as runtime:
        for call, expected in (
            (runtime.submit(ME, "nobody", "go"), "EXECUTION_NOT_FOUND"),
            (runtime.enqueue(ME, "nobody", "go"), "EXECUTION_NOT_FOUND"),
            (runtime.get(ME, "nobody"), "EXECUTION_NOT_FOUND"),
            (runtime.start(ME, StartRequest("nothing")), "DEFINITION_NOT_FOUND"),
            (runtime.start(ME, StartRequest("nothing", execution_id=" x")), "INVALID_REQUEST"),
            (runtime.requeue_dead_letter(ME, 7), "DEAD_LETTER_NOT_FOUND"),
        ):
            with pytest.raises(Refused) as caught:
                await call
            assert reason(caught) == expected


async def test_retries_wait_for_their_backoff(path: str) -> None:
    clock = ManualClock()
    text = LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, retry: {max_attempts: 3, initial_backoff: 30d}}")
    async with engine(path, clock) as runtime:
        await runtime.publish(text)
        hands = Hands(runtime, lambda task: Failure("Down", "no") if task.path == "one" and task.attempt < 3 else 1)
        await started(runtime, "linear", "x-1")
        for attempt in (1, 2):
            await until(lambda attempt=attempt: len(hands.seen) == attempt)  # type: ignore[misc]
            view = await runtime.get(ME, "x-1", full=True)
            await until_retrying(runtime)
            await clock.advance(61 * 24 * 3600)
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert view.output == 1
        assert [task.attempt for task in hands.seen if task.path == "one"] == [1, 2, 3]
        assert len({task.idempotency_key for task in hands.seen if task.path == "one"}) == 1
        await hands.stop()


async def until_retrying(runtime: object) -> None:
    for _ in range(1_000):
        view = await runtime.get(ME, "x-1", full=True)  # type: ignore[attr-defined]
        if view.open_steps and view.open_steps[0].state == "RETRYING":
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no retry came")


async def test_everything_open_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "callboard.db"
    clock = ManualClock()
    async with engine(path, clock) as runtime:
        await runtime.publish(LINEAR)
        await runtime.publish(WAITING)
        await started(runtime, "linear", "x-1")
        await started(runtime, "waiting", "x-2")
        await runtime.submit(ME, "x-2", "go", 1)
    async with engine(path, clock) as runtime:
        await clock.advance(6)
        hands = Hands(runtime, lambda task: {"from": task.path, "input": 5})
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert view.status == "COMPLETED"
        assert (await runtime.submit(ME, "x-2", "more", 2)).view.output == [1, 2]
        await hands.stop()


async def test_parked_steps_wait_for_an_operator(path: str) -> None:
    text = LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, retry: {on_exhausted: PARK}}")
    async with engine(path) as runtime:
        await runtime.publish(text)
        answers = iter([Failure("Down", "no"), 5, 6])
        hands = Hands(runtime, lambda task: next(answers))
        await started(runtime, "linear", "x-1")
        view = await runtime.get(ME, "x-1", full=True)
        for _ in range(1_000):
            if view.incidents:
                break
            await asyncio.sleep(0.001)
            view = await runtime.get(ME, "x-1", full=True)
        assert view.incidents[0].path == "one"
        assert view.open_steps[0].waiting_on == "operator"
        await runtime.resolve(ME, "x-1", "one", ResolveAction.RETRY_NOW)
        ended = await runtime.wait_ended(REF, 10 * SECOND)
        assert ended is not None
        assert ended.output == 6
        await hands.stop()


async def test_a_full_house_says_so_and_sleepers_make_room(tmp_path: Path) -> None:
    settings = Settings(live_actors_max=3)
    async with engine(tmp_path / "callboard.db", settings=settings) as runtime:
        await runtime.publish(WAITING)
        for n in range(10):
            await started(runtime, "waiting", f"x-{n}")
        assert runtime.supervisor.live <= 3
        for n in range(10):
            assert not (await runtime.submit(ME, f"x-{n}", "go", n)).duplicate


async def test_listing_pages_are_stable(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        for n in range(5):
            await started(runtime, "waiting", f"x-{n}")
        await runtime.terminate(ME, "x-3")
        first = await runtime.listings.page(ME, "", 2)
        await started(runtime, "waiting", "x-9")
        second = await runtime.listings.page(ME, "", 2, first.next_page_token)
        third = await runtime.listings.page(ME, "", 2, second.next_page_token)
        ids = [view.ref.execution_id for page in (first, second, third) for view in page.items]
        assert ids == ["x-4", "x-3", "x-2", "x-1", "x-0"]
        assert third.next_page_token == ""
        ended = await runtime.listings.page(ME, 'status == "TERMINATED"')
        assert [view.ref.execution_id for view in ended.items] == ["x-3"]


async def test_a_watch_sees_every_event_and_ends(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        seen: list[int] = []

        async def look() -> None:
            async for page in runtime.watch(ME, "x-1", 1):
                seen.extend(event.stored.sequence for event in page)

        watching = asyncio.create_task(look())
        await runtime.submit(ME, "x-1", "go", 1)
        await runtime.submit(ME, "x-1", "more", 1)
        await asyncio.wait_for(watching, 10)
        assert seen == list(range(2, 9))


async def test_a_poisoned_event_becomes_a_dead_letter_and_holds_up_nobody(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await started(runtime, "waiting", "x-2")
        poison_decisions(monkeypatch)
        await runtime.enqueue(ME, "x-1", "go", {"poison": True, "n": 2**53 + 1})
        await runtime.enqueue(ME, "x-1", "go", "good")
        await runtime.enqueue(ME, "x-2", "go", "good")
        letters, view = await runtime.dead_letters(ME), await runtime.get(ME, "x-1")
        for _ in range(2_000):
            if letters and view.sequence > 3:
                break
            await asyncio.sleep(0.001)
            letters, view = await runtime.dead_letters(ME), await runtime.get(ME, "x-1")
        assert [(letter.ref.execution_id, letter.cause) for letter in letters] == [("x-1", "EXECUTION_POISONED")]
        assert letters[0].payload == b'{"poison":true,"n":9007199254740993}'
        incidents = (await runtime.get(ME, "x-1", full=True)).incidents
        assert [(one.dead_letter, one.failure.type) for one in incidents] == [(letters[0].id, "EXECUTION_POISONED")]
        assert (await runtime.submit(ME, "x-2", "more", 1)).view.output == ["good", 1]
        monkeypatch.undo()
        await runtime.requeue_dead_letter(ME, letters[0].id)
        for _ in range(2_000):
            if (await runtime.get(ME, "x-1")).sequence > view.sequence:
                break
            await asyncio.sleep(0.001)
        assert not await runtime.dead_letters(ME)


def poison_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    from callboard.runtime import actor

    sound = actor.decide

    def decide(state, plan, command, facts, limits):  # type: ignore[no-untyped-def]
        if isinstance(getattr(command, "payload", None), dict):
            raise RuntimeError("poison")
        return sound(state, plan, command, facts, limits)

    monkeypatch.setattr(actor, "decide", decide)


async def test_a_command_that_raises_is_answered_alone(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        poison_decisions(monkeypatch)
        answers = await asyncio.gather(
            runtime.submit(ME, "x-1", "go", 1),
            runtime.submit(ME, "x-1", "go", {"poison": True}),
            runtime.submit(ME, "x-1", "more", 2),
            return_exceptions=True,
        )
        assert isinstance(answers[1], Refused)
        assert answers[1].refusal.reason == "EXECUTION_POISONED"
        view = await runtime.get(ME, "x-1")
        assert view.output == [1, 2]


async def test_what_follows_a_start_of_an_existing_execution_reaches_that_one(tmp_path: Path) -> None:
    path = tmp_path / "callboard.db"
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.submit(ME, "x-1", "go", 1)
    async with engine(path) as runtime:
        start, enqueued, submitted = await asyncio.gather(
            runtime.start(ME, StartRequest("waiting", execution_id="x-1")),
            runtime.enqueue(ME, "x-1", "more", 2),
            runtime.submit(ME, "x-1", "else", 3),
            return_exceptions=True,
        )
        assert isinstance(start, Started)
        assert not start.started
        assert isinstance(enqueued, Enqueued)
        assert isinstance(submitted, Submitted) or "EXECUTION_ENDED" in str(submitted)
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert view.output == [1, 2]


async def test_a_refused_start_leaves_nothing_behind(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING.replace("steps:", 'labels: {n: "${input.n}"}\nsteps:', 1))
        with pytest.raises(Refused) as caught:
            await runtime.start(ME, StartRequest("waiting", execution_id="x-1", input={}))
        assert reason(caught) == "INVALID_REQUEST"
        with pytest.raises(Refused) as caught:
            await runtime.get(ME, "x-1")
        assert reason(caught) == "EXECUTION_NOT_FOUND"
        assert runtime.supervisor.live == 0
        await runtime.start(ME, StartRequest("waiting", execution_id="x-1", input={"n": "1"}))


@pytest.mark.parametrize("after", [4, 99])
async def test_a_watch_from_the_end_ends(path: str, after: int) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.terminate(ME, "x-1")
        assert [page async for page in runtime.watch(ME, "x-1", after)] == []


async def test_an_operator_may_name_the_failure(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, retry: {on_exhausted: PARK}}"))
        hands = Hands(runtime, lambda task: Failure("Down", "no"))
        await started(runtime, "linear", "x-1")
        view = await runtime.get(ME, "x-1", full=True)
        for _ in range(1_000):
            if view.incidents:
                break
            await asyncio.sleep(0.001)
            view = await runtime.get(ME, "x-1", full=True)
        assert (view.open_steps[0].attempt, view.open_steps[0].max_attempts) == (1, 1)
        named = Failure("GivenUp", "by hand")
        failed = await runtime.resolve(ME, "x-1", "one", ResolveAction.FAIL, failure=named)
        assert failed.failure is not None
        assert (failed.failure.type, failed.failure.cause and failed.failure.cause.type) == ("GivenUp", "Down")
        await hands.stop()


async def test_handlers_run_in_the_same_process(path: str) -> None:
    operations = Operations()

    @operations.operation("s.one")
    async def one(task: LocalTask, n: int) -> dict[str, int]:
        return {"n": n + 1}

    @operations.operation("s.two")
    def two(task: LocalTask, n: int) -> int:
        if task.attempt == 1:
            sys.exit(3)
        return n * 10

    async with engine(path) as runtime:
        retry = "retry: {max_attempts: 2, initial_backoff: 1ms}"
        await runtime.publish(LINEAR.replace('steps.one.result}"}}', f'steps.one.result}}"}}, {retry}}}'))
        runtime.work(operations)
        await started(runtime, "linear", "x-1")
        await until_retrying(runtime)
        assert isinstance(runtime.clock, ManualClock)
        await runtime.clock.advance(1)
        view = await runtime.wait_ended(REF, 10 * SECOND)
        assert view is not None
        assert view.output == 20
