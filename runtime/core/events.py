"""What can happen to an execution: every event, as one frozen value.

An event says all that replay needs; nothing about it is looked up elsewhere (no definition, no clock, no
expression). Times are integer microseconds since the epoch. Fields at their defaults are not stored. A later
shape of an event gets the stored name ``<Name>.2`` and an upcast, so that stored events are never rewritten.
"""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import msgspec
from msgspec import UNSET, UnsetType

from .commands import ForkOrigin, Origin
from .failures import Failure


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The base of all events: immutable, and stored without the fields that are at their defaults."""


class ExecutionStarted(_Event, frozen=True):
    """The first event of every execution: what it runs and with what."""

    definition_id: str
    version: int
    input: Any = None
    labels: dict[str, str] = {}
    trace: str = ""
    """W3C `traceparent` of the caller: the trace that the whole execution belongs to."""
    lines: tuple[str, ...] = ()
    """The lines it has a place in until it ends: `key:<unique key>`, `trigger:<trigger id>`."""
    behind: str = ""
    """The id of the execution it waits for: it is PENDING until ExecutionReleased; empty: it begins at once."""
    origin: Origin | None = None
    """The trigger that started it."""


class StepScheduled(_Event, frozen=True):
    """A step began: its conditions held, and everything it needs was resolved once, for all its attempts."""

    path: str
    step: str
    kind: str
    state: str | None = None
    """The execution's new `state` (`set_state`), which stays until another step sets one."""
    operation: str = ""
    """`service.operation` of a task; empty when its input could not be resolved."""
    input: Any = None
    """The resolved input of a task."""
    priority: int = 0
    attempt_timeout: int = 0
    """Microseconds an attempt may take from its delivery; 0: no limit."""
    queue_timeout: int = 0
    """Microseconds an attempt may wait for a worker, each time it is queued; 0: no limit."""
    total_timeout: int = 0
    """Microseconds all attempts may take together; 0: no limit."""
    events: tuple[str, ...] = ()
    """Names of the events that a `receive` waits for."""
    key: str = ""
    """The key of the published events that a `receive` hears, too; empty: it hears none."""
    items: Any = None
    """The resolved items of a `foreach`."""
    max_failures: int = -1
    """How many items of a `foreach` may fail; -1: any number."""
    trace: str = ""
    """`traceparent` of the execution, for the worker; kept here so that a recovered task still has it."""


class StepCompleted(_Event, frozen=True):
    """A step ended well; whatever is still open within it is cancelled by this."""

    path: str
    result: Any | UnsetType = UNSET
    """UNSET: null, or for a `receive` made from the event it took."""
    received: int = 0
    """For a `receive`: the sequence of the event it took."""
    variables: dict[str, Any] | None = None
    """For a `set`: the new values of `vars`."""
    closes: bool = False
    """It was the last of its list of steps."""
    collected: Any | UnsetType = UNSET
    """With `closes` in a `foreach`: the item's value, where `collect` gives another than the last result."""


class StepSkipped(_Event, frozen=True):
    """A step's `when` was false."""

    path: str
    step: str
    kind: str
    closes: bool = False
    collected: Any | UnsetType = UNSET


class StepRetryScheduled(_Event, frozen=True):
    """An attempt failed, and another follows at `due`."""

    path: str
    attempt: int
    """The attempt that failed, from 1."""
    failure: Failure
    due: int


class StepDeliveryLost(_Event, frozen=True):
    """A worker vanished with the attempt in hand; the same attempt is delivered again."""

    path: str
    attempt: int
    worker_id: str = ""


class StepFailed(_Event, frozen=True):
    """A step failed for good: no attempt is left; whatever is still open within it is cancelled by this."""

    path: str
    failure: Failure
    handler: int | None = None
    """The `on_error` entry that now runs for it; the step then ends as that ends."""
    closes: bool = False
    """The scope goes on without it (`on_item_error: CONTINUE`, or a `parallel` without `fail_fast`)."""


class StepParked(_Event, frozen=True):
    """A step failed for good and waits for an operator (PARK): an incident is open."""

    path: str
    failure: Failure


class StepCancelled(_Event, frozen=True):
    """A step was ended from outside."""

    path: str


class ScopeClosing(_Event, frozen=True):
    """A scope has failed. What is open in it is cancelled, but for the attempts that workers already hold: their
    answers are awaited until `due`."""

    path: str
    failure: Failure
    awaiting: tuple[str, ...]
    due: int


