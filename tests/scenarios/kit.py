"""What the scenarios share: a server on a free port over a directory, and the generated stubs to speak with it.

Everything goes over the wire. Waiting is done with the API itself (WatchExecution, WaitExecution) or by asking again
until the answer is the expected one; nothing sleeps for a length of time and hopes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from callboard.runtime.lifecycle.extensions import UserStage
from callboard.runtime.ports import Clock
from callboard.runtime.settings import Settings
from callboard.runtime.tasks import DispatcherSettings
from callboard.server.config import ServerConfig
from callboard.server.telemetry import Telemetry
from callboard.server.wiring import Server, serving
from callboard.v1 import (
    definition_service_pb2,
    definition_service_pb2_grpc,
    errors_pb2,
    execution_events_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    executions_pb2,
    failure_pb2,
    history_pb2,
    operation_service_pb2_grpc,
    payload_pb2,
    server_service_pb2,
    server_service_pb2_grpc,
    tasks_pb2,
    violations_pb2,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

SECONDS_MAX = 30
"""How long anything may take before its test fails."""
PATIENT = DispatcherSettings(lease_seconds=1e9, ping_interval_seconds=1e9)
"""Workers never fall silent: for tests in which a manual clock makes days pass in no time."""

LINEAR = """
id: linear
steps:
  - {id: one, task: {service: s, operation: one, input: {n: 1}}}
  - {id: two, task: {service: s, operation: two, input: "${steps.one.result}"}}
output: "${steps.two.result}"
"""
WAITING = """
id: waiting
steps:
  - {id: got, receive: {event: go}}
  - {id: more, receive: {event: more}}
output: "${[steps.got.result.payload, steps.more.result.payload]}"
"""
ECHO = """
id: echo
steps: [{id: one, task: {service: s, operation: one, input: "${input}"}}]
"""


def payload(value: Any) -> payload_pb2.Payload:
    """JSON of a value."""
    return raw(json.dumps(value))


def raw(text: str) -> payload_pb2.Payload:
    """JSON as it is written here."""
    return payload_pb2.Payload(json=text)


def value(message: payload_pb2.Payload) -> Any:
    """The value of a JSON payload."""
    assert message.WhichOneof("body") == "json", message
    return json.loads(message.json)


def status(name: str) -> int:
    """`COMPLETED` and its like as the number on the wire."""
    return executions_pb2.ExecutionStatus.Value(f"EXECUTION_STATUS_{name}")


def disposition(ack: tasks_pb2.TaskAck) -> str:
    """`ACCEPTED` and its like."""
    return tasks_pb2.TaskDisposition.Name(ack.disposition).removeprefix("TASK_DISPOSITION_")


@dataclass(frozen=True)
class Refusal:
    """A status that is not OK, with its details."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    fields: dict[str, str]
    """Of BadRequest: field -> description."""
    violations: list[violations_pb2.DefinitionViolation]
    retry_after: Duration | None


