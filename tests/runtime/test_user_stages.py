"""Stages of the user's own: where they stand, what they see, and what becomes of what they raise."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from tests.runtime.lifecycle_house import STAGES, House, draft, flow, given, origin, publish, refusal

from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.lifecycle import chain
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.contents import Given
from callboard.runtime.lifecycle.deleting import Delete
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.lifecycle.extensions import UserStage
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.publishing import Publish, Validated
from callboard.runtime.lifecycle.recording import Announced, Recorded
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert


async def opened(*stages: UserStage) -> House:
    house = House(*stages)
    await house.store.open()
    return house


def naming_policy(validated: Validated) -> None:
    """Every step of ours begins with a verb and an underscore."""
    for step in validated.plan.steps:
        if "_" not in step:
            raise ValueError(f"step {step!r} is not named verb_noun")


POLICY = UserStage("publish", "validate", True, "naming policy", naming_policy)


class Webhook:
    """Tells somebody outside, who is not always there."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.told: list[tuple[str, int]] = []

    async def __call__(self, announced: Announced[Any]) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody answers")
        recorded = announced.recorded
        self.told.append((recorded.decided.part.definition_id, recorded.revision))


def hook(webhook: Webhook) -> UserStage:
    return UserStage("publish", "announce", True, "webhook", webhook)


def named(step: str, **fields: Any) -> Given:
    return given(steps=[{"id": step, "finish": {}}], **fields)


# Before `record`


async def test_a_policy_refuses_with_its_name_and_its_words() -> None:
    house = await opened(POLICY)
    found = await refusal(house.publishing.publish(publish()))
    assert (found.kind, found.reason) == (Kind.STATE, "STAGE_FAILED")
    assert found.message == "stage 'naming policy' of this server refuses the change: step 'end' is not named verb_noun"
    assert found.metadata == {"stage": "naming policy", "cause": "ValueError", "stored": "false"}
    assert house.store.changes == []
    answer = await house.publishing.publish(publish(given=named("end_it")))
    assert [stage.name for stage in answer.stages] == [*STAGES[:2], "naming policy", *STAGES[2:]]


async def test_a_rehearsal_asks_the_policies_too() -> None:
    late = UserStage("publish", "record", False, "freeze", lambda _: 1 / 0)
    house = await opened(POLICY, late)
    assert (await refusal(house.publishing.publish(publish(validate_only=True)))).metadata["stage"] == "naming policy"
    frozen = await refusal(house.publishing.publish(publish(given=named("end_it"), validate_only=True)))
    assert frozen.metadata["stage"] == "freeze"


async def test_a_refusal_of_its_own_goes_through_as_it_is() -> None:
    own = Refusal(Kind.DENIED, "PERMISSION_DENIED", "not on Fridays")

    async def refuse(_: object) -> None:
        raise Refused(own)

    house = await opened(UserStage("draft", "load", False, "fridays", refuse))
    assert await refusal(house.drafting.put(draft())) == own


@pytest.mark.parametrize("way", ["publishing", "reverting", "batching", "importing"])
async def test_a_policy_of_publishing_holds_for_every_way_to_publish(way: str) -> None:
    lenient = await opened()
    await lenient.publishing.publish(publish())
    text = "\n".join((await export(lenient.store, "acme", (), "", 10_000)).lines)
    await lenient.publishing.publish(publish(given=named("end_it")))
    await lenient.drafting.put(draft())
    house = House(POLICY, store=lenient.store)
    ways: dict[str, Callable[[], Any]] = {
        "publishing": lambda: house.publishing.publish(publish(given=None, definition_id="flow")),
        "batching": lambda: house.batching.publish(PublishBatch(origin(), (BatchItem(given()),))),
        "importing": lambda: house.importing.import_bundle(Import(origin(), text)),
        "reverting": lambda: house.reverting.revert(Revert(origin(), "flow", 1)),
    }
    assert (await refusal(ways[way]())).metadata["stage"] == "naming policy"


