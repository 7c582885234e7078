"""What each command comes to: `decide(state, plan, command, facts)` is the whole engine, without a loop or a clock.

A decision is either accepted, with the events that follow and the effects they ask for, or refused, with nothing.
The state given in is the one the events were applied to afterwards: `decide` owns it for the time of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, Union

import msgspec

from . import commands as cmd
from . import events as ev
from .durations import format_timestamp
from .effects import ClearTimer, Effect
from .endings import (
    answered,
    complete,
    complete_execution,
    conclude,
    decide_to_fail,
    delivered_within,
    end_scope,
    fail,
    skip,
)
from .expressions import ExpressionError
from .failures import SCHEMA_MISMATCH, TIMEOUT, WORKER_LOST, Failure
from .intake import admit_event, admit_result
from .plan import Plan, RetryPolicy, Step
from .refusals import Kind, Refusal
from .state import Kept, Run, State, Status, StepState
from .steps import begin, hears, limit_queueing, limit_total, settle, take, unsettled
from .turn import Limits, Turn, as_text, expression_failure


class Accepted(msgspec.Struct, frozen=True):
    """Events to append (already applied to the state), and what they ask for outside."""

    events: list[ev.Event]
    event_ids: Mapping[int, str]
    """Callers' event ids, by place in `events`."""
    effects: list[Effect]
    states: Mapping[int, str]
    """The execution's `state` where an event changed it, by place in `events`."""
    left: dict[str, None]
    """What a decision that was cut has still to look at: for `Proceed`."""


Decision: TypeAlias = Union[Accepted, Refusal]  # noqa: UP007


def decide(state: State, plan: Plan, command: cmd.Command, facts: cmd.Facts, limits: Limits) -> Decision:
    """Decide one command. A refusal leaves the state as it was; an exception leaves it unusable."""
    if not state.sequence and type(command) is not cmd.Start:
        return Refusal(Kind.NOT_FOUND, "EXECUTION_NOT_FOUND", f"execution {state.execution_id} has not been started")
    turn = Turn(state, plan, facts, limits)
    refusal = _DECIDE[type(command)](turn, command)
    if refusal is not None:
        return refusal
    settle(turn)
    return Accepted(turn.events, turn.ids, turn.effects, turn.states, turn.agenda)


def _start(turn: Turn, command: cmd.Start) -> Refusal | None:
    state = turn.state
    if state.sequence:
        return Refusal(
            Kind.EXISTS,
            "EXECUTION_ALREADY_EXISTS",
            f"execution {state.execution_id} has been started already",
            resource_type="execution",
            resource=state.execution_id,
        )
    seal = turn.plan.seal_input
    if seal is not None:
        command = msgspec.structs.replace(command, input=seal(command.input, turn.vault))
    try:
        labels = {**_made_labels(turn, command), **command.labels} if turn.plan.labels else dict(command.labels)
    except ExpressionError as error:
        return Refusal(Kind.INVALID, "INVALID_REQUEST", f"a label cannot be made: {error}")
    turn.emit(
        ev.ExecutionStarted(
            definition_id=command.definition_id,
            version=command.version,
            input=command.input,
            labels=labels,
            trace=command.trace,
            lines=command.lines,
            behind=command.behind,
            origin=command.origin,
        )
    )
    if not command.behind:
        begin(turn, turn.plan.root.steps[0], "")
    return None


def _made_labels(turn: Turn, command: cmd.Start) -> dict[str, str]:
    """The definition's labels that the caller has not given; they are made before there is any state."""
    typed, started = turn.plan.typed_input, format_timestamp(turn.facts.now)
    execution = {"id": turn.state.execution_id, "started_at": started}
    look = turn.lookup(
        (),
        {
            "input": command.input if typed is None else typed(command.input),
            "execution": {**execution, "definition": command.definition_id, "version": command.version},
        },
    )
    return {
        name: as_text(template.evaluate(look), name)
        for name, template in turn.plan.labels.items()
        if name not in command.labels
    }


def _release(turn: Turn, command: cmd.Release) -> Refusal | None:
    state = turn.state
    if state.status.ended:
        return _ended(state)
    if state.status is Status.PENDING:
        turn.emit(ev.ExecutionReleased())
        begin(turn, turn.plan.root.steps[0], "")
    return None


def _join(turn: Turn, command: cmd.Join) -> Refusal | None:
    return _ended(turn.state) if turn.state.status.ended else None


