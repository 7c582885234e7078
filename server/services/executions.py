"""`ExecutionService`: decode, ask, encode. What this version does not do has no method here and is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.listing import PageTokens, scope_of
from callboard.runtime.requests import Caller
from callboard.runtime.rows import DeadLetter, ExecutionRef
from callboard.runtime.trigger_rows import JobRow
from callboard.runtime.views import ExecutionView
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2, jobs_pb2

from ..calls import Call, Calls, Stream, refusal_of
from ..codec import read_failure, timestamp_of, value_of
from ..codec_executions import (
    ACTIONS,
    FRAME_BYTES_MAX,
    dead_letter_of,
    event_of,
    execution_of,
    expected_of,
    fitted,
    start_of,
)
from ..codec_triggers import event_answer_of, is_wanted, job_of
from ..requests import REASON_CHARACTERS_MAX, Faults, invalid, unsupported, wait_us
from ..status import status_of
from .feeds import FeedCalls
from .forking import ForkingService
from .histories import HistoryService
from .listings import ListingService
from .retention import RetentionService

EVENT_OVERHEAD_BYTES: Final = 512
"""What an event takes in an answer, apart from its payload."""
_PAGE_ITEMS_DEFAULT: Final = 100
_STREAM_STARTS_MAX: Final = 4_096
"""Items of one StartExecutions stream that are under way at a time; the stream is read on as they end."""
_RESULTS_PER_FRAME_MAX: Final = 256
_JOBS_READ_AT_ONCE: Final = 200


class ExecutionService(HistoryService, FeedCalls, ForkingService, ListingService, RetentionService):
    """The executions of a runtime over gRPC."""

    def __init__(self, runtime: Runtime, calls: Calls) -> None:
        self._runtime = runtime
        self._calls = calls
        self._payload_bytes_max = runtime.settings.payload_bytes_max
        self._wait_seconds_max = runtime.settings.wait_seconds_max
        self._tokens = PageTokens(runtime.info.secret, runtime.info.generation)

    # Starting

    async def StartExecution(self, call: Call, request: pb2.StartExecutionRequest) -> pb2.StartExecutionResponse:
        view, started = await self._start(call, request)
        return pb2.StartExecutionResponse(execution=execution_of(view), started=started, ended=view.ended)

    async def _start(self, call: Call, request: pb2.StartExecutionRequest) -> tuple[ExecutionView, bool]:
        wait = self._wait(request) if request.HasField("wait") else 0
        caller = call.caller(request)
        asked = start_of(request, self._payload_bytes_max)
        if asked.min_revision:
            await self._runtime.reached(caller.tenant, asked.min_revision, self._wait_seconds_max)
        answer = await self._runtime.start(caller, asked)
        view = answer.view
        if wait and not view.ended:
            view = await self._ended(view.ref, wait) or await self._runtime.get(caller, view.ref.execution_id)
        return view, answer.started

    def _wait(self, request: Any) -> int:
        faults = Faults()
        wait = wait_us(faults, "wait", request.wait, self._wait_seconds_max)
        faults.settle()
        return wait

    async def _ended(self, ref: ExecutionRef, timeout_us: int) -> ExecutionView | None:
        with self._calls.waits.waiting():
            return await self._runtime.wait_ended(ref, timeout_us)

    async def StartExecutions(self, call: Call, stream: Stream[pb2.StartExecutionsRequest]) -> None:
        await _StartStream(self._start, call, stream).run()

    # Events

    async def SubmitEvent(self, call: Call, request: events_pb2.SubmitEventRequest) -> events_pb2.SubmitEventResponse:
        payload = value_of(request.payload, "payload", self._payload_bytes_max)
        answer = await self._runtime.submit(
            call.caller(request), request.execution_id, request.name, payload, request.event_id, expected_of(request)
        )
        return events_pb2.SubmitEventResponse(
            execution=execution_of(answer.view),
            event_id=answer.event_id,
            sequence=answer.sequence,
            duplicate=answer.duplicate,
            kept=answer.kept,
        )

    async def EnqueueEvent(
        self, call: Call, request: events_pb2.EnqueueEventRequest
    ) -> events_pb2.EnqueueEventResponse:
        payload = value_of(request.payload, "payload", self._payload_bytes_max)
        answer = await self._runtime.enqueue(
            call.caller(request), request.execution_id, request.name, payload, request.event_id
        )
        return events_pb2.EnqueueEventResponse(
            event_id=answer.event_id, duplicate=answer.duplicate, accepted_at=timestamp_of(answer.accepted_at)
        )

    async def PublishEvent(
        self, call: Call, request: events_pb2.PublishEventRequest
    ) -> events_pb2.PublishEventResponse:
        faults = Faults()
        faults.event_name(request.name)
        faults.short("key", request.key)
        faults.short("event_id", request.event_id)
        faults.settle()
        payload = value_of(request.payload, "payload", self._payload_bytes_max)
        answer = await self._calls.whole(
            self._runtime.events.publish(call.caller(request), request.name, request.key, payload, request.event_id)
        )
        return event_answer_of(answer)

    # Looking

    async def GetExecution(self, call: Call, request: pb2.GetExecutionRequest) -> pb2.GetExecutionResponse:
        full = _full(request.view)
        if request.WhichOneof("moment") is not None:
            view = await self._past(call, request, full)
        else:
            view = await self._runtime.get(call.caller(), request.execution_id, full)
        return pb2.GetExecutionResponse(execution=fitted(execution_of(view, full), request.max_frame_bytes))

    async def WaitExecution(self, call: Call, request: pb2.WaitExecutionRequest) -> pb2.WaitExecutionResponse:
        full = _full(request.view)
        wait = self._wait(request) if request.HasField("wait") else self._wait_seconds_max * 1_000_000
        _check_id(request.execution_id)
        caller = call.caller()
        await self._ended(ExecutionRef(caller.tenant, request.execution_id), wait)
        view = await self._runtime.get(caller, request.execution_id, full)
        return pb2.WaitExecutionResponse(execution=fitted(execution_of(view, full), 0), ended=view.ended)

    async def GetHistory(self, call: Call, request: events_pb2.GetHistoryRequest) -> events_pb2.GetHistoryResponse:
        unsupported(request, "event_names", "descending")
        limit = self._limit(request.page_size)
        caller, execution_id = call.caller(), request.execution_id
        scope = scope_of("GetHistory", caller.tenant, execution_id, request.after_sequence)
        after = max(request.after_sequence, self._tokens.number(scope, request.page_token))
        room = min(request.max_frame_bytes or FRAME_BYTES_MAX, FRAME_BYTES_MAX)
        bytes_max = max(room - limit * EVENT_OVERHEAD_BYTES, room // 4)
        page = await self._runtime.history(caller, execution_id, after, limit, bytes_max)
        events = [event_of(event, caller.tenant, execution_id) for event in page]
        _cut(events, room)
        token = ""
        if events and await self._runtime.history(caller, execution_id, events[-1].sequence, 1, 1):
            token = self._tokens.make(scope, str(events[-1].sequence))
        return events_pb2.GetHistoryResponse(events=events, next_page_token=token)

    async def WatchExecution(
        self, call: Call, request: events_pb2.WatchExecutionRequest
    ) -> AsyncIterator[events_pb2.WatchExecutionResponse]:
        caller, execution_id, last = call.caller(), request.execution_id, False
        async for page in self._runtime.watch(caller, execution_id, request.after_sequence):
            events = [event_of(event, caller.tenant, execution_id) for event in page]
            last = page[-1].is_last
            while events:
                frame = events.copy()
                _cut(frame, FRAME_BYTES_MAX)
                yield events_pb2.WatchExecutionResponse(events=frame)
                del events[: len(frame)]
        if not last and not (await self._runtime.get(caller, execution_id)).ended:
            message = "the server is shutting down; go on from the last sequence"
            raise Refused(Refusal(Kind.UNAVAILABLE, "SERVER_DRAINING", message, retry_after_us=1_000_000))

    # Control

    async def CancelExecution(
        self, call: Call, request: control_pb2.CancelExecutionRequest
    ) -> control_pb2.CancelExecutionResponse:
        _check_reason(request.reason)
        view = await self._runtime.cancel(call.caller(request), request.execution_id, request.reason)
        return control_pb2.CancelExecutionResponse(execution=execution_of(view))

    async def TerminateExecution(
        self, call: Call, request: control_pb2.TerminateExecutionRequest
    ) -> control_pb2.TerminateExecutionResponse:
        _check_reason(request.reason)
        view = await self._runtime.terminate(call.caller(request), request.execution_id, request.reason)
        return control_pb2.TerminateExecutionResponse(execution=execution_of(view))

    async def ResolveStep(self, call: Call, request: control_pb2.ResolveStepRequest) -> control_pb2.ResolveStepResponse:
        _check_reason(request.reason)
        action = ACTIONS.get(request.action)
        if action is None:
            raise invalid("action", "is required: RETRY_NOW, SKIP, COMPLETE or FAIL")
        result = value_of(request.result, "result", self._payload_bytes_max)
        failure = read_failure(request.failure, self._payload_bytes_max) if request.HasField("failure") else None
        view = await self._runtime.resolve(
            call.caller(request),
            request.execution_id,
            request.step_path,
            action,
            result,
            request.reason,
            failure,
            expected_of(request),
        )
        return control_pb2.ResolveStepResponse(execution=execution_of(view))

    # Dead letters

    async def ListDeadLetters(
        self, call: Call, request: events_pb2.ListDeadLettersRequest
    ) -> events_pb2.ListDeadLettersResponse:
        limit = self._limit(request.page_size)
        caller = call.caller()
        scope = scope_of("ListDeadLetters", caller.tenant, request.execution_id, request.kind)
        after = self._tokens.number(scope, request.page_token)
        found: Sequence[DeadLetter] = ()
        if request.kind in ("", "event"):
            found = await self._runtime.dead_letters(caller, request.execution_id, after, limit + 1)
        letters = [dead_letter_of(letter) for letter in found[:limit]]
        _cut(letters, FRAME_BYTES_MAX)
        more = len(letters) < len(found)
        token = self._tokens.make(scope, letters[-1].dead_letter_id) if more and letters else ""
        return events_pb2.ListDeadLettersResponse(dead_letters=letters, next_page_token=token)

    async def RequeueDeadLetter(
        self, call: Call, request: events_pb2.RequeueDeadLetterRequest
    ) -> events_pb2.RequeueDeadLetterResponse:
        caller, number = call.caller(request), _letter_id(request.dead_letter_id)
        letter = await self._letter(caller, number)
        await self._runtime.requeue_dead_letter(caller, number)
        return events_pb2.RequeueDeadLetterResponse(dead_letter=None if letter is None else dead_letter_of(letter))

    async def DiscardDeadLetter(
        self, call: Call, request: events_pb2.DiscardDeadLetterRequest
    ) -> events_pb2.DiscardDeadLetterResponse:
        _check_reason(request.reason)
        caller, number = call.caller(request), _letter_id(request.dead_letter_id)
        letter = await self._letter(caller, number)
        await self._runtime.discard_dead_letter(caller, number)
        return events_pb2.DiscardDeadLetterResponse(dead_letter=None if letter is None else dead_letter_of(letter))

    async def _letter(self, caller: Caller, number: int) -> DeadLetter | None:
        """The dead letter as it is; None where a repeated request has moved it already."""
        found = await self._runtime.dead_letters(caller, "", number - 1, 1)
        return found[0] if found and found[0].id == number else None

    # Jobs

    async def GetJob(self, call: Call, request: control_pb2.GetJobRequest) -> control_pb2.GetJobResponse:
        faults = Faults()
        faults.name("job_id", request.job_id)
        faults.settle()
        return control_pb2.GetJobResponse(job=job_of(await self._runtime.jobs.get(call.tenant, request.job_id)))

    async def ListJobs(self, call: Call, request: control_pb2.ListJobsRequest) -> control_pb2.ListJobsResponse:
        faults = Faults()
        faults.enum("kind", request.kind, jobs_pb2.JobKind)
        faults.enum("state", request.state, jobs_pb2.JobState)
        faults.settle()
        limit = self._limit(request.page_size)
        scope = scope_of("ListJobs", call.tenant, request.kind, request.state)
        below = self._tokens.number(scope, request.page_token)
        found, more = await self._jobs(call.tenant, request, below, limit)
        jobs = [job_of(job) for job in found]
        _cut(jobs, FRAME_BYTES_MAX)
        last = found[len(jobs) - 1].number if jobs else 0
        token = self._tokens.make(scope, str(last)) if more or len(jobs) < len(found) else ""
        return control_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def _jobs(
        self, tenant: str, request: control_pb2.ListJobsRequest, below: int, limit: int
    ) -> tuple[list[JobRow], bool]:
        """Jobs as they are asked for, the newest first, and whether there may be more."""
        found: list[JobRow] = []
        while page := await self._runtime.jobs.list(tenant, below, _JOBS_READ_AT_ONCE):
            found += (job for job in page if is_wanted(job, request.kind, request.state))
            if len(found) > limit:
                return found[:limit], True
            below = page[-1].number
        return found, False

    def _limit(self, page_size: int) -> int:
        if page_size < 0:
            raise invalid("page_size", f"is {page_size}; it must not be negative")
        return min(page_size or _PAGE_ITEMS_DEFAULT, self._runtime.settings.page_items_max)


class _StartStream:
    """One StartExecutions stream: every item is started by itself, results share frames as they come in."""

    def __init__(self, start: Any, call: Call, stream: Stream[pb2.StartExecutionsRequest]) -> None:
        self._start = start
        self._call = call
        self._stream = stream
        self._room = asyncio.Semaphore(_STREAM_STARTS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[pb2.StartExecutionsResult] = []
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Read and answer until the caller has closed and everything is answered."""
        reader = asyncio.get_running_loop().create_task(self._read())
        reader.add_done_callback(lambda _: self._news.set())
        try:
            while not reader.done() or self._tasks or self._done:
                await self._news.wait()
                self._news.clear()
                await self._flush()
            await reader
        finally:
            reader.cancel()
            # A start that is under way is finished or not; either way it is one transaction.
            for task in self._tasks:
                task.cancel()

    async def _read(self) -> None:
        index = 0
        while (read := await self._stream.read()) is not None:
            message, unknown = read
            refused = {place for place in range(len(message.items)) if _is_in(unknown, f"items[{place}]")}
            for place, item in enumerate(message.items):
                await self._room.acquire()
                task = asyncio.get_running_loop().create_task(self._one(index, item, place in refused))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                index += 1

    async def _one(self, index: int, item: pb2.StartExecutionRequest, refused: bool) -> None:
        try:
            if refused:
                raise invalid(f"items[{index}]", "holds a field that this version of the server does not know")
            view, started = await self._start(self._call, item)
            execution = execution_of(view)
            result = pb2.StartExecutionsResult(index=index, execution=execution, started=started, ended=view.ended)
        except Exception as error:  # noqa: BLE001 - one bad item never costs the others
            status = status_of(refusal_of(error, self._call.method))
            result = pb2.StartExecutionsResult(index=index, status=status)
        self._done.append(result)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        self._news.set()

    async def _flush(self) -> None:
        while self._done:
            results = self._done[:_RESULTS_PER_FRAME_MAX]
            _cut(results, FRAME_BYTES_MAX)
            del self._done[: len(results)]
            await self._stream.write(pb2.StartExecutionsResponse(results=results))


