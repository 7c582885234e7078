"""What the client answers with about jobs, the work in the background that a call began: small frozen values.

Each field has the name of the message's field, or says it as `wire`; `decoding` needs nothing more.
"""

import dataclasses
from datetime import datetime
from enum import StrEnum

from .decoding import value_of
from .execution_models import Failure


@value_of("JobKind")
class JobKind(StrEnum):
    """What a job does."""

    MIGRATE = "MIGRATE"
    DELETE_DEFINITION = "DELETE_DEFINITION"
    PRUNE = "PRUNE"
    EXPAND_EVENT = "EXPAND_EVENT"


@value_of("JobState")
class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self in (JobState.SUCCEEDED, JobState.FAILED)


@value_of("JobFailure")
@dataclasses.dataclass(frozen=True, slots=True)
class JobFailure:
    """The failure of one item of a job."""

    execution_id: str
    failure: Failure | None


@value_of("Job")
@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Work in the background that a call began: durable, and readable until a week after its end.

    The counts are of its items, as far as known; `failures` are the first 10. A job that SUCCEEDED may have items that
    failed; `error` says why it FAILED itself.
    """

    id: str = dataclasses.field(metadata={"wire": "job_id"})
    tenant: str
    kind: JobKind
    state: JobState
    target: str
    total_count: int
    done_count: int
    failed_count: int
    failures: tuple[JobFailure, ...]
    error: Failure | None = dataclasses.field(metadata={"wire": "failure"})
    user_id: str
    created_at: datetime | None
    updated_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state.ended


@value_of("PruneExecutionsResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Pruning:
    """What `prune` began: the job, which is None where it was only to count, and how many executions it is about."""

    job: Job | None
    matched_count: int
