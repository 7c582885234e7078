"""The way of one call: admit, decode, ask, encode; and whatever goes wrong becomes a status with its details.

The handlers are made once from the service descriptors. A method that its servicer has is wrapped; every other one of
the published API answers UNIMPLEMENTED and says its name. Nothing leaves here as a bare UNKNOWN.

The phases of the server are those of its `Router`: while STARTING and DRAINING new calls are refused with UNAVAILABLE
(a draining server still takes what workers owe it), and calls that only wait can be sent home at the end of a drain.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.core.values import ValueRefused
from callboard.runtime.ports import StorageFailedError, StorageFullError
from callboard.runtime.requests import Caller

from .codec import refused_value
from .requests import Unknown, decoder, lenient_decoder
from .status import code_of, status_of, trailer_of
from .telemetry import Tracing

log = logging.getLogger(__name__)

TENANT: Final = "callboard-tenant"
USER: Final = "callboard-user"
TRACEPARENT: Final = "traceparent"
DEFAULT_TENANT: Final = "default"

_TENANT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_USER_CHARACTERS_MAX: Final = 255
_WHILE_DRAINING: Final = frozenset({"CompleteTasks", "HeartbeatTasks", "GetServerInfo"})
"""What is still taken while the server drains: what workers owe it, and the question how it is."""

_M = TypeVar("_M", bound=Message)
_Out = TypeVar("_Out")


class Call:
    """One call under way: who makes it, and how."""

    __slots__ = ("_peer", "method", "tenant", "trace", "user_id")

    def __init__(self, method: str, tenant: str, user_id: str, trace: str, peer: Callable[[], str]) -> None:
        self.method = method
        self.tenant = tenant
        self.user_id = user_id
        self.trace = trace
        """W3C `traceparent` that what this call causes belongs to; empty: not traced."""
        self._peer = peer

    @property
    def peer(self) -> str:
        """The address of the other side, for people."""
        return self._peer()

    def caller(self, request: Any = None) -> Caller:
        """Who asks; of a request with a `request_id`, with the fingerprint that tells a repeat from a reuse.

        How long a start waits is not part of the fingerprint: it changes nothing, and a repeat has less time left.
        """
        if request is None or not request.request_id:
            return Caller(self.tenant, self.user_id, self.trace)
        request_id: str = request.request_id
        if len(request_id) > _USER_CHARACTERS_MAX:
            message = f"request_id has {len(request_id)} characters; at most {_USER_CHARACTERS_MAX} are taken"
            raise Refused(Refusal(Kind.INVALID, "INVALID_REQUEST", message))
        return Caller(self.tenant, self.user_id, self.trace, request_id, _fingerprint(request))


def _fingerprint(request: Any) -> bytes:
    kept = type(request)()
    kept.CopyFrom(request)
    kept.ClearField("request_id")
    if "wait" in kept.DESCRIPTOR.fields_by_name:
        kept.ClearField("wait")
    said = kept.DESCRIPTOR.full_name.encode() + b"\0" + kept.SerializeToString(deterministic=True)
    return hashlib.sha256(said).digest()


class Stream(Generic[_M]):
    """Both directions of a streaming call, in messages. One reader and one writer at a time."""

    def __init__(self, context: Any, kind: type[_M]) -> None:
        self._context = context
        self._decode = lenient_decoder(kind)

    async def read(self) -> tuple[_M, tuple[Unknown, ...]] | None:
        """The next message, with the unknown fields it held; None: the other side has closed."""
        data = await self._context.read()
        return None if data is grpc.aio.EOF else self._decode(data)

    async def write(self, message: Message) -> None:
        """Send one message; returns when there is room for the next."""
        await self._context.write(message.SerializeToString())


class Phase(enum.Enum):
    """Where the server stands."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Waits:
    """The calls that only wait for something; at the end of a drain they are sent home."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[Any]] = set()
        self._sent_home: set[asyncio.Task[Any]] = set()

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Around a wait of the current call: what is asked in it may be given up."""
        task = asyncio.current_task()
        assert task is not None, "a call runs in a task"
        self._waiting.add(task)
        try:
            yield
        finally:
            self._waiting.discard(task)

    def send_home(self) -> None:
        """End every wait; its call answers UNAVAILABLE SERVER_DRAINING."""
        for task in tuple(self._waiting):
            self._sent_home.add(task)
            task.cancel()

    def was_sent_home(self) -> bool:
        """Whether the cancellation of the current call was ours; it is undone by asking."""
        task = asyncio.current_task()
        if task is None or task not in self._sent_home:
            return False
        self._sent_home.discard(task)
        task.uncancel()
        return True


