"""Work on the store of a server that is stopped: W6 replays one execution of it, W7 multiplies one."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from callboard.runtime.core.effects import Effect, OpenWait
from callboard.runtime.core.history import event_hash
from callboard.runtime.ports import Store
from callboard.runtime.replay import replay
from callboard.runtime.rows import ExecutionAppend, ExecutionRecord, ExecutionRef, Head, StoredEvent
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Committed

TENANT = "default"
_REPEATS = 5
_BATCH = 1_000
_HISTORY_PAGE = 1_000
_PAGE_BYTES = 1 << 22


class Rebuilt(NamedTuple):
    """How long a replay takes."""

    events: int
    events_ms: float
    """From the first event."""
    snapshot_ms: float
    """From the newest snapshot the engine had left."""
    tail_events: int
    """Events after that snapshot."""


async def rebuild(path: Path, execution_id: str) -> Rebuilt:
    """Replay an execution as the engine does, from its events alone and from its newest snapshot."""
    store = SqliteStore(path)
    await store.open()
    try:
        record = await _record(store, execution_id)
        events, events_ms = await _timed_replay(store, record, use_snapshots=False)
        tail, snapshot_ms = await _timed_replay(store, record, use_snapshots=True)
    finally:
        await store.close()
    return Rebuilt(events, events_ms, snapshot_ms, tail)


async def _timed_replay(store: Store, record: ExecutionRecord, *, use_snapshots: bool) -> tuple[int, float]:
    times: list[float] = []
    applied = 0
    for _ in range(_REPEATS):
        began = time.perf_counter()
        _, applied = await replay(store, record.ref, record.key, use_snapshots=use_snapshots)
        times.append(time.perf_counter() - began)
    return applied, statistics.median(times) * 1e3


async def _record(store: Store, execution_id: str) -> ExecutionRecord:
    record = await store.execution(ExecutionRef(TENANT, execution_id))
    if record is None:
        raise LookupError(f"{execution_id} is not in the store")
    return record


async def multiply(path: Path, prefix: str, count: int) -> float:
    """Write copies of the execution `<prefix>0` until there are `count`, each with a hash chain of its own; seconds."""
    return await _multiply(path, prefix, count, lambda _: ((), ()))


async def multiply_waiting(path: Path, prefix: str, keys: str, count: int) -> float:
    """The same for an execution that waits at `paid` with the key `<keys>0`: each copy waits with a key of its own."""

    def waits(number: int) -> tuple[tuple[bytes, bytes], tuple[Effect, ...]]:
        spelled = (b'"%s0"' % keys.encode(), b'"%s%d"' % (keys.encode(), number))
        return spelled, (OpenWait("paid", ("paid",), f"{keys}{number}"),)

    return await _multiply(path, prefix, count, waits)


Vary = Callable[[int], tuple[tuple[bytes, bytes] | tuple[()], tuple[Effect, ...]]]
"""For a copy's number: what stands in its events in place of something else, and what its rows are."""


async def _multiply(path: Path, prefix: str, count: int, vary: Vary) -> float:
    store = SqliteStore(path)
    await store.open()
    began = time.perf_counter()
    try:
        record = await _record(store, f"{prefix}0")
        events = await store.events(record.key, 0, _HISTORY_PAGE, _PAGE_BYTES)
        copies = (_copy(record.head, events, f"{prefix}{number}", *vary(number)) for number in range(1, count))
        while batch := list(itertools.islice(copies, _BATCH)):
            outcomes = await store.write(batch)
            if not all(isinstance(outcome, Committed) for outcome in outcomes):
                raise RuntimeError("the store refused a copy")
    finally:
        await store.close()
    return time.perf_counter() - began


def _copy(
    head: Head,
    events: list[StoredEvent],
    execution_id: str,
    replace: tuple[bytes, bytes] | tuple[()],
    effects: tuple[Effect, ...],
) -> ExecutionAppend:
    copied: list[StoredEvent] = []
    previous = b""
    for event in events:
        payload = event.payload.replace(*replace) if replace else event.payload
        previous = event_hash(
            previous,
            TENANT,
            execution_id,
            event.sequence,
            event.name,
            payload,
            event.created_at,
            event.to_state,
            event.event_id,
            event.context,
        )
        copied.append(msgspec.structs.replace(event, payload=payload, hash=previous))
    return ExecutionAppend(
        ref=ExecutionRef(TENANT, execution_id),
        key=0,
        expected=0,
        events=tuple(copied),
        head=msgspec.structs.replace(head, hash=previous),
        effects=effects,
    )