def _submit(turn: Turn, command: cmd.Submit) -> Refusal | None:
    state = turn.state
    if state.status.ended:
        return _ended(state)
    payload, misfits = admit_event(turn, command.name, command.payload)
    if misfits:
        message = f"the payload does not fit the schema of {command.name}: {misfits[0].located}"
        return Refusal(Kind.INVALID, "SCHEMA_MISMATCH", message, violations=misfits)
    command = msgspec.structs.replace(command, payload=payload)
    warnings: list[ev.WarningRaised] = []
    waiting = _taker(turn, command, warnings)
    limit = turn.limits.kept_events_max
    if waiting is None and len(state.kept) >= limit:
        return Refusal(
            Kind.BUSY,
            "KEPT_EVENTS_FULL",
            f"{limit} events of this execution wait for a receive already (kept_events_max)",
            {"limit": str(limit)},
            retry_after_us=1_000_000,
        )
    turn.emit(ev.EventReceived(name=command.name, payload=command.payload, enqueued=command.enqueued), command.event_id)
    received = state.sequence
    for warning in warnings:
        turn.emit(warning)
    if waiting is not None:
        take(turn, waiting, received)
    return None


def _taker(turn: Turn, command: cmd.Submit, warnings: list[ev.WarningRaised]) -> str | None:
    """The `receive` that has waited longest for such an event."""
    state = turn.state
    kept = Kept(command.name, command.payload, turn.facts.now, command.event_id)
    if state.cancelling:
        return None
    for path in state.listening.get(command.name, ()):
        if hears(turn, turn.plan.steps[state.runs[path].step], path, kept, warnings):
            return path
    return None


def _offer(turn: Turn, command: cmd.Offer) -> Refusal | None:
    state, path = turn.state, command.path
    if state.status.ended:
        return _ended(state)
    if path not in state.listening.get(command.name, ()) or not state.runs[path].key:
        turn.emit(ev.EventMissed(path=path, name=command.name, published_id=command.published_id))
        return None
    warnings: list[ev.WarningRaised] = []
    payload, misfits = admit_event(turn, command.name, command.payload)
    offered = Kept(command.name, payload, turn.facts.now, command.published_id)
    heard = not misfits and hears(turn, _step(turn, path), path, offered, warnings)
    if misfits:
        message = f"{command.name} does not fit its schema: {misfits[0].located}"
        warnings.append(ev.WarningRaised(path=path, message=message))
    if heard:
        turn.emit(
            ev.EventReceived(name=command.name, payload=payload, published_id=command.published_id, offered_to=path)
        )
    received = state.sequence
    for warning in warnings:
        turn.emit(warning)
    if heard:
        take(turn, path, received)
    return None


def _ended(state: State) -> Refusal:
    return Refusal(
        Kind.STATE,
        "EXECUTION_ENDED",
        f"execution {state.execution_id} has ended: {state.status}",
        {"status": state.status.value},
        resource_type="execution",
        resource=state.execution_id,
    )


# What comes from workers


def _complete_task(turn: Turn, command: cmd.CompleteTask) -> Refusal | None:
    if (refusal := _stale(turn.state, command.path, command.attempt)) is not None:
        return refusal
    output, misfits = admit_result(turn, command.path, command.output)
    if misfits:
        message = f"the result does not fit result_schema: {misfits[0].located}"
        return _fail_task(turn, cmd.FailTask(command.path, command.attempt, Failure(SCHEMA_MISMATCH, message)))
    if command.path in turn.state.awaiting:
        answered(turn, command.path, ev.StepCompleted(path=command.path, result=output))
    else:
        complete(turn, command.path, output)
    return None


def _fail_task(turn: Turn, command: cmd.FailTask) -> Refusal | None:
    if (refusal := _stale(turn.state, command.path, command.attempt)) is not None:
        return refusal
    path, failure = command.path, command.failure
    if path in turn.state.awaiting:
        answered(turn, path, ev.StepFailed(path=path, failure=failure))
        return None
    run = turn.state.runs[path]
    policy = turn.plan.steps[run.step].retry
    if may_retry(policy, run, failure):
        delay = failure.retry_after if failure.retry_after is not None else backoff(policy, run, turn.facts.chance)
        turn.emit(ev.StepRetryScheduled(path=path, attempt=run.attempt, failure=failure, due=turn.due_in(delay)))
    else:
        fail(turn, path, failure)
    return None


def may_retry(policy: RetryPolicy, run: Run, failure: Failure) -> bool:
    """Whether another attempt follows this failure."""
    if not failure.retryable or failure.type in policy.non_retryable:
        return False
    if policy.retry_on and failure.type not in policy.retry_on:
        return False
    return policy.max_attempts == 0 or run.attempt - run.spent < policy.max_attempts


