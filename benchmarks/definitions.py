"""The definitions that the workloads run, as source text, and the result that every no-op step returns."""

from __future__ import annotations

import json

OPERATION = "bench.noop"

RESULT: dict[str, str] = {"note": "x" * 39}
RESULT_TEXT = json.dumps(RESULT, separators=(",", ":"))
"""A JSON object of 50 bytes."""

FAN_BRANCHES = 32
LONG_STEPS = 2_000
HOT_EVENTS = 50_000
"""Events that one execution of `bench-hot` takes before it ends; 50,000 are more than a window of 10 s can bring."""

_TASK = "task: {service: bench, operation: noop, input: {n: %d}}"
_RECEIVE = "  - {id: signal, receive: {event: go}}\n"


def _sequence(name: str, steps: int, last: str = "") -> str:
    lines = "".join(f"  - {{id: s{n}, {_TASK % n}}}\n" for n in range(1, steps + 1))
    return f"id: {name}\nsteps:\n{lines}{last}"


def _fan(name: str) -> str:
    branches = "".join(
        f"        - {{id: b{n}, steps: [{{id: s{n}, {_TASK % n}}}]}}\n" for n in range(1, FAN_BRANCHES + 1)
    )
    return f"id: {name}\nsteps:\n  - id: fan\n    parallel:\n      branches:\n{branches}"


def _hot(name: str) -> str:
    return (
        f"id: {name}\nsteps:\n  - id: each\n    foreach:\n      items: input.items\n      max_concurrency: 1\n"
        "      steps: [{id: tick, receive: {event: tick}}]\n"
    )


SOURCES: dict[str, str] = {
    "bench-linear10": _sequence("bench-linear10", 10),
    "bench-single": _sequence("bench-single", 1),
    "bench-fan32": _fan("bench-fan32"),
    "bench-signal": f"id: bench-signal\nsteps:\n{_RECEIVE}",
    "bench-long": _sequence("bench-long", LONG_STEPS, _RECEIVE),
    "bench-hot": _hot("bench-hot"),
}
"""Definition id -> YAML."""
