"""Definitions and executions over gRPC, with the bare stubs."""

import asyncio
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from tests.server.client import APPROVAL, SINGLE, StreamWorker, Stubs, json_payload, refused

from callboard.v1 import definition_service_pb2 as definitions_pb2
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2, server_service_pb2, violations_pb2


def get(execution_id: str, full: bool = False) -> pb2.GetExecutionRequest:
    view = executions_pb2.EXECUTION_VIEW_FULL if full else executions_pb2.EXECUTION_VIEW_BASIC
    return pb2.GetExecutionRequest(execution_id=execution_id, view=view)


async def test_a_definition_is_put_published_read_and_listed(stubs: Stubs) -> None:
    source = violations_pb2.SourceText(name="a.yaml", text=SINGLE)
    draft = await stubs.definitions.PutDraft(definitions_pb2.PutDraftRequest(source=source))
    assert draft.changed
    assert draft.definition.has_draft
    published = await stubs.definitions.PublishDefinition(
        definitions_pb2.PublishDefinitionRequest(definition_id="single", etag=draft.definition.etag)
    )
    assert (published.version, published.changed, published.definition_version.version) == (1, True, 1)
    assert [stage.name for stage in published.stages][:2] == ["load", "validate"]
    again = await stubs.publish(SINGLE)
    assert (again.version, again.changed) == (1, False)
    read = await stubs.definitions.GetDefinition(definitions_pb2.GetDefinitionRequest(definition_id="single"))
    assert read.definition_version.definition.steps[0].task.operation == "echo"
    as_message = definitions_pb2.PublishDefinitionRequest(definition=read.definition_version.definition)
    assert not (await stubs.definitions.PublishDefinition(as_message)).changed
    listed = await stubs.definitions.ListDefinitions(definitions_pb2.ListDefinitionsRequest())
    assert [one.definition_id for one in listed.definitions] == ["single"]
    versions = await stubs.definitions.ListDefinitionVersions(
        definitions_pb2.ListDefinitionVersionsRequest(definition_id="single")
    )
    assert [one.version for one in versions.versions] == [1]
    assert not versions.versions[0].HasField("definition")


async def test_a_definition_that_is_wrong_is_told_everything(stubs: Stubs) -> None:
    error = await refused(
        stubs.publish("id: x\nsteps:\n  - id: a\n    tusk: {}\n  - id: b\n    when: '1 +'\n    set: {}\n")
    )
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    found = error.of(violations_pb2.DefinitionViolations()).violations
    assert {(one.path, one.line) for one in found} >= {("steps[0].tusk", 4), ("steps[1].when", 6)}


