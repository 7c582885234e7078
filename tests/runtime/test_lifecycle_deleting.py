"""Deleting: what goes at once, what a job finishes, and what the job says of itself meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from tests.runtime.lifecycle_house import House, draft, given, origin, publish, refusal, refused

from callboard.runtime.core.refusals import Kind
from callboard.runtime.jobs import Jobs
from callboard.runtime.lifecycle.chain import Chain, Stage
from callboard.runtime.lifecycle.deleting import Delete, DeleteAnswer, OnDelete
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.trigger_rows import JobKind, JobRow, JobState, JobUpdate
from callboard.runtime.writes import Outcome, Write

PLACED = [{"id": "placed", "event": {"name": "order.placed"}}]


class Works(House):
    """A house in which jobs run."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = self.engage()

    def engage(self) -> Jobs:
        jobs = Jobs(self.store, self.journal, self.clock, 3_600)
        jobs.register(JobKind.DELETE_DEFINITION, self.deleting.finish)
        self.journal.subscribe(jobs.committed)
        return jobs

    async def delete(self, running: OnDelete = OnDelete.REFUSE, version: int = 0, **more: Any) -> DeleteAnswer:
        return await self.deleting.delete(Delete(**{"origin": origin(), **more}, **_named(version, running)))

    async def job(self, job_id: str) -> JobRow:
        return await self.jobs.get("acme", job_id)

    async def events(self) -> list[str]:
        return [event.name for event in await self.store.definition_events("acme", "flow", 0, 0, 100, 1_000_000)]

    async def contents(self) -> list[int]:
        return [one.version for one in await self.store.definition_versions("acme", "flow", 0, 100)]


def _named(version: int, running: OnDelete) -> dict[str, Any]:
    return {"definition_id": "flow", "version": version, "running": running}


@pytest.fixture
async def house() -> AsyncGenerator[Works, None]:
    house = Works()
    await house.store.open()
    for number in (1, 2):
        await house.publishing.publish(publish(given=given(description=f"number {number}", triggers=PLACED)))
    yield house
    await house.jobs.close()


# Without anything running


async def test_all_of_it_goes_with_one_commit(house: Works) -> None:
    await house.drafting.put(draft())
    answer = await house.delete()
    assert (answer.changed, answer.job_id, answer.etag, answer.revision) == (True, "", "4", 4)
    assert (answer.impact.previous_version, answer.impact.triggers_removed) == (2, ("placed",))
    head = await house.head()
    assert (head.state, head.published, head.latest, head.gone, head.draft) == ("DELETED", 0, 2, (1, 2), None)
    assert await house.contents() == []
    assert (await house.store.listeners("acme", "order.placed"))[1] == []
    assert (await house.events())[-1] == "DefinitionDeleted"
    again = await house.delete()
    assert (again.changed, again.revision, again.job_id) == (False, 4, "")


async def test_what_is_left_when_the_newest_version_goes(house: Works) -> None:
    await house.delete(version=2)
    assert [one.state.value for one in await house.definitions.summaries("acme")] == ["RETRACTED"]
    summary = await house.definitions.summary("acme", "flow")
    assert (summary.description, summary.published_version, summary.latest_version) == ("number 1", 0, 2)
    found = await house.definitions.get("acme", "flow")
    assert (found.version, found.state.value) == (1, "RETRACTED")
    await house.delete(version=1)
    assert await house.definitions.summaries("acme") == []
    assert await refused(house.definitions.get("acme", "flow")) == (Kind.NOT_FOUND, "VERSION_NOT_FOUND")
    await house.drafting.put(draft(given=given(description="a draft")))
    (summary,) = await house.definitions.summaries("acme")
    assert (summary.state.value, summary.description) == ("DRAFT", "a draft")


async def test_a_version_goes_and_the_published_one_stays(house: Works) -> None:
    answer = await house.delete(version=1)
    assert (answer.impact.version, answer.impact.triggers_removed) == (2, ())
    head = await house.head()
    assert (head.published, head.gone, head.state) == (2, (1,), "")
    assert await house.contents() == [2]
    assert len((await house.store.listeners("acme", "order.placed"))[1]) == 1
    assert await refused(house.reverting.revert(Revert(origin(), "flow", 1))) == (Kind.NOT_FOUND, "VERSION_NOT_FOUND")
    assert not (await house.delete(version=1)).changed


async def test_with_the_published_version_its_triggers_go(house: Works) -> None:
    answer = await house.delete(version=2)
    assert answer.impact.triggers_removed == ("placed",)
    assert ((await house.head()).published, await house.contents()) == (0, [1])
    assert (await house.store.listeners("acme", "order.placed"))[1] == []


