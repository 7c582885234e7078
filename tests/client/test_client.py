import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry import trace
from tests.client.fakes import FakeServer, status

from callboard.client import CallboardError, Client, Start, Started, Status, Unreachable, errors
from callboard.v1 import definition_service_pb2 as definition_pb
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2
from callboard.v1.definitions_pb2 import Definition
from callboard.v1.execution_control_pb2 import CancelExecutionResponse
from callboard.v1.history_pb2 import WorkflowEvent
from callboard.v1.payload_pb2 import Payload
from callboard.v1.violations_pb2 import DefinitionViolation, DefinitionViolations

COMPLETED = executions_pb2.Execution(
    execution_id="e1", status="EXECUTION_STATUS_COMPLETED", output=Payload(json='{"n": 9007199254740993}')
)
RUNNING = executions_pb2.Execution(execution_id="e1", status="EXECUTION_STATUS_RUNNING")


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.address, tenant="acme", user="ann", timeout=5) as made:
        yield made


async def test_start_says_who_asks_and_gives_the_execution(server: FakeServer, client: Client) -> None:
    server.unary.on("StartExecution", pb.StartExecutionResponse(execution=COMPLETED, started=True, ended=True))
    execution = await client.start("order", input={"n": 2**53 + 1}, id="e1", labels={"a": "b"}, wait=90)
    assert (execution.id, execution.status, execution.output) == ("e1", Status.COMPLETED, {"n": 2**53 + 1})
    assert execution.started
    [(_, request, metadata)] = server.unary.requests
    assert isinstance(request, pb.StartExecutionRequest)
    assert request.input.json == '{"n":9007199254740993}'
    assert request.wait.seconds == 60
    assert request.request_id
    assert (metadata["callboard-tenant"], metadata["callboard-user"]) == ("acme", "ann")


async def test_a_long_wait_goes_on_in_further_calls(server: FakeServer, client: Client) -> None:
    server.unary.on("StartExecution", pb.StartExecutionResponse(execution=RUNNING, started=True))
    server.unary.on(
        "WaitExecution",
        pb.WaitExecutionResponse(execution=RUNNING),
        pb.WaitExecutionResponse(execution=COMPLETED, ended=True),
    )
    assert (await client.start("order", wait=100)).ended
    assert len(server.unary.asked("WaitExecution")) == 2


async def test_a_wait_that_is_over_answers_with_what_is(server: FakeServer, client: Client) -> None:
    server.unary.on("WaitExecution", pb.WaitExecutionResponse(execution=RUNNING))
    assert not (await client.wait("e1", wait=0)).ended


