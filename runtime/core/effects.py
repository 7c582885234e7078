"""What has to be done outside after a commit, as values: each is a row written with the events that ask for it.

The journal writes them in the transaction of the append and, once it is on disk, feeds them to the dispatcher and
the timers. Nothing here is executed by the actor; an actor that dies between commit and effect loses nothing.
"""

from __future__ import annotations

from typing import TypeAlias, Union

import msgspec


class OpenTask(msgspec.Struct, frozen=True):
    """An attempt of a task is wanted: queue it for a worker (replaces the row of the attempt before)."""

    path: str
    operation: str
    attempt: int
    scheduled: int
    """Sequence of the StepScheduled event that holds the input."""
    priority: int = 0
    attempt_timeout: int = 0
    """Microseconds from delivery; 0: no limit."""
    input: object = msgspec.UNSET
    """The input where it is at hand; UNSET: to be read from the event at `scheduled`, with its `trace`."""
    trace: str = ""
    """`traceparent` for the worker."""


class CloseTask(msgspec.Struct, frozen=True):
    """The task is over or called off: take it out of the queue; whoever holds it has a stale token from now on."""

    path: str


class RequestCancel(msgspec.Struct, frozen=True):
    """Tell the worker that holds this task to stop; its answer is still awaited."""

    path: str


class SetTimer(msgspec.Struct, frozen=True):
    """Call back at `due` (microseconds since the epoch); one timer per step and name."""

    path: str
    timer: str
    due: int


class ClearTimer(msgspec.Struct, frozen=True):
    """The timer is no longer wanted; an empty name clears all of the step's."""

    path: str
    timer: str = ""


class Continue(msgspec.Struct, frozen=True):
    """The decision was cut at `turn_events_max`: go on in another turn, also after a restart."""


class BuryEvent(msgspec.Struct, frozen=True):
    """An enqueued event that the execution ended without taking: it becomes a dead letter."""

    name: str
    payload: object
    event_id: str
    cause: str


class CloseExecution(msgspec.Struct, frozen=True):
    """The execution has ended: all its open tasks and timers go, waiting callers are told."""


class OpenWait(msgspec.Struct, frozen=True):
    """A `receive` with a key waits: published events of these names and this key are offered to it."""

    path: str
    names: tuple[str, ...]
    key: str


class CloseWait(msgspec.Struct, frozen=True):
    """The step no longer waits for published events."""

    path: str


class EmitEvent(msgspec.Struct, frozen=True):
    """Publish an event: an outbox row, delivered after the commit and accepted once."""

    sequence: int
    """Of the event that asks for it."""
    name: str
    key: str
    payload: object


class LeaveLine(msgspec.Struct, frozen=True):
    """The execution has ended and leaves this line; the next in it is released by the same commit."""

    line: str


Effect: TypeAlias = Union[  # noqa: UP007
    OpenTask,
    CloseTask,
    RequestCancel,
    SetTimer,
    ClearTimer,
    Continue,
    BuryEvent,
    OpenWait,
    CloseWait,
    EmitEvent,
    LeaveLine,
    CloseExecution,
]
