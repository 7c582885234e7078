"""Ended executions that go: asked for one by one or in a job, or when their time is over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.event_filters import event_filter
from callboard.runtime.forking import ForkRequest
from callboard.runtime.history_files import Brought, HistoryReader, export
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings
from callboard.runtime.stores.sqlite_doctor import examine
from callboard.runtime.trigger_rows import JobRow, JobState

DAY = 86_400
KEPT = """
id: kept
retention: 30d
steps: [{id: one, set: {a: 1}}]
"""
PLAIN = """
id: plain
steps: [{id: one, set: {a: 1}}]
"""
WAITING = """
id: waiting
retention: 1h
steps: [{id: got, receive: {event: go}}]
"""
LONG = """
id: long
steps: [{id: each, foreach: {items: "input", as: n, steps: [{id: keep, set: {n: "${n}"}}]}}]
"""
SMALL = Settings(prune_batch_max=2)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def runtime(clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    path = ":memory:" if request.param == "memory" else tmp_path / "orders.db"
    async with engine(path, clock, SMALL) as runtime:
        for text in (KEPT, PLAIN, WAITING):
            await runtime.publish(text)
        yield runtime


async def run(runtime: Runtime, definition_id: str, *names: str) -> None:
    for name in names:
        await runtime.start(ME, StartRequest(definition_id, execution_id=name))
        if definition_id != "waiting":
            async with asyncio.timeout(10):
                await runtime.wait_ended(ExecutionRef("default", name), 10_000_000)


async def there(runtime: Runtime, *names: str) -> list[str]:
    records = [await runtime.store.execution(ExecutionRef("default", name)) for name in names]
    return [record.ref.execution_id for record in records if record is not None]


async def gone(runtime: Runtime, *names: str) -> None:
    """Return once they are."""
    async with asyncio.timeout(10):
        while await there(runtime, *names):
            await pass_a_second(runtime)


async def done(runtime: Runtime, job: JobRow | None) -> JobRow:
    assert job is not None
    async with asyncio.timeout(10):
        while (job := await runtime.jobs.get(job.tenant, job.job_id)).state is JobState.RUNNING:
            await pass_a_second(runtime)
    return job


async def pass_a_second(runtime: Runtime) -> None:
    """Also for what rests between two batches, because the clock has moved while it was writing."""
    assert isinstance(runtime.clock, ManualClock)
    await runtime.clock.advance(1)
    await asyncio.sleep(0.001)


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(Refused) as raised:
        await call
    return raised.value.refusal.reason


async def test_executions_are_kept_as_long_as_their_definition_says(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "kept", "a", "b", "c")
    await run(runtime, "plain", "p")
    await clock.advance(25 * DAY)
    await run(runtime, "kept", "late")
    assert await there(runtime, "a", "b", "c", "late", "p") == ["a", "b", "c", "late", "p"]
    await clock.advance(5 * DAY)
    await gone(runtime, "a", "b", "c")
    assert await there(runtime, "late", "p") == ["late", "p"]
    await clock.advance(25 * DAY)
    await gone(runtime, "late")
    assert await there(runtime, "p") == ["p"]


async def test_one_that_runs_is_kept_however_long_it_does(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "waiting", "w")
    await clock.advance(90 * DAY)
    assert await refused(runtime.retention.delete(ME, "w")) == "EXECUTION_NOT_ENDED"
    job, matched = await runtime.retention.prune(ME, "true")
    assert matched == 0
    assert (await done(runtime, job)).done == 0
    await runtime.submit(ME, "w", "go", None, "")
    await clock.advance(3_590)
    assert await there(runtime, "w") == ["w"]
    await clock.advance(20)
    await gone(runtime, "w")


async def test_what_expires_while_nothing_runs_goes_at_the_start(clock: ManualClock, tmp_path: Path) -> None:
    async with engine(tmp_path / "orders.db", clock) as runtime:
        await runtime.publish(KEPT)
        await run(runtime, "kept", "a")
    await clock.advance(31 * DAY)
    async with engine(tmp_path / "orders.db", clock) as runtime:
        await gone(runtime, "a")


async def test_pruning_waits_for_subscriptions_but_not_for_ever(runtime: Runtime, clock: ManualClock) -> None:
    await runtime.subscriptions.create(ME, "slow", from_start=True)
    await runtime.subscriptions.create(ME, "quick", from_start=True)
    await run(runtime, "kept", "a")
    feeds = runtime.tenant_feeds
    page = await feeds.read("default", await feeds.begin("default", from_start=True), event_filter(""), 100, 10_000)
    await runtime.subscriptions.acknowledge(ME, "quick", page.position)
    await clock.advance(30 * DAY + 3_600)
    assert await there(runtime, "a") == ["a"]
    await run(runtime, "kept", "b")
    await clock.advance(DAY)
    await gone(runtime, "a")
    assert await refused(runtime.subscriptions.pull(ME, "slow", 10, 10_000)) == "POSITION_PRUNED"
    await runtime.subscriptions.delete(ME, "slow")
    await clock.advance(29 * DAY)
    assert await there(runtime, "b") == ["b"]
    await runtime.subscriptions.delete(ME, "quick")
    await clock.advance(600)
    await gone(runtime, "b")


async def test_a_job_waits_for_subscriptions_too(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "plain", "a", "b")
    position = await runtime.tenant_feeds.begin("default")
    await runtime.subscriptions.create(ME, "slow", "", position)
    await run(runtime, "plain", "c", "d", "e")
    job, matched = await runtime.retention.prune(ME, "true")
    assert matched == 5
    await gone(runtime, "a", "b")
    await clock.advance(60)
    assert await there(runtime, "c", "d", "e") == ["c", "d", "e"]
    await runtime.subscriptions.acknowledge(ME, "slow", await runtime.tenant_feeds.begin("default"))
    await clock.advance(60)
    ended = await done(runtime, job)
    assert (ended.state, ended.done, ended.total, ended.failed) == (JobState.SUCCEEDED, 5, 5, 0)


async def test_a_deletion_is_at_once_and_frees_the_id(runtime: Runtime) -> None:
    caller = msgspec.structs.replace(ME, request_id="r-1", fingerprint=b"f" * 32)
    await run(runtime, "plain", "a")
    await runtime.retention.delete(caller, "a")
    assert await refused(runtime.get(ME, "a")) == "EXECUTION_NOT_FOUND"
    assert await refused(runtime.retention.delete(ME, "a")) == "EXECUTION_NOT_FOUND"
    await run(runtime, "plain", "a")
    await runtime.retention.delete(caller, "a")
    assert await there(runtime, "a") == ["a"]
    other = msgspec.structs.replace(caller, fingerprint=b"g" * 32)
    assert await refused(runtime.retention.delete(other, "a")) == "REQUEST_ID_REUSED"


async def test_a_job_prunes_what_matches_and_no_more_than_it_is_told(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "plain", "a", "b")
    await clock.advance(60)
    between = clock.now()
    await run(runtime, "plain", "c", "d", "e")
    await run(runtime, "kept", "k")
    _, matched = await runtime.retention.prune(ME, 'definition_id == "plain"', dry_run=True)
    assert matched == 5
    assert await runtime.retention.prune(ME, "true", between, dry_run=True) == (None, 2)
    assert await there(runtime, "a", "b", "c", "d", "e", "k") == ["a", "b", "c", "d", "e", "k"]
    job, matched = await runtime.retention.prune(ME, 'definition_id == "plain"', 0, 3)
    assert (matched, (await done(runtime, job)).done) == (3, 3)
    assert await there(runtime, "a", "b", "c", "d", "e", "k") == ["d", "e", "k"]
    job, _ = await runtime.retention.prune(ME, "true", between)
    assert (await done(runtime, job)).done == 0
    assert await refused(runtime.retention.prune(ME, "status ==")) == "INVALID_FILTER"
    assert await refused(runtime.retention.prune(ME, max_count=-1)) == "INVALID_REQUEST"


async def test_without_a_filter_a_job_is_about_what_has_expired(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "kept", "a", "b", "c")
    await run(runtime, "plain", "p")
    assert await runtime.retention.prune(ME, dry_run=True) == (None, 0)
    await runtime.subscriptions.create(ME, "slow", from_start=True)
    await clock.advance(30 * DAY + 1)
    assert await runtime.retention.prune(ME, dry_run=True) == (None, 3)
    await runtime.subscriptions.delete(ME, "slow")
    job, _ = await runtime.retention.prune(ME)
    ended = await done(runtime, job)
    assert (ended.state, ended.failed) == (JobState.SUCCEEDED, 0)
    assert ended.done <= 3  # the sweep may have been there first
    assert await there(runtime, "a", "b", "c", "p") == ["p"]


async def test_a_repeated_request_begins_one_job(runtime: Runtime) -> None:
    caller = Caller(request_id="r-1", fingerprint=b"f" * 32)
    await run(runtime, "plain", "a")
    first, _ = await runtime.retention.prune(caller, "true")
    again, matched = await runtime.retention.prune(caller, "true")
    assert first is not None and again is not None
    assert (again.job_id, matched) == (first.job_id, 1)
    await done(runtime, first)
    assert len(await runtime.jobs.list("default")) == 1


async def test_an_execution_whose_events_are_on_their_way_stays(runtime: Runtime) -> None:
    await run(runtime, "plain", "a")
    record = await runtime.store.execution(ExecutionRef("default", "a"))
    assert record is not None
    await run(runtime, "waiting", "w")
    other = Caller("other")
    assert await refused(runtime.retention.delete(other, "a")) == "EXECUTION_NOT_FOUND"
    assert await runtime.retention.prune(other, "true", dry_run=True) == (None, 0)
    await runtime.retention.delete(ME, "a")
    assert await runtime.store.execution_by_key(record.key) is None


async def brought(runtime: Runtime, execution_id: str) -> Brought:
    """An export of an execution, as an import reads it."""
    reader = HistoryReader(1 << 20)
    ref = ExecutionRef("default", execution_id)
    async for piece in export(runtime.store, runtime.info.store_id, ref, runtime.clock.now()):
        reader.feed(piece)
    return reader.finish()


async def test_what_was_taken_over_as_it_had_ended_is_kept_as_long_from_then_on(
    runtime: Runtime, clock: ManualClock
) -> None:
    await run(runtime, "kept", "a")
    await run(runtime, "plain", "p")
    await clock.advance(29 * DAY)
    for name in ("a", "p"):
        await runtime.forking.fork(ME, ForkRequest(name, new_execution_id=f"{name}-fork"))
        await runtime.history_imports.take_in(ME, await brought(runtime, name), f"{name}-import")
    taken_over = ("a-fork", "a-import", "p-fork", "p-import")
    await clock.advance(2 * DAY)
    await gone(runtime, "a")
    await clock.advance(27 * DAY)
    assert await there(runtime, *taken_over) == list(taken_over)
    await clock.advance(2 * DAY)
    await gone(runtime, "a-fork", "a-import")
    assert await there(runtime, *taken_over) == ["p-fork", "p-import"]


async def test_a_fork_that_ends_expires_as_its_original_does(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "waiting", "w")
    await runtime.forking.fork(ME, ForkRequest("w", new_execution_id="f"))
    await runtime.history_imports.take_in(ME, await brought(runtime, "w"), "i")
    await clock.advance(DAY)
    for name in ("f", "i"):
        await runtime.submit(ME, name, "go", None, "")
    await clock.advance(3_590)
    assert await there(runtime, "f", "i") == ["f", "i"]
    await clock.advance(20)
    await gone(runtime, "f", "i")
    assert await there(runtime, "w") == ["w"]


async def test_an_import_expires_by_the_content_that_it_ran_with(runtime: Runtime, clock: ManualClock) -> None:
    await run(runtime, "kept", "a")
    exported = await brought(runtime, "a")
    other, third = Caller("other"), Caller("third")
    await runtime.publish(KEPT.replace("30d", "1h"), caller=other)
    await runtime.history_imports.take_in(other, exported)
    for text in (KEPT.replace("30d", "1h"), KEPT):
        await runtime.publish(text, caller=third)
    assert (await runtime.history_imports.take_in(third, exported)).version == 2
    await clock.advance(29 * DAY)
    refs = [ExecutionRef(tenant, "a") for tenant in ("other", "third")]
    assert all([await runtime.store.execution(ref) for ref in refs])
    await clock.advance(2 * DAY)
    async with asyncio.timeout(10):
        while await runtime.store.execution(refs[1]):
            await pass_a_second(runtime)
    assert await runtime.store.execution(refs[0])


async def test_what_a_deletion_has_left_when_the_process_ends_goes_after_the_next_start(
    clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "orders.db"
    async with engine(path, clock) as runtime:
        await runtime.publish(LONG)
        await runtime.start(ME, StartRequest("long", execution_id="a", input=list(range(900))))
        await runtime.wait_ended(ExecutionRef("default", "a"), 10_000_000)
        await runtime.retention_sweeps.close()
        await runtime.retention.delete(ME, "a")
        assert len(await runtime.store.leftovers(9)) == 1
    assert examine(path).findings == []
    async with engine(path, clock) as runtime:
        assert await there(runtime, "a") == []
        async with asyncio.timeout(10):
            while await runtime.store.leftovers(9):
                await pass_a_second(runtime)
    found = examine(path)
    assert (found.findings, found.counts["events"]) == ([], 0)
