"""The disk is full: reads go on, writes are refused and say when to come back, and all goes on when there is room.

Twice: with the limit of file sizes, which every machine has, and with a small file system, where one can be mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.crash.kit import CALL_SECONDS, House, Server, house, payload, read_database, received, status, until
from tests.crash.test_restart import WAITING

from callboard.runtime.core import events as ev
from callboard.v1 import execution_service_pb2 as executions_pb2

FILE_BYTES = 4_096
DISK_BYTES = 12 * 1024 * 1024
CLIENTS = 4

WORK = """
id: work
steps:
  - {id: one, task: {service: crash, operation: work, input: {n: 1, ms: 20}}}
  - {id: two, task: {service: crash, operation: work, input: {n: 2, ms: 20}}}
output: "${steps.two.result.n}"
"""


class Disk(Protocol):
    """A disk that can be filled and emptied while the server runs."""

    def fill(self, server: Server) -> None:
        """Leave no room."""
        ...

    def empty(self, server: Server) -> None:
        """Make room again."""
        ...


class FileSizeLimit:
    """Files of the process that grow fail from now on, whatever there is room for."""

    def fill(self, server: Server) -> None:
        self._set(server, FILE_BYTES)

    def empty(self, server: Server) -> None:
        self._set(server, resource.RLIM_INFINITY)

    def _set(self, server: Server, size: int) -> None:
        resource.prlimit(server.process.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class SmallFileSystem:
    """A file system in memory, and a file that takes all that is left of it."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"

    def fill(self, server: Server) -> None:
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(65_536) if self._left() > 65_536 else b"\0")

    def _left(self) -> int:
        found = os.statvfs(self._ballast.parent)
        return found.f_bavail * found.f_frsize

    def empty(self, server: Server) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def _mounted(path: Path) -> Iterator[Path]:
    """A small file system, or a skipped test: the same was tested with the limit of file sizes."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "callboard-test", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


class Load:
    """Callers that begin executions one after the other and remember what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.acknowledged: list[str] = []
        self.refusals: list[grpc.aio.AioRpcError] = []
        self.stopping = False

    async def run(self, name: str) -> None:
        """Until it is stopped; what is refused is tried again with the same request id."""
        count = 0
        while not self.stopping:
            count += 1
            await self._insist(f"{name}-{count}")

    async def goes_on(self) -> None:
        """Ten more have been acknowledged."""
        enough = len(self.acknowledged) + 10
        await until(lambda: len(self.acknowledged) >= enough, "writes go on")

    async def _insist(self, execution_id: str) -> None:
        request = executions_pb2.StartExecutionRequest(
            definition_id="work",
            execution_id=execution_id,
            input=payload({"ballast": "x" * 2_000}),
            request_id=f"start {execution_id}",
        )
        while True:
            try:
                await self._server.now.executions.StartExecution(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.refusals.append(error)
                await asyncio.sleep(0.05)
            else:
                self.acknowledged.append(execution_id)
                return


async def test_at_the_limit_of_file_sizes_writes_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        await _fill_and_empty(own, FileSizeLimit())


async def test_on_a_full_file_system_writes_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    with _mounted(tmp_path / "disk") as disk:
        async with house(tmp_path, data=disk / "data") as own:
            await _fill_and_empty(own, SmallFileSystem(disk))


async def _fill_and_empty(own: House, disk: Disk) -> None:
    server = await own.server.start()
    await server.publish(WORK)
    await server.publish(WAITING)
    await server.begin("waiting", "asleep")
    worker = await own.worker("w")
    load = Load(server)
    clients = asyncio.gather(*[load.run(f"c{number}") for number in range(CLIENTS)])
    for _ in range(2):
        await load.goes_on()
        load.refusals.clear()
        disk.fill(server)
        refused = await until(lambda: load.refusals, "a write is refused")
        _check_refusal(refused[0])
        await _check_reads(server)
        disk.empty(server)
        await load.goes_on()
    load.stopping = True
    await clients
    for name in load.acknowledged:
        assert status(await server.end_of(name)) == "COMPLETED", name
    await server.submit("asleep", "go", {"n": 1})
    assert {line["disposition"] for line in worker.lines("acked")} == {"ACCEPTED"}
    assert server.process.alive and server.boots == 1
    await server.kill()
    database = await read_database(server.data)
    assert set(database.executions) == {"asleep", *load.acknowledged}
    for name, stored in database.executions.items():
        assert stored.record.head.status == "COMPLETED", name
        assert not stored.of(ev.StepDeliveryLost)
    assert len(received(database.executions["asleep"], "go")) == 1


async def _check_reads(server: Server) -> None:
    """They are answered, and so is the question whether the server is well."""
    assert status(await server.get("asleep")) == "RUNNING"
    assert len(await server.history("asleep")) >= 2
    listed = await server.now.executions.ListExecutions(executions_pb2.ListExecutionsRequest(), timeout=CALL_SECONDS)
    assert listed.executions


def _check_refusal(error: grpc.aio.AioRpcError) -> None:
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
    trailer: Any = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(trailer).details:
        for wanted in (info, retry):
            detail.Unpack(wanted)
    assert (info.domain, info.reason) == ("callboard", "STORAGE_FULL")
    assert retry.retry_delay.ToMilliseconds() > 0
