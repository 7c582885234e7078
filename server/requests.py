"""What may be wrong with a request before anything is asked: unreadable bytes, unknown fields, malformed values.

Nothing unknown is ever ignored. All mistakes of a request are told at once, each with its field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from callboard.runtime.core.language import DEFINITION_ID, TRIGGER_ID
from callboard.runtime.core.refusals import Kind, Refusal, Refused, Violation
from callboard.runtime.requests import EVENT_NAME, EXECUTION_ID

_M = TypeVar("_M", bound=Message)

NAME_CHARACTERS_MAX: Final = 255
REASON_CHARACTERS_MAX: Final = 1_024

_MICROSECONDS: Final = 1_000_000
_NANOSECONDS: Final = 1_000_000_000
_LAST_SECOND: Final = 253_402_300_799
"""The last second of the year 9999, where RFC 3339 ends."""
_VIOLATIONS_MAX: Final = 100


class Unknown(NamedTuple):
    """A field that this server does not know."""

    path: str
    """The message that holds it."""
    number: int


def decoder(kind: type[_M]) -> Callable[[bytes], _M]:
    """Bytes -> message; what cannot be read, and fields that this server does not know, are refused."""
    reads = lenient_decoder(kind)

    def decode(data: bytes) -> _M:
        message, unknown = reads(data)
        if unknown:
            raise unknown_fields(unknown)
        return message

    return decode


def lenient_decoder(kind: type[_M]) -> Callable[[bytes], tuple[_M, tuple[Unknown, ...]]]:
    """Bytes -> message without its unknown fields, and where those were.

    A message that has lost nothing by discarding its unknown fields is as long as it came, which is cheap to see. A
    sender may also have spelled a message in a longer way, so the slow search decides.
    """
    name = kind.DESCRIPTOR.name

    def decode(data: bytes) -> tuple[_M, tuple[Unknown, ...]]:
        try:
            message = kind.FromString(data)
        except DecodeError:
            raise Refused(_invalid(f"the bytes are no {name}")) from None
        message.DiscardUnknownFields()
        if message.ByteSize() == len(data):
            return message, ()
        return message, tuple(_search(kind.FromString(data), ""))

    return decode


def unknown_fields(found: tuple[Unknown, ...]) -> Refused:
    """The refusal of a request with unknown fields. Paths inside a definition begin at the definition."""
    violations = tuple(
        Violation(
            one.path.removeprefix("definition").removeprefix("."),
            f"holds a field with number {one.number} that this version of the server does not know",
            "UNKNOWN_FIELD",
        )
        for one in found[:_VIOLATIONS_MAX]
    )
    first = violations[0]
    message = f"{first.path or 'the request'} {first.message}"
    about = "definition" if any(one.path.startswith("definition") for one in found) else ""
    return Refused(Refusal(Kind.INVALID, "UNKNOWN_FIELD", message, violations=violations, resource_type=about))


def _search(message: Message, path: str) -> Iterator[Unknown]:
    unknown: Iterable[Any] = cast(Any, UnknownFieldSet(message))
    for field in unknown:
        yield Unknown(path, int(field.field_number))
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        place = f"{path}.{_spelled(field)}" if path else _spelled(field)
        for part, inner in _parts(field, value):
            yield from _search(inner, place + part)


def _spelled(field: FieldDescriptor) -> str:
    """The field's name in the file form, where that is not its own (`as`)."""
    return "as" if field.json_name == "as" else field.name


