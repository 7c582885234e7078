"""Failed attempts: they come back after their backoff, park where they are told to, and an operator decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import HOLD, PATIENT, Api, disposition, payload, refused, serve, status, value, worker

from callboard.runtime.clock import ManualClock
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_service_pb2, executions_pb2, failure_pb2

POLICY = "max_attempts: 4, initial_backoff: 10s, backoff_factor: 3, max_backoff: 60s, jitter: 0"
RETRYING = f"""
id: retrying
steps:
  - {{id: one, task: {{service: s, operation: one}}, retry: {{{POLICY}, non_retryable: [Never]}}}}
"""
PARKING = """
id: parking
steps:
  - {id: one, task: {service: s, operation: one}, retry: {on_exhausted: PARK}}
  - {id: two, task: {service: s, operation: two, input: "${steps.?one.result.orValue('skipped')}"}}
output: "${steps.two.result}"
"""


def failure(kind: str = "Down", **more: Any) -> failure_pb2.Failure:
    return failure_pb2.Failure(type=kind, message="no", **more)


async def test_attempts_come_back_after_their_backoff(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(RETRYING)
        async with worker(api, lambda task: failure() if task.attempt < 4 else "done") as stub:
            await api.start("retrying", "x-1")
            for count, backoff in enumerate((10, 30, 60), 1):
                await api.until("x-1", "StepRetryScheduled", count)
                step = (await api.get("x-1")).open_steps[0]
                assert (step.state, step.waiting_on) == (
                    executions_pb2.STEP_STATE_RETRYING,
                    executions_pb2.WAITING_ON_RETRY,
                )
                assert step.next_attempt_at.seconds - step.since.seconds == backoff
                assert (step.last_failure.type, step.attempt) == ("Down", count)
                await clock.advance(backoff - 1)
                assert len(stub.tasks) == count
                await clock.advance(1)
                await stub.seen(count + 1)
            assert value((await api.ended("x-1")).output) == "done"
            assert [task.attempt for task in stub.tasks] == [1, 2, 3, 4]
            assert len({task.idempotency_key for task in stub.tasks}) == 1
            assert len({task.task_token for task in stub.tasks}) == 4


@pytest.mark.parametrize("told", [failure("Never"), failure(retryable=False)])
async def test_what_is_not_retryable_fails_at_once(api: Api, told: failure_pb2.Failure) -> None:
    await api.publish(RETRYING)
    async with worker(api, lambda task: told) as stub:
        execution = (await api.start("retrying", "x-1", wait=10)).execution
        assert (execution.status, execution.failure.type) == (status("FAILED"), told.type)
        assert len(stub.tasks) == 1


async def test_a_worker_may_say_when_to_come_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(RETRYING)
        later = failure()
        later.retry_after.seconds = 3_600
        async with worker(api, lambda task: later if task.attempt == 1 else "done") as stub:
            await api.start("retrying", "x-1")
            await api.until("x-1", "StepRetryScheduled")
            await clock.advance(3_599)
            assert len(stub.tasks) == 1
            await clock.advance(1)
            await api.ended("x-1")


async def test_a_backoff_counts_through_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(RETRYING)
        async with worker(api, lambda task: failure()):
            await api.start("retrying", "x-1")
            await api.until("x-1", "StepRetryScheduled")
    clock.jump(60)
    async with serve(tmp_path, clock=clock) as api, worker(api, lambda task: task.attempt) as stub:
        await clock.advance(0.5)
        await stub.seen()
        assert value((await api.ended("x-1")).output) == 2


async def test_an_attempt_that_takes_too_long_ends_with_timeout_and_its_answer_is_stale(tmp_path: Path) -> None:
    clock = ManualClock()
    text = RETRYING.replace("retry:", "timeouts: {attempt: 1m}, retry:")
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(text)
        async with worker(api, lambda task: HOLD if task.attempt == 1 else "done") as stub:
            await api.start("retrying", "x-1")
            task = (await stub.seen())[0]
            assert task.HasField("deadline")
            await clock.advance(61)
            await api.until("x-1", "StepRetryScheduled")
            assert disposition(await stub.answer(task, "late")) == "STALE"
            await clock.advance(11)
            assert value((await api.ended("x-1")).output) == "done"


async def test_all_attempts_together_are_bounded(tmp_path: Path) -> None:
    clock = ManualClock()
    text = RETRYING.replace("retry:", "timeouts: {total: 30s}, retry:")
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(text)
        async with worker(api, lambda task: failure() if task.attempt == 1 else HOLD) as stub:
            await api.start("retrying", "x-1")
            await api.until("x-1", "StepRetryScheduled")
            await clock.advance(10)
            await stub.seen(2)
            await clock.advance(21)
            assert (await api.ended("x-1")).failure.type == "Timeout"


@pytest.mark.parametrize(
    ("action", "outcome", "ended"),
    [
        ("RETRY_NOW", "better", "COMPLETED"),
        ("SKIP", "skipped", "COMPLETED"),
        ("COMPLETE", {"by": "hand"}, "COMPLETED"),
        ("FAIL", None, "FAILED"),
    ],
)
async def test_a_parked_step_waits_for_an_operator(tmp_path: Path, action: str, outcome: Any, ended: str) -> None:
    """It is seen as an incident, survives a restart, and each action leads to its documented end."""
    async with serve(tmp_path) as api:
        await api.publish(PARKING)
        async with worker(api, lambda task: failure(details=payload({"code": 7}))):
            await api.start("parking", "x-1")
            await api.until("x-1", "StepParked")
    async with serve(tmp_path) as api:
        await _check_parked(api)
        rule = lambda task: value(task.input) if task.step_path == "two" else "better"  # noqa: E731
        async with worker(api, rule):
            request = control_pb2.ResolveStepRequest(
                execution_id="x-1",
                step_path="one",
                action=f"RESOLVE_ACTION_{action}",
                result=payload({"by": "hand"}) if action == "COMPLETE" else None,
                reason="because",
            )
            await api.executions.ResolveStep(request, metadata=api.of(user="ann").metadata)
            execution = await api.ended("x-1")
        assert (execution.status, execution.incident_count) == (status(ended), 0)
        if ended == "COMPLETED":
            assert value(execution.output) == outcome
        else:
            assert execution.failure.type == "Down"
        resolved = next(event for event in await api.history("x-1") if event.event_name == "StepResolved")
        assert (resolved.user_id, value(resolved.payload)["reason"]) == ("ann", "because")


async def _check_parked(api: Api) -> None:
    execution = await api.get("x-1")
    assert (execution.status, execution.incident_count) == (status("RUNNING"), 1)
    incident, step = execution.incidents[0], execution.open_steps[0]
    assert (incident.step_path, incident.failure.type) == ("one", "Down")
    assert value(incident.failure.details) == {"code": 7}
    assert step.waiting_on == executions_pb2.WAITING_ON_RESOLUTION
    listed = await api.executions.ListExecutions(execution_service_pb2.ListExecutionsRequest(filter="incident"))
    assert [one.execution_id for one in listed.executions] == ["x-1"]


async def test_only_what_cannot_go_on_by_itself_can_be_resolved(api: Api) -> None:
    await api.publish(PARKING)
    await api.start("parking", "x-1")

    def resolve(path: str, action: Any = control_pb2.RESOLVE_ACTION_SKIP) -> Any:
        request = control_pb2.ResolveStepRequest(execution_id="x-1", step_path=path, action=action)
        return api.executions.ResolveStep(request)

    assert (await refused(resolve("nobody"))).reason == "STEP_NOT_FOUND"
    running = await refused(resolve("one"))
    assert (running.code, running.reason) == ("FAILED_PRECONDITION", "STEP_STATE_FORBIDS")
    assert (await refused(resolve("one", 0))).reason == "INVALID_REQUEST"