async def test_in_a_batch_every_definition_is_judged_and_named() -> None:
    house = await opened(POLICY)
    items = tuple(BatchItem(Given(definition={**flow(), "id": name})) for name in ("a", "b"))
    found = await refusal(house.batching.publish(PublishBatch(origin(), items)))
    assert found.metadata["items"] == "items[0],items[1]"
    assert "items[1]: stage 'naming policy' of this server refuses" in found.message


async def test_a_plain_function_may_block() -> None:
    seen: list[str] = []
    house = await opened(
        UserStage("retract", "decide", True, "slow", lambda _: seen.append(threading.current_thread().name))
    )
    await house.publishing.publish(publish())
    await house.retracting.retract(Retract(origin(), "flow"))
    assert seen != [threading.main_thread().name]
    assert len(seen) == 1


@pytest.mark.parametrize("error", [StopIteration("none left"), SystemExit(3), asyncio.CancelledError(), EOFError()])
@pytest.mark.parametrize("waits", [False, True], ids=["plain", "coroutine"])
async def test_whatever_it_raises_refuses_the_change_and_nothing_else(error: BaseException, waits: bool) -> None:
    def give_up(_: object) -> None:
        raise error

    async def give_up_later(_: object) -> None:
        raise error

    house = await opened(UserStage("publish", "decide", True, "odd", give_up_later if waits else give_up))
    found = await refusal(asyncio.wait_for(house.publishing.publish(publish()), 5))
    assert (found.kind, found.metadata["stage"], found.metadata["stored"]) == (Kind.STATE, "odd", "false")
    assert house.store.changes == []


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "coroutine"])
async def test_one_that_hangs_refuses_the_change_when_its_time_is_over(waits: bool) -> None:
    held, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        held.wait(60)

    async def hang_along(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    house = await opened(UserStage("publish", "decide", True, "slow", hang_along if waits else hang, seconds_max=5))
    publishing = asyncio.ensure_future(house.publishing.publish(publish()))
    await asyncio.wait_for(begun.wait(), 5)
    await house.clock.advance(4.9)
    assert not publishing.done()
    await house.clock.advance(0.2)
    found = await refusal(asyncio.wait_for(publishing, 5))
    held.set()
    assert found.metadata == {"stage": "slow", "cause": "TimeoutError", "stored": "false"}
    assert "5 seconds" in found.message
    assert house.store.changes == []


async def test_many_that_hang_are_in_nobody_else_s_way() -> None:
    """Each has a thread of its own: those of the process are few, and others need them."""
    held = threading.Event()
    house = await opened(UserStage("publish", "load", False, "slow", lambda _: held.wait(60)))
    hanging = [asyncio.ensure_future(house.publishing.publish(publish())) for _ in range(50)]
    await house.clock.settle()
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5) == 7
    held.set()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_caller_who_gives_up_gives_up_the_stage() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    house = await opened(UserStage("publish", "load", False, "slow", wait))
    publishing = asyncio.ensure_future(house.publishing.publish(publish()))
    await begun.wait()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert ended.is_set()


# After `record`


async def test_an_announcer_is_told_of_each_definition_after_the_disk() -> None:
    webhook = Webhook()
    house = await opened(hook(webhook))
    answer = await house.publishing.publish(publish())
    assert webhook.told == [("flow", 1)]
    assert [stage.name for stage in answer.stages] == [*STAGES, "webhook"]
    items = tuple(BatchItem(Given(definition={**flow(), "id": name})) for name in ("a", "b"))
    await house.batching.publish(PublishBatch(origin(), items))
    assert webhook.told[1:] == [("a", 2), ("b", 2)]


async def test_one_that_fails_is_tried_again_after_pauses() -> None:
    webhook = Webhook(failures=2)
    house = await opened(hook(webhook))
    publishing = asyncio.ensure_future(house.publishing.publish(publish()))
    await house.clock.settle()
    assert webhook.calls == 1
    await house.clock.advance(0.1)
    assert webhook.calls == 2
    await house.clock.advance(0.2)
    answer = await publishing
    assert (webhook.told, webhook.calls) == ([("flow", 1)], 3)
    assert [stage.error for stage in answer.stages] == [""] * 8


