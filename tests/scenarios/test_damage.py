"""A server over a damaged database file: what is damaged is named, and all the rest can be seen and goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import WAITING, Api, serve, status

from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2

NAMES = ["x-1", "x-2", "x-3"]
ROW = "WHERE execution = 2 AND sequence = 3"
DAMAGES = [
    ["UPDATE executions SET state = CAST(x'c5' AS TEXT) WHERE key = 2"],
    ["UPDATE executions SET labels = '{', version = 1 << 40, hash = 'x', updated_at = 'x' WHERE key = 2"],
    [f"UPDATE events SET context = '{{', to_state = x'00' {ROW}"],
    [f"UPDATE events SET name = CAST(name AS BLOB), payload = CAST(x'c5' AS TEXT) {ROW}"],
    [f"UPDATE events SET created_at = 'x', hash = 7, event_id = x'00' {ROW}"],
    ["UPDATE snapshots SET data = 7 WHERE execution = 2"],
]


async def damaged(data: Path, statements: Sequence[str]) -> None:
    """A store with three executions that wait, of which the second one is damaged."""
    async with serve(data) as api:
        await api.publish(WAITING)
        for name in NAMES:
            await api.start("waiting", name)
            await api.submit(name, "go", name)
            request = pb2.CreateSnapshotRequest(execution_id=name)
            await api.executions.CreateSnapshot(request, metadata=api.metadata)
        (file,) = (path for path in data.iterdir() if path.suffix == ".db")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0


async def verify(api: Api, name: str) -> Any:
    return await api.executions.VerifyExecution(pb2.VerifyExecutionRequest(execution_id=name), metadata=api.metadata)


async def feed(api: Api, count: int) -> list[tuple[str, int]]:
    """The first events of the tenant."""
    seen: list[tuple[str, int]] = []
    watch = api.executions.WatchEvents(events_pb2.WatchEventsRequest(from_start=True), metadata=api.metadata)
    async with asyncio.timeout(30):
        async for page in watch:
            seen += [(event.execution_id, event.sequence) for event in page.events]
            if len(seen) >= count:
                watch.cancel()
                return seen
    raise AssertionError(seen)


@pytest.mark.parametrize("statements", DAMAGES, ids=[one[0].split(" SET ")[1][:30] for one in DAMAGES])
async def test_a_damaged_row_is_named_and_hides_and_stops_no_other(tmp_path: Path, statements: list[str]) -> None:
    await damaged(tmp_path, statements)
    async with serve(tmp_path) as api:
        listed = await api.executions.ListExecutions(pb2.ListExecutionsRequest(), metadata=api.metadata)
        names = [execution.execution_id for execution in listed.executions]
        assert sorted(names) == NAMES
        assert [(await verify(api, name)).valid for name in NAMES] == [True, False, True]
        last = (await api.get("x-1")).sequence
        assert [event.sequence for event in await api.history("x-2")] == list(range(1, last + 1))
        seen = await feed(api, 3 * last)
        assert sorted(seen) == [(name, sequence) for name in NAMES for sequence in range(1, last + 1)]
        await api.enqueue("x-2", "more", 2)
        for name in ("x-1", "x-3"):
            assert (await api.submit(name, "more", 1)).execution.status == status("COMPLETED")
