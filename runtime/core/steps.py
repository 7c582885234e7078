"""How steps begin and lead to others: the walk through the plan.

Rules
- `begin` enters a step; endings.py ends it. Both make events on a `Turn` and look only at what depends on that step.
- Blocks and scopes to go on with are put on the agenda, so that depth grows with nesting only, never with the number
  of steps; `settle` works the agenda off until it is empty or the turn is full.
- What the agenda holds can be found again from the state (`unsettled`), so a turn may be cut anywhere. It may hold too
  much: nothing begins in a scope that is over, closing, or handled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from msgspec import UNSET

from . import events as ev
from .endings import complete, fail, skip
from .evolve import owner_of
from .expressions import Expression, ExpressionError, evaluate_bool
from .failures import Failure
from .plan import (
    Block,
    EmitBody,
    FailBody,
    FinishBody,
    ForeachBody,
    ParallelBody,
    ReceiveBody,
    SequenceBody,
    SetBody,
    Step,
    SwitchBody,
    TaskBody,
    WaitBody,
)
from .sealing import is_sensitive
from .state import Kept, Run, State, StepState, block_of, numbers_in
from .turn import Turn, as_moment, as_text, check_clear, expression_failure
from .values import REDACTED, ValueRefused, check_value

KEY_CHARS_MAX = 255
"""Characters of the key of a published event."""

# Going through blocks


def settle(turn: Turn) -> None:
    """Look at all that is on the agenda; what does not fit into this turn goes on in another."""
    state = turn.state
    while turn.agenda:
        waiting, turn.agenda = turn.agenda, {}
        paths = iter(waiting)
        for path in paths:
            if state.status.ended or state.cancelling:
                turn.agenda = {}
                return
            if turn.is_full:
                turn.agenda = {path: None, **dict.fromkeys(paths), **turn.agenda}
                turn.cut()
                return
            if path in state.blocks:
                _advance(turn, path)
            if path in state.runs:
                _fill(turn, path)


def unsettled(turn: Turn) -> None:
    """Put everything on the agenda that may have to go on (after a cut turn and a restart)."""
    if "" in turn.state.blocks:
        turn.agenda[""] = None
    else:
        begin(turn, turn.plan.root.steps[0], "")
    for path, run in turn.state.open_runs():
        turn.agenda[path] = None
        turn.agenda.update(run.blocks)


def _advance(turn: Turn, block_path: str) -> None:
    """Begin the next step of a block whose cursor has ended well."""
    state = turn.state
    run = state.runs[state.blocks[block_path].cursor]
    step = turn.plan.steps[run.step]
    if step.is_last or run.state not in _ENDED_WELL:
        return
    owner = owner_of(state, block_path)
    if owner is not None:
        scope = state.runs[owner]
        left_behind = scope.handler is not None and step.block is not _handling(turn, scope)
        if left_behind or not _goes_on(state, owner, scope):
            return
    begin(turn, step.block.steps[step.position + 1], block_path)


def _fill(turn: Turn, path: str) -> None:
    """Begin the blocks of a scope that have not begun yet, as many as may run."""
    run = turn.state.runs[path]
    if not _goes_on(turn.state, path, run):
        return
    if run.handler is not None:
        _begin_first(turn, path, _handling(turn, run))
        return
    match turn.plan.steps[run.step].body:
        case SequenceBody(block):
            _begin_first(turn, path, block)
        case SwitchBody() as body:
            if (chosen := _chosen(body, run.case)) is not None:
                _begin_first(turn, path, chosen)
        case ParallelBody(branches):
            _begin_more(turn, path, run, len(branches), len(branches), lambda n: branches[n][1])
        case ForeachBody() as body:
            total = len(run.items or ())
            _begin_more(turn, path, run, total, body.max_concurrency or total, lambda _: body.block)
        case _:
            pass


def _goes_on(state: State, path: str, run: Run) -> bool:
    """Whether anything may begin in this scope: it is open, and neither it nor a scope around it is closing."""
    if run.state is not StepState.WAITING:
        return False
    around: str | None = path if state.awaiting else None
    while around is not None:
        if state.runs[around].closing is not None:
            return False
        around = owner_of(state, block_of(around))
    return True


def _handling(turn: Turn, run: Run) -> Block:
    """The steps of the `on_error` entry that runs."""
    assert run.handler is not None
    return turn.plan.steps[run.step].handlers[run.handler].block


_ENDED_WELL = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})


def _begin_first(turn: Turn, path: str, block: Block) -> None:
    block_path = path + block.suffix
    if block_path not in turn.state.blocks:
        begin(turn, block.steps[0], block_path)


def _begin_more(
    turn: Turn, path: str, run: Run, total: int, concurrency: int, block_at: Callable[[int], Block]
) -> None:
    while run.started < total and run.started - run.done < concurrency:
        if run.state is not StepState.WAITING or run.closing is not None or run.handler is not None:
            return
        if turn.is_full:
            turn.agenda[path] = None
            return
        number, block = run.started, block_at(run.started)
        begin(turn, block.steps[0], f"{path}[{number}]" if block.items else path + block.suffix)


# Beginning


def begin(turn: Turn, step: Step, block_path: str) -> None:
    """Enter a step: skip it, or schedule it with everything its kind needs."""
    path = f"{block_path}/{step.id}" if block_path else step.id
    try:
        if step.when is not None and not evaluate_bool(step.when, turn.lookup(numbers_in(path), step=step)):
            skip(turn, step, path)
            return
        state = as_text(turn.see(step.state, step, path), "set_state") if step.state is not None else None
        _BEGIN[type(step.body)](turn, step, path, state)
    except ExpressionError as error:
        if path not in turn.state.runs:
            turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind))
        fail(turn, path, expression_failure(error))


def _begin_task(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, TaskBody)
    limits = step.timeouts
    turn.emit(
        ev.StepScheduled(
            path=path,
            step=step.id,
            kind=step.kind,
            state=state,
            operation=body.operation,
            input=turn.see(body.input, step, path),
            priority=body.priority,
            attempt_timeout=turn.duration(limits.attempt, step, path) or 0,
            queue_timeout=turn.duration(limits.queue, step, path) or 0,
            total_timeout=turn.duration(limits.total, step, path) or 0,
            trace=turn.state.trace,
        )
    )
    limit_queueing(turn, path)
    limit_total(turn, path)


def limit_queueing(turn: Turn, path: str) -> None:
    """A task has been queued: from now on it may wait so long for a worker."""
    if limit := turn.state.runs[path].queue_timeout:
        turn.emit(ev.TimerSet(path=path, timer="queue", due=turn.due_in(limit)))


def limit_total(turn: Turn, path: str) -> None:
    """From now on all attempts of a task together may take so long."""
    if limit := turn.state.runs[path].total_timeout:
        turn.emit(ev.TimerSet(path=path, timer="total", due=turn.due_in(limit)))


def _begin_scope(turn: Turn, step: Step, path: str, state: str | None) -> None:
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    turn.agenda[path] = None


def _begin_switch(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, SwitchBody)
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    look = turn.lookup(numbers_in(path), step=step)
    case = next((n for n, (when, _) in enumerate(body.cases) if evaluate_bool(when, look)), -1)
    turn.emit(ev.BranchChosen(path=path, case=case))
    if _chosen(body, case) is None:
        complete(turn, path, None)
    else:
        turn.agenda[path] = None


def _chosen(body: SwitchBody, case: int | None) -> Block | None:
    if case is None:
        return None
    return body.default if case < 0 else body.cases[case][1]


def _begin_foreach(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, ForeachBody)
    items: list[Any] = turn.apart(turn.see(body.items, step, path))
    if type(items) is not list:
        raise ExpressionError(f"`items` gives {type(items).__name__}, where a list is wanted", body.items.source)
    if len(items) > turn.limits.foreach_items_max:
        limit = turn.limits.foreach_items_max
        raise ExpressionError(f"`items` gives {len(items)} items; foreach_items_max is {limit}", body.items.source)
    turn.emit(
        ev.StepScheduled(
            path=path,
            step=step.id,
            kind=step.kind,
            state=state,
            items=items,
            max_failures=_failures_allowed(turn, body, step, path),
        )
    )
    if items:
        turn.agenda[path] = None
    else:
        complete(turn, path, [])


def _failures_allowed(turn: Turn, body: ForeachBody, step: Step, path: str) -> int:
    if body.max_failures is None:
        return -1
    allowed = turn.see(body.max_failures, step, path)
    check_clear(allowed, body.max_failures.source)
    if isinstance(allowed, bool) or not isinstance(allowed, int | float) or allowed < 0:
        raise ExpressionError("`max_failures` has to give a number from 0", body.max_failures.source)
    return int(allowed)


def _begin_wait(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, WaitBody)
    due = _due(turn, step, path, body)
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    if due is None or due <= turn.facts.now:
        complete(turn, path, None)
    else:
        turn.emit(ev.TimerSet(path=path, timer="wait", due=due))


def _due(turn: Turn, step: Step, path: str, body: WaitBody | ReceiveBody) -> int | None:
    """When a `wait` is over or a `receive` gives up; None: never."""
    if body.until is not None:
        return as_moment(turn.see(body.until, step, path), "until")
    delay = turn.duration(body.duration if isinstance(body, WaitBody) else body.timeout, step, path)
    return None if delay is None else turn.due_in(delay)


def _begin_receive(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, ReceiveBody)
    due = _due(turn, step, path, body)
    key = "" if body.key is None else _key(turn, body.key, step, path)
    names = tuple(dict.fromkeys(name for name, _ in body.events))
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state, events=names, key=key))
    warnings: list[ev.WarningRaised] = []
    if body.key is not None and not key:
        warnings.append(ev.WarningRaised(path=path, message="`key` is empty: no published event reaches this step"))
    taken = next((n for n, kept in turn.state.kept.items() if hears(turn, step, path, kept, warnings)), None)
    for warning in warnings:
        turn.emit(warning)
    if taken is not None:
        take(turn, path, taken)
    elif due is not None:
        turn.emit(ev.TimerSet(path=path, timer="receive", due=due))


def _key(turn: Turn, expression: Expression, step: Step, path: str) -> str:
    """The key of a `receive` or an `emit`; raises ExpressionError."""
    value = turn.see(expression, step, path)
    if value is None:
        raise ExpressionError("`key` gives null, where a string is wanted", expression.source)
    key = as_text(value, expression.source)
    if len(key) > KEY_CHARS_MAX:
        raise ExpressionError(f"`key` gives {len(key)} characters; at most {KEY_CHARS_MAX}", expression.source)
    return key


def hears(turn: Turn, step: Step, path: str, kept: Kept, warnings: list[ev.WarningRaised]) -> bool:
    """Whether a `receive` wants this event; a filter that errors means no, with a warning for the history."""
    assert isinstance(step.body, ReceiveBody)
    for name, filter_ in step.body.events:
        if name != kept.name:
            continue
        if filter_ is None:
            return True
        try:
            if evaluate_bool(filter_, turn.lookup(numbers_in(path), {"event": _typed(turn, kept)}, step)):
                return True
        except ExpressionError as error:
            warning = ev.WarningRaised(path=path, message=f"filter of {name}: {error}")
            if warning not in warnings:
                warnings.append(warning)
    return False


def _typed(turn: Turn, kept: Kept) -> Any:
    """The payload as expressions see it: numbers as its schema says."""
    schema = turn.plan.events.get(kept.name)
    return kept.payload if schema is None or schema.typed is None else schema.typed(kept.payload)


def take(turn: Turn, path: str, sequence: int) -> None:
    """A `receive` ends with a kept event."""
    complete(turn, path, UNSET, received=sequence)


def _begin_emit(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, EmitBody)
    key = "" if body.key is None else _key(turn, body.key, step, path)
    payload = None if body.payload is None else turn.see(body.payload, step, path)
    # It would leave the execution, with which it can be erased.
    check_clear(payload, "payload")
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    turn.emit(ev.EventEmitted(path=path, name=body.name, key=key, payload=payload))
    complete(turn, path, None)


def _begin_set(turn: Turn, step: Step, path: str, state: str | None) -> None:
    assert isinstance(step.body, SetBody)
    made = turn.see(step.body.values, step, path)
    plain, sensitive = turn.clear(made)
    try:
        # Variables can grow into each other without end, so that here alone the depth has to be looked at.
        values = cast(dict[str, Any], check_value(plain))
    except ValueRefused as refused:
        # Where in a sensitive value it is would tell of its inside.
        raise ExpressionError(refused.reason if sensitive else str(refused), "set") from None
    values = made if sensitive else values
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    complete(turn, path, values, variables=values)


def _begin_fail(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, FailBody)
    kind = as_text(turn.see(body.type, step, path), "fail.type")
    told = "" if body.message is None else turn.see(body.message, step, path)
    message = REDACTED if is_sensitive(told) else as_text(told, "fail.message")
    details = None if body.details is None else turn.see(body.details, step, path)
    failure = Failure(kind, message, details, retryable=False)
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    fail(turn, path, failure)


def _begin_finish(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, FinishBody)
    output = None if body.output is None else turn.see(body.output, step, path)
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    turn.emit(ev.StepCompleted(path=path, result=output))
    turn.emit(ev.ExecutionCompleted(output=output))


_BEGIN: dict[type[Any], Callable[[Turn, Step, str, str | None], None]] = {
    TaskBody: _begin_task,
    SequenceBody: _begin_scope,
    ParallelBody: _begin_scope,
    SwitchBody: _begin_switch,
    ForeachBody: _begin_foreach,
    WaitBody: _begin_wait,
    ReceiveBody: _begin_receive,
    EmitBody: _begin_emit,
    SetBody: _begin_set,
    FailBody: _begin_fail,
    FinishBody: _begin_finish,
}
