"""Real processes for crash tests: a server and workers that are started, killed and started again, and their client.

Nothing here waits for a fixed time: everything polls for what it needs until a deadline that a slow machine keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc
import grpc.aio

from callboard.runtime.core import events as ev
from callboard.runtime.core.chain import Chain
from callboard.runtime.listing_rows import ListQuery, Order, position_of
from callboard.runtime.replay import read_event, replay
from callboard.runtime.rows import Counts, ExecutionRecord, StoredEvent
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.v1 import definition_service_pb2 as definitions_pb2
from callboard.v1 import definition_service_pb2_grpc as definitions_grpc
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as executions_pb2
from callboard.v1 import execution_service_pb2_grpc as executions_grpc
from callboard.v1 import executions_pb2 as execution_pb2
from callboard.v1 import payload_pb2, server_service_pb2_grpc, tasks_pb2, violations_pb2, worker_service_pb2
from callboard.v1 import worker_service_pb2_grpc as workers_grpc

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60.0
CALL_SECONDS = 20.0
_POLL_SECONDS = 0.02
_LINES_KEPT = 200
_LINE_BYTES_MAX = 1 << 20
_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)
"""What a client tries again: the server is away, slow, or asks for it. Nobody here cancels a call: that is how gRPC
ends those that arrive in the very moment in which a server closes its port."""

T = TypeVar("T")


async def until(condition: Callable[[], T | None], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """Poll until the condition gives something true, and return that; fails with `what` when time is up."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(_POLL_SECONDS)
    return found


