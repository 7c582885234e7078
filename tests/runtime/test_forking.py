"""Forks of stored executions, over both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, started, until

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.chain import Chain
from callboard.runtime.core.commands import ForkOrigin
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.forking import ForkRequest
from callboard.runtime.lifecycle.deleting import Delete
from callboard.runtime.replay import replay
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings
from callboard.runtime.views import ExecutionView

SECOND = 1_000_000
PAUSED = """
id: paused
steps:
  - {id: one, task: {service: s, operation: one, input: {n: "${input}"}}}
  - {id: nap, wait: {duration: 100s}}
  - {id: got, receive: {event: go, key: "'k'", timeout: 1h, on_timeout: CONTINUE}}
  - {id: two, task: {service: s, operation: two, input: "${steps.one.result}"}}
output: "${steps.two.result}"
"""


@pytest.fixture(params=["memory", "sqlite"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where the store is."""
    return ":memory:" if request.param == "memory" else tmp_path / "store.db"


@pytest.fixture
async def runtime(place: str | Path) -> AsyncIterator[Runtime]:
    async with engine(place, clock=ManualClock()) as runtime:
        yield runtime


async def fork(runtime: Runtime, execution_id: str, caller: Caller = ME, **more: Any) -> ExecutionView:
    return await runtime.forking.fork(caller, ForkRequest(execution_id, **more))


async def reason(doing: Any) -> str:
    with pytest.raises(Refused) as refused:
        await doing
    return refused.value.refusal.reason


async def sound(runtime: Runtime, execution_id: str) -> None:
    """The history holds, and what it adds up to is what lives."""
    ref = ExecutionRef("default", execution_id)
    record = await runtime.store.execution(ref)
    assert record is not None
    events = await runtime.store.stored_events(record.key, 0, 10_000, 1 << 30)
    chain = Chain(*ref)
    assert not any(chain.take(event) for event in events) and chain.sound
    assert (record.head.sequence, record.head.hash) == (events[-1].sequence, events[-1].hash)
    awake = await runtime.supervisor.awake(ref)
    state, _ = await replay(runtime.store, ref, record.key)
    assert awake is None or state == awake
    assert not (await runtime.histories.verify(ME, execution_id)).problems


async def run_linear(runtime: Runtime) -> Hands:
    hands = Hands(runtime, lambda task: task.operation)
    await runtime.publish(LINEAR)
    await started(runtime, "linear", "e-1")
    await runtime.wait_ended(ExecutionRef("default", "e-1"), 5 * SECOND)
    return hands


async def test_a_fork_from_the_middle_does_what_is_left_under_other_keys(runtime: Runtime) -> None:
    hands = await run_linear(runtime)
    history = await runtime.history(ME, "e-1")
    at = next(event.stored for event in history if event.stored.name == "StepCompleted")
    view = await fork(runtime, "e-1", at_sequence=at.sequence, new_execution_id="e-2")
    assert (view.status, view.fork) == ("RUNNING", ForkOrigin("e-1", at.sequence, at.hash))
    ended = await runtime.wait_ended(view.ref, 5 * SECOND)
    assert ended is not None
    assert (ended.status, ended.output) == ("COMPLETED", "s.two")
    ran = [(task.execution_id, task.operation) for task in hands.seen]
    assert ran == [("e-1", "s.one"), ("e-1", "s.two"), ("e-2", "s.two")]
    assert len({task.idempotency_key for task in hands.seen}) == 3
    assert hands.seen[2].input == hands.seen[1].input
    await sound(runtime, "e-2")


async def test_at_its_end_the_fork_of_an_ended_one_has_ended(runtime: Runtime) -> None:
    await run_linear(runtime)
    view = await fork(runtime, "e-1", new_execution_id="e-2")
    assert (view.status, view.output, view.sequence) == ("COMPLETED", "s.two", 1)
    assert await runtime.wait_ended(view.ref, 5 * SECOND) is not None
    assert [event.stored.name async for page in runtime.watch(ME, "e-2") for event in page] == ["ExecutionForked"]
    assert (await runtime.get(ME, "e-2", full=True)).fork == view.fork
    await sound(runtime, "e-2")


