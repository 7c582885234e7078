"""Whatever is done to a definition, its stream tells it: the fold of the events is the head, at every sequence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given as with_any
from hypothesis import settings
from hypothesis import strategies as st
from tests.runtime.lifecycle_house import House, Watched, draft, flow, origin, publish

from callboard.runtime.core.lifecycle import Standing, evolve, fact_of, stored_content
from callboard.runtime.core.refusals import Refused
from callboard.runtime.definitions import EventView, Summary
from callboard.runtime.jobs import Jobs
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.contents import Given
from callboard.runtime.lifecycle.deleting import Delete, OnDelete
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle.recording import standing_of
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.lifecycle_rows import DefinitionHead
from callboard.runtime.trigger_rows import JobKind

NAMES = ("flow", "other")
TRIGGERS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"id": "placed", "event": {"name": "order.placed"}}],
    [{"id": "placed", "event": {"name": "order.sent"}}, {"id": "nightly", "schedule": {"cron": "30 4 * * *"}}],
)

names = st.sampled_from(NAMES)
contents = st.tuples(st.integers(0, 2), st.sampled_from(TRIGGERS))
commands = st.one_of(
    st.tuples(st.just("publish"), names, contents),
    st.tuples(st.just("draft"), names, contents),
    st.tuples(st.just("publish_draft"), names),
    st.tuples(st.just("batch"), contents, contents),
    st.tuples(st.just("retract"), names),
    st.tuples(st.just("revert"), names, st.integers(1, 3)),
    st.tuples(st.just("delete"), names, st.integers(0, 3), st.sampled_from(OnDelete)),
    st.tuples(st.just("pause"), names, st.sampled_from(("placed", "nightly")), st.booleans()),
    st.tuples(
        st.just("import"),
    ),
    st.tuples(st.just("start"), st.integers(1, 3)),
    st.tuples(
        st.just("end"),
    ),
)


def content(name: str, number: int, triggers: list[Any]) -> Given:
    return Given(definition={**flow(description=f"number {number}", triggers=triggers), "id": name})


class Chronicle(House):
    """A house that remembers how every definition looked after each of its events."""

    def __init__(self) -> None:
        super().__init__(store=Watched())
        self.jobs = Jobs(self.store, self.journal, self.clock, 3_600)
        self.jobs.register(JobKind.DELETE_DEFINITION, self.deleting.finish)
        self.journal.subscribe(self.jobs.committed)
        self.seen: dict[tuple[str, int], Summary] = {}
        self.running: list[str] = []

    async def do(self, what: str, *given: Any) -> None:
        """A command; one that is refused changes nothing."""
        before = await self.heads()
        try:
            await getattr(self, f"do_{what}")(*given)
        except Refused:
            assert await self.heads() == before
        await self.clock.advance(100)
        for head in await self.store.definitions("acme", "", 10):
            name = head.definition_id
            self.seen[name, head.sequence] = await self.definitions.summary("acme", name)
            await self.check_triggers(head)

    async def check_triggers(self, head: DefinitionHead) -> None:
        """What listens is what the published version says, and nothing else."""
        said: dict[str, str] = {}
        if head.published:
            stored = await self.store.definition_version("acme", head.definition_id, head.published)
            assert stored is not None
            triggers = stored_content(stored.content).definition.triggers
            said = {trigger.id: trigger.event.name if trigger.event is not None else "" for trigger in triggers}
        rows = await self.store.triggers("acme", head.definition_id, "", ("", ""), 100)
        assert {row.trigger_id: row.event_name for row in rows} == said
        assert {row.version for row in rows} <= {head.published}
        assert {row.trigger_id for row in rows if row.paused} == said.keys() & set(head.paused)
        for row in rows:
            awake = not row.event_name and not row.paused
            assert not awake or row.next_slot > self.clock.now() - 200_000_000
        due = await self.store.due_triggers(2**62, 100)
        expected = {row.trigger_id for row in rows if not row.event_name and not row.paused}
        assert {row.trigger_id for row in due if row.definition_id == head.definition_id} == expected
        for name in {row.event_name for row in rows} - {""}:
            revision, listening = await self.store.listeners("acme", name)
            assert revision <= await self.store.revision("acme")
            assert {row.trigger_id for row in rows if row.event_name == name} == {
                row.trigger_id for row in listening if row.definition_id == head.definition_id
            }

    async def heads(self) -> list[Any]:
        return await self.store.definitions("acme", "", 10)

    async def do_publish(self, name: str, what: tuple[int, list[Any]]) -> None:
        await self.publishing.publish(publish(given=content(name, *what)))

    async def do_draft(self, name: str, what: tuple[int, list[Any]]) -> None:
        await self.drafting.put(draft(given=content(name, *what)))

    async def do_publish_draft(self, name: str) -> None:
        await self.publishing.publish(publish(given=None, definition_id=name))

    async def do_batch(self, *each: tuple[int, list[Any]]) -> None:
        items = tuple(BatchItem(content(name, *what)) for name, what in zip(NAMES, each, strict=True))
        await self.batching.publish(PublishBatch(origin(), items))

    async def do_retract(self, name: str) -> None:
        await self.retracting.retract(Retract(origin(), name))

    async def do_revert(self, name: str, version: int) -> None:
        await self.reverting.revert(Revert(origin(), name, version))

    async def do_delete(self, name: str, version: int, running: OnDelete) -> None:
        await self.deleting.delete(Delete(origin(), name, version, running))

    async def do_pause(self, name: str, trigger: str, paused: bool) -> None:
        await self.pausing.pause(PauseTrigger(origin(), name, trigger, paused))

    async def do_import(self) -> None:
        lines = (await export(self.store, "acme", (), "", 100_000)).lines
        await self.importing.import_bundle(Import(origin(), "\n".join(lines)))

    async def do_start(self, version: int) -> None:
        head = await self.store.definition("acme", "flow")
        if head is not None and not head.state and version <= head.latest and version not in head.gone:
            self.running.append(f"x-{len(self.seen)}-{len(self.running)}-{self.clock.now()}")
            await self.start(self.running[-1], version)

    async def do_end(self) -> None:
        gone = {ref.execution_id for ref in self.cancelled}
        left = [one for one in self.running if one not in gone]
        if left:
            self.running.remove(left[0])
            await self.end(left[0])


async def check(house: Chronicle) -> None:
    told: list[EventView] = []
    for head in await house.heads():
        name, folded = head.definition_id, Standing()
        for view in (await house.definitions.events("acme", name, limit=1_000)).events:
            told.append(view)
            folded = evolve(folded, fact_of(view.event.name, view.event.payload))
            past = await house.definitions.as_of("acme", name, view.event.sequence)
            known = house.seen.get((name, view.event.sequence))
            assert past.summary.etag == str(folded.sequence)
            if known is not None:
                # A description comes from contents, which may have been deleted since.
                assert replaced(past.summary) == replaced(known)
            if past.version is not None and past.version.version:
                assert past.version.version == folded.published
        assert folded == standing_of(head)
    await check_tenant(house, told)


def replaced(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in summary.__struct_fields__ if name != "description"}


async def check_tenant(house: Chronicle, told: list[EventView]) -> None:
    """Page by page, what happened in the tenant is what happened to its definitions, in the order of revisions."""
    paged: list[EventView] = []
    after, more = (0, "", 0), True
    while more:
        page = await house.definitions.tenant_events("acme", after, 2)
        paged += page.events
        more = page.more
        last = paged[-1] if paged else None
        after = (last.event.revision, last.definition_id, last.event.sequence) if last is not None else after
    assert paged == sorted(told, key=lambda one: (one.event.revision, one.definition_id, one.event.sequence))
    assert {one.event.revision for one in paged} == set(range(1, await house.store.revision("acme") + 1))


@settings(max_examples=60, deadline=None)
@with_any(st.lists(commands, max_size=14))
def test_the_past_is_what_was_seen_then(chosen: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        house = Chronicle()
        await house.store.open()
        for command in chosen:
            await house.do(*command)
        await check(house)
        await house.jobs.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", [0, 1])
async def test_the_end_of_a_deletion_that_kept_what_ran_is_no_change_of_the_definition(version: int) -> None:
    house = Chronicle()
    await house.store.open()
    await house.do("publish", "flow", (1, []))
    await house.do("start", 1)
    await house.do("delete", "flow", version, OnDelete.KEEP)
    before = await house.heads()
    await house.do("end")
    assert await house.store.definition_versions("acme", "flow", 0, 9) == []
    assert await house.heads() == before
    await house.jobs.close()
