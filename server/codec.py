"""What all messages share: payloads, failures, times. Generated messages stop here and in the codecs beside it.

Payloads are read under the strict rules of `core/values.py`, exactly once, and measured against `payload_bytes_max`.
Sensitive values leave as `[redacted]`: every value that is shown goes through `payload_of` or `payload_of_json`. What
workers get holds them in the clear already, as the dispatcher has opened them.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.runtime.core.failures import Failure
from callboard.runtime.core.refusals import Kind, Refusal, Refused, Violation
from callboard.runtime.core.values import (
    OPAQUE_KEY,
    Opaque,
    Value,
    ValueRefused,
    decode,
    encode,
    parse_json,
    redacted_json,
)
from callboard.v1 import failure_pb2, payload_pb2

CAUSES_MAX: Final = 16
CONTENT_TYPE_CHARACTERS_MAX: Final = 255
_MICROSECONDS: Final = 1_000_000
_BINARY: Final = "application/octet-stream"
_OPAQUE_START: Final = f'{{"{OPAQUE_KEY}"'.encode()


class PayloadTooLargeError(Exception):
    """The payload can never fit; the message gives the limit and the size."""

    def __init__(self, size: int, bytes_max: int) -> None:
        super().__init__(f"{size} bytes are more than payload_bytes_max = {bytes_max}")
        self.size = size
        self.bytes_max = bytes_max


def read_payload(payload: payload_pb2.Payload, bytes_max: int) -> Value:
    """The value of a payload. Raises `ValueRefused`, or `PayloadTooLargeError`."""
    body = payload.WhichOneof("body")
    if body == "json":
        data = payload.json.encode()
        _measure(len(data), bytes_max)
        return parse_json(data)
    if body is None:
        return None
    _measure(len(payload.data), bytes_max)
    if len(payload.content_type) > CONTENT_TYPE_CHARACTERS_MAX:
        raise ValueRefused(f"content_type is longer than {CONTENT_TYPE_CHARACTERS_MAX} characters")
    return Opaque(payload.content_type or _BINARY, payload.data)


def value_of(payload: payload_pb2.Payload, field: str, bytes_max: int) -> Value:
    """The value of a request's payload; what is wrong with it refuses the request."""
    try:
        return read_payload(payload, bytes_max)
    except ValueRefused as error:
        raise refused_value(error, field) from None
    except PayloadTooLargeError as error:
        metadata = {"limit_name": "payload_bytes_max", "limit": str(bytes_max), "size": str(error.size)}
        violation = Violation(field, str(error), "TOO_LARGE")
        refusal = Refusal(Kind.INVALID, "PAYLOAD_TOO_LARGE", f"{field}: {error}", metadata, (violation,))
        raise Refused(refusal) from None


def refused_value(error: ValueRefused, field: str) -> Refused:
    """The refusal of a value that is not JSON as it is taken here."""
    violation = Violation(field, str(error), "INVALID_JSON")
    return Refused(Refusal(Kind.INVALID, "INVALID_JSON", f"{field}: {error}", violations=(violation,)))


def payload_of(value: Value) -> payload_pb2.Payload:
    """The payload of a value as people see it."""
    if type(value) is Opaque:
        return payload_pb2.Payload(content_type=value.content_type, data=value.data)
    return payload_pb2.Payload(json=redacted_json(encode(value)).decode())


def payload_of_json(data: bytes) -> payload_pb2.Payload:
    """The same of a value as it is stored."""
    if data.startswith(_OPAQUE_START):
        return payload_of(decode(data))
    return payload_pb2.Payload(json=redacted_json(data).decode())


def read_failure(failure: failure_pb2.Failure, bytes_max: int) -> Failure:
    """A caller's failure; causes deeper than `CAUSES_MAX` are cut. Raises `ValueRefused`, `PayloadTooLargeError`."""
    chain = [failure]
    while chain[-1].HasField("cause") and len(chain) < CAUSES_MAX:
        chain.append(chain[-1].cause)
    cause: Failure | None = None
    for one in reversed(chain):
        cause = _read_failure(one, cause, bytes_max)
    assert cause is not None, "a chain has at least one link"
    return cause


def _read_failure(failure: failure_pb2.Failure, cause: Failure | None, bytes_max: int) -> Failure:
    if not 1 <= len(failure.type) <= 255:
        raise ValueRefused(f"type has {len(failure.type)} characters; it takes 1 to 255", "failure")
    _measure(len(failure.message), bytes_max)
    retry_after = duration_us(failure.retry_after) if failure.HasField("retry_after") else None
    if retry_after is not None and retry_after < 0:
        raise ValueRefused("retry_after must not be negative", "failure")
    return Failure(
        type=failure.type,
        message=failure.message,
        details=read_payload(failure.details, bytes_max) if failure.HasField("details") else None,
        cause=cause,
        retryable=failure.retryable if failure.HasField("retryable") else True,
        retry_after=retry_after,
    )


def failure_of(failure: Failure) -> failure_pb2.Failure:
    """A failure as it is shown."""
    message: failure_pb2.Failure | None = None
    chain = [failure]
    while (cause := chain[-1].cause) is not None and len(chain) < CAUSES_MAX:
        chain.append(cause)
    for one in reversed(chain):
        message = failure_pb2.Failure(
            type=one.type,
            message=one.message,
            details=None if one.details is None else payload_of(one.details),
            cause=message,
            retryable=one.retryable,
            retry_after=None if one.retry_after is None else duration_of(one.retry_after),
        )
    assert message is not None, "a chain has at least one link"
    return message


def timestamp_of(moment_us: int) -> Timestamp | None:
    """A time; None where there is none."""
    return moment_of(moment_us) if moment_us else None


def moment_of(moment_us: int) -> Timestamp:
    """A time."""
    seconds, rest = divmod(moment_us, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def duration_of(length_us: int) -> Duration:
    """A length of time."""
    seconds, rest = divmod(length_us, _MICROSECONDS)
    return Duration(seconds=seconds, nanos=rest * 1_000)


def seconds_of(seconds: float) -> Duration:
    """A length of time that is given in seconds."""
    return duration_of(round(seconds * _MICROSECONDS))


def duration_us(duration: Duration) -> int:
    """Microseconds."""
    return duration.seconds * _MICROSECONDS + duration.nanos // 1_000


def trace_message(traceparent: str) -> payload_pb2.TraceContext | None:
    """The trace context of a message; None where there is no trace."""
    return payload_pb2.TraceContext(traceparent=traceparent) if traceparent else None


def _measure(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise PayloadTooLargeError(size, bytes_max)
