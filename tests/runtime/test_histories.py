"""The past of executions over both stores: moments, replays, steps, snapshots, verification."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.engine_kit import LINEAR, ME, WAITING, Hands, engine, started

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.state import State
from callboard.runtime.core.thinning import SPARSITY
from callboard.runtime.core.values import Opaque, encode
from callboard.runtime.engine import Runtime
from callboard.runtime.forking import ForkRequest
from callboard.runtime.histories import Moment, Step, Steps
from callboard.runtime.history_files import Brought, HistoryReader, export
from callboard.runtime.requests import Caller, StartRequest
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.settings import Settings

SECOND = 1_000_000
REF = ExecutionRef("default", "x-1")
NOW = Moment()
LOOPING = """
id: looping
steps:
  - id: each
    foreach:
      items: "input"
      as: n
      max_concurrency: 2
      steps: [{id: double, task: {service: s, operation: one, input: "${n}"}}]
  - {id: kept, receive: {event: go}}
output: "${steps.each.result}"
"""


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "callboard.db")


@asynccontextmanager
async def looping(path: str, items: int = 6, **settings: Any) -> AsyncIterator[Runtime]:
    """An execution that has worked off its items and waits."""
    async with engine(path, ManualClock(), Settings(**settings)) as runtime:
        await runtime.publish(LOOPING)
        hands = Hands(runtime, lambda task: json.loads(task.input) * 2, "s.one")
        await started(runtime, "looping", "x-1", list(range(items)))
        async for page in runtime.watch(ME, "x-1"):
            if any(b'"kept"' in event.stored.payload for event in page):
                break
        await hands.stop()
        yield runtime


def reason(caught: pytest.ExceptionInfo[Refused]) -> str:
    return caught.value.refusal.reason


async def problems(runtime: Runtime, execution_id: str = "x-1") -> list[tuple[str, int]]:
    verification = await runtime.histories.verify(ME, execution_id)
    return [(problem.kind.value, problem.sequence) for problem in verification.problems]


async def state_now(runtime: Runtime, sequence: int | None = None, *, snapshots: bool = True) -> bytes:
    return (await runtime.histories.replay(ME, "x-1", Moment(sequence), use_snapshots=snapshots)).state


# Moments


async def test_an_execution_as_it_was_after_each_event(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.submit(ME, "x-1", "go", 1)
        await runtime.submit(ME, "x-1", "more", 2)
        last = (await runtime.get(ME, "x-1")).sequence
        past = [await runtime.histories.past(ME, "x-1", Moment(n), full=True) for n in range(1, last + 1)]
        assert [view.sequence for view in past] == list(range(1, last + 1))
        assert [view.status.value for view in past[:-1]] == ["RUNNING"] * (last - 1)
        assert (past[-1].status, past[-1].output) == ("COMPLETED", [1, 2])
        assert [step.path for step in past[1].open_steps] == ["got"]
        history = await runtime.history(ME, "x-1")
        assert [view.hash for view in past] == [event.stored.hash for event in history]
        assert past[-1] == await runtime.get(ME, "x-1", full=True)


@pytest.mark.parametrize("sequence", [-1, 0, 6, 2**62])
async def test_a_sequence_outside_of_the_history_is_refused(path: str, sequence: int) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        for look in (runtime.histories.past, runtime.histories.replay):
            with pytest.raises(Refused) as caught:
                await look(ME, "x-1", Moment(sequence))
            assert (reason(caught), caught.value.refusal.metadata) == (
                "SEQUENCE_OUT_OF_RANGE",
                {"first": "1", "last": "2"},
            )


async def test_a_time_means_the_last_event_at_or_before_it(path: str) -> None:
    clock = ManualClock()
    async with engine(path, clock) as runtime:
        await runtime.publish(WAITING)
        began = clock.now()
        await started(runtime, "waiting", "x-1")
        for number in range(20):
            await clock.advance(1.0)
            await runtime.submit(ME, "x-1", "other", number)
        at = [event.stored.created_at for event in await runtime.history(ME, "x-1")]
        for time in {began, began + SECOND - 1, began + SECOND, began + 10 * SECOND + 1, began + 10**9}:
            view = await runtime.histories.past(ME, "x-1", Moment(time=time))
            assert view.sequence == sum(moment <= time for moment in at)
        with pytest.raises(Refused) as caught:
            await runtime.histories.past(ME, "x-1", Moment(time=began - 1))
        assert reason(caught) == "SEQUENCE_OUT_OF_RANGE"


async def test_a_clock_that_jumps_back_changes_neither_order_nor_replay(path: str) -> None:
    clock = ManualClock()
    async with engine(path, clock) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        clock.jump(-3_600.0)
        await runtime.submit(ME, "x-1", "go", 1)
        clock.jump(7_200.0)
        await runtime.submit(ME, "x-1", "more", 2)
        history = await runtime.history(ME, "x-1")
        at = [event.stored.created_at for event in history]
        assert at == sorted(at)
        assert [event.stored.sequence for event in history] == list(range(1, len(at) + 1))
        assert (await runtime.histories.past(ME, "x-1", Moment(time=at[2]))).sequence == sum(t <= at[2] for t in at)
        assert await problems(runtime) == []


async def test_before_its_first_event_a_fork_or_an_import_was_not_there(path: str) -> None:
    """However old what it has taken over is."""
    clock = ManualClock()
    async with engine(path, clock) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        await runtime.submit(ME, "x-1", "other", 1)
        began = clock.now()
        await clock.advance(10.0)
        await runtime.forking.fork(ME, ForkRequest("x-1", new_execution_id="forked"))
        await runtime.history_imports.take_in(ME, await brought(runtime, "x-1"), "imported")
        for execution_id in ("forked", "imported"):
            first, *_ = await runtime.history(ME, execution_id)
            assert first.stored.created_at == began + 10 * SECOND
            for look in (runtime.histories.past, runtime.histories.replay):
                for time in (began - 1, began, began + 10 * SECOND - 1):
                    with pytest.raises(Refused) as caught:
                        await look(ME, execution_id, Moment(time=time))
                    assert reason(caught) == "SEQUENCE_OUT_OF_RANGE"
            assert (await runtime.histories.past(ME, execution_id, Moment(time=began + 10 * SECOND))).sequence == 1


async def brought(runtime: Runtime, execution_id: str) -> Brought:
    """An export of an execution, as an import reads it."""
    reader = HistoryReader(1 << 20)
    ref = ExecutionRef("default", execution_id)
    async for piece in export(runtime.store, runtime.info.store_id, ref, runtime.clock.now()):
        reader.feed(piece)
    return reader.finish()


async def test_what_is_not_there_is_not_found(path: str) -> None:
    async with engine(path) as runtime:
        histories = runtime.histories
        for asking in (
            histories.past(ME, "x-9", NOW),
            histories.replay(ME, "x-9", NOW),
            histories.verify(ME, "x-9"),
            histories.snapshot(ME, "x-9"),
        ):
            with pytest.raises(Refused) as caught:
                await asking
            assert reason(caught) == "EXECUTION_NOT_FOUND"


# Replays and their steps


async def test_a_replay_begins_from_the_newest_snapshot_at_or_before_its_moment(path: str) -> None:
    async with looping(path, 60, snapshot_events_min=10) as runtime:
        view = await runtime.get(ME, "x-1")
        kept = [snapshot.sequence for snapshot in await runtime.store.snapshots(view.key)]
        assert len(kept) > 2
        edges = {until for at in kept for until in (at - 1, at, at + 1)}
        for until in sorted({1, view.sequence, *edges}):
            replayed = await runtime.histories.replay(ME, "x-1", Moment(until))
            begun = replayed.begun_from.sequence if replayed.begun_from else 0
            assert begun == replayed.begun_at == max((at for at in kept if at <= until), default=0)
            assert replayed.state == await state_now(runtime, until, snapshots=False)
            assert replayed.view is not None and replayed.view.sequence == until


async def test_what_was_a_little_ago_costs_little_however_long_the_history(path: str) -> None:
    between, head = 10, 500
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        for sequence in range(3, head + 1):
            await runtime.submit(ME, "x-1", "other", sequence)
            if not sequence % between:
                await runtime.histories.snapshot(ME, "x-1")
        read, reads = list[int](), runtime.store.events

        async def counted(*asked: Any) -> Any:
            page = await reads(*asked)
            read.append(len(page))
            return page

        runtime.store.events = counted  # type: ignore[method-assign]
        for ago in (0, 5, 30, 60, 80, 100):
            read.clear()
            assert (await runtime.histories.past(ME, "x-1", Moment(head - ago))).sequence == head - ago
            assert sum(read) <= SPARSITY * ago + between < head - ago
        read.clear()
        await runtime.histories.replay(ME, "x-1", Moment(head - 100), use_snapshots=False)
        assert sum(read) == head - 100


async def test_a_snapshot_says_when_it_was_made(path: str) -> None:
    clock = ManualClock()
    async with engine(path, clock, Settings(snapshot_events_min=3)) as runtime:
        await runtime.publish(WAITING)
        view = (await runtime.start(ME, StartRequest("waiting", execution_id="x-1"))).view
        await clock.advance(5.0)
        asked = await runtime.histories.snapshot(ME, "x-1")
        assert asked.created_at == view.started_at + 5 * SECOND
        await clock.advance(5.0)
        for number in range(3):
            await runtime.submit(ME, "x-1", "other", number)
        taken, *_ = await runtime.store.snapshots(view.key)
        assert taken.sequence > asked.sequence
        assert taken.created_at == view.started_at + 10 * SECOND
        replayed = await runtime.histories.replay(ME, "x-1", Moment(asked.sequence))
        assert replayed.begun_from == asked


async def test_steps_say_what_each_event_changed(path: str) -> None:
    async with looping(path) as runtime:
        replayed = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=False, steps=Steps(1_000))
        assert not replayed.more
        assert [step.event.stored.sequence for step in replayed.steps] == list(range(1, replayed.until + 1))
        assert [step.event.from_state for step in replayed.steps][:2] == ["pending", "running"]
        for step in replayed.steps:
            changed = {change.pointer: change.after for change in step.changes}
            assert changed["/sequence"] == step.event.stored.sequence
        completed = next(step for step in replayed.steps if step.event.stored.name == "StepCompleted")
        assert "/runs/each/done" in {change.pointer for change in completed.changes}


async def test_pages_of_steps_are_the_steps(path: str) -> None:
    async with looping(path, 20, snapshot_events_min=15) as runtime:
        for snapshots in (True, False):
            whole = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=snapshots, steps=Steps(1_000))
            taken: list[Step] = []
            page = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=snapshots, steps=Steps(7))
            taken += page.steps
            assert page.state == whole.state
            await runtime.submit(ME, "x-1", "later", 1)  # what happens meanwhile is not part of it
            while page.more:
                steps = Steps(7, page.begun_at, page.until, taken[-1].event.stored.sequence)
                page = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=snapshots, steps=steps)
                assert page.view is None
                taken += page.steps
            assert list(map(told, taken)) == list(map(told, whole.steps))
            assert len(taken) == whole.until - whole.begun_at


def told(step: Step) -> tuple[Any, ...]:
    event = step.event
    return (event.stored.sequence, event.stored.hash, event.from_state, event.to_state, event.user_id, step.changes)


async def test_large_payloads_do_not_end_a_replay_early(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1", "y" * 900_000)
        for _ in range(9):
            await runtime.submit(ME, "x-1", "other", "x" * 1_000_000)
        last = (await runtime.get(ME, "x-1")).sequence
        replayed = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=False)
        assert replayed.until == last and b'"sequence":%d' % last in replayed.state
        steps = await runtime.histories.replay(ME, "x-1", NOW, use_snapshots=False, steps=Steps(100))
        assert 0 < len(steps.steps) < last and steps.more
        assert await problems(runtime) == []


# Snapshots on request


async def test_a_snapshot_on_request_is_good_and_taken_once(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        caller = Caller(request_id="r-1", fingerprint=b"f" * 32)
        first = await runtime.histories.snapshot(caller, "x-1")
        assert first.sequence == 2
        assert await runtime.histories.snapshot(ME, "x-1") == first
        await runtime.submit(ME, "x-1", "go", Opaque("x/y", b"\0"))
        assert await runtime.histories.snapshot(caller, "x-1") == first
        second = await runtime.histories.snapshot(ME, "x-1")
        assert second.sequence == 5
        assert await runtime.histories.snapshot(Caller(request_id="r-2"), "x-1") == second
        replayed = await runtime.histories.replay(ME, "x-1", NOW)
        assert (replayed.begun_at, replayed.until) == (5, 5)
        assert await problems(runtime) == []
        with pytest.raises(Refused) as caught:
            await runtime.histories.snapshot(Caller(request_id="r-1", fingerprint=b"g" * 32), "x-1")
        assert reason(caught) == "REQUEST_ID_REUSED"


async def test_an_ended_execution_can_be_snapshot(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(LINEAR)
        hands = Hands(runtime, lambda task: 1)
        await started(runtime, "linear", "x-1")
        await runtime.wait_ended(REF, 10 * SECOND)
        assert (await runtime.histories.snapshot(ME, "x-1")).sequence == (await runtime.get(ME, "x-1")).sequence
        assert await problems(runtime) == []
        await hands.stop()


# Verification


async def test_a_sound_execution_is_verified_with_its_snapshots_and_its_live_state(path: str) -> None:
    async with looping(path, 20, snapshot_events_min=10) as runtime:
        view = await runtime.get(ME, "x-1")
        verification = await runtime.histories.verify(ME, "x-1")
        assert verification.problems == ()
        assert (verification.events_checked, verification.snapshots_checked) == (view.sequence, 2)
        assert (verification.head_sequence, verification.head_hash) == (view.sequence, view.hash)


async def test_a_live_state_that_is_another_one_is_found(path: str) -> None:
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        live = await runtime.supervisor.awake(REF)
        assert live is not None
        live.variables["x"] = 1
        assert await problems(runtime) == [("LIVE_STATE", 2)]


async def test_verifying_while_it_goes_on_finds_nothing(path: str) -> None:
    async with looping(path, 30, snapshot_events_min=10) as runtime:
        reads = runtime.store.stored_events

        async def and_meanwhile(key: int, after: int, limit: int, bytes_max: int) -> Any:
            page = await reads(key, after, min(limit, 10), bytes_max)
            await runtime.submit(ME, "x-1", "other", after) if after < 100 else None
            return page

        runtime.store.stored_events = and_meanwhile  # type: ignore[method-assign]
        verification = await runtime.histories.verify(ME, "x-1")
        assert verification.problems == ()
        assert verification.events_checked == verification.head_sequence > 100


Damage = Callable[[sqlite3.Connection, int], None]


def sql(text: str) -> Damage:
    def damage(connection: sqlite3.Connection, last: int) -> None:
        assert connection.execute(text, {"last": last}).rowcount > 0

    return damage


def exchanged(one: int, other: int) -> Damage:
    def damage(connection: sqlite3.Connection, last: int) -> None:
        for now, then in ((one, -1), (other, one), (-1, other)):
            connection.execute("UPDATE events SET sequence = ? WHERE execution = 1 AND sequence = ?", (then, now))

    return damage


FOUND: list[tuple[str, Damage, list[tuple[str, int]]]] = [
    (
        "payload",
        sql("UPDATE events SET payload = replace(payload, ':', ': ') WHERE execution = 1 AND sequence = 5"),
        [("HASH", 5)],
    ),
    ("name", sql("UPDATE events SET name = 'TimerSet' WHERE execution = 1 AND sequence = 5"), [("HASH", 5)]),
    (
        "bad text",
        sql("UPDATE events SET name = CAST(x'ff00' AS TEXT) WHERE execution = 1 AND sequence = 5"),
        [("HASH", 5)],
    ),
    ("time", sql("UPDATE events SET created_at = created_at + 1 WHERE execution = 1 AND sequence = 5"), [("HASH", 5)]),
    ("state", sql("UPDATE events SET to_state = 'x' WHERE execution = 1 AND sequence = 5"), [("HASH", 5)]),
    (
        "context",
        sql("UPDATE events SET context = '{}' WHERE execution = 1 AND context IS NULL AND sequence = 2"),
        [("HASH", 2)],
    ),
    ("hash", sql("UPDATE events SET hash = zeroblob(32) WHERE execution = 1 AND sequence = 5"), [("HASH", 5)]),
    ("cut", sql("DELETE FROM events WHERE execution = 1 AND sequence = :last"), [("HEAD", -1)]),
    ("cut by three", sql("DELETE FROM events WHERE execution = 1 AND sequence > :last - 3"), [("HEAD", -3)]),
    ("gap", sql("DELETE FROM events WHERE execution = 1 AND sequence = 5"), [("GAP", 5)]),
    ("wide gap", sql("DELETE FROM events WHERE execution = 1 AND sequence BETWEEN 1 AND 5"), [("GAP", 1)]),
    ("swapped", exchanged(5, 6), [("HASH", 5), ("HASH", 6)]),
    ("none", sql("DELETE FROM events WHERE execution = 1"), [("HEAD", 1)]),
    ("head", sql("UPDATE executions SET sequence = sequence - 1 WHERE key = 1"), [("HEAD", 0)]),
    ("head's hash", sql("UPDATE executions SET hash = zeroblob(32) WHERE key = 1"), [("HEAD", 0)]),
    ("listed status", sql("UPDATE executions SET status = 'FAILED' WHERE key = 1"), [("HEAD", 0)]),
]


@pytest.mark.parametrize(("damage", "found"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
async def test_damage_in_the_file_is_found_and_named(tmp_path: Path, damage: Damage, found: list[Any]) -> None:
    path = str(tmp_path / "callboard.db")
    async with looping(path, snapshot_events_min=10_000, sleep_tail_events_min=10_000) as runtime:
        last = (await runtime.get(ME, "x-1")).sequence
        await runtime.start(ME, StartRequest("looping", execution_id="x-2", input=[]))
    with sqlite3.connect(path) as connection:
        damage(connection, last)
    connection.close()
    places = {-1: last, -3: last - 2, 0: last}
    async with engine(path) as runtime:
        assert await problems(runtime) == [(kind, places.get(place, place)) for kind, place in found]
        assert await problems(runtime, "x-2") == []


@pytest.mark.parametrize("what", ["data", "checksum"])
async def test_a_damaged_snapshot_is_found_and_passed_over(tmp_path: Path, what: str) -> None:
    path = str(tmp_path / "callboard.db")
    async with looping(path, 20, snapshot_events_min=10, sleep_tail_events_min=10_000) as runtime:
        good = await state_now(runtime)
        sequences = [snapshot.sequence for snapshot in await runtime.store.snapshots(1)]
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE snapshots SET {what} = zeroblob(32) WHERE sequence = ?", (sequences[0],))
    connection.close()
    async with engine(path) as runtime:
        replayed = await runtime.histories.replay(ME, "x-1", NOW)
        assert replayed.state == good
        assert (replayed.begun_at, [snapshot.sequence for snapshot in replayed.skipped]) == (
            sequences[1],
            sequences[:1],
        )
        assert await problems(runtime) == [("SNAPSHOT", sequences[0])]


async def test_a_snapshot_of_another_state_is_found(tmp_path: Path) -> None:
    import hashlib

    path = str(tmp_path / "callboard.db")
    async with looping(path, 20, snapshot_events_min=10, sleep_tail_events_min=10_000) as runtime:
        newest = (await runtime.store.snapshots(1))[0]
    data = newest.data.replace(b'"version":1', b'"version":2')
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE snapshots SET data = ?, checksum = ? WHERE sequence = ?",
            (data, hashlib.sha256(data).digest(), newest.sequence),
        )
        connection.execute(
            "INSERT INTO snapshots SELECT execution, 999, format, checksum, data, created_at FROM snapshots LIMIT 1"
        )
    connection.close()
    async with engine(path) as runtime:
        assert await problems(runtime) == [("SNAPSHOT", newest.sequence), ("SNAPSHOT", 999)]


async def test_an_event_that_does_not_follow_is_found_though_its_hash_is_right(tmp_path: Path) -> None:
    from callboard.runtime.core.history import event_hash

    path = str(tmp_path / "callboard.db")
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
    with sqlite3.connect(path) as connection:
        (before, at) = connection.execute("SELECT hash, created_at FROM events WHERE sequence = 2").fetchone()
        payload = encode({"path": "no/such"})
        digest = event_hash(before, "default", "x-1", 3, "StepCompleted", payload, at)
        connection.execute(
            "INSERT INTO events (execution, sequence, name, payload, created_at, hash)"
            " VALUES (1, 3, 'StepCompleted', CAST(? AS TEXT), ?, ?)",
            (payload, at, digest),
        )
        connection.execute("UPDATE executions SET sequence = 3, hash = ?", (digest,))
    connection.close()
    async with engine(path) as runtime:
        assert await problems(runtime) == [("EVENT", 3)]
        with pytest.raises(Refused) as caught:
            await runtime.histories.past(ME, "x-1", NOW)
        assert (reason(caught), caught.value.refusal.metadata) == ("HISTORY_DAMAGED", {"sequence": "3"})


async def test_a_history_with_a_gap_is_not_replayed_across_it(tmp_path: Path) -> None:
    path = str(tmp_path / "callboard.db")
    async with looping(path, sleep_tail_events_min=10_000):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM events WHERE sequence = 5")
    connection.close()
    async with engine(path) as runtime:
        assert (await runtime.histories.past(ME, "x-1", Moment(4))).sequence == 4
        with pytest.raises(Refused) as caught:
            await runtime.histories.replay(ME, "x-1", NOW)
        assert (reason(caught), caught.value.refusal.metadata) == ("HISTORY_DAMAGED", {"sequence": "5"})


def test_the_state_that_is_shown_has_no_hash() -> None:
    from callboard.runtime.histories import state_text

    assert state_text(State(execution_id="x", hash=b"h")) == state_text(State(execution_id="x"))


async def test_a_fork_has_a_past_of_its_own_that_holds(path: str) -> None:
    async with looping(path, 20, snapshot_events_min=10) as runtime:
        forked = await runtime.forking.fork(ME, ForkRequest("x-1", at_sequence=15, new_execution_id="x-2"))
        assert await problems(runtime, "x-2") == []
        first = await runtime.histories.replay(ME, "x-2", Moment(1), steps=Steps(10))
        assert [step.event.stored.sequence for step in first.steps] == [1]
        assert (await runtime.histories.past(ME, "x-2", NOW)).hash == forked.hash
        await runtime.histories.snapshot(ME, "x-2")
        assert await problems(runtime, "x-2") == []