def backoff(policy: RetryPolicy, run: Run, chance: float) -> int:
    """Microseconds until the next attempt: exponential, capped, with jitter around it."""
    exponent = min(run.attempt - run.spent - 1, 64)
    delay = policy.initial_backoff * policy.backoff_factor**exponent
    if policy.max_backoff is not None:
        delay = min(delay, policy.max_backoff)
    return max(0, int(min(delay, 2**62) * (1 + policy.jitter * (2 * chance - 1))))


def _stale(state: State, path: str, attempt: int) -> Refusal | None:
    """A refusal where this attempt is no longer wanted."""
    run = state.runs.get(path)
    if not state.status.ended and run is not None and run.state is StepState.SCHEDULED and run.attempt == attempt:
        return None
    return Refusal(Kind.RACE, "STALE_TOKEN", f"attempt {attempt} of {path} is no longer wanted")


def _lose_delivery(turn: Turn, command: cmd.LoseDelivery) -> Refusal | None:
    if (refusal := _stale(turn.state, command.path, command.attempt)) is not None:
        return refusal
    path = command.path
    if path in turn.state.awaiting:
        answered(turn, path, ev.StepCancelled(path=path))
        return None
    turn.emit(ev.StepDeliveryLost(path=path, attempt=command.attempt, worker_id=command.worker_id))
    limit = turn.limits.max_deliveries
    if turn.state.runs[path].losses >= limit:
        fail(turn, path, Failure(WORKER_LOST, f"{limit} deliveries in a row were lost", retryable=False))
    else:
        limit_queueing(turn, path)
    return None


# Timers


def _fire_timer(turn: Turn, command: cmd.FireTimer) -> Refusal | None:
    path, timer = command.path, command.timer
    run = turn.state.runs.get(path)
    timers = turn.state.timers if not path else (run.timers if run is not None else {})
    # A row without its timer is a leftover; one with another time has been replaced by a newer row, which stays.
    if timer not in timers:
        turn.effects.append(ClearTimer(path, timer))
    elif timers[timer] == command.due:
        turn.emit(ev.TimerFired(path=path, timer=timer))
        _ON_TIMER[timer](turn, path)
    return None


def _on_retry(turn: Turn, path: str) -> None:
    limit_queueing(turn, path)


def _on_wait(turn: Turn, path: str) -> None:
    complete(turn, path, None)


def _on_receive(turn: Turn, path: str) -> None:
    step = _step(turn, path)
    if getattr(step.body, "continue_on_timeout", False):
        complete(turn, path, None)
    else:
        fail(turn, path, Failure(TIMEOUT, "no event came in time", retryable=False))


def _on_queue(turn: Turn, path: str) -> None:
    if path in turn.facts.delivered:
        return
    fail(turn, path, Failure(TIMEOUT, "no worker took the task in time (timeouts.queue)", retryable=False))


def _on_total(turn: Turn, path: str) -> None:
    fail(turn, path, Failure(TIMEOUT, "the step took too long (timeouts.total)", retryable=False))


_ON_TIMER: dict[str, Callable[[Turn, str], None]] = {
    "retry": _on_retry,
    "wait": _on_wait,
    "receive": _on_receive,
    "queue": _on_queue,
    "total": _on_total,
    "grace": end_scope,
}


def _step(turn: Turn, path: str) -> Step:
    return turn.plan.steps[turn.state.runs[path].step]


# What comes from operators


def _cancel(turn: Turn, command: cmd.Cancel) -> Refusal | None:
    state = turn.state
    if state.status.ended:
        return _ended(state)
    if state.cancelling:
        return None
    awaiting, due = delivered_within(turn)
    if awaiting:
        turn.emit(ev.ExecutionCancelling(reason=command.reason, awaiting=awaiting, due=due))
    else:
        turn.emit(ev.ExecutionCancelled(reason=command.reason))
    return None


def _terminate(turn: Turn, command: cmd.Terminate) -> Refusal | None:
    if turn.state.status.ended:
        return _ended(turn.state)
    turn.emit(ev.ExecutionTerminated(reason=command.reason))
    return None


