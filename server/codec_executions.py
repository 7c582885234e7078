"""Executions, their events and dead letters: engine values -> messages, and requests -> engine values."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from callboard.runtime.core.commands import ForkOrigin, Origin, ResolveAction
from callboard.runtime.core.failures import EXPRESSION_ERROR, Failure
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.upcasts import shown
from callboard.runtime.feeds import HistoryEvent
from callboard.runtime.requests import StartRequest, UniquePolicy
from callboard.runtime.rows import DeadLetter
from callboard.runtime.views import ExecutionView, IncidentView, OpenStep
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_service_pb2 as service_pb2
from callboard.v1 import executions_pb2 as pb2
from callboard.v1 import history_pb2, payload_pb2

from .codec import (
    failure_of,
    payload_of,
    payload_of_json,
    timestamp_of,
    trace_message,
    value_of,
)
from .requests import Faults

FRAME_BYTES_MAX: Final = 3 * 1024 * 1024
"""Bytes of an answer whose caller does not say how much it takes."""
SHOWN_STATE_BYTES_MAX: Final = 1024 * 1024
"""Bytes of the state in an ExecutionForked event that is shown with it."""
_HEADROOM_BYTES: Final = 64

_STATUSES: Final[dict[Status, Any]] = {
    status: pb2.ExecutionStatus.Value(f"EXECUTION_STATUS_{status.value}") for status in Status
}
_STEP_STATES: Final[dict[str, Any]] = {
    state.value: pb2.StepState.Value(f"STEP_STATE_{state.value}") for state in StepState
}
_WAITING_ON: Final = {
    "worker": pb2.WAITING_ON_QUEUE,
    "worker-answer": pb2.WAITING_ON_WORKER,
    "retry": pb2.WAITING_ON_RETRY,
    "timer": pb2.WAITING_ON_TIMER,
    "event": pb2.WAITING_ON_EVENT,
    "operator": pb2.WAITING_ON_RESOLUTION,
    "steps": pb2.WAITING_ON_STEPS,
}
_UNIQUE_POLICIES: Final[dict[int, UniquePolicy]] = {
    service_pb2.UNIQUE_POLICY_REJECT: UniquePolicy.REJECT,
    service_pb2.UNIQUE_POLICY_CANCEL_EXISTING: UniquePolicy.CANCEL_EXISTING,
}
"""All but the default."""
ACTIONS: Final = {
    control_pb2.RESOLVE_ACTION_RETRY_NOW: ResolveAction.RETRY_NOW,
    control_pb2.RESOLVE_ACTION_SKIP: ResolveAction.SKIP,
    control_pb2.RESOLVE_ACTION_COMPLETE: ResolveAction.COMPLETE,
    control_pb2.RESOLVE_ACTION_FAIL: ResolveAction.FAIL,
}


def start_of(request: service_pb2.StartExecutionRequest, payload_bytes_max: int) -> StartRequest:
    """What a start asks for. Raises Refused with everything that is wrong with its fields."""
    faults = Faults()
    faults.definition_id(request.definition_id)
    if request.execution_id:
        faults.execution_id(request.execution_id)
    if request.conflict_policy > service_pb2.CONFLICT_POLICY_REJECT or request.conflict_policy < 0:
        faults.enum("conflict_policy", request.conflict_policy, service_pb2.ConflictPolicy)
    faults.short("unique_key", request.unique_key)
    faults.enum("unique_policy", request.unique_policy, service_pb2.UniquePolicy)
    faults.not_negative("version", request.version)
    faults.not_negative("min_revision", request.min_revision)
    faults.settle()
    return StartRequest(
        definition_id=request.definition_id,
        version=request.version,
        execution_id=request.execution_id,
        input=value_of(request.input, "input", payload_bytes_max) if request.HasField("input") else None,
        labels=dict(request.labels),
        reject_existing=request.conflict_policy == service_pb2.CONFLICT_POLICY_REJECT,
        min_revision=request.min_revision,
        unique_key=request.unique_key,
        unique_policy=_UNIQUE_POLICIES.get(request.unique_policy, UniquePolicy.RETURN_EXISTING),
    )


def expected_of(request: Any) -> int | None:
    """The sequence that the execution has to be at; None: any."""
    return request.expected_sequence if request.HasField("expected_sequence") else None


def execution_of(view: ExecutionView, full: bool = False) -> pb2.Execution:
    """An execution as it is shown."""
    message = pb2.Execution(
        tenant=view.ref.tenant,
        execution_id=view.ref.execution_id,
        definition_id=view.definition_id,
        version=view.version,
        status=_STATUSES[view.status],
        state=view.state,
        incident_count=view.incident_count,
        labels=view.labels,
        output=_output(view),
        failure=_why(view),
        created_at=timestamp_of(view.created_at),
        started_at=timestamp_of(view.started_at),
        updated_at=timestamp_of(view.updated_at),
        ended_at=timestamp_of(view.ended_at),
        sequence=view.sequence,
        head_hash=view.hash,
        trigger=None if view.origin is None or view.fork is not None else _trigger(view.origin),
        fork=None if view.fork is None else _fork(view.fork),
        unique_key=view.unique_key,
        waits_for_execution_id=view.behind if view.status is Status.PENDING else "",
        erased_at=timestamp_of(view.erased_at),
    )
    if full:
        _fill(message, view)
    return message


def _trigger(origin: Origin) -> pb2.TriggerOrigin:
    return pb2.TriggerOrigin(trigger_id=origin.trigger_id, event_id=origin.event_id, slot=timestamp_of(origin.slot))


def _fork(origin: ForkOrigin) -> pb2.ForkOrigin:
    return pb2.ForkOrigin(
        execution_id=origin.execution_id, sequence=origin.sequence, hash=origin.hash, imported=origin.imported
    )


def _output(view: ExecutionView) -> Any:
    """What it gave; only once it is complete, and not in listings, which do not carry it."""
    if view.status is not Status.COMPLETED or view.output is msgspec.UNSET:
        return None
    return payload_of(view.output)


def _why(view: ExecutionView) -> Any:
    """The failure of an execution; one that was ended from outside says why in its words."""
    if view.failure is not None:
        return failure_of(view.failure)
    if view.reason and view.status in (Status.CANCELLED, Status.TERMINATED):
        return failure_of(Failure("Cancelled", view.reason, retryable=False))
    return None


def _fill(message: pb2.Execution, view: ExecutionView) -> None:
    if view.input is not msgspec.UNSET:
        message.input.CopyFrom(payload_of(view.input))
    if view.variables is not msgspec.UNSET:
        message.variables.CopyFrom(payload_of(view.variables))
    message.incidents.extend(_incident(one) for one in view.incidents)
    message.open_steps.extend(_open_step(one) for one in view.open_steps)
    message.open_step_count = len(view.open_steps)


def _incident(incident: IncidentView) -> pb2.Incident:
    if incident.dead_letter:
        kind = pb2.INCIDENT_KIND_POISONED
    elif incident.path:
        kind = pb2.INCIDENT_KIND_STEP_PARKED
    elif incident.failure.type == EXPRESSION_ERROR:
        kind = pb2.INCIDENT_KIND_OUTPUT_FAILED
    else:
        kind = pb2.INCIDENT_KIND_EXECUTION_PARKED
    return pb2.Incident(
        incident_id=f"dead-letter-{incident.dead_letter}" if incident.dead_letter else incident.path or "execution",
        kind=kind,
        step_path=incident.path,
        failure=failure_of(incident.failure),
        opened_at=timestamp_of(incident.since),
        dead_letter_id=str(incident.dead_letter) if incident.dead_letter else "",
    )


def _open_step(step: OpenStep) -> pb2.OpenStep:
    return pb2.OpenStep(
        path=step.path,
        state=_STEP_STATES[step.state],
        waiting_on=_WAITING_ON[step.waiting_on],
        since=timestamp_of(step.since),
        attempt=max(step.attempt, 1),
        next_attempt_at=timestamp_of(step.next_attempt_at),
        last_failure=None if step.last_failure is None else failure_of(step.last_failure),
        operation=step.operation,
        worker_id=step.worker_id,
        max_attempts=step.max_attempts,
        event=",".join(step.events),
        event_key=step.key,
    )


def fitted(message: pb2.Execution, frame_bytes_max: int) -> pb2.Execution:
    """The same execution, its open steps cut so that it fits into a frame; `open_step_count` still tells them all."""
    room = (frame_bytes_max or FRAME_BYTES_MAX) - _HEADROOM_BYTES
    while message.open_steps and (size := message.ByteSize()) > room:
        kept = min(len(message.open_steps) - 1, len(message.open_steps) * room // size)
        del message.open_steps[kept:]
    return message


def event_of(event: HistoryEvent, tenant: str, execution_id: str) -> history_pb2.WorkflowEvent:
    """An event as it is shown."""
    try:
        return _event(event, tenant, execution_id)
    except (msgspec.MsgspecError, TypeError, ValueError, AttributeError):
        return _damaged_event(event, tenant, execution_id)


def _damaged_event(event: HistoryEvent, tenant: str, execution_id: str) -> history_pb2.WorkflowEvent:
    """So much as can be shown of one whose row is damaged, so that those beside it can be seen; `verify` names it."""
    stored = event.stored
    return history_pb2.WorkflowEvent(
        event_id=f"{execution_id}/{stored.sequence}",
        tenant=tenant,
        execution_id=execution_id,
        sequence=stored.sequence,
        event_name=str(stored.name),
        from_state=str(event.from_state),
        to_state=str(event.to_state),
        user_id=event.user_id,
        payload=payload_pb2.Payload(content_type="application/octet-stream", data=bytes(stored.payload)),
    )


def _event(event: HistoryEvent, tenant: str, execution_id: str) -> history_pb2.WorkflowEvent:
    stored = event.stored
    name, payload = shown(stored.name, stored.payload)
    if len(payload) > SHOWN_STATE_BYTES_MAX and name == "ExecutionForked":
        payload = _without_state(payload)
    return history_pb2.WorkflowEvent(
        event_id=stored.event_id or f"{execution_id}/{stored.sequence}",
        tenant=tenant,
        execution_id=execution_id,
        sequence=stored.sequence,
        event_name=name,
        event_type=event.event_type,
        from_state=event.from_state,
        to_state=event.to_state,
        user_id=event.user_id,
        payload=payload_of_json(payload),
        created_at=timestamp_of(stored.created_at),
        causation=_causation(event),
        trace_context=trace_message(event.trace),
        hash=stored.hash,
    )


class _Forked(msgspec.Struct):
    origin: msgspec.Raw
    state: msgspec.Raw


def _without_state(payload: bytes) -> bytes:
    """What a fork came from; the state that it took over would not fit into any frame."""
    forked = msgspec.json.decode(payload, type=_Forked)
    return msgspec.json.encode({"origin": forked.origin, "state_bytes": len(bytes(forked.state))})


def _causation(event: HistoryEvent) -> history_pb2.Causation | None:
    source = event.request_id or event.stored.event_id or ""
    return history_pb2.Causation(command=event.command, source_id=source) if event.command or source else None


class _Origin(msgspec.Struct, frozen=True):
    user: str = ""


_origin_decoder: Final = msgspec.json.Decoder(_Origin)


def dead_letter_of(letter: DeadLetter) -> history_pb2.DeadLetter:
    """A dead letter as it is shown."""
    return history_pb2.DeadLetter(
        dead_letter_id=str(letter.id),
        tenant=letter.ref.tenant,
        execution_id=letter.ref.execution_id,
        kind="event",
        event_name=letter.name,
        event_id=letter.event_id,
        payload=payload_of_json(letter.payload),
        cause=failure_of(Failure(letter.cause, letter.message)),
        attempts=1,
        accepted_at=timestamp_of(letter.accepted_at),
        created_at=timestamp_of(letter.died_at),
        user_id=_origin_decoder.decode(letter.context).user if letter.context else "",
    )
