"""What publishing, retracting and pausing do to triggers, and which triggers do not go together."""

from __future__ import annotations

from typing import Any

import pytest
from tests.runtime.lifecycle_house import House, draft, flow, given, origin, publish, refusal, refused

from callboard.runtime.catalog import Catalog
from callboard.runtime.core.durations import format_timestamp
from callboard.runtime.core.refusals import Kind
from callboard.runtime.journal import Journal
from callboard.runtime.lifecycle.chain import Chain, Report, Stage
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle.publishing import PublishAnswer
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.trigger_rows import TriggerRow

MINUTE = 60_000_000
HEARS = {"id": "placed", "event": {"name": "order.placed", "execution_id": "'o-' + event.id"}}
EVERY = {"id": "often", "schedule": {"every": "10m"}}


@pytest.fixture
async def house() -> House:
    house = House(event_triggers_max=3)
    await house.store.open()
    return house


def other(definition_id: str, *triggers: dict[str, Any], **fields: Any) -> Given:
    return Given(definition={**flow(triggers=list(triggers), **fields), "id": definition_id})


async def published(house: House, *triggers: dict[str, Any], **fields: Any) -> PublishAnswer:
    return await house.publishing.publish(publish(given=given(triggers=list(triggers), **fields)))


async def row(house: House, trigger_id: str) -> TriggerRow:
    found = await house.store.trigger("acme", "flow", trigger_id)
    assert found is not None
    return found


