"""The SQLite store under the contract, and what only a store with a file has to do."""

import os
import re
import signal
import sqlite3
import string
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from itertools import groupby
from pathlib import Path

import msgspec
import pytest
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_kit import (
    DAY,
    NOW,
    A,
    B,
    append,
    change,
    enqueue,
    event,
    head,
    listening,
    request,
    start,
    started,
    whys,
    written,
)

from callboard.runtime.core.effects import CloseExecution, CloseWait, OpenWait
from callboard.runtime.core.history import event_hash
from callboard.runtime.ports import StorageFailedError, StorageFullError, Store, StoreRefusedError
from callboard.runtime.rows import ExecutionRef, Snapshot, StoredEvent
from callboard.runtime.stores import schema
from callboard.runtime.stores.sql import Many, statements
from callboard.runtime.stores.sqlite import SqliteStore, pending_migrations
from callboard.runtime.stores.sqlite_doctor import examine
from callboard.runtime.stores.sqlite_restore import restore
from callboard.runtime.trigger_rows import EventAcceptance, ExpansionCursor, TriggerStart
from callboard.runtime.writes import Committed, Lost, Why, Write


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[Store]:
        store = SqliteStore(path)
        await store.open()
        yield store
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# -- opening


async def test_a_reopened_store_has_everything_and_counts_its_openings(path: Path) -> None:
    first = SqliteStore(path)
    info = await first.open()
    (committed, *_) = await written(first, start(requests=(request(),)), change(), enqueue())
    await first.close()
    second = SqliteStore(path)
    again = await second.open()
    assert (again.store_id, again.secret, again.generation) == (info.store_id, info.secret, 1)
    assert (info.boot, again.boot) == (1, 2)
    assert len(await second.inbox(committed.key, 10)) == 1
    (other, accepted) = await written(second, start(B), enqueue("e-2"))
    assert (other.key, other.position, accepted.inbox_id) == (committed.key + 1, committed.position + 1, 2)
    assert whys(await second.write([append(committed.key, 0), start()])) == [Why.SEQUENCE, Why.EXISTS]
    await second.close()


async def test_numbers_are_never_used_twice(path: Path) -> None:
    first = SqliteStore(path)
    await first.open()
    key = await started(first)
    (accepted,) = await written(first, enqueue())
    await written(first, append(key, 1, consumed=(accepted.inbox_id,)))
    await first.close()
    second = SqliteStore(path)
    await second.open()
    (again,) = await written(second, enqueue("e-2"))
    assert again.inbox_id == accepted.inbox_id + 1
    await second.close()


async def test_a_wait_after_a_restart_is_behind_every_event_before_it(path: Path) -> None:
    first = SqliteStore(path)
    await first.open()
    waits = OpenWait("step", ("paid",), "k")
    await written(first, start(A, waits), start(B, waits))
    event = EventAcceptance("acme", "p-1", "paid", "k", b"1", b"{}", NOW, NOW + DAY, 0, offers_max=1, job_id="j")
    brief = append(1, 1, OpenWait("other", ("paid",), "else"), CloseWait("other"))
    await written(first, brief, event)
    await first.close()
    second = SqliteStore(path)
    await second.open()
    await written(second, start(ExecutionRef("acme", "later"), waits))
    job = await second.job("acme", "j")
    assert job is not None
    cursor = msgspec.json.decode(job.cursor, type=ExpansionCursor)
    rows = await second.waits("acme", "paid", "k", cursor.after, cursor.until, 10)
    assert [row.ref for row in rows] == [B]
    await second.close()


async def test_payloads_are_readable_text(path: Path, store: SqliteStore) -> None:
    await written(store, start(), change())
    assert read(path, "SELECT json_extract(payload, '$.version'), typeof(labels) FROM events JOIN executions") == [
        (1, "text")
    ]
    assert read(path, "SELECT typeof(content) FROM definition_versions") == [("text",)]


async def test_a_store_in_use_is_refused_by_name(path: Path, store: SqliteStore) -> None:
    with pytest.raises(StoreRefusedError, match=rf"orders\.db is in use by process {os.getpid()}"):
        await SqliteStore(path).open()
    await started(store)


