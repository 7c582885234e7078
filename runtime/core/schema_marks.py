"""The mark `sensitive` in JSON Schemas: which fields of a value it protects, and where it would protect nothing.

What is sensitive is found by following every keyword by which a schema may come to apply to a value, whether it does
or not: of `anyOf`, `if` and their like all schemas count, and of patterns of names that cannot be read for certain,
every name. So more may be sealed than the author meant, never less. A mark that this does not reach (under `not`, in
the names of properties, behind a reference out of the schema, under a misspelled keyword) is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from .nodes import Path
from .schema_documents import (
    DATA,
    META_SCHEMAS,
    SCHEMAS,
    UNUSED,
    Resolver,
    Schema,
    as_object,
    objects_in,
    parts_of,
    parts_under,
)
from .schema_shapes import Shape, Shapes
from .sealing import Vault
from .values import Sealed, Value

SENSITIVE: Final = "sensitive"

_BLIND: Final = frozenset({"not", "propertyNames", "contentSchema"})
"""Keywords whose schemas say nothing about a value that could be kept apart: what it must not be, or its names, or
what is written inside of a string."""

_REFERENCES: Final = ("$ref", "$dynamicRef")


class SensitiveFields:
    """The sensitive fields of the values of one schema."""

    def __init__(self, shape: Shape[bool]) -> None:
        self._shape = shape

    def seal(self, value: Value, typed: Value, vault: Vault) -> Value:
        """The value with each sensitive field replaced by what the vault gives for it, taken from `typed`: the same
        value with its numbers as the schema says. One that is sealed already stays. Containers on the way to a field
        are copied, everything else is shared."""
        return _sealed(self._shape, value, typed, vault)

    def seen(self, path: Sequence[str | int]) -> tuple[Path, bool]:
        """As much of a path in a value as may be told, and whether it ends in a sensitive field: the names inside of
        one belong to it."""
        shape: Shape[bool] | None = self._shape
        for depth, step in enumerate(path):
            if shape is None:
                break
            if shape.says:
                return tuple(path[:depth]), True
            shape = shape.item(step) if isinstance(step, int) else shape.property(step)
        return tuple(path), shape is not None and shape.says is True


def sensitive_fields(schema: object) -> SensitiveFields | None:
    """The sensitive fields of a schema, or None when it has none. Beyond the limits everything is sensitive."""
    shape = _shapes(Resolver(schema)).root if _has_marks(schema) else None
    return SensitiveFields(shape) if shape is not None else None


def sealing_of(schema: object, typed: Callable[[Value], Value] | None) -> Callable[[Value, Vault], Value] | None:
    """What seals the sensitive fields of a value, with their numbers as `typed` gives them (None: as they are); None
    when the schema has no sensitive field."""
    fields = sensitive_fields(schema)
    if fields is None:
        return None
    return lambda value, vault: fields.seal(value, typed(value) if typed is not None else value, vault)


def _has_marks(schema: object) -> bool:
    return any(map(_is_marked, (found for _, found in objects_in(schema))))


def _shapes(resolver: Resolver) -> Shapes[bool]:
    return Shapes(resolver, _says, possible=True, beyond=True)


def _says(parts: list[Schema]) -> bool | None:
    return any(map(_is_marked, parts)) or None


def _is_marked(part: Schema) -> bool:
    return part.get(SENSITIVE) is True


def _sealed(shape: Shape[bool], value: Value, typed: Value, vault: Vault) -> Value:
    if shape.says:
        return value if type(value) is Sealed else vault.seal(typed)
    if type(value) is dict:
        numbers = cast(dict[str, Any], typed)
        return {
            name: item if (below := shape.property(name)) is None else _sealed(below, item, numbers[name], vault)
            for name, item in value.items()
        }
    if type(value) is list:
        others = cast(list[Any], typed)
        return [
            item if (below := shape.item(index)) is None else _sealed(below, item, others[index], vault)
            for index, item in enumerate(value)
        ]
    return value


# Faults


def mark_faults(schema: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Where the schema says `sensitive` in a way that protects nothing, or not what it seems to: paths, with what is
    wrong there. `path` is where the schema stands."""
    for here, part in parts_of(schema, path):
        if SENSITIVE in part and not isinstance(part[SENSITIVE], bool):
            yield (*here, SENSITIVE), "must be true or false"
    if _has_marks(schema):
        yield from _Unprotected(schema, path).found()


