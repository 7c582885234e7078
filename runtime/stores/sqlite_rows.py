"""Rows of the tables and the values they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..lifecycle_rows import DefinitionHead
from ..rows import ExecutionRecord, ExecutionRef, Head
from ..trigger_rows import EventOutcome, JobKind, JobRow, JobState, TriggerRow

_HEAD_TYPES = (str, str, str, int, bytes, int, bytes, int, int, int, int)
"""Of the fields of Head."""
_NOTHING: dict[type, Any] = {str: "", int: -1, bytes: b""}
"""What no field of a head ever is."""
_LABELS = msgspec.json.Decoder(dict[str, str])
_GONE = msgspec.json.Decoder(tuple[int, ...])
_PAUSED = msgspec.json.Decoder(tuple[str, ...])
_OUTCOME = msgspec.json.Decoder(EventOutcome)
_JSON = msgspec.json.Encoder()


def record_of(row: Sequence[Any]) -> ExecutionRecord:
    """The record of a row that has the columns of `executions_at`.

    SQLite keeps whatever stands in the file: a damaged field of another type is taken for what no head has, so that
    `verify` names it and the rows beside it can be listed.
    """
    key, tenant, name, *fields = row
    if type(tenant) is not str or type(name) is not str:
        tenant, name = str(tenant), str(name)
    head: list[Any] = fields
    if tuple(map(type, head)) != _HEAD_TYPES:
        head = [one if type(one) is kind else _NOTHING[kind] for one, kind in zip(fields, _HEAD_TYPES, strict=True)]
    return ExecutionRecord(ExecutionRef(tenant, name), key, Head(*head))


def labels_of(labels: bytes) -> dict[str, str]:
    """The labels in a row; none where it is damaged."""
    try:
        return _LABELS.decode(labels)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


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
