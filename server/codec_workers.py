"""Tasks, results and frames of workers. This is the hot path of the server: one pass, no reflection, no copies.

One bad item never costs the others: what is wrong with a result travels with it as its `fault`, and is answered by its
own ack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from callboard.runtime.core.failures import RESULT_TOO_LARGE, Failure
from callboard.runtime.core.values import ValueRefused
from callboard.runtime.tasks import (
    Ack,
    CancelNotice,
    Delivered,
    DispatcherSettings,
    Disposition,
    Frame,
    Heartbeat,
    QueueInfo,
    TaskResult,
    WorkerHello,
    WorkerInfo,
)
from callboard.v1 import errors_pb2, server_service_pb2, tasks_pb2
from callboard.v1 import worker_service_pb2 as pb2

from .codec import (
    PayloadTooLargeError,
    duration_of,
    moment_of,
    payload_of,
    payload_of_json,
    read_failure,
    read_payload,
    seconds_of,
    timestamp_of,
)

UNKNOWN_FAULT: Final = "the item holds a field that this version of the server does not know"

_DISPOSITIONS: Final[dict[Disposition, Any]] = {
    disposition: tasks_pb2.TaskDisposition.Value(f"TASK_DISPOSITION_{disposition.value}") for disposition in Disposition
}
_REASONS: Final[dict[str, Any]] = {
    name.removeprefix("ERROR_REASON_"): value for name, value in errors_pb2.ErrorReason.items() if value
}


def hello_of(message: pb2.WorkerHello, tenant: str, address: str) -> WorkerHello:
    """A worker's greeting; the dispatcher judges it."""
    return WorkerHello(
        tenant=tenant,
        worker_id=message.worker_id,
        operations=tuple(message.operations),
        max_in_flight=message.max_in_flight,
        build=message.build,
        address=address,
        max_frame_bytes=message.max_frame_bytes,
        holding=tuple(message.holding),
    )


def poll_of(message: pb2.PollTasksRequest, tenant: str, address: str) -> WorkerHello:
    """The greeting in a poll; `max_in_flight` is what this poll asks for."""
    return WorkerHello(
        tenant=tenant,
        worker_id=message.worker_id,
        operations=tuple(message.operations),
        max_in_flight=message.max_tasks or 1,
        build=message.build,
        address=address,
        max_frame_bytes=message.max_frame_bytes,
        holding=tuple(message.holding),
    )


def results_of(
    messages: Sequence[tasks_pb2.TaskResult], bytes_max: int, unknown: frozenset[int] = frozenset()
) -> list[TaskResult]:
    """What became of tasks; `unknown` has the places of those that held an unknown field."""
    return [
        TaskResult(message.task_token, fault=UNKNOWN_FAULT, fault_reason="UNKNOWN_FIELD")
        if place in unknown
        else _result_of(message, bytes_max)
        for place, message in enumerate(messages)
    ]


def _result_of(message: tasks_pb2.TaskResult, bytes_max: int) -> TaskResult:
    outcome = message.WhichOneof("outcome")
    try:
        if outcome == "output":
            return TaskResult(message.task_token, read_payload(message.output, bytes_max))
        if outcome == "failure":
            return TaskResult(message.task_token, failure=read_failure(message.failure, bytes_max))
    except ValueRefused as error:
        return TaskResult(message.task_token, fault=f"{outcome}: {error}")
    except PayloadTooLargeError as error:
        # It can never fit, so the attempt is over: another one would do the same work for the same end.
        failure = Failure(RESULT_TOO_LARGE, f"{outcome}: {error}", retryable=False)
        return TaskResult(message.task_token, failure=failure)
    return TaskResult(message.task_token)


def heartbeats_of(messages: Sequence[tasks_pb2.TaskHeartbeat], bytes_max: int) -> list[Heartbeat]:
    """Signs of life; progress that cannot be read counts as unchanged."""
    return [_heartbeat_of(message, bytes_max) for message in messages]


