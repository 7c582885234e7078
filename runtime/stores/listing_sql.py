"""From a filter to SQL: the condition on one row, and the walks along indexes on which all that match are met.

A walk is in the order of the keys and meets every match of the filter it stands for, perhaps others, too. Values are
bound, never pasted; what is pasted is written in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from ..core.state import Status
from ..filters import (
    EVERYTHING,
    NUMBERS,
    OPEN,
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
    fields_of,
)

WALKS_MAX: Final = 400
"""SQLite joins up to 500 SELECTs."""
FEW_ROWS: Final = 1_000

CLASS_FIELDS: Final = frozenset({"definition_id", "version", "status"})
"""What execution_counts is kept by."""


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
_LABEL = "EXISTS (SELECT 1 FROM labels AS o WHERE o.tenant = e.tenant AND o.name = ? AND o.execution = e.key AND "


def condition(tree: Filter) -> Sql:
    """A condition on the row `e` of executions (for class fields alone: of execution_counts)."""
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
            return Sql("EXISTS (SELECT 1 FROM json_each(e.labels) AS o WHERE o.key = ?)", (name,))
        case Labelled(name, values):
            return _within(Sql(_LABEL, (name,)), _among("o.value", values or ()))
        case LabelBegins(name, prefix):
            return _within(Sql(_LABEL, (name,)), _begins("o.value", prefix))
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


# -- walks -----------------------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """A stretch of an index."""

    source: str
    """What is walked; `e` where it is executions itself, else `w`."""
    key: str
    """The column of the executions' keys, in whose order it goes."""
    found: Sql
    """The condition that the index answers."""
    distinct: bool = False
    """One execution may stand in it several times."""
    rows: int = 0
    """How many it meets in all; 0: not known."""


class Cover(NamedTuple):
    """Walks on which all matches of a filter are met."""

    walks: tuple[Walk, ...]
    rank: int
    """The lower, the fewer rows they are thought to meet."""
    exact: bool = False
    """They meet nothing else."""
    disjoint: bool = False
    """No execution is met twice."""


_ID, _INCIDENT, _FEW, _LABELLED, _EVENT, _TASK, _CLASS, _STATUS = range(8)


class Group(NamedTuple):
    """Executions of a tenant that have this in common, and how many there are."""

    definition_id: str
    version: int
    status: str
    executions: int


class Survey(Protocol):
    """What a store can tell quickly of one tenant's executions."""

    @property
    def tenant(self) -> str:
        """Whose they are."""
        ...

    def groups(self, tree: Filter) -> list[Group]:
        """The groups that match a filter over CLASS_FIELDS, at most WALKS_MAX + 1."""
        ...

    def statuses(self) -> dict[str, int]:
        """How many executions there are of each status; without those of which there are none."""
        ...

    def is_few(self, walk: Walk) -> bool:
        """Whether a walk meets no more than FEW_ROWS."""
        ...


def cover_of(tree: Filter, survey: Survey) -> Cover:
    """The walks that are thought to meet the fewest rows."""
    found = _cover(tree, survey)
    return found if found is not None else _statuses(survey, tuple(Status), exact=tree == EVERYTHING)


