"""Handlers, and the worker in this process that runs them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.runtime.dispatching import World, refusal

from callboard.runtime.core.commands import CompleteTask, FailTask, LoseDelivery
from callboard.runtime.core.effects import CloseTask, RequestCancel
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.refusals import Kind
from callboard.runtime.handlers import Operations, TaskError, failure_of
from callboard.runtime.local_worker import LocalTask, LocalWorker


@pytest.fixture
def operations() -> Operations:
    return Operations(threads_max=2)


class Given:
    def __init__(self, value: Any) -> None:
        self.input = value


async def invoke(operations: Operations, value: Any, name: str = "s.op") -> Any:
    return await operations.handler(name).invoke(Given(value))


# The registry


async def test_members_of_the_input_become_arguments(operations: Operations) -> None:
    @operations.operation("s.op")
    async def op(task: Any, sku: str, *, qty: int = 1) -> dict[str, Any]:
        return {"sku": sku, "qty": qty, "input": task.input}

    assert await invoke(operations, {"sku": "x"}) == {"sku": "x", "qty": 1, "input": {"sku": "x"}}


async def test_a_handler_whose_only_parameter_is_the_task_takes_any_input(operations: Operations) -> None:
    @operations.operation("s.op")
    async def op(task: Any) -> Any:
        return task.input

    assert await invoke(operations, [1, 2]) == [1, 2]


async def test_any_names_and_no_input_at_all(operations: Operations) -> None:
    operations.add("s.any", lambda task, **members: members)
    operations.add("s.none", lambda task, a=1: a)
    assert await invoke(operations, {"x": 1}, "s.any") == {"x": 1}
    assert await invoke(operations, None, "s.none") == 1


@pytest.mark.parametrize(
    ("value", "words"), [({}, "lacks qty, sku"), ({"sku": 1, "qty": 1, "z": 1}, "does not take z"), ([1], "no object")]
)
async def test_an_input_that_does_not_fit_is_a_clear_failure(operations: Operations, value: Any, words: str) -> None:
    @operations.operation("s.op")
    async def op(task: Any, sku: str, qty: int) -> None:
        raise AssertionError("not to be called")

    with pytest.raises(TaskError, match=words) as caught:
        await invoke(operations, value)
    assert (caught.value.type, caught.value.retryable) == ("InputMismatch", False)


@pytest.mark.parametrize("result", [object(), 2**64, float("nan"), {1: 2}, "\ud800"])
async def test_a_result_that_is_no_value_is_a_clear_failure(operations: Operations, result: Any) -> None:
    operations.add("s.op", lambda task: result)
    with pytest.raises(TaskError, match="InvalidResult"):
        await invoke(operations, None)


async def test_sync_handlers_run_in_threads_a_bounded_number_at_a_time(operations: Operations) -> None:
    names: set[str] = set()
    both = threading.Barrier(2, timeout=5)

    @operations.operation("s.op")
    def op(task: Any) -> int:
        names.add(threading.current_thread().name)
        both.wait()
        return 1

    assert await asyncio.gather(*(invoke(operations, None) for _ in range(4))) == [1, 1, 1, 1]
    assert len(names) == 2
    assert all(name.startswith("callboard-handler") for name in names)
    operations.close()


def test_names_are_checked_and_unique(operations: Operations) -> None:
    operations.add("a.b.c", lambda task: None)
    operations.add("s.op", lambda task: None)
    assert operations.names() == ["a.b.c", "s.op"]
    for bad in ("nodot", ".x", "x.", "s.op"):
        with pytest.raises(ValueError, match=r"service\.operation|already"):
            operations.add(bad, lambda task: None)
    for function in (lambda: None, lambda task, x, /: None):
        with pytest.raises(TypeError, match=r"handler of s\.new"):
            operations.add("s.new", function)
    with pytest.raises(KeyError):
        operations.handler("s.unknown")


def test_what_is_raised_becomes_a_failure_with_its_causes() -> None:
    def work() -> None:
        try:
            raise KeyError("sku")
        except KeyError as error:
            raise TaskError("OutOfStock", "none left", False, {"left": 0}, 1.5) from error

    with pytest.raises(TaskError) as caught:
        work()
    cause = Failure("KeyError", "'sku'")
    assert failure_of(caught.value) == Failure("OutOfStock", "none left", {"left": 0}, cause, False, 1_500_000)
    assert failure_of(ValueError("no")) == Failure("ValueError", "no")
    assert failure_of(asyncio.CancelledError()).type == "Cancelled"
    assert failure_of(TaskError("T", details=object())).details.startswith("<object")


def test_a_task_error_of_another_package_counts_as_one() -> None:
    error_class = type("TaskError", (Exception,), {"type": "Declined", "message": "m", "retryable": False})
    assert failure_of(error_class()) == Failure("Declined", "m", retryable=False)


# The worker in this process

Start = Callable[..., LocalWorker]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


@pytest.fixture
async def start(world: World, operations: Operations) -> AsyncIterator[Start]:
    running: list[asyncio.Task[None]] = []

    def start(**more: Any) -> LocalWorker:
        worker = LocalWorker(operations, world.dispatcher, world.alarms, tenant="acme", **more)
        running.append(asyncio.ensure_future(worker.run()))
        return worker

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_tasks_are_done_and_answered(world: World, operations: Operations, start: Start) -> None:
    @operations.operation("s.op")
    async def op(task: LocalTask, n: int) -> dict[str, Any]:
        if n == 2:
            raise TaskError("Declined", "no", retryable=False)
        return {"n": n, "key": len(task.idempotency_key), "where": f"{task.execution_id}/{task.path}"}

    start()
    world.open(1)
    world.open(2)
    await world.clock.settle()
    assert world.commands(CompleteTask) == [CompleteTask("a", 1, {"n": 1, "key": 32, "where": "e1/a"})]
    assert world.commands(FailTask) == [FailTask("a", 1, Failure("Declined", "no", retryable=False))]
    assert world.dispatcher.open_tasks == 0
    assert world.dispatcher.workers("acme")[0].address == "in-process"


async def test_the_window_bounds_what_runs_at_a_time(world: World, operations: Operations, start: Start) -> None:
    gate = asyncio.Event()
    running = 0

    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        nonlocal running
        running += 1
        await gate.wait()

    start(max_in_flight=3)
    for key in range(10):
        world.open(key)
    await world.clock.settle()
    assert running == 3
    gate.set()
    await world.clock.settle(100)
    assert running == 10


async def test_a_cancel_interrupts_an_async_handler(world: World, operations: Operations, start: Start) -> None:
    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        await asyncio.Event().wait()

    start()
    world.open(1)
    await world.clock.settle()
    world.commit(1, RequestCancel("a"))
    await world.clock.settle()
    (command,) = world.commands(FailTask)
    assert (command.failure.type, command.failure.retryable) == ("Cancelled", False)


async def test_a_task_that_ended_elsewhere_is_stopped(world: World, operations: Operations, start: Start) -> None:
    stopped: list[bool] = []

    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(task.cancelled)

    start(max_in_flight=1)
    world.open(1)
    await world.clock.settle()
    world.commit(1, CloseTask("a"))
    world.open(2)
    await world.clock.settle()
    assert stopped == [True]
    assert world.asked == []
    assert world.dispatcher.holder(2, "a") == "in-process"


async def test_an_answer_that_could_not_be_taken_is_sent_again(
    world: World, operations: Operations, start: Start
) -> None:
    operations.add("s.op", _nothing)
    failures = iter([refusal(Kind.BUSY), refusal(Kind.BUSY)])
    world.refuse = lambda command: next(failures, None)
    start()
    world.open(1)
    await world.clock.advance(1)
    assert len(world.commands(CompleteTask)) == 3
    assert world.dispatcher.open_tasks == 0


async def test_an_output_that_is_refused_fails_the_attempt(world: World, operations: Operations, start: Start) -> None:
    operations.add("s.op", _nothing)
    world.refuse = lambda command: refusal(Kind.INVALID) if isinstance(command, CompleteTask) else None
    start()
    world.open(1)
    await world.clock.settle()
    assert [command.failure.message for command in world.commands(FailTask)] == ["refused: INVALID"]


async def test_a_drain_finishes_what_runs(world: World, operations: Operations) -> None:
    gate = asyncio.Event()

    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        await gate.wait()

    worker = LocalWorker(operations, world.dispatcher, world.alarms, tenant="acme")
    running = asyncio.ensure_future(worker.run())
    world.open(1)
    await world.clock.settle()
    worker.drain()
    world.open(2)
    gate.set()
    await asyncio.wait_for(running, 5)
    assert len(world.commands(CompleteTask)) == 1
    assert world.dispatcher.workers("acme") == []


async def test_a_worker_that_is_cancelled_gives_its_tasks_back(world: World, operations: Operations) -> None:
    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        await asyncio.Event().wait()

    running = asyncio.ensure_future(LocalWorker(operations, world.dispatcher, world.alarms, tenant="acme").run())
    world.open(1)
    await world.clock.settle()
    running.cancel()
    await world.clock.advance(6)
    assert len(world.commands(LoseDelivery)) == 1


async def test_it_has_no_lease_to_lose(world: World, operations: Operations, start: Start) -> None:
    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        await asyncio.Event().wait()

    start()
    world.open(1)
    await world.clock.advance(86_400)
    assert world.commands(LoseDelivery) == []


async def test_heartbeats_carry_progress_also_from_threads(world: World, operations: Operations, start: Start) -> None:
    @operations.operation("s.op")
    async def op(task: LocalTask) -> None:
        await asyncio.to_thread(task.heartbeat, {"done": 3})
        await asyncio.Event().wait()

    start()
    world.open(1)
    await world.clock.settle()
    entry = world.dispatcher.find(1, "a")
    assert entry is not None
    for _ in range(200):
        if entry.progress is not None:
            break
        await asyncio.sleep(0.005)
    assert entry.progress == {"done": 3}


async def _nothing(task: LocalTask) -> None:
    return None
