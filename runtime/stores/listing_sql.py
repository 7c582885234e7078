"""From a filter to SQL: the condition on one row. Values are bound, never pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..filters import (
    NUMBERS,
    TEXTS,
    All,
    Among,
    Begins,
    Compared,
    Either,
    Filter,
    Incident,
    LabelBegins,
    Labelled,
    Not,
    Step,
    StepBegins,
    after_prefix,
)


class Sql(NamedTuple):
    """A piece of a statement and the values of its parameters."""

    text: str
    values: tuple[Any, ...] = ()


def joined(between: str, parts: Sequence[Sql]) -> Sql:
    """One piece of several."""
    return Sql(between.join(part.text for part in parts), tuple(value for part in parts for value in part.values))


# -- conditions ------------------------------------------------------------------------------------------------

_TEXT_COLUMNS = {field: f"e.{field}" for field in TEXTS}
_NUMBER_COLUMNS = {field: f"e.{field}" for field in NUMBERS} | {"created_at": "e.started_at"}
_ALWAYS = Sql("1")
# Bound: where SQLite sees beforehand that nothing matches, it finds no use for the index it is told to take.
_NEVER = Sql("?", (0,))
_OPERATORS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TASKS = "EXISTS (SELECT 1 FROM open_tasks AS t WHERE t.execution = e.key"
_STEPS = {
    "operation": (_TASKS, "t.operation"),
    "event": ("EXISTS (SELECT 1 FROM waits AS t WHERE t.execution = e.key", "t.name"),
}
_TIMERS = {"RETRY": "retry", "TIMER": "wait"}
_LABEL = (
    "EXISTS (SELECT 1 FROM labels AS o WHERE o.tenant = e.tenant AND o.name = ? AND o.status = e.status "
    "AND o.execution = e.key AND "
)
# A row has few labels, and its own say sooner than those of others whether one begins so.
_OWN_LABEL = "EXISTS (SELECT 1 FROM json_each(e.labels) AS o WHERE o.key = ?"


def condition(tree: Filter) -> Sql:
    """A condition on the row `e` of executions (for what execution_kinds is kept by: also on one of that)."""
    match tree:
        case All(parts):
            return _grouped(" AND ", parts, _ALWAYS)
        case Either(parts):
            return _grouped(" OR ", parts, _NEVER)
        case Not(inner):
            negative = condition(inner)
            return Sql(f"NOT ({negative.text})", negative.values)
        case Among(field, values):
            return _among(_TEXT_COLUMNS[field], values)
        case Begins(field, prefix):
            return _begins(_TEXT_COLUMNS[field], prefix)
        case Compared(field, operator, value):
            return Sql(f"{_NUMBER_COLUMNS[field]} {_OPERATORS[operator]} ?", (value,))
        case Labelled(name, None):
            return Sql(f"{_OWN_LABEL})", (name,))
        case Labelled(name, values):
            return _within(Sql(_LABEL, (name,)), _among("o.value", values or ()))
        case LabelBegins(name, prefix):
            return _within(Sql(f"{_OWN_LABEL} AND ", (name,)), _begins("o.value", prefix))
        case Incident():
            return Sql("e.incidents > 0")
        case Step("waiting_on", values):
            return _waiting(values)
        case Step(field, values):
            table, column = _STEPS[field]
            return _within(Sql(f"{table} AND "), _among(column, values))
        case StepBegins(field, prefix):
            table, column = _STEPS[field]
            return _within(Sql(f"{table} AND "), _begins(column, prefix))


def _grouped(operator: str, parts: Sequence[Filter], of_none: Sql) -> Sql:
    found = joined(operator, [condition(part) for part in parts])
    return Sql(f"({found.text})", found.values) if parts else of_none


def _within(head: Sql, inner: Sql) -> Sql:
    return Sql(f"{head.text}{inner.text})", head.values + inner.values)


def _among(column: str, values: Sequence[str]) -> Sql:
    if not values:
        return _NEVER
    if len(values) == 1:
        return Sql(f"{column} = ?", tuple(values))
    return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))


def _begins(column: str, prefix: str) -> Sql:
    end = after_prefix(prefix)
    if end is None:
        return Sql(f"{column} >= ?", (prefix,))
    return Sql(f"({column} >= ? AND {column} < ?)", (prefix, end))


def _waiting(values: Sequence[str]) -> Sql:
    parts = [Sql(f"{_TASKS})")] if "TASK" in values else []
    timers = tuple(_TIMERS[value] for value in values if value in _TIMERS)
    if timers:
        head = Sql("EXISTS (SELECT 1 FROM timers AS t WHERE t.execution = e.key AND ")
        parts.append(_within(head, _among("t.timer", timers)))
    found = joined(" OR ", parts)
    return Sql(f"({found.text})", found.values)
