"""Which indexes lists and counts walk in SQLite, and that pages stay put while others write."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.store_kit import NOW, append, head, ref, start, written

from callboard.runtime.core.effects import CloseExecution, OpenTask, OpenWait, SetTimer
from callboard.runtime.filter_text import parse_filter
from callboard.runtime.filters import OPEN
from callboard.runtime.listing_rows import CountQuery, ListQuery, Order, Position
from callboard.runtime.retention_rows import ExecutionDeletion
from callboard.runtime.rows import ExecutionAppend
from callboard.runtime.stores import listing_walks, schema
from callboard.runtime.stores.sql import statements
from callboard.runtime.stores.sqlite import SqliteStore

STATUSES = ("RUNNING", "COMPLETED", "FAILED")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "lists.db")
    await store.open()
    for n in range(30):
        status = STATUSES[n % 3]
        fields = {"labels": b'{"team":"x"}', "ended_at": 0 if status == "RUNNING" else NOW + n, "definition_id": "d"}
        fields |= {"state": "x"} if n % 4 == 1 else {}
        effects = (OpenTask("t", "s.op", 1, 1), OpenWait("w", ("paid",), "k"), SetTimer("t", "wait", NOW))
        await written(store, start(ref(f"x{n}"), *effects[: n % 3 or 3], head=head(1, status, **fields)))
    yield store
    await store.close()


async def _plans(store: SqliteStore, query: ListQuery | CountQuery) -> list[list[str]]:
    """How SQLite carries out each of the statements of a reading."""
    heard: list[str] = []
    await store._pages.run(lambda connection: connection.set_trace_callback(heard.append))
    if isinstance(query, ListQuery):
        await store.listed(query)
    else:
        await store.counted(query)
    await store._pages.run(lambda connection: connection.set_trace_callback(None))
    with closing(sqlite3.connect(store._path)) as connection:
        return [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
            for sql in heard
            if sql not in ("BEGIN", "COMMIT")
        ]


KEY = "USING INTEGER PRIMARY KEY (rowid=?)"
BY_STATUS = "executions_by_status (tenant=? AND status=? AND rowid"
BY_CLASS = "executions_by_definition (tenant=? AND definition_id=? AND version=? AND status=? AND rowid"
BY_STATE = "executions_by_state (tenant=? AND state=? AND rowid"
BY_LABEL = "SEARCH w USING PRIMARY KEY (tenant=? AND name=? AND value=? AND status=? AND execution"


@pytest.mark.parametrize(
    ("text", "walk"),
    [
        ("", BY_STATUS),
        ('status == "RUNNING"', BY_STATUS),
        ('status != "RUNNING"', BY_STATUS),
        ('state == "x"', BY_STATE),
        ('state in ["x", "failed"]', BY_STATE),
        ('state == "failed"', BY_CLASS),
        ('state.startsWith("f") && version < 3', BY_CLASS),
        ('status == "RUNNING" && updated_at < timestamp("2030-01-01T00:00:00Z")', BY_STATUS),
        ('waiting_on == "TIMER"', BY_STATUS),
        ('definition_id == "d"', BY_CLASS),
        ('definition_id == "d" && version == 1 && status == "RUNNING"', BY_CLASS),
        ('definition_id.startsWith("d")', BY_CLASS),
        ("version < 3", BY_CLASS),
        ('definition_id == "d" && state == "x"', BY_STATE),
        ('definition_id == "d" && state == "failed"', BY_CLASS),
        ('labels.team == "x"', BY_LABEL),
        ('labels.team == "x" && state != "x"', BY_LABEL),
        ('labels.team == "x" && status == "FAILED"', BY_LABEL),
        ('labels.team == "x" && execution_id.startsWith("x")', BY_LABEL),
        ('labels.team in ["x", "y"] || labels.other == "z"', BY_LABEL),
        ("incident", "executions_with_incidents (tenant=? AND rowid"),
        ('incident && status == "RUNNING"', "executions_with_incidents (tenant=? AND rowid"),
        ('event == "paid"', "COVERING INDEX waits_by_name (tenant=? AND name=? AND execution"),
        ('operation == "s.op"', "SEARCH w USING PRIMARY KEY (execution"),
        ('waiting_on in ["QUEUE", "WORKER"]', "SEARCH w USING PRIMARY KEY (execution"),
        ('execution_id == "x1" && state == "x"', "executions_by_id (tenant=? AND execution_id=? AND rowid"),
    ],
)
async def test_pages_walk_an_index_in_the_order_of_the_keys(
    store: SqliteStore, text: str, walk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_walks, "FEW_ROWS", 5)
    plans = await _plans(store, ListQuery("acme", parse_filter(text), limit=5, examined_max=10))
    assert any(walk in step for step in plans[-1]), plans[-1]
    for steps in plans:
        scanned = [step for step in steps if step.startswith("SCAN")]
        assert all(step == "SCAN p" or step.startswith("SCAN (subquery") for step in scanned), steps
        sorts = [place for place, step in enumerate(steps) if "TEMP B-TREE FOR ORDER BY" in step]
        # Sorted are the keys of a page, which the walks have limited, and never what they meet.
        allowed = ("SCAN (subquery", "LEFT", "RIGHT", "UNION", f"SEARCH e {KEY}")
        assert all(steps[place - 1].startswith(allowed) for place in sorts), steps


async def test_a_tenant_with_little_open_does_not_look_through_the_tasks_of_others(store: SqliteStore) -> None:
    plans = await _plans(store, ListQuery("acme", parse_filter('operation == "s.op"'), limit=5, examined_max=10))
    assert any(BY_STATUS in step for step in plans[-1]), plans[-1]


@pytest.mark.parametrize(
    ("order", "text", "walk"),
    [
        (Order.ENDED, "", "executions_by_end (tenant=? AND ended_at>?"),
        (Order.ENDED, 'status == "FAILED"', "executions_by_end (tenant=? AND ended_at>?"),
        (Order.ID, "", "executions_by_id (tenant=? AND execution_id>?"),
        (Order.ID, 'execution_id.startsWith("x")', "executions_by_id (tenant=? AND execution_id>? AND execution_id<?)"),
    ],
)
@pytest.mark.parametrize("descending", [False, True])
async def test_other_orders_are_those_of_an_index(
    store: SqliteStore, order: Order, text: str, walk: str, descending: bool
) -> None:
    after: Position = (NOW + 20, 20) if order is Order.ENDED else ("x2",)
    query = ListQuery("acme", parse_filter(text), order, descending, after, limit=5, examined_max=10)
    for steps in await _plans(store, query):
        assert len(steps) == 1, steps
        assert (
            walk.replace("execution_id>?", "execution_id<?" if descending and not text else "execution_id>?")
            in steps[0]
        )


async def test_what_is_counted_by_class_is_read_from_the_counts(store: SqliteStore) -> None:
    for text, group_by in (("", "status"), ('definition_id != "e" || version > 1', "definition_id"), ("", "")):
        (steps,) = await _plans(store, CountQuery("acme", parse_filter(text), group_by))
        assert steps[0].startswith("SEARCH e USING PRIMARY KEY (tenant=?"), steps


async def test_a_label_is_counted_along_its_index(store: SqliteStore) -> None:
    plans = await _plans(store, CountQuery("acme", parse_filter('labels.team == "x"')))
    assert any(step.startswith(BY_LABEL) for step in plans[-1]), plans[-1]


async def test_counts_and_labels_follow_whatever_happens_to_executions(store: SqliteStore) -> None:
    here = {"labels": b'{"team":"x"}', "definition_id": "d"}
    await written(store, append(1, 1, head=head(2, "RUNNING", **here, state="y")))
    await written(store, append(1, 2, head=head(3, "RUNNING", **here | {"version": 2, "labels": b'{"n":"1"}'})))
    await written(store, append(1, 3, CloseExecution(), head=head(4, "FAILED", **here, ended_at=NOW)))
    await written(store, append(4, 1, ref=ref("x3"), head=head(2, "REVERTING", **here)))
    await written(store, start(ref("new"), head=head(1, **here)), append(31, 1, ref=ref("new"), head=head(2, **here)))
    await written(store, append(1, 4, head=head(5, "RUNNING", **here)), append(1, 5, head=head(6, "REVERTING", **here)))
    await written(store, ExecutionDeletion(ref("x1"), NOW), start(ref("x1"), head=head(1)))
    with closing(sqlite3.connect(store._path)) as connection:
        for stored, meant in (
            (
                "SELECT definition_id, version, status, state, executions FROM execution_kinds ORDER BY 1, 2, 3, 4",
                "SELECT definition_id, version, status, state, count(*) FROM executions GROUP BY 1, 2, 3, 4",
            ),
            (
                "SELECT tenant, name, value, status, execution FROM labels ORDER BY 5, 2",
                "SELECT e.tenant, o.key, o.value, e.status, e.key FROM executions AS e, json_each(e.labels) AS o "
                "ORDER BY 5, 2",
            ),
        ):
            kept = [row for row in connection.execute(stored) if row[-1]]
            assert kept == connection.execute(meant).fetchall()


async def test_a_version_of_which_nothing_is_left_is_not_counted(store: SqliteStore) -> None:
    await written(store, start(ref("v2"), head=head(1, definition_id="d", version=2, state="y")))
    ended = head(2, "FAILED", definition_id="d", version=2, ended_at=NOW)
    await written(store, append(31, 1, CloseExecution(), ref=ref("v2"), head=ended))
    await written(store, ExecutionDeletion(ref("v2"), NOW))
    with closing(sqlite3.connect(store._path)) as connection:
        assert connection.execute("SELECT DISTINCT version FROM execution_kinds").fetchall() == [(1,)]


@pytest.mark.parametrize("file", ["reads.sql", "writes.sql"])
def test_statements_know_which_statuses_have_not_ended(file: str) -> None:
    listed = ", ".join(f"'{status}'" for status in OPEN)
    found = [text for text in statements(file).values() if "status IN" in text]
    assert len(found) >= 2
    assert all(f"status IN ({listed})" in text for text in found)


async def test_a_step_writes_no_entry_of_an_index_of_executions(store: SqliteStore) -> None:
    """Neither one step nor several; one that gives its execution a state writes that of the states."""
    steps = [
        append(key, 1, ref=ref(f"x{key - 1}"), head=head(2, definition_id="d", labels=b'{"team":"x"}'))
        for key in (1, 4, 7)
    ]
    named = append(10, 1, ref=ref("x9"), head=head(2, definition_id="d", labels=b'{"team":"x"}', state="named"))
    for writes, indexes in (
        (steps[:1], set()),
        (steps[1:], set()),
        ([named], {"executions_by_state"}),
    ):
        assert await _indexes_written(store, writes) == indexes


async def _indexes_written(store: SqliteStore, writes: list[ExecutionAppend]) -> set[str]:
    """The indexes of executions that the statements of these writes open for writing."""
    heard: list[str] = []
    await store._writing.run(lambda connection: connection.set_trace_callback(heard.append))
    await written(store, *writes)
    await store._writing.run(lambda connection: connection.set_trace_callback(None))
    with closing(sqlite3.connect(store._path)) as connection:
        roots = dict(connection.execute("SELECT rootpage, name FROM sqlite_schema WHERE tbl_name = 'executions'"))
        programs = [connection.execute(f"EXPLAIN {sql}").fetchall() for sql in heard if sql.startswith("UPDATE")]
    found = {roots.get(step[3]) for program in programs for step in program if step[1] == "OpenWrite"}
    assert "executions" in found
    return {name for name in found if name is not None} - {"executions"}


# -- pages under writes


@pytest.mark.parametrize("order", [Order.CREATED, Order.ENDED, Order.ID])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("text", ['state != "none"', 'execution_id != "none"'])
async def test_pages_stay_put_while_others_write(store: SqliteStore, text: str, order: Order, descending: bool) -> None:
    """Executions start, step and end between and during the pages; what is listed throughout comes once, in order."""
    heads = {n + 1: STATUSES[n % 3] for n in range(30)}
    stays = {f"x{n}" for n in range(30) if n % 3 or order is not Order.ENDED}
    chance, busy = random.Random(7), True

    async def disturb() -> None:
        sequences = dict.fromkeys(heads, 1)
        number = 0
        while busy:
            number += 1
            key = chance.choice([key for key, status in heads.items() if status == "RUNNING"])
            sequence = sequences[key] = sequences[key] + 1
            ends = number % 20 == 0 and list(heads.values()).count("RUNNING") > 1
            heads[key] = status = "FAILED" if ends else "RUNNING"
            moved = head(
                sequence, status, definition_id="d", updated_at=NOW + 99, ended_at=NOW + 99 + number if ends else 0
            )
            name = f"{chance.choice('awz')}{number}"
            started = start(ref(name), head=head(1, chance.choice(STATUSES[:1]), definition_id="d"))
            await written(store, append(key, sequence - 1, ref=ref(f"x{key - 1}"), head=moved), started)

    writing = asyncio.create_task(disturb())
    found: list[Position] = []
    ids: list[str] = []
    query = ListQuery("acme", parse_filter(text), order, descending, limit=3, examined_max=7)
    for _ in range(200):
        page = await store.listed(query)
        found += [_place(record.key, record.ref.execution_id, record.head.ended_at, order) for record in page.records]
        ids += [record.ref.execution_id for record in page.records]
        if not page.after or stays <= set(ids):
            break
        query = ListQuery("acme", query.where, order, descending, page.after, limit=3, examined_max=7)
    busy = False
    await writing
    assert stays <= set(ids)
    assert len(ids) == len(set(ids))
    assert found == sorted(found, reverse=descending)


def _place(key: int, execution_id: str, ended_at: int, order: Order) -> Position:
    return {Order.CREATED: (key,), Order.ENDED: (ended_at, key), Order.ID: (execution_id,)}[order]


# -- a store of an earlier version


async def test_a_store_of_the_first_version_is_listed_and_counted_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema.migrations()[0].text)
        connection.executescript(Path(__file__).with_name("store_0001.sql").read_text("utf-8"))
        rows = connection.execute("SELECT execution_id, status FROM executions WHERE tenant = 'acme'").fetchall()
    store = SqliteStore(path)
    await store.open()
    assert rows
    counted = await store.counted(CountQuery("acme", group_by="status"))
    assert counted.groups == dict(Counter(status for _, status in rows))
    for order in (Order.CREATED, Order.ID):
        page = await store.listed(ListQuery("acme", order=order))
        assert {record.ref.execution_id for record in page.records} == {execution_id for execution_id, _ in rows}
    by_class = await store.listed(ListQuery("acme", parse_filter('definition_id != "nothing"')))
    assert len(by_class.records) == len(rows)
    await store.close()


async def test_a_store_of_the_version_before_is_found_by_labels_with_a_status_and_by_states(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        first, second, third = schema.migrations()[:3]
        connection.executescript(first.text)
        connection.executescript(Path(__file__).with_name("store_0001.sql").read_text("utf-8"))
        connection.executescript(second.text)
        connection.executescript(third.text)
        connection.executescript(
            """
            UPDATE executions SET labels = '{"team":"x","n":"1"}' WHERE key IN (2, 3);
            INSERT INTO labels VALUES ('acme', 'team', 'x', 2), ('acme', 'n', '1', 2);
            INSERT INTO labels VALUES ('acme', 'team', 'x', 3), ('acme', 'n', '1', 3);
            UPDATE executions SET status = 'REVERTING', state = 'sent' WHERE key = 3;
            UPDATE meta SET value = 3 WHERE name = 'schema_version';
            """
        )
    store = SqliteStore(path)
    await store.open()
    for text, found in (
        ('labels.team == "x"', ["c", "b", "a"]),
        ('labels.team == "x" && status in ["COMPLETED", "REVERTING"]', ["c", "b"]),
        ('labels.n == "1" && status != "COMPLETED"', ["c"]),
        ('state == "sent"', ["c"]),
        ('state in ["sent", "completed"]', ["c", "b"]),
    ):
        page = await store.listed(ListQuery("acme", parse_filter(text)))
        assert [record.ref.execution_id for record in page.records] == found, text
        assert (await store.counted(CountQuery("acme", parse_filter(text)))).count == len(found)
    counted = await store.counted(CountQuery("acme", group_by="state"))
    assert counted.groups == {"running": 1, "completed": 1, "sent": 1}
    assert await store.open_count("acme", "d", 1) == (await store.counts()).open_executions == 2
    await store.close()
