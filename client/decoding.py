"""From messages to the values of `models`: one reader for each field, made once for each class.

A class says which message it is the value of. Its fields have the names of the message's fields, or name them as
`wire` in their metadata; a field whose `wire` is None is in no message.
"""

import dataclasses
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from .codec import decode_duration, decode_payload, decode_timestamp
from .file_form import plain

T = TypeVar("T")
Read: TypeAlias = Callable[[Any], Any]

_MODELS: dict[str, type] = {}
_ENUMS: dict[str, type[StrEnum]] = {}
_READERS: dict[type, tuple[Read, ...]] = {}


def value_of(message: str) -> Callable[[type[T]], type[T]]:
    """Registers a class as the value of a message or enum of ``callboard.v1``."""

    def register(cls: type[T]) -> type[T]:
        if issubclass(cls, StrEnum):
            _ENUMS[f"callboard.v1.{message}"] = cls
        else:
            _MODELS[f"callboard.v1.{message}"] = cls
        return cls

    return register


def decode(cls: type[T], message: Any, **more: Any) -> T:
    """The value of a message; `more` gives the fields that are not in it."""
    readers = _READERS.get(cls)
    if readers is None:
        readers = _READERS[cls] = tuple(_readers(cls, message))
    return cls(*[read(message) for read in readers], **more)


def _readers(cls: type, message: Any) -> list[Read]:
    fields = message.DESCRIPTOR.fields_by_name
    names = [field.metadata.get("wire", field.name) for field in dataclasses.fields(cls)]
    return [_reader(fields[name]) for name in names if name is not None]


def _reader(field: Any) -> Read:
    """Reads one field of a message, whatever its kind."""
    get: Read = attrgetter(field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return lambda message: dict(get(message))
    convert = _converter(field)
    if field.is_repeated:
        return (lambda message: tuple(map(convert, get(message)))) if convert else (lambda message: tuple(get(message)))
    read: Read = (lambda message: convert(get(message))) if convert else get
    if field.has_presence:
        name = field.name
        return lambda message: read(message) if message.HasField(name) else None
    return read


def _converter(field: Any) -> Read | None:
    """Turns the wire's value of a field into Python's; None where they are the same."""
    if field.enum_type is not None:
        return _names(field.enum_type).get
    if field.message_type is None:
        return None
    match field.message_type.full_name:
        case "callboard.v1.Payload":
            return decode_payload
        case "google.protobuf.Timestamp":
            return decode_timestamp
        case "google.protobuf.Duration":
            return decode_duration
        case "callboard.v1.Definition" | "google.protobuf.Value":
            return plain
        case name:
            return partial(decode, _MODELS[name])


def _names(enum: Any) -> dict[int, StrEnum]:
    """The members by number. "Unspecified", and what only newer servers know, are None."""
    cls = _ENUMS[enum.full_name]
    numbers = {value.name: value.number for value in enum.values}
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {numbers[prefix + member.name]: member for member in cls}
