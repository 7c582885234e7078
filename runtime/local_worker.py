"""A worker in this process: handlers of an `Operations` registry, fed by a session of the dispatcher without gRPC.

It obeys the same rules as any worker: it answers every delivery, stops what is called off, sends an answer again that
could not be taken, and drains before it goes. As it cannot fall silent, it has no lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .alarms import Alarms
from .core import values
from .core.failures import Failure
from .handlers import HandlerTask, failure_of
from .tasks import Ack, Delivered, Disposition, Frame, Heartbeat, TaskResult, WorkerHello

log = logging.getLogger(__name__)

_RETRY_PAUSE_SECONDS = 0.2


class Invocable(Protocol):
    """A handler of one operation."""

    async def invoke(self, task: HandlerTask) -> Any:
        """Do the task and return its output."""
        ...


class Registry(Protocol):
    """Where handlers come from: `Operations`, or anything like it."""

    def names(self) -> list[str]:
        """The operations that have a handler."""
        ...

    def handler(self, name: str) -> Invocable:
        """The handler of an operation."""
        ...


class Session(Protocol):
    """A worker's session, as the dispatcher gives it."""

    async def receive(self) -> Frame:
        """The next frame."""
        ...

    def answer(self, results: list[TaskResult]) -> None:
        """Results."""
        ...

    def heartbeat(self, beats: list[Heartbeat]) -> None:
        """Heartbeats."""
        ...

    def drain(self) -> None:
        """No more tasks."""
        ...

    def disconnect(self) -> None:
        """The worker goes."""
        ...


class Connect(Protocol):
    """The dispatcher's way in."""

    def connect(self, hello: WorkerHello, local: bool = False) -> Session:
        """A worker has come."""
        ...


class LocalTask:
    """A task as a handler in this process sees it."""

    __slots__ = (
        "_beat",
        "_cancelled",
        "_watch",
        "attempt",
        "deadline",
        "execution_id",
        "idempotency_key",
        "input",
        "operation",
        "path",
        "progress",
        "service",
        "started",
        "tenant",
    )

    def __init__(self, task: Delivered, beat: Callable[[Any], None]) -> None:
        self.tenant = task.tenant
        self.execution_id = task.execution_id
        self.path = task.path
        """The path of its step."""
        self.attempt = task.attempt
        self.idempotency_key = task.idempotency_key
        """The same for all attempts of a step; hand it on to services that can recognise a repeat."""
        self.service, _, self.operation = task.operation.rpartition(".")
        self.input = values.decode(task.input)
        self.deadline = task.deadline / 1_000_000 if task.deadline else None
        """When the attempt times out, in seconds since the epoch; None: never."""
        self.progress = task.progress
        """What an earlier delivery reported last."""
        self.started = False
        """Whether the handler was called: before that there is nothing to interrupt."""
        self._beat = beat
        self._cancelled = False
        self._watch: asyncio.Event | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the task is called off; for handlers in threads, which are not interrupted."""
        return self._cancelled

    async def wait_cancelled(self) -> None:
        """Return once the task is called off."""
        if not self._cancelled:
            self._watch = self._watch or asyncio.Event()
            await self._watch.wait()

    def heartbeat(self, progress: Any = None) -> None:
        """Say that the task goes on and, if not None, how far it is. May be called from a thread."""
        self._beat(progress)

    def cancel(self) -> None:
        """The task is called off."""
        self._cancelled = True
        if self._watch is not None:
            self._watch.set()


class LocalWorker:
    """Runs the handlers of a registry for one tenant."""

    def __init__(
        self,
        operations: Registry,
        dispatcher: Connect,
        alarms: Alarms,
        *,
        tenant: str = "default",
        worker_id: str = "in-process",
        max_in_flight: int = 256,
    ) -> None:
        self._operations = operations
        self._dispatcher = dispatcher
        self._alarms = alarms
        self._hello = WorkerHello(
            tenant, worker_id, tuple(operations.names()), max_in_flight, "in-process", "in-process"
        )
        self._session: Session | None = None
        self._running: dict[bytes, tuple[LocalTask, asyncio.Task[None], bool]] = {}
        self._results: dict[bytes, TaskResult] = {}

    async def run(self) -> None:
        """Work until the session ends: after `drain`, or with the dispatcher. Cancelled: stops its handlers, whose
        tasks go to others."""
        session = self._session = self._dispatcher.connect(self._hello, local=True)
        try:
            while not (frame := await session.receive()).closing:
                self._take(session, frame)
        finally:
            session.disconnect()
            for _, running, _ in tuple(self._running.values()):
                running.cancel()

    def drain(self) -> None:
        """Take no new tasks; `run` returns when the last answer is committed."""
        if self._session is not None:
            self._session.drain()

    def _take(self, session: Session, frame: Frame) -> None:
        for task in frame.tasks:
            self._begin(session, task)
        for ack in frame.acks:
            self._acknowledged(session, ack)
        for notice in frame.cancels:
            self._call_off(notice.token)

    def _begin(self, session: Session, delivered: Delivered) -> None:
        loop = asyncio.get_running_loop()
        token = delivered.token
        beat = partial(self._beat, loop, session, token)
        task = LocalTask(delivered, beat)
        handler = self._operations.handler(delivered.operation)
        running = loop.create_task(self._run(session, token, task, handler))
        interruptible = bool(getattr(handler, "is_async", True))
        self._running[token] = (task, running, interruptible)
        if delivered.cancel_requested:
            self._call_off(token)

    async def _run(self, session: Session, token: bytes, task: LocalTask, handler: Invocable) -> None:
        task.started = True
        try:
            if task.cancelled:
                raise asyncio.CancelledError
            result = TaskResult(token, await handler.invoke(task))
        except asyncio.CancelledError as error:
            if not task.cancelled:
                # It is the worker that ends, not the task: somebody else will do it.
                self._running.pop(token, None)
                raise
            result = TaskResult(token, failure=failure_of(error))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its task's failure
            result = TaskResult(token, failure=failure_of(error))
        self._running.pop(token, None)
        self._results[token] = result
        session.answer([result])

    def _call_off(self, token: bytes) -> None:
        found = self._running.get(token)
        if found is not None:
            task, running, interruptible = found
            task.cancel()
            if interruptible and task.started:
                running.cancel()

    def _acknowledged(self, session: Session, ack: Ack) -> None:
        if ack.heartbeat:
            if ack.cancel_requested:
                self._call_off(ack.token)
            return
        result = self._results.get(ack.token)
        if result is None:
            return
        if ack.disposition is Disposition.RETRY:
            pause = ack.retry_after_us / 1_000_000 if ack.retry_after_us is not None else _RETRY_PAUSE_SECONDS
            self._alarms.after(pause, lambda: session.answer([result]))
            return
        del self._results[ack.token]
        if ack.disposition is Disposition.INVALID and result.failure is None:
            # The output was refused as such: without an answer that can be taken the step would never end.
            log.warning("the output of a task was refused: %s", ack.message)
            self._results[ack.token] = refused = TaskResult(
                ack.token, failure=Failure(ack.reason or "InvalidResult", ack.message, retryable=False)
            )
            session.answer([refused])

    @staticmethod
    def _beat(loop: asyncio.AbstractEventLoop, session: Session, token: bytes, progress: Any) -> None:
        if progress is None:
            beat = Heartbeat(token)
        else:
            checked = values.check_value(progress)
            beat = Heartbeat(token, checked, len(values.encode(checked)))
        loop.call_soon_threadsafe(session.heartbeat, [beat])
