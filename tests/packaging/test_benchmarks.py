"""The throughput harness can be started as its README says, and its report says what was measured. Nothing is timed."""

import io
import json

import pytest
from benchmarks.__main__ import cases_of, parse
from benchmarks.budgets import BUDGETS, Bounds, judge
from benchmarks.cases import BUDGETED
from benchmarks.closed_loop import percentile, run_count, run_window
from benchmarks.definitions import RESULT_TEXT, SOURCES
from benchmarks.report import Report
from rich.console import Console

from callboard.runtime.loader import load

BOUNDS = Bounds(echo_per_second=3_000.0, stream_ms=0.3)


def keys(*arguments: str) -> list[str]:
    return [case.key for case in cases_of(parse(arguments))]


def reported(*rounds: dict[str, float], case: str = "w1@64") -> Report:
    report = Report({"seconds": 3.0})
    for numbers in rounds:
        report.add(case, BOUNDS, numbers)
    return report


def test_without_arguments_everything_runs_that_has_a_budget() -> None:
    assert keys() == [case.key for case in BUDGETED]
    assert {budget.case for budget in BUDGETS} <= set(keys())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["w2"], ["w2@1", "w2@64", "w2@64 stream"]),
        (["w2", "--way", "stream"], ["w2@64 stream"]),
        (["w1", "--place", "server"], ["w1@64 in-server", "w1@64 stream in-server"]),
        (["w3", "w4", "--outstanding", "1", "16"], ["w3@1", "w3@16", "w4@1", "w4@16"]),
        (["w5", "--outstanding", "1"], ["w5@500", "w5@10000"]),
        (["--bounds-only"], []),
    ],
)
def test_cases_are_chosen_by_the_command_line(arguments: list[str], expected: list[str]) -> None:
    assert keys(*arguments) == expected


@pytest.mark.parametrize("arguments", [["w99"], ["--seconds", "0"], ["--rounds", "0"], ["--outstanding", "none"]])
def test_a_mistake_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2


def test_a_profiled_run_has_one_round() -> None:
    assert parse(["w1", "--profile", "--rounds", "3"]).rounds == 1


def test_a_figure_is_the_median_of_its_ratios_round_by_round() -> None:
    budget = next(budget for budget in BUDGETS if budget.metric == "steps_per_second" and budget.case == "w1@64")
    fast, slow = Bounds(4_000.0, 0.3), Bounds(2_000.0, 0.3)
    verdict = judge(budget, [(fast, {"steps_per_second": 6_000.0}), (slow, {"steps_per_second": 5_000.0})])
    assert verdict is not None
    assert (verdict.ratio, verdict.value) == (2.0, 5_500.0)
    assert verdict.meets
    assert verdict.meets_half


@pytest.mark.parametrize(
    ("milliseconds", "half", "full"), [(10.0, True, True), (15.0, True, False), (30.0, False, False)]
)
def test_twice_the_cost_is_half_the_budget(milliseconds: float, half: bool, full: bool) -> None:
    (verdict,) = reported({"p50_ms": milliseconds}, case="w1@1").verdicts()
    assert (verdict.meets_half, verdict.meets) == (half, full)


def test_what_was_not_measured_is_not_judged() -> None:
    assert reported({"p50_ms": 1.0}).verdicts() == []


def test_each_case_is_one_line_of_json() -> None:
    report = reported({"steps_per_second": 3_000.0, "p50_ms": 9.0}, {"steps_per_second": 5_000.0, "p50_ms": 7.0})
    report.failures["w5@500"] = "1 failed; the first: 3: lost"
    first, second = [json.loads(line) for line in report.lines()]
    assert (first["case"], first["medians"]["steps_per_second"], len(first["rounds"])) == ("w1@64", 4_000.0, 2)
    assert first["budgets"][0] | {"of": "E", "meets_half": True, "meets": False} == first["budgets"][0]
    assert (second["case"], second["failure"]) == ("w5@500", "1 failed; the first: 3: lost")


def test_the_tables_name_every_figure_and_every_failure() -> None:
    report = reported({"steps_per_second": 3_000.0, "p50_ms": 9.0, "disk_bytes_per_execution": 4_800.0})
    report.add("w6@2000", BOUNDS, {"events_ms": 50.0})
    report.failures["w5@500"] = "lost [3]"
    text = io.StringIO()
    report.show(Console(file=text))
    for part in ("w1@64 steps_per_second", "3,000 steps/s", ">= 2 E", ">= 1 E", "w6@2000: events_ms 50", "lost [3]"):
        assert part in text.getvalue()


def test_the_definitions_can_be_read_and_the_result_has_fifty_bytes() -> None:
    for name, text in SOURCES.items():
        load(f"{name}.yaml", text)
    assert len(RESULT_TEXT) == 50


def test_percentiles_of_nothing_are_no_number() -> None:
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([], 0.5) != percentile([], 0.5)


async def test_a_window_counts_failures_apart() -> None:
    async def once() -> None:
        raise ValueError("no")

    window = await run_window(once, outstanding=2, seconds=0.01)
    assert (window.completed, window.failed > 0, window.failure) == (0, True, "ValueError: no")


async def test_a_count_is_done_once_each() -> None:
    done: list[int] = []

    async def once(number: int) -> None:
        done.append(number)
        if number == 3:
            raise ValueError("no")

    assert await run_count(once, count=5, outstanding=2) == ["3: ValueError: no"]
    assert sorted(done) == [0, 1, 2, 3, 4]
