"""Starting, feeding, reading and steering executions, one call at a time. Streams are in `streams`."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, TypeAlias

from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub
from callboard.v1.failure_pb2 import Failure as FailureMessage

from .calls import Calls, each, new_request_id
from .channel import Connection
from .codec import Seconds, encode_duration, encode_payload, encode_timestamp, seconds
from .decoding import decode
from .execution_models import DeadLetter, Emitted, Enqueued, Event, Execution, Submitted

ConflictPolicy: TypeAlias = Literal["RETURN_EXISTING", "REJECT"]
UniquePolicy: TypeAlias = Literal["RETURN_EXISTING", "REJECT", "CANCEL_EXISTING"]
Action: TypeAlias = Literal["RETRY_NOW", "SKIP", "COMPLETE", "FAIL"]

WAIT_SECONDS_MAX = 60.0
"""The longest a single call waits for an end; longer waits are several calls."""


def start_request(
    definition_id: str,
    *,
    input: Any = None,
    id: str = "",
    version: int = 0,
    labels: Mapping[str, str] | None = None,
    conflict_policy: ConflictPolicy = "RETURN_EXISTING",
    unique_key: str = "",
    unique_policy: UniquePolicy = "RETURN_EXISTING",
    wait: Seconds | None = None,
    min_revision: int = 0,
    request_id: str = "",
) -> pb.StartExecutionRequest:
    """The request of a start; a wait is cut to what one call waits."""
    return pb.StartExecutionRequest(
        definition_id=definition_id,
        version=version,
        execution_id=id,
        input=None if input is None else encode_payload(input),
        labels=labels,
        conflict_policy=f"CONFLICT_POLICY_{conflict_policy}",
        unique_key=unique_key,
        unique_policy=f"UNIQUE_POLICY_{unique_policy}" if unique_key else None,
        wait=None if wait is None else encode_duration(min(seconds(wait), WAIT_SECONDS_MAX)),
        min_revision=min_revision,
        request_id=request_id or new_request_id(),
    )


class ExecutionCalls(Calls):
    """The calls about executions."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._executions = ExecutionServiceStub(connection.channel)

    async def start(
        self,
        definition_id: str,
        *,
        input: Any = None,
        id: str = "",
        version: int = 0,
        labels: Mapping[str, str] | None = None,
        conflict_policy: ConflictPolicy = "RETURN_EXISTING",
        unique_key: str = "",
        unique_policy: UniquePolicy = "RETURN_EXISTING",
        wait: Seconds | None = None,
        min_revision: int = 0,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Execution:
        """Starts an execution of a definition (version 0: the published one).

        With `wait` (seconds) it answers when the execution has ended or that time is up: look at `ended`. `started`
        says whether this call started it, or an execution with this id was there. `timeout` is for the call without
        its wait.

        At most one execution of a definition that has not ended holds a `unique_key`. Where one does, `unique_policy`
        answers with it, refuses (`errors.UniqueKeyTaken`), or cancels it; the new one is PENDING until it has ended.
        """
        given = time.monotonic()
        request = start_request(
            definition_id,
            input=input,
            id=id,
            version=version,
            labels=labels,
            conflict_policy=conflict_policy,
            unique_key=unique_key,
            unique_policy=unique_policy,
            wait=wait,
            min_revision=min_revision,
            request_id=request_id,
        )
        waited = 0.0 if wait is None else min(seconds(wait), WAIT_SECONDS_MAX)
        answer = await self._connection.unary(self._executions.StartExecution, request, self._allowed(timeout) + waited)
        execution = decode(Execution, answer.execution, started=answer.started)
        if wait is None or answer.ended or seconds(wait) <= WAIT_SECONDS_MAX:
            return execution
        left = seconds(wait) - (time.monotonic() - given)
        return await self.wait(execution.id, wait=max(left, 0.0), timeout=timeout)

    async def wait(
        self,
        execution_id: str,
        *,
        wait: Seconds | None = None,
        full: bool = False,
        timeout: Seconds | None = None,
    ) -> Execution:
        """Waits until an execution has ended, for `wait` seconds at the most (None: however long it takes).

        When the time is up first it answers with the execution as it is: look at `ended`. A server that is away is
        waited for, up to `timeout` at a time.
        """
        until = None if wait is None else time.monotonic() + seconds(wait)
        while True:
            left = WAIT_SECONDS_MAX if until is None else min(max(until - time.monotonic(), 0.0), WAIT_SECONDS_MAX)
            request = pb.WaitExecutionRequest(execution_id=execution_id, wait=encode_duration(left), view=_view(full))
            answer = await self._connection.unary(
                self._executions.WaitExecution, request, self._allowed(timeout) + left
            )
            if answer.ended or (until is not None and time.monotonic() >= until):
                return decode(Execution, answer.execution)

    async def submit(
        self,
        execution_id: str,
        name: str,
        payload: Any = None,
        *,
        event_id: str = "",
        expected_sequence: int | None = None,
        timeout: Seconds | None = None,
    ) -> Submitted:
        """Hands an event to an execution; answered when it is processed. The same `event_id` counts once.

        With `expected_sequence` it counts only if the execution is at that sequence, as `execution.sequence` had it;
        else `SequenceMismatch` is raised, whose `metadata["sequence"]` says where it is, and nothing has happened.
        """
        request = events_pb.SubmitEventRequest(
            execution_id=execution_id,
            name=name,
            payload=None if payload is None else encode_payload(payload),
            event_id=event_id,
            expected_sequence=expected_sequence,
            request_id=new_request_id(),
        )
        return decode(Submitted, await self._connection.unary(self._executions.SubmitEvent, request, timeout))

    async def enqueue(
        self,
        execution_id: str,
        name: str,
        payload: Any = None,
        *,
        event_id: str = "",
        timeout: Seconds | None = None,
    ) -> Enqueued:
        """Hands an event to an execution; answered when it is durably accepted. The same `event_id` counts once."""
        request = events_pb.EnqueueEventRequest(
            execution_id=execution_id,
            name=name,
            payload=None if payload is None else encode_payload(payload),
            event_id=event_id,
            request_id=new_request_id(),
        )
        return decode(Enqueued, await self._connection.unary(self._executions.EnqueueEvent, request, timeout))

    async def emit(
        self,
        name: str,
        payload: Any = None,
        *,
        key: str = "",
        event_id: str = "",
        timeout: Seconds | None = None,
    ) -> Emitted:
        """Publishes an event in the tenant, for triggers and for waiting steps with this key.

        Answered when it is durably accepted, with what it matched. The same `event_id` counts once in 7 days.
        """
        request = events_pb.PublishEventRequest(
            name=name,
            key=key,
            payload=None if payload is None else encode_payload(payload),
            event_id=event_id,
            request_id=new_request_id(),
        )
        return decode(Emitted, await self._connection.unary(self._executions.PublishEvent, request, timeout))

    async def get(
        self,
        execution_id: str,
        *,
        full: bool = True,
        at_sequence: int | None = None,
        at_time: datetime | None = None,
        timeout: Seconds | None = None,
    ) -> Execution:
        """An execution, now or as it was after the event `at_sequence` or at `at_time`."""
        request = pb.GetExecutionRequest(execution_id=execution_id, view=_view(full), at_sequence=at_sequence)
        if at_time is not None:
            request.at_time.CopyFrom(encode_timestamp(at_time))
        answer = await self._connection.unary(self._executions.GetExecution, request, timeout)
        return decode(Execution, answer.execution)

    def list(
        self, filter: str = "", *, order_by: str = "", full: bool = False, page_size: int = 0
    ) -> AsyncIterator[Execution]:
        """All executions that a filter (CEL) matches, the newest first unless `order_by` says otherwise."""
        request = pb.ListExecutionsRequest(filter=filter, order_by=order_by, page_size=page_size, view=_view(full))
        pages = self._connection.pages(self._executions.ListExecutions, request)
        return each(pages, attrgetter("executions"), lambda item: decode(Execution, item))

    async def count(self, filter: str = "", *, timeout: Seconds | None = None) -> int:
        """How many executions a filter (CEL) matches."""
        request = pb.CountExecutionsRequest(filter=filter)
        answer = await self._connection.unary(self._executions.CountExecutions, request, timeout)
        return answer.count

    async def count_by(self, group_by: str, filter: str = "", *, timeout: Seconds | None = None) -> dict[str, int]:
        """How many executions a filter (CEL) matches, by the values of `status`, `state`, `definition_id`, `version` or
        `labels.<name>`: the 1000 largest groups, the largest first."""
        request = pb.CountExecutionsRequest(filter=filter, group_by=group_by)
        answer = await self._connection.unary(self._executions.CountExecutions, request, timeout)
        return {group.value: group.count for group in answer.groups}

    def history(
        self,
        execution_id: str,
        *,
        after_sequence: int = 0,
        event_names: Iterable[str] = (),
        descending: bool = False,
        page_size: int = 0,
    ) -> AsyncIterator[Event]:
        """The events of an execution stored so far, in order."""
        request = events_pb.GetHistoryRequest(
            execution_id=execution_id,
            after_sequence=after_sequence,
            event_names=event_names,
            descending=descending,
            page_size=page_size,
        )
        pages = self._connection.pages(self._executions.GetHistory, request)
        return each(pages, attrgetter("events"), lambda item: decode(Event, item))

    async def cancel(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Begins to cancel an execution; `wait` for its end."""
        request = control_pb.CancelExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.CancelExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def terminate(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Ends an execution at once; nothing is undone."""
        request = control_pb.TerminateExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.TerminateExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def pause(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Lets running attempts finish and nothing else go on."""
        request = control_pb.PauseExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.PauseExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def resume(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Lets a paused execution go on."""
        request = control_pb.ResumeExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.ResumeExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def retry(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Reopens a failed execution at the steps that failed."""
        request = control_pb.RetryExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.RetryExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def resolve(
        self,
        execution_id: str,
        step_path: str,
        action: Action,
        *,
        result: Any = None,
        failure: tuple[str, str] | None = None,
        reason: str = "",
        expected_sequence: int | None = None,
        timeout: Seconds | None = None,
    ) -> Execution:
        """Decides about a step that cannot go on by itself; an empty path is the execution's own output or end.

        `result` is for COMPLETE, `failure` (type and message) for FAIL; `expected_sequence` is as for `submit`.
        """
        request = control_pb.ResolveStepRequest(
            execution_id=execution_id,
            step_path=step_path,
            action=f"RESOLVE_ACTION_{action}",
            result=encode_payload(result) if action == "COMPLETE" else None,
            failure=FailureMessage(type=failure[0], message=failure[1]) if failure else None,
            reason=reason,
            expected_sequence=expected_sequence,
            request_id=new_request_id(),
        )
        answer = await self._connection.unary(self._executions.ResolveStep, request, timeout)
        return decode(Execution, answer.execution)

    def dead_letters(self, *, execution_id: str = "", kind: str = "", page_size: int = 0) -> AsyncIterator[DeadLetter]:
        """What was accepted and could not be processed, the newest first."""
        request = events_pb.ListDeadLettersRequest(execution_id=execution_id, kind=kind, page_size=page_size)
        pages = self._connection.pages(self._executions.ListDeadLetters, request)
        return each(pages, attrgetter("dead_letters"), lambda item: decode(DeadLetter, item))

    async def requeue(self, dead_letter_id: str, *, timeout: Seconds | None = None) -> DeadLetter:
        """Gives a dead letter to its execution again; answers with the letter as it was."""
        request = events_pb.RequeueDeadLetterRequest(dead_letter_id=dead_letter_id, request_id=new_request_id())
        answer = await self._connection.unary(self._executions.RequeueDeadLetter, request, timeout)
        return decode(DeadLetter, answer.dead_letter)

    async def discard(self, dead_letter_id: str, *, reason: str = "", timeout: Seconds | None = None) -> DeadLetter:
        """Throws a dead letter away, for good; answers with the letter as it was."""
        request = events_pb.DiscardDeadLetterRequest(
            dead_letter_id=dead_letter_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._executions.DiscardDeadLetter, request, timeout)
        return decode(DeadLetter, answer.dead_letter)

    def _allowed(self, timeout: Seconds | None) -> float:
        return self._connection.timeout if timeout is None else seconds(timeout)


def _view(full: bool) -> executions_pb2.ExecutionView:
    return executions_pb2.EXECUTION_VIEW_FULL if full else executions_pb2.EXECUTION_VIEW_BASIC
