"""What can be asked of one execution: every command, as one frozen value."""

from __future__ import annotations

import enum
from collections.abc import Container
from typing import Any, TypeAlias, Union

import msgspec

from .failures import Failure


class Start(msgspec.Struct, frozen=True):
    """Begin the execution."""

    definition_id: str
    version: int
    input: Any = None
    labels: dict[str, str] = {}
    trace: str = ""


class Submit(msgspec.Struct, frozen=True):
    """An event from outside."""

    name: str
    payload: Any = None
    event_id: str = ""
    """The caller's, for deduplication; the event carries it."""
    enqueued: bool = False


class CompleteTask(msgspec.Struct, frozen=True):
    """A worker's good answer to an attempt. The dispatcher has already fenced off stale deliveries."""

    path: str
    attempt: int
    output: Any = None


class FailTask(msgspec.Struct, frozen=True):
    """A worker's failure, or the attempt's own time-out."""

    path: str
    attempt: int
    failure: Failure


class LoseDelivery(msgspec.Struct, frozen=True):
    """The worker that held the attempt is gone."""

    path: str
    attempt: int
    worker_id: str = ""


class FireTimer(msgspec.Struct, frozen=True):
    """A timer of the execution came due."""

    path: str
    timer: str
    due: int


class Cancel(msgspec.Struct, frozen=True):
    """End it in order: delivered attempts are awaited for their grace."""

    reason: str = ""


class Terminate(msgspec.Struct, frozen=True):
    """End it now."""

    reason: str = ""


class ResolveAction(enum.StrEnum):
    """What an operator does with a parked step."""

    RETRY_NOW = "RETRY_NOW"
    SKIP = "SKIP"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"


class Resolve(msgspec.Struct, frozen=True):
    """Decide what becomes of a parked step; an empty path is the execution's own end."""

    path: str
    action: ResolveAction
    result: Any = None
    reason: str = ""
    failure: Failure | None = None
    """FAIL: the failure to fail with, caused by the one that parked it; None: that one itself."""


class Proceed(msgspec.Struct, frozen=True):
    """Go on with a decision that was cut at `turn_events_max`."""

    left: dict[str, None] | None = None
    """What it had still to look at; None (after a restart): to be found from the state."""


Command: TypeAlias = Union[  # noqa: UP007 - a closed list reads best one a line
    Start,
    Submit,
    CompleteTask,
    FailTask,
    LoseDelivery,
    FireTimer,
    Cancel,
    Terminate,
    Resolve,
    Proceed,
]


class Facts(msgspec.Struct, frozen=True):
    """What a decision may know of the world: the only door through which time, chance and workers come in."""

    now: int
    """Microseconds since the epoch; never before the execution's last event."""
    chance: float = 0.5
    """A random number in [0, 1) for jitter."""
    delivered: Container[str] = frozenset[str]()
    """Paths of the tasks of this execution that are (or may be) in a worker's hands."""
