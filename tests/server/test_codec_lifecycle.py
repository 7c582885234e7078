"""Lifecycle changes, triggers, events and jobs as messages: nothing that the engine says is lost on the way."""

from typing import Any

import msgspec
import pytest

from callboard.runtime.core.commands import Origin
from callboard.runtime.core.definition import EventTrigger, ScheduleTrigger, Trigger
from callboard.runtime.core.lifecycle import Impact, OnDelete, StageRun
from callboard.runtime.core.refusals import Refused, Violation
from callboard.runtime.core.state import Status
from callboard.runtime.event_bus import EventAnswer
from callboard.runtime.lifecycle.batching import BatchAnswer
from callboard.runtime.lifecycle.publishing import PublishAnswer, RunningExecutions
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.trigger_rows import (
    EventOutcome,
    JobKind,
    JobRow,
    JobState,
    OfferedWait,
    StartedByTrigger,
    TriggerRow,
)
from callboard.runtime.triggers import TriggerView
from callboard.runtime.views import ExecutionView
from callboard.server.codec_executions import FRAME_BYTES_MAX, execution_of
from callboard.server.codec_lifecycle import batched_of, impact_of, on_delete_of, running_of, stages_of
from callboard.server.codec_triggers import JOB_FAILED, event_answer_of, is_wanted, job_of, trigger_of
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import executions_pb2, jobs_pb2

SECOND = 1_000_000


def test_every_field_of_an_impact_is_shown() -> None:
    names = [field.name for field in msgspec.structs.fields(Impact)]
    assert {field.name for field in pb2.PublishImpact.DESCRIPTOR.fields} == set(names)
    values: dict[str, Any] = {
        name: number if isinstance(getattr(Impact(), name), int) else (name,) for number, name in enumerate(names, 1)
    }
    shown = impact_of(Impact(**values))
    assert {name: list(getattr(shown, name)) for name in names if not isinstance(values[name], int)} == {
        name: [name] for name in names if not isinstance(values[name], int)
    }
    assert all(getattr(shown, name) == value for name, value in values.items() if isinstance(value, int))


def test_a_stage_that_failed_after_the_change_says_why() -> None:
    good, bad = stages_of((StageRun("record", 1_500), StageRun("hooks:tell", 2 * SECOND, error="no answer")))
    assert (good.name, good.duration.ToMicroseconds(), good.error) == ("record", 1_500, "")
    assert (bad.name, bad.duration.ToMicroseconds(), bad.error) == ("hooks:tell", 2 * SECOND, "no answer")


def answer(number: int, steps: int = 1) -> PublishAnswer:
    impact = Impact(version=1, steps_added=tuple(f"step{step}" for step in range(steps)))
    warnings = (Violation("steps[0]", "is odd", "ODD", warning=True),)
    return PublishAnswer(f"d{number}", 1, 7, "1", True, impact=impact, warnings=warnings)


def test_a_batch_that_was_rehearsed_shows_the_versions_that_would_be() -> None:
    [one] = batched_of(BatchAnswer((answer(0),), 7, ()), {})
    assert (one.definition_version.definition_id, one.definition_version.version, one.changed) == ("d0", 1, True)
    assert [warning.definition_id for warning in one.warnings] == ["d0"]
    assert list(one.impact.steps_added) == ["step0"]


def test_a_large_batch_fits_a_frame_and_names_every_definition() -> None:
    many = tuple(answer(number, steps=500) for number in range(1_000))
    shown = batched_of(BatchAnswer(many, 7, ()), {})
    assert [one.definition_version.definition_id for one in shown] == [one.definition_id for one in many]
    assert sum(one.ByteSize() for one in shown) <= FRAME_BYTES_MAX
    assert not shown[0].HasField("impact")


def test_what_becomes_of_running_executions() -> None:
    published = {value: running_of(value) for value in pb2.PublishRunningExecutions.values()}
    assert list(published.values()) == [RunningExecutions.PIN, RunningExecutions.PIN, RunningExecutions.MIGRATE]
    deleted = {name.rpartition("_")[2]: on_delete_of(value) for name, value in pb2.DeleteRunningExecutions.items()}
    assert deleted == {
        "UNSPECIFIED": OnDelete.REFUSE,
        "REFUSE": OnDelete.REFUSE,
        "CANCEL": OnDelete.CANCEL,
        "KEEP": OnDelete.KEEP,
    }
    with pytest.raises(Refused):
        running_of(9)


ROW = TriggerRow(
    tenant="acme",
    definition_id="d",
    trigger_id="t",
    version=3,
    event_name="",
    identity="",
    active=True,
    paused=True,
    spec=b"",
    next_slot=20 * SECOND,
    last_slot=10 * SECOND,
    last_execution_id="d-t-1",
    last_started_at=11 * SECOND,
    skipped=4,
    last_skipped=9 * SECOND,
    waiting=2,
)


