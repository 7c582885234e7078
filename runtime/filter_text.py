"""The filter language: the part of CEL that is a condition on an execution, read into a tree (filters.py).

    either    = all { "||" all }
    all       = opposite { "&&" opposite }
    opposite  = "!" opposite | relation
    relation  = operand [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") operand ]
    operand   = "(" either ")" | "true" | "false" | string | number | 'timestamp("...")' | "[" operand, ... "]"
              | field | 'labels.name' | 'labels["name"]' | field '.startsWith("...")' | 'has(labels.name)'

Whatever else CEL has is refused with INVALID_FILTER and the column where it begins, never half understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from .core.refusals import Kind, Refusal, Refused, Violation
from .core.state import Status
from .filters import (
    EVERYTHING,
    NOTHING,
    STEP_TEXTS,
    TEXTS,
    Among,
    Begins,
    Compared,
    Filter,
    Incident,
    LabelBegins,
    Labelled,
    Step,
    StepBegins,
    all_of,
    either_of,
    negated,
)

FILTER_CHARACTERS_MAX: Final = 4096
FILTER_CONDITIONS_MAX: Final = 100
FILTER_DEPTH_MAX: Final = 32
FILTER_VALUES_MAX: Final = 100
"""In one list."""

_SUPPORTED = (
    "supported are execution_id, definition_id, status, state, operation, event and labels.name with ==, !=, in [...] "
    "and, but for status, startsWith; version and created_at, started_at, updated_at, ended_at with comparisons; "
    'waiting_on with ==, != and in; incident; "name" in labels; joined by &&, || and !'
)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<number>\d+)(?![\w.])
    | (?P<name>[A-Za-z_]\w*)
    | (?P<symbol>&&|\|\||==|!=|<=|>=|[<>!.,()\[\]])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_NUMBER_MAX = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("created_at", "started_at", "updated_at", "ended_at")
_FIELDS = frozenset({*TEXTS, *STEP_TEXTS, *_TIMES, "version"})
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_BEGUN = tuple(str(status) for status in Status if status is not Status.PENDING)
_WAITING = {"RETRY": ("RETRY",), "TIMER": ("TIMER",)}
_TASK_PLACES = {"QUEUE", "WORKER"}


def parse_filter(text: str) -> Filter:
    """The tree of a filter; an empty one means everything. Raises Refused with INVALID_FILTER."""
    if len(text) > FILTER_CHARACTERS_MAX:
        raise _refused(f"the filter is longer than {FILTER_CHARACTERS_MAX} characters", FILTER_CHARACTERS_MAX + 1)
    return _Parser(_tokens(text)).parse()


class _Token(NamedTuple):
    kind: str
    text: str
    column: int
    """From 1."""


class _Field(NamedTuple):
    """A field that is to be compared."""

    name: str
    label: str = ""


class _Text(NamedTuple):
    value: str


class _Number(NamedTuple):
    value: int


class _Time(NamedTuple):
    value: int
    """Microseconds since the epoch."""


class _List(NamedTuple):
    items: tuple[tuple[_Operand, int], ...]
    """Each with its column."""


class _Labels(NamedTuple):
    """All labels, for `"name" in labels`."""


_VALUES: Final = (_Field, _Text, _Number, _Time, _List, _Labels)
"""Operands that are no condition by themselves."""
_Operand: TypeAlias = "_Field | _Text | _Number | _Time | _List | _Labels | Filter"


class _Parser:
    """Recursive descent, left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._conditions = 0

    def parse(self) -> Filter:
        if self._peek().kind == "end":
            return EVERYTHING
        tree = self._either()
        token = self._peek()
        if token.kind != "end":
            raise _refused(f"expected && or ||, found {token.text!r}", token.column)
        return tree

    # -- logic

    def _either(self) -> Filter:
        return either_of(self._joined("||", self._all))

    def _all(self) -> Filter:
        return all_of(self._joined("&&", self._opposite))

    def _joined(self, symbol: str, part: Callable[[], Filter]) -> list[Filter]:
        parts = [part()]
        while self._found(symbol):
            parts.append(part())
        return parts

    def _opposite(self) -> Filter:
        """A relation, or its opposite. `!` holds tighter than a comparison, so it stands before a condition only."""
        token = self._peek()
        if token.text != "!" or token.kind != "symbol":
            return self._relation()
        opposite = self._opposites()
        return self._compared_with_truth(opposite, token.column)

    def _opposites(self) -> Filter:
        count = 0
        while self._found("!"):
            count += 1
        column = self._peek().column
        operand = self._operand()
        if isinstance(operand, _VALUES):
            raise _refused("! stands before a condition; put a comparison in parentheses", column)
        return negated(operand) if count % 2 else operand

    def _relation(self) -> Filter:
        token = self._peek()
        left = self._operand()
        if not isinstance(left, _VALUES):
            return self._compared_with_truth(left, token.column)
        operator = self._peek()
        if operator.text not in (*_FLIPPED, "in") or operator.kind not in ("symbol", "name"):
            said = "the filter ends" if operator.kind == "end" else f"found {operator.text!r}"
            raise _refused(f"expected a comparison of {token.text}, {said}", operator.column)
        self._at += 1
        column = self._peek().column
        right = self._operand()
        if operator.text == "in":
            return self._in(left, right, token.column, column)
        if isinstance(left, _Field):
            return self._compare(left, operator, right, column)
        if isinstance(right, _Field):
            return self._compare(right, operator._replace(text=_FLIPPED[operator.text]), left, token.column)
        raise _refused("a comparison is of a field with a value", token.column)

    def _compared_with_truth(self, tree: Filter, column: int) -> Filter:
        """A condition, or `condition == true` and the like."""
        operator = self._peek()
        if operator.kind != "symbol" or operator.text not in _FLIPPED:
            return tree
        self._at += 1
        at = self._peek().column
        truth = self._operand()
        if operator.text not in ("==", "!="):
            raise _refused(f"conditions cannot be compared by {operator.text!r}", operator.column)
        if tree in (EVERYTHING, NOTHING):
            tree, truth, at = truth, tree, column  # type: ignore[assignment]
        if truth not in (EVERYTHING, NOTHING) or isinstance(tree, _VALUES):
            raise _refused("a condition is compared with true or false", at)
        return tree if (truth == EVERYTHING) == (operator.text == "==") else negated(tree)

    # -- operands

    def _operand(self) -> _Operand:
        token = self._next()
        match token.kind, token.text:
            case "string", _:
                return _Text(_unquote(token))
            case "number", _:
                return _Number(_number(token))
            case "symbol", "(":
                return self._nested(token)
            case "symbol", "[":
                return self._list(token)
            case "name", "true":
                return EVERYTHING
            case "name", "false":
                return NOTHING
            case "name", "timestamp":
                return self._timestamp()
            case "name", "has":
                return self._has()
            case "name", "incident":
                return self._counted(Incident(), token)
            case "name", "labels":
                return self._labels(token)
            case "name", name if name in _FIELDS:
                return self._method(_Field(name), token)
            case "name", name:
                raise _refused(f"there is no field {name!r} to filter by", token.column)
            case _:
                raise _refused(f"a condition cannot begin with {token.text!r}", token.column)

    def _nested(self, token: _Token) -> Filter:
        self._depth += 1
        if self._depth > FILTER_DEPTH_MAX:
            raise _refused(f"parentheses are nested deeper than {FILTER_DEPTH_MAX}", token.column)
        tree = self._either()
        self._symbol(")")
        self._depth -= 1
        return tree

    def _list(self, token: _Token) -> _List:
        items: list[tuple[_Operand, int]] = []
        while not items or self._found(","):
            column = self._peek().column
            if len(items) == FILTER_VALUES_MAX:
                raise _refused(f"the list has more than {FILTER_VALUES_MAX} values", token.column)
            if self._peek().kind not in ("string", "number") and self._peek().text != "timestamp":
                raise _refused(f"expected a value, found {self._peek().text!r}", column)
            items.append((self._operand(), column))
        self._symbol("]")
        return _List(tuple(items))

    def _labels(self, token: _Token) -> _Operand:
        if self._peek().text == "." or self._peek().text == "[":
            return self._method(_Field("labels", self._label_name()), token)
        return _Labels()

    def _label_name(self) -> str:
        if self._found("."):
            return self._next("name").text
        self._symbol("[")
        name = _unquote(self._next("string"))
        self._symbol("]")
        return name

    def _has(self) -> Filter:
        self._symbol("(")
        token = self._next("name")
        if token.text != "labels" or self._peek().text != ".":
            raise _refused("has(...) takes labels.name", token.column)
        name = self._label_name()
        self._symbol(")")
        return self._counted(Labelled(name, None), token)

    def _method(self, field: _Field, token: _Token) -> _Operand:
        """The field itself, or `field.startsWith("...")`."""
        if not self._found("."):
            return field
        method = self._next("name")
        if method.text != "startsWith":
            raise _refused(f"{method.text!r} is not a function that a filter has", method.column)
        if field.name in ("status", "waiting_on", "version", *_TIMES):
            raise _refused(f"{field.name} has no startsWith", method.column)
        self._symbol("(")
        prefix = _unquote(self._next("string"))
        self._symbol(")")
        return self._counted(_begins(field, prefix), token)

    def _timestamp(self) -> _Time:
        self._symbol("(")
        token = self._next("string")
        self._symbol(")")
        try:
            moment = datetime.fromisoformat(_unquote(token))
        except ValueError:
            raise _refused(f"{token.text} is not an RFC 3339 time", token.column) from None
        if moment.tzinfo is None:
            raise _refused(f"{token.text} has no time zone; add Z or an offset", token.column)
        return _Time((moment - _EPOCH) // timedelta(microseconds=1))

    # -- relations

    def _in(self, left: _Operand, right: _Operand, left_column: int, column: int) -> Filter:
        at = self._tokens[self._at - 1]
        if isinstance(right, _Labels):
            if not isinstance(left, _Text):
                raise _refused("a label's name is a string", left_column)
            return self._counted(Labelled(left.value, None), at)
        if not isinstance(left, _Field) or not isinstance(right, _List):
            raise _refused("expected a field in [...], or a name in labels", left_column)
        if left.name in ("version", *_TIMES):
            return self._counted(
                either_of(_compared(left, "==", value, where) for value, where in right.items), at, len(right.items)
            )
        values = tuple(dict.fromkeys(_text(left, value, where) for value, where in right.items))
        return self._counted(_among(left, values, column), at)

    def _compare(self, field: _Field, operator: _Token, value: _Operand, column: int) -> Filter:
        if field.name in ("version", *_TIMES):
            return self._counted(_compared(field, operator.text, value, column), operator)
        if operator.text not in ("==", "!="):
            raise _refused(f"{field.name} cannot be compared by {operator.text!r}", operator.column)
        tree = self._counted(_among(field, (_text(field, value, column),), column), operator)
        return tree if operator.text == "==" else negated(tree)

    def _counted(self, tree: Filter, token: _Token, count: int = 1) -> Filter:
        self._conditions += count
        if self._conditions > FILTER_CONDITIONS_MAX:
            raise _refused(f"there are more than {FILTER_CONDITIONS_MAX} conditions", token.column)
        return tree

    # -- tokens

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self, kind: str = "") -> _Token:
        token = self._tokens[self._at]
        if token.kind == "end":
            raise _refused("the filter ends in the middle of a condition", token.column)
        if kind and token.kind != kind:
            raise _refused(f"expected a {kind}, found {token.text!r}", token.column)
        self._at += 1
        return token

    def _found(self, symbol: str) -> bool:
        token = self._peek()
        there = token.kind == "symbol" and token.text == symbol
        self._at += there
        return there

    def _symbol(self, text: str) -> None:
        token = self._next()
        if token.text != text or token.kind != "symbol":
            raise _refused(f"expected {text!r}, found {token.text!r}", token.column)


