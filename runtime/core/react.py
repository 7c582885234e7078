"""What each event asks to be done outside, as effects: read from the event and the state *before* it.

The rows that follow from a history are a function of the history, so that they can be rebuilt from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from . import effects as fx
from . import events as ev
from .evolve import taken_over
from .state import Run, State, StepState


def react(state: State, event: ev.Event) -> Iterable[fx.Effect]:
    """The effects of the next event, given the state before it."""
    handler = _REACT.get(type(event))
    return handler(state, event) if handler is not None else ()


def _scheduled(state: State, event: ev.StepScheduled) -> Iterable[fx.Effect]:
    if not event.operation:
        return (fx.OpenWait(event.path, event.events, event.key),) if event.key else ()
    task = fx.OpenTask(
        event.path,
        event.operation,
        attempt=1,
        scheduled=state.sequence + 1,
        priority=event.priority,
        attempt_timeout=event.attempt_timeout,
        input=event.input,
        trace=event.trace,
    )
    return (task,)


def _open_again(path: str, run: Run, attempt: int) -> fx.OpenTask:
    return fx.OpenTask(path, run.operation, attempt, run.scheduled, run.priority, run.attempt_timeout)


def _step_over(state: State, event: ev.StepCompleted | ev.StepFailed | ev.StepParked) -> Iterable[fx.Effect]:
    """The step and all that is open within it leave the queues."""
    run = state.runs[event.path]
    effects = _leave(event.path, run)
    if run.blocks:
        for path, inner in state.open_runs(event.path):
            effects += _leave(path, inner)
    return effects


def _skipped(state: State, event: ev.StepSkipped) -> Iterable[fx.Effect]:
    run = state.runs.get(event.path)
    return _leave(event.path, run) if run is not None else ()


def _leave(path: str, run: Run) -> list[fx.Effect]:
    effects: list[fx.Effect] = []
    if run.operation and (run.state is StepState.SCHEDULED or run.state is StepState.RETRYING):
        effects.append(fx.CloseTask(path))
    if run.timers:
        effects.append(fx.ClearTimer(path))
    if run.key:
        effects.append(fx.CloseWait(path))
    return effects


def _retry_scheduled(state: State, event: ev.StepRetryScheduled) -> Iterator[fx.Effect]:
    yield fx.CloseTask(event.path)
    if "queue" in state.runs[event.path].timers:
        yield fx.ClearTimer(event.path, "queue")
    yield fx.SetTimer(event.path, "retry", event.due)


def _delivery_lost(state: State, event: ev.StepDeliveryLost) -> Iterator[fx.Effect]:
    yield _open_again(event.path, state.runs[event.path], event.attempt)


def _scope_closing(state: State, event: ev.ScopeClosing) -> Iterator[fx.Effect]:
    yield from _call_off(state, event.path, event.awaiting)
    yield fx.SetTimer(event.path, "grace", event.due)


def _execution_cancelling(state: State, event: ev.ExecutionCancelling) -> Iterator[fx.Effect]:
    yield from _call_off(state, "", event.awaiting)
    yield fx.SetTimer("", "grace", event.due)


def _call_off(state: State, scope: str, awaiting: tuple[str, ...]) -> Iterator[fx.Effect]:
    awaited = frozenset(awaiting)
    for path, run in state.open_runs(scope):
        if path not in awaited:
            yield from _leave(path, run)
            continue
        yield fx.RequestCancel(path)
        if run.timers:
            yield fx.ClearTimer(path)


def _resolved(state: State, event: ev.StepResolved) -> Iterator[fx.Effect]:
    if event.path and event.action == "RETRY_NOW" and state.runs[event.path].state is StepState.PARKED:
        run = state.runs[event.path]
        yield _open_again(event.path, run, run.attempt + 1)


def _timer_set(state: State, event: ev.TimerSet) -> Iterator[fx.Effect]:
    yield fx.SetTimer(event.path, event.timer, event.due)


def _timer_fired(state: State, event: ev.TimerFired) -> Iterator[fx.Effect]:
    yield fx.ClearTimer(event.path, event.timer)
    if event.timer == "retry":
        run = state.runs[event.path]
        yield _open_again(event.path, run, run.attempt + 1)


def _emitted(state: State, event: ev.EventEmitted) -> Iterable[fx.Effect]:
    return (fx.EmitEvent(state.sequence + 1, event.name, event.key, event.payload),)


def _forked(state: State, event: ev.ExecutionForked) -> Iterator[fx.Effect]:
    """What the state taken over waits for, but for its tasks: each has an event of its own, with its input."""
    taken = taken_over(event)
    yield from (fx.SetTimer("", name, due) for name, due in taken.timers.items())
    for path, run in taken.open_runs():
        yield from (fx.SetTimer(path, name, due) for name, due in run.timers.items())
        if run.key:
            yield fx.OpenWait(path, run.events, run.key)


def _inherited(state: State, event: ev.StepInherited) -> Iterator[fx.Effect]:
    run = state.runs[event.path]
    if run.state is StepState.SCHEDULED:
        opened = fx.OpenTask(event.path, run.operation, run.attempt, state.sequence + 1, run.priority)
        yield msgspec.structs.replace(opened, attempt_timeout=run.attempt_timeout, input=event.input, trace=event.trace)


def _ended(state: State, event: ev.Event) -> Iterator[fx.Effect]:
    for kept in state.kept.values():
        if kept.enqueued:
            yield fx.BuryEvent(kept.name, kept.payload, kept.event_id, "EXECUTION_ENDED")
    listening = dict.fromkeys(path for waiting in state.listening.values() for path in waiting)
    yield from (fx.CloseWait(path) for path in listening if state.runs[path].key)
    yield from (fx.LeaveLine(line) for line in state.lines)
    yield fx.CloseExecution()


_REACT: dict[type[ev.Event], Callable[[State, Any], Iterable[fx.Effect]]] = {
    ev.StepScheduled: _scheduled,
    ev.StepCompleted: _step_over,
    ev.StepFailed: _step_over,
    ev.StepCancelled: _step_over,
    ev.StepSkipped: _skipped,
    ev.StepParked: _step_over,
    ev.StepRetryScheduled: _retry_scheduled,
    ev.StepDeliveryLost: _delivery_lost,
    ev.ScopeClosing: _scope_closing,
    ev.ExecutionCancelling: _execution_cancelling,
    ev.StepResolved: _resolved,
    ev.TimerSet: _timer_set,
    ev.TimerFired: _timer_fired,
    ev.EventEmitted: _emitted,
    ev.ExecutionForked: _forked,
    ev.StepInherited: _inherited,
    **dict.fromkeys(ev.TERMINAL, _ended),
}