def _cover(tree: Filter, survey: Survey) -> Cover | None:
    if isinstance(tree, (All, Either)) and not tree.parts:
        return Cover((), _ID, exact=True, disjoint=True) if isinstance(tree, Either) else None
    if fields_of(tree) <= CLASS_FIELDS:
        return _classes(tree, survey)
    match tree:
        case All(parts):
            return _best(parts, survey)
        case Either(parts):
            return _union([_cover(part, survey) for part in parts])
        case Among("execution_id", values):
            found = Sql("e.tenant = ? AND e.execution_id = ?", (survey.tenant,))
            return _each("executions AS e INDEXED BY executions_by_id", "e.key", found, values, _ID)
        case Labelled(name, values) if values is not None:
            found = Sql("w.tenant = ? AND w.name = ? AND w.value = ?", (survey.tenant, name))
            cover = _each("labels AS w", "w.execution", found, values, _LABELLED)
            return cover._replace(rank=_FEW) if all(map(survey.is_few, cover.walks)) else cover
        case Incident():
            found = Sql("e.tenant = ? AND e.incidents > 0", (survey.tenant,))
            walk = Walk("executions AS e INDEXED BY executions_with_incidents", "e.key", found)
            return Cover((walk,), _INCIDENT, exact=True, disjoint=True)
        case Step("event", values):
            found = Sql("w.tenant = ? AND w.name = ?", (survey.tenant,))
            cover = _each("waits AS w INDEXED BY waits_by_name", "w.execution", found, values, _EVENT)
            return cover._replace(walks=tuple(walk._replace(distinct=True) for walk in cover.walks), disjoint=False)
        case Step("operation") | StepBegins("operation") | Step("waiting_on", ("TASK",)):
            return _tasks(survey)
        case Step() | StepBegins():
            return _statuses(survey, OPEN, exact=False)
        case _:
            return None


def _each(source: str, key: str, found: Sql, values: Sequence[str], rank: int) -> Cover:
    """A walk for each of the values, which are the condition's last."""
    walks = tuple(Walk(source, key, Sql(found.text, (*found.values, value))) for value in values)
    return Cover(walks, rank, exact=True, disjoint=True)


def _statuses(survey: Survey, values: Sequence[str], *, exact: bool) -> Cover:
    sizes = survey.statuses()
    source, found = "executions AS e INDEXED BY executions_by_status", "e.tenant = ? AND e.status = ?"
    walks = tuple(
        Walk(source, "e.key", Sql(found, (survey.tenant, str(value))), rows=sizes[value])
        for value in values
        if value in sizes
    )
    few = sum(walk.rows for walk in walks) <= FEW_ROWS
    return Cover(walks, _FEW if few else _STATUS, exact=exact, disjoint=True)


def _tasks(survey: Survey) -> Cover:
    """The open tasks of all tenants: most executions that have not ended may wait for something else. Where the tenant
    has few of them, those, for it shall not look through the tasks of others."""
    opened = _statuses(survey, OPEN, exact=False)
    if opened.rank == _FEW:
        return opened
    return Cover((Walk("open_tasks AS w", "w.execution", Sql("1"), distinct=True),), _TASK, disjoint=True)


def _classes(tree: Filter, survey: Survey) -> Cover | None:
    if isinstance(tree, Among) and tree.field == "status":
        return _statuses(survey, tree.values, exact=True)
    found = survey.groups(tree)
    if len(found) > WALKS_MAX:
        return None
    source = "executions AS e INDEXED BY executions_by_definition"
    text = "e.tenant = ? AND e.definition_id = ? AND e.version = ? AND e.status = ?"
    walks = tuple(Walk(source, "e.key", Sql(text, (survey.tenant, *each[:3])), rows=each.executions) for each in found)
    few = sum(each.executions for each in found) <= FEW_ROWS
    return Cover(walks, _FEW if few else _CLASS, exact=True, disjoint=True)


def _best(parts: Sequence[Filter], survey: Survey) -> Cover | None:
    """What is left to one of them is left to all. Conditions on the class are one."""
    classed = tuple(part for part in parts if fields_of(part) <= CLASS_FIELDS)
    others = [part for part in parts if part not in classed]
    covers = [_cover(part, survey) for part in (*others, *([All(classed)] if len(classed) > 1 else classed))]
    usable = [cover for cover in covers if cover is not None]
    return min(usable, key=lambda cover: cover.rank)._replace(exact=False) if usable else None


def _union(covers: Sequence[Cover | None]) -> Cover | None:
    """What meets the matches of each; None where one has no cover, or there are too many walks."""
    known = [cover for cover in covers if cover is not None]
    walks = tuple(dict.fromkeys(walk for cover in known for walk in cover.walks))
    if len(known) < len(covers) or len(walks) > WALKS_MAX:
        return None
    rank = max(cover.rank for cover in known)
    return Cover(walks, rank, exact=all(cover.exact for cover in known))
