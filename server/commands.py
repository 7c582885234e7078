"""The local commands of `callboard`: `serve`, `demo`, and those of maintenance.py.

The command line of the client loads this module lazily.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from callboard.runtime.ports import StoreRefusedError
from callboard.runtime.stores.sqlite import pending_migrations

from . import logs, process, telemetry
from .config import FILE_NAME, OPTIONS, ConfigError, Option, ServerConfig, load
from .loading import MisconfiguredError, ServeError, load_handlers, load_stages
from .maintenance import doctor_command, restore_command
from .wiring import version

__all__ = ["demo_command", "doctor_command", "restore_command", "serve_command"]

_REFUSED: Final = 1
_WRONG_USAGE: Final = 2


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every option of the configuration as a flag. Their values are read, and refused, in one place: config.py."""
    for option in reversed(OPTIONS):
        command = _flag(option)(command)
    return command


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(option.flag, option.name, metavar=option.metavar, multiple=option.several, help=option.help)


@click.command("serve")
@_with_options
@click.option("--limit", multiple=True, metavar="NAME=VALUE", help="A limit of the engine, by its name. Repeatable.")
@click.option("--no-backup", is_flag=True, help="The same as --backup false.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help=f"The file [./{FILE_NAME}].")
@click.option("--check", is_flag=True, help="Print the migrations that a start would apply, and exit.")
def serve_command(config_file: Path | None, check: bool, no_backup: bool, **flags: Any) -> None:
    """Serve workflows from a data directory.

    Every option may also be set by an environment variable (CALLBOARD_DATA, ...) or in callboard.toml (data, ...).
    """
    if no_backup:
        flags["backup"] = "false"
    named = os.environ.get("CALLBOARD_CONFIG", "")
    try:
        config = load(flags, os.environ, config_file or (Path(named) if named else None))
        if check:
            _check(config)
            return
        logs.configure(config.log_format, config.log_level)
        tracing = telemetry.configure(os.environ, version())
        registered, stages = load_handlers(config.handlers), load_stages(config.stages)
    except (ConfigError, ServeError) as error:
        _fail(str(error), _WRONG_USAGE)
    try:
        asyncio.run(process.serve(config, tracing, registered, stages))
    except ServeError as error:
        _fail(str(error), _WRONG_USAGE if isinstance(error, MisconfiguredError) else _REFUSED)
    finally:
        tracing.close()


@click.command("demo")
@click.option("--data", type=click.Path(path_type=Path), help="Keep the data here, in place of a temporary directory.")
def demo_command(data: Path | None) -> None:
    """Run the example: a server, a worker, one order, every event as it happens."""
    from . import demo  # noqa: PLC0415 - what only the demo needs would cost every server memory

    logs.configure("text", "error")
    try:
        sys.exit(asyncio.run(demo.run(data)))
    except ServeError as error:
        _fail(str(error))


def _check(config: ServerConfig) -> None:
    """What a start would do to the schema."""
    try:
        pending = pending_migrations(config.database)
    except StoreRefusedError as error:
        _fail(str(error))
    for name in pending:
        click.echo(name)
    if not pending:
        click.echo("no migrations are pending", err=True)


def _fail(message: str, code: int = _REFUSED) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"callboard: {line}", err=True)
    sys.exit(code)
