"""Commands that hand events in and show those that have happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import click

from ..execution_models import Emitted, Event
from ..feed_models import EventBatch
from .output import compact
from .session import JsonValue, Session, connected, expected_option, fail

if TYPE_CHECKING:
    from ..client import Client

# What the rest of the line says already, or only programs care for; --json has it all.
_UNTOLD = frozenset({"step", "state", "closes", "due", "attempt_timeout", "total_timeout", "queue_timeout"})
_EXECUTION = click.argument("execution_id", metavar="EXEC")
_EVENT = click.argument("event", metavar="EVENT")
_PAYLOAD = click.option("--payload", type=JsonValue(), metavar="JSON|@FILE|-", help="Null where not given.")
_EVENT_ID = click.option("--event-id", default="", help="Makes the event count once.")
_AFTER = click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQUENCE", help="Only later events.")


@click.command()
@_EXECUTION
@_EVENT
@_PAYLOAD
@_EVENT_ID
@expected_option
@connected
async def submit(
    client: Client,
    session: Session,
    execution_id: str,
    event: str,
    payload: Any,
    event_id: str,
    expected_sequence: int | None,
) -> None:
    """Hand an event to an execution; answered when it is processed."""
    submitted = await client.submit(
        execution_id, event, payload, event_id=event_id, expected_sequence=expected_sequence
    )
    if session.output.as_json:
        session.output.document(submitted)
        return
    became = "is kept for a later step" if submitted.kept else "is taken"
    if submitted.duplicate:
        became = "had been processed before"
    execution = submitted.execution
    session.output.say(f"{event} {became}; {execution.id} is {execution.status} ({execution.state})")


@click.command()
@_EXECUTION
@_EVENT
@_PAYLOAD
@_EVENT_ID
@connected
async def enqueue(client: Client, session: Session, execution_id: str, event: str, payload: Any, event_id: str) -> None:
    """Hand an event to an execution; answered when it is durably accepted."""
    enqueued = await client.enqueue(execution_id, event, payload, event_id=event_id)
    if session.output.as_json:
        session.output.document(enqueued)
        return
    became = "had been accepted before" if enqueued.duplicate else "is accepted"
    session.output.say(f"{event} {became} as {enqueued.event_id}")


@click.command()
@_EVENT
@click.option("--key", default="", help="What waiting steps compare their key with; only triggers hear it without.")
@_PAYLOAD
@_EVENT_ID
@connected
async def emit(client: Client, session: Session, event: str, key: str, payload: Any, event_id: str) -> None:
    """Publish an event for whoever listens: it starts what triggers start on it, and reaches steps that wait for it.

    Answered when it is durably accepted, with what it matched. The same event id counts once in 7 days.

    \b
    callboard emit order.created --payload '{"id": "o-1"}' --event-id created-o-1
    callboard emit payment.received --key o-1 --payload @payment.json
    """
    emitted = await client.emit(event, payload, key=key, event_id=event_id)
    for warning in emitted.warnings:
        click.echo(f"warning: {warning}", err=True)
    if session.output.as_json:
        session.output.document(emitted)
    else:
        _show_emitted(session, event, emitted)


def _show_emitted(session: Session, event: str, emitted: Emitted) -> None:
    became = "had been accepted before" if emitted.duplicate else "is accepted"
    session.output.say(f"{event} {became} as {emitted.event_id}")
    rows = [
        ("starts", f"{one.execution_id} ({one.definition_id} version {one.version}, trigger {one.trigger_id})")
        for one in emitted.started
    ]
    if emitted.started_count > len(emitted.started):
        rows.append(("", f"{emitted.started_count} in all"))
    offers = [("offered to", f"{one.execution_id} at {one.step_path}") for one in emitted.offered]
    if emitted.offered_count > len(emitted.offered):
        offers.append(("", f"{emitted.offered_count} in all"))
    if emitted.job_id:
        offers.append(("and", f"job {emitted.job_id} works through the rest: callboard jobs {emitted.job_id}"))
    session.output.details([*rows, *offers] or [("matched", "nothing: no trigger and no waiting step")])


@click.command()
@_EXECUTION
@_AFTER
@connected
async def history(client: Client, session: Session, execution_id: str, after: int) -> None:
    """List the events of an execution, in order."""
    events = client.history(execution_id, after_sequence=after)
    if session.output.as_json:
        await session.output.array(events)
    else:
        await _print(session, events)


@click.command()
@click.argument("execution_id", default="", metavar="[EXEC]")
@_AFTER
@click.option("--all", "everything", is_flag=True, help="The events of all executions, from now on, without end.")
@click.option("--filter", "filter_", default="", metavar="CEL", help="With --all: only events that match.")
@click.option("--from-start", is_flag=True, help="With --all: begin with the oldest event.")
@connected
async def watch(
    client: Client,
    session: Session,
    execution_id: str,
    after: int,
    everything: bool,
    filter_: str,
    from_start: bool,
) -> None:
    """Print the events of an execution as they happen, from the first one, until it has ended; or those of all.

    \b
    callboard watch --all --filter 'definition_id == "fulfil-order" && event_type == "execution"'
    """
    if everything == bool(execution_id):
        fail("name an execution, or --all")
    if everything:
        if after:
            fail("--after is for one execution")
        await _watch_all(client, session, filter_, from_start)
        return
    if filter_ or from_start:
        fail("--filter and --from-start go with --all")
    events = client.watch(execution_id, after_sequence=after)
    if not session.output.as_json:
        await _print(session, events)
        return
    async for event in events:
        session.output.line(event)


async def _watch_all(client: Client, session: Session, filter_: str, from_start: bool) -> None:
    async for batch in client.watch_events(filter=filter_, from_start=from_start):
        if not session.output.as_json:
            print_batch(session, batch)
            continue
        for event in batch.events:
            session.output.line(event)


def print_batch(session: Session, batch: EventBatch) -> None:
    """The events of several executions, for people."""
    for event in batch.events:
        session.output.say(f"{event.execution_id}  {event_line(session, event)}")


async def _print(session: Session, events: AsyncIterator[Event]) -> None:
    async for event in events:
        session.output.say(event_line(session, event))


def event_line(session: Session, event: Event) -> str:
    """One event in one line: when, what, where, and what there is to know about it."""
    # By the contract an event's payload is an object.
    known = dict(cast("dict[str, Any]", event.payload or {}))
    path = str(known.pop("path", known.pop("step_path", "")) or "")
    moved = f"  [{event.from_state} -> {event.to_state}]" if event.from_state != event.to_state else ""
    rest = {name: value for name, value in known.items() if name not in _UNTOLD and value not in (None, "", [], {})}
    more = f"  {compact(rest, 120)}" if rest else ""
    name = session.output.styled(event.event_name)
    return f"{event.sequence:>4}  {session.output.clock(event.created_at)}  {name:<24}  {path}{moved}{more}".rstrip()