# -- conditions ------------------------------------------------------------------------------------------------


def _begins(field: _Field, prefix: str) -> Filter:
    if field.name == "labels":
        return LabelBegins(field.label, prefix)
    return StepBegins(field.name, prefix) if field.name in STEP_TEXTS else Begins(field.name, prefix)


def _text(field: _Field, value: _Operand, column: int) -> str:
    if not isinstance(value, _Text):
        raise _refused(f"{field.name} is compared with strings", column)
    if field.name == "status" and value.value not in Status.__members__:
        raise _refused(f"there is no status {value.value!r}; there are {', '.join(Status.__members__)}", column)
    return value.value


def _among(field: _Field, values: tuple[str, ...], column: int) -> Filter:
    if field.name == "labels":
        return Labelled(field.label, values)
    if field.name == "waiting_on":
        return Step("waiting_on", _waits(values, column))
    return Step(field.name, values) if field.name in STEP_TEXTS else Among(field.name, values)


def _waits(values: tuple[str, ...], column: int) -> tuple[str, ...]:
    """What is stored of what steps wait for. Which of the tasks a worker has is not: it is known in memory alone."""
    found: list[str] = []
    for value in values:
        if value in _TASK_PLACES:
            if not _TASK_PLACES.issubset(values):
                raise _refused('filters know QUEUE and WORKER only together: waiting_on in ["QUEUE", "WORKER"]', column)
            found.append("TASK")
        elif value in _WAITING:
            found += _WAITING[value]
        else:
            hint = {"RESOLUTION": "; use incident", "EVENT": "; use event"}.get(value, "")
            raise _refused(
                f"filters know RETRY, TIMER, and QUEUE with WORKER of waiting_on, not {value!r}{hint}", column
            )
    return tuple(dict.fromkeys(found))


