"""A bit that flips in the database file: what `verify` names, what it does not look at, and that it stops nobody else.

SQLite keeps in any column whatever stands in the file, so a flipped bit may also make other types, and text that is
none.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.event_filters import event_filter
from callboard.runtime.histories import Moment
from callboard.runtime.history_files import export
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings
from callboard.runtime.stores.sqlite_doctor import examine

FLOW = """
id: flow
labels: {team: "${input.team}"}
steps:
  - {id: first, set: {team: "${input.team}"}, set_state: half way}
  - {id: got, receive: {event: go}}
  - {id: more, receive: {event: more}}
output: "${vars.team}"
"""
NAMES = ["x-1", "x-2", "x-3"]
LAST = 7
"""Events of each execution."""
NO_TEXT = "CAST(x'c5c5' AS TEXT)"
EVENT = "execution = 2 AND sequence = 5"
HEAD = "key = 2"
SNAPSHOT = f"execution = 2 AND sequence = {LAST}"

CHANGES: list[tuple[str, str, str, list[tuple[str, int]]]] = [
    *(("events", EVENT, f"name = {value}", [("HASH", 5)]) for value in ("'TimerSet'", NO_TEXT, "CAST(name AS BLOB)")),
    *(
        ("events", EVENT, f"payload = {value}", [("HASH", 5)])
        for value in ("replace(payload, ':', ': ')", "substr(payload, 2)", NO_TEXT, "7")
    ),
    *(("events", EVENT, f"created_at = {value}", [("HASH", 5)]) for value in ("created_at + 1", "-1", "'x'", "0.5")),
    *(("events", EVENT, f"hash = {value}", [("HASH", 5)]) for value in ("zeroblob(32)", "'x'", "7", "x''")),
    *(("events", EVENT, f"to_state = {value}", [("HASH", 5)]) for value in ("'x'", "''", NO_TEXT, "x'00'")),
    *(("events", EVENT, f"event_id = {value}", [("HASH", 5)]) for value in ("'other'", "NULL", NO_TEXT, "7")),
    *(("events", EVENT, f"context = {value}", [("HASH", 5)]) for value in ("'{}'", "NULL", "'{'", NO_TEXT)),
    *(("events", EVENT, f"sequence = {value}", [("GAP", 5)]) for value in ("0", "-5", "'x'", "x'05'", "5.5")),
    ("events", EVENT, "sequence = 99", [("GAP", 5), ("GAP", LAST + 1), ("HEAD", 99)]),
    ("events", EVENT, "execution = 3, sequence = 99, event_id = 'moved'", [("GAP", 5)]),
    ("executions", HEAD, "sequence = 6", [("HEAD", LAST)]),
    ("executions", HEAD, "sequence = 8", [("HEAD", LAST + 1)]),
    ("executions", HEAD, "sequence = -1", [("HEAD", LAST)]),
    ("executions", HEAD, "sequence = 'x'", [("HEAD", LAST)]),
    *(
        ("executions", HEAD, f"{column} = {value}", [("HEAD", LAST)])
        for column, values in {
            "definition_id": ("'g'", "''", NO_TEXT, "x'00'"),
            "version": ("2", "'x'", "1 << 40"),
            "labels": ("'{}'", '\'{"team"9"b"}\'', NO_TEXT, "7"),
            "status": ("'RUNNINF'", "'FAILED'", NO_TEXT, "7"),
            "state": ("'x'", NO_TEXT, "x'00'"),
            "hash": ("zeroblob(32)", "'x'", "7", NO_TEXT),
            "started_at": ("started_at + 1", "'x'", "0.5"),
            "updated_at": ("updated_at + 1", "'x'", "1 << 62"),
            "ended_at": ("4", "'x'", "x'00'"),
            "incidents": ("1", "'x'", "1 << 40"),
        }.items()
        for value in values
    ),
    *(("snapshots", SNAPSHOT, f"data = {value}", [("SNAPSHOT", LAST)]) for value in ("x'00'", "7", "'x'", NO_TEXT)),
    *(("snapshots", SNAPSHOT, f"checksum = {value}", [("SNAPSHOT", LAST)]) for value in ("x'00'", "7", NO_TEXT)),
    *(("snapshots", SNAPSHOT, f"format = {value}", [("SNAPSHOT", LAST)]) for value in ("0", "'x'", NO_TEXT)),
    *(("snapshots", SNAPSHOT, f"sequence = {value}", [("SNAPSHOT", value)]) for value in (0, 3, 99)),
]
"""Table, row, change, and what is found of the execution."""
UNSEEN = [
    ("events", EVENT, "position = 999"),
    ("executions", HEAD, "shard = shard + 1"),
    ("snapshots", SNAPSHOT, "execution = 99"),
    ("snapshots", SNAPSHOT, "sequence = 'x'"),
]
"""What no hash covers: the order of feeds, what several nodes will divide, and a snapshot that is no longer there."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with three executions that wait, each with a snapshot."""
    path = tmp_path_factory.mktemp("stored") / "s.db"
    asyncio.run(_store(path))
    return path


