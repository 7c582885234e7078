"""The cases: what can be measured, and how one of them is measured once.

Each case has a data directory, a server, a worker and a start of its own, so that none of its figures depends on what
ran before. All of them give plain numbers by name; a case that lost or failed anything gives none (`IncompleteError`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import stores
from .closed_loop import Window
from .processes import Process, Usage, driver, running, serve, worker
from .workloads import WORKLOADS

WARM_UP_SECONDS = 0.5
RUN_MARGIN_SECONDS = 90.0
"""Beyond its own duration, what a command of the client process may take before the run is given up."""

BULK_SECONDS_MAX = 300.0
"""The same for a command that starts or finishes a number of executions."""

DORMANT = 100_000
DORMANT_WOKEN = 100
HANDLERS = "benchmarks.handlers"
_PROFILE_SECONDS_MAX = 10.0

Numbers = dict[str, float]


class Case(NamedTuple):
    """One thing to measure."""

    workload: str
    """`w1` to `w7`, `hot`, or `w5tasks`."""
    size: int
    """How many are outstanding (W1 to W4, hot), wait (W5) or sleep (W7); W6: steps."""
    way: str = "unary"
    """`stream`: started over one stream of StartExecutions."""
    place: str = "worker"
    """`server`: handlers run in the server process."""

    @property
    def key(self) -> str:
        """Its name in tables and in JSON."""
        extra = {"stream": " stream", "unary": ""}[self.way] + (" in-server" if self.place == "server" else "")
        return f"{self.workload}@{self.size}{extra}"


class Options(NamedTuple):
    """What the user chose for all cases."""

    seconds: float
    worker: str
    """`stub` or `client`."""
    profile: Path | None
    """Where the server writes its profile; None: it is not profiled."""


class Session:
    """A server with its data, and the client process."""

    def __init__(self, data: Path, client: Process, options: Options, handlers: str = "") -> None:
        self.data = data
        self.client = client
        self._options = options
        self._handlers = handlers
        self.server = self._serve()
        self.address = ""

    def _serve(self) -> Process:
        return serve(self.data, handlers=self._handlers, profile=self._options.profile)

    def begin(self, definition: str) -> None:
        """Wait until it serves, and publish the case's definition."""
        self.address = self.server.address()
        self.ask("publish", RUN_MARGIN_SECONDS, definition=definition)

    @contextlib.contextmanager
    def profiled(self) -> Iterator[None]:
        """The server's profiler is on, if it has one."""
        path = self._options.profile
        if path is not None:
            self.server.signal(signal.SIGUSR1)
        yield
        if path is not None:
            self.server.signal(signal.SIGUSR2)
            deadline = time.perf_counter() + _PROFILE_SECONDS_MAX
            while not path.exists() and time.perf_counter() < deadline:
                time.sleep(0.1)

    def restart(self) -> Numbers:
        """A new server over the same data, after the last one ended; what it took until it said that it serves."""
        self.server = self._serve()
        self.address = self.server.address()
        took, usage = time.perf_counter() - self.server.started, self.server.usage()
        return {"ready_seconds": took, **({"ready_cpu_seconds": usage.cpu_seconds} if usage is not None else {})}

    def ask(self, do: str, timeout: float, **arguments: object) -> dict[str, object]:
        """One command of the client process."""
        self.client.send({"do": do, "address": self.address, **arguments})
        return self.client.answer(timeout)

    def failures(self, do: str, **arguments: object) -> list[str]:
        """A command that reports what failed."""
        found = self.ask(do, BULK_SECONDS_MAX, **arguments)["failures"]
        assert isinstance(found, list)
        return found

    def window(self, case: Case, seconds: float) -> Window:
        """One closed loop."""
        answer = self.ask(
            "run",
            seconds + RUN_MARGIN_SECONDS,
            workload=case.workload,
            way=case.way,
            outstanding=case.size,
            seconds=seconds,
        )
        return Window(**answer)  # type: ignore[arg-type]

    @property
    def database(self) -> Path:
        """The one database file of the data directory."""
        return max(self.data.glob("*.db"), key=lambda path: path.stat().st_size)


@contextlib.contextmanager
def _session(client: Process, options: Options, definition: str, handlers: str = "") -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="callboard-benchmark-") as folder:
        session = Session(Path(folder) / "data", client, options, handlers)
        try:
            session.begin(definition)
            yield session
        finally:
            session.server.stop()


