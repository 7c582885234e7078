"""The worker: does the tasks of its operations, over one stream at a time, for as long as it runs.

It opens a stream again whatever ended the last one, keeps every result until the server has taken it, and drains
before it goes: no new tasks, what is there is finished, then it closes.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import uuid
from collections.abc import Callable, Generator, Iterable

from callboard.v1.worker_service_pb2 import WorkerHello

from .channel import DEFAULT_ADDRESS, DEFAULT_TENANT, backoff, caller_metadata, trace_metadata
from .codec import Seconds, seconds
from .handlers import THREADS_MAX, Function, Handlers, Invocable, Registry
from .ledger import FRAME_BYTES_MAX, Ledger
from .session import Session, StreamLost

log = logging.getLogger("callboard.worker")

IN_FLIGHT_MAX = 256
DRAIN_SECONDS_MAX = 30.0
# A server gives a lost worker's tasks to others after 5 s: the pauses have to stay well below.
RECONNECT_SECONDS_MIN = 0.05
RECONNECT_SECONDS_MAX = 1.0


class Worker:
    """Offers operations to a server and does their tasks.

        worker = Worker("127.0.0.1:7519", tenant="acme")

        @worker.operation("inventory.reserve")
        async def reserve(task, sku: str, qty: int) -> dict: ...

        await worker.run()

    A handler gets the task first, and the members of its input as arguments by name; one whose only parameter is the
    task gets just that. It may be async, or run in a thread. `TaskError` says how it failed; any other exception may
    be retried. `operations` is a registry of handlers made elsewhere, such as ``callboard.runtime.Operations``.

    `max_in_flight` is how many tasks it takes at a time; None: 256, or as many as there are threads where a handler
    is not async. `drain_timeout` is how long a worker that is asked to stop finishes what it has, in seconds.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str = DEFAULT_TENANT,
        operations: Registry | None = None,
        worker_id: str = "",
        build: str = "",
        max_in_flight: int | None = None,
        drain_timeout: Seconds = DRAIN_SECONDS_MAX,
    ) -> None:
        if max_in_flight is not None and max_in_flight < 1:
            raise ValueError("max_in_flight is at least 1")
        self.id = worker_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._address = address
        self._tenant = tenant
        self._caller = caller_metadata(tenant)
        self._build = build
        self._max_in_flight = max_in_flight
        self._drain_seconds = seconds(drain_timeout)
        self._given = operations
        self._own = Handlers()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ledger: Ledger | None = None
        self._session: Session | None = None

    def operation(self, name: str) -> Callable[[Function], Function]:
        """Registers the decorated function for `service.operation`; the last dot separates them."""
        return self._own.operation(name)

    @property
    def operations(self) -> list[str]:
        """What it offers."""
        return sorted({*self._own.names(), *(self._given.names() if self._given else ())})

    @property
    def in_flight(self) -> int:
        """How many handlers are running."""
        return self._ledger.running if self._ledger else 0

    async def run(self, *, stop_on: Iterable[signal.Signals] = ()) -> None:
        """Works until `stop`, or until cancelled; either way it drains first. Cancelled again it leaves at once.

        `stop_on` names signals that stop it, such as `signal.SIGTERM`; only the main thread can ask for that. A worker
        runs once. Raises ValueError where it has no operations.
        """
        self._loop = asyncio.get_running_loop()
        ledger = self._ledger = Ledger(self._handlers(), self._tenant)
        work = asyncio.ensure_future(self._work(ledger, self._hello()))
        try:
            with _signals(self._loop, stop_on, self.stop):
                await self._until_done(work)
        finally:
            ledger.abandon()
            self._own.close()

    async def _until_done(self, work: "asyncio.Task[None]") -> None:
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopping.set()
            await work
            raise

    def stop(self) -> None:
        """Asks `run` to drain and return. May be called from another thread or a signal handler."""
        if self._loop is None:
            self._stopping.set()
        else:
            self._loop.call_soon_threadsafe(self._stopping.set)

    def _handlers(self) -> dict[str, Invocable]:
        given = {name: self._given.handler(name) for name in self._given.names()} if self._given else {}
        own = {name: self._own.handler(name) for name in self._own.names()}
        if twice := given.keys() & own.keys():
            raise ValueError(f"two handlers for {', '.join(sorted(twice))}")
        if not given and not own:
            raise ValueError("the worker has no operations")
        return given | own

    def _hello(self) -> WorkerHello:
        handlers = self._handlers()
        blocking = not all(getattr(handler, "is_async", True) for handler in handlers.values())
        return WorkerHello(
            worker_id=self.id,
            build=self._build,
            operations=sorted(handlers),
            max_in_flight=self._max_in_flight or (THREADS_MAX if blocking else IN_FLIGHT_MAX),
            max_frame_bytes=FRAME_BYTES_MAX,
        )

    async def _work(self, ledger: Ledger, hello: WorkerHello) -> None:
        connected = asyncio.ensure_future(self._stay_connected(ledger, hello))
        draining = asyncio.ensure_future(self._drain(ledger))
        finished = False
        try:
            done, _ = await asyncio.wait({connected, draining}, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
            finished = True
        finally:
            for part in (connected, draining):
                part.cancel()
            await asyncio.gather(connected, draining, return_exceptions=True)
            if self._session is not None:
                await self._session.close(politely=finished)

    async def _drain(self, ledger: Ledger) -> None:
        """Returns when the worker has been asked to stop and owes nothing more, or has taken too long over it."""
        await self._stopping.wait()
        log.info("worker %s drains: %d tasks to finish", self.id, ledger.running)
        if self._session is not None:
            self._session.drain()
        try:
            await asyncio.wait_for(ledger.wait_idle(), self._drain_seconds)
        except TimeoutError:
            log.warning("worker %s leaves %d tasks unfinished", self.id, ledger.running)

    async def _stay_connected(self, ledger: Ledger, hello: WorkerHello) -> None:
        """Keeps a session open, for ever. One that is to be left serves until the next one is welcomed."""
        pauses = backoff(RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX)
        told = ""
        while True:
            try:
                await self._next_session(ledger, hello)
                log.info("worker %s is connected to %s", self.id, self._address)
                pauses, told = backoff(RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX), ""
                assert self._session is not None
                await self._session.ended()
                continue
            except StreamLost as error:
                log.log(logging.DEBUG if str(error) == told else logging.WARNING, "not connected: %s", error)
                told = str(error)
            await asyncio.sleep(next(pauses))

    async def _next_session(self, ledger: Ledger, hello: WorkerHello) -> None:
        """Opens a session and leaves the last one. Raises `StreamLost`, and the last one stays if it is alive."""
        last = self._session
        if last is not None and not last.alive:
            self._session = None
            await last.close()
        metadata = self._caller + trace_metadata()
        session = Session(self._address, metadata, ledger)
        named = WorkerHello(holding=ledger.holding())
        named.MergeFrom(hello)
        try:
            await session.open(named, draining=self._stopping.is_set())
        except BaseException:
            await session.close()
            raise
        if self._session is not None:
            await self._session.close()
        self._session = session
        session.serve()
        if self._stopping.is_set():
            session.drain()


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, signals: Iterable[signal.Signals], act: Callable[[], None]
) -> Generator[None]:
    """Acts on signals for as long as the block lasts."""
    asked = list(signals)
    for number in asked:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in asked:
            loop.remove_signal_handler(number)
