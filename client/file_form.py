"""Definitions and free values as plain Python, in the form of definition files.

The server's loader takes what is made here: snake_case names, enum values without their prefix, fields that are not set
left out, whole numbers as integers. The other way there is nothing to do: dicts travel as text.
"""

from typing import Any

from google.protobuf.message import Message


def plain(message: Message) -> Any:
    """A message of a definition, or a `google.protobuf.Value`, `Struct` or `ListValue`, as plain Python."""
    match message.DESCRIPTOR.full_name:
        case "google.protobuf.Value":
            return _value(message)
        case "google.protobuf.Struct":
            return {name: _value(value) for name, value in _of(message, "fields").items()}
        case "google.protobuf.ListValue":
            return [_value(value) for value in _of(message, "values")]
        case _:
            return {_name(field): _field(field, value) for field, value in message.ListFields()}


def _value(message: Message) -> Any:
    kind = message.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    value = _of(message, kind)
    if kind == "number_value":
        return int(value) if value.is_integer() else value
    return plain(value) if isinstance(value, Message) else value


def _of(message: Message, name: str) -> Any:
    return getattr(message, name)


def _name(field: Any) -> str:
    """A field's name; where its JSON name is another word altogether, that one."""
    name: str = field.name
    json_name: str = field.json_name
    first, *rest = name.split("_")
    return name if json_name == first + "".join(map(str.capitalize, rest)) else json_name


def _field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _single(field.message_type.fields_by_name["value"], item) for key, item in value.items()}
    return [_single(field, item) for item in value] if field.is_repeated else _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        # What only newer servers know stays a number.
        return names[value].name.removeprefix(names[0].name.removesuffix("UNSPECIFIED")) if value in names else value
    return value
