"""The command that fetches a backup from a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .refusals import complain
from .session import USAGE, Session, connected

if TYPE_CHECKING:
    from ..client import Client


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@connected
async def backup(client: Client, session: Session, file: str, force: bool) -> int:
    """Copy the whole store, of all tenants, to a file on this machine, while the server goes on.

    The file is there when it is whole and checked. `callboard restore` makes a data directory of it.

    \b
    callboard backup store-2026-01-31.callboard
    """
    try:
        with _progress(session) as progress:
            made = await client.backup(file, overwrite=force, progress=progress)
    except FileExistsError:
        complain(f"{file} is there already; give another name, or --force")
        return USAGE
    if session.output.as_json:
        session.output.document({**dataclasses.asdict(made), "path": file})
        return 0
    session.output.say(
        f"backup of store {made.store_id}, generation {made.generation}, in {file}: {made.size_bytes} bytes"
    )
    session.output.say(f"sha256 {made.sha256}")
    return 0


@contextmanager
def _progress(session: Session) -> Generator[Callable[[int, int], None]]:
    """A bar where a person is looking; the function says how many bytes of how many have come."""
    if not session.output.at_terminal:
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("the server makes its copy", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total, description="receiving")
