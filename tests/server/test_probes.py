"""Health and reflection, for clients that know nothing else."""

import asyncio
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.server.client import Stubs

from callboard.server.probes import Health, Probes, handlers
from callboard.server.wiring import SERVICE_NAMES

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_is_known_for_the_server_and_each_service(stubs: Stubs) -> None:
    health: Any = health_pb2_grpc.HealthStub(stubs.channel)
    for service in ("", "callboard.v1.ExecutionService"):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
    listed: Any = await health.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined,unused-ignore]
    assert set(listed.statuses) == {"", *SERVICE_NAMES}
    try:
        await health.Check(health_pb2.HealthCheckRequest(service="nope"))
        raise AssertionError("an unknown service has a health")
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_tells_every_change_and_ends_with_the_server() -> None:
    health = Health(SERVICE_NAMES)
    transport = grpc.aio.server()
    transport.add_generic_rpc_handlers((Probes(handlers(health, SERVICE_NAMES)),))
    port = transport.add_insecure_port("127.0.0.1:0")
    await transport.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        for serving in (True, False):
            health.set(serving)
            seen.append((await asyncio.wait_for(watch.read(), 5)).status)
        health.end()
        assert await asyncio.wait_for(watch.read(), 5) is grpc.aio.EOF
    await transport.stop(None)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]


async def ask(stubs: Stubs, version: str, **question: Any) -> Any:
    call = stubs.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(**question))
    await call.done_writing()
    return await call.read()


async def test_reflection_shows_all_services_in_both_versions(stubs: Stubs) -> None:
    for version in ("v1", "v1alpha"):
        answer = await ask(stubs, version, list_services="")
        names = {service.name for service in answer.list_services_response.service}
        assert names >= {*SERVICE_NAMES, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}


async def test_reflection_has_the_descriptors_of_what_it_shows(stubs: Stubs) -> None:
    answer = await ask(stubs, "v1", list_services="")
    for service in answer.list_services_response.service:
        found = await ask(stubs, "v1", file_containing_symbol=service.name)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in found.file_descriptor_response.file_descriptor_proto
        ]
        assert any(service.name == f"{file.package}.{one.name}" for file in files for one in file.service)