def _is_in(unknown: tuple[Any, ...], prefix: str) -> bool:
    return any(one.path == prefix or one.path.startswith(f"{prefix}.") for one in unknown)


def _cut(messages: list[Any], bytes_max: int) -> None:
    """Drop messages from the end until the others fit; the first one always stays."""
    room = bytes_max
    for place, message in enumerate(messages):
        room -= message.ByteSize() + 8
        if room < 0 and place:
            del messages[place:]
            return


def _full(view: int) -> bool:
    if view not in executions_pb2.ExecutionView.values():
        raise invalid("view", f"{view} is no value of ExecutionView")
    return view == executions_pb2.EXECUTION_VIEW_FULL


def _check_id(execution_id: str) -> None:
    faults = Faults()
    faults.execution_id(execution_id)
    faults.settle()


def _check_reason(reason: str) -> None:
    faults = Faults()
    faults.short("reason", reason, REASON_CHARACTERS_MAX)
    faults.settle()


def _letter_id(text: str) -> int:
    if not text:
        raise invalid("dead_letter_id", "is required")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        refusal = Refusal(Kind.NOT_FOUND, "DEAD_LETTER_NOT_FOUND", f"there is no dead letter {text!r}")
        raise Refused(msgspec.structs.replace(refusal, resource_type="dead_letter", resource=text))
    return int(text)