async def test_a_store_held_by_another_process_is_free_after_its_death(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(StoreRefusedError, match=f"in use by process {holder.pid}"):
        await SqliteStore(path).open()
    holder.kill()
    holder.communicate()
    store = SqliteStore(path)
    assert (await store.open()).boot == 2
    await store.close()


_HOLD = """
import asyncio, sys
from callboard.runtime.stores.sqlite import SqliteStore

async def main():
    await SqliteStore(sys.argv[1]).open()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_a_newer_schema_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
        connection.commit()
    with pytest.raises(StoreRefusedError, match="schema version 99"):
        await SqliteStore(path).open()
    with pytest.raises(StoreRefusedError, match="schema version 99"):
        pending_migrations(path)


async def test_files_of_other_programs_are_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreRefusedError, match="another program"):
        await SqliteStore(path).open()
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    with pytest.raises(StoreRefusedError, match=r"orders\.db"):
        await SqliteStore(path).open()
    with pytest.raises(StoreRefusedError):
        await SqliteStore(path.parent / "nowhere" / "orders.db").open()


@pytest.mark.parametrize("bit", [1, 128])
async def test_a_file_whose_schema_is_damaged_is_refused_examined_as_such_and_can_be_replaced(
    path: Path, tmp_path: Path, bit: int
) -> None:
    store = SqliteStore(path)
    await store.open()
    backup = (await store.back_up(tmp_path / "backup")).path
    await store.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"CREATE TABLE executions") + 14] ^= bit
    path.write_bytes(content)
    for looking in (pending_migrations, examine):
        with pytest.raises(StoreRefusedError, match=r"orders\.db"):
            looking(path)
    with pytest.raises(StoreRefusedError, match=r"orders\.db"):
        await SqliteStore(path).open()
    assert restore(backup, path, replace=True).generation == 2
    assert examine(path).sound


async def test_a_migration_is_announced_backed_up_and_applied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pending_migrations(path) == [migration.name for migration in schema.migrations()]
    store = SqliteStore(path)
    await store.open()
    await started(store)
    await store.close()
    assert pending_migrations(path) == []
    monkeypatch.setattr(schema, "migrations", _with_one_more())
    assert pending_migrations(path) == [MORE.name]
    store = SqliteStore(path)
    assert (await store.open()).schema_version == MORE.number
    await store.close()
    assert read(path.with_name(f"orders.db.before-{MORE.number:04}"), "SELECT count(*) FROM executions") == [(1,)]
    assert read(path, "SELECT count(*) FROM more") == [(0,)]


async def test_no_room_for_a_backup(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _made(path)
    monkeypatch.setattr(schema, "migrations", _with_one_more())
    monkeypatch.setattr(schema, "_BACKUP_MARGIN_BYTES", 2**62)
    with pytest.raises(StoreRefusedError, match="make room"):
        await SqliteStore(path).open()
    store = SqliteStore(path, backup_before_migration=False)
    await store.open()
    await store.close()


MORE = schema.Migration(schema.migrations()[-1].number + 1, "9999_more.sql", "CREATE TABLE more (x);")


def _with_one_more() -> Callable[[], tuple[schema.Migration, ...]]:
    known = (*schema.migrations(), MORE)
    return lambda: known


async def _made(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


# -- rows and disks that go wrong


async def test_a_row_that_sqlite_refuses_fails_alone(store: SqliteStore) -> None:
    refs = [ExecutionRef("acme", f"x{number}") for number in range(64)]
    keys = [each.key for each in await written(store, *[start(ref) for ref in refs])]
    batch: list[Write] = [append(key, 1, ref=ref) for key, ref in zip(keys, refs, strict=True)]
    batch[10] = append(keys[10], 7, ref=refs[10])
    batch[40] = append(keys[40], 1, ref=refs[40], events=(event(2, to_state="\ud800"),))
    batch[50] = start(ExecutionRef("acme", "y"), head=head(1, labels=None))
    outcomes = await store.write(batch)
    assert {number: why for number, why in enumerate(whys(outcomes)) if why} == {
        10: Why.SEQUENCE,
        40: Why.ROW,
        50: Why.ROW,
    }
    assert isinstance(outcomes[40], Lost) and "surrogates" in outcomes[40].message
    assert whys(await store.write([append(key, 1, ref=ref) for key, ref in zip(keys, refs, strict=True)]))[39:42] == [
        Why.SEQUENCE,
        None,
        Why.SEQUENCE,
    ]


async def test_a_full_disk_rolls_back_and_goes_on_when_there_is_room(path: Path, store: SqliteStore) -> None:
    key = await started(store)
    await _limit(store, pages_more=1)
    big = (event(2, payload=b'"' + b"x" * 50_000 + b'"'),)
    with pytest.raises(StorageFullError):
        await store.write([append(key, 1, events=big), start(B)])
    assert not await store.probe()
    assert await store.execution(B) is None
    assert len(await store.events(key, 0, 10, 1000)) == 1
    await _limit(store, pages_more=1_000_000)
    assert await store.probe()
    outcomes = await store.write([append(key, 1, events=big), start(B)])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)


async def _limit(store: SqliteStore, *, pages_more: int) -> None:
    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + pages_more}").fetchall()

    await store._writing.run(limit)


async def test_any_other_failure_of_a_commit_is_fatal(store: SqliteStore) -> None:
    key = await started(store)
    await store._writing.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(StorageFailedError):
        await store.write([append(key, 1)])


async def test_expired_requests_are_forgotten_little_by_little(path: Path, store: SqliteStore) -> None:
    refs = [ExecutionRef("acme", f"x{number}") for number in range(200)]
    await written(store, *[start(ref, requests=(request(f"r{n}"),)) for n, ref in enumerate(refs)])
    for number in range(4):
        at = NOW + 2 * DAY
        ref = ExecutionRef("acme", f"y{number}")
        await written(
            store,
            start(ref, events=[event(1, created_at=at)], requests=(request(f"s{number}", expires_at=at + DAY),)),
        )
    assert read(path, "SELECT count(*) FROM requests") == [(4,)]


async def test_the_write_ahead_log_is_bounded(path: Path) -> None:
    store = SqliteStore(path, wal_bytes_max=2 * 1024 * 1024)
    await store.open()
    largest = 0
    for batch in range(40):
        refs = [ExecutionRef("acme", f"{batch}-{number}") for number in range(64)]
        events = [event(1, payload=b'"' + b"x" * 2000 + b'"')]
        await written(store, *[start(ref, events=events) for ref in refs])
        largest = max(largest, path.with_name("orders.db-wal").stat().st_size)
    await store.close()
    # Growth is noticed every 2000 changed rows, so the bound is the limit and what comes between two looks.
    assert largest < 16 * 1024 * 1024
    assert not path.with_name("orders.db-wal").exists()


# -- crashes


@pytest.mark.parametrize("round_", range(3))
async def test_what_was_acknowledged_survives_kill_9(path: Path, round_: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITE, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline() for _ in range(20 + 13 * round_)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += writer.communicate()[0].splitlines(keepends=True)
    whole = {int(line) for line in acknowledged if line.endswith("\n")}
    store = SqliteStore(path)
    await store.open()
    for number in whole:
        record = await store.execution(ExecutionRef("acme", f"x{number}"))
        assert record is not None
        assert len(await store.events(record.key, 0, 10, 1000)) == 2
    counts = await store.counts()
    assert len(whole) <= counts.open_executions <= len(whole) + 1
    assert counts.open_tasks == counts.open_executions
    await store.close()
    assert read(path, "PRAGMA integrity_check") == [("ok",)]


_WRITE = """
import asyncio, itertools, sys
from callboard.runtime.core.effects import OpenTask
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.stores.sqlite import SqliteStore
from tests.contracts.store_kit import event, start

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    for number in itertools.count():
        ref = ExecutionRef("acme", f"x{number}")
        await store.write([start(ref, OpenTask("a", "s.op", 1, 1), events=[event(1), event(2)])])
        print(number, flush=True)

asyncio.run(main())
"""


# -- cost


@pytest.mark.parametrize("file", ["reads.sql", "writes.sql"])
def test_no_statement_walks_through_a_table(file: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in schema.migrations():
            connection.executescript(migration.text)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        tables -= {"sqlite_sequence"}  # a row for each table
        aliases = set(string.ascii_lowercase) - {"v"}
        for name, text in statements(file).items():
            sql = Many(text).text(4) if Many.marked(text) else text
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * _parameters(sql)).fetchall()
            walks = {row[3].split()[1] for row in plan if row[3].startswith("SCAN")} & (tables | aliases)
            # Counting is a page of its own kind, forgetting stops at its LIMIT, and few jobs are open.
            assert not walks or name in ("counts", "forget_requests", "forget_published", "open_jobs"), (name, plan)


@pytest.mark.parametrize(
    ("file", "name", "index"),
    [
        ("reads.sql", "waits", "waits_by_key"),
        ("writes.sql", "waits_at", "waits_by_key"),
        ("writes.sql", "delete_waits", "waits_by_step"),
        ("reads.sql", "listeners", "triggers_by_event"),
        ("reads.sql", "triggers_of_event", "triggers_by_event"),
        ("reads.sql", "due_triggers", "triggers_by_due"),
        ("reads.sql", "tenant_definition_events", "definition_events_by_revision"),
        ("reads.sql", "open_executions", "executions_by_definition"),
        ("reads.sql", "jobs", "jobs_by_tenant"),
        ("reads.sql", "open_jobs", "jobs_open"),
        ("writes.sql", "published_at", "published_events_by_id"),
        ("reads.sql", "snapshot", "sqlite_autoindex_snapshots_1"),
        ("writes.sql", "delete_snapshots", "sqlite_autoindex_snapshots_1"),
    ],
)
def test_an_index_answers_in_its_own_order(file: str, name: str, index: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in schema.migrations():
            connection.executescript(migration.text)
        text = statements(file)[name]
        sql = Many(text).text(1) if Many.marked(text) else text
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * _parameters(sql)).fetchall()
    steps = [row[3] for row in plan]
    assert any(f"INDEX {index}" in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_thinning_out_snapshots_does_not_read_them() -> None:
    """A row is larger than an entry of the index, and a state may fill thousands of pages."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in schema.migrations():
            connection.executescript(migration.text)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statements('writes.sql')['snapshots_at']}", [1]).fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH snapshots USING COVERING INDEX sqlite_autoindex_snapshots_1 (execution=?)"
    ]