class _Unprotected:
    """What the walk to the sensitive fields of one schema has not reached."""

    def __init__(self, schema: object, path: Path) -> None:
        self._root = schema
        self._path = path
        self._has_name = "$id" in as_object(schema)
        self._resolver = Resolver(schema)
        self._shapes = _shapes(self._resolver)
        self._paths = {id(found): here for here, found in objects_in(schema, path)}
        self._holding = self._holding_marks()

    def found(self) -> Iterator[tuple[Path, str]]:
        """Every fault."""
        if self._shapes.cut:
            yield self._path, f"is too large or too entangled to find its `{SENSITIVE}` fields; write it more simply"
        for part in self._shapes.reached.values():
            yield from self._inner_id(part)
            for keyword, reference in self._unfollowed(part):
                message = f"{reference!r} cannot be followed to `{SENSITIVE}` fields; refer to a schema by its place"
                yield (*self._paths[id(part)], keyword), f"{message}, such as '#/$defs/name'"
            for path in self._unreached(part):
                yield path, f"`{SENSITIVE}` protects nothing here: no field of a value can be found by it"

    def _inner_id(self, part: Schema) -> Iterator[tuple[Path, str]]:
        if part is not self._root and isinstance(part.get("$id"), str):
            message = f"a schema with `{SENSITIVE}` fields can have an `$id` only as a whole: references would change"
            yield (*self._paths[id(part)], "$id"), message

    def _unfollowed(self, part: Schema) -> Iterator[tuple[str, str]]:
        """References that lead out of the document, to something other than the schemas everybody knows."""
        for keyword in _REFERENCES:
            reference = part.get(keyword)
            if not isinstance(reference, str) or self._resolver.target(reference) is not None:
                continue
            if self._has_name or not reference.startswith(META_SCHEMAS):
                yield keyword, reference

    def _unreached(self, part: Schema) -> Iterator[Path]:
        """Marks under a schema that applies, in places where they do not."""
        path, reached = self._paths[id(part)], self._shapes.reached
        for keyword in part:
            if keyword in SCHEMAS - UNUSED:
                for here, inner in parts_under(part, keyword, path):
                    if keyword in _BLIND or id(inner) not in reached:
                        yield from self._marks(here, inner)
            elif keyword not in DATA | UNUSED:
                for here, found in objects_in(part[keyword], (*path, keyword)):
                    if _is_marked(found) and id(found) not in reached:
                        yield (*here, SENSITIVE)

    def _marks(self, path: Path, schema: object) -> Iterator[Path]:
        """Marks in a schema, and references to schemas that have some, or may have."""
        for here, part in parts_of(schema, path):
            if _is_marked(part):
                yield (*here, SENSITIVE)
            for keyword in _REFERENCES:
                if keyword in part and id(self._resolver.target(part[keyword])) in self._holding:
                    yield (*here, keyword)
            for keyword, _ in self._unfollowed(part):
                yield (*here, keyword)

    def _holding_marks(self) -> set[int]:
        """The objects of the document, by identity, that have a mark somewhere in them, or refer to one that has."""
        above: dict[int, list[int]] = {}
        waiting: list[int] = []
        for _, found in objects_in(self._root):
            below = [inner for keyword in found for _, inner in parts_under(found, keyword, ())]
            below += [self._resolver.target(found[keyword]) for keyword in _REFERENCES if keyword in found]
            for inner in below:
                above.setdefault(id(inner), []).append(id(found))
            if _is_marked(found):
                waiting.append(id(found))
        holding: set[int] = set()
        while waiting:
            one = waiting.pop()
            if one not in holding:
                holding.add(one)
                waiting += above.get(one, ())
        return holding
