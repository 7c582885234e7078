"""Commands about definitions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import CallboardError, Unreachable
from ..models import DefinitionSummary, Published
from .session import REFUSED, USAGE, Session, complain, connected, refuse

if TYPE_CHECKING:
    from ..client import Client

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
@click.argument("definition_id", required=False, metavar="[ID]")
@connected
async def definitions(client: Client, session: Session, definition_id: str | None) -> None:
    """List definitions, or the versions of the one named."""
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