async def test_a_snapshot_costs_a_few_statements(store: SqliteStore) -> None:
    key = await started(store)
    told: list[str] = []
    for number in range(1, 7):
        taken = Snapshot(number + 1, 1, b"state", b"c" * 32)
        told = await _statements(store, append(key, number, snapshot=taken))
    assert [each for each in told if "snapshots" in each or each.startswith("SELECT sequence")] == [
        "SELECT sequence FROM",
        "DELETE FROM snapshots",
    ]
    assert told.count("INSERT OR REPLACE") == 1


async def _statements(store: SqliteStore, *writes: Write) -> list[str]:
    """What carrying out these writes asks SQLite to do, by the first words."""
    heard: list[str] = []
    await store._writing.run(lambda connection: connection.set_trace_callback(heard.append))
    await written(store, *writes)
    await store._writing.run(lambda connection: connection.set_trace_callback(None))
    # What a trigger does is told as the statement that set it off, once more.
    return [" ".join(each.split()[:3]) for each, _ in groupby(heard)]


async def test_a_step_pays_for_nothing_that_it_does_not_use(store: SqliteStore) -> None:
    key = await started(store)
    assert await _statements(store, append(key, 1)) == [
        "BEGIN IMMEDIATE",
        "UPDATE executions SET",
        "INSERT INTO events",
        "COMMIT",
    ]
    done = append(key, 2, CloseExecution(), head=head(3, "COMPLETED", ended_at=NOW))
    told = await _statements(store, done)
    assert not any(table in each for each in told for table in ("lines", "waits", "outbox", "triggers")), told


