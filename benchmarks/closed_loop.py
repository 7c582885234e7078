"""A closed loop: N workers of the load each do one thing after the other, for a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

TAIL_SECONDS_MAX = 30.0
"""How long what is still open at the end of a window may take before it counts as failed."""

_PAUSE_AFTER_FAILURE_SECONDS = 0.01


class Window(NamedTuple):
    """What was completed in a window of time."""

    seconds: float
    completed: int
    """Completed within the window: what a rate is made of."""
    finished: int
    """The same with the tail that was open when the window ended: what CPU seconds are divided by."""
    failed: int
    failure: str
    """The first failure, for people."""
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Completed a second."""
        return self.completed / self.seconds

    def as_json(self) -> dict[str, Any]:
        """For the line of JSON between two processes."""
        return self._asdict()


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of an ordered sequence lies; NaN of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class _Tally:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.completed = 0
        self.finished = 0
        self.failed = 0
        self.failure = ""
        self.latencies: list[float] = []

    async def loop(self, once: Callable[[], Awaitable[object]]) -> None:
        while (began := time.perf_counter()) < self.deadline:
            try:
                await once()
            except Exception as error:  # noqa: BLE001 - whatever fails is counted and shown; the others go on
                self.failed += 1
                self.failure = self.failure or f"{type(error).__name__}: {error}"
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_SECONDS)
                continue
            ended = time.perf_counter()
            self.finished += 1
            self.latencies.append(ended - began)
            if ended <= self.deadline:
                self.completed += 1


async def run_window(once: Callable[[], Awaitable[object]], outstanding: int, seconds: float) -> Window:
    """Keep `outstanding` calls of `once` going for so long; latencies include those of the tail."""
    tally = _Tally(time.perf_counter() + seconds)
    loops = [asyncio.create_task(tally.loop(once)) for _ in range(outstanding)]
    _, late = await asyncio.wait(loops, timeout=seconds + TAIL_SECONDS_MAX)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
        tally.failed += len(late)
        tally.failure = tally.failure or f"{len(late)} did not end within {TAIL_SECONDS_MAX:.0f} s of the window"
    ordered = sorted(tally.latencies)
    p50, p95, p99 = (percentile(ordered, share) * 1e3 for share in (0.5, 0.95, 0.99))
    return Window(seconds, tally.completed, tally.finished, tally.failed, tally.failure, p50, p95, p99)


async def run_count(once: Callable[[int], Awaitable[object]], count: int, outstanding: int) -> list[str]:
    """Do `once` for each number below `count`, so many at a time; what failed, for people."""
    numbers = iter(range(count))
    failures: list[str] = []

    async def loop() -> None:
        for number in numbers:
            try:
                await once(number)
            except Exception as error:  # noqa: BLE001 - whatever fails is counted and shown; the others go on
                failures.append(f"{number}: {type(error).__name__}: {error}")

    await asyncio.gather(*(loop() for _ in range(min(outstanding, count))))
    return failures
