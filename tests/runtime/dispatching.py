"""A dispatcher with all around it faked: executions that answer as told, a store in dictionaries, a manual clock."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from callboard.runtime.alarms import Alarms
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import Command, CompleteTask, FailTask, LoseDelivery
from callboard.runtime.core.effects import CloseTask, Effect, OpenTask
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.dispatcher import Dispatcher
from callboard.runtime.offers import Offers
from callboard.runtime.rows import ExecutionAppend, ExecutionRecord, ExecutionRef, Head, Secrets, StoreInfo, TaskRecord
from callboard.runtime.tasks import DispatcherSettings, Frame, Heartbeat, TaskResult, WorkerHello
from callboard.runtime.writes import Committed

HEAD = Head("RUNNING", "running", "d", 1, b"{}", 1, b"", 0, 0)
SECRET = bytes(range(32))


def ref(key: int, tenant: str = "acme") -> ExecutionRef:
    return ExecutionRef(tenant, f"e{key}")


def append(key: int, *effects: Effect, tenant: str = "acme") -> tuple[ExecutionAppend, Committed]:
    return ExecutionAppend(ref(key, tenant), key, 0, (), HEAD, effects), Committed(key=key)


def refusal(kind: Kind) -> Refused:
    return Refused(Refusal(kind, "WHY", f"refused: {kind.name}"))


class FakeStore:
    def __init__(self) -> None:
        self.tasks: list[TaskRecord] = []
        self.inputs: dict[tuple[int, int], bytes] = {}
        self.reads: list[int] = []
        self.broken = 0

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        await asyncio.sleep(0)
        rest = sorted((task for task in self.tasks if (task.key, task.path) > after), key=lambda t: (t.key, t.path))
        return rest[:limit]

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        self.reads.append(len(wanted))
        await asyncio.sleep(0)
        if self.broken:
            self.broken -= 1
            raise OSError("the disk is away")
        return [self.inputs.get(place) for place in wanted]

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        return Secrets()

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        return ExecutionRecord(ref(key), key, HEAD) if key < 1000 else None


class World:
    """The dispatcher under test, and what it did to the executions around it."""

    def __init__(self, store: FakeStore | None = None, boot: int = 1, generation: int = 1, **settings: Any) -> None:
        self.clock = ManualClock()
        self.store = store or FakeStore()
        self.alarms = Alarms(self.clock)
        self.alarms.start()
        self.asked: list[tuple[ExecutionRef, Command]] = []
        self.history: set[tuple[ExecutionRef, str, int]] = set()
        self.refuse: Callable[[Command], Refused | None] = lambda command: None
        self.slow: list[Callable[[], None]] | None = None
        self.waited: list[float] = []
        info = StoreInfo("store-1", generation, boot, 1, SECRET)
        self.dispatcher = Dispatcher(
            info=info,
            store=self.store,
            ask=self.ask,
            answered=self.answered,
            clock=self.clock,
            alarms=self.alarms,
            offers=Offers(self.ask, self.alarms),
            settings=msgspec.structs.replace(DispatcherSettings(), **settings),
            observe=lambda operation, seconds: self.waited.append(seconds),
        )

    async def answered(self, ref: ExecutionRef, path: str, attempt: int) -> bool:
        return (ref, path, attempt) in self.history

    def ask(self, ref: ExecutionRef, command: Command) -> "asyncio.Future[Any]":
        """An execution that takes every answer, and delivers again what was lost."""
        self.asked.append((ref, command))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def decide() -> None:
            if (refused := self.refuse(command)) is not None:
                reply.set_exception(refused)
                return
            self.carry_out(ref, command)
            reply.set_result(None)

        if self.slow is not None:
            self.slow.append(decide)
        else:
            asyncio.get_running_loop().call_soon(decide)
        return reply

    def carry_out(self, ref: ExecutionRef, command: Command) -> None:
        key = int(ref.execution_id[1:])
        if isinstance(command, CompleteTask | FailTask):
            self.history.add((ref, command.path, command.attempt))
            self.commit(key, CloseTask(command.path), tenant=ref.tenant)
        elif isinstance(command, LoseDelivery):
            self.store.inputs.setdefault((key, 1), b'{"path":"a","input":{"n":1}}')
            self.commit(key, OpenTask(command.path, "s.op", command.attempt, 1), tenant=ref.tenant)

    def commit(self, key: int, *effects: Effect, tenant: str = "acme") -> None:
        self.dispatcher.committed([append(key, *effects, tenant=tenant)])

    def open(self, key: int, path: str = "a", operation: str = "s.op", **more: Any) -> None:
        tenant = more.pop("tenant", "acme")
        more.setdefault("input", {"n": key})
        self.commit(key, OpenTask(path, operation, more.pop("attempt", 1), 1, **more), tenant=tenant)

    def hello(self, worker_id: str = "w1", slots: int = 10, **more: Any) -> WorkerHello:
        return WorkerHello(more.pop("tenant", "acme"), worker_id, more.pop("operations", ("s.op",)), slots, **more)

    def commands(self, kind: type[Any]) -> list[Any]:
        return [command for _, command in self.asked if isinstance(command, kind)]

    async def close(self) -> None:
        await self.dispatcher.close()
        await self.alarms.close()


async def now(receiving: Any, clock: ManualClock) -> Frame | None:
    """The frame that is there to be received, or None; the attempt is given up otherwise."""
    task = asyncio.ensure_future(receiving)
    await clock.settle()
    if task.done():
        frame: Frame = task.result()
        return frame
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def done(token: bytes, output: Any = None) -> TaskResult:
    return TaskResult(token, output)


def beat(token: bytes, **more: Any) -> Heartbeat:
    return Heartbeat(token, **more)
