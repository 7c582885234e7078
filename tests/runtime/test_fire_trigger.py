"""Triggers to look at, and fired by hand."""

import asyncio
from typing import Any

import pytest
from tests.runtime.trigger_kit import DONE, OPEN, SECOND, TENANT, moment, schedule, world

from callboard.runtime.core.commands import Origin
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.core.values import decode
from callboard.runtime.requests import Caller
from callboard.runtime.settings import Settings

ME = Caller(TENANT, user_id="me")
ORDERS: dict[str, Any] = {"id": "orders", "event": {"name": "order.placed", "filter": "event.qty > 10"}}


def by_request(request_id: str, fingerprint: bytes = b"f") -> Caller:
    return Caller(TENANT, request_id=request_id, fingerprint=fingerprint)


async def refused(awaited: Any) -> Refusal:
    with pytest.raises(Refused) as raised:
        await awaited
    return raised.value.refusal


# Looking


async def test_triggers_show_their_definition_and_the_slots_to_come() -> None:
    async with world() as it:
        await it.publish([schedule(cron="0 3 * * *", time_zone="Europe/Berlin"), ORDERS])
        await it.publish([schedule("once", at="2026-01-01T05:00:00Z")], name="other")
        orders, tick, once = await it.triggers.list(TENANT)
        assert orders.definition.event is not None
        assert (orders.definition.event.filter, orders.next_slots) == ("event.qty > 10", ())
        assert tick.definition.schedule is not None
        assert tick.definition.schedule.time_zone == "Europe/Berlin"
        assert tick.next_slots == tuple(moment(f"2026-01-0{day}T02:00") for day in range(1, 6))
        assert once.next_slots == (moment("2026-01-01T05:00"),)
        assert (tick.row.version, tick.row.paused) == (1, False)


async def test_triggers_come_in_pages_and_by_definition_and_event() -> None:
    async with world() as it:
        await it.publish([schedule(every="1h"), ORDERS])
        await it.publish([ORDERS], name="other")

        async def places(*narrow: Any, **more: Any) -> list[str]:
            views = await it.triggers.list(TENANT, *narrow, **more)
            return [f"{view.row.definition_id}/{view.row.trigger_id}" for view in views]

        assert await places() == ["flow/orders", "flow/tick", "other/orders"]
        assert await places(limit=2) == ["flow/orders", "flow/tick"]
        assert await places(after=("flow", "tick"), limit=2) == ["other/orders"]
        assert await places("flow") == ["flow/orders", "flow/tick"]
        assert await places("", "order.placed") == ["flow/orders", "other/orders"]
        assert await it.triggers.list("elsewhere") == []


async def test_one_trigger_is_seen_as_it_is_now() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")])
        await it.pass_until("2026-01-01T00:01:30")
        view = await it.triggers.get(TENANT, "flow", "tick")
        assert view.row.last_execution_id == "flow-tick-20260101T000100Z"
        assert view.next_slots[0] == view.row.next_slot == moment("2026-01-01T00:02")
        await it.pause()
        paused = await it.triggers.get(TENANT, "flow", "tick")
        assert (paused.row.paused, paused.next_slots) == (True, ())


async def test_a_new_version_shows_its_own_text() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")])
        assert (await it.triggers.get(TENANT, "flow", "tick")).definition.schedule is not None
        await it.publish([schedule(every="2m")])
        (view,) = await it.triggers.list(TENANT)
        assert view.definition.schedule is not None
        assert view.definition.schedule.every == "2m"


async def test_what_is_not_there_is_said_by_name() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")])
        for call in (it.triggers.get(TENANT, "none", "tick"), it.triggers.fire(ME, "none", "tick")):
            assert (await refused(call)).reason == "DEFINITION_NOT_FOUND"
        for call in (it.triggers.get(TENANT, "flow", "none"), it.triggers.fire(ME, "flow", "none")):
            assert (await refused(call)).reason == "TRIGGER_NOT_FOUND"
        await it.retract()
        for call in (it.triggers.get(TENANT, "flow", "tick"), it.triggers.fire(ME, "flow", "tick")):
            assert (await refused(call)).reason == "TRIGGER_NOT_FOUND"
        assert await it.triggers.list(TENANT) == []
        assert await it.started() == []


# A schedule by hand


async def test_a_schedule_fires_now_and_its_slots_go_on_as_they_were() -> None:
    async with world("2026-01-01T00:00:30.250") as it:
        fed = schedule(every="1h", input={"slot": "${trigger.slot}", "local": "${trigger.slot_local}"})
        await it.publish([fed], output="${input}")
        before = await it.row()
        answer = await it.triggers.fire(ME, "flow", "tick")
        assert answer.started
        assert answer.view.ref.execution_id == "flow-tick-20260101T000030Z"
        assert answer.view.input == {"slot": "2026-01-01T00:00:30Z", "local": "2026-01-01T00:00:30+00:00"}
        after = await it.row()
        assert (after.next_slot, after.due, after.last_slot) == (before.next_slot, before.due, 0)
        assert after.last_execution_id == "flow-tick-20260101T000030Z"


