"""The past of executions: requests -> moments, and what was found -> messages."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from callboard.runtime.core.chain import Problem, ProblemKind
from callboard.runtime.core.differences import Change, sealed_places
from callboard.runtime.core.values import SEALED_MARK, canonical
from callboard.runtime.histories import Moment, Replayed, Step
from callboard.runtime.rows import Snapshot
from callboard.runtime.verification import Verification
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2, payload_pb2

from .codec import payload_of_json, timestamp_of
from .codec_executions import event_of
from .requests import Faults, moment_us

_KINDS: Final[dict[ProblemKind, Any]] = {
    kind: pb2.VerifyProblemKind.Value(f"VERIFY_PROBLEM_KIND_{kind.value}") for kind in ProblemKind
}
_SEQUENCES: Final = ("at_sequence", "until_sequence")
_MARK_BYTES: Final = 8


def moment_of(request: Any) -> Moment:
    """The moment that a request asks for. Raises Refused INVALID_REQUEST."""
    faults = Faults()
    faults.execution_id(request.execution_id)
    moment = Moment()
    match request.WhichOneof("moment"):
        case None:
            pass
        case name if name in _SEQUENCES:
            moment = Moment(sequence=getattr(request, name))
        case name:
            moment = Moment(time=moment_us(faults, name, getattr(request, name)))
    faults.settle()
    return moment


def snapshot_of(snapshot: Snapshot) -> executions_pb2.Snapshot:
    """A snapshot as it is shown."""
    return executions_pb2.Snapshot(
        sequence=snapshot.sequence,
        created_at=timestamp_of(snapshot.created_at),
        format=snapshot.format,
        size_bytes=len(snapshot.data),
    )


def steps_of(replayed: Replayed, tenant: str, execution_id: str) -> list[pb2.ReplayStep]:
    """What each event changed."""
    return [_step(step, tenant, execution_id) for step in replayed.steps]


def _step(step: Step, tenant: str, execution_id: str) -> pb2.ReplayStep:
    return pb2.ReplayStep(
        event=event_of(step.event, tenant, execution_id), changes=[_change(change) for change in step.changes]
    )


def _change(change: Change) -> pb2.StateChange:
    return pb2.StateChange(pointer=change.pointer, before=_value(change.before), after=_value(change.after))


def _value(value: Any) -> payload_pb2.Payload | None:
    return None if value is msgspec.UNSET else payload_of_json(canonical(value))


def sensitive_places_of(state: bytes) -> list[pb2.SensitivePlace]:
    """Where sensitive values stand in the JSON of a state, with what tells one from another."""
    if SEALED_MARK not in state:
        return []
    places = sealed_places(msgspec.json.decode(state))
    return [pb2.SensitivePlace(pointer=pointer, mark=_mark(commitment)) for pointer, commitment in places]


def _mark(commitment: str) -> bytes:
    return hashlib.sha256(f"mark:{commitment}".encode()).digest()[:_MARK_BYTES]


def verification_of(verification: Verification) -> pb2.VerifyExecutionResponse:
    """What came of checking an execution."""
    return pb2.VerifyExecutionResponse(
        valid=not verification.problems,
        problems=[_problem(problem) for problem in verification.problems],
        events_checked=verification.events_checked,
        snapshots_checked=verification.snapshots_checked,
        head_sequence=verification.head_sequence,
        head_hash=verification.head_hash,
    )


def _problem(problem: Problem) -> pb2.VerifyProblem:
    return pb2.VerifyProblem(kind=_KINDS[problem.kind], sequence=problem.sequence, message=problem.message)
