"""How each event changes the state: the only code that does.

Rules
- An event is offered to the tables of state.py first; one that does not fit raises `IllegalTransition`.
- Nothing here looks at a plan, a clock or an expression: the event says it all.
- The end of a scope cancels what is open within it; the end of the execution cancels what is open at all.
- `foreach` items that have ended are dropped with all their step runs.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from . import events as ev
from .durations import format_timestamp
from .state import (
    STATUS_TRANSITIONS,
    STEP_TRANSITIONS,
    BlockRun,
    IllegalTransition,
    Incident,
    ItemFailure,
    Kept,
    Run,
    State,
    Status,
    StepState,
    block_of,
    item_number,
)


def evolve(state: State, event: ev.Event, at: int, event_id: str = "") -> None:
    """Apply the next event, which happened `at` (microseconds since the epoch); `event_id` is the caller's."""
    state.sequence += 1
    state.updated_at = at
    if type(event) is ev.EventReceived:
        _received(state, event, at, event_id)
    else:
        _APPLY[type(event)](state, event, at)


def _started(state: State, event: ev.ExecutionStarted, at: int) -> None:
    if state.sequence != 1:
        raise IllegalTransition("an execution is started once, by its first event")
    if not event.behind:
        _to(state, Status.RUNNING)
    state.definition_id = event.definition_id
    state.version = event.version
    state.input = event.input
    state.labels = dict(event.labels)
    state.trace = event.trace
    state.lines = event.lines
    state.behind = event.behind
    state.origin = event.origin
    state.started_at = at


def _erased(state: State, event: ev.ExecutionErased, at: int) -> None:
    if not state.status.ended:
        raise IllegalTransition("the values of an execution are erased after its end")
    state.erased_at = at


def _forked(state: State, event: ev.ExecutionForked, at: int) -> None:
    if state.sequence != 1:
        raise IllegalTransition("an execution is forked by its first event")
    taken = taken_over(event)
    for name in _TAKEN_OVER:
        setattr(state, name, getattr(taken, name))
    state.fork = event.origin


_TAKEN_OVER = [
    name for name in State.__struct_fields__ if name not in ("execution_id", "sequence", "hash", "updated_at")
]


def taken_over(event: ev.ExecutionForked) -> State:
    """The state that an ExecutionForked holds, in fresh containers."""
    try:
        return msgspec.convert(event.state, State, strict=False)
    except msgspec.ValidationError as error:
        raise IllegalTransition(f"the state taken over cannot be read: {error}") from error


def _inherited(state: State, event: ev.StepInherited, at: int) -> None:
    run = state.runs.get(event.path)
    if run is None or not run.state.open or not run.operation:
        raise IllegalTransition(f"step run {event.path} is no open task")
    run.scheduled = state.sequence


def _released(state: State, event: ev.ExecutionReleased, at: int) -> None:
    _to(state, Status.RUNNING)
    state.released_at = at


def _scheduled(state: State, event: ev.StepScheduled, at: int) -> None:
    is_task = bool(event.operation)
    run = Run(
        step=event.step,
        kind=event.kind,
        state=StepState.SCHEDULED if is_task else StepState.WAITING,
        since=at,
        scheduled=state.sequence,
        attempt=1 if is_task else 0,
        operation=event.operation,
        priority=event.priority,
        attempt_timeout=event.attempt_timeout,
        queue_timeout=event.queue_timeout,
        total_timeout=event.total_timeout,
        events=event.events,
        key=event.key,
        max_failures=event.max_failures,
    )
    if event.items is not None:
        run.items, run.results, run.failures = event.items, [None] * len(event.items), []
    _enter(state, event.path, run)
    for name in event.events:
        state.listening.setdefault(name, {})[event.path] = None
    if event.state is not None:
        state.author_state = event.state


def _completed(state: State, event: ev.StepCompleted, at: int) -> None:
    kept = state.kept.pop(event.received) if event.received else None
    run = _end(state, event.path, StepState.SUCCEEDED, at)
    if kept is not None:
        run.result = received_value(kept) if event.result is UNSET else event.result
    else:
        run.result = None if event.result is UNSET else event.result
    if run.handler is None:
        run.error = None
    if event.variables is not None:
        state.variables.update(event.variables)
    if event.closes:
        _close(state, block_of(event.path), run.result if event.collected is UNSET else event.collected)


def _skipped(state: State, event: ev.StepSkipped, at: int) -> None:
    if event.path in state.runs:
        _end(state, event.path, StepState.SKIPPED, at)
    else:
        _enter(state, event.path, Run(step=event.step, kind=event.kind, state=StepState.SKIPPED, since=at))
    if event.closes:
        _close(state, block_of(event.path), None if event.collected is UNSET else event.collected)


def _retry_scheduled(state: State, event: ev.StepRetryScheduled, at: int) -> None:
    run = _move(state, event.path, StepState.RETRYING, at)
    run.error, run.due, run.losses = event.failure, event.due, 0
    run.timers.pop("queue", None)
    run.timers["retry"] = event.due


