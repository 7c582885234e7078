"""What a run found, for people and for programs: two tables, and one line of JSON for each case."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from .budgets import BUDGETS, Bounds, Unit, Verdict, judge

Rounds = list[tuple[Bounds, dict[str, float]]]

_PIPED_WIDTH = 200
_SPEED = ("executions_per_second", "steps_per_second", "p50_ms", "p95_ms", "p99_ms")
_CPU = tuple(f"{name}_cpu_per_1000_steps" for name in ("server", "worker", "client"))
_COST = ("server_cpu_in_echo_calls", "server_peak_mb", "disk_bytes_per_execution", "written_bytes_per_step")
_HEADINGS = (
    *("case", "executions/s", "steps/s", "p50 ms", "p95 ms", "p99 ms"),
    *("CPU-s / 1000 steps", "server", "worker", "client"),
    *("step in echo CPU", "server peak MB", "disk B / execution", "written B / step"),
)


@dataclass
class Report:
    """Everything of one run."""

    settings: Mapping[str, Any]
    """How it was taken, and the durability settings in force."""
    rounds: dict[str, Rounds] = field(default_factory=dict[str, Rounds])
    """Case -> what each round gave."""
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Case -> why its last failed round does not count."""

    def add(self, case: str, bounds: Bounds, numbers: dict[str, float]) -> None:
        """One round of one case."""
        if "server_cpu_per_1000_steps" in numbers and bounds.echo_cpu_per_1000 > 0:
            numbers["server_cpu_in_echo_calls"] = numbers["server_cpu_per_1000_steps"] / bounds.echo_cpu_per_1000
        self.rounds.setdefault(case, []).append((bounds, numbers))

    def medians(self, case: str) -> dict[str, float]:
        """Each number of a case as the median of its rounds."""
        rounds = [numbers for _, numbers in self.rounds.get(case, [])]
        names = dict.fromkeys(name for numbers in rounds for name in numbers)
        return {name: statistics.median([numbers[name] for numbers in rounds if name in numbers]) for name in names}

    def verdicts(self) -> list[Verdict]:
        """Every budget whose case was measured."""
        found = (judge(budget, self.rounds.get(budget.case, [])) for budget in BUDGETS)
        return [verdict for verdict in found if verdict is not None]

    def lines(self) -> list[str]:
        """One line of JSON for each case."""
        verdicts = self.verdicts()
        lines: list[str] = []
        for case in dict.fromkeys((*self.rounds, *self.failures)):
            line: dict[str, Any] = {"case": case, **self.settings, "failure": self.failures.get(case, "")}
            line["medians"] = _finite(self.medians(case))
            line["rounds"] = [
                {**_finite(bounds._asdict()), **_finite(numbers)} for bounds, numbers in self.rounds.get(case, [])
            ]
            line["budgets"] = [_verdict_json(verdict) for verdict in verdicts if verdict.budget.case == case]
            lines.append(json.dumps(line))
        return lines

    def show(self, console: Console) -> None:
        """The tables."""
        if not console.is_terminal:
            console.width = _PIPED_WIDTH
        console.print(", ".join(f"{name} {_setting(value)}" for name, value in self.settings.items()), highlight=False)
        console.print(self._figures())
        for case in self.rounds:
            others = {name: value for name, value in self.medians(case).items() if name not in _SHOWN}
            if others and not set(_SPEED) & self.medians(case).keys():
                console.print(f"{case}: " + ", ".join(f"{name} {number(v)}" for name, v in others.items()))
        console.print(self._budgets())
        for case, failure in self.failures.items():
            console.print(f"{case} does not count: {failure}", style="red", markup=False)

    def _figures(self) -> Table:
        table = Table(*_HEADINGS, title="Completed work, medians of the rounds")
        for column in table.columns[1:]:
            column.justify = "right"
        for case in self.rounds:
            medians = self.medians(case)
            if set(_SPEED) & medians.keys():
                names = (*_SPEED, "cpu_per_1000_steps", *_CPU, *_COST)
                table.add_row(case, *(number(medians.get(name)) for name in names))
        return table

    def _budgets(self) -> Table:
        table = Table("figure", "value", "ratio", "budget", "half budget", "half", "full", title="Against the budgets")
        for verdict in self.verdicts():
            budget = verdict.budget
            sign = ">=" if budget.at_least else "<="
            unit = f" {budget.unit.value}" if budget.unit is not Unit.PLAIN else f" {budget.measured_in}"
            table.add_row(
                f"{budget.case} {budget.metric}",
                f"{number(verdict.value)} {budget.measured_in}",
                f"{number(verdict.ratio)}{unit}" if budget.unit is not Unit.PLAIN else "",
                f"{sign} {number(budget.limit)}{unit}",
                f"{sign} {number(budget.half)}{unit}",
                "[green]yes" if verdict.meets_half else "[red]no",
                "[green]yes" if verdict.meets else "[red]no",
            )
        return table


_SHOWN = frozenset({*_SPEED, *_CPU, *_COST, "cpu_per_1000_steps"}) - {"server_peak_mb"}


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    budget = verdict.budget
    return {
        "metric": budget.metric,
        "value": verdict.value,
        "ratio": verdict.ratio,
        "of": budget.unit.value,
        "at_least": budget.at_least,
        "budget": budget.limit,
        "half_budget": budget.half,
        "meets_half": verdict.meets_half,
        "meets": verdict.meets,
    }


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Without what is no number: JSON has no word for it."""
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def number(value: float | None) -> str:
    """Three digits that matter; `-` for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _setting(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


def bounds_line(bounds: Sequence[Bounds]) -> str:
    """E and S of a run, for people."""
    echo = statistics.median([one.echo_per_second for one in bounds])
    stream = statistics.median([one.stream_ms for one in bounds])
    return f"E = {echo:,.0f} unary echo calls/s at 64 outstanding; S = {stream:.3f} ms a round trip on a stream"
