"""A server in the test's own loop: it answers what the test tells it to, and keeps what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status as RpcStatus
from grpc import aio
from grpc_status import rpc_status

from callboard.v1 import definition_service_pb2_grpc as definition_grpc
from callboard.v1 import execution_service_pb2 as execution_pb
from callboard.v1 import execution_service_pb2_grpc as execution_grpc
from callboard.v1 import executions_pb2, tasks_pb2
from callboard.v1 import server_service_pb2_grpc as server_grpc
from callboard.v1 import worker_service_pb2 as worker_pb
from callboard.v1 import worker_service_pb2_grpc as worker_grpc
from callboard.v1.payload_pb2 import Payload


def status(code: grpc.StatusCode, reason: str, message: str = "", *details: Message, **metadata: str) -> RpcStatus:
    """A status as the server makes them."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="callboard", metadata=metadata)
    packed = []
    for detail in (info, *details):
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return RpcStatus(code=code.value[0], message=message or reason.lower(), details=packed)


class Unary:
    """Every unary call and server stream: the answers of a call come from its queue, in order; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, Message, dict[str, str]]] = []

    def on(self, method: str, *answers: Any) -> None:
        self.answers[method] = list(answers)

    def asked(self, method: str) -> list[Any]:
        return [request for name, request, _ in self.requests if name == method]

    async def answer(self, method: str, request: Message, context: Any) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.requests.append((method, request, metadata))
        waiting = self.answers.get(method, [status(grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED")])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, RpcStatus):
            await context.abort_with_status(rpc_status.to_status(answer))
        return answer(request) if callable(answer) else answer

    def servicer(self, base: type, methods: list[str]) -> Any:
        def unary(name: str) -> Callable[..., Any]:
            async def call(_: Any, request: Message, context: Any) -> Any:
                return await self.answer(name, request, context)

            return call

        return type("Servicer", (base,), {name: unary(name) for name in methods})()


class Executions(execution_grpc.ExecutionServiceServicer):
    """The two streams of executions."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        """Frames of a watch, in order; a status breaks the stream where it stands."""
        self.watched: list[Any] = []
        self.starts: list[execution_pb.StartExecutionRequest] = []
        self.break_after = 0
        """The first stream of starts breaks after as many answers; 0: not."""

    async def WatchExecution(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.watched.append(request)
        while self.events:
            frame = self.events.pop(0)
            if isinstance(frame, RpcStatus):
                await context.abort_with_status(rpc_status.to_status(frame))
            yield frame

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for frame in self.WatchExecution(request, context):
            yield frame

    async def StartExecutions(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        index = 0
        async for frame in request_iterator:
            for item in frame.items:
                self.starts.append(item)
                if self.break_after and index == self.break_after:
                    self.break_after = 0
                    await context.abort_with_status(
                        rpc_status.to_status(status(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"))
                    )
                yield execution_pb.StartExecutionsResponse(results=[self._result(index, item)])
                index += 1

    @staticmethod
    def _result(index: int, item: execution_pb.StartExecutionRequest) -> execution_pb.StartExecutionsResult:
        result = execution_pb.StartExecutionsResult(index=index, started=True, ended=True)
        if item.definition_id == "bad":
            result.status.CopyFrom(status(grpc.StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"))
        else:
            result.execution.execution_id = item.execution_id
            result.execution.status = executions_pb2.EXECUTION_STATUS_COMPLETED
        return result


class Stream:
    """One `Work` stream, from the server's side."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[worker_pb.WorkRequest | None] = asyncio.Queue()
        self.out: asyncio.Queue[worker_pb.WorkResponse | RpcStatus | None] = asyncio.Queue()
        self.hello = worker_pb.WorkerHello()
        self.drained = False
        self.results: dict[bytes, tasks_pb2.TaskResult] = {}
        self.acks = tasks_pb2.TASK_DISPOSITION_ACCEPTED

    def send(self, frame: worker_pb.WorkResponse) -> None:
        self.out.put_nowait(frame)

    def tasks(self, *tasks: tasks_pb2.Task) -> None:
        self.send(worker_pb.WorkResponse(tasks=tasks))

    def end(self, with_status: RpcStatus | None = None) -> None:
        self.out.put_nowait(with_status)

    async def result(self) -> tasks_pb2.TaskResult:
        """The next result."""
        return (await self.until(lambda frame: bool(frame.results))).results[0]

    async def until(self, fits: Callable[[worker_pb.WorkRequest], bool]) -> worker_pb.WorkRequest:
        """The next frame that fits."""
        async with asyncio.timeout(10):
            while True:
                frame = await self.frames.get()
                if frame is None:
                    raise AssertionError("the worker closed its side")
                if fits(frame):
                    return frame

    async def closed(self) -> None:
        """Returns when the worker has closed its side."""
        async with asyncio.timeout(10):
            while await self.frames.get() is not None:
                pass


