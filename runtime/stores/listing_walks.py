"""From a filter to the walks along indexes on which all that match are met.

A walk is in the order of the keys and meets every match of the filter it stands for, perhaps others, too. What is
pasted into statements is written in this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

from ..core.state import Status
from ..filters import (
    EVERYTHING,
    OPEN,
    All,
    Among,
    Either,
    Filter,
    Incident,
    Labelled,
    Step,
    StepBegins,
    all_of,
    fields_of,
)
from .listing_sql import Sql

WALKS_MAX: Final = 400
"""SQLite joins up to 500 SELECTs."""
CLASSES_MAX: Final = 2_000
"""Walks of which the nearest are chosen page by page, where they meet nothing but matches."""
FEW_ROWS: Final = 1_000

COUNTED_FIELDS: Final = frozenset({"definition_id", "version", "status", "state"})
"""What execution_kinds is kept by."""
_STATUSES: Final = tuple(str(status) for status in Status)


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
    status: str = ""
    """That of all it meets; empty: not known."""


class Cover(NamedTuple):
    """Walks on which all matches of a filter are met; more than WALKS_MAX only where they meet nothing else."""

    walks: tuple[Walk, ...]
    rank: int
    """The lower, the fewer rows they are thought to meet."""
    exact: bool = False
    """They meet nothing else."""
    disjoint: bool = False
    """No execution is met twice."""

    @property
    def rows(self) -> int:
        """How many rows the walks meet, where all of them know."""
        return sum(walk.rows for walk in self.walks)


_ID, _INCIDENT, _FEW, _LABELLED, _EVENT, _TASK, _CLASS, _STATUS = range(8)


class Class(NamedTuple):
    """Executions of a tenant that have this in common."""

    definition_id: str
    version: int
    status: str
    matching: int
    """How many of them match the filter, and at least one does."""
    executions: int
    """How many there are."""


class StateCount(NamedTuple):
    """How many executions of a tenant have a status and a state."""

    status: str
    state: str
    executions: int


class Survey(Protocol):
    """What a store can tell quickly of one tenant's executions."""

    @property
    def tenant(self) -> str:
        """Whose they are."""
        ...

    def classes(self, tree: Filter, limit: int) -> list[Class]:
        """Those with matches of a filter over COUNTED_FIELDS, at most so many."""
        ...

    def statuses(self) -> dict[str, int]:
        """How many executions there are of each status; without those of which there are none."""
        ...

    def states(self, states: Sequence[str]) -> list[StateCount]:
        """How many executions there are of each of these; without those of which there are none."""
        ...

    def few(self, walks: Sequence[Walk], rows_max: int) -> list[Walk] | None:
        """The walks that meet anything, with how many they meet; None: more than so many together."""
        ...


def cover_of(tree: Filter, survey: Survey) -> Cover:
    """The walks that are thought to meet the fewest rows."""
    found = _cover(tree, survey)
    if found is not None and (found.exact or len(found.walks) <= WALKS_MAX):
        return found
    return _with_status(survey, _STATUSES, exact=tree == EVERYTHING)


def _cover(tree: Filter, survey: Survey) -> Cover | None:
    if isinstance(tree, (All, Either)) and not tree.parts:
        return Cover((), _ID, exact=True, disjoint=True) if isinstance(tree, Either) else None
    if fields_of(tree) <= COUNTED_FIELDS:
        return _of_kinds(tree, survey)
    match tree:
        case All(parts):
            return _best(parts, survey)
        case Either(parts):
            return _union([_cover(part, survey) for part in parts])
        case Among("execution_id", values):
            found = Sql("e.tenant = ? AND e.execution_id = ?", (survey.tenant,))
            return _each("executions AS e INDEXED BY executions_by_id", "e.key", found, values, _ID)
        case Labelled(_, values) if values is not None:
            return _labelled(tree, survey, _STATUSES)
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
            return _with_status(survey, OPEN, exact=False)
        case _:
            return None


def _each(source: str, key: str, found: Sql, values: Sequence[str], rank: int) -> Cover:
    """A walk for each of the values, which are the condition's last."""
    walks = tuple(Walk(source, key, Sql(found.text, (*found.values, value))) for value in values)
    return Cover(walks, rank, exact=True, disjoint=True)


def _tasks(survey: Survey) -> Cover:
    """The open tasks of all tenants: most executions that have not ended may wait for something else. Where the tenant
    has few of them, those, for it shall not look through the tasks of others."""
    opened = _with_status(survey, OPEN, exact=False)
    if opened.rank == _FEW:
        return opened
    return Cover((Walk("open_tasks AS w", "w.execution", Sql("1"), distinct=True),), _TASK, disjoint=True)


def _labelled(tree: Labelled, survey: Survey, statuses: Collection[str]) -> Cover:
    """One walk for each value and status that there are."""
    there = [status for status in survey.statuses() if status in statuses]
    text = "w.tenant = ? AND w.name = ? AND w.value = ? AND w.status = ?"
    walks = tuple(
        Walk("labels AS w", "w.execution", Sql(text, (survey.tenant, tree.name, value, status)), status=status)
        for value in tree.values or ()
        for status in there
    )
    few = survey.few(walks, FEW_ROWS)
    if few is not None:
        return Cover(tuple(few), _FEW, exact=True, disjoint=True)
    return Cover(walks, _LABELLED, exact=True, disjoint=True)


