"""A worker in this process: handlers of an `Operations` registry, fed by a session of the dispatcher without gRPC.

It obeys the same rules as any worker: it answers every delivery, stops what is called off, sends an answer again that
could not be taken, and drains before it goes. As it cannot fall silent, it has no lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import copy_context
from typing import Any, Protocol, cast

from msgspec import UNSET

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

    __slots__ = ("_cancelled", "_delivered", "_input", "_watch", "_worker", "handler", "runner")

    def __init__(self, delivered: Delivered, worker: LocalWorker, handler: Invocable) -> None:
        self.handler = handler
        self.runner: asyncio.Task[None] | None = None
        """What runs the handler; None: it was not called yet, and there is nothing to interrupt."""
        self._delivered = delivered
        self._worker = worker
        self._input: Any = UNSET
        self._cancelled = False
        self._watch: asyncio.Event | None = None

    @property
    def tenant(self) -> str:
        """The tenant of its execution."""
        return self._delivered.tenant

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return self._delivered.execution_id

    @property
    def path(self) -> str:
        """The path of its step."""
        return self._delivered.path

    @property
    def attempt(self) -> int:
        """Which attempt of the step this is, from 1."""
        return self._delivered.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a step; hand it on to services that can recognise a repeat."""
        return self._delivered.idempotency_key

    @property
    def service(self) -> str:
        """The operation's service."""
        return self._delivered.operation.rpartition(".")[0]

    @property
    def operation(self) -> str:
        """The operation's name within its service."""
        return self._delivered.operation.rpartition(".")[2]

    @property
    def token(self) -> bytes:
        """The delivery's token; it stays in this process."""
        return self._delivered.token

    @property
    def input(self) -> Any:
        """The input as a Python value, the handler's own."""
        if self._input is UNSET:
            self._input = values.decode(self._delivered.input)
        return self._input

    @property
    def deadline(self) -> float | None:
        """When the attempt times out, in seconds since the epoch; None: never."""
        return self._delivered.deadline / 1_000_000 if self._delivered.deadline else None

    @property
    def progress(self) -> Any:
        """What an earlier delivery reported last."""
        return self._delivered.progress

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
        self._worker.beat(self._delivered.token, progress)

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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[LocalTask] = deque()
        self._running: dict[bytes, LocalTask] = {}
        self._results: dict[bytes, TaskResult] = {}
        self._fresh: asyncio.Task[None] | None = None
        """The runner that may take one task after another: it has not waited for anything yet."""
        self._sent: list[asyncio.Task[None]] = []
        """The runners that were made last; one that has a task is held by that."""
        self._relief = False

    async def run(self) -> None:
        """Work until the session ends: after `drain`, or with the dispatcher. Cancelled: stops its handlers, whose
        tasks go to others."""
        self._loop = asyncio.get_running_loop()
        session = self._session = self._dispatcher.connect(self._hello, local=True)
        try:
            while not (frame := await session.receive()).closing:
                self._take(session, frame)
        finally:
            session.disconnect()
            self._waiting.clear()
            for task in tuple(self._running.values()):
                if task.runner is not None:
                    task.runner.cancel()

    def drain(self) -> None:
        """Take no new tasks; `run` returns when the last answer is committed."""
        if self._session is not None:
            self._session.drain()

    def _take(self, session: Session, frame: Frame) -> None:
        for delivered in frame.tasks:
            task = LocalTask(delivered, self, self._operations.handler(delivered.operation))
            self._running[delivered.token] = task
            self._waiting.append(task)
            if delivered.cancel_requested:
                self._call_off(delivered.token)
        if frame.tasks:
            self._send_runners(session, 1)
        for ack in frame.acks:
            self._acknowledged(session, ack)
        for notice in frame.cancels:
            self._call_off(notice.token)

    # Runners

    def _send_runners(self, session: Session, count: int) -> None:
        loop = asyncio.get_running_loop()
        self._fresh = None
        self._sent = [loop.create_task(self._serve(session)) for _ in range(count)]

    async def _serve(self, session: Session) -> None:
        """Run one handler; and further ones, as long as none has waited for anything, been cancelled, or left
        something behind in the context: a task of the loop costs more than most handlers, and nobody can tell."""
        me = self._fresh = cast("asyncio.Task[None]", asyncio.current_task())
        clean = copy_context()
        while self._waiting:
            task = self._waiting.popleft()
            if self._waiting and not self._relief:
                self._relief = True
                asyncio.get_running_loop().call_soon(self._relieve, session)
            task.runner = me
            await self._run(session, task)
            if self._fresh is not me or me.cancelling() or copy_context() != clean:
                return

    def _relieve(self, session: Session) -> None:
        """Tasks that still wait behind a handler get a runner each."""
        self._relief = False
        if self._waiting:
            self._send_runners(session, len(self._waiting))

    async def _run(self, session: Session, task: LocalTask) -> None:
        token = task.token
        try:
            if task.cancelled:
                raise asyncio.CancelledError
            result = TaskResult(token, await task.handler.invoke(task))
        except asyncio.CancelledError as error:
            if not task.cancelled:
                # It is the worker that ends, not the task: somebody else will do it.
                self._running.pop(token, None)
                raise
            result = TaskResult(token, failure=failure_of(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what a handler raises is its task's failure, and
            # one that exits must not take the server along
            result = TaskResult(token, failure=failure_of(error))
        self._running.pop(token, None)
        self._results[token] = result
        session.answer([result])

    def _call_off(self, token: bytes) -> None:
        task = self._running.get(token)
        if task is not None:
            task.cancel()
            if task.runner is not None and getattr(task.handler, "is_async", True):
                task.runner.cancel()

    # Answers

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

    def beat(self, token: bytes, progress: Any) -> None:
        """A handler says that its task goes on; from any thread."""
        if progress is None:
            beat = Heartbeat(token)
        else:
            checked = values.check_value(progress)
            beat = Heartbeat(token, checked, len(values.encode(checked)))
        if self._loop is not None and self._session is not None:
            self._loop.call_soon_threadsafe(self._session.heartbeat, [beat])