async def test_what_is_deleted_comes_back_as_the_next_version(house: Works) -> None:
    await house.delete()
    answer = await house.publishing.publish(publish(given=given(description="number 2", triggers=PLACED)))
    assert (answer.version, answer.changed) == (3, True)
    head = await house.head()
    assert (head.state, head.published, head.gone) == ("", 3, (1, 2))
    assert (await house.store.listeners("acme", "order.placed"))[1][0].version == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"definition_id": "nowhere"}, "DEFINITION_NOT_FOUND"),
        ({"version": 3}, "VERSION_NOT_FOUND"),
        ({"version": -1}, "VERSION_NOT_FOUND"),
        ({"etag": "7"}, "ETAG_MISMATCH"),
    ],
)
async def test_what_cannot_be_deleted_is_said_so(house: Works, fields: dict[str, Any], reason: str) -> None:
    command = Delete(**{"origin": origin(), "definition_id": "flow", **fields})
    assert (await refused(house.deleting.delete(command)))[1] == reason


async def test_a_rehearsal_names_no_job_and_changes_nothing(house: Works) -> None:
    await house.start("x-1", 2)
    answer = await house.delete(OnDelete.CANCEL, validate_only=True)
    assert (answer.changed, answer.job_id, answer.etag) == (True, "", "2")
    assert answer.impact.running_executions == 1
    assert [stage.name for stage in answer.stages] == ["load", "decide"]
    assert (await house.head()).state == ""


# What runs


async def test_what_runs_is_named_and_in_the_way(house: Works) -> None:
    for number in range(12):
        await house.start(f"x-{number:02}", 1 + number % 2)
    found = await refusal(house.delete())
    assert (found.kind, found.reason) == (Kind.STATE, "DEFINITION_IN_USE")
    assert found.metadata["running"] == "12"
    assert found.metadata["execution_ids"] == ",".join(f"x-{number:02}" for number in range(10))
    assert (await refusal(house.delete(version=1))).metadata["running"] == "6"
    assert (await house.head()).state == ""


