"""The errors of the client: one class for each published reason, with one common base.

The classes are made from the enum `ErrorReason` of the contract, so that the list cannot go stale: the reason
`EXECUTION_ENDED` is raised as `ExecutionEnded`. Catch a class for one reason, `CallboardError` for any of them, and
look at `code` for what the contract asks of a caller.
"""

# The messages of google.rpc come as code without stubs.
# pyright: reportMissingTypeStubs=false

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status as RpcStatus

from callboard.v1.errors_pb2 import ErrorReason
from callboard.v1.violations_pb2 import DefinitionViolations

from .decoding import decode
from .definition_models import Violation

_DOMAIN = "callboard"
_DETAILS = "grpc-status-details-bin"
_TOO_LARGE = "message larger than max"
"""What grpc itself says where a message is over its limit. Our servers say more, and with a reason."""


class CallboardError(Exception):
    """The server refused, or could not be asked.

    `reason` is the published name, such as `EXECUTION_ENDED` (where the answer has none, the name of the status code);
    `code` the name of the gRPC status code; `metadata` what the message names: ids, limits, states; `violations` what
    is wrong where. `retry_after_seconds` is there where the server says when to try again.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: str = "UNKNOWN",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or code
        self.code = code
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        news = [str(violation) for violation in self.violations if violation.message not in self.message]
        return "\n  ".join([f"{self.reason}: {self.message}", *news])


class Unreachable(CallboardError):
    """No server answered within the time given: wrong address, not started, or the network is down. Safe to repeat."""


class Disconnected(Unreachable):
    """The connection broke in the middle of a call, and the server said nothing about it. What was asked may have
    happened; the same call with the same `request_id` tells."""


class TaskError(Exception):
    """Raised by a handler to say how its task failed.

    `type` is the name that `retry_on`, `non_retryable` and `on_error` of a definition compare with. With `retryable`
    False there are no further attempts; otherwise the step's `retry` decides. `retry_after` (seconds or a timedelta)
    overrides its backoff. `details` is any JSON value: the root `error.details` of expressions.
    """

    def __init__(
        self, type: str, message: str = "", *, retryable: bool = True, details: Any = None, retry_after: Any = None
    ) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.details = details
        self.retry_after = retry_after


def _class_name(reason: str) -> str:
    return "".join(word.capitalize() for word in reason.split("_"))


def _made() -> dict[str, type[CallboardError]]:
    names = [name.removeprefix("ERROR_REASON_") for name in dict(ErrorReason.items())]
    return {
        reason: type(_class_name(reason), (CallboardError,), {"__module__": __name__, "__doc__": f"{reason}."})
        for reason in names
        if reason != "UNSPECIFIED"
    }


BY_REASON: dict[str, type[CallboardError]] = _made()
"""The class of each published reason."""

globals().update({cls.__name__: cls for cls in BY_REASON.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[CallboardError]:
        """To type checkers every other name here is the class of a reason; at run time they are there."""
        ...


class _Failed(Protocol):
    """What a failed call of grpc.aio says about itself."""

    def code(self) -> Any: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Any: ...


def from_call(error: _Failed) -> CallboardError:
    """The error of a failed call."""
    code: str = error.code().name
    message = error.details() or code
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            return from_status(value, code=code, message=message)
    return _plain(message, code)


def from_status(status: RpcStatus | bytes, *, code: str = "", message: str = "") -> CallboardError:
    """The error of a `google.rpc.Status`: that of a call, or of one item of a stream."""
    try:
        parsed = RpcStatus.FromString(status) if isinstance(status, bytes) else status
    except DecodeError:
        return _plain(message, code or "UNKNOWN")
    details = {detail.type_url.rpartition("/")[2]: detail.value for detail in parsed.details}
    info = error_details_pb2.ErrorInfo.FromString(details.get("google.rpc.ErrorInfo", b""))
    name = code or code_pb2.Code.Name(parsed.code)
    if info.domain != _DOMAIN:
        return _plain(parsed.message or message, name)
    cls = BY_REASON.get(info.reason, CallboardError)
    return cls(
        parsed.message or message,
        reason=info.reason,
        code=name,
        metadata=info.metadata,
        violations=_violations(details),
        retry_after_seconds=_retry_after(details),
    )


def _plain(message: str, code: str) -> CallboardError:
    """An error of the transport: no server of ours said anything about it."""
    if code == "UNAVAILABLE":
        return Unreachable(message, reason="UNREACHABLE", code=code)
    if code in ("CANCELLED", "INTERNAL", "UNKNOWN"):
        # A write that meets the end of its stream ends it as INTERNAL, a reset arrives as any of these; the server
        # itself never says them without a reason.
        return Disconnected(message, reason="DISCONNECTED", code=code)
    if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in message:
        # A limit of grpc, here or there: the same message never fits, however often it is sent.
        return BY_REASON["PAYLOAD_TOO_LARGE"](message, reason="PAYLOAD_TOO_LARGE", code="INVALID_ARGUMENT")
    return BY_REASON.get(code, CallboardError)(message, reason=code, code=code)


def _violations(details: Mapping[str, bytes]) -> list[Violation]:
    """What is wrong where. The located list of definitions says more than the general one beside it."""
    if located := details.get("callboard.v1.DefinitionViolations"):
        return [decode(Violation, item) for item in DefinitionViolations.FromString(located).violations]
    bad = error_details_pb2.BadRequest.FromString(details.get("google.rpc.BadRequest", b""))
    unmet = error_details_pb2.PreconditionFailure.FromString(details.get("google.rpc.PreconditionFailure", b""))
    return [
        *(Violation(item.field, item.description) for item in bad.field_violations),
        *(Violation(item.subject, item.description, code=item.type) for item in unmet.violations),
    ]


def _retry_after(details: Mapping[str, bytes]) -> float | None:
    info = details.get("google.rpc.RetryInfo")
    if info is None:
        return None
    return error_details_pb2.RetryInfo.FromString(info).retry_delay.ToTimedelta().total_seconds()
