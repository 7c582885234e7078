from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.runtime.engine_kit import ME, engine, started, until

from callboard.runtime.births import Birth, Births
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import Origin, Start
from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.turn import Limits
from callboard.runtime.engine import Runtime
from callboard.runtime.replay import replay
from callboard.runtime.rows import ExecutionRef, LineClaim, StoredEvent
from callboard.runtime.settings import Settings
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.writes import Committed

TWO_STEPS = """
id: two
labels: {by: "${input.who}"}
steps:
  - {id: keep, set: {who: "${input.who}"}}
  - {id: more, receive: {event: more}}
  - {id: work, task: {service: s, operation: one}}
output: "${vars.who}"
"""
LONG = """
id: long
steps:
  - id: each
    foreach: {items: "input", steps: [{id: one, set: {n: "${item}"}}]}
output: "${vars.n}"
"""


class ReadingStore(MemoryStore):
    """Counts how often histories are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        self.reads["events"] += 1
        return await super().events(key, after, limit, bytes_max)


def births_of(runtime: Runtime) -> Births:
    return Births(runtime.clock, runtime.ids, runtime.settings, runtime.supervisor.adopt)


async def prepared(runtime: Runtime, definition_id: str, execution_id: str, value: Any, **more: Any) -> Birth:
    plan = await runtime.catalog.plan(ME.tenant, definition_id, 1)
    command = Start(definition_id, 1, value, **{name: more.pop(name) for name in ("origin",) if name in more})
    return births_of(runtime).prepare(ExecutionRef(ME.tenant, execution_id), command, plan, context=b"{}", **more)


async def committed(runtime: Runtime, birth: Birth) -> Committed:
    outcome = await runtime.journal.write(birth.append)
    assert isinstance(outcome, Committed)
    return outcome


def bare(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    return [msgspec.structs.replace(event, position=0) for event in events]


def uncaused(event: StoredEvent) -> StoredEvent:
    """An event without what led to it, which is all that differs, and its hash tells."""
    return msgspec.structs.replace(event, context=None, hash=b"")


async def test_a_birth_is_what_an_actor_would_have_written() -> None:
    clock = ManualClock()
    async with engine(clock=clock) as runtime:
        await runtime.publish(TWO_STEPS)
        birth = await prepared(runtime, "two", "e-1", {"who": "ann"})
        await started(runtime, "two", "e-1", {"who": "ann"})
        record = await runtime.store.execution(birth.append.ref)
        assert record is not None
        stored = await runtime.store.events(record.key, 0, 100, 1_000_000)
        events = birth.append.events
        assert [event.context for event in (events[0], stored[0])] == [b'{"by":"g"}', b'{"by":"s"}']
        assert [uncaused(event) for event in bare(stored)] == [uncaused(event) for event in events]
        assert msgspec.structs.replace(record.head, hash=b"") == msgspec.structs.replace(birth.append.head, hash=b"")


async def test_an_adopted_execution_goes_on_without_being_read() -> None:
    store = ReadingStore()
    async with engine(store=store) as runtime:
        await runtime.publish(TWO_STEPS)
        birth = await prepared(runtime, "two", "e-1", {"who": "ann"})
        births_of(runtime).adopt(birth, await committed(runtime, birth))
        assert runtime.supervisor.live == 1
        submitted = await runtime.submit(ME, "e-1", "more")
        assert submitted.view.labels == {"by": "ann"}
        assert store.reads["events"] == 0
        replayed, _ = await replay(store, birth.append.ref, submitted.view.key)
        assert replayed == birth.state  # which the actor owns now


async def test_one_that_is_not_adopted_is_there_all_the_same() -> None:
    async with engine() as runtime:
        await runtime.publish(TWO_STEPS)
        await committed(runtime, await prepared(runtime, "two", "e-1", {"who": "ann"}))
        assert runtime.supervisor.live == 0
        assert (await runtime.submit(ME, "e-1", "more")).view.labels == {"by": "ann"}


async def test_adopting_leaves_alone_what_is_awake_already() -> None:
    async with engine() as runtime:
        await runtime.publish(TWO_STEPS)
        birth = await prepared(runtime, "two", "e-1", {"who": "ann"})
        outcome = await committed(runtime, birth)
        before = await runtime.submit(ME, "e-1", "more")
        births_of(runtime).adopt(birth, outcome)
        assert (await runtime.get(ME, "e-1")).sequence == before.view.sequence > birth.state.sequence


async def test_a_decision_that_was_cut_goes_on_by_itself() -> None:
    settings = Settings(decisions=Limits(turn_events_max=20))
    async with engine(settings=settings) as runtime:
        await runtime.publish(LONG)
        birth = await prepared(runtime, "long", "e-1", list(range(60)))
        assert birth.left
        births_of(runtime).adopt(birth, await committed(runtime, birth))
        await until(lambda: runtime.supervisor.live == 0)
        ended = await runtime.get(ME, "e-1")
        assert (ended.status, ended.output) == ("COMPLETED", 59)


async def test_what_the_decision_refuses_is_refused() -> None:
    async with engine() as runtime:
        await runtime.publish(TWO_STEPS)
        with pytest.raises(Refused) as refused:
            await prepared(runtime, "two", "e-1", {})
        assert refused.value.refusal.reason == "INVALID_REQUEST"
        assert "label" in refused.value.refusal.message


async def test_origin_and_claimed_lines_are_in_its_first_event() -> None:
    async with engine() as runtime:
        await runtime.publish(TWO_STEPS)
        claims = (LineClaim("key:a"), LineClaim("trigger:t", behind=True))
        origin = Origin("t", slot=7)
        birth = await prepared(runtime, "two", "e-1", {"who": "ann"}, claims=claims, origin=origin)
        assert birth.append.claims == claims
        first = msgspec.json.decode(birth.append.events[0].payload)
        assert first["lines"] == ["key:a", "trigger:t"]
        assert first["origin"] == {"trigger_id": "t", "slot": 7}