def after_now(house: House) -> int:
    """The first multiple of ten minutes after now."""
    return (house.clock.now() // (10 * MINUTE) + 1) * 10 * MINUTE


# Their rows


async def test_triggers_listen_with_the_commit_that_publishes_them(house: House) -> None:
    await published(house, HEARS, EVERY)
    placed, often = await row(house, "placed"), await row(house, "often")
    assert (placed.active, placed.version, placed.event_name, placed.identity) == (
        True,
        1,
        "order.placed",
        "'o-'+event.id",
    )
    assert (often.active, often.event_name, often.next_slot, often.due) == (True, "", *[after_now(house)] * 2)
    (change,) = house.store.changes
    assert [one.trigger_id for one in change.changes[0].triggers or ()] == ["placed", "often"]


async def test_a_version_without_a_trigger_puts_it_to_rest(house: House) -> None:
    await published(house, HEARS, EVERY)
    await published(house, EVERY)
    assert not (await row(house, "placed")).active
    assert (await row(house, "often")).version == 2


async def test_slots_go_on_where_the_times_are_the_same_and_begin_anew_where_they_are_not(house: House) -> None:
    await published(house, EVERY)
    slot = after_now(house)
    await house.clock.advance(15 * 60)
    await published(house, EVERY, description="new")
    assert (await row(house, "often")).next_slot == slot
    await published(house, {"id": "often", "schedule": {"every": "20m"}})
    assert (await row(house, "often")).next_slot > slot + 10 * MINUTE


async def test_after_a_retract_nothing_listens_and_what_was_missed_stays_so(house: House) -> None:
    await published(house, HEARS, EVERY)
    await house.retracting.retract(Retract(origin(), "flow"))
    assert not (await row(house, "placed")).active
    assert not (await row(house, "often")).active
    await house.clock.advance(3_600)
    await published(house, HEARS, EVERY)
    often = await row(house, "often")
    assert (often.active, often.version, often.next_slot) == (True, 2, after_now(house))


async def test_jitter_moves_when_a_slot_fires_and_not_the_slot(house: House) -> None:
    await published(house, {"id": "often", "schedule": {"every": "10m", "jitter": "5m"}})
    often = await row(house, "often")
    assert often.next_slot == after_now(house)
    assert often.next_slot < often.due < often.next_slot + 5 * MINUTE


async def test_schedules_that_make_no_sense_are_refused_where_they_stand(house: House) -> None:
    schedule = "{cron: 61 * * * *, time_zone: Mars/Olympus}"
    text = f"id: flow\ntriggers:\n  - id: n\n    schedule: {schedule}\nsteps: [{{id: a, finish: {{}}}}]"
    found = await refusal(house.publishing.publish(publish(given=Given(SourceText("flow.yaml", text)))))
    places = {(one.path, one.line) for one in found.violations}
    assert places == {("triggers[0].schedule.cron", 4), ("triggers[0].schedule.time_zone", 4)}
    drafted = await house.drafting.put(draft(given=Given(SourceText("flow.yaml", text))))
    assert {one.path for one in drafted.violations} == {path for path, _ in places}


async def test_an_instant_that_is_over_is_a_warning(house: House) -> None:
    past = format_timestamp(house.clock.now() // MINUTE * MINUTE - MINUTE)
    answer = await published(house, {"id": "once", "schedule": {"at": past}})
    assert [(one.path, one.warning) for one in answer.warnings] == [("triggers[0].schedule.at", True)]
    assert ((await row(house, "once")).next_slot, (await row(house, "once")).due) == (0, 0)


# Which go together


async def test_two_definitions_that_start_the_same_execution_clash(house: House) -> None:
    await published(house, HEARS)
    same = {"id": "t", "event": {"name": "order.placed", "execution_id": "'o-'  +  event.id"}}
    found = await refusal(house.publishing.publish(publish(given=other("b", EVERY, same))))
    assert (found.kind, found.reason) == (Kind.INVALID, "INVALID_DEFINITION")
    assert [(one.path, one.code) for one in found.violations] == [("triggers[1].event.execution_id", "TRIGGER_CLASH")]
    assert "trigger 'placed' of definition 'flow'" in found.message
    assert await house.store.definition("acme", "b") is None


@pytest.mark.parametrize(
    "source",
    [
        {"name": "order.placed"},
        {"name": "order.placed", "execution_id": "'p-' + event.id"},
        {"name": "order.sent", "execution_id": "'o-' + event.id"},
    ],
)
async def test_others_do_not(house: House, source: dict[str, Any]) -> None:
    await published(house, HEARS)
    assert (await house.publishing.publish(publish(given=other("b", {"id": "t", "event": source})))).version == 1


async def test_a_trigger_that_no_longer_listens_clashes_with_nothing(house: House) -> None:
    await published(house, HEARS)
    await house.retracting.retract(Retract(origin(), "flow"))
    await house.publishing.publish(publish(given=other("b", HEARS)))
    found = await refusal(published(house, HEARS))
    assert found.violations[0].code == "TRIGGER_CLASH"
    assert (await published(house, HEARS | {"event": {"name": "order.placed"}})).version == 2


async def test_of_two_that_clash_and_come_at_one_time_one_is_lost(house: House) -> None:
    """The other one is published between the look and the commit."""
    whole = house.publishing.chain
    record = next(stage.run for stage in whole.stages if stage.name == "record")

    async def late(value: Any, report: Report) -> Any:
        house.publishing.chain = whole
        await house.publishing.publish(publish(given=other("b", HEARS)))
        return await record(value, report)

    stages = tuple(Stage(s.name, late if s.name == "record" else s.run, s.durable) for s in whole.stages)
    house.publishing.chain = Chain(stages)
    found = await refusal(published(house, HEARS))
    assert (found.kind, found.reason, found.resource) == (Kind.RACE, "LOST_RACE", "flow")
    assert (await refusal(published(house, HEARS))).violations[0].code == "TRIGGER_CLASH"


async def test_so_many_triggers_may_listen_to_one_event(house: House) -> None:
    triggers = [{"id": f"t{number}", "event": {"name": "order.placed"}} for number in range(3)]
    await published(house, *triggers[:2])
    await house.publishing.publish(publish(given=other("b", triggers[0])))
    found = await refusal(published(house, *triggers))
    assert found.reason == "LIMIT_EXCEEDED"
    assert [one.path for one in found.violations] == [f"triggers[{number}].event.name" for number in range(3)]
    assert "event_triggers_max = 3" in found.message
    await published(house, *triggers[:2], description="new")


# Pausing


async def pause(house: House, trigger_id: str, paused: bool, **fields: Any) -> Any:
    return await house.pausing.pause(PauseTrigger(origin(**fields), "flow", trigger_id, paused))


async def test_a_paused_trigger_stays_so_through_versions_until_it_is_resumed(house: House) -> None:
    await published(house, HEARS, EVERY)
    answer = await pause(house, "often", True)
    assert (answer.definition_id, answer.trigger_id, answer.revision, answer.changed) == ("flow", "often", 2, True)
    assert not (await pause(house, "often", True)).changed
    await published(house, HEARS, EVERY, description="new")
    assert (await row(house, "often")).paused
    assert await house.store.due_triggers(2**60, 10) == []
    await house.clock.advance(3_600)
    assert (await pause(house, "often", False)).changed
    often = await row(house, "often")
    assert (often.paused, often.next_slot) == (False, after_now(house))
    assert (await house.head()).paused == ()


async def test_pausing_moves_the_listeners_of_the_event(house: House) -> None:
    await published(house, HEARS)
    await pause(house, "placed", True)
    revision, (placed,) = await house.store.listeners("acme", "order.placed")
    assert (revision, placed.paused) == (2, True)


async def test_the_trigger_of_a_retracted_definition_can_be_paused(house: House) -> None:
    await published(house, EVERY)
    await house.retracting.retract(Retract(origin(), "flow"))
    await pause(house, "often", True)
    await published(house, EVERY)
    assert (await row(house, "often")).paused
    await house.retracting.retract(Retract(origin(), "flow"))
    await pause(house, "often", False)
    assert (await row(house, "often")).next_slot == 0


async def test_a_trigger_that_is_not_there_is_said_so(house: House) -> None:
    assert await refused(pause(house, "often", True)) == (Kind.NOT_FOUND, "DEFINITION_NOT_FOUND")
    await published(house, HEARS, EVERY)
    assert await refused(pause(house, "never", True)) == (Kind.NOT_FOUND, "TRIGGER_NOT_FOUND")
    await published(house, EVERY)
    assert await refused(pause(house, "placed", True)) == (Kind.NOT_FOUND, "TRIGGER_NOT_FOUND")


async def test_a_repeated_pause_has_its_effect_once(house: House) -> None:
    await published(house, EVERY)
    await pause(house, "often", True, request_id="r-1")
    await pause(house, "often", False)
    again = await pause(house, "often", True, request_id="r-1")
    assert (again.revision, again.stages) == (3, ())
    assert not (await row(house, "often")).paused


async def test_a_paused_trigger_is_resumed_by_another_process_from_the_store_alone(house: House) -> None:
    await published(house, EVERY)
    await pause(house, "often", True)
    house.journal = Journal(house.store, house.clock)
    house.catalog = Catalog(house.store, house.clock)
    assert (await pause(house, "often", False)).changed


async def test_a_version_whose_triggers_clash_by_now_is_not_reverted_to(house: House) -> None:
    mine = {"id": "placed", "event": {"name": "order.placed", "execution_id": "${event.id}"}}
    await house.publishing.publish(publish(given=given(triggers=[mine])))
    await house.publishing.publish(publish(given=given()))
    theirs = Given(definition={**flow(triggers=[mine]), "id": "other"})
    await house.publishing.publish(publish(given=theirs))
    found = await refusal(house.reverting.revert(Revert(origin(), "flow", 1)))
    assert [(one.path, one.code) for one in found.violations] == [("triggers[0].event.execution_id", "TRIGGER_CLASH")]
    await house.drafting.put(draft(given=given(triggers=[mine])))
    assert (await refusal(house.publishing.publish(publish(given=None, definition_id="flow")))).violations
    assert (await house.head()).published == 2


async def test_a_trigger_paused_while_nothing_is_published_is_paused_when_it_is_published_again(house: House) -> None:
    nightly = {"id": "nightly", "schedule": {"cron": "30 4 * * *"}}
    for number in (1, 2):
        await house.publishing.publish(publish(given=given(description=f"{number}", triggers=[nightly])))
        await house.retracting.retract(Retract(origin(), "flow"))
        await house.pausing.pause(PauseTrigger(origin(), "flow", "nightly", paused=number == 1))
    await house.pausing.pause(PauseTrigger(origin(), "flow", "nightly", paused=True))
    await house.publishing.publish(publish(given=given(description="3", triggers=[nightly])))
    row = await house.store.trigger("acme", "flow", "nightly")
    assert row is not None
    assert (row.active, row.paused, row.version) == (True, True, 3)
    assert await house.store.due_triggers(2**62, 10) == []
    await house.pausing.pause(PauseTrigger(origin(), "flow", "nightly", paused=False))
    (due,) = await house.store.due_triggers(2**62, 10)
    assert due.next_slot > house.clock.now()
