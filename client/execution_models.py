"""What the client answers with about executions, their events and jobs: small frozen values, one for each message.

Each field has the name of the message's field, or says it as `wire`; `decoding` needs nothing more.
"""

import dataclasses
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from .decoding import value_of


@value_of("ExecutionStatus")
class Status(StrEnum):
    """Where an execution stands. Being paused and having incidents are flags beside it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    REVERTING = "REVERTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REVERTED = "REVERTED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self not in (Status.PENDING, Status.RUNNING, Status.REVERTING)


@value_of("StepState")
class StepState(StrEnum):
    """Where a step run stands."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    WAITING = "WAITING"
    RETRYING = "RETRYING"
    PARKED = "PARKED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    REVERTING = "REVERTING"
    REVERTED = "REVERTED"
    REVERT_FAILED = "REVERT_FAILED"


@value_of("WaitingOn")
class WaitingOn(StrEnum):
    """What an open step run waits for."""

    QUEUE = "QUEUE"
    WORKER = "WORKER"
    TIMER = "TIMER"
    EVENT = "EVENT"
    RETRY = "RETRY"
    POLL = "POLL"
    SUBFLOW = "SUBFLOW"
    STEPS = "STEPS"
    RESOLUTION = "RESOLUTION"
    RESUME = "RESUME"
    CACHE = "CACHE"


@value_of("IncidentKind")
class IncidentKind(StrEnum):
    """What kind of decision an incident waits for."""

    STEP_PARKED = "STEP_PARKED"
    REVERT_FAILED = "REVERT_FAILED"
    EXECUTION_PARKED = "EXECUTION_PARKED"
    OUTPUT_FAILED = "OUTPUT_FAILED"
    POISONED = "POISONED"
    HISTORY_DAMAGED = "HISTORY_DAMAGED"


@value_of("Failure")
@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """How a step, a task or an execution failed: `type` is a name, never a class."""

    type: str
    message: str
    details: Any = None
    cause: "Failure | None" = None
    retryable: bool | None = None
    retry_after: timedelta | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@value_of("OpenStep")
@dataclasses.dataclass(frozen=True, slots=True)
class OpenStep:
    """A step run that is entered and not ended."""

    path: str
    state: StepState
    waiting_on: WaitingOn | None
    since: datetime | None
    attempt: int
    max_attempts: int
    next_attempt_at: datetime | None
    last_failure: Failure | None
    operation: str
    worker_id: str
    event: str
    incarnation: int
    progress: Any
    child_execution_id: str


@value_of("Incident")
@dataclasses.dataclass(frozen=True, slots=True)
class Incident:
    """Something of an execution that waits for someone's decision."""

    id: str = dataclasses.field(metadata={"wire": "incident_id"})
    kind: IncidentKind
    step_path: str
    failure: Failure | None
    opened_at: datetime | None
    dead_letter_id: str


@value_of("TriggerOrigin")
@dataclasses.dataclass(frozen=True, slots=True)
class TriggerOrigin:
    """What started an execution: a trigger, on an event (`event_id`) or for a slot of its schedule."""

    trigger_id: str
    event_id: str
    slot: datetime | None


@value_of("ForkOrigin")
@dataclasses.dataclass(frozen=True, slots=True)
class ForkOrigin:
    """The execution that another one began as a copy of, and the last event taken over."""

    execution_id: str
    sequence: int
    hash: bytes
    imported: bool
    """It came from an export, of this or another server."""


@value_of("Execution")
@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
    """One run of a definition, as of `sequence`.

    `input`, `variables`, `open_steps` and `incidents` are there where it was read in full (`Client.get`).
    """

    id: str = dataclasses.field(metadata={"wire": "execution_id"})
    tenant: str
    definition_id: str
    version: int
    status: Status
    state: str
    output: Any
    error: Failure | None = dataclasses.field(metadata={"wire": "failure"})
    paused: bool
    incident_count: int
    incidents: tuple[Incident, ...]
    labels: dict[str, str]
    input: Any
    variables: Any
    open_steps: tuple[OpenStep, ...]
    open_step_count: int
    created_at: datetime | None
    started_at: datetime | None
    updated_at: datetime | None
    ended_at: datetime | None
    sequence: int
    unique_key: str
    user_id: str
    waits_for_execution_id: str
    """While PENDING: the execution that has to end before this one begins."""
    trigger: TriggerOrigin | None
    """The trigger that started it; None where no trigger did."""
    fork: ForkOrigin | None = None
    """What it was forked or imported from; None where it was started."""
    head_hash: bytes = b""
    """The hash of its last event."""
    erased_at: datetime | None = None
    """When its sensitive values were erased; None: they were not, or it comes from a list, which does not know."""
    started: bool | None = dataclasses.field(default=None, metadata={"wire": None})
    """Whether the call that answered started it; None where it did not start anything."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status.ended


@value_of("Causation")
@dataclasses.dataclass(frozen=True, slots=True)
class Causation:
    """What led to an event."""

    command: str
    source_id: str
    execution_id: str
    sequence: int


@value_of("WorkflowEvent")
@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A past fact about an execution. `sequence` alone is the order."""

    event_id: str
    tenant: str
    execution_id: str
    sequence: int
    event_name: str
    event_type: str
    from_state: str
    to_state: str
    user_id: str
    payload: Any
    created_at: datetime | None
    causation: Causation | None
    hash: bytes


@value_of("DeadLetter")
@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that was accepted and could not be processed, with its cause."""

    id: str = dataclasses.field(metadata={"wire": "dead_letter_id"})
    tenant: str
    execution_id: str
    kind: str
    event_name: str
    event_id: str
    payload: Any
    cause: Failure | None
    attempts: int
    accepted_at: datetime | None
    created_at: datetime | None
    user_id: str


@value_of("SubmitEventResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Submitted:
    """What became of an event that was submitted."""

    execution: Execution
    event_id: str
    sequence: int
    duplicate: bool
    kept: bool


@value_of("EnqueueEventResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Enqueued:
    """An event is durably accepted."""

    event_id: str
    duplicate: bool
    accepted_at: datetime | None


@value_of("TriggeredStart")
@dataclasses.dataclass(frozen=True, slots=True)
class TriggeredStart:
    """An execution that a trigger starts on an event; its version was fixed when the event was accepted."""

    definition_id: str
    trigger_id: str
    execution_id: str
    version: int


@value_of("OfferedWait")
@dataclasses.dataclass(frozen=True, slots=True)
class OfferedWait:
    """A waiting step that an event is offered to; its execution judges the step's filter."""

    execution_id: str
    step_path: str


@value_of("PublishEventResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Emitted:
    """An event for whoever listens is durably accepted, and what it matched at that moment.

    `started` and `offered` are the first of those counted, at most 10. With a `job_id` the counts are those known so
    far, and the job (`Client.wait_job`) works through the rest.
    """

    event_id: str
    duplicate: bool
    started_count: int
    started: tuple[TriggeredStart, ...]
    offered_count: int
    offered: tuple[OfferedWait, ...]
    warnings: tuple[str, ...]
    job_id: str
