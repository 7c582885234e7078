"""Exports of executions and what an import makes of them, over both stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, started
from tests.runtime.test_forking import SECOND, reason, sound

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.commands import ForkOrigin
from callboard.runtime.core.durations import parse_timestamp
from callboard.runtime.core.history import event_hash
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.forking import ForkRequest
from callboard.runtime.history_files import PIECE_BYTES, Brought, HistoryReader, export
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings

OTHER = Caller("other")
VALUES = """
id: values
steps:
  - {id: one, task: {service: s, operation: one, input: "${input}"}, set_state: "in work"}
  - {id: two, task: {service: s, operation: two, input: "${steps.one.result}"}}
output: "${steps.two.result}"
"""
AWKWARD = [9007199254740993, 2**63 - 1, -0.0, 2.0, 1e308, "", "no", "l\u2028s", {"a\n": [None, [[[]]]]}]


@pytest.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    place: str | Path = ":memory:" if request.param == "memory" else tmp_path / "store.db"
    async with engine(place, clock=ManualClock(1_763_000_000_123_456)) as runtime:
        yield runtime


async def exported(runtime: Runtime, execution_id: str, tenant: str = "default") -> bytes:
    ref = ExecutionRef(tenant, execution_id)
    pieces = [piece async for piece in export(runtime.store, runtime.info.store_id, ref, runtime.clock.now())]
    assert all(len(piece) <= PIECE_BYTES + 200 for piece in pieces)
    return b"".join(pieces)


def read(data: bytes, size: int = 1 << 20, limit: int = 1 << 30) -> Brought:
    reader = HistoryReader(limit)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    return reader.finish()


def wrong(data: bytes) -> tuple[int, str]:
    """The line and the field that an export is refused for."""
    with pytest.raises(Refused) as refused:
        read(data)
    refusal = refused.value.refusal
    assert refusal.reason == "INVALID_EXPORT", refusal
    (violation,) = refusal.violations
    assert refusal.message.startswith(f"export:{violation.line}:1: ")
    return violation.line, violation.path


async def lived(runtime: Runtime) -> bytes:
    """The export of an execution with events of its caller's, a state of its author's, and awkward values."""
    Hands(runtime, lambda task: {"said": AWKWARD} if task.operation == "s.one" else 1)
    await runtime.publish(VALUES)
    mine = Caller(user_id="ann", trace="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    await started(runtime, "values", "e-1", AWKWARD)
    await runtime.wait_ended(ExecutionRef("default", "e-1"), 5 * SECOND)
    await runtime.publish(WAITING)
    await started(runtime, "waiting", "w-1")
    await runtime.submit(mine, "w-1", "go", AWKWARD, "event/1")
    await runtime.submit(mine, "w-1", "more")
    return await exported(runtime, "w-1")


async def test_an_ended_execution_is_taken_in_as_it_ended(runtime: Runtime) -> None:
    await lived(runtime)
    before = await runtime.get(ME, "e-1", full=True)
    view = await runtime.history_imports.take_in(OTHER, read(await exported(runtime, "e-1")))
    assert view.ref == ExecutionRef("other", "e-1")
    assert view.fork == ForkOrigin("e-1", before.sequence, before.hash, imported=True)
    after = await runtime.get(OTHER, "e-1", full=True)
    for name in ("status", "state", "input", "output", "labels", "started_at", "ended_at", "definition_id", "version"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.input == AWKWARD
    assert [event.stored.name for event in await runtime.history(OTHER, "e-1")] == ["ExecutionForked"]
    again = await runtime.history_imports.take_in(ME, read(await exported(runtime, "e-1", "other")), "e-2")
    assert again.output == before.output
    await sound(runtime, "e-2")


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
async def test_however_it_is_cut_into_pieces(size: int) -> None:
    async with engine() as runtime:
        data = await lived(runtime)
        brought = read(data, size)
        assert (brought.header.sequence, brought.ended) == (data.count(b"\n") - 2, True)
        assert read(data.rstrip(b"\n")).checksum == brought.checksum


async def test_each_line_is_a_cloud_event(runtime: Runtime) -> None:
    header, *lines, trailer = map(json.loads, (await lived(runtime)).splitlines())
    assert (header["format"], header["sequence"], header["definition"]["id"]) == (
        "callboard.execution/1",
        len(lines),
        "waiting",
    )
    assert trailer["events"] == len(lines)
    for number, line in enumerate(lines, 1):
        assert all(name.isalnum() and name == name.lower() for name in line)
        assert (line["specversion"], line["subject"], line["sequence"]) == ("1.0", "w-1", number)
        assert line["source"] == "/tenants/default/executions/w-1"
        assert line["type"].startswith("callboard.v1.")
    assert len({(line["source"], line["id"]) for line in lines}) == len(lines)
    received = next(line for line in lines if line["type"].endswith("EventReceived"))
    assert (received["id"], received["callerid"], json.loads(received["cause"])["user"]) == (
        "event/1",
        "event/1",
        "ann",
    )
    assert lines[-1]["hash"] == header["hash"]


async def test_a_changed_byte_in_any_line_is_found_there() -> None:
    async with engine() as runtime:
        lines = (await lived(runtime)).splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            for place in range(0, len(line) - 1, 3):
                changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
                found, _ = wrong(b"".join([*lines[: number - 1], changed, *lines[number:]]))
                # What the first line alone says is told apart only by what follows: its neighbour, or the checksum.
                assert found == number or number == 1, (number, found, changed)


async def test_lines_that_are_gone_twice_there_or_swapped_are_found() -> None:
    async with engine() as runtime:
        lines = (await lived(runtime)).splitlines(keepends=True)
        for number in range(1, len(lines) + 1):
            assert wrong(b"".join([*lines[: number - 1], *lines[number:]]))[0] in (number, len(lines))
            assert wrong(b"".join([*lines[:number], lines[number - 1], *lines[number:]]))[0] == number + 1
            if number < len(lines):
                swapped = [*lines[: number - 1], lines[number], lines[number - 1], *lines[number + 1 :]]
                assert wrong(b"".join(swapped))[0] == number
            assert wrong(b"".join(lines[: number - 1]))[0] == number
        assert wrong(b"".join([*lines, lines[-1]]))[0] == len(lines) + 1
        assert wrong(b"") == (1, "")


async def test_lines_that_were_made_up_are_found() -> None:
    async with engine() as runtime:
        lines = (await lived(runtime)).splitlines()
        other = {"specversion": "0.3", "tenant": "x", "subject": "w-2", "definitionversion": 2, "tostate": "x"}
        other |= {"time": "2030-01-01T00:00:00Z", "cause": "{}", "extra": 1}
        for name, value in other.items():
            changed = json.dumps({**json.loads(lines[2]), name: value}).encode()
            assert wrong(b"\n".join([*lines[:2], changed, *lines[3:]]))[0] == 3
        header = json.dumps({**json.loads(lines[0]), "definition": {"id": "else"}}).encode()
        assert wrong(b"\n".join([header, *lines[1:]])) == (1, "fingerprint")
        bundle = b'{"format":"callboard.definitions/1","tenant":"a","revision":1}\n'
        assert wrong(bundle) == (1, "format")


async def test_one_that_is_open_goes_on_where_its_definition_is(runtime: Runtime) -> None:
    await runtime.publish(LINEAR)
    await started(runtime, "linear", "e-1")
    await runtime.forking.fork(ME, ForkRequest("e-1", new_execution_id="e-2"))
    brought = read(await exported(runtime, "e-1"))
    assert await reason(runtime.history_imports.take_in(OTHER, brought)) == "DEFINITION_NOT_FOUND"
    await runtime.publish(LINEAR.replace("n: 1", "n: 2"), caller=OTHER)
    assert await reason(runtime.history_imports.take_in(OTHER, brought)) == "VERSION_NOT_FOUND"
    await runtime.publish(LINEAR, caller=OTHER)
    for each in (brought, read(await exported(runtime, "e-2"))):
        view = await runtime.history_imports.take_in(OTHER, each)
        assert (view.status, view.version) == ("RUNNING", 2)
    theirs = await runtime.get(OTHER, "e-1", full=True)
    assert [step.path for step in theirs.open_steps] == ["one"]
    await runtime.cancel(OTHER, "e-1")
    assert (await runtime.get(ME, "e-1")).status == "RUNNING"


async def test_an_open_task_comes_over_with_its_input(runtime: Runtime) -> None:
    await runtime.publish(LINEAR)
    await started(runtime, "linear", "e-1")
    view = await runtime.history_imports.take_in(ME, read(await exported(runtime, "e-1")), "e-2")
    hands = Hands(runtime, lambda task: task.operation)
    ended = await runtime.wait_ended(view.ref, 5 * SECOND)
    assert ended is not None and ended.output == "s.two"
    inputs = {(task.execution_id, task.input) for task in hands.seen if task.operation == "s.one"}
    assert inputs == {("e-1", b'{"n":1}'), ("e-2", b'{"n":1}')}
    await sound(runtime, "e-2")


async def test_what_cannot_be_taken_in_is_refused(runtime: Runtime) -> None:
    brought = read(await lived(runtime))
    assert await reason(runtime.history_imports.take_in(ME, brought)) == "EXECUTION_ALREADY_EXISTS"
    assert await reason(runtime.history_imports.take_in(ME, brought, "no id")) == "INVALID_REQUEST"
    assert await reason(exported(runtime, "no")) == "EXECUTION_NOT_FOUND"
    assert await reason(exported(runtime, "w-1", "other")) == "EXECUTION_NOT_FOUND"
    mine = Caller("other", request_id="r-1", fingerprint=b"1")
    first = await runtime.history_imports.take_in(mine, brought, "x-1")
    assert (await runtime.history_imports.take_in(mine, brought, "x-1")).ref == first.ref
    with pytest.raises(Refused) as refused:
        read(b"x" * 101, limit=100)
    assert refused.value.refusal.reason == "LIMIT_EXCEEDED"


async def test_what_is_taken_over_is_bounded() -> None:
    async with engine(settings=Settings(fork_bytes_max=100)) as runtime:
        brought: Any = read(await lived(runtime))
        assert await reason(runtime.history_imports.take_in(OTHER, brought)) == "LIMIT_EXCEEDED"


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def forged(data: bytes, place: int, **changes: Any) -> bytes:
    """The export with other data in one of its events, and hashes that hold."""
    header, *events = (json.loads(line) for line in data.splitlines()[:-1])
    events[place - 1]["data"] |= changes
    before = b""
    for number, event in enumerate(events, start=1):
        cause = event["cause"].encode() if "cause" in event else None
        payload, name = compact(event["data"]), event["type"].removeprefix("callboard.v1.")
        at = parse_timestamp(event["time"])
        caller, state = event.get("callerid"), event.get("tostate")
        before = event_hash(before, event["tenant"], "e-1", number, name, payload, at, state, caller, cause)
        event["hash"] = before.hex()
    header["hash"] = before.hex()
    lines = [header, *events]
    content = b"".join(compact(line) + b"\n" for line in lines)
    trailer = {"events": len(events), "checksum": hashlib.sha256(content).hexdigest()}
    return content + compact(trailer) + b"\n"


async def test_a_history_that_was_made_up_and_cannot_go_on_is_the_senders_fault(runtime: Runtime) -> None:
    await runtime.publish(LINEAR)
    await started(runtime, "linear", "e-1")
    data = await exported(runtime, "e-1")
    assert (await runtime.history_imports.take_in(ME, read(forged(data, 2)), "same")).status == "RUNNING"
    brought = read(forged(data, 2, step="none", path="none"))
    assert await reason(runtime.history_imports.take_in(ME, brought, "other")) == "INVALID_EXPORT"
    assert await runtime.store.execution(ExecutionRef("default", "other")) is None