@pytest.mark.parametrize("running", list(OnDelete))
async def test_an_execution_that_begins_between_look_and_commit_is_not_overrun(
    house: Works, running: OnDelete, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, started = house.store.write, False

    async def late(batch: Sequence[Write]) -> list[Outcome]:
        nonlocal started
        if not started:
            started = True
            await _start_directly(house, write)
        return await write(batch)

    monkeypatch.setattr(house.store, "write", late)
    if running is OnDelete.REFUSE:
        assert await refused(house.delete(running)) == (Kind.STATE, "DEFINITION_IN_USE")
        return
    answer = await house.delete(running)
    assert answer.job_id
    assert await house.contents() == [2, 1]


async def _start_directly(house: Works, write: Any) -> None:
    """A start that comes in the same batch, before the deletion."""
    journal, house.journal = house.journal, _Straight(write)  # type: ignore[assignment]
    await house.start("late", 2)
    house.journal = journal


class _Straight:
    def __init__(self, write: Any) -> None:
        self._write = write

    async def write(self, one: Write) -> Outcome:
        (outcome,) = await self._write([one])
        return outcome  # type: ignore[no-any-return]


async def test_cancel_ends_them_first(house: Works) -> None:
    for number in range(5):
        await house.start(f"x-{number}", 2)
    answer = await house.delete(OnDelete.CANCEL)
    head = await house.head()
    assert (head.state, head.published) == ("DELETING", 0)
    assert (await house.store.listeners("acme", "order.placed"))[1] == []
    assert (await house.delete()).job_id == answer.job_id
    await house.clock.advance(1)
    assert [ref.execution_id for ref in house.cancelled] == [f"x-{number}" for number in range(5)]
    head = await house.head()
    assert (head.state, head.gone) == ("DELETED", (1, 2))
    assert await house.contents() == []
    assert (await house.events())[-2:] == ["DefinitionDeleting", "DefinitionDeleted"]
    assert house.told[-1].events == ("DefinitionDeleted",)
    job = await house.job(answer.job_id)
    assert (job.state, job.total, job.done, job.failed, job.target) == (JobState.SUCCEEDED, 5, 5, 0, "flow")
    assert (job.user_id, job.ended_at) == ("ann", job.updated_at)


async def test_the_job_claims_no_more_than_is_true(house: Works) -> None:
    for number in range(3):
        await house.start(f"x-{number}", 2)
    house.uncancellable = {"x-1"}
    answer = await house.delete(OnDelete.CANCEL)
    await house.clock.advance(30)
    job = await house.job(answer.job_id)
    assert (job.state, job.total, job.done, job.failed) == (JobState.RUNNING, 3, 2, 1)
    (failure,) = msgspec.json.decode(job.failures)
    assert failure == {"execution_id": "x-1", "type": "EXECUTION_STATE_FORBIDS", "message": "not now"}
    assert (await house.head()).state == "DELETING"
    house.uncancellable.clear()
    await house.clock.advance(10)
    job = await house.job(answer.job_id)
    assert (job.state, job.done, job.failed, job.failures) == (JobState.SUCCEEDED, 3, 0, b"[]")


async def test_a_job_goes_on_in_another_process(house: Works) -> None:
    for number in range(3):
        await house.start(f"x-{number}", 2)
    house.uncancellable = {"x-0", "x-1", "x-2"}
    answer = await house.delete(OnDelete.CANCEL)
    await house.clock.advance(1)
    await house.jobs.close()
    house.uncancellable.clear()
    await house.clock.advance(60)
    assert (await house.job(answer.job_id)).state is JobState.RUNNING
    house.jobs = house.engage()
    await house.jobs.start()
    await house.clock.advance(1)
    assert (await house.job(answer.job_id)).state is JobState.SUCCEEDED
    assert (await house.head()).state == "DELETED"


@pytest.mark.parametrize("version", [0, 2])
async def test_what_begins_while_it_is_deleted_is_named(house: Works, version: int) -> None:
    record = next(stage for stage in house.deleting.chain.stages if stage.durable)

    async def late(value: Any, report: Any) -> Any:
        if await house.store.execution(ExecutionRef("acme", "late")) is None:
            await house.start("late", 2)
        return await record.run(value, report)

    stages = [Stage(one.name, late if one.durable else one.run, one.durable) for one in house.deleting.chain.stages]
    house.deleting.chain = Chain(tuple(stages))
    found = await refusal(house.delete(version=version))
    assert (found.reason, found.metadata["execution_ids"]) == ("DEFINITION_IN_USE", "late")
    assert (await house.head()).published == 2


async def test_what_is_kept_goes_on_and_its_contents_with_it(house: Works) -> None:
    await house.start("x-1", 2)
    answer = await house.delete(OnDelete.KEEP)
    head = await house.head()
    assert (head.state, head.gone) == ("DELETED", (1, 2))
    await house.clock.advance(3_600)
    assert await house.contents() == [2, 1]
    assert house.cancelled == []
    assert (await house.job(answer.job_id)).state is JobState.RUNNING
    await house.publishing.publish(publish(given=given(description="again")))
    await house.start("y-1", 3)
    await house.end("x-1")
    await house.clock.advance(61)
    assert (await house.job(answer.job_id)).state is JobState.SUCCEEDED
    assert await house.contents() == [3]
    assert ((await house.head()).published, (await house.head()).state) == (3, "")


async def test_cancel_of_one_version_leaves_the_others_alone(house: Works) -> None:
    await house.start("x-1", 1)
    await house.start("x-2", 2)
    answer = await house.delete(OnDelete.CANCEL, version=1)
    head = await house.head()
    assert (head.state, head.published, head.gone) == ("", 2, (1,))
    await house.clock.advance(1)
    assert [ref.execution_id for ref in house.cancelled] == ["x-1"]
    assert await house.contents() == [2]
    job = await house.job(answer.job_id)
    assert (job.state, job.target, job.total) == (JobState.SUCCEEDED, "flow@1", 1)


async def test_executions_of_versions_deleted_before_are_not_in_the_way_of_keeping(house: Works) -> None:
    await house.start("x-1", 1)
    first = await house.delete(OnDelete.KEEP, version=1)
    second = await house.delete(OnDelete.KEEP)
    await house.clock.advance(1)
    assert (await house.job(second.job_id)).state is JobState.SUCCEEDED
    assert await house.contents() == [1]
    await house.end("x-1")
    await house.clock.advance(61)
    assert (await house.job(first.job_id)).state is JobState.SUCCEEDED
    assert await house.contents() == []


async def test_what_takes_its_time_to_end_is_asked_once_and_again_much_later(house: Works) -> None:
    await house.start("x-1", 2)
    house.slow = {"x-1"}
    answer = await house.delete(OnDelete.CANCEL)
    await house.clock.advance(30)
    assert [ref.execution_id for ref in house.cancelled] == ["x-1"]
    await house.clock.advance(60)
    assert [ref.execution_id for ref in house.cancelled] == ["x-1", "x-1"]
    assert (await house.job(answer.job_id)).state is JobState.RUNNING
    await house.end("x-1")
    await house.clock.advance(6)
    assert (await house.job(answer.job_id)).state is JobState.SUCCEEDED


async def test_a_repeated_request_names_the_same_job(house: Works) -> None:
    await house.start("x-1", 2)
    first = await house.delete(OnDelete.KEEP, origin=origin("r-1"))
    again = await house.delete(OnDelete.KEEP, origin=origin("r-1"))
    assert again.job_id == first.job_id != ""
    assert again.stages == ()
    assert [job.job_id for job in await house.jobs.list("acme")] == [first.job_id]


async def test_progress_is_written_down_when_there_is_any(house: Works) -> None:
    written: list[JobUpdate] = []
    house.journal.subscribe(lambda writes: written.extend(w for w, _ in writes if isinstance(w, JobUpdate)))
    for number in range(3):
        await house.start(f"x-{number}", 2)
    await house.delete(OnDelete.KEEP)
    await house.clock.advance(600)
    assert written == []
    await house.end("x-0")
    await house.clock.advance(600)
    assert [(update.job.total, update.job.done) for update in written] == [(3, 1)]
