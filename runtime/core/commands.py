"""What can be asked of one execution: every command, as one frozen value."""

from __future__ import annotations

import enum
from collections.abc import Container
from typing import Any, TypeAlias, Union

import msgspec

from .failures import Failure
from .sealing import Vault

KEY_LINE = "key:"
"""What the name of the line of a unique key begins with."""
TRIGGER_LINE = "trigger:"
"""What the name of the line of a trigger's executions begins with."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The trigger that started an execution, and on what."""

    trigger_id: str
    event_id: str = ""
    """Of the published event; empty: it was no event."""
    slot: int = 0
    """The nominal instant of the schedule's slot, in microseconds since the epoch; 0: it was no schedule."""


class ForkOrigin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The execution that another one began as a copy of, and at which of its events."""

    execution_id: str
    sequence: int
    """Of the last event taken over."""
    hash: bytes
    """Of that event."""
    imported: bool = False
    """It came from an export."""


class Start(msgspec.Struct, frozen=True):
    """Begin the execution, or accept it for later."""

    definition_id: str
    version: int
    input: Any = None
    labels: dict[str, str] = {}
    trace: str = ""
    lines: tuple[str, ...] = ()
    """The lines it has a place in until it ends."""
    behind: str = ""
    """The id of the execution before it in its line: it is PENDING until it is released; empty: it begins at once."""
    origin: Origin | None = None
    """None: a call started it."""


class Release(msgspec.Struct, frozen=True):
    """It has come to the front of its line: a PENDING execution begins."""


class Join(msgspec.Struct, frozen=True):
    """Another start is answered with this execution, which holds its unique key. Nothing happens to it; what comes
    with the command (the id of that request) is remembered, unless it has ended."""


class Submit(msgspec.Struct, frozen=True):
    """An event from outside."""

    name: str
    payload: Any = None
    event_id: str = ""
    """The caller's, for deduplication; the event carries it."""
    enqueued: bool = False


class Offer(msgspec.Struct, frozen=True):
    """A published event of the key that a `receive` waits for; that step alone may take it, and it is never kept."""

    path: str
    name: str
    payload: Any = None
    published_id: str = ""
    """The event's id in the tenant."""


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


class Erase(msgspec.Struct, frozen=True):
    """Erase its sensitive values; it must have ended."""

    reason: str = ""
    letters: tuple[tuple[int, bytes], ...] = ()
    """Its dead letters with sensitive payloads, by number: what takes the place of these."""


class Proceed(msgspec.Struct, frozen=True):
    """Go on with a decision that was cut at `turn_events_max`."""

    left: dict[str, None] | None = None
    """What it had still to look at; None (after a restart): to be found from the state."""


Command: TypeAlias = Union[  # noqa: UP007 - a closed list reads best one a line
    Start,
    Release,
    Join,
    Submit,
    Offer,
    CompleteTask,
    FailTask,
    LoseDelivery,
    FireTimer,
    Cancel,
    Terminate,
    Resolve,
    Erase,
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
    vault: Vault | None = None
    """Its sensitive values; None: its definition knows none."""
