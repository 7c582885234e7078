"""What every store must do about ended executions that go."""

import pytest
from tests.contracts.store_contract_feeds import ack
from tests.contracts.store_kit import (
    NOW,
    A,
    B,
    append,
    enqueue,
    event,
    head,
    lost,
    ref,
    request,
    start,
    started,
    written,
)

from callboard.runtime.core.effects import BuryEvent, CloseExecution, EmitEvent
from callboard.runtime.feed_rows import SubscriptionCreation, SubscriptionRow
from callboard.runtime.filters import Labelled
from callboard.runtime.listing_rows import CountQuery, ListQuery
from callboard.runtime.ports import Store
from callboard.runtime.retention_rows import (
    ExecutionDeletion,
    ExecutionPruning,
    ExpiredQuery,
    JobBegin,
    LeftoverRemoval,
)
from callboard.runtime.rows import ExecutionRef, Snapshot
from callboard.runtime.trigger_rows import JobKind, JobRow, JobState
from callboard.runtime.writes import Committed, Lost, Why

JOB = JobRow("acme", "j-1", JobKind.PRUNE, JobState.RUNNING, "true", b"{}", total=9, created_at=NOW, updated_at=NOW)
LONG = 1_100
"""Events: more than go with their execution at once."""


def deletion(ref: ExecutionRef = A, **fields: object) -> ExecutionDeletion:
    return ExecutionDeletion(ref, NOW, **fields)  # type: ignore[arg-type]


async def ended(store: Store, ref: ExecutionRef = A, expires_at: int = 0, **fields: object) -> int:
    """An execution of two events that has ended, with a label, a snapshot and a dead letter."""
    labels = b'{"team":"x"}'
    key = await started(store, ref=ref, head=head(1, labels=labels))
    done = head(2, "COMPLETED", ended_at=NOW + 2, labels=labels, **fields)
    bury = BuryEvent("paid", 1, "e-9", "EXECUTION_ENDED")
    snapshot = Snapshot(2, 1, b"data", b"check")
    end = append(key, 1, bury, CloseExecution(), ref=ref, head=done, snapshot=snapshot, expires_at=expires_at)
    await written(store, end)
    return key


async def long(store: Store, ref: ExecutionRef = A) -> int:
    events = [event(sequence) for sequence in range(1, LONG + 1)]
    return await started(store, CloseExecution(), ref=ref, events=events, head=head(LONG, "FAILED", ended_at=NOW))


async def refs(store: Store, keys: list[int]) -> list[str]:
    records = [await store.execution_by_key(key) for key in keys]
    return [record.ref.execution_id for record in records if record is not None]