def _compared(field: _Field, operator: str, value: _Operand, column: int) -> Filter:
    if field.name == "version":
        if not isinstance(value, _Number):
            raise _refused("a version is compared with whole numbers", column)
        return Compared("version", operator, value.value)
    if not isinstance(value, _Time):
        raise _refused(f'{field.name} is compared with timestamp("...")', column)
    if operator == "!=":
        return negated(_compared(field, "==", value, column))
    if field.name == "started_at":
        return all_of([Among("status", _BEGUN), Compared("created_at", operator, value.value)])
    tree = Compared(field.name, operator, value.value)
    return all_of([Compared("ended_at", ">", 0), tree]) if field.name == "ended_at" else tree


# -- texts -----------------------------------------------------------------------------------------------------


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            gap = len(text[position:]) - len(text[position:].lstrip())
            raise _refused(f"{text[position + gap]!r} is not understood here", position + gap + 1)
        kind = match.lastgroup or "end"
        found.append(_Token(kind, match.group(kind), match.start(kind) + 1))
        position = match.end()
    return found


def _number(token: _Token) -> int:
    number = int(token.text[:20])
    if number > _NUMBER_MAX:
        raise _refused("numbers are whole and up to 2^63 - 1", token.column)
    return number


def _unquote(token: _Token) -> str:
    inner = token.text[1:-1]
    if token.text[0] == "'":
        inner = inner.replace('\\"', '"').replace('"', '\\"').replace("\\'", "'")
    try:
        value: str = json.loads(f'"{inner}"')
    except ValueError:
        raise _refused(f"{token.text} is not a string", token.column) from None
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise _refused(f"{token.text} is not Unicode text without zeros", token.column)
    return value


def _refused(message: str, column: int) -> Refused:
    return Refused(
        Refusal(
            Kind.INVALID,
            "INVALID_FILTER",
            f"filter, column {column}: {message}; {_SUPPORTED}",
            {"column": str(column)},
            violations=(Violation("filter", message, "INVALID_FILTER", column=column),),
        )
    )
