"""What engine tests share: a runtime over a store with a manual clock, and a worker that answers by rule."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from callboard.runtime.clock import ManualClock, ManualIds
from callboard.runtime.core.failures import Failure
from callboard.runtime.engine import Runtime
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.sessions import WorkerSession
from callboard.runtime.settings import Settings
from callboard.runtime.tasks import Delivered, TaskResult, WorkerHello

ME = Caller()
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
_boots = itertools.count()
Rule = Callable[[Delivered], Any]


@asynccontextmanager
async def engine(
    path: str | Path = ":memory:", clock: ManualClock | None = None, settings: Settings | None = None, **more: Any
) -> AsyncIterator[Runtime]:
    """A runtime with a manual clock."""
    ids = ManualIds(f"id-{next(_boots)}-")
    async with Runtime.open(path, clock=clock or ManualClock(), ids=ids, settings=settings, **more) as runtime:
        yield runtime


class Hands:
    """A worker whose answers follow a rule: a value, or a Failure."""

    def __init__(
        self, runtime: Runtime, rule: Rule, *operations: str, worker_id: str = "w-1", slots: int = 100
    ) -> None:
        self.seen: list[Delivered] = []
        self.rule = rule
        self.session: WorkerSession = runtime.dispatcher.connect(
            WorkerHello("default", worker_id, operations or ("s.one", "s.two"), max_in_flight=slots), local=True
        )
        self.task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            frame = await self.session.receive()
            if frame.closing:
                return
            for task in frame.tasks:
                self.seen.append(task)
                answer = self.rule(task)
                if isinstance(answer, Failure):
                    self.session.answer([TaskResult(task.token, failure=answer)])
                elif answer is not None:
                    self.session.answer([TaskResult(task.token, output=answer)])

    async def stop(self) -> None:
        """Vanish."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.session.disconnect()


async def started(runtime: Runtime, definition_id: str, execution_id: str, input: Any = None) -> None:
    """Begin an execution."""
    await runtime.start(ME, StartRequest(definition_id, execution_id=execution_id, input=input))


async def until(condition: Callable[[], bool], rounds: int = 2_000) -> None:
    """Let the loop and the store's threads work until something holds; fails after so many rounds."""
    for _ in range(rounds):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to be")