async def _store(path: Path) -> None:
    async with engine(path, ManualClock(), Settings(snapshot_events_min=10_000)) as runtime:
        await runtime.publish(FLOW)
        for name in NAMES:
            await runtime.start(ME, StartRequest("flow", execution_id=name, input={"team": "b"}))
            await runtime.submit(Caller(user_id="ann"), name, "go", {"n": name}, "event-1")
            assert (await runtime.histories.snapshot(ME, name)).sequence == LAST


@pytest.fixture
def path(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stored, tmp_path / "s.db"))


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def found(runtime: Runtime, name: str = "x-2") -> list[tuple[str, int]]:
    verification = await runtime.histories.verify(ME, name)
    assert type(verification.head_hash) is bytes and type(verification.head_sequence) is int
    return [(problem.kind.value, problem.sequence) for problem in verification.problems]


async def all_found(runtime: Runtime) -> dict[str, list[tuple[str, int]]]:
    """As `verify --all` does: of all that are listed."""
    page = await runtime.listings.page(ME)
    return {view.ref.execution_id: await found(runtime, view.ref.execution_id) for view in page.items}


@pytest.mark.parametrize(("table", "row", "how", "expected"), CHANGES, ids=[f"{one[0]} {one[2]}" for one in CHANGES])
async def test_every_stored_field_is_checked(
    path: Path, table: str, row: str, how: str, expected: list[tuple[str, int]]
) -> None:
    change(path, f"UPDATE {table} SET {how} WHERE {row}")
    async with engine(path) as runtime:
        assert await found(runtime) == expected
        others = [await found(runtime, name) for name in ("x-1", "x-3")]
        assert others == [[], [("GAP", LAST + 1), ("HEAD", 99)] if "execution = 3" in how else []]


@pytest.mark.parametrize(("table", "row", "how"), UNSEEN, ids=[f"{one[0]} {one[2]}" for one in UNSEEN])
async def test_what_no_hash_covers_is_not_found(path: Path, table: str, row: str, how: str) -> None:
    change(path, f"UPDATE {table} SET {how} WHERE {row}")
    async with engine(path) as runtime:
        assert await found(runtime) == []
        assert (await runtime.histories.past(ME, "x-2", Moment())).sequence == LAST


async def test_an_event_that_is_there_twice_is_found(path: Path) -> None:
    columns = "execution, sequence, name, payload, created_at, hash, to_state, event_id, context"
    change(
        path,
        "DROP INDEX events_by_sequence",
        "DROP INDEX events_by_event_id",
        f"INSERT INTO events ({columns}) SELECT {columns} FROM events WHERE {EVENT}",
    )
    async with engine(path) as runtime:
        assert await all_found(runtime) == {"x-3": [], "x-2": [("GAP", 6)], "x-1": []}


async def test_an_execution_under_another_name_is_found_under_that(path: Path) -> None:
    change(path, "UPDATE executions SET execution_id = 'x-9' WHERE key = 2")
    async with engine(path) as runtime:
        with pytest.raises(Refused, match="EXECUTION_NOT_FOUND"):
            await found(runtime)
        assert (await found(runtime, "x-9"))[0] == ("HASH", 1)


