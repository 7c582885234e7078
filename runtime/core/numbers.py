"""Numbers as a JSON Schema types them, for CEL, which tells int and double apart where JSON does not.

Where a schema says `number`, an int becomes a double; where it says `integer`, `2.0` becomes the int 2. Followed are
`properties`, `additionalProperties`, `items`, `prefixItems`, `allOf` and local `$ref`; nothing is validated here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast

from .schema_documents import Resolver, Schema, as_list
from .schema_shapes import Shape, Shapes
from .values import INT64_MAX, INT64_MIN, Value

_Number: TypeAlias = Callable[[Value], Value]


def typed_numbers(schema: object) -> Callable[[Value], Value] | None:
    """What gives a value the numbers its schema says, or None when the schema says nothing about numbers.

    Containers that hold a typed number are copied, never changed.
    """
    shape = Shapes(Resolver(schema), _number_of).root
    return partial(_typed, shape) if shape is not None else None


def _number_of(parts: list[Schema]) -> _Number | None:
    types = {name for part in parts for name in _types(part)}
    if "integer" in types:
        return _integer
    return _double if "number" in types else None


def _types(part: Schema) -> list[object]:
    named = part.get("type")
    return [named] if isinstance(named, str) else [name for name in as_list(named) if isinstance(name, str)]


def _typed(shape: Shape[_Number], value: Value) -> Value:
    kind = type(value)
    if kind is dict:
        members = cast(dict[str, Any], value)
        return {name: _below(shape.property(name), item) for name, item in members.items()}
    if kind is list:
        items = cast(list[Any], value)
        return [_below(shape.item(index), item) for index, item in enumerate(items)]
    return shape.says(value) if shape.says is not None else value


def _below(shape: Shape[_Number] | None, value: Value) -> Value:
    return _typed(shape, value) if shape is not None else value


def _double(value: Value) -> Value:
    return float(value) if type(value) is int else value


def _integer(value: Value) -> Value:
    if type(value) is not float:
        return value
    return int(value) if value.is_integer() and INT64_MIN <= value <= INT64_MAX - 1023 else value