def measure(case: Case, client: Process, options: Options) -> Numbers:
    """Measure one case once."""
    numbers, failures = _MEASURES[case.workload](case, client, options)
    if failures:
        raise IncompleteError(f"{len(failures)} failed; the first: {failures[0]}")
    return numbers


class IncompleteError(Exception):
    """Something of the load was refused, lost, or did not end as it must: the figures do not count."""


Measured = tuple[Numbers, list[str]]


def _loop(case: Case, client: Process, options: Options) -> Measured:
    """W1 to W4 and the hot execution: a closed loop for some seconds."""
    in_server, definition = case.place == "server", WORKLOADS[case.workload].definition
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(client, options, definition, HANDLERS if in_server else ""))
        numbers: Numbers = {}
        _put(numbers, "idle_mb", session.server.memory_mb())
        processes = {"server": session.server, "client": client}
        if not in_server:
            processes["worker"] = stack.enter_context(running(worker(session.address, options.worker)))
        pages = database_bytes(session.database)
        warm = session.window(case, min(WARM_UP_SECONDS, options.seconds))
        before = {name: process.usage() for name, process in processes.items()}
        with session.profiled():
            window = session.window(case, options.seconds)
        _loop_numbers(numbers, case, window)
        for name, process in processes.items():
            _costs(numbers, name, process, before[name], window.finished * WORKLOADS[case.workload].steps)
        session.server.stop()
        finished = warm.finished + window.finished
        if finished:
            numbers["disk_bytes_per_execution"] = (session.database.stat().st_size - pages) / finished
    return numbers, [failure for failure in (warm.failure, window.failure) if failure]


def _loop_numbers(numbers: Numbers, case: Case, window: Window) -> None:
    numbers["executions_per_second"] = window.rate
    numbers["steps_per_second"] = window.rate * WORKLOADS[case.workload].steps
    numbers["completed"] = window.completed
    numbers.update(p50_ms=window.p50_ms, p95_ms=window.p95_ms, p99_ms=window.p99_ms)


def _costs(numbers: Numbers, name: str, process: Process, before: Usage | None, steps: int) -> None:
    after = process.usage()
    _put(numbers, f"{name}_peak_mb", process.memory_mb(peak=True))
    if after is None or before is None or not steps:
        return
    cpu = (after.cpu_seconds - before.cpu_seconds) / steps * 1e3
    numbers[f"{name}_cpu_per_1000_steps"] = cpu
    numbers["cpu_per_1000_steps"] = numbers.get("cpu_per_1000_steps", 0.0) + cpu
    if name == "server":
        numbers["written_bytes_per_step"] = (after.written_bytes - before.written_bytes) / steps


def _waiting(case: Case, client: Process, options: Options) -> Measured:
    """W5: kill -9 with so many executions waiting for an event (or, `w5tasks`, queued for a worker); none is lost."""
    tasks = case.workload == "w5tasks"
    definition = "bench-single" if tasks else "bench-signal"
    numbers: Numbers = {}
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(client, options, definition))
        idle = session.server.memory_mb()
        failures = session.failures("start", definition=definition, prefix="wait-", count=case.size)
        live = session.server.memory_mb()
        if idle is not None and live is not None:
            numbers.update(idle_mb=idle, kb_per_live=(live - idle) * 1e3 / case.size)
        session.server.kill()
        numbers.update(session.restart())
        session.ask("info", RUN_MARGIN_SECONDS)
        numbers["first_answer_seconds"] = time.perf_counter() - session.server.started
        if tasks:
            stack.enter_context(running(worker(session.address, options.worker)))
        failures += session.failures("finish", prefix="wait-", first=0, count=1, by_worker=tasks)
        numbers["first_completed_seconds"] = time.perf_counter() - session.server.started
        failures += session.failures("finish", prefix="wait-", first=1, count=case.size - 1, by_worker=tasks)
        numbers["all_completed_seconds"] = time.perf_counter() - session.server.started
        _put(numbers, "server_peak_mb", session.server.memory_mb(peak=True))
    return numbers, failures


