"""Random lives of executions of random definitions, with their actors crashing between any two steps.

An actor dies while it sleeps, when its append is lost, and with its process in the middle of anything. After every step
the live state, the state replayed from zero and the state replayed from each snapshot are one and the same, the stored
history verifies, and what was acknowledged is in it, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.core.worlds import ERRORS, INPUT, definitions
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import ResolveAction
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.core.state import State
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import encode
from callboard.runtime.engine import Runtime
from callboard.runtime.replay import advance, read_snapshot, replay
from callboard.runtime.requests import StartRequest
from callboard.runtime.rows import ExecutionAppend, ExecutionRef
from callboard.runtime.sessions import WorkerSession
from callboard.runtime.settings import Settings
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.tasks import Delivered, TaskResult, WorkerHello
from callboard.runtime.writes import Lost, Outcome, Why, Write

REF = ExecutionRef("default", "x-1")
PAYLOADS = st.sampled_from([None, 1, {"ok": True}, {"ok": False}, INPUT["raw"]])
NAMES = st.sampled_from(["go", "stop", "nobody-waits"])
T = TypeVar("T")


class LossyStore(MemoryStore):
    """Takes some appends out of their batches."""

    losses = 0

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        lost: dict[int, Outcome] = {}
        for place, write in enumerate(batch):
            if self.losses and isinstance(write, ExecutionAppend) and write.key:
                self.losses -= 1
                lost[place] = Lost(Why.SEQUENCE, "lost")
        kept = iter(await super().write([write for place, write in enumerate(batch) if place not in lost]))
        return [lost.get(place) or next(kept) for place in range(len(batch))]


class Lives(RuleBasedStateMachine):
    """One execution, everybody who may want something of it, and bad luck."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = LossyStore()
        self.clock = ManualClock()
        self.damaged = False
        self.sent = 0
        self.acknowledged: set[str] = set()
        """Ids of events that somebody was told were taken."""

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do something to its end, and let all that follows from it happen. A refusal that is a caller's own fault, or
        asks to come back later, is an answer like any other."""

        async def doing() -> T | None:
            answer: T | None = None
            try:
                answer = await work
            except Refused as refused:
                assert refused.refusal.kind is not Kind.INTERNAL, refused
            await self.settled()
            return answer

        return self.loop.run_until_complete(doing())

    async def settled(self) -> None:
        quiet = 0
        while quiet < 20:
            quiet = 0 if self.runtime.supervisor.busy or self.runtime.dispatcher.answers_in_flight else quiet + 1
            await asyncio.sleep(0)

    async def open(self) -> None:
        self.stack = AsyncExitStack()
        opened = engine(store=self.store, clock=self.clock, settings=self.settings)
        self.runtime: Runtime = await self.stack.enter_async_context(opened)
        self.tasks: list[Delivered] = []
        hello = WorkerHello("default", "w-1", ("s.o",), max_in_flight=1_000)
        self.session: WorkerSession = self.runtime.dispatcher.connect(hello, local=True)
        self.reading = asyncio.create_task(self.read(self.session))

    async def read(self, session: WorkerSession) -> None:
        while not (frame := await session.receive()).closing:
            self.tasks += frame.tasks

    async def close(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        self.session.disconnect()
        await self.stack.aclose()

    async def die(self) -> None:
        """The process is gone: nothing that runs gets to its end."""
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    @initialize(
        text=st.booleans().flatmap(definitions),
        turn_events_max=st.sampled_from([1, 3, 256]),
        often=st.sampled_from([3, 20]),
    )
    def begin(self, text: str, turn_events_max: int, often: int) -> None:
        limits = Limits(turn_events_max=turn_events_max, kept_events_max=5)
        self.settings = Settings(limits, snapshot_events_min=often, sleep_tail_events_min=2, live_actors_max=10)

        async def beginning() -> None:
            await self.open()
            await self.runtime.publish(text)
            await self.runtime.start(ME, StartRequest("d", execution_id="x-1", input=INPUT))

        self.run(beginning())

    def teardown(self) -> None:
        if hasattr(self, "runtime"):
            self.loop.run_until_complete(self.close())
        self.loop.close()

    # What callers, workers and time do

    @rule(name=NAMES, payload=PAYLOADS, event_id=st.sampled_from(["", "", "e-1"]))
    def submit(self, name: str, payload: Any, event_id: str) -> None:
        self.acknowledge(event_id, self.run(self.runtime.submit(ME, "x-1", name, payload, event_id)))

    @rule(name=NAMES, payload=PAYLOADS, event_id=st.sampled_from(["", "", "e-2"]))
    def enqueue(self, name: str, payload: Any, event_id: str) -> None:
        self.acknowledge(event_id, self.run(self.runtime.enqueue(ME, "x-1", name, payload, event_id)))

    def acknowledge(self, event_id: str, answer: object) -> None:
        if event_id and answer is not None:
            self.acknowledged.add(event_id)

    @rule(key=st.sampled_from(["w", ""]), payload=PAYLOADS)
    def publish_event(self, key: str, payload: Any) -> None:
        self.run(self.runtime.events.publish(ME, "go", key, payload, ""))

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 50), output=PAYLOADS)
    def complete(self, which: int, output: Any) -> None:
        task = self.tasks.pop(which % len(self.tasks))
        self.run(self.answer(TaskResult(task.token, output=output)))

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 50), kind=st.sampled_from(ERRORS), retryable=st.booleans())
    def fail(self, which: int, kind: str, retryable: bool) -> None:
        task = self.tasks.pop(which % len(self.tasks))
        self.run(self.answer(TaskResult(task.token, failure=Failure(kind, retryable=retryable))))

    async def answer(self, result: TaskResult) -> None:
        self.session.answer([result])

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([-3_600.0, 3_600.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(action=st.sampled_from(ResolveAction), which=st.integers(0, 5))
    def resolve(self, action: ResolveAction, which: int) -> None:
        view = self.run(self.runtime.get(ME, "x-1"))
        if view is not None and view.incidents:
            path = view.incidents[which % len(view.incidents)].path
            self.run(self.runtime.resolve(ME, "x-1", path, action, 3))

    @rule(seriously=st.integers(0, 12))
    def cancel(self, seriously: int) -> None:
        if seriously == 0:
            self.run(self.runtime.cancel(ME, "x-1", "enough"))

    @rule()
    def snapshot(self) -> None:
        self.run(self.runtime.histories.snapshot(ME, "x-1"))

    # Bad luck

    @rule()
    def the_actor_is_gone(self) -> None:
        self.runtime.supervisor._actors.pop(REF, None)

    @rule(how_many=st.integers(1, 3))
    def the_next_appends_are_lost(self, how_many: int) -> None:
        """As if another writer had been faster: the state in memory is void."""
        self.store.losses = how_many

    @rule(steps=st.integers(0, 120), name=NAMES, payload=PAYLOADS)
    def the_process_dies_amid_work(self, steps: int, name: str, payload: Any) -> None:
        self.sent += 2
        ids = [f"sent-{self.sent}", f"sent-{self.sent + 1}"]

        async def dying() -> None:
            runtime = self.runtime
            working: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(runtime.submit(ME, "x-1", name, payload, ids[0])),
                asyncio.ensure_future(runtime.enqueue(ME, "x-1", name, payload, ids[1])),
                asyncio.ensure_future(runtime.histories.snapshot(ME, "x-1")),
            ]
            for task in self.tasks[:2]:
                self.session.answer([TaskResult(task.token, output=payload)])
            for _ in range(steps):
                await asyncio.sleep(0)
            self.acknowledged |= {
                event_id
                for event_id, answer in zip(ids, working, strict=False)
                if answer.done() and answer.exception() is None
            }
            await self.die()

        self.loop.run_until_complete(dying())
        self.loop.close()  # and with it whatever was to be called later
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(self.clock.now())
        self.run(self.open())

    @rule()
    def the_newest_snapshot_is_damaged(self) -> None:
        for kept in self.store._executions.snapshots.values():
            kept[:1] = [msgspec.structs.replace(snapshot, data=snapshot.data[:-1]) for snapshot in kept[:1]]
        self.damaged = True

    @rule()
    def the_process_is_gone(self) -> None:
        async def restarting() -> None:
            await self.close()
            await self.open()

        self.run(restarting())

    # What always holds

    @invariant()
    def one_state(self) -> None:
        if hasattr(self, "runtime"):
            self.loop.run_until_complete(self.compare())

    async def compare(self) -> None:
        record = await self.store.execution(REF)
        assert record is not None
        live = await self.runtime.supervisor.awake(REF)
        states = [(await replay(self.store, REF, record.key, use_snapshots=using))[0] for using in (False, True)]
        states += [state async for state in self.by_way_of_each_snapshot(record.key)]
        texts = {encode(cast(Any, state)) for state in (*states, *([live] if live is not None else []))}
        assert len(texts) == 1
        await self.look_for_the_acknowledged(record.key)
        verification = await self.runtime.histories.verify(ME, "x-1")
        assert {problem.kind.value for problem in verification.problems} <= {"SNAPSHOT"}, verification.problems
        assert self.damaged or not verification.problems

    async def by_way_of_each_snapshot(self, key: int) -> AsyncIterator[State]:
        for snapshot in await self.store.snapshots(key):
            if (state := read_snapshot(snapshot)) is not None:
                await advance(self.store, key, state, None)
                yield state

    async def look_for_the_acknowledged(self, key: int) -> None:
        """Taken, or waiting to be, or buried as it could not be taken; a memory's word for `once` is a unique index."""
        taken = [event.event_id for event in await self.store.stored_events(key, 0, 100_000, 1 << 30)]
        waiting = [row.event_id for row in await self.store.inbox(key, 100_000)]
        buried = [letter.event_id for letter in await self.store.dead_letters("default", "x-1", 0, 100_000)]
        ids = [event_id for event_id in (*taken, *waiting) if event_id]
        assert len(ids) == len(set(ids))
        assert self.acknowledged <= {*ids, *buried}


TestLives = pytest.mark.timeout(1_200)(Lives.TestCase)
TestLives.settings = settings(
    stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)
