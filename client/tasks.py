"""A task as its handler sees it, and how what the handler did becomes a result on the wire."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from callboard.v1 import tasks_pb2 as pb
from callboard.v1.failure_pb2 import Failure as FailureMessage
from callboard.v1.payload_pb2 import TraceContext

from .codec import NotJson, decode_payload, encode_duration, encode_payload

INVALID_RESULT = "InvalidResult"
"""Type of the failure of a task whose handler returned something that has no JSON form."""
RESULT_TOO_LARGE = "ResultTooLarge"
RESULT_BYTES_MAX = 3 * 1024 * 1024
"""A larger result would break the stream that carries it, again and again, so it never leaves."""
_CAUSES_MAX = 8
_MESSAGE_CHARACTERS_MAX = 4_000
_OUTCOMES = {pb.TASK_OUTCOME_SUCCEEDED: "SUCCEEDED", pb.TASK_OUTCOME_UNKNOWN: "UNKNOWN"}
_UNREAD = object()


class Task:
    """One attempt of a step, delivered to this worker. What it holds is read from the message when it is asked for."""

    __slots__ = ("_beat", "_cancelled", "_input", "_message", "_watch", "tenant")

    def __init__(self, message: pb.Task, tenant: str, beat: Callable[[bytes, Any], None]) -> None:
        self._message = message
        self._beat = beat
        self._input: Any = _UNREAD
        self._cancelled = False
        self._watch: asyncio.Event | None = None
        self.tenant = tenant

    @property
    def execution_id(self) -> str:
        """The execution it belongs to."""
        return self._message.execution_id

    @property
    def path(self) -> str:
        """The path of its step, such as `lines[3]/charge`."""
        return self._message.step_path

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1; a delivery that was lost is repeated under the same number."""
        return self._message.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of a step; hand it on to services that can recognise a repeat."""
        return self._message.idempotency_key

    @property
    def original_idempotency_key(self) -> str:
        """For a compensation: the key that what it undoes ran under. Empty otherwise."""
        return self._message.original_idempotency_key

    @property
    def outcome(self) -> str | None:
        """For a compensation: `SUCCEEDED` or `UNKNOWN`, the outcome of what it undoes. None otherwise."""
        return _OUTCOMES.get(self._message.outcome)

    @property
    def service(self) -> str:
        """The service, such as `inventory`."""
        return self._message.service

    @property
    def operation(self) -> str:
        """The operation, such as `reserve`."""
        return self._message.operation

    @property
    def input(self) -> Any:
        """The input as a Python value; the handler may change it."""
        if self._input is _UNREAD:
            self._input = decode_payload(self._message.input)
        return self._input

    @property
    def deadline(self) -> float | None:
        """When the attempt times out, in seconds since the epoch; None: never."""
        if not self._message.HasField("deadline"):
            return None
        return self._message.deadline.seconds + self._message.deadline.nanos / 1e9

    @property
    def progress(self) -> Any:
        """What an earlier attempt or delivery reported last; None: nothing."""
        return decode_payload(self._message.progress)

    @property
    def heartbeat_timeout(self) -> timedelta | None:
        """How often a heartbeat is due at the least; None: none is asked for."""
        message = self._message
        return message.heartbeat_timeout.ToTimedelta() if message.HasField("heartbeat_timeout") else None

    @property
    def trace_context(self) -> TraceContext:
        """The trace it belongs to; its handler runs within it."""
        return self._message.trace_context

    @property
    def cancelled(self) -> bool:
        """Whether the task is called off. An async handler is cancelled as well; one in a thread looks here."""
        return self._cancelled

    async def wait_cancelled(self) -> None:
        """Returns once the task is called off."""
        if not self._cancelled:
            self._watch = self._watch or asyncio.Event()
            await self._watch.wait()

    def heartbeat(self, progress: Any = None) -> None:
        """Says that the task goes on and, if not None, how far it is. Does not wait; may be called from a thread."""
        self._beat(self._message.task_token, progress)

    def cancel(self) -> None:
        """The worker's part: the task is called off."""
        self._cancelled = True
        if self._watch is not None:
            self._watch.set()


def success(token: bytes, output: Any) -> pb.TaskResult:
    """The result of a handler that returned."""
    try:
        result = pb.TaskResult(task_token=token, output=encode_payload(output))
    except NotJson as error:
        message = FailureMessage(type=INVALID_RESULT, message=f"the handler's result: {error}", retryable=False)
        return pb.TaskResult(task_token=token, failure=message)
    if result.ByteSize() > RESULT_BYTES_MAX:
        text = f"the handler's result has {result.ByteSize()} bytes, more than {RESULT_BYTES_MAX}"
        return pb.TaskResult(
            task_token=token, failure=FailureMessage(type=RESULT_TOO_LARGE, message=text, retryable=False)
        )
    return result


def failed(token: bytes, error: BaseException) -> pb.TaskResult:
    """The result of a handler that raised."""
    return pb.TaskResult(task_token=token, failure=failure_of(error))


def failure_of(error: BaseException, causes: int = _CAUSES_MAX) -> FailureMessage:
    """What was raised, with its causes. A `TaskError` of any package says how it failed; everything else is named
    after its class and may be tried again."""
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = failure_of(inner, causes - 1) if inner is not None and causes > 1 else None
    if isinstance(error, asyncio.CancelledError):
        return FailureMessage(type="Cancelled", message="the handler was cancelled", retryable=False)
    if not _says_how(error):
        return FailureMessage(type=type(error).__name__[:255], message=_shortened(str(error)), cause=cause)
    said: Any = error
    details = getattr(said, "details", None)
    return FailureMessage(
        type=said.type[:255] or "TaskError",
        message=_shortened(str(getattr(said, "message", ""))),
        details=None if details is None else _details(details),
        cause=cause,
        retryable=said.retryable,
        retry_after=encode_duration(getattr(said, "retry_after", None)),
    )


def _says_how(error: BaseException) -> bool:
    """Whether it is a `TaskError`, that of the runtime package included, which this one does not know."""
    told = isinstance(getattr(error, "type", None), str) and isinstance(getattr(error, "retryable", None), bool)
    return told and any(cls.__name__ == "TaskError" for cls in type(error).__mro__)


def _details(details: Any) -> Any:
    try:
        return encode_payload(details)
    except NotJson:
        return encode_payload(_shortened(repr(details)))


def _shortened(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MESSAGE_CHARACTERS_MAX else clean[:_MESSAGE_CHARACTERS_MAX] + " ..."
