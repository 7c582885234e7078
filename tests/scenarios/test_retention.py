"""Ended executions go: deleted, pruned by a job that survives a kill, or in time; and with them goes what they took."""

from __future__ import annotations

import asyncio
import datetime
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.crash import kit as crash
from tests.scenarios.kit import SECONDS_MAX, WAITING, Api, eventually, payload, refusal_of, refused, serve

from callboard.runtime.clock import ManualClock
from callboard.runtime.settings import Settings
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import jobs_pb2

PLAIN = """
id: plain
steps: [{id: one, set: {a: "${input}"}}]
"""
KEPT = """
id: kept
retention: 30d
steps: [{id: one, set: {a: "${input}"}}]
"""
RUNNING = jobs_pb2.JobState.JOB_STATE_RUNNING
SUCCEEDED = jobs_pb2.JobState.JOB_STATE_SUCCEEDED


async def delete(api: Api, execution_id: str, **more: Any) -> Any:
    request = pb2.DeleteExecutionRequest(execution_id=execution_id, **more)
    return await api.executions.DeleteExecution(request, metadata=api.metadata)


async def prune(api: Api, filter: str = "", **more: Any) -> Any:
    request = control_pb2.PruneExecutionsRequest(filter=filter, **more)
    return await api.executions.PruneExecutions(request, metadata=api.metadata)


async def pruned(api: Api, filter: str = "", **more: Any) -> Any:
    """The job, once it has ended."""
    job_id = (await prune(api, filter, **more)).job.job_id

    async def ended() -> Any:
        answer = await api.executions.GetJob(control_pb2.GetJobRequest(job_id=job_id), metadata=api.metadata)
        return answer.job if answer.job.state != RUNNING else None

    return await eventually(ended)


async def ids(api: Api) -> list[str]:
    answer = await api.executions.ListExecutions(pb2.ListExecutionsRequest(page_size=1_000), metadata=api.metadata)
    return sorted(execution.execution_id for execution in answer.executions)


async def run(api: Api, *names: str, definition_id: str = "plain", content: Any = None) -> None:
    calls = (api.start(definition_id, name, wait=SECONDS_MAX, input=payload(content)) for name in names)
    assert all(answer.ended for answer in await asyncio.gather(*calls))


async def test_an_ended_execution_is_deleted_and_its_id_is_free(api: Api) -> None:
    await api.publish(PLAIN)
    await api.publish(WAITING)
    await run(api, "x-1")
    await api.start("waiting", "x-2")
    running = await refused(delete(api, "x-2"))
    assert (running.code, running.reason) == ("FAILED_PRECONDITION", "EXECUTION_NOT_ENDED")
    assert (await refused(delete(api.of("other"), "x-1"))).reason == "EXECUTION_NOT_FOUND"
    assert (await refused(delete(api, "x 1"))).reason == "INVALID_REQUEST"
    await delete(api, "x-1", request_id="r-1")
    for call in (api.get("x-1"), api.history("x-1"), delete(api, "x-1"), api.submit("x-1", "go")):
        assert (await refused(call)).reason == "EXECUTION_NOT_FOUND"
    await run(api, "x-1", content=2)
    await delete(api, "x-1", request_id="r-1")
    assert (await refused(delete(api, "x-2", request_id="r-1"))).reason == "REQUEST_ID_REUSED"
    assert await ids(api) == ["x-1", "x-2"]
    assert await api.names("x-2") == ["ExecutionStarted", "StepScheduled"]


async def test_its_dead_letters_go_with_it(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    await api.enqueue("x-1", "later", 1)
    await api.submit("x-1", "go")
    await api.submit("x-1", "more")
    await api.ended("x-1")
    assert len(await api.dead_letters()) == 1
    await delete(api, "x-1")
    assert await api.dead_letters() == []


async def test_a_pruning_takes_what_matches_and_never_what_runs(api: Api) -> None:
    await api.publish(PLAIN)
    await api.publish(WAITING)
    await run(api, *(f"x-{number}" for number in range(120)))
    await api.start("waiting", "running")
    await run(api.of("default"), "other", definition_id="plain")
    rehearsal = await prune(api, 'definition_id == "plain"', validate_only=True)
    assert (rehearsal.matched_count, rehearsal.HasField("job")) == (121, False)
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert (await prune(api, "true", ended_before=long_ago, validate_only=True)).matched_count == 0
    assert (await prune(api, validate_only=True)).matched_count == 0
    job = await pruned(api, 'definition_id == "plain"', max_count=100)
    assert (job.state, job.kind, job.done_count, job.total_count) == (SUCCEEDED, jobs_pb2.JOB_KIND_PRUNE, 100, 100)
    assert len(await ids(api)) == 22
    job = await pruned(api, "true")
    assert (job.done_count, job.failed_count) == (21, 0)
    assert await ids(api) == ["running"]
    assert (await refused(prune(api, "status ="))).reason == "INVALID_FILTER"
    assert (await refused(prune(api, max_count=-1))).reason == "INVALID_REQUEST"
    await api.submit("running", "go")
    await api.submit("running", "more")
    await api.ended("running")


async def test_another_tenant_loses_nothing(api: Api) -> None:
    for tenant in ("ours", "theirs"):
        await api.of(tenant).publish(PLAIN)
        await run(api.of(tenant), "x-1")
    assert (await pruned(api.of("ours"), "true")).done_count == 1
    assert (await ids(api.of("ours")), await ids(api.of("theirs"))) == ([], ["x-1"])
    watch = api.executions.WatchEvents(
        events_pb2.WatchEventsRequest(from_start=True), metadata=api.of("theirs").metadata
    )
    assert [event.sequence for event in (await watch.read()).events][:2] == [1, 2]


async def test_who_reads_below_what_was_pruned_is_told_so(api: Api) -> None:
    await api.publish(PLAIN)
    watch = api.executions.WatchEvents(events_pb2.WatchEventsRequest(from_start=True), metadata=api.metadata)
    await run(api, "x-1")
    position = (await watch.read()).position
    await run(api, "x-2")
    await pruned(api, "true")
    request = events_pb2.WatchEventsRequest(position=position)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.executions.WatchEvents(request, metadata=api.metadata).read()
    refusal = refusal_of(error.value)
    assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "POSITION_PRUNED")
    oldest = events_pb2.WatchEventsRequest(position=refusal.metadata["oldest_position"])
    follower = api.executions.WatchEvents(oldest, metadata=api.metadata)
    await run(api, "x-3")
    async with asyncio.timeout(SECONDS_MAX):
        while not (frame := await follower.read()).events:
            pass
    assert {event.execution_id for event in frame.events} == {"x-3"}


