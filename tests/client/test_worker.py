import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from tests.client.fakes import FakeServer, Stream, status, task

from callboard.client import TaskError, Worker
from callboard.v1 import tasks_pb2
from callboard.v1 import worker_service_pb2 as pb


def make(server: FakeServer, **options: Any) -> Worker:
    return Worker(server.address, worker_id="w1", **options)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    work = asyncio.ensure_future(worker.run())
    try:
        yield work
    finally:
        work.cancel()
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def output(result: tasks_pb2.TaskResult) -> Any:
    assert result.HasField("output"), result
    return json.loads(result.output.json)


async def settled(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - tests wait for code that sets no event for them
            await asyncio.sleep(0.01)


async def test_a_handler_gets_the_members_of_its_input_by_name(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any, sku: str, qty: int = 1) -> dict[str, Any]:
        return {"sku": sku, "qty": qty, "attempt": task.attempt, "big": 9007199254740993}

    async with running(worker):
        stream = await server.workers.next()
        assert stream.hello.operations == ["inventory.reserve"]
        assert stream.hello.max_in_flight == 256
        stream.tasks(task("t1", json='{"sku": "x"}'))
        expected = {"sku": "x", "qty": 1, "attempt": 1, "big": 9007199254740993}
        assert output(await stream.result()) == expected


async def test_a_handler_with_only_the_task_reads_any_input(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    def reserve(task: Any) -> Any:
        return [task.input, threading.current_thread() is threading.main_thread()]

    async with running(worker):
        stream = await server.workers.next()
        assert stream.hello.max_in_flight == 32
        stream.tasks(task("t1", json="[1, 2]"))
        assert output(await stream.result()) == [[1, 2], False]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "lacks sku"), ("7", "no object"), ('{"sku": "x", "colour": 1}', "does not take colour")],
)
async def test_an_input_that_does_not_fit_is_not_tried_again(server: FakeServer, text: str, message: str) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any, sku: str) -> None: ...

    async with running(worker):
        stream = await server.workers.next()
        stream.tasks(task("t1", json=text))
        failure = (await stream.result()).failure
        assert failure.type == "InputMismatch"
        assert failure.retryable is False
        assert message in failure.message


