"""What every store must do. An adapter's test file subclasses `StoreContract` and gives the fixture `store`."""

import msgspec
from tests.contracts.store_contract_definitions import Definitions
from tests.contracts.store_contract_events import Events
from tests.contracts.store_contract_feeds import Feeds
from tests.contracts.store_contract_history import Histories
from tests.contracts.store_contract_lines import Lines
from tests.contracts.store_contract_retention import Retention
from tests.contracts.store_contract_secrets import Sensitive
from tests.contracts.store_contract_triggers import Triggers
from tests.contracts.store_kit import (
    DAY,
    NOW,
    A,
    B,
    append,
    change,
    enqueue,
    event,
    head,
    lost,
    request,
    start,
    started,
    whys,
    written,
)

from callboard.runtime.core.effects import (
    BuryEvent,
    ClearTimer,
    CloseExecution,
    CloseTask,
    Continue,
    OpenTask,
    RequestCancel,
    SetTimer,
)
from callboard.runtime.core.history import GENESIS, event_hash
from callboard.runtime.filters import Labelled
from callboard.runtime.listing_rows import CountQuery, ListQuery
from callboard.runtime.ports import Store
from callboard.runtime.rows import (
    BuryInbox,
    DiscardLetter,
    ExecutionRef,
    InboxKind,
    RequeueLetter,
    Snapshot,
    StoredEvent,
)
from callboard.runtime.writes import Why, Write


