"""The runner of jobs: taken up from commits and from the store, called again until the row says that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.jobs import Jobs
from callboard.runtime.journal import Journal
from callboard.runtime.lifecycle_rows import LifecycleChange
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.trigger_rows import JobKind, JobRow, JobState, JobUpdate

KIND = JobKind.DELETE_DEFINITION
KEPT_SECONDS = 3_600


class Office:
    """A runner, and a handler that does what the test tells it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.journal = Journal(self.store, self.clock)
        self.calls: list[JobRow] = []
        self.failing = 0
        self.hold: asyncio.Event | None = None
        self.jobs = self.engage()

    def engage(self) -> Jobs:
        jobs = Jobs(self.store, self.journal, self.clock, KEPT_SECONDS)
        jobs.register(KIND, self.handle)
        self.journal.subscribe(jobs.committed)
        return jobs

    async def handle(self, job: JobRow) -> None:
        self.calls.append(job)
        if self.hold is not None:
            await self.hold.wait()
        if self.failing:
            self.failing -= 1
            await self.journal.write(JobUpdate(msgspec.structs.replace(job, done=job.done + 1)))
            raise OSError("the disk is full")
        ended = msgspec.structs.replace(job, state=JobState.SUCCEEDED, ended_at=self.clock.now())
        await self.journal.write(JobUpdate(ended))

    async def begin(self, job_id: str, kind: JobKind = KIND) -> None:
        job = JobRow("acme", job_id, kind, JobState.RUNNING, "flow", b"{}", total=3)
        await self.journal.write(LifecycleChange("acme", (), self.clock.now(), job=job))

    async def state(self, job_id: str) -> JobState:
        return (await self.jobs.get("acme", job_id)).state


@pytest.fixture
async def office() -> AsyncGenerator[Office, None]:
    office = Office()
    await office.store.open()
    yield office
    await office.jobs.close()


async def test_a_job_is_taken_up_from_its_commit(office: Office) -> None:
    await office.begin("j-1")
    await office.clock.settle()
    assert await office.state("j-1") is JobState.SUCCEEDED
    await office.clock.advance(100)
    assert [job.job_id for job in office.calls] == ["j-1"]


async def test_one_that_fails_goes_on_from_its_row_after_longer_and_longer_pauses(office: Office) -> None:
    office.failing = 4
    await office.begin("j-1")
    await office.clock.advance(0.05)
    assert [job.done for job in office.calls] == [0]
    await office.clock.advance(0.3)
    assert [job.done for job in office.calls] == [0, 1, 2]
    await office.clock.advance(2)
    assert [job.done for job in office.calls] == [0, 1, 2, 3, 4]
    assert await office.state("j-1") is JobState.SUCCEEDED


async def test_what_was_open_is_taken_up_after_a_restart(office: Office) -> None:
    office.hold = asyncio.Event()
    await office.begin("j-1")
    await office.begin("j-2")
    await office.clock.settle()
    await office.jobs.close()
    assert await office.state("j-1") is JobState.RUNNING
    office.hold = None
    office.jobs = office.engage()
    await office.jobs.start()
    await office.clock.settle()
    assert [job.job_id for job in office.calls] == ["j-1", "j-2", "j-1", "j-2"]
    assert await office.state("j-2") is JobState.SUCCEEDED


async def test_a_job_under_way_is_not_begun_twice(office: Office) -> None:
    office.hold = asyncio.Event()
    await office.begin("j-1")
    await office.jobs.start()
    await office.clock.settle()
    assert len(office.calls) == 1


async def test_one_job_does_not_wait_for_another(office: Office) -> None:
    office.hold = asyncio.Event()
    await office.begin("j-1")
    await office.clock.settle()
    held, office.hold = office.hold, None
    await office.begin("j-2")
    await office.clock.settle()
    assert (await office.state("j-1"), await office.state("j-2")) == (JobState.RUNNING, JobState.SUCCEEDED)
    held.set()
    await office.clock.settle()
    assert await office.state("j-1") is JobState.SUCCEEDED


async def test_a_job_is_forgotten_some_time_after_its_end_when_another_ends(office: Office) -> None:
    await office.begin("j-1")
    await office.begin("open", JobKind.EXPAND_EVENT)
    await office.clock.advance(KEPT_SECONDS - 1)
    await office.begin("j-2")
    await office.clock.advance(1.5)
    assert await kept(office) == ["j-2", "open", "j-1"]
    await office.begin("j-3")
    await office.clock.settle()
    assert await kept(office) == ["j-3", "j-2", "open"]


async def test_old_jobs_are_forgotten_at_start(office: Office) -> None:
    await office.begin("j-1")
    await office.clock.advance(KEPT_SECONDS + 1)
    await office.jobs.close()
    office.jobs = office.engage()
    await office.jobs.start()
    await office.clock.settle()
    assert await kept(office) == []


async def kept(office: Office) -> list[str]:
    return [job.job_id for job in await office.jobs.list("acme")]


async def test_a_job_whose_row_cannot_be_read_is_in_nobody_s_way(office: Office) -> None:
    async def read(job: JobRow) -> None:
        msgspec.json.decode(job.cursor)
        await office.handle(job)

    office.jobs.register(KIND, read)
    damaged = JobRow("acme", "j-1", KIND, JobState.RUNNING, "flow", b'{"definition_id":')
    await office.journal.write(LifecycleChange("acme", (), office.clock.now(), job=damaged))
    await office.jobs.close()
    office.jobs = office.engage()
    office.jobs.register(KIND, read)
    await office.jobs.start()
    await office.begin("j-2")
    await office.clock.advance(100)
    assert (await office.state("j-1"), await office.state("j-2")) == (JobState.RUNNING, JobState.SUCCEEDED)


async def test_a_kind_that_nobody_does_stays_open(office: Office) -> None:
    await office.begin("j-1", JobKind.EXPAND_EVENT)
    await office.clock.advance(100)
    assert await office.state("j-1") is JobState.RUNNING


async def test_jobs_are_listed_newest_first(office: Office) -> None:
    for number in range(5):
        await office.begin(f"j-{number}")
    page = await office.jobs.list("acme", limit=3)
    assert [job.job_id for job in page] == ["j-4", "j-3", "j-2"]
    rest = await office.jobs.list("acme", below=page[-1].number)
    assert [job.job_id for job in rest] == ["j-1", "j-0"]
    assert await office.jobs.list("other") == []


async def test_a_job_that_is_not_there_is_said_so(office: Office) -> None:
    await office.begin("j-1")
    for tenant, job_id in (("acme", "j-2"), ("other", "j-1")):
        with pytest.raises(Refused) as raised:
            await office.jobs.get(tenant, job_id)
        assert (raised.value.refusal.kind, raised.value.refusal.reason) == (Kind.NOT_FOUND, "JOB_NOT_FOUND")
