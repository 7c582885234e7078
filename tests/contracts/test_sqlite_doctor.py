"""What the examination of a data directory finds, and what it can put right."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from struct import pack

import pytest
from tests.contracts.store_contract_retention import LONG, deletion, long
from tests.contracts.store_kit import A, append, change, enqueue, event, head, ref, start, written

from callboard.runtime.core.effects import OpenWait, SetTimer
from callboard.runtime.ports import StoreRefusedError
from callboard.runtime.retention_rows import LeftoverRemoval
from callboard.runtime.stores import schema
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.stores.sqlite_doctor import examine


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A sound store: an execution that has ended, one that is open, with labels, a timer, a wait, an event."""
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    await written(
        store,
        start(head=head(1, labels=b'{"team":"x","n":"1"}')),
        start(ref("ended"), SetTimer("step", "retry", 5)),
        change(),
        enqueue(),
    )
    record = await store.execution(A)
    assert record is not None
    effects = (SetTimer("step", "total", 7), OpenWait("step", ("paid",), "k"))
    await written(store, append(record.key, 1, *effects, head=head(2, labels=record.head.labels)))
    ended = head(2, "COMPLETED", ended_at=9)
    await written(store, append(2, 1, ref=ref("ended"), events=[event(2)], head=ended))
    await store.close()
    return path


def spoil(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def whats(path: Path, *, fix: bool = False) -> list[tuple[str, bool]]:
    return [(finding.what, finding.fixed) for finding in examine(path, fix=fix).findings]


async def test_a_sound_store_is_told_as_it_is(path: Path) -> None:
    spoil(path, "DELETE FROM timers WHERE execution = 2")
    found = examine(path)
    assert (found.findings, found.sound) == ([], True)
    assert (found.generation, found.boot, found.schema_version) == (1, 1, schema.migrations()[-1].number)
    assert found.counts == {
        "executions": 2,
        "open_executions": 1,
        "events": 4,
        "open_tasks": 0,
        "timers": 1,
        "waits": 1,
        "inbox": 1,
        "outbox": 0,
    }
    assert (found.pending_migrations, found.size_bytes) == ([], path.stat().st_size)
    assert found.pages > found.free_pages >= 0


@pytest.mark.parametrize(
    ("statement", "what", "can_be_fixed"),
    [
        ("INSERT INTO timers VALUES (99, 'a', 'total', 1, 1)", "ORPHANS", False),
        (
            "INSERT INTO dead_letters (tenant, execution, event_id, name, payload, context, cause, message,"
            " accepted_at, died_at) VALUES ('acme', 99, '', 'paid', '1', '{}', 'POISONED', '', 1, 1)",
            "ORPHANS",
            False,
        ),
        ("DELETE FROM events WHERE execution = 1 AND sequence = 2", "HISTORY_INCOMPLETE", False),
        ("DELETE FROM events WHERE execution = 1 AND sequence = 1", "HISTORY_INCOMPLETE", False),
        ("DELETE FROM definition_versions", "DEFINITION_INCOMPLETE", False),
        ("UPDATE execution_kinds SET executions = executions + 1", "COUNTS_WRONG", True),
        ("DELETE FROM execution_kinds", "COUNTS_WRONG", True),
        ("DELETE FROM labels WHERE name = 'n'", "LABELS_WRONG", True),
        ("INSERT INTO labels VALUES ('acme', 'team', 'y', 'RUNNING', 1)", "LABELS_WRONG", True),
        ("UPDATE labels SET status = 'FAILED'", "LABELS_WRONG", True),
        ("UPDATE execution_kinds SET state = 'elsewhere'", "COUNTS_WRONG", True),
    ],
)
async def test_what_is_wrong_is_named_and_what_is_derived_is_made_again(
    path: Path, statement: str, what: str, can_be_fixed: bool
) -> None:
    spoil(path, "DELETE FROM timers WHERE execution = 2", statement)
    assert whats(path) == [(what, False)]
    assert not examine(path).sound
    assert whats(path, fix=True) == [(what, can_be_fixed)]
    assert whats(path) == ([] if can_be_fixed else [(what, False)])


async def test_what_is_open_of_an_ended_execution_is_named(path: Path) -> None:
    assert whats(path) == [("OPEN_AFTER_END", False)]


async def test_what_a_deleted_execution_has_left_behind_is_no_orphan(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    key = await long(store)
    await written(store, deletion(), LeftoverRemoval(key, 300))
    await store.close()
    found = examine(path)
    assert (found.findings, found.counts["executions"], found.counts["events"]) == ([], 0, LONG - 300)
    spoil(path, "DELETE FROM leftovers")
    assert whats(path) == [("ORPHANS", False)]


async def test_files_of_killed_processes_are_leftovers_and_copies_before_migrations_are_not(path: Path) -> None:
    spoil(path, "DELETE FROM timers WHERE execution = 2")
    for name in ("orders.db-backup", "orders.db-restore", "orders.db.before-0003"):
        path.with_name(name).write_bytes(b"x")
    assert whats(path) == [("LEFTOVER", False)] * 2
    assert whats(path, fix=True) == [("LEFTOVER", True)] * 2
    found = examine(path)
    assert (found.findings, found.backups) == ([], ["orders.db.before-0003"])


@pytest.mark.parametrize(
    ("slot", "suspected"), [((7, 7, 2), True), ((7, 7, 1), False), ((7, 8, 2), False), ((0, 7, 3), False)]
)
async def test_an_execution_that_the_process_keeps_dying_on_is_named(
    path: Path, slot: tuple[int, int, int], suspected: bool
) -> None:
    spoil(path, "DELETE FROM timers WHERE execution = 2")
    path.with_name("orders.db-deciding").write_bytes(pack("<qqq", *slot))
    assert whats(path) == [("SUSPECT", False)] * suspected


def damaged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_sequence'").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * page + 3)
        file.write(b"\xff\xff")


async def test_a_damaged_database_is_named(path: Path) -> None:
    damaged(path)
    found = examine(path, fix=True)
    assert {finding.what for finding in found.findings} == {"DATABASE_DAMAGED"}
    assert not found.sound


def nonsense(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)


def gone(path: Path) -> None:
    path.unlink()


def newer(path: Path) -> None:
    spoil(path, "UPDATE meta SET value = 99 WHERE name = 'schema_version'")


@pytest.mark.parametrize(
    ("ruin", "said"), [(nonsense, "cannot be read"), (gone, "is not there"), (newer, "schema version 99")]
)
async def test_what_cannot_be_examined_is_refused(path: Path, ruin: Callable[[Path], None], said: str) -> None:
    ruin(path)
    with pytest.raises(StoreRefusedError, match=said):
        examine(path)


async def test_a_store_in_use_is_left_alone(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(StoreRefusedError, match="in use by process"):
        examine(path)
    await store.close()


async def test_a_store_of_the_first_version_can_be_examined(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema.migrations()[0].text)
        connection.executescript(Path(__file__).with_name("store_0001.sql").read_text("utf-8"))
    found = examine(path)
    assert found.pending_migrations == [migration.name for migration in schema.migrations()[1:]]
    assert "waits" not in found.counts
