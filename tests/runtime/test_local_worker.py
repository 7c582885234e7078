"""Handlers share a runner only while none can tell."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.runtime.dispatching import World, beat, done, now

from callboard.runtime.core.commands import CompleteTask, FailTask
from callboard.runtime.core.effects import RequestCancel
from callboard.runtime.handlers import Operations
from callboard.runtime.local_worker import LocalTask, LocalWorker

left: contextvars.ContextVar[str] = contextvars.ContextVar("left", default="")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


async def work(world: World, handler: Any, count: int = 5) -> "tuple[LocalWorker, asyncio.Task[None]]":
    operations = Operations()
    operations.add("s.op", handler)
    worker = LocalWorker(operations, world.dispatcher, world.alarms, tenant="acme")
    running = asyncio.ensure_future(worker.run())
    for key in range(count):
        world.open(key)
    await world.clock.settle()
    return worker, running


async def test_no_handler_waits_behind_another(world: World) -> None:
    gate = asyncio.Event()
    begun: list[int] = []

    async def op(task: LocalTask, n: int) -> int:
        begun.append(n)
        if n % 2:
            await gate.wait()
        return n

    _, running = await work(world, op)
    assert sorted(begun) == [0, 1, 2, 3, 4]
    assert sorted(c.output for c in world.commands(CompleteTask)) == [0, 2, 4]
    gate.set()
    await world.clock.settle()
    assert sorted(c.output for c in world.commands(CompleteTask)) == [0, 1, 2, 3, 4]
    running.cancel()


async def test_what_a_handler_leaves_in_the_context_is_not_seen_by_the_next(world: World) -> None:
    seen: list[str] = []

    async def op(task: LocalTask, n: int) -> None:
        seen.append(left.get())
        left.set(f"by {n}")

    _, running = await work(world, op)
    assert seen == [""] * 5
    running.cancel()


async def test_calling_one_off_leaves_the_others_alone(world: World) -> None:
    gate = asyncio.Event()
    tasks: dict[int, Any] = {}

    async def op(task: LocalTask, n: int) -> int:
        tasks[n] = asyncio.current_task()
        await gate.wait()
        return n

    _, running = await work(world, op)
    assert len(set(tasks.values())) == 5
    world.commit(2, RequestCancel("a"))
    await world.clock.settle()
    assert [c.failure.type for c in world.commands(FailTask)] == ["Cancelled"]
    gate.set()
    await world.clock.settle()
    assert sorted(c.output for c in world.commands(CompleteTask)) == [0, 1, 3, 4]
    running.cancel()


async def test_one_that_cancels_its_own_runner_takes_no_other_with_it(world: World) -> None:
    ran: list[int] = []

    async def op(task: LocalTask, n: int) -> int:
        ran.append(n)
        if n == 1:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
        if n in (2, 1):
            await asyncio.sleep(0)
        return n

    _, running = await work(world, op)
    assert sorted(ran) == [0, 1, 2, 3, 4]
    assert sorted(c.output for c in world.commands(CompleteTask)) == [0, 2, 3, 4]
    running.cancel()


async def test_tasks_that_come_while_one_waits_are_begun(world: World) -> None:
    gate = asyncio.Event()

    async def op(task: LocalTask, n: int) -> int:
        if n == 0:
            await gate.wait()
        return n

    _, running = await work(world, op, 1)
    world.open(7)
    await world.clock.settle()
    assert [c.output for c in world.commands(CompleteTask)] == [7]
    gate.set()
    await world.clock.settle()
    assert [c.output for c in world.commands(CompleteTask)] == [7, 0]
    running.cancel()


async def test_the_worker_that_ends_stops_all_its_handlers(world: World) -> None:
    stopped: list[int] = []

    async def op(task: LocalTask, n: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(n)
            raise

    _, running = await work(world, op)
    running.cancel()
    await world.clock.settle()
    assert sorted(stopped) == [0, 1, 2, 3, 4]
    assert not world.commands(CompleteTask) + world.commands(FailTask)


async def test_a_handler_may_change_its_input(world: World) -> None:
    given: dict[str, Any] = {"n": [1]}

    async def op(task: LocalTask, n: list[int]) -> dict[str, Any]:
        n.append(2)
        task.input["more"] = 1
        return {"n": n}

    operations = Operations()
    operations.add("s.op", op)
    worker = LocalWorker(operations, world.dispatcher, world.alarms, tenant="acme")
    running = asyncio.ensure_future(worker.run())
    world.open(1, input=given)
    await world.clock.settle()
    assert given == {"n": [1]}
    assert [c.output for c in world.commands(CompleteTask)] == [{"n": [1, 2]}]
    running.cancel()


async def test_a_repeat_from_this_process_is_recognised_also_when_its_token_is_forgotten() -> None:
    world = World(settled_tokens_max=2)
    session = world.dispatcher.connect(world.hello(), local=True)
    for key in range(4):
        world.open(key)
    given = await now(session.receive(), world.clock)
    assert given is not None
    tokens = [task.token for task in given.tasks]
    assert len(set(tokens)) == 4
    assert len({task.idempotency_key for task in given.tasks}) == 4
    session.answer([done(token) for token in tokens])
    await world.clock.settle()
    accepted = await now(session.receive(), world.clock)
    assert accepted is not None
    assert [ack.disposition.value for ack in accepted.acks] == ["ACCEPTED"] * 4
    session.answer([done(tokens[0]), done(tokens[3])])
    session.heartbeat([beat(tokens[0])])
    again = await now(session.receive(), world.clock)
    assert again is not None
    assert [ack.disposition.value for ack in again.acks] == ["STALE", "DUPLICATE", "STALE"]
    (forged,) = await world.dispatcher.answer("acme", "w1", [done(tokens[0][:16] + bytes(7))])
    assert forged.disposition.value == "INVALID"
    await world.close()
