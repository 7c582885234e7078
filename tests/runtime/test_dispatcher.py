"""Handing out: matching, fairness, windows, frames, inputs, leases, reconnects, restarts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.runtime.dispatching import FakeStore, World, beat, done, now, ref, refusal

from callboard.runtime.core.commands import CompleteTask, FailTask, LoseDelivery
from callboard.runtime.core.effects import CloseExecution, CloseTask, OpenTask, RequestCancel
from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.rows import TaskRecord
from callboard.runtime.sessions import WorkerSession
from callboard.runtime.tasks import Ack, Delivered, Disposition, Frame


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


async def tasks(world: World, session: WorkerSession) -> list[Delivered]:
    frame = await now(session.receive(), world.clock)
    return list(frame.tasks) if frame is not None else []


async def one(world: World, session: WorkerSession) -> Delivered:
    """The next task, whatever frames come before it."""
    for _ in range(5):
        if got := await tasks(world, session):
            (task,) = got
            return task
    raise AssertionError("no task came")


async def acks(world: World, session: WorkerSession) -> list[Ack]:
    frame = await now(session.receive(), world.clock)
    return list(frame.acks) if frame is not None else []


# Handing out


async def test_a_committed_task_reaches_a_waiting_worker_with_all_it_needs(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    receiving = asyncio.ensure_future(session.receive())
    await world.clock.settle()
    world.open(7, "lines[3]/charge", attempt=2, attempt_timeout=5_000_000, input={"cents": 990})
    (task,) = (await receiving).tasks
    assert (task.tenant, task.execution_id, task.path, task.attempt) == ("acme", "e7", "lines[3]/charge", 2)
    assert (task.operation, task.input) == ("s.op", b'{"cents":990}')
    assert task.deadline == world.clock.now() + 5_000_000
    assert len(task.idempotency_key) == 32
    assert world.dispatcher.holder(7, "lines[3]/charge") == "w1"


async def test_the_tasks_of_a_commit_share_a_frame_and_its_acks_come_with_what_follows(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    for key in range(3):
        world.open(key)
    first = await tasks(world, session)
    assert [task.execution_id for task in first] == ["e0", "e1", "e2"]
    receiving = asyncio.ensure_future(session.receive())
    await world.clock.settle()
    session.answer([done(task.token) for task in first])
    world.open(9)
    frame = await receiving
    assert len(frame.acks) == 3
    assert len(frame.tasks) == 1


async def test_a_worker_gets_only_its_operations_and_its_tenant(world: World) -> None:
    other = world.dispatcher.connect(world.hello("w2", tenant="other"))
    session = world.dispatcher.connect(world.hello(operations=("s.op", "s.two")))
    world.open(1, operation="s.three")
    world.open(2, operation="s.two")
    world.open(3, tenant="other")
    assert [task.execution_id for task in await tasks(world, session)] == ["e2"]
    assert [task.execution_id for task in await tasks(world, other)] == ["e3"]


async def test_priority_then_turns_between_executions_then_age(world: World) -> None:
    for path in "abc":
        world.open(1, path)
    world.open(2, "d")
    world.open(3, "e")
    world.open(4, "f", priority=5)
    session = world.dispatcher.connect(world.hello())
    assert [task.path for task in await tasks(world, session)] == ["f", "a", "d", "e", "b", "c"]


async def test_never_more_than_the_window_and_an_acked_result_frees_its_slot(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=2))
    for key in range(5):
        world.open(key)
    first = await tasks(world, session)
    assert len(first) == 2
    world.slow = []
    session.answer([done(first[0].token)])
    assert await now(session.receive(), world.clock) is None
    world.slow[0]()
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [ack.disposition for ack in frame.acks] == [Disposition.ACCEPTED]
    more = list(frame.tasks) or await tasks(world, session)
    assert [task.execution_id for task in more] == ["e2"]


async def test_workers_share_a_queue_in_turns(world: World) -> None:
    first, second = (world.dispatcher.connect(world.hello(name)) for name in ("w1", "w2"))
    for key in range(6):
        world.open(key)
    assert len(await tasks(world, first)) == 3
    assert len(await tasks(world, second)) == 3


async def test_a_full_worker_with_many_queues_serves_them_in_turns(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=1, operations=("s.a", "s.b")))
    for key in range(4):
        world.open(key, operation="s.a")
        world.open(key + 10, operation="s.b")
    got = []
    for _ in range(4):
        task = await one(world, session)
        got.append(task.operation)
        session.answer([done(task.token)])
    assert sorted(got) == ["s.a", "s.a", "s.b", "s.b"]


async def test_frames_stop_at_the_workers_size(world: World) -> None:
    session = world.dispatcher.connect(world.hello(max_frame_bytes=1_000))
    for key in range(3):
        world.open(key, input="x" * 600)
    assert [len(await tasks(world, session)) for _ in range(3)] == [1, 1, 1]


async def test_inputs_beyond_the_memory_bound_are_read_in_one_batch() -> None:
    world = World(ready_input_bytes_max=0)
    for key in range(3):
        world.store.inputs[key, 1] = b'{"path":"a","input":{"n":%d},"operation":"s.op"}' % key
        world.open(key)
    session = world.dispatcher.connect(world.hello())
    assert [task.input for task in await tasks(world, session)] == [b'{"n":0}', b'{"n":1}', b'{"n":2}']
    assert world.store.reads == [3]
    await world.close()


async def test_a_store_that_cannot_be_read_delays_the_task() -> None:
    world = World(ready_input_bytes_max=0)
    world.store.inputs[1, 1] = b'{"path":"a"}'
    world.store.broken = 2
    world.open(1)
    receiving = asyncio.ensure_future(world.dispatcher.connect(world.hello()).receive())
    await world.clock.advance(3)
    assert [task.input for task in (await receiving).tasks] == [b"null"]
    await world.close()


async def test_a_task_whose_input_is_lost_fails_and_says_so() -> None:
    world = World(ready_input_bytes_max=0)
    world.store.inputs[2, 1] = b'{"path":'
    world.store.inputs[3, 1] = b'{"path":"a","input":{"$callboard.sensitive":"[redacted]","commit'
    world.store.inputs[4, 1] = b'{"path":"a","input":{"$callboard.sensitive":"[redacted]"}}'
    for key in range(1, 5):
        world.open(key)
    assert await tasks(world, world.dispatcher.connect(world.hello())) == []
    assert [command.failure.type for command in world.commands(FailTask)] == ["InputLost"] * 4
    assert world.dispatcher.open_tasks == 0
    await world.close()


async def test_a_closed_task_is_not_handed_out(world: World) -> None:
    world.open(1)
    world.open(2, "a")
    world.open(2, "b")
    world.commit(1, CloseTask("a"))
    world.commit(2, CloseExecution())
    assert await tasks(world, world.dispatcher.connect(world.hello())) == []
    assert world.dispatcher.open_tasks == 0


async def test_a_task_called_off_between_matching_and_frame_frees_its_slot(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=1))
    world.open(1)
    world.open(2)
    await world.clock.settle()
    world.commit(1, CloseTask("a"))
    assert (await one(world, session)).execution_id == "e2"


async def test_a_new_attempt_replaces_the_one_before(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    task = await one(world, session)
    world.open(1, attempt=2)
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [notice.token for notice in frame.cancels] == [task.token]
    again = list(frame.tasks) or await tasks(world, session)
    assert again[0].attempt == 2
    assert again[0].idempotency_key == task.idempotency_key


# Cancels


async def test_a_requested_cancel_reaches_the_holder_and_its_answer_still_counts(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    task = await one(world, session)
    world.commit(1, RequestCancel("a"))
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [notice.token for notice in frame.cancels] == [task.token]
    session.heartbeat([beat(task.token)])
    assert [ack.cancel_requested for ack in await acks(world, session)] == [True]
    session.answer([done(task.token)])
    assert [ack.disposition for ack in await acks(world, session)] == [Disposition.ACCEPTED]


async def test_the_end_of_a_task_in_hand_is_a_cancel_and_makes_its_token_stale(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=1))
    world.open(1)
    task = await one(world, session)
    world.commit(1, CloseTask("a"))
    world.open(2)
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [notice.token for notice in frame.cancels] == [task.token]
    assert frame.tasks == ()
    session.answer([done(task.token)])
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [ack.disposition for ack in frame.acks] == [Disposition.STALE]
    assert [task.execution_id for task in frame.tasks] == ["e2"]


async def test_a_worker_that_ignores_a_cancel_gets_its_slot_back_after_a_lease(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=1))
    world.open(1)
    await one(world, session)
    world.commit(1, CloseTask("a"))
    world.open(2)
    for _ in range(4):
        await world.clock.advance(10)
        session.touch()
    got = [task for _ in range(9) for task in await tasks(world, session)]
    assert [task.execution_id for task in got] == ["e2"]


# Leases and losses


async def test_a_silent_worker_loses_its_tasks_and_its_late_answer_is_stale(world: World) -> None:
    silent = world.dispatcher.connect(world.hello("w1"))
    world.open(1)
    task = await one(world, silent)
    other = world.dispatcher.connect(world.hello("w2"))
    await world.clock.advance(20)
    other.touch()
    await world.clock.advance(11)
    assert world.commands(LoseDelivery) == [LoseDelivery("a", 1, "w1")]
    again = [task for _ in range(5) for task in await tasks(world, other)]
    assert [(task.execution_id, task.attempt) for task in again] == [("e1", 1)]
    assert again[0].token != task.token
    (late,) = await world.dispatcher.answer("acme", "w1", [done(task.token)])
    assert late.disposition is Disposition.STALE
    assert world.commands(CompleteTask) == []
    assert silent.closed


async def test_any_frame_extends_all_leases(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await one(world, session)
    for _ in range(10):
        await world.clock.advance(20)
        session.touch()
    assert world.commands(LoseDelivery) == []


async def test_a_lease_starts_when_its_task_is_delivered(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    await world.clock.advance(25)
    world.open(1)
    await tasks(world, session)
    await world.clock.advance(10)
    assert world.commands(LoseDelivery) == []
    await world.clock.advance(21)
    assert len(world.commands(LoseDelivery)) == 1


async def test_a_quiet_stream_carries_pings(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    receiving = asyncio.ensure_future(session.receive())
    await world.clock.advance(9)
    assert not receiving.done()
    await world.clock.advance(1)
    assert await receiving == Frame(ping=True)


async def test_a_broken_stream_gives_back_after_the_grace(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await one(world, session)
    session.disconnect()
    await world.clock.advance(4.9)
    assert world.commands(LoseDelivery) == []
    assert "a" in world.dispatcher.delivered(1)
    await world.clock.advance(0.2)
    assert len(world.commands(LoseDelivery)) == 1
    assert "a" not in world.dispatcher.delivered(1)


async def test_a_worker_that_comes_back_keeps_what_it_holds(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    world.open(2)
    held, dropped = await tasks(world, session)
    session.disconnect()
    again = world.dispatcher.connect(world.hello(holding=(held.token, b"nonsense")))
    assert again.kept == (held.token,)
    frame = await now(again.receive(), world.clock)
    assert frame is not None
    assert [notice.token for notice in frame.cancels] == [b"nonsense"]
    await world.clock.advance(6)
    assert [command.path for command in world.commands(LoseDelivery)] == ["a"]
    assert world.dispatcher.holder(1, "a") == "w1"
    again.answer([done(held.token), done(dropped.token)])
    got = [ack for _ in range(3) for ack in await acks(world, again)]
    assert {ack.token: ack.disposition for ack in got} == {
        held.token: Disposition.ACCEPTED,
        dropped.token: Disposition.STALE,
    }


async def test_the_same_worker_id_replaces_the_old_session_and_rotation_doubles_nothing(world: World) -> None:
    old = world.dispatcher.connect(world.hello())
    world.open(1)
    task = await one(world, old)
    old.ask_reconnect("the connection is old")
    frame = await now(old.receive(), world.clock)
    assert frame is not None
    assert frame.reconnect == "the connection is old"
    assert await now(old.receive(), world.clock) is None
    new = world.dispatcher.connect(world.hello(holding=(task.token,)))
    assert (await old.receive()).closing
    await world.clock.advance(20)
    assert world.commands(LoseDelivery) == []
    new.answer([done(task.token)])
    await world.clock.settle()
    assert len(world.commands(CompleteTask)) == 1
    assert [worker.worker_id for worker in world.dispatcher.workers("acme")] == ["w1"]


async def test_drain_takes_nothing_new_finishes_and_closes(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=1))
    world.open(1)
    world.open(2)
    task = await one(world, session)
    session.drain()
    session.answer([done(task.token)])
    await world.clock.settle()
    frame = await session.receive()
    assert ([ack.disposition for ack in frame.acks], frame.tasks, frame.closing) == ([Disposition.ACCEPTED], (), True)
    assert world.dispatcher.workers("acme") == []


async def test_after_a_drain_what_is_left_goes_to_others_at_once(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await one(world, session)
    session.drain()
    session.disconnect()
    await world.clock.settle()
    assert len(world.commands(LoseDelivery)) == 1


async def test_a_loss_that_cannot_be_recorded_is_offered_again(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await one(world, session)
    failures = iter([refusal(Kind.BUSY), refusal(Kind.UNAVAILABLE)])
    world.refuse = lambda command: next(failures, None)
    session.drain()
    session.disconnect()
    await world.clock.advance(1)
    assert len(world.commands(LoseDelivery)) == 3
    await world.clock.advance(100)
    assert len(world.commands(LoseDelivery)) == 3
    assert [task.execution_id for task in await tasks(world, world.dispatcher.connect(world.hello("w2")))] == ["e1"]


async def test_a_loss_that_the_execution_knows_nothing_of_closes_the_task(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await one(world, session)
    world.refuse = lambda command: refusal(Kind.RACE)
    session.drain()
    session.disconnect()
    await world.clock.advance(100)
    assert len(world.commands(LoseDelivery)) == 1
    assert world.dispatcher.open_tasks == 0


async def test_an_attempt_that_takes_too_long_fails_with_timeout(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1, attempt_timeout=2_000_000)
    task = await one(world, session)
    await world.clock.advance(2.1)
    (failed,) = world.commands(FailTask)
    assert (failed.failure.type, failed.attempt) == ("Timeout", 1)
    session.answer([done(task.token)])
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert [notice.token for notice in frame.cancels] == [task.token]
    assert [ack.disposition for ack in frame.acks] == [Disposition.STALE]


async def test_an_answered_attempt_does_not_time_out(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1, attempt_timeout=2_000_000)
    session.answer([done((await one(world, session)).token)])
    await world.clock.advance(10)
    assert world.commands(FailTask) == []
    assert world.dispatcher.open_tasks == 0


# Polling


async def test_a_poll_waits_for_the_first_task_and_ends_empty(world: World) -> None:
    polling = asyncio.ensure_future(world.dispatcher.poll(world.hello(slots=1), 20))
    await world.clock.advance(5)
    world.open(1)
    assert [task.execution_id for task in (await polling).tasks] == ["e1"]
    empty = asyncio.ensure_future(world.dispatcher.poll(world.hello(slots=1), 20))
    await world.clock.advance(20)
    assert await empty == Frame()
    assert await world.dispatcher.poll(world.hello(slots=1), 0) == Frame()


async def test_polls_and_streams_drain_the_same_queue_and_nothing_waits_for_a_worker_that_is_not_polling(
    world: World,
) -> None:
    for key in range(4):
        world.open(key)
    polled = await world.dispatcher.poll(world.hello("poller", slots=2), 10)
    assert [task.execution_id for task in polled.tasks] == ["e0", "e1"]
    assert [task.execution_id for task in await tasks(world, world.dispatcher.connect(world.hello()))] == ["e2", "e3"]
    assert len(await world.dispatcher.answer("acme", "poller", [done(task.token) for task in polled.tasks])) == 2


async def test_several_polls_of_one_worker_each_get_their_own(world: World) -> None:
    polls = [asyncio.ensure_future(world.dispatcher.poll(world.hello(slots=1), 20)) for _ in range(3)]
    await world.clock.settle()
    for key in range(3):
        world.open(key)
    got = [task.execution_id for frame in await asyncio.gather(*polls) for task in frame.tasks]
    assert sorted(got) == ["e0", "e1", "e2"]


async def test_a_poll_that_is_given_up_leaves_its_task_to_others(world: World) -> None:
    polling = asyncio.ensure_future(world.dispatcher.poll(world.hello("gone", slots=1), 20))
    await world.clock.settle()
    world.open(1)
    await asyncio.sleep(0)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert [task.execution_id for task in await tasks(world, world.dispatcher.connect(world.hello()))] == ["e1"]
    assert world.commands(LoseDelivery) == []


async def test_a_poller_that_stays_away_loses_its_tasks_at_lease_end_and_is_forgotten(world: World) -> None:
    await now(world.dispatcher.poll(world.hello("p"), 0), world.clock)
    world.open(1)
    assert len((await world.dispatcher.poll(world.hello("p"), 5)).tasks) == 1
    await world.clock.advance(20)
    world.dispatcher.heartbeat("acme", "p", [])
    await world.clock.advance(20)
    assert world.commands(LoseDelivery) == []
    await world.clock.advance(11)
    assert len(world.commands(LoseDelivery)) == 1
    assert world.dispatcher.workers("acme") == []


# Restart


def record(key: int, path: str = "a") -> TaskRecord:
    return TaskRecord(ref(key), key, path, "s.op", 1, 1, 0, 0, 1_000)


async def test_after_a_restart_open_tasks_wait_for_their_workers_then_for_anybody() -> None:
    before = World()
    session = before.dispatcher.connect(before.hello())
    before.open(1)
    before.open(2)
    held, _ = await tasks(before, session)
    await before.close()

    store = FakeStore()
    store.tasks = [record(1), record(2)]
    store.inputs = {(1, 1): b'{"input":1}', (2, 1): b'{"input":2}'}
    after = World(store, boot=2, recovery_page_tasks=1)
    assert await after.dispatcher.recover() == 2
    stranger = after.dispatcher.connect(after.hello("w2"))
    assert await tasks(after, stranger) == []
    assert "a" in after.dispatcher.delivered(1)
    assert after.dispatcher.uncertain(1, "a")
    session = after.dispatcher.connect(after.hello("w1", holding=(held.token,)))
    assert session.kept == (held.token,)
    await after.clock.advance(6)
    assert [task.execution_id for task in await tasks(after, stranger)] == ["e2"]
    session.answer([done(held.token)])
    await after.clock.settle()
    assert len(after.commands(CompleteTask)) == 1
    assert after.commands(LoseDelivery) == []
    await after.close()


async def test_recovery_does_not_bring_back_what_was_closed_meanwhile() -> None:
    store = FakeStore()
    store.tasks = [record(1), record(2), record(2, "b"), record(3)]
    world = World(store, boot=2)
    recovering = asyncio.ensure_future(world.dispatcher.recover())
    await asyncio.sleep(0)
    world.commit(1, CloseTask("a"))
    world.commit(2, CloseExecution())
    world.commit(3, OpenTask("a", "s.op", 2, 1, input=None))
    await recovering
    assert world.dispatcher.open_tasks == 1
    (task,) = await tasks(world, world.dispatcher.connect(world.hello()))
    assert (task.execution_id, task.attempt) == ("e3", 2)
    await world.close()


async def test_the_idempotency_key_is_the_same_after_a_restart_and_differs_between_steps() -> None:
    keys = set()
    for boot in (1, 2):
        world = World(boot=boot)
        world.open(1)
        keys.add((await one(world, world.dispatcher.connect(world.hello()))).idempotency_key)
        await world.close()
    assert len(keys) == 1
    world = World()
    world.open(1, "a")
    world.open(1, "b")
    world.open(2, "a")
    got = await tasks(world, world.dispatcher.connect(world.hello()))
    assert len({task.idempotency_key for task in got} | keys) == 3
    await world.close()


async def test_a_draining_server_hands_nothing_out_and_sends_workers_away(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    polling = asyncio.ensure_future(world.dispatcher.poll(world.hello("p"), 20))
    world.open(1)
    task = (await session.receive()).tasks or (await polling).tasks
    world.dispatcher.drain()
    world.open(2)
    frame = await now(session.receive(), world.clock)
    assert frame is not None
    assert frame.reconnect
    assert frame.tasks == ()
    with pytest.raises(Refused, match="SERVER_DRAINING"):
        world.dispatcher.connect(world.hello("w3"))
    assert [ack.disposition for ack in await world.dispatcher.answer("acme", "w1", [done(task[0].token)])] == [
        Disposition.ACCEPTED
    ]
    await asyncio.gather(polling, return_exceptions=True)


# Looking in


async def test_queues_and_workers_are_shown_by_tenant(world: World) -> None:
    session = world.dispatcher.connect(world.hello(slots=3, build="b1", address="1.2.3.4"))
    world.open(1)
    await one(world, session)
    world.open(2, operation="s.nobody")
    world.open(3, tenant="other")
    await world.clock.advance(2)
    nobody, offered = world.dispatcher.queues("acme")
    assert (nobody.operation, nobody.queued, nobody.workers, nobody.oldest_age_us) == ("s.nobody", 1, 0, 2_000_000)
    assert (offered.operation, offered.queued, offered.running, offered.free_slots) == ("s.op", 0, 1, 2)
    (worker,) = world.dispatcher.workers("acme")
    assert (worker.worker_id, worker.build, worker.address, worker.in_flight) == ("w1", "b1", "1.2.3.4", 1)
    assert world.dispatcher.workers("other") == []
    assert world.waited == [0.0]


async def test_queues_that_nobody_needs_are_dropped(world: World) -> None:
    world.open(1, operation="s.rare")
    world.commit(1, CloseTask("a"))
    await world.clock.settle()
    assert world.dispatcher.queues("acme") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("worker_id", ""), ("worker_id", "x" * 256), ("operations", ()), ("operations", ("nodot",)), ("slots", 0)],
)
async def test_a_greeting_nobody_can_work_with_is_refused(world: World, field: str, value: object) -> None:
    with pytest.raises(Refused):
        world.dispatcher.connect(world.hello(**{field: value}))  # type: ignore[arg-type]


async def test_a_draining_server_reports_no_task_as_lost(world: World) -> None:
    session = world.dispatcher.connect(world.hello())
    world.open(1)
    await session.receive()
    world.dispatcher.drain()
    session.disconnect()
    await world.clock.advance(60)
    assert world.commands(LoseDelivery) == []
