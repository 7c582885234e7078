"""A backup of a server under load, the server's death, and another one on what the backup holds: real processes."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from tests.crash.kit import Child, House, Server, house, read_database, received, status, until
from tests.crash.test_disk_full import _mounted

from callboard.runtime.core import events as ev

CLIENTS = 4
FLAGS = ("--limit", "reconnect_grace_seconds=1", "--limit", "lease_seconds=2")
WORK = """
id: work
steps:
  - {id: one, task: {service: crash, operation: work, input: {n: "${input.n}", ms: 10}}}
  - {id: got, receive: {event: go}}
  - {id: rest, wait: {duration: 20ms}}
  - {id: two, task: {service: crash, operation: work, input: {n: "${steps.got.result.payload.n}"}}}
output: "${steps.two.result.n}"
"""
GATED = """
id: gated
steps:
  - {id: one, task: {service: crash, operation: work, input: {n: 1, gate: "${input.gate}"}}}
output: "${steps.one.result.n}"
"""


class Load:
    """Callers that begin executions and feed them, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.acknowledged: dict[str, int] = {}
        """Executions whose start and event were acknowledged."""
        self._callers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Go on until `stop`."""
        self._callers = [asyncio.create_task(self._run(f"c{number}")) for number in range(CLIENTS)]

    async def stop(self) -> None:
        """As abruptly as the server died."""
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _run(self, name: str) -> None:
        count = 0
        while True:
            count += 1
            execution_id = f"{name}-{count}"
            await self._server.begin("work", execution_id, {"n": count, "ballast": "x" * 5_000})
            await self._server.submit(execution_id, "go", {"n": count})
            self.acknowledged[execution_id] = count


async def callboard(*arguments: str) -> tuple[int, str]:
    """A command of `callboard` in a process of its own: its exit code, and what it said to people."""
    child = await Child.spawn("-m", "callboard.client.cli", *arguments)
    return await child.ended(), child.text


async def back_up(server: Server, file: Path) -> tuple[int, str]:
    return await callboard("backup", str(file), "--address", server.address_file.read_text())


async def _loaded(own: House, gate: Path) -> Load:
    """A server with executions that wait for a worker's answer, for an event, and many that come and go."""
    server = await own.server.start()
    await server.publish(WORK)
    await server.publish(GATED)
    holder = await own.worker("holder")
    for number in range(3):
        await server.begin("gated", f"held-{number}", {"gate": str(gate)})
        await server.begin("work", f"asleep-{number}", {"n": number})
    await until(lambda: sum(line["execution"].startswith("held") for line in holder.lines("begun")) == 3, "held")
    load = Load(server)
    load.start()
    await until(lambda: len(load.acknowledged) > 40, "some load")
    return load


async def test_nothing_acknowledged_before_a_backup_is_lost_and_every_open_execution_ends(tmp_path: Path) -> None:
    gate, file, data = tmp_path / "gate", tmp_path / "store.backup", tmp_path / "restored"
    async with house(tmp_path, *FLAGS) as own:
        load = await _loaded(own, gate)
        before = dict(load.acknowledged)
        code, said = await back_up(own.server, file)
        assert code == 0, said
        await until(lambda: len(load.acknowledged) > len(before) + 10, "the load goes on")
        assert own.server.boots == 1 and not list(own.server.data.glob("*-backup"))
        held = [line["token"] for line in own.workers[0].lines("begun") if line["execution"].startswith("held")]
        await own.server.kill()
        await load.stop()
        code, said = await callboard("restore", str(file), "--data", str(data))
        assert code == 0, said
        new = Server(tmp_path, *FLAGS, data=data)
        try:
            await _goes_on(await new.start(), own, before, held, gate)
        finally:
            await new.close()
        code, said = await callboard("doctor", "--data", str(data))
        assert code == 0, said
        await _check(data, before)


async def _goes_on(server: Server, own: House, before: dict[str, int], held: list[str], gate: Path) -> None:
    """The worker has never stopped, and still holds what the old server gave it."""
    for token in held:
        assert await server.answer("holder", bytes.fromhex(token), {"n": 0}) == "INVALID"
    holder = own.workers[0]
    again = await until(
        lambda: [
            line for line in holder.lines("begun") if line["execution"].startswith("held") and line["token"] not in held
        ][2:],
        "the tasks are delivered again",
    )
    assert again
    gate.touch()
    for number in range(3):
        await server.submit(f"asleep-{number}", "go", {"n": number})
        for name in (f"held-{number}", f"asleep-{number}"):
            assert status(await server.end_of(name)) == "COMPLETED", name
    for name in before:
        assert status(await server.end_of(name)) == "COMPLETED", name
    answers = [line for line in holder.lines("acked") if line["token"] in held]
    assert "ACCEPTED" not in {line["disposition"] for line in answers}


