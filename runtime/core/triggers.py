"""What a trigger does with an event or a slot: whether it hears it, and the start that it makes of it.

Nothing of an execution exists yet where this is judged: a filter and the execution's id see `event` alone, the input
and the unique key also `trigger`. Every failure is an ExpressionError whose `where` is the field within the trigger;
the callers take it as "no match" and say so in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from .expressions import MISSING, Expression, ExpressionError, Lookup, evaluate_bool
from .language import EXECUTION_ID, KEY_CHARACTERS_MAX
from .plan import EventSource, TriggerPlan
from .values import Value


class TriggerFact(msgspec.Struct, frozen=True):
    """The root `trigger`: which one it is, and the slot of a schedule."""

    id: str
    slot: str = ""
    """RFC 3339 in UTC; empty: it was not a slot that fired it, and `trigger.slot` has no value."""
    slot_local: str = ""
    """The same instant with the offset of the schedule's time zone."""

    @property
    def root(self) -> dict[str, str]:
        """What expressions see."""
        given = {"id": self.id, "slot": self.slot, "slot_local": self.slot_local}
        return {name: text for name, text in given.items() if text}


class Firing(msgspec.Struct, frozen=True):
    """What a trigger makes of an event or a slot."""

    input: Value
    execution_id: str = ""
    """Empty: the trigger does not say; the caller derives it from the event or the slot."""
    unique_key: str = ""
    """Empty: no limit."""


def hears(trigger: TriggerPlan, event: Value) -> bool:
    """Whether an event trigger's filter lets the payload pass; a schedule hears nothing. Raises ExpressionError."""
    if not isinstance(trigger.source, EventSource):
        return False
    if trigger.source.filter is None:
        return True
    with _located("event.filter"):
        return evaluate_bool(trigger.source.filter, _lookup(event))


def fire(trigger: TriggerPlan, fact: TriggerFact, event: Value | UnsetType = UNSET) -> Firing:
    """The start that the trigger asks for; `event` is the payload, unset where a slot fires. Raises ExpressionError."""
    lookup = _lookup(event, fact)
    given = None if isinstance(event, UnsetType) else event
    source = trigger.source
    return Firing(
        input=given if trigger.input is None else trigger.input.evaluate(lookup),
        execution_id=_execution_id(source.execution_id, lookup) if isinstance(source, EventSource) else "",
        unique_key=_unique_key(trigger.unique_key, lookup),
    )


def identity(trigger: TriggerPlan) -> str:
    """The `execution_id` expression in one spelling, whatever its white space; empty: the trigger has none.

    Two triggers of one event with the same identity would start the same execution id for everything they both hear.
    """
    source = trigger.source
    if not isinstance(source, EventSource) or source.execution_id is None:
        return ""
    return _SPACE_OR_TEXT.sub(
        lambda found: found["text"] or (" " if found["between"] else ""), source.execution_id.source
    )


# White space outside of string literals; between two words one space of it stays.
_SPACE_OR_TEXT: Final = re.compile(
    r"""(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<between>(?<=\w)\s+(?=\w))|\s+"""
)


def _lookup(event: Value | UnsetType, fact: TriggerFact | None = None) -> Lookup:
    def look(root: str, _key: str) -> object:
        if root == "event" and not isinstance(event, UnsetType):
            return event
        if root == "trigger" and fact is not None:
            return fact.root
        return MISSING

    return look


def _execution_id(expression: Expression | None, lookup: Lookup) -> str:
    if expression is None:
        return ""
    with _located("event.execution_id"):
        value = expression.evaluate(lookup)
        if not isinstance(value, str):
            hint = "string(x) makes a text of a number"
            raise ExpressionError(f"an execution id is a text, not {_named(value)}", expression.source, hint)
        if not EXECUTION_ID.fullmatch(value):
            message = f"{value[:80]!r} is no execution id: it does not fit {EXECUTION_ID.pattern}"
            raise ExpressionError(message, expression.source)
        return value


def _unique_key(expression: Expression | None, lookup: Lookup) -> str:
    if expression is None:
        return ""
    with _located("unique_key"):
        return _key_text(expression.evaluate(lookup), expression.source)


def _key_text(value: Value, source: str) -> str:
    """A key as text: a string, an integer, `true` or `false`. Raises ExpressionError; `source` is its expression."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str() if 0 < len(value) <= KEY_CHARACTERS_MAX:
            return value
        case "":
            raise ExpressionError("a key cannot be empty", source)
        case str():
            message = f"a key has at most {KEY_CHARACTERS_MAX} characters, this one has {len(value)}"
            raise ExpressionError(message, source)
        case _:
            hint = "name one field of it, or make a text of it with string(x)"
            raise ExpressionError(f"a key is a text, an integer or a boolean, not {_named(value)}", source, hint)


def _named(value: Value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a payload that is not JSON"


@contextmanager
def _located(where: str) -> Generator[None, None, None]:
    """Give an error its place where it has none."""
    try:
        yield
    except ExpressionError as error:
        error.where = error.where or where
        raise
