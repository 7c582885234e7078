"""What the client answers with: small frozen values, one for each message users meet.

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


@value_of("DefinitionState")
class DefinitionState(StrEnum):
    """Where a version of a definition stands."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    SUPERSEDED = "SUPERSEDED"
    RETRACTED = "RETRACTED"
    DELETING = "DELETING"
    DELETED = "DELETED"


@value_of("ViolationSeverity")
class Severity(StrEnum):
    """Whether a violation stands in the way."""

    ERROR = "ERROR"
    WARNING = "WARNING"


@value_of("DefinitionViolation")
@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request or a definition, located. Lines and columns count from 1; 0 is "not in a text"."""

    path: str
    message: str
    source_name: str = ""
    line: int = 0
    column: int = 0
    code: str = ""
    severity: Severity = Severity.ERROR
    definition_id: str = ""

    def __str__(self) -> str:
        place = f"{self.source_name}:{self.line}:{self.column}" if self.line else self.source_name
        message = self.message.removeprefix(f"{place}: ") if place else self.message
        # Servers may say the path in the message already.
        path = "" if message.startswith(f"{self.path}:") else self.path
        return ": ".join(part for part in (place, path, message) if part)


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


@value_of("PublishEventResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Emitted:
    """An event for whoever listens is durably accepted, and what it matched at that moment."""

    event_id: str
    duplicate: bool
    started_count: int
    offered_count: int
    warnings: tuple[str, ...]
    job_id: str


@value_of("StageRun")
@dataclasses.dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of a lifecycle change that has run."""

    name: str
    duration: timedelta | None


@value_of("PublishImpact")
@dataclasses.dataclass(frozen=True, slots=True)
class PublishImpact:
    """What a lifecycle change does to triggers and executions."""

    previous_version: int
    running_executions: int
    triggers_added: tuple[str, ...]
    triggers_changed: tuple[str, ...]
    triggers_removed: tuple[str, ...]


@value_of("PublishDefinitionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """What was published, or with `validate_only` would be."""

    definition_id: str
    version: int
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
    impact: PublishImpact | None
    warnings: tuple[Violation, ...]
    etag: str
    job_id: str


@value_of("DefinitionSummary")
@dataclasses.dataclass(frozen=True, slots=True)
class DefinitionSummary:
    """A definition as a whole."""

    id: str = dataclasses.field(metadata={"wire": "definition_id"})
    description: str
    state: DefinitionState
    published_version: int
    latest_version: int
    has_draft: bool
    revision: int
    etag: str
    created_at: datetime | None
    updated_at: datetime | None


@value_of("SourceText")
@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The text a definition was published from."""

    name: str
    text: str


@value_of("DefinitionVersion")
@dataclasses.dataclass(frozen=True, slots=True)
class DefinitionVersion:
    """One version of a definition, immutable, or its draft (`version` 0)."""

    definition_id: str
    version: int
    state: DefinitionState
    description: str
    content_hash: bytes
    source: Source | None
    created_at: datetime | None
    user_id: str
    revision: int


@value_of("RetractDefinitionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Retracted:
    """A published version was taken back, or with `validate_only` would be; the definition is as it is now."""

    definition: DefinitionSummary
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
    impact: PublishImpact | None


@value_of("RevertDefinitionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Reverted:
    """An old version's content was published as the next version, or with `validate_only` would be."""

    definition_version: DefinitionVersion
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
    impact: PublishImpact | None
    warnings: tuple[Violation, ...]
    etag: str
    job_id: str


@value_of("DefinitionEvent")
@dataclasses.dataclass(frozen=True, slots=True)
class DefinitionEvent:
    """A past fact about a definition. `version` 0 is the draft; what `payload` holds depends on `event_name`."""

    event_id: str
    definition_id: str
    sequence: int
    event_name: str
    version: int
    revision: int
    user_id: str
    created_at: datetime | None
    payload: Any


@value_of("PutDraftResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """A draft is stored; `violations` says what publishing it would refuse or warn about."""

    definition: DefinitionSummary
    revision: int
    violations: tuple[Violation, ...]
    changed: bool


@value_of("Queue")
@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """The tasks of one operation."""

    operation: str
    queued: int
    running: int
    oldest_age: timedelta | None
    workers: int
    free_slots: int
    paused: bool


@value_of("WorkerInfo")
@dataclasses.dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as the server sees it."""

    id: str = dataclasses.field(metadata={"wire": "worker_id"})
    build: str
    tenant: str
    address: str
    since: datetime | None
    seen_at: datetime | None
    in_flight: int
    max_in_flight: int
    operations: tuple[str, ...]
    draining: bool


@value_of("Limit")
@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the server; 0 is no limit."""

    name: str
    value: int
    unit: str
    description: str


@value_of("ServerCounts")
@dataclasses.dataclass(frozen=True, slots=True)
class ServerCounts:
    """How much a server holds, of all tenants."""

    live_executions: int
    open_executions: int
    open_tasks: int
    timers: int
    inbox: int
    dead_letters: int
    workers: int
    waiting_commands: int
    watchers: int


@value_of("GetServerInfoResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is, how far it goes and how much it holds."""

    version: str
    schema_version: int
    store_id: str
    generation: int
    boot: int
    started_at: datetime | None
    limits: tuple[Limit, ...]
    counts: ServerCounts | None
    revision: int
    draining: bool
    storage: str
