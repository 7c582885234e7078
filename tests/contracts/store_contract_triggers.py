"""What every store must do with triggers: which are active, what they keep, and their firings."""

from typing import Any

import msgspec
import pytest
from tests.contracts.store_kit import (
    NOW,
    A,
    B,
    C,
    change,
    changed,
    listening,
    lost,
    request,
    schedule,
    start,
    together,
    whys,
    written,
)

from callboard.runtime.lifecycle_rows import LifecycleChange
from callboard.runtime.ports import Store
from callboard.runtime.rows import DefinitionGuard, ExecutionAppend, LineClaim
from callboard.runtime.trigger_rows import SlotStep, TriggerFiring, TriggerPause, TriggerRow
from callboard.runtime.writes import Committed, Why


def retract(expected: int, **fields: Any) -> LifecycleChange:
    return change(expected, published=0, version=None, triggers=(), **fields)


def pause(expected: int, *pauses: TriggerPause, **fields: Any) -> LifecycleChange:
    paused = tuple(each.trigger_id for each in pauses if each.paused)
    return change(expected, version=None, pauses=pauses, paused=paused, **fields)


def firing(
    start: ExecutionAppend | None = None, step: SlotStep | None = None, revision: int = 1, trigger_id: str = "s"
) -> TriggerFiring:
    return TriggerFiring("acme", "d", trigger_id, NOW + 7, DefinitionGuard("d", revision), start, step)


def step(slot: int = NOW, next_slot: int = NOW + 100, **fields: Any) -> SlotStep:
    return SlotStep(slot, next_slot, next_slot + 5, **fields)


async def stored(store: Store, trigger_id: str = "s") -> TriggerRow:
    row = await store.trigger("acme", "d", trigger_id)
    assert row is not None
    return row


async def revision_of(store: Store, event_name: str = "paid") -> int:
    revision, _ = await store.listeners("acme", event_name)
    return revision