async def test_lists_come_in_pages(stubs: Stubs) -> None:
    for number in range(5):
        await stubs.publish(SINGLE.replace("id: single", f"id: single{number}"))
    found: list[str] = []
    request = definitions_pb2.ListDefinitionsRequest(page_size=2)
    while True:
        page = await stubs.definitions.ListDefinitions(request)
        found += [one.definition_id for one in page.definitions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [f"single{number}" for number in range(5)]
    request.page_token = "nonsense"
    assert (await refused(stubs.definitions.ListDefinitions(request))).reason == "INVALID_PAGE_TOKEN"


async def test_an_execution_from_start_to_end(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    worker = StreamWorker(stubs)
    working = asyncio.ensure_future(worker.work())
    answer = await stubs.start("single", '{"n":9007199254740993}', wait=10, execution_id="e1")
    assert (answer.started, answer.ended) == (True, True)
    assert answer.execution.status == executions_pb2.EXECUTION_STATUS_COMPLETED
    assert answer.execution.output.json == '{"n":9007199254740993}'
    assert not answer.execution.HasField("input")
    full = (await stubs.executions.GetExecution(get("e1", full=True))).execution
    assert full.input.json == '{"n":9007199254740993}'
    again = await stubs.start("single", execution_id="e1")
    assert (again.started, again.ended) == (False, True)
    working.cancel()


async def test_an_event_is_submitted_and_watched(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e1")
    execution = (await stubs.executions.GetExecution(get("e1", full=True))).execution
    [step] = execution.open_steps
    assert (step.path, step.event, step.waiting_on) == ("decision", "decided", executions_pb2.WAITING_ON_EVENT)
    watch = stubs.executions.WatchExecution(events_pb2.WatchExecutionRequest(execution_id="e1"))
    submit = events_pb2.SubmitEventRequest(
        execution_id="e1", name="decided", payload=json_payload('"yes"'), event_id="ev1"
    )
    first = await stubs.executions.SubmitEvent(submit, metadata=(("callboard-user", "ann"),))
    repeat = await stubs.executions.SubmitEvent(submit)
    assert (first.duplicate, repeat.duplicate, first.event_id) == (False, True, "ev1")
    seen = [event async for frame in watch for event in frame.events]
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].event_name == "ExecutionCompleted"
    [received] = [event for event in seen if event.event_name == "EventReceived"]
    assert (received.event_id, received.user_id) == ("ev1", "ann")
    submit.event_id = "ev2"
    error = await refused(stubs.executions.SubmitEvent(submit))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_ENDED")


async def test_history_comes_in_pages(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e1")
    enqueue = events_pb2.EnqueueEventRequest(execution_id="e1", name="decided", payload=json_payload("1"))
    assert (await stubs.executions.EnqueueEvent(enqueue)).event_id
    waited = await stubs.executions.WaitExecution(
        pb2.WaitExecutionRequest(execution_id="e1", wait=Duration(seconds=10))
    )
    assert waited.ended
    request, found = events_pb2.GetHistoryRequest(execution_id="e1", page_size=2), []
    while True:
        page = await stubs.executions.GetHistory(request)
        found += [event.sequence for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == list(range(1, waited.execution.sequence + 1))


async def test_time_runs_out_with_ended_false(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    answer = await stubs.start("approval", wait=0.1, execution_id="e1")
    assert (answer.started, answer.ended) == (True, False)
    request = pb2.WaitExecutionRequest(execution_id="e1", wait=Duration(nanos=100_000_000))
    assert not (await stubs.executions.WaitExecution(request)).ended


async def test_the_same_request_has_one_effect(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    first = await stubs.start("approval", request_id="r1")
    repeat = await stubs.start("approval", request_id="r1", wait=0.05)
    assert repeat.started
    assert repeat.execution.execution_id == first.execution.execution_id
    error = await refused(stubs.start("approval", "1", request_id="r1"))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_what_is_wrong_with_a_start(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    cases: list[tuple[Any, str, grpc.StatusCode]] = [
        (stubs.start("nope"), "DEFINITION_NOT_FOUND", grpc.StatusCode.NOT_FOUND),
        (stubs.start("approval", version=7), "VERSION_NOT_FOUND", grpc.StatusCode.NOT_FOUND),
        (stubs.start("approval", "{"), "INVALID_JSON", grpc.StatusCode.INVALID_ARGUMENT),
        (stubs.start("approval", '"' + "x" * 1_100_000 + '"'), "PAYLOAD_TOO_LARGE", grpc.StatusCode.INVALID_ARGUMENT),
        (stubs.start("approval", unique_key="k" * 256), "INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT),
        (stubs.start("approval", unique_policy=99), "INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT),
        (stubs.start("", execution_id="%"), "INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT),
    ]
    for call, reason, code in cases:
        error = await refused(call)
        assert (error.reason, error.code) == (reason, code)
    both = await refused(stubs.start("", execution_id="%"))
    assert both.fields == ["definition_id", "execution_id"]


async def test_one_execution_is_not_anothers_tenants(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e1")
    error = await refused(stubs.executions.GetExecution(get("e1"), metadata=(("callboard-tenant", "other"),)))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND")


async def test_control(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    for name in ("e1", "e2"):
        await stubs.start("approval", execution_id=name)
    cancelled = await stubs.executions.CancelExecution(
        control_pb2.CancelExecutionRequest(execution_id="e1", reason="no longer wanted")
    )
    assert cancelled.execution.status == executions_pb2.EXECUTION_STATUS_CANCELLED
    assert cancelled.execution.failure.message == "no longer wanted"
    terminated = await stubs.executions.TerminateExecution(control_pb2.TerminateExecutionRequest(execution_id="e2"))
    assert terminated.execution.status == executions_pb2.EXECUTION_STATUS_TERMINATED
    resolve = control_pb2.ResolveStepRequest(execution_id="e2", step_path="decision")
    assert (await refused(stubs.executions.ResolveStep(resolve))).fields == ["action"]
    listed = await stubs.executions.ListExecutions(pb2.ListExecutionsRequest(filter='status == "CANCELLED"'))
    assert [one.execution_id for one in listed.executions] == ["e1"]
    error = await refused(stubs.executions.ListExecutions(pb2.ListExecutionsRequest(filter="nonsense")))
    assert error.reason == "INVALID_FILTER"


async def test_many_starts_on_one_stream(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    call = stubs.executions.StartExecutions()
    start = pb2.StartExecutionRequest
    await call.write(
        pb2.StartExecutionsRequest(
            items=[
                start(definition_id="approval", execution_id="e0", wait=Duration(nanos=200_000_000)),
                start(definition_id="nope"),
                start(definition_id="approval", execution_id="e2"),
            ]
        )
    )
    await call.write(pb2.StartExecutionsRequest(items=[start(definition_id="approval", execution_id="e3")]))
    await call.done_writing()
    results = {result.index: result async for frame in call for result in frame.results}
    assert [results[index].execution.execution_id for index in (0, 2, 3)] == ["e0", "e2", "e3"]
    assert results[1].status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert list(results)[-1] == 0, "the one that waits is answered last"


async def test_dead_letters_are_listed_requeued_and_discarded(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e1")
    for number in range(2):
        enqueue = events_pb2.EnqueueEventRequest(
            execution_id="e1", name="other", event_id=f"ev{number}", payload=json_payload("{}")
        )
        await stubs.executions.EnqueueEvent(enqueue)
    for _ in range(100):
        if (await stubs.executions.GetExecution(get("e1"))).execution.sequence >= 4:
            break
        await asyncio.sleep(0.02)
    await stubs.executions.TerminateExecution(control_pb2.TerminateExecutionRequest(execution_id="e1"))
    listed = await stubs.executions.ListDeadLetters(events_pb2.ListDeadLettersRequest(page_size=1))
    [letter] = listed.dead_letters
    assert (letter.event_name, letter.cause.type, letter.execution_id) == ("other", "EXECUTION_ENDED", "e1")
    assert listed.next_page_token
    requeue = events_pb2.RequeueDeadLetterRequest(dead_letter_id=letter.dead_letter_id)
    assert (await refused(stubs.executions.RequeueDeadLetter(requeue))).reason == "EXECUTION_ENDED"
    discard = events_pb2.DiscardDeadLetterRequest(dead_letter_id=letter.dead_letter_id)
    assert (await stubs.executions.DiscardDeadLetter(discard)).dead_letter.event_id == letter.event_id
    assert (await refused(stubs.executions.DiscardDeadLetter(discard))).reason == "DEAD_LETTER_NOT_FOUND"


async def test_a_caller_that_vanishes_loses_nothing(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    request = pb2.StartExecutionRequest(definition_id="approval", execution_id="e1", wait=Duration(seconds=30))
    call = stubs.executions.StartExecution(request)
    await asyncio.sleep(0.3)
    call.cancel()
    submit = events_pb2.SubmitEventRequest(execution_id="e1", name="decided", payload=json_payload("1"))
    assert (await stubs.executions.SubmitEvent(submit)).execution.output.json == "1"


async def test_what_the_server_is(stubs: Stubs) -> None:
    info = await stubs.operators.GetServerInfo(server_service_pb2.GetServerInfoRequest())
    limits = {limit.name: (limit.value, limit.unit) for limit in info.limits}
    assert limits["payload_bytes_max"] == (1_048_576, "bytes")
    assert limits["lease_seconds"] == (30, "seconds")
    assert limits["cancel_grace_us"] == (10_000, "milliseconds")
    assert limits["event_ids_seconds"] == (604_800, "seconds")
    assert limits["definition_triggers_max"] == (100, "count")
    assert (info.boot, info.draining, info.storage) == (1, False, "sqlite")
