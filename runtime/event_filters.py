"""Filters of feeds: CEL over what every event has. Compiled once, asked for each event.

An event for which a filter fails (an index that is out of range, say) does not match, like that of a trigger.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from .core.expressions import ExpressionError, ExpressionSyntaxError, Names, compile_expression, evaluate_bool
from .core.refusals import Kind, Refusal, Refused, Violation

_FILTERS_KEPT: Final = 256


class EventFacts(NamedTuple):
    """What a filter sees of an event."""

    event_name: str
    event_type: str
    execution_id: str
    definition_id: str
    to_state: str
    user_id: str


_NAMES: Final = Names(frozenset(), items=frozenset(EventFacts._fields))
_SAMPLE: Final = EventFacts("ExecutionStarted", "execution", "execution", "definition", "running", "user")


class EventFilter:
    """A compiled filter; everything matches an empty one."""

    def __init__(self, text: str) -> None:
        """Raises Refused INVALID_FILTER."""
        self.text = text
        self._expression = None
        if not text.strip():
            return
        try:
            self._expression = compile_expression(text, _NAMES)
        except ExpressionSyntaxError as error:
            raise _refused(error.message, error.hint, error.line, error.column) from None
        self._try()

    def _try(self) -> None:
        """What is no condition shows with any event: all that a filter sees is text."""
        assert self._expression is not None
        try:
            value = self._expression.evaluate(lambda root, _: getattr(_SAMPLE, root))
        except ExpressionError:
            return
        if not isinstance(value, bool):
            raise _refused("is no condition: it has to be true or false", "", 1, 1)

    def matches(self, facts: EventFacts) -> bool:
        """Whether the event is wanted."""
        if self._expression is None:
            return True
        try:
            return evaluate_bool(self._expression, lambda root, _: getattr(facts, root))
        except ExpressionError:
            return False


@lru_cache(maxsize=_FILTERS_KEPT)
def event_filter(text: str) -> EventFilter:
    """The filter of a text. Raises Refused INVALID_FILTER."""
    return EventFilter(text)


def _refused(message: str, hint: str, line: int, column: int) -> Refused:
    seen = f"seen are {', '.join(EventFacts._fields)}"
    violation = Violation("filter", message, "INVALID_FILTER", line=line, column=column)
    told = f"filter, line {line}, column {column}: {message}; {hint or seen}"
    metadata = {"line": str(line), "column": str(column)}
    return Refused(Refusal(Kind.INVALID, "INVALID_FILTER", told, metadata, violations=(violation,)))
