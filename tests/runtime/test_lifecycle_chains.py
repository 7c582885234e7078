"""What holds for every chain: whatever fails, wherever it fails, the definition is wholly old or wholly new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import pytest
from tests.runtime.lifecycle_house import House, draft, given, origin, publish, refusal

from callboard.runtime.core.lifecycle import Standing, evolve, fact_of
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.chain import Chain, Report, Stage
from callboard.runtime.lifecycle.deleting import Delete, OnDelete
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle.recording import Origin, standing_of
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.lifecycle_rows import LifecycleChange

TRIGGERS: Final = [{"id": "placed", "event": {"name": "order.placed"}}]
Wish = Callable[[House, Origin], Awaitable[Any]]

WISHES: Final[dict[str, Wish]] = {
    "publishing": lambda house, by: house.publishing.publish(publish(origin=by, given=given(description="new"))),
    "drafting": lambda house, by: house.drafting.put(draft(origin=by)),
    "retracting": lambda house, by: house.retracting.retract(Retract(by, "flow")),
    "reverting": lambda house, by: house.reverting.revert(Revert(by, "flow", 1)),
    "batching": lambda house, by: house.batching.publish(PublishBatch(by, (BatchItem(given(description="new")),))),
    "importing": lambda house, by: house.importing.import_bundle(Import(by, BUNDLE)),
    "deleting": lambda house, by: house.deleting.delete(Delete(by, "flow")),
    "pausing": lambda house, by: house.pausing.pause(PauseTrigger(by, "flow", "placed", paused=True)),
}
"""One change for each chain, of a definition with two versions."""


async def _house() -> House:
    house = House()
    await house.store.open()
    for number in (1, 2):
        await house.publishing.publish(publish(given=given(description=f"number {number}", triggers=TRIGGERS)))
    return house


async def _written() -> tuple[str, list[tuple[str, str]]]:
    house = await _house()
    await house.publishing.publish(publish(given=given(description="elsewhere", triggers=TRIGGERS)))
    text = "\n".join((await export(house.store, "acme", (), "", 1_000_000)).lines)
    parts = {name: part for name, part in vars(house).items() if isinstance(getattr(part, "chain", None), Chain)}
    return text, [(name, stage.name) for name, part in parts.items() for stage in part.chain.stages]


_FOUND: Final = asyncio.run(_written())
BUNDLE: Final[str] = _FOUND[0]
PLACES: Final = _FOUND[1]
everywhere = pytest.mark.parametrize(("chain", "stage"), PLACES, ids=["-".join(place) for place in PLACES])
every_chain = pytest.mark.parametrize("chain", list(WISHES))


@pytest.fixture
async def house() -> House:
    return await _house()


async def standing(house: House) -> tuple[Any, ...]:
    """All there is to know about the definition."""
    store = house.store
    return (
        await store.definition("acme", "flow"),
        await store.definition_versions("acme", "flow", 0, 100),
        [event.name for event in await store.definition_events("acme", "flow", 0, 0, 100, 1_000_000)],
        await store.trigger("acme", "flow", "placed"),
        await store.listeners("acme", "order.placed"),
    )


def replaced(chain: Chain[Any, Any], name: str, run: Callable[[Any, Report], Awaitable[Any]]) -> Chain[Any, Any]:
    """The same chain with another function at one stage."""
    return Chain(tuple(Stage(s.name, run if s.name == name else s.run, s.durable) for s in chain.stages))


def test_there_is_a_wish_for_every_chain() -> None:
    assert set(WISHES) == {chain for chain, _ in PLACES}


@everywhere
async def test_a_failure_leaves_it_old_or_new_and_calling_again_makes_it_new(chain: str, stage: str) -> None:
    old, new = await standing(await _house()), await _unhindered(chain)
    house = await _house()
    part = getattr(house, chain)
    whole = part.chain
    stages = [place.name for place in whole.stages]
    stored = stages.index(stage) > stages.index("record")

    async def explode(value: Any, report: Report) -> Any:
        raise OSError("pulled the plug")

    part.chain = replaced(whole, stage, explode)
    told = len(house.told)
    refused = await refusal(WISHES[chain](house, origin("r-1")))
    assert (refused.kind, refused.reason) == (Kind.INTERNAL, "STAGE_FAILED")
    assert refused.metadata == {"stage": stage, "cause": "OSError", "stored": str(stored).lower()}
    assert await standing(house) == (new if stored else old)
    assert len(house.told) == told
    part.chain = whole
    await WISHES[chain](house, origin("r-1"))
    assert await standing(house) == new
    # Also where the change was stored before: it is announced once, by the call that succeeds.
    assert len(house.told) == told + 1
    await WISHES[chain](house, origin("r-1"))
    assert len(house.told) == told + 1


async def _unhindered(chain: str) -> tuple[Any, ...]:
    house = await _house()
    await WISHES[chain](house, origin("r-1"))
    return await standing(house)


@every_chain
async def test_the_head_is_the_fold_of_the_events(house: House, chain: str) -> None:
    await WISHES[chain](house, origin())
    folded = Standing()
    for event in await house.store.definition_events("acme", "flow", 0, 0, 100, 1_000_000):
        folded = evolve(folded, fact_of(event.name, event.payload))
    assert folded == standing_of(await house.store.definition("acme", "flow"))


@every_chain
async def test_the_event_names_the_stages_up_to_record(house: House, chain: str) -> None:
    answer = await WISHES[chain](house, origin())
    stages = [stage.name for stage in getattr(house, chain).chain.stages]
    assert [run.name for run in answer.stages] == stages
    change = house.store.changes[-1].changes[0]
    fact = fact_of(change.events[0].name, change.events[0].payload)
    assert [run.name for run in fact.stages] == stages[: stages.index("record")]
    assert change.events[0].user_id == "ann"


@every_chain
async def test_who_gives_up_waiting_does_not_take_the_change_back(house: House, chain: str) -> None:
    part = getattr(house, chain)
    whole, reached = part.chain, asyncio.Event()
    record = next(stage.run for stage in whole.stages if stage.name == "record")
    told = len(house.told)

    async def hesitate(value: Any, report: Report) -> Any:
        reached.set()
        await house.clock.settle()
        return await record(value, report)

    part.chain = replaced(whole, "record", hesitate)
    call = asyncio.ensure_future(WISHES[chain](house, origin()))
    await reached.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    await house.clock.settle(200)
    assert len(house.told) == told + 1


def told(answer: Any) -> tuple[Any, ...]:
    """What an answer says of the change, but for how it came about."""
    each = getattr(answer, "definitions", (answer,))
    fields = ("definition_id", "version", "trigger_id", "job_id", "revision", "etag", "changed")
    return tuple(tuple(getattr(one, name, None) for name in fields) for one in each)


@every_chain
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("rehearsed", [False, True])
async def test_a_repeat_is_answered_as_the_first_time(chain: str, restarted: bool, rehearsed: bool) -> None:
    house = await _house()
    if rehearsed:
        before = await standing(house)
        await rehearse(house, chain)
        assert await standing(house) == before
    first = await WISHES[chain](house, origin("r-1"))
    after = await standing(house)
    if restarted:
        house = House(store=house.store)
    again = await WISHES[chain](house, origin("r-1"))
    assert told(again) == told(first)
    assert again.stages == ()
    assert await standing(house) == after


async def rehearse(house: House, chain: str) -> None:
    part = getattr(house, chain)
    whole, seen = part.chain, []

    class Rehearsed(Chain[Any, Any]):
        async def run(self, value: Any, **more: Any) -> Any:
            seen.append(value)
            raise Refused(Refusal(Kind.STATE, "SEEN", "only looked at"))

    part.chain = Rehearsed(whole.stages)
    await refusal(WISHES[chain](house, origin("r-1")))
    part.chain = whole
    await whole.rehearse(msgspec.structs.replace(seen[0], validate_only=True))


@every_chain
async def test_a_repeat_of_what_changed_nothing_says_so(house: House, chain: str) -> None:
    await WISHES[chain](house, origin())
    if chain == "reverting":
        await WISHES[chain](house, origin())
    first = await WISHES[chain](house, origin("r-1"))
    again = await WISHES[chain](house, origin("r-1"))
    assert told(again) == told(first)
    assert {one.changed for one in getattr(again, "definitions", (again,))} == {False}


async def test_a_repeat_of_deleting_what_is_being_deleted_names_its_job(house: House) -> None:
    await house.start("x-1", 2)
    cancel: dict[str, Any] = {"definition_id": "flow", "running": OnDelete.CANCEL}
    first = await house.deleting.delete(Delete(origin(), **cancel))
    second = await house.deleting.delete(Delete(origin("r-1"), **cancel))
    again = await house.deleting.delete(Delete(origin("r-1"), **cancel))
    assert first.job_id == second.job_id == again.job_id != ""
    assert told(again) == told(second)


async def test_a_request_that_an_earlier_program_remembered_is_answered(house: House) -> None:
    by = origin("r-1")
    assert by.request is not None
    old = msgspec.structs.replace(by.request, identity="flow@1")
    await house.journal.write(LifecycleChange("acme", (), house.clock.now(), (old,)))
    answer = await WISHES["publishing"](house, by)
    assert (answer.definition_id, answer.version, answer.changed) == ("flow", 1, True)


async def test_a_publish_that_changes_nothing_is_remembered_by_its_request_id(house: House) -> None:
    same = given(description="number 2", triggers=TRIGGERS)
    first = await house.publishing.publish(publish(origin=origin("r-1"), given=same))
    assert (first.version, first.changed) == (2, False)
    await house.publishing.publish(publish(given=given(description="later")))
    again = await house.publishing.publish(publish(origin=origin("r-1"), given=same))
    assert (again.version, (await house.head()).published) == (2, 3)
    reused = await refusal(house.publishing.publish(publish(origin=origin("r-1", b"other"))))
    assert reused.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("chain", ["publishing", "drafting", "retracting", "reverting", "pausing"])
async def test_nothing_is_done_to_a_definition_that_is_being_deleted(house: House, chain: str) -> None:
    await house.start("x-1", 2)
    await house.deleting.delete(Delete(origin(), "flow", running=OnDelete.CANCEL))
    before = await standing(house)
    with pytest.raises(Refused) as raised:
        await WISHES[chain](house, origin())
    assert (raised.value.refusal.kind, raised.value.refusal.reason) == (Kind.STATE, "DEFINITION_DELETED")
    assert await standing(house) == before
