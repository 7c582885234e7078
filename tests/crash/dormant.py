"""A database with very many dormant executions, made in seconds: one is really run, the others are copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from callboard.runtime import Caller, Runtime, StartRequest
from callboard.runtime.core.effects import SetTimer
from callboard.runtime.core.history import GENESIS, event_hash
from callboard.runtime.rows import ExecutionAppend, ExecutionRef, Head, StoredEvent
from callboard.runtime.stores.sqlite import SqliteStore

QUIET = """
id: quiet
steps:
  - {id: got, receive: {event: go}}
output: "${steps.got.result.payload}"
"""
TIMED = """
id: timed
steps:
  - {id: got, receive: {event: go, timeout: 8760h}}
output: "${steps.got.result.payload}"
"""
_TIMED_SHARE = 5
"""One in so many has a timer."""
_BATCH = 500


class _Template(NamedTuple):
    events: list[StoredEvent]
    head: Head
    effects: tuple[SetTimer, ...]

    def copy(self, name: str) -> ExecutionAppend:
        """The same execution under another id."""
        ref, previous, events = ExecutionRef("default", name), GENESIS, list[StoredEvent]()
        for event in self.events:
            previous = event_hash(
                previous,
                *ref,
                event.sequence,
                event.name,
                event.payload,
                event.created_at,
                event.to_state,
                event.event_id,
                event.context,
            )
            events.append(msgspec.structs.replace(event, hash=previous, position=0))
        head = msgspec.structs.replace(self.head, hash=previous)
        return ExecutionAppend(ref, 0, 0, tuple(events), head, self.effects)


async def fill(database: Path, count: int) -> None:
    """Executions `quiet-N` and `timed-N`, `count` in all, each waiting for the event `go`."""
    templates = await _templates(database)
    store = SqliteStore(database)
    await store.open()
    try:
        for numbers in _batches(count):
            await store.write([templates[kind].copy(f"{kind}-{number}") for kind, number in numbers])
    finally:
        await store.close()


def _batches(count: int) -> Iterator[list[tuple[str, int]]]:
    named = [("quiet" if number % _TIMED_SHARE else "timed", number) for number in range(count)]
    for first in range(0, count, _BATCH):
        yield named[first : first + _BATCH]


async def _templates(database: Path) -> dict[str, _Template]:
    async with Runtime.open(database) as runtime:
        await runtime.publish(QUIET)
        await runtime.publish(TIMED)
        found: dict[str, _Template] = {}
        for kind in ("quiet", "timed"):
            await runtime.start(Caller(), StartRequest(kind, execution_id=f"{kind}-template"))
            record = await runtime.store.execution(ExecutionRef("default", f"{kind}-template"))
            assert record is not None
            events = await runtime.store.events(record.key, 0, 100, 1 << 20)
            timers = await runtime.store.timers(2**63 - 1, 10) if kind == "timed" else []
            effects = tuple(SetTimer(timer.path, timer.timer, timer.due) for timer in timers)
            found[kind] = _Template(events, record.head, effects)
    return found
