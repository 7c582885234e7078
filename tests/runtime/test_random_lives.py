"""Random lives of a whole engine: starts with keys, events, emits, cancels, terminations, a full disk, restarts and
crashes; and then what has to hold of the store, whatever happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.state import ENDED, State, Status, StepState
from callboard.runtime.core.turn import Limits
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.listing_rows import ListQuery
from callboard.runtime.ports import StorageFailedError, StorageFullError
from callboard.runtime.replay import replay
from callboard.runtime.requests import StartRequest, UniquePolicy
from callboard.runtime.rows import InboxKind, StoredEvent
from callboard.runtime.settings import Settings
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.trigger_rows import JobState
from callboard.runtime.writes import Outcome, Write

TIGHT = Settings(
    decisions=Limits(turn_events_max=6, kept_events_max=2),
    turn_commands_max=3,
    live_actors_max=3,
    event_offers_max=2,
    snapshot_events_min=4,
)
DEFINITIONS = (
    """
id: asks
steps:
  - {id: got, receive: {event: paid, key: input.key, filter: "event.n < 4"}}
  - {id: say, emit: {name: said, key: input.key, payload: {n: "${steps.got.result.payload.n}"}}}
  - {id: go, receive: {any_of: [{event: go}, {event: paid}], key: "'other'", timeout: 40s, on_timeout: CONTINUE}}
""",
    """
id: hears
triggers:
  - {id: any, event: {name: said}, input: "${event}", unique_key: "string(event.n)"}
  - {id: once, event: {name: said, filter: "event.n == 1", execution_id: "'the-one'"}, input: "${event}"}
  - {id: tick, schedule: {every: 30s, overlap: QUEUE}, input: {n: 0}}
steps:
  - id: each
    foreach: {items: "[1, 2, 3]", steps: [{id: say, emit: {name: "paid", key: "'a'", payload: {n: "${item}"}}}]}
  - {id: got, receive: {event: paid, key: "'b'", timeout: 70s, on_timeout: CONTINUE}}
""",
)
KEYS, NAMES, POLICIES = ["a", "b", "other"], ["paid", "said", "go"], list(UniquePolicy)
_Op: TypeAlias = tuple[Any, ...]
OPS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(KEYS), st.sampled_from(["", "k", "l"]), st.sampled_from(POLICIES)),
    st.tuples(st.just("publish"), st.sampled_from(NAMES), st.sampled_from(["", *KEYS]), st.integers(0, 5)),
    st.tuples(st.just("enqueue"), st.sampled_from(NAMES), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.just("submit"), st.sampled_from(NAMES), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.sampled_from(["cancel", "terminate"]), st.integers(0, 9)),
    st.tuples(st.just("full"), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.sampled_from([0, 1, 35, 100])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("crash"), st.booleans()),
)


class Disk(MemoryStore):
    """A store that has no room for some writes, and that a crash cuts off before or after a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.mend()

    def mend(self) -> None:
        self.room_in = 0
        """So many commits fail for want of room."""
        self.last = False
        """One commit is still made, but nobody hears of it."""
        self.gone = False

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        if self.gone:
            raise StorageFailedError("the process is dead")
        if self.room_in:
            self.room_in -= 1
            raise StorageFullError("no room")
        outcomes = await super().write(batch)
        if self.last:
            self.gone = True
            raise StorageFailedError("the process died after its commit")
        return outcomes


class Life:
    """One engine's life over one store."""

    def __init__(self) -> None:
        self.store = Disk()
        self.clock = ManualClock()
        self.calls: set[asyncio.Task[None]] = set()
        self.given = 0
        self.answered: dict[str, int] = {}
        """Published events that were answered, with the number of executions they started."""

    async def live(self, ops: Sequence[_Op]) -> None:
        left = list(ops)
        async with engine(store=self.store, clock=self.clock, settings=TIGHT) as runtime:
            for text in DEFINITIONS:
                await runtime.publish(text)
        while left:
            async with engine(store=self.store, clock=self.clock, settings=TIGHT) as runtime:
                while left and await self.do(runtime, left.pop(0)):
                    pass
            for call in tuple(self.calls):
                call.cancel()
            await asyncio.gather(*self.calls, return_exceptions=True)
            self.store.mend()
        async with engine(store=self.store, clock=self.clock, settings=TIGHT) as runtime:
            await runtime.pausing.pause(PauseTrigger(runtime.origin(ME), "hears", "tick", True))
            await self.clock.advance(400)
            await Books(self.store).check(self.answered)

    async def do(self, runtime: Runtime, op: _Op) -> bool:
        """Carry one out, beside those before it; False: the engine stops."""
        match op:
            case ("full", int(writes)):
                self.store.room_in = writes
            case ("pass", seconds):
                await self.clock.advance(seconds)
            case ("restart",):
                return False
            case ("crash", after):
                self.store.last, self.store.gone = after, not after
                await self.clock.settle()
                return False
            case _:
                self.given += 1
                call = asyncio.create_task(self.call(runtime, op, f"n-{self.given}"))
                self.calls.add(call)
                call.add_done_callback(self.calls.discard)
                if self.given % 3 == 0:
                    await self.clock.settle()
        return True

    async def call(self, runtime: Runtime, op: _Op, name: str) -> None:
        with suppress(Refused, StorageFailedError):
            match op:
                case ("start", key, unique, policy):
                    await runtime.start(
                        ME,
                        StartRequest(
                            "asks", execution_id=name, input={"key": key}, unique_key=unique, unique_policy=policy
                        ),
                    )
                case ("publish", event, key, n):
                    answer = await runtime.events.publish(ME, event, key, {"n": n}, name)
                    self.answered[name] = answer.outcome.started_count
                case ("enqueue", event, number, n):
                    await runtime.enqueue(ME, await self.one(number), event, {"n": n}, name)
                case ("submit", event, number, n):
                    await runtime.submit(ME, await self.one(number), event, {"n": n}, name)
                case ("cancel", number):
                    await runtime.cancel(ME, await self.one(number))
                case ("terminate", number):
                    await runtime.terminate(ME, await self.one(number))
                case _:
                    raise AssertionError(op)

    async def one(self, number: int) -> str:
        """The id of an execution."""
        found = (await self.store.listed(ListQuery("default", limit=10))).records
        return found[number % len(found)].ref.execution_id if found else "nobody"


