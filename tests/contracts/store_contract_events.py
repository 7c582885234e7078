"""What every store must do with published events: acceptance, waits, offers, the outbox."""

from typing import Any

import msgspec
import pytest
from tests.contracts.store_kit import (
    DAY,
    NOW,
    A,
    B,
    C,
    append,
    change,
    enqueue,
    event,
    head,
    listening,
    lost,
    ref,
    request,
    start,
    started,
    whys,
    written,
)

from callboard.runtime.core.effects import CloseExecution, CloseWait, EmitEvent, OpenWait
from callboard.runtime.ports import Store
from callboard.runtime.rows import (
    BuryInbox,
    DefinitionGuard,
    ExecutionAppend,
    ExecutionRef,
    InboxKind,
    InboxRow,
    LineClaim,
    RequeueLetter,
)
from callboard.runtime.trigger_rows import (
    EventAcceptance,
    EventExpansion,
    EventOutcome,
    JobKind,
    JobState,
    OfferedWait,
    OutboxRow,
    StartedByTrigger,
    TriggerStart,
)
from callboard.runtime.writes import Committed, Why

WAIT = OpenWait("step", ("paid",), "k")


def published(event_id: str = "p-1", **fields: Any) -> EventAcceptance:
    values: dict[str, Any] = {"name": "paid", "key": "", "listeners": 0, "accepted_at": NOW}
    values |= {"payload": b'{"cents":1}'} | fields
    return EventAcceptance(
        "acme",
        event_id,
        context=b'{"user":"u"}',
        expires_at=values["accepted_at"] + DAY,
        **values,
    )


def offered(event_id: str = "p-1", **fields: Any) -> EventAcceptance:
    return published(event_id, key="k", **fields)


def starting(*refs: ExecutionRef, **fields: Any) -> tuple[TriggerStart, ...]:
    return tuple(TriggerStart("t", start(each, **fields)) for each in refs)


async def listened(store: Store) -> int:
    """The revision of the listeners of `paid`, after a definition with one was published."""
    (committed,) = await written(store, change(triggers=(listening(),)))
    return committed.revision


def the_end(key: int, ref: ExecutionRef = A) -> ExecutionAppend:
    return append(key, 1, CloseWait("step"), CloseExecution(), ref=ref, head=head(2, "COMPLETED", ended_at=NOW + 2))


async def waiting(store: Store, *, name: str = "paid", key: str = "k") -> list[tuple[str, str]]:
    rows = await store.waits("acme", name, key, 0, 2**62, 100)
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    return [(row.ref.execution_id, row.path) for row in rows]


