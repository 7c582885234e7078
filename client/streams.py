"""Starting many executions over one stream, and watching one. Both open their stream again when it breaks."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from grpc import aio

from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as pb

from .channel import Connection, backoff, reopens
from .codec import Seconds
from .decoding import decode
from .errors import CallboardError, Unreachable, from_status
from .execution_models import Event, Execution
from .executions import ConflictPolicy, ExecutionCalls, UniquePolicy, start_request

FRAME_ITEMS_MAX = 256


@dataclass(frozen=True, slots=True)
class Start:
    """One execution to start with `Client.start_many`; the fields are those of `Client.start`."""

    definition_id: str
    input: Any = None
    id: str = ""
    version: int = 0
    labels: Mapping[str, str] | None = None
    conflict_policy: ConflictPolicy = "RETURN_EXISTING"
    unique_key: str = ""
    unique_policy: UniquePolicy = "RETURN_EXISTING"
    wait: Seconds | None = None
    min_revision: int = 0
    request_id: str = ""

    def request(self) -> pb.StartExecutionRequest:
        """The item on the wire."""
        return start_request(
            self.definition_id,
            input=self.input,
            id=self.id,
            version=self.version,
            labels=self.labels,
            conflict_policy=self.conflict_policy,
            unique_key=self.unique_key,
            unique_policy=self.unique_policy,
            wait=self.wait,
            min_revision=self.min_revision,
            request_id=self.request_id,
        )


@dataclass(frozen=True, slots=True)
class Started:
    """What became of one `Start`: an execution, or the error that refused it. `index` counts the starts from 0."""

    index: int
    execution: Execution | None = None
    error: CallboardError | None = None


class _Window:
    """The starts that are under way, at most `size`: each is kept until it is answered, to be sent again."""

    def __init__(self, source: AsyncIterable[Start] | Iterable[Start], size: int) -> None:
        self._source = source
        self._size = size
        self._count = 0
        self._exhausted = False
        self._changed = asyncio.Event()
        self.pending: dict[int, pb.StartExecutionRequest] = {}
        self._unsent: list[int] = []

    async def fill(self) -> None:
        """Takes starts from the source as places become free."""
        try:
            if isinstance(self._source, AsyncIterable):
                async for start in self._source:
                    await self._add(start)
            else:
                for start in self._source:
                    await self._add(start)
        finally:
            self._exhausted = True
            self._changed.set()

    async def _add(self, start: Start) -> None:
        while len(self.pending) >= self._size:
            self._changed.clear()
            await self._changed.wait()
        self.pending[self._count] = start.request()
        self._unsent.append(self._count)
        self._count += 1
        self._changed.set()

    async def take(self) -> list[int]:
        """The indices to send next, together in one frame; empty when there are no more."""
        while not self._unsent and not self._exhausted:
            self._changed.clear()
            await self._changed.wait()
        taken, self._unsent = self._unsent[:FRAME_ITEMS_MAX], self._unsent[FRAME_ITEMS_MAX:]
        return taken

    def answered(self, index: int) -> None:
        """Frees a place."""
        del self.pending[index]
        self._changed.set()

    def send_again(self) -> None:
        """Puts everything that is not answered in front: on a new stream."""
        self._unsent = list(self.pending)

    @property
    def done(self) -> bool:
        """Whether every start is answered and there are no more."""
        return self._exhausted and not self.pending


class StreamCalls(ExecutionCalls):
    """The calls about executions that are streams."""

    async def start_many(
        self, starts: AsyncIterable[Start] | Iterable[Start], *, outstanding: int = 64
    ) -> AsyncIterator[Started]:
        """Starts many executions over one stream and answers each as it is decided, or with its `wait` as it has ended.

        Answers come out of order, with at most `outstanding` starts under way. A refused start is a `Started` with
        its `error`. A stream that breaks is opened again and what is not answered is sent again, which starts nothing
        twice; raises `CallboardError` when no server answers within the client's timeout.
        """
        window = _Window(starts, outstanding)
        filling = asyncio.ensure_future(window.fill())
        patience = Patience(self._connection)
        try:
            while not window.done:
                window.send_again()
                try:
                    async for started in self._start_stream(window):
                        patience.restored()
                        yield started
                    if not window.done:
                        await patience.wait(Unreachable("the server closed the stream early", code="UNAVAILABLE"))
                except aio.AioRpcError as error:
                    await patience.wait(self._connection.explain(error))
            await filling
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def _start_stream(self, window: _Window) -> AsyncIterator[Started]:
        call = self._executions.StartExecutions(metadata=self._connection.metadata())
        sent: list[int] = []
        sending = asyncio.ensure_future(_send(call, window, sent))
        try:
            while isinstance(answer := await call.read(), pb.StartExecutionsResponse):
                for result in answer.results:
                    index = sent[result.index]
                    window.answered(index)
                    yield _started(index, result)
        finally:
            sending.cancel()
            call.cancel()
            # What ended the sending ended the reading too, and that is what the caller hears of.
            await asyncio.gather(sending, return_exceptions=True)

    async def watch(self, execution_id: str, *, after_sequence: int = 0) -> AsyncIterator[Event]:
        """The events of an execution, those stored and then those to come, each once and without a gap.

        Ends after the last event of an ended execution. A stream that breaks is opened again after the last event
        seen; raises `CallboardError` when no server answers within the client's timeout.
        """
        patience = Patience(self._connection)
        while True:
            request = events_pb.WatchExecutionRequest(execution_id=execution_id, after_sequence=after_sequence)
            call = self._executions.WatchExecution(request, metadata=self._connection.metadata())
            try:
                async for answer in call:
                    patience.restored()
                    for event in answer.events:
                        yield decode(Event, event)
                        after_sequence = event.sequence
                return
            except aio.AioRpcError as error:
                await patience.wait(self._connection.explain(error))
            finally:
                call.cancel()


class Patience:
    """How long a stream is opened again and again: for the client's timeout since it last worked, or as long as the
    client looks for a server where it has not worked yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._limit = connection.looks_for
        self._since = 0.0
        self._pauses = backoff()

    def restored(self) -> None:
        """The stream works."""
        self._limit = self._connection.timeout
        if self._since:
            self._since = 0.0
            self._pauses = backoff()

    async def wait(self, error: CallboardError) -> None:
        """Pauses before the next attempt; raises the error where there is to be none."""
        self._since = self._since or time.monotonic()
        pause = max(next(self._pauses), error.retry_after_seconds or 0.0)
        if not reopens(error) or time.monotonic() + pause > self._since + self._limit:
            raise error from None
        await asyncio.sleep(pause)


StartCall: TypeAlias = "aio.StreamStreamCall[pb.StartExecutionsRequest, pb.StartExecutionsResponse]"


async def _send(call: StartCall, window: _Window, sent: list[int]) -> None:
    """Sends what the window has, noting which start has which place in this stream."""
    while taken := await window.take():
        sent.extend(taken)
        await call.write(pb.StartExecutionsRequest(items=[window.pending[index] for index in taken]))
    await call.done_writing()


def _started(index: int, result: pb.StartExecutionsResult) -> Started:
    if result.HasField("status"):
        return Started(index, error=from_status(result.status))
    return Started(index, decode(Execution, result.execution, started=result.started))
