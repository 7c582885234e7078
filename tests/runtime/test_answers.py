"""Taking answers: which token is good, what each item is answered with, repeats, refusals."""

from collections.abc import AsyncIterator

import pytest
from tests.runtime.dispatching import FakeStore, World, beat, done, ref, refusal

from callboard.runtime.core.commands import CompleteTask, FailTask, LoseDelivery
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.refusals import Kind
from callboard.runtime.rows import TaskRecord
from callboard.runtime.tasks import Ack, Delivered, Disposition, TaskResult


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


async def delivered(world: World, count: int = 1) -> list[Delivered]:
    session = world.dispatcher.connect(world.hello())
    for key in range(1, count + 1):
        world.open(key)
    return list((await session.receive()).tasks)


async def answer(world: World, *results: TaskResult, tenant: str = "acme") -> list[Ack]:
    return await world.dispatcher.answer(tenant, "w1", results)


async def test_an_output_completes_and_a_failure_fails_the_attempt(world: World) -> None:
    first, second = await delivered(world, 2)
    failure = Failure("CardDeclined", "no funds", retryable=False)
    acks = await answer(world, done(first.token, {"ok": True}), TaskResult(second.token, failure=failure))
    assert [ack.disposition for ack in acks] == [Disposition.ACCEPTED] * 2
    assert world.asked == [(ref(1), CompleteTask("a", 1, {"ok": True})), (ref(2), FailTask("a", 1, failure))]


async def test_the_answers_of_one_frame_are_put_at_the_same_time(world: World) -> None:
    tasks = await delivered(world, 5)
    world.slow = []
    session = world.dispatcher.connect(world.hello("w1", holding=tuple(task.token for task in tasks)))
    session.answer([done(task.token) for task in tasks])
    assert len(world.slow) == 5
    assert world.dispatcher.answers_in_flight == 5
    for decide in world.slow:
        decide()
    await world.clock.settle()
    assert world.dispatcher.answers_in_flight == 0


async def test_one_bad_item_never_costs_the_batch(world: World) -> None:
    (task,) = await delivered(world)
    acks = await answer(world, done(b"garbage"), done(task.token), done(task.token[:-1] + b"x"))
    assert [ack.disposition.name for ack in acks] == ["INVALID", "ACCEPTED", "INVALID"]
    assert acks[0].reason == "INVALID_TOKEN"
    assert acks[0].message


async def test_a_repeat_is_a_duplicate_and_changes_nothing(world: World) -> None:
    (task,) = await delivered(world)
    await answer(world, done(task.token))
    (again,) = await answer(world, done(task.token))
    assert again.disposition is Disposition.DUPLICATE
    assert len(world.commands(CompleteTask)) == 1


async def test_two_identical_answers_in_flight_join(world: World) -> None:
    (task,) = await delivered(world)
    first, second = await answer(world, done(task.token), done(task.token))
    assert (first.disposition, second.disposition) == (Disposition.ACCEPTED, Disposition.DUPLICATE)
    assert len(world.commands(CompleteTask)) == 1


async def test_a_token_of_another_tenant_is_invalid(world: World) -> None:
    (task,) = await delivered(world)
    (ack,) = await answer(world, done(task.token), tenant="other")
    assert ack.disposition is Disposition.INVALID
    await answer(world, done(task.token))
    (late,) = await answer(world, done(task.token), tenant="other")
    assert late.disposition is not Disposition.ACCEPTED


@pytest.mark.parametrize(
    ("kind", "disposition"),
    [
        (Kind.RACE, Disposition.STALE),
        (Kind.STATE, Disposition.STALE),
        (Kind.NOT_FOUND, Disposition.STALE),
        (Kind.BUSY, Disposition.RETRY),
        (Kind.UNAVAILABLE, Disposition.RETRY),
        (Kind.INVALID, Disposition.INVALID),
        (Kind.INTERNAL, Disposition.INVALID),
    ],
)
async def test_how_a_refusal_is_answered(world: World, kind: Kind, disposition: Disposition) -> None:
    (task,) = await delivered(world)
    world.refuse = lambda command: refusal(kind)
    (ack,) = await answer(world, done(task.token))
    assert ack.disposition is disposition
    assert ack.message == f"refused: {kind.name}"


async def test_an_answer_that_could_not_be_taken_is_taken_when_it_comes_again(world: World) -> None:
    (task,) = await delivered(world)
    world.refuse = lambda command: refusal(Kind.BUSY)
    assert (await answer(world, done(task.token)))[0].disposition is Disposition.RETRY
    world.refuse = lambda command: None
    assert (await answer(world, done(task.token)))[0].disposition is Disposition.ACCEPTED


async def test_a_worker_lost_while_its_answer_is_refused_loses_the_task(world: World) -> None:
    (task,) = await delivered(world)
    session = world.dispatcher.connect(world.hello(holding=(task.token,)))
    world.slow = []
    session.answer([done(task.token)])
    session.disconnect()
    await world.clock.advance(6)
    assert world.commands(LoseDelivery) == []
    world.refuse = lambda command: refusal(Kind.BUSY)
    world.slow.pop()()
    await world.clock.settle()
    assert len(world.commands(LoseDelivery)) == 1


