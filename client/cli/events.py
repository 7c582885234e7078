"""Commands that hand events in and show those that have happened."""

from collections.abc import AsyncIterator
from typing import Any

import click

from ..client import Client
from ..models import Event
from .output import compact
from .session import JsonValue, Session, connected

_EXECUTION = click.argument("execution_id", metavar="EXEC")
_EVENT = click.argument("event", metavar="EVENT")
_PAYLOAD = click.option(
    "--payload", type=JsonValue(), metavar="JSON|@FILE|-", help="Its payload; null where not given."
)
_EVENT_ID = click.option("--event-id", default="", help="Makes the event count once.")
_AFTER = click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQUENCE", help="Only later events.")


@click.command()
@_EXECUTION
@_EVENT
@_PAYLOAD
@_EVENT_ID
@connected
async def submit(client: Client, session: Session, execution_id: str, event: str, payload: Any, event_id: str) -> None:
    """Hand an event to an execution; answered when it is processed."""
    submitted = await client.submit(execution_id, event, payload, event_id=event_id)
    if session.output.as_json:
        session.output.document(submitted)
        return
    became = (
        "was processed before" if submitted.duplicate else "is kept for a later step" if submitted.kept else "taken"
    )
    session.output.say(
        f"{event} {became}; {execution_id} is {submitted.execution.status} ({submitted.execution.state})"
    )


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
    session.output.say(
        f"{event} {'had been accepted before' if enqueued.duplicate else 'accepted'} as {enqueued.event_id}"
    )


@click.command()
@_EXECUTION
@_AFTER
@connected
async def history(client: Client, session: Session, execution_id: str, after: int) -> None:
    """List the events of an execution, in order."""
    await _print(session, client.history(execution_id, after_sequence=after))


@click.command()
@_EXECUTION
@_AFTER
@connected
async def watch(client: Client, session: Session, execution_id: str, after: int) -> None:
    """Print the events of an execution as they happen, from the first one, until it has ended."""
    await _print(session, client.watch(execution_id, after_sequence=after))


async def _print(session: Session, events: AsyncIterator[Event]) -> None:
    async for event in events:
        if session.output.as_json:
            session.output.line(event)
        else:
            session.output.say(event_line(session, event))


def event_line(session: Session, event: Event) -> str:
    """One event in one line: when, what, where, and what there is to know about it."""
    payload = event.payload if isinstance(event.payload, dict) else {}
    known: dict[str, Any] = {str(name): value for name, value in payload.items()}
    path = str(known.pop("path", known.pop("step_path", "")) or "")
    moved = f"  [{event.from_state} -> {event.to_state}]" if event.from_state != event.to_state else ""
    rest = {name: value for name, value in known.items() if value not in (None, "", [], {})}
    more = f"  {compact(rest, 120)}" if rest else ""
    name = session.output.styled(event.event_name)
    return f"{event.sequence:>4}  {session.output.clock(event.created_at)}  {name:<24}  {path}{moved}{more}".rstrip()