class Books:
    """What the store holds, and whether it adds up."""

    def __init__(self, store: Disk) -> None:
        self.store = store
        self.states: dict[int, State] = {}
        self.events: dict[int, list[StoredEvent]] = {}

    async def check(self, answered: Mapping[str, int]) -> None:
        for record in (await self.store.listed(ListQuery("default", limit=10_000))).records:
            state, _ = await replay(self.store, record.ref, record.key)
            self.states[record.key] = state
            self.events[record.key] = await self.store.events(record.key, 0, 100_000, 2**40)
            assert (state.status, state.sequence) == (record.head.status, len(self.events[record.key]))
        self.waits()
        self.lines()
        await self.queues()
        self.offers()
        await self.published(answered)

    def waits(self) -> None:
        """Every row is an open `receive`, and every open `receive` with a key has its rows."""
        tables = self.store._lifecycle  # pyright: ignore[reportPrivateUsage]
        rows = Counter(
            (place[1:], row.key, row.path) for place, waits in tables.waits.items() for row in waits.values()
        )
        wanted = Counter(
            ((name, run.key), key, path)
            for key, state in self.states.items()
            for name, paths in state.listening.items()
            for path in paths
            if (run := state.runs[path]).key and state.status not in ENDED
        )
        assert rows == wanted
        for state in self.states.values():
            open_receives = {path for path, run in state.open_runs() if run.events and run.state is StepState.WAITING}
            listening = {path for paths in state.listening.values() for path in paths}
            assert state.status in ENDED or open_receives == listening

    def lines(self) -> None:
        """A line is the open executions that claimed it; the first one runs and the others do not."""
        tables = self.store._lifecycle  # pyright: ignore[reportPrivateUsage]
        wanted: dict[tuple[str, str, str], list[int]] = {}
        for key, state in sorted(self.states.items()):
            for line in state.lines if state.status not in ENDED else ():
                wanted.setdefault(("default", state.definition_id, line), []).append(key)
        assert {place: list(members) for place, members in tables.lines.items()} == wanted
        waiting = {key for key, state in self.states.items() if state.status is Status.PENDING}
        assert waiting == {key for members in wanted.values() for key in members[1:]}

    async def queues(self) -> None:
        """Nothing is under way any more, and nothing is left of what has ended."""
        assert await self.store.outbox(0, 10) == []
        assert [job for job in await self.store.open_jobs() if job.state is JobState.RUNNING] == []
        assert (await self.store.counts()).dead_letters == len(await self.store.dead_letters("default", "", 0, 10_000))
        for key, state in self.states.items():
            rows = await self.store.inbox(key, 1_000)
            assert all(row.kind is InboxKind.EVENT for row in rows)
            assert not rows or len(state.kept) == TIGHT.decisions.kept_events_max
            assert not (rows and state.status in ENDED)

    def offers(self) -> None:
        """No event comes twice: a caller's to one execution, a published one to one step."""
        for events in self.events.values():
            ids = Counter(event.event_id for event in events if event.event_id)
            assert set(ids.values()) <= {1}
            told = [
                msgspec.json.decode(event.payload) for event in events if event.name in ("EventReceived", "EventMissed")
            ]
            steps = Counter(
                (one["published_id"], one.get("offered_to") or one["path"]) for one in told if one.get("published_id")
            )
            assert set(steps.values()) <= {1}

    async def published(self, answered: Mapping[str, int]) -> None:
        """Every event that was emitted has been accepted, and has started what its outcome says, once."""
        tables = self.store._lifecycle  # pyright: ignore[reportPrivateUsage]
        emitted = {
            f"emit:{key}:{event.sequence}"
            for key, events in self.events.items()
            for event in events
            if event.name == "EventEmitted"
        }
        accepted = {event_id: outcome for (_, event_id), (outcome, _) in tables.published.items()}
        assert {event_id for event_id in accepted if event_id.startswith("emit:")} == emitted
        assert answered == {event_id: accepted[event_id].started_count for event_id in answered}
        origins = [state.origin for state in self.states.values() if state.origin is not None]
        begun = Counter(origin.event_id for origin in origins if origin.event_id)
        assert begun == +Counter({event_id: outcome.started_count for event_id, outcome in accepted.items()})
        slots = Counter((origin.trigger_id, origin.slot) for origin in origins if origin.slot)
        assert set(slots.values()) <= {1}


@given(st.lists(OPS, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_store_adds_up_whatever_happened(ops: list[_Op]) -> None:
    asyncio.run(Life().live(ops))
