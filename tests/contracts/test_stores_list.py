"""Listing and counting: both adapters against a reading of the same filters by hand, for any filter over any rows."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.store_kit import NOW, append, head, ref, start, written

from callboard.runtime.core.effects import Effect, OpenTask, OpenWait, SetTimer
from callboard.runtime.core.state import ENDED, Status
from callboard.runtime.filter_text import parse_filter
from callboard.runtime.listing_rows import CountQuery, ListQuery, Order, Position
from callboard.runtime.ports import Store
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.stores import listing_walks, sqlite_counting
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
STATES = tuple(str(status).lower() for status in Status)
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
                draw(st.one_of(names, st.just(status.lower()), st.sampled_from(STATES))),
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
    _prefix_case("state", lambda row: [row.state], (*NAMES, *STATES)),
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
    elif order is Order.UPDATED:
        matching.sort(key=lambda each: (each[1].updated_at, each[0]))
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
            most = 0 if order is Order.UPDATED else examined_max
            query = ListQuery("acme", where, order, descending, limit=limit, examined_max=most)
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


@pytest.mark.parametrize(("many", "classes_max"), [(40, 2_000), (450, 2_000), (450, 420)])
@pytest.mark.parametrize("descending", [False, True])
async def test_a_filter_with_many_classes_of_executions_is_still_whole(
    tmp_path: Path, many: int, classes_max: int, descending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 400 classes are walked one by one. Beyond that a page walks those that are next, where nothing else has to
    be looked at, and each row else."""
    monkeypatch.setattr(listing_walks, "CLASSES_MAX", classes_max)
    store = SqliteStore(tmp_path / "classes.db")
    await store.open()
    writes = [
        start(ref(f"x{n}"), head=head(1, definition_id=f"d{n % many}", version=1, labels=b'{"n":"1"}'))
        for n in range(2 * many)
    ]
    await written(store, *writes, start(ref("other"), head=head(1, definition_id="e")))
    found = [f"x{n}" for n in (reversed(range(2 * many)) if descending else range(2 * many))]
    for text in (
        "{}",
        "{} || incident",
        '{} && labels.n == "1"',
        '{} && updated_at > timestamp("2020-01-01T00:00:00Z")',
    ):
        where = parse_filter(text.format('definition_id.startsWith("d")'))
        for limit in (7, 430):
            query = ListQuery("acme", where, descending=descending, limit=limit, examined_max=20 * limit)
            assert await _pages(store, query) == found
        assert await _counted(store, CountQuery("acme", where, examined_max=20)) == (2 * many, {})
    await store.close()


@pytest.mark.parametrize("group_by", ["", "status"])
@pytest.mark.parametrize(
    "text",
    [
        'labels.team == "x"',
        'labels.team in ["x", "y"]',
        'labels.team == "x" && status != "RUNNING"',
        'labels.team == "y" && status == "FAILED"',
    ],
)
async def test_a_label_is_counted_in_slices_of_its_index(
    tmp_path: Path, text: str, group_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_counting, "_ENTRIES_MIN", 2)
    monkeypatch.setattr(sqlite_counting, "ENTRIES_PER_ROW", 2)
    store = SqliteStore(tmp_path / "labels.db")
    await store.open()
    statuses = ("RUNNING", "FAILED", "FAILED", "COMPLETED", "FAILED")
    kinds = [(statuses[n % 5], "xy"[n % 7 > 3]) for n in range(60)]
    ended = [0 if status == "RUNNING" else NOW for status, _ in kinds]
    writes = [
        start(ref(f"x{n}"), head=head(1, status, labels=b'{"team":"%s"}' % team.encode(), ended_at=ended[n]))
        for n, (status, team) in enumerate(kinds)
    ]
    await written(store, *writes)
    means = {
        'labels.team == "x"': lambda status, team: team == "x",
        'labels.team in ["x", "y"]': lambda status, team: True,
        'labels.team == "x" && status != "RUNNING"': lambda status, team: team == "x" and status != "RUNNING",
        'labels.team == "y" && status == "FAILED"': lambda status, team: team == "y" and status == "FAILED",
    }
    groups = Counter(status for status, team in kinds if means[text](status, team))
    first = await store.counted(CountQuery("acme", parse_filter(text), group_by, examined_max=1))
    assert 0 < first.count < groups.total()
    counted = await _counted(store, CountQuery("acme", parse_filter(text), group_by, examined_max=1))
    assert counted == (groups.total(), dict(groups) if group_by else {})
    await store.close()


# -- in the order of the last change


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Ten executions, changed last at NOW + 1 to NOW + 10."""
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "changed.db")
    await store.open()
    await written(store, *[start(ref(f"x{n}"), head=head(1, updated_at=NOW + n)) for n in range(10)])
    yield store
    await store.close()


@pytest.mark.parametrize(("descending", "found"), [(True, "98651"), (False, "01289")])
async def test_what_changes_while_it_is_listed_comes_once_or_not(store: Store, descending: bool, found: str) -> None:
    """Those that change are before the place or behind it: 9 and 4, 3 in descending order, 0 and 7, 3, 4, 5, 6 else."""
    query = ListQuery("acme", order=Order.UPDATED, descending=descending, limit=2)
    ids: list[str] = []
    changes = {True: [9, 4, 3, 2, 7, 0], False: [0, 7, 3, 4, 5, 6]}[descending]
    moment = NOW + 100
    while True:
        page = await store.listed(query)
        ids += [record.ref.execution_id for record in page.records]
        if not page.after:
            break
        for n in changes:
            moment += 1
            await written(store, append(n + 1, 1, ref=ref(f"x{n}"), head=head(2, updated_at=moment)))
        changes = []
        query = msgspec.structs.replace(query, after=page.after)
    assert ids == [f"x{n}" for n in found]


async def test_only_so_many_are_put_in_the_order_of_the_last_change(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "many.db")
    await store.open()
    labels = [b'{"team":"x"}', b'{"team":"y"}']
    await written(store, *[start(ref(f"x{n}"), head=head(1, labels=labels[n > 2])) for n in range(9)])
    for text, most, there in (("", 9, True), ("", 8, False), ('labels.team == "x"', 3, True), ("incident", 1, True)):
        query = ListQuery("acme", parse_filter(text), Order.UPDATED, limit=2, examined_max=most)
        page = await store.listed(query)
        assert page.too_many is not there, (text, most)
        assert there or (page.records, page.after) == ([], ())
    await store.close()