async def refused(call: Awaitable[Any]) -> Refusal:
    """Await a call that has to be refused, and hold it to the contract of errors."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"it was not refused: {answer}")


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """The details of an error of the API: always there, always with exactly one published reason."""
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    assert "grpc-status-details-bin" in trailing, f"no details: {error}"
    found = refusal_in(status_pb2.Status.FromString(trailing["grpc-status-details-bin"]))
    assert found.code == error.code().name
    return found


def refusal_in(status_message: Any) -> Refusal:
    """The same of a `google.rpc.Status` within an answer."""
    infos, fields, violations, retry_after = [], {}, [], None
    for packed in status_message.details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            infos.append(error_details_pb2.ErrorInfo.FromString(packed.value))
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(packed.value)
            fields = {one.field: one.description for one in request.field_violations}
        elif packed.Is(violations_pb2.DefinitionViolations.DESCRIPTOR):
            violations = list(violations_pb2.DefinitionViolations.FromString(packed.value).violations)
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after = error_details_pb2.RetryInfo.FromString(packed.value).retry_delay
    assert len(infos) == 1, infos
    assert infos[0].domain == "callboard"
    assert f"ERROR_REASON_{infos[0].reason}" in errors_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum is no dict
    code = next(code.name for code in grpc.StatusCode if code.value[0] == status_message.code)
    metadata = dict(infos[0].metadata)
    return Refusal(code, infos[0].reason, status_message.message, metadata, fields, violations, retry_after)


async def eventually(asked: Callable[[], Awaitable[Any]], seconds: float = SECONDS_MAX) -> Any:
    """Ask again until the answer is true, and give it back."""
    async with asyncio.timeout(seconds):
        while not (answer := await asked()):  # noqa: ASYNC110 - what is asked lies behind the API
            await asyncio.sleep(0.005)
        return answer


class Api:
    """One client of a server: stubs, and the calls that most scenarios make in fewer words."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, tenant: str = "", user: str = "") -> None:
        self.server = server
        self.channel = channel
        self.metadata = tuple((k, v) for k, v in (("callboard-tenant", tenant), ("callboard-user", user)) if v)
        self.definitions: Any = definition_service_pb2_grpc.DefinitionServiceStub(channel)
        self.executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self.workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.operations: Any = operation_service_pb2_grpc.OperationServiceStub(channel)
        self.admin: Any = server_service_pb2_grpc.ServerServiceStub(channel)

    def of(self, tenant: str = "", user: str = "") -> Api:
        """The same server for somebody else."""
        return Api(self.server, self.channel, tenant, user)

    async def publish(self, text: str, **more: Any) -> Any:
        """Publish a definition from its text."""
        source = violations_pb2.SourceText(name="flow.yaml", text=text)
        request = definition_service_pb2.PublishDefinitionRequest(source=source, **more)
        return await self.definitions.PublishDefinition(request, metadata=self.metadata)

    async def start(self, definition_id: str, execution_id: str = "", wait: float = 0, **more: Any) -> Any:
        """Begin an execution."""
        request = execution_service_pb2.StartExecutionRequest(
            definition_id=definition_id, execution_id=execution_id, **more
        )
        if wait:
            request.wait.FromTimedelta(timedelta(seconds=wait))
        return await self.executions.StartExecution(request, metadata=self.metadata)

    async def submit(self, execution_id: str, name: str, content: Any = None, **more: Any) -> Any:
        """Send an event and wait until it has been processed."""
        request = execution_events_pb2.SubmitEventRequest(
            execution_id=execution_id, name=name, payload=payload(content), **more
        )
        return await self.executions.SubmitEvent(request, metadata=self.metadata)

    async def enqueue(self, execution_id: str, name: str, content: Any = None, **more: Any) -> Any:
        """Send an event and wait until it has been accepted."""
        request = execution_events_pb2.EnqueueEventRequest(
            execution_id=execution_id, name=name, payload=payload(content), **more
        )
        return await self.executions.EnqueueEvent(request, metadata=self.metadata)

    async def get(self, execution_id: str) -> Any:
        """An execution in full."""
        request = execution_service_pb2.GetExecutionRequest(
            execution_id=execution_id, view=executions_pb2.EXECUTION_VIEW_FULL
        )
        return (await self.executions.GetExecution(request, metadata=self.metadata)).execution

    async def ended(self, execution_id: str) -> Any:
        """An execution in full, once it has ended."""
        request = execution_service_pb2.WaitExecutionRequest(
            execution_id=execution_id, view=executions_pb2.EXECUTION_VIEW_FULL, wait=Duration(seconds=SECONDS_MAX)
        )
        answer = await self.executions.WaitExecution(request, metadata=self.metadata)
        assert answer.ended, answer.execution
        return answer.execution

    async def history(self, execution_id: str, page_size: int = 1_000) -> list[history_pb2.WorkflowEvent]:
        """All events."""
        events: list[history_pb2.WorkflowEvent] = []
        request = execution_events_pb2.GetHistoryRequest(execution_id=execution_id, page_size=page_size)
        while True:
            page = await self.executions.GetHistory(request, metadata=self.metadata)
            events += page.events
            if not page.next_page_token:
                return events
            request.page_token = page.next_page_token

    async def names(self, execution_id: str) -> list[str]:
        """The names of all events."""
        return [event.event_name for event in await self.history(execution_id)]

    async def until(self, execution_id: str, name: str, count: int = 1) -> list[history_pb2.WorkflowEvent]:
        """Watch an execution until an event of this name is there (so many times), and give back all up to it."""
        watch = self.executions.WatchExecution(
            execution_events_pb2.WatchExecutionRequest(execution_id=execution_id), metadata=self.metadata
        )
        seen: list[history_pb2.WorkflowEvent] = []
        async with asyncio.timeout(SECONDS_MAX):
            async for page in watch:
                seen += page.events
                if sum(event.event_name == name for event in seen) >= count:
                    watch.cancel()
                    return seen
        raise AssertionError(f"{name} did not come: {[event.event_name for event in seen]}")

    async def queue(self, operation: str) -> Any:
        """The queue of an operation; None: there is none."""
        request = server_service_pb2.ListQueuesRequest(operation=operation)
        return next(iter((await self.admin.ListQueues(request, metadata=self.metadata)).queues), None)

    async def worker_ids(self) -> list[str]:
        """The workers that are connected."""
        answer = await self.admin.ListWorkers(server_service_pb2.ListWorkersRequest(), metadata=self.metadata)
        return [worker.worker_id for worker in answer.workers]

    async def dead_letters(self, execution_id: str = "") -> list[history_pb2.DeadLetter]:
        """Everything that could not be processed."""
        request = execution_events_pb2.ListDeadLettersRequest(execution_id=execution_id)
        return list((await self.executions.ListDeadLetters(request, metadata=self.metadata)).dead_letters)

    async def complete(self, worker_id: str, *results: tasks_pb2.TaskResult) -> list[tasks_pb2.TaskAck]:
        """Hand in results by the unary call."""
        request = worker_service_pb2.CompleteTasksRequest(worker_id=worker_id, results=results)
        return list((await self.workers.CompleteTasks(request, metadata=self.metadata)).acks)