def _delivery_lost(state: State, event: ev.StepDeliveryLost, at: int) -> None:
    _move(state, event.path, StepState.SCHEDULED, at).losses += 1


def _failed(state: State, event: ev.StepFailed, at: int) -> None:
    if event.handler is not None:
        run = _move(state, event.path, StepState.WAITING, at)
        _leave(state, event.path, run)
        _cancel_within(state, event.path, at)
        run.handler = event.handler
        run.error = event.failure
        return
    run = _end(state, event.path, StepState.FAILED, at)
    run.error = event.failure
    if event.closes:
        _close(state, block_of(event.path), UNSET)


def _parked(state: State, event: ev.StepParked, at: int) -> None:
    run = _move(state, event.path, StepState.PARKED, at)
    _leave(state, event.path, run)
    _cancel_within(state, event.path, at)
    run.error = event.failure
    state.incidents[event.path] = Incident(at, event.failure)


def _cancelled(state: State, event: ev.StepCancelled, at: int) -> None:
    _end(state, event.path, StepState.CANCELLED, at)


def _scope_closing(state: State, event: ev.ScopeClosing, at: int) -> None:
    _await(state, event.path, event.awaiting, at)
    run = state.runs[event.path]
    run.closing = event.failure
    run.timers["grace"] = event.due


def _resolved(state: State, event: ev.StepResolved, at: int) -> None:
    state.incidents.pop(event.path, None)
    if not event.path or state.runs[event.path].state is not StepState.PARKED:
        return  # of a step that waits for its next attempt, the timer that fires early says the rest
    if event.action == "RETRY_NOW":
        run = _move(state, event.path, StepState.SCHEDULED, at)
        run.spent, run.attempt, run.losses = run.attempt, run.attempt + 1, 0
        run.handler = None
        for block in run.blocks:
            _drop(state, block)
        run.blocks.clear()


def _branch_chosen(state: State, event: ev.BranchChosen, at: int) -> None:
    state.runs[event.path].case = event.case


def _timer_set(state: State, event: ev.TimerSet, at: int) -> None:
    state.runs[event.path].timers[event.timer] = event.due


def _timer_fired(state: State, event: ev.TimerFired, at: int) -> None:
    timers = state.runs[event.path].timers if event.path else state.timers
    timers.pop(event.timer, None)
    if event.timer == "retry":
        run = _move(state, event.path, StepState.SCHEDULED, at)
        run.attempt, run.due = run.attempt + 1, 0


def _received(state: State, event: ev.EventReceived, at: int, event_id: str) -> None:
    known = event.published_id or event_id
    state.kept[state.sequence] = Kept(event.name, event.payload, at, known, event.enqueued)
    if event.offered_to:
        state.runs[event.offered_to].offered = state.sequence


def _told(state: State, event: ev.Event, at: int) -> None:
    """What is history only."""


def _execution_parked(state: State, event: ev.ExecutionParked, at: int) -> None:
    state.incidents[""] = Incident(at, event.failure)


def _execution_cancelling(state: State, event: ev.ExecutionCancelling, at: int) -> None:
    _to(state, Status.REVERTING)
    state.cancelling, state.reason = True, event.reason
    state.timers["grace"] = event.due
    _await(state, "", event.awaiting, at)


def _execution_completed(state: State, event: ev.ExecutionCompleted, at: int) -> None:
    _finish(state, Status.COMPLETED, at)
    state.output = event.output


def _execution_failed(state: State, event: ev.ExecutionFailed, at: int) -> None:
    _finish(state, Status.FAILED, at)
    state.failure = event.failure


def _execution_cancelled(state: State, event: ev.ExecutionCancelled, at: int) -> None:
    _finish(state, Status.CANCELLED, at)
    state.reason = event.reason


def _execution_terminated(state: State, event: ev.ExecutionTerminated, at: int) -> None:
    _finish(state, Status.TERMINATED, at)
    state.reason = event.reason


_APPLY: dict[type[ev.Event], Callable[[State, Any, int], None]] = {
    ev.ExecutionStarted: _started,
    ev.StepScheduled: _scheduled,
    ev.StepCompleted: _completed,
    ev.StepSkipped: _skipped,
    ev.StepRetryScheduled: _retry_scheduled,
    ev.StepDeliveryLost: _delivery_lost,
    ev.StepFailed: _failed,
    ev.StepParked: _parked,
    ev.StepCancelled: _cancelled,
    ev.ScopeClosing: _scope_closing,
    ev.StepResolved: _resolved,
    ev.BranchChosen: _branch_chosen,
    ev.TimerSet: _timer_set,
    ev.TimerFired: _timer_fired,
    ev.WarningRaised: _told,
    ev.ExecutionParked: _execution_parked,
    ev.ExecutionCancelling: _execution_cancelling,
    ev.ExecutionCompleted: _execution_completed,
    ev.ExecutionFailed: _execution_failed,
    ev.ExecutionCancelled: _execution_cancelled,
    ev.ExecutionTerminated: _execution_terminated,
    ev.ExecutionReleased: _released,
    ev.ExecutionErased: _erased,
    ev.EventEmitted: _told,
    ev.EventMissed: _told,
    ev.ExecutionForked: _forked,
    ev.StepInherited: _inherited,
}


