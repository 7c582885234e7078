"""How steps end: with a result, or with a failure that something around them answers.

Rules
- `complete` and `fail` end a step. The end of the last step of a block ends the block, and that tells its owner; what
  then has to begin is put on the agenda (steps.py works it off), so that depth grows with nesting only.
- The order of answers to a final failure: park (`on_exhausted`), `on_error`, the scope around it, `on_failure`.
- What an operator has decided to fail is not parked again on its way out (`Failure.decided`).
- A scope that fails while workers hold attempts within it is *closing*: those are awaited for their grace, all else in
  it is cancelled, and nothing in it begins or is retried any more. A failure further out takes the waiting over.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from . import events as ev
from .evolve import owner_of, received_value
from .expressions import ExpressionError
from .failures import Failure
from .plan import ForeachBody, Handler, ParallelBody, SequenceBody, Step, SwitchBody
from .state import Run, StepState, block_of, item_number
from .turn import Turn, expression_failure

TOO_MANY_FAILURES = "TooManyItemFailures"


# Ending well


def complete(turn: Turn, path: str, result: Any, *, received: int = 0, variables: dict[str, Any] | None = None) -> None:
    """A step has its result: apply `output`, record it, go on with what follows."""
    step = turn.plan.steps[turn.state.runs[path].step]
    collects = _collects(step)
    sees = step.output is not None or collects is not None
    given = received_value(turn.state.kept[received]) if received and sees else result
    extra: dict[str, Any] = {"result": turn.typed_result(step.id, given) if sees else given}
    if variables is not None:
        extra["vars"] = {**turn.state.variables, **variables}
    try:
        if step.output is not None:
            extra["result"] = result = turn.see(step.output, step, path, extra)
        collected = UNSET if collects is None else _collected(turn, collects, step, path, extra)
    except ExpressionError as error:
        fail(turn, path, expression_failure(error))
        return
    turn.emit(
        ev.StepCompleted(
            path=path, result=result, received=received, variables=variables, closes=step.is_last, collected=collected
        )
    )
    after(turn, step, path)


def conclude(turn: Turn, path: str, result: Any) -> None:
    """A step ends well with a result that is not its own (a handler's, an operator's): `output` is not applied."""
    step = turn.plan.steps[turn.state.runs[path].step]
    collects = _collects(step)
    try:
        collected = UNSET if collects is None else _collected(turn, collects, step, path, {"result": result})
    except ExpressionError as error:
        fail(turn, path, expression_failure(error))
        return
    turn.emit(ev.StepCompleted(path=path, result=result, closes=step.is_last, collected=collected))
    after(turn, step, path)


def skip(turn: Turn, step: Step, path: str) -> None:
    """A step is left out; raises ExpressionError where it was to give an item's value and `collect` fails."""
    collects = _collects(step)
    collected = UNSET if collects is None else _collected(turn, collects, step, path, {"result": None}, skipped=True)
    turn.emit(ev.StepSkipped(path=path, step=step.id, kind=step.kind, closes=step.is_last, collected=collected))
    after(turn, step, path)


def _collects(step: Step) -> ForeachBody | None:
    """The `foreach` whose `collect` makes an item's value when this step, the last of an item, has ended."""
    block = step.block
    if not block.items or block.owner is None or not step.is_last:
        return None
    body = block.owner.body
    return body if isinstance(body, ForeachBody) and body.collect is not None else None


def _collected(
    turn: Turn, body: ForeachBody, step: Step, path: str, extra: dict[str, Any], *, skipped: bool = False
) -> Any:
    assert body.collect is not None
    view = turn.view(path)
    if not skipped:
        view["result"] = extra["result"]
    return turn.see(body.collect, step, path, {**extra, "steps": {step.id: view}})


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
    if run.handler is not None:
        conclude(turn, path, _last_result(turn, block_path))
    elif isinstance(body, SequenceBody | SwitchBody):
        complete(turn, path, _last_result(turn, block_path))
    elif isinstance(body, ParallelBody):
        if run.done == len(body.branches):
            _join(turn, path, body)
    elif isinstance(body, ForeachBody):
        if run.items is not None and run.done == len(run.items):
            complete(turn, path, list(run.results or ()))
        elif run.items is not None and run.started < len(run.items):
            turn.agenda[path] = None


def _last_result(turn: Turn, block_path: str) -> Any:
    """The result of a block: that of its last step, null if it was skipped."""
    result = turn.state.runs[turn.state.blocks[block_path].cursor].result
    return None if result is UNSET else result


def _join(turn: Turn, path: str, body: ParallelBody) -> None:
    """All branches have ended: their results, or the first failure in the order of the branches."""
    results: dict[str, Any] = {}
    for name, block in body.branches:
        block_path = path + block.suffix
        last = turn.state.runs[turn.state.blocks[block_path].cursor]
        if last.state is StepState.FAILED and last.error is not None:
            fail(turn, path, last.error)
            return
        results[name] = _last_result(turn, block_path)
    complete(turn, path, results)


def complete_execution(turn: Turn) -> None:
    """Every step is done: make the output and end, or park if the output cannot be made."""
    try:
        output = _last_result(turn, "")
        if turn.plan.output is not None:
            output = turn.bounded(turn.plan.output.evaluate(turn.lookup(())), turn.plan.output)
    except ExpressionError as error:
        turn.emit(ev.ExecutionParked(failure=expression_failure(error)))
        return
    turn.emit(ev.ExecutionCompleted(output=output))


