"""`python -m benchmarks`: measures the bounds and the chosen cases in interleaved rounds, and prints what it found."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from .budgets import Bounds
from .cases import BUDGETED, Case, IncompleteError, Options, chosen, client_process, durability, measure
from .processes import Process, ProcessFailedError, echo, running
from .profiles import top_functions
from .report import Report, bounds_line

_BOUND_SECONDS_MAX = 2.0
_BOUND_WARM_UP_SECONDS = 0.3
_BOUND_MARGIN_SECONDS = 60.0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    workloads = list(dict.fromkeys(case.workload for case in BUDGETED))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"any of {', '.join(workloads)}; none: all")
    parser.add_argument(
        "--outstanding", type=_positive, nargs="+", default=[], metavar="N", help="of w1 to w4 and hot, such as 1 16 64"
    )
    parser.add_argument("--way", choices=("unary", "stream"), help="only the cases that start this way")
    parser.add_argument("--place", choices=("worker", "server"), help="only the cases whose handlers run there")
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="length of one closed loop (default 3)")
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds to take the median of (default 3)")
    parser.add_argument("--worker", choices=("stub", "client"), default="stub", help="bare stubs (default), or Worker")
    parser.add_argument(
        "--profile", action="store_true", help="one round with the event loop under cProfile; figures do not count"
    )
    parser.add_argument("--bounds-only", action="store_true", help="only E and S")
    parser.add_argument("--json", action="store_true", help="only the lines of JSON on stdout")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.workloads if name not in workloads]:
        parser.error(f"unknown workload {', '.join(unknown)}; there are {', '.join(workloads)}")
    if options.profile:
        options.rounds = 1
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 600:
        raise ValueError
    return value


def cases_of(options: argparse.Namespace) -> list[Case]:
    """What the command line chose."""
    found = chosen(options.workloads, options.outstanding)
    return [
        case
        for case in found
        if options.way in (None, case.way) and options.place in (None, case.place) and not options.bounds_only
    ]


def take_bounds(client: Process, server: Process, address: str, seconds: float) -> Bounds:
    """E and S, now, and what a call of E costs its server."""

    def ask(do: str, share: float) -> dict[str, float]:
        client.send({"do": do, "address": address, "seconds": share})
        return client.answer(share + _BOUND_MARGIN_SECONDS)

    share = min(seconds, _BOUND_SECONDS_MAX)
    ask("unary", min(share, _BOUND_WARM_UP_SECONDS))
    before = server.usage()
    echoed = ask("unary", share)
    after = server.usage()
    cpu = (after.cpu_seconds - before.cpu_seconds) * 1e3 if before is not None and after is not None else float("nan")
    trip = ask("stream", share)
    return Bounds(echoed["completed"] / echoed["seconds"], trip["milliseconds"], cpu / max(1.0, echoed["finished"]))


def run(options: argparse.Namespace) -> tuple[Report, list[Bounds]]:
    """All rounds. In each, E and S are taken before every case and after the last, and a case is held against the two
    measurements around it: the speed of a shared machine drifts within a minute."""
    with (
        tempfile.TemporaryDirectory(prefix="callboard-profile-") as folder,
        client_process() as client,
        running(echo()) as echo_server,
    ):
        profile = Path(folder) / "server.profile" if options.profile else None
        taking = Options(options.seconds, options.worker, profile)
        cases, address = cases_of(options), echo_server.address()
        report = Report(_settings(options, durability(client, taking) if cases else {}))
        taken = [take_bounds(client, echo_server, address, options.seconds)]
        for number in range(1, options.rounds + 1):
            for case in cases:
                _say(f"round {number} of {options.rounds}: {case.key} ...")
                try:
                    numbers = measure(case, client, taking)
                except (IncompleteError, ProcessFailedError) as error:
                    report.failures[case.key] = str(error)
                    numbers = {}
                taken.append(take_bounds(client, echo_server, address, options.seconds))
                if numbers:
                    report.add(case.key, _between(*taken[-2:]), numbers)
                if profile is not None and profile.exists():
                    print(f"{case.key}\n{top_functions(profile)}", file=sys.stderr)
                    profile.unlink()
    return report, taken


def _between(before: Bounds, after: Bounds) -> Bounds:
    return Bounds(*((first + second) / 2 for first, second in zip(before, after, strict=True)))


def _settings(options: argparse.Namespace, durable: dict[str, object]) -> dict[str, object]:
    names = ("version", "storage", "journal_mode")
    return {
        "rounds_asked": options.rounds,
        "seconds": options.seconds,
        "worker": options.worker,
        "client": "stub",
        "profiled": options.profile,
        **{name: durable[name] for name in names if name in durable},
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 0: everything that was asked for was measured whole."""
    options = parse()
    report, taken = run(options)
    if not options.json:
        console = Console()
        console.print(bounds_line(taken), highlight=False)
        if report.rounds or report.failures:
            report.show(console)
    for line in report.lines():
        print(line)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
