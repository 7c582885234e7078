"""What the client process does: the closed loops of W1 to W4 and of the hot execution, over bare generated stubs.

Bare stubs and not the client library, because they are the lighter of the two: what is measured is the server. Every
start carries a `request_id` (as every call of the client library does), so its row and its index are paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from callboard.v1 import definition_service_pb2 as definition_pb
from callboard.v1 import definition_service_pb2_grpc as definition_grpc
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as execution_pb
from callboard.v1 import execution_service_pb2_grpc as execution_grpc
from callboard.v1 import executions_pb2 as executions_pb
from callboard.v1 import payload_pb2 as payload_pb
from callboard.v1 import violations_pb2 as violations_pb

from . import definitions

WAIT_SECONDS = 50
CALL_SECONDS_MAX = 60.0
_INPUT = payload_pb.Payload(json=json.dumps({"order": "o-1", "note": "x" * 80}))
_EVENT = payload_pb.Payload(json=definitions.RESULT_TEXT)


class Workload(NamedTuple):
    """One of the workloads that run in a closed loop."""

    definition: str
    steps: int
    """Steps (or events) that one completed round stands for."""


WORKLOADS: dict[str, Workload] = {
    "w1": Workload("bench-linear10", 10),
    "w2": Workload("bench-single", 1),
    "w3": Workload("bench-fan32", definitions.FAN_BRANCHES),
    "w4": Workload("bench-signal", 1),
    "hot": Workload("bench-hot", 1),
}


class UnexpectedEndError(Exception):
    """An execution did not end as the workload says it must; it does not count as completed."""


class Ids:
    """Request and execution ids of this process that were never used before."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._count = 0

    def new(self) -> str:
        """The next one; 20 characters or so."""
        self._count += 1
        return f"{self._prefix}-{self._count}"


