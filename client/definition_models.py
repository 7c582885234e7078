"""What the client answers with about definitions and their triggers: small frozen values, one for each message.

Each field has the name of the message's field, or says it as `wire`; `decoding` needs nothing more.
"""

import dataclasses
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from .decoding import value_of


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
        located = f"{self.source_name}:{self.line}:{self.column}" if self.source_name else f"line {self.line}"
        place = located if self.line else self.source_name
        message = self.message.removeprefix(f"{place}: ") if place else self.message
        # Servers may say the path in the message already.
        path = "" if message.startswith(f"{self.path}:") else self.path
        return ": ".join(part for part in (place, path, message) if part)


@value_of("StageRun")
@dataclasses.dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of a lifecycle change that has run.

    `error` says why a stage of the server's own configuration, after `record`, failed each time; the change stands.
    """

    name: str
    duration: timedelta | None
    error: str


@value_of("PublishImpact")
@dataclasses.dataclass(frozen=True, slots=True)
class PublishImpact:
    """What a lifecycle change does to steps, triggers and executions.

    `version` is published afterwards and `previous_version` before (0: none). Steps and triggers are named by id.
    """

    previous_version: int
    version: int
    running_executions: int
    steps_added: tuple[str, ...]
    steps_changed: tuple[str, ...]
    steps_removed: tuple[str, ...]
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
    """One version of a definition, immutable, or its draft (`version` 0).

    `definition` and `source` are there where it was read by itself (`Client.definition`). `definition` is a dict in the
    form of definition files, which `Client.publish` takes again.
    """

    definition_id: str
    version: int
    state: DefinitionState
    description: str
    content_hash: bytes
    definition: dict[str, Any] | None
    source: Source | None
    created_at: datetime | None
    user_id: str
    revision: int
    summary: DefinitionSummary | None = dataclasses.field(default=None, metadata={"wire": None})
    """The definition as a whole, where it was read by itself."""


@value_of("PublishedDefinition")
@dataclasses.dataclass(frozen=True, slots=True)
class PublishedDefinition:
    """One definition that was published together with others, or with `validate_only` would be."""

    definition_version: DefinitionVersion
    changed: bool
    impact: PublishImpact | None
    warnings: tuple[Violation, ...]
    etag: str


@value_of("BatchPublishResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class BatchPublished:
    """Several definitions were published with one revision, in the order given, or with `validate_only` would be."""

    definitions: tuple[PublishedDefinition, ...]
    revision: int
    stages: tuple[StageRun, ...]
    job_id: str


@value_of("ImportDefinitionsResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """Exported definitions were published with one revision, in their order, or with `validate_only` would be."""

    definitions: tuple[PublishedDefinition, ...]
    revision: int
    stages: tuple[StageRun, ...]


@value_of("RetractDefinitionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Retracted:
    """A published version was taken back, or with `validate_only` would be; the definition is as it is now."""

    definition: DefinitionSummary
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
    impact: PublishImpact | None


@value_of("DeleteDefinitionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """A definition or one version of it was deleted, or with `validate_only` would be.

    Where the state of `definition` is DELETING, the job finishes it, and no more is claimed.
    """

    definition: DefinitionSummary
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
    impact: PublishImpact | None
    job_id: str


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
    stages: tuple[StageRun, ...]


@value_of("Overlap")
class Overlap(StrEnum):
    """What happens when a slot comes and the execution of an earlier one has not ended."""

    SKIP = "SKIP"
    QUEUE = "QUEUE"
    CANCEL_RUNNING = "CANCEL_RUNNING"
    ALLOW = "ALLOW"


@value_of("EventTrigger")
@dataclasses.dataclass(frozen=True, slots=True)
class EventTrigger:
    """The event that a trigger listens to."""

    name: str
    filter: str
    execution_id: str


@value_of("ScheduleTrigger")
@dataclasses.dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """The times of a trigger: one of `cron`, `every` and `at`; `overlap` None is SKIP."""

    cron: str | None
    every: str | None
    at: str | None
    time_zone: str
    overlap: Overlap | None
    catch_up: str
    jitter: str


@value_of("Trigger")
@dataclasses.dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as its definition has it: an event or a schedule."""

    id: str
    event: EventTrigger | None
    schedule: ScheduleTrigger | None
    unique_key: str
    input: Any


@value_of("TriggerInfo")
@dataclasses.dataclass(frozen=True, slots=True)
class TriggerInfo:
    """A trigger of a published definition. What is about slots is for schedules only.

    `waiting` counts the slots that wait for the execution before them (`overlap: QUEUE`), `skipped` those that started
    nothing, because of `overlap` or because they came too late.
    """

    definition_id: str
    trigger: Trigger
    version: int
    paused: bool
    next_slots: tuple[datetime, ...]
    """At most 5."""
    last_slot: datetime | None
    last_execution_id: str
    last_started_at: datetime | None
    waiting: int = dataclasses.field(metadata={"wire": "queued_slots"})
    skipped: int = dataclasses.field(metadata={"wire": "skipped_count"})
    last_skipped_slot: datetime | None

    @property
    def id(self) -> str:
        """The trigger's id in its definition."""
        return self.trigger.id


@value_of("PauseTriggerResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class TriggerPaused:
    """A trigger is paused, as it is now; `changed` is False where it was before."""

    trigger: TriggerInfo
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]


@value_of("ResumeTriggerResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class TriggerResumed:
    """A trigger is no longer paused, as it is now; `changed` is False where it was not."""

    trigger: TriggerInfo
    revision: int
    changed: bool
    stages: tuple[StageRun, ...]
