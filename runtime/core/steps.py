"""How steps begin, end and lead to others: the walk through the plan.

Rules
- Each function makes events on a `Turn` and looks only at what depends on the step it is about.
- `begin` enters a step, `complete` and `fail` end it; the end of the last step of a block ends the block, and that
  tells its owner. Blocks to go on with are put on the agenda, so that depth grows with nesting only, never with
  the number of steps; `settle` works the agenda off until it is empty or the turn is full.
- What the agenda holds can be found again from the state (`unsettled`), so a turn may be cut anywhere.
- The order of answers to a final failure: park (`on_exhausted`), `on_error`, the scope around it, the execution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from . import events as ev
from .evolve import owner_of, received_value
from .expressions import ExpressionError, evaluate_bool
from .failures import Failure
from .plan import (
    Block,
    FailBody,
    FinishBody,
    ForeachBody,
    Handler,
    ParallelBody,
    ReceiveBody,
    SequenceBody,
    SetBody,
    Step,
    SwitchBody,
    TaskBody,
    WaitBody,
)
from .state import Kept, Run, StepState, block_of, item_number, numbers_in
from .turn import Turn, as_moment, expression_failure

TOO_MANY_FAILURES = "TooManyItemFailures"


# Going through blocks


def settle(turn: Turn) -> None:
    """Look at all that is on the agenda; what does not fit into this turn goes on in another."""
    while turn.agenda and not turn.state.status.ended:
        if turn.is_full:
            turn.cut()
            return
        path = next(iter(turn.agenda))
        del turn.agenda[path]
        if path in turn.state.blocks:
            _advance(turn, path)
        if path in turn.state.runs:
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
    path = turn.state.blocks[block_path].cursor
    run = turn.state.runs[path]
    step = turn.plan.steps[run.step]
    if run.state in (StepState.SUCCEEDED, StepState.SKIPPED) and not step.is_last:
        begin(turn, step.block.steps[step.position + 1], block_path)


def _fill(turn: Turn, path: str) -> None:
    """Begin the blocks of a scope that have not begun yet, as many as may run."""
    run = turn.state.runs[path]
    if run.state is not StepState.WAITING or run.closing is not None:
        return
    step = turn.plan.steps[run.step]
    if run.handler is not None:
        _begin_first(turn, path, step.handlers[run.handler].block)
        return
    match step.body:
        case SequenceBody(block):
            _begin_first(turn, path, block)
        case SwitchBody():
            block = _chosen(step.body, run.case)
            if block is not None:
                _begin_first(turn, path, block)
        case ParallelBody(branches):
            _begin_more(turn, path, run, len(branches), len(branches), lambda n: branches[n][1])
        case ForeachBody() as body:
            total = len(run.items or ())
            _begin_more(turn, path, run, total, body.max_concurrency or total, lambda _: body.block)
        case _:
            pass


def _begin_first(turn: Turn, path: str, block: Block) -> None:
    block_path = path + block.suffix
    if block_path not in turn.state.blocks:
        begin(turn, block.steps[0], block_path)


def _begin_more(
    turn: Turn, path: str, run: Run, total: int, concurrency: int, block_at: Callable[[int], Block]
) -> None:
    while run.started < total and run.started - run.done < concurrency:
        if not run.state.open or run.closing is not None:
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
            _skip(turn, step, path)
            return
        state = str(turn.see(step.state, step, path)) if step.state is not None else None
        _BEGIN[type(step.body)](turn, step, path, state)
    except ExpressionError as error:
        if path not in turn.state.runs:
            turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind))
        fail(turn, path, expression_failure(error))


def _skip(turn: Turn, step: Step, path: str) -> None:
    collected = _collected(turn, step, path, None)
    turn.emit(ev.StepSkipped(path=path, step=step.id, kind=step.kind, closes=step.is_last, collected=collected))
    after(turn, step, path)


def _begin_task(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, TaskBody)
    limits = step.timeouts
    queue = turn.duration(limits.queue, step, path)
    total = turn.duration(limits.total, step, path)
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
            trace=turn.state.trace,
        )
    )
    if queue is not None:
        turn.emit(ev.TimerSet(path=path, timer="queue", due=turn.due_in(queue)))
    if total is not None:
        turn.emit(ev.TimerSet(path=path, timer="total", due=turn.due_in(total)))


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
    items = turn.see(body.items, step, path)
    if not isinstance(items, list):
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
    names = tuple(dict.fromkeys(name for name, _ in body.events))
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state, events=names))
    warnings: list[ev.WarningRaised] = []
    taken = next((n for n, kept in turn.state.kept.items() if hears(turn, step, path, kept, warnings)), None)
    for warning in warnings:
        turn.emit(warning)
    if taken is not None:
        take(turn, path, taken)
    elif due is not None:
        turn.emit(ev.TimerSet(path=path, timer="receive", due=due))


def hears(turn: Turn, step: Step, path: str, kept: Kept, warnings: list[ev.WarningRaised]) -> bool:
    """Whether a `receive` wants this event; a filter that errors means no, with a warning for the history."""
    assert isinstance(step.body, ReceiveBody)
    for name, filter_ in step.body.events:
        if name != kept.name:
            continue
        if filter_ is None:
            return True
        try:
            if evaluate_bool(filter_, turn.lookup(numbers_in(path), {"event": kept.payload}, step)):
                return True
        except ExpressionError as error:
            warnings.append(ev.WarningRaised(path=path, message=f"filter of {name}: {error}"))
    return False


def take(turn: Turn, path: str, sequence: int) -> None:
    """A `receive` ends with a kept event."""
    complete(turn, path, UNSET, received=sequence)


def _begin_set(turn: Turn, step: Step, path: str, state: str | None) -> None:
    assert isinstance(step.body, SetBody)
    values = turn.see(step.body.values, step, path)
    turn.emit(ev.StepScheduled(path=path, step=step.id, kind=step.kind, state=state))
    complete(turn, path, values, variables=values)


def _begin_fail(turn: Turn, step: Step, path: str, state: str | None) -> None:
    body = step.body
    assert isinstance(body, FailBody)
    message = "" if body.message is None else turn.see(body.message, step, path)
    details = None if body.details is None else turn.see(body.details, step, path)
    failure = Failure(str(turn.see(body.type, step, path)), str(message), details, retryable=False)
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
    SetBody: _begin_set,
    FailBody: _begin_fail,
    FinishBody: _begin_finish,
}


# Ending well


def complete(
    turn: Turn, path: str, result: Any, *, received: int = 0, variables: dict[str, Any] | None = None
) -> None:
    """A step has its result: apply `output`, record it, go on with what follows."""
    step = turn.plan.steps[turn.state.runs[path].step]
    try:
        if step.output is not None:
            result = turn.see(step.output, step, path, {"result": _result_seen(turn, result, received)})
        collected = _collected(turn, step, path, _result_seen(turn, result, received))
    except ExpressionError as error:
        fail(turn, path, expression_failure(error))
        return
    turn.emit(
        ev.StepCompleted(
            path=path, result=result, received=received, variables=variables, closes=step.is_last, collected=collected
        )
    )
    after(turn, step, path)


def _result_seen(turn: Turn, result: Any, received: int) -> Any:
    if result is UNSET and received:
        return received_value(turn.state.kept[received])
    return result


def _collected(turn: Turn, step: Step, path: str, result: Any) -> Any:
    """The item's value where this step is the last of an item and `collect` asks for another one than its result."""
    owner = step.block.owner
    if not step.is_last or owner is None or not step.block.items:
        return UNSET
    assert isinstance(owner.body, ForeachBody)
    if owner.body.collect is None:
        return UNSET
    return turn.see(owner.body.collect, step, path, {"result": result, "steps": {step.id: {"result": result}}})