async def test_what_is_safe_to_repeat_is_repeated_with_the_same_request_id(server: FakeServer, client: Client) -> None:
    server.unary.on(
        "CancelExecution",
        status(grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING"),
        RpcStatus(code=grpc.StatusCode.CANCELLED.value[0]),  # what a server that closes its port may answer
        status(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "MAILBOX_FULL",
            "full",
            error_details_pb2.RetryInfo(retry_delay=Duration(nanos=1_000_000)),
        ),
        CancelExecutionResponse(execution=COMPLETED),
    )
    assert (await client.cancel("e1")).id == "e1"
    ids = {request.request_id for request in server.unary.asked("CancelExecution")}
    assert len(server.unary.requests) == 4
    assert len(ids) == 1


async def test_nothing_else_is_repeated(server: FakeServer, client: Client) -> None:
    server.unary.on("SubmitEvent", status(grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_ENDED", state="COMPLETED"))
    with pytest.raises(errors.ExecutionEnded) as raised:
        await client.submit("e1", "approved")
    assert raised.value.reason == "EXECUTION_ENDED"
    assert raised.value.code == "FAILED_PRECONDITION"
    assert raised.value.metadata == {"state": "COMPLETED"}
    assert len(server.unary.requests) == 1


async def test_after_its_deadline_a_call_says_why_it_was_refused(server: FakeServer, client: Client) -> None:
    server.unary.on("GetExecution", status(grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"))
    with pytest.raises(errors.StorageFull):
        await client.get("e1", timeout=0.3)


async def test_a_command_for_another_sequence_is_refused_and_not_sent_again(server: FakeServer, client: Client) -> None:
    mismatch = status(grpc.StatusCode.ABORTED, "SEQUENCE_MISMATCH", sequence="8", expected_sequence="7")
    server.unary.on("SubmitEvent", mismatch)
    server.unary.on("ResolveStep", mismatch)
    for call in (
        client.submit("e1", "approved", expected_sequence=7),
        client.resolve("e1", "ship", "SKIP", expected_sequence=7),
    ):
        with pytest.raises(errors.SequenceMismatch) as raised:
            await call
        assert (raised.value.code, raised.value.metadata["sequence"]) == ("ABORTED", "8")
    asked = server.unary.asked("SubmitEvent") + server.unary.asked("ResolveStep")
    assert [request.expected_sequence for request in asked] == [7, 7]


async def test_a_message_over_a_limit_of_grpc_is_not_sent_again(server: FakeServer, client: Client) -> None:
    with pytest.raises(errors.PayloadTooLarge) as raised:
        await client.submit("e1", "approved", "x" * (17 * 1024 * 1024))
    assert raised.value.code == "INVALID_ARGUMENT"
    assert server.unary.requests == []


async def test_no_server_at_all_is_unreachable() -> None:
    async with Client("127.0.0.1:1", retry_for=0.2) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            await client.get("e1")
        with pytest.raises(Unreachable):
            async for _ in client.watch("e1"):
                pass


async def test_a_call_that_breaks_off_is_told_from_a_refusal(server: FakeServer, client: Client) -> None:
    def broken(request: Any) -> Any:
        raise RuntimeError("the server breaks")

    server.unary.on("GetExecution", broken)
    with pytest.raises(errors.Disconnected):
        await client.get("e1")


async def test_a_reason_of_a_newer_server_is_a_plain_error(server: FakeServer, client: Client) -> None:
    server.unary.on("GetExecution", status(grpc.StatusCode.ABORTED, "NOT_INVENTED_YET"))
    with pytest.raises(CallboardError) as raised:
        await client.get("e1")
    assert type(raised.value) is CallboardError
    assert raised.value.reason == "NOT_INVENTED_YET"


async def test_violations_of_a_definition_are_located(server: FakeServer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("id: order\n")
    violation = DefinitionViolation(
        path="steps[3].task",
        source_name="order.yaml",
        line=12,
        column=9,
        message="unknown",
        severity="VIOLATION_SEVERITY_ERROR",
        code="X",
    )
    server.unary.on(
        "PublishDefinition",
        status(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_DEFINITION",
            "1 violation",
            DefinitionViolations(violations=[violation]),
        ),
    )
    with pytest.raises(errors.InvalidDefinition) as raised:
        await client.publish(path)
    assert [str(item) for item in raised.value.violations] == ["order.yaml:12:9: steps[3].task: unknown"]
    [request] = server.unary.asked("PublishDefinition")
    assert (request.source.name, request.source.text) == (str(path), "id: order\n")


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ('{"id": "order"}', '{"id": "order"}'),
        ("id: order\nsteps: []", "id: order\nsteps: []"),
        ({"id": "order"}, '{\n  "id": "order"\n}'),
    ],
)
async def test_texts_and_dicts_are_published_as_texts(
    server: FakeServer, client: Client, content: Any, sent: str
) -> None:
    server.unary.on("PublishDefinition", definition_pb.PublishDefinitionResponse(definition_id="order", version=3))
    published = await client.publish(content)
    assert (published.definition_id, published.version) == ("order", 3)
    assert server.unary.asked("PublishDefinition")[0].source.text == sent


async def test_a_message_is_published_as_it_is(server: FakeServer, client: Client) -> None:
    server.unary.on("PublishDefinition", definition_pb.PublishDefinitionResponse())
    await client.validate(Definition(id="order"))
    [request] = server.unary.asked("PublishDefinition")
    assert request.definition.id == "order"
    assert request.validate_only


async def test_lists_go_through_all_pages(server: FakeServer, client: Client) -> None:
    server.unary.on(
        "ListExecutions",
        pb.ListExecutionsResponse(executions=[COMPLETED], next_page_token="2"),
        pb.ListExecutionsResponse(executions=[RUNNING]),
    )
    assert [item.status async for item in client.list("incident")] == [Status.COMPLETED, Status.RUNNING]
    assert [request.page_token for request in server.unary.asked("ListExecutions")] == ["", "2"]


def frame(*sequences: int) -> events_pb.WatchExecutionResponse:
    return events_pb.WatchExecutionResponse(events=[WorkflowEvent(sequence=number) for number in sequences])


async def test_a_watch_goes_on_after_the_last_event_seen(server: FakeServer, client: Client) -> None:
    server.executions.events = [
        frame(1, 2),
        status(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"),
        frame(3),
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW"),
        frame(4),
    ]
    assert [event.sequence async for event in client.watch("e1")] == [1, 2, 3, 4]
    assert [request.after_sequence for request in server.executions.watched] == [0, 2, 3]


async def test_a_watch_that_is_refused_says_so(server: FakeServer, client: Client) -> None:
    server.executions.events = [status(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND")]
    with pytest.raises(errors.ExecutionNotFound):
        await anext(client.watch("e1"))


async def test_many_starts_share_a_stream_and_survive_its_end(server: FakeServer, client: Client) -> None:
    server.executions.break_after = 5
    starts = [Start("bad" if number == 2 else "order", id=f"e{number}") for number in range(20)]
    found: dict[int, Started] = {item.index: item async for item in client.start_many(starts, outstanding=4)}
    assert sorted(found) == list(range(20))
    assert isinstance(found[2].error, errors.DefinitionNotFound)
    assert all(item.execution and item.execution.id == f"e{index}" for index, item in found.items() if index != 2)
    again = [item.request_id for item in server.executions.starts]
    assert len(set(again)) == 20


async def test_many_starts_from_a_slow_source_are_answered_at_once(server: FakeServer, client: Client) -> None:
    go = asyncio.Event()

    async def source() -> AsyncIterator[Start]:
        yield Start("order", id="first")
        await go.wait()
        yield Start("order", id="second")

    started = client.start_many(source())
    assert (await anext(started)).index == 0
    go.set()
    assert [item.index async for item in started] == [1]


async def test_the_trace_of_the_caller_goes_along(server: FakeServer, client: Client) -> None:
    server.unary.on("GetExecution", pb.GetExecutionResponse(execution=RUNNING))
    context = trace.SpanContext(trace_id=1, span_id=2, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await client.get("e1")
    [(_, _, metadata)] = server.unary.requests
    assert metadata["traceparent"] == f"00-{1:032x}-{2:016x}-01"
