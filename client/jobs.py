"""The jobs that calls began: reading them, and waiting for their ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from operator import attrgetter

from callboard.v1 import execution_control_pb2 as pb
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub

from .calls import Calls, each
from .channel import Connection, backoff
from .codec import Seconds, seconds
from .decoding import decode
from .job_models import Job, JobKind, JobState

POLL_SECONDS_MIN = 0.1
POLL_SECONDS_MAX = 2.0
"""How long `wait_job` waits between two looks at a job, at the least and at the most."""


class JobCalls(Calls):
    """The calls about jobs."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._jobs = ExecutionServiceStub(connection.channel)

    async def job(self, job_id: str, *, timeout: Seconds | None = None) -> Job:
        """A job: where it stands, and what of it failed."""
        answer = await self._connection.unary(self._jobs.GetJob, pb.GetJobRequest(job_id=job_id), timeout)
        return decode(Job, answer.job)

    def jobs(
        self, *, kind: JobKind | None = None, state: JobState | None = None, page_size: int = 0
    ) -> AsyncIterator[Job]:
        """The jobs of the tenant, the newest first."""
        request = pb.ListJobsRequest(
            kind=f"JOB_KIND_{kind or 'UNSPECIFIED'}", state=f"JOB_STATE_{state or 'UNSPECIFIED'}", page_size=page_size
        )
        pages = self._connection.pages(self._jobs.ListJobs, request)
        return each(pages, attrgetter("jobs"), lambda item: decode(Job, item))

    async def wait_job(
        self,
        job_id: str,
        *,
        wait: Seconds | None = None,
        seen: Callable[[Job], None] | None = None,
        timeout: Seconds | None = None,
    ) -> Job:
        """Waits until a job has ended, for `wait` seconds at the most (None: however long it takes).

        When the time is up first it answers with the job as it is: look at `ended`. `seen` is called with the job each
        time it was looked at; `timeout` is for each look.
        """
        until = None if wait is None else time.monotonic() + seconds(wait)
        for pause in backoff(POLL_SECONDS_MIN, POLL_SECONDS_MAX):
            job = await self.job(job_id, timeout=timeout)
            if seen is not None:
                seen(job)
            left = POLL_SECONDS_MAX if until is None else until - time.monotonic()
            if job.ended or left <= 0:
                return job
            await asyncio.sleep(min(pause, left))
        raise AssertionError("backoff never ends")
