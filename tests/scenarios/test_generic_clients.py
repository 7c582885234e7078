"""Whoever has no client of ours: one that knows only reflection, a worker of bare stubs, and load balancers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.scenarios.kit import LINEAR, Api, connect, disposition, payload, refused, result_of, serve, status, value

from callboard.server.calls import Phase
from callboard.v1 import execution_service_pb2, failure_pb2, tasks_pb2, worker_service_pb2, worker_service_pb2_grpc

SUM = """
id: sum
steps: [{id: got, receive: {event: add}}]
output: "${input.a + steps.got.result.payload}"
"""


class Generic:
    """Speaks with a server of which it knows the address only, in JSON, as grpcurl does."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self._channel)
        self.services = [name for name in database.get_services() if name.startswith("callboard.")]
        self._pool = descriptor_pool.DescriptorPool(database)

    def call(self, method: str, **fields: Any) -> Any:
        """A unary call."""
        service, _, name = method.rpartition(".")
        described = self._pool.FindServiceByName(f"callboard.v1.{service}").methods_by_name[name]
        request = json_format.ParseDict(fields, GetMessageClass(described.input_type)(), descriptor_pool=self._pool)
        invoke = self._channel.unary_unary(
            f"/callboard.v1.{service}/{name}",
            request_serializer=GetMessageClass(described.input_type).SerializeToString,
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        return json_format.MessageToDict(invoke(request, timeout=20), descriptor_pool=self._pool)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def session(address: str) -> list[str]:
    """Publish, start, submit, read the history; runs in a thread of its own, with a synchronous client."""
    client = Generic(address)
    try:
        assert "callboard.v1.ExecutionService" in client.services
        published = client.call("DefinitionService.PublishDefinition", source={"name": "sum.yaml", "text": SUM})
        assert (published["definitionId"], published["version"]) == ("sum", 1)
        started = client.call(
            "ExecutionService.StartExecution",
            definition_id="sum",
            execution_id="x-1",
            input={"json": '{"a": 9007199254740992}'},
        )
        assert started["execution"]["status"] == "EXECUTION_STATUS_RUNNING"
        answer = client.call("ExecutionService.SubmitEvent", execution_id="x-1", name="add", payload={"json": "1"})
        assert json.loads(answer["execution"]["output"]["json"]) == 2**53 + 1
        history = client.call("ExecutionService.GetHistory", execution_id="x-1")
        return [event["eventName"] for event in history["events"]]
    finally:
        client.close()


async def test_a_client_that_knows_only_reflection_publishes_starts_submits_and_reads_history(api: Api) -> None:
    names = await asyncio.to_thread(session, api.server.address)
    assert names == [
        *("ExecutionStarted", "StepScheduled", "EventReceived", "StepCompleted", "ExecutionCompleted"),
    ]
    assert (await api.get("x-1")).status == status("COMPLETED")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_is_there_under_both_names(api: Api, version: str) -> None:
    method = api.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = method()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer: Any = await stream.read()
    names = {service.name for service in answer.list_services_response.service}
    assert {"callboard.v1.ExecutionService", "callboard.v1.WorkerService", "grpc.health.v1.Health"} <= names
    stream.cancel()


async def test_a_worker_of_bare_stubs_completes_steps_with_the_unary_calls_only(api: Api) -> None:
    await api.publish(
        LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, retry: {max_attempts: 2, initial_backoff: 10ms}}")
    )
    async with connect(api.server) as channel:
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        polling = asyncio.create_task(_poll(stub))
        for n in range(5):
            await api.start("linear", f"x-{n}")
        seen: list[tuple[str, int]] = []
        while len(seen) < 15:
            answer = await polling
            assert answer.lease.seconds == 30
            seen += [(task.step_path, task.attempt) for task in answer.tasks]
            beats = [tasks_pb2.TaskHeartbeat(task_token=task.task_token) for task in answer.tasks]
            if beats:
                beat = worker_service_pb2.HeartbeatTasksRequest(worker_id="bare", heartbeats=beats)
                assert {disposition(ack) for ack in (await stub.HeartbeatTasks(beat)).acks} == {"ACCEPTED"}
            results = [result_of(task, _rule(task)) for task in answer.tasks]
            complete = worker_service_pb2.CompleteTasksRequest(worker_id="bare", results=results)
            acks = (await stub.CompleteTasks(complete)).acks
            assert [disposition(ack) for ack in acks] == ["ACCEPTED"] * len(results)
            again = (await stub.CompleteTasks(complete)).acks
            assert [disposition(ack) for ack in again] == ["DUPLICATE"] * len(results)
            polling = asyncio.create_task(_poll(stub, 0.1))
        await polling
    for n in range(5):
        assert value((await api.ended(f"x-{n}")).output) == {"n": 1, "by": ["one", "two"]}
    assert sorted(seen) == sorted([("one", 1), ("one", 2), ("two", 1)] * 5)


def _rule(task: tasks_pb2.Task) -> Any:
    if task.step_path == "one" and task.attempt == 1:
        return failure_pb2.Failure(type="Down", message="once")
    content = value(task.input)
    return {**content, "by": [*content.get("by", []), task.operation]}


async def _poll(stub: Any, wait: float = 20.0) -> Any:
    request = worker_service_pb2.PollTasksRequest(worker_id="bare", operations=["s.one", "s.two"], max_tasks=10)
    request.wait.FromMilliseconds(round(wait * 1_000))
    return await stub.PollTasks(request)


async def test_a_poll_without_tasks_answers_when_its_wait_is_over(api: Api) -> None:
    request = worker_service_pb2.PollTasksRequest(worker_id="w", operations=["s.one"], wait=Duration())
    assert not (await api.workers.PollTasks(request)).tasks
    request.wait.nanos = 30_000_000
    assert not (await api.workers.PollTasks(request)).tasks


async def test_health_is_told_by_check_watch_and_list(tmp_path: Path) -> None:
    serving, unknown = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    untyped: Any = health_pb2
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    async with serve(tmp_path) as api, connect(api.server) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "callboard.v1.ExecutionService", "callboard.v1.WorkerService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await health.Check(request)).status == serving
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        listed = channel.unary_unary(
            "/grpc.health.v1.Health/List", response_deserializer=untyped.HealthListResponse.FromString
        )
        statuses = (await listed(b"")).statuses
        assert statuses[""].status == statuses["callboard.v1.DefinitionService"].status == serving
        strange = health.Watch(health_pb2.HealthCheckRequest(service="nobody"))
        assert (await strange.read()).status == unknown
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == serving
        draining = asyncio.create_task(api.server.drain())
        assert (await watch.read()).status == not_serving
        await draining


async def test_a_call_before_the_server_has_started_is_told_to_come_back(api: Api) -> None:
    router = api.server._router
    router.phase = Phase.STARTING
    refusal = await refused(api.executions.GetExecution(execution_service_pb2.GetExecutionRequest(execution_id="x")))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "SERVER_STARTING")
    router.phase = Phase.SERVING
    await api.publish(SUM)
    await api.start("sum", input=payload({"a": 1}))