async def _check(data: Path, before: dict[str, int]) -> None:
    database = await read_database(data)
    for name in before:
        stored = database.executions[name]
        assert len(received(stored, "go")) == 1
        assert len(stored.of(ev.ExecutionCompleted)) == 1
    # What was under way in the moment of the backup, and had not got its event yet.
    for name, stored in database.executions.items():
        waits = stored.record.head.status == "RUNNING" and not received(stored, "go")
        assert waits or stored.record.head.status == "COMPLETED" or stored.record.ref.execution_id not in before, name


async def test_a_cut_or_flipped_file_a_live_directory_and_an_existing_store_are_refused(tmp_path: Path) -> None:
    file, data = tmp_path / "store.backup", tmp_path / "restored"
    async with house(tmp_path) as own:
        server = await own.server.start()
        await server.publish(GATED)
        await server.begin("gated", "one", {"gate": "none"})
        assert (await back_up(server, file))[0] == 0
        code, said = await back_up(server, file)
        assert (code, "is there already" in said) == (2, True)
        code, said = await callboard("restore", str(file), "--data", str(server.data), "--force")
        assert (code, "in use by process" in said) == (1, True)
        whole = file.read_bytes()
        middle = len(whole) // 2
        for damaged in (whole[:-1], whole[:middle], whole[:middle] + b"\xff\xfe" + whole[middle + 2 :]):
            file.write_bytes(damaged)
            code, said = await callboard("restore", str(file), "--data", str(data))
            assert (code, str(file) in said) == (1, True), said
            assert {each.name for each in data.iterdir()} == {"callboard.db.lock"}
        file.write_bytes(whole)
        await server.kill()
        code, said = await callboard("restore", str(file), "--data", str(server.data))
        assert (code, "is there already" in said) == (1, True)
        assert (await callboard("restore", str(file), "--data", str(server.data), "--force"))[0] == 0
        await server.start()
        assert status(await server.get("one")) == "RUNNING"


async def test_a_backup_without_room_says_so_and_the_server_goes_on(tmp_path: Path) -> None:
    """At the limit of file sizes of the server: its own files are small enough."""
    file = tmp_path / "store.backup"
    async with house(tmp_path) as own:
        server = await own.server.start()
        await server.publish(WORK)
        for number in range(20):
            await server.begin("work", f"x-{number}", {"n": 1, "ballast": "x" * 500_000})
        await server.stop()  # all of the log is in the database now
        await server.start()
        process = server.process.process.pid
        resource.prlimit(process, resource.RLIMIT_FSIZE, (8_000_000, resource.RLIM_INFINITY))
        code, said = await back_up(server, file)
        assert (code, "STORAGE_FULL" in said) == (1, True), said
        assert not [each for each in tmp_path.rglob("*") if each.name.endswith((".part", "-backup", ".backup"))]
        await server.begin("work", "y", {"n": 1})
        resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (await back_up(server, file))[0] == 0


async def test_a_receiver_without_room_keeps_nothing(tmp_path: Path) -> None:
    with _mounted(tmp_path / "disk") as disk:
        async with house(tmp_path) as own:
            server = await own.server.start()
            await server.publish(WORK)
            for number in range(30):
                await server.begin("work", f"x-{number}", {"n": 1, "ballast": "x" * 500_000})
            code, said = await back_up(server, disk / "store.backup")
            assert (code, "No space left" in said) == (1, True), said
            assert not list(disk.iterdir())


async def test_a_kill_amid_a_backup_leaves_nothing_that_stays(tmp_path: Path) -> None:
    file = tmp_path / "store.backup"
    async with house(tmp_path) as own:
        server = await own.server.start()
        await server.publish(WORK)
        for number in range(40):
            await server.begin("work", f"x-{number}", {"n": 1, "ballast": "x" * 500_000})
        making = asyncio.create_task(back_up(server, file))
        await until(lambda: list(server.data.glob("*-backup")), "the copy is begun")
        await server.kill()
        code, _ = await making
        assert code in (1, 3) and not file.exists() and not file.with_name("store.backup.part").exists()
        await server.start()
        assert not list(server.data.glob("*-backup"))
        assert (await back_up(server, file))[0] == 0