def _rebuild(_case: Case, client: Process, options: Options) -> Measured:
    """W6: one execution of 2,000 steps, replayed by the engine's own code outside of the server, then woken in it."""
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(client, options, "bench-long"))
        stack.enter_context(running(worker(session.address, options.worker)))
        began = time.perf_counter()
        session.ask("long", BULK_SECONDS_MAX, execution_id="long-0", seconds=BULK_SECONDS_MAX)
        numbers: Numbers = {"build_seconds": time.perf_counter() - began}
        session.server.kill()
        rebuilt = asyncio.run(stores.rebuild(session.database, "long-0"))
        numbers.update(rebuilt._asdict())
        session.restart()
        session.ask("info", RUN_MARGIN_SECONDS)
        began = time.perf_counter()
        failures = session.failures("finish", prefix="long-", first=0, count=1, by_worker=False)
        numbers["woken_and_answered_ms"] = (time.perf_counter() - began) * 1e3
    return numbers, failures


def _dormant(case: Case, client: Process, options: Options) -> Measured:
    """W7: a store with so many executions asleep; how soon and how big the server is, before and after it woke some."""
    numbers: Numbers = {}
    with _session(client, options, "bench-signal") as session:
        failures = session.failures("start", definition="bench-signal", prefix="dormant-", count=1)
        session.server.stop()
        numbers["fill_seconds"] = asyncio.run(stores.multiply(session.database, "dormant-", case.size))
        os.sync()  # what has slept for long is on the disk, and the server's first commit must not wait for it
        numbers.update(session.restart())
        session.ask("info", RUN_MARGIN_SECONDS)
        numbers["first_answer_seconds"] = time.perf_counter() - session.server.started
        _put(numbers, "ready_mb", session.server.memory_mb())
        began = time.perf_counter()
        failures += session.failures("finish", prefix="dormant-", first=0, count=DORMANT_WOKEN, by_worker=False)
        numbers["wake_each_ms"] = (time.perf_counter() - began) * 1e3 / DORMANT_WOKEN
        _put(numbers, "server_peak_mb", session.server.memory_mb(peak=True))
        numbers["database_mb"] = database_bytes(session.database) / 1e6
    return numbers, failures


def _put(numbers: Numbers, name: str, value: float | None) -> None:
    if value is not None:
        numbers[name] = value


def database_bytes(path: Path) -> int:
    """The size of the database with what still stands in its write-ahead log."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        pages, size = connection.execute("SELECT * FROM pragma_page_count, pragma_page_size").fetchone()
    return int(pages) * int(size)


def durability(client: Process, options: Options) -> dict[str, object]:
    """The settings in force, as the server says them and as its database file does."""
    with _session(client, options, "bench-single") as session:
        info = session.ask("info", RUN_MARGIN_SECONDS)
        with contextlib.closing(sqlite3.connect(f"{session.database.as_uri()}?mode=ro", uri=True)) as connection:
            info["journal_mode"] = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return info


_MEASURES: dict[str, Callable[[Case, Process, Options], Measured]] = {
    **dict.fromkeys(WORKLOADS, _loop),
    "w5": _waiting,
    "w5tasks": _waiting,
    "w6": _rebuild,
    "w7": _dormant,
}

BUDGETED: tuple[Case, ...] = (
    Case("w1", 1),
    Case("w1", 64),
    Case("w1", 64, "stream"),
    Case("w1", 64, place="server"),
    Case("w1", 64, "stream", place="server"),
    Case("w2", 1),
    Case("w2", 64),
    Case("w2", 64, "stream"),
    Case("w3", 16),
    Case("w4", 64),
    Case("hot", 64),
    Case("w5", 500),
    Case("w5", 10_000),
    Case("w5tasks", 10_000),
    Case("w6", 2_000),
    Case("w7", DORMANT),
)
"""What runs when nothing is chosen: every case with a budget, and the restart with open tasks."""


def chosen(workloads: list[str], outstanding: list[int]) -> list[Case]:
    """The cases of these workloads; with `outstanding`, the closed loops at each of these numbers instead."""
    cases: list[Case] = []
    for case in BUDGETED:
        if workloads and case.workload not in workloads:
            continue
        sizes = outstanding if outstanding and case.workload in WORKLOADS else [case.size]
        cases += [made for size in sizes if (made := case._replace(size=size)) not in cases]
    return cases


@contextlib.contextmanager
def client_process() -> Iterator[Process]:
    """The one client process of the run."""
    with running(driver()) as process:
        yield process
