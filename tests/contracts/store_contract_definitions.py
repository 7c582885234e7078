"""What every store must do with definitions: changes that are made together, what they are checked against, jobs."""

from typing import Any

import msgspec
import pytest
from tests.contracts.store_kit import (
    NOW,
    A,
    B,
    append,
    change,
    changed,
    head,
    listening,
    lost,
    ref,
    request,
    start,
    started,
    together,
    whys,
    written,
)

from callboard.runtime.core.effects import CloseExecution
from callboard.runtime.lifecycle_rows import DefinitionChange, DefinitionEvent
from callboard.runtime.ports import Store
from callboard.runtime.rows import DefinitionGuard
from callboard.runtime.trigger_rows import ForgetJobs, JobKind, JobRow, JobState, JobUpdate
from callboard.runtime.writes import Why, Write


def job(job_id: str = "j", **fields: Any) -> JobRow:
    values: dict[str, Any] = {"state": JobState.RUNNING, "cursor": b'{"after":0}'} | fields
    return JobRow("acme", job_id, JobKind.DELETE_DEFINITION, target="d", user_id="u", **values)


def ended(key: int, **fields: Any) -> Write:
    return append(key, 1, CloseExecution(), head=head(2, "COMPLETED", ended_at=NOW + 2), **fields)