def _parts(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:
    kind: Any = field.message_type
    if kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE:
            yield from ((f"[{key!r}]", inner) for key, inner in value.items())
    elif field.is_repeated:
        yield from ((f"[{number}]", inner) for number, inner in enumerate(value))
    else:
        yield "", value


class Faults:
    """Collects what is wrong with the fields of one request; `settle` refuses it if anything is."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def add(self, field: str, message: str) -> None:
        """Note a mistake."""
        self._found.append(Violation(field, message, "INVALID"))

    def execution_id(self, value: str, field: str = "execution_id") -> None:
        """A required execution id."""
        if not EXECUTION_ID.fullmatch(value):
            self.add(field, _required(value) or f"must match {EXECUTION_ID.pattern}")

    def definition_id(self, value: str, field: str = "definition_id") -> None:
        """A required definition id."""
        if not DEFINITION_ID.fullmatch(value):
            self.add(field, _required(value) or f"must match {DEFINITION_ID.pattern}")

    def trigger_id(self, value: str, field: str = "trigger_id") -> None:
        """A required trigger id."""
        if not TRIGGER_ID.fullmatch(value):
            self.add(field, _required(value) or f"must match {TRIGGER_ID.pattern}")

    def event_name(self, value: str, field: str = "name") -> None:
        """The required name of an event."""
        if not EVENT_NAME.fullmatch(value):
            self.add(field, _required(value) or f"must match {EVENT_NAME.pattern}")

    def name(self, field: str, value: str) -> None:
        """A required name of 1 to 255 characters."""
        if not value:
            self.add(field, "is required")
        self.short(field, value)

    def short(self, field: str, value: str, characters_max: int = NAME_CHARACTERS_MAX) -> None:
        """An optional text of bounded length."""
        if len(value) > characters_max:
            self.add(field, f"has {len(value)} characters; at most {characters_max} are taken")

    def not_negative(self, field: str, value: int) -> None:
        """A number from 0."""
        if value < 0:
            self.add(field, f"is {value}; it must not be negative")

    def enum(self, field: str, value: int, known: Any) -> None:
        """A value of a published enum; `known` is the generated enum."""
        if value not in known.values():
            self.add(field, f"{value} is no value of {known.DESCRIPTOR.name}")

    def settle(self) -> None:
        """Raises Refused INVALID_REQUEST with every mistake noted."""
        if self._found:
            message = "; ".join(f"{one.path}: {one.message}" for one in self._found[:3])
            raise Refused(_invalid(message, tuple(self._found)))


def wait_us(faults: Faults, field: str, wait: Duration, seconds_max: int) -> int:
    """A wait in microseconds, cut to the longest one."""
    if wait.seconds < 0 or wait.nanos < 0:
        faults.add(field, "must not be negative")
        return 0
    return min(wait.seconds * _MICROSECONDS + wait.nanos // 1_000, seconds_max * _MICROSECONDS)


def moment_us(faults: Faults, field: str, moment: Timestamp) -> int:
    """A time after 1970 in whole microseconds; 0: it is none, and a fault."""
    if not (0 <= moment.seconds <= _LAST_SECOND and 0 <= moment.nanos < _NANOSECONDS):
        faults.add(field, "must be a time from 1970 to 9999")
        return 0
    microseconds, rest = divmod(moment.nanos, 1_000)
    moment_us = moment.seconds * _MICROSECONDS + microseconds
    if rest or not moment_us:
        faults.add(field, "must be a time after 1970-01-01T00:00:00Z in whole microseconds")
        return 0
    return moment_us


def unsupported(message: Message, *names: str) -> None:
    """Raises Refused UNSUPPORTED where one of these fields is set: it is part of the API and not done yet."""
    for field, _ in message.ListFields():
        if field.name in names:
            raise unsupported_field(field.name)


def unsupported_field(name: str, value: str = "") -> Refused:
    """The refusal of a field (or of one value of it) that this version of the server does not act upon."""
    shown = f"{name} = {value}" if value else name
    message = f"this version of the server does not support {shown}"
    violations = (Violation(name, message, "UNSUPPORTED_FEATURE"),)
    return Refused(Refusal(Kind.UNSUPPORTED, "UNSUPPORTED", message, {"field": name}, violations))


def invalid(field: str, message: str) -> Refused:
    """The refusal of one field."""
    return Refused(_invalid(f"{field}: {message}", (Violation(field, message),)))


def _required(value: str) -> str:
    return "" if value else "is required"


def _invalid(message: str, violations: tuple[Violation, ...] = ()) -> Refusal:
    return Refusal(Kind.INVALID, "INVALID_REQUEST", message, violations=violations)
