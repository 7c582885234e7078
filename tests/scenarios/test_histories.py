"""Scenarios 28 to 30 and 36 over the wire: past states, replays, snapshots, and damage that verify names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.scenarios.kit import ECHO, LINEAR, WAITING, Api, refused, serve, status, value, worker

from callboard.runtime.clock import ManualClock
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2

MARK = "a-word-that-stands-nowhere-else"
FULL = executions_pb2.EXECUTION_VIEW_FULL


async def replay(api: Api, execution_id: str, **fields: Any) -> Any:
    request = pb2.ReplayExecutionRequest(execution_id=execution_id, **fields)
    return await api.executions.ReplayExecution(request, metadata=api.metadata)


async def past(api: Api, execution_id: str, **moment: Any) -> Any:
    request = pb2.GetExecutionRequest(execution_id=execution_id, view=FULL, **moment)
    return (await api.executions.GetExecution(request, metadata=api.metadata)).execution


async def verify(api: Api, execution_id: str) -> Any:
    request = pb2.VerifyExecutionRequest(execution_id=execution_id)
    return await api.executions.VerifyExecution(request, metadata=api.metadata)


async def snapshot(api: Api, execution_id: str, request_id: str = "") -> Any:
    request = pb2.CreateSnapshotRequest(execution_id=execution_id, request_id=request_id)
    return (await api.executions.CreateSnapshot(request, metadata=api.metadata)).snapshot


async def problems(api: Api, execution_id: str) -> list[tuple[str, int]]:
    answer = await verify(api, execution_id)
    assert answer.valid == (not answer.problems)
    names = [pb2.VerifyProblemKind.Name(one.kind).removeprefix("VERIFY_PROBLEM_KIND_") for one in answer.problems]
    return [(name, one.sequence) for name, one in zip(names, answer.problems, strict=True)]


async def run_through(api: Api) -> Any:
    """A whole execution, `o-1`, with a word in it that is easy to find in the file; and another one beside it."""
    await api.publish(LINEAR)
    async with worker(api, lambda task: {"said": f"{MARK}-{task.execution_id}" if task.step_path == "one" else "done"}):
        await api.start("linear", "o-2", wait=30)
        return (await api.start("linear", "o-1", wait=30)).execution


async def test_every_moment_of_an_execution_can_be_seen(api: Api) -> None:
    await run_through(api)
    history, now = await api.history("o-1"), await api.get("o-1")
    for event in history:
        then = await past(api, "o-1", at_sequence=event.sequence)
        assert (then.sequence, then.state, then.head_hash) == (event.sequence, event.to_state, event.hash)
        rebuilt = await replay(api, "o-1", until_sequence=event.sequence, use_snapshots=False)
        assert rebuilt.execution == then and rebuilt.events_replayed == event.sequence
    assert await past(api, "o-1", at_sequence=len(history)) == now == (await replay(api, "o-1")).execution
    assert [step.path for step in (await past(api, "o-1", at_sequence=2)).open_steps] == ["one"]
    at_end = await past(api, "o-1", at_time=history[-1].created_at)
    assert at_end == now


async def test_moments_outside_of_the_history_are_refused(api: Api) -> None:
    last = (await run_through(api)).sequence
    for call in (past(api, "o-1", at_sequence=last + 1), past(api, "o-1", at_sequence=0)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE")
    refusal = await refused(replay(api, "o-1", until_sequence=-1))
    assert refusal.metadata == {"first": "1", "last": str(last)}
    for asking in (past(api, "o-9", at_sequence=1), replay(api, "o-9"), verify(api, "o-9"), snapshot(api, "o-9")):
        assert (await refused(asking)).reason == "EXECUTION_NOT_FOUND"
    assert (await refused(replay(api, "o-1", page_token="x"))).reason == "INVALID_REQUEST"
    assert (await refused(replay(api, "o-1", debug=True, page_token="x"))).reason == "INVALID_PAGE_TOKEN"
    assert (await refused(verify(api, ""))).reason == "INVALID_REQUEST"


async def test_what_each_event_changed_comes_in_pages(api: Api) -> None:
    last = (await run_through(api)).sequence
    answer = await replay(api, "o-1", debug=True, page_size=4)
    assert value(answer.state)["sequence"] == last
    steps = list(answer.steps)
    while answer.next_page_token:
        answer = await replay(api, "o-1", debug=True, page_size=4, page_token=answer.next_page_token)
        assert len(answer.steps) <= 4
        steps += answer.steps
    assert [step.event for step in steps] == await api.history("o-1")
    first = {change.pointer: change for change in steps[0].changes}
    assert value(first["/definition_id"].after) == "linear" and not first["/definition_id"].HasField("before")
    small = await replay(api, "o-1", debug=True, max_frame_bytes=2_000)
    assert 0 < len(small.steps) < last and small.next_page_token


async def test_a_snapshot_with_nothing_after_it_loads_and_an_earlier_moment_is_right(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(WAITING)
        await api.start("waiting", "o-1")
        before = (await api.history("o-1"))[-1]
        await clock.advance(10.0)
        await api.submit("o-1", "go", 1)
        taken = await snapshot(api, "o-1", "r-1")
        assert taken == await snapshot(api, "o-1", "r-1") and taken.sequence == 5
        now = await api.get("o-1")
        from_snapshot = await replay(api, "o-1")
        assert (from_snapshot.snapshot.sequence, from_snapshot.events_replayed) == (5, 0)
        assert from_snapshot.state == (await replay(api, "o-1", use_snapshots=False)).state
    async with serve(tmp_path, clock=clock) as api:
        assert await api.get("o-1") == now
        early = await replay(api, "o-1", until_time=before.created_at)
        assert early.execution.sequence == 2 and not early.HasField("snapshot")
        assert (await api.submit("o-1", "more", 2)).execution.status == status("COMPLETED")
        assert await problems(api, "o-1") == []


async def test_an_older_snapshot_serves_an_older_moment(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(WAITING)
        await api.start("waiting", "o-1")
        taken = {}
        for number in range(12):
            await clock.advance(60.0)
            await api.submit("o-1", "other", number)
            one = await snapshot(api, "o-1")
            taken[one.sequence] = one
        last = max(taken)
        assert [one.created_at.ToMicroseconds() for one in taken.values()] == [
            event.created_at.ToMicroseconds() for event in (await api.history("o-1"))[2:]
        ]
        used = {}
        for until in range(1, last + 1):
            rebuilt = await replay(api, "o-1", until_sequence=until, debug=True)
            used[until] = rebuilt.snapshot.sequence
            assert [step.event.sequence for step in rebuilt.steps] == list(range(used[until] + 1, until + 1))
            assert rebuilt.execution == await past(api, "o-1", at_sequence=until)
            assert rebuilt.state == (await replay(api, "o-1", until_sequence=until, use_snapshots=False)).state
            assert not used[until] or rebuilt.snapshot == taken[used[until]]
        older = set(used.values()) - {0, last - 1, last}
        assert older and len(older) < 4
        assert (await verify(api, "o-1")).snapshots_checked == len(older) + 2
    async with serve(tmp_path, clock=clock) as api:
        rebuilt = await replay(api, "o-1", until_sequence=max(older))
        assert (rebuilt.snapshot, rebuilt.events_replayed) == (taken[max(older)], 0)


async def test_a_clock_that_jumps_back_an_hour_changes_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(WAITING)
        await api.start("waiting", "o-1")
        clock.jump(-3_600.0)
        await api.submit("o-1", "go", 1)
        await api.submit("o-1", "more", 2)
        history = await api.history("o-1")
        assert [event.sequence for event in history] == list(range(1, len(history) + 1))
        times = [event.created_at.ToMicroseconds() for event in history]
        assert times == sorted(times)
        assert (await replay(api, "o-1", use_snapshots=False)).execution == await api.get("o-1")
        assert await problems(api, "o-1") == []


async def test_another_tenant_sees_none_of_it(api: Api) -> None:
    await run_through(api)
    other = api.of("other")
    for asking in (past(other, "o-1", at_sequence=1), replay(other, "o-1"), verify(other, "o-1")):
        assert (await refused(asking)).reason == "EXECUTION_NOT_FOUND"
    assert (await refused(snapshot(other, "o-1"))).reason == "EXECUTION_NOT_FOUND"


# Damage


def flipped_byte(file: Path, last: int) -> list[tuple[str, int]]:
    """One bit of one byte of a stored result."""
    content = bytearray(file.read_bytes())
    place = content.rindex(f"{MARK}-o-1".encode())
    content[place] ^= 1
    file.write_bytes(content)
    with closing(sqlite3.connect(file)) as connection:
        changed = MARK.replace("a", "`", 1)
        ((sequence,),) = connection.execute(f"SELECT sequence FROM events WHERE payload LIKE '%{changed}%'").fetchall()
    return [("HASH", sequence)]


def deleted(*places: int) -> Callable[[Path, int], list[tuple[str, int]]]:
    def damage(file: Path, last: int) -> list[tuple[str, int]]:
        gone = [place if place > 0 else last + 1 + place for place in places]
        with closing(sqlite3.connect(file)) as connection, connection:
            marks = ", ".join("?" * len(gone))
            connection.execute(
                "DELETE FROM events WHERE execution = (SELECT key FROM executions WHERE execution_id = 'o-1') "
                f"AND sequence IN ({marks})",
                gone,
            )
        return [("HEAD" if gone[-1] == last else "GAP", gone[0])]

    return damage


def swapped(file: Path, last: int) -> list[tuple[str, int]]:
    """Two rows change places."""
    with closing(sqlite3.connect(file)) as connection, connection:
        (key,) = connection.execute("SELECT key FROM executions WHERE execution_id = 'o-1'").fetchone()
        for now, then in ((3, -1), (4, 3), (-1, 4)):
            connection.execute("UPDATE events SET sequence = ? WHERE execution = ? AND sequence = ?", (then, key, now))
    return [("HASH", 3), ("HASH", 4)]


@pytest.mark.parametrize(
    "damage",
    [flipped_byte, deleted(-1), deleted(-2, -1), deleted(3), deleted(3, 4), swapped],
    ids=["flipped byte", "deleted last event", "cut tail", "deleted row", "deleted rows", "swapped pair"],
)
async def test_damage_in_the_database_file_is_named(
    tmp_path: Path, damage: Callable[[Path, int], list[tuple[str, int]]]
) -> None:
    async with serve(tmp_path) as api:
        last = (await run_through(api)).sequence
        assert await problems(api, "o-1") == []
        (file,) = (path for path in tmp_path.iterdir() if path.suffix == ".db")
    expected = damage(file, last)
    async with serve(tmp_path) as api:
        assert await problems(api, "o-1") == expected
        assert await problems(api, "o-2") == []
        if expected[0][0] != "HASH":
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await replay(api, "o-1", use_snapshots=False)
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_a_damaged_snapshot_is_passed_over_and_named(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(ECHO)
        await api.publish(WAITING)
        await api.start("waiting", "o-1")
        assert (await snapshot(api, "o-1")).sequence == 2
        await api.submit("o-1", "go", 1)
        assert (await snapshot(api, "o-1")).sequence == 5
        good = await replay(api, "o-1", use_snapshots=False)
        (file,) = (path for path in tmp_path.iterdir() if path.suffix == ".db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE snapshots SET data = substr(data, 1, length(data) - 1) WHERE sequence = 5")
    async with serve(tmp_path) as api:
        rebuilt = await replay(api, "o-1")
        assert (rebuilt.state, rebuilt.snapshot.sequence) == (good.state, 2)
        assert [one.sequence for one in rebuilt.skipped_snapshots] == [5]
        assert await problems(api, "o-1") == [("SNAPSHOT", 5)]
        assert (await api.submit("o-1", "more", 2)).execution.status == status("COMPLETED")


async def test_events_say_what_led_to_them(api: Api) -> None:
    await api.publish(WAITING)
    await api.publish(LINEAR)
    async with worker(api, lambda task: 1):
        await api.start("linear", "o-2", wait=30, request_id="r-1")
    await api.start("waiting", "o-1")
    await api.submit("o-1", "go", 1, event_id="e-1", request_id="r-2")
    await api.enqueue("o-1", "more", 2, event_id="e-2")
    await api.ended("o-1")
    led = {
        event.event_name + str(event.sequence): (event.causation.command, event.causation.source_id)
        for name in ("o-2", "o-1")
        for event in await api.history(name)
    }
    assert led["ExecutionStarted1"] == ("StartExecution", "")
    assert led["EventReceived3"] == ("SubmitEvent", "r-2")
    assert led["EventReceived6"] == ("EnqueueEvent", "e-2")
    history = await api.history("o-2")
    assert (history[0].causation.command, history[0].causation.source_id) == ("StartExecution", "r-1")
    assert {event.causation.command for event in history if event.event_name == "StepCompleted"} == {"task_result"}
    assert all(event.event_id == f"o-2/{event.sequence}" and len(event.hash) == 32 for event in history)
    assert (await api.get("o-2")).head_hash == history[-1].hash