# Failing


def fail(turn: Turn, path: str, failure: Failure) -> None:
    """A step has failed for good: park it, handle it, or fail the scope around it."""
    run = turn.state.runs[path]
    if run.state is not StepState.PARKED and not failure.decided and _parks(turn, path, run, failure):
        turn.emit(ev.StepParked(path=path, failure=failure))
    else:
        give_up(turn, path, failure)


def _parks(turn: Turn, path: str, run: Run, failure: Failure) -> bool:
    step = turn.plan.steps[run.step]
    if step.retry.park and run.handler is None:
        return True
    if not turn.plan.park_on_failure or (run.handler is None and _handler_for(step, failure) is not None):
        return False
    return not _caught(turn, step, path, failure)


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


def decide_to_fail(turn: Turn, path: str, failure: Failure) -> None:
    """An operator lets a parked failure stand."""
    give_up(turn, path, msgspec.structs.replace(failure, decided=True))


def _handler_for(step: Step, failure: Failure) -> int | None:
    return next((n for n, entry in enumerate(step.handlers) if _matches(entry, failure)), None)


def _matches(entry: Handler, failure: Failure) -> bool:
    return not entry.match or failure.type in entry.match


def _caught(turn: Turn, step: Step, path: str, failure: Failure) -> bool:
    """Whether something around this step answers its failure, so that it would not end the execution."""
    while (owner := step.block.owner) is not None:
        owner_path = owner_of(turn.state, block_of(path))
        assert owner_path is not None
        if turn.state.runs[owner_path].handler is None:
            if isinstance(owner.body, ForeachBody) and owner.body.continue_on_error:
                return True
            if _handler_for(owner, failure) is not None:
                return True
        step, path = owner, owner_path
    return False


def _fail_outward(turn: Turn, step: Step, path: str, failure: Failure) -> None:
    block_path = block_of(path)
    owner_path = owner_of(turn.state, block_path)
    if owner_path is None:
        turn.emit(ev.StepFailed(path=path, failure=failure))
        turn.emit(ev.ExecutionFailed(failure=failure))
        return
    owner = turn.state.runs[owner_path]
    if owner.handler is not None and owner.error is not None:
        turn.emit(ev.StepFailed(path=path, failure=failure))
        fail(turn, owner_path, failure.because(owner.error))
        return
    body = turn.plan.steps[owner.step].body
    goes_on = isinstance(body, ParallelBody) and not body.fail_fast
    goes_on = goes_on or (isinstance(body, ForeachBody) and body.continue_on_error)
    turn.emit(ev.StepFailed(path=path, failure=failure, closes=goes_on))
    if goes_on:
        _branch_failed(turn, owner_path, owner, block_path)
    else:
        close_scope(turn, owner_path, failure)


def _branch_failed(turn: Turn, path: str, owner: Run, block_path: str) -> None:
    """A scope goes on without one of its blocks, unless too many items have failed."""
    failures = owner.failures or []
    if item_number(block_path) is not None and 0 <= owner.max_failures < len(failures):
        last = failures[-1].error
        message = f"{len(failures)} items failed; max_failures is {owner.max_failures}"
        close_scope(turn, path, Failure(TOO_MANY_FAILURES, message, cause=last, retryable=False, decided=last.decided))
    else:
        _block_ended(turn, path, block_path)


# Scopes with attempts in workers' hands


def close_scope(turn: Turn, path: str, failure: Failure) -> None:
    """A scope fails: at once, or when the attempts that workers hold within it have been answered."""
    awaiting, due = delivered_within(turn, path)
    if awaiting:
        turn.emit(ev.ScopeClosing(path=path, failure=failure, awaiting=awaiting, due=due))
    else:
        fail(turn, path, failure)


def delivered_within(turn: Turn, path: str = "") -> tuple[tuple[str, ...], int]:
    """Tasks in a scope (empty: the execution) that workers hold, and until when their answers are awaited.

    None, if nothing is awaited for even a moment.
    """
    held = turn.facts.delivered
    found = tuple(
        inner
        for inner, run in turn.state.open_runs(path)
        if run.operation and run.state is StepState.SCHEDULED and inner in held
    )
    grace = max((_grace(turn, inner) for inner in found), default=0)
    return (found, turn.due_in(grace)) if grace > 0 else ((), 0)


def _grace(turn: Turn, path: str) -> int:
    """Microseconds for which a task's answer is awaited: its own `cancel_grace`, else the engine's."""
    step = turn.plan.steps[turn.state.runs[path].step]
    try:
        own = turn.duration(step.timeouts.cancel_grace, step, path)
    except ExpressionError:
        own = None
    return turn.limits.cancel_grace_us if own is None else own


def answered(turn: Turn, path: str, event: ev.StepCompleted | ev.StepFailed | ev.StepCancelled) -> None:
    """An awaited attempt was answered: record it, and end the scope if it was the last."""
    scope = turn.state.awaiting[path]
    turn.emit(event)
    left = turn.state.runs[scope].awaits if scope else len(turn.state.awaiting)
    if not left:
        end_scope(turn, scope)


def end_scope(turn: Turn, scope: str) -> None:
    """The grace is over, or nothing is awaited any more."""
    if not scope:
        turn.emit(ev.ExecutionCancelled(reason=turn.state.reason))
    elif (failure := turn.state.runs[scope].closing) is not None:
        fail(turn, scope, failure)