class Router(grpc.GenericRpcHandler):
    """Finds the handler of a call; knows whether the server takes calls."""

    def __init__(self, package: str = "callboard.v1") -> None:
        self.phase = Phase.STARTING
        self._prefix = f"/{package}."
        self._handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def serve(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Take calls from now on."""
        self._handlers = handlers
        self.phase = Phase.SERVING

    def drain(self) -> None:
        """Take nothing new from now on."""
        self.phase = Phase.DRAINING

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None where the call is not ours."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if self.phase is Phase.SERVING and handler is not None:
            return handler
        if not method.startswith(self._prefix):
            return None
        if self.phase is Phase.STARTING:
            return _refusing(Refusal(Kind.UNAVAILABLE, "SERVER_STARTING", "the server has not finished starting"))
        if handler is None:
            message = f"{method.removeprefix('/')} is no call of this version of the server"
            return _refusing(Refusal(Kind.UNSUPPORTED, "UNSUPPORTED", message, {"method": method}))
        if method.rpartition("/")[2] in _WHILE_DRAINING:
            return handler
        return _refusing(DRAINING)


DRAINING: Final = Refusal(Kind.UNAVAILABLE, "SERVER_DRAINING", "the server is shutting down", retry_after_us=1_000_000)


class Calls:
    """Makes the handlers of services."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self.waits = Waits()
        self._whole: set[asyncio.Task[Any]] = set()

    def handlers(self, service: ServiceDescriptor, servicer: object) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The handlers of one service by full method name; what the servicer does not have is refused by name."""
        return {
            f"/{service.full_name}/{method.name}": self._handler(service, method, getattr(servicer, method.name, None))
            for method in service.methods
        }

    async def whole(self, doing: Coroutine[Any, Any, _Out]) -> _Out:
        """Await something that must not be cut in the middle: it is finished even when the caller goes away."""
        task = asyncio.get_running_loop().create_task(doing)
        self._whole.add(task)
        task.add_done_callback(self._whole.discard)
        return await asyncio.shield(task)

    def _handler(
        self, service: ServiceDescriptor, method: MethodDescriptor, function: Any
    ) -> grpc.RpcMethodHandler[Any, Any]:
        if function is None:
            message = f"{service.name}.{method.name} is not done by this version of the server"
            return _refusing(
                Refusal(Kind.UNSUPPORTED, "UNSUPPORTED", message, {"method": f"{service.full_name}/{method.name}"})
            )
        name = f"{service.full_name}/{method.name}"
        kind: type[Message] = GetMessageClass(method.input_type)
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._bidirectional(name, kind, function))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(name, kind, function))
        return grpc.unary_unary_rpc_method_handler(self._unary(name, kind, function))

    def _unary(
        self, name: str, kind: type[Message], function: Callable[[Call, Any], Awaitable[Message]]
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        decode = decoder(kind)
        tracing = self._tracing

        async def handle(data: bytes, context: Any) -> bytes:
            try:
                call = admit(name, context)
                if tracing is None:
                    return (await function(call, decode(data))).SerializeToString()
                with tracing.call(call):
                    return (await function(call, decode(data))).SerializeToString()
            except BaseException as error:
                await self._fail(context, name, error)
                raise

        return handle

    def _streaming(
        self, name: str, kind: type[Message], function: Callable[[Call, Any], AsyncIterator[Message]]
    ) -> Callable[[bytes, Any], Awaitable[None]]:
        decode = decoder(kind)

        async def handle(data: bytes, context: Any) -> None:
            try:
                async for message in function(admit(name, context), decode(data)):
                    await context.write(message.SerializeToString())
            except BaseException as error:  # noqa: BLE001 - every failure becomes a status, once, here
                await self._fail(context, name, error)

        return handle

    def _bidirectional(
        self, name: str, kind: type[Message], function: Callable[[Call, Stream[Any]], Awaitable[None]]
    ) -> Callable[[Any, Any], Awaitable[None]]:
        async def handle(_requests: Any, context: Any) -> None:
            try:
                await function(admit(name, context), Stream(context, kind))
            except BaseException as error:  # noqa: BLE001 - every failure becomes a status, once, here
                await self._fail(context, name, error)

        return handle

    async def _fail(self, context: Any, name: str, error: BaseException) -> None:
        """End the call with the status of what was raised; what has nothing to do with the call goes on its way."""
        if isinstance(error, asyncio.CancelledError) and self.waits.was_sent_home():
            await abort(context, DRAINING)
        elif isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            await abort(context, refusal_of(error, name))
        else:
            raise error


def admit(method: str, context: Any) -> Call:
    """Read who calls from the metadata. Raises Refused INVALID_TENANT."""
    tenant, user_id, trace = DEFAULT_TENANT, "", ""
    for key, value in context.invocation_metadata() or ():
        if key == TENANT:
            tenant = value
        elif key == USER:
            user_id = value
        elif key == TRACEPARENT:
            trace = value
    if tenant != DEFAULT_TENANT and not _TENANT_NAME.fullmatch(tenant):
        message = f"the tenant {tenant!r} does not match {_TENANT_NAME.pattern}"
        raise Refused(Refusal(Kind.INVALID, "INVALID_TENANT", message))
    if trace and not _TRACEPARENT.fullmatch(trace):
        trace = ""
    return Call(method, tenant, user_id[:_USER_CHARACTERS_MAX], trace, context.peer)


def refusal_of(error: Exception, name: str) -> Refusal:
    """What to answer for an exception; one that nobody has foreseen is logged with an id that the answer names."""
    match error:
        case Refused():
            return error.refusal
        case ValueRefused():
            return refused_value(error, "payload").refusal
        case StorageFullError():
            message = "the disk is full: nothing was written; writing resumes by itself when there is room"
            return Refusal(Kind.BUSY, "STORAGE_FULL", message, retry_after_us=1_000_000)
        case StorageFailedError():
            return Refusal(Kind.UNAVAILABLE, "STORAGE_UNAVAILABLE", "the storage could not take the write")
        case TimeoutError():
            return Refusal(Kind.DEADLINE, "DEADLINE_EXCEEDED", "time ran out; what was asked may still happen")
        case _:
            incident = uuid.uuid4().hex[:12]
            log.error("a call failed", exc_info=error, extra={"method": name, "incident": incident})
            message = f"an error of the server; its log has more under incident {incident}"
            return Refusal(Kind.INTERNAL, "INTERNAL", message, {"incident": incident})


async def abort(context: Any, refusal: Refusal) -> None:
    """End the call with the status of a refusal; always raises."""
    status = status_of(refusal)
    await context.abort(code_of(refusal), status.message, trailer_of(status))


def _refusing(refusal: Refusal) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler for any kind of call that answers with this refusal only. As a stream it fits them all."""

    async def handle(_requests: Any, context: Any) -> None:
        await abort(context, refusal)

    return grpc.stream_stream_rpc_method_handler(handle)


def merged(parts: Sequence[Mapping[str, _Out]]) -> dict[str, _Out]:
    """All handlers of several services."""
    return {name: handler for part in parts for name, handler in part.items()}
