"""Commands about definitions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..errors import CallboardError, Unreachable
from ..models import DefinitionEvent, DefinitionSummary, Published
from .output import compact
from .session import REFUSED, USAGE, Session, complain, connected, fail, refuse

if TYPE_CHECKING:
    from ..client import Client

# Columns of their own, or what only programs care for; --json has it all.
_UNTOLD = frozenset({"version", "stages", "content", "fingerprint"})
_ID = click.argument("definition_id", metavar="ID")
_ETAG = click.option("--etag", default="", help="Refuse where the definition has changed since it had this etag.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be; nothing changes.")
_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@click.command()
@_FILES
@connected
async def publish(client: Client, session: Session, files: tuple[str, ...]) -> int:
    """Publish definitions from files (`-`: standard input), each as its next version.

    A file that is refused does not keep the others from being published.
    """
    return await _each(client, session, files, validate_only=False)


@click.command()
@_FILES
@connected
async def validate(client: Client, session: Session, files: tuple[str, ...]) -> int:
    """Check definitions in files (`-`: standard input): what publishing them would do or refuse. Nothing changes."""
    return await _each(client, session, files, validate_only=True)


async def _each(client: Client, session: Session, files: tuple[str, ...], *, validate_only: bool) -> int:
    code = 0
    for name in files:
        try:
            text = _text(name)
        except (OSError, UnicodeDecodeError) as error:
            complain(f"{name}: {getattr(error, 'strerror', None) or error}")
            code = USAGE
            continue
        source = "stdin" if name == "-" else name
        try:
            # The line break says that this is the text, whatever it looks like.
            published = await client.publish(text + "\n", name=source, validate_only=validate_only)
        except Unreachable:
            raise
        except CallboardError as error:
            refuse(error)
            code = code or REFUSED
            continue
        _show(session, source, published, validate_only)
    return code


def _text(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")


def _show(session: Session, source: str, published: Published, validate_only: bool) -> None:
    for warning in published.warnings:
        click.echo(f"warning: {warning}", err=True)
    if session.output.as_json:
        session.output.line(published)
        return
    what = f"{published.definition_id} version {published.version}"
    if validate_only:
        session.output.say(f"{source}: valid; " + (f"would be {what}" if published.changed else f"is {what} already"))
    elif published.changed:
        session.output.say(f"{source}: published {what} (revision {published.revision})")
    else:
        session.output.say(f"{source}: {what} is published already")


@click.command()
@_ID
@_ETAG
@_DRY_RUN
@connected
async def retract(client: Client, session: Session, definition_id: str, etag: str, dry_run: bool) -> None:
    """Take the published version of a definition back: nothing new starts from it, running executions go on."""
    retracted = await client.retract(definition_id, etag=etag, validate_only=dry_run)
    if session.output.as_json:
        session.output.document(retracted)
        return
    if not retracted.changed:
        session.output.say(f"{definition_id} is retracted already")
        return
    impact = retracted.impact
    # A repeat of a request that was carried out says nothing of what it changed.
    what = (
        f"version {impact.previous_version} of {definition_id}" if impact and impact.previous_version else definition_id
    )
    revision = f" (revision {retracted.revision})"
    session.output.say(f"would retract {what}" if dry_run else f"retracted {what}{revision}")


@click.command()
@_ID
@click.option("--to", "version", type=click.IntRange(min=1), required=True, metavar="VERSION", help="The old version.")
@_ETAG
@_DRY_RUN
@connected
async def revert(client: Client, session: Session, definition_id: str, version: int, etag: str, dry_run: bool) -> None:
    """Publish the content of an old version of a definition as its next version."""
    reverted = await client.revert(definition_id, version, etag=etag, validate_only=dry_run)
    for warning in reverted.warnings:
        click.echo(f"warning: {warning}", err=True)
    if session.output.as_json:
        session.output.document(reverted)
        return
    what = f"{definition_id} version {reverted.definition_version.version}"
    if not reverted.changed:
        session.output.say(f"{what}, with the content of version {version}, is published already")
    elif dry_run:
        session.output.say(f"would publish {what} with the content of version {version}")
    else:
        session.output.say(f"published {what} with the content of version {version} (revision {reverted.revision})")


@click.command()
@click.argument("definition_id", required=False, metavar="[ID]")
@click.option("--history", is_flag=True, help="What happened to the one named, the oldest first.")
@connected
async def definitions(client: Client, session: Session, definition_id: str | None, history: bool) -> None:
    """List definitions, or the versions of the one named, or its history."""
    if history:
        await _history(client, session, definition_id or fail("--history needs the ID of a definition"))
        return
    if definition_id:
        await _versions(client, session, definition_id)
        return
    found = [item async for item in client.definitions()]
    if session.output.as_json:
        session.output.document(found)
        return
    columns = ["ID", "STATE", "PUBLISHED", "LATEST", "UPDATED", "DESCRIPTION"]
    session.output.table(columns, [_row(session, item) for item in found])


def _row(session: Session, item: DefinitionSummary) -> list[object]:
    updated = session.output.moment(item.updated_at)
    return [item.id, item.state, item.published_version or "", item.latest_version, updated, item.description]


async def _versions(client: Client, session: Session, definition_id: str) -> None:
    found = [item async for item in client.versions(definition_id)]
    if session.output.as_json:
        session.output.document(found)
        return
    rows = [[item.version, item.state, session.output.moment(item.created_at), item.user_id] for item in found]
    session.output.table(["VERSION", "STATE", "CREATED", "BY"], rows)


async def _history(client: Client, session: Session, definition_id: str) -> None:
    events = client.definition_events(definition_id)
    if session.output.as_json:
        await session.output.array(events)
        return
    rows = [_event_row(session, event) async for event in events]
    session.output.table(["SEQUENCE", "EVENT", "VERSION", "REVISION", "WHEN", "BY", "MORE"], rows)


def _event_row(session: Session, event: DefinitionEvent) -> list[object]:
    # By the contract an event's payload is an object.
    known = cast("dict[str, Any]", event.payload or {})
    rest = {name: value for name, value in known.items() if name not in _UNTOLD}
    when, more = session.output.moment(event.created_at), compact(rest, 120) if rest else ""
    return [event.sequence, event.event_name, event.version or "", event.revision, when, event.user_id, more]
