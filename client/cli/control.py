"""Commands that steer executions, and the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..execution_models import Execution
from .output import compact
from .session import JsonValue, Session, connected, expected_option, fail

if TYPE_CHECKING:
    from ..client import Client

_EXECUTION = click.argument("execution_id", metavar="EXEC")
_REASON = click.option("--reason", default="", help="Why, for people and the history.")


@click.command()
@_EXECUTION
@_REASON
@connected
async def cancel(client: Client, session: Session, execution_id: str, reason: str) -> None:
    """Cancel an execution: workers are told, what was done is undone, and it ends CANCELLED."""
    _report(session, await client.cancel(execution_id, reason=reason))


@click.command()
@_EXECUTION
@_REASON
@connected
async def terminate(client: Client, session: Session, execution_id: str, reason: str) -> None:
    """End an execution at once; nothing is undone."""
    _report(session, await client.terminate(execution_id, reason=reason))


@click.command()
@_EXECUTION
@click.argument("step", default="", metavar="[STEP]")
@click.option(
    "--action",
    required=True,
    type=click.Choice(["retry-now", "skip", "complete", "fail"], case_sensitive=False),
    help="What becomes of it.",
)
@click.option("--result", type=JsonValue(), metavar="JSON|@FILE|-", help="With complete: its result.")
@click.option("--error-type", default="", help="With fail: the type of the failure; the last one where not given.")
@click.option("--error-message", default="", help="With fail: its message.")
@_REASON
@expected_option
@connected
async def resolve(
    client: Client,
    session: Session,
    execution_id: str,
    step: str,
    action: str,
    result: Any,
    error_type: str,
    error_message: str,
    reason: str,
    expected_sequence: int | None,
) -> None:
    """Decide about a step that cannot go on by itself. Without STEP: the execution's own output or end."""
    if result is not None and action != "complete":
        fail("--result goes with --action complete")
    if (error_type or error_message) and action != "fail":
        fail("--error-type and --error-message go with --action fail")
    if error_message and not error_type:
        fail("--error-message needs --error-type")
    failure = (error_type, error_message) if error_type else None
    execution = await client.resolve(
        execution_id,
        step,
        action.upper().replace("-", "_"),  # type: ignore[arg-type]
        result=result,
        failure=failure,
        reason=reason,
        expected_sequence=expected_sequence,
    )
    _report(session, execution)


def _report(session: Session, execution: Execution) -> None:
    if session.output.as_json:
        session.output.document(execution)
    else:
        session.output.say(f"{execution.id} is {session.output.styled(str(execution.status))} ({execution.state})")


@click.command("dead-letters")
@click.argument("execution_id", default="", metavar="[EXEC]")
@click.option("--kind", default="", help="Only those of this kind, such as `event`.")
@click.option("--requeue", metavar="ID", help="Give this one to its execution again.")
@click.option("--discard", metavar="ID", help="Throw this one away, for good.")
@connected
async def dead_letters(
    client: Client, session: Session, execution_id: str, kind: str, requeue: str | None, discard: str | None
) -> None:
    """List what was accepted and could not be processed, the newest first; or requeue or discard one."""
    if requeue and discard:
        fail("--requeue and --discard exclude each other")
    if requeue or discard:
        letter = await (client.requeue(requeue) if requeue else client.discard(discard or ""))
        if session.output.as_json:
            session.output.document(letter)
        else:
            session.output.say(f"{letter.id} {'requeued' if requeue else 'discarded'}")
        return
    found = [item async for item in client.dead_letters(execution_id=execution_id, kind=kind)]
    if session.output.as_json:
        session.output.document(found)
        return
    columns = ["ID", "EXECUTION", "KIND", "EVENT", "CAUSE", "ATTEMPTS", "SINCE", "PAYLOAD"]
    rows = [
        [
            item.id,
            item.execution_id,
            item.kind,
            item.event_name,
            item.cause or "",
            item.attempts,
            session.output.moment(item.created_at),
            compact(item.payload, 60),
        ]
        for item in found
    ]
    session.output.table(columns, rows)
