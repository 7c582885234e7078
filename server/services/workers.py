"""`WorkerService`: tasks out, results in, over one stream or with three unary calls.

A stream has one reader and one writer. The reader hands every frame to the worker's session as it is; the writer sends
what the session has to say, in frames. Nothing here costs anything for each task but its encoding.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.sessions import WorkerSession
from callboard.runtime.tasks import Frame
from callboard.v1 import worker_service_pb2 as pb2

from ..calls import DRAINING, Call, Calls, Stream
from ..codec import seconds_of
from ..codec_workers import (
    ack_of,
    cancels_of,
    frame_of,
    heartbeats_of,
    hello_of,
    poll_of,
    results_of,
    task_of,
    welcome_of,
)
from ..requests import Faults, Unknown, invalid, unknown_fields, wait_us

log = logging.getLogger(__name__)

TASKS_PER_CALL_MAX: Final = 1_000
_POLL_WAIT_US: Final = 20_000_000
_POLL_SECONDS_MAX: Final = 60
_RESULT: Final = re.compile(r"results\[(\d+)\]")
_HEARTBEAT: Final = re.compile(r"heartbeats\[(\d+)\]")


class WorkerService:
    """The workers of a runtime over gRPC."""

    def __init__(
        self,
        runtime: Runtime,
        calls: Calls,
        version: str,
        *,
        rotate_seconds: float,
        grace_seconds: float,
        draining: Callable[[], bool],
    ) -> None:
        self._dispatcher = runtime.dispatcher
        self._clock = runtime.clock
        self._calls = calls
        self._version = version
        self._rotate_seconds = rotate_seconds
        """A stream of this age is asked to reconnect; 0: never."""
        self._grace_seconds = grace_seconds
        self._draining = draining
        self._sessions: set[WorkerSession] = set()
        self._payload_bytes_max = runtime.settings.payload_bytes_max
        self._cancel_grace_us = runtime.settings.decisions.cancel_grace_us

    @property
    def held(self) -> int:
        """Tasks in the hands of workers that are connected by a stream."""
        return sum(len(session.held) for session in self._sessions)

    # The stream

    async def Work(self, call: Call, stream: Stream[pb2.WorkRequest]) -> None:
        first = await stream.read()
        if first is None:
            return
        message, unknown = first
        if not message.HasField("hello"):
            raise invalid("hello", "is required in the first frame")
        session = self._dispatcher.connect(hello_of(message.hello, call.tenant, call.peer))
        self._sessions.add(session)
        _log_worker("worker connected", session)
        try:
            await self._serve(session, stream, message, unknown)
        finally:
            self._sessions.discard(session)
            session.disconnect()
            _log_worker("worker disconnected", session)

    async def _serve(
        self,
        session: WorkerSession,
        stream: Stream[pb2.WorkRequest],
        first: pb2.WorkRequest,
        unknown: tuple[Unknown, ...],
    ) -> None:
        await stream.write(pb2.WorkResponse(welcome=welcome_of(self._dispatcher.settings, session.kept, self._version)))
        self._take(session, first, unknown)
        loop = asyncio.get_running_loop()
        reader = loop.create_task(self._read(session, stream))
        rotation = None
        if self._rotate_seconds:
            rotation = loop.call_later(self._rotate_seconds, session.ask_reconnect, "the connection is old")
        try:
            while not (frame := await session.receive()).closing:
                await stream.write(self._encode(frame))
            await stream.write(self._encode(frame))
            if reader.done():
                reader.result()
            elif self._draining():
                raise Refused(DRAINING)
        finally:
            reader.cancel()
            if rotation is not None:
                rotation.cancel()

    async def _read(self, session: WorkerSession, stream: Stream[pb2.WorkRequest]) -> None:
        """Until the worker closes its side, or sends what cannot be: then the session ends, and with it the writer."""
        try:
            while (read := await stream.read()) is not None:
                message, unknown = read
                if message.HasField("hello"):
                    raise invalid("hello", "stands in the first frame only")
                self._take(session, message, unknown)
        finally:
            session.disconnect()

    def _take(self, session: WorkerSession, message: pb2.WorkRequest, unknown: tuple[Unknown, ...]) -> None:
        spoiled = _spoiled(unknown) if unknown else frozenset[int]()
        session.touch()
        if message.results:
            session.answer(results_of(message.results, self._payload_bytes_max, spoiled))
        if message.heartbeats:
            session.heartbeat(heartbeats_of(message.heartbeats, self._payload_bytes_max))
        if message.drain:
            session.drain()

    def _encode(self, frame: Frame) -> pb2.WorkResponse:
        response = frame_of(frame, self._cancel_grace_us)
        if frame.reconnect:
            grace = seconds_of(self._grace_seconds)
            response.reconnect.CopyFrom(pb2.WorkReconnect(grace=grace, reason=frame.reconnect))
        if frame.ping:
            seconds, rest = divmod(self._clock.now(), 1_000_000)
            response.ping.sent_at.CopyFrom(Timestamp(seconds=seconds, nanos=rest * 1_000))
        return response

    # The unary twins

    async def PollTasks(self, call: Call, request: pb2.PollTasksRequest) -> pb2.PollTasksResponse:
        _check_poll(request)
        faults = Faults()
        wait = wait_us(faults, "wait", request.wait, _POLL_SECONDS_MAX) if request.HasField("wait") else _POLL_WAIT_US
        faults.settle()
        hello = poll_of(request, call.tenant, call.peer)
        with self._calls.waits.waiting():
            frame = await self._dispatcher.poll(hello, wait / 1_000_000)
        return pb2.PollTasksResponse(
            tasks=[task_of(task) for task in frame.tasks],
            lease=seconds_of(self._dispatcher.settings.lease_seconds),
            cancels=cancels_of(frame.cancels, self._cancel_grace_us),
        )

    async def CompleteTasks(self, call: Call, request: pb2.CompleteTasksRequest) -> pb2.CompleteTasksResponse:
        _check_items(request.worker_id, "results", request.results)
        results = results_of(request.results, self._payload_bytes_max)
        acks = await self._dispatcher.answer(call.tenant, request.worker_id, results)
        return pb2.CompleteTasksResponse(acks=[ack_of(ack) for ack in acks])

    async def HeartbeatTasks(self, call: Call, request: pb2.HeartbeatTasksRequest) -> pb2.HeartbeatTasksResponse:
        _check_items(request.worker_id, "heartbeats", request.heartbeats)
        beats = heartbeats_of(request.heartbeats, self._payload_bytes_max)
        acks = self._dispatcher.heartbeat(call.tenant, request.worker_id, beats)
        lease = seconds_of(self._dispatcher.settings.lease_seconds)
        return pb2.HeartbeatTasksResponse(acks=[ack_of(ack) for ack in acks], lease=lease)


def _spoiled(unknown: tuple[Unknown, ...]) -> frozenset[int]:
    """The places of results with unknown fields; each gets its own ack. Anywhere else they end the stream. A heartbeat
    is good whatever it holds besides its token."""
    found: set[int] = set()
    for one in unknown:
        if (result := _RESULT.match(one.path)) is not None:
            found.add(int(result[1]))
        elif not _HEARTBEAT.match(one.path):
            raise unknown_fields(unknown)
    return frozenset(found)


def _check_poll(request: pb2.PollTasksRequest) -> None:
    faults = Faults()
    faults.name("worker_id", request.worker_id)
    faults.not_negative("max_tasks", request.max_tasks)
    faults.not_negative("max_frame_bytes", request.max_frame_bytes)
    faults.settle()
    if request.max_tasks > TASKS_PER_CALL_MAX:
        raise _too_many("max_tasks", request.max_tasks)


def _check_items(worker_id: str, field: str, items: Sequence[Any]) -> None:
    faults = Faults()
    faults.name("worker_id", worker_id)
    faults.settle()
    if len(items) > TASKS_PER_CALL_MAX:
        raise _too_many(field, len(items))


def _too_many(field: str, count: int) -> Refused:
    message = f"{field}: {count} are more than tasks_per_call_max = {TASKS_PER_CALL_MAX}"
    metadata = {"limit_name": "tasks_per_call_max", "limit": str(TASKS_PER_CALL_MAX), "value": str(count)}
    return Refused(Refusal(Kind.INVALID, "LIMIT_EXCEEDED", message, metadata))


def _log_worker(event: str, session: WorkerSession) -> None:
    fields = {"worker": session.worker_id, "tenant": session.tenant, "address": session.address}
    log.info(event, extra=fields | {"operations": len(session.operations)})
