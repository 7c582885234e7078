"""The command that forks, and what `export` and `import` do with executions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..execution_models import Execution
from .refusals import complain
from .session import USAGE, Moment, Session, connected, fail

if TYPE_CHECKING:
    from ..client import Client

_HISTORY = "callboard.execution/"


@click.command()
@click.argument("execution_id", metavar="EXEC")
@click.option("--at-sequence", type=click.IntRange(min=1), metavar="SEQUENCE", help="As it was after this event.")
@click.option("--at-time", type=Moment(), metavar="TIME", help="As it was then; such as 2026-01-31T12:00:00Z.")
@click.option("--id", "new_id", default="", metavar="ID", help="The new execution's id; else the server makes one.")
@connected
async def fork(
    client: Client,
    session: Session,
    execution_id: str,
    at_sequence: int | None,
    at_time: datetime | None,
    new_id: str,
) -> None:
    """Start an execution that begins as another one was at some moment (else: as it is now), and goes on by itself.

    What is open in it is done anew: its tasks are given to workers, its timers have what remained of them.

    \b
    callboard fork o-17 --at-sequence 12 --id o-17-again
    """
    if at_sequence is not None and at_time is not None:
        fail("--at-sequence and --at-time exclude each other")
    execution = await client.fork(execution_id, at_sequence=at_sequence, at_time=at_time, id=new_id)
    _report(session, execution, f"forked from {execution_id} at sequence")


async def export_history(client: Client, session: Session, execution_id: str, path: str | None) -> int:
    """Write an execution with its history to a file, or to standard output; the exit code."""
    if path is None:
        async for line in client.export_execution(execution_id):
            click.echo(line)
        return 0
    # A file that is named in vain, or half written, must not look like an export.
    target, count = Path(path), 0
    part = target.with_name(target.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            async for line in client.export_execution(execution_id):
                file.write(line + "\n")
                count += 1
        part.replace(target)
    except OSError as error:
        complain(f"{path}: {error.strerror or error}")
        return USAGE
    finally:
        part.unlink(missing_ok=True)
    events = count - 2  # between the first line and the last
    click.echo(f"exported {execution_id}, {events} event{'' if events == 1 else 's'}, to {path}", err=True)
    return 0


def is_history(first_line: str) -> bool:
    """Whether an export that begins with this line is one of an execution."""
    try:
        header: Any = json.loads(first_line)
        return str(header["format"]).startswith(_HISTORY)
    except (ValueError, TypeError, LookupError):
        return False


async def import_history(client: Client, session: Session, lines: Iterable[str], new_id: str) -> int:
    """Take in an exported execution; the exit code."""
    execution = await client.import_execution(lines, id=new_id)
    origin = execution.fork
    _report(
        session, execution, f"imported from {origin.execution_id} at sequence" if origin else "imported at sequence"
    )
    return 0


def _report(session: Session, execution: Execution, how: str) -> None:
    if session.output.as_json:
        session.output.document(execution)
        return
    at = execution.fork.sequence if execution.fork is not None else 0
    session.output.say(f"{execution.id} ({execution.status}), {how} {at}")
