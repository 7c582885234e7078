"""What long histories cost: `python -m benchmarks.histories [case ...]`. Ends with exit code 1 where a bound is missed.

The histories are written straight into a store, event by event as the engine would have, and then read by an engine
in this process.

- `replay`: events a second, from zero and from SQLite, of an execution that works off lists of tasks, some of which
  are tried twice.
- `million`: an execution with 1,000,000 events, of tasks that are tried again and again: the time from the first
  question about it until the answer (a wake through its snapshot), and the time to verify it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from callboard.runtime.batch import head_of
from callboard.runtime.core import events as ev
from callboard.runtime.core.decide import Accepted
from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.state import State
from callboard.runtime.engine import Runtime
from callboard.runtime.replay import replay, seal, take_snapshot
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionAppend, ExecutionRef
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Committed

REPLAYED_EVENTS: Final = 100_000
MILLION: Final = 1_000_000
EVENTS_PER_SECOND_MIN: Final = 100_000
WAKE_MS_MAX: Final = 50.0
VERIFY_SECONDS_MAX: Final = 30.0
REPEATS: Final = 5
ITEMS: Final = 100
TAIL_EVENTS: Final = 150
"""Events after the snapshot: one is taken when 200 have come since the last."""
_APPEND_EVENTS: Final = 2_000
_START: Final = 1_750_000_000_000_000
_REF: Final = ExecutionRef("default", "long")
_FAILURE: Final = Failure("GatewayBusy", "the gateway did not answer in time")
DEFINITION: Final = """
id: long
steps:
  - id: each
    foreach:
      items: input
      as: line
      steps:
        - id: charge
          task: {service: pay, operation: charge, input: "${line}"}
          retry: {max_attempts: 0, initial_backoff: 1h}
"""


class Figure(NamedTuple):
    """A measured number, and its bound."""

    name: str
    value: float
    unit: str
    bound: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def lists() -> Iterator[ev.Event]:
    """Lists of tasks, one after the other; every fifth task is tried twice."""
    yield ev.ExecutionStarted(definition_id="long", version=1, input={"order_id": "o-1", "lines": _lines()})
    for number in itertools.count():
        path = f"each{number}"
        yield ev.StepScheduled(path=path, step="each", kind="foreach", items=_lines())
        for item, line in enumerate(_lines()):
            yield from _task(f"{path}[{item}]/charge", line, retried=item % 5 == 0)
        yield ev.StepCompleted(path=path, result={"charged": ITEMS})


def _task(path: str, line: dict[str, object], *, retried: bool) -> Iterator[ev.Event]:
    yield _scheduled(path, line)
    if retried:
        yield ev.StepRetryScheduled(path=path, attempt=1, failure=_FAILURE, due=_START)
        yield ev.TimerFired(path=path, timer="retry")
    yield ev.StepCompleted(path=path, result={"charge_id": f"ch-{path}", "ok": True}, closes=True)


def retries() -> Iterator[ev.Event]:
    """Tasks that fail and are tried again for ever."""
    yield ev.ExecutionStarted(definition_id="long", version=1, input=_lines())
    yield ev.StepScheduled(path="each", step="each", kind="foreach", items=_lines())
    paths = [f"each[{item}]/charge" for item in range(ITEMS)]
    yield from (_scheduled(path, line) for path, line in zip(paths, _lines(), strict=True))
    for attempt in itertools.count(1):
        for path in paths:
            yield ev.StepRetryScheduled(path=path, attempt=attempt, failure=_FAILURE, due=_START)
            yield ev.TimerFired(path=path, timer="retry")


def _scheduled(path: str, line: dict[str, object]) -> ev.Event:
    return ev.StepScheduled(
        path=path, step="charge", kind="task", operation="pay.charge", input=line, attempt_timeout=30_000_000
    )


def _lines() -> list[dict[str, object]]:
    return [{"sku": f"sku-{number}", "qty": number % 7 + 1, "cents": 990} for number in range(ITEMS)]


async def write(path: Path, events: Iterator[ev.Event], count: int) -> int:
    """Store an execution of so many events, with a snapshot shortly before its end; its key."""
    store = SqliteStore(path)
    await store.open()
    state, key, written = State(execution_id=_REF.execution_id), 0, 0
    try:
        while written < count:
            tail = count - TAIL_EVENTS
            size = min(_APPEND_EVENTS, (tail if written < tail else count) - written)
            before, at = state.sequence, _START + written
            batch = list(itertools.islice(events, size))
            for event in batch:
                evolve(state, event, at)
            rows = seal(state, Accepted(batch, {}, [], {} if before else {0: "running"}, {}), at, b"{}", _REF.tenant)
            written += size
            snapshot = take_snapshot(state) if written == tail else None
            append = ExecutionAppend(_REF, key, before, tuple(rows), head_of(state), snapshot=snapshot)
            (outcome,) = await store.write([append])
            if not isinstance(outcome, Committed):
                raise RuntimeError(f"the store refused the history: {outcome}")
            key = outcome.key
    finally:
        await store.close()
    return key


async def replayed(folder: Path) -> list[Figure]:
    """From zero, the best of a few: what else the machine does only makes it slower."""
    path = folder / "replay.db"
    key = await write(path, lists(), REPLAYED_EVENTS)
    store = SqliteStore(path)
    await store.open()
    try:
        took = [await _timed(lambda: replay(store, _REF, key, use_snapshots=False)) for _ in range(REPEATS)]
    finally:
        await store.close()
    return [Figure("replay from zero", REPLAYED_EVENTS / min(took), "events/s", EVENTS_PER_SECOND_MIN, at_least=True)]


async def million(folder: Path) -> list[Figure]:
    """Wake and verify."""
    path = folder / "million.db"
    async with Runtime.open(path) as runtime:
        await runtime.publish(DEFINITION)
    await write(path, retries(), MILLION)
    wakes: list[float] = []
    for _ in range(REPEATS):
        async with Runtime.open(path) as runtime:
            wakes.append(await _timed(lambda: runtime.get(Caller(), _REF.execution_id)))
    async with Runtime.open(path) as runtime:
        began = time.perf_counter()
        verification = await runtime.histories.verify(Caller(), _REF.execution_id)
        verified = time.perf_counter() - began
    if verification.problems or verification.events_checked != MILLION:
        raise RuntimeError(f"the history is not sound: {verification}")
    return [
        Figure("wake with 1,000,000 events", min(wakes) * 1e3, "ms", WAKE_MS_MAX),
        Figure("verify 1,000,000 events", verified, "s", VERIFY_SECONDS_MAX),
    ]


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


CASES: Final[dict[str, Callable[[Path], Awaitable[list[Figure]]]]] = {"replay": replayed, "million": million}


async def run(names: list[str]) -> bool:
    """Run the cases, print their figures, and say whether all bounds are kept."""
    kept = True
    for name in names:
        with tempfile.TemporaryDirectory(prefix="callboard-histories-") as folder:
            for figure in await CASES[name](Path(folder)):
                bound = f"{'at least' if figure.at_least else 'at most'} {figure.bound:,.0f}"
                mark = "" if figure.kept else "  MISSED"
                print(f"{figure.name:<28}{figure.value:>12,.1f} {figure.unit:<9} ({bound}){mark}")
                kept = kept and figure.kept
    return kept


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories", description="What long histories cost.")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], default=[], help="all where none is given")
    names = parser.parse_args().cases or list(CASES)
    return 0 if asyncio.run(run(names)) else 1


if __name__ == "__main__":
    sys.exit(main())
