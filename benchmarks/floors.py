"""What the floors below gRPC can do: `python -m benchmarks.floors`.

It prints appends a second of the store alone and of the journal before it, and the rates of W1 and W2 in the whole
engine without gRPC (`Runtime` with its own worker, one process): what lies between two lines is what is between them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from callboard.runtime.clock import SystemClock
from callboard.runtime.core.effects import OpenTask
from callboard.runtime.engine import Runtime
from callboard.runtime.journal import Journal
from callboard.runtime.local_worker import LocalWorker
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionAppend, ExecutionRef, Head, StoredEvent
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Committed

from .closed_loop import run_window
from .definitions import RESULT_TEXT, SOURCES
from .handlers import operations
from .profiles import top_functions
from .stores import TENANT
from .workloads import WORKLOADS


class _Writers:
    """Appends as W1 makes them for one step: a completion, the next step's schedule, one row of the task queue."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._sequences: dict[int, int] = {}
        self._keys: dict[int, int] = {}

    def append(self, execution: int) -> ExecutionAppend:
        """The next one of this execution."""
        sequence = self._sequences.get(execution, 0)
        now = time.time_ns() // 1_000
        completed = StoredEvent(sequence + 1, "StepCompleted", b'{"path":"s1","result":%s}' % _RESULT, now, bytes(32))
        scheduled = StoredEvent(sequence + 2, "StepScheduled", _SCHEDULED, now, bytes(32))
        self._sequences[execution] = sequence + 2
        return ExecutionAppend(
            ref=ExecutionRef(TENANT, f"append-{execution}"),
            key=self._keys.get(execution, 0),
            expected=sequence,
            events=(completed, scheduled),
            head=Head("RUNNING", "running", "bench-linear10", 1, b"{}", sequence + 2, bytes(32), _STARTED, now),
            effects=(OpenTask("s2", "bench.noop", 1, sequence + 2),),
        )

    def committed(self, execution: int, outcome: object) -> None:
        """Remember its key; raises RuntimeError for an append that was refused."""
        if not isinstance(outcome, Committed):
            raise RuntimeError(f"refused: {outcome}")
        self._keys[execution] = outcome.key


_STARTED = time.time_ns() // 1_000
_RESULT = RESULT_TEXT.encode()
_SCHEDULED = b'{"path":"s2","step":"s2","kind":"task","operation":"bench.noop","input":{"n":2}}'


async def store_rate(path: Path, batch: int, seconds: float) -> float:
    """Appends a second of the store alone, so many in a commit."""
    store, writers = SqliteStore(path), _Writers()
    await store.open()
    try:
        done, deadline = 0, time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            outcomes = await store.write([writers.append(execution) for execution in range(batch)])
            for execution, outcome in enumerate(outcomes):
                writers.committed(execution, outcome)
            done += batch
    finally:
        await store.close()
    return done / seconds


async def journal_rate(path: Path, outstanding: int, seconds: float) -> float:
    """Appends a second through the journal, so many waiting at a time."""
    store, writers, numbers = SqliteStore(path), _Writers(), iter(range(outstanding))
    await store.open()
    journal = Journal(store, SystemClock())
    mine: dict[object, int] = {}

    async def once() -> None:
        task = asyncio.current_task()
        execution = mine[task] if task in mine else mine.setdefault(task, next(numbers))
        writers.committed(execution, await journal.write(writers.append(execution)))

    try:
        window = await run_window(once, outstanding, seconds)
    finally:
        await journal.close()
        await store.close()
    if window.failed:
        raise RuntimeError(window.failure)
    return window.rate


async def engine_rate(path: Path, outstanding: int, seconds: float, workload: str) -> float:
    """Executions a second in the embedded engine, so many started and waited for at a time."""
    definition, ids = WORKLOADS[workload].definition, itertools.count()
    async with Runtime.open(path) as runtime:
        await runtime.publish(SOURCES[definition])
        local = asyncio.create_task(LocalWorker(operations, runtime.dispatcher, runtime.alarms).run())

        async def once() -> None:
            caller = Caller(TENANT, request_id=f"floor-{next(ids)}")
            started = await runtime.start(caller, StartRequest(definition, input={"order": "o-1", "note": "x" * 80}))
            ref = ExecutionRef(TENANT, started.view.ref.execution_id)
            ended = await runtime.wait_ended(ref, _WAIT_US)
            if ended is None or ended.status != "COMPLETED":
                raise RuntimeError(f"{ref.execution_id} did not complete")

        window = await run_window(once, outstanding, seconds)
        local.cancel()
        await asyncio.wait([local])
    if window.failed:
        raise RuntimeError(window.failure)
    return window.rate


_WAIT_US = 50_000_000


async def _print_floors(seconds: float) -> None:
    rates: list[tuple[str, Callable[[Path, int, float], Awaitable[float]], tuple[int, ...]]] = [
        ("store, appends in a commit", store_rate, (1, 16, 64, 256)),
        ("journal, appends waiting", journal_rate, (1, 16, 64, 256)),
    ]
    with tempfile.TemporaryDirectory(prefix="callboard-benchmark-") as folder:
        for name, rate, sizes in rates:
            for size in sizes:
                path = Path(folder) / f"{rate.__name__}-{size}.db"
                print(f"{name + ':':30}{size:4}  {await rate(path, size, seconds):10,.0f} appends/s", flush=True)


async def _print_engine(seconds: float, workload: str, sizes: Sequence[int]) -> None:
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="callboard-benchmark-") as folder:
            rate = await engine_rate(Path(folder) / "engine.db", size, seconds, workload)
        steps = rate * WORKLOADS[workload].steps
        print(f"{'engine, ' + workload + ' outstanding:':30}{size:4}  {steps:10,.0f} steps/s", flush=True)


def _profiled(seconds: float, workload: str, sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="callboard-profile-") as folder:
        profile = Path(folder) / "engine.profile"
        with cProfile.Profile() as profiler, contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_print_engine(seconds, workload, sizes))
        profiler.dump_stats(str(profile))
        print(top_functions(profile), file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The rates of the floors below gRPC.")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--engine", choices=("w1", "w2", "w3"), help="only the engine, with this workload")
    parser.add_argument("--profile", action="store_true", help="with --engine: under cProfile")
    parser.add_argument("--outstanding", type=int, nargs="+", default=[1, 64], metavar="N", help="of the engine")
    options = parser.parse_args()
    if options.profile:
        _profiled(options.seconds, options.engine or "w1", options.outstanding)
    elif options.engine:
        asyncio.run(_print_engine(options.seconds, options.engine, options.outstanding))
    else:
        asyncio.run(_print_floors(options.seconds))
        for name in ("w1", "w2"):
            asyncio.run(_print_engine(options.seconds, name, options.outstanding))
