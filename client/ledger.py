"""What a worker owes: the tasks it is at, and the results it keeps until the server has taken them.

It outlives connections. A session feeds it what the server sends and takes from it what is to be sent; when a stream
breaks, everything here is named to the next one (`holding`) and sent again.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from callboard.v1 import tasks_pb2 as pb
from callboard.v1.failure_pb2 import Failure as FailureMessage
from callboard.v1.payload_pb2 import TraceContext
from callboard.v1.worker_service_pb2 import WorkRequest

from .codec import encode_payload
from .handlers import Invocable
from .tasks import Task, failed, success

log = logging.getLogger("callboard.worker")

FRAME_BYTES_MAX = 3 * 1024 * 1024
RETRY_SECONDS = 0.5
"""The pause before a result that could not be taken is sent again, where the server does not say."""


@dataclass(slots=True)
class _Running:
    """A task and the coroutine at it."""

    task: Task
    interruptible: bool
    job: "asyncio.Task[None] | None" = None


class Ledger:
    """The tasks and results of one worker. Lives on one event loop; only `beat` may be called from other threads."""

    def __init__(self, handlers: Mapping[str, Invocable], tenant: str) -> None:
        self._handlers = handlers
        self._tenant = tenant
        self._loop = asyncio.get_running_loop()
        self._running: dict[bytes, _Running] = {}
        self._results: dict[bytes, pb.TaskResult] = {}
        self._outgoing: list[pb.TaskResult] = []
        self._beats: dict[bytes, pb.TaskHeartbeat] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.due = asyncio.Event()
        """Set when there is something to send."""

    def holding(self) -> list[bytes]:
        """The tokens of everything owed."""
        return [*self._running, *self._results]

    @property
    def running(self) -> int:
        """How many handlers are running."""
        return len(self._running)

    async def wait_idle(self) -> None:
        """Returns when nothing is owed."""
        await self._idle.wait()

    def begin(self, message: pb.Task) -> None:
        """Starts the handler of a task; one that is here already is left alone."""
        token = message.task_token
        if token in self._running or token in self._results:
            return
        self._idle.clear()
        task = Task(message, self._tenant, self._beat)
        handler = self._handlers.get(f"{message.service}.{message.operation}")
        entry = self._running[token] = _Running(task, bool(getattr(handler, "is_async", True)))
        entry.job = _started(self._loop, self._run(token, task, handler))

    async def _run(self, token: bytes, task: Task, handler: Invocable | None) -> None:
        try:
            if handler is None:
                raise LookupError(f"this worker has no handler for {task.service}.{task.operation}")
            result = success(token, await _invoke(handler, task))
        except asyncio.CancelledError as error:
            if not task.cancelled:
                # It is the worker that ends, not the task: somebody else will do it.
                self._forget(token)
                raise
            result = failed(token, error)
        except (Exception, SystemExit) as error:
            # Whatever a handler raises is its task's failure; a `sys.exit` in it would end the worker, and after it
            # every worker that is given the task again.
            result = failed(token, error)
            failure = result.failure
            log.info(
                "%s of %s failed: %s: %s",
                task.path,
                task.execution_id,
                failure.type,
                failure.message,
                exc_info=log.isEnabledFor(logging.DEBUG),
            )
        if self._running.pop(token, None) is not None:
            self._answer(token, result)

    def _answer(self, token: bytes, result: pb.TaskResult) -> None:
        self._beats.pop(token, None)
        self._results[token] = result
        self._outgoing.append(result)
        self.due.set()

    def acknowledged(self, ack: pb.TaskAck) -> None:
        """The server has said what became of a result or heartbeat."""
        token = ack.task_token
        if ack.heartbeat:
            if ack.cancel_requested:
                self.call_off(token)
            elif ack.disposition in (pb.TASK_DISPOSITION_STALE, pb.TASK_DISPOSITION_INVALID):
                self._superseded(token)
            return
        result = self._results.get(token)
        if result is None:
            return
        if ack.disposition == pb.TASK_DISPOSITION_RETRY:
            pause = ack.retry_after.ToTimedelta().total_seconds() if ack.HasField("retry_after") else RETRY_SECONDS
            self._loop.call_later(pause, self._send_again, token)
            return
        if ack.disposition == pb.TASK_DISPOSITION_INVALID and result.HasField("output"):
            # The output was refused as such: without an answer that can be taken the step would never end.
            log.warning("the output of a task was refused: %s", ack.message)
            refused = FailureMessage(type="InvalidResult", message=ack.message, retryable=False)
            self._answer(token, pb.TaskResult(task_token=token, failure=refused))
            return
        if ack.disposition in (pb.TASK_DISPOSITION_STALE, pb.TASK_DISPOSITION_INVALID):
            log.info("a result came too late: %s", ack.message)
        self._forget(token)

    def call_off(self, token: bytes) -> None:
        """Asks the handler of a task to stop; its answer is still sent."""
        entry = self._running.get(token)
        if entry is not None and not entry.task.cancelled:
            entry.task.cancel()
            if entry.interruptible and entry.job is not None:
                entry.job.cancel()

    def keep_only(self, kept: Iterable[bytes], named: Iterable[bytes]) -> None:
        """After a reconnect: of the tokens that were named, those that are not kept are somebody else's now."""
        for token in set(named) - set(kept):
            self._superseded(token)

    def _superseded(self, token: bytes) -> None:
        self.call_off(token)
        self._forget(token)

    def _forget(self, token: bytes) -> None:
        self._running.pop(token, None)
        self._results.pop(token, None)
        self._beats.pop(token, None)
        if not self._running and not self._results:
            self._idle.set()

    def _send_again(self, token: bytes) -> None:
        result = self._results.get(token)
        if result is not None:
            self._outgoing.append(result)
            self.due.set()

    def send_all_again(self) -> None:
        """On a new stream: everything that is not acknowledged."""
        self._outgoing = list(self._results.values())
        if self._outgoing:
            self.due.set()

    def _beat(self, token: bytes, progress: Any) -> None:
        """A heartbeat of a handler, on the loop or in a thread. Raises `NotJson` to the handler."""
        payload = None if progress is None else encode_payload(progress)
        beat = pb.TaskHeartbeat(task_token=token, progress=payload)
        self._loop.call_soon_threadsafe(self._note_beat, beat)

    def _note_beat(self, beat: pb.TaskHeartbeat) -> None:
        if beat.task_token in self._running:
            waiting = self._beats.get(beat.task_token)
            if waiting is None or beat.HasField("progress"):
                self._beats[beat.task_token] = beat
            self.due.set()

    def frame(self) -> WorkRequest | None:
        """Everything there is to send, as far as it fits into one frame; None where there is nothing."""
        if not self._outgoing and not self._beats:
            return None
        results, self._outgoing = _fitting(self._outgoing)
        beats, self._beats = list(self._beats.values()), {}
        return WorkRequest(results=results, heartbeats=beats)

    def abandon(self) -> None:
        """Stops every handler; what they were at goes to other workers."""
        for entry in list(self._running.values()):
            if entry.job is not None:
                entry.job.cancel()