async def test_a_subscription_is_waited_for(api: Api) -> None:
    await api.publish(PLAIN)
    made = events_pb2.CreateSubscriptionRequest(subscription_id="s", from_start=True)
    await api.executions.CreateSubscription(made)
    await run(api, "x-1")
    job = (await prune(api, "true")).job
    pulled = await api.executions.PullSubscription(events_pb2.PullSubscriptionRequest(subscription_id="s"))
    assert {event.execution_id for event in pulled.events} == {"x-1"}
    assert await ids(api) == ["x-1"]
    answer = await api.executions.GetJob(control_pb2.GetJobRequest(job_id=job.job_id))
    assert (answer.job.state, answer.job.done_count) == (RUNNING, 0)
    acknowledged = events_pb2.AckSubscriptionRequest(subscription_id="s", position=pulled.position)
    await api.executions.AckSubscription(acknowledged)
    assert (await pruned(api, "true")).done_count == 1
    assert not (await api.executions.PullSubscription(events_pb2.PullSubscriptionRequest(subscription_id="s"))).events


async def test_a_definition_says_how_long_its_executions_are_kept(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(KEPT)
        await api.publish(PLAIN)
        await run(api, "x-1", "x-2", definition_id="kept")
        await run(api, "y-1")
    await clock.advance(31 * 86_400)
    async with serve(tmp_path, clock=clock) as api:
        await eventually(lambda: _are(api, ["y-1"]))


async def _are(api: Api, expected: list[str]) -> bool:
    return await ids(api) == expected


async def test_space_is_used_again_and_given_back(tmp_path: Path) -> None:
    """As much again and again needs as much room as once, and without it the file is small."""
    database, pages = tmp_path / "callboard.db", []
    async with serve(tmp_path, settings=Settings(prune_batch_max=20)) as api:
        await api.publish(PLAIN)
        for number in range(4):
            await run(api, *(f"x-{number}-{each}" for each in range(60)), content="x" * 30_000)
            pages.append(_pages(database))
            await pruned(api, "true")
        await eventually(lambda: _small(database, pages[0] // 3))
    assert max(pages[1:]) < 1.3 * pages[0]
    assert database.stat().st_size < pages[0] * 4096 // 3
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def _small(database: Path, limit: int) -> bool:
    return _pages(database) < limit


def _pages(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages)


async def test_a_job_goes_on_after_a_kill(tmp_path: Path) -> None:
    server = crash.Server(tmp_path, "--limit", "prune_batch_max=1")
    try:
        await server.start()
        await _publish(server.now)
        await asyncio.gather(*(_start(server.now, f"x-{number}") for number in range(150)))
        request = control_pb2.PruneExecutionsRequest(filter="true", max_count=100)
        job_id = (await server.now.executions.PruneExecutions(request)).job.job_id
        await crash.until_async(lambda: _done(server.now, job_id, 10), "the job gets going")
        await server.kill()
        await server.start()
        middle = await _job(server.now, job_id)
        assert 10 <= middle.done_count < 100
        await crash.until_async(lambda: _done(server.now, job_id, 100), "the job ends")
        listed = await server.now.executions.ListExecutions(pb2.ListExecutionsRequest(page_size=1_000))
        assert len(listed.executions) == 50
        verified = [
            await server.now.executions.VerifyExecution(pb2.VerifyExecutionRequest(execution_id=one.execution_id))
            for one in listed.executions[:5]
        ]
        assert all(answer.valid for answer in verified)
    finally:
        await server.close()


async def _publish(stubs: crash.Stubs) -> None:
    source = crash.violations_pb2.SourceText(name="flow.yaml", text=PLAIN)
    await stubs.definitions.PublishDefinition(crash.definitions_pb2.PublishDefinitionRequest(source=source))


async def _start(stubs: crash.Stubs, name: str) -> None:
    request = pb2.StartExecutionRequest(definition_id="plain", execution_id=name)
    request.wait.FromSeconds(SECONDS_MAX)
    assert (await stubs.executions.StartExecution(request)).ended


async def _job(stubs: crash.Stubs, job_id: str) -> Any:
    return (await stubs.executions.GetJob(control_pb2.GetJobRequest(job_id=job_id))).job


async def _done(stubs: crash.Stubs, job_id: str, count: int) -> bool:
    job = await _job(stubs, job_id)
    return job.done_count >= count and (count < 100 or job.state == SUCCEEDED)
