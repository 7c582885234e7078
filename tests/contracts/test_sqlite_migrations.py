"""Stores of earlier released versions, opened by this one: they keep what they hold, and all of today works on it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contracts.store_kit import (
    DAY,
    NOW,
    A,
    append,
    change,
    head,
    listening,
    ref,
    request,
    start,
    whys,
    written,
)

from callboard.runtime.core.effects import OpenWait
from callboard.runtime.rows import BuryInbox, InboxKind, InboxRow, RequeueLetter, Snapshot
from callboard.runtime.stores import schema
from callboard.runtime.stores.sqlite import SqliteStore, pending_migrations
from callboard.runtime.trigger_rows import EventAcceptance
from callboard.runtime.writes import Why


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
async def migrated(path: Path) -> AsyncIterator[SqliteStore]:
    """A store of the first released version, opened by this one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema.migrations()[0].text)
        connection.executescript(Path(__file__).with_name("store_0001.sql").read_text("utf-8"))
    assert pending_migrations(path) == [migration.name for migration in schema.migrations()[1:]]
    store = SqliteStore(path)
    assert (await store.open()).boot == 2
    yield store
    await store.close()


async def test_a_store_of_the_first_version_keeps_all_it_holds(path: Path, migrated: SqliteStore) -> None:
    record = await migrated.execution(A)
    assert record is not None and record.head == head(1, labels=b'{"team":"x"}')
    assert [task.path for task in await migrated.open_tasks((0, ""), 10)] == ["charge"]
    assert [timer.timer for timer in await migrated.timers(NOW + DAY, 10)] == ["total"]
    assert await migrated.inbox(record.key, 10) == [
        InboxRow(1, InboxKind.EVENT, "e-1", "paid", b'{"cents":1}', b'{"user":"u"}', NOW)
    ]
    assert await migrated.requests("acme", ["r-1"], NOW) == {"r-1": request()}
    definition = await migrated.definition("acme", "d")
    assert definition is not None
    assert (definition.latest, definition.published, definition.draft) == (2, 0, b'{"id":"d","x":1}')
    assert (definition.state, definition.gone, definition.paused) == ("", (), ())
    assert len(await migrated.tenant_definition_events("acme", (0, "", 0), 10, 1000)) == 3
    assert await migrated.snapshots(3) == [Snapshot(2, 1, b"state", b"c" * 32, created_at=0)]
    assert await migrated.open_count("acme", "d", 1) == (await migrated.counts()).open_executions == 2
    with closing(sqlite3.connect(path.with_name("orders.db.before-0002"))) as backup:
        assert backup.execute("SELECT count(*) FROM executions").fetchall() == [(3,)]


async def test_a_store_of_the_first_version_goes_on(migrated: SqliteStore) -> None:
    waits = OpenWait("step", ("paid",), "k")
    accepted = EventAcceptance("acme", "p-1", "paid", "k", b"1", b"{}", NOW, NOW + DAY, 4)
    outcomes = await written(
        migrated,
        change(3, published=3, triggers=(listening(version=3),)),
        append(1, 1, waits, consumed=(1,)),
        start(ref("new")),
        accepted,
    )
    assert (outcomes[0].revision, outcomes[2].key, outcomes[3].woken) == (4, 4, (A,))
    assert [row.id for row in await migrated.inbox(1, 10)] == [4]


async def test_a_dead_letter_of_the_first_version_is_put_back_as_an_event(migrated: SqliteStore) -> None:
    (ended,) = await migrated.dead_letters("acme", "", 0, 10)
    assert whys(await migrated.write([RequeueLetter("acme", ended.id, NOW)])) == [Why.ENDED]
    await written(migrated, BuryInbox(A, 1, (1,), "POISONED", "it raised", NOW))
    await written(migrated, RequeueLetter("acme", ended.id + 1, NOW + 1))
    (row,) = await migrated.inbox(1, 10)
    assert (row.kind, row.event_id, row.accepted_at) == (InboxKind.EVENT, "e-1", NOW + 1)