def test_a_schedule_shows_where_it_stands() -> None:
    schedule = ScheduleTrigger(cron="0 3 * * *", time_zone="Europe/Rome")
    trigger = Trigger(id="t", input={"slot": "${trigger.slot}", "n": 1}, unique_key="'k'", schedule=schedule)
    shown = trigger_of(TriggerView(ROW, trigger, (20 * SECOND, 30 * SECOND)))
    assert (shown.definition_id, shown.version, shown.paused, shown.queued_slots) == ("d", 3, True, 2)
    assert (shown.trigger.id, shown.trigger.schedule.cron, shown.trigger.unique_key) == ("t", "0 3 * * *", "'k'")
    assert shown.trigger.input.struct_value["slot"] == "${trigger.slot}"
    assert [slot.seconds for slot in shown.next_slots] == [20, 30]
    assert (shown.next_slot.seconds, shown.last_slot.seconds, shown.last_started_at.seconds) == (20, 10, 11)
    assert (shown.skipped_count, shown.last_skipped_slot.seconds, shown.last_execution_id) == (4, 9, "d-t-1")


def test_an_event_trigger_has_no_slots() -> None:
    row = TriggerRow("acme", "d", "t", 1, "placed", "", True, False, b"")
    shown = trigger_of(TriggerView(row, Trigger(id="t", event=EventTrigger(name="placed")), ()))
    assert shown.trigger.event.name == "placed"
    absent = ("next_slot", "last_slot", "last_started_at", "last_skipped_slot")
    assert not any(shown.HasField(name) for name in absent)


def test_what_an_event_matched() -> None:
    outcome = EventOutcome(
        started_count=12,
        started=(StartedByTrigger("d", "t", "e-1", 2),),
        offered_count=30,
        offered=(OfferedWait("e-2", "wait/a"),),
        warnings=("trigger t: no such key",),
        job_id="j",
    )
    shown = event_answer_of(EventAnswer("ev", True, outcome))
    assert (shown.event_id, shown.duplicate, shown.started_count, shown.offered_count) == ("ev", True, 12, 30)
    [started], [offered] = shown.started, shown.offered
    assert (started.definition_id, started.trigger_id, started.execution_id, started.version) == ("d", "t", "e-1", 2)
    assert (offered.execution_id, offered.step_path) == ("e-2", "wait/a")
    assert (list(shown.warnings), shown.job_id) == (["trigger t: no such key"], "j")


def job(kind: JobKind = JobKind.DELETE_DEFINITION, state: JobState = JobState.RUNNING, **fields: Any) -> JobRow:
    return JobRow("acme", "j", kind, state, "d", b"{}", **fields)


@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("state", list(JobState))
def test_a_job_shows_what_it_does_and_where_it_stands(kind: JobKind, state: JobState) -> None:
    shown = job_of(job(kind, state, message="broken"))
    assert jobs_pb2.JobKind.Name(shown.kind) == f"JOB_KIND_{kind.value}"
    assert jobs_pb2.JobState.Name(shown.state) == f"JOB_STATE_{state.value}"
    assert shown.HasField("failure") == (state is JobState.FAILED)
    assert is_wanted(job(kind, state), shown.kind, shown.state)
    assert is_wanted(job(kind, state), 0, 0)
    assert not is_wanted(job(kind, state), jobs_pb2.JOB_KIND_MIGRATE, 0)
    assert not is_wanted(job(kind, state), 0, jobs_pb2.JOB_STATE_PENDING)


def test_a_job_shows_how_far_it_has_come() -> None:
    failures = b'[{"execution_id":"e-1","type":"STORAGE_FULL","message":"no room"}]'
    times: dict[str, Any] = {"created_at": SECOND, "updated_at": 2 * SECOND, "ended_at": 3 * SECOND}
    row = job(
        state=JobState.FAILED, user_id="u", total=5, done=3, failed=1, failures=failures, message="gave up", **times
    )
    shown = job_of(row)
    assert (shown.job_id, shown.tenant, shown.target, shown.user_id) == ("j", "acme", "d", "u")
    assert (shown.total_count, shown.done_count, shown.failed_count) == (5, 3, 1)
    assert (shown.created_at.seconds, shown.updated_at.seconds, shown.ended_at.seconds) == (1, 2, 3)
    [failed] = shown.failures
    assert (failed.execution_id, failed.failure.type, failed.failure.message) == ("e-1", "STORAGE_FULL", "no room")
    assert (shown.failure.type, shown.failure.message) == (JOB_FAILED, "gave up")


def view(status: Status, **fields: Any) -> ExecutionView:
    return ExecutionView(
        ref=ExecutionRef("acme", "e"),
        key=1,
        definition_id="d",
        version=1,
        status=status,
        state="x",
        sequence=1,
        labels={},
        created_at=SECOND,
        updated_at=2 * SECOND,
        ended_at=0,
        **fields,
    )


def test_an_execution_shows_what_started_it_and_what_it_waits_for() -> None:
    slot = Origin("t", slot=20 * SECOND)
    pending = execution_of(view(Status.PENDING, started_at=0, behind="before", unique_key="k", origin=slot))
    assert pending.status == executions_pb2.EXECUTION_STATUS_PENDING
    assert (pending.waits_for_execution_id, pending.unique_key) == ("before", "k")
    assert (pending.created_at.seconds, pending.HasField("started_at")) == (1, False)
    assert (pending.trigger.trigger_id, pending.trigger.slot.seconds, pending.trigger.event_id) == ("t", 20, "")
    event = Origin("t", event_id="ev")
    running = execution_of(view(Status.RUNNING, started_at=2 * SECOND, behind="before", origin=event))
    assert (running.waits_for_execution_id, running.started_at.seconds) == ("", 2)
    assert (running.trigger.event_id, running.trigger.HasField("slot")) == ("ev", False)
    called = execution_of(view(Status.RUNNING, started_at=SECOND))
    assert called.WhichOneof("origin") is None