def _heartbeat_of(message: tasks_pb2.TaskHeartbeat, bytes_max: int) -> Heartbeat:
    if not message.HasField("progress"):
        return Heartbeat(message.task_token)
    try:
        progress = read_payload(message.progress, bytes_max)
    except (ValueRefused, PayloadTooLargeError):
        return Heartbeat(message.task_token)
    return Heartbeat(message.task_token, progress, message.progress.ByteSize())


def frame_of(frame: Frame, cancel_grace_us: int) -> pb2.WorkResponse:
    """What a worker is told."""
    response = pb2.WorkResponse()
    if frame.tasks:
        response.tasks.extend([task_of(task) for task in frame.tasks])
        cancelled = [task for task in frame.tasks if task.cancel_requested]
        response.cancels.extend(
            [_cancel(task.token, "cancellation was requested", cancel_grace_us) for task in cancelled]
        )
    if frame.acks:
        response.acks.extend([ack_of(ack) for ack in frame.acks])
    if frame.cancels:
        response.cancels.extend(cancels_of(frame.cancels, cancel_grace_us))
    return response


def task_of(task: Delivered) -> tasks_pb2.Task:
    """A task to do."""
    service, _, operation = task.operation.rpartition(".")
    message = tasks_pb2.Task(
        task_token=task.token,
        execution_id=task.execution_id,
        step_path=task.path,
        attempt=task.attempt,
        idempotency_key=task.idempotency_key,
        service=service,
        operation=operation,
        input=payload_of_json(task.input),
    )
    if task.deadline:
        message.deadline.CopyFrom(moment_of(task.deadline))
    if task.progress is not None:
        message.progress.CopyFrom(payload_of(task.progress))
    if task.trace:
        message.trace_context.traceparent = task.trace
    return message


def ack_of(ack: Ack) -> tasks_pb2.TaskAck:
    """The answer to one item."""
    message = tasks_pb2.TaskAck(task_token=ack.token, disposition=_DISPOSITIONS[ack.disposition])
    if ack.message:
        message.message = ack.message
    if ack.reason:
        message.reason = _REASONS.get(ack.reason, errors_pb2.ERROR_REASON_INTERNAL)
    if ack.cancel_requested:
        message.cancel_requested = True
    if ack.heartbeat:
        message.heartbeat = True
    if ack.retry_after_us is not None:
        message.retry_after.CopyFrom(duration_of(ack.retry_after_us))
    return message


def cancels_of(cancels: Sequence[CancelNotice], grace_us: int) -> list[tasks_pb2.TaskCancel]:
    """Tasks to stop working on."""
    return [_cancel(cancel.token, cancel.reason, grace_us) for cancel in cancels]


def _cancel(token: bytes, reason: str, grace_us: int) -> tasks_pb2.TaskCancel:
    return tasks_pb2.TaskCancel(task_token=token, reason=reason, grace=duration_of(grace_us))


def welcome_of(settings: DispatcherSettings, kept: Sequence[bytes], version: str) -> pb2.WorkerWelcome:
    """What a worker goes by."""
    return pb2.WorkerWelcome(
        lease=seconds_of(settings.lease_seconds),
        ping_interval=seconds_of(settings.ping_interval_seconds),
        server_version=version,
        holding=kept,
    )


def queue_of(queue: QueueInfo) -> server_service_pb2.Queue:
    """A queue, for people."""
    return server_service_pb2.Queue(
        operation=queue.operation,
        queued=queue.queued,
        running=queue.running,
        oldest_age=None if queue.oldest_age_us is None else duration_of(queue.oldest_age_us),
        workers=queue.workers,
        free_slots=queue.free_slots,
        paused=queue.paused,
    )


def worker_of(worker: WorkerInfo) -> server_service_pb2.WorkerInfo:
    """A worker, for people."""
    return server_service_pb2.WorkerInfo(
        worker_id=worker.worker_id,
        build=worker.build,
        tenant=worker.tenant,
        address=worker.address,
        since=timestamp_of(worker.since),
        in_flight=worker.in_flight,
        max_in_flight=worker.max_in_flight,
        operations=worker.operations,
        draining=worker.draining,
        seen_at=timestamp_of(worker.seen_at),
    )
