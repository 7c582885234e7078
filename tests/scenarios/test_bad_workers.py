"""Workers that send garbage: each item gets its own answer, the stream and the others go on, no task is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import (
    HOLD,
    LINEAR,
    PATIENT,
    Api,
    disposition,
    payload,
    raw,
    refused,
    result_of,
    serve,
    status,
    worker,
)

from callboard.runtime.clock import ManualClock
from callboard.v1 import errors_pb2, execution_control_pb2, failure_pb2, tasks_pb2, worker_service_pb2

INT_ONLY = """
id: shaped
steps:
  - {id: one, task: {service: s, operation: one}}
output: "${steps.one.result.n + 1}"
"""


def reason(ack: tasks_pb2.TaskAck) -> str:
    return errors_pb2.ErrorReason.Name(ack.reason).removeprefix("ERROR_REASON_")


@pytest.mark.parametrize("text", ["{", "nope", "18446744073709551616", '{"a":1,"a":1}', '"\\udfff"'])
async def test_a_result_that_is_no_json_is_invalid_and_the_task_can_still_be_answered(api: Api, text: str) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD) as stub:
        await api.start("linear", "x-1")
        task = (await stub.seen())[0]
        bad = tasks_pb2.TaskResult(task_token=task.task_token, output=raw(text))
        await stub.send(worker_service_pb2.WorkRequest(results=[bad]))
        await stub.when(lambda: stub.acks)
        assert (disposition(stub.acks[0]), reason(stub.acks[0])) == ("INVALID", "INVALID_JSON")
        assert await api.names("x-1") == ["ExecutionStarted", "StepScheduled"]
        assert disposition(await stub.answer(task, "better")) == "ACCEPTED"


async def test_a_worker_that_never_sends_anything_better_loses_the_task_after_a_lease(tmp_path: Path) -> None:
    """It is there all the time, so its lease does not end; it only believes that it is done."""
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="bad", operations=["s.one"]) as bad:
            await api.start("linear", "x-1")
            task = (await bad.seen())[0]
            garbage = tasks_pb2.TaskResult(task_token=task.task_token, output=raw("{"))
            assert disposition((await api.complete("bad", garbage))[0]) == "INVALID"
            for _ in range(4):
                await api.complete("bad")
                await clock.advance(9)
            await api.until("x-1", "StepDeliveryLost")
            again = (await bad.seen(2))[1]
            assert (again.attempt, again.idempotency_key) == (1, task.idempotency_key)
            assert disposition(await bad.answer(again, "better")) == "ACCEPTED"


async def test_one_bad_item_does_not_cost_the_others(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD) as stub:
        for n in range(3):
            await api.start("linear", f"x-{n}")
        first, second, third = (await stub.seen(3))[:3]
        acks = await api.complete(
            "w-1",
            result_of(first, 1),
            tasks_pb2.TaskResult(task_token=second.task_token, output=raw("{")),
            tasks_pb2.TaskResult(task_token=b"no token", output=payload(1)),
            tasks_pb2.TaskResult(task_token=third.task_token),
            tasks_pb2.TaskResult(task_token=third.task_token, failure=failure_pb2.Failure(message="no type")),
            result_of(third, 3),
        )
        assert [disposition(ack) for ack in acks] == [
            *("ACCEPTED", "INVALID", "INVALID", "INVALID", "INVALID", "ACCEPTED"),
        ]
        assert [ack.task_token for ack in acks][:3] == [first.task_token, second.task_token, b"no token"]
        assert reason(acks[2]) == "INVALID_TOKEN"
        assert disposition((await api.complete("w-1", result_of(second, 2)))[0]) == "ACCEPTED"


async def test_a_token_that_was_tampered_with_or_is_another_tenants_is_invalid(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD) as stub:
        await api.start("linear", "x-1")
        token = (await stub.seen())[0].task_token
        forged = token[:-1] + bytes([token[-1] ^ 1])
        for who, one in ((api, forged), (api, b""), (api, b"x" * 500), (api.of("other"), token)):
            ack = (await who.complete("w-1", result_of(one, 1)))[0]
            assert (disposition(ack), reason(ack)) == ("INVALID", "INVALID_TOKEN")
            beat = worker_service_pb2.HeartbeatTasksRequest(
                worker_id="w-1", heartbeats=[tasks_pb2.TaskHeartbeat(task_token=one)]
            )
            ack = (await who.workers.HeartbeatTasks(beat, metadata=who.metadata)).acks[0]
            assert disposition(ack) == "INVALID"
        assert await api.names("x-1") == ["ExecutionStarted", "StepScheduled"]
        assert disposition(await stub.answer(token, 1)) == "ACCEPTED"


async def test_a_stale_token_changes_nothing(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD) as stub:
        await api.start("linear", "x-1")
        task = (await stub.seen())[0]
        request = execution_control_pb2.TerminateExecutionRequest(execution_id="x-1")
        await api.executions.TerminateExecution(request)
        before = await api.history("x-1")
        ack = await stub.answer(task, 1)
        assert (disposition(ack), reason(ack)) == ("STALE", "STALE_TOKEN")
        await stub.when(lambda: any(frame.cancels for frame in stub.frames))
        assert await api.history("x-1") == before


async def test_a_result_of_the_wrong_type_fails_where_it_is_used_and_not_before(api: Api) -> None:
    await api.publish(INT_ONLY)
    async with worker(api, lambda task: "not an object") as stub:
        await api.start("shaped", "x-1")
        await stub.when(lambda: stub.acks)
        assert disposition(stub.acks[0]) == "ACCEPTED"
        await api.until("x-1", "ExecutionParked")
        execution = await api.get("x-1")
        assert execution.incidents[0].failure.type == "ExpressionError"


async def test_a_result_over_the_limit_fails_the_attempt(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: "x" * 1_100_000):
        await api.start("linear", "x-1")
        execution = await api.ended("x-1")
        assert (execution.status, execution.failure.type) == (status("FAILED"), "ResultTooLarge")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"worker_id": ""}, "worker_id"),
        ({"operations": []}, "operations"),
        ({"operations": ["nodot"]}, "nodot"),
        ({"max_in_flight": 0}, "max_in_flight"),
    ],
)
async def test_a_hello_nobody_can_work_with_is_refused(api: Api, fields: dict[str, Any], named: str) -> None:
    hello = {"worker_id": "w", "operations": ["s.one"], "max_in_flight": 1, **fields}
    stream = api.workers.Work()
    await stream.write(worker_service_pb2.WorkRequest(hello=worker_service_pb2.WorkerHello(**hello)))
    refusal = await refused(stream.read())
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert named in refusal.message


async def test_a_first_frame_without_hello_and_a_second_one_with_it_are_refused(api: Api) -> None:
    stream = api.workers.Work()
    await stream.write(worker_service_pb2.WorkRequest(drain=True))
    assert (await refused(stream.read())).reason == "INVALID_REQUEST"
    async with worker(api, lambda task: HOLD) as stub:
        hello = worker_service_pb2.WorkerHello(worker_id="w-1", operations=["s.one"], max_in_flight=1)
        await stub.send(worker_service_pb2.WorkRequest(hello=hello))
        await stub.when(lambda: stub.ended)
        assert stub.ended == "INVALID_ARGUMENT"


async def test_unknown_fields_of_an_item_cost_that_item_only(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD) as stub:
        for n in range(2):
            await api.start("linear", f"x-{n}")
        first, second = (await stub.seen(2))[:2]
        strange = tasks_pb2.TaskResult.FromString(result_of(first, 1).SerializeToString() + b"\xc2\x3e\x01x")
        await stub.send(worker_service_pb2.WorkRequest(results=[strange, result_of(second, 2)]))
        await stub.when(lambda: len(stub.acks) == 2)
        acks = {ack.task_token: ack for ack in stub.acks}
        assert disposition(acks[first.task_token]) == "INVALID"
        assert reason(acks[first.task_token]) == "UNKNOWN_FIELD"
        assert disposition(acks[second.task_token]) == "ACCEPTED"
        assert disposition(await stub.answer(first, 1)) == "ACCEPTED"


async def test_too_many_items_in_one_call_are_refused_with_the_number(api: Api) -> None:
    results = [tasks_pb2.TaskResult(task_token=b"x", output=payload(1))] * 1_001
    refusal = await refused(api.complete("w-1", *results))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "LIMIT_EXCEEDED")
    assert (refusal.metadata["limit"], refusal.metadata["value"]) == ("1000", "1001")


async def test_a_silent_worker_loses_its_tasks_at_the_end_of_their_lease(tmp_path: Path) -> None:
    """Half-open: the stream stands, nothing comes over it any more, not even answers to pings."""
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="silent", silent=True) as silent:
            await api.start("linear", "x-1")
            await silent.seen()
            await clock.advance(31)
            await api.until("x-1", "StepDeliveryLost")
            async with worker(api, lambda task: task.attempt, worker_id="other") as other:
                await api.ended("x-1")
                assert [task.attempt for task in other.tasks] == [1, 1]


async def test_a_worker_that_drains_gets_nothing_more_and_what_it_leaves_goes_to_others_at_once(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="leaving") as leaving:
            await api.start("linear", "x-1")
            await leaving.seen()
            await leaving.send(worker_service_pb2.WorkRequest(drain=True))
            await api.start("linear", "x-2")
            async with worker(api, lambda task: 1, worker_id="staying") as staying:
                await api.ended("x-2")
                await leaving.vanish()
                await api.ended("x-1")
                assert {task.execution_id for task in staying.tasks} == {"x-1", "x-2"}
            assert len(leaving.tasks) == 1
