"""The command that shows jobs, and what other commands need that wait for one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import click

from ..job_models import Job, JobState
from .session import NOT_COMPLETED, STILL_RUNNING, Session, connected, fail, wait_option

if TYPE_CHECKING:
    from ..client import Client

_COLUMNS = ["ID", "KIND", "STATE", "TARGET", "DONE", "FAILED", "STARTED", "UPDATED"]


@click.command()
@click.argument("job_id", default="", metavar="[ID]")
@wait_option(
    "Wait for the end of the one named, so long at the most. Without a time (then after ID): however long it takes."
)
@connected
async def jobs(client: Client, session: Session, job_id: str, wait: float | None) -> int:
    """List the work in the background that calls began, the newest first; or show one job.

    Jobs can be read until a week after their end.

    \b
    callboard jobs j-1 --wait 5m
    """
    if not job_id:
        if wait is not None:
            fail("--wait needs the ID of a job")
        await _list(client, session)
        return 0
    job = await (client.job(job_id) if wait is None else wait_for(client, session, job_id, wait))
    if session.output.as_json:
        session.output.document(job)
    else:
        show_job(session, job)
    return 0 if wait is None else job_code(job)


async def _list(client: Client, session: Session) -> None:
    if session.output.as_json:
        await session.output.array(client.jobs())
        return
    rows = [_row(session, job) async for job in client.jobs()]
    session.output.records(_COLUMNS, rows, titles=1, empty="there are no jobs")


def _row(session: Session, job: Job) -> list[object]:
    started, updated = session.output.moment(job.created_at), session.output.moment(job.updated_at)
    return [job.id, job.kind, job.state, job.target, _progress(job), job.failed_count or "", started, updated]


def _progress(job: Job) -> str:
    return f"{job.done_count}/{job.total_count}" if job.total_count else str(job.done_count)


def show_job(session: Session, job: Job) -> None:
    """A job, for people."""
    output = session.output
    output.facts(
        [
            ("job", job.id),
            ("kind", job.kind),
            ("state", str(job.state)),
            ("target", job.target),
            ("done", _progress(job)),
            ("failed", job.failed_count or ""),
            ("begun", output.moment(job.created_at)),
            ("by", job.user_id),
            ("updated", "" if job.ended else output.moment(job.updated_at)),
            ("ended", output.moment(job.ended_at)),
            ("error", str(job.error or "")),
        ]
    )
    show_failures(session, job)


def show_failures(session: Session, job: Job) -> None:
    """What of a job failed, as far as the server names it."""
    if not job.failed_count:
        return
    named = [[failure.execution_id, failure.failure or ""] for failure in job.failures]
    more = f", of which these are the first {len(named)}" if 0 < len(named) < job.failed_count else ""
    session.output.say(f"{job.failed_count} failed{more}:" if named else f"{job.failed_count} failed")
    if named:
        session.output.table(["EXECUTION", "FAILURE"], named)


def job_code(job: Job) -> int:
    """The exit code of a command that waited for a job."""
    if not job.ended:
        return STILL_RUNNING
    return 0 if job.state is JobState.SUCCEEDED else NOT_COMPLETED


async def wait_for(client: Client, session: Session, job_id: str, wait: float) -> Job:
    """A job at its end, or as it is when the time is up; a person sees it move."""
    with _bar(session) as seen:
        return await client.wait_job(job_id, wait=wait, seen=seen)


@contextlib.contextmanager
def _bar(session: Session) -> Generator[Callable[[Job], None] | None]:
    if not session.output.at_terminal:
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting for the job", total=None)

        def seen(job: Job) -> None:
            progress.update(task, description=f"job {job.id}", total=job.total_count or None, completed=job.done_count)

        yield seen