def after(turn: Turn, step: Step, path: str) -> None:
    """A step has ended well: go on in its block, or end the block."""
    block_path = block_of(path)
    if not step.is_last:
        turn.agenda[block_path] = None
        return
    owner = owner_of(turn.state, block_path)
    if owner is None:
        complete_execution(turn)
    else:
        _block_ended(turn, owner, block_path)


def _block_ended(turn: Turn, path: str, block_path: str) -> None:
    """A block of this scope has ended: complete the scope, or begin what it still has to run."""
    run = turn.state.runs[path]
    if not run.state.open or run.closing is not None:
        return
    body = turn.plan.steps[run.step].body
    if run.handler is not None or isinstance(body, SequenceBody | SwitchBody):
        _complete_with_block(turn, path, run, block_path)
    elif isinstance(body, ParallelBody):
        if run.done == len(body.branches):
            _join(turn, path, body)
    elif isinstance(body, ForeachBody):
        if run.items is not None and run.done == len(run.items):
            complete(turn, path, list(run.results or ()))
        elif run.items is not None and run.started < len(run.items):
            turn.agenda[path] = None


def _complete_with_block(turn: Turn, path: str, run: Run, block_path: str) -> None:
    last = turn.state.runs[turn.state.blocks[block_path].cursor]
    result = None if last.result is UNSET else last.result
    if run.handler is None:
        complete(turn, path, result)
        return
    step = turn.plan.steps[run.step]
    try:
        collected = _collected(turn, step, path, result)
    except ExpressionError as error:
        fail(turn, path, expression_failure(error))
        return
    turn.emit(ev.StepCompleted(path=path, result=result, closes=step.is_last, collected=collected))
    after(turn, step, path)


def _join(turn: Turn, path: str, body: ParallelBody) -> None:
    """All branches have ended: their results, or the first failure in the order of the branches."""
    results: dict[str, Any] = {}
    for name, block in body.branches:
        last = turn.state.runs[turn.state.blocks[path + block.suffix].cursor]
        if last.state is StepState.FAILED and last.error is not None:
            fail(turn, path, last.error)
            return
        results[name] = None if last.result is UNSET else last.result
    complete(turn, path, results)


