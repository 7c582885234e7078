"""What is shown of an execution: a reading of its state at one moment, in plain values."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from .core.commands import KEY_LINE, ForkOrigin, Origin
from .core.failures import Failure
from .core.plan import Plan
from .core.state import Run, State, Status, StepState
from .rows import ExecutionRecord, ExecutionRef, Head

_INT32_MAX: Final = 2**31 - 1
_LABELS: Final = msgspec.json.Decoder(dict[str, str])


class IncidentView(msgspec.Struct, frozen=True):
    """Something that waits for an operator."""

    path: str
    """The parked step; empty: the execution's own end."""
    since: int
    failure: Failure
    dead_letter: int = 0
    """The dead letter that it is about: an event that broke the execution whenever it was tried; 0: none."""


class OpenStep(msgspec.Struct, frozen=True):
    """A step run that has not ended, and what it waits for."""

    path: str
    state: str
    waiting_on: str
    """`worker`, `worker-answer`, `retry`, `timer`, `event`, `operator`, `steps`."""
    since: int
    attempt: int = 0
    max_attempts: int = 0
    """0: no limit."""
    next_attempt_at: int = 0
    last_failure: Failure | None = None
    operation: str = ""
    worker_id: str = ""
    events: tuple[str, ...] = ()
    key: str = ""
    """The key of the published events that it hears, too."""


class ExecutionView(msgspec.Struct, frozen=True):
    """One execution at one moment. Times are microseconds since the epoch; 0: not yet."""

    ref: ExecutionRef
    key: int
    definition_id: str
    version: int
    status: Status
    state: str
    sequence: int
    labels: dict[str, str]
    created_at: int
    """When it was accepted."""
    started_at: int
    """When its first step was entered; in listings of one that was PENDING at first: when it was accepted."""
    updated_at: int
    ended_at: int
    incident_count: int = 0
    input: Any = UNSET
    """UNSET in listings, which do not carry it; so with the fields below."""
    output: Any = UNSET
    variables: Any = UNSET
    failure: Failure | None = None
    reason: str = ""
    unique_key: str = ""
    """The key it holds until it ends; like the two below not known in listings."""
    behind: str = ""
    """The id of the execution that it was accepted behind, PENDING at first; empty: it began at once."""
    origin: Origin | None = None
    """The trigger that started it."""
    hash: bytes = b""
    """Of its last event."""
    fork: ForkOrigin | None = None
    """What it was forked or imported from; not known in listings."""
    erased_at: int = 0
    """When its sensitive values were erased; not known in listings."""
    incidents: tuple[IncidentView, ...] = ()
    open_steps: tuple[OpenStep, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more can happen."""
        return self.status.ended


def basic_view(record: ExecutionRecord) -> ExecutionView:
    """What the listing projection tells."""
    head = record.head
    return ExecutionView(
        ref=record.ref,
        key=record.key,
        definition_id=head.definition_id,
        version=head.version if head.version <= _INT32_MAX else -1,
        status=_status(head),
        state=head.state,
        sequence=head.sequence,
        labels=_labels(head),
        created_at=head.started_at,
        started_at=0 if head.status == Status.PENDING else head.started_at,
        updated_at=head.updated_at,
        ended_at=head.ended_at,
        incident_count=head.incidents if head.incidents <= _INT32_MAX else -1,
        hash=head.hash,
    )


def _status(head: Head) -> Status:
    """One that a flipped bit has made of another is told by its end. `verify` says what it should be, and must be able
    to list it."""
    try:
        return Status(head.status)
    except ValueError:
        return Status.FAILED if head.ended_at else Status.RUNNING


def _labels(head: Head) -> dict[str, str]:
    """None where they are damaged."""
    try:
        return _LABELS.decode(head.labels)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def state_view(state: State, ref: ExecutionRef, key: int) -> ExecutionView:
    """What the state tells, without its open steps."""
    return ExecutionView(
        ref=ref,
        key=key,
        definition_id=state.definition_id,
        version=state.version,
        status=state.status,
        state=state.state,
        sequence=state.sequence,
        labels=state.labels,
        created_at=state.started_at,
        started_at=state.begun_at,
        updated_at=state.updated_at,
        ended_at=state.ended_at,
        incident_count=len(state.incidents),
        input=state.input,
        output=state.output,
        variables=dict(state.variables),
        failure=state.failure,
        reason=state.reason,
        unique_key=next((line[len(KEY_LINE) :] for line in state.lines if line.startswith(KEY_LINE)), ""),
        behind=state.behind,
        origin=state.origin,
        fork=state.fork,
        erased_at=state.erased_at,
        hash=state.hash,
        incidents=tuple(IncidentView(path, one.since, one.failure) for path, one in state.incidents.items()),
    )


def full_view(state: State, ref: ExecutionRef, key: int, plan: Plan | None, steps_max: int) -> ExecutionView:
    """With up to `steps_max` open steps; who holds a task is filled in by whoever knows."""
    opened: list[OpenStep] = []
    for path, run in state.open_runs():
        if len(opened) >= steps_max:
            break
        opened.append(_open_step(path, run, plan))
    return msgspec.structs.replace(state_view(state, ref, key), open_steps=tuple(opened))


def _open_step(path: str, run: Run, plan: Plan | None) -> OpenStep:
    return OpenStep(
        path=path,
        state=run.state.value,
        waiting_on=_waiting_on(run),
        since=run.since,
        attempt=run.attempt,
        max_attempts=_attempts_allowed(run, plan),
        next_attempt_at=run.due or run.timers.get("wait", 0) or run.timers.get("receive", 0),
        last_failure=run.error,
        operation=run.operation,
        events=run.events,
        key=run.key,
    )


def _attempts_allowed(run: Run, plan: Plan | None) -> int:
    """The attempt after which the budget is spent; 0: there is no limit."""
    allowed = plan.steps[run.step].retry.max_attempts if plan is not None else 0
    return run.spent + allowed if allowed else 0


def _waiting_on(run: Run) -> str:
    match run.state:
        case StepState.SCHEDULED:
            return "worker"
        case StepState.RETRYING:
            return "retry"
        case StepState.PARKED:
            return "operator"
        case _:
            pass
    if run.events and run.handler is None:
        return "event"
    return "timer" if run.kind == "wait" else "steps"
