"""Nothing crosses between tenants: not by id, not by list, not by token, not by worker."""

from __future__ import annotations

from typing import Any

from tests.scenarios.kit import HOLD, LINEAR, WAITING, Api, disposition, eventually, refused, result_of, value, worker

from callboard.v1 import (
    definition_service_pb2,
    execution_control_pb2,
    execution_events_pb2,
    execution_service_pb2,
    server_service_pb2,
)


async def test_two_tenants_cannot_see_each_others_things(api: Api) -> None:
    ours, theirs = api.of("ours"), api.of("theirs")
    await ours.publish(WAITING)
    await ours.start("waiting", "x-1")
    await ours.enqueue("x-1", "nobody", "secret", event_id="e-1")
    control, events, service = execution_control_pb2, execution_events_pb2, execution_service_pb2
    executions, metadata = api.executions, theirs.metadata
    calls: list[tuple[str, Any]] = [
        ("DEFINITION_NOT_FOUND", theirs.start("waiting")),
        ("EXECUTION_NOT_FOUND", theirs.get("x-1")),
        ("EXECUTION_NOT_FOUND", theirs.history("x-1")),
        ("EXECUTION_NOT_FOUND", theirs.submit("x-1", "go")),
        ("EXECUTION_NOT_FOUND", theirs.enqueue("x-1", "go")),
        ("EXECUTION_NOT_FOUND", _watch(theirs)),
        (
            "EXECUTION_NOT_FOUND",
            executions.WaitExecution(service.WaitExecutionRequest(execution_id="x-1"), metadata=metadata),
        ),
        (
            "EXECUTION_NOT_FOUND",
            executions.CancelExecution(control.CancelExecutionRequest(execution_id="x-1"), metadata=metadata),
        ),
        (
            "EXECUTION_NOT_FOUND",
            executions.TerminateExecution(control.TerminateExecutionRequest(execution_id="x-1"), metadata=metadata),
        ),
        (
            "EXECUTION_NOT_FOUND",
            executions.ResolveStep(
                control.ResolveStepRequest(execution_id="x-1", step_path="got", action="RESOLVE_ACTION_SKIP"),
                metadata=metadata,
            ),
        ),
        (
            "DEFINITION_NOT_FOUND",
            api.definitions.GetDefinition(
                definition_service_pb2.GetDefinitionRequest(definition_id="waiting"), metadata=metadata
            ),
        ),
    ]
    for reason, call in calls:
        assert (await refused(call)).reason == reason
    listed = await executions.ListExecutions(service.ListExecutionsRequest(), metadata=metadata)
    assert not listed.executions
    definitions = await api.definitions.ListDefinitions(
        definition_service_pb2.ListDefinitionsRequest(), metadata=metadata
    )
    assert not definitions.definitions
    await ours.submit("x-1", "go", 1)
    await ours.submit("x-1", "more", 2)
    letter = (await eventually(ours.dead_letters))[0]
    assert await theirs.dead_letters() == []
    for request, method in (
        (events.RequeueDeadLetterRequest(dead_letter_id=letter.dead_letter_id), executions.RequeueDeadLetter),
        (events.DiscardDeadLetterRequest(dead_letter_id=letter.dead_letter_id), executions.DiscardDeadLetter),
    ):
        assert (await refused(method(request, metadata=metadata))).reason == "DEAD_LETTER_NOT_FOUND"
    assert value((await ours.get("x-1")).output) == [1, 2]


def _watch(api: Api) -> Any:
    request = execution_events_pb2.WatchExecutionRequest(execution_id="x-1")
    return api.executions.WatchExecution(request, metadata=api.metadata).read()


async def test_the_same_ids_mean_different_things_to_different_tenants(api: Api) -> None:
    ours, theirs = api.of("ours"), api.of("theirs")
    await ours.publish(WAITING)
    await theirs.publish(LINEAR.replace("id: linear", "id: waiting"))
    for one in (ours, theirs):
        answer = await one.start("waiting", "x-1", request_id="r-1")
        assert answer.started
    assert (await ours.get("x-1")).open_steps[0].path == "got"
    assert (await theirs.get("x-1")).open_steps[0].path == "one"


async def test_a_worker_gets_tasks_of_its_own_tenant_only(api: Api) -> None:
    ours, theirs = api.of("ours"), api.of("theirs")
    for one in (ours, theirs):
        await one.publish(LINEAR)
    async with worker(theirs, lambda task: "theirs", worker_id="w") as stranger, worker(ours, lambda task: HOLD) as own:
        await ours.start("linear", "x-1")
        task = (await own.seen())[0]
        assert await ours.queue("s.one")
        queues = (await api.admin.ListQueues(server_service_pb2.ListQueuesRequest(), metadata=theirs.metadata)).queues
        assert [(queue.queued, queue.running) for queue in queues] == [(0, 0), (0, 0)]
        assert await theirs.worker_ids() == ["w"]
        assert disposition((await theirs.complete("w", result_of(task, 1)))[0]) == "INVALID"
        assert not stranger.tasks
        assert disposition(await own.answer(task, 1)) == "ACCEPTED"