class StoreContract(Definitions, Lines, Events, Triggers, Feeds, Histories, Sensitive, Retention):
    """Inherited by the test class of each adapter."""

    # -- executions and events

    async def test_a_start_is_read_back(self, store: Store) -> None:
        (committed,) = await written(store, start())
        record = await store.execution(A)
        assert record is not None
        assert (record.ref, record.key, record.head) == (A, committed.key, head(1))
        assert await store.execution_by_key(committed.key) == record
        assert await store.execution(B) is None
        assert await store.execution_by_key(committed.key + 1) is None

    async def test_events_are_read_back_field_by_field(self, store: Store) -> None:
        stored = event(
            1, "EventReceived", '{"name":"ü\\u0000"}'.encode(), to_state="ö", event_id="e", context=b'{"user":"u"}'
        )
        (committed,) = await written(store, start(events=[stored]))
        assert await store.events(committed.key, 0, 10, 1000) == [
            msgspec.structs.replace(stored, position=committed.position)
        ]

    async def test_positions_follow_the_order_of_commit(self, store: Store) -> None:
        first, second = await written(store, start(A, events=[event(1), event(2)]), start(B))
        (third,) = await written(store, append(first.key, 2))
        assert 0 < first.position < second.position < third.position

    async def test_a_page_of_events_is_bounded_by_number_and_bytes(self, store: Store) -> None:
        events = [event(number, payload=b'"' + b"x" * 98 + b'"') for number in range(1, 8)]
        key = await started(store, events=events)
        assert [each.sequence for each in await store.events(key, 2, 3, 10_000)] == [3, 4, 5]
        assert [each.sequence for each in await store.events(key, 2, 10, 250)] == [3, 4]
        assert [each.sequence for each in await store.events(key, 2, 10, 1)] == [3]
        assert await store.events(key, 7, 10, 1000) == []

    async def test_the_first_event_of_a_page_has_the_context_of_its_command(self, store: Store) -> None:
        events = [event(1, context=b'{"user":"a"}'), event(2), event(3, context=b'{"user":"b"}'), event(4)]
        key = await started(store, events=events)
        assert [each.context for each in await store.events(key, 1, 10, 1000)] == [
            b'{"user":"a"}',
            b'{"user":"b"}',
            None,
        ]

    async def test_appends_advance_the_head(self, store: Store) -> None:
        key = await started(store)
        await written(store, append(key, 1, head=head(2, state="paid")))
        changed = head(3, "COMPLETED", labels=b'{"team":"x"}', ended_at=NOW + 3, incidents=1, version=2)
        await written(store, append(key, 2, head=changed))
        record = await store.execution(A)
        assert record is not None and record.head == changed

    async def test_two_appends_of_one_batch_follow_each_other(self, store: Store) -> None:
        key = await started(store)
        outcomes = await store.write([append(key, 1), append(key, 2), append(key, 2)])
        assert whys(outcomes) == [None, None, Why.SEQUENCE]
        assert [each.sequence for each in await store.events(key, 0, 10, 1000)] == [1, 2, 3]

    async def test_another_writer_was_faster(self, store: Store) -> None:
        key = await started(store)
        await written(store, append(key, 1))
        assert (await lost(store, append(key, 1))).why is Why.SEQUENCE
        assert len(await store.events(key, 0, 10, 1000)) == 2

    async def test_an_append_without_events_changes_no_head(self, store: Store) -> None:
        key = await started(store)
        snapshot = Snapshot(1, 1, b"state", b"c" * 32)
        await written(store, append(key, 1, events=(), head=head(1), snapshot=snapshot))
        record = await store.execution(A)
        assert record is not None and record.head == head(1)
        assert await store.snapshots(key) == [snapshot]

    async def test_an_execution_id_is_used_once(self, store: Store) -> None:
        assert whys(await store.write([start(), start()])) == [None, Why.EXISTS]
        assert (await lost(store, start())).why is Why.EXISTS
        await written(store, start(ExecutionRef("other", "a")))

    async def test_an_append_to_nothing(self, store: Store) -> None:
        assert (await lost(store, append(77, 1))).why is Why.NOT_FOUND

    async def test_an_event_id_is_stored_once_an_execution(self, store: Store) -> None:
        key = await started(store, events=[event(1, event_id="e")])
        again = (event(2, event_id="e"),)
        assert (await lost(store, append(key, 1, events=again))).why is Why.DUPLICATE_EVENT
        twice = (event(2, event_id="f"), event(3, event_id="f"))
        assert (await lost(store, append(key, 1, events=twice))).why is Why.DUPLICATE_EVENT
        await written(store, start(B, events=[event(1, event_id="e")]))
        assert await store.known_events(key, ["e", "f"]) == {"e"}
        assert await store.known_events(key, []) == set()

    # -- a flush that goes partly wrong

    async def test_of_64_writes_only_the_two_culprits_fail(self, store: Store) -> None:
        refs = [ExecutionRef("acme", f"x{number}") for number in range(64)]
        keys = [each.key for each in await written(store, *[start(ref) for ref in refs])]
        batch: list[Write] = [append(key, 1, ref=ref) for key, ref in zip(keys, refs, strict=True)]
        batch[10] = append(keys[10], 7, ref=refs[10])
        batch[40] = append(keys[40], 1, OpenTask("a", "b.c", 1, 2), ref=refs[40], events=(event(3),), head=head(3))
        outcomes = await store.write(batch)
        assert {number: why for number, why in enumerate(whys(outcomes)) if why} == {10: Why.SEQUENCE, 40: Why.ROW}
        for number, key in enumerate(keys):
            assert len(await store.events(key, 0, 10, 1000)) == (1 if number in (10, 40) else 2)
        assert await store.open_tasks((0, ""), 10) == []

    async def test_a_write_that_raises_fails_alone(self, store: Store) -> None:
        key = await started(store)
        poison = BuryEvent("paid", object(), "", "EXECUTION_ENDED")
        outcomes = await store.write([start(B), append(key, 1, poison), enqueue()])
        assert whys(outcomes) == [None, Why.ROW, None]
        assert len(await store.events(key, 0, 10, 1000)) == 1
        await written(store, append(key, 1))

    # -- requests

    async def test_a_request_is_remembered_until_it_expires(self, store: Store) -> None:
        await written(store, start(requests=(request(),)))
        assert await store.requests("acme", ["r-1", "r-2"], NOW) == {"r-1": request()}
        assert await store.requests("other", ["r-1"], NOW) == {}
        assert await store.requests("acme", ["r-1"], NOW + DAY) == {}
        again = await lost(store, start(B, requests=(request(identity="b"),)))
        assert (again.why, again.stored) == (Why.DUPLICATE_REQUEST, request())
        later = start(B, events=[event(1, created_at=NOW + DAY)], requests=(request(expires_at=NOW + 2 * DAY),))
        await written(store, later)

    async def test_a_request_twice_in_one_batch(self, store: Store) -> None:
        outcomes = await store.write([start(requests=(request(),)), start(B, requests=(request(identity="b"),))])
        assert whys(outcomes) == [None, Why.DUPLICATE_REQUEST]
        assert await store.execution(B) is None

    async def test_a_lost_write_leaves_no_request(self, store: Store) -> None:
        key = await started(store)
        await lost(store, append(key, 5, requests=(request(),)))
        assert await store.requests("acme", ["r-1"], NOW) == {}

    # -- tasks and timers

    async def test_tasks_open_and_close(self, store: Store) -> None:
        effects = (OpenTask("a", "s.op", 1, 1, priority=3, attempt_timeout=5), OpenTask("b", "s.op", 1, 1))
        key = await started(store, *effects)
        first, second = await store.open_tasks((0, ""), 10)
        assert (first.ref, first.key, first.path, first.operation) == (A, key, "a", "s.op")
        assert (first.attempt, first.scheduled, first.priority, first.attempt_timeout) == (1, 1, 3, 5)
        assert (first.since, first.cancel_requested) == (NOW + 1, False)
        assert await store.open_tasks((0, ""), 1) == [first]
        assert await store.open_tasks((key, "a"), 10) == [second]
        await written(store, append(key, 1, CloseTask("a"), OpenTask("b", "s.op", 2, 1)))
        (left,) = await store.open_tasks((0, ""), 10)
        assert (left.path, left.attempt, left.since) == ("b", 2, NOW + 2)

    async def test_a_cancel_request_stays_until_the_next_attempt(self, store: Store) -> None:
        key = await started(store, OpenTask("a", "s.op", 1, 1), OpenTask("b", "s.op", 1, 1))
        await written(store, append(key, 1, RequestCancel("a"), RequestCancel("nowhere")))
        assert [task.cancel_requested for task in await store.open_tasks((0, ""), 10)] == [True, False]
        await written(
            store, append(key, 2, OpenTask("a", "s.op", 2, 1), OpenTask("b", "s.op", 2, 1), RequestCancel("b"))
        )
        assert [task.cancel_requested for task in await store.open_tasks((0, ""), 10)] == [False, True]

    async def test_effects_of_one_batch_hold_in_their_order(self, store: Store) -> None:
        key = await started(store, OpenTask("a", "s.op", 1, 1), SetTimer("a", "t", NOW))
        await written(
            store,
            append(key, 1, CloseTask("a"), ClearTimer("a")),
            append(key, 2, OpenTask("a", "s.op", 2, 1), SetTimer("a", "u", NOW)),
            append(key, 3, OpenTask("b", "s.op", 1, 1), SetTimer("b", "v", NOW)),
            append(key, 4, CloseTask("b"), ClearTimer("b", "v")),
        )
        assert [(task.path, task.attempt) for task in await store.open_tasks((0, ""), 10)] == [("a", 2)]
        assert [(timer.path, timer.timer) for timer in await store.timers(NOW, 10)] == [("a", "u")]

    async def test_timers(self, store: Store) -> None:
        timers = (SetTimer("a", "retry", NOW + 9), SetTimer("a", "total", NOW + 5), SetTimer("b", "wait", NOW + 1))
        key = await started(store, *timers)
        assert [(timer.path, timer.timer, timer.due) for timer in await store.timers(NOW + 8, 10)] == [
            ("b", "wait", NOW + 1),
            ("a", "total", NOW + 5),
        ]
        assert len(await store.timers(NOW + 8, 1)) == 1
        await written(store, append(key, 1, SetTimer("b", "wait", NOW + 20), ClearTimer("a", "retry")))
        (timer, moved) = await store.timers(NOW + 30, 10)
        assert (timer.ref, timer.key, timer.timer, moved.due) == (A, key, "total", NOW + 20)
        await written(store, append(key, 2, ClearTimer("a")))
        assert [timer.path for timer in await store.timers(NOW + 30, 10)] == ["b"]

    async def test_the_inputs_of_tasks_are_found_by_sequence(self, store: Store) -> None:
        key = await started(store, events=[event(1), event(2, "StepScheduled", b'{"input":2}')])
        assert await store.task_inputs([(key, 2), (key, 9), (key, 1)]) == [b'{"input":2}', None, b'{"path":"x"}']
        assert await store.task_inputs([]) == []

    # -- inbox and dead letters

    async def test_an_accepted_event_waits_in_the_inbox(self, store: Store) -> None:
        key = await started(store)
        first, second = await written(store, enqueue("e-1"), enqueue("e-2"))
        assert (first.key, second.inbox_id) == (key, first.inbox_id + 1)
        rows = await store.inbox(key, 10)
        assert [(row.id, row.kind, row.event_id) for row in rows] == [
            (first.inbox_id, InboxKind.EVENT, "e-1"),
            (second.inbox_id, InboxKind.EVENT, "e-2"),
        ]
        assert (rows[0].name, rows[0].payload, rows[0].context) == ("paid", b'{"cents":1}', b'{"user":"u"}')
        assert await store.inbox(key, 1) == rows[:1]
        assert await store.inbox_executions(0, 10) == [(key, A)]
        assert await store.inbox_executions(key, 10) == []

    async def test_a_continuation_is_an_inbox_row(self, store: Store) -> None:
        key = await started(store, Continue())
        (row,) = await store.inbox(key, 10)
        assert row.kind is InboxKind.CONTINUE
        await written(store, append(key, 1, consumed=(row.id,)))
        assert await store.inbox(key, 10) == []

    async def test_consuming_moves_an_event_into_the_history_once(self, store: Store) -> None:
        key = await started(store)
        (accepted,) = await written(store, enqueue())
        take = append(key, 1, events=(event(2, event_id="e-1"),), consumed=(accepted.inbox_id,))
        assert whys(await store.write([take, append(key, 2, consumed=(accepted.inbox_id,))])) == [None, Why.SEQUENCE]
        assert await store.inbox(key, 10) == []
        assert (await lost(store, enqueue())).why is Why.DUPLICATE_EVENT
        assert (await lost(store, append(key, 2, consumed=(accepted.inbox_id,)))).why is Why.SEQUENCE

    async def test_what_cannot_be_enqueued(self, store: Store) -> None:
        assert (await lost(store, enqueue())).why is Why.NOT_FOUND
        key = await started(store)
        assert whys(await store.write([enqueue(), enqueue()])) == [None, Why.DUPLICATE_EVENT]
        assert (await lost(store, enqueue())).why is Why.DUPLICATE_EVENT
        end = append(key, 1, CloseExecution(), head=head(2, "COMPLETED", ended_at=NOW))
        assert whys(await store.write([end, enqueue("e-2")])) == [None, Why.ENDED]
        assert (await lost(store, enqueue("e-3"))).why is Why.ENDED

    async def test_an_execution_started_in_the_same_batch_takes_events(self, store: Store) -> None:
        started_now, accepted = await written(store, start(), enqueue())
        assert [row.id for row in await store.inbox(started_now.key, 10)] == [accepted.inbox_id]

    async def test_the_end_clears_everything_and_buries_what_waits(self, store: Store) -> None:
        key = await started(store, OpenTask("a", "s.op", 1, 1), SetTimer("a", "t", NOW), Continue())
        other = await started(store, OpenTask("a", "s.op", 1, 1), SetTimer("a", "t", NOW), ref=B)
        await written(store, enqueue("e-1"))
        end = append(key, 1, OpenTask("z", "s.op", 1, 1), CloseExecution(), head=head(2, "FAILED", ended_at=NOW + 2))
        await written(store, enqueue("e-2"), end)
        assert [task.key for task in await store.open_tasks((0, ""), 10)] == [other]
        assert [timer.key for timer in await store.timers(NOW, 10)] == [other]
        assert await store.inbox(key, 10) == []
        letters = await store.dead_letters("acme", "", 0, 10)
        assert [(letter.event_id, letter.cause, letter.died_at) for letter in letters] == [
            ("e-1", "EXECUTION_ENDED", NOW + 2),
            ("e-2", "EXECUTION_ENDED", NOW + 2),
        ]
        assert (letters[0].ref, letters[0].payload, letters[0].accepted_at) == (A, b'{"cents":1}', NOW)

    async def test_a_kept_event_is_buried_with_its_origin(self, store: Store) -> None:
        received = event(2, "EventReceived", b'{"name":"paid"}', event_id="e-1", context=b'{"user":"w"}')
        key = await started(store, events=[event(1), received])
        bury = BuryEvent("paid", {"cents": 1}, "e-1", "EXECUTION_ENDED")
        await written(store, append(key, 2, bury, CloseExecution(), head=head(3, "COMPLETED", ended_at=NOW)))
        (letter,) = await store.dead_letters("acme", "a", 0, 10)
        assert (letter.name, letter.payload, letter.context) == ("paid", b'{"cents":1}', b'{"user":"w"}')
        assert (letter.accepted_at, letter.died_at) == (NOW + 2, NOW + 3)

    async def test_a_poisoned_row_is_buried_requeued_and_discarded(self, store: Store) -> None:
        key = await started(store)
        (accepted,) = await written(store, enqueue())
        bury = BuryInbox(A, key, (accepted.inbox_id,), "POISONED", "it raised", NOW + 7)
        await written(store, bury)
        assert (await lost(store, bury)).why is Why.NOT_FOUND
        (letter,) = await store.dead_letters("acme", "", 0, 10)
        assert (letter.cause, letter.message, letter.payload) == ("POISONED", "it raised", b'{"cents":1}')
        assert (await lost(store, enqueue())).why is Why.DUPLICATE_EVENT
        (back,) = await written(store, RequeueLetter("acme", letter.id, NOW + 8))
        assert (back.ref, back.key) == (A, key)
        (row,) = await store.inbox(key, 10)
        assert (row.id, row.event_id, row.payload, row.accepted_at) == (back.inbox_id, "e-1", b'{"cents":1}', NOW + 8)
        assert await store.dead_letters("acme", "", 0, 10) == []
        await written(store, BuryInbox(A, key, (row.id,), "POISONED", "again", NOW + 9))
        (letter,) = await store.dead_letters("acme", "", 0, 10)
        await written(store, DiscardLetter("acme", letter.id))
        assert (await lost(store, DiscardLetter("acme", letter.id))).why is Why.NOT_FOUND
        await written(store, enqueue())

    async def test_letters_are_out_of_reach_of_other_tenants_and_of_ended_executions(self, store: Store) -> None:
        key = await started(store)
        await written(store, enqueue())
        await written(store, append(key, 1, CloseExecution(), head=head(2, "COMPLETED", ended_at=NOW)))
        (letter,) = await store.dead_letters("acme", "", 0, 10)
        assert (await lost(store, RequeueLetter("other", letter.id, NOW))).why is Why.NOT_FOUND
        assert (await lost(store, DiscardLetter("other", letter.id))).why is Why.NOT_FOUND
        assert (await lost(store, RequeueLetter("acme", letter.id, NOW))).why is Why.ENDED

    async def test_dead_letters_come_in_pages(self, store: Store) -> None:
        for ref in (A, B):
            key = await started(store, ref=ref)
            await written(store, enqueue("e-1", ref), enqueue("e-2", ref))
            end = append(key, 1, CloseExecution(), ref=ref, head=head(2, "COMPLETED", ended_at=NOW))
            await written(store, end)
        letters = await store.dead_letters("acme", "", 0, 3)
        assert len(letters) == 3
        assert len(await store.dead_letters("acme", "", letters[-1].id, 3)) == 1
        assert [letter.ref for letter in await store.dead_letters("acme", "b", 0, 10)] == [B, B]
        assert await store.dead_letters("other", "", 0, 10) == []

    # -- listing

    async def test_executions_are_listed_newest_first_in_pages(self, store: Store) -> None:
        refs = [ExecutionRef("acme", f"x{number}") for number in range(5)]
        keys = [each.key for each in await written(store, *[start(ref) for ref in refs])]
        await written(store, start(ExecutionRef("other", "x")))
        page = await store.listed(ListQuery("acme", limit=3))
        assert [record.key for record in page.records] == keys[:1:-1]
        page = await store.listed(ListQuery("acme", limit=3, after=page.after))
        assert ([record.key for record in page.records], page.after) == ([keys[1], keys[0]], ())

    async def test_changed_labels_are_found(self, store: Store) -> None:
        key = await started(store, head=head(1, labels=b'{"team":"x"}'))
        await written(store, append(key, 1, head=head(2, labels=b'{"team":"y"}')))
        assert (await store.listed(ListQuery("acme", Labelled("team", ("x",))))).records == []
        assert len((await store.listed(ListQuery("acme", Labelled("team", ("y",))))).records) == 1

    async def test_executions_are_counted_as_they_are_now(self, store: Store) -> None:
        key = await started(store)
        await written(store, start(B, head=head(1, definition_id="e")))
        await written(store, append(key, 1, CloseExecution(), head=head(2, "FAILED", version=2, ended_at=NOW)))
        for group_by, groups in (
            ("status", {"RUNNING": 1, "FAILED": 1}),
            ("version", {"1": 1, "2": 1}),
            ("definition_id", {"d": 1, "e": 1}),
            ("state", {"running": 1, "failed": 1}),
        ):
            assert (await store.counted(CountQuery("acme", group_by=group_by))).groups == groups

    async def test_counts(self, store: Store) -> None:
        await written(store, change(), start(A, OpenTask("a", "s.op", 1, 1), SetTimer("a", "t", NOW)), enqueue())
        counts = await store.counts()
        assert (counts.open_executions, counts.open_tasks, counts.timers) == (1, 1, 1)
        assert (counts.inbox, counts.dead_letters, counts.definitions) == (1, 0, 1)

    async def test_a_store_with_room_says_so(self, store: Store) -> None:
        assert await store.probe()
        await started(store)

    async def test_hashes_of_the_stored_fields_verify(self, store: Store) -> None:
        payload = b'{"definition_id":"d","version":1}'
        digest = event_hash(GENESIS, *A, 1, "ExecutionStarted", payload, NOW, "running", None, b"{}")
        stored = StoredEvent(1, "ExecutionStarted", payload, NOW, digest, "running", None, b"{}")
        key = await started(store, events=[stored])
        (read,) = await store.events(key, 0, 10, 1000)
        again = event_hash(
            GENESIS, *A, 1, read.name, read.payload, read.created_at, read.to_state, read.event_id, read.context
        )
        assert read.hash == again
