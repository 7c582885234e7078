"""The commands that delete ended executions, or erase what was sensitive in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from .jobs import job_code, show_job, wait_for
from .session import Length, Moment, Session, asks, confirm, connected, fail, wait_option

if TYPE_CHECKING:
    from ..client import Client
    from ..execution_models import Execution


@click.command()
@click.argument("execution_id", default="", metavar="[EXEC]")
@click.option("--filter", "filter_", default="", metavar="CEL", help="Those that match, as in `list --filter`.")
@click.option("--older-than", type=Length(), metavar="TIME", help="Those that ended longer ago, such as 30d.")
@click.option("--before", type=Moment(), metavar="TIME", help="Those that ended before this moment.")
@click.option("--max", "max_count", type=click.IntRange(min=1), metavar="N", help="So many at the most.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@wait_option("Wait for the end, so long at the most. Without a time: however long it takes.")
@connected
async def prune(
    client: Client,
    session: Session,
    execution_id: str,
    filter_: str,
    older_than: float | None,
    before: datetime | None,
    max_count: int | None,
    dry_run: bool,
    yes: bool,
    wait: float | None,
) -> int:
    """Delete ended executions: one by its id, those that match, or all whose `retention` is over.

    Those that run, and those with open incidents, stay. The ids are free again.

    \b
    callboard prune --dry-run
    callboard prune --filter 'definition_id == "order"' --older-than 30d --wait
    callboard prune o-1
    """
    if execution_id:
        if filter_ or older_than is not None or before or max_count or dry_run or wait is not None:
            fail("EXEC excludes all other options but --yes")
        return await _one(client, session, execution_id, yes)
    if older_than is not None and before is not None:
        fail("--older-than and --before exclude each other")
    if dry_run and wait is not None:
        fail("--dry-run and --wait exclude each other")
    if older_than is not None:
        before = datetime.now(UTC) - timedelta(seconds=older_than)
    if before is not None:
        filter_ = filter_ or "true"
    if dry_run or (asks() and not yes):
        counted = await client.prune(filter=filter_, ended_before=before, max_count=max_count or 0, validate_only=True)
        if dry_run:
            _count(session, counted.matched_count)
            return 0
        confirm(f"Delete {counted.matched_count} executions with their histories?")
    return await _begin(client, session, filter_, before, max_count or 0, wait)


async def _begin(
    client: Client, session: Session, filter_: str, before: datetime | None, max_count: int, wait: float | None
) -> int:
    begun = await client.prune(filter=filter_, ended_before=before, max_count=max_count)
    job = begun.job
    if job is None:
        raise AssertionError("a pruning that is no rehearsal has a job")
    if wait is not None:
        job = await wait_for(client, session, job.id, wait)
    if session.output.as_json:
        session.output.document(job)
    else:
        show_job(session, job)
    return 0 if wait is None else job_code(job)


def _count(session: Session, matched: int) -> None:
    if session.output.as_json:
        session.output.document({"matched_count": matched})
    else:
        session.output.say(f"{matched} executions would be deleted")


async def _one(client: Client, session: Session, execution_id: str, yes: bool) -> int:
    if asks() and not yes:
        confirm(f"Delete execution {execution_id} with its history?")
    await client.delete_execution(execution_id)
    if session.output.as_json:
        session.output.document({"deleted": execution_id})
    else:
        session.output.say(f"{execution_id} is deleted")
    return 0


@click.command()
@click.argument("execution_id", metavar="EXEC")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stays in the history.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@connected
async def erase(client: Client, session: Session, execution_id: str, reason: str, yes: bool) -> None:
    """Erase the sensitive values of an ended execution, for good.

    Everything else of it stays, and its history still verifies; where the values were, it has shown [redacted] all
    along. It cannot be forked any more from a moment before its end.

    \b
    callboard erase o-1 --reason "request 4711 of the customer"
    """
    if asks() and not yes:
        confirm(f"Erase the sensitive values of execution {execution_id}? Nothing brings them back.")
    execution = await client.erase(execution_id, reason=reason)
    if session.output.as_json:
        session.output.document(execution)
    else:
        session.output.say(_erased(session, execution))


def _erased(session: Session, execution: Execution) -> str:
    if execution.erased_at is None:
        return f"{execution.id}: no sensitive values"
    return f"{execution.id}: sensitive values erased {session.output.moment(execution.erased_at)}"