@pytest.mark.parametrize("what", [b"default", b"x-2"])
async def test_a_name_that_changed_in_the_row_but_not_in_the_index_is_found(path: Path, what: bytes) -> None:
    content = path.read_bytes()
    (row,) = re.finditer(rb"defaultx-2.{1,2}flow", content, re.DOTALL)
    place = content.index(what, row.start()) + len(what) - 1
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    async with engine(path) as runtime:
        assert await found(runtime) == [("HEAD", LAST)]
        assert await found(runtime, "x-1") == []
    assert {finding.what for finding in examine(path).findings} >= {"DATABASE_DAMAGED"}


STOPPING = [
    "UPDATE executions SET state = CAST(x'c5' AS TEXT) WHERE key = 2",
    "UPDATE executions SET labels = '{' WHERE key = 2",
    "UPDATE executions SET labels = CAST(x'c5' AS TEXT), hash = 'x', incidents = 'x' WHERE key = 2",
    "UPDATE executions SET version = 1 << 40, started_at = 'x', definition_id = x'00' WHERE key = 2",
    f"UPDATE events SET context = '{{' WHERE {EVENT}",
    f"UPDATE events SET context = CAST(x'c5' AS TEXT), to_state = x'00' WHERE {EVENT}",
    f"UPDATE events SET name = CAST(name AS BLOB), hash = 'x' WHERE {EVENT}",
    f"UPDATE events SET payload = CAST(x'c5' AS TEXT), created_at = 'x' WHERE {EVENT}",
    "UPDATE snapshots SET data = 7, checksum = 'x' WHERE execution = 2",
]


@pytest.fixture(params=STOPPING)
async def damaged(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Runtime]:
    """A runtime over a store with one damaged execution."""
    change(path, request.param)
    async with engine(path, ManualClock()) as runtime:
        yield runtime


async def test_one_damaged_execution_is_listed_and_stops_no_other(damaged: Runtime) -> None:
    assert list(await all_found(damaged)) == ["x-3", "x-2", "x-1"]
    assert (await all_found(damaged))["x-2"] != []
    await damaged.enqueue(ME, "x-2", "more", 1)
    for name in ("x-1", "x-3"):
        view = (await damaged.submit(ME, name, "more", 1)).view
        assert (view.status, view.output) == ("COMPLETED", "b")
    assert (await damaged.start(ME, StartRequest("flow", input={"team": "c"}))).started


async def test_a_damaged_event_does_not_end_the_feed_of_its_tenant(damaged: Runtime) -> None:
    feeds = damaged.tenant_feeds
    page = await feeds.read("default", await feeds.begin("default", from_start=True), event_filter(""), 100, 1 << 20)
    assert len(page.events) == 3 * LAST and page.end
    assert all(one.event.event_type is not None for one in page.events)
    assert len(await damaged.history(ME, "x-2")) == LAST


async def test_what_cannot_be_replayed_says_so(path: Path) -> None:
    change(path, "DELETE FROM snapshots", f"UPDATE events SET name = CAST(name AS BLOB), hash = 7 WHERE {EVENT}")
    async with engine(path) as runtime:
        for doing in (
            runtime.get(ME, "x-2"),
            runtime.submit(ME, "x-2", "more"),
            runtime.histories.past(ME, "x-2", Moment()),
            _exported(runtime),
        ):
            with pytest.raises(Refused, match="HISTORY_DAMAGED"):
                await doing


async def _exported(runtime: Runtime) -> Any:
    ref = ExecutionRef("default", "x-2")
    return [piece async for piece in export(runtime.store, runtime.info.store_id, ref, 0)]


def test_what_no_listing_shows_is_named_by_the_doctor(path: Path) -> None:
    change(path, "UPDATE executions SET status = 'RUNNINF', labels = '{' WHERE key = 2")
    names = {finding.what for finding in examine(path).findings}
    assert names >= {"HEAD_WRONG", "LABELS_WRONG"}
    assert {finding.what: finding.fixed for finding in examine(path, fix=True).findings}["HEAD_WRONG"] is False