async def test_an_event_that_starts_an_execution_takes_a_handful_of_statements(store: SqliteStore) -> None:
    (published,) = await written(store, change(triggers=(listening(),)))
    starts = (TriggerStart("t", start(A)),)
    event = EventAcceptance("acme", "p-1", "paid", "k", b"1", b"{}", NOW, NOW + DAY, published.revision, starts)
    told = await _statements(store, event)
    assert len(told) <= 12, told


def _parameters(sql: str) -> int:
    numbered = [int(number) for number in re.findall(r"\?(\d)", sql)]
    return max(numbered) if numbered else sql.count("?")


# -- size


async def test_an_execution_of_ten_steps_fits_in_5_kb(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    empty = path.stat().st_size
    store = SqliteStore(path)
    await store.open()
    executions = 100
    for first in range(0, executions, 20):
        await written(store, *[_ten_steps(number) for number in range(first, first + 20)])
    await store.close()
    assert (path.stat().st_size - empty) / executions < 5 * 1024


def _ten_steps(number: int) -> Write:
    ref = ExecutionRef("default", f"0192f3a4-7c1e-7aaa-8bbb-{number:012x}")
    result = b'"result":{"value":"0123456789012345678901234567890123456"}}'
    facts = [("ExecutionStarted", b'{"definition_id":"linear10","version":1,"input":{}}')]
    for step in range(10):
        path = b"step_%d" % step
        scheduled = b'{"path":"%b","step":"%b","kind":"task","operation":"bench.noop","input":{}}' % (path, path)
        facts += [("StepScheduled", scheduled), ("StepCompleted", b'{"path":"%b",' % path + result)]
    facts.append(("ExecutionCompleted", b'{"output":{"value":"0123456789012345678901234567890123456"}}'))
    events: list[StoredEvent] = []
    previous = b""
    for sequence, (name, payload) in enumerate(facts, 1):
        context = b"{}" if sequence % 2 else None
        previous = event_hash(previous, *ref, sequence, name, payload, NOW + sequence, None, None, context)
        events.append(StoredEvent(sequence, name, payload, NOW + sequence, previous, None, None, context))
    remembered = request(f"0192f3a4-7c1e-7aaa-8bbb-{number:012x}", identity=ref.execution_id)
    return start(ref, events=events, head=head(len(events), "COMPLETED", ended_at=NOW), requests=(remembered,))
