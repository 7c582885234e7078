"""Every way to start an execution, while everything is done to its definition: the order on the disk is checked."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import ME

from callboard.runtime.core.commands import Terminate
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.lifecycle.deleting import Delete, OnDelete
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle_rows import LifecycleChange
from callboard.runtime.requests import StartRequest, UniquePolicy
from callboard.runtime.rows import ExecutionAppend, ExecutionRef
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.trigger_rows import EventAcceptance, TriggerFiring
from callboard.runtime.writes import Committed, Outcome, Write

TENANT = "default"
WAYS = ("start", "keyed", "replacing", "old_version", "event", "fire_event", "fire_schedule")


def text(number: int) -> str:
    return f"""
id: flow
description: number {number}
triggers:
  - {{id: placed, event: {{name: order.placed}}, unique_key: "${{event.key}}"}}
  - {{id: nightly, schedule: {{cron: "30 4 * * *", overlap: CANCEL_RUNNING}}}}
steps: [{{id: got, receive: {{event: go}}}}]
"""


def given(number: int) -> Given:
    return Given(source=SourceText("flow.yaml", text(number)))


class Ledger(SqliteStore):
    """Holds each batch against what may be: nothing starts from what is not published there, and no content goes that
    something open needs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.published = 0
        self.paused: set[str] = set()
        self.gone: set[int] = set()
        self.alive: dict[ExecutionRef, int] = {}
        self.started: Counter[str] = Counter()
        self.purged: set[int] = set()
        self.wrong: list[str] = []

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        outcomes = await super().write(batch)
        for write, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self._enter(write, outcome)
        return outcomes

    def _enter(self, write: Write, outcome: Committed) -> None:
        match write:
            case LifecycleChange():
                self._changed(write)
            case ExecutionAppend():
                self._appended(write, "start")
            case EventAcceptance():
                for each, made in zip(write.starts, outcome.starts, strict=True):
                    if isinstance(made, Committed):
                        self._appended(each.append, "event")
            case TriggerFiring() if write.start is not None and isinstance(outcome.starts[0], Committed):
                self._appended(write.start, "firing")
            case _:
                pass

    def _changed(self, write: LifecycleChange) -> None:
        for change in write.changes:
            if change.definition_id == "flow":
                self.published, self.gone, self.paused = change.published, set(change.gone), set(change.paused)
                self.purged |= set(change.purged)
                needed = set(self.alive.values()) & set(change.purged)
                self.wrong += [f"the content of version {version} went" for version in needed]

    def _appended(self, append: ExecutionAppend, how: str) -> None:
        version = append.head.version
        if append.expected == 0:
            self.started[how] += 1
            old = how == "start" and append.ref.execution_id.startswith("old_version")
            if how == "event" and "placed" in self.paused:
                self.wrong.append(f"{append.ref.execution_id} by a trigger that is paused")
            if not self.published or version in self.gone or (version != self.published and not old):
                self.wrong.append(f"{append.ref.execution_id} of version {version} while {self.published} is published")
        if append.head.ended_at:
            self.alive.pop(append.ref, None)
        else:
            self.alive[append.ref] = version


async def begin(runtime: Runtime, way: str, number: int) -> None:
    """Start an execution in one of the ways there are; whether it may be is for the disk to say."""
    name, key = f"{way}-{number}", f"k-{number % 3}"
    ways: dict[str, Callable[[], Awaitable[Any]]] = {
        "start": lambda: runtime.start(ME, StartRequest("flow", execution_id=name)),
        "keyed": lambda: runtime.start(ME, StartRequest("flow", execution_id=name, unique_key=key)),
        "replacing": lambda: runtime.start(
            ME,
            StartRequest("flow", execution_id=name, unique_key=key, unique_policy=UniquePolicy.CANCEL_EXISTING),
        ),
        "old_version": lambda: runtime.start(ME, StartRequest("flow", execution_id=name, version=1 + number % 4)),
        "event": lambda: runtime.events.publish(
            ME, "order.placed", payload={"key": f"e-{number // 20}"}, event_id=name
        ),
        "fire_event": lambda: runtime.triggers.fire(ME, "flow", "placed", {"key": f"f-{number}"}),
        "fire_schedule": lambda: runtime.triggers.fire(ME, "flow", "nightly", slot=number * 1_000_000),
    }
    try:
        await ways[way]()
    except Refused as refused:
        assert refused.refusal.reason != "INTERNAL", refused.refusal


async def change(runtime: Runtime, number: int) -> None:
    """Whatever can be done to a definition, one after the other."""
    origin, kept = runtime.origin(ME), OnDelete.KEEP
    changes: list[Callable[[], Awaitable[Any]]] = [
        lambda: runtime.publish(text(number)),
        lambda: runtime.retract("flow"),
        lambda: runtime.batching.publish(PublishBatch(origin, (BatchItem(given(number)),))),
        lambda: runtime.pausing.pause(PauseTrigger(origin, "flow", "placed", True)),
        lambda: runtime.publish(text(number)),
        lambda: runtime.deleting.delete(Delete(origin, "flow", 1 + number // 10, kept)),
        lambda: runtime.pausing.pause(PauseTrigger(origin, "flow", "placed", False)),
        lambda: runtime.publish(text(number)),
        lambda: runtime.deleting.delete(Delete(origin, "flow", 0, OnDelete.CANCEL if number % 2 else kept)),
        lambda: runtime.publish(text(number)),
    ]
    try:
        await changes[number % len(changes)]()
    except Refused as refused:
        assert refused.refusal.reason != "INTERNAL", refused.refusal


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Ledger]:
    yield Ledger(tmp_path / "data.db")


async def test_whatever_starts_it_and_whatever_is_done_to_it_the_disk_is_right(store: Ledger, tmp_path: Path) -> None:
    async with Runtime.open(store=store) as runtime:
        await runtime.publish(text(1_000))
        numbers = itertools.count()
        changing = True

        async def keep_starting(way: str) -> None:
            while changing:
                await begin(runtime, way, next(numbers))
                await asyncio.sleep(0)

        async def keep_ending() -> None:
            while changing:
                for ref in list(store.alive)[:20]:
                    await asyncio.gather(runtime.supervisor.ask(ref, Terminate("")), return_exceptions=True)
                await asyncio.sleep(0)

        work = [asyncio.create_task(keep_starting(way)) for way in WAYS] + [asyncio.create_task(keep_ending())]
        for number in range(120):
            await change(runtime, number)
            await asyncio.sleep(0.01)
        changing = False
        await asyncio.gather(*work)
    assert store.wrong == []
    assert set(store.started) == {"start", "event", "firing"}
    assert store.purged
    async with Runtime.open(tmp_path / "data.db") as runtime:
        for ref, version in store.alive.items():
            await runtime.supervisor.ask(ref, Terminate(""))
            assert (await runtime.supervisor.view(ref)).version == version
