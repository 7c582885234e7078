"""Triggers, published events and jobs: engine values -> messages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from callboard.runtime.core.failures import Failure
from callboard.runtime.event_bus import EventAnswer
from callboard.runtime.trigger_rows import JobKind, JobRow, JobState
from callboard.runtime.triggers import TriggerView
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import definitions_pb2, execution_events_pb2, jobs_pb2

from .codec import failure_of, moment_of, timestamp_of
from .codec_definitions import filled

JOB_FAILED: Final = "JobFailed"
"""The type of the failure of a job that ended before it was through."""

_KINDS: Final[dict[JobKind, Any]] = {kind: jobs_pb2.JobKind.Value(f"JOB_KIND_{kind.value}") for kind in JobKind}
_STATES: Final[dict[JobState, Any]] = {state: jobs_pb2.JobState.Value(f"JOB_STATE_{state.value}") for state in JobState}


def trigger_of(view: TriggerView) -> pb2.TriggerInfo:
    """A trigger of a published definition, and where it stands."""
    row = view.row
    return pb2.TriggerInfo(
        definition_id=row.definition_id,
        trigger=filled(definitions_pb2.Trigger(), msgspec.json.decode(msgspec.json.encode(view.definition))),
        version=row.version,
        paused=row.paused,
        next_slot=timestamp_of(view.next_slots[0] if view.next_slots else 0),
        last_slot=timestamp_of(row.last_slot),
        last_execution_id=row.last_execution_id,
        last_started_at=timestamp_of(row.last_started_at),
        queued_slots=row.waiting,
        next_slots=[moment_of(slot) for slot in view.next_slots],
        skipped_count=row.skipped,
        last_skipped_slot=timestamp_of(row.last_skipped),
    )


def named_trigger(definition_id: str, trigger_id: str, *, paused: bool) -> pb2.TriggerInfo:
    """A trigger of a definition that is not published."""
    return pb2.TriggerInfo(definition_id=definition_id, trigger=definitions_pb2.Trigger(id=trigger_id), paused=paused)


def event_answer_of(answer: EventAnswer) -> execution_events_pb2.PublishEventResponse:
    """What an accepted event matched."""
    outcome = answer.outcome
    return execution_events_pb2.PublishEventResponse(
        event_id=answer.event_id,
        duplicate=answer.duplicate,
        started_count=outcome.started_count,
        started=[
            execution_events_pb2.TriggeredStart(
                definition_id=one.definition_id,
                trigger_id=one.trigger_id,
                execution_id=one.execution_id,
                version=one.version,
            )
            for one in outcome.started
        ],
        offered_count=outcome.offered_count,
        offered=[
            execution_events_pb2.OfferedWait(execution_id=one.execution_id, step_path=one.path)
            for one in outcome.offered
        ],
        warnings=outcome.warnings,
        job_id=outcome.job_id,
    )


def is_wanted(job: JobRow, kind: int, state: int) -> bool:
    """Whether a job is of this kind and in this state, where they are given (not 0)."""
    return kind in (0, _KINDS[job.kind]) and state in (0, _STATES[job.state])


class _ItemFailure(msgspec.Struct, frozen=True):
    """One entry of `JobRow.failures`."""

    execution_id: str
    type: str
    message: str = ""


_failures: Final = msgspec.json.Decoder(list[_ItemFailure])


def job_of(job: JobRow) -> jobs_pb2.Job:
    """Work in the background as it is shown."""
    failed = job.state is JobState.FAILED
    return jobs_pb2.Job(
        job_id=job.job_id,
        tenant=job.tenant,
        kind=_KINDS[job.kind],
        state=_STATES[job.state],
        target=job.target,
        total_count=job.total,
        done_count=job.done,
        failed_count=job.failed,
        failures=[
            jobs_pb2.JobFailure(execution_id=one.execution_id, failure=failure_of(Failure(one.type, one.message)))
            for one in _failures.decode(job.failures)
        ],
        failure=failure_of(Failure(JOB_FAILED, job.message)) if failed else None,
        user_id=job.user_id,
        created_at=timestamp_of(job.created_at),
        updated_at=timestamp_of(job.updated_at),
        ended_at=timestamp_of(job.ended_at),
    )
