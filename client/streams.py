"""Starting many executions over one stream, and watching one. Both open their stream again when it breaks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grpc import aio

from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as pb

from .channel import backoff, retryable
from .codec import Seconds, seconds
from .errors import CallboardError, from_status
from .executions import ConflictPolicy, ExecutionCalls, UniquePolicy, start_request
from .models import Event, Execution, decode

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
        self._changed = asyncio.Event()
        self.pending: dict[int, pb.StartExecutionRequest] = {}
        self.unsent: list[int] = []
        self.exhausted = False

    async def fill(self) -> None:
        """Takes starts from the source as places become free."""
        if isinstance(self._source, AsyncIterable):
            async for start in self._source:
                await self._free()
                self._add(start)
        else:
            for start in self._source:
                await self._free()
                self._add(start)
        self.exhausted = True
        self._changed.set()

    def _add(self, start: Start) -> None:
        index = self._count
        self._count += 1
        self.pending[index] = start.request()
        self.unsent.append(index)
        self._changed.set()

    _count = 0

    async def _free(self) -> None:
        while len(self.pending) >= self._size:
            await self._wait()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def take(self) -> list[int]:
        """The indices to send next, together in one frame; empty when there are no more."""
        while not self.unsent and not self.exhausted:
            await self._wait()
        taken, self.unsent = self.unsent[:FRAME_ITEMS_MAX], self.unsent[FRAME_ITEMS_MAX:]
        return taken

    def answered(self, index: int) -> None:
        """Frees a place."""
        del self.pending[index]
        self._changed.set()