def _resolve(turn: Turn, command: cmd.Resolve) -> Refusal | None:
    state = turn.state
    if state.status.ended:
        return _ended(state)
    if command.path and command.path not in state.runs:
        return Refusal(Kind.NOT_FOUND, "STEP_NOT_FOUND", f"there is no step run {command.path}")
    if command.action is cmd.ResolveAction.RETRY_NOW and _retrying(state, command.path):
        turn.emit(ev.StepResolved(path=command.path, action=command.action.value, reason=command.reason))
        turn.emit(ev.TimerFired(path=command.path, timer="retry"))
        limit_queueing(turn, command.path)
        return None
    if command.path not in state.incidents:
        where = command.path or "the execution's end"
        return Refusal(Kind.STATE, "STEP_STATE_FORBIDS", f"{where} is not parked; nothing there waits for a decision")
    retry = command.action is cmd.ResolveAction.RETRY_NOW
    if retry and command.path and not state.runs[command.path].operation:
        return Refusal(
            Kind.STATE,
            "STEP_STATE_FORBIDS",
            f"{command.path} is no task with a resolved input; use SKIP, COMPLETE or FAIL",
        )
    if command.path and command.action is cmd.ResolveAction.COMPLETE:
        result, misfits = admit_result(turn, command.path, command.result)
        if misfits:
            message = f"the result does not fit result_schema: {misfits[0].located}"
            return Refusal(Kind.INVALID, "SCHEMA_MISMATCH", message, violations=misfits)
        command = msgspec.structs.replace(command, result=result)
    failure = state.incidents[command.path].failure
    if command.failure is not None:
        failure = command.failure.because(failure)
    turn.emit(ev.StepResolved(path=command.path, action=command.action.value, reason=command.reason))
    if command.path:
        _resolve_step(turn, command, failure)
    else:
        _resolve_end(turn, command, failure)
    return None


def _retrying(state: State, path: str) -> bool:
    """Whether the step waits for its next attempt: an operator may have it at once, on the same budget."""
    return bool(path) and state.runs[path].state is StepState.RETRYING


def _resolve_step(turn: Turn, command: cmd.Resolve, failure: Failure) -> None:
    path = command.path
    match command.action:
        case cmd.ResolveAction.RETRY_NOW:
            limit_queueing(turn, path)
            limit_total(turn, path)
        case cmd.ResolveAction.SKIP:
            try:
                skip(turn, _step(turn, path), path)
            except ExpressionError as error:
                fail(turn, path, expression_failure(error))
        case cmd.ResolveAction.COMPLETE:
            conclude(turn, path, command.result)
        case cmd.ResolveAction.FAIL:
            decide_to_fail(turn, path, failure)


def _resolve_end(turn: Turn, command: cmd.Resolve, failure: Failure) -> None:
    match command.action:
        case cmd.ResolveAction.RETRY_NOW:
            complete_execution(turn)
        case cmd.ResolveAction.SKIP:
            turn.emit(ev.ExecutionCompleted())
        case cmd.ResolveAction.COMPLETE:
            turn.emit(ev.ExecutionCompleted(output=command.result))
        case cmd.ResolveAction.FAIL:
            turn.emit(ev.ExecutionFailed(failure=failure))


def _erase(turn: Turn, command: cmd.Erase) -> Refusal | None:
    state = turn.state
    if not state.status.ended:
        return not_erasable(state.execution_id, state.status.value)
    if not state.erased_at:
        turn.emit(ev.ExecutionErased(reason=command.reason))
    return None


def not_erasable(execution_id: str, status: str) -> Refusal:
    """Why the values of an execution that has not ended are not erased."""
    return Refusal(
        Kind.STATE,
        "EXECUTION_NOT_ENDED",
        f"execution {execution_id} has not ended, and its steps may need what would be erased",
        {"status": status},
        resource_type="execution",
        resource=execution_id,
    )


def _proceed(turn: Turn, command: cmd.Proceed) -> Refusal | None:
    if turn.state.status is not Status.RUNNING:
        return None
    if command.left is None:
        unsettled(turn)
    else:
        turn.agenda = dict(command.left)
    return None


_DECIDE: dict[type[cmd.Command], Callable[[Turn, Any], Refusal | None]] = {
    cmd.Start: _start,
    cmd.Release: _release,
    cmd.Join: _join,
    cmd.Submit: _submit,
    cmd.Offer: _offer,
    cmd.CompleteTask: _complete_task,
    cmd.FailTask: _fail_task,
    cmd.LoseDelivery: _lose_delivery,
    cmd.FireTimer: _fire_timer,
    cmd.Cancel: _cancel,
    cmd.Terminate: _terminate,
    cmd.Resolve: _resolve,
    cmd.Erase: _erase,
    cmd.Proceed: _proceed,
}