class StartStream:
    """Many starts over one stream of StartExecutions: whatever waits goes out in one frame."""

    def __init__(self, stub: execution_grpc.ExecutionServiceAsyncStub) -> None:
        self._call: Any = stub.StartExecutions()
        self._waiting: list[execution_pb.StartExecutionRequest] = []
        self._answers: dict[int, asyncio.Future[execution_pb.StartExecutionsResult]] = {}
        self._sent = 0
        self._wake = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    async def start(self, request: execution_pb.StartExecutionRequest) -> execution_pb.StartExecutionsResult:
        """Its answer, which may come after those of later ones."""
        answer: asyncio.Future[execution_pb.StartExecutionsResult] = asyncio.get_running_loop().create_future()
        self._answers[self._sent] = answer
        self._sent += 1
        self._waiting.append(request)
        self._wake.set()
        return await asyncio.wait_for(answer, CALL_SECONDS_MAX)

    async def close(self) -> None:
        """Give the stream back; nothing is waited for any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._call.cancel()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            items, self._waiting = self._waiting, []
            await self._call.write(execution_pb.StartExecutionsRequest(items=items))

    async def _read(self) -> None:
        try:
            async for frame in self._call:
                for result in frame.results:
                    answer = self._answers.pop(result.index, None)
                    if answer is not None and not answer.done():
                        answer.set_result(result)
            self._fail(UnexpectedEndError("the server ended the stream of starts"))
        except grpc.aio.AioRpcError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        self._answers.clear()


class Load:
    """The load of one client process on one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._executions: execution_grpc.ExecutionServiceAsyncStub = execution_grpc.ExecutionServiceStub(channel)
        self._definitions: definition_grpc.DefinitionServiceAsyncStub = definition_grpc.DefinitionServiceStub(channel)
        self._ids = Ids()

    async def publish(self, name: str) -> None:
        """One of the definitions."""
        source = violations_pb.SourceText(name=f"{name}.yaml", text=definitions.SOURCES[name])
        request = definition_pb.PublishDefinitionRequest(source=source)
        await self._definitions.PublishDefinition(request, timeout=CALL_SECONDS_MAX)

    @contextlib.asynccontextmanager
    async def rounds(self, workload: str, way: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """What one loop does again and again: unary calls, or starts over one stream."""
        definition = WORKLOADS[workload].definition
        if way == "stream":
            stream = StartStream(self._executions)
            try:
                yield lambda: self._start_on(stream, definition)
            finally:
                await stream.close()
        elif workload == "w4":
            yield self._signal
        elif workload == "hot":
            items = payload_pb.Payload(json=json.dumps({"items": [0] * definitions.HOT_EVENTS}))
            hot = await self._start(self._request(definition, items, wait=False))
            yield lambda: self._tick(hot.execution.execution_id)
        else:
            yield lambda: self._start_and_wait(definition)

    def _request(
        self,
        definition: str,
        payload: payload_pb.Payload = _INPUT,
        *,
        wait: bool = True,
        execution_id: str = "",
    ) -> execution_pb.StartExecutionRequest:
        return execution_pb.StartExecutionRequest(
            definition_id=definition,
            execution_id=execution_id,
            input=payload,
            wait=Duration(seconds=WAIT_SECONDS) if wait else None,
            request_id=self._ids.new(),
        )

    async def _start(self, request: execution_pb.StartExecutionRequest) -> execution_pb.StartExecutionResponse:
        return await self._executions.StartExecution(request, timeout=CALL_SECONDS_MAX)

    async def _start_and_wait(self, definition: str) -> None:
        _expect_completed((await self._start(self._request(definition))).execution)

    async def _start_on(self, stream: StartStream, definition: str) -> None:
        result = await stream.start(self._request(definition))
        if result.HasField("status"):
            raise UnexpectedEndError(f"refused: {result.status.message}")
        _expect_completed(result.execution)

    async def _signal(self) -> None:
        started = await self._start(self._request("bench-signal", wait=False))
        await self.go(started.execution.execution_id)

    async def _tick(self, execution_id: str) -> None:
        request = events_pb.SubmitEventRequest(
            execution_id=execution_id, name="tick", payload=_EVENT, request_id=self._ids.new()
        )
        await self._executions.SubmitEvent(request, timeout=CALL_SECONDS_MAX)

    async def go(self, execution_id: str) -> None:
        """Send the event that a waiting execution needs, and see it end."""
        request = events_pb.SubmitEventRequest(
            execution_id=execution_id, name="go", payload=_EVENT, request_id=self._ids.new()
        )
        execution = (await self._executions.SubmitEvent(request, timeout=CALL_SECONDS_MAX)).execution
        if execution.HasField("ended_at"):
            _expect_completed(execution)
        else:
            await self.ended(execution_id)

    async def ended(self, execution_id: str) -> None:
        """See one end that needs nothing more than its worker."""
        request = execution_pb.WaitExecutionRequest(execution_id=execution_id, wait=Duration(seconds=WAIT_SECONDS))
        _expect_completed((await self._executions.WaitExecution(request, timeout=CALL_SECONDS_MAX)).execution)

    async def start_waiting(self, definition: str, execution_id: str) -> None:
        """Start one that will wait for its event."""
        await self._start(self._request(definition, wait=False, execution_id=execution_id))

    async def reached(self, execution_id: str, step: str, seconds: float) -> None:
        """Return once the execution waits in this step; raises TimeoutError."""
        request = execution_pb.GetExecutionRequest(execution_id=execution_id, view=executions_pb.EXECUTION_VIEW_FULL)
        async with asyncio.timeout(seconds):
            while True:
                answer = await self._executions.GetExecution(request, timeout=CALL_SECONDS_MAX)
                if any(open_step.path == step for open_step in answer.execution.open_steps):
                    return
                await asyncio.sleep(0.1)


def _expect_completed(execution: executions_pb.Execution) -> None:
    if execution.status != executions_pb.EXECUTION_STATUS_COMPLETED:
        status = executions_pb.ExecutionStatus.Name(execution.status)
        raise UnexpectedEndError(f"{execution.execution_id} is {status}: {execution.failure.message}")