async def test_forks_of_forks_at_every_event_come_to_the_same_end(runtime: Runtime) -> None:
    await run_linear(runtime)
    for sequence in range(1, len(await runtime.history(ME, "e-1")) + 1):
        view = await fork(runtime, "e-1", at_sequence=sequence, new_execution_id=f"f-{sequence}")
        ended = await runtime.wait_ended(view.ref, 5 * SECOND)
        assert ended is not None and ended.output == "s.two", sequence
        await sound(runtime, f"f-{sequence}")
        for again in range(1, ended.sequence + 1):
            other = await fork(runtime, f"f-{sequence}", at_sequence=again)
            end = await runtime.wait_ended(other.ref, 5 * SECOND)
            assert end is not None and end.output == "s.two", (sequence, again)
            await sound(runtime, other.ref.execution_id)


async def test_a_fork_survives_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with engine(tmp_path / "s.db", clock=clock) as runtime:
        await runtime.publish(PAUSED)
        await started(runtime, "paused", "e-1", 7)
        await fork(runtime, "e-1", new_execution_id="e-2")
    async with engine(tmp_path / "s.db", clock=clock) as runtime:
        hands = Hands(runtime, lambda task: None)
        await clock.advance(10.0)
        await until(lambda: len(hands.seen) == 2)
        assert {task.input for task in hands.seen} == {b'{"n":7}'}
        await sound(runtime, "e-2")


async def nap(runtime: Runtime, clock: ManualClock) -> int:
    """An execution that has slept for 30 of 100 seconds; the sequence at which it fell asleep."""
    hands = Hands(runtime, lambda task: 1)
    await runtime.publish(PAUSED)
    await started(runtime, "paused", "e-1", 7)
    sequence = 0
    async with asyncio.timeout(5.0):
        async for page in runtime.watch(ME, "e-1"):
            sequence = page[-1].stored.sequence
            if page[-1].stored.name == "TimerSet":
                break
    assert hands.seen
    await clock.advance(30.0)
    return sequence


def due(view: ExecutionView, path: str = "nap") -> int:
    return next(step.next_attempt_at for step in view.open_steps if step.path == path)


async def test_timers_come_after_what_remained_at_the_moment_forked_from(place: str | Path) -> None:
    clock = ManualClock()
    async with engine(place, clock=clock) as runtime:
        sequence = await nap(runtime, clock)
        slept = clock.now()
        await clock.advance(20.0)
        for name, request, remaining in (
            ("now", ForkRequest("e-1"), 50),
            ("event", ForkRequest("e-1", at_sequence=sequence), 100),
            ("time", ForkRequest("e-1", at_time=slept), 70),
        ):
            await runtime.forking.fork(ME, msgspec.structs.replace(request, new_execution_id=name))
            assert due(await runtime.get(ME, name, full=True)) == clock.now() + remaining * SECOND
            await sound(runtime, name)


async def test_a_keyed_receive_of_a_fork_hears_published_events(runtime: Runtime) -> None:
    await runtime.publish(
        'id: keyed\nsteps: [{id: got, receive: {event: go, key: "input"}}]\noutput: "${steps.got.result.payload}"'
    )
    await started(runtime, "keyed", "e-1", "k")
    await fork(runtime, "e-1", new_execution_id="e-2")
    answer = await runtime.events.publish(ME, "go", "k", 5, "")
    assert answer.outcome.offered_count == 2
    for name in ("e-1", "e-2"):
        ended = await runtime.wait_ended(ExecutionRef("default", name), 5 * SECOND)
        assert ended is not None and ended.output == 5


