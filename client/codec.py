"""Between Python values and the messages of ``callboard.v1``. No other module of the client builds or reads a Payload.

JSON is Python's own: integers stay integers, of any size the server takes (64 bits), and floats stay floats. What the
server refuses at its edge (integers outside int64, lone surrogates) is sent as it is, so that its answer names the
place; NaN and infinities are no JSON at all and are refused here.
"""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.payload_pb2 import Payload

Seconds: TypeAlias = float | timedelta
"""A length of time, where one is asked for: a number of seconds, or a timedelta."""


@dataclasses.dataclass(frozen=True, slots=True)
class Opaque:
    """A payload that is not JSON. It passes through whole; expressions cannot look into it."""

    data: bytes
    content_type: str = "application/octet-stream"


class NotJson(TypeError):
    """A value has no JSON form. Wrap bytes in `Opaque`; give other objects as dicts, lists, strings and numbers."""


def _unusual(value: Any) -> Any:
    """What the JSON encoder does not know by itself: the everyday types with one obvious form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    match value:
        case datetime():
            return rfc3339(value)
        case date():
            return value.isoformat()
        case Enum():
            return value.value
        case UUID() | Path():
            return str(value)
        case _:
            raise NotJson(f"{type(value).__name__} has no JSON form")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_unusual)


def encode_json(value: Any) -> str:
    """JSON text of a value. Raises `NotJson`."""
    try:
        return _ENCODER.encode(value)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def encode_payload(value: Any) -> Payload:
    """A payload of a value; `Opaque` passes through. Raises `NotJson`."""
    if isinstance(value, Opaque):
        return Payload(content_type=value.content_type, data=value.data)
    text = encode_json(value)
    try:
        return Payload(json=text)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8. Escaped it travels, and the server refuses it and names the place.
        return Payload(json=json.dumps(value, default=_unusual))


def decode_payload(payload: Payload) -> Any:
    """The value of a payload; one that is not set is null."""
    body = payload.WhichOneof("body")
    if body == "json":
        return json.loads(payload.json)
    if body == "data":
        return Opaque(payload.data, payload.content_type or "application/octet-stream")
    return None


def encode_duration(value: Seconds | None) -> Duration | None:
    """A duration of a number of seconds or a timedelta; None is "not set". Raises ValueError for one below zero."""
    if value is None:
        return None
    length = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if length < timedelta(0):
        raise ValueError(f"a duration cannot be negative: {value}")
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def seconds(value: Seconds) -> float:
    """A length of time as a number of seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def decode_duration(duration: Duration) -> timedelta:
    """A timedelta, rounded to microseconds."""
    return duration.ToTimedelta()


def decode_timestamp(timestamp: Timestamp) -> datetime:
    """A moment in UTC, cut to microseconds."""
    return timestamp.ToDatetime(tzinfo=UTC)


def encode_timestamp(moment: datetime) -> Timestamp:
    """A timestamp; a moment without a time zone is taken as UTC."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 text; one in UTC ends in Z."""
    return moment.isoformat().removesuffix("+00:00") + ("Z" if moment.utcoffset() == timedelta(0) else "")