async def test_an_execution_says_which_slot_and_who() -> None:
    async with world() as it:
        await it.publish([schedule(every="1h")])
        answer = await it.triggers.fire(ME, "flow", "tick", slot=moment("2025-12-24T18:00"))
        first = (await it.store.events(answer.view.key, 0, 1, 1_000_000))[0]
        payload: Any = decode(first.payload)
        origin = {"trigger_id": "tick", "slot": moment("2025-12-24T18:00")}
        assert Origin(**payload["origin"]) == Origin(**origin)
        assert first.context == b'{"by":"g","user":"me"}'


async def test_a_slot_that_has_started_an_execution_starts_no_other() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")], steps=OPEN)
        await it.pass_until("2026-01-01T00:01:30")
        answer = await it.triggers.fire(ME, "flow", "tick", slot=moment("2026-01-01T00:01"))
        assert (answer.started, answer.view.ref.execution_id) == (False, "flow-tick-20260101T000100Z")
        assert len(await it.started()) == 1


async def test_a_slot_fired_by_hand_before_its_time_is_not_fired_again() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")])
        answer = await it.triggers.fire(ME, "flow", "tick", slot=moment("2026-01-01T00:01"))
        assert answer.started
        await it.pass_until("2026-01-01T00:02:30")
        assert await it.slots() == ["0101T000100", "0101T000200"]
        assert it.told == ["existed", "started"]
        assert (await it.row()).skipped == 0


async def test_a_paused_schedule_fires_by_hand() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")])
        await it.pause()
        assert (await it.triggers.fire(ME, "flow", "tick")).started
        await it.pass_until("2026-01-01T00:05:30")
        assert len(await it.started()) == 1


@pytest.mark.parametrize(
    ("trigger", "payload", "slot", "field"),
    [
        ("tick", None, 1, "slot"),
        ("tick", None, -SECOND, "slot"),
        ("tick", None, 10**18, "slot"),
        ("tick", {"a": 1}, 0, "payload"),
        ("orders", {"qty": 1}, SECOND, "slot"),
    ],
)
async def test_what_does_not_fit_the_kind_of_trigger_is_refused(
    trigger: str, payload: Any, slot: int, field: str
) -> None:
    async with world() as it:
        await it.publish([schedule(every="1m"), ORDERS])
        refusal = await refused(it.triggers.fire(ME, "flow", trigger, payload, slot))
        assert (refusal.kind, refusal.violations[0].path) == (Kind.INVALID, field)
        assert await it.started() == []


async def test_an_earlier_execution_of_the_trigger_is_named() -> None:
    async with world() as it:
        await it.publish([schedule(every="1m")], steps=OPEN)
        holder = (await it.triggers.fire(ME, "flow", "tick")).view.ref.execution_id
        refusal = await refused(it.triggers.fire(ME, "flow", "tick", slot=moment("2026-01-01T00:07")))
        assert (refusal.reason, refusal.resource, refusal.metadata) == ("UNIQUE_KEY_TAKEN", holder, {"holder": holder})


async def test_queued_and_replacing_schedules_do_by_hand_what_a_slot_does() -> None:
    async with world(settings=Settings(slots_waiting_max=1)) as it:
        queue, replace = schedule("queue", every="1h", overlap="QUEUE"), schedule(every="1h", overlap="CANCEL_RUNNING")
        await it.publish([queue, replace], steps=OPEN)
        fired = [
            (await it.triggers.fire(ME, "flow", trigger, slot=moment(f"2026-01-01T00:0{number}"))).view.ref.execution_id
            for trigger in ("queue", "tick")
            for number in (1, 2)
        ]
        await it.clock.settle(200)
        assert [await it.status(each) for each in fired] == ["RUNNING", "PENDING", "CANCELLED", "RUNNING"]
        refusal = await refused(it.triggers.fire(ME, "flow", "queue", slot=moment("2026-01-01T00:03")))
        assert (refusal.kind, refusal.reason, refusal.metadata) == (Kind.BUSY, "SERVER_BUSY", {"limit": "1"})


# An event trigger by hand


async def test_an_event_trigger_takes_the_payload_and_does_not_ask_its_filter() -> None:
    async with world() as it:
        await it.publish([ORDERS], steps=OPEN)
        answer = await it.triggers.fire(ME, "flow", "orders", {"qty": 1})
        assert (answer.started, answer.view.input) == (True, {"qty": 1})
        other = await it.triggers.fire(ME, "flow", "orders", {"qty": 1})
        assert other.view.ref != answer.view.ref