async def test_a_worker_lost_while_its_answer_is_accepted_loses_nothing(world: World) -> None:
    (task,) = await delivered(world)
    session = world.dispatcher.connect(world.hello(holding=(task.token,)))
    world.slow = []
    session.answer([done(task.token)])
    session.disconnect()
    await world.clock.advance(6)
    world.slow.pop()()
    await world.clock.advance(60)
    assert world.commands(LoseDelivery) == []
    assert world.dispatcher.open_tasks == 0


async def test_something_unreadable_is_invalid_and_can_be_mended_within_a_lease(world: World) -> None:
    first, second = await delivered(world, 2)
    bad = [TaskResult(first.token, fault="not JSON: ..."), TaskResult(second.token)]
    acks = await answer(world, *bad)
    assert [(ack.disposition.name, ack.reason) for ack in acks] == [
        ("INVALID", "INVALID_JSON"),
        ("INVALID", "INVALID_REQUEST"),
    ]
    assert (await answer(world, done(first.token)))[0].disposition is Disposition.ACCEPTED
    for _ in range(4):
        await world.clock.advance(10)
        world.dispatcher.heartbeat("acme", "w1", [])
    assert len(world.commands(LoseDelivery)) == 1


async def test_progress_is_handed_to_the_next_delivery(world: World) -> None:
    (task,) = await delivered(world)
    (ack,) = world.dispatcher.heartbeat("acme", "w1", [beat(task.token, progress={"done": 5}, progress_bytes=10)])
    assert (ack.disposition, ack.heartbeat) == (Disposition.ACCEPTED, True)
    world.dispatcher.heartbeat("acme", "w1", [beat(task.token, progress="too much", progress_bytes=10**6)])
    await world.clock.advance(31)
    again = (await world.dispatcher.connect(world.hello("w2")).receive()).tasks
    assert [task.progress for task in again] == [{"done": 5}]


async def test_heartbeats_of_tokens_that_are_not_good(world: World) -> None:
    (task,) = await delivered(world)
    await answer(world, done(task.token))
    stale, invalid = world.dispatcher.heartbeat("acme", "w1", [beat(task.token), beat(b"x")])
    assert (stale.disposition, stale.cancel_requested) == (Disposition.STALE, True)
    assert invalid.disposition is Disposition.INVALID


# Tokens of other boots


def restarted(world: World, generation: int = 1, task: bool = True) -> World:
    store = FakeStore()
    store.tasks = [TaskRecord(ref(1), 1, "a", "s.op", 1, 1, 0, 0, 1_000)] if task else []
    store.inputs = {(1, 1): b'{"input":1}'}
    after = World(store, boot=2, generation=generation)
    after.history = world.history
    return after


async def test_an_answer_to_an_earlier_boot_is_accepted(world: World) -> None:
    (task,) = await delivered(world)
    after = restarted(world)
    await after.dispatcher.recover()
    assert (await answer(after, done(task.token)))[0].disposition is Disposition.ACCEPTED
    assert (await answer(after, done(task.token)))[0].disposition is Disposition.DUPLICATE
    assert len(after.commands(CompleteTask)) == 1
    await after.close()


async def test_an_answer_to_an_earlier_boot_is_accepted_until_this_boot_has_delivered_again(world: World) -> None:
    (task,) = await delivered(world)
    after = restarted(world)
    await after.dispatcher.recover()
    await after.clock.advance(6)
    session = after.dispatcher.connect(after.hello("w2"))
    (again,) = (await session.receive()).tasks
    assert (await answer(after, done(task.token)))[0].disposition is Disposition.STALE
    assert (await answer(after, done(again.token)))[0].disposition is Disposition.ACCEPTED
    await after.close()


async def test_an_answer_to_an_earlier_boot_can_be_sent_again_after_a_refusal(world: World) -> None:
    (task,) = await delivered(world)
    after = restarted(world)
    await after.dispatcher.recover()
    after.refuse = lambda command: refusal(Kind.BUSY)
    assert (await answer(after, done(task.token)))[0].disposition is Disposition.RETRY
    after.refuse = lambda command: None
    assert (await answer(after, done(task.token)))[0].disposition is Disposition.ACCEPTED
    await after.close()


async def test_after_a_restart_history_tells_a_repeat_from_a_stale_answer(world: World) -> None:
    first, second = await delivered(world, 2)
    await answer(world, done(first.token))
    after = restarted(world, task=False)
    acks = await answer(after, done(first.token), done(second.token))
    assert [ack.disposition for ack in acks] == [Disposition.DUPLICATE, Disposition.STALE]
    assert after.asked == []
    await after.close()


async def test_a_token_of_another_generation_is_invalid(world: World) -> None:
    (task,) = await delivered(world)
    after = restarted(world, generation=2)
    await after.dispatcher.recover()
    (ack,) = await answer(after, done(task.token))
    assert (ack.disposition, ack.reason) == (Disposition.INVALID, "OTHER_GENERATION")
    await after.close()


async def test_forgotten_tokens_are_looked_up_in_history() -> None:
    world = World(settled_tokens_max=2)
    tasks = await delivered(world, 10)
    await answer(world, *(done(task.token) for task in tasks))
    assert {ack.disposition for ack in await answer(world, *(done(task.token) for task in tasks))} == {
        Disposition.DUPLICATE
    }
    assert len(world.commands(CompleteTask)) == 10
    await world.close()
