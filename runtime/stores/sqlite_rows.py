"""Rows of the tables and the values they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..lifecycle_rows import DefinitionHead
from ..rows import ExecutionRecord, ExecutionRef, Head
from ..trigger_rows import EventOutcome, JobKind, JobRow, JobState, TriggerRow

_GONE = msgspec.json.Decoder(tuple[int, ...])
_PAUSED = msgspec.json.Decoder(tuple[str, ...])
_OUTCOME = msgspec.json.Decoder(EventOutcome)
_JSON = msgspec.json.Encoder()


def record_of(row: Sequence[Any]) -> ExecutionRecord:
    """The record of a row that has the columns of `executions_at`."""
    return ExecutionRecord(ExecutionRef(row[1], row[2]), row[0], Head(*row[3:]))


def definition_of(row: Sequence[Any]) -> DefinitionHead:
    """The definition of a row that has the columns of `definitions_at`."""
    head = DefinitionHead(*row)
    return msgspec.structs.replace(head, gone=_GONE.decode(row[10]), paused=_PAUSED.decode(row[11]))


def definition_row(head: DefinitionHead) -> tuple[Any, ...]:
    """The values of `put_definitions`."""
    return (*msgspec.structs.astuple(head)[:10], _JSON.encode(head.gone), _JSON.encode(head.paused))


def trigger_of(row: Sequence[Any]) -> TriggerRow:
    """The trigger of a row that has the columns of `triggers_at`, and `waiting` where it was counted."""
    trigger = TriggerRow(*row)
    return msgspec.structs.replace(trigger, active=bool(trigger.active), paused=bool(trigger.paused))


def trigger_row(trigger: TriggerRow) -> tuple[Any, ...]:
    """The values of `put_triggers`."""
    return msgspec.structs.astuple(trigger)[:-1]


def job_of(row: Sequence[Any]) -> JobRow:
    """The job of a row that has the columns of `job`."""
    return JobRow(row[0], row[1], JobKind(row[2]), JobState(row[3]), *row[4:])


def job_row(job: JobRow) -> tuple[Any, ...]:
    """The values of `put_jobs`."""
    return (job.tenant, job.job_id, job.kind.value, job.state.value, *msgspec.structs.astuple(job)[4:-1])


def outcome_of(data: bytes) -> EventOutcome:
    """What an accepted event matched."""
    return _OUTCOME.decode(data)


def outcome_data(outcome: EventOutcome) -> bytes:
    """As `outcome_of` reads it."""
    return _JSON.encode(outcome)