# -- by what is counted ----------------------------------------------------------------------------------------


def _with_status(survey: Survey, values: Sequence[str], *, exact: bool) -> Cover:
    sizes = survey.statuses()
    walks = tuple(_status_walk(survey, value, sizes[value]) for value in values if value in sizes)
    return _sized(walks, _STATUS, exact=exact, disjoint=True)


def _status_walk(survey: Survey, status: str, rows: int) -> Walk:
    found = Sql("e.tenant = ? AND e.status = ?", (survey.tenant, status))
    return Walk("executions AS e INDEXED BY executions_by_status", "e.key", found, rows=rows, status=status)


def _sized(walks: tuple[Walk, ...], rank: int, *, exact: bool, disjoint: bool) -> Cover:
    """A cover of walks that know how many rows they meet."""
    cover = Cover(walks, rank, exact, disjoint)
    return cover._replace(rank=_FEW) if cover.rows <= FEW_ROWS else cover


def _of_kinds(tree: Filter, survey: Survey) -> Cover | None:
    """Of several ways the one that meets nothing else, or the fewest rows."""
    if isinstance(tree, Among) and tree.field == "status":
        return _with_status(survey, tree.values, exact=True)
    covers = [_with_classes(tree, survey)]
    for part in tree.parts if isinstance(tree, All) else (tree,):
        if isinstance(part, Among) and part.field == "state":
            cover = _with_states(part.values, survey)
            covers.append(cover if part is tree else cover._replace(exact=False))
    usable = [cover for cover in covers if cover is not None]
    return min(usable, key=lambda cover: (not cover.exact, cover.rows)) if usable else None


def _with_classes(tree: Filter, survey: Survey) -> Cover | None:
    found = survey.classes(tree, CLASSES_MAX + 1)
    exact = all(each.matching == each.executions for each in found)
    if len(found) > (CLASSES_MAX if exact else WALKS_MAX):
        return None
    source = "executions AS e INDEXED BY executions_by_definition"
    text = "e.tenant = ? AND e.definition_id = ? AND e.version = ? AND e.status = ?"
    walks = tuple(
        Walk(source, "e.key", Sql(text, (survey.tenant, *each[:3])), rows=each.executions, status=each.status)
        for each in found
    )
    return _sized(walks, _CLASS, exact=exact, disjoint=True)


def _with_states(values: Sequence[str], survey: Survey) -> Cover:
    """An index knows the states that authors have named. The others are those of a status, among whose executions
    some may have one that is named."""
    sizes = survey.statuses()
    named: Counter[str] = Counter()
    walks: list[Walk] = []
    exact = True
    for status, state, executions in survey.states(values):
        if state == status.lower():
            walks.append(_status_walk(survey, status, sizes[status]))
            exact = exact and sizes[status] == executions
        else:
            named[state] += executions
    text = "e.tenant = ? AND e.state = ? AND e.state <> lower(e.status)"
    source = "executions AS e INDEXED BY executions_by_state"
    walks += [Walk(source, "e.key", Sql(text, (survey.tenant, each)), rows=rows) for each, rows in named.items()]
    return _sized(tuple(walks), _CLASS, exact=exact, disjoint=exact)


# -- of several conditions -------------------------------------------------------------------------------------


def _best(parts: Sequence[Filter], survey: Survey) -> Cover | None:
    """What is left to one of them is left to all. Conditions on what is counted are one; those on the status also
    choose among a label's walks."""
    counted = tuple(part for part in parts if fields_of(part) <= COUNTED_FIELDS)
    chosen = [part for part in counted if isinstance(part, Among) and part.field == "status"]
    statuses = [status for status in _STATUSES if all(status in part.values for part in chosen)]
    covers: list[Cover | None] = []
    for part in parts:
        if isinstance(part, Labelled) and part.values is not None:
            cover = _labelled(part, survey, statuses)
            covers.append(cover._replace(exact=len(chosen) + 1 == len(parts)))
        elif part not in counted:
            covers.append(_inexact(_cover(part, survey)))
    if counted:
        covers.append(_inexact(_cover(all_of(counted), survey)))
    usable = [cover for cover in covers if cover is not None and (cover.exact or len(cover.walks) <= WALKS_MAX)]
    return min(usable, key=lambda cover: (cover.rank, not cover.exact)) if usable else None


def _inexact(cover: Cover | None) -> Cover | None:
    return cover._replace(exact=False) if cover is not None else None


def _union(covers: Sequence[Cover | None]) -> Cover | None:
    """What meets the matches of each; None where one has no cover, or there are too many walks."""
    known = [cover for cover in covers if cover is not None]
    walks = tuple(dict.fromkeys(walk for cover in known for walk in cover.walks))
    if len(known) < len(covers) or len(walks) > WALKS_MAX:
        return None
    rank = max(cover.rank for cover in known)
    return Cover(walks, rank, exact=all(cover.exact for cover in known))