class Workers(worker_grpc.WorkerServiceServicer):
    """The worker's stream. Each hello makes a `Stream`; results are acknowledged unless `acks` is 0."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.ping_seconds = 10.0
        self.keeps: Callable[[list[bytes]], list[bytes]] = list
        self.refuse: list[RpcStatus] = []

    async def next(self) -> Stream:
        async with asyncio.timeout(10):
            return await self.streams.get()

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        if self.refuse:
            await context.abort_with_status(rpc_status.to_status(self.refuse.pop(0)))
        stream = Stream()
        first = await anext(aiter(request_iterator))
        stream.hello, stream.drained = first.hello, first.drain
        welcome = worker_pb.WorkerWelcome(
            ping_interval=Duration(nanos=int(self.ping_seconds * 1e9) % 10**9, seconds=int(self.ping_seconds)),
            lease=Duration(seconds=30),
            holding=self.keeps(list(first.hello.holding)),
        )
        yield worker_pb.WorkResponse(welcome=welcome)
        self.streams.put_nowait(stream)
        reading = asyncio.ensure_future(self._read(request_iterator, stream))
        try:
            while isinstance(frame := await stream.out.get(), worker_pb.WorkResponse):
                yield frame
            if frame is not None:
                await context.abort_with_status(rpc_status.to_status(frame))
        finally:
            reading.cancel()

    @staticmethod
    async def _read(request_iterator: Any, stream: Stream) -> None:
        async for frame in request_iterator:
            stream.drained = stream.drained or frame.drain
            for result in frame.results:
                stream.results[result.task_token] = result
            stream.frames.put_nowait(frame)
            if frame.results and stream.acks:
                stream.send(
                    worker_pb.WorkResponse(
                        acks=[
                            tasks_pb2.TaskAck(task_token=result.task_token, disposition=stream.acks)
                            for result in frame.results
                        ]
                    )
                )
        stream.frames.put_nowait(None)
        stream.out.put_nowait(None)


def task(token: str, operation: str = "inventory.reserve", json: str = "null", **fields: Any) -> tasks_pb2.Task:
    service, _, name = operation.rpartition(".")
    return tasks_pb2.Task(
        task_token=token.encode(),
        execution_id="e1",
        step_path="reserve",
        attempt=fields.pop("attempt", 1),
        idempotency_key="k1",
        service=service,
        operation=name,
        input=Payload(json=json),
        **fields,
    )


class FakeServer:
    """All of it, on a port of its own."""

    def __init__(self) -> None:
        self.unary = Unary()
        self.executions = Executions()
        self.workers = Workers()
        self.address = ""
        self._server: aio.Server | None = None

    async def start(self, port: int = 0) -> "FakeServer":
        self._server = aio.server()
        methods = [
            name
            for name in vars(execution_grpc.ExecutionServiceServicer)
            if name[0].isupper() and name not in ("WatchExecution", "WatchEvents", "StartExecutions")
        ]
        executions = self.unary.servicer(execution_grpc.ExecutionServiceServicer, methods)
        executions.WatchExecution = self.executions.WatchExecution
        executions.WatchEvents = self.executions.WatchEvents
        executions.StartExecutions = self.executions.StartExecutions
        execution_grpc.add_ExecutionServiceServicer_to_server(executions, self._server)
        definition_methods = [name for name in vars(definition_grpc.DefinitionServiceServicer) if name[0].isupper()]
        definition_grpc.add_DefinitionServiceServicer_to_server(
            self.unary.servicer(definition_grpc.DefinitionServiceServicer, definition_methods), self._server
        )
        server_methods = [name for name in vars(server_grpc.ServerServiceServicer) if name[0].isupper()]
        server_grpc.add_ServerServiceServicer_to_server(
            self.unary.servicer(server_grpc.ServerServiceServicer, server_methods), self._server
        )
        worker_grpc.add_WorkerServiceServicer_to_server(self.workers, self._server)
        chosen = self._server.add_insecure_port(f"127.0.0.1:{port}")
        assert chosen, "the port is taken"
        self.address = f"127.0.0.1:{chosen}"
        await self._server.start()
        return self

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
