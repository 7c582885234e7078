"""Health and reflection: what load balancers and generic clients ask, beside the API.

Reflection is served as `grpc.reflection.v1`, and as `v1alpha` for older tools; on the wire the two are the same but
for the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

HEALTH: Final = "grpc.health.v1.Health"
REFLECTION: Final = "grpc.reflection.v1.ServerReflection"
_OLD_REFLECTION: Final = reflection.SERVICE_NAME
_untyped: Any = health_pb2
"""The stub of this module lags behind it: `List` is missing there."""
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """`grpc.health.v1`: all services have one health, that of the server (the empty name)."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = ("", *services)
        self._status = _NOT_SERVING
        self._changed = asyncio.Event()
        self._ended = False

    def set(self, serving: bool) -> None:
        """Say from now on that the server serves, or that it does not."""
        self._status = _SERVING if serving else _NOT_SERVING
        self._tell()

    def end(self) -> None:
        """End all watches."""
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(  # noqa: N802 - gRPC fixes the names
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """The health of one service; NOT_FOUND for one that is not here."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def List(  # noqa: N802 - gRPC fixes the names
        self, request: Any, context: Any
    ) -> Any:
        """The health of all services."""
        status = health_pb2.HealthCheckResponse(status=self._status)
        return _untyped.HealthListResponse(statuses=dict.fromkeys(self._services, status))

    async def Watch(  # noqa: N802 - gRPC fixes the names
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The health now and whenever it changes; it ends with the server."""
        last = None
        known = request.service in self._services
        while True:
            changed, status = self._changed, self._status if known else _UNKNOWN
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._ended:
                return
            if not changed.is_set():
                await changed.wait()


def handlers(health: Health, services: Iterable[str]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The handlers of health and reflection by full method name; `services` are shown by reflection."""
    _add_reflection_v1()
    shown = (*services, HEALTH, REFLECTION, _OLD_REFLECTION)
    made: Any = reflection.aio.ReflectionServicer
    servicer = made(shown)
    reflect = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{name}/ServerReflectionInfo": reflect for name in (REFLECTION, _OLD_REFLECTION)} | _health(health)


def _health(health: Any) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    check, several = health_pb2.HealthCheckRequest.FromString, _untyped.HealthListRequest.FromString
    return {
        f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(health.Check, check, _bytes),
        f"/{HEALTH}/List": grpc.unary_unary_rpc_method_handler(health.List, several, _bytes),
        f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(health.Watch, check, _bytes),
    }


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


class Probes(grpc.GenericRpcHandler):
    """Finds the handlers of health and reflection, in every phase of the server."""

    def __init__(self, found: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = found

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None where the call is for another service."""
        return self._handlers.get(handler_call_details.method)


def _add_reflection_v1() -> None:
    """Make the descriptor of `grpc.reflection.v1`, which the package does not have, of that of `v1alpha`."""
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(REFLECTION)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
        for message in file.message_type:
            for field in message.field:
                if field.type_name:
                    field.type_name = _renamed(field.type_name)
        for service in file.service:
            for method in service.method:
                method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
        pool.AddSerializedFile(file.SerializeToString())


def _renamed(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
