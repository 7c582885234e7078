"""Commands that look at the past of executions: replay, diff, verify."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ..history_models import Replay, ReplayStep, Snapshot, StateChange, Verification
from .events import event_line
from .executions import show
from .session import REFUSED, Moment, Session, connected, fail
from .state_changes import change_line, changes, hidden_changes

if TYPE_CHECKING:
    from ..client import Client

_IN_EVERY_STEP = frozenset({"/sequence", "/updated_at"})
"""Changed by each event, and told by the event itself."""
_ITS_OWN = frozenset({"/execution_id"})
"""Differs between any two executions."""


@click.command()
@click.argument("execution_id", metavar="EXEC")
@click.option("--until", type=int, metavar="SEQUENCE", help="Up to this event; to the last one where not given.")
@click.option("--at", "at", type=Moment(), metavar="TIME", help="Up to this time; such as 2026-01-31T12:00:00Z.")
@click.option("--no-snapshots", is_flag=True, help="Begin with the first event, whatever snapshots there are.")
@click.option("--debug", is_flag=True, help="Show what each event changed.")
@connected
async def replay(
    client: Client,
    session: Session,
    execution_id: str,
    until: int | None,
    at: datetime | None,
    no_snapshots: bool,
    debug: bool,
) -> None:
    """Rebuild an execution from its events and show it as it was then. Nothing changes.

    \b
    callboard replay o-1 --until 12 --debug
    callboard replay o-1 --at 2026-01-31T12:00:00Z --no-snapshots
    """
    if until is not None and at is not None:
        fail("--until and --at exclude each other")
    moment: dict[str, Any] = {"until_sequence": until, "until_time": at, "use_snapshots": not no_snapshots}
    if session.output.as_json:
        session.output.document(await client.replay(execution_id, debug=debug, **moment))
        return
    if debug:
        await _show_steps(session, client.replay_steps(execution_id, **moment))
    _show_replay(session, await client.replay(execution_id, **moment))


async def _show_steps(session: Session, steps: AsyncIterator[ReplayStep]) -> None:
    async for step in steps:
        session.output.say(event_line(session, step.event))
        told = [change for change in step.changes if change.pointer not in _IN_EVERY_STEP]
        session.output.details(("", change_line(change)) for change in told)
    session.output.say("")


def _snapshot(session: Session, snapshot: Snapshot) -> str:
    made = f", made {session.output.moment(snapshot.created_at)}" if snapshot.created_at else ""
    return f"the snapshot at {snapshot.sequence}{made}"


def _show_replay(session: Session, replayed: Replay) -> None:
    show(session, replayed.execution)
    begun = _snapshot(session, replayed.snapshot) if replayed.snapshot else "zero"
    session.output.facts(
        [
            ("sequence", replayed.execution.sequence),
            ("replayed", f"{_count(replayed.events_replayed, 'event')} from {begun}"),
            ("passed over", ", ".join(f"the snapshot at {one.sequence}" for one in replayed.skipped_snapshots)),
        ]
    )


class _Place(click.ParamType[int | datetime]):
    """The sequence of an event, or a time."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        return int(value) if str(value).isdigit() else Moment().convert(value, param, ctx)


@click.command()
@click.argument("execution_id", metavar="EXEC")
@click.argument("other_id", default="", metavar="[EXEC2]")
@click.option("--from", "first", type=_Place(), metavar="MOMENT", help="The earlier moment of one execution.")
@click.option("--to", "last", type=_Place(), metavar="MOMENT", help="The later one; now where not given.")
@connected
async def diff(
    client: Client,
    session: Session,
    execution_id: str,
    other_id: str,
    first: int | datetime | None,
    last: int | datetime | None,
) -> None:
    """Show what differs between two moments of an execution, or between two executions. A moment is the sequence of an
    event, or a time.

    \b
    callboard diff o-1 --from 3 --to 12
    callboard diff o-1 --from 2026-01-31T12:00:00Z
    callboard diff o-1 o-2
    """
    if other_id and not (first is None and last is None):
        fail("--from and --to are for one execution")
    if not other_id and first is None:
        fail("give another execution, or --from")
    before = await _replayed(client, execution_id, first)
    after = await _replayed(client, other_id or execution_id, last)
    hidden = _ITS_OWN if other_id else frozenset[str]()
    found = [change for change in changes(before.state, after.state) if change.pointer not in hidden]
    if not other_id:  # of two executions nobody can tell whether sensitive values are equal
        found += hidden_changes(before.sensitive, after.sensitive)
    if session.output.as_json:
        session.output.document(found)
    else:
        _show_changes(session, found)


