"""What tests of published events share: a runtime whose store counts what is read, and can be made to interfere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.engine import Runtime
from callboard.runtime.filters import EVERYTHING, Among
from callboard.runtime.listing_rows import ListQuery
from callboard.runtime.ports import StorageFullError, Store
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionRecord
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.trigger_rows import EventAcceptance, TriggerRow
from callboard.runtime.writes import Outcome, Write

READS = frozenset(name for name in vars(Store) if not name.startswith("_")) - {"open", "close", "write", "probe"}
LISTENING = """
id: {id}
triggers:
  - id: placed
    event: {{name: order.placed}}
    input: {{order: "${{event.id}}"}}
steps:
  - {{id: wait, receive: {{event: done}}}}
output: {version}
"""
KEYED = """
id: keyed
steps:
  - {id: paid, receive: {event: payment, key: "input.order", filter: "event.cents > 0"}}
output: "${steps.paid.result.payload.cents}"
"""
EMITTING = """
id: emitting
steps:
  - {id: say, emit: {name: order.placed, key: "input.id", payload: {id: "${input.id}"}}}
  - {id: wait, receive: {event: done}}
"""


def listening(version: int = 1, definition_id: str = "listening") -> str:
    return LISTENING.format(id=definition_id, version=version)


class _Watched:
    """Counts reads and commits. `on_listeners` is awaited after the next read of what listens, before that is answered,
    and says whether it wants the one after it, too; `before_write` before every write."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads: Counter[str] = Counter()
        self.commits = 0
        self.before_write: Callable[[Sequence[Write]], Awaitable[object]] | None = None
        self.on_listeners: Callable[[], Awaitable[bool]] | None = None

    def __getattribute__(self, name: str) -> Any:
        if name in READS:
            object.__getattribute__(self, "reads")[name] += 1
        return super().__getattribute__(name)

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        found: tuple[int, list[TriggerRow]] = await super().listeners(tenant, event_name)  # type: ignore[misc]
        hook, self.on_listeners = self.on_listeners, None
        if hook is not None and await hook():
            self.on_listeners = hook
        return found

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        if self.before_write is not None:
            await self.before_write(batch)
        self.commits += 1
        outcomes: list[Outcome] = await super().write(batch)  # type: ignore[misc]
        return outcomes


async def no_room_for_emitted(batch: Sequence[Write]) -> None:
    """Before a write: the disk is full for deliveries from the outbox."""
    if any(isinstance(write, EventAcceptance) and write.outbox for write in batch):
        raise StorageFullError("there is no room for what was emitted")


class WatchedMemory(_Watched, MemoryStore):
    """In memory; can be opened again after it was closed, as after a restart."""


class WatchedSqlite(_Watched, SqliteStore):
    """On disk."""


WatchedStore = WatchedMemory | WatchedSqlite


def watched(path: str | Path = ":memory:") -> WatchedStore:
    return WatchedMemory() if path == ":memory:" else WatchedSqlite(path)


class World:
    """A runtime over a watched store."""

    def __init__(self, runtime: Runtime, store: WatchedStore) -> None:
        self.runtime = runtime
        self.store = store
        self.bus = runtime.events
        self.publish = runtime.events.publish

    async def definitions(self, *texts: str) -> None:
        for text in texts:
            await self.runtime.publish(text)

    async def executions(self, definition_id: str = "") -> list[ExecutionRecord]:
        """Oldest first; of one definition, where its id is not empty."""
        where = Among("definition_id", (definition_id,)) if definition_id else EVERYTHING
        query = ListQuery("default", where, descending=False, limit=1_000)
        return (await self.runtime.store.listed(query)).records

    async def started_event(self, execution_id: str) -> dict[str, Any]:
        first = (await self.runtime.history(ME, execution_id))[0].stored
        return {**msgspec.json.decode(first.payload), "context": msgspec.json.decode(first.context or b"{}")}

    async def settled(self, condition: Callable[[list[ExecutionRecord]], bool], rounds: int = 2_000) -> None:
        """Let everything run until the executions are so; fails after so many rounds."""
        for _ in range(rounds):
            if condition(await self.executions()):
                return
            await asyncio.sleep(0.001)
        raise AssertionError([(record.ref.execution_id, record.head.status) for record in await self.executions()])


@asynccontextmanager
async def world(store: WatchedStore | None = None, **more: Any) -> AsyncIterator[World]:
    watching = store if store is not None else watched()
    async with engine(store=watching, **more) as runtime:
        yield World(runtime, watching)


def who(request_id: str = "", content: object = None, tenant: str = "default") -> Caller:
    """A caller with a user, a trace and, where it is given, a request of this content."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return Caller(tenant, "ann", trace, request_id, repr(content).encode() if request_id else b"")
