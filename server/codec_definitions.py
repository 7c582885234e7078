"""Definitions: message -> tree -> the engine, and stored trees -> messages.

The tree has the names and values of the file form, so that the engine has one reader for files and messages: enum
values stand without their prefix, a number without fraction in a free value is an integer, what is not set is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from google.protobuf import json_format, struct_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from callboard.runtime.definitions import DefinitionState, EventView, Summary, VersionView
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import definitions_pb2

from .codec import payload_of_json, timestamp_of

_M = TypeVar("_M", bound=Message)

_STATES: Final[dict[DefinitionState, Any]] = {
    state: pb2.DefinitionState.Value(f"DEFINITION_STATE_{state.value}") for state in DefinitionState
}
_FREE: Final = frozenset({struct_pb2.Value.DESCRIPTOR.full_name, struct_pb2.Struct.DESCRIPTOR.full_name})


def given_of(request: Any) -> Given | None:
    """The content of a request that holds `definition` or `source`; None: neither."""
    match request.WhichOneof("content"):
        case "definition":
            return Given(definition=tree_of(request.definition))
        case "source":
            return Given(source=SourceText(request.source.name or "definition", request.source.text))
        case _:
            return None


def tree_of(message: Message) -> dict[str, Any]:
    """The plain values of a definition that came as a message."""
    return {_spelled(field): _plain(field, value) for field, value in message.ListFields()}


def _spelled(field: FieldDescriptor) -> str:
    return "as" if field.json_name == "as" else field.name


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _single(inner, item) for key, item in value.items()}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _enum_name(field.enum_type, value)
    if field.message_type is None:
        return value
    return _free(value) if field.message_type.full_name in _FREE else tree_of(value)


def _enum_name(enum: EnumDescriptor, number: int) -> Any:
    """The name without its prefix; a number that has none stays one, for the reader to refuse."""
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(_prefix(enum))


def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _free(value: Any) -> Any:
    """A free value (`google.protobuf.Value`, `Struct` or `ListValue`) as plain JSON."""
    if isinstance(value, struct_pb2.Struct):
        return {name: _free(item) for name, item in value.fields.items()}
    match value.WhichOneof("kind"):
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _free(value.struct_value)
        case "list_value":
            return [_free(item) for item in value.list_value.values]
        case _:
            return None


def _number(value: float) -> int | float:
    """A literal without fraction is an integer; too large a one is refused where the definition is read."""
    return int(value) if value.is_integer() else value


def message_of(tree: Mapping[str, Any]) -> definitions_pb2.Definition:
    """The message of a stored definition."""
    return filled(definitions_pb2.Definition(), tree)


def filled(message: _M, tree: Mapping[str, Any]) -> _M:
    """A message of a definition, or of a part of one, with the values of a stored tree."""
    json_format.ParseDict(_with_enums(tree, message.DESCRIPTOR), message)
    return message


def _with_enums(tree: Any, kind: Any) -> Any:
    """The same tree with the full names of enum values; `kind` is the descriptor of its message."""
    fields = {_spelled(field): field for field in kind.fields}
    return {name: _expanded(value, fields[name]) for name, value in tree.items()}


def _expanded(value: Any, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return _prefix(field.enum_type) + value
    kind = field.message_type
    if kind is None or kind.full_name in _FREE or kind.GetOptions().map_entry:
        return value
    return [_with_enums(item, kind) for item in value] if field.is_repeated else _with_enums(value, kind)


def event_of(view: EventView) -> pb2.DefinitionEvent:
    """A past fact about a definition."""
    event = view.event
    return pb2.DefinitionEvent(
        event_id=f"{view.definition_id}/{event.sequence}",
        definition_id=view.definition_id,
        sequence=event.sequence,
        event_name=event.name,
        version=view.version,
        revision=event.revision,
        user_id=event.user_id,
        created_at=timestamp_of(event.created_at),
        payload=payload_of_json(event.payload),
    )


def summary_of(summary: Summary) -> pb2.DefinitionSummary:
    """A definition as a whole."""
    return pb2.DefinitionSummary(
        definition_id=summary.definition_id,
        description=summary.description,
        state=_STATES[summary.state],
        published_version=summary.published_version,
        latest_version=summary.latest_version,
        has_draft=summary.has_draft,
        revision=summary.revision,
        etag=summary.etag,
        created_at=timestamp_of(summary.created_at),
        updated_at=timestamp_of(summary.updated_at),
    )


def version_of(version: VersionView, full: bool) -> pb2.DefinitionVersion:
    """A version or the draft."""
    return pb2.DefinitionVersion(
        definition_id=version.definition_id,
        version=version.version,
        state=_STATES[version.state],
        content_hash=version.fingerprint,
        definition=message_of(version.tree) if full else None,
        created_at=timestamp_of(version.created_at),
        user_id=version.user_id,
        revision=version.revision,
        description=version.description,
    )
