"""Unique keys: at most one execution of a definition that has not ended holds one, whatever races."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, until

from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.state import Status
from callboard.runtime.engine import Runtime
from callboard.runtime.executions import Started
from callboard.runtime.requests import Caller, StartRequest, UniquePolicy
from callboard.runtime.rows import ExecutionAppend, ExecutionRef
from callboard.runtime.writes import Outcome, Write

SECOND = 1_000_000
RETURN, REJECT, CANCEL = UniquePolicy.RETURN_EXISTING, UniquePolicy.REJECT, UniquePolicy.CANCEL_EXISTING


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "callboard.db")


async def start(
    runtime: Runtime,
    execution_id: str = "",
    policy: UniquePolicy = RETURN,
    key: str = "k",
    definition: str = "waiting",
    caller: Caller = ME,
    reject_existing: bool = False,
) -> Started:
    request = StartRequest(
        definition,
        execution_id=execution_id,
        reject_existing=reject_existing,
        unique_key=key,
        unique_policy=policy,
    )
    return await runtime.start(caller, request)


async def refused(call: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def names(runtime: Runtime, execution_id: str) -> list[str]:
    return [event.stored.name for event in await runtime.history(ME, execution_id)]


async def status(runtime: Runtime, execution_id: str) -> Status:
    return (await runtime.get(ME, execution_id)).status


async def come(runtime: Runtime, execution_id: str, wanted: Status) -> None:
    """Wait until the execution has this status."""
    for _ in range(2_000):
        if await status(runtime, execution_id) is wanted:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{execution_id} did not become {wanted}")


async def last_in_line(runtime: Runtime, ids: list[str]) -> str:
    """The execution whose start was committed last."""
    keys = {(await runtime.get(ME, each)).key: each for each in ids}
    return keys[max(keys)]


async def test_the_holder_is_the_answer(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        first, second = await start(runtime, "x-1"), await start(runtime, "x-2")
        assert (first.started, first.view.unique_key, first.view.behind) == (True, "k", "")
        assert (second.started, second.view.ref.execution_id) == (False, "x-1")
        assert (await refused(runtime.get(ME, "x-2"))).refusal.reason == "EXECUTION_NOT_FOUND"


async def test_other_keys_definitions_and_tenants_are_free(path: str) -> None:
    async with engine(path) as runtime:
        for caller in (ME, Caller(tenant="other")):
            await runtime.publish(WAITING, caller=caller)
            await runtime.publish(LINEAR, caller=caller)
        started = [
            await start(runtime, "x-1"),
            await start(runtime, "x-2", key="l"),
            await start(runtime, "x-3", key=""),
            await start(runtime, "x-4", key=""),
            await start(runtime, "x-5", definition="linear"),
            await start(runtime, "x-1", caller=Caller(tenant="other")),
        ]
        assert all(each.started for each in started)


async def test_a_taken_key_is_refused_on_request(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        refusal = (await refused(start(runtime, "x-2", REJECT))).refusal
        assert (refusal.reason, refusal.resource, refusal.metadata) == ("UNIQUE_KEY_TAKEN", "x-1", {"holder": "x-1"})


@pytest.mark.parametrize("policy", list(UniquePolicy))
async def test_an_ended_execution_holds_nothing(path: str, policy: UniquePolicy) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        await runtime.terminate(ME, "x-1")
        again = await start(runtime, "x-2", policy)
        assert (again.started, again.view.status, again.view.behind) == (True, Status.RUNNING, "")
        assert (await runtime.get(ME, "x-1")).unique_key == "k", "what it held can still be read"


async def test_the_holder_is_cancelled_and_the_new_one_follows(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        second = await start(runtime, "x-2", CANCEL)
        assert (second.started, second.view.status, second.view.behind) == (True, Status.PENDING, "x-1")
        assert (second.view.started_at, second.view.created_at > 0) == (0, True)
        old = await runtime.wait_ended(ExecutionRef("default", "x-1"), 10 * SECOND)
        assert old is not None
        assert (old.status, old.reason) == (Status.CANCELLED, "execution x-2 takes its place")
        await come(runtime, "x-2", Status.RUNNING)
        assert await names(runtime, "x-2") == ["ExecutionStarted", "ExecutionReleased", "StepScheduled"]
        assert (await runtime.get(ME, "x-2")).started_at > 0
        assert (await start(runtime, "x-3")).view.ref.execution_id == "x-2"


async def test_the_new_one_waits_for_the_answers_of_workers(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: None, "s.one")
        await start(runtime, "x-1", definition="linear")
        await until(lambda: bool(hands.seen))
        await start(runtime, "x-2", CANCEL, definition="linear")
        await come(runtime, "x-1", Status.REVERTING)
        third = await start(runtime, "x-3", CANCEL, definition="linear")
        assert third.view.behind == "x-1"
        await come(runtime, "x-2", Status.CANCELLED)
        assert await names(runtime, "x-2") == ["ExecutionStarted", "ExecutionCancelled"]
        assert [await status(runtime, each) for each in ("x-1", "x-3")] == [Status.REVERTING, Status.PENDING]
        await hands.stop()
        await runtime.terminate(ME, "x-1")
        await come(runtime, "x-3", Status.RUNNING)


async def test_events_to_one_that_waits_are_kept(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        await runtime.publish(WAITING.replace("id: waiting", "id: linear"))
        hands = Hands(runtime, lambda task: None, "s.one")
        await runtime.start(ME, StartRequest("linear", 1, "x-1", unique_key="k"))
        await until(lambda: bool(hands.seen))
        await start(runtime, "x-2", CANCEL, definition="linear")
        assert (await runtime.submit(ME, "x-2", "go", 1)).kept
        await runtime.enqueue(ME, "x-2", "more", 2)
        await runtime.terminate(ME, "x-1")
        view = await runtime.wait_ended(ExecutionRef("default", "x-2"), 10 * SECOND)
        assert view is not None
        assert view.output == [1, 2]
        await hands.stop()


async def test_one_that_waits_can_be_cancelled_and_the_rest_go_on(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: None, "s.one")
        await start(runtime, "x-1", definition="linear")
        await until(lambda: bool(hands.seen))
        await start(runtime, "x-2", CANCEL, definition="linear")
        assert (await runtime.cancel(ME, "x-2")).status is Status.CANCELLED
        assert (await start(runtime, "x-3", definition="linear")).view.ref.execution_id == "x-1"
        await hands.stop()


async def test_of_many_starts_at_once_one_begins(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        answers = await asyncio.gather(*(start(runtime, f"x-{n}") for n in range(20)))
        assert [each.started for each in answers].count(True) == 1
        assert len({each.view.ref for each in answers}) == 1


async def test_of_many_that_cancel_each_other_one_is_left(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        ids = [f"x-{n}" for n in range(10)]
        answers = await asyncio.gather(*(start(runtime, each, CANCEL) for each in ids))
        assert all(each.started for each in answers)
        await come(runtime, (await last_in_line(runtime, ids)), Status.RUNNING)
        assert sorted([await status(runtime, each) for each in ids]) == [*[Status.CANCELLED] * 9, Status.RUNNING]


# Which answer goes first


async def test_the_same_id_goes_before_the_key(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        await start(runtime, "x-2", key="")
        for policy in UniquePolicy:
            again = await start(runtime, "x-2", policy)
            assert (again.started, again.view.ref.execution_id) == (False, "x-2")
            refusal = (await refused(start(runtime, "x-2", policy, reject_existing=True))).refusal
            assert refusal.reason == "EXECUTION_ALREADY_EXISTS"
        assert await status(runtime, "x-1") is Status.RUNNING


async def test_the_same_request_goes_before_the_key(path: str) -> None:
    caller = Caller(request_id="r-1", fingerprint=b"a")
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        first = await start(runtime, policy=CANCEL, caller=caller)
        again = await start(runtime, policy=CANCEL, caller=caller)
        assert (again.started, again.view.ref, again.view.status) == (True, first.view.ref, Status.RUNNING)


async def test_a_request_answered_with_the_holder_stays_so(path: str) -> None:
    caller = Caller(request_id="r-1", fingerprint=b"a")
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        both = await asyncio.gather(*(start(runtime, caller=caller) for _ in range(2)))
        await runtime.terminate(ME, "x-1")
        again = await start(runtime, caller=caller)
        answers = [(each.started, each.view.ref.execution_id) for each in (*both, again)]
        assert answers == [(False, "x-1")] * 3
        assert again.view.status is Status.TERMINATED
        other = await refused(start(runtime, caller=Caller(request_id="r-1", fingerprint=b"b")))
        assert other.refusal.reason == "REQUEST_ID_REUSED"
        assert await names(runtime, "x-1") == ["ExecutionStarted", "StepScheduled", "ExecutionTerminated"]


async def test_a_key_has_a_limit(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        assert (await start(runtime, key="x" * 255)).started
        refusal = (await refused(start(runtime, key="x" * 256))).refusal
        assert (refusal.reason, refusal.violations[0].path) == ("INVALID_REQUEST", "unique_key")


# What changes between


def before_a_claim(runtime: Runtime, behind: bool, act: Callable[[], Awaitable[object]]) -> None:
    """Before the first start that claims such a place is written, something else happens."""
    write, once = runtime.journal.write, iter([True])

    async def interrupted(given: Write) -> Outcome:
        claims = given.claims if isinstance(given, ExecutionAppend) else ()
        if any(claim.behind is behind for claim in claims) and next(once, False):
            await act()
        return await write(given)

    runtime.journal.write = interrupted  # type: ignore[method-assign,assignment]


async def test_a_holder_that_ends_before_the_place_behind_it_is_taken(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")

        async def end() -> None:
            await runtime.terminate(ME, "x-1")

        before_a_claim(runtime, True, end)
        second = await start(runtime, "x-2", CANCEL)
        assert (second.view.status, second.view.behind) == (Status.RUNNING, "")


async def test_a_holder_that_comes_before_the_place_is_taken(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)

        async def begin() -> None:
            await start(runtime, "x-1")

        before_a_claim(runtime, False, begin)
        second = await start(runtime, "x-2", CANCEL)
        assert (second.started, second.view.behind) == (True, "x-1")
        await come(runtime, "x-2", Status.RUNNING)


@pytest.mark.parametrize("caller", [ME, Caller(request_id="r-1", fingerprint=b"a")])
async def test_a_holder_that_ends_before_it_is_the_answer_leaves_the_key_free(path: str, caller: Caller) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        join = runtime._join

        async def late(asked: Caller, holder: ExecutionRef) -> object:
            if holder.execution_id == "x-1":
                await runtime.terminate(ME, "x-1")
            return await join(asked, holder)

        runtime._join = late  # type: ignore[method-assign,assignment]
        assert (await start(runtime, "x-2", caller=caller)).view.ref.execution_id == "x-2"


async def test_the_line_survives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "callboard.db")
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: None, "s.one")
        await start(runtime, "x-1", definition="linear")
        await until(lambda: bool(hands.seen))
        await start(runtime, "x-2", CANCEL, definition="linear")
        await come(runtime, "x-1", Status.REVERTING)
        await hands.stop()
    async with engine(path) as runtime:
        view = await runtime.get(ME, "x-2")
        assert (view.status, view.behind, view.unique_key) == (Status.PENDING, "x-1", "k")
        assert (await start(runtime, "x-3", definition="linear")).view.ref.execution_id == "x-1"
        await runtime.terminate(ME, "x-1")
        await come(runtime, "x-2", Status.RUNNING)


async def test_a_release_that_was_not_worked_off_is_found_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "callboard.db")
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await start(runtime, "x-1")
        await start(runtime, "x-2", CANCEL)
    async with engine(path) as runtime:
        await come(runtime, "x-2", Status.RUNNING)
        assert await status(runtime, "x-1") is Status.CANCELLED
