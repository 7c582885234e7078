"""Jobs: work in the background that a commit began. Its row is the truth; the tasks here are what is done about it now.

- A job is taken up from the commit that began it, and at start from the store.
- A handler runs a job to its end and writes its progress itself, the end included. One that raises, or returns before
  the row says that the job has ended, is called again after a pause with the row as it is then.
- Whatever stops a handler, also the end of the process, loses nothing: the next call goes on from the row.
- A job may be read for some time after its end. Those whose time is over go when another ends, and at start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from .core.refusals import Kind, Refusal, Refused
from .lifecycle_rows import LifecycleChange
from .ports import Clock
from .retention_rows import JobBegin
from .trigger_rows import EventAcceptance, EventExpansion, ForgetJobs, JobKind, JobRow, JobState, JobUpdate
from .writes import Committed, Outcome, Write

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 0.1
SECONDS_MAX: Final = 60.0
"""The pauses between two calls of a handler that does not come to an end double from the first to the longest."""

Handler: TypeAlias = Callable[[JobRow], Awaitable[None]]


class JobReads(Protocol):
    """What is read here; a Store has it."""

    async def job(self, tenant: str, job_id: str) -> JobRow | None:
        """One job, or None."""
        ...

    async def jobs(self, tenant: str, below: int, limit: int) -> list[JobRow]:
        """Jobs, newest first, below this number (0: from the newest)."""
        ...

    async def open_jobs(self) -> list[JobRow]:
        """The jobs of all tenants that have not ended, oldest first."""
        ...


class Writer(Protocol):
    """Where writes go: the journal."""

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Commit, and say what became of it; raises Refused while the disk is full."""
        ...


class Jobs:
    """Runs what is open, and tells of what was."""

    def __init__(self, store: JobReads, journal: Writer, clock: Clock, kept_seconds: int) -> None:
        """`kept_seconds`: how long a job may be read after its end."""
        self._store = store
        self._journal = journal
        self._clock = clock
        self._kept_us = kept_seconds * 1_000_000
        self._handlers: dict[JobKind, Handler] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._forgetting: asyncio.Task[None] | None = None
        self._closed = False

    def register(self, kind: JobKind, handler: Handler) -> None:
        """Run jobs of this kind with this handler."""
        self._handlers[kind] = handler

    async def start(self) -> None:
        """Take up what was open when the process ended."""
        for job in await self._store.open_jobs():
            self._take_up(job.tenant, job.job_id)
        self._forget()

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener: take up the jobs that commits begin."""
        for write, committed in writes:
            if isinstance(write, LifecycleChange | JobUpdate | EventExpansion | JobBegin):
                if write.job is not None and write.job.ended_at:
                    self._forget()
                elif write.job is not None:
                    self._take_up(write.job.tenant, write.job.job_id)
            elif type(write) is EventAcceptance and committed.event is not None and committed.event.job_id:
                self._take_up(write.tenant, committed.event.job_id)

    async def close(self) -> None:
        """Let go of everything; what is open goes on after the next start."""
        self._closed = True
        running = (*self._running.values(), *([self._forgetting] if self._forgetting is not None else []))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def get(self, tenant: str, job_id: str) -> JobRow:
        """One job. Raises Refused(JOB_NOT_FOUND)."""
        job = await self._store.job(tenant, job_id)
        if job is None:
            message = f"there is no job {job_id!r}; jobs are kept for some time after their end"
            raise Refused(Refusal(Kind.NOT_FOUND, "JOB_NOT_FOUND", message, resource_type="job", resource=job_id))
        return job

    async def list(self, tenant: str, below: int = 0, limit: int = 100) -> Sequence[JobRow]:
        """One page, newest first, below this `JobRow.number` (0: from the newest)."""
        return await self._store.jobs(tenant, below, limit)

    def _take_up(self, tenant: str, job_id: str) -> None:
        place = (tenant, job_id)
        if self._closed or place in self._running:
            return
        task = asyncio.get_running_loop().create_task(self._run(tenant, job_id), name=f"callboard-job-{job_id}")
        self._running[place] = task
        task.add_done_callback(lambda _: self._running.pop(place, None))

    def _forget(self) -> None:
        """Let jobs go whose time is over: a few, for there is no hurry."""
        if not self._closed and self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget_some(), name="callboard-old-jobs")

    async def _forget_some(self) -> None:
        try:
            await self._journal.write(ForgetJobs(self._clock.now() - self._kept_us))
        except Refused as refused:
            log.info("old jobs stay until the next one ends: %s", refused.refusal.message)
        finally:
            self._forgetting = None

    async def _run(self, tenant: str, job_id: str) -> None:
        pause = FIRST_SECONDS
        while not await self._attempt(tenant, job_id):
            await self._clock.sleep_until(self._clock.monotonic() + pause)
            pause = min(2 * pause, SECONDS_MAX)

    async def _attempt(self, tenant: str, job_id: str) -> bool:
        """Go on with a job from its row; whether that was its end."""
        try:
            job = await self._store.job(tenant, job_id)
            if job is None or job.state is not JobState.RUNNING:
                return True
            handler = self._handlers.get(job.kind)
            if handler is None:
                log.error("job %s of tenant %s is of kind %s, which nothing here does", job_id, tenant, job.kind)
                return True
            await handler(job)
        except Exception:
            # One job's trouble, a full disk or a defect, is no reason to give it up, nor to disturb the others.
            log.exception("job %s of tenant %s was interrupted; it is tried again", job_id, tenant)
        return False
