"""A backup over the wire, restored: what the old server handed out is refused by the new one, and all goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.scenarios.kit import (
    HOLD,
    LINEAR,
    WAITING,
    Api,
    disposition,
    eventually,
    payload,
    refusal_of,
    refused,
    serve,
    status,
    value,
    worker,
)

from callboard.client import Client, errors
from callboard.runtime.generations import REVISIONS_PER_GENERATION
from callboard.runtime.stores.sqlite_restore import restore
from callboard.v1 import (
    definition_service_pb2,
    execution_events_pb2,
    execution_service_pb2,
    server_service_pb2,
    tasks_pb2,
    worker_service_pb2,
)

PAGED = execution_service_pb2.ListExecutionsRequest(page_size=1)


async def back_up(api: Api, path: Path) -> Any:
    async with Client(api.server.address) as client:
        return await client.backup(path)


async def complete(api: Api, token: bytes) -> Any:
    result = tasks_pb2.TaskResult(task_token=token, output=payload("late"))
    request = worker_service_pb2.CompleteTasksRequest(worker_id="w-old", results=[result])
    return (await api.workers.CompleteTasks(request)).acks[0]


async def beat(api: Api, token: bytes) -> Any:
    heartbeat = tasks_pb2.TaskHeartbeat(task_token=token)
    request = worker_service_pb2.HeartbeatTasksRequest(worker_id="w-old", heartbeats=[heartbeat])
    return (await api.workers.HeartbeatTasks(request)).acks[0]


async def position(api: Api) -> str:
    call = api.executions.WatchEvents(execution_events_pb2.WatchEventsRequest())
    first = await call.read()
    call.cancel()
    return str(first.position)


async def test_what_the_time_before_a_restore_has_issued_is_refused_and_all_goes_on(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    old.mkdir()
    async with serve(old) as api:
        kept = (await api.publish(LINEAR)).revision
        for number in range(3):
            await api.start("linear", f"x-{number}")
        made = await back_up(api, file)
        lost = (await api.publish(WAITING)).revision
        async with worker(api, lambda _: HOLD, operations=["s.one"]) as stub:
            held = (await stub.seen(3))[0].task_token
        page = (await api.executions.ListExecutions(PAGED)).next_page_token
        place = await position(api)
    assert (made.generation, made.size_bytes) == (1, file.stat().st_size)
    assert made.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    restored = restore(file, new / "callboard.db")
    assert (restored.generation, restored.open_executions) == (2, 3)
    async with serve(new) as api:
        await _refused_all(api, held, page, place, lost)
        listed = await api.executions.ListExecutions(PAGED)
        assert listed.next_page_token
        answer = await api.definitions.GetDefinition(
            definition_service_pb2.GetDefinitionRequest(definition_id="linear", min_revision=kept)
        )
        assert answer.definition.definition_id == "linear"
        assert (await api.publish(WAITING)).revision == REVISIONS_PER_GENERATION + 1
        async with worker(api, lambda task: value(task.input)):
            for number in range(3):
                assert (await api.ended(f"x-{number}")).status == status("COMPLETED")
        assert disposition(await complete(api, held)) == "INVALID"


async def _refused_all(api: Api, token: bytes, page: str, place: str, revision: int) -> None:
    for ack in (await complete(api, token), await beat(api, token)):
        assert disposition(ack) == "INVALID"
        assert "restored from a backup" in ack.message
    turned = execution_service_pb2.ListExecutionsRequest(page_size=1, page_token=page)
    starting = execution_service_pb2.StartExecutionRequest(definition_id="linear", min_revision=revision)
    reading = definition_service_pb2.GetDefinitionRequest(definition_id="linear", min_revision=revision)
    watch = api.executions.WatchEvents(execution_events_pb2.WatchEventsRequest(position=place))
    calls = (
        api.executions.ListExecutions(turned),
        api.executions.StartExecution(starting),
        api.definitions.GetDefinition(reading),
        watch.read(),
    )
    for call in calls:
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "OTHER_GENERATION")
        assert refusal.metadata == {"generation": "2"}


async def test_one_backup_at_a_time_and_one_that_nobody_takes_makes_room(api: Api, tmp_path: Path) -> None:
    await api.publish(LINEAR)
    for number in range(40):
        await api.start("linear", f"x-{number}", input=payload("x" * 100_000))
    first = api.admin.Backup(server_service_pb2.BackupRequest())
    header = (await first.read()).header
    assert (header.generation, header.created_at.ToMicroseconds() > 0) == (1, True)
    assert header.size_bytes > 4_000_000
    second = await refused(api.admin.Backup(server_service_pb2.BackupRequest()).read())
    assert (second.code, second.reason) == ("RESOURCE_EXHAUSTED", "SERVER_BUSY")
    assert second.retry_after is not None
    first.cancel()

    async def made() -> bool:
        try:
            async with Client(api.server.address) as client:
                await client.backup(tmp_path / "backup", overwrite=True)
        except errors.ServerBusy:
            return False
        return True

    await eventually(made)
    assert not list(tmp_path.glob("*.db-backup"))
    assert not list(tmp_path.glob("*.part"))


async def test_a_client_overwrites_nothing_and_leaves_nothing_half(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("mine")
    async with Client(api.server.address) as client:
        with pytest.raises(FileExistsError):
            await client.backup(file)
        assert file.read_text() == "mine"
        told: list[tuple[int, int]] = []
        made = await client.backup(file, overwrite=True, progress=lambda *now: told.append(now))
        assert told[0] == (0, made.size_bytes)
        assert told[-1] == (made.size_bytes, made.size_bytes)
        with pytest.raises(FileNotFoundError):
            await client.backup(tmp_path / "nowhere" / "backup")
    assert not file.with_name("backup.part").exists()


async def test_a_server_that_ends_sends_the_receiver_home(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(LINEAR)
        for number in range(40):
            await api.start("linear", f"x-{number}", input=payload("x" * 100_000))
        call = api.admin.Backup(server_service_pb2.BackupRequest())
        await call.read()
        await api.server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            while await call.read() is not grpc.aio.EOF:
                pass
        assert refusal_of(error.value).reason == "SERVER_DRAINING"
