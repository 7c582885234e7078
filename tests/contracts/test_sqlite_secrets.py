"""Sensitive values in a file: what is erased is in none any more, whatever was in the way."""

import asyncio
import random
import re
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.store_contract_retention import deletion
from tests.contracts.store_contract_secrets import KEY, REDACTED, commitment, erasing, sealed, secrets
from tests.contracts.store_kit import NOW, A, B, append, enqueue, event, head, ref, start, started, written

from callboard.runtime.core.effects import CloseExecution
from callboard.runtime.rows import BuryInbox, Erasure, InboxInsert, SealedValue, Secrets
from callboard.runtime.stores import schema, sqlite
from callboard.runtime.stores.sql import Many, statements
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.stores.sqlite_doctor import examine
from callboard.runtime.stores.sqlite_restore import restore
from callboard.runtime.writes import Write

CHANCE = random.Random(4)
SECRET = CHANCE.randbytes(32)
CIPHERTEXT = CHANCE.randbytes(80)
LARGE = CHANCE.randbytes(9_000)
SAID = b"4000-0000-0000-0002"
TEXT = CHANCE.randbytes(6_000).hex().encode()
"""More than a page holds."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def lying_in(folder: Path, *needles: bytes) -> list[bool]:
    """Which of these are in a file of the folder."""
    contents = [file.read_bytes() for file in folder.iterdir() if file.is_file()]
    return [any(needle in content for content in contents) for needle in needles]


async def copied(store: SqliteStore) -> None:
    """What is in the log is in the database as well."""
    await store._writing.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())


async def wiped(store: SqliteStore) -> None:
    while store._wiping is not None:
        await asyncio.wait([store._wiping])


async def filled(store: SqliteStore) -> int:
    """An execution with a key and two values, among others."""
    values = (SealedValue(commitment(1), CIPHERTEXT), SealedValue(commitment(2), LARGE))
    others = [start(ref(f"x{number}"), secrets=secrets(*range(5, 9))) for number in range(20)]
    (committed, *_) = await written(store, start(secrets=Secrets(SECRET, values)), *others)
    await copied(store)
    return committed.key


async def test_what_is_erased_is_in_no_file(path: Path, store: SqliteStore) -> None:
    key = await filled(store)
    other = await started(store, ref=B, secrets=secrets(1))
    assert lying_in(path.parent, SECRET, CIPHERTEXT, LARGE[-200:]) == [True] * 3
    await written(store, erasing(key, 1))
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT, LARGE[:200], LARGE[-200:]) == [False] * 4
    assert await store.secrets(other, [commitment(1)]) == secrets(1)
    assert lying_in(path.parent, KEY) == [True]
    await written(store, append(other, 1, ref=B))


async def test_what_is_erased_was_not_in_the_database_yet(path: Path, store: SqliteStore) -> None:
    key = await started(store, secrets=Secrets(SECRET, (SealedValue(commitment(1), CIPHERTEXT),)))
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [True] * 2
    await written(store, erasing(key, 1), start(B))
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [False] * 2


async def test_of_many_keys_those_that_are_erased_are_in_no_file(path: Path, store: SqliteStore) -> None:
    keys = [CHANCE.randbytes(32) for _ in range(400)]
    late = set(CHANCE.sample(range(400), 150))
    for number, key in enumerate(keys):
        await written(store, start(ref(f"x{number}"), secrets=None if number in late else Secrets(key, sealed(number))))
    for number in late:
        await written(
            store, append(number + 1, 1, ref=ref(f"x{number}"), secrets=Secrets(keys[number], sealed(number)))
        )
    await copied(store)
    assert all(lying_in(path.parent, *keys))
    gone = set(CHANCE.sample(range(400), 200))
    sequences = {number: 2 if number in late else 1 for number in gone}
    await written(store, *(erasing(number + 1, last, ref=ref(f"x{number}")) for number, last in sequences.items()))
    await wiped(store)
    assert lying_in(path.parent, *keys) == [number not in gone for number in range(400)]


async def test_what_was_sent_lies_nowhere_once_it_is_worked_off_and_the_log_is_wiped(
    path: Path, store: SqliteStore
) -> None:
    key = await filled(store)
    rows = [
        committed.inbox_id
        for committed in await written(
            store,
            InboxInsert(A, "e-1", "paid", b'{"card":"%b"}' % SAID, b"{}", NOW),
            InboxInsert(A, "e-2", "paid", b'{"text":"%b"}' % TEXT, b"{}", NOW),
            InboxInsert(A, "e-3", "paid", b'{"buried":"%b"}' % TEXT[::-1], b"{}", NOW),
            *(enqueue(f"f-{number}") for number in range(200)),
        )
    ]
    await written(store, BuryInbox(A, key, (rows[2],), "POISONED", "it raised", NOW))
    await copied(store)
    said = (SAID, TEXT[:100], TEXT[-100:], TEXT[::-1][:100], TEXT[::-1][-100:])
    assert lying_in(path.parent, *said) == [True] * 5
    await written(store, append(key, 1, consumed=(rows[0], rows[1], *rows[3:])))
    (letter,) = await store.dead_letters("acme", "", 0, 9)
    await written(store, erasing(key, 2, (letter.id, REDACTED)))
    await wiped(store)
    assert lying_in(path.parent, *said) == [False] * 5


async def test_a_deleted_execution_leaves_no_key(path: Path, store: SqliteStore) -> None:
    key = await filled(store)
    plain = await started(store, ref=B)
    for each, number in ((A, key), (B, plain)):
        await written(store, append(number, 1, CloseExecution(), ref=each, head=head(2, "FAILED", ended_at=NOW)))
    await written(store, deletion(B))
    assert store._wiping is None
    await written(store, deletion())
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [False] * 2


async def test_an_erasure_among_writes_that_fail(path: Path, store: SqliteStore) -> None:
    key = await filled(store)
    outcomes = await store.write([erasing(key, 1), start(B, head=head(1, labels=None))])
    assert len(outcomes) == 2
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [False] * 2


# -- what is in the way


async def test_after_a_crash_the_next_opening_wipes_the_log(
    path: Path, tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_WIPE_PAUSE_SECONDS", 3600)
    key = await filled(store)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        await written(store, erasing(key, 1))
        assert store._writer is not None
        await asyncio.wait([store._copy_soon(store._writer)])
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", crashed)
    assert lying_in(crashed, SECRET, CIPHERTEXT) == [True] * 2
    again = SqliteStore(crashed / path.name)
    await again.open()
    await wiped(again)
    assert lying_in(crashed, SECRET, CIPHERTEXT) == [False] * 2
    assert (await again.secrets(key, [commitment(1)])) == Secrets()
    await again.close()


async def test_a_reader_puts_it_off(path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_WIPE_PAUSE_SECONDS", 0)
    key = await filled(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        await written(store, erasing(key, 1))
        await written(store, start(B))
        assert lying_in(path.parent, SECRET, CIPHERTEXT) == [True] * 2
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [False] * 2


async def test_a_backup_puts_it_off_and_holds_what_there_was(
    path: Path, tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_WIPE_PAUSE_SECONDS", 0)
    key = await filled(store)
    begun, erased = threading.Event(), threading.Event()

    def progress(done: int, total: int) -> None:
        begun.set()
        erased.wait(60)

    target = tmp_path / "copies" / "backup"
    target.parent.mkdir()
    backup = asyncio.create_task(store.back_up(target, progress))
    await asyncio.to_thread(begun.wait, 60)
    await written(store, erasing(key, 1))
    await written(store, start(B))
    assert lying_in(path.parent, SECRET) == [True]
    erased.set()
    await backup
    await wiped(store)
    assert lying_in(path.parent, SECRET, CIPHERTEXT) == [False] * 2
    restored = tmp_path / "restored" / "orders.db"
    restore(target, restored)
    from_backup = SqliteStore(restored)
    await from_backup.open()
    assert await from_backup.secrets(key, [commitment(1)]) == Secrets(SECRET, (SealedValue(commitment(1), CIPHERTEXT),))
    await from_backup.close()


# -- rows and statements


async def test_a_flush_that_overwrites_leaves_the_others_as_fast_as_they_were(store: SqliteStore) -> None:
    key = await started(store)
    (accepted,) = await written(store, enqueue())
    for write in (
        append(key, 1, consumed=(accepted.inbox_id,)),
        append(key, 2, erases=Erasure()),
        append(key, 3, CloseExecution(), head=head(4, "FAILED", ended_at=NOW)),
        deletion(),
        start(B, secrets=Secrets(b"k", (SealedValue(commitment(1), None),))),  # type: ignore[arg-type]
    ):
        await store.write([write])
        assert await store._writing.run(lambda c: c.execute("PRAGMA secure_delete").fetchone()) == (2,)


async def test_commitments_are_stored_as_bytes(path: Path, store: SqliteStore) -> None:
    await started(store, secrets=secrets(1))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT typeof(commitment), length(commitment) FROM sealed_values").fetchall()
    assert rows == [("blob", 32)]


async def test_only_who_has_secrets_pays_for_them(store: SqliteStore) -> None:
    key = await started(store)
    assert await told(store, append(key, 1), start(B), enqueue()) == []
    looks, puts_key, puts_values = "SELECT execution", "INSERT INTO secrets", "INSERT INTO sealed_values"
    assert await told(store, append(key, 2, secrets=secrets(1, 2))) == [looks, puts_key, puts_values]
    assert await told(store, append(key, 3, secrets=secrets(3, key=b""))) == [looks, puts_values]
    assert await told(store, start(ref("new"), secrets=secrets(1))) == [puts_key, puts_values]


async def told(store: SqliteStore, *writes: Write) -> list[str]:
    """How the statements begin that have to do with secrets."""
    heard: list[str] = []
    await store._writing.run(lambda connection: connection.set_trace_callback(heard.append))
    await written(store, *writes)
    await store._writing.run(lambda connection: connection.set_trace_callback(None))
    concerned = [each for each in heard if re.search("secrets|sealed_values|secure_delete", each)]
    return [" ".join(each.split()[: 2 if each.startswith("SELECT") else 3]) for each in concerned]


@pytest.mark.parametrize(
    ("file", "name"),
    [*(("secrets.sql", name) for name in statements("secrets.sql")), ("retention.sql", "remove_leftover_values")],
)
def test_no_statement_walks_through_a_table(file: str, name: str) -> None:
    text = statements(file)[name]
    sql = Many(text).text(4) if Many.marked(text) else text
    numbered = [int(number) for number in re.findall(r"\?(\d)", sql)]
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in schema.migrations():
            connection.executescript(migration.text)
        values = [1] * (max(numbered) if numbered else sql.count("?"))
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert not [line for line in plan if re.match(r"SCAN (s|secrets|sealed_values|dead_letters|leftovers)\b", line)], (
        plan
    )
    assert not [line for line in plan if "TEMP B-TREE" in line], plan


@pytest.mark.parametrize(("table", "row"), [("secrets", "(99, x'00')"), ("sealed_values", "(99, x'00', x'00')")])
async def test_secrets_of_no_execution_are_named(path: Path, table: str, row: str) -> None:
    store = SqliteStore(path)
    await store.open()
    await started(store, secrets=secrets(1), events=[event(1)])
    await store.close()
    assert examine(path).sound
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"INSERT INTO {table} VALUES {row}")
    (finding,) = examine(path).findings
    assert (finding.what, finding.message) == ("ORPHANS", f"{table} has 1 rows that belong to no execution")
