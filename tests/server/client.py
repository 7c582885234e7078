"""What the tests of the server say to it, in the words of the bare generated stubs."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from callboard.server.wiring import Server
from callboard.v1 import (
    definition_service_pb2,
    definition_service_pb2_grpc,
    execution_service_pb2,
    execution_service_pb2_grpc,
    payload_pb2,
    server_service_pb2_grpc,
    tasks_pb2,
    violations_pb2,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

SINGLE = """
id: single
steps:
  - id: only
    task: {service: demo, operation: echo, input: "${input}"}
output: "${steps.only.result}"
"""
APPROVAL = """
id: approval
steps:
  - id: decision
    receive: {event: decided}
output: "${steps.decision.result.payload}"
"""


class Stubs:
    """The stubs of one connection."""

    def __init__(self, channel: grpc.aio.Channel, server: Server) -> None:
        self.channel = channel
        self.server = server
        self.definitions: Any = definition_service_pb2_grpc.DefinitionServiceStub(channel)
        self.executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self.workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.operators: Any = server_service_pb2_grpc.ServerServiceStub(channel)

    async def publish(self, text: str) -> Any:
        source = violations_pb2.SourceText(name="test.yaml", text=text)
        return await self.definitions.PublishDefinition(definition_service_pb2.PublishDefinitionRequest(source=source))

    async def start(self, definition_id: str, payload: str = "null", wait: float = 0, **fields: Any) -> Any:
        request = execution_service_pb2.StartExecutionRequest(
            definition_id=definition_id, input=json_payload(payload), **fields
        )
        if wait:
            request.wait.CopyFrom(Duration(seconds=int(wait), nanos=round(wait % 1 * 1e9)))
        return await self.executions.StartExecution(request)


class Details:
    """An error status, taken apart."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        status: Any = rpc_status.from_call(error)  # type: ignore[arg-type,unused-ignore] # pyright: ignore[reportArgumentType]
        assert status is not None, f"{self.code}: {self.message} came without details"
        self.kinds = [detail.type_url.rpartition(".")[2] for detail in status.details]
        assert self.kinds.count("ErrorInfo") == 1
        self._status = status
        info = self.of(error_details_pb2.ErrorInfo())
        assert info.domain == "callboard"
        self.reason = info.reason
        self.metadata = dict(info.metadata)

    def of(self, message: Any) -> Any:
        """The detail of this type."""
        [found] = [detail for detail in self._status.details if detail.Is(message.DESCRIPTOR)]
        found.Unpack(message)
        return message

    @property
    def fields(self) -> list[str]:
        return [one.field for one in self.of(error_details_pb2.BadRequest()).field_violations]


async def refused(call: Awaitable[Any]) -> Details:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Details(error)
    raise AssertionError("the call was carried out")


def json_payload(text: str) -> payload_pb2.Payload:
    return payload_pb2.Payload(json=text)


class StreamWorker:
    """A worker over the stream that gives every task's input back."""

    def __init__(self, stubs: Stubs, worker_id: str = "w1", max_in_flight: int = 10) -> None:
        self.call: Any = stubs.workers.Work()
        self.hello = worker_service_pb2.WorkerHello(
            worker_id=worker_id, operations=["demo.echo"], max_in_flight=max_in_flight
        )
        self.acks: list[Any] = []
        self.done: list[Any] = []

    async def connect(self) -> Any:
        await self.call.write(worker_service_pb2.WorkRequest(hello=self.hello))
        return (await self.call.read()).welcome

    async def tasks(self) -> list[Any]:
        while True:
            frame = await asyncio.wait_for(self.call.read(), 10)
            assert frame is not grpc.aio.EOF
            self.acks += frame.acks
            if frame.tasks:
                return list(frame.tasks)

    async def next_acks(self) -> list[Any]:
        while True:
            frame = await asyncio.wait_for(self.call.read(), 10)
            assert frame is not grpc.aio.EOF
            if frame.acks:
                return list(frame.acks)

    async def send(self, *results: tasks_pb2.TaskResult) -> None:
        await self.call.write(worker_service_pb2.WorkRequest(results=results))

    async def work(self) -> None:
        await self.connect()
        while True:
            tasks = await self.tasks()
            self.done += tasks
            await self.send(*(tasks_pb2.TaskResult(task_token=one.task_token, output=one.input) for one in tasks))
