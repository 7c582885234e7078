"""One `Work` stream of a worker: from its `hello` until it breaks, falls silent, or the server asks for another.

Rules:
- The first frame is `hello` with all that is held; the first answer is `welcome`. Then everything owed is sent again.
- Whatever waits to be sent goes into one frame. A ping, and a third of the lease without a word, are answered by a
  frame too, if need be an empty one.
- No frame for three ping intervals: the stream is half open, and is given up.
- `reconnect`: nothing more is delivered here, but results still go this way until the next session is welcomed.
"""

import asyncio
import logging
from collections.abc import Iterable

from grpc import aio

from callboard.v1 import worker_service_pb2 as pb
from callboard.v1.worker_service_pb2_grpc import WorkerServiceStub

from .channel import Metadata, open_channel
from .ledger import Ledger

log = logging.getLogger("callboard.worker")

WELCOME_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0
PING_SECONDS = 10.0
"""Where the server does not say how often it pings."""
LEASE_SECONDS = 30.0
"""Where the server does not say how long its leases are."""
SILENT_INTERVALS = 3


class StreamLost(Exception):
    """The stream has ended, or cannot be trusted any more. The worker opens another one."""


class Session:
    """One stream over a connection of its own: one that is shared would be as old as the one to be left."""

    def __init__(self, address: str, metadata: Metadata, ledger: Ledger) -> None:
        self._channel = open_channel(address, own_connection=True)
        self._call: aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse] = WorkerServiceStub(self._channel).Work(
            metadata=metadata
        )
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._heard = self._spoke = self._loop.time()
        self._ping = PING_SECONDS
        self._lease = LEASE_SECONDS
        self._word_due = False
        self._drain_due = False
        self._serving: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()

    async def open(self, hello: pb.WorkerHello, *, draining: bool) -> None:
        """Says hello and takes the welcome. Raises `StreamLost`."""
        try:
            async with asyncio.timeout(WELCOME_SECONDS_MAX):
                await self._call.write(pb.WorkRequest(hello=hello, drain=draining))
                frame = await self._call.read()
        except TimeoutError:
            raise StreamLost(f"no welcome within {WELCOME_SECONDS_MAX:g} s") from None
        except (aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise StreamLost(_reason(error)) from None
        if not isinstance(frame, pb.WorkResponse) or not frame.HasField("welcome"):
            raise StreamLost("the server ended the stream without a welcome")
        self._welcomed(frame.welcome, hello.holding)
        self._take(frame)

    def _welcomed(self, welcome: pb.WorkerWelcome, named: Iterable[bytes]) -> None:
        self._heard = self._loop.time()
        self._ping = welcome.ping_interval.ToTimedelta().total_seconds() or PING_SECONDS
        self._lease = welcome.lease.ToTimedelta().total_seconds() or LEASE_SECONDS
        self._ledger.keep_only(welcome.holding, named)

    def serve(self) -> None:
        """Begins to send and receive. The session before this one is closed by now: what it sent and was not told of
        is sent again."""
        self._ledger.send_all_again()
        self._serving = asyncio.ensure_future(self._serve())

    async def ended(self) -> None:
        """Returns when the server asks for another connection. Raises `StreamLost` when this one has ended."""
        assert self._serving is not None
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait({self._serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if self._serving.done():
            self._serving.result()

    @property
    def alive(self) -> bool:
        """Whether it still sends and receives."""
        return self._serving is not None and not self._serving.done()

    def drain(self) -> None:
        """Asks for no more tasks."""
        self._drain_due = True
        self._ledger.due.set()

    async def close(self, *, politely: bool = False) -> None:
        """Ends the stream; politely: after the server has heard that nothing more comes."""
        if politely and self._serving is not None and not self._serving.done():
            await self._say_goodbye(self._serving)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        self._call.cancel()
        await self._channel.close()

    async def _say_goodbye(self, serving: "asyncio.Task[None]") -> None:
        try:
            await self._call.done_writing()
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return
        await asyncio.wait({serving}, timeout=CLOSE_SECONDS_MAX)

    async def _serve(self) -> None:
        parts = [asyncio.ensure_future(part) for part in (self._read(), self._write(), self._listen())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        except (aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise StreamLost(_reason(error)) from None
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _read(self) -> None:
        while isinstance(frame := await self._call.read(), pb.WorkResponse):
            self._heard = self._loop.time()
            self._take(frame)
        raise StreamLost("the server closed the stream")

    def _take(self, frame: pb.WorkResponse) -> None:
        for ack in frame.acks:
            self._ledger.acknowledged(ack)
        for cancel in frame.cancels:
            self._ledger.call_off(cancel.task_token)
        for task in frame.tasks:
            self._ledger.begin(task)
        if frame.HasField("ping"):
            self._say_a_word()
        if frame.HasField("reconnect"):
            log.info("the server asks for another connection: %s", frame.reconnect.reason)
            self._leave.set()

    def _say_a_word(self) -> None:
        self._word_due = True
        self._ledger.due.set()

    async def _write(self) -> None:
        due = self._ledger.due
        while True:
            await due.wait()
            due.clear()
            while (frame := self._frame()) is not None:
                self._spoke = self._loop.time()
                await self._call.write(frame)

    def _frame(self) -> pb.WorkRequest | None:
        frame = self._ledger.frame()
        if self._drain_due:
            frame = frame or pb.WorkRequest()
            frame.drain = True
        elif self._word_due:
            frame = frame or pb.WorkRequest()
        self._word_due = self._drain_due = False
        return frame

    async def _listen(self) -> None:
        """Watches the clock: speaks when it has been silent too long, and gives up when the server has."""
        while True:
            await asyncio.sleep(min(self._ping, self._lease / 6))
            if self._loop.time() - self._spoke > self._lease / 3:
                self._say_a_word()
            if self._silent():
                # The loop itself may have stood still; what has come meanwhile is read first.
                await asyncio.sleep(min(self._ping, 0.5))
                if self._silent():
                    raise StreamLost(f"nothing heard for {SILENT_INTERVALS} ping intervals")

    def _silent(self) -> bool:
        return self._loop.time() - self._heard > SILENT_INTERVALS * self._ping


def _reason(error: Exception) -> str:
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)