class Triggers:
    """Inherited by `StoreContract`."""

    # -- which are active

    async def test_triggers_are_published_with_their_definition(self, store: Store) -> None:
        (committed,) = await written(store, change(triggers=(listening(), schedule())))
        heard = TriggerRow("acme", "d", "t", 1, "paid", "event.id", True, False, b"")
        assert await store.trigger("acme", "d", "t") == heard
        planned = TriggerRow("acme", "d", "s", 1, "", "", True, False, b"daily", NOW, NOW + 5)
        assert await store.triggers("acme", "", "", ("", ""), 10) == [planned, heard]
        assert await store.listeners("acme", "paid") == (committed.revision, [heard])
        assert await store.listeners("acme", "sent") == (0, [])
        assert await store.listeners("other", "paid") == (0, [])
        assert await store.trigger("acme", "d", "x") is None

    async def test_triggers_are_listed_in_pages(self, store: Store) -> None:
        await written(
            store,
            change(triggers=(listening("a"), schedule("b"), listening("c", "sent"))),
            change(definition_id="e", triggers=(listening("a"), listening("b", "sent"))),
        )

        async def listed(definition_id: str, event_name: str, after: tuple[str, str], limit: int) -> str:
            rows = await store.triggers("acme", definition_id, event_name, after, limit)
            return " ".join(row.definition_id + row.trigger_id for row in rows)

        assert await listed("", "", ("", ""), 10) == "da db dc ea eb"
        assert await listed("", "", ("d", "b"), 2) == "dc ea"
        assert await listed("d", "", ("d", "a"), 10) == "db dc"
        assert await listed("d", "", ("", ""), 2) == "da db"
        assert await listed("", "sent", ("", ""), 10) == "dc eb"
        assert await listed("", "sent", ("d", "c"), 10) == "eb"
        assert await listed("e", "paid", ("", ""), 10) == "ea"
        assert await store.triggers("other", "", "", ("", ""), 10) == []

    async def test_triggers_that_are_not_named_become_inactive_and_stay(self, store: Store) -> None:
        await written(store, change(triggers=(listening(), schedule())))
        await written(store, change(1, published=2, triggers=(schedule(version=2),)))
        row = await stored(store, "t")
        assert (row.active, row.version, row.event_name) == (False, 1, "paid")
        assert [each.trigger_id for each in await store.triggers("acme", "", "", ("", ""), 10)] == ["s"]
        assert (await store.listeners("acme", "paid"))[1] == []
        await written(store, retract(2))
        row = await stored(store)
        assert (row.active, row.next_slot, row.due) == (False, 0, 0)
        assert await store.due_triggers(2**62, 10) == []

    async def test_a_change_without_triggers_leaves_them(self, store: Store) -> None:
        await written(store, change(triggers=(listening(), schedule())))
        before = await store.triggers("acme", "", "", ("", ""), 10)
        (committed,) = await written(store, change(1, version=None))
        assert await store.triggers("acme", "", "", ("", ""), 10) == before
        assert await revision_of(store) < committed.revision

    async def test_listeners_change_with_everything_that_touches_them(self, store: Store) -> None:
        revisions = []
        for write in (
            change(triggers=(listening(),)),
            change(1, published=2, triggers=(listening(version=2),)),
            pause(2, TriggerPause("t", True), published=2),
            pause(3, TriggerPause("t", False), published=2),
            change(4, published=3, triggers=(listening(event_name="sent", version=3),)),
        ):
            (committed,) = await written(store, write)
            assert await revision_of(store) == committed.revision
            revisions.append(committed.revision)
        assert revisions == sorted(set(revisions))
        assert await revision_of(store, "sent") == revisions[-1]
        (gone,) = await written(store, retract(5))
        assert await revision_of(store, "sent") == gone.revision
        assert await revision_of(store) == revisions[-1]
        await written(store, change(definition_id="e", triggers=(schedule(), listening(event_name="other"))))
        assert await revision_of(store, "sent") == gone.revision

    async def test_listeners_that_were_looked_at_must_not_have_changed(self, store: Store) -> None:
        (first,) = await written(store, change(triggers=(listening(),)))
        looked = (("paid", first.revision), ("sent", 0))
        outcomes = await store.write(
            [
                change(definition_id="e", triggers=(listening(),), listeners=looked),
                change(definition_id="f", triggers=(listening(),), listeners=looked),
            ]
        )
        assert whys(outcomes) == [None, Why.LISTENERS]
        assert await store.definition("acme", "f") is None

    async def test_definitions_of_one_batch_may_listen_to_one_event(self, store: Store) -> None:
        both = [changed(definition_id=each, triggers=(listening(),), listeners=(("paid", 0),)) for each in ("d", "e")]
        (committed,) = await written(store, together(*both))
        revision, rows = await store.listeners("acme", "paid")
        assert (revision, [row.definition_id for row in rows]) == (committed.revision, ["d", "e"])

    # -- slots that go on or begin anew

    async def test_a_schedule_that_stays_the_same_keeps_its_slots(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        await written(store, firing(step=step()))
        await written(store, change(1, published=2, triggers=(schedule(next_slot=NOW + 999, version=2),)))
        row = await stored(store)
        assert (row.version, row.next_slot, row.due, row.last_slot) == (2, NOW + 100, NOW + 105, NOW)

    async def test_a_schedule_with_other_times_takes_the_new_slot(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        await written(store, firing(step=step(skipped=1)))
        hourly = schedule(next_slot=NOW + 60, spec=b"hourly", version=2)
        await written(store, change(1, published=2, triggers=(hourly,)))
        row = await stored(store)
        assert (row.next_slot, row.due, row.spec) == (NOW + 60, NOW + 65, b"hourly")
        assert (row.last_slot, row.skipped, row.last_skipped) == (NOW, 1, NOW)

    async def test_a_schedule_that_was_away_takes_the_new_slot(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)), retract(1))
        await written(store, change(2, published=2, triggers=(schedule(next_slot=NOW + 999, version=2),)))
        row = await stored(store)
        assert (row.active, row.next_slot, row.due) == (True, NOW + 999, NOW + 1004)

    async def test_a_paused_trigger_is_not_due_and_goes_on_where_it_is_told(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(), listening())))
        await written(store, pause(1, TriggerPause("s", True), TriggerPause("t", True)))
        assert await store.due_triggers(2**62, 10) == []
        _, (heard,) = await store.listeners("acme", "paid")
        assert heard.paused
        again = change(2, published=2, paused=("s",), triggers=(schedule(version=2), listening(version=2)))
        await written(store, again)
        assert ((await stored(store)).paused, (await stored(store, "t")).paused) == (True, False)
        await written(store, pause(3, TriggerPause("s", False, NOW + 50, NOW + 55), published=2))
        (row,) = await store.due_triggers(NOW + 55, 10)
        assert (row.paused, row.next_slot, row.due) == (False, NOW + 50, NOW + 55)

    async def test_a_pause_outlives_a_retract(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)), pause(1, TriggerPause("s", True)))
        await written(store, retract(2, paused=("s",)))
        assert (await stored(store)).paused
        back = change(3, published=2, triggers=(schedule(version=2), schedule("other", version=2)), paused=("s",))
        await written(store, back)
        assert [row.trigger_id for row in await store.due_triggers(2**62, 10)] == ["other"]

    async def test_a_pause_of_a_trigger_that_is_not_there_is_kept_for_later(self, store: Store) -> None:
        await written(store, change(triggers=()), pause(1, TriggerPause("s", True)))
        assert await store.trigger("acme", "d", "s") is None
        await written(store, change(2, published=2, triggers=(schedule(version=2),), paused=("s",)))
        assert (await stored(store)).paused

    async def test_schedules_come_when_they_are_due(self, store: Store) -> None:
        late, early = schedule("late", NOW + 50), schedule("early", NOW)
        await written(
            store, change(triggers=(late, early, listening())), change(definition_id="e", triggers=(schedule(),))
        )
        rows = await store.due_triggers(NOW + 55, 10)
        assert {row.trigger_id for row in rows[:2]} == {"early", "s"} and rows[2].trigger_id == "late"
        assert len(await store.due_triggers(NOW + 54, 10)) == 2
        assert len(await store.due_triggers(NOW + 55, 1)) == 1
        assert await store.due_triggers(NOW + 4, 10) == []

    # -- firings

    async def test_a_slot_is_advanced_and_started_in_one_commit(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        (committed,) = await written(store, firing(start(A), step()))
        (begun,) = committed.starts
        record = await store.execution(A)
        assert record is not None and isinstance(begun, Committed) and begun.key == record.key
        row = await stored(store)
        assert (row.next_slot, row.due, row.last_slot) == (NOW + 100, NOW + 105, NOW)
        assert (row.last_execution_id, row.last_started_at, row.skipped, row.last_skipped) == ("a", NOW + 7, 0, 0)

    async def test_a_slot_is_decided_once(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        outcomes = await store.write([firing(start(A), step()), firing(start(B), step())])
        assert whys(outcomes) == [None, Why.SEQUENCE]
        assert (await lost(store, firing(start(B), step()))).why is Why.SEQUENCE
        assert await store.execution(B) is None
        assert (await lost(store, firing(step=step(), trigger_id="x"))).why is Why.SEQUENCE

    async def test_a_slot_passes_without_a_start(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        (committed,) = await written(store, firing(step=step(skipped=1)))
        assert committed.starts == ()
        await written(store, firing(step=step(NOW + 100, NOW + 200, skipped=3)))
        row = await stored(store)
        assert (row.skipped, row.last_skipped, row.next_slot) == (4, NOW + 100, NOW + 200)
        await written(store, firing(step=SlotStep(NOW + 200, 0, 0)))
        assert await store.due_triggers(2**62, 10) == []

    async def test_a_slot_that_is_put_off_is_not_the_last_one_decided(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        await written(store, firing(None, SlotStep(NOW, NOW, NOW + 50)))
        row = await stored(store)
        assert (row.next_slot, row.due, row.last_slot) == (NOW, NOW + 50, 0)

    async def test_a_start_that_was_made_before_lets_the_slot_pass(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)), start(A))
        (committed,) = await written(store, firing(start(A), step()))
        assert whys(committed.starts) == [Why.EXISTS]
        row = await stored(store)
        assert (row.last_slot, row.last_execution_id) == (NOW, "")

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"claims": (LineClaim("key:k"),)}, Why.LINE_TAKEN),
            ({"claims": (LineClaim("key:k", behind=True, length_max=1),)}, Why.LINE_FULL),
            ({"claims": (LineClaim("key:none", behind=True),)}, Why.LINE_EMPTY),
            ({"guard": DefinitionGuard("d", 9)}, Why.REVISION),
            ({"requests": (request(),)}, Why.DUPLICATE_REQUEST),
        ],
    )
    async def test_any_other_loss_of_the_start_is_the_firings(
        self, store: Store, fields: dict[str, Any], why: Why
    ) -> None:
        holder = start(B, claims=(LineClaim("key:k"),), requests=(request(),))
        await written(store, change(triggers=(schedule(),)), holder)
        before = await stored(store)
        assert (await lost(store, firing(start(A, **fields), step()))).why is why
        assert await stored(store) == before
        assert await store.execution(A) is None

    async def test_a_firing_holds_for_the_definition_it_was_decided_on(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        outcomes = await store.write([retract(1), firing(start(A), step())])
        assert whys(outcomes) == [None, Why.REVISION]
        assert (await lost(store, firing(start(A), revision=9))).why is Why.REVISION

    async def test_a_trigger_fired_by_hand_keeps_its_slots(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(), listening())))
        await written(store, firing(start(A)), firing(start(B), trigger_id="t"))
        row, heard = await stored(store), await stored(store, "t")
        assert (row.next_slot, row.last_slot, row.last_execution_id) == (NOW, 0, "a")
        assert (heard.last_execution_id, heard.last_started_at) == ("b", NOW + 7)

    async def test_a_firing_and_a_change_of_one_batch_keep_what_each_has_written(self, store: Store) -> None:
        await written(store, change(triggers=(schedule(),)))
        again = change(1, published=2, triggers=(schedule(next_slot=NOW + 999, version=2),))
        await written(store, firing(start(A), step()), again)
        row = await stored(store)
        assert (row.version, row.next_slot, row.last_slot, row.last_execution_id) == (2, NOW + 100, NOW, "a")
        later = msgspec.structs.replace(firing(start(B), step(NOW + 100, NOW + 200)), guard=DefinitionGuard("d", 2))
        await written(store, later, pause(2, TriggerPause("s", True, NOW + 300, NOW + 301), published=2))
        row = await stored(store)
        assert (row.last_execution_id, row.last_slot, row.next_slot, row.paused) == ("b", NOW + 100, NOW + 300, True)

    async def test_a_firing_wakes_those_it_takes_the_place_of(self, store: Store) -> None:
        line = "trigger:s"
        await written(store, change(triggers=(schedule(),)), start(B, claims=(LineClaim(line),)))
        instead = (LineClaim(line, behind=True, cancels=True),)
        (committed,) = await written(store, firing(start(A, claims=instead), step()))
        assert committed.woken == (B,)

    async def test_executions_that_wait_behind_another_are_counted(self, store: Store) -> None:
        line, behind = (LineClaim("trigger:s"),), (LineClaim("trigger:s", behind=True),)
        await written(store, change(triggers=(schedule(),)))
        assert (await stored(store)).waiting == 0
        await written(store, start(A, claims=line))
        assert (await stored(store)).waiting == 0
        await written(store, start(B, claims=behind), start(C, claims=behind))
        assert (await stored(store)).waiting == 2
        assert [row.waiting for row in await store.triggers("acme", "", "", ("", ""), 10)] == [2]
        assert [row.waiting for row in await store.due_triggers(2**62, 10)] == [2]