async def test_one_that_keeps_failing_is_reported_and_the_change_stands() -> None:
    webhook = Webhook(failures=100)
    last: list[Recorded[Any]] = []
    after = UserStage("publish", "announce", True, "second", lambda value: last.append(value.recorded))
    house = await opened(hook(webhook), after)
    publishing = asyncio.ensure_future(house.publishing.publish(publish(origin=origin("r-1"))))
    await house.clock.advance(1)
    answer = await publishing
    assert (answer.version, answer.changed, webhook.calls) == (1, True, 4)
    assert {stage.name: stage.error for stage in answer.stages if stage.error} == {
        "webhook": "ConnectionError: nobody answers"
    }
    assert len(last) == 1
    assert (await house.catalog.published("acme", "flow")).compiled.version == 1


async def test_the_span_of_a_stage_that_keeps_failing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[tuple[str, str]] = []

    class Span:
        def __init__(self, stage: str) -> None:
            self.stage = stage

        def set_status(self, status: StatusCode, description: str) -> None:
            marked.append((self.stage, f"{status.name} {description}"))

    class Tracer:
        @contextmanager
        def start_as_current_span(self, name: str, attributes: dict[str, str]) -> Iterator[Span]:
            yield Span(attributes["callboard.stage"])

    monkeypatch.setattr(chain, "_tracer", Tracer())
    house = await opened(hook(Webhook(failures=100)))
    publishing = asyncio.ensure_future(house.publishing.publish(publish()))
    await house.clock.advance(1)
    await publishing
    assert marked == [("webhook", "ERROR ConnectionError: nobody answers")]


# Places


def generates(_: object) -> Iterator[int]:
    yield 1


async def generates_along(_: object) -> AsyncIterator[int]:
    yield 1


class Generates:
    """Called like a generator function."""

    def __call__(self, _: object) -> Iterator[int]:
        yield 1


async def test_every_place_gives_its_value() -> None:
    seen: dict[str, type] = {}

    def watch(name: str) -> Callable[[object], None]:
        return lambda value: seen.update({name: type(value)})

    stages = [UserStage("publish", place, False, f"before {place}", watch(f"before {place}")) for place in STAGES]
    stages += [UserStage("publish", place, True, f"after {place}", watch(f"after {place}")) for place in STAGES]
    house = await opened(*stages)
    answer = await house.publishing.publish(publish())
    assert [stage.name for stage in answer.stages] == [
        name for place in STAGES for name in (f"before {place}", place, f"after {place}")
    ]
    assert seen["before load"] is Publish
    for place, following in itertools.pairwise(STAGES):
        assert seen[f"after {place}"] is seen[f"before {following}"]
    single = dict(seen)
    seen.clear()
    await house.batching.publish(PublishBatch(origin(), (BatchItem(Given(definition={**flow(), "id": "b"})),)))
    assert seen == single


async def test_a_stage_of_the_delete_chain() -> None:
    seen: list[Any] = []
    house = await opened(UserStage("delete", "decide", True, "audit", seen.append))
    await house.publishing.publish(publish())
    await house.deleting.delete(Delete(origin(), "flow"))
    assert [one.decision.after.state for one in seen] == ["DELETED"]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (UserStage("publsh", "load", True, "x", print), "publish, draft, retract, delete, pause"),
        (UserStage("publish", "lod", True, "x", print), "load, validate, compile, decide, record"),
        (UserStage("retract", "validate", True, "x", print), "load, decide, record, invalidate, announce"),
        (UserStage("publish", "load", True, "decide", print), "another name"),
        (UserStage("publish", "load", True, "", print), "another name"),
        (UserStage("publish", "load", True, "x", generates), "generator"),
        (UserStage("publish", "load", True, "x", generates_along), "generator"),
        (UserStage("publish", "load", True, "x", Generates()), "generator"),
    ],
)
def test_a_stage_that_fits_nowhere_is_refused_with_the_places_there_are(stage: UserStage, words: str) -> None:
    async def build() -> None:
        House(stage)

    with pytest.raises(ValueError, match=words):
        asyncio.run(build())


async def test_two_stages_need_two_names() -> None:
    with pytest.raises(ValueError, match="another name"):
        House(*(UserStage("publish", place, True, "x", print) for place in ("load", "record")))
