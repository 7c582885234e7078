"""Tree -> Definition: one reader for the whole language, led by the annotations of definition.py.

It says everything that is wrong with the form (unknown fields, wrong types, two spellings) at once; whether the
definition makes sense is the compiler's part. What cannot be read is left absent, and its path is remembered, so that
the compiler can still look at the rest without blaming the same place twice.
"""

from __future__ import annotations

import difflib
import enum
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

import msgspec

from .definition import Definition, Holds
from .nodes import Node, Path, Problems, camel, spellings
from .refusals import Violation
from .values import RESERVED_KEYS

EXACT_INT_MAX = 2**53
"""The largest literal in a free value that every JSON reader keeps exactly."""

_INT32_MAX = 2**31 - 1
_DIGITS = re.compile(r"[-+]?[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: as much of the definition as could be, and everything that is wrong with its form."""

    definition: Definition
    root: Node
    source: str = ""
    violations: tuple[Violation, ...] = ()
    broken: tuple[Path, ...] = ()
    """Paths that could not be read and are absent from the definition."""


def read_definition(root: Node, source: str = "") -> Reading:
    """Read a whole definition; `source` is the name of its text, for the violations."""
    problems = Problems(root, source)
    reader = _Reader(problems)
    if root.value is None:
        reader.wrong((), "a definition is an object with `id` and `steps`; this one is empty", "EMPTY")
        return Reading(Definition(), root, source, problems.found, ((),))
    definition = reader.struct(Definition, root, ())
    return Reading(definition, root, source, problems.found, tuple(reader.broken))


_Reads = Callable[["_Reader", Node, Path], Any]
_Part = TypeVar("_Part", bound=msgspec.Struct)


class _Field(typing.NamedTuple):
    """One field of a part of the language."""

    attribute: str
    name: str
    """Its canonical name in the file form."""
    reads: _Reads


class _Reader:
    """Reads nodes, collecting problems; every method gives None for what is absent or broken."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.broken: list[Path] = []

    def wrong(self, path: Path, message: str, code: str = "INVALID_TYPE", *, key: bool = False) -> None:
        """Note a problem, and that what stands there is absent."""
        self._problems.add(path, message, code, key=key)
        self.broken.append(path)

    def struct(self, kind: type[_Part], node: Node, path: Path) -> _Part:
        """One part of the language; the empty one where the node is no object."""
        if not isinstance(node.value, dict):
            self.wrong(path, f"must be an object, not {describe(node)}")
            return kind()
        fields = _fields(kind)
        self._refuse_mixed(node.value, fields, path)
        values: dict[str, Any] = {}
        seen: dict[str, str] = {}
        for name, child in node.value.items():
            found = fields.get(name)
            if found is None:
                self._unknown(name, fields, path)
                continue
            if found.name in seen:
                self.wrong((*path, name), f"is the same field as {seen[found.name]!r}", "DUPLICATE_FIELD", key=True)
                continue
            seen[found.name] = name
            value = None if child.value is None else found.reads(self, child, (*path, found.name))
            if value is not None:
                values[found.attribute] = value
        return kind(**values)

    def _unknown(self, name: str, fields: Mapping[str, _Field], path: Path) -> None:
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        self.wrong((*path, name), f"unknown field {name!r}{hint}", "UNKNOWN_FIELD", key=True)

    def _refuse_mixed(self, value: Mapping[str, Node], fields: Mapping[str, _Field], path: Path) -> None:
        snake = next((name for name in value if "_" in name and name in fields), None)
        if snake is None:
            return
        humped = next((name for name in value if name in fields and any(map(str.isupper, name))), None)
        if humped is not None:
            message = f"{snake!r} and {humped!r} mix snake_case and camelCase in one object; write all names one way"
            self._problems.add((*path, humped), message, "MIXED_NAMES", key=True)

    def text(self, node: Node, path: Path) -> str | None:
        """A plain string: a scalar's source text, whatever it looks like."""
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, list | dict):
            self.wrong(path, f"must be a string, not {describe(node)}")
            return None
        if node.text is not None:
            return node.text
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return str(node.value)
        self.wrong(path, f"must be a string, not {describe(node)}")
        return None

    def expression(self, node: Node, path: Path) -> str | None:
        """Bare CEL: a string, or a scalar that is itself CEL."""
        if node.text is None and isinstance(node.value, bool | float):
            return msgspec.json.encode(node.value).decode()
        return self.text(node, path)

    def boolean(self, node: Node, path: Path) -> bool | None:
        """true or false, nothing that looks like it."""
        if isinstance(node.value, bool):
            return node.value
        self.wrong(path, f"must be true or false, not {describe(node)}")
        return None

    def integer(self, node: Node, path: Path) -> int | None:
        """An int32, as protobuf's JSON mapping takes it: also `5.0` and `"5"`."""
        value = node.value
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(path, f"must be an integer, not {describe(node)}")
            return None
        if abs(value) > _INT32_MAX:
            self.wrong(path, f"must be within 32 bits, not {value}", "OUT_OF_RANGE")
            return None
        return value

    def number(self, node: Node, path: Path) -> float | None:
        """A finite number."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(path, f"must be a number, not {describe(node)}")
            return None
        if abs(value) > 1e300 or math.isnan(value):
            self.wrong(path, f"must be a finite number, not {describe(node)}", "OUT_OF_RANGE")
            return None
        return float(value)

    def choice(self, kind: type[enum.StrEnum], node: Node, path: Path) -> enum.StrEnum | None:
        """A name of an enum, with or without its prefix; the one that means "not set" is absent."""
        prefix = _prefix(kind)
        text = node.text if node.text is not None else node.value
        name = text.removeprefix(prefix) if isinstance(text, str) else ""
        if name in kind.__members__:
            return kind[name]
        if text == f"{prefix}UNSPECIFIED":
            return None
        names = ", ".join(kind.__members__)
        near = difflib.get_close_matches(name.upper(), kind.__members__, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.wrong(path, f"must be one of {names}, not {describe(node)}{hint}", "UNKNOWN_VALUE")
        return None

    def entries(self, reads: _Reads, empty: Callable[[], Any], node: Node, path: Path) -> tuple[Any, ...] | None:
        """A list; an `empty` one stands for each entry that cannot be read, so that the others keep their number."""
        if not isinstance(node.value, list):
            self.wrong(path, f"must be a list, not {describe(node)}")
            return None
        return tuple(self._entry(reads, empty, entry, (*path, at)) for at, entry in enumerate(node.value))

    def _entry(self, reads: _Reads, empty: Callable[[], Any], node: Node, path: Path) -> Any:
        if node.value is None:
            self.wrong(path, "an entry of a list cannot be null")
            return empty()
        value = reads(self, node, path)
        return empty() if value is None else value

    def mapping(self, reads: _Reads, node: Node, path: Path) -> dict[str, Any] | None:
        """An object with names of the author's own."""
        if not isinstance(node.value, dict):
            self.wrong(path, f"must be an object, not {describe(node)}")
            return None
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            value = None if child.value is None else reads(self, child, (*path, name))
            if value is not None:
                values[name] = value
        return values

    def free_object(self, node: Node, path: Path) -> dict[str, Any] | None:
        """An object of free values."""
        if not isinstance(node.value, dict):
            self.wrong(path, f"must be an object, not {describe(node)}")
            return None
        return cast("dict[str, Any]", self.free(node, path))

    def free(self, node: Node, path: Path) -> Any:
        """Any JSON value; a number without fraction is an int, as in every JSON reader."""
        match node.value:
            case bool():
                return node.value
            case int() | float():
                return self._free_number(node, path)
            case list():
                return [self.free(entry, (*path, number)) for number, entry in enumerate(node.value)]
            case dict():
                for reserved in RESERVED_KEYS:
                    if reserved in node.value:
                        self.wrong((*path, reserved), f"the key {reserved} is reserved", "RESERVED", key=True)
                return {name: self.free(child, (*path, name)) for name, child in node.value.items()}
            case _:
                return node.value

    def _free_number(self, node: Node, path: Path) -> int | float | None:
        value = node.value
        assert isinstance(value, int | float)
        if isinstance(value, float) and not math.isfinite(value):
            self.wrong(path, f"{describe(node)} is no JSON number", "OUT_OF_RANGE")
            return None
        if isinstance(value, float) and not value.is_integer():
            return value
        if abs(value) > EXACT_INT_MAX:
            written = node.text or str(value)
            hint = "" if _in_schema(path) else f'; write "${{{written}}}"'
            self.wrong(path, f"{written} is larger than 2^53 and would lose digits on its way{hint}", "OUT_OF_RANGE")
            return None
        return int(value)


