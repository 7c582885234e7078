"""The way of one call: who calls, what is refused generically, what happens to what nobody has foreseen."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from tests.server.client import Stubs, refused

from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.ports import StorageFullError
from callboard.server.calls import Call, Calls, Router, admit, refusal_of
from callboard.server.wiring import SERVICES
from callboard.v1 import execution_service_pb2, server_service_pb2

DONE = {
    "DefinitionService": {
        "PutDraft", "PublishDefinition", "BatchPublish", "RetractDefinition", "DeleteDefinition", "RevertDefinition",
        "GetDefinition", "ListDefinitions", "ListDefinitionVersions", "ListDefinitionEvents", "ListTriggers",
        "PauseTrigger", "ResumeTrigger", "FireTrigger", "ExportDefinitions", "ImportDefinitions",
    },
    "ExecutionService": {
        "StartExecution", "StartExecutions", "SubmitEvent", "EnqueueEvent", "PublishEvent", "GetExecution",
        "WaitExecution", "ListExecutions", "CountExecutions", "GetHistory", "WatchExecution", "CancelExecution",
        "TerminateExecution", "ResolveStep",
        "ReplayExecution", "VerifyExecution", "CreateSnapshot",
        "ForkExecution", "ExportExecution", "ImportExecution",
        "ListDeadLetters", "RequeueDeadLetter", "DiscardDeadLetter", "GetJob", "ListJobs",
        "WatchEvents", "CreateSubscription", "ListSubscriptions", "PullSubscription", "AckSubscription",
        "DeleteSubscription", "DeleteExecution", "PruneExecutions", "EraseExecution",
    },
    "WorkerService": {"Work", "PollTasks", "CompleteTasks", "HeartbeatTasks"},
    "ServerService": {"GetServerInfo", "ListQueues", "ListWorkers", "Backup"},
    "OperationService": set[str](),
}  # fmt: skip
NOT_DONE = [
    (service.full_name, method.name, method.server_streaming)
    for service in SERVICES
    for method in service.methods
    if method.name not in DONE[service.name]
]
GET = "/callboard.v1.ServerService/GetServerInfo"


def context(*metadata: tuple[str, str]) -> Any:
    return SimpleNamespace(invocation_metadata=lambda: metadata, peer=lambda: "ipv4:127.0.0.1:1")


async def test_what_is_published_and_not_done_is_refused_by_name(stubs: Stubs) -> None:
    for service, method, streams in NOT_DONE:
        path = f"/{service}/{method}"
        call: Any = stubs.channel.unary_stream(path)(b"") if streams else stubs.channel.unary_unary(path)(b"")
        error = await refused(call.read() if streams else call)
        assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED")
        assert method in error.message


async def test_what_is_not_published_is_refused_too(stubs: Stubs) -> None:
    error = await refused(stubs.channel.unary_unary("/callboard.v1.ExecutionService/Nonsense")(b""))
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED")


async def test_a_tenant_must_have_a_name(stubs: Stubs) -> None:
    request = server_service_pb2.GetServerInfoRequest()
    error = await refused(stubs.operators.GetServerInfo(request, metadata=(("callboard-tenant", "no/no"),)))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TENANT")


def test_who_calls_is_in_the_metadata() -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    call = admit("m", context(("callboard-tenant", "acme"), ("callboard-user", "ann"), ("traceparent", trace)))
    assert (call.tenant, call.user_id, call.trace) == ("acme", "ann", trace)
    assert admit("m", context()).tenant == "default"
    assert admit("m", context(("traceparent", "garbage"))).trace == ""


def test_a_fingerprint_tells_a_repeat_from_a_reuse() -> None:
    call = Call("m", "t", "", "", lambda: "")
    request = execution_service_pb2.StartExecutionRequest
    first = call.caller(request(definition_id="a", labels={"x": "1", "y": "2"}, request_id="r"))
    repeat = request(definition_id="a", labels={"y": "2", "x": "1"}, request_id="r")
    repeat.wait.seconds = 9
    assert call.caller(repeat) == first
    assert call.caller(request(definition_id="b", request_id="r")).fingerprint != first.fingerprint
    assert call.caller(request(definition_id="a")).request_id == ""


def test_what_nobody_has_foreseen_gets_an_incident() -> None:
    refusal = refusal_of(RuntimeError("secret"), "m")
    assert (refusal.kind, refusal.reason) == (Kind.INTERNAL, "INTERNAL")
    assert refusal.metadata["incident"] in refusal.message
    assert "secret" not in refusal.message


def test_a_full_disk_is_backpressure() -> None:
    refusal = refusal_of(StorageFullError(), "m")
    assert (refusal.kind, refusal.reason) == (Kind.BUSY, "STORAGE_FULL")


class Wrong:
    """A servicer that does what it should not."""

    async def GetServerInfo(self, _call: Call, _request: Any) -> Any:
        raise RuntimeError("a bug")

    async def ListQueues(self, _call: Call, _request: Any) -> Any:
        raise Refused(refusal_of(StorageFullError(), ""))


@pytest.fixture
async def bare() -> AsyncIterator[Any]:
    """A router with a wrong servicer behind it, and a channel to it."""
    router, calls = Router(), Calls()
    transport = grpc.aio.server()
    transport.add_generic_rpc_handlers((router,))
    port = transport.add_insecure_port("127.0.0.1:0")
    await transport.start()
    service = server_service_pb2.DESCRIPTOR.services_by_name["ServerService"]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(
            router=router, calls=calls, channel=channel, serve=lambda one: router.serve(calls.handlers(service, one))
        )
    await transport.stop(None)


async def test_a_bug_is_internal_and_never_unknown(bare: Any) -> None:
    bare.serve(Wrong())
    error = await refused(bare.channel.unary_unary(GET)(b""))
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")


async def test_the_phases_of_the_server(bare: Any) -> None:
    starting = await refused(bare.channel.unary_unary(GET)(b""))
    assert (starting.code, starting.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING")
    bare.serve(Wrong())
    bare.router.drain()
    draining = await refused(bare.channel.unary_unary("/callboard.v1.ServerService/ListQueues")(b""))
    assert (draining.code, draining.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    still = await refused(bare.channel.unary_unary(GET)(b""))
    assert still.reason == "INTERNAL"


async def test_waits_are_sent_home_and_nothing_else_is(bare: Any) -> None:
    calls: Calls = bare.calls

    class Waiting:
        async def GetServerInfo(self, _call: Call, _request: Any) -> Any:
            with calls.waits.waiting():
                await asyncio.sleep(60)

    bare.serve(Waiting())
    waiting = asyncio.ensure_future(refused(bare.channel.unary_unary(GET)(b"")))
    await asyncio.sleep(0.2)
    calls.waits.send_home()
    error = await asyncio.wait_for(waiting, 5)
    assert error.reason == "SERVER_DRAINING"


async def test_a_caller_that_goes_away_does_not_cut_what_must_be_whole() -> None:
    calls, finished = Calls(), asyncio.Event()

    async def doing() -> None:
        await asyncio.sleep(0.05)
        finished.set()

    caller = asyncio.ensure_future(calls.whole(doing()))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait_for(finished.wait(), 5)
