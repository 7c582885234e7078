"""The client's calls about definitions, their triggers and the jobs they begin."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.fakes import FakeServer, status

from callboard.client import Client, DefinitionState, Job, JobKind, JobState, Overlap, Source, Start, Status, errors
from callboard.client.file_form import plain
from callboard.v1 import definition_service_pb2 as pb
from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as execution_pb
from callboard.v1 import executions_pb2, jobs_pb2
from callboard.v1.definitions_pb2 import Definition, EventTrigger, ScheduleTrigger, Trigger
from callboard.v1.payload_pb2 import Payload
from callboard.v1.violations_pb2 import DefinitionViolation, DefinitionViolations

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def stamp(moment: datetime = MOMENT) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.address, timeout=5) as made:
        yield made


async def test_a_batch_has_all_kinds_of_contents(server: FakeServer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("id: order\n")
    version = pb.DefinitionVersion(definition_id="order", version=2)
    impact = pb.PublishImpact(previous_version=1, version=2, steps_added=["a"], steps_changed=["b"])
    answered = pb.PublishedDefinition(definition_version=version, changed=True, impact=impact, etag="9")
    server.unary.on("BatchPublish", pb.BatchPublishResponse(definitions=[answered], revision=7))
    contents = [path, "id: b\n", {"id": "c"}, Definition(id="d"), Source("e.yaml", "id: e")]
    batch = await client.publish_all(contents, validate_only=True)
    assert batch.revision == 7
    [one] = batch.definitions
    assert (one.definition_version.definition_id, one.definition_version.version, one.etag) == ("order", 2, "9")
    assert one.impact is not None
    assert (one.impact.steps_added, one.impact.steps_changed, one.impact.steps_removed) == (("a",), ("b",), ())
    [request] = server.unary.asked("BatchPublish")
    assert [(item.source.name, item.source.text) for item in request.items] == [
        (str(path), "id: order\n"),
        ("definition 2", "id: b\n"),
        ("definition 3", '{\n  "id": "c"\n}'),
        ("", ""),
        ("e.yaml", "id: e"),
    ]
    assert request.items[3].definition.id == "d"
    assert request.validate_only
    assert request.request_id


async def test_a_batch_that_is_refused_names_all_that_is_wrong(server: FakeServer, client: Client) -> None:
    wrong = [
        DefinitionViolation(path="steps", source_name=name, line=1, column=1, message="none", definition_id=name)
        for name in "ab"
    ]
    details = DefinitionViolations(violations=wrong)
    server.unary.on("BatchPublish", status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEFINITION", "", details))
    with pytest.raises(errors.InvalidDefinition) as raised:
        await client.publish_all([{"id": "a"}, {"id": "b"}])
    assert [item.definition_id for item in raised.value.violations] == ["a", "b"]


@pytest.mark.parametrize("running", ["REFUSE", "CANCEL", "KEEP"])
async def test_a_deletion_says_what_becomes_of_executions(server: FakeServer, client: Client, running: Any) -> None:
    summary = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_DELETING")
    answer = pb.DeleteDefinitionResponse(definition=summary, job_id="j1", changed=True)
    server.unary.on("DeleteDefinition", answer)
    deleted = await client.delete_definition("order", version=3, running=running, etag="7")
    assert (deleted.definition.state, deleted.job_id) == (DefinitionState.DELETING, "j1")
    [request] = server.unary.asked("DeleteDefinition")
    assert pb.DeleteRunningExecutions.Name(request.running_executions) == f"DELETE_RUNNING_EXECUTIONS_{running}"
    assert (request.version, request.etag) == (3, "7")


def a_job(state: str, **fields: Any) -> control_pb.GetJobResponse:
    return control_pb.GetJobResponse(job=jobs_pb2.Job(job_id="j1", state=f"JOB_STATE_{state}", **fields))


async def test_a_job_is_waited_for_to_its_end(server: FakeServer, client: Client) -> None:
    failed = jobs_pb2.JobFailure(execution_id="e1", failure={"type": "Boom"})
    answers = [
        a_job("PENDING"),
        a_job("RUNNING", done_count=1),
        a_job("SUCCEEDED", done_count=2, failed_count=1, failures=[failed]),
    ]
    server.unary.on("GetJob", *answers)
    seen: list[Job] = []
    job = await client.wait_job("j1", seen=seen.append)
    assert [item.state for item in seen] == [JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED]
    assert job == seen[-1]
    assert job.ended
    assert job.failures[0].failure is not None
    assert (job.failures[0].execution_id, job.failures[0].failure.type) == ("e1", "Boom")


async def test_a_wait_for_a_job_that_is_over_answers_with_what_is(server: FakeServer, client: Client) -> None:
    server.unary.on("GetJob", a_job("RUNNING"))
    assert not (await client.wait_job("j1", wait=0)).ended
    server.unary.on("GetJob", status(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"))
    with pytest.raises(errors.JobNotFound):
        await client.wait_job("j1")


async def test_jobs_are_listed_by_kind_and_state(server: FakeServer, client: Client) -> None:
    server.unary.on("ListJobs", control_pb.ListJobsResponse(jobs=[a_job("FAILED", failure={"type": "Boom"}).job]))
    [job] = [item async for item in client.jobs(kind=JobKind.DELETE_DEFINITION, state=JobState.FAILED)]
    assert job.error is not None
    assert job.error.type == "Boom"
    [request] = server.unary.asked("ListJobs")
    assert (request.kind, request.state) == (jobs_pb2.JOB_KIND_DELETE_DEFINITION, jobs_pb2.JOB_STATE_FAILED)
    assert [item async for item in client.jobs()] == [job]


async def test_triggers_are_values(server: FakeServer, client: Client) -> None:
    schedule = ScheduleTrigger(every="10s", overlap="OVERLAP_CANCEL_RUNNING")
    nightly = Trigger(id="nightly", schedule=schedule, input=ParseDict({"n": 2}, Value()))
    event = Trigger(id="paid", event=EventTrigger(name="order.paid", filter="true"))
    infos = [
        pb.TriggerInfo(definition_id="order", trigger=nightly, next_slots=[stamp()], queued_slots=2, skipped_count=3),
        pb.TriggerInfo(definition_id="order", trigger=event, paused=True),
    ]
    server.unary.on("ListTriggers", pb.ListTriggersResponse(triggers=infos))
    by_time, by_event = [item async for item in client.triggers("order", event_name="order.paid")]
    assert (by_time.id, by_time.next_slots, by_time.waiting, by_time.skipped) == ("nightly", (MOMENT,), 2, 3)
    assert by_time.trigger.schedule is not None
    assert (by_time.trigger.schedule.every, by_time.trigger.schedule.cron) == ("10s", None)
    assert by_time.trigger.schedule.overlap is Overlap.CANCEL_RUNNING
    assert by_time.trigger.input == {"n": 2}
    assert by_time.trigger.event is None
    assert by_event.trigger.event is not None
    assert (by_event.paused, by_event.trigger.event.name, by_event.next_slots) == (True, "order.paid", ())
    [request] = server.unary.asked("ListTriggers")
    assert (request.definition_id, request.event_name) == ("order", "order.paid")


async def test_triggers_are_paused_resumed_and_fired(server: FakeServer, client: Client) -> None:
    info = pb.TriggerInfo(definition_id="order", trigger=Trigger(id="paid"), paused=True)
    server.unary.on("PauseTrigger", pb.PauseTriggerResponse(trigger=info, revision=5, changed=True))
    server.unary.on("ResumeTrigger", pb.ResumeTriggerResponse(trigger=info, revision=6))
    running = executions_pb2.Execution(execution_id="e1", status="EXECUTION_STATUS_RUNNING")
    server.unary.on("FireTrigger", pb.FireTriggerResponse(execution=running, started=True))
    paused = await client.pause_trigger("order", "paid")
    assert (paused.trigger.paused, paused.revision, paused.changed) == (True, 5, True)
    assert not (await client.resume_trigger("order", "paid")).changed
    execution = await client.fire_trigger("order", "paid", {"n": 1}, slot=MOMENT)
    assert (execution.id, execution.started) == ("e1", True)
    [request] = server.unary.asked("FireTrigger")
    assert (request.payload.json, request.slot) == ('{"n":1}', stamp())
    asked = [server.unary.asked(name)[0] for name in ("PauseTrigger", "ResumeTrigger", "FireTrigger")]
    assert len({one.request_id for one in asked} - {""}) == 3


async def test_an_event_says_what_it_matched(server: FakeServer, client: Client) -> None:
    answer = events_pb.PublishEventResponse(
        event_id="x1",
        started_count=1,
        started=[events_pb.TriggeredStart(definition_id="order", trigger_id="t", execution_id="e1", version=2)],
        offered_count=11,
        offered=[events_pb.OfferedWait(execution_id="e2", step_path="a/b")],
        warnings=["odd"],
    )
    server.unary.on("PublishEvent", answer)
    emitted = await client.emit("paid", {"n": 1}, key="k", event_id="x1")
    assert (emitted.started[0].execution_id, emitted.started[0].version) == ("e1", 2)
    assert (emitted.offered[0].step_path, emitted.offered_count, emitted.warnings) == ("a/b", 11, ("odd",))


async def test_a_start_may_wait_for_the_one_before_it(server: FakeServer, client: Client) -> None:
    origin = executions_pb2.TriggerOrigin(trigger_id="nightly", slot=stamp())
    pending = executions_pb2.Execution(
        execution_id="e1", status="EXECUTION_STATUS_PENDING", waits_for_execution_id="e0", trigger=origin
    )
    server.unary.on("StartExecution", execution_pb.StartExecutionResponse(execution=pending, started=True))
    execution = await client.start("order", unique_key="k", unique_policy="CANCEL_EXISTING")
    assert (execution.status, execution.waits_for_execution_id) == (Status.PENDING, "e0")
    assert execution.trigger is not None
    assert (execution.trigger.trigger_id, execution.trigger.slot) == ("nightly", MOMENT)
    [request] = server.unary.asked("StartExecution")
    assert (request.unique_key, request.unique_policy) == ("k", execution_pb.UNIQUE_POLICY_CANCEL_EXISTING)
    assert not Start("order", unique_policy="REJECT").request().unique_policy


async def test_an_export_goes_through_all_pages_and_is_imported(server: FakeServer, client: Client) -> None:
    server.unary.on(
        "ExportDefinitions",
        pb.ExportDefinitionsResponse(lines=["a", "b"], next_page_token="2"),
        pb.ExportDefinitionsResponse(lines=["c"]),
    )
    text = await client.export_definitions(["x"])
    assert text == "a\nb\nc\n"
    assert [request.page_token for request in server.unary.asked("ExportDefinitions")] == ["", "2"]
    version = pb.DefinitionVersion(definition_id="x", version=1)
    answer = pb.ImportDefinitionsResponse(definitions=[pb.PublishedDefinition(definition_version=version)], revision=3)
    server.unary.on("ImportDefinitions", answer)
    imported = await client.import_definitions(text, validate_only=True)
    assert (imported.definitions[0].definition_version.definition_id, imported.revision) == ("x", 3)
    assert server.unary.asked("ImportDefinitions")[0].text == text
    server.unary.on("ImportDefinitions", status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EXPORT", "line 1"))
    with pytest.raises(errors.InvalidExport):
        await client.import_definitions("nonsense")


FLOW = {
    "id": "order",
    "input_schema": {"type": "object", "required": ["n"]},
    "labels": {"order": "${input.n}"},
    "on_failure": "PARK",
    "triggers": [{"id": "nightly", "schedule": {"cron": "0 4 * * *", "overlap": "QUEUE"}, "input": None}],
    "steps": [
        {"id": "each", "foreach": {"items": "[1]", "as": "file", "steps": [{"id": "one", "set": {"n": 1, "x": 1.5}}]}},
        {"id": "done", "finish": {}},
    ],
    "output": [True, None, "text"],
}


async def test_a_definition_comes_in_the_form_it_is_published_in(server: FakeServer, client: Client) -> None:
    wire: dict[str, Any] = {**FLOW, "on_failure": "ON_FAILURE_PARK"}
    wire["triggers"] = [{"id": "nightly", "schedule": {"cron": "0 4 * * *", "overlap": "OVERLAP_QUEUE"}, "input": None}]
    version = pb.DefinitionVersion(definition_id="order", version=2, definition=ParseDict(wire, Definition()))
    summary = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_PUBLISHED", published_version=2)
    server.unary.on("GetDefinition", pb.GetDefinitionResponse(definition_version=version, definition=summary))
    read = await client.definition("order")
    assert read.definition == FLOW
    assert read.summary is not None
    assert (read.version, read.summary.published_version) == (2, 2)


def test_what_only_newer_servers_know_stays_a_number() -> None:
    assert plain(Definition(on_failure=99)) == {"on_failure": 99}  # type: ignore[arg-type]


async def test_a_definition_as_it_was_where_nothing_was_published(server: FakeServer, client: Client) -> None:
    summary = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_RETRACTED", revision=6)
    server.unary.on("GetDefinition", pb.GetDefinitionResponse(definition=summary))
    read = await client.definition("order", at_sequence=4)
    assert (read.definition_id, read.version, read.definition) == ("order", 0, None)
    assert (read.state, read.revision) == (DefinitionState.RETRACTED, 6)
    assert server.unary.asked("GetDefinition")[0].at_sequence == 4


async def test_the_events_of_all_definitions(server: FakeServer, client: Client) -> None:
    event = pb.DefinitionEvent(definition_id="order", sequence=1, payload=Payload(json='{"previous": 3}'))
    server.unary.on("ListDefinitionEvents", pb.ListDefinitionEventsResponse(events=[event]))
    [found] = [item async for item in client.definition_events()]
    assert (found.definition_id, found.payload) == ("order", {"previous": 3})
    assert server.unary.asked("ListDefinitionEvents")[0].definition_id == ""