async def test_unique_keys_stay_with_the_original(runtime: Runtime) -> None:
    await runtime.publish(WAITING)
    await runtime.start(ME, StartRequest("waiting", execution_id="e-1", unique_key="k"))
    assert (await fork(runtime, "e-1", new_execution_id="e-2")).unique_key == ""
    await runtime.cancel(ME, "e-1")
    again = await runtime.start(ME, StartRequest("waiting", execution_id="e-3", unique_key="k"))
    assert again.started


async def test_the_same_request_gives_the_same_fork(runtime: Runtime) -> None:
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "e-1")
    mine = Caller(request_id="r-1", fingerprint=b"1")
    view = await fork(runtime, "e-1", mine)
    await runtime.submit(ME, view.ref.execution_id, "go")
    repeat = await fork(runtime, "e-1", mine)
    assert repeat.ref == view.ref
    assert repeat.sequence > view.sequence
    assert await reason(fork(runtime, "e-1", Caller(request_id="r-1", fingerprint=b"2"))) == "REQUEST_ID_REUSED"


async def test_what_cannot_be_forked_is_refused(runtime: Runtime) -> None:
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "e-1")
    last = (await runtime.get(ME, "e-1")).sequence
    assert await reason(fork(runtime, "no")) == "EXECUTION_NOT_FOUND"
    assert await reason(fork(runtime, "e-1", Caller("other"))) == "EXECUTION_NOT_FOUND"
    assert await reason(fork(runtime, "e-1", new_execution_id="e-1")) == "EXECUTION_ALREADY_EXISTS"
    assert await reason(fork(runtime, "e-1", new_execution_id="not an id")) == "INVALID_REQUEST"
    for sequence in (0, -1, last + 1):
        assert await reason(fork(runtime, "e-1", at_sequence=sequence)) == "SEQUENCE_OUT_OF_RANGE"
    assert await reason(fork(runtime, "e-1", at_time=1)) == "SEQUENCE_OUT_OF_RANGE"


async def test_what_is_taken_over_is_bounded(place: str | Path) -> None:
    async with engine(place, settings=Settings(fork_bytes_max=500)) as runtime:
        await runtime.publish('id: big\nsteps: [{id: one, task: {service: s, operation: one, input: "${input}"}}]')
        await started(runtime, "big", "e-1", "x" * 600)
        assert await reason(fork(runtime, "e-1")) == "LIMIT_EXCEEDED"


async def test_one_that_goes_on_needs_its_definition_and_one_that_ended_does_not(runtime: Runtime) -> None:
    await run_linear(runtime)
    await runtime.deleting.delete(Delete(runtime.origin(ME), "linear"))
    assert (await fork(runtime, "e-1")).status == "COMPLETED"
    assert await reason(fork(runtime, "e-1", at_sequence=2)) in ("VERSION_NOT_FOUND", "DEFINITION_DELETED")


async def test_one_request_that_comes_twice_at_once_forks_once(runtime: Runtime) -> None:
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "e-1")
    mine = Caller(request_id="r-1", fingerprint=b"1")
    views = await asyncio.gather(*[fork(runtime, "e-1", mine) for _ in range(5)])
    assert len({view.ref for view in views}) == 1


async def test_a_definition_that_changes_while_it_is_forked_is_looked_at_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "e-1")
    plan, changes = runtime.catalog.plan, [WAITING + "description: a", WAITING + "description: b"]

    async def changing(*place: Any) -> Any:
        if changes:
            await runtime.publish(changes.pop())
        return await plan(*place)

    monkeypatch.setattr(runtime.catalog, "plan", changing)
    view = await fork(runtime, "e-1", new_execution_id="e-2")
    assert (view.version, changes) == (1, [])
    await sound(runtime, "e-2")


async def test_who_forked_it_and_how_is_in_its_history(runtime: Runtime) -> None:
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "e-1")
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    await fork(runtime, "e-1", Caller(user_id="ann", trace=trace), new_execution_id="e-2")
    (first,) = await runtime.history(ME, "e-2")
    assert (first.user_id, first.trace, first.command) == ("ann", trace, "ForkExecution")
    assert (first.from_state, first.to_state, first.event_type) == ("pending", "running", "execution")
