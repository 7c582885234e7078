"""What callers get wrong is refused with the documented status and reason; nothing is lost, and the server goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.scenarios.kit import ECHO, WAITING, Api, eventually, payload, raw, refusal_of, refused, serve, status

from callboard.runtime.core.turn import Limits
from callboard.runtime.settings import Settings
from callboard.v1 import (
    definition_service_pb2,
    execution_control_pb2,
    execution_events_pb2,
    execution_service_pb2,
    operation_service_pb2,
    payload_pb2,
    server_service_pb2,
)

SCHEMA = """
id: orders
input_schema:
  type: object
  required: [sku, qty]
  properties: {sku: {type: string}, qty: {type: integer, minimum: 1}}
steps: [{id: one, set: {a: 1}}]
"""
LIMIT = 1_048_576


async def test_input_that_breaks_the_schema_is_located(api: Api) -> None:
    await api.publish(SCHEMA)
    refusal = await refused(api.start("orders", input=payload({"sku": 7, "qty": 0})))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "SCHEMA_MISMATCH")
    assert set(refusal.fields) == {"input.sku", "input.qty"}
    missing = await refused(api.start("orders"))
    assert missing.reason == "SCHEMA_MISMATCH"
    assert (await api.start("orders", input=payload({"sku": "x", "qty": 1}), wait=5)).ended


@pytest.mark.parametrize(
    "text",
    ["{", "", "nope", "[1,]", '{"a":1,"a":2}', '"\\ud800"', "18446744073709551616", "NaN", "1e999", "01", "{} {}"],
)
async def test_json_that_is_none_is_refused(api: Api, text: str) -> None:
    await api.publish(ECHO)
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    for call, field in (
        (api.start("echo", "x-2", input=raw(text)), "input"),
        (_submit(api, "x-1", raw(text)), "payload"),
        (_enqueue(api, "x-1", raw(text)), "payload"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_JSON")
        assert list(refusal.fields) == [field]
    assert (await refused(api.get("x-2"))).reason == "EXECUTION_NOT_FOUND"
    assert await api.names("x-1") == ["ExecutionStarted", "StepScheduled"]


async def test_a_payload_over_the_limit_is_refused_with_the_number(api: Api) -> None:
    await api.publish(ECHO)
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    too_large = payload("x" * LIMIT)
    for call in (api.start("echo", input=too_large), _submit(api, "x-1", too_large), _enqueue(api, "x-1", too_large)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
        assert (refusal.metadata["limit"], refusal.metadata["size"]) == (str(LIMIT), str(LIMIT + 2))
    fits = payload("x" * (LIMIT - 2))
    assert (await _submit(api, "x-1", fits)).execution.status == status("RUNNING")


async def test_a_message_over_the_limit_of_the_transport_is_no_bare_unknown(api: Api) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _submit(api, "x-1", payload("x" * 17 * 1_048_576))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await api.admin.GetServerInfo(server_service_pb2.GetServerInfoRequest())).version


async def test_unknown_things_are_named(api: Api) -> None:
    control, events, service = execution_control_pb2, execution_events_pb2, execution_service_pb2
    executions, definitions = api.executions, api.definitions
    await api.publish(ECHO)
    calls = {
        "EXECUTION_NOT_FOUND": [
            api.submit("nobody", "go"),
            api.enqueue("nobody", "go"),
            api.get("nobody"),
            api.history("nobody"),
            executions.WaitExecution(service.WaitExecutionRequest(execution_id="nobody")),
            executions.CancelExecution(control.CancelExecutionRequest(execution_id="nobody")),
            executions.TerminateExecution(control.TerminateExecutionRequest(execution_id="nobody")),
            executions.ResolveStep(
                control.ResolveStepRequest(execution_id="nobody", step_path="one", action="RESOLVE_ACTION_RETRY_NOW")
            ),
            executions.WatchExecution(events.WatchExecutionRequest(execution_id="nobody")).read(),
        ],
        "DEFINITION_NOT_FOUND": [
            api.start("nobody"),
            definitions.GetDefinition(definition_service_pb2.GetDefinitionRequest(definition_id="nobody")),
            definitions.ListDefinitionVersions(
                definition_service_pb2.ListDefinitionVersionsRequest(definition_id="nobody")
            ),
        ],
        "VERSION_NOT_FOUND": [
            api.start("echo", version=7),
            definitions.GetDefinition(definition_service_pb2.GetDefinitionRequest(definition_id="echo", version=7)),
        ],
        "DEAD_LETTER_NOT_FOUND": [
            executions.RequeueDeadLetter(events.RequeueDeadLetterRequest(dead_letter_id="7")),
            executions.DiscardDeadLetter(events.DiscardDeadLetterRequest(dead_letter_id="seven")),
        ],
    }
    for reason, several in calls.items():
        for call in several:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == ("NOT_FOUND", reason)


async def test_an_ended_execution_takes_nothing_more(api: Api) -> None:
    control = execution_control_pb2
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    await api.executions.TerminateExecution(control.TerminateExecutionRequest(execution_id="x-1", reason="enough"))
    before = await api.history("x-1")
    for call in (
        api.submit("x-1", "go"),
        api.enqueue("x-1", "go"),
        api.executions.CancelExecution(control.CancelExecutionRequest(execution_id="x-1")),
        api.executions.TerminateExecution(control.TerminateExecutionRequest(execution_id="x-1")),
        api.executions.ResolveStep(
            control.ResolveStepRequest(execution_id="x-1", step_path="got", action="RESOLVE_ACTION_SKIP")
        ),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "EXECUTION_ENDED")
    assert await api.history("x-1") == before
    execution = await api.get("x-1")
    assert (execution.status, execution.failure.message) == (status("TERMINATED"), "enough")


@pytest.mark.parametrize("tenant", [" ", "a b", "-x", "x" * 200, "a/b"])
async def test_an_invalid_tenant_is_refused(api: Api, tenant: str) -> None:
    call = api.admin.ListQueues(server_service_pb2.ListQueuesRequest(), metadata=(("callboard-tenant", tenant),))
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_TENANT")


async def test_fields_out_of_range_are_all_named(api: Api) -> None:
    refusal = await refused(api.start("Not An Id", "-x", version=-1, conflict_policy=9))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert set(refusal.fields) == {"definition_id", "execution_id", "version", "conflict_policy"}
    for call, field in (
        (api.submit("", "go"), "execution_id"),
        (api.submit("x-1", ""), "name"),
        (api.submit("x-1", "n" * 300), "name"),
        (api.submit("x-1", "go", event_id="e" * 300), "event_id"),
        (api.submit("x-1", "go", request_id="r" * 300), ""),
        (api.get("no such id"), "execution_id"),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert field in {*refusal.fields, ""}


async def test_page_tokens_are_good_for_their_own_list_only(api: Api) -> None:
    service = execution_service_pb2
    await api.publish(WAITING)
    for n in range(3):
        await api.start("waiting", f"x-{n}")
    first = await api.executions.ListExecutions(service.ListExecutionsRequest(page_size=1))
    assert first.next_page_token
    for request in (
        service.ListExecutionsRequest(page_size=1, page_token="rubbish"),
        service.ListExecutionsRequest(page_size=1, page_token=first.next_page_token, filter="incident"),
    ):
        refusal = await refused(api.executions.ListExecutions(request))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
    foreign = execution_events_pb2.GetHistoryRequest(execution_id="x-1", page_token=first.next_page_token)
    assert (await refused(api.executions.GetHistory(foreign))).reason == "INVALID_PAGE_TOKEN"
    other = service.ListExecutionsRequest(page_size=1, page_token=first.next_page_token)
    tenant = (("callboard-tenant", "other"),)
    assert (await refused(api.executions.ListExecutions(other, metadata=tenant))).reason == "INVALID_PAGE_TOKEN"
    negative = await refused(api.executions.ListExecutions(service.ListExecutionsRequest(page_size=-1)))
    assert negative.reason == "INVALID_REQUEST"


async def test_a_filter_that_does_not_compile_is_refused_with_its_place(api: Api) -> None:
    request = execution_service_pb2.ListExecutionsRequest(filter='status == "RUNNING" && nonsense > 3')
    refusal = await refused(api.executions.ListExecutions(request))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
    assert "column 24" in refusal.message


async def test_unknown_fields_of_a_request_are_refused_and_nothing_happens(api: Api) -> None:
    await api.publish(WAITING)
    known = execution_service_pb2.StartExecutionRequest(definition_id="waiting", execution_id="x-1")
    request = execution_service_pb2.StartExecutionRequest.FromString(known.SerializeToString() + b"\xc2\x3e\x01x")
    refusal = await refused(api.executions.StartExecution(request))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "UNKNOWN_FIELD")
    assert "1000" in refusal.message
    assert (await refused(api.get("x-1"))).reason == "EXECUTION_NOT_FOUND"


async def test_bytes_that_are_no_message_are_refused(api: Api) -> None:
    call = api.channel.unary_unary("/callboard.v1.ExecutionService/StartExecution")(b"\xff\xff\xff")
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_a_method_that_is_not_there_is_refused_by_name(api: Api) -> None:
    refusal = await refused(api.channel.unary_unary("/callboard.v1.ExecutionService/Nonsense")(b""))
    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
    assert "Nonsense" in refusal.message


async def test_calls_of_later_versions_answer_unimplemented_with_their_names(api: Api) -> None:
    control = execution_control_pb2
    calls = {
        "PauseExecution": api.executions.PauseExecution(control.PauseExecutionRequest()),
        "MigrateExecution": api.executions.MigrateExecution(control.MigrateExecutionRequest()),
        "BatchControl": api.executions.BatchControl(control.BatchControlRequest()).read(),
        "RegisterOperations": api.operations.RegisterOperations(operation_service_pb2.RegisterOperationsRequest()),
        "DrainWorker": api.admin.DrainWorker(server_service_pb2.DrainWorkerRequest()),
    }
    for name, call in calls.items():
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
        assert name in refusal.message


async def test_fields_of_later_versions_are_refused_by_name(api: Api) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    history = execution_events_pb2.GetHistoryRequest
    for request, field in (
        (history(execution_id="x-1", event_names=["StepCompleted"]), "event_names"),
        (history(execution_id="x-1", descending=True), "descending"),
    ):
        refusal = await refused(api.executions.GetHistory(request))
        assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
        assert field in refusal.message


async def test_a_client_that_vanishes_in_the_middle_of_a_call_leaves_the_server_serving(api: Api) -> None:
    """Whether a cancelled submit still counts is open; that it counts at most once, and that nothing waits, is not."""
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    waits = [api.start("waiting", "x-1", wait=30) for _ in range(5)]
    tasks = [asyncio.ensure_future(one) for one in waits]
    submits = [asyncio.ensure_future(api.submit("x-1", "go", n, event_id=f"e-{n}")) for n in range(20)]
    watch = api.executions.WatchExecution(execution_events_pb2.WatchExecutionRequest(execution_id="x-1"))
    await watch.read()
    await asyncio.sleep(0)
    for task in (*tasks, *submits):
        task.cancel()
    watch.cancel()
    await asyncio.gather(*tasks, *submits, return_exceptions=True)
    answers = await asyncio.gather(*[api.submit("x-1", "go", n, event_id=f"e-{n}") for n in range(20)])
    assert all(answer.event_id for answer in answers)
    assert (await api.names("x-1")).count("EventReceived") == 20
    await api.submit("x-1", "more", "end")
    assert (await api.ended("x-1")).status == status("COMPLETED")
    supervisor = api.server.runtime.supervisor
    await eventually(lambda: _true(not supervisor._ends and not api.server.runtime.feeds.seats.taken))


async def _true(answer: bool) -> bool:
    return answer


async def test_a_deadline_that_passes_is_told_and_the_server_goes_on(api: Api) -> None:
    await api.publish(WAITING)
    request = execution_service_pb2.StartExecutionRequest(definition_id="waiting", execution_id="x-1")
    request.wait.seconds = 60
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.executions.StartExecution(request, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await api.get("x-1")).status == status("RUNNING")


async def test_a_full_mailbox_pushes_back_and_says_when_to_come_again(tmp_path: Any) -> None:

    settings = Settings(mailbox_commands_max=4, turn_commands_max=1, decisions=Limits(kept_events_max=5))
    async with serve(tmp_path, settings=settings) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        answers = await asyncio.gather(*[api.submit("x-1", "other", n) for n in range(40)], return_exceptions=True)
        refusals = [refusal_of(one) for one in answers if isinstance(one, grpc.aio.AioRpcError)]
        assert {one.code for one in refusals} == {"RESOURCE_EXHAUSTED"}
        assert {one.reason for one in refusals} <= {"MAILBOX_FULL", "KEPT_EVENTS_FULL"}
        assert all(one.retry_after is not None for one in refusals)
        kept = (await api.names("x-1")).count("EventReceived")
        assert 0 < kept == 40 - len(refusals) <= 5
        for n in range(kept, 5):
            assert (await api.submit("x-1", "other", n)).kept
        full = await refused(api.submit("x-1", "other"))
        assert (full.code, full.reason) == ("RESOURCE_EXHAUSTED", "KEPT_EVENTS_FULL")
        assert not (await api.submit("x-1", "go", "what it waits for")).kept


def _submit(api: Api, execution_id: str, content: payload_pb2.Payload) -> Any:
    request = execution_events_pb2.SubmitEventRequest(execution_id=execution_id, name="go", payload=content)
    return api.executions.SubmitEvent(request)


def _enqueue(api: Api, execution_id: str, content: payload_pb2.Payload) -> Any:
    request = execution_events_pb2.EnqueueEventRequest(execution_id=execution_id, name="go", payload=content)
    return api.executions.EnqueueEvent(request)


async def test_the_longest_wait_is_the_one_that_was_set(tmp_path: Path) -> None:
    async with serve(tmp_path, settings=Settings(wait_seconds_max=0)) as api:
        await api.publish(WAITING)
        answer = await asyncio.wait_for(api.start("waiting", wait=60), 30)
        assert not answer.ended