def _fitting(results: list[pb.TaskResult]) -> tuple[list[pb.TaskResult], list[pb.TaskResult]]:
    """The results that go into one frame, at least one, and the rest."""
    size = 0
    for count, result in enumerate(results):
        size += result.ByteSize() + 8
        if size > FRAME_BYTES_MAX and count:
            return results[:count], results[count:]
    return results, []


def _started(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """A task of the loop; where Python can, a handler that never waits is done when this returns."""
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=loop, eager_start=True)
    else:
        task = loop.create_task(coroutine)
    return task


async def _invoke(handler: Invocable, task: Task) -> Any:
    """Calls a handler within the trace that its task belongs to."""
    context = task.trace_context
    if not context.traceparent:
        return await handler.invoke(task)
    return await _traced(handler, task, context)


async def _traced(handler: Invocable, task: Task, context: TraceContext) -> Any:
    from opentelemetry import propagate, trace  # noqa: PLC0415 - slow to import, and only of use where tasks are traced

    carrier = {"traceparent": context.traceparent, "tracestate": context.tracestate}
    parent = propagate.extract(carrier)
    attributes = {"callboard.execution_id": task.execution_id, "callboard.step_path": task.path}
    tracer = trace.get_tracer("callboard.client")
    with tracer.start_as_current_span(
        f"handle {task.service}.{task.operation}", parent, trace.SpanKind.CONSUMER, attributes
    ):
        return await handler.invoke(task)