async def test_an_event_trigger_names_its_execution_itself() -> None:
    named = {"id": "orders", "event": {"name": "e", "execution_id": "'order-' + event.id"}, "input": {"n": 1}}
    async with world() as it:
        await it.publish([named])
        first = await it.triggers.fire(ME, "flow", "orders", {"id": "7"})
        again = await it.triggers.fire(ME, "flow", "orders", {"id": "7"})
        assert (first.view.ref.execution_id, first.view.input) == ("order-7", {"n": 1})
        assert (first.started, again.started, again.view.ref) == (True, False, first.view.ref)
        await it.publish([named], name="other")
        refusal = await refused(it.triggers.fire(ME, "other", "orders", {"id": "7"}))
        assert (refusal.reason, refusal.metadata) == ("EXECUTION_ALREADY_EXISTS", {"definition_id": "flow"})


async def test_an_expression_that_fails_is_the_callers_mistake() -> None:
    named = {"id": "orders", "event": {"name": "e", "execution_id": "event.id"}}
    async with world() as it:
        await it.publish([named])
        refusal = await refused(it.triggers.fire(ME, "flow", "orders", {"other": "7"}))
        assert refusal.kind is Kind.INVALID
        assert refusal.violations[0].path == "triggers.orders.event.execution_id"


async def test_an_input_that_does_not_fit_the_schema_is_refused() -> None:
    async with world() as it:
        await it.publish([ORDERS], input_schema={"required": ["sku"]})
        refusal = await refused(it.triggers.fire(ME, "flow", "orders", {"qty": 1}))
        assert (refusal.reason, len(refusal.violations)) == ("SCHEMA_MISMATCH", 1)
        assert await it.started() == []


async def test_a_payload_over_the_limit_is_refused() -> None:
    async with world(settings=Settings(payload_bytes_max=100)) as it:
        await it.publish([ORDERS])
        refusal = await refused(it.triggers.fire(ME, "flow", "orders", {"text": "x" * 200}))
        assert refusal.reason == "PAYLOAD_TOO_LARGE"


async def test_a_unique_key_that_is_taken_names_its_holder() -> None:
    async with world() as it:
        await it.publish([{**ORDERS, "unique_key": "event.customer"}], steps=OPEN)
        holder = (await it.triggers.fire(ME, "flow", "orders", {"customer": "c1"})).view.ref.execution_id
        assert (await it.triggers.fire(ME, "flow", "orders", {"customer": "c2"})).started
        refusal = await refused(it.triggers.fire(ME, "flow", "orders", {"customer": "c1"}))
        assert (refusal.kind, refusal.reason) == (Kind.EXISTS, "UNIQUE_KEY_TAKEN")
        assert (refusal.resource, refusal.metadata["holder"]) == (holder, holder)
        await it.finish(holder)
        assert (await it.triggers.fire(ME, "flow", "orders", {"customer": "c1"})).started


# Repeats


@pytest.mark.parametrize("trigger", ["tick", "orders"])
async def test_a_repeat_answers_with_the_same_execution(trigger: str) -> None:
    async with world() as it:
        await it.publish([schedule(every="1h", overlap="ALLOW"), ORDERS], steps=OPEN)
        first = await it.triggers.fire(by_request("r1"), "flow", trigger)
        await it.pass_time(5)
        again = await it.triggers.fire(by_request("r1"), "flow", trigger)
        assert (first.started, again.started, again.view.ref) == (True, True, first.view.ref)
        await it.retract()
        last = await it.triggers.fire(by_request("r1"), "flow", trigger)
        assert last.view.ref == first.view.ref
        assert len(await it.started()) == 1


async def test_repeats_at_one_time_start_one_execution() -> None:
    async with world() as it:
        await it.publish([ORDERS], steps=OPEN)
        calls = [it.triggers.fire(by_request("r1"), "flow", "orders", {"qty": 1}) for _ in range(10)]
        answers = await asyncio.gather(*calls)
        assert len({answer.view.ref for answer in answers}) == 1
        assert all(answer.started for answer in answers)
        assert len(await it.started()) == 1


async def test_a_request_id_of_another_request_is_refused() -> None:
    async with world() as it:
        await it.publish([ORDERS], steps=DONE)
        await it.triggers.fire(by_request("r1"), "flow", "orders", {"qty": 1})
        refusal = await refused(it.triggers.fire(by_request("r1", b"other"), "flow", "orders", {"qty": 2}))
        assert refusal.reason == "REQUEST_ID_REUSED"


async def test_firings_among_publishes_start_the_version_that_is_published() -> None:
    async with world() as it:
        await it.publish([ORDERS], steps=OPEN)

        async def publish() -> None:
            for _ in range(5):
                await it.publish([ORDERS], steps=OPEN)

        async def fire() -> list[int]:
            versions: list[int] = []
            for _ in range(20):
                versions.append((await it.triggers.fire(ME, "flow", "orders", {})).view.version)
                await asyncio.sleep(0)
            return versions

        _, versions = await asyncio.gather(publish(), fire())
        assert versions == sorted(versions)
        assert (await it.triggers.fire(ME, "flow", "orders", {})).view.version == 6
        assert len(await it.started()) == 21
