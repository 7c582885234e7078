"""The tree a definition is read from: plain values that know where they stood in a source text.

The loader makes marked nodes of YAML and JSON; `tree` makes unmarked ones of plain Python values (a decoded message,
a stored definition). Everything behind reads the one tree, so that every error has its path, and its line and column
where there was a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, Union, cast

import msgspec

from .refusals import Kind, Refusal, Refused, Violation
from .values import format_path

Path: TypeAlias = tuple[Union[str, int], ...]  # noqa: UP007
"""Names of fields and numbers of entries, from the root."""

Tree: TypeAlias = Union[None, bool, int, float, str, list["Node"], dict[str, "Node"]]  # noqa: UP007


class Place(NamedTuple):
    """Where something stands in a source text: line and column, both from 1; (0, 0): not known."""

    line: int
    column: int


NOWHERE = Place(0, 0)


class Inside(NamedTuple):
    """Where the text of a scalar begins behind its quote or block header, to point into it."""

    line: int
    column: int
    follows: int
    """The column at which its further lines begin; 0: not known (folded or escaped text)."""


class Node(msgspec.Struct, frozen=True):
    """One value of the tree."""

    value: Tree
    line: int = 0
    column: int = 0
    text: str | None = None
    """The source text of a scalar; None: it was not read from a text."""
    keys: Mapping[str, Place] = msgspec.field(default_factory=dict[str, Place])
    """Where the keys of an object stand."""
    inside: Inside | None = None

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place(self.line, self.column)

    def point(self, line: int, column: int) -> Place:
        """The place of a line and column (from 1) of the scalar's own text; its beginning where that is not known."""
        if self.inside is None or line < 1:
            return self.place
        if line == 1:
            return Place(self.inside.line, self.inside.column + max(column, 1) - 1)
        if not self.inside.follows:
            return self.place
        return Place(self.inside.line + line - 1, self.inside.follows + max(column, 1) - 1)


@dataclass(frozen=True, slots=True)
class DefinitionLimits:
    """How large a definition may be. Over a limit it can never fit, and is refused with the number."""

    definition_bytes_max: int = 1_048_576
    """Bytes of the source text, and of the definition in its stored form."""
    definition_steps_max: int = 10_000
    """Steps of one definition, inner ones included."""
    definition_triggers_max: int = 100
    """Triggers of one definition."""
    definition_depth_max: int = 100
    """Levels of lists and objects within each other."""
    definition_nodes_max: int = 200_000
    """Values in the tree, those that YAML aliases repeat included."""
    definition_aliases_max: int = 1_000
    """YAML aliases in one text."""


def render(path: Path) -> str:
    """The path as people read it: `steps[3].task.input.sku`."""
    return format_path(path)


def camel(name: str) -> str:
    """The JSON name of a field: `on_item_error` is `onItemError`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def refused_tree(violations: Iterable[Violation]) -> Refused:
    """The refusal of a text or tree that cannot even be read."""
    found = tuple(violations)
    message = "; ".join(violation.located for violation in found[:3])
    too_large = all(violation.code == "LIMIT" for violation in found)
    return Refused(
        Refusal(Kind.INVALID, "LIMIT_EXCEEDED" if too_large else "INVALID_DEFINITION", message, violations=found)
    )


def tree(value: Any, limits: DefinitionLimits | None = None) -> Node:
    """Nodes of plain Python values (None, bool, int, float, str, list, tuple, dict with string keys).

    Raises Refused where the value is too deep or too large, or holds something else.
    """
    return _Planting(limits or DefinitionLimits()).plant(value, ())


class _Planting:
    """Makes nodes and counts them."""

    def __init__(self, limits: DefinitionLimits) -> None:
        self._limits = limits
        self._nodes = 0

    def plant(self, value: Any, path: Path) -> Node:
        self._count(path)
        match value:
            case None | bool() | int() | float():
                return Node(value)
            case str():
                if not whole_unicode(value):
                    raise _refuse(path, "half of a surrogate pair is no character", "INVALID_TEXT")
                return Node(value)
            case list() | tuple():
                return self._list(cast("Iterable[object]", value), path)
            case dict():
                return self._object(cast("Mapping[object, object]", value), path)
            case _:
                raise _refuse(path, f"a {type(value).__name__} has no JSON form", "INVALID_TYPE")

    def _list(self, entries: Iterable[object], path: Path) -> Node:
        return Node([self.plant(entry, (*path, number)) for number, entry in enumerate(entries)])

    def _object(self, fields: Mapping[object, object], path: Path) -> Node:
        return Node({self._key(key, path): self.plant(item, (*path, str(key))) for key, item in fields.items()})

    def _key(self, key: object, path: Path) -> str:
        if not isinstance(key, str) or not whole_unicode(key):
            raise _refuse(path, f"the key {key!r} is not a string of whole characters", "INVALID_TYPE")
        return key

    def _count(self, path: Path) -> None:
        self._nodes += 1
        if self._nodes > self._limits.definition_nodes_max:
            raise _refuse((), f"more than definition_nodes_max = {self._limits.definition_nodes_max} values", "LIMIT")
        if len(path) > self._limits.definition_depth_max:
            raise _refuse(path, f"deeper than definition_depth_max = {self._limits.definition_depth_max}", "LIMIT")


def whole_unicode(text: str) -> bool:
    """Whether the text has no lone surrogates, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(path: Path, message: str, code: str) -> Refused:
    return refused_tree([Violation(render(path), message, code)])


class Problems:
    """Collects located violations of one tree, each once."""

    def __init__(self, root: Node, source: str = "") -> None:
        self._root = root
        self._source = source
        self._found: dict[Violation, Path] = {}

    @property
    def found(self) -> tuple[Violation, ...]:
        """What was added, in order."""
        return tuple(self._found)

    @property
    def paths(self) -> Mapping[Violation, Path]:
        """What was added, with the paths as they were given."""
        return self._found

    def add(
        self,
        path: Path,
        message: str,
        code: str = "INVALID",
        *,
        at: tuple[int, int] | None = None,
        key: bool = False,
        warning: bool = False,
    ) -> None:
        """Add one. `at`: line and column within the scalar's text; `key`: the field's name is meant, not its value."""
        place = self._place(path, at, key)
        violation = Violation(render(path), message, code, self._source, place.line, place.column, warning)
        self._found.setdefault(violation, path)

    def where(self, path: Path) -> str:
        """A path, with its line where it is known, for messages that name a second place."""
        line = self._place(path, None, False).line
        return f"{render(path)} (line {line})" if line else render(path)

    def _place(self, path: Path, at: tuple[int, int] | None, key: bool) -> Place:
        node, keyed, depth = self._root, self._root.place, 0
        for part in path:
            step = _enter(node, part)
            if step is None:
                break
            node, keyed = step
            depth += 1
        if at is not None and depth == len(path):
            return node.point(*at)
        return keyed if key or isinstance(node.value, dict | list) else node.place


def _enter(node: Node, part: str | int) -> tuple[Node, Place] | None:
    """The node one level below, and where its key stands; None where there is none."""
    value = node.value
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part], value[part].place
    if isinstance(value, dict) and isinstance(part, str):
        for name in spellings(part):
            if name in value:
                return value[name], node.keys.get(name, value[name].place)
    return None


def spellings(name: str) -> tuple[str, ...]:
    """All ways to write a field of the language: its own name, and its JSON name."""
    if name == "as":
        return ("as", "item_name", "itemName")
    other = camel(name)
    return (name,) if other == name else (name, other)
