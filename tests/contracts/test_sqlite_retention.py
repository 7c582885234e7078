"""What SQLite does with the space of pruned executions, and that a search for expired ones walks an index."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.store_contract_retention import deletion, long
from tests.contracts.store_kit import NOW, A, append, event, head, ref, start, written

from callboard.runtime.core.effects import CloseExecution
from callboard.runtime.retention_rows import ExpiredQuery, LeftoverRemoval
from callboard.runtime.stores.sql import statements
from callboard.runtime.stores.sqlite import SqliteStore

BIG = b'{"text":"' + b"x" * 20_000 + b'"}'


async def _filled_and_emptied(store: SqliteStore) -> None:
    keys: list[int] = []
    for number in range(60):
        made = start(
            ref(f"x{number}"), CloseExecution(), events=[event(1, payload=BIG)], head=head(1, "FAILED", ended_at=NOW)
        )
        await written(store, made)
        await written(store, deletion(ref(f"x{number}")))
        (committed,) = await written(store, made)
        keys.append(committed.key)
    await written(store, *(deletion(ref(f"x{number}")) for number in range(60)))
    assert keys[-1] == 120


def _pages(path: Path, pragma: str = "page_count") -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


async def test_unused_pages_go_back_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    await _filled_and_emptied(store)
    full, left = _pages(path), [await store.give_back(40_960)]
    while left[-1]:
        left.append(await store.give_back(40_960))
    await store.close()
    assert left == sorted(left, reverse=True)
    assert len(left) > 10
    assert left[0] - left[1] in range(36_000, 46_000)
    assert _pages(path) < full / 2
    assert path.stat().st_size == _pages(path) * 4096


async def test_an_older_file_uses_its_pages_again_until_it_is_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA auto_vacuum = NONE; PRAGMA journal_mode = WAL; CREATE TABLE t (x); DROP TABLE t"
        )
    store = SqliteStore(path)
    await store.open()
    await _filled_and_emptied(store)
    full = _pages(path)
    assert await store.give_back(1 << 20) == 0
    await _filled_and_again(store)
    assert _pages(path) == full
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
    assert (_pages(path, "auto_vacuum"), _pages(path) < full) == (2, True)
    again = SqliteStore(path)
    await again.open()
    (committed,) = await written(again, start(A))
    assert committed.key > 120
    await again.close()


async def _filled_and_again(store: SqliteStore) -> None:
    for number in range(40):
        await written(store, start(ref(f"y{number}"), events=[event(1, payload=BIG)]))


async def test_leftovers_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    store = SqliteStore(path)
    await store.open()
    key = await long(store)
    await written(store, deletion())
    await written(store, LeftoverRemoval(key, 100))
    await store.close()
    again = SqliteStore(path)
    await again.open()
    assert await again.leftovers(9) == [key]
    await written(again, LeftoverRemoval(key, 5_000), start(A))
    assert await again.leftovers(9) == []
    record = await again.execution(A)
    assert record is not None and record.key > key
    await written(again, append(record.key, 1))
    await again.close()


@pytest.mark.parametrize("name", ["expired", "remove_leftover", "first_expiries", "expired_count"])
async def test_nothing_is_searched_through(tmp_path: Path, name: str) -> None:
    store = SqliteStore(tmp_path / "orders.db")
    await store.open()
    await store.expired(ExpiredQuery("acme", NOW))
    await store.close()
    sql = statements("retention.sql")[name]
    values = [None] * (8 if name == "expired" else sql.count("?"))
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    tables = [line for line in plan if line.startswith("SCAN") and line not in ("SCAN t", "SCAN of_tenants")]
    assert tables == []
    assert not [line for line in plan if "TEMP B-TREE" in line]