class Definitions:
    """Inherited by `StoreContract`."""

    async def test_a_definition_is_published_and_retracted(self, store: Store) -> None:
        (first,) = await written(store, change())
        stored = await store.definition("acme", "d")
        assert stored is not None
        assert (stored.sequence, stored.published, stored.latest, stored.revision) == (1, 1, 1, first.revision)
        (second,) = await written(store, change(1, published=0, version=None))
        stored = await store.definition("acme", "d")
        assert stored is not None
        assert (stored.sequence, stored.published, stored.latest) == (2, 0, 1)
        assert second.revision == first.revision + 1 == await store.revision("acme")
        assert (stored.created_at, stored.updated_at) == (NOW, NOW + 1)

    async def test_of_two_changes_one_wins(self, store: Store) -> None:
        assert whys(await store.write([change(), change()])) == [None, Why.SEQUENCE]
        assert (await lost(store, change(7))).why is Why.SEQUENCE

    async def test_versions_and_drafts(self, store: Store) -> None:
        await written(store, change(), change(1, published=2), change(0, definition_id="e"))
        versions = await store.definition_versions("acme", "d", 0, 10)
        assert [version.version for version in versions] == [2, 1]
        assert await store.definition_versions("acme", "d", 2, 10) == versions[1:]
        assert await store.definition_version("acme", "d", 2) == versions[0]
        assert await store.definition_version("acme", "d", 3) is None
        await written(store, change(2, published=2, version=None, draft=b'{"id":"d","x":1}'))
        stored = await store.definition("acme", "d")
        assert stored is not None and stored.draft == b'{"id":"d","x":1}'
        assert [each.definition_id for each in await store.definitions("acme", "", 10)] == ["d", "e"]
        assert [each.definition_id for each in await store.definitions("acme", "d", 10)] == ["e"]
        assert [each.definition_id for each in await store.definitions("acme", "", 1)] == ["d"]
        assert await store.definitions("other", "", 10) == []

    async def test_a_version_is_stored_once(self, store: Store) -> None:
        await written(store, change())
        assert (await lost(store, change(1, published=1))).why is Why.ROW

    async def test_what_happened_to_a_definition_is_kept_in_order(self, store: Store) -> None:
        (first, second) = await written(store, change(), change(0, definition_id="e"))
        retracted = DefinitionEvent(2, "DefinitionRetracted", '{"version":1,"x":"ü"}'.encode(), "ü", NOW + 7)
        (third,) = await written(store, change(1, published=0, version=None, events=(retracted,)))
        published = DefinitionEvent(1, "DefinitionPublished", b"{}", "u", NOW, first.revision)
        retracted = msgspec.structs.replace(retracted, revision=third.revision)
        read = store.definition_events
        assert await read("acme", "d", 0, 0, 10, 1000) == [published, retracted]
        assert await read("acme", "d", 1, 0, 10, 1000) == [retracted]
        assert await read("acme", "d", 0, second.revision, 10, 1000) == [retracted]
        assert await read("acme", "d", 0, 0, 1, 1000) == [published]
        assert await read("acme", "d", 0, 0, 10, 1) == [published]
        assert await read("acme", "d", 2, 0, 10, 1000) == []
        assert await read("other", "d", 0, 0, 10, 1000) == []

    async def test_a_change_that_lost_leaves_no_event(self, store: Store) -> None:
        await written(store, change())
        await lost(store, change())
        assert [each.sequence for each in await store.definition_events("acme", "d", 0, 0, 10, 1000)] == [1]

    async def test_a_start_that_raced_with_a_retract_is_lost(self, store: Store) -> None:
        (published,) = await written(store, change())
        guard = DefinitionGuard("d", published.revision)
        outcomes = await store.write([start(guard=guard), change(1, published=0, version=None), start(B, guard=guard)])
        assert whys(outcomes) == [None, None, Why.REVISION]
        assert (await lost(store, start(B, guard=DefinitionGuard("none", 1)))).why is Why.REVISION

    # -- changes that are made together

    async def test_a_batch_of_definitions_has_one_revision(self, store: Store) -> None:
        (first,) = await written(store, change())
        (both,) = await written(store, together(changed(1, published=2), changed(definition_id="e")))
        heads = await store.definitions("acme", "", 10)
        assert [(each.definition_id, each.revision) for each in heads] == [("d", both.revision), ("e", both.revision)]
        assert both.revision == first.revision + 1 == await store.revision("acme")
        (event,) = await store.definition_events("acme", "e", 0, 0, 10, 1000)
        assert event.revision == both.revision

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            (changed(3, definition_id="e"), Why.SEQUENCE),
            (changed(definition_id="e", published=2), Why.ROW),
            (changed(definition_id="e", listeners=(("paid", 9),)), Why.LISTENERS),
            (msgspec.structs.replace(changed(definition_id="e"), tenant="other"), Why.ROW),
        ],
    )
    async def test_a_batch_of_definitions_is_all_or_nothing(
        self, store: Store, wrong: DefinitionChange, why: Why
    ) -> None:
        good = changed(definition_id="a", triggers=(listening(),))
        write = together(good, wrong, requests=(request(),), job=job())
        assert (await lost(store, write)).why is why
        assert await store.definitions("acme", "", 10) == []
        assert await store.definition_version("acme", "a", 1) is None
        assert await store.definition_events("acme", "a", 0, 0, 10, 1000) == []
        assert await store.listeners("acme", "paid") == (0, [])
        assert await store.requests("acme", ["r-1"], NOW) == {}
        assert await store.job("acme", "j") is None
        assert await store.revision("acme") == 0
        await written(store, together(good))

    async def test_batches_of_one_flush_follow_each_other(self, store: Store) -> None:
        outcomes = await store.write(
            [
                together(changed(), changed(definition_id="e")),
                together(changed(definition_id="f"), changed(definition_id="e")),
                together(changed(1, published=2), changed(1, definition_id="e", published=2)),
            ]
        )
        assert whys(outcomes) == [None, Why.SEQUENCE, None]
        assert [(each.definition_id, each.latest) for each in await store.definitions("acme", "", 10)] == [
            ("d", 2),
            ("e", 2),
        ]

    async def test_one_change_may_touch_a_definition_twice(self, store: Store) -> None:
        await written(store, together(changed(), changed(1, published=2)))
        stored = await store.definition("acme", "d")
        assert stored is not None and (stored.sequence, stored.published, stored.latest) == (2, 2, 2)

    async def test_a_request_of_a_change_is_remembered(self, store: Store) -> None:
        await written(store, together(changed(), requests=(request(identity="d"),)))
        again = await lost(store, together(changed(1, published=2), requests=(request(identity="d"),)))
        assert (again.why, again.stored) == (Why.DUPLICATE_REQUEST, request(identity="d"))

    async def test_the_head_says_what_is_deleted_and_paused(self, store: Store) -> None:
        await written(store, change(), change(1, published=2, state="DELETING", gone=(1, 2), paused=("t", "ü")))
        stored = await store.definition("acme", "d")
        assert stored is not None
        assert (stored.state, stored.gone, stored.paused) == ("DELETING", (1, 2), ("t", "ü"))
        assert await store.definitions("acme", "", 10) == [stored]
        await written(store, change(2, published=0, version=None))
        stored = await store.definition("acme", "d")
        assert stored is not None
        assert (stored.state, stored.gone, stored.paused, stored.latest) == ("", (), (), 2)

    async def test_purged_versions_go_and_their_numbers_stay_used(self, store: Store) -> None:
        await written(store, change(), change(1, published=2))
        await written(store, change(2, published=0, version=None, purged=(1, 2)))
        assert await store.definition_versions("acme", "d", 0, 10) == []
        assert (await lost(store, change(3, published=1))).why is Why.ROW
        await written(store, change(3, published=3))

    async def test_what_happened_in_a_tenant_comes_in_the_order_of_revisions(self, store: Store) -> None:
        await written(store, change(0, definition_id="e"), change(), together(changed(1, published=2)))
        (both,) = await written(store, together(changed(2, published=3), changed(1, definition_id="e", published=2)))
        page = await store.tenant_definition_events("acme", (0, "", 0), 10, 1000)
        assert [(name, event.sequence) for name, event in page] == [("e", 1), ("d", 1), ("d", 2), ("d", 3), ("e", 2)]
        assert [event.revision for _, event in page] == sorted(event.revision for _, event in page)
        assert await store.tenant_definition_events("acme", (both.revision, "d", 3), 10, 1000) == page[4:]
        assert await store.tenant_definition_events("acme", (page[0][1].revision, "e", 1), 2, 1000) == page[1:3]
        assert await store.tenant_definition_events("acme", (0, "", 0), 10, 1) == page[:1]
        assert await store.tenant_definition_events("other", (0, "", 0), 10, 1000) == []

    # -- what is in use

    async def test_a_definition_in_use_is_not_idle(self, store: Store) -> None:
        await written(store, change())
        key = await started(store)
        away = changed(1, published=0, version=None, idle=())
        assert (await lost(store, together(away))).why is Why.IN_USE
        assert (await lost(store, together(msgspec.structs.replace(away, idle=(2, 1))))).why is Why.IN_USE
        other_version = msgspec.structs.replace(away, idle=(2,))
        outcomes = await store.write([together(other_version), ended(key), change(2, idle=(), version=None)])
        assert whys(outcomes) == [None, None, None]

    async def test_starts_and_ends_of_the_same_flush_count(self, store: Store) -> None:
        idle = changed(0, idle=())
        assert whys(await store.write([start(), together(idle), start(B, head=head(1, definition_id="e"))])) == [
            None,
            Why.IN_USE,
            None,
        ]
        record = await store.execution(A)
        assert record is not None
        outcomes = await store.write([start(B), ended(record.key), together(idle)])
        assert whys(outcomes) == [Why.EXISTS, None, None]
        moved = start(ref("m"), head=head(1, version=4))
        assert whys(
            await store.write([moved, change(1, published=2, idle=(3,)), change(2, published=3, idle=(4,))])
        ) == [
            None,
            None,
            Why.IN_USE,
        ]

    async def test_open_executions_are_counted_and_listed_by_key(self, store: Store) -> None:
        keys = [await started(store, ref=ref(f"x{n}"), head=head(1, version=n % 3 + 1)) for n in range(6)]
        await written(store, ended(keys[4], ref=ref("x4")))
        await started(store, head=head(1, definition_id="e"))
        assert await store.open_count("acme", "d", 0) == 5
        assert [await store.open_count("acme", "d", version) for version in (1, 2, 3, 4)] == [2, 1, 2, 0]
        listed = await store.open_executions("acme", "d", 0, 0, 10)
        assert listed == [(keys[n], ref(f"x{n}")) for n in (0, 1, 2, 3, 5)]
        assert await store.open_executions("acme", "d", 0, keys[0], 2) == listed[1:3]
        assert await store.open_executions("acme", "d", 3, 0, 10) == [listed[2], listed[4]]
        assert await store.open_executions("acme", "d", 3, keys[2], 10) == [listed[4]]
        assert await store.open_executions("other", "d", 0, 0, 10) == []
        assert await store.open_count("other", "d", 0) == 0

    async def test_a_change_without_events_checks_and_purges_and_leaves_the_definition_alone(
        self, store: Store
    ) -> None:
        await written(store, change(), change(1, published=2))
        before = await store.definition("acme", "d")
        purge = {"published": 2, "version": None, "events": (), "purged": (1,)}
        assert whys(await store.write([change(1, **purge), change(2, idle=(1,), **purge)])) == [Why.SEQUENCE, None]
        assert await store.definition("acme", "d") == before
        assert await store.revision("acme") == 2
        assert [each.version for each in await store.definition_versions("acme", "d", 0, 9)] == [2]
        kept = changed(2, published=2, version=None, events=())
        (both,) = await written(store, together(kept, changed(definition_id="e")))
        assert both.revision == 3
        assert await store.definition("acme", "d") == before
        assert whys(await store.write([together(changed(1, events=()), changed(1, definition_id="e"))])) == [
            Why.SEQUENCE
        ]

    # -- jobs

    async def test_a_job_begins_with_a_change_and_moves_on(self, store: Store) -> None:
        await written(store, together(changed(), job=job(created_at=NOW)))
        begun = await store.job("acme", "j")
        assert begun is not None and begun == job(created_at=NOW, number=begun.number)
        further = job(cursor=b'{"after":"\xc3\xbc"}', total=5, done=2, failed=1, failures=b'[{"type":"x"}]')
        await written(store, JobUpdate(further), JobUpdate(job("k")))
        moved = await store.job("acme", "j")
        assert moved == msgspec.structs.replace(further, number=begun.number)
        assert [each.job_id for each in await store.open_jobs()] == ["j", "k"]
        over = job(state=JobState.FAILED, message="no", ended_at=NOW + 9)
        await written(store, together(changed(1, published=2), job=over))
        assert [each.job_id for each in await store.open_jobs()] == ["k"]
        assert await store.job("acme", "j") == msgspec.structs.replace(over, number=begun.number)

    async def test_ended_jobs_are_forgotten_a_few_at_a_time(self, store: Store) -> None:
        over = {"state": JobState.SUCCEEDED}
        ends = {"late": 3, "first": 1, "second": 2, "open": 0, "future": 9}
        await written(store, *(JobUpdate(job(name, ended_at=at and NOW + at, **over)) for name, at in ends.items()))
        await written(store, ForgetJobs(NOW + 9, jobs_max=2))
        assert [each.job_id for each in await store.jobs("acme", 0, 9)] == ["future", "open", "late"]
        newest = (await store.jobs("acme", 0, 1))[0].number
        await written(store, ForgetJobs(NOW + 9), ForgetJobs(NOW + 10))
        assert [each.job_id for each in await store.jobs("acme", 0, 9)] == ["open"]
        await written(store, JobUpdate(job("new")))
        assert (await store.jobs("acme", 0, 1))[0].number > newest

    async def test_jobs_come_newest_first(self, store: Store) -> None:
        await written(store, *[JobUpdate(job(f"j{number}")) for number in range(4)])
        await written(store, JobUpdate(job("j0", done=1)))
        page = await store.jobs("acme", 0, 3)
        assert [each.job_id for each in page] == ["j3", "j2", "j1"]
        assert [each.job_id for each in await store.jobs("acme", page[-1].number, 3)] == ["j0"]
        assert await store.jobs("other", 0, 3) == []
        assert await store.job("other", "j0") is None
