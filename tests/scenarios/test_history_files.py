"""An execution is carried to another server as a file, and nothing that was changed on the way is taken in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.command_line import run
from tests.scenarios.kit import LINEAR, WAITING, Api, Refusal, raw, refusal_of, refused, serve, status, value, worker

from callboard.client import Client, errors
from callboard.runtime.settings import Settings
from callboard.v1 import execution_service_pb2 as pb2

NUMBERS = '{"n":9007199254740993,"m":9223372036854775807,"z":-0.0,"f":2.0,"big":1e308,"no":"no","e":""}'


async def exported(api: Api, execution_id: str) -> bytes:
    request = pb2.ExportExecutionRequest(execution_id=execution_id)
    pieces = [piece.data async for piece in api.executions.ExportExecution(request, metadata=api.metadata)]
    return b"".join(pieces)


async def brought(api: Api, data: bytes, size: int = 1 << 18, **more: Any) -> pb2.ImportExecutionResponse:
    async def pieces() -> AsyncIterator[pb2.ImportExecutionRequest]:
        first = more
        for start in range(0, len(data) or 1, size):
            yield pb2.ImportExecutionRequest(data=data[start : start + size], **first)
            first = {}

    answer: pb2.ImportExecutionResponse = await api.executions.ImportExecution(pieces(), metadata=api.metadata)
    return answer


async def wrong(api: Api, data: bytes) -> Refusal:
    try:
        await brought(api, data)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError("it was taken in")


async def lived(api: Api) -> bytes:
    await api.publish(WAITING)
    await api.start("waiting", "x-1", input=raw(NUMBERS))
    await api.submit("x-1", "go", {"a": ["\u2028", "\n"]}, event_id="e-1")
    await api.submit("x-1", "more", None)
    return await exported(api, "x-1")


async def test_an_ended_execution_is_readable_on_another_server(tmp_path: Path) -> None:
    async with serve(tmp_path / "a") as old, serve(tmp_path / "b") as new:
        data = await lived(old)
        before = await old.get("x-1")
        answer = await brought(new, data)
        assert answer.events_imported == before.sequence == data.count(b"\n") - 2
        origin = answer.execution.fork
        assert (origin.execution_id, origin.sequence, origin.hash) == ("x-1", before.sequence, before.head_hash)
        assert origin.imported
        after = await new.get("x-1")
        for name in ("status", "state", "output", "started_at", "ended_at", "definition_id", "version", "labels"):
            assert getattr(after, name) == getattr(before, name), name
        assert json.loads(after.input.json) == json.loads(NUMBERS)
        assert after.input.json == before.input.json
        assert await new.names("x-1") == ["ExecutionForked"]
        verify = await new.executions.VerifyExecution(pb2.VerifyExecutionRequest(execution_id="x-1"))
        assert not verify.problems
    async with serve(tmp_path / "b") as new:
        assert (await brought(new, await exported(new, "x-1"), execution_id="x-2")).execution.fork.imported
        assert (await new.get("x-2")).output == after.output


async def test_an_open_execution_goes_on_where_its_definition_is(tmp_path: Path) -> None:
    async with serve(tmp_path / "a") as old, serve(tmp_path / "b") as new:
        await old.publish(LINEAR)
        async with worker(old, lambda task: {"n": 5}, operations=["s.one"]):
            await old.start("linear", "x-1")
            await old.until("x-1", "StepScheduled", 2)
        data = await exported(old, "x-1")
        refusal = await wrong(new, data)
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DEFINITION_NOT_FOUND")
        assert "publish it first" in refusal.message
        await new.publish(LINEAR.replace("n: 1", "n: 2"))
        assert (await wrong(new, data)).reason == "VERSION_NOT_FOUND"
        await new.publish(LINEAR)
        execution = (await brought(new, data)).execution
        assert (execution.status, execution.version) == (status("RUNNING"), 2)
        async with worker(new, lambda task: value(task.input)) as stub:
            assert value((await new.ended("x-1")).output) == {"n": 5}
        assert [task.step_path for task in stub.tasks] == ["two"]


async def test_a_file_corrupted_in_any_line_is_refused_and_the_line_named(api: Api) -> None:
    lines = (await lived(api)).splitlines(keepends=True)
    theirs = api.of("theirs")
    for number, line in enumerate(lines, 1):
        middle = len(line) // 2
        changed = line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :]
        for other in (changed, b"", line + line):
            refusal = await wrong(theirs, b"".join([*lines[: number - 1], other, *lines[number:]]))
            assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_EXPORT"), (number, other)
            (violation,) = refusal.violations
            assert refusal.message.startswith(f"export:{violation.line}:1: ")
            # Where a line is there twice, the second one is wrong; where the last event is gone, the last line is.
            assert violation.line in (number, number + 1, len(lines) - 1), (number, other)
    assert (await refused(theirs.get("x-1"))).reason == "EXECUTION_NOT_FOUND"
    assert (await brought(theirs, b"".join(lines))).execution.execution_id == "x-1"


async def test_an_import_is_done_once(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        data = await lived(api)
        assert (await wrong(api, data)).reason == "EXECUTION_ALREADY_EXISTS"
        first = await brought(api, data, execution_id="x-2", request_id="r-1")
    async with serve(tmp_path) as api:
        again = await brought(api, data, size=100, execution_id="x-2", request_id="r-1")
        assert again.execution.head_hash == first.execution.head_hash
        reused = await refused(brought(api, data, execution_id="x-3", request_id="r-1"))
        assert reused.reason == "REQUEST_ID_REUSED"
        assert (await refused(brought(api, b""))).reason == "INVALID_EXPORT"


async def test_a_long_history_goes_through_in_pieces(tmp_path: Path) -> None:
    async with serve(tmp_path, settings=Settings(import_line_bytes_max=300_000)) as api:
        await api.publish(
            'id: each\nsteps: [{id: e, foreach: {items: "input", steps: [{id: s, set: {v: "${item}"}}]}}]'
        )
        await api.start("each", "x-1", input=raw(json.dumps(["x" * 500] * 400)), wait=20)
        data = await exported(api, "x-1")
        assert len(data) > 500_000
        answer = await brought(api, data, execution_id="x-2")
        assert answer.execution.status == status("COMPLETED")
        assert answer.events_imported == data.count(b"\n") - 2
        too_long = await refused(brought(api, b"x" * 300_001))
        assert (too_long.reason, too_long.metadata["limit_name"]) == ("LIMIT_EXCEEDED", "import_line_bytes_max")


async def test_the_client_forks_exports_and_imports(tmp_path: Path) -> None:
    async with serve(tmp_path / "a") as old, serve(tmp_path / "b") as new:
        await lived(old)
        async with Client(old.server.address) as here, Client(new.server.address) as there:
            before = await here.get("x-1")
            taken = await there.import_execution(here.export_execution("x-1"))
            assert (taken.id, taken.output, taken.fork and taken.fork.imported) == ("x-1", before.output, True)
            lines = [line async for line in here.export_execution("x-1")]
            for given in ("\n".join(lines), [line + "\n" for line in lines]):
                assert (await there.import_execution(given, id=f"x-{type(given).__name__}")).ended
            with pytest.raises(errors.InvalidExport) as refusal:
                await there.import_execution(lines[:-1], id="x-9")
            assert refusal.value.violations[0].line == len(lines)
            with pytest.raises(errors.InvalidExport, match="export:1:1"):
                await there.import_execution(["{}", *["x" * 100_000] * 100])
            with pytest.raises(errors.ExecutionNotFound):
                [line async for line in here.export_execution("no")]
            forked = await here.fork("x-1", at_sequence=1, id="f-1")
            assert (forked.fork and forked.fork.sequence, forked.ended) == (1, False)
            moment = before.updated_at
            assert (await here.fork("x-1", at_time=moment)).output == before.output


async def test_the_command_line_tells_executions_and_definitions_apart(tmp_path: Path) -> None:
    async with serve(tmp_path / "a") as api:
        ours = api.of("acme")
        await lived(ours)

        async def callboard(*arguments: str, stdin: str = "") -> Any:
            return await asyncio.to_thread(run, api.server, *arguments, stdin=stdin)  # type: ignore[arg-type]

        file = tmp_path / "x-1.jsonl"
        done = await callboard("export", "--execution", "x-1", "--output", str(file))
        assert (done.exit_code, done.stderr) == (0, f"exported x-1, 8 events, to {file}\n")
        shown = await callboard("export", "--execution", "x-1")
        assert shown.stdout.splitlines()[1:-1] == file.read_text().splitlines()[1:-1]
        taken = await callboard("import", str(file), "--id", "x-2")
        assert (taken.exit_code, taken.stdout) == (0, "x-2 (COMPLETED), imported from x-1 at sequence 8\n")
        by_pipe = json.loads((await callboard("import", "-", "--id", "x-3", "--json", stdin=shown.stdout)).stdout)
        assert by_pipe["fork"]["imported"] is True
        bundle = await callboard("export")
        again = await callboard("import", "-", stdin=bundle.stdout)
        assert "waiting" in again.stdout
        forked = await callboard("fork", "x-1", "--at-sequence", "3", "--id", "f-1")
        assert (forked.exit_code, forked.stdout) == (0, "f-1 (RUNNING), forked from x-1 at sequence 3\n")
        assert json.loads((await callboard("fork", "x-1", "--json")).stdout)["fork"]["execution_id"] == "x-1"
        assert "x-1 at sequence 8, imported" in (await callboard("get", "x-2")).stdout
        cut = file.read_text().splitlines(keepends=True)
        file.write_text("".join(cut[:3]))
        refusal = await callboard("import", str(file), "--id", "x-4")
        assert refusal.exit_code == 1
        assert refusal.stderr.startswith("export:4:1: ")
        for wrongly in (
            ("import", "-", "--id", "x"),
            ("export", "waiting", "--execution", "x-1"),
            ("fork", "x-1", "--at-sequence", "1", "--at-time", "2026-01-01T00:00:00Z"),
        ):
            assert (await callboard(*wrongly, stdin=bundle.stdout)).exit_code == 2, wrongly
        missing = await callboard("export", "--execution", "no", "-o", str(tmp_path / "none"))
        assert missing.exit_code == 1
        assert not list(tmp_path.glob("none*"))
