"""Refusal -> `google.rpc.Status`: the one place that knows what a "no" looks like on the wire.

Every status carries exactly one `ErrorInfo` with a published reason, and the standard details that fit the refusal.
Trailing metadata is small (8 KiB for a peer with default settings), so violations are shown as far as they fit; the
ErrorInfo then says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import grpc
import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]

from callboard.runtime.core.refusals import Kind, Refusal, Violation
from callboard.v1 import errors_pb2, violations_pb2

DOMAIN: Final = "callboard"
DETAILS_KEY: Final = "grpc-status-details-bin"
STATUS_BYTES_MAX: Final = 5_600
"""Bytes of an encoded status: with base64, still under the 8 KiB of metadata that peers take by default."""

_MESSAGE_CHARACTERS_MAX: Final = 1_000
_NAMED_CHARACTERS_MAX: Final = 1_500
"""Characters of the ids of executions that are listed one by one."""
_MICROSECONDS: Final = 1_000_000
_BUSY_RETRY_US: Final = _MICROSECONDS
"""RESOURCE_EXHAUSTED always says when to come back; this long where the refusal does not."""

REASONS: Final = frozenset(
    name.removeprefix("ERROR_REASON_") for name, number in errors_pb2.ErrorReason.items() if number
)
"""The published reasons, without their prefix."""

_OWN_CODES: Final = {
    "HISTORY_DAMAGED": grpc.StatusCode.DATA_LOSS,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "CALL_CANCELLED": grpc.StatusCode.CANCELLED,
}
"""Reasons that have a code to themselves."""


def status_of(refusal: Refusal) -> status_pb2.Status:
    """The refusal with all its details."""
    published = _published(refusal)
    shown = len(published.violations)
    while True:
        status = _build(published, shown)
        size = status.ByteSize()
        if size <= STATUS_BYTES_MAX or shown == 0:
            return status
        shown = min(shown - 1, shown * STATUS_BYTES_MAX // size)


def code_of(refusal: Refusal) -> grpc.StatusCode:
    """The gRPC code of a refusal."""
    return _OWN_CODES.get(refusal.reason) or _code_of_kind(refusal.kind)


def trailer_of(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata in which the status travels."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _code_of_kind(kind: Kind) -> grpc.StatusCode:
    match kind:
        case Kind.INVALID:
            return grpc.StatusCode.INVALID_ARGUMENT
        case Kind.NOT_FOUND:
            return grpc.StatusCode.NOT_FOUND
        case Kind.EXISTS:
            return grpc.StatusCode.ALREADY_EXISTS
        case Kind.STATE:
            return grpc.StatusCode.FAILED_PRECONDITION
        case Kind.RACE:
            return grpc.StatusCode.ABORTED
        case Kind.BUSY:
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Kind.UNAVAILABLE:
            return grpc.StatusCode.UNAVAILABLE
        case Kind.RANGE:
            return grpc.StatusCode.OUT_OF_RANGE
        case Kind.UNSUPPORTED:
            return grpc.StatusCode.UNIMPLEMENTED
        case Kind.DENIED:
            return grpc.StatusCode.PERMISSION_DENIED
        case Kind.INTERNAL:
            return grpc.StatusCode.INTERNAL
        case Kind.DEADLINE:
            return grpc.StatusCode.DEADLINE_EXCEEDED


def _default_reason(kind: Kind) -> str:
    """The published reason of a refusal whose own is only known inside the engine."""
    match kind:
        case Kind.INVALID:
            return "INVALID_REQUEST"
        case Kind.NOT_FOUND:
            return "EXECUTION_NOT_FOUND"
        case Kind.EXISTS:
            return "EXECUTION_ALREADY_EXISTS"
        case Kind.STATE:
            return "EXECUTION_STATE_FORBIDS"
        case Kind.RACE:
            return "LOST_RACE"
        case Kind.BUSY:
            return "SERVER_BUSY"
        case Kind.UNAVAILABLE:
            return "STORAGE_UNAVAILABLE"
        case Kind.RANGE:
            return "SEQUENCE_OUT_OF_RANGE"
        case Kind.UNSUPPORTED:
            return "UNSUPPORTED"
        case Kind.DENIED:
            return "PERMISSION_DENIED"
        case Kind.INTERNAL:
            return "INTERNAL"
        case Kind.DEADLINE:
            return "DEADLINE_EXCEEDED"


def _published(refusal: Refusal) -> Refusal:
    if refusal.reason in REASONS:
        return refusal
    metadata = {**refusal.metadata, "cause": refusal.reason}
    return msgspec.structs.replace(refusal, reason=_default_reason(refusal.kind), metadata=metadata)


def _build(refusal: Refusal, shown: int) -> status_pb2.Status:
    message = _clip(refusal.message)
    metadata = {name: _clip(value) for name, value in refusal.metadata.items()}
    if shown < len(refusal.violations):
        metadata |= {"violations_total": str(len(refusal.violations)), "violations_shown": str(shown)}
    details: list[Message] = [details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata)]
    if violations := refusal.violations[:shown]:
        details.append(_bad_request(violations))
        if refusal.reason in _LOCATED or refusal.resource_type == "definition":
            details.append(_definition_violations(violations))
    details.extend(_standard(refusal, message))
    status = status_pb2.Status(code=code_of(refusal).value[0], message=message)
    for detail in details:
        status.details.append(_packed(detail))
    return status


_LOCATED: Final = frozenset({"INVALID_DEFINITION", "INVALID_EXPORT"})
"""What is wrong with a text says where in it."""


def _standard(refusal: Refusal, message: str) -> list[Message]:
    details: list[Message] = []
    retry_after = refusal.retry_after_us
    if refusal.kind is Kind.BUSY:
        retry_after = _BUSY_RETRY_US if retry_after is None else retry_after
        subject = refusal.metadata.get("limit_name", refusal.reason)
        quota = details_pb2.QuotaFailure.Violation(subject=subject, description=message)
        details.append(details_pb2.QuotaFailure(violations=[quota]))
    if refusal.kind is Kind.STATE:
        subject = f"{refusal.resource_type}/{refusal.resource}" if refusal.resource_type else ""
        broken = details_pb2.PreconditionFailure.Violation(type=refusal.reason, subject=subject, description=message)
        details.append(details_pb2.PreconditionFailure(violations=[broken, *_in_the_way(refusal)]))
    if retry_after is not None:
        seconds, rest = divmod(max(retry_after, 0), _MICROSECONDS)
        details.append(details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=rest * 1_000)))
    if refusal.resource_type:
        details.append(details_pb2.ResourceInfo(resource_type=refusal.resource_type, resource_name=refusal.resource))
    return details


def _in_the_way(refusal: Refusal) -> Iterator[details_pb2.PreconditionFailure.Violation]:
    """One violation for each of the executions that stand in the way, where the refusal names them."""
    room = _NAMED_CHARACTERS_MAX
    for execution_id in refusal.metadata.get("execution_ids", "").split(","):
        room -= len(execution_id)
        if execution_id and room >= 0:
            yield details_pb2.PreconditionFailure.Violation(
                type=refusal.reason, subject=f"execution/{execution_id}", description="has not ended"
            )


def _bad_request(violations: tuple[Violation, ...]) -> details_pb2.BadRequest:
    return details_pb2.BadRequest(
        field_violations=[
            details_pb2.BadRequest.FieldViolation(field=one.path, description=_described(one), reason=one.code)
            for one in violations
        ]
    )


def _described(violation: Violation) -> str:
    place = f"{violation.source}:{violation.line}:{violation.column}: " if violation.line else ""
    return place + violation.message


def _definition_violations(violations: tuple[Violation, ...]) -> violations_pb2.DefinitionViolations:
    return violations_pb2.DefinitionViolations(violations=[violation_message(one) for one in violations])


def violation_message(violation: Violation, definition_id: str = "") -> violations_pb2.DefinitionViolation:
    """One located mistake, as answers and error details carry it."""
    severity = (
        violations_pb2.VIOLATION_SEVERITY_WARNING if violation.warning else violations_pb2.VIOLATION_SEVERITY_ERROR
    )
    return violations_pb2.DefinitionViolation(
        path=violation.path,
        source_name=violation.source,
        line=violation.line,
        column=violation.column,
        message=violation.message,
        severity=severity,
        code=violation.code,
        definition_id=definition_id,
    )


def _packed(detail: Message) -> AnyMessage:
    packed: Any = AnyMessage()
    packed.Pack(detail)
    return packed  # type: ignore[no-any-return]


def _clip(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS_MAX else text[: _MESSAGE_CHARACTERS_MAX - 3] + "..."
