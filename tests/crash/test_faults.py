"""The storage fails in the middle: nothing of that moment is acknowledged, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.crash.kit import CALL_SECONDS, Server, house, payload, read_database, status
from tests.crash.test_restart import FAULTY, GATED, PATIENT, WAITING

from callboard.runtime import Caller, Refused, Runtime, StartRequest
from callboard.runtime.core import events as ev
from callboard.runtime.ports import StorageFailedError
from callboard.runtime.rows import ExecutionAppend
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.stores.sqlite_writer import Writer
from callboard.runtime.writes import Outcome, Write
from callboard.server.process import EXIT_STORAGE_FAILED
from callboard.v1 import execution_service_pb2 as executions_pb2

SEVERAL = 20
MOMENTS = pytest.mark.parametrize("moment", ["before", "after"])
"""Whether the commit that reports a failure has happened: the caller must not be told either way."""


class FailingStore(SqliteStore):
    """A store whose n-th batch of executions fails, before or after its commit."""

    def __init__(self, path: Path, batch: int, moment: str) -> None:
        super().__init__(path)
        self._left = batch
        self._moment = moment
        self.failed_with: list[str] = []
        """The executions of the batch that failed."""

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        appends = [write.ref.execution_id for write in batch if isinstance(write, ExecutionAppend)]
        self._left -= bool(appends)
        if self._left or not appends:
            return await super().write(batch)
        self.failed_with = appends
        if self._moment == "after":
            await super().write(batch)
        raise StorageFailedError("the sync failed (on purpose)")


@MOMENTS
@pytest.mark.parametrize("batch", [1, 3])
async def test_nothing_of_a_failed_batch_is_acknowledged(tmp_path: Path, moment: str, batch: int) -> None:
    database, fatal = tmp_path / "callboard.db", list[BaseException]()
    store = FailingStore(database, batch, moment)
    acknowledged: list[str] = []
    async with Runtime.open(database, store=store, on_fatal=fatal.append) as runtime:
        await runtime.publish(WAITING)
        for round_number in range(batch + 1):
            names = [f"x-{round_number}-{number}" for number in range(SEVERAL)]
            begun = [runtime.start(Caller(), StartRequest("waiting", execution_id=name)) for name in names]
            answers = await asyncio.gather(*begun, return_exceptions=True)
            acknowledged += [
                name for name, answer in zip(names, answers, strict=True) if not isinstance(answer, BaseException)
            ]
        assert len(fatal) == 1 and isinstance(fatal[0], StorageFailedError)
    assert store.failed_with and not set(acknowledged) & set(store.failed_with)
    assert len(acknowledged) >= (batch - 1) * SEVERAL
    stored = (await read_database(tmp_path)).executions
    assert set(acknowledged) <= set(stored)
    assert (set(stored) - set(acknowledged) != set()) == (moment == "after")


class _SyncFails:
    """A connection whose commits end in an error of the disk: what they left there is not known."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return self._connection.execute(sql, *parameters)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
        raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_a_sync_that_fails_is_final_also_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, fatal = tmp_path / "callboard.db", list[BaseException]()
    flush = Writer.flush

    def failing(self: Writer, batch: Sequence[Write]) -> list[Outcome]:
        if isinstance(connection := self._connection, sqlite3.Connection):
            self._connection = _SyncFails(connection)  # type: ignore[assignment]
        return flush(self, batch)

    async with Runtime.open(database, on_fatal=fatal.append) as runtime:
        await runtime.publish(WAITING)
        monkeypatch.setattr(Writer, "flush", failing)
        for name in ("x-1", "x-2"):
            with pytest.raises(Refused) as refused:
                await runtime.start(Caller(), StartRequest("waiting", execution_id=name))
            assert refused.value.refusal.reason == "STORAGE_UNAVAILABLE"
        assert len(fatal) == 1
    assert (await read_database(tmp_path)).executions == {}


@MOMENTS
async def test_a_server_whose_storage_fails_ends_at_once_and_acknowledges_nothing(tmp_path: Path, moment: str) -> None:
    async with house(tmp_path, *PATIENT) as own:
        server = await own.server.start(program=(*FAULTY, f"fail-{moment}", "StepCompleted"))
        await server.publish(GATED)
        await server.publish(WAITING)
        for number in range(SEVERAL):
            await server.begin("waiting", f"asleep-{number}")
        worker = await own.worker("w")
        await server.begin("gated", "x-1", {"gate": str(tmp_path)})
        assert await server.process.ended() == EXIT_STORAGE_FAILED
        assert not worker.lines("acked")
        server.gone()
        await server.start()
        assert status(await server.end_of("x-1")) == "COMPLETED"
        assert len(worker.lines("begun")) == 1, "the task ran twice"
        await server.kill()
    executions = (await read_database(server.data)).executions
    assert set(executions) == {"x-1", *[f"asleep-{number}" for number in range(SEVERAL)]}
    assert len(executions["x-1"].of(ev.StepCompleted)) == 1


@pytest.mark.parametrize("fault", ["fail-before", "fail-after", "kill-before", "kill-after"])
async def test_a_start_whose_answer_was_lost_is_repeated_without_a_second_execution(tmp_path: Path, fault: str) -> None:
    async with house(tmp_path) as own:
        server = await own.server.start(program=(*FAULTY, fault, "ExecutionStarted"))
        await server.publish(WAITING)
        # The server chooses the id, so that only the request id can tell a repeat.
        request = executions_pb2.StartExecutionRequest(
            definition_id="waiting", input=payload(None), request_id="the one"
        )
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await server.now.executions.StartExecution(request, timeout=CALL_SECONDS)
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        await server.process.ended()
        server.gone()
        await server.start()
        first = await _start(server, request)
        await server.kill()
        await server.start()
        assert await _start(server, request) == first
        await server.kill()
    assert set((await read_database(server.data)).executions) == {first}


async def _start(server: Server, request: Any) -> str:
    response = await server.insist(lambda stubs: stubs.executions.StartExecution(request, timeout=CALL_SECONDS))
    return str(response.execution.execution_id)
