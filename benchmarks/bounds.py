"""The bounds E and S: what gRPC alone does on this machine now, in the same run and with the same payload size.

E is unary echo calls a second with 64 outstanding; S is the round trip of one small message on a stream, one
outstanding. The server is a process of its own with generic handlers over bytes, so that nothing but gRPC is in it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from .closed_loop import Window, percentile, run_window

PAYLOAD_BYTES = 200
"""Of an echoed message; a start of W1 to W4 is about as large."""

ECHO_OUTSTANDING = 64
_UNARY = "/benchmarks.Echo/Unary"
_STREAM = "/benchmarks.Echo/Stream"


async def _unary(request: bytes, _context: Any) -> bytes:
    return request


async def _stream(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve() -> None:
    """Serve until SIGTERM; the address goes to stderr as a server's does."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(f"echo on 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await ended.wait()
    await server.stop(0)


async def unary_rate(address: str, seconds: float, outstanding: int = ECHO_OUTSTANDING) -> Window:
    """E: echo calls in a closed loop."""
    message = bytes(PAYLOAD_BYTES)
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(_UNARY)

        async def once() -> None:
            await call(message)

        return await run_window(once, outstanding, seconds)


async def stream_round_trip(address: str, seconds: float) -> float:
    """S: the median round trip of one message on a stream, in milliseconds."""
    message = bytes(PAYLOAD_BYTES)
    trips: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(_STREAM)()
        for measured, share in ((False, min(0.3, seconds)), (True, seconds)):
            deadline = time.perf_counter() + share
            while (began := time.perf_counter()) < deadline:
                await call.write(message)
                await call.read()
                if measured:
                    trips.append(time.perf_counter() - began)
        await call.done_writing()
    return percentile(sorted(trips), 0.5) * 1e3


if __name__ == "__main__":
    asyncio.run(serve())
