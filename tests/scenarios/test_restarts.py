"""A server that stops anywhere goes on from there: nothing done is done again, nothing recorded is recorded twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from tests.scenarios.kit import (
    HOLD,
    LINEAR,
    PATIENT,
    WAITING,
    Api,
    disposition,
    eventually,
    result_of,
    serve,
    status,
    value,
    worker,
)

from callboard.runtime.clock import ManualClock
from callboard.runtime.ports import StorageFailedError
from callboard.runtime.rows import ExecutionAppend
from callboard.v1 import failure_pb2

RETRYING = LINEAR.replace(
    "input: {n: 1}}}", "input: {n: 1}}, retry: {max_attempts: 3, initial_backoff: 10s, jitter: 0}}"
)
DOWN = failure_pb2.Failure(type="Down", message="try later", retryable=True)


async def test_only_what_is_left_runs_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: {"first": True}, operations=["s.one"]) as first:
            await api.start("linear", "x-1")
            await api.until("x-1", "StepScheduled", 2)
            assert [task.step_path for task in first.tasks] == ["one"]
    async with serve(tmp_path, clock=clock) as api:
        await clock.advance(6)
        async with worker(api, lambda task: {"second": value(task.input)}) as second:
            execution = await api.ended("x-1")
        assert [task.step_path for task in second.tasks] == ["two"]
        assert value(execution.output) == {"second": {"first": True}}
        results = [value(e.payload)["result"] for e in await api.history("x-1") if e.event_name == "StepCompleted"]
        assert results == [{"first": True}, {"second": {"first": True}}]


@pytest.mark.parametrize("moment", ["just before", "just after"])
async def test_a_failure_whose_append_the_server_died_around_is_recorded_once(tmp_path: Path, moment: str) -> None:
    """`just before`: the flush never reached the disk. `just after`: it did, and nobody was told."""
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(RETRYING)
        async with worker(api, lambda task: HOLD) as stub:
            await api.start("linear", "x-1")
            task = (await stub.seen())[0]
            _die_around(api, "StepRetryScheduled", write=moment == "just after")
            ack = await stub.answer(task, DOWN)
            assert disposition(ack) == "RETRY"
    async with serve(tmp_path, clock=clock) as api:
        async with worker(api, lambda task: task.attempt, holding=[task.task_token]) as stub:
            assert (list(stub.frames[0].welcome.holding) == [task.task_token]) is (moment == "just before")
            ack = await stub.answer(task.task_token, DOWN)
            assert disposition(ack) == ("ACCEPTED" if moment == "just before" else "DUPLICATE")
            await api.until("x-1", "StepRetryScheduled")
            await clock.advance(11)
            await api.ended("x-1")
            assert [(one.step_path, one.attempt) for one in stub.tasks] == [("one", 2), ("two", 1)]
        assert (await api.names("x-1")).count("StepRetryScheduled") == 1


def _die_around(api: Api, event: str, write: bool) -> None:
    """From the append with this event on, the storage fails, as it does for a process that is gone."""
    store: Any = api.server.runtime.store
    sound = store.write

    async def dying(batch: Any) -> Any:
        appends = [one for one in batch if isinstance(one, ExecutionAppend)]
        if any(stored.name == event for one in appends for stored in one.events):
            if write:
                await sound(batch)
            raise StorageFailedError("the process is gone")
        return await sound(batch)

    store.write = dying


async def test_a_task_is_not_delivered_twice_while_its_worker_is_alive(tmp_path: Path) -> None:
    """The server is killed and comes back while a worker holds a task; another worker is back first."""
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="holder") as holder:
            await api.start("linear", "x-1")
            task = (await holder.seen())[0]
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        other = worker(api, lambda task: "other", worker_id="other", operations=["s.one"])
        back = worker(api, lambda task: "holder", worker_id="holder", holding=[task.task_token])
        async with other as other_stub:
            assert (await api.queue("s.one")).queued == 1
            async with back as holder:
                assert list(holder.frames[0].welcome.holding) == [task.task_token]
                await clock.advance(60)
                assert not other_stub.tasks
                assert (await api.get("x-1")).open_steps[0].worker_id == "holder"
                assert disposition(await holder.answer(task.task_token, {"done": 1})) == "ACCEPTED"
                assert value((await api.ended("x-1")).output) == "holder"
            assert not other_stub.tasks
        assert "StepDeliveryLost" not in await api.names("x-1")


async def test_a_task_whose_worker_did_not_come_back_goes_to_another(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="gone") as gone:
            await api.start("linear", "x-1")
            task = (await gone.seen())[0]
    async with serve(tmp_path, clock=clock) as api:
        async with worker(api, lambda task: {"by": "other"}, worker_id="other") as other:
            await clock.advance(4)
            assert not other.tasks
            await clock.advance(2)
            await other.seen()
            assert (other.tasks[0].attempt, other.tasks[0].idempotency_key) == (1, task.idempotency_key)
            await api.ended("x-1")
        late = await api.complete("gone", result_of(task, "late"))
        assert disposition(late[0]) in ("STALE", "DUPLICATE")


async def test_a_broken_stream_gives_its_task_to_another_worker_without_using_a_retry(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="first") as first:
            await api.start("linear", "x-1")
            task = (await first.seen())[0]
        await eventually(lambda: _gone(api, "first"))
        async with worker(api, lambda task: HOLD, worker_id="second") as second:
            await clock.advance(4)
            assert not second.tasks
            await clock.advance(2)
            again = (await second.seen())[0]
            assert (again.attempt, again.idempotency_key) == (task.attempt, task.idempotency_key)
            assert again.task_token != task.task_token
            late = await api.complete("first", result_of(task, "late"))
            assert disposition(late[0]) == "STALE"
            assert late[0].reason  # a published one
            assert disposition(await second.answer(again, 1)) == "ACCEPTED"
            assert disposition(await second.answer(again, 1)) == "DUPLICATE"
        names = await api.names("x-1")
        assert names.count("StepDeliveryLost") == 1
        assert "StepRetryScheduled" not in names


async def _gone(api: Api, worker_id: str) -> bool:
    return worker_id not in await api.worker_ids()


async def test_the_same_view_is_replayed(tmp_path: Path) -> None:
    """What GetExecution and GetHistory say of open and ended executions is the same after a restart."""
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        await api.publish(WAITING)
        async with worker(api, lambda task: {"from": task.step_path}):
            await api.start("linear", "x-1", wait=10)
        await api.start("waiting", "x-2")
        await api.submit("x-2", "more", [1, 2])
        await api.submit("x-2", "go", {"a": None})
        await api.start("waiting", "x-3")
        await api.submit("x-3", "more", 1)
        before = [await _seen(api, name) for name in ("x-1", "x-2", "x-3")]
    async with serve(tmp_path, clock=clock) as api:
        assert [await _seen(api, name) for name in ("x-1", "x-2", "x-3")] == before
        assert (await api.submit("x-3", "go", 2)).execution.status == status("COMPLETED")


async def _seen(api: Api, execution_id: str) -> Any:
    execution, history = await asyncio.gather(api.get(execution_id), api.history(execution_id))
    return MessageToDict(execution), [MessageToDict(event) for event in history]