def _in_schema(path: Path) -> bool:
    """Whether a free value is (part of) a JSON Schema, in which nothing is evaluated."""
    return path[:1] in (("input_schema",), ("event_schemas",)) or "result_schema" in path


def describe(node: Node) -> str:
    """A node in a few words."""
    match node.value:
        case None:
            return "null"
        case list():
            return "a list"
        case dict():
            return "an object"
        case bool():
            return "true" if node.value else "false"
        case str():
            return f'the string "{node.value[:40]}"'
        case _:
            return f"the number {node.text or node.value}"


def _prefix(kind: type[enum.StrEnum]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper() + "_"


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, _Field]:
    """The fields of a part by every spelling."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: dict[str, _Field] = {}
    for attribute, name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        known = _Field(attribute, name, _reading(hints[attribute]))
        found.update(dict.fromkeys(spellings(name), known))
        found.setdefault(camel(name), known)
    return found


def _reading(hint: Any) -> _Reads:
    """How a field with this annotation is read."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _reading(next(option for option in typing.get_args(hint) if option is not types.NoneType))
    if typing.get_origin(hint) is Annotated:
        inner, marker = typing.get_args(hint)[:2]
        return _marked(inner, marker)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        entry, empty = _reading(arguments[0]), cast("Callable[[], Any]", arguments[0])
        return lambda reader, node, path: reader.entries(entry, empty, node, path)
    if origin is dict:
        values = _reading(arguments[1])
        return lambda reader, node, path: reader.mapping(values, node, path)
    return _scalar(hint)


def _marked(inner: Any, marker: Holds) -> _Reads:
    match marker:
        case Holds.CEL:
            return _Reader.expression
        case Holds.DURATION:
            return _Reader.text
        case Holds.FREE:
            return _Reader.free if inner is Any else _Reader.free_object


def _scalar(hint: Any) -> _Reads:
    plain: dict[Any, _Reads] = {
        str: _Reader.text,
        bool: _Reader.boolean,
        int: _Reader.integer,
        float: _Reader.number,
    }
    if hint in plain:
        return plain[hint]
    if issubclass(hint, msgspec.Struct):
        return lambda reader, node, path: reader.struct(hint, node, path)
    return lambda reader, node, path: reader.choice(hint, node, path)
