"""Starts that are decided while the definition changes, with the commits held back: the order on the disk decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import ME, engine, until
from tests.scenarios.lifecycle import DEFINITION, text

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle_rows import LifecycleChange
from callboard.runtime.requests import StartRequest
from callboard.runtime.rows import ExecutionAppend
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Committed, Outcome, Write


class HeldStore(SqliteStore):
    """Holds every commit while the gate is shut, and remembers in which order they came to the disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = 0
        """Writes of the batch at the gate."""
        self.committed: list[Write] = []

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        self.held = len(batch)
        await self.gate.wait()
        self.held = 0
        outcomes = await super().write(batch)
        pairs = zip(batch, outcomes, strict=True)
        self.committed += [write for write, outcome in pairs if isinstance(outcome, Committed)]
        return outcomes

    def facts(self) -> list[int]:
        """In the order of commit: n for a start of version n, -n for a change after which version n is published."""
        facts: list[int] = []
        for write in self.committed:
            if isinstance(write, LifecycleChange):
                facts += [-change.published for change in write.changes]
            elif isinstance(write, ExecutionAppend) and write.expected == 0:
                facts.append(write.head.version)
        return facts


@pytest.fixture
async def store(tmp_path: Path) -> HeldStore:
    return HeldStore(tmp_path / "data.db")


@pytest.fixture
async def runtime(store: HeldStore) -> AsyncIterator[Runtime]:
    """Version 1 is published, and the caches know it."""
    async with engine(store=store) as runtime:
        await runtime.publish(text(1))
        await runtime.start(ME, StartRequest(DEFINITION, execution_id="warm"))
        yield runtime


async def start(runtime: Runtime, execution_id: str = "x") -> int | str:
    """The version that it runs, else why it does not."""
    try:
        return (await runtime.start(ME, StartRequest(DEFINITION, execution_id=execution_id))).view.version
    except Refused as refused:
        return refused.refusal.reason


async def behind_the_gate(runtime: Runtime, store: HeldStore, *steps: Any) -> list[asyncio.Task[Any]]:
    """Begin one after the other, each only when the one before waits for its commit; then let them go."""
    store.gate.clear()
    tasks: list[asyncio.Task[Any]] = []
    for step in steps:
        tasks.append(asyncio.create_task(step))
        await until(lambda: store.held + runtime.journal.waiting == len(tasks))
    store.gate.set()
    await asyncio.gather(*tasks)
    return tasks


async def test_a_start_behind_a_retract_is_refused(runtime: Runtime, store: HeldStore) -> None:
    _, begun = await behind_the_gate(runtime, store, runtime.retract(DEFINITION), start(runtime))
    assert begun.result() == "DEFINITION_RETRACTED"
    assert store.facts() == [-1, 1, 0]


async def test_a_start_before_a_retract_counts(runtime: Runtime, store: HeldStore) -> None:
    begun, _ = await behind_the_gate(runtime, store, start(runtime), runtime.retract(DEFINITION))
    assert begun.result() == 1
    assert store.facts() == [-1, 1, 1, 0]


async def test_within_one_flush_the_order_of_arrival_decides(runtime: Runtime, store: HeldStore) -> None:
    other = runtime.publish(text(7).replace(DEFINITION, "other"))
    steps = (other, start(runtime, "before"), runtime.retract(DEFINITION), start(runtime, "behind"))
    _, before, _, behind = await behind_the_gate(runtime, store, *steps)
    assert (before.result(), behind.result()) == (1, "DEFINITION_RETRACTED")
    assert store.facts() == [-1, 1, -1, 1, 0]


async def test_a_start_behind_a_publish_runs_the_new_version(runtime: Runtime, store: HeldStore) -> None:
    _, begun = await behind_the_gate(runtime, store, runtime.publish(text(2)), start(runtime))
    assert begun.result() == 2
    assert store.facts() == [-1, 1, -2, 2]


async def test_of_two_publishes_at_one_time_one_wins(runtime: Runtime, store: HeldStore) -> None:
    async def publish(number: int) -> int | str:
        try:
            return (await runtime.publish(text(number))).version
        except Refused as refused:
            return refused.refusal.reason

    first, second = await behind_the_gate(runtime, store, publish(2), publish(3))
    assert (first.result(), second.result()) == (2, "LOST_RACE")
    assert store.facts() == [-1, 1, -2]


async def test_under_load_only_published_versions_start(runtime: Runtime, store: HeldStore) -> None:
    """Clients keep starting while the definition is published, retracted and reverted; the disk's order is checked."""
    changing = True
    answers: set[int | str] = set()

    async def client(name: int) -> None:
        number = 0
        while changing:
            number += 1
            answers.add(await start(runtime, f"x-{name}-{number}"))

    clients = [asyncio.create_task(client(name)) for name in range(8)]
    for number in range(2, 8):
        await runtime.retract(DEFINITION)
        await asyncio.sleep(0.01)
        await runtime.publish(text(number))
        await asyncio.sleep(0.01)
        await runtime.revert(DEFINITION, 1)
        await asyncio.sleep(0.01)
    changing = False
    await asyncio.gather(*clients)
    published = 0
    for fact in store.facts():
        if fact <= 0:
            published = -fact
        else:
            assert fact == published
    assert "DEFINITION_RETRACTED" in answers
    assert len(answers) > 4
    assert not {answer for answer in answers if isinstance(answer, str)} - {"DEFINITION_RETRACTED"}
