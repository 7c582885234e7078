"""A new execution from any past event of another: it goes on by itself, and its history says where it comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import HOLD, LINEAR, PATIENT, WAITING, Api, payload, refused, serve, status, value, worker

from callboard.runtime.clock import ManualClock
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2, failure_pb2

NAPPING = """
id: napping
steps:
  - {id: nap, wait: {duration: 100s}}
  - {id: one, task: {service: s, operation: one, input: {n: 1}}}
output: "${steps.one.result}"
"""
LINED = """
id: lined
steps:
  - {id: one, task: {service: s, operation: one, input: "${input}"}, timeouts: {cancel_grace: 1h}}
output: "${steps.one.result}"
"""
RETRIED = LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, retry: {max_attempts: 3, initial_backoff: 10s}}")


async def fork(api: Api, execution_id: str, **more: Any) -> executions_pb2.Execution:
    request = pb2.ForkExecutionRequest(execution_id=execution_id, **more)
    answer: pb2.ForkExecutionResponse = await api.executions.ForkExecution(request, metadata=api.metadata)
    return answer.execution


async def verified(api: Api, execution_id: str) -> None:
    request = pb2.VerifyExecutionRequest(execution_id=execution_id)
    answer = await api.executions.VerifyExecution(request, metadata=api.metadata)
    assert not answer.problems, answer


async def test_a_fork_at_every_event_comes_to_the_same_end(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: {"by": task.step_path, "of": value(task.input)}) as stub:
        await api.start("linear", "x-1")
        original = await api.ended("x-1")
        history = await api.history("x-1")
        for event in history:
            forked = await fork(api, "x-1", at_sequence=event.sequence, new_execution_id=f"f-{event.sequence}")
            assert forked.fork == executions_pb2.ForkOrigin(
                execution_id="x-1", sequence=event.sequence, hash=event.hash
            )
            ended = await api.ended(forked.execution_id)
            assert (ended.status, ended.output) == (original.status, original.output)
            await verified(api, forked.execution_id)
            first = (await api.history(forked.execution_id))[0]
            assert (first.event_name, first.sequence) == ("ExecutionForked", 1)
            assert value(first.payload)["origin"]["sequence"] == event.sequence
        again = await fork(api, "f-1", at_sequence=1)
        assert (await api.ended(again.execution_id)).output == original.output
        await verified(api, again.execution_id)
    keys = [task.idempotency_key for task in stub.tasks]
    assert len(set(keys)) == len(keys)
    assert [e.hash for e in await api.history("x-1")] == [e.hash for e in history], "the original is not touched"


async def test_a_fork_of_the_end_has_ended_and_one_before_it_lives(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    await api.submit("x-1", "go", 1)
    before = await api.submit("x-1", "more", 2)
    assert before.execution.status == status("COMPLETED")
    ended = await fork(api, "x-1")
    assert (ended.status, value(ended.output), ended.sequence) == (status("COMPLETED"), [1, 2], 1)
    assert (await refused(api.submit(ended.execution_id, "go"))).reason == "EXECUTION_ENDED"
    assert await api.names(ended.execution_id) == ["ExecutionForked"]
    alive = await fork(api, "x-1", at_sequence=before.sequence - 1)
    assert (await api.submit(alive.execution_id, "more", 3)).execution.status == status("COMPLETED")
    assert value((await api.get(alive.execution_id)).output) == [1, 3]


async def test_a_retry_or_a_nap_comes_when_it_would_have(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(NAPPING)
        await api.start("napping", "x-1")
        await clock.advance(30)
        moment = await api.get("x-1")
        await clock.advance(1_000)
        forked = await fork(api, "x-1", at_time=moment.updated_at.ToDatetime() + timedelta(seconds=30))
        due = (await api.get(forked.execution_id)).open_steps[0].next_attempt_at.ToMicroseconds()
        assert due == clock.now() + 70_000_000
        async with worker(api, lambda _: "slept") as stub:
            await clock.advance(70)
            await stub.seen(2)
            assert value((await api.ended(forked.execution_id)).output) == "slept"


async def test_what_a_worker_holds_for_the_original_is_no_business_of_the_fork(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: HOLD, operations=["s.one"]) as stub:
        await api.start("linear", "x-1")
        (held,) = await stub.seen()
        forked = await fork(api, "x-1", new_execution_id="x-2")
        theirs = (await stub.seen(2))[1]
        assert (theirs.execution_id, theirs.step_path, theirs.attempt) == ("x-2", "one", held.attempt)
        assert theirs.idempotency_key != held.idempotency_key
        await stub.answer(held, "mine")
        assert (await api.get("x-2")).open_steps[0].path == "one"
        await stub.answer(theirs, "theirs")
    async with worker(api, lambda task: value(task.input), operations=["s.two"]):
        assert value((await api.ended("x-1")).output) == "mine"
        assert value((await api.ended(forked.execution_id)).output) == "theirs"


async def test_forks_go_on_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(NAPPING)
        await api.start("napping", "x-1")
        await fork(api, "x-1", new_execution_id="x-2")
        await clock.advance(50)
    async with serve(tmp_path, clock=clock) as api:
        await clock.advance(50)
        async with worker(api, lambda _: 7):
            assert [value((await api.ended(name)).output) for name in ("x-1", "x-2")] == [7, 7]
        await verified(api, "x-2")


async def test_the_same_request_forks_once_also_after_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        first = await fork(api, "x-1", request_id="r-1")
        assert first.execution_id not in ("", "x-1")
    async with serve(tmp_path) as api:
        assert (await fork(api, "x-1", request_id="r-1")).execution_id == first.execution_id
        assert (await refused(fork(api, "x-1", request_id="r-1", at_sequence=1))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        ({"execution_id": "no"}, "NOT_FOUND", "EXECUTION_NOT_FOUND"),
        ({"execution_id": ""}, "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ({"new_execution_id": "x-1"}, "ALREADY_EXISTS", "EXECUTION_ALREADY_EXISTS"),
        ({"new_execution_id": "?"}, "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ({"at_sequence": 99}, "OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE"),
        ({"at_sequence": 0}, "OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE"),
        ({"paused": True}, "UNIMPLEMENTED", "UNSUPPORTED"),
        ({"compensate_inherited": True}, "UNIMPLEMENTED", "UNSUPPORTED"),
    ],
)
async def test_what_cannot_be_forked_is_refused(api: Api, more: dict[str, Any], code: str, reason: str) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    refusal = await refused(fork(api, **{"execution_id": "x-1", **more}))
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_nobody_forks_what_is_another_tenants(api: Api) -> None:
    await api.of("ours").publish(WAITING)
    await api.of("ours").start("waiting", "x-1")
    assert (await refused(fork(api.of("theirs"), "x-1"))).reason == "EXECUTION_NOT_FOUND"


async def test_a_failed_attempt_can_be_had_again_with_what_remained(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(RETRIED)
        down = failure_pb2.Failure(type="Down", message="later", retryable=True)
        async with worker(api, lambda task: down if task.execution_id == "x-1" else "up") as stub:
            await api.start("linear", "x-1")
            await api.until("x-1", "StepRetryScheduled")
            forked = await fork(api, "x-1", new_execution_id="x-2")
            step = (await api.get("x-2")).open_steps[0]
            assert step.next_attempt_at.ToMicroseconds() > clock.now()
            await clock.advance(30)
            assert value((await api.ended(forked.execution_id)).output) == "up"
            assert next(task.attempt for task in stub.tasks if task.execution_id == "x-2") == 2


async def test_a_state_too_large_to_be_shown_is_carried_all_the_same(api: Api) -> None:
    await api.publish(
        'id: large\nsteps: [{id: a, set: {a: "${input}", b: "${input}"}}, {id: got, receive: {event: go}}]'
    )
    await api.start("large", "x-1", input=payload("x" * 700_000))
    await fork(api, "x-1", new_execution_id="x-2")
    (first,) = await api.history("x-2")
    assert value(first.payload).keys() == {"origin", "state_bytes"}
    assert len(value((await api.get("x-2")).variables)["b"]) == 700_000
    assert (await api.submit("x-2", "go")).execution.status == status("COMPLETED")
    await verified(api, "x-2")


async def test_what_is_made_of_one_that_waits_in_a_line_begins_at_once(api: Api) -> None:
    """It has no place in the line: neither does it wait for those before, nor do those behind wait for it."""
    await api.publish(LINED)
    async with worker(api, lambda task: HOLD if task.execution_id == "first" else value(task.input)) as stub:
        await api.start("lined", "first", unique_key="k", input=payload(1))
        await stub.seen()
        policy = pb2.UNIQUE_POLICY_CANCEL_EXISTING
        waiting = await api.start("lined", "waits", unique_key="k", unique_policy=policy, input=payload(2))
        assert waiting.execution.status == status("PENDING")
        await fork(api, "waits", new_execution_id="forked")
        data = await exported(api, "waits")
        await imported(api, data, "imported")
        for name in ("forked", "imported"):
            ended = await api.ended(name)
            assert (ended.status, value(ended.output), ended.unique_key) == (status("COMPLETED"), 2, "")
            assert (await api.names(name))[:2] == ["ExecutionForked", "ExecutionReleased"]
        assert (await api.get("waits")).waits_for_execution_id == "first"
        held = next(task for task in stub.tasks if task.execution_id == "first")
        await stub.answer(held, "at last")
        assert value((await api.ended("waits")).output) == 2


async def exported(api: Api, execution_id: str) -> bytes:
    request = pb2.ExportExecutionRequest(execution_id=execution_id)
    return b"".join([piece.data async for piece in api.executions.ExportExecution(request, metadata=api.metadata)])


async def imported(api: Api, data: bytes, execution_id: str) -> None:
    async def pieces() -> AsyncIterator[pb2.ImportExecutionRequest]:
        yield pb2.ImportExecutionRequest(execution_id=execution_id, data=data)

    await api.executions.ImportExecution(pieces(), metadata=api.metadata)
