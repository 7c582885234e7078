"""Starting on what is there: locks, foreign and newer files, folders and ports that cannot be had, a full store."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.crash.dormant import fill
from tests.crash.kit import Server, house, status, until
from tests.crash.test_restart import WAITING

DORMANT = 100_000
READY_SECONDS_MAX = 5.0
"""Generous, for slow machines; the promise is 1.5 s, and the figure is printed."""
MEMORY_MB_MAX = 150.0
BOUND_BY_PERMISSIONS = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0:
    os.setuid(65534)
os.execv(sys.executable, [sys.executable, "-m", "callboard.server", *sys.argv[1:]])
"""
"""The server as a program for which the permissions of files count, also where root starts it."""

WITHOUT_ROOM = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, "-m", "callboard.server", *sys.argv[1:]])
"""
"""The server as a program that cannot make any file grow."""


async def _refusal(server: Server, *flags: str, program: Sequence[str] = ("-m", "callboard.server")) -> str:
    """What a server says that refuses to start."""
    child = await server.launch(*flags, program=program)
    assert await child.ended() == 1, child.text
    assert "Traceback" not in child.text
    return child.text


async def test_a_second_server_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        server = await own.server.start()
        await server.publish(WAITING)
        said = await _refusal(server)
        assert f"in use by process {server.process.process.pid}" in said and str(server.data) in said
        await server.begin("waiting", "x-1")
        await server.kill()
        await server.start()
        assert status(await server.get("x-1")) == "RUNNING"


async def test_a_database_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        server = await own.server.start()
        assert await server.stop() == 0
        database = server.data / "callboard.db"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE meta SET value = 9999 WHERE name = 'schema_version'")
        before = database.read_bytes()
        said = await _refusal(server)
        assert "schema version 9999" in said and "at least as new" in said
        assert database.read_bytes() == before


async def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        database = own.server.data / "callboard.db"
        database.parent.mkdir()
        database.write_bytes(b"not a database at all" * 1_000)
        assert str(database) in await _refusal(own.server)
        database.unlink()
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE theirs (name)")
        assert "database of another program" in await _refusal(own.server)
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


async def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with house(tmp_path, data=tmp_path / "file" / "data") as own:
        said = await _refusal(own.server)
    assert "cannot be made" in said and str(tmp_path / "file" / "data") in said


async def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        own.server.data.mkdir()
        own.server.data.chmod(0o500)
        try:
            said = await _refusal(own.server, program=("-c", BOUND_BY_PERMISSIONS))
        finally:
            own.server.data.chmod(0o700)
    assert "not writable" in said and str(tmp_path / "data") in said


@pytest.mark.parametrize("begun", [False, True])
async def test_a_data_directory_without_room_is_refused_until_there_is_some(tmp_path: Path, begun: bool) -> None:
    async with house(tmp_path) as own:
        server = own.server
        if begun:
            await server.start()
            await server.publish(WAITING)
            await server.begin("waiting", "x-1")
            await server.kill()
        said = await _refusal(server, program=("-c", WITHOUT_ROOM))
        assert str(server.data) in said
        await server.start()
        assert not begun or status(await server.get("x-1")) == "RUNNING"


async def test_a_busy_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with house(tmp_path) as own:
            said = await _refusal(own.server, "--listen", address)
    assert f"cannot listen on {address}" in said


@pytest.mark.slow
@pytest.mark.xdist_group("dormant")
async def test_dormant_executions_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    began = time.monotonic()
    async with house(tmp_path) as own:
        server = own.server
        server.data.mkdir()
        await fill(server.data / "callboard.db", DORMANT)
        print(f"{DORMANT} executions made in {time.monotonic() - began:.1f} s")
        for _ in range(2):
            await server.start()
            memory = server.process.memory_mb()
            print(f"ready after {server.ready_seconds:.2f} s with {memory:.0f} MB")
            assert server.ready_seconds < READY_SECONDS_MAX
            assert memory < MEMORY_MB_MAX
            await server.kill()
        await server.start()
        for name in ("quiet-77777", "timed-77775"):
            assert status(await server.get(name)) == "RUNNING"
            await server.submit(name, "go", {"to": name})
            ended = await server.end_of(name)
            assert status(ended) == "COMPLETED" and name in ended.output.json
        peak = server.process.memory_mb("VmHWM")
        print(f"{peak:.0f} MB at most")
        assert peak < MEMORY_MB_MAX
        assert await server.stop() == 0
        await until(lambda: not server.process.alive, "the end")
