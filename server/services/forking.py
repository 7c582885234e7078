"""The part of `ExecutionService` that makes executions from the past of others, and carries them elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.forking import ForkRequest
from callboard.runtime.history_files import Brought, HistoryReader, export
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionRef
from callboard.v1 import execution_service_pb2 as pb2

from ..calls import Call, Calls, Stream
from ..codec_executions import execution_of
from ..codec_histories import moment_of
from ..requests import Faults, invalid, unknown_fields, unsupported

_SLICE_BYTES: Final = 32 * 1024
"""Bytes of an export that are read at one time."""
_DISCARDED_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes that are still taken of an export after it was refused, so that the refusal is heard."""


class ForkingService:
    """Forks, exports and imports of executions over gRPC."""

    _runtime: Runtime
    _calls: Calls

    async def ForkExecution(self, call: Call, request: pb2.ForkExecutionRequest) -> pb2.ForkExecutionResponse:
        unsupported(request, "compensate_inherited", "paused")
        faults = Faults()
        faults.execution_id(request.execution_id)
        if request.new_execution_id:
            faults.execution_id(request.new_execution_id, "new_execution_id")
        faults.settle()
        moment = moment_of(request)
        asked = ForkRequest(request.execution_id, moment.sequence, moment.time, request.new_execution_id)
        view = await self._calls.whole(self._runtime.forking.fork(call.caller(request), asked))
        return pb2.ForkExecutionResponse(execution=execution_of(view))

    async def ExportExecution(
        self, call: Call, request: pb2.ExportExecutionRequest
    ) -> AsyncIterator[pb2.ExportExecutionResponse]:
        faults = Faults()
        faults.execution_id(request.execution_id)
        faults.settle()
        runtime, ref = self._runtime, ExecutionRef(call.tenant, request.execution_id)
        async for piece in export(runtime.store, runtime.info.store_id, ref, runtime.clock.now()):
            yield pb2.ExportExecutionResponse(data=piece)

    async def ImportExecution(self, call: Call, stream: Stream[pb2.ImportExecutionRequest]) -> None:
        first = await _next(stream)
        if first is None:
            raise invalid("data", "is required: the stream holds nothing")
        if first.execution_id:
            faults = Faults()
            faults.execution_id(first.execution_id)
            faults.settle()
        caller = call.caller(first)
        try:
            brought = await _read(self._runtime.history_imports.reader(), first, stream)
        except Refused:
            # A caller in the middle of sending would hear of a broken stream, and not why.
            await _discard(stream)
            raise
        asked = _asked(caller, brought.checksum, first.execution_id)
        view = await self._calls.whole(self._runtime.history_imports.take_in(asked, brought, first.execution_id))
        answer = pb2.ImportExecutionResponse(execution=execution_of(view), events_imported=brought.header.sequence)
        await stream.write(answer)


async def _read(
    reader: HistoryReader, first: pb2.ImportExecutionRequest, stream: Stream[pb2.ImportExecutionRequest]
) -> Brought:
    await _feed(reader, first.data)
    while (message := await _next(stream)) is not None:
        await _feed(reader, message.data)
    return reader.finish()


async def _discard(stream: Stream[pb2.ImportExecutionRequest]) -> None:
    """Read what is still sent, up to a limit."""
    room = _DISCARDED_BYTES_MAX
    while room > 0 and (read := await stream.read()) is not None:
        room -= len(read[0].data)


async def _feed(reader: HistoryReader, data: bytes) -> None:
    """Have a message read in slices, between which others have their turn."""
    for start in range(0, len(data), _SLICE_BYTES):
        reader.feed(data[start : start + _SLICE_BYTES])
        await asyncio.sleep(0)


async def _next(stream: Stream[pb2.ImportExecutionRequest]) -> pb2.ImportExecutionRequest | None:
    read = await stream.read()
    if read is None:
        return None
    message, unknown = read
    if unknown:
        raise unknown_fields(unknown)
    return message


def _asked(caller: Caller, checksum: str, execution_id: str) -> Caller:
    """The caller of this import: how the bytes came in pieces makes it no other request."""
    if not caller.request_id:
        return caller
    said = f"ImportExecution\0{checksum}\0{execution_id}".encode()
    return msgspec.structs.replace(caller, fingerprint=hashlib.sha256(said).digest())
