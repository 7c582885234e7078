"""The connection to a server: addresses and metadata, deadlines, and repeating what is safe to repeat.

UNAVAILABLE is safe to repeat, RESOURCE_EXHAUSTED after the time its RetryInfo names; every mutating request carries a
`request_id` that stays the same, so that a repeat has no second effect. Nothing else is repeated here.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Protocol, TypeVar

import grpc
from grpc import aio

from .codec import Seconds, seconds
from .errors import BY_REASON, CallboardError, Disconnected, Unreachable, from_call

DEFAULT_ADDRESS = "127.0.0.1:7519"
DEFAULT_TENANT = "default"
CALL_SECONDS = 30.0
"""How long a call may take, its repeats included, where the caller does not say."""
BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 2.0
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""The largest message taken. Servers cut theirs at 3 MiB unless they hold one larger value."""
_RETRIED = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})

# grpc's own wait between attempts to connect grows to two minutes; a restarted server should be found at once. A server
# closes connections whose keepalive comes more often than every five minutes.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.max_send_message_length", FRAME_BYTES_MAX),
)

Request = TypeVar("Request")
Response = TypeVar("Response")
Metadata = tuple[tuple[str, str], ...]


class Page(Protocol):
    """An answer of a list: it names the page after it."""

    @property
    def next_page_token(self) -> str:
        """Gets the next page; empty where this was the last."""
        ...


class PageRequest(Protocol):
    """The request of a list."""

    page_token: str


SomePage = TypeVar("SomePage", bound=Page)
SomePageRequest = TypeVar("SomePageRequest", bound=PageRequest)


def open_channel(address: str, *, own_connection: bool = False) -> aio.Channel:
    """A channel; with `own_connection` it shares none with other channels to the same address."""
    own = (("grpc.use_local_subchannel_pool", 1),) if own_connection else ()
    return aio.insecure_channel(address, options=(*_OPTIONS, *own))


def backoff(low: float = BACKOFF_SECONDS_MIN, high: float = BACKOFF_SECONDS_MAX) -> Iterator[float]:
    """Seconds to wait before each next attempt: doubling, and jittered so that many callers do not come at once."""
    ceiling = low
    while True:
        yield random.uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * 2, high)


def trace_metadata() -> Metadata:
    """The trace this call belongs to. Free where no part of the program uses OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry import propagate  # noqa: PLC0415 - slow to import, and of no use to a program that does not trace

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


class Connection:
    """One channel, on behalf of one tenant and one user."""

    def __init__(
        self,
        address: str,
        *,
        tenant: str = DEFAULT_TENANT,
        user: str = "",
        timeout: Seconds = CALL_SECONDS,
        retry_for: Seconds | None = None,
    ) -> None:
        self.address = address
        self.timeout = seconds(timeout)
        self.looks_for = self.timeout if retry_for is None else min(seconds(retry_for), self.timeout)
        self._retry_for = None if retry_for is None else seconds(retry_for)
        self._metadata = caller_metadata(tenant, user)
        self.channel = open_channel(address)

    async def close(self) -> None:
        """Closes the channel; calls under way end with `CallCancelled`."""
        await self.channel.close()

    def metadata(self) -> Metadata:
        """What goes with every call: tenant, user and trace."""
        return self._metadata + trace_metadata()

    async def unary(
        self,
        method: "aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: Seconds | None = None,
    ) -> Response:
        """One answer to one request, repeated while that is safe and there is time. Raises `CallboardError`."""
        allowed = self.timeout if timeout is None else seconds(timeout)
        deadline = time.monotonic() + allowed
        give_up = deadline if self._retry_for is None else min(deadline, time.monotonic() + self._retry_for)
        refused: CallboardError | None = None
        for pause in backoff():
            try:
                return await method(request, timeout=max(deadline - time.monotonic(), 0.001), metadata=self.metadata())
            except aio.AioRpcError as error:
                failure = self.explain(error)
            if failure.code == "DEADLINE_EXCEEDED" and refused is not None:
                raise refused from None
            wait = max(pause, failure.retry_after_seconds or 0.0)
            if not reopens(failure) or time.monotonic() + wait >= give_up:
                raise failure from None
            refused = failure
            await asyncio.sleep(wait)
        raise AssertionError("backoff never ends")

    async def pages(
        self,
        method: "aio.UnaryUnaryMultiCallable[SomePageRequest, SomePage]",
        request: SomePageRequest,
        timeout: Seconds | None = None,
    ) -> AsyncIterator[SomePage]:
        """Every page of a list, each with the time of one call."""
        while True:
            page = await self.unary(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def explain(self, error: aio.AioRpcError) -> CallboardError:
        """The error of a failed call. One that ran out of time before there was a connection says so."""
        failure = from_call(error)
        connected = self.channel.get_state() in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE)
        if isinstance(failure, Disconnected):
            return failure
        if isinstance(failure, Unreachable) or (failure.code == "DEADLINE_EXCEEDED" and not connected):
            return Unreachable(
                f"no server answers at {self.address}: {failure.message}", reason="UNREACHABLE", code=failure.code
            )
        return failure


def caller_metadata(tenant: str, user: str = "") -> Metadata:
    """Who calls: the tenant, and on whose behalf. Raises `CallboardError` for what no header can carry."""
    for name, value, reason in (("tenant", tenant, "INVALID_TENANT"), ("user", user, "INVALID_REQUEST")):
        if not (value.isascii() and value.isprintable()):
            message = f"the {name} {value!r} has characters that are not printable ASCII"
            raise BY_REASON[reason](message, reason=reason, code="INVALID_ARGUMENT")
    return (("callboard-tenant", tenant), *((("callboard-user", user),) if user else ()))


def reopens(error: CallboardError) -> bool:
    """Whether a call or stream that ended so is worth another try; what changes something carries a request id."""
    return error.code in _RETRIED or isinstance(error, Disconnected)
