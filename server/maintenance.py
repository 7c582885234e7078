"""The local commands for a data directory on which no server runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import msgspec

from callboard.runtime.ports import StoreRefusedError
from callboard.runtime.stores.sqlite_doctor import Examination, examine
from callboard.runtime.stores.sqlite_restore import restore

from .config import ServerConfig

_REFUSED: Final = 1

_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="CALLBOARD_DATA",
    metavar="DIR",
    help="The data directory; else CALLBOARD_DATA.",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_data
@click.option("--force", is_flag=True, help="Replace the database of the directory, if there is one.")
@click.option("--unsealed", is_flag=True, help="Take a copy that `callboard backup` has not made; it is checked less.")
@_json
def restore_command(file: Path, data: Path, force: bool, unsealed: bool, as_json: bool) -> None:
    """Make a data directory of a backup. No server may be running on it.

    The store gets a new generation: what was handed out before (task tokens, page tokens, positions, revisions) is
    refused with OTHER_GENERATION, and every open execution goes on from where the backup has it.

    \b
    callboard restore store-2026-01-31.callboard --data ./callboard-data
    """
    try:
        with _progress(as_json) as progress:
            made = restore(file, ServerConfig(data=data).database, replace=force, unsealed=unsealed, progress=progress)
    except StoreRefusedError as error:
        _fail(str(error))
    if as_json:
        _print_json({**made._asdict(), "database": str(made.database)})
        return
    click.echo(f"restored {made.database}: store {made.store_id}, now of generation {made.generation}")
    click.echo(f"open executions: {made.open_executions}; they go on when a server is started on it")


@click.command("doctor")
@_data
@click.option("--fix", is_flag=True, help="Make again what is derived, and remove what killed processes left.")
@_json
def doctor_command(data: Path, fix: bool, as_json: bool) -> None:
    """Examine a data directory on which no server runs; exit code 1 where something is wrong.

    Histories are not replayed: `callboard verify --all` does that, with a server.
    """
    try:
        found = examine(ServerConfig(data=data).database, fix=fix)
    except StoreRefusedError as error:
        _fail(str(error))
    if as_json:
        _print_json({**msgspec.to_builtins(found), "sound": found.sound})
    else:
        _report(found)
    sys.exit(0 if found.sound else _REFUSED)


def _report(found: Examination) -> None:
    facts: list[tuple[str, object]] = [
        ("database", found.database),
        ("store", f"{found.store_id}, generation {found.generation}, opening {found.boot}"),
        ("schema", f"version {found.schema_version}"),
        *[("migration", f"{name}, at the next start") for name in found.pending_migrations],
        ("size", f"{found.size_bytes} bytes, {found.pages} pages, {found.free_pages} of them free"),
        *[("log", f"{found.log_bytes} bytes of a process that was killed, taken up just now")][: bool(found.log_bytes)],
        *[(name.replace("_", " "), count) for name, count in found.counts.items()],
        *[("copy", f"{name}, made before a migration") for name in found.backups],
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name.ljust(width)}  {value}")
    for finding in found.findings:
        mark = click.style("fixed", fg="green") if finding.fixed else click.style("wrong", fg="red")
        click.echo(f"{mark}  {finding.what}: {finding.message}")
    if not found.findings:
        click.echo(click.style("nothing is wrong", fg="green"))


@contextmanager
def _progress(as_json: bool) -> Generator[Callable[[int, int], None] | None]:
    """A bar where a person is looking."""
    if as_json or not sys.stdout.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("restoring", total=None)
        yield lambda done, total: bar.update(
            task, completed=done, total=total, description="restoring" if done < total else "checking"
        )


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def _fail(message: str) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"callboard: {line}", err=True)
    sys.exit(_REFUSED)