async def until_async(condition: Callable[[], Awaitable[T]], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """The same with a condition that has to ask."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(_POLL_SECONDS)
    return found


class Child:
    """A process of the test, and the last it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def spawn(cls, *arguments: str) -> Child:
        """Start `python <arguments>` in the repository."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
            env=environment,
            limit=_LINE_BYTES_MAX,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.said.append(line.decode("utf-8", "replace").rstrip())

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.returncode is None

    @property
    def text(self) -> str:
        """The last it said."""
        return "\n".join(self.said)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def ended(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Its exit code; fails if it does not end in time."""
        try:
            async with asyncio.timeout(seconds):
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the process did not end within {seconds:g} s; it said:\n{self.text}") from None
        await self._reader
        return code

    def memory_mb(self, entry: str = "VmRSS") -> float:
        """Its resident memory in MB (10^6 bytes); `VmHWM`: the most it ever was."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == entry:
                return int(value.split()[0]) * 1024 / 1e6
        raise AssertionError(f"no {entry} of process {self.process.pid}")


class Stubs:
    """The services of one boot of the server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.definitions: Any = definitions_grpc.DefinitionServiceStub(self.channel)
        self.executions: Any = executions_grpc.ExecutionServiceStub(self.channel)
        self.workers: Any = workers_grpc.WorkerServiceStub(self.channel)
        self.server: Any = server_service_pb2_grpc.ServerServiceStub(self.channel)


class Server:
    """`callboard serve` on a data directory of the test, on a free port in every boot, and a client of it."""

    def __init__(self, home: Path, *flags: str, data: Path | None = None) -> None:
        self.home = home
        self.data = data or home / "data"
        self.address_file = home / "address"
        """Where the server of the moment listens: what clients and workers go by."""
        self.flags = flags
        self.boots = 0
        self.ready_seconds = 0.0
        """From the start of the process to its ready line, of the last boot."""
        self.child: Child | None = None
        self.stubs: Stubs | None = None
        self._old: list[Stubs] = []

    async def start(self, *flags: str, program: Sequence[str] = ("-m", "callboard.server")) -> Server:
        """Start it, and wait until it serves."""
        began = time.monotonic()
        child = self.child = await self.launch(*flags, program=program)
        address = await until(lambda: _ready(child), "the ready line")
        assert address != _ENDED, f"the server ended at once with {await child.ended()}:\n{child.text}"
        self.ready_seconds = time.monotonic() - began
        self.boots += 1
        self.stubs = Stubs(address)
        self._old.append(self.stubs)
        fresh = self.address_file.with_suffix(".new")
        fresh.write_text(address)
        fresh.replace(self.address_file)
        return self

    async def launch(self, *flags: str, program: Sequence[str] = ("-m", "callboard.server")) -> Child:
        """Start the process only; it may refuse."""
        own = ("--data", str(self.data), "--listen", "127.0.0.1:0", "--log-format", "json")
        return await Child.spawn(*program, *own, *self.flags, *flags)

    @property
    def process(self) -> Child:
        """The process of this boot."""
        assert self.child is not None
        return self.child

    @property
    def now(self) -> Stubs:
        """The services of this boot."""
        assert self.stubs is not None, "the server is down"
        return self.stubs

    def gone(self) -> None:
        """It has ended, or is about to be ended."""
        self.stubs = None
        self.address_file.unlink(missing_ok=True)

    async def kill(self) -> None:
        """kill -9."""
        self.gone()
        await self.process.kill()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send(signal.SIGTERM)
        code = await self.process.ended()
        self.gone()
        return code

    async def close(self) -> None:
        """End what is left of it."""
        if self.child is not None and self.child.alive:
            await self.kill()
        for stubs in self._old:
            await stubs.channel.close()

    async def insist(self, call: Callable[[Stubs], Awaitable[T]], seconds: float = DEADLINE_SECONDS) -> T:
        """Call until the server has acknowledged it, over as many boots as that takes."""
        deadline = time.monotonic() + seconds
        while True:
            assert time.monotonic() < deadline, f"not acknowledged within {seconds:g} s"
            if self.stubs is not None:
                try:
                    return await call(self.stubs)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _AGAIN:
                        raise
            await asyncio.sleep(_POLL_SECONDS)

    # What the tests say to it

    async def publish(self, text: str) -> None:
        """Publish a definition."""
        source = violations_pb2.SourceText(name="crash.yaml", text=text)
        request = definitions_pb2.PublishDefinitionRequest(source=source)
        await self.insist(lambda stubs: stubs.definitions.PublishDefinition(request, timeout=CALL_SECONDS))

    async def begin(self, definition_id: str, execution_id: str, value: Any = None, request_id: str = "") -> Any:
        """StartExecution, insisted upon with one request id; returns the response."""
        request = executions_pb2.StartExecutionRequest(
            definition_id=definition_id,
            execution_id=execution_id,
            input=payload(value),
            request_id=request_id or f"start {execution_id}",
        )
        return await self.insist(lambda stubs: stubs.executions.StartExecution(request, timeout=CALL_SECONDS))

    async def submit(self, execution_id: str, name: str, value: Any = None, event_id: str = "") -> Any:
        """SubmitEvent, insisted upon with one request id."""
        request = events_pb2.SubmitEventRequest(
            execution_id=execution_id,
            name=name,
            payload=payload(value),
            event_id=event_id,
            request_id=f"submit {execution_id} {name}",
        )
        return await self.insist(lambda stubs: stubs.executions.SubmitEvent(request, timeout=CALL_SECONDS))

    async def enqueue(self, execution_id: str, name: str, value: Any = None, event_id: str = "") -> Any:
        """EnqueueEvent, insisted upon with one request id."""
        request = events_pb2.EnqueueEventRequest(
            execution_id=execution_id,
            name=name,
            payload=payload(value),
            event_id=event_id,
            request_id=f"enqueue {execution_id} {name}",
        )
        return await self.insist(lambda stubs: stubs.executions.EnqueueEvent(request, timeout=CALL_SECONDS))

    async def get(self, execution_id: str) -> Any:
        """The execution, with its open steps."""
        request = executions_pb2.GetExecutionRequest(execution_id=execution_id, view=execution_pb2.EXECUTION_VIEW_FULL)
        response = await self.insist(lambda stubs: stubs.executions.GetExecution(request, timeout=CALL_SECONDS))
        return response.execution

    async def end_of(self, execution_id: str, seconds: float = DEADLINE_SECONDS) -> Any:
        """The execution when it has ended."""
        request = executions_pb2.WaitExecutionRequest(execution_id=execution_id)
        request.wait.FromSeconds(10)
        deadline = time.monotonic() + seconds
        while True:
            response = await self.insist(lambda stubs: stubs.executions.WaitExecution(request, timeout=CALL_SECONDS))
            if response.ended:
                return response.execution
            assert time.monotonic() < deadline, f"{execution_id} has not ended: {await self.get(execution_id)}"

    async def history(self, execution_id: str) -> list[Any]:
        """Its events."""
        request = events_pb2.GetHistoryRequest(execution_id=execution_id, page_size=1_000)
        response = await self.insist(lambda stubs: stubs.executions.GetHistory(request, timeout=CALL_SECONDS))
        return list(response.events)

    async def answer(self, worker_id: str, token: bytes, value: Any) -> str:
        """Hand a result in with the unary twin; returns the name of the disposition."""
        result = tasks_pb2.TaskResult(task_token=token, output=payload(value))
        request = worker_service_pb2.CompleteTasksRequest(worker_id=worker_id, results=[result])
        response = await self.insist(lambda stubs: stubs.workers.CompleteTasks(request, timeout=CALL_SECONDS))
        return disposition(response.acks[0].disposition)


_ENDED = "ended"


def _ready(child: Child) -> str:
    """The address in the ready line; `_ENDED` if there will be none; empty: not yet."""
    for line in child.said:
        if '"ready"' in line:
            said = json.loads(line)
            if said["message"] == "ready":
                return str(said["address"])
    return "" if child.alive else _ENDED


def payload(value: Any) -> payload_pb2.Payload:
    """A value as it travels."""
    return payload_pb2.Payload(json=json.dumps(value))


def disposition(number: int) -> str:
    """ACCEPTED, DUPLICATE, STALE, ..."""
    return tasks_pb2.TaskDisposition.Name(number).removeprefix("TASK_DISPOSITION_")  # pyright: ignore[reportArgumentType]


def status(execution: Any) -> str:
    """COMPLETED, FAILED, ..."""
    return execution_pb2.ExecutionStatus.Name(execution.status).removeprefix("EXECUTION_STATUS_")


# Workers


class Worker:
    """A worker process, and what it wrote down."""

    def __init__(self, server: Server, worker_id: str, operations: Sequence[str], slots: int) -> None:
        self.worker_id = worker_id
        self.record = server.home / "records" / f"{worker_id}.jsonl"
        self._arguments = (
            *("-m", "tests.crash.worker", "--address-file", str(server.address_file), "--record", str(self.record)),
            *("--worker-id", worker_id, "--slots", str(slots), "--operations", *operations),
        )
        self.child: Child | None = None

    async def start(self) -> Worker:
        """Start it; it connects by itself."""
        self.record.parent.mkdir(exist_ok=True)
        self.child = await Child.spawn(*self._arguments)
        return self

    @property
    def process(self) -> Child:
        """Its process."""
        assert self.child is not None
        return self.child

    async def kill(self) -> None:
        """kill -9."""
        await self.process.kill()

    def lines(self, what: str = "") -> list[dict[str, Any]]:
        """What it has written down so far (of one kind)."""
        return [line for line in lines_of(self.record) if line["what"] == (what or line["what"])]


def lines_of(record: Path) -> list[dict[str, Any]]:
    """The whole lines of a record; a process killed while it wrote leaves half a line."""
    if not record.exists():
        return []
    text = record.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextlib.asynccontextmanager
async def house(home: Path, *flags: str, data: Path | None = None) -> AsyncIterator[House]:
    """A server (not started yet) and workers of it; all are ended at the end."""
    own = House(Server(home, *flags, data=data))
    try:
        yield own
    except BaseException:
        if own.server.child is not None:
            print(f"the server of boot {own.server.boots} said last:\n{own.server.child.text}")
        raise
    finally:
        for worker in own.workers:
            if worker.child is not None and worker.child.alive:
                await worker.kill()
        await own.server.close()


class House:
    """A server and its workers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.workers: list[Worker] = []

    async def worker(self, worker_id: str, *operations: str, slots: int = 100) -> Worker:
        """Start another worker."""
        worker = Worker(self.server, worker_id, operations or ("crash.work",), slots)
        self.workers.append(worker)
        return await worker.start()

    def records(self, what: str = "") -> list[dict[str, Any]]:
        """What all workers, the dead ones included, have written down."""
        return [line for worker in self.workers for line in worker.lines(what)]


# What is on disk in the end


class Stored(NamedTuple):
    """An execution as the database holds it."""

    record: ExecutionRecord
    events: list[StoredEvent]

    def of(self, kind: type[T]) -> list[T]:
        """Its events of one type."""
        return [event for each in self.events if isinstance(event := read_event(each), kind)]


class Database(NamedTuple):
    """A checked database."""

    executions: dict[str, Stored]
    counts: Counts


async def read_database(data: Path) -> Database:
    """Read everything, and check every history: no gap, right hashes, the head as the projection says it, and the same
    state with snapshots and without. No server may be running on it."""
    store = SqliteStore(data / "callboard.db")
    await store.open()
    try:
        found: dict[str, Stored] = {}
        query = ListQuery("default", limit=500)
        while (page := await store.listed(query)).records:
            for record in page.records:
                found[record.ref.execution_id] = await _checked(store, record)
            query = ListQuery("default", after=position_of(page.records[-1], Order.CREATED), limit=500)
        return Database(found, await store.counts())
    finally:
        await store.close()


async def _checked(store: SqliteStore, record: ExecutionRecord) -> Stored:
    # One page: the first event of a later one would carry a context that is not stored with it.
    events = await store.events(record.key, 0, 10_000, 1 << 24)
    place = record.ref.execution_id
    chain = Chain(*record.ref)
    assert not any(chain.take(event) for event in events) and chain.sound, f"the history of {place} is broken"
    assert (record.head.sequence, record.head.hash) == (events[-1].sequence, events[-1].hash), place
    state, _ = await replay(store, record.ref, record.key, use_snapshots=False)
    assert state.status.value == record.head.status, place
    assert state == (await replay(store, record.ref, record.key))[0], f"the snapshots of {place} differ from its events"
    return Stored(record, events)


def received(stored: Stored, name: str) -> list[ev.EventReceived]:
    """The events of one name that were taken in."""
    return [event for event in stored.of(ev.EventReceived) if event.name == name]
