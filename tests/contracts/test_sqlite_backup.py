"""Backups of a SQLite store, and what a restore makes of them."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.store_kit import A, append, change, enqueue, event, head, ref, start, started, written

from callboard.runtime.backup_rows import SEAL_BYTES
from callboard.runtime.core.refusals import Refused
from callboard.runtime.generations import REVISIONS_PER_GENERATION, check_revision
from callboard.runtime.ports import StoreRefusedError
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.stores.sqlite_restore import restore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def backup(store: SqliteStore, tmp_path: Path) -> Path:
    """Of a store with a definition at revision 1, and an execution with an accepted event."""
    await started(store)
    await written(store, change(), enqueue())
    return (await store.back_up(tmp_path / "backup")).path


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    return store


def beside(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir() if file.name.startswith(path.name)} - {f"{path.name}.lock"}


# -- making one ------------------------------------------------------------------------------------------------


async def test_a_backup_is_of_one_moment_while_others_write(store: SqliteStore, tmp_path: Path) -> None:
    key = await started(store)
    big = b'{"path":"' + b"x" * 20_000 + b'"}'
    for sequence in range(2, 200):
        await written(store, append(key, sequence - 1, events=[event(sequence, payload=big)], head=head(sequence)))
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        loop.call_soon_threadsafe(begun.set)

    making = asyncio.create_task(store.back_up(tmp_path / "backup", progress))
    await begun.wait()
    assert not making.done()
    sequence = 200
    while not making.done():
        await written(store, append(key, sequence - 1, events=[event(sequence)], head=head(sequence)))
        sequence += 1
    made = await making
    assert sequence > 201, "nothing was written meanwhile"
    assert told[-1][0] == told[-1][1] == made.size_bytes - SEAL_BYTES
    assert made.path.stat().st_size == made.size_bytes
    with closing(sqlite3.connect(f"{made.path.as_uri()}?immutable=1", uri=True)) as copy:
        assert copy.execute("SELECT max(sequence), count(*) FROM events").fetchall() == [(199, 199)]
        assert copy.execute("SELECT sequence FROM executions").fetchall() == [(199,)]


async def test_a_copy_that_is_given_up_leaves_nothing(store: SqliteStore, path: Path) -> None:
    await started(store)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def progress(_done: int, _total: int) -> None:
        loop.call_soon_threadsafe(begun.set)

    making = asyncio.create_task(store.back_up(None, progress))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert not store.scratch_path(path).exists()


async def test_what_a_killed_process_left_is_gone_at_the_next_opening(path: Path) -> None:
    SqliteStore.scratch_path(path).write_bytes(b"half")
    await (await opened(path)).close()
    assert beside(path) == {path.name}


async def test_without_room_nothing_is_begun(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(Refused, match=r"STORAGE_FULL.* 1000000 are free"):
        await store.back_up(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    await started(store)


async def test_where_there_is_no_folder_it_says_so(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"STORAGE_FULL.*No such file"):
        await store.back_up(tmp_path / "nowhere" / "backup")


async def test_a_damaged_database_gives_no_backup(path: Path, tmp_path: Path) -> None:
    store = await opened(path)
    for number in range(300):
        await written(store, start(ref(f"e-{number}")))
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_by_sequence'").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * page + 3)
        file.write(b"\xff\xff")
    store = await opened(path)
    with pytest.raises(Refused, match="HISTORY_DAMAGED"):
        await store.back_up(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    await store.close()


async def test_a_store_in_memory_has_none(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"UNSUPPORTED.*in memory"):
        await MemoryStore().back_up(tmp_path / "backup")


# -- restoring -------------------------------------------------------------------------------------------------


async def test_a_restored_store_goes_on_in_the_next_generation(
    store: SqliteStore, backup: Path, tmp_path: Path
) -> None:
    await written(store, change(1, published=2))
    target = tmp_path / "new" / "orders.db"
    restored = restore(backup, target)
    assert (restored.generation, restored.open_executions) == (2, 1)
    assert beside(target) == {"orders.db"}
    new = SqliteStore(target)
    info = await new.open()
    assert (info.generation, info.store_id, info.boot) == (2, restored.store_id, 2)
    record = await new.execution(A)
    assert record is not None and len(await new.inbox(record.key, 10)) == 1
    (appended, changed) = await written(new, append(record.key, 1), change(1, published=2))
    assert changed.revision == REVISIONS_PER_GENERATION + 1 == await new.revision("acme")
    assert (appended.key, await new.revision("other")) == (record.key, REVISIONS_PER_GENERATION)
    await new.close()
    assert restore(backup, tmp_path / "third" / "orders.db").generation == 2


async def test_revisions_that_a_restore_has_lost_are_refused_and_others_are_not(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "orders.db"
    restore(backup, target)
    store = await opened(target)
    first = REVISIONS_PER_GENERATION
    for kept in (1, first, first + 1, first + 99):
        await check_revision(store, 2, "acme", kept)
    for lost in (2, first - 1, 2 * first):
        with pytest.raises(Refused, match="OTHER_GENERATION"):
            await check_revision(store, 2, "acme", lost)
    with pytest.raises(Refused, match="OTHER_GENERATION"):
        await check_revision(store, 2, "other", 1)
    await store.close()


async def test_a_store_is_replaced_only_when_told_to_and_never_falls_back_a_generation(
    store: SqliteStore, backup: Path, path: Path
) -> None:
    with pytest.raises(StoreRefusedError, match="is in use by process"):
        restore(backup, path, replace=True)
    await written(store, start(ref("later")))
    await store.close()
    with pytest.raises(StoreRefusedError, match="is there already"):
        restore(backup, path)
    path.with_name(f"{path.name}-deciding").write_bytes(b"x" * 24)
    assert restore(backup, path, replace=True).generation == 2
    assert restore(backup, path, replace=True).generation == 3, "one more than in the store that is given up"
    assert beside(path) == {path.name}
    again = await opened(path)
    assert await again.execution(ref("later")) is None
    assert await again.execution(A) is not None
    await again.close()


async def test_the_log_of_the_old_store_is_not_taken_for_the_new_ones(
    store: SqliteStore, backup: Path, tmp_path: Path
) -> None:
    """As a kill leaves it: much is in the log only."""
    for number in range(50):
        await written(store, start(ref(f"later-{number}")))
    killed = tmp_path / "killed" / "orders.db"
    killed.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"orders.db{suffix}", killed.with_name(f"orders.db{suffix}"))
    restore(backup, killed, replace=True)
    with closing(sqlite3.connect(killed)) as connection:
        assert connection.execute("SELECT count(*) FROM executions").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_damaged_database_can_be_replaced(backup: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all" * 1_000)
    broken.with_name("broken.db-wal").write_bytes(b"nonsense")
    assert restore(backup, broken, replace=True).generation == 2
    assert beside(broken) == {"broken.db"}


async def test_a_cut_or_changed_backup_is_refused_and_nothing_is_left(backup: Path, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    places = [0, 17, 100, len(whole) // 2, len(whole) - SEAL_BYTES - 1, *range(len(whole) - SEAL_BYTES, len(whole))]
    flipped = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    cut = [whole[:length] for length in (0, 10, 5_000, len(whole) - SEAL_BYTES, len(whole) - 1)]
    doubled = [whole + b"x", whole[:-SEAL_BYTES] + whole[-SEAL_BYTES:] * 2]
    target = tmp_path / "new" / "orders.db"
    for bytes_ in (*flipped, *cut, *doubled):
        backup.write_bytes(bytes_)
        with pytest.raises(StoreRefusedError, match="backup"):
            restore(backup, target)
        assert not beside(target)
    backup.write_bytes(whole)
    assert restore(backup, target).generation == 2


async def test_a_database_without_a_seal_is_taken_when_one_insists(store: SqliteStore, path: Path) -> None:
    await started(store)
    await store.close()
    target = path.with_name("new.db")
    with pytest.raises(StoreRefusedError, match="--unsealed"):
        restore(path, target)
    assert restore(path, target, unsealed=True).open_executions == 1


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    other, empty = tmp_path / "other.db", tmp_path / "empty.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect(empty)) as connection:
        connection.execute("PRAGMA user_version = 1")
    for path, said in ((other, "another program"), (empty, "empty database"), (tmp_path / "none", "No such file")):
        with pytest.raises(StoreRefusedError, match=said):
            restore(path, tmp_path / "new.db", unsealed=True)
    assert not beside(tmp_path / "new.db")


async def test_a_backup_of_a_newer_program_is_refused(backup: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    newer.write_bytes(backup.read_bytes()[:-SEAL_BYTES])
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
        connection.commit()
    with pytest.raises(StoreRefusedError, match="schema version 99"):
        restore(newer, tmp_path / "new.db", unsealed=True)


async def test_a_restore_without_room_leaves_nothing(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=backup.stat().st_size))
    with pytest.raises(StoreRefusedError, match="bytes free"):
        restore(backup, tmp_path / "new.db")
    assert not beside(tmp_path / "new.db")
