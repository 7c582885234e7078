"""Commands about queues and workers, and the one that is a worker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from .output import length
from .refusals import complain
from .session import ADDRESS_HELP, TENANT_HELP, Length, Session, connected

if TYPE_CHECKING:
    from ..client import Client
    from ..worker import Worker


@click.command()
@connected
async def queues(client: Client, session: Session) -> None:
    """List the queues of operations: those with tasks, with workers, or paused."""
    found = [item async for item in client.queues()]
    if session.output.as_json:
        session.output.document(found)
        return
    rows = [
        [
            item.operation,
            item.queued,
            item.running,
            length(item.oldest_age.total_seconds()) if item.oldest_age else "",
            item.workers,
            item.free_slots,
            "paused" if item.paused else "",
        ]
        for item in found
    ]
    session.output.table(["OPERATION", "QUEUED", "RUNNING", "OLDEST", "WORKERS", "FREE", "FLAGS"], rows)


@click.command()
@connected
async def workers(client: Client, session: Session) -> None:
    """List the workers that are connected."""
    found = [item async for item in client.workers()]
    if session.output.as_json:
        session.output.document(found)
        return
    rows = [
        [
            item.id,
            item.build,
            item.address,
            session.output.moment(item.since),
            f"{item.in_flight}/{item.max_in_flight}",
            ", ".join(item.operations),
            "draining" if item.draining else "",
        ]
        for item in found
    ]
    session.output.table(["ID", "BUILD", "ADDRESS", "SINCE", "IN FLIGHT", "OPERATIONS", "FLAGS"], rows)


@click.command()
@click.argument("module", metavar="MODULE")
@click.option("--address", "-a", metavar="HOST:PORT", envvar="CALLBOARD_ADDRESS", help=ADDRESS_HELP)
@click.option("--tenant", "-t", metavar="NAME", envvar="CALLBOARD_TENANT", help=TENANT_HELP)
@click.option("--id", "worker_id", default="", help="The worker's id; made from host and process where not given.")
@click.option("--build", default="", help="The build of the handlers, for people.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="How many tasks at a time.")
@click.option("--drain-timeout", type=Length(), default="30s", show_default=True, help="For what is there.")
@click.pass_context
def worker(ctx: click.Context, /, module: str, address: str | None, tenant: str | None, **options: Any) -> None:
    """Run a worker with the operations of MODULE, such as `shop.handlers`, until it is interrupted; then it drains.

    MODULE has an Operations registry: the attribute `operations`, or the only registry in it. It is looked for in the
    current directory as well.
    """
    import logging  # noqa: PLC0415 - only this command logs

    from ..errors import CallboardError  # noqa: PLC0415 - see `_made`

    given: dict[str, Any] = ctx.obj or {}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        registry = find_registry(load(module))
        made = _made(given.get("address") or address, given.get("tenant") or tenant, registry, options)
    except (LoadError, LookupError, CallboardError) as error:
        complain(str(error))
        ctx.exit(2)
    click.echo(f"worker {made.id} offers {', '.join(made.operations)}", err=True)
    asyncio.run(made.run(stop_on=(signal.SIGINT, signal.SIGTERM)))


def _made(address: str | None, tenant: str | None, registry: Any, options: dict[str, Any]) -> Worker:
    """The worker, not connected yet. Raises LookupError where it has nothing to offer, CallboardError for a tenant
    that cannot be one."""
    from ..worker import Worker  # noqa: PLC0415 - grpc is slow to import, and a wrong usage does not need it

    made = Worker(address or "127.0.0.1:7519", tenant=tenant or "default", operations=registry, **options)
    if not made.operations:
        raise LookupError("the Operations registry is empty: there is nothing to offer")
    return made


class LoadError(Exception):
    """A module cannot be imported; the message says why, and where in it."""


def load(module: str) -> ModuleType:
    """A module by its dotted name, the current directory included. Raises LoadError."""
    if module.endswith(".py") or os.sep in module:
        name = os.path.normpath(module.removesuffix(".py")).strip(os.sep).replace(os.sep, ".")
        raise LoadError(f"{module} is a file; name the module, such as {name}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        # Whatever the module does when it is imported; its author needs the place, not the path of ours to it.
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = "" if isinstance(error, ImportError | SyntaxError) else f" ({last.filename}:{last.lineno})"
        raise LoadError(f"{module} cannot be imported: {type(error).__name__}: {error}{at}") from error


def find_registry(module: ModuleType) -> Any:
    """The registry of a module: its `operations`, or the only one in it. Raises LookupError."""
    named = getattr(module, "operations", None)
    if named is not None and _is_registry(named):
        return named
    found = {id(value): value for value in vars(module).values() if _is_registry(value)}
    if len(found) != 1:
        count = len(found) or "no"
        raise LookupError(f"{module.__name__} has {count} Operations registries; name the one to use `operations`")
    return next(iter(found.values()))


def _is_registry(value: Any) -> bool:
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("names", "handler"))
