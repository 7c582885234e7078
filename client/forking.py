"""Making executions from the past of others, and carrying executions from one server to another."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import datetime

from grpc import aio

from callboard.v1 import execution_service_pb2 as pb
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub

from .calls import Calls, new_request_id
from .channel import Connection
from .codec import Seconds, encode_timestamp, seconds
from .decoding import decode
from .execution_models import Execution

PIECE_BYTES = 512 * 1024
"""Bytes of an export that go to the server in one message."""


class ForkingCalls(Calls):
    """The calls that make an execution of what another one was."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._forking = ExecutionServiceStub(connection.channel)

    async def fork(
        self,
        execution_id: str,
        *,
        at_sequence: int | None = None,
        at_time: datetime | None = None,
        id: str = "",
        timeout: Seconds | None = None,
    ) -> Execution:
        """Starts an execution that begins as another one was after the event `at_sequence`, at `at_time`, or is now.

        It goes on by itself: open tasks are given out anew. `fork` of the answer says where it comes from.
        """
        request = pb.ForkExecutionRequest(
            execution_id=execution_id, at_sequence=at_sequence, new_execution_id=id, request_id=new_request_id()
        )
        if at_time is not None:
            request.at_time.CopyFrom(encode_timestamp(at_time))
        answer = await self._connection.unary(self._forking.ForkExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def export_execution(self, execution_id: str) -> AsyncIterator[str]:
        """The lines of an execution's export, without their ends: JSON, its whole history, for `import_execution`."""
        call = self._forking.ExportExecution(
            pb.ExportExecutionRequest(execution_id=execution_id), metadata=self._connection.metadata()
        )
        parts: list[bytes] = []
        try:
            async for answer in call:
                *whole, rest = answer.data.split(b"\n")
                for line in whole:
                    yield b"".join((*parts, line)).decode()
                    parts.clear()
                parts.append(rest)
        except aio.AioRpcError as error:
            raise self._connection.explain(error) from None
        finally:
            call.cancel()

    async def import_execution(
        self,
        lines: str | Iterable[str] | AsyncIterable[str],
        *,
        id: str = "",
        timeout: Seconds | None = None,
    ) -> Execution:
        """Takes in an execution that `export_execution` wrote: its text, or its lines with or without their ends.

        It gets the exported id unless `id` is another. An ended one stays as it ended; another one goes on, and its
        definition has to be there. It takes as long as it takes unless there is a `timeout`, and is not repeated by
        itself, for the lines may be gone.
        """
        allowed = None if timeout is None else seconds(timeout)
        call = self._forking.ImportExecution(timeout=allowed, metadata=self._connection.metadata())
        try:
            await _send(call, lines, pb.ImportExecutionRequest(execution_id=id, request_id=new_request_id()))
            answer = await call
        except aio.AioRpcError as error:
            raise self._connection.explain(error) from None
        finally:
            call.cancel()
        return decode(Execution, answer.execution)


async def _send(
    call: "aio.StreamUnaryCall[pb.ImportExecutionRequest, pb.ImportExecutionResponse]",
    lines: str | Iterable[str] | AsyncIterable[str],
    message: pb.ImportExecutionRequest,
) -> None:
    """Send an export, the first piece in this message; ends early where the server has refused it already."""
    try:
        async for piece in _pieces(lines):
            message.data = piece
            await call.write(message)
            message = pb.ImportExecutionRequest()
        await call.done_writing()
    except (asyncio.InvalidStateError, aio.AioRpcError):
        return  # what the server has said comes with the answer


async def _pieces(lines: str | Iterable[str] | AsyncIterable[str]) -> AsyncIterator[bytes]:
    """The bytes of an export, in pieces that fit into a message; at least one."""
    held = bytearray()
    async for line in _each(lines):
        held += line.encode()
        if not line.endswith("\n"):
            held += b"\n"
        while len(held) > PIECE_BYTES:
            yield bytes(held[:PIECE_BYTES])
            del held[:PIECE_BYTES]
    yield bytes(held)


async def _each(lines: str | Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
        return
    for line in [lines] if isinstance(lines, str) else lines:
        yield line
