"""Executions that are deleted while somebody reads them: not found is an answer, damage is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import ME, engine, started

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.event_filters import event_filter
from callboard.runtime.feeds import Seats
from callboard.runtime.forking import ForkRequest
from callboard.runtime.histories import Moment, Steps
from callboard.runtime.history_files import HistoryReader, export
from callboard.runtime.positions import Position
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings
from callboard.runtime.tenant_feeds import TenantFeeds

REF = ExecutionRef("default", "x-1")
COUNTING = """
id: counting
retention: 1h
steps:
  - id: each
    foreach: {items: "input", as: n, steps: [{id: keep, set: {n: "${n}"}}]}
  - {id: got, receive: {event: go}}
"""
ITEMS = 12
LONG = 1_100
"""Items enough for a history whose events do not go all in the commit of its deletion."""
PAGE = 10
READS = (
    *("execution", "execution_by_key", "events", "stored_events", "snapshot", "snapshots", "task_inputs", "before"),
    *("tenant_events", "feed_bounds"),
)
Look = Callable[[Runtime], Awaitable[Any]]


@pytest.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    path = ":memory:" if request.param == "memory" else tmp_path / "s.db"
    async with engine(path, ManualClock(), Settings(snapshot_events_min=20)) as runtime:
        await runtime.publish(COUNTING)
        yield runtime


class Disturbed:
    """The store of a runtime with short pages; something happens once, before the read with a number."""

    def __init__(self, runtime: Runtime, at: int, disturb: Callable[[], Awaitable[None]]) -> None:
        self.reads = 0
        self._store = runtime.store
        self._at = at
        self._disturb = disturb
        for name in READS:
            if hasattr(self._store, name):
                setattr(self._store, name, self._disturbed(getattr(self._store, name), name.endswith("events")))

    def _disturbed(self, read: Callable[..., Awaitable[Any]], pages: bool) -> Callable[..., Awaitable[Any]]:
        async def reading(*arguments: Any) -> Any:
            self.reads += 1
            if self.reads == self._at:
                await self._disturb()
            if pages and isinstance(arguments[0], int):
                key, after, limit, *rest = arguments
                arguments = (key, after, min(limit, PAGE), *rest)
            return await read(*arguments)

        return reading

    def restore(self) -> None:
        """Read as ever."""
        for name in READS:
            vars(self._store).pop(name, None)


async def counted(runtime: Runtime, items: int) -> None:
    """An ended execution with snapshots, of which nothing is in memory."""
    await started(runtime, "counting", "x-1", list(range(items)))
    await runtime.submit(ME, "x-1", "go")
    await runtime.histories.snapshot(ME, "x-1")


async def free(runtime: Runtime) -> None:
    """Delete what has the name, if there is any."""
    if (record := await runtime.store.execution(REF)) is not None:
        if not record.head.ended_at:
            await runtime.cancel(ME, "x-1")
        await runtime.retention.delete(ME, "x-1")


async def verifying(runtime: Runtime) -> None:
    assert (await runtime.histories.verify(ME, "x-1")).problems == ()


async def looking_back(runtime: Runtime) -> None:
    await runtime.histories.past(ME, "x-1", Moment(27), full=True)
    await runtime.histories.past(ME, "x-1", Moment(time=runtime.clock.now()))


async def replaying(runtime: Runtime) -> None:
    await runtime.histories.replay(ME, "x-1", Moment(), use_snapshots=False, steps=Steps(25))
    await runtime.histories.replay(ME, "x-1", Moment(), use_snapshots=False, steps=Steps(9, until=31, after=22))


async def forking(runtime: Runtime) -> None:
    view = await runtime.forking.fork(ME, ForkRequest("x-1", at_sequence=17))
    await runtime.forking.fork(ME, ForkRequest("x-1", at_time=runtime.clock.now()))
    assert (await runtime.histories.verify(ME, view.ref.execution_id)).problems == ()


async def exporting(runtime: Runtime) -> None:
    reader = HistoryReader(1 << 20)
    async for piece in export(runtime.store, runtime.info.store_id, REF, 0):
        reader.feed(piece)
    reader.finish()


async def watching(runtime: Runtime) -> None:
    events = [event async for page in runtime.watch(ME, "x-1") for event in page]
    assert [event.stored.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].is_last
    page = await runtime.history(ME, "x-1", 5)
    assert len(page) > 2
    assert page[0].from_state == "running"


async def feeding(runtime: Runtime) -> None:
    """From the middle of it, as somebody who has not read what comes before."""
    record = await runtime.store.execution(REF)
    sixth = await runtime.store.stored_events(record.key, 5, 1, 1) if record is not None else []
    if not sixth:
        return
    number = sixth[0].position
    feeds = TenantFeeds(runtime.store, Settings(), Seats(1), runtime.tenant_feeds.positions)
    begin = await feeds.begin("default", Position(number, number))
    page = await feeds.read("default", begin, event_filter(""), 10, 1 << 20)
    assert {event.from_state for name, event in page.events if event.stored.sequence > 2} <= {"running"}


async def looking(runtime: Runtime) -> None:
    await runtime.get(ME, "x-1", full=True)
    await runtime.histories.snapshot(ME, "x-1")


LOOKS: list[Look] = [verifying, looking_back, replaying, forking, exporting, watching, feeding, looking]


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another of that name"])
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
async def test_it_is_not_found_whenever_it_goes_and_never_damaged(runtime: Runtime, look: Look, again: bool) -> None:
    async def delete() -> None:
        await runtime.retention.delete(ME, "x-1")
        if again:
            await counted(runtime, 2)

    at, undisturbed = 0, False
    while not undisturbed:
        at += 1
        await free(runtime)
        await counted(runtime, ITEMS)
        reading = Disturbed(runtime, at, delete)
        try:
            await look(runtime)
        except Refused as refused:
            reasons = {"EXECUTION_NOT_FOUND", "POSITION_PRUNED" if look is feeding else ""}
            reasons |= {"SEQUENCE_OUT_OF_RANGE"} if again else set()
            assert refused.refusal.reason in reasons, (at, refused)
        finally:
            reading.restore()
        undisturbed = reading.reads < at
    assert at > 4


async def test_it_is_not_found_where_it_goes_before_its_snapshot_is_written(runtime: Runtime) -> None:
    await started(runtime, "counting", "x-1", list(range(ITEMS)))
    await runtime.submit(ME, "x-1", "go")
    write = runtime.journal.write

    def and_before(wanted: Any) -> Awaitable[Any]:
        runtime.journal.write = write  # type: ignore[method-assign]

        async def both() -> Any:
            await runtime.retention.delete(ME, "x-1")
            return await write(wanted)

        return both()

    runtime.journal.write = and_before  # type: ignore[method-assign]
    with pytest.raises(Refused, match="EXECUTION_NOT_FOUND"):
        await runtime.histories.snapshot(ME, "x-1")
