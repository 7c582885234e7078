"""Lists and counts in a store of a million executions: `python -m benchmarks.listing`.

It fills a store, asks for first pages and counts as the server does (filter text, statements, tokens, views; without
gRPC), and measures what a step costs in it and in an empty one, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from callboard.runtime.core.effects import Effect, OpenTask, OpenWait, SetTimer
from callboard.runtime.core.history import event_hash
from callboard.runtime.core.state import ENDED, Status
from callboard.runtime.engine import Runtime
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionAppend, ExecutionRef, Head, StoredEvent
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Committed

from .floors import engine_rate, store_rate
from .stores import TENANT

_BATCH = 1_000
_BEGAN = 1_760_000_000_000_000
_FAR = 4_000_000_000_000_000
"""A time at which no timer is due while this runs."""
_STATUSES = (*[Status.COMPLETED] * 90, *[Status.FAILED] * 5, *[Status.RUNNING] * 4, Status.CANCELLED)
_REPEATS = 20

_PAGES = {
    "no filter": "",
    'status == "COMPLETED" (90 %)': 'status == "COMPLETED"',
    'status in ["FAILED", "RUNNING"]': 'status in ["FAILED", "RUNNING"]',
    'status == "REVERTED" (none)': 'status == "REVERTED"',
    "label, 1 of 10,000": 'labels.customer == "c-77"',
    "label, a third": 'labels.region == "eu"',
    "two labels": 'labels.region == "eu" && labels.customer == "c-77"',
    "label, not there": 'labels.customer == "nobody"',
    "definition, half of all": 'definition_id == "order"',
    "definition, the 10 oldest": 'definition_id == "rare"',
    "definition, 300 versions": 'definition_id == "daily"',
    "definition and version": 'definition_id == "order" && version == 1',
    "definition and status": 'definition_id == "order" && status == "FAILED"',
    "definitions by prefix": 'definition_id.startsWith("import-1")',
    "all but completed": 'status != "COMPLETED"',
    "open, with operation": 'operation == "bench.other"',
    "open, waiting for an event": 'event == "paid"',
    "incident (100)": "incident",
    "label || incident": 'labels.customer == "c-77" || incident',
    "label and status": 'labels.region == "eu" && status == "FAILED"',
    "label begins with": 'labels.customer.startsWith("c-77")',
    "state, not there": 'state == "nowhere"',
    "state of a status (4 %)": 'state == "running"',
    "state, named (1 in 1,000)": 'state == "packed"',
    "updated_at (no index), never": 'updated_at < timestamp("2020-01-01T00:00:00Z")',
    "label and updated_at, never": 'labels.region == "eu" && updated_at < timestamp("2020-01-01T00:00:00Z")',
    "quiet and open": 'status in ["PENDING", "RUNNING", "REVERTING"] && updated_at < timestamp("2020-01-01T00:00:00Z")',
}
_ORDERS = {
    "by ended_at": ("", "ended_at desc"),
    "by ended_at, failed": ('status == "FAILED"', "ended_at desc"),
    "by execution_id, prefix": ('execution_id.startsWith("x-99")', "execution_id"),
    "oldest first": ("", "created_at"),
    "by updated_at, label": ('labels.customer == "c-77"', "updated_at desc"),
    "by updated_at, 5,000": ('state == "waiting"', "updated_at"),
}
_COUNTS = {
    "all, by status": ("", "status"),
    "all, by definition": ("", "definition_id"),
    "all, by state": ("", "state"),
    "failed orders, by version": ('definition_id == "order" && status == "FAILED"', "version"),
    "running, of a version": ('state == "running" && version == 1', ""),
    "label, 1 of 10,000": ('labels.customer == "c-77"', ""),
    "label, a third": ('labels.region == "eu"', ""),
    "label, a third, by status": ('labels.region == "eu"', "status"),
    "label and status": ('labels.region == "eu" && status == "FAILED"', ""),
    "incident": ("incident", ""),
    "label, a third, by definition (rows)": ('labels.region == "eu"', "definition_id"),
    "all, by label (rows)": ("", "labels.region"),
}


def _definition(number: int) -> tuple[str, int]:
    if number < 10:
        return "rare", 1
    match number % 10:
        case 0 | 1 | 2 | 3 | 4:
            return "order", 1 + number * 3 // 1_000_000
        case 5:
            return "daily", 1 + number % 3_000 // 10
        case _:
            return f"import-{number % 100}", 1


def _state(number: int, status: Status) -> str:
    """Mostly that of the status; one in 200 waits, or did when it ended, and one in 1,000 is packed."""
    match number % 1_000:
        case 3:
            return "packed"
        case 100 | 300 | 500 | 700 | 900:
            return "waiting"
        case _:
            return status.lower()


def _execution(number: int) -> ExecutionAppend:
    """A small one: two events, two labels; one in 25 is open, with a task, a wait or a timer."""
    execution_id, status = f"x-{number}", _STATUSES[number * 7919 % 100]
    definition_id, version = _definition(number)
    began = _BEGAN + number * 1_000
    events: list[StoredEvent] = []
    hashed = b""
    for sequence, name in enumerate(("ExecutionStarted", "StepScheduled"), 1):
        payload = b'{"path":"s1","step":"s1","kind":"task","operation":"bench.other","input":{"n":%d}}' % number
        hashed = event_hash(hashed, TENANT, execution_id, sequence, name, payload, began, None, None, b"{}")
        events.append(StoredEvent(sequence, name, payload, began, hashed, None, None, b"{}"))
    labels = {"customer": f"c-{number % 10_000}", "region": ("eu", "us", "asia")[number % 3]}
    head = Head(
        status,
        _state(number, status),
        definition_id,
        version,
        msgspec.json.encode(labels),
        2,
        hashed,
        began,
        began + 5_000_000,
        began + 5_000_000 if status in ENDED else 0,
        int(number % 10_000 == 5_000),
    )
    effects = () if status in ENDED else _open(number)
    return ExecutionAppend(ExecutionRef(TENANT, execution_id), 0, 0, tuple(events), head, effects)


def _open(number: int) -> tuple[Effect, ...]:
    match number // 100 % 3:
        case 0:
            return (OpenTask("s1", "bench.other" if number % 1_000 < 100 else "bench.some", 1, 2),)
        case 1:
            return (OpenWait("s1", ("paid",), f"k-{number}"),)
        case _:
            return (SetTimer("s1", "wait", _FAR),)


async def fill(path: Path, count: int) -> float:
    """Write so many executions; seconds."""
    store = SqliteStore(path)
    await store.open()
    began = time.perf_counter()
    try:
        rows = map(_execution, range(count))
        while batch := list(itertools.islice(rows, _BATCH)):
            outcomes = await store.write(batch)
            if not all(isinstance(outcome, Committed) for outcome in outcomes):
                raise RuntimeError("the store refused an execution")
    finally:
        await store.close()
    return time.perf_counter() - began


async def _timed(ask: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """The first, the median and the slowest of some, in milliseconds."""
    times: list[float] = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1e3)
    return times[0], statistics.median(times), max(times[1:])


async def lists(path: Path) -> None:
    """Print how long pages of 100 and counts take."""
    caller = Caller(TENANT)
    async with Runtime.open(path) as runtime:
        listings = runtime.listings
        print(f"{'page of 100':36}{'first':>9}{'median':>9}{'slowest':>9}  ms   rows")
        asked = {name: (text, "") for name, text in _PAGES.items()} | _ORDERS
        for name, (text, order) in asked.items():
            page = await listings.page(caller, text, 100, "", order)
            taken = await _timed(lambda text=text, order=order: listings.page(caller, text, 100, "", order))
            more = "+" if page.next_page_token else ""
            print(f"{name:36}" + "".join(f"{each:9.2f}" for each in taken) + f"  {len(page.items):9}{more}", flush=True)
        print("count")
        for name, (text, group_by) in _COUNTS.items():
            began = time.perf_counter()
            found = await listings.count(caller, text, group_by)
            taken_ms = (time.perf_counter() - began) * 1e3
            print(f"{name:36}{taken_ms:9.2f}  ms  {found.count:9} in {len(found.groups)} groups", flush=True)


async def steps(empty: Path, full: Path, rounds: int, seconds: float) -> None:
    """Print what a step costs in both stores, measured in turns: the CPU time of this process for it, which other load
    on the machine moves little, and the rates."""
    kinds: dict[str, Callable[[Path], Awaitable[float]]] = {
        "appends, 16 a commit": lambda path: store_rate(path, 16, seconds),
        "W1 @64 in the engine": lambda path: engine_rate(path, 64, seconds, "w1"),
    }
    for what, rate in kinds.items():
        found: dict[str, list[tuple[float, float]]] = {"empty": [], "full": []}
        for _ in range(rounds):
            for name, path in (("empty", empty), ("full", full)):
                found[name].append(await _costs(path, rate, seconds))
        ratios = [one[1] / other[1] for one, other in zip(found["full"], found["empty"], strict=True)]
        each = "; ".join(
            f"{name} {statistics.median(rate for rate, _ in taken):,.0f}/s, "
            f"{statistics.median(cpu for _, cpu in taken):,.0f} us CPU each"
            for name, taken in found.items()
        )
        print(f"{what}: {each}; in the full store {statistics.median(ratios):.2f} times the CPU", flush=True)


async def _costs(path: Path, rate: Callable[[Path], Awaitable[float]], seconds: float) -> tuple[float, float]:
    """The rate in a fresh copy of a store, and microseconds of CPU for each, without what it takes to open an engine:
    that grows with the open work, not with the steps."""
    fresh = path.with_name(f"{path.stem}-copy.db")
    shutil.copyfile(path, fresh)
    # Else the copy is written to the disk while the steps are.
    os.sync()
    begun = time.process_time()
    async with Runtime.open(fresh):
        opened = time.process_time() - begun
    begun = time.process_time()
    found = await rate(fresh)
    cpu = time.process_time() - begun - opened
    for file in fresh.parent.glob(f"{fresh.name}*"):
        file.unlink()
    return found, cpu / (found * seconds) * 1e6


async def _run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="callboard-listing-") as folder:
        empty, full = Path(folder) / "empty.db", Path(options.store) if options.store else Path(folder) / "full.db"
        await fill(empty, 0)
        if not full.exists():
            seconds = await fill(full, options.executions)
            print(f"{options.executions:,} executions written in {seconds:.0f} s, {full.stat().st_size / 1e6:.0f} MB")
        if options.only != "steps":
            await lists(full)
        if options.only != "lists":
            await steps(empty, full, options.rounds, options.seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lists, counts and steps in a large store.")
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--store", help="keep the filled store here, and take it from here the next time")
    parser.add_argument("--only", choices=("lists", "steps"))
    parser.add_argument("--rounds", type=int, default=3, help="of the steps' cost")
    parser.add_argument("--seconds", type=float, default=3.0)
    asyncio.run(_run(parser.parse_args()))
    sys.stdout.flush()
