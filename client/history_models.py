"""What the client answers with about the past of executions: replays, what events changed, what checks found."""

import dataclasses
from datetime import datetime
from enum import StrEnum
from typing import Any

from .decoding import value_of
from .execution_models import Event, Execution


@value_of("Snapshot")
@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored state of an execution, after the event `sequence`."""

    sequence: int
    format: int
    size_bytes: int
    created_at: datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class StateChange:
    """One place, as a JSON Pointer, at which a state has changed. Where `added`, there was nothing before; where
    `removed`, there is nothing after."""

    pointer: str
    before: Any = None
    after: Any = None
    added: bool = False
    removed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ReplayStep:
    """How one event changed the state."""

    event: Event
    changes: tuple[StateChange, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """An execution as rebuilt from its events."""

    execution: Execution
    state: Any
    """The whole state. None where it is larger than one answer may be."""
    snapshot: Snapshot | None
    """The snapshot it began from; None: from zero."""
    events_replayed: int
    skipped_snapshots: tuple[Snapshot, ...]
    """Those that were passed over, as they are damaged or of another format."""
    steps: tuple[ReplayStep, ...] = ()
    """Where they were asked for."""
    sensitive: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    """The places in `state`, as JSON Pointers, at which sensitive values stand, each with a mark: where it is the same
    at two moments of one execution, so is the value."""


@value_of("VerifyProblemKind")
class VerifyProblemKind(StrEnum):
    """What kind of thing is wrong with a stored execution."""

    HASH = "HASH"
    GAP = "GAP"
    HEAD = "HEAD"
    EVENT = "EVENT"
    SNAPSHOT = "SNAPSHOT"
    LIVE_STATE = "LIVE_STATE"
    SEALED_VALUE = "SEALED_VALUE"


@value_of("VerifyProblem")
@dataclasses.dataclass(frozen=True, slots=True)
class VerifyProblem:
    """One thing that is wrong, and at which event or snapshot."""

    kind: VerifyProblemKind
    sequence: int
    message: str


@value_of("VerifyExecutionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What came of checking an execution."""

    valid: bool
    problems: tuple[VerifyProblem, ...]
    events_checked: int
    snapshots_checked: int
    head_sequence: int
    head_hash: bytes
    execution_id: str = dataclasses.field(default="", metadata={"wire": None})
