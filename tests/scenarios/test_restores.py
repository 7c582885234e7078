"""A restored store: feeds and subscriptions of the time before are refused, and all that was open goes on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.scenarios.kit import LINEAR, PATIENT, Api, payload, refused, serve, status, value, worker
from tests.scenarios.test_feeds import ack, frames, pull, subscribed

from callboard.client import Client
from callboard.runtime.clock import ManualClock
from callboard.runtime.stores.sqlite_restore import restore
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2

NAPPING = """
id: napping
steps:
  - {id: nap, wait: {duration: 1h}}
  - {id: got, receive: {event: go, timeout: 30m, on_timeout: CONTINUE}}
output: "${steps.got.result == null ? 'nobody came' : steps.got.result.payload}"
"""
HOURLY = """
id: hourly
triggers: [{id: tick, schedule: {every: 1h}}]
steps: [{id: one, set: {a: 1}}]
"""
LINED = """
id: lined
steps: [{id: got, receive: {event: go}}]
output: "${execution.id}"
"""


async def watched(api: Api, execution_id: str, after: int) -> list[int]:
    request = events_pb2.WatchExecutionRequest(execution_id=execution_id, after_sequence=after)
    call = api.executions.WatchExecution(request, metadata=api.metadata)
    async with asyncio.timeout(30):
        return [event.sequence async for page in call for event in page.events]


async def verified(api: Api) -> None:
    """All that is there holds."""
    async with Client(api.server.address) as client:
        async for execution in client.list():
            verification = await client.verify(execution.id)
            assert verification.valid, verification


async def begin(api: Api) -> None:
    for text in (NAPPING, HOURLY, LINEAR, LINED):
        await api.publish(text)
    await api.start("napping", "n-1")
    await api.start("linear", "l-1")
    await api.start("lined", "first", unique_key="k")
    await api.enqueue("n-1", "go", "kept")


async def test_a_restored_store_refuses_what_was_issued_before_and_goes_on(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "backup"
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    async with serve(tmp_path / "old", clock=clock, dispatching=PATIENT) as api:
        await begin(api)
        first = await subscribed(api)
        await ack(api, "s", first.position)
        await api.start("napping", "n-2")
        async with Client(api.server.address) as client:
            await client.backup(file)
        await api.submit("first", "go")
        await api.start("lined", "lost", unique_key="k", request_id="r-1")
        later = await pull(api)
        await ack(api, "s", later.position)
        seen = (await api.get("first")).sequence
    restore(file, tmp_path / "new" / "callboard.db")
    async with serve(tmp_path / "new", clock=clock, dispatching=PATIENT) as api:
        await _refused_positions(api, later.position)
        again = await pull(api)
        assert {event.execution_id for event in again.events} == {"n-2"}
        await _refused_sequence(api, "first", seen)
        await _goes_on(api, clock)
        await verified(api)


async def _refused_positions(api: Api, position: str) -> None:
    create = events_pb2.CreateSubscriptionRequest(subscription_id="t", position=position)
    for call in (
        frames(api, position=position).read(),
        ack(api, "s", position),
        api.executions.CreateSubscription(create, metadata=api.metadata),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "OTHER_GENERATION")


async def _refused_sequence(api: Api, execution_id: str, seen: int) -> None:
    """Who has seen events that the restore has lost must not take others for them, or wait for ever."""
    assert (await api.get(execution_id)).sequence < seen
    request = events_pb2.WatchExecutionRequest(execution_id=execution_id, after_sequence=seen)
    async with asyncio.timeout(30):
        refusal = await refused(api.executions.WatchExecution(request, metadata=api.metadata).read())
    assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE")


async def _goes_on(api: Api, clock: ManualClock) -> None:
    """Tasks are handed out, timers fire, schedules come, what was kept is taken, a lost start can be had again."""
    assert (await api.start("lined", "first", unique_key="k")).started is False
    async with worker(api, lambda task: value(task.input)):
        await clock.advance(6)  # those who had its tasks have been waited for
        assert (await api.ended("l-1")).status == status("COMPLETED")
    await clock.advance(3_601)
    assert value((await api.ended("n-1")).output) == "kept"
    await clock.advance(1_801)
    assert value((await api.ended("n-2")).output) == "nobody came"
    listed = await api.executions.ListExecutions(pb2.ListExecutionsRequest(filter='definition_id == "hourly"'))
    assert len(listed.executions) == 1
    await api.submit("first", "go")
    assert (await api.start("lined", "lost", unique_key="k", request_id="r-1")).started
    assert len(await watched(api, "first", 1)) == (await api.get("first")).sequence - 1


async def test_who_watches_from_behind_the_last_event_is_told(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(LINED)
        await api.start("lined", "x-1", input=payload(None))
        last = (await api.get("x-1")).sequence
        await _refused_behind(api, last + 1)
        watching = asyncio.create_task(watched(api, "x-1", last))
        await api.submit("x-1", "go")
        ended = (await api.get("x-1")).sequence
        assert await watching == list(range(last + 1, ended + 1))
        assert await watched(api, "x-1", ended) == []
        assert await watched(api, "x-1", ended + 1) == []


async def _refused_behind(api: Api, after: int) -> None:
    request = events_pb2.WatchExecutionRequest(execution_id="x-1", after_sequence=after)
    async with asyncio.timeout(30):
        refusal = await refused(api.executions.WatchExecution(request, metadata=api.metadata).read())
    assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE")
    assert refusal.metadata == {"first": "1", "last": str(after - 1)}