class Retention:
    async def test_a_deletion_takes_all_of_an_execution(self, store: Store) -> None:
        key = await ended(store, expires_at=NOW + 5)
        other = await ended(store, B)
        (outcome,) = await written(store, deletion())
        assert outcome.pruned == (A,)
        assert await store.execution(A) is None
        assert await store.execution_by_key(key) is None
        assert await store.events(key, 0, 9, 9_999) == []
        assert await store.snapshots(key) == []
        assert [letter.ref for letter in await store.dead_letters("acme", "", 0, 9)] == [B]
        assert await store.first_expiries() == []
        listed = await store.listed(ListQuery("acme", Labelled("team", ("x",))))
        assert [record.key for record in listed.records] == [other]
        assert (await store.counted(CountQuery("acme", group_by="status"))).groups == {"COMPLETED": 1}
        assert len(await store.events(other, 0, 9, 9_999)) == 2

    async def test_an_id_is_free_again_also_in_the_same_commit(self, store: Store) -> None:
        key = await ended(store)
        again, gone, new = await store.write([start(), deletion(), start()])
        assert isinstance(again, Lost) and again.why is Why.EXISTS
        assert isinstance(gone, Committed) and isinstance(new, Committed)
        record = await store.execution(A)
        assert record is not None
        assert record.key == new.key > key
        assert [stored.sequence for stored in await store.events(record.key, 0, 9, 9_999)] == [1]
        await written(store, append(new.key, 1))

    async def test_an_end_and_a_deletion_may_share_a_commit(self, store: Store) -> None:
        key = await started(store)
        end = append(key, 1, CloseExecution(), head=head(2, "FAILED", ended_at=NOW))
        await written(store, end, deletion())
        assert await store.execution(A) is None
        assert (await lost(store, append(key, 2))).why is Why.NOT_FOUND

    async def test_one_that_runs_or_is_needed_stays(self, store: Store) -> None:
        assert (await lost(store, deletion())).why is Why.NOT_FOUND
        key = await started(store)
        assert (await lost(store, deletion())).why is Why.OPEN
        incident = await ended(store, B, incidents=1)
        assert (await lost(store, deletion(B))).why is Why.INCIDENTS
        end = append(key, 1, EmitEvent(2, "paid", "", None), CloseExecution(), head=head(2, "FAILED", ended_at=NOW))
        await written(store, end)
        assert (await lost(store, deletion())).why is Why.EMITTING
        (outcome,) = await written(store, ExecutionPruning("acme", (key, incident, 99), NOW, patient=False))
        assert outcome.pruned == outcome.held == ()
        assert await refs(store, [key, incident]) == ["a", "b"]

    async def test_others_get_nothing_of_a_pruning(self, store: Store) -> None:
        key = await ended(store)
        (outcome,) = await written(store, ExecutionPruning("other", (key,), NOW, patient=False))
        assert outcome.pruned == ()
        assert (await lost(store, deletion(ExecutionRef("other", "a")))).why is Why.NOT_FOUND
        assert await store.execution(A) is not None

    async def test_a_request_is_carried_out_once(self, store: Store) -> None:
        await ended(store)
        await written(store, deletion(requests=(request(),)))
        await written(store, start())
        assert (await lost(store, deletion(requests=(request(),)))).why is Why.DUPLICATE_REQUEST
        assert await store.requests("acme", ["r-1"], NOW) == {"r-1": request()}

    async def test_the_position_up_to_which_events_are_missing_is_marked(self, store: Store) -> None:
        await ended(store)
        await started(store, ref=B)
        await written(store, deletion())
        assert (await store.feed_bounds("acme")) == (2, 3)
        page = await store.tenant_events("acme", 0, 10, 10, 9_999)
        assert ([found.execution_id for found in page.events], page.pruned) == (["b"], 2)

    async def test_a_patient_pruning_waits_for_every_subscription(self, store: Store) -> None:
        first, second = await ended(store), await ended(store, B)
        for name in ("s", "t"):
            await written(store, SubscriptionCreation(SubscriptionRow("acme", name, "", 4, 0, NOW), 9))
        await written(store, SubscriptionCreation(SubscriptionRow("acme", "slow", "", 2, 0, NOW), 9))
        (outcome,) = await written(store, ExecutionPruning("acme", (first, second), NOW))
        assert (outcome.pruned, outcome.held) == ((A,), (B,))
        (outcome,) = await written(store, ExecutionPruning("acme", (second,), NOW, patient=False))
        assert outcome.pruned == (B,)
        assert (await store.subscription("acme", "slow")) is not None
        await written(store, ack(4))

    async def test_a_job_moves_with_what_it_prunes(self, store: Store) -> None:
        key, running = await ended(store), await started(store, ref=B)
        await written(store, JobBegin(JOB, (request(identity="j-1"),)))
        assert (await lost(store, JobBegin(JOB, (request(identity="j-1"),)))).why is Why.DUPLICATE_REQUEST
        await written(store, ExecutionPruning("acme", (key, running), NOW, job=JOB))
        job = await store.job("acme", "j-1")
        assert job is not None
        assert (job.done, job.total) == (1, 9)

    async def test_expiries_are_kept_until_an_execution_goes(self, store: Store) -> None:
        keys = [await ended(store, ref(f"x{n}"), expires_at=NOW + n) for n in range(1, 5)]
        await ended(store, ref("kept"))
        assert await store.first_expiries() == [("acme", NOW + 1)]
        found = await store.expired(ExpiredQuery("acme", NOW + 3, limit=2))
        assert [(row.expires_at, row.key, row.ref.execution_id) for row in found] == [
            (NOW + 1, keys[0], "x1"),
            (NOW + 2, keys[1], "x2"),
        ]
        rest = await store.expired(ExpiredQuery("acme", NOW + 3, (NOW + 2, keys[1])))
        assert [row.key for row in rest] == [keys[2]]
        behind = await store.expired(ExpiredQuery("acme", NOW + 9, acknowledged=4, waited_until=NOW))
        assert [row.key for row in behind] == keys[:2]
        waited = await store.expired(ExpiredQuery("acme", NOW + 9, acknowledged=0, waited_until=NOW + 3))
        assert [row.key for row in waited] == keys[:3]
        assert await store.expired(ExpiredQuery("acme", NOW + 9, ended_before=NOW + 2)) == []
        assert await store.expired(ExpiredQuery("other", NOW + 9)) == []
        assert await store.expired_count("acme", NOW + 3, NOW + 9) == 3
        await written(store, ExecutionPruning("acme", tuple(keys[:2]), NOW))
        assert await store.first_expiries() == [("acme", NOW + 3)]

    async def test_one_that_goes_on_does_not_expire(self, store: Store) -> None:
        key = await ended(store, expires_at=NOW + 5)
        await written(store, append(key, 2, head=head(3)))
        assert await store.first_expiries() == []

    @pytest.mark.parametrize("limit", [100, 5_000])
    async def test_a_long_history_goes_bit_by_bit(self, store: Store, limit: int) -> None:
        key, running = await long(store), await started(store, ref=B)
        await written(store, deletion())
        assert await store.execution(A) is None
        assert (await store.tenant_events("acme", 0, 9_999, 10, 9_999)).events[0].execution_id == "b"
        while left := await store.leftovers(9):
            assert left == [key]
            await written(store, LeftoverRemoval(key, limit))
        assert await store.events(key, 0, 9, 9_999) == []
        await written(store, LeftoverRemoval(running, limit))
        assert len(await store.events(running, 0, 9, 9_999)) == 1

    async def test_what_is_gone_takes_nothing_more(self, store: Store) -> None:
        key = await ended(store)
        outcomes = await store.write([deletion(), enqueue(), append(key, 2)])
        assert [getattr(outcome, "why", None) for outcome in outcomes] == [None, Why.NOT_FOUND, Why.NOT_FOUND]

    async def test_space_is_given_back_or_there_is_none(self, store: Store) -> None:
        assert await store.give_back(1_000_000) == 0
