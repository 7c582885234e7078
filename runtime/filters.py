"""Filters over executions as trees, and what a tree means for one row.

The text is read by filter_text.py; a store turns the tree into statements, or asks `holds` row by row. Logic has two
values: what is not there (a label, an end, an open step) equals nothing and is neither before nor after anything, and
`!=` is the opposite of `==`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Final, Protocol, TypeAlias, Union

import msgspec

from .core.state import ENDED, Status

TEXTS: Final = ("execution_id", "definition_id", "status", "state")
"""Texts of the row itself."""
NUMBERS: Final = ("version", "created_at", "updated_at", "ended_at")
"""Numbers of the row itself; times are microseconds since the epoch, and `ended_at` is 0 before the end."""
STEP_TEXTS: Final = ("operation", "event", "waiting_on")
"""Of an open step, each with the table that knows it; only an execution that has not ended has any."""


class Among(msgspec.Struct, frozen=True):
    """A text of the row is one of these."""

    field: str
    values: tuple[str, ...]


class Begins(msgspec.Struct, frozen=True):
    """A text of the row begins with this."""

    field: str
    prefix: str


class Compared(msgspec.Struct, frozen=True):
    """A number of the row compared with another."""

    field: str
    operator: str
    """One of `==`, `!=`, `<`, `<=`, `>`, `>=`."""
    value: int


class Labelled(msgspec.Struct, frozen=True):
    """A label has one of these values; None: it is there, with whatever value."""

    name: str
    values: tuple[str, ...] | None


class LabelBegins(msgspec.Struct, frozen=True):
    """A label's value begins with this."""

    name: str
    prefix: str


class Incident(msgspec.Struct, frozen=True):
    """Something in it waits for an operator."""


class Step(msgspec.Struct, frozen=True):
    """Some open step has one of these: operations of open tasks; names of published events that a `receive` with a key
    waits for; of `waiting_on` TASK, RETRY or TIMER."""

    field: str
    values: tuple[str, ...]


class StepBegins(msgspec.Struct, frozen=True):
    """Some open step has one that begins with this; of operations and events."""

    field: str
    prefix: str


class Not(msgspec.Struct, frozen=True):
    """The opposite of one condition; `negated` keeps it off everything that has an opposite of its own."""

    condition: Condition


class All(msgspec.Struct, frozen=True):
    """Every one of them holds; of none: everything matches."""

    parts: tuple[Filter, ...] = ()


class Either(msgspec.Struct, frozen=True):
    """At least one of them holds; of none: nothing matches."""

    parts: tuple[Filter, ...] = ()


Condition: TypeAlias = Union[  # noqa: UP007
    Among, Begins, Compared, Labelled, LabelBegins, Incident, Step, StepBegins
]
Filter: TypeAlias = Union[Condition, Not, All, Either]  # noqa: UP007

EVERYTHING: Final = All()
NOTHING: Final = Either()

COMPARISONS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "==": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
_OPPOSITE: Final = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
OPEN: Final = tuple(str(status) for status in Status if status not in ENDED)
"""The statuses of what has not ended."""


def all_of(parts: Iterable[Filter]) -> Filter:
    """Every one of them, without needless levels."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, All) else (part,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def either_of(parts: Iterable[Filter]) -> Filter:
    """At least one of them, without needless levels."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Either) else (part,))]
    return flat[0] if len(flat) == 1 else Either(tuple(flat))


def negated(tree: Filter) -> Filter:
    """The opposite."""
    match tree:
        case All(parts):
            return either_of(negated(part) for part in parts)
        case Either(parts):
            return all_of(negated(part) for part in parts)
        case Not(condition):
            return condition
        case Compared(field, operator, value):
            return Compared(field, _OPPOSITE[operator], value)
        case Among("status", values):
            return Among("status", tuple(str(status) for status in Status if status not in values))
        case _:
            return Not(tree)


def fields_of(tree: Filter) -> set[str]:
    """The fields that a tree looks at; a label is `labels`, an incident `incident`."""
    match tree:
        case All(parts) | Either(parts):
            return {field for part in parts for field in fields_of(part)}
        case Not(condition):
            return fields_of(condition)
        case Labelled() | LabelBegins():
            return {"labels"}
        case Incident():
            return {"incident"}
        case Among() | Begins() | Compared() | Step() | StepBegins():
            return {tree.field}


def after_prefix(prefix: str) -> str | None:
    """The first text, in the order of code points, behind all that begin with the prefix; None: there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)


class Row(Protocol):
    """What a filter looks at."""

    def text(self, field: str) -> str:
        """One of TEXTS."""
        ...

    def number(self, field: str) -> int:
        """One of NUMBERS."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """By name."""
        ...

    @property
    def incidents(self) -> int:
        """How many there are."""
        ...

    def steps(self, field: str) -> Iterable[str]:
        """Of its open steps, one of STEP_TEXTS."""
        ...


def holds(tree: Filter, row: Row) -> bool:
    """Whether the row matches."""
    match tree:
        case All(parts):
            return all(holds(part, row) for part in parts)
        case Either(parts):
            return any(holds(part, row) for part in parts)
        case Not(condition):
            return not holds(condition, row)
        case Among(field, values):
            return row.text(field) in values
        case Begins(field, prefix):
            return row.text(field).startswith(prefix)
        case Compared(field, operator, value):
            return COMPARISONS[operator](row.number(field), value)
        case Labelled(name, allowed):
            return name in row.labels and (allowed is None or row.labels[name] in allowed)
        case LabelBegins(name, prefix):
            return name in row.labels and row.labels[name].startswith(prefix)
        case Incident():
            return row.incidents > 0
        case Step(field, values):
            return any(each in values for each in row.steps(field))
        case StepBegins(field, prefix):
            return any(each.startswith(prefix) for each in row.steps(field))
