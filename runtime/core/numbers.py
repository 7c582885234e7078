"""Numbers as a JSON Schema types them, for CEL, which tells int and double apart where JSON does not.

Where a schema says `number`, an int becomes a double; where it says `integer`, `2.0` becomes the int 2. Followed are
`properties`, `additionalProperties`, `items`, `prefixItems`, `allOf` and local `$ref`; nothing is validated here.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, cast

from .values import INT64_MAX, INT64_MIN, Value

SHAPES_MAX: Final = 10_000
"""Places of one schema that are looked at; what lies beyond keeps the numbers it has."""

_Schema: TypeAlias = dict[str, Any]


def typed_numbers(schema: object) -> Callable[[Value], Value] | None:
    """What gives a value the numbers its schema says, or None when the schema says nothing about numbers.

    Containers that hold a typed number are copied, never changed.
    """
    builder = _Builder(schema)
    shape = builder.shape([schema])
    builder.mark()
    return shape.apply if shape is not None and shape.matters else None


class _Shape:
    """What the schemas that apply at one place say, with those of the places below it."""

    __slots__ = ("additional", "integer", "items", "matters", "number", "prefix", "properties")

    def __init__(self) -> None:
        self.number = False
        self.integer = False
        self.matters = False
        self.properties: dict[str, _Shape | None] = {}
        self.additional: _Shape | None = None
        self.prefix: list[_Shape | None] = []
        self.items: _Shape | None = None

    def below(self) -> "Iterator[_Shape | None]":
        yield from self.properties.values()
        yield from self.prefix
        yield self.additional
        yield self.items

    def apply(self, value: Value) -> Value:
        kind = type(value)
        if kind is dict:
            return self._object(cast(dict[str, Any], value))
        if kind is list:
            return self._list(cast(list[Any], value))
        if self.number and kind is int:
            return float(cast(int, value))
        if self.integer and kind is float:
            return _integer(cast(float, value))
        return value

    def _object(self, members: dict[str, Any]) -> Value:
        typed: dict[str, Any] = {}
        for key, item in members.items():
            shape = self.properties.get(key, self.additional)
            typed[key] = shape.apply(item) if shape is not None and shape.matters else item
        return typed

    def _list(self, items: list[Any]) -> Value:
        typed: list[Any] = []
        for index, item in enumerate(items):
            shape = self.prefix[index] if index < len(self.prefix) else self.items
            typed.append(shape.apply(item) if shape is not None and shape.matters else item)
        return typed


def _integer(number: float) -> int | float:
    return int(number) if number.is_integer() and INT64_MIN <= number <= INT64_MAX - 1023 else number


class _Builder:
    """One shape for each set of schemas that apply together, so that recursive schemas end."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._shapes: dict[frozenset[int], _Shape] = {}

    def shape(self, schemas: Iterable[object]) -> _Shape | None:
        parts: dict[int, _Schema] = {}
        for schema in schemas:
            self._collect(schema, parts)
        key = frozenset(parts)
        if not parts or key in self._shapes:
            return self._shapes.get(key)
        if len(self._shapes) >= SHAPES_MAX:
            return None
        shape = self._shapes[key] = _Shape()
        self._fill(shape, list(parts.values()))
        return shape

    def mark(self) -> None:
        """A shape matters when it, or one below it, types a number."""
        above: dict[int, list[_Shape]] = {}
        for shape in self._shapes.values():
            for child in shape.below():
                if child is not None:
                    above.setdefault(id(child), []).append(shape)
        waiting = [shape for shape in self._shapes.values() if shape.number or shape.integer]
        while waiting:
            shape = waiting.pop()
            if not shape.matters:
                shape.matters = True
                waiting.extend(above.get(id(shape), ()))

    def _collect(self, schema: object, parts: dict[int, _Schema]) -> None:
        """`schema` and what applies to the same value with it: `allOf` and `$ref`."""
        waiting = [schema]
        while waiting:
            candidate = waiting.pop()
            if not isinstance(candidate, dict) or id(cast(object, candidate)) in parts:
                continue
            part = cast(_Schema, candidate)
            parts[id(part)] = part
            waiting.extend(_list(part.get("allOf")))
            waiting.append(self._target(part.get("$ref")))

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        found: object = self._root
        for token in reference.split("/")[1:]:
            key = _unquoted(token).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = cast(_Schema, found).get(key)
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(cast(list[object], found)):
                found = cast(list[object], found)[int(key)]
            else:
                return None
        return found

    def _fill(self, shape: _Shape, parts: list[_Schema]) -> None:
        types = {name for part in parts for name in _types(part)}
        shape.integer = "integer" in types
        shape.number = "number" in types and not shape.integer
        keys = {key for part in parts for key in _dict(part.get("properties"))}
        for key in sorted(keys):
            shape.properties[key] = self.shape(
                _dict(part.get("properties")).get(key, part.get("additionalProperties")) for part in parts
            )
        shape.additional = self.shape(part.get("additionalProperties") for part in parts)
        length = max((len(_list(part.get("prefixItems"))) for part in parts), default=0)
        shape.prefix = [self.shape(_at(part, index) for part in parts) for index in range(length)]
        shape.items = self.shape(part.get("items") for part in parts)


def _types(part: _Schema) -> list[object]:
    named = part.get("type")
    return [named] if isinstance(named, str) else _list(named)


def _at(part: _Schema, index: int) -> object:
    prefix = _list(part.get("prefixItems"))
    return prefix[index] if index < len(prefix) else part.get("items")


def _dict(value: object) -> _Schema:
    return cast(_Schema, value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _unquoted(token: str) -> str:
    """Percent escapes of a URI fragment (RFC 3986, section 2.1) read as UTF-8."""
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda escape: bytes.fromhex(escape[1].decode()), token.encode())
    return octets.decode(errors="replace")
