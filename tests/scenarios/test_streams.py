"""The streams for callers: watches that miss nothing, starts in bulk that answer out of order, pages that fit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.scenarios.kit import WAITING, Api, connect, payload, refusal_in, refused, serve, status, value

from callboard.v1 import execution_control_pb2, execution_events_pb2, execution_service_pb2, history_pb2


async def watched(api: Api, execution_id: str, after: int = 0) -> list[history_pb2.WorkflowEvent]:
    """All events of a watch that ends by itself, OK."""
    request = execution_events_pb2.WatchExecutionRequest(execution_id=execution_id, after_sequence=after)
    async with asyncio.timeout(20):
        return [event async for page in api.executions.WatchExecution(request) for event in page.events]


async def test_a_watch_sees_what_is_stored_and_what_comes_and_ends_after_the_last_event(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    watching = [asyncio.create_task(watched(api, "x-1")) for _ in range(5)]
    await api.submit("x-1", "go", 1)
    await api.enqueue("x-1", "more", 2)
    histories = await asyncio.gather(*watching)
    history = await api.history("x-1")
    assert all(one == history for one in histories)
    assert history[-1].event_name == "ExecutionCompleted"


async def test_a_watch_goes_on_from_where_it_broke_off(tmp_path: Path) -> None:
    async with AsyncExitStack() as outlasting:
        async with serve(tmp_path) as api:
            await api.publish(WAITING)
            await api.start("waiting", "x-1")
            other = Api(api.server, await outlasting.enter_async_context(connect(api.server)))
            watch = other.executions.WatchExecution(execution_events_pb2.WatchExecutionRequest(execution_id="x-1"))
            first = list((await watch.read()).events)
        refusal = await refused(watch.read())
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    async with serve(tmp_path) as api:
        going_on = asyncio.create_task(watched(api, "x-1", first[-1].sequence))
        await api.submit("x-1", "go", 1)
        await api.submit("x-1", "more", 2)
        rest = await going_on
        assert [*first, *rest] == await api.history("x-1")
        assert await watched(api, "x-1", rest[-1].sequence - 1) == rest[-1:]


@pytest.mark.parametrize("after", [0, 3])
async def test_history_comes_in_pages_that_fit(api: Api, after: int) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    for _ in range(20):
        await api.submit("x-1", "other", "x" * 1_000)
    request = execution_events_pb2.GetHistoryRequest(
        execution_id="x-1", page_size=7, max_frame_bytes=5_000, after_sequence=after
    )
    events = []
    while True:
        page = await api.executions.GetHistory(request)
        assert 0 < len(page.events) <= 7
        assert page.ByteSize() <= 5_000
        events += page.events
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [event.sequence for event in events] == list(range(after + 1, 23))
    assert events == (await api.history("x-1"))[after:]


async def test_starts_in_bulk_answer_as_they_end_out_of_order(api: Api) -> None:
    await api.publish(WAITING)
    stream = api.executions.StartExecutions()
    item = execution_service_pb2.StartExecutionRequest
    items = [item(definition_id="waiting", execution_id=f"x-{n}") for n in range(3)]
    for one in items[:2]:
        one.wait.seconds = 30
    items += [item(definition_id="nobody"), item(definition_id="waiting", input=payload(1), execution_id="not an id")]
    await stream.write(execution_service_pb2.StartExecutionsRequest(items=items))
    await stream.done_writing()
    results: dict[int, Any] = {}

    async def read(until: set[int]) -> None:
        async with asyncio.timeout(20):
            while not until <= set(results):
                results.update({one.index: one for one in (await stream.read()).results})

    await read({2, 3, 4})
    assert set(results) == {2, 3, 4}
    assert (results[2].started, results[2].ended) == (True, False)
    assert refusal_in(results[3].status).reason == "DEFINITION_NOT_FOUND"
    assert refusal_in(results[4].status).fields.keys() == {"execution_id"}
    for execution_id in ("x-1", "x-0"):
        for name in ("go", "more"):
            await api.submit(execution_id, name, execution_id)
        await read({int(execution_id[-1])})
    assert list(results)[-2:] == [1, 0]
    assert value(results[1].execution.output) == ["x-1", "x-1"]
    assert results[0].ended
    assert await stream.read() is grpc.aio.EOF
    assert (await stream.code()) is grpc.StatusCode.OK


async def test_many_starts_in_bulk_are_all_there(api: Api) -> None:
    await api.publish("id: quick\nsteps: [{id: a, set: {n: '${input}'}}]\noutput: ${vars.n}")
    stream = api.executions.StartExecutions()
    frames, size = 10, 50
    for frame in range(frames):
        items = [
            execution_service_pb2.StartExecutionRequest(definition_id="quick", input=payload(frame * size + n))
            for n in range(size)
        ]
        for one in items:
            one.wait.seconds = 30
        await stream.write(execution_service_pb2.StartExecutionsRequest(items=items))
    await stream.done_writing()
    results = [one async for answer in stream for one in answer.results]
    assert sorted(one.index for one in results) == list(range(frames * size))
    assert all(value(one.execution.output) == one.index for one in results)


async def test_a_wait_that_is_over_says_that_it_has_not_ended(api: Api) -> None:
    await api.publish(WAITING)
    answer = await api.start("waiting", "x-1", wait=0.05)
    assert (answer.started, answer.ended) == (True, False)
    request = execution_service_pb2.WaitExecutionRequest(execution_id="x-1")
    request.wait.nanos = 50_000_000
    assert not (await api.executions.WaitExecution(request)).ended


async def test_a_cancelled_execution_ends_for_everyone_who_waits(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    waits = [asyncio.create_task(api.ended("x-1")) for _ in range(3)]
    request = execution_control_pb2.CancelExecutionRequest(execution_id="x-1", reason="not needed")
    await api.executions.CancelExecution(request)
    for execution in await asyncio.gather(*waits):
        assert (execution.status, execution.failure.message) == (status("CANCELLED"), "not needed")


async def test_executions_are_listed_in_pages_that_stay_put(api: Api) -> None:
    await api.publish(WAITING)
    for n in range(7):
        await api.start("waiting", f"x-{n}", labels={"parity": "odd" if n % 2 else "even"})
    request = execution_service_pb2.ListExecutionsRequest(page_size=3)
    ids = []
    for added in ("y-1", "y-2", ""):
        page = await api.executions.ListExecutions(request)
        ids += [one.execution_id for one in page.executions]
        request.page_token = page.next_page_token
        if added:
            await api.start("waiting", added)
    assert ids == [f"x-{n}" for n in range(6, -1, -1)]
    assert not page.next_page_token
    odd = execution_service_pb2.ListExecutionsRequest(filter='labels.parity == "odd" && status == "RUNNING"')
    assert [one.execution_id for one in (await api.executions.ListExecutions(odd)).executions] == ["x-5", "x-3", "x-1"]