class StepResolved(_Event, frozen=True):
    """An operator decided what becomes of a parked step (`path` empty: of the execution's end)."""

    path: str
    action: str
    reason: str = ""


class BranchChosen(_Event, frozen=True):
    """A `switch` chose its case; -1: `default`."""

    path: str
    case: int


class TimerSet(_Event, frozen=True):
    """A durable timer was set for a step."""

    path: str
    timer: str
    due: int


class TimerFired(_Event, frozen=True):
    """A timer of a step came due and was acted upon."""

    path: str
    timer: str


class EventReceived(_Event, frozen=True):
    """An event arrived from outside and is kept until a `receive` takes it; one that was published is taken at once."""

    name: str
    payload: Any = None
    enqueued: bool = False
    """It was accepted by EnqueueEvent: if the execution ends before it is taken, it becomes a dead letter."""
    published_id: str = ""
    """Of a published event: its id in the tenant."""
    offered_to: str = ""
    """Of a published event: the path of the step that waited for it and takes it."""


class WarningRaised(_Event, frozen=True):
    """Something did not do what its author may have meant, and nothing failed (a filter that errors)."""

    path: str
    message: str


class ExecutionParked(_Event, frozen=True):
    """The execution could not end (`on_failure: PARK`, or its `output` failed): an incident is open."""

    failure: Failure


class ExecutionCancelling(_Event, frozen=True):
    """Cancellation was asked for; the answers of attempts that workers hold are awaited until `due`."""

    reason: str = ""
    awaiting: tuple[str, ...] = ()
    due: int = 0


class ExecutionCompleted(_Event, frozen=True):
    """The end: every step is done, or a `finish` was reached."""

    output: Any = None


class ExecutionFailed(_Event, frozen=True):
    """The end: a failure that nothing handled."""

    failure: Failure


class ExecutionCancelled(_Event, frozen=True):
    """The end: cancelled."""

    reason: str = ""


class ExecutionTerminated(_Event, frozen=True):
    """The end: terminated at once."""

    reason: str = ""


class ExecutionReleased(_Event, frozen=True):
    """What a PENDING execution waited for is over: it begins."""


class ExecutionErased(_Event, frozen=True):
    """The sensitive values of an execution that has ended were erased, for good."""

    reason: str = ""


class EventEmitted(_Event, frozen=True):
    """An `emit` published an event: it is accepted once, soon after this is on disk."""

    path: str
    name: str
    key: str = ""
    """Empty: it reaches triggers only."""
    payload: Any = None


class EventMissed(_Event, frozen=True):
    """A published event was offered to a step that waited for it when it was accepted, and waits no more."""

    path: str
    name: str
    published_id: str = ""


class ExecutionForked(_Event, frozen=True):
    """The first event of an execution that begins as another one was: forked from it, or imported.

    What is open goes on in the new one by itself. Left behind are the places in lines, the ids of events and requests,
    what was accepted and not processed, and the answers of workers that held a task.
    """

    origin: ForkOrigin
    state: Any
    """The whole state taken over, in the form of a snapshot; its times are those of the new execution."""


class StepInherited(_Event, frozen=True):
    """An open step run with a task came over with ExecutionForked; this is the input of its attempts from here on."""

    path: str
    input: Any = None
    trace: str = ""


Event: TypeAlias = Union[  # noqa: UP007 - a closed list reads best one a line
    ExecutionStarted,
    StepScheduled,
    StepCompleted,
    StepSkipped,
    StepRetryScheduled,
    StepDeliveryLost,
    StepFailed,
    StepParked,
    StepCancelled,
    ScopeClosing,
    StepResolved,
    BranchChosen,
    TimerSet,
    TimerFired,
    EventReceived,
    WarningRaised,
    ExecutionParked,
    ExecutionCancelling,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    ExecutionTerminated,
    ExecutionReleased,
    EventEmitted,
    EventMissed,
    ExecutionForked,
    StepInherited,
    ExecutionErased,
]

TERMINAL = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled, ExecutionTerminated)
"""After one of these nothing follows, but that its sensitive values may be erased."""

TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__args__}  # type: ignore[attr-defined]
"""Event types by their stored names."""


def category(name: str) -> str:
    """The `event_type` of a stored event name: execution, step, timer, event or control."""
    if name in _CONTROL:
        return "control"
    for prefix, kind in (("Execution", "execution"), ("Timer", "timer"), ("Event", "event")):
        if name.startswith(prefix):
            return kind
    return "step"


_CONTROL = frozenset({"StepResolved", "ExecutionCancelling", "ExecutionTerminated", "ExecutionErased"})