def received_value(kept: Kept) -> dict[str, Any]:
    """The result of a `receive` that took this event."""
    return {
        "event": kept.name,
        "payload": kept.payload,
        "event_id": kept.event_id,
        "received_at": format_timestamp(kept.received_at),
    }


def _to(state: State, status: Status) -> None:
    if status not in STATUS_TRANSITIONS[state.status]:
        raise IllegalTransition(f"an execution that is {state.status} cannot become {status}")
    state.status = status


def _finish(state: State, status: Status, at: int) -> None:
    _to(state, status)
    state.ended_at = at
    state.awaiting.clear()
    state.timers.clear()
    state.incidents.clear()
    state.cancelling = False
    for path, run in list(state.open_runs()):
        _leave(state, path, run)
        run.state, run.since = StepState.CANCELLED, at


def _enter(state: State, path: str, run: Run) -> None:
    """A new step run takes its place in its block; the first of a block opens it under its owner."""
    if path in state.runs:
        raise IllegalTransition(f"step run {path} exists already")
    block = block_of(path)
    if (kept := state.blocks.get(block)) is not None:
        kept.cursor = path
        kept.members.append(path)
    else:
        state.blocks[block] = BlockRun(path, [path])
        if (owner := owner_of(state, block)) is not None:
            state.runs[owner].blocks[block] = None
            state.runs[owner].started += 1
    state.runs[path] = run


def owner_of(state: State, block: str) -> str | None:
    """The path of the step that a block belongs to; None for the root."""
    if not block:
        return None
    if block.endswith("]"):
        return block[: block.rindex("[")]
    return block if block in state.runs else block_of(block)


def _move(state: State, path: str, to: StepState, at: int) -> Run:
    run = state.runs.get(path)
    if run is None or to not in STEP_TRANSITIONS[run.state]:
        raise IllegalTransition(f"step run {path} ({run.state if run else 'absent'}) cannot become {to}")
    run.state, run.since = to, at
    return run


def _end(state: State, path: str, to: StepState, at: int) -> Run:
    run = _move(state, path, to, at)
    run.operation = ""  # of no use any more, and snapshots hold every step run
    _leave(state, path, run)
    if run.blocks:
        _cancel_within(state, path, at)
    return run


def _leave(state: State, path: str, run: Run) -> None:
    """The step run no longer waits for anything."""
    if run.timers:
        run.timers.clear()
    run.due = 0
    if run.events:
        _stop_listening(state, path, run)
    if state.awaiting and (scope := state.awaiting.pop(path, "")):
        state.runs[scope].awaits -= 1
    if state.incidents:
        state.incidents.pop(path, None)
    run.closing = None


def _stop_listening(state: State, path: str, run: Run) -> None:
    """A `receive` is over; the published event that it was about to take is for nobody else."""
    for name in run.events:
        if (waiting := state.listening.get(name)) is not None:
            waiting.pop(path, None)
            if not waiting:
                del state.listening[name]
    if run.offered:
        state.kept.pop(run.offered, None)
    run.key, run.offered = "", 0


def _cancel_within(state: State, scope: str, at: int, spared: Container[str] = ()) -> None:
    """Cancel what is open in a scope, but for these step runs."""
    for path, run in list(state.open_runs(scope)):
        if path not in spared:
            _leave(state, path, run)
            run.state, run.since = StepState.CANCELLED, at


def _await(state: State, scope: str, awaiting: tuple[str, ...], at: int) -> None:
    """A scope (empty: the execution) waits for these only; scopes within that waited themselves do so no more."""
    spared = dict.fromkeys(awaiting)
    for path in awaiting:
        around = owner_of(state, block_of(path))
        while around is not None and around != scope and around not in spared:
            spared[around] = None
            around = owner_of(state, block_of(around))
    _cancel_within(state, scope, at, spared)
    for path in spared:
        _leave(state, path, state.runs[path])
    for path in awaiting:
        state.awaiting[path] = scope
    if scope:
        state.runs[scope].awaits = len(awaiting)


def _close(state: State, block: str, value: Any | UnsetType) -> None:
    """The last step of a block has ended: count it for its owner; `value` UNSET: it failed."""
    owner_path = owner_of(state, block)
    if owner_path is None:
        return
    owner = state.runs[owner_path]
    owner.done += 1
    number = item_number(block)
    if number is None or owner.results is None or owner.items is None or owner.failures is None:
        return
    if value is not UNSET:
        owner.results[number] = value
    else:
        error = state.runs[state.blocks[block].cursor].error
        assert error is not None
        owner.failures.append(ItemFailure(number, owner.items[number], error))
    _drop(state, block)
    owner.blocks.pop(block, None)


def _drop(state: State, block: str) -> None:
    for path in state.blocks.pop(block).members:
        for inner in state.runs.pop(path).blocks:
            _drop(state, inner)