async def test_what_a_handler_raises_becomes_a_failure_with_its_cause(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("payments.charge")
    async def charge(task: Any, how: str) -> Any:
        match how:
            case "declined":
                raise TaskError("CardDeclined", "no funds", retryable=False, details={"cents": 7}, retry_after=1.5)
            case "bug":
                try:
                    raise KeyError("x")
                except KeyError as error:
                    raise ValueError("wrong") from error
            case _:
                return object()

    async with running(worker):
        stream = await server.workers.next()
        stream.tasks(task("t1", "payments.charge", '{"how": "declined"}'))
        failure = (await stream.result()).failure
        assert (failure.type, failure.message, failure.retryable) == ("CardDeclined", "no funds", False)
        assert failure.details.json == '{"cents":7}'
        assert failure.retry_after.ToTimedelta().total_seconds() == 1.5
        stream.tasks(task("t2", "payments.charge", '{"how": "bug"}'))
        failure = (await stream.result()).failure
        assert (failure.type, failure.message, failure.HasField("retryable")) == ("ValueError", "wrong", False)
        assert failure.cause.type == "KeyError"
        stream.tasks(task("t3", "payments.charge", '{"how": "object"}'))
        assert (await stream.result()).failure.type == "InvalidResult"
        stream.tasks(task("t4", "other.operation"))
        assert (await stream.result()).failure.type == "LookupError"


async def test_a_handler_that_would_end_the_process_fails_its_task(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("a.loop")
    async def loop(task: Any) -> None:
        raise SystemExit(3)

    @worker.operation("a.thread")
    def thread(task: Any) -> None:
        raise SystemExit("told to leave")

    async with running(worker) as work:
        stream = await server.workers.next()
        for operation, message in (("a.loop", "3"), ("a.thread", "told to leave")):
            stream.tasks(task(operation, operation=operation))
            failure = (await stream.result()).failure
            assert (failure.type, failure.message) == ("SystemExit", message)
        assert not work.done()


async def test_results_that_are_not_acknowledged_are_sent_again_after_a_reconnect(server: FakeServer) -> None:
    worker = make(server)
    go = asyncio.Event()
    runs: list[str] = []

    @worker.operation("inventory.reserve")
    async def reserve(task: Any, wait: bool) -> str:
        runs.append(task.path)
        if wait:
            await go.wait()
        return "done"

    async with running(worker):
        first = await server.workers.next()
        first.acks = tasks_pb2.TASK_DISPOSITION_UNSPECIFIED
        first.tasks(task("quick", json='{"wait": false}'), task("slow", json='{"wait": true}'))
        await first.result()
        first.end(status(grpc.StatusCode.INTERNAL, "INTERNAL"))
        second = await server.workers.next()
        assert sorted(second.hello.holding) == [b"quick", b"slow"]
        assert (await second.result()).task_token == b"quick"
        # Delivered again under the same token: the handler that is at it goes on alone.
        second.tasks(task("slow", json='{"wait": true}'))
        go.set()
        assert (await second.result()).task_token == b"slow"
        assert len(runs) == 2
        await settled(lambda: set(second.results) == {b"quick", b"slow"})


async def test_a_result_that_could_not_be_taken_is_sent_again_after_the_pause(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        return "done"

    async with running(worker):
        stream = await server.workers.next()
        stream.acks = tasks_pb2.TASK_DISPOSITION_RETRY
        stream.tasks(task("t1"))
        await stream.result()
        stream.acks = tasks_pb2.TASK_DISPOSITION_ACCEPTED
        assert (await stream.result()).task_token == b"t1"


async def test_a_server_that_is_away_is_found_again(server: FakeServer) -> None:
    worker = make(server)
    go = asyncio.Event()

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        await go.wait()
        return "done"

    async with running(worker):
        stream = await server.workers.next()
        stream.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        port = server.port
        await server.stop()
        go.set()
        await asyncio.sleep(0.3)
        server.workers.refuse = [status(grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING")]
        await server.start(port)
        again = await server.workers.next()
        assert again.hello.holding == [b"t1"]
        assert output(await again.result()) == "done"


async def test_tokens_that_are_not_kept_are_given_up(server: FakeServer) -> None:
    worker = make(server)
    stopped = asyncio.Event()

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return "done"

    async with running(worker):
        first = await server.workers.next()
        first.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        server.workers.keeps = lambda named: []
        first.end()
        second = await server.workers.next()
        await stopped.wait()
        second.tasks(task("t2"))
        await settled(lambda: worker.in_flight == 1)
        assert second.results == {}


async def test_a_cancelled_task_is_answered(server: FakeServer) -> None:
    worker = make(server)
    seen = threading.Event()

    @worker.operation("a.polite")
    async def polite(task: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "stopped" if task.cancelled else "killed"
        return "done"

    @worker.operation("a.abrupt")
    async def abrupt(task: Any) -> None:
        await asyncio.sleep(60)

    @worker.operation("a.thread")
    def thread(task: Any) -> str:
        seen.set()
        while not task.cancelled:
            threading.Event().wait(0.01)
        return "stopped"

    async with running(worker):
        stream = await server.workers.next()
        names = ["polite", "abrupt", "thread"]
        stream.tasks(*(task(name, f"a.{name}") for name in names))
        await settled(lambda: seen.is_set() and worker.in_flight == 3)
        cancels = [tasks_pb2.TaskCancel(task_token=name.encode()) for name in names]
        stream.send(pb.WorkResponse(cancels=cancels))
        await settled(lambda: len(stream.results) == 3)
        assert output(stream.results[b"polite"]) == "stopped"
        assert stream.results[b"abrupt"].failure.type == "Cancelled"
        assert output(stream.results[b"thread"]) == "stopped"


async def test_heartbeats_carry_progress_and_bring_back_cancellation(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None:
        task.heartbeat({"done": 1 if task.progress is None else task.progress["done"] + 1})
        await task.wait_cancelled()

    async with running(worker):
        stream = await server.workers.next()
        message = task("t1")
        message.progress.json = '{"done": 4}'
        stream.tasks(message)
        frame = await stream.until(lambda frame: bool(frame.heartbeats))
        assert frame.heartbeats[0].progress.json == '{"done":5}'
        ack = tasks_pb2.TaskAck(
            task_token=b"t1",
            disposition=tasks_pb2.TASK_DISPOSITION_ACCEPTED,
            heartbeat=True,
            cancel_requested=True,
        )
        stream.send(pb.WorkResponse(acks=[ack]))
        assert (await stream.result()).failure.type == "Cancelled"


async def test_reconnect_moves_to_another_stream_without_a_gap(server: FakeServer) -> None:
    worker = make(server)
    go = asyncio.Event()
    runs: list[str] = []

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        runs.append(task.path)
        await go.wait()
        return "done"

    async with running(worker):
        first = await server.workers.next()
        first.tasks(task("t1"))
        await settled(lambda: runs)
        server.workers.refuse = [status(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")] * 2
        first.send(pb.WorkResponse(reconnect=pb.WorkReconnect(reason="age")))
        second = await server.workers.next()
        assert second.hello.holding == [b"t1"]
        go.set()
        # By the old stream where the worker has not read the welcome yet, by the new one otherwise.
        await settled(lambda: first.results or second.results)
        assert [output(result) for result in (first.results | second.results).values()] == ["done"]
        assert runs == ["reserve"]


async def test_until_there_is_another_stream_results_go_by_the_old_one(server: FakeServer) -> None:
    worker = make(server)
    go = asyncio.Event()

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        await go.wait()
        return "done"

    async with running(worker):
        first = await server.workers.next()
        first.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        server.workers.refuse = [status(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")] * 1000
        first.send(pb.WorkResponse(reconnect=pb.WorkReconnect(reason="shutting down")))
        await asyncio.sleep(0.1)
        go.set()
        assert output(await first.result()) == "done"


async def test_a_silent_stream_is_given_up(server: FakeServer) -> None:
    worker = make(server)
    server.workers.ping_seconds = 0.1

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None: ...

    async with running(worker):
        await server.workers.next()
        await server.workers.next()


async def test_a_ping_is_answered(server: FakeServer) -> None:
    worker = make(server)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None: ...

    async with running(worker):
        stream = await server.workers.next()
        stream.send(pb.WorkResponse(ping=pb.WorkPing()))
        await stream.until(lambda frame: frame == pb.WorkRequest())


async def drained(stream: Stream) -> None:
    await stream.until(lambda frame: frame.drain)


async def test_stop_drains_what_is_there(server: FakeServer) -> None:
    worker = make(server)
    go = asyncio.Event()

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> str:
        await go.wait()
        return "done"

    async with running(worker) as work:
        stream = await server.workers.next()
        stream.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        worker.stop()
        await drained(stream)
        assert not work.done()
        go.set()
        assert output(await stream.result()) == "done"
        await stream.closed()
        async with asyncio.timeout(5):
            await work


async def test_a_cancelled_worker_drains_first_and_one_cancelled_twice_leaves(server: FakeServer) -> None:
    worker = make(server)
    killed = asyncio.Event()

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert not task.cancelled
            killed.set()
            raise

    async with running(worker) as work:
        stream = await server.workers.next()
        stream.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        work.cancel()
        await drained(stream)
        assert not work.done()
        work.cancel()
        await killed.wait()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert stream.results == {}


async def test_a_drain_ends_when_its_time_is_up(server: FakeServer) -> None:
    worker = make(server, drain_timeout=0.1)

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None:
        await asyncio.sleep(60)

    async with running(worker) as work:
        stream = await server.workers.next()
        stream.tasks(task("t1"))
        await settled(lambda: worker.in_flight == 1)
        worker.stop()
        async with asyncio.timeout(5):
            await work


async def test_stop_without_a_server_returns() -> None:
    worker = Worker("127.0.0.1:1")

    @worker.operation("inventory.reserve")
    async def reserve(task: Any) -> None: ...

    work = asyncio.ensure_future(worker.run())
    await asyncio.sleep(0.05)
    worker.stop()
    async with asyncio.timeout(5):
        await work


async def test_a_registry_made_elsewhere_is_taken_by_its_shape(server: FakeServer) -> None:
    class Echo:
        async def invoke(self, task: Any) -> Any:
            return task.input

    class Registry:
        def names(self) -> list[str]:
            return ["a.b.echo"]

        def handler(self, name: str) -> Echo:
            return Echo()

    worker = make(server, operations=Registry(), max_in_flight=3)
    assert worker.operations == ["a.b.echo"]
    async with running(worker):
        stream = await server.workers.next()
        assert stream.hello.max_in_flight == 3
        stream.tasks(task("t1", "a.b.echo", "2.0"))
        assert output(await stream.result()) == 2.0


async def test_a_worker_without_operations_is_a_mistake(server: FakeServer) -> None:
    with pytest.raises(ValueError, match="no operations"):
        await make(server).run()


def test_names_and_functions_that_cannot_be_are_refused() -> None:
    worker = Worker()
    with pytest.raises(ValueError, match=r"service\.operation"):
        worker.operation("reserve")(lambda task: None)
    with pytest.raises(TypeError, match="first parameter"):
        worker.operation("a.b")(lambda: None)
    worker.operation("a.b")(lambda task: None)
    with pytest.raises(ValueError, match="already"):
        worker.operation("a.b")(lambda task: None)