def complete_execution(turn: Turn) -> None:
    """Every step is done: make the output and end, or park if the output cannot be made."""
    try:
        if turn.plan.output is not None:
            output = turn.plan.output.evaluate(turn.lookup(()))
        else:
            output = turn.state.runs[turn.state.blocks[""].cursor].result
    except ExpressionError as error:
        turn.emit(ev.ExecutionParked(failure=expression_failure(error)))
        return
    turn.emit(ev.ExecutionCompleted(output=None if output is UNSET else output))


# Failing


def fail(turn: Turn, path: str, failure: Failure) -> None:
    """A step has failed for good: park it, handle it, or fail the scope around it."""
    run = turn.state.runs[path]
    step = turn.plan.steps[run.step]
    handler = None if run.handler is not None else _handler_for(step, failure)
    parks = step.retry.park and bool(run.operation)
    if parks or (handler is None and turn.plan.park_on_failure and not _caught(turn, step, path, failure)):
        turn.emit(ev.StepParked(path=path, failure=failure))
    else:
        give_up(turn, path, failure)


def give_up(turn: Turn, path: str, failure: Failure) -> None:
    """A failure that is not parked (any more): `on_error` takes it, or the scope around the step."""
    run = turn.state.runs[path]
    step = turn.plan.steps[run.step]
    handler = None if run.handler is not None else _handler_for(step, failure)
    if handler is not None:
        turn.emit(ev.StepFailed(path=path, failure=failure, handler=handler))
        turn.agenda[path] = None
    else:
        _fail_outward(turn, step, path, failure)


def _handler_for(step: Step, failure: Failure) -> int | None:
    return next((n for n, entry in enumerate(step.handlers) if _matches(entry, failure)), None)


def _matches(entry: Handler, failure: Failure) -> bool:
    return not entry.match or failure.type in entry.match


def _caught(turn: Turn, step: Step, path: str, failure: Failure) -> bool:
    """Whether something around this step answers its failure, so that it would not end the execution."""
    while (owner := step.block.owner) is not None:
        owner_path = owner_of(turn.state, block_of(path))
        assert owner_path is not None
        body = owner.body
        if isinstance(body, ForeachBody) and body.continue_on_error:
            return True
        if turn.state.runs[owner_path].handler is None and _handler_for(owner, failure) is not None:
            return True
        step, path = owner, owner_path
    return False


def _fail_outward(turn: Turn, step: Step, path: str, failure: Failure) -> None:
    owner_path = owner_of(turn.state, block_of(path))
    if owner_path is None:
        turn.emit(ev.StepFailed(path=path, failure=failure))
        turn.emit(ev.ExecutionFailed(failure=failure))
        return
    owner = turn.state.runs[owner_path]
    body = turn.plan.steps[owner.step].body
    in_handler = owner.handler is not None
    goes_on = not in_handler and (
        (isinstance(body, ForeachBody) and body.continue_on_error)
        or (isinstance(body, ParallelBody) and not body.fail_fast)
    )
    turn.emit(ev.StepFailed(path=path, failure=failure, closes=goes_on))
    if goes_on:
        _item_failed(turn, owner_path, owner, block_of(path))
    elif in_handler and owner.error is not None:
        fail(turn, owner_path, failure.because(owner.error))
    else:
        close_scope(turn, owner_path, failure)


def _item_failed(turn: Turn, path: str, owner: Run, block_path: str) -> None:
    failures = owner.failures or []
    if item_number(block_path) is not None and 0 <= owner.max_failures < len(failures):
        message = f"{len(failures)} items failed; max_failures is {owner.max_failures}"
        close_scope(turn, path, Failure(TOO_MANY_FAILURES, message, cause=failures[-1].error, retryable=False))
    else:
        _block_ended(turn, path, block_path)


def close_scope(turn: Turn, path: str, failure: Failure) -> None:
    """A scope fails: at once, or when the attempts that workers hold within it have been answered."""
    awaiting = delivered_within(turn, path)
    grace = turn.limits.cancel_grace_us
    if not awaiting or grace <= 0:
        fail(turn, path, failure)
    else:
        turn.emit(ev.ScopeClosing(path=path, failure=failure, awaiting=awaiting, due=turn.due_in(grace)))


def delivered_within(turn: Turn, path: str = "") -> tuple[str, ...]:
    """Tasks in a scope (empty: the execution) that workers hold."""
    held = turn.facts.delivered
    return tuple(
        inner
        for inner, run in turn.state.open_runs(path)
        if run.operation and run.state is StepState.SCHEDULED and inner in held
    )


def answered(turn: Turn, path: str, event: ev.StepCompleted | ev.StepFailed | ev.StepCancelled) -> None:
    """An awaited attempt was answered: record it, and end the scope if it was the last."""
    scope = turn.state.awaiting[path]
    turn.emit(event)
    if scope not in turn.state.awaiting.values():
        end_scope(turn, scope)


def end_scope(turn: Turn, scope: str) -> None:
    """The grace is over, or nothing is awaited any more."""
    if not scope:
        turn.emit(ev.ExecutionCancelled(reason=turn.state.reason))
        return
    run = turn.state.runs[scope]
    if run.closing is None:
        return
    fail(turn, scope, run.closing)
