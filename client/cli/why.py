"""`callboard why`: what an execution is waiting for, in sentences, put together from its open steps, its incidents and
the queues of the operations it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..execution_models import Execution, Incident, IncidentKind, OpenStep, Status, WaitingOn
from ..server_models import Queue
from .output import ago, length, rfc3339
from .session import Session, connected

if TYPE_CHECKING:
    from ..client import Client

_DECISIONS = {
    IncidentKind.STEP_PARKED: "It failed for good and is parked",
    IncidentKind.REVERT_FAILED: "Its compensation failed for good",
    IncidentKind.EXECUTION_PARKED: "The execution would have failed and is parked",
    IncidentKind.OUTPUT_FAILED: "The definition's output could not be evaluated",
    IncidentKind.POISONED: "A command makes the execution raise again and again",
    IncidentKind.HISTORY_DAMAGED: "The stored history does not hold together",
}


@click.command()
@click.argument("execution_id", metavar="EXEC")
@connected
async def why(client: Client, session: Session, execution_id: str) -> None:
    """Say in sentences what an execution is waiting for, and what would let it go on."""
    execution = await client.get(execution_id)
    queues: dict[str, Queue] = {}
    if any(step.waiting_on is WaitingOn.QUEUE for step in execution.open_steps):
        queues = {queue.operation: queue async for queue in client.queues()}
    reasons = explain(execution, queues)
    if session.output.as_json:
        session.output.document(
            {
                "id": execution.id,
                "status": execution.status,
                "state": execution.state,
                "reasons": reasons,
                "waits_for_execution_id": execution.waits_for_execution_id,
                "open_steps": execution.open_steps,
                "incidents": execution.incidents,
                "queues": [queues[step.operation] for step in execution.open_steps if step.operation in queues],
            }
        )
        return
    for reason in reasons:
        session.output.say(reason)


def explain(execution: Execution, queues: dict[str, Queue]) -> list[str]:
    """The sentences, the most important first."""
    first = f"{execution.id} is {execution.status}"
    if execution.ended:
        because = f": {execution.error}" if execution.error else ""
        return [f"{first}{because}. It has ended and waits for nothing."]
    said = [f"{first}{f' ({execution.state})' if execution.state != execution.status.lower() else ''}."]
    if execution.waits_for_execution_id:
        before = execution.waits_for_execution_id
        said.append(f"It begins when execution {before} has ended{_line(execution)}: callboard why {before}")
    if execution.paused:
        said.append("It is paused: nothing goes on until someone resumes it.")
    said.extend(_incident(execution, incident) for incident in execution.incidents)
    parked = {incident.step_path for incident in execution.incidents}
    waiting = [step for step in execution.open_steps if step.waiting_on is not WaitingOn.STEPS]
    said.extend(_step(step, queues) for step in waiting if step.path not in parked)
    if len(execution.open_steps) < execution.open_step_count:
        said.append(f"And {execution.open_step_count - len(execution.open_steps)} more steps are open.")
    if execution.status is Status.PENDING and len(said) == 1:
        said.append("It has been accepted and begins at any moment.")
    if len(said) == 1:
        said.append("Nothing is open: it goes on by itself at any moment.")
    return said


def _line(execution: Execution) -> str:
    """Why one of two executions has to wait for the other."""
    if execution.trigger and execution.trigger.slot:
        return f", for runs of trigger {execution.trigger.trigger_id} do not overlap"
    return f", for both have the unique key {execution.unique_key!r}" if execution.unique_key else ""


def _incident(execution: Execution, incident: Incident) -> str:
    subject = f"Step {incident.step_path}: " if incident.step_path else ""
    what = _DECISIONS.get(incident.kind, "It waits for a decision")
    because = f" ({incident.failure})" if incident.failure else ""
    if incident.kind is IncidentKind.POISONED:
        remedy = f"callboard dead-letters {execution.id}"
    else:
        remedy = f"callboard resolve {execution.id} {incident.step_path}".rstrip() + " --action ..."
    return f"{subject}{what}{because}. Someone has to decide: {remedy}"


def _step(step: OpenStep, queues: dict[str, Queue]) -> str:
    since = f" since {ago(step.since).removesuffix(' ago')}" if step.since else ""
    until = f" ({ago(step.next_attempt_at)}, at {rfc3339(step.next_attempt_at)})" if step.next_attempt_at else ""
    last = f" The last failure was {step.last_failure}." if step.last_failure else ""
    of = f" of {step.max_attempts}" if step.max_attempts else ""
    waits = {
        WaitingOn.QUEUE: f"its task {step.operation} is queued{since}. {_queue(step, queues)}",
        WaitingOn.WORKER: f"worker {step.worker_id} has been at {step.operation}{since}, attempt {step.attempt}{of}.",
        WaitingOn.TIMER: f"waits for its time{until}.",
        WaitingOn.EVENT: f"waits for the event {step.event!r}{since}{until and ', with a time-out' + until}.",
        WaitingOn.RETRY: f"attempt {step.attempt}{of} failed and the next one comes{until or ' soon'}.",
        WaitingOn.POLL: f"polls {step.operation}; the next round comes{until or ' soon'}.",
        WaitingOn.SUBFLOW: f"waits for its child execution {step.child_execution_id}{since}.",
        WaitingOn.RESOLUTION: f"is parked{since} and waits for someone's decision (callboard resolve).",
        WaitingOn.RESUME: "waits for someone to resume the execution.",
        WaitingOn.CACHE: f"waits for the same call of {step.operation} that is under way for another step.",
    }
    said = waits.get(step.waiting_on) if step.waiting_on else None
    return f"Step {step.path}: {said or f'is {step.state}{since}.'}{last}"


def _queue(step: OpenStep, queues: dict[str, Queue]) -> str:
    queue = queues.get(step.operation)
    if queue is not None and queue.paused:
        return "The operation is paused."
    if queue is None or not queue.workers:
        return "No worker offers this operation: start one that does."
    if not queue.free_slots:
        oldest = f", the oldest for {length(queue.oldest_age.total_seconds())}" if queue.oldest_age else ""
        return f"All {queue.workers} workers are busy ({queue.running} running, {queue.queued} queued{oldest})."
    return f"{queue.workers} workers offer it and have room: it should go to one at any moment."
