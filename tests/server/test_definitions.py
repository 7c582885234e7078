"""`DefinitionService` beyond publishing: batches, deletion, triggers, exports, and what is refused at the edge."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from tests.server.client import APPROVAL, SINGLE, Stubs, json_payload, refused

from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import jobs_pb2, violations_pb2

LISTENING = """
id: listening
triggers:
  - {id: placed, event: {name: order.placed}, input: "${event}"}
  - {id: nightly, schedule: {cron: "0 3 * * *"}}
steps:
  - id: decision
    receive: {event: decided}
"""


def item(text: str, name: str = "test.yaml") -> pb2.BatchPublishItem:
    return pb2.BatchPublishItem(source=violations_pb2.SourceText(name=name, text=text))


async def test_several_are_published_at_once_with_one_revision(stubs: Stubs) -> None:
    request = pb2.BatchPublishRequest(items=[item(SINGLE), item(APPROVAL)], validate_only=True)
    rehearsed = await stubs.definitions.BatchPublish(request)
    assert [one.definition_version.definition_id for one in rehearsed.definitions] == ["single", "approval"]
    assert list(rehearsed.definitions[0].impact.steps_added) == ["only"]
    assert not (await stubs.definitions.ListDefinitions(pb2.ListDefinitionsRequest())).definitions
    request.validate_only = False
    answer = await stubs.definitions.BatchPublish(request)
    assert [(one.changed, one.definition_version.version) for one in answer.definitions] == [(True, 1), (True, 1)]
    assert {one.definition_version.revision for one in answer.definitions} == {answer.revision}
    assert "record" in [stage.name for stage in answer.stages]


async def test_a_deleted_definition_is_shown_when_it_is_asked_for(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    await stubs.publish(APPROVAL)
    deleted = await stubs.definitions.DeleteDefinition(pb2.DeleteDefinitionRequest(definition_id="single"))
    assert (deleted.changed, deleted.definition.state) == (True, pb2.DEFINITION_STATE_DELETED)
    assert (deleted.impact.previous_version, deleted.impact.version) == (1, 0)

    async def listed(**fields: Any) -> list[str]:
        answer = await stubs.definitions.ListDefinitions(pb2.ListDefinitionsRequest(**fields))
        return [one.definition_id for one in answer.definitions]

    assert await listed() == ["approval"]
    assert await listed(state=pb2.DEFINITION_STATE_DELETED) == ["single"]
    assert await listed(id_prefix="app") == ["approval"]
    assert await listed(id_prefix="sin") == []


async def test_a_definition_in_use_says_by_what(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e-1")
    error = await refused(stubs.definitions.DeleteDefinition(pb2.DeleteDefinitionRequest(definition_id="approval")))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEFINITION_IN_USE")
    assert "e-1" in " ".join(error.metadata.values())
    assert error.kinds.count("PreconditionFailure") == 1


async def test_triggers_are_listed_paused_resumed_and_fired(stubs: Stubs) -> None:
    await stubs.publish(LISTENING)
    listed = await stubs.definitions.ListTriggers(pb2.ListTriggersRequest(page_size=1))
    [nightly] = listed.triggers
    assert (nightly.trigger.id, nightly.trigger.schedule.cron, nightly.version) == ("nightly", "0 3 * * *", 1)
    assert len(nightly.next_slots) == 5
    assert nightly.next_slots[0] == nightly.next_slot
    rest = pb2.ListTriggersRequest(page_size=1, page_token=listed.next_page_token)
    [placed] = (await stubs.definitions.ListTriggers(rest)).triggers
    assert (placed.trigger.event.name, placed.HasField("next_slot")) == ("order.placed", False)
    heard = await stubs.definitions.ListTriggers(pb2.ListTriggersRequest(event_name="order.placed"))
    assert [one.trigger.id for one in heard.triggers] == ["placed"]

    named: dict[str, Any] = {"definition_id": "listening", "trigger_id": "placed"}
    paused = await stubs.definitions.PauseTrigger(pb2.PauseTriggerRequest(**named))
    assert (paused.trigger.paused, paused.changed) == (True, True)
    assert not (await stubs.definitions.PauseTrigger(pb2.PauseTriggerRequest(**named))).changed
    resumed = await stubs.definitions.ResumeTrigger(pb2.ResumeTriggerRequest(**named))
    assert (resumed.trigger.paused, resumed.changed) == (False, True)
    assert resumed.revision > paused.revision

    fire = pb2.FireTriggerRequest(**named, payload=json_payload('{"a":1}'))
    fired = await stubs.definitions.FireTrigger(fire)
    assert (fired.started, fired.execution.trigger.trigger_id) == (True, "placed")


async def test_an_event_says_what_it_started(stubs: Stubs) -> None:
    await stubs.publish(LISTENING)
    request = events_pb2.PublishEventRequest(name="order.placed", event_id="ev-1", payload=json_payload("1"))
    first = await stubs.executions.PublishEvent(request)
    assert (first.event_id, first.duplicate, first.started_count, first.offered_count) == ("ev-1", False, 1, 0)
    [started] = first.started
    assert (started.definition_id, started.trigger_id, started.version) == ("listening", "placed", 1)
    again = await stubs.executions.PublishEvent(request)
    assert (again.duplicate, list(again.started)) == (True, [started])


async def test_events_of_all_definitions_come_in_pages(stubs: Stubs) -> None:
    await stubs.publish(SINGLE)
    await stubs.publish(APPROVAL)
    await stubs.definitions.RetractDefinition(pb2.RetractDefinitionRequest(definition_id="single"))
    request, found = pb2.ListDefinitionEventsRequest(page_size=1), []
    while True:
        page = await stubs.definitions.ListDefinitionEvents(request)
        found += [(event.definition_id, event.event_name, event.revision) for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [event[:2] for event in found] == [
        ("single", "DefinitionPublished"),
        ("approval", "DefinitionPublished"),
        ("single", "DefinitionRetracted"),
    ]
    later = pb2.ListDefinitionEventsRequest(after_revision=found[1][2])
    assert [event.event_name for event in (await stubs.definitions.ListDefinitionEvents(later)).events] == [
        "DefinitionRetracted"
    ]


async def test_jobs_are_listed_by_what_they_do(stubs: Stubs) -> None:
    await stubs.publish(APPROVAL)
    await stubs.start("approval", execution_id="e-1")
    delete = pb2.DeleteDefinitionRequest(
        definition_id="approval", running_executions=pb2.DELETE_RUNNING_EXECUTIONS_CANCEL
    )
    job_id = (await stubs.definitions.DeleteDefinition(delete)).job_id
    job = (await stubs.executions.GetJob(control_pb2.GetJobRequest(job_id=job_id))).job
    assert (job.kind, job.target, job.tenant) == (jobs_pb2.JOB_KIND_DELETE_DEFINITION, "approval", "default")
    assert job.HasField("created_at")

    async def listed(**fields: Any) -> list[str]:
        answer = await stubs.executions.ListJobs(control_pb2.ListJobsRequest(**fields))
        return [one.job_id for one in answer.jobs]

    assert await listed() == [job_id]
    assert await listed(kind=jobs_pb2.JOB_KIND_DELETE_DEFINITION, page_size=1) == [job_id]
    assert await listed(kind=jobs_pb2.JOB_KIND_EXPAND_EVENT) == []
    assert await listed(state=jobs_pb2.JOB_STATE_FAILED) == []


# What is refused at the edge

ODD: Any = 99
LONG = "x" * 256
HUGE = json_payload('"' + "x" * 1_100_000 + '"')
Asking = Callable[[Any, Any], Any]
TRIGGER: dict[str, Any] = {"definition_id": "a", "trigger_id": "t"}
WRONG: dict[str, tuple[Asking, list[str]]] = {
    "a batch of nothing": (lambda d, _: d.BatchPublish(pb2.BatchPublishRequest()), ["items"]),
    "an item of nothing": (
        lambda d, _: d.BatchPublish(
            pb2.BatchPublishRequest(items=[item(SINGLE), pb2.BatchPublishItem(), pb2.BatchPublishItem(etag="1")])
        ),
        ["items[1].definition_id", "items[2].definition_id"],
    ),
    "a batch for odd executions": (
        lambda d, _: d.BatchPublish(pb2.BatchPublishRequest(items=[item(SINGLE)], running_executions=ODD)),
        ["running_executions"],
    ),
    "a deletion of nothing": (lambda d, _: d.DeleteDefinition(pb2.DeleteDefinitionRequest()), ["definition_id"]),
    "an odd deletion": (
        lambda d, _: d.DeleteDefinition(
            pb2.DeleteDefinitionRequest(definition_id="A b", version=-1, running_executions=ODD)
        ),
        ["definition_id", "version", "running_executions"],
    ),
    "a pause of nothing": (lambda d, _: d.PauseTrigger(pb2.PauseTriggerRequest()), ["definition_id", "trigger_id"]),
    "a resumption of nothing": (
        lambda d, _: d.ResumeTrigger(pb2.ResumeTriggerRequest(definition_id="a", trigger_id="T-1")),
        ["trigger_id"],
    ),
    "a firing of nothing": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(slot=Timestamp(seconds=-1))),
        ["definition_id", "trigger_id", "slot"],
    ),
    "a slot that is no time": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(**TRIGGER, slot=Timestamp(seconds=1, nanos=-1))),
        ["slot"],
    ),
    "a slot between microseconds": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(**TRIGGER, slot=Timestamp(seconds=1, nanos=1))),
        ["slot"],
    ),
    "odd triggers": (
        lambda d, _: d.ListTriggers(
            pb2.ListTriggersRequest(definition_id="A b", event_name=LONG, page_size=-1, min_revision=-1)
        ),
        ["page_size", "min_revision", "definition_id", "event_name"],
    ),
    "odd definitions": (
        lambda d, _: d.ListDefinitions(pb2.ListDefinitionsRequest(state=ODD, id_prefix=LONG)),
        ["state", "id_prefix"],
    ),
    "odd events": (
        lambda d, _: d.ListDefinitionEvents(pb2.ListDefinitionEventsRequest(definition_id="A b", after_revision=-1)),
        ["definition_id", "after_revision"],
    ),
    "an odd export": (
        lambda d, _: d.ExportDefinitions(pb2.ExportDefinitionsRequest(definition_ids=["a", "A b"])),
        ["definition_ids[1]"],
    ),
    "a past without an id": (
        lambda d, _: d.GetDefinition(pb2.GetDefinitionRequest(at_sequence=-1)),
        ["definition_id", "at_sequence"],
    ),
    "a past of a version": (
        lambda d, _: d.GetDefinition(pb2.GetDefinitionRequest(definition_id="a", at_sequence=1, version=1)),
        ["at_sequence"],
    ),
    "a past of a draft": (
        lambda d, _: d.GetDefinition(pb2.GetDefinitionRequest(definition_id="a", at_sequence=1, draft=True)),
        ["at_sequence"],
    ),
    "an event of nothing": (lambda _, e: e.PublishEvent(events_pb2.PublishEventRequest()), ["name"]),
    "an odd event": (
        lambda _, e: e.PublishEvent(events_pb2.PublishEventRequest(name="a b", key=LONG, event_id=LONG)),
        ["name", "key", "event_id"],
    ),
    "a job of nothing": (lambda _, e: e.GetJob(control_pb2.GetJobRequest()), ["job_id"]),
    "odd jobs": (
        lambda _, e: e.ListJobs(control_pb2.ListJobsRequest(kind=ODD, state=ODD)),
        ["kind", "state"],
    ),
    "a page of jobs": (lambda _, e: e.ListJobs(control_pb2.ListJobsRequest(page_size=-1)), ["page_size"]),
}
OTHERWISE_WRONG: dict[str, tuple[Asking, str]] = {
    "an event that is not JSON": (
        lambda _, e: e.PublishEvent(events_pb2.PublishEventRequest(name="a", payload=json_payload("{"))),
        "INVALID_JSON",
    ),
    "an event that is too large": (
        lambda _, e: e.PublishEvent(events_pb2.PublishEventRequest(name="a", payload=HUGE)),
        "PAYLOAD_TOO_LARGE",
    ),
    "a firing that is not JSON": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(**TRIGGER, payload=json_payload("{"))),
        "INVALID_JSON",
    ),
    "a firing that is too large": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(**TRIGGER, payload=HUGE)),
        "PAYLOAD_TOO_LARGE",
    ),
    "an import of no export": (
        lambda d, _: d.ImportDefinitions(pb2.ImportDefinitionsRequest(text="id: a")),
        "INVALID_EXPORT",
    ),
    "an import of nothing": (
        lambda d, _: d.ImportDefinitions(pb2.ImportDefinitionsRequest()),
        "INVALID_EXPORT",
    ),
    "a damaged page of triggers": (
        lambda d, _: d.ListTriggers(pb2.ListTriggersRequest(page_token="x")),
        "INVALID_PAGE_TOKEN",
    ),
    "a damaged page of events": (
        lambda d, _: d.ListDefinitionEvents(pb2.ListDefinitionEventsRequest(page_token="x")),
        "INVALID_PAGE_TOKEN",
    ),
    "a damaged page of an export": (
        lambda d, _: d.ExportDefinitions(pb2.ExportDefinitionsRequest(page_token="x")),
        "INVALID_PAGE_TOKEN",
    ),
    "a damaged page of jobs": (
        lambda _, e: e.ListJobs(control_pb2.ListJobsRequest(page_token="x")),
        "INVALID_PAGE_TOKEN",
    ),
    "an unknown job": (lambda _, e: e.GetJob(control_pb2.GetJobRequest(job_id="j")), "JOB_NOT_FOUND"),
    "a deletion of what is not there": (
        lambda d, _: d.DeleteDefinition(pb2.DeleteDefinitionRequest(definition_id="a")),
        "DEFINITION_NOT_FOUND",
    ),
    "an export of what is not there": (
        lambda d, _: d.ExportDefinitions(pb2.ExportDefinitionsRequest(definition_ids=["a"])),
        "DEFINITION_NOT_FOUND",
    ),
    "a pause of what is not there": (
        lambda d, _: d.PauseTrigger(pb2.PauseTriggerRequest(**TRIGGER)),
        "DEFINITION_NOT_FOUND",
    ),
    "a resumption of what is not there": (
        lambda d, _: d.ResumeTrigger(pb2.ResumeTriggerRequest(**TRIGGER)),
        "DEFINITION_NOT_FOUND",
    ),
    "a firing of what is not there": (
        lambda d, _: d.FireTrigger(pb2.FireTriggerRequest(**TRIGGER)),
        "DEFINITION_NOT_FOUND",
    ),
}


async def test_what_is_wrong_with_a_request_is_told_field_by_field(stubs: Stubs) -> None:
    for name, (asking, fields) in WRONG.items():
        error = await refused(asking(stubs.definitions, stubs.executions))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), name
        assert error.fields == fields, name


async def test_what_else_is_refused_has_its_own_reason(stubs: Stubs) -> None:
    for name, (asking, reason) in OTHERWISE_WRONG.items():
        assert (await refused(asking(stubs.definitions, stubs.executions))).reason == reason, name


async def test_a_trigger_that_is_not_there(stubs: Stubs) -> None:
    await stubs.publish(LISTENING)
    named: dict[str, Any] = {"definition_id": "listening", "trigger_id": "nope"}
    for asking in (
        stubs.definitions.PauseTrigger(pb2.PauseTriggerRequest(**named)),
        stubs.definitions.ResumeTrigger(pb2.ResumeTriggerRequest(**named)),
        stubs.definitions.FireTrigger(pb2.FireTriggerRequest(**named)),
    ):
        error = await refused(asking)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "TRIGGER_NOT_FOUND")
