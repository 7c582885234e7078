"""Deleting definitions: nothing that runs is lost by it, nothing new starts, and a job finishes what is left over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import HOLD, Api, eventually, refused, serve, value, worker
from tests.scenarios.lifecycle import DEFINITION, text

from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import execution_control_pb2, executions_pb2, jobs_pb2


async def delete(api: Api, running: str = "UNSPECIFIED", **more: Any) -> Any:
    how: Any = pb2.DeleteRunningExecutions.Value(f"DELETE_RUNNING_EXECUTIONS_{running}")
    request = pb2.DeleteDefinitionRequest(definition_id=DEFINITION, running_executions=how, **more)
    return await api.definitions.DeleteDefinition(request, metadata=api.metadata)


async def state(api: Api) -> str:
    """Where the definition stands, deleted ones included; empty: there is none."""
    for number in (pb2.DEFINITION_STATE_UNSPECIFIED, pb2.DEFINITION_STATE_DELETED):
        found = await api.definitions.ListDefinitions(pb2.ListDefinitionsRequest(state=number))
        for one in found.definitions:
            return pb2.DefinitionState.Name(one.state).removeprefix("DEFINITION_STATE_")
    return ""


async def job(api: Api, job_id: str) -> Any:
    return (await api.executions.GetJob(execution_control_pb2.GetJobRequest(job_id=job_id))).job


async def succeeded(api: Api, job_id: str) -> Any:
    async def asked() -> Any:
        found = await job(api, job_id)
        return found if found.state == jobs_pb2.JOB_STATE_SUCCEEDED else None

    return await eventually(asked)


async def event_names(api: Api) -> list[str]:
    request = pb2.ListDefinitionEventsRequest(definition_id=DEFINITION)
    return [event.event_name for event in (await api.definitions.ListDefinitionEvents(request)).events]


async def test_a_definition_that_nothing_runs_is_gone_at_once(api: Api) -> None:
    await api.publish(text(1))
    answer = await delete(api)
    assert (answer.job_id, answer.impact.previous_version) == ("", 1)
    assert await state(api) == "DELETED"
    assert await event_names(api) == ["DefinitionPublished", "DefinitionDeleted"]
    for refusal in (
        await refused(api.definitions.GetDefinition(pb2.GetDefinitionRequest(definition_id=DEFINITION))),
        await refused(api.start(DEFINITION)),
    ):
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "DEFINITION_DELETED")


async def test_by_default_running_executions_are_listed_and_nothing_is_deleted(api: Api) -> None:
    await api.publish(text(1))
    for number in range(12):
        await api.start(DEFINITION, f"x-{number}")
    refusal = await refused(delete(api))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "DEFINITION_IN_USE")
    assert "12" in refusal.message
    assert "x-0" in refusal.message
    assert await state(api) == "PUBLISHED"
    assert (await api.start(DEFINITION, "x-12")).started


async def test_cancel_ends_them_first_and_none_comes_back(api: Api) -> None:
    await api.publish(text(1))
    for number in range(5):
        await api.start(DEFINITION, f"x-{number}")
    answer = await delete(api, "CANCEL")
    assert answer.job_id
    refusal = await refused(api.start(DEFINITION, "late"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "DEFINITION_DELETED")
    done = await succeeded(api, answer.job_id)
    assert (done.total_count, done.done_count, done.failed_count, done.target) == (5, 5, 0, DEFINITION)
    for number in range(5):
        assert (await api.ended(f"x-{number}")).status == executions_pb2.EXECUTION_STATUS_CANCELLED
    assert await state(api) == "DELETED"
    assert await event_names(api) == ["DefinitionPublished", "DefinitionDeleting", "DefinitionDeleted"]


async def test_a_job_that_was_interrupted_goes_on_after_the_restart(tmp_path: Path) -> None:
    """Cancelling waits for the answer of a worker that never gives it, so that the job is under way at the kill."""
    slow = (
        f"id: {DEFINITION}\nsteps: [{{id: one, task: {{service: s, operation: one}}, timeouts: {{cancel_grace: 1h}}}}]"
    )
    async with serve(tmp_path) as api:
        await api.publish(slow)
        async with worker(api, lambda _: HOLD) as stub:
            await api.start(DEFINITION, "x")
            await stub.seen()
            answer = await delete(api, "CANCEL")
            await api.until("x", "ExecutionCancelling")
            assert (await job(api, answer.job_id)).state == jobs_pb2.JOB_STATE_RUNNING
            assert await state(api) == "DELETING"
            refusal = await refused(api.publish(text(1)))
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "DEFINITION_DELETED")
    async with serve(tmp_path) as api:
        assert await state(api) == "DELETING"
        await api.executions.TerminateExecution(execution_control_pb2.TerminateExecutionRequest(execution_id="x"))
        await succeeded(api, answer.job_id)
        assert await state(api) == "DELETED"


async def test_keep_lets_them_finish_also_after_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(text(1))
        await api.start(DEFINITION, "x")
        answer = await delete(api, "KEEP")
        assert await state(api) == "DELETED"
        assert (await refused(api.start(DEFINITION, "y"))).reason == "DEFINITION_DELETED"
    async with serve(tmp_path) as api:
        await api.submit("x", "go")
        assert value((await api.ended("x")).output) == {"number": 1}
        assert answer.job_id


async def test_a_deleted_definition_is_published_again_as_the_next_version(api: Api) -> None:
    await api.publish(text(1))
    await delete(api)
    assert (await api.publish(text(1))).version == 2
    assert await state(api) == "PUBLISHED"
    assert (await refused(api.start(DEFINITION, "x", version=1))).reason == "VERSION_NOT_FOUND"
    assert (await api.start(DEFINITION, "x")).execution.version == 2


async def test_one_version_is_deleted_and_the_others_stay(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    await api.start(DEFINITION, "x", version=1)
    assert (await refused(delete(api, version=1))).reason == "DEFINITION_IN_USE"
    await api.submit("x", "go")
    await api.ended("x")
    await delete(api, version=1)
    assert (await refused(api.start(DEFINITION, "y", version=1))).reason == "VERSION_NOT_FOUND"
    revert = pb2.RevertDefinitionRequest(definition_id=DEFINITION, version=1)
    assert (await refused(api.definitions.RevertDefinition(revert))).reason == "VERSION_NOT_FOUND"
    assert (await api.start(DEFINITION, "y")).execution.version == 2
    found = await api.definitions.ListDefinitionVersions(pb2.ListDefinitionVersionsRequest(definition_id=DEFINITION))
    assert [one.version for one in found.versions] == [2]


async def test_the_published_version_is_deleted_and_nothing_is_published(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    await delete(api, version=2)
    assert (await refused(api.start(DEFINITION, "y"))).reason == "DEFINITION_RETRACTED"
    assert (await api.publish(text(2))).version == 3


async def test_a_dry_run_deletes_nothing(api: Api) -> None:
    await api.publish(text(1))
    await api.start(DEFINITION, "x")
    answer = await delete(api, "CANCEL", validate_only=True)
    assert (answer.impact.running_executions, answer.job_id) == (1, "")
    assert [stage.name for stage in answer.stages][-1] == "decide"
    assert await state(api) == "PUBLISHED"
    assert (await api.get("x")).status == executions_pb2.EXECUTION_STATUS_RUNNING


async def test_deleting_twice_and_deleting_nothing(api: Api) -> None:
    assert (await refused(delete(api))).reason == "DEFINITION_NOT_FOUND"
    await api.publish(text(1))
    assert (await refused(delete(api, version=9))).reason == "VERSION_NOT_FOUND"
    assert (await refused(delete(api, etag="99"))).reason == "ETAG_MISMATCH"
    first, again = await delete(api, request_id="r-1"), await delete(api, request_id="r-1")
    assert again.revision == first.revision
    once_more = await delete(api)
    assert once_more.revision == first.revision


@pytest.mark.parametrize("running", ["REFUSE", "CANCEL", "KEEP"])
async def test_a_start_that_races_with_a_delete_is_before_it_or_refused(api: Api, running: str) -> None:
    await api.publish(text(1))

    async def start(number: int) -> str:
        try:
            await api.start(DEFINITION, f"x-{number}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            return str(error.code().name)  # type: ignore[attr-defined]
        return "started"

    async def drop() -> str:
        try:
            return str((await delete(api, running)).job_id)
        except Exception as error:  # noqa: BLE001
            assert error.code().name == "FAILED_PRECONDITION"  # type: ignore[attr-defined]
            return "refused"

    *starts, dropped = await asyncio.gather(*(start(number) for number in range(20)), drop())
    assert set(starts) <= {"started", "FAILED_PRECONDITION"}
    if running == "CANCEL" and dropped:
        await succeeded(api, dropped)
        for number, started in enumerate(starts):
            if started == "started":
                assert (await api.ended(f"x-{number}")).status == executions_pb2.EXECUTION_STATUS_CANCELLED
    if dropped == "refused":
        assert "started" in starts
