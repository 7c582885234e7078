"""How an execution begins as another one was, at some event of that one's history.

Rules
- The first event holds the whole state; nothing is looked up in the other history afterwards.
- What is open goes on: tasks are queued anew (another execution, so other idempotency keys), timers have what remained
  of them, a `receive` waits. The answers of workers who held a task there never come: what waited for those alone goes
  on at once.
- Places in lines, and with them unique keys, stay with the original; a PENDING one begins.
- Events that are kept get numbers below zero, in their order, for the new history counts from 1.
- Where the event is not the last of its command, the rest of what that command led to is recorded again: no execution
  rests in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from . import events as ev
from .commands import Facts, ForkOrigin
from .decide import Accepted
from .plan import Plan
from .state import Run, State, Status, StepState
from .steps import begin, settle, unsettled
from .turn import Limits, Turn
from .values import decode, encode


class Inheritance(msgspec.Struct, frozen=True):
    """What an execution begins with."""

    origin: ForkOrigin
    state: State
    """As of the event forked from; it is used up."""
    inputs: Mapping[str, Any]
    """By path: the inputs of the open tasks."""
    rest: tuple[ev.Event, ...] = ()
    """What the same command led to after that event."""
    moment: int = 0
    """The time in the original that the beginning of the new one stands for, in microseconds since the epoch."""


def open_tasks(state: State) -> dict[str, int]:
    """By path: the sequence of the event with the input, of each task that is or may again be given to a worker.

    Those of a fork that is forked at its very beginning have theirs in what follows of the same command.
    """
    return {path: run.scheduled for path, run in state.open_runs() if run.scheduled and _is_wanted(state, path, run)}


def _is_wanted(state: State, path: str, run: Run) -> bool:
    return bool(run.operation) and path not in state.awaiting


def decide_fork(state: State, plan: Plan | None, inheritance: Inheritance, facts: Facts, limits: Limits) -> Accepted:
    """The first events of an execution that goes on from what it inherits; `state` is a new one.

    `plan` is needed unless the execution has ended. Raises IllegalTransition where the state and the rest do not fit.
    """
    turn = Turn(state, cast(Plan, plan), facts, limits)
    sequence, shift = inheritance.state.sequence, facts.now - inheritance.moment
    _rebase(inheritance.state, shift, facts.now)
    turn.emit(ev.ExecutionForked(origin=inheritance.origin, state=decode(encode(cast(Any, inheritance.state)))))
    for path, value in inheritance.inputs.items():
        turn.emit(ev.StepInherited(path=path, input=value, trace=state.trace))
    for event in inheritance.rest:
        turn.emit(_again(event, sequence, shift, facts.now))
    if state.status is Status.PENDING:
        turn.emit(ev.ExecutionReleased())
        begin(turn, turn.plan.root.steps[0], "")
    elif state.status is Status.RUNNING:
        unsettled(turn)
    settle(turn)
    return Accepted(turn.events, turn.ids, turn.effects, turn.states, turn.agenda)


def _rebase(state: State, shift: int, now: int) -> None:
    """Make the state that of a new execution, `shift` microseconds later."""
    sequence = state.sequence
    state.execution_id, state.sequence, state.hash = "", 0, b""
    state.lines = ()
    state.kept = {_before(number, sequence): kept for number, kept in state.kept.items()}
    _give_up_answers(state, now)
    _shift(state.timers, shift, now)
    for _, run in state.open_runs():
        _shift(run.timers, shift, now)
        run.scheduled = run.losses = 0
        if run.due:
            run.due = max(now, run.due + shift)
        if run.offered:
            run.offered = _before(run.offered, sequence)


def _give_up_answers(state: State, now: int) -> None:
    """Nobody holds an attempt of the new execution: whatever waited for answers waits no longer."""
    for path, scope in state.awaiting.items():
        run = state.runs[path]
        run.state, run.since = StepState.CANCELLED, now
        waiting = state.runs[scope] if scope else None
        (waiting.timers if waiting is not None else state.timers)["grace"] = 0
        if waiting is not None:
            waiting.awaits = 0
    state.awaiting = {}


def _shift(timers: dict[str, int], shift: int, now: int) -> None:
    for name, due in timers.items():
        timers[name] = max(now, due + shift)


def _before(number: int, sequence: int) -> int:
    """The number of an event in a history that begins after `sequence` events."""
    return number - sequence - 1


def _again(event: ev.Event, sequence: int, shift: int, now: int) -> ev.Event:
    """An event of the original's history as one of the new one's."""
    match event:
        case ev.ScopeClosing() | ev.ExecutionCancelling():
            return msgspec.structs.replace(event, awaiting=(), due=now)
        case ev.TimerSet() | ev.StepRetryScheduled():
            return msgspec.structs.replace(event, due=max(now, event.due + shift))
        case ev.StepCompleted() if event.received:
            return msgspec.structs.replace(event, received=_before(event.received, sequence))
        case _:
            return event
