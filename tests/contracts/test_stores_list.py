"""Listing and counting: both adapters against a reading of the same filters by hand, for any filter over any rows."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.store_kit import NOW, head, ref, start, written

from callboard.runtime.core.effects import Effect, OpenTask, OpenWait, SetTimer
from callboard.runtime.core.state import ENDED, Status
from callboard.runtime.filter_text import parse_filter
from callboard.runtime.listing_rows import CountQuery, ListQuery, Order, Position
from callboard.runtime.ports import Store
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.stores import listing_walks
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.writes import Write


class Row(NamedTuple):
    """An execution as a test knows it."""

    execution_id: str
    status: str
    definition_id: str
    version: int
    state: str
    labels: dict[str, str]
    created_at: int
    updated_at: int
    ended_at: int
    incidents: int
    operations: tuple[str, ...]
    events: tuple[str, ...]
    timers: tuple[str, ...]


class Case(NamedTuple):
    """A filter as text, and what it means."""

    text: str
    means: Callable[[Row], bool]


NAMES = ("a", "ab", "b", 'q"\\ü', "b\U0010ffff")
LABELS = ("team", 'a"/\\b', "ü")
OPERATIONS, EVENTS, TIMERS = ("s.op", "s.on", "t.op"), ("paid", "pay", "sent"), ("retry", "wait", "total")
names, moments = st.sampled_from(NAMES), st.integers(NOW, NOW + 3)


@st.composite
def _rows(draw: st.DrawFn) -> list[Row]:
    rows = []
    for number in range(draw(st.integers(0, 12))):
        status = draw(st.sampled_from(list(Status)))
        ended = status in ENDED

        def of_open(values: tuple[str, ...], ended: bool = ended) -> tuple[str, ...]:
            return () if ended else tuple(draw(st.lists(st.sampled_from(values), max_size=2, unique=True)))

        rows.append(
            Row(
                f"{draw(names)}-{number}",
                str(status),
                draw(names),
                draw(st.integers(1, 2)),
                draw(names),
                draw(st.dictionaries(st.sampled_from(LABELS), names, max_size=2)),
                draw(moments),
                draw(moments),
                draw(moments) if ended else 0,
                draw(st.integers(0, 1)),
                of_open(OPERATIONS),
                of_open(EVENTS),
                of_open(TIMERS),
            )
        )
    return rows


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _time(moment: int) -> str:
    return f'timestamp("2025-11-13T02:13:20.{moment - NOW:06}Z")'


def _text_case(field: str, read: Callable[[Row], Sequence[str]], values: Sequence[str]) -> st.SearchStrategy[Case]:
    """A field with one value, none, or several of which any counts."""
    several = st.lists(st.sampled_from(values), min_size=1, max_size=3)
    equals = st.sampled_from(values).map(lambda one: Case(f"{field} == {_quoted(one)}", lambda row: one in read(row)))
    differs = st.sampled_from(values).map(
        lambda one: Case(f"{_quoted(one)} != {field}", lambda row: one not in read(row))
    )
    among = several.map(
        lambda some: Case(
            f"{field} in [{', '.join(map(_quoted, some))}]", lambda row: any(one in some for one in read(row))
        )
    )
    return equals | differs | among


def _prefix_case(field: str, read: Callable[[Row], Sequence[str]], values: Sequence[str]) -> st.SearchStrategy[Case]:
    prefixes = sorted({value[:length] for value in values for length in range(3)})
    begins = st.sampled_from(prefixes).map(
        lambda prefix: Case(
            f"{field}.startsWith({_quoted(prefix)})", lambda row: any(one.startswith(prefix) for one in read(row))
        )
    )
    return begins | _text_case(field, read, values)


COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _moment_case(field: str, read: Callable[[Row], int], known: Callable[[Row], bool]) -> st.SearchStrategy[Case]:
    def case(operator: str, moment: int) -> Case:
        def means(row: Row) -> bool:
            if not known(row):
                return operator == "!="
            return COMPARE[operator](read(row), moment)

        return Case(f"{field} {operator} {_time(moment)}", means)

    return st.builds(case, st.sampled_from(list(COMPARE)), moments)


def _waits(value: str) -> Callable[[Row], bool]:
    if value == "TASK":
        return lambda row: bool(row.operations)
    timer = {"RETRY": "retry", "TIMER": "wait"}[value]
    return lambda row: timer in row.timers


WAITS = {
    "TASK": 'waiting_on in ["QUEUE", "WORKER"]',
    "RETRY": 'waiting_on == "RETRY"',
    "TIMER": 'waiting_on == "TIMER"',
}


def _label(name: str) -> Callable[[Row], Sequence[str]]:
    return lambda row: [row.labels[name]] if name in row.labels else []


leaves = st.one_of(
    _text_case("status", lambda row: [row.status], [str(status) for status in Status]),
    _prefix_case("definition_id", lambda row: [row.definition_id], NAMES),
    _prefix_case("state", lambda row: [row.state], NAMES),
    _prefix_case("execution_id", lambda row: [row.execution_id], [f"{name}-{n}" for name in NAMES for n in range(3)]),
    _prefix_case("operation", lambda row: row.operations, OPERATIONS),
    _prefix_case("event", lambda row: row.events, EVENTS),
    *(_prefix_case(f"labels[{_quoted(name)}]", _label(name), NAMES) for name in LABELS),
    _moment_case("created_at", lambda row: row.created_at, lambda row: True),
    _moment_case("started_at", lambda row: row.created_at, lambda row: row.status != "PENDING"),
    _moment_case("updated_at", lambda row: row.updated_at, lambda row: True),
    _moment_case("ended_at", lambda row: row.ended_at, lambda row: row.ended_at > 0),
    st.builds(
        lambda operator, number: Case(
            f"version {operator} {number}", lambda row: COMPARE[operator](row.version, number)
        ),
        st.sampled_from(list(COMPARE)),
        st.integers(0, 3),
    ),
    st.just(Case("incident", lambda row: row.incidents > 0)),
    st.sampled_from(LABELS).map(lambda name: Case(f"{_quoted(name)} in labels", lambda row: name in row.labels)),
    st.sampled_from(sorted(WAITS)).map(lambda value: Case(WAITS[value], _waits(value))),
    st.sampled_from([Case("true", lambda row: True), Case("false", lambda row: False)]),
)
cases = st.recursive(
    leaves,
    lambda inner: (
        inner.map(lambda one: Case(f"!({one.text})", lambda row: not one.means(row)))
        | st.builds(
            lambda one, other: Case(f"({one.text}) && ({other.text})", lambda row: one.means(row) and other.means(row)),
            inner,
            inner,
        )
        | st.builds(
            lambda one, other: Case(f"({one.text}) || ({other.text})", lambda row: one.means(row) or other.means(row)),
            inner,
            inner,
        )
    ),
    max_leaves=6,
)


def _write(row: Row) -> Write:
    effects: list[Effect] = [OpenTask(f"t{n}", operation, 1, 1) for n, operation in enumerate(row.operations)]
    effects += [OpenWait(f"w{n}", (event,), "k") for n, event in enumerate(row.events)]
    effects += [SetTimer("t", timer, NOW) for timer in row.timers]
    fields = {
        "state": row.state,
        "definition_id": row.definition_id,
        "version": row.version,
        "labels": msgspec.json.encode(row.labels),
        "started_at": row.created_at,
        "updated_at": row.updated_at,
        "ended_at": row.ended_at,
        "incidents": row.incidents,
    }
    return start(ref(row.execution_id), *effects, head=head(1, row.status, **fields))


async def _filled(store: Store, rows: Sequence[Row]) -> None:
    await store.open()
    other = ExecutionRef("other", "a-0")
    await written(store, *[_write(row) for row in rows], start(other, OpenTask("t", "s.op", 1, 1), head=head(1)))


async def _pages(store: Store, query: ListQuery) -> list[str]:
    """All of a listing, page by page."""
    found: list[str] = []
    after: Position = ()
    while True:
        page = await store.listed(msgspec.structs.replace(query, after=after))
        assert len(page.records) <= query.limit
        found += [record.ref.execution_id for record in page.records]
        after = page.after
        if not after:
            return found


def _expected(rows: Sequence[Row], case: Case, order: Order, descending: bool) -> list[str]:
    matching = [(key, row) for key, row in enumerate(rows, 1) if case.means(row)]
    if order is Order.CREATED:
        matching.sort(key=lambda each: each[0])
    elif order is Order.ENDED:
        matching = sorted((each for each in matching if each[1].ended_at), key=lambda each: (each[1].ended_at, each[0]))
    else:
        matching.sort(key=lambda each: each[1].execution_id)
    found = [row.execution_id for _, row in matching]
    return found[::-1] if descending else found


async def _counted(store: Store, query: CountQuery) -> tuple[int, dict[str, int]]:
    count, groups, before = 0, Counter[str](), 0
    while True:
        part = await store.counted(msgspec.structs.replace(query, before=before))
        count, before = count + part.count, part.before
        groups.update(part.groups)
        if not before:
            return count, dict(groups)


GROUPS: dict[str, Callable[[Row], str | None]] = {
    "": lambda row: None,
    "status": lambda row: row.status,
    "state": lambda row: row.state,
    "definition_id": lambda row: row.definition_id,
    "version": lambda row: str(row.version),
    'labels.a"/\\b': lambda row: row.labels.get('a"/\\b'),
}


@settings(max_examples=100, deadline=None)
@given(
    _rows(),
    st.lists(cases, min_size=4, max_size=12),
    st.sampled_from(list(Order)),
    st.booleans(),
    st.integers(1, 5),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 2, 1_000]),
)
def test_both_adapters_read_a_filter_as_it_is_meant(
    rows: list[Row], wanted: list[Case], order: Order, descending: bool, limit: int, examined_max: int, few: int
) -> None:
    async def check(store: Store) -> None:
        await _filled(store, rows)
        groupings = list(GROUPS)
        for number, case in enumerate(wanted):
            where = parse_filter(case.text)
            query = ListQuery("acme", where, order, descending, limit=limit, examined_max=examined_max)
            assert await _pages(store, query) == _expected(rows, case, order, descending), case.text
            group_by = groupings[number % len(groupings)]
            matching = [GROUPS[group_by](row) for row in rows if case.means(row)]
            groups = Counter(found for found in matching if found is not None)
            counted = await _counted(store, CountQuery("acme", where, group_by, examined_max=examined_max))
            assert counted == (len(matching), dict(groups)), (case.text, group_by)
        await store.close()

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(listing_walks, "FEW_ROWS", few):
        asyncio.run(check(MemoryStore()))
        asyncio.run(check(SqliteStore(Path(folder) / "lists.db")))


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "!true && incident",
        f"state == 'running' && !(status in [{', '.join(repr(str(status)) for status in Status)}])",
    ],
)
@pytest.mark.parametrize("order", list(Order))
async def test_a_filter_that_nothing_can_match_finds_nothing(tmp_path: Path, text: str, order: Order) -> None:
    store = SqliteStore(tmp_path / "nothing.db")
    await _filled(store, [])
    await written(store, start(ref("x1"), head=head(1)), start(ref("x2"), head=head(1, "FAILED", ended_at=NOW)))
    where = parse_filter(text)
    assert await _pages(store, ListQuery("acme", where, order, examined_max=5)) == []
    assert await _counted(store, CountQuery("acme", where, "state", examined_max=5)) == (0, {})
    await store.close()


@pytest.mark.parametrize("many", [40, 450])
async def test_a_filter_with_many_classes_of_executions_is_still_whole(tmp_path: Path, many: int) -> None:
    """Up to 400 classes are walked one by one; beyond that each row is looked at."""
    store = SqliteStore(tmp_path / "classes.db")
    await store.open()
    writes = [start(ref(f"x{n}"), head=head(1, definition_id=f"d{n}", version=n + 1)) for n in range(many)]
    await written(store, *writes, start(ref("other"), head=head(1, definition_id="e")))
    query = ListQuery("acme", parse_filter('definition_id.startsWith("d") || incident'), limit=7, examined_max=20)
    assert await _pages(store, query) == [f"x{n}" for n in reversed(range(many))]
    assert await _counted(store, CountQuery("acme", parse_filter('definition_id != "e"'))) == (many, {})
    await store.close()