async def _replayed(client: Client, execution_id: str, moment: int | datetime | None) -> Replay:
    if isinstance(moment, datetime):
        replayed = await client.replay(execution_id, until_time=moment)
    else:
        replayed = await client.replay(execution_id, until_sequence=moment)
    if replayed.state is None:
        raise click.ClickException(f"the state of {execution_id} is larger than one answer may be")
    return replayed


def _show_changes(session: Session, found: list[StateChange]) -> None:
    for change in found:
        session.output.say(change_line(change))
    if not found:
        session.output.say("no difference")


@click.command()
@click.argument("execution_id", default="", metavar="[EXEC]")
@click.option("--all", "everything", is_flag=True, help="Every execution of the tenant.")
@connected
async def verify(client: Client, session: Session, execution_id: str, everything: bool) -> int:
    """Check stored histories: hashes, gaps, heads, and that a replay from zero gives what snapshots and memory hold.

    Exit code 1 where something is found. With --all and --json: one document a line, for each execution.
    """
    if everything == bool(execution_id):
        fail("give an execution, or --all")
    if everything:
        return await _verify_all(client, session)
    verification = await client.verify(execution_id)
    if session.output.as_json:
        session.output.document(verification)
    else:
        _show_verification(session, verification)
    return 0 if verification.valid else REFUSED


_UNREADABLE = frozenset({"HISTORY_DAMAGED", "INTERNAL", "INVALID_REQUEST"})
"""Why one execution cannot be checked while others can: the file is damaged where it lies, or where its id stands."""


async def _verify_all(client: Client, session: Session) -> int:
    from ..errors import CallboardError  # noqa: PLC0415 - grpc is slow to import, and help does not need it

    executions = events = damaged = 0
    with _progress(session, await _total(client)) as checked:
        async for execution in client.list(page_size=100):
            try:
                verification = await client.verify(execution.id)
            except CallboardError as error:
                if error.reason == "EXECUTION_NOT_FOUND":  # deleted since it was listed
                    continue
                if error.reason not in _UNREADABLE:
                    raise
                executions, damaged = executions + 1, damaged + 1
                click.echo(f"{execution.id}: cannot be checked: {error}", err=True)
                continue
            executions, events = executions + 1, events + verification.events_checked
            damaged += not verification.valid
            if session.output.as_json:
                session.output.line(verification)
            elif not verification.valid:
                _show_problems(session, verification)
            checked()
    told = f"{_count(executions, 'execution')} with {_count(events, 'event')} checked"
    session.output.say(f"{told}: {f'{damaged} damaged' if damaged else 'all is well'}")
    return REFUSED if damaged else 0


async def _total(client: Client) -> int | None:
    """How many executions there are; None where the server cannot say."""
    from ..errors import CallboardError  # noqa: PLC0415 - as above

    try:
        return await client.count()
    except CallboardError as error:
        if error.reason == "UNSUPPORTED":
            return None
        raise


@contextmanager
def _progress(session: Session, total: int | None) -> Generator[Callable[[], None]]:
    """A bar where a person is looking; the function moves it on by one."""
    if not session.output.at_terminal:
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=total)
        yield lambda: bar.advance(task)


def _show_verification(session: Session, verification: Verification) -> None:
    if not verification.valid:
        _show_problems(session, verification)
        return
    events, snapshots = _count(verification.events_checked, "event"), _count(verification.snapshots_checked, "snapshot")
    session.output.say(f"{verification.execution_id}: all is well, {events} and {snapshots} checked")


def _show_problems(session: Session, verification: Verification) -> None:
    for problem in verification.problems:
        session.output.say(f"{verification.execution_id}: {problem.kind} at {problem.sequence}: {problem.message}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