HOLD = object()
"""What a rule answers to keep a task."""
Rule = Callable[[tasks_pb2.Task], Any]
"""What a worker does with a task: it answers with a value, with a Failure message, or HOLDs it."""


def result_of(task: tasks_pb2.Task | bytes, answer: Any) -> tasks_pb2.TaskResult:
    """The result that says it."""
    token = task if isinstance(task, bytes) else task.task_token
    if isinstance(answer, failure_pb2.Failure):
        return tasks_pb2.TaskResult(task_token=token, failure=answer)
    return tasks_pb2.TaskResult(task_token=token, output=payload(answer))


@dataclass
class StubWorker:
    """A worker of bare stubs over the Work stream that follows a rule. It keeps no promise but those it is told to."""

    api: Api
    rule: Rule
    worker_id: str = "w-1"
    operations: Sequence[str] = ("s.one", "s.two")
    slots: int = 100
    holding: Sequence[bytes] = ()
    silent: bool = False
    """It sends nothing but its hello, whatever it is asked."""
    tasks: list[tasks_pb2.Task] = field(default_factory=list)
    acks: list[tasks_pb2.TaskAck] = field(default_factory=list)
    frames: list[worker_service_pb2.WorkResponse] = field(default_factory=list)
    ended: str = ""
    """The code with which the stream ended."""

    async def connect(self) -> StubWorker:
        """Say hello, and wait for the welcome."""
        self._changed = asyncio.Event()
        self._stream = self.api.workers.Work(metadata=self.api.metadata)
        hello = worker_service_pb2.WorkerHello(
            worker_id=self.worker_id, operations=self.operations, max_in_flight=self.slots, holding=self.holding
        )
        await self._stream.write(worker_service_pb2.WorkRequest(hello=hello))
        self._task = asyncio.create_task(self._work())
        await self.when(lambda: self.frames or self.ended)
        return self

    async def _work(self) -> None:
        try:
            async for frame in self._stream:
                self.frames.append(frame)
                self.tasks += frame.tasks
                self.acks += frame.acks
                answered = [(task, self.rule(task)) for task in frame.tasks]
                results = [result_of(task, answer) for task, answer in answered if answer is not HOLD]
                if (results or frame.HasField("ping")) and not self.silent:
                    await self._stream.write(worker_service_pb2.WorkRequest(results=results))
                self._changed.set()
            self.ended = grpc.StatusCode.OK.name
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self.ended = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "CLOSED"
        finally:
            self._changed.set()

    async def when(self, condition: Callable[[], Any]) -> Any:
        """Wait until something holds of what has come in."""
        async with asyncio.timeout(SECONDS_MAX):
            while not (answer := condition()):
                self._changed.clear()
                await self._changed.wait()
            return answer

    async def seen(self, count: int = 1) -> list[tasks_pb2.Task]:
        """The tasks, once there are so many."""
        await self.when(lambda: len(self.tasks) >= count)
        return self.tasks

    async def answer(self, task: tasks_pb2.Task | bytes, answer: Any) -> tasks_pb2.TaskAck:
        """Answer a task that was held, and give back the ack."""
        token = task if isinstance(task, bytes) else task.task_token
        before = len(self.acks)
        await self._stream.write(worker_service_pb2.WorkRequest(results=[result_of(task, answer)]))
        return await self.when(lambda: next((ack for ack in self.acks[before:] if ack.task_token == token), None))

    async def send(self, request: worker_service_pb2.WorkRequest) -> None:
        """Send a frame as it is."""
        await self._stream.write(request)

    async def vanish(self) -> None:
        """Break the stream, as a killed process does."""
        self._stream.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def worker(api: Api, rule: Rule, **more: Any) -> Any:
    """`async with worker(api, rule) as stub:` a connected worker."""
    return _connected(StubWorker(api, rule, **more))


@asynccontextmanager
async def _connected(stub: StubWorker) -> AsyncIterator[StubWorker]:
    await stub.connect()
    try:
        yield stub
    finally:
        await stub.vanish()


@asynccontextmanager
async def serve(
    data: Path,
    *,
    clock: Clock | None = None,
    settings: Settings | None = None,
    dispatching: DispatcherSettings | None = None,
    telemetry: Telemetry | None = None,
    drain_seconds: float = 0.0,
    user_stages: tuple[UserStage, ...] = (),
    **more: Any,
) -> AsyncIterator[Api]:
    """A server over a data directory. At the end it closes without waiting for what is under way."""
    config = ServerConfig(
        data=data,
        listen="127.0.0.1:0",
        drain_seconds=drain_seconds,
        settings=settings or Settings(),
        dispatching=dispatching or DispatcherSettings(),
        **more,
    )
    opened = serving(config, telemetry=telemetry, clock=clock, stages=user_stages)
    async with opened as server, connect(server) as channel:
        yield Api(server, channel)


@asynccontextmanager
async def connect(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        yield channel
