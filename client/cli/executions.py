"""Commands that start, show and list executions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ..execution_models import Execution, OpenStep, Status
from .output import compact, rfc3339
from .session import (
    NOT_COMPLETED,
    STILL_RUNNING,
    JsonValue,
    Length,
    Moment,
    Session,
    connected,
    fail,
    labels,
    wait_option,
)

if TYPE_CHECKING:
    from ..client import Client

_COLUMNS = ["ID", "DEFINITION", "VERSION", "STATUS", "STATE", "INCIDENTS", "STARTED", "UPDATED"]
_UNIQUE_POLICIES = click.Choice(["return-existing", "reject", "cancel-existing"], case_sensitive=False)


@click.command()
@click.argument("definition_id", metavar="ID")
@click.option("--input", "value", type=JsonValue(), metavar="JSON|@FILE|-", help="The input; null where not given.")
@click.option("--id", "execution_id", default="", help="The execution's id; the server makes one where not given.")
@click.option("--version", type=click.IntRange(min=1), help="The version; the published one where not given.")
@click.option("--label", "label", multiple=True, callback=labels, metavar="NAME=VALUE", help="A label; repeatable.")
@wait_option("Wait for its end, so long at the most. Without a time (then after ID): however long it takes.")
@click.option("--reject", is_flag=True, help="Refuse where the id is in use, instead of showing what has it.")
@click.option("--unique-key", default="", metavar="KEY", help="No two that have not ended hold it.")
@click.option(
    "--unique-policy",
    type=_UNIQUE_POLICIES,
    help="Where one holds the key: show it [return-existing], refuse, or cancel it and begin when it has ended.",
)
@connected
async def start(
    client: Client,
    session: Session,
    definition_id: str,
    value: Any,
    execution_id: str,
    version: int | None,
    label: dict[str, str],
    wait: float | None,
    reject: bool,
    unique_key: str,
    unique_policy: str | None,
) -> int:
    """Start an execution of the definition ID.

    \b
    callboard start order --id o-1 --input '{"sku": "tea", "qty": 2}' --wait 30s
    callboard start sync --unique-key customer-7 --unique-policy cancel-existing
    """
    if unique_policy and not unique_key:
        fail("--unique-policy goes with --unique-key")
    with _patience(session, wait):
        execution = await client.start(
            definition_id,
            input=value,
            id=execution_id,
            version=version or 0,
            labels=label,
            wait=wait,
            conflict_policy="REJECT" if reject else "RETURN_EXISTING",
            unique_key=unique_key,
            unique_policy=(unique_policy or "return-existing").upper().replace("-", "_"),  # type: ignore[arg-type]
        )
    if session.output.as_json:
        session.output.document(execution)
    elif wait is None:
        session.output.say(started(execution, "" if execution.id == execution_id else unique_key))
    else:
        show(session, execution)
    if wait is None:
        return 0
    return wait_code(execution)


def started(execution: Execution, unique_key: str = "") -> str:
    """The execution that a call started or found, for people; `unique_key` is that by which it may have been found."""
    if not execution.started:
        why_there = f"holds the unique key {unique_key!r}" if unique_key else "there already"
        return f"{execution.id} ({why_there})"
    before = execution.waits_for_execution_id
    return f"{execution.id} (begins when {before} has ended)" if before else execution.id


def wait_code(execution: Execution) -> int:
    """The exit code of a command that waited."""
    if not execution.ended:
        return STILL_RUNNING
    return 0 if execution.status is Status.COMPLETED else NOT_COMPLETED


@contextlib.contextmanager
def _patience(session: Session, wait: float | None) -> Generator[None]:
    """Shows a person that something is being waited for."""
    if wait is None or not session.output.at_terminal:
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people

    with Console(stderr=True).status("waiting for the end ..."):
        yield


@click.command()
@click.argument("execution_id", metavar="EXEC")
@click.option("--at-sequence", type=click.IntRange(min=1), metavar="SEQUENCE", help="As it was after this event.")
@click.option("--at-time", type=Moment(), metavar="TIME", help="As it was then; such as 2026-01-31T12:00:00Z.")
@connected
async def get(
    client: Client, session: Session, execution_id: str, at_sequence: int | None, at_time: datetime | None
) -> None:
    """Show an execution: where it stands, what it waits for, what it gave."""
    if at_sequence is not None and at_time is not None:
        fail("--at-sequence and --at-time exclude each other")
    execution = await client.get(execution_id, at_sequence=at_sequence, at_time=at_time)
    if session.output.as_json:
        session.output.document(execution)
    else:
        show(session, execution)


def show(session: Session, execution: Execution) -> None:
    """An execution, for people."""
    output = session.output
    waits = execution.status is Status.PENDING
    flags = [word for word, set_ in (("paused", execution.paused), ("incident", execution.incident_count)) if set_]
    output.facts(
        [
            ("execution", execution.id),
            ("definition", f"{execution.definition_id} version {execution.version}"),
            ("status", str(execution.status)),
            ("state", execution.state),
            ("waits for", execution.waits_for_execution_id and f"{execution.waits_for_execution_id} to end"),
            ("flags", ", ".join(flags)),
            ("labels", ", ".join(f"{name}={value}" for name, value in sorted(execution.labels.items()))),
            ("unique key", execution.unique_key),
            ("trigger", _origin(session, execution)),
            ("from", _taken_from(execution)),
            ("accepted" if waits else "started", output.moment(execution.started_at or execution.created_at)),
            ("ended", output.moment(execution.ended_at)),
            ("erased", output.moment(execution.erased_at)),
            ("input", "" if execution.input is None else compact(execution.input)),
            ("output", "" if execution.output is None else compact(execution.output)),
            ("error", str(execution.error or "")),
        ]
    )
    if execution.open_steps:
        output.say("")
        columns = ["STEP", "STATE", "WAITS FOR", "SINCE", "ATTEMPT", "NEXT"]
        output.table(columns, [_step(session, step) for step in execution.open_steps])


def _origin(session: Session, execution: Execution) -> str:
    """What started it, where a trigger did."""
    origin = execution.trigger
    if origin is None:
        return ""
    what = f"slot {session.output.slot(origin.slot)}" if origin.slot else f"event {origin.event_id}"
    return f"{origin.trigger_id}, {what}" if origin.slot or origin.event_id else origin.trigger_id


def _taken_from(execution: Execution) -> str:
    """The execution that it began as."""
    origin = execution.fork
    if origin is None:
        return ""
    return f"{origin.execution_id} at sequence {origin.sequence}{', imported' if origin.imported else ''}"


def _step(session: Session, step: OpenStep) -> list[object]:
    what = {"EVENT": step.event, "QUEUE": step.operation, "WORKER": step.worker_id}.get(str(step.waiting_on), "")
    waits = " ".join(part for part in (str(step.waiting_on or ""), what) if part)
    attempt = f"{step.attempt}/{step.max_attempts}" if step.max_attempts else step.attempt
    since, next_attempt = session.output.moment(step.since), session.output.moment(step.next_attempt_at)
    return [step.path, step.state, waits, since, attempt, next_attempt]


@click.command("list")
@click.option("--filter", "filter_", default="", metavar="CEL", help="Such as: status == 'RUNNING' && incident")
@click.option(
    "--order-by",
    default="",
    metavar="FIELD[ desc]",
    help="created_at, ended_at, execution_id or (with a filter that leaves few) updated_at [created_at desc].",
)
@click.option("--limit", type=click.IntRange(min=1), help="So many at the most.")
@click.option("--count", "counting", is_flag=True, help="Say how many there are, and list none.")
@click.option("--by", default="", metavar="FIELD", help="Count by status, state, definition_id, version, labels.NAME.")
@connected
async def list_executions(
    client: Client, session: Session, filter_: str, order_by: str, limit: int | None, counting: bool, by: str
) -> None:
    """List executions, the newest first, or count them.

    \b
    callboard list --filter 'definition_id == "order" && labels.region == "eu"' --limit 20
    callboard list --filter 'operation.startsWith("mail.") || waiting_on == "RETRY"'
    callboard list --count --by status
    """
    if not counting and not by:
        await _list(client, session, filter_, order_by, limit)
    elif order_by or limit:
        fail("--order-by and --limit do not go with --count and --by")
    else:
        await _count(client, session, filter_, by)


async def _count(client: Client, session: Session, filter_: str, by: str) -> None:
    output = session.output
    if by:
        groups = await client.count_by(by, filter_)
        if output.as_json:
            output.document({"groups": groups})
        else:
            output.table([by.upper(), "COUNT"], list(groups.items()), empty="there is no such execution")
        return
    count = await client.count(filter_)
    if output.as_json:
        output.document({"count": count})
    else:
        output.say(str(count))


@click.command()
@click.option("--older-than", type=Length(), default="10m", show_default=True, metavar="TIME", help="For how long.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at the most.")
@connected
async def stuck(client: Client, session: Session, older_than: float, limit: int | None) -> None:
    """List executions that have not ended and in which nothing has happened for a while, the quietest first."""
    before = rfc3339(datetime.now(UTC) - timedelta(seconds=older_than))
    filter_ = f'status in ["PENDING", "RUNNING", "REVERTING"] && updated_at < timestamp("{before}")'
    quietest = sorted([item async for item in client.list(filter_)], key=_quiet_since)[:limit]
    if session.output.as_json:
        session.output.document(quietest)
    else:
        _table(session, quietest)


def _quiet_since(execution: Execution) -> datetime:
    return execution.updated_at or datetime.max.replace(tzinfo=UTC)


async def _list(client: Client, session: Session, filter_: str, order_by: str, limit: int | None) -> None:
    executions = _limited(client.list(filter_, order_by=order_by, page_size=min(limit or 100, 100)), limit)
    if session.output.as_json:
        await session.output.array(executions)
        return
    _table(session, [item async for item in executions])


async def _limited(executions: AsyncIterator[Execution], limit: int | None) -> AsyncIterator[Execution]:
    count = 0
    async for execution in executions:
        yield execution
        count += 1
        if count == limit:
            return


def _table(session: Session, items: Sequence[Execution]) -> None:
    """Executions, for programs with all columns; for people without a state that only says the status once more."""
    rows = [_row(session, item) for item in items]
    if session.output.at_terminal and all(item.state == item.status.lower() for item in items):
        place = _COLUMNS.index("STATE")
        rows = [[*row[:place], "", *row[place + 1 :]] for row in rows]
    session.output.table(_COLUMNS, rows, empty="there is no such execution")


def _row(session: Session, item: Execution) -> list[object]:
    started, updated = session.output.moment(item.created_at), session.output.moment(item.updated_at)
    incidents = item.incident_count or ""
    return [item.id, item.definition_id, item.version, item.status, item.state, incidents, started, updated]
