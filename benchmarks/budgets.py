"""What the figures are held against: budgets as multiples of E or S of the same run, or as plain numbers."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Bounds(NamedTuple):
    """What gRPC alone did in one round."""

    echo_per_second: float
    """E: unary echo calls a second, 64 outstanding."""
    stream_ms: float
    """S: round trip of one message on a stream, in milliseconds."""
    echo_cpu_per_1000: float = float("nan")
    """CPU seconds of the echo server for 1000 of its calls; NaN where there is no /proc."""


class Unit(enum.Enum):
    """What a budget is a multiple of."""

    E = "E"
    S = "S"
    PLAIN = ""

    def of(self, bounds: Bounds) -> float:
        """How much one of it is."""
        return {Unit.E: bounds.echo_per_second, Unit.S: bounds.stream_ms, Unit.PLAIN: 1.0}[self]


class Budget(NamedTuple):
    """One line of the table of budgets."""

    case: str
    """`Case.key`"""
    metric: str
    at_least: bool
    limit: float
    unit: Unit
    measured_in: str
    half: float
    """The mark of the first slice: half the speed, or twice the cost."""


def _least(case: str, metric: str, limit: float, measured_in: str) -> Budget:
    return Budget(case, metric, True, limit, Unit.E, measured_in, limit / 2)


def _most(case: str, metric: str, limit: float, measured_in: str, unit: Unit = Unit.PLAIN) -> Budget:
    return Budget(case, metric, False, limit, unit, measured_in, limit * 2)


def _required(case: str, metric: str, limit: float, measured_in: str) -> Budget:
    """One that the first slice already has to keep in full."""
    return Budget(case, metric, False, limit, Unit.PLAIN, measured_in, limit)


BUDGETS: tuple[Budget, ...] = (
    _least("w1@64", "steps_per_second", 2.0, "steps/s"),
    _most("w1@1", "p50_ms", 36.0, "ms", Unit.S),
    _least("w2@64", "executions_per_second", 0.4, "executions/s"),
    _least("w2@64 stream", "executions_per_second", 1.2, "executions/s"),
    _most("w2@1", "p50_ms", 9.0, "ms", Unit.S),
    _least("w3@16", "steps_per_second", 3.0, "steps/s"),
    _least("w4@64", "executions_per_second", 0.3, "executions/s"),
    _least("w1@64 stream", "steps_per_second", 2.0, "steps/s"),
    _least("w1@64 in-server", "steps_per_second", 3.0, "steps/s"),
    _least("w1@64 stream in-server", "steps_per_second", 3.0, "steps/s"),
    _least("hot@64", "executions_per_second", 0.6, "events/s"),
    _most("w5@500", "first_completed_seconds", 0.7, "s"),
    _most("w5@10000", "first_completed_seconds", 1.5, "s"),
    _most("w5tasks@10000", "first_answer_seconds", 1.5, "s"),
    _most("w6@2000", "events_ms", 60.0, "ms"),
    _most("w6@2000", "snapshot_ms", 5.0, "ms"),
    _most("w1@64", "cpu_per_1000_steps", 0.35, "CPU-s"),
    _most("w1@64", "disk_bytes_per_execution", 5_000.0, "bytes"),
    _most("w1@64", "idle_mb", 90.0, "MB"),
    _most("w5@10000", "kb_per_live", 12.0, "KB"),
    _required("w7@100000", "first_answer_seconds", 1.5, "s"),
    _required("w7@100000", "server_peak_mb", 150.0, "MB"),
)


class Verdict(NamedTuple):
    """A figure beside its budget, over all rounds."""

    budget: Budget
    value: float
    """Median over the rounds."""
    ratio: float
    """Median over the rounds of the value divided by that round's E or S."""

    @property
    def meets(self) -> bool:
        """Whether it keeps the budget."""
        return self._keeps(self.budget.limit)

    @property
    def meets_half(self) -> bool:
        """Whether it keeps the mark of the first slice."""
        return self._keeps(self.budget.half)

    def _keeps(self, limit: float) -> bool:
        return self.ratio >= limit if self.budget.at_least else self.ratio <= limit


def judge(budget: Budget, rounds: Sequence[tuple[Bounds, dict[str, float]]]) -> Verdict | None:
    """The verdict over the rounds in which the case was measured whole; None where there is none."""
    found = [(bounds, numbers[budget.metric]) for bounds, numbers in rounds if budget.metric in numbers]
    if not found:
        return None
    ratios = [value / budget.unit.of(bounds) for bounds, value in found]
    return Verdict(budget, statistics.median([value for _, value in found]), statistics.median(ratios))