class Events:
    """Inherited by `StoreContract`."""

    # -- acceptance

    async def test_an_event_that_nothing_matches_is_accepted_once(self, store: Store) -> None:
        (committed,) = await written(store, published(warnings=("odd",), requests=(request(),)))
        outcome = EventOutcome(warnings=("odd",))
        assert (committed.event, committed.starts, committed.woken) == (outcome, (), ())
        assert await store.published_event("acme", "p-1", NOW) == outcome
        assert await store.published_event("acme", "p-2", NOW) is None
        assert await store.published_event("other", "p-1", NOW) is None
        assert await store.requests("acme", ["r-1"], NOW) == {"r-1": request()}
        again = await lost(store, published())
        assert (again.why, again.event) == (Why.DUPLICATE_EVENT, outcome)
        assert (await lost(store, published("p-2", requests=(request(),)))).why is Why.DUPLICATE_REQUEST

    async def test_an_event_id_twice_in_one_batch(self, store: Store) -> None:
        first, second = await store.write([published(warnings=("first",)), published()])
        assert whys([first, second]) == [None, Why.DUPLICATE_EVENT]
        assert await store.published_event("acme", "p-1", NOW) == EventOutcome(warnings=("first",))

    async def test_an_event_id_is_forgotten_when_it_expires(self, store: Store) -> None:
        await written(store, published())
        assert await store.published_event("acme", "p-1", NOW + DAY) is None
        await written(store, published(accepted_at=NOW + DAY, warnings=("later",)))
        assert await store.published_event("acme", "p-1", NOW + DAY) == EventOutcome(warnings=("later",))

    async def test_what_listens_is_started_with_the_acceptance(self, store: Store) -> None:
        revision = await listened(store)
        (committed,) = await written(store, published(listeners=revision, starts=starting(A, B)))
        records = [await store.execution(each) for each in (A, B)]
        assert [record.key if record else 0 for record in records] == [
            each.key for each in committed.starts if isinstance(each, Committed)
        ]
        assert committed.event == EventOutcome(
            2, (StartedByTrigger("d", "t", "a", 1), StartedByTrigger("d", "t", "b", 1))
        )
        row = await store.trigger("acme", "d", "t")
        assert row is not None and (row.last_execution_id, row.last_started_at) == ("b", NOW)

    async def test_listeners_that_have_changed_lose_the_acceptance(self, store: Store) -> None:
        revision = await listened(store)
        outcomes = await store.write(
            [
                published(listeners=revision - 1, starts=starting(A)),
                change(1, published=2, triggers=(listening(version=2),)),
                published(listeners=revision, starts=starting(A)),
                published("p-2", listeners=revision + 1, starts=starting(B)),
            ]
        )
        assert whys(outcomes) == [Why.LISTENERS, None, Why.LISTENERS, None]
        assert await store.execution(A) is None
        assert await store.published_event("acme", "p-1", NOW) is None
        assert (await lost(store, published())).why is Why.LISTENERS

    async def test_a_lost_start_is_no_match_and_leaves_nothing(self, store: Store) -> None:
        revision = await listened(store)
        await written(store, start(A, claims=(LineClaim("key:k"),)))
        lines = (LineClaim("key:k"),)
        starts = (
            *starting(A),
            *starting(B, claims=lines, requests=(request("r-2"),)),
            *starting(C, guard=DefinitionGuard("d", 99)),
            *starting(ref("d"), requests=(request("r-3"),)),
            *starting(ref("d")),
        )
        (committed,) = await written(store, published(listeners=revision, starts=starts))
        assert whys(committed.starts) == [Why.EXISTS, Why.LINE_TAKEN, Why.REVISION, None, Why.EXISTS]
        assert committed.event == EventOutcome(1, (StartedByTrigger("d", "t", "d", 1),))
        assert await store.execution(B) is None
        assert await store.requests("acme", ["r-2", "r-3"], NOW) == {"r-3": request("r-3")}

    async def test_the_first_ten_matches_are_told(self, store: Store) -> None:
        refs = [ref(f"s{number:02}") for number in range(12)]
        waits = [ref(f"w{number:02}") for number in range(12)]
        await written(store, *[start(each, WAIT) for each in waits])
        (committed,) = await written(store, offered(starts=starting(*refs)))
        outcome = committed.event
        assert outcome is not None
        assert (outcome.started_count, outcome.offered_count) == (12, 12)
        assert [each.execution_id for each in outcome.started] == [each.execution_id for each in refs[:10]]
        assert outcome.offered == tuple(OfferedWait(each.execution_id, "step") for each in waits[:10])
        assert await store.published_event("acme", "p-1", NOW) == outcome

    async def test_executions_told_by_a_nested_start_are_woken(self, store: Store) -> None:
        await started(store, claims=(LineClaim("key:k"),))
        instead = (LineClaim("key:k", behind=True, cancels=True),)
        (committed,) = await written(store, published(starts=starting(B, claims=instead)))
        assert committed.woken == (A,)

    async def test_a_lost_acceptance_starts_nothing(self, store: Store) -> None:
        key = await started(store, WAIT)
        await written(store, published())
        again = offered(starts=starting(B, requests=(request(),)))
        assert whys(await store.write([again, start(C)])) == [Why.DUPLICATE_EVENT, None]
        assert await store.execution(B) is None
        assert await store.requests("acme", ["r-1"], NOW) == {}
        assert await store.inbox(key, 10) == []

    # -- waits

    async def test_an_event_is_offered_to_what_waits_for_its_name_and_key(self, store: Store) -> None:
        key = await started(store, WAIT)
        await started(store, OpenWait("step", ("paid",), "other"), ref=B)
        await started(store, OpenWait("step", ("sent",), "k"), ref=C)
        await started(store, WAIT, ref=ExecutionRef("other", "a"))
        (committed,) = await written(store, offered())
        assert committed.woken == (A,)
        assert committed.event == EventOutcome(0, (), 1, (OfferedWait("a", "step"),))
        (row,) = await store.inbox(key, 10)
        assert row == InboxRow(row.id, InboxKind.OFFER, "", "paid", b'{"cents":1}', b'{"user":"u"}', NOW, "step", "p-1")
        assert await store.inbox_executions(0, 10) == [(key, A)]

    async def test_an_event_without_a_key_is_offered_to_nobody(self, store: Store) -> None:
        key = await started(store, OpenWait("step", ("paid",), ""))
        await written(store, published())
        assert await store.inbox(key, 10) == []

    async def test_each_waiting_step_gets_an_offer_in_the_order_of_the_waits(self, store: Store) -> None:
        await started(store, ref=B)
        key = await started(store, WAIT, OpenWait("other", ("sent", "paid", "paid"), "k"))
        await started(store, WAIT, ref=C)
        assert await waiting(store) == [("a", "step"), ("a", "other"), ("c", "step")]
        assert await waiting(store, name="sent") == [("a", "other")]
        (committed,) = await written(store, offered())
        assert committed.woken == (A, C)
        assert [(row.path, row.published_id) for row in await store.inbox(key, 10)] == [
            ("step", "p-1"),
            ("other", "p-1"),
        ]

    async def test_waits_come_in_pages(self, store: Store) -> None:
        await written(store, *[start(ref(f"x{number}"), WAIT) for number in range(5)])
        rows = await store.waits("acme", "paid", "k", 0, 2**62, 3)
        assert [row.ref.execution_id for row in rows] == ["x0", "x1", "x2"]
        later = await store.waits("acme", "paid", "k", rows[-1].id, 2**62, 3)
        assert [row.ref.execution_id for row in later] == ["x3", "x4"]
        assert await store.waits("acme", "paid", "k", rows[0].id, rows[1].id, 3) == rows[1:2]

    async def test_a_closed_wait_gets_nothing(self, store: Store) -> None:
        key = await started(store, WAIT, OpenWait("other", ("paid",), "k"))
        await written(store, append(key, 1, CloseWait("step")))
        assert await waiting(store) == [("a", "other")]
        await written(store, append(key, 2, CloseWait("other"), CloseWait("nowhere")))
        (committed,) = await written(store, offered())
        assert committed.event == EventOutcome()

    async def test_waits_of_one_batch_hold_in_their_order(self, store: Store) -> None:
        key = await started(store)
        outcomes = await store.write(
            [
                offered("p-1"),
                append(key, 1, WAIT),
                offered("p-2"),
                append(key, 2, CloseWait("step")),
                offered("p-3"),
                append(key, 3, WAIT, CloseWait("step"), WAIT),
                offered("p-4"),
                append(key, 4, CloseWait("step"), WAIT, CloseWait("step")),
                offered("p-5"),
            ]
        )
        counts = [each.event.offered_count for each in outcomes if isinstance(each, Committed) and each.event]
        assert counts == [0, 1, 0, 1, 0]
        assert [row.published_id for row in await store.inbox(key, 10)] == ["p-2", "p-4"]
        assert await waiting(store) == []

    async def test_a_stored_wait_is_closed_and_reopened_in_one_batch(self, store: Store) -> None:
        key = await started(store, WAIT)
        closed, again = append(key, 1, CloseWait("step")), append(key, 2, WAIT)
        first, _, second, _, third = await store.write([offered("p-1"), closed, offered("p-2"), again, offered("p-3")])
        assert [
            each.event.offered_count for each in (first, second, third) if isinstance(each, Committed) and each.event
        ] == [
            1,
            0,
            1,
        ]
        assert await waiting(store) == [("a", "step")]

    async def test_the_end_of_an_execution_ends_its_offers(self, store: Store) -> None:
        key = await started(store, WAIT)
        (first, _, second) = await written(store, offered("p-1"), the_end(key), offered("p-2"))
        assert (first.woken, second.woken) == ((A,), ())
        assert await store.inbox(key, 10) == []
        assert await store.dead_letters("acme", "", 0, 10) == []

    async def test_an_execution_does_not_get_the_event_that_starts_it(self, store: Store) -> None:
        waits = TriggerStart("t", start(A, WAIT))
        first, second = await written(store, offered("p-1", starts=(waits,)), offered("p-2"))
        assert (first.event and first.event.offered_count, second.woken) == (0, (A,))

    # -- more waits than a commit takes

    async def test_the_rest_of_many_waits_is_left_to_a_job(self, store: Store) -> None:
        refs = [ref(f"x{number}") for number in range(5)]
        await written(store, *[start(each, WAIT) for each in refs])
        (committed,) = await written(store, offered(offers_max=2, job_id="j"))
        assert committed.woken == tuple(refs[:2])
        outcome = committed.event
        assert outcome is not None and (outcome.offered_count, outcome.job_id) == (2, "j")
        job = await store.job("acme", "j")
        assert job is not None
        assert (job.kind, job.state, job.target, job.user_id) == (JobKind.EXPAND_EVENT, JobState.RUNNING, "paid", "u")
        cursor = msgspec.json.decode(job.cursor)
        rows = await store.waits("acme", "paid", "k", cursor.pop("after"), cursor.pop("until"), 10)
        assert [row.ref for row in rows] == refs[2:]
        assert cursor == {
            "name": "paid",
            "key": "k",
            "event_id": "p-1",
            "payload": '{"cents":1}',
            "context": '{"user":"u"}',
            "accepted_at": NOW,
        }

    async def test_exactly_as_many_waits_as_a_commit_takes_need_no_job(self, store: Store) -> None:
        await written(store, *[start(ref(f"x{number}"), WAIT) for number in range(3)])
        (committed,) = await written(store, offered(offers_max=3, job_id="j"))
        assert committed.event is not None and (committed.event.offered_count, committed.event.job_id) == (3, "")
        assert await store.job("acme", "j") is None

    async def test_a_job_is_named_where_one_is_needed(self, store: Store) -> None:
        await written(store, start(A, WAIT), start(B, WAIT))
        assert (await lost(store, offered(offers_max=1))).why is Why.ROW
        await written(store, offered(offers_max=2))

    @pytest.mark.parametrize("offers_max", [0, 1, 2, 3, 4])
    async def test_nobody_is_passed_over_when_waits_come_and_go_in_the_batch(
        self, store: Store, offers_max: int
    ) -> None:
        refs = [ref(f"x{number}") for number in range(5)]
        keys = [each.key for each in await written(store, *[start(each, WAIT) for each in refs])]
        closing = [append(keys[number], 1, CloseWait("step"), ref=refs[number]) for number in (0, 2)]
        outcomes = await written(
            store, start(A, WAIT), *closing, offered(offers_max=offers_max, job_id="j"), start(B, WAIT)
        )
        reached = list(outcomes[3].woken)
        assert len(reached) <= offers_max
        job = await store.job("acme", "j")
        if job is not None:
            cursor = msgspec.json.decode(job.cursor)
            rest = await store.waits("acme", "paid", "k", cursor["after"], cursor["until"], 10)
            reached += [row.ref for row in rest]
        assert reached == [refs[1], refs[3], refs[4], A]

    async def test_an_expansion_offers_and_moves_its_job_on(self, store: Store) -> None:
        first, second, _ = await written(store, start(A, WAIT), start(B, WAIT), start(C, WAIT))
        await written(store, offered(offers_max=1, job_id="j"), the_end(second.key, B))
        job = await store.job("acme", "j")
        assert job is not None
        waits = await store.waits("acme", "paid", "k", 0, 2**62, 10)
        gone = waits[0]._replace(ref=B, key=second.key)
        moved = msgspec.structs.replace(job, done=2, state=JobState.SUCCEEDED, ended_at=NOW + 5)
        expansion = EventExpansion(moved, "p-1", "paid", b'{"cents":1}', b'{"user":"u"}', NOW, (gone, waits[-1]))
        (committed,) = await written(store, expansion)
        assert committed.woken == (C,)
        assert await store.job("acme", "j") == moved
        (row,) = await store.inbox(waits[-1].key, 10)
        (other,) = await store.inbox(first.key, 10)
        assert row == msgspec.structs.replace(other, id=row.id)
        assert await store.open_jobs() == []

    async def test_an_execution_that_ends_in_the_batch_is_passed_over_by_an_expansion(self, store: Store) -> None:
        key = await started(store, WAIT)
        await started(store, WAIT, ref=B)
        waits = await store.waits("acme", "paid", "k", 0, 2**62, 10)
        await written(store, offered(offers_max=0, job_id="j"))
        job = await store.job("acme", "j")
        assert job is not None
        _, committed = await written(
            store, the_end(key), EventExpansion(job, "p-1", "paid", b"1", b"{}", NOW, tuple(waits))
        )
        assert committed.woken == (B,)

    # -- offers that cannot be worked off

    async def test_a_poisoned_offer_is_buried_and_put_back_as_it_was(self, store: Store) -> None:
        key = await started(store, WAIT)
        await written(store, offered())
        (row,) = await store.inbox(key, 10)
        await written(store, BuryInbox(A, key, (row.id,), "POISONED", "it raised", NOW + 7))
        (letter,) = await store.dead_letters("acme", "", 0, 10)
        assert (letter.event_id, letter.name, letter.payload) == ("p-1", "paid", b'{"cents":1}')
        await written(store, enqueue("p-1"))
        (back,) = await written(store, RequeueLetter("acme", letter.id, NOW + 8))
        rows = await store.inbox(key, 10)
        assert rows[-1] == msgspec.structs.replace(row, id=back.inbox_id, accepted_at=NOW + 8)

    # -- the outbox

    async def test_an_emitted_event_waits_in_the_outbox_until_it_is_accepted(self, store: Store) -> None:
        events = [
            event(1, context=b'{"user":"a"}'),
            event(2),
            event(3, "EventEmitted"),
            event(4, context=b'{"user":"b"}'),
            event(5, "EventEmitted"),
        ]
        emit = EmitEvent(3, "sent", "k", {"n": 1}), EmitEvent(5, "lost", "", None)
        key = await started(store, *emit, events=events)
        first, second = await store.outbox(0, 10)
        assert first == OutboxRow(first.id, A, key, 3, "sent", "k", b'{"n":1}', b'{"user":"a"}', NOW + 5)
        assert (second.sequence, second.event_key, second.payload, second.context) == (5, "", b"null", b'{"user":"b"}')
        assert await store.outbox(first.id, 10) == [second]
        assert await store.outbox(0, 1) == [first]
        again = published("emit:2", outbox=first.id)
        outcomes = await store.write([published("emit:1", outbox=first.id), again])
        assert whys(outcomes) == [None, Why.NOT_FOUND]
        assert await store.outbox(0, 10) == [second]
        assert (await lost(store, again)).why is Why.NOT_FOUND

    async def test_the_outbox_of_one_tenant(self, store: Store) -> None:
        other = ExecutionRef("other", "b")
        for each in (A, other, C):
            await written(store, start(each, EmitEvent(1, "sent", "", None), events=[event(1)]))
        assert [row.ref for row in await store.outbox(0, 10)] == [A, other, C]
        (first, last) = await store.outbox(0, 10, "acme")
        assert [first.ref, last.ref] == [A, C]
        assert await store.outbox(first.id, 10, "acme") == [last]
        assert await store.outbox(0, 1, "acme") == [first]
        assert await store.outbox(0, 10, "nobody") == []

    async def test_what_is_in_an_inbox_beside_events(self, store: Store) -> None:
        key = await started(store, WAIT)
        writes = enqueue("e-1"), offered("p-1"), enqueue("e-2"), offered("p-2"), enqueue("e-3")
        await written(store, *writes)
        rows = await store.inbox(key, 10)
        assert [row.event_id or row.published_id for row in rows] == ["e-1", "p-1", "e-2", "p-2", "e-3"]
        assert await store.inbox(key, 10, events=False) == [rows[1], rows[3]]
        assert await store.inbox(key, 1, events=False) == [rows[1]]

    async def test_one_commit_offers_no_more_than_fits(self, store: Store) -> None:
        await written(store, *[start(ref(f"x{number}"), WAIT) for number in range(12)])
        large = b'"' + b"x" * 2_000_000 + b'"'
        writes = [offered(f"p-{number}", payload=large, job_id=f"j-{number}") for number in range(3)]
        counts = [outcome.event.offered_count for outcome in await written(store, *writes) if outcome.event]
        assert counts == [4, 1, 1]
        cursors = [msgspec.json.decode(job.cursor) for job in await store.open_jobs()]
        first = (await store.waits("acme", "paid", "k", 0, 2**62, 10))[0].id
        assert [cursor["after"] - first for cursor in cursors] == [3, 0, 0]

    async def test_an_emission_without_context_has_an_empty_one(self, store: Store) -> None:
        await started(store, EmitEvent(1, "sent", "", 1), events=[event(1)])
        (row,) = await store.outbox(0, 10)
        assert row.context == b"{}"

    async def test_a_lost_acceptance_leaves_the_outbox_row(self, store: Store) -> None:
        await started(store, EmitEvent(1, "sent", "", 1))
        (row,) = await store.outbox(0, 10)
        assert (await lost(store, published(listeners=9, outbox=row.id))).why is Why.LISTENERS
        assert await store.outbox(0, 10) == [row]
