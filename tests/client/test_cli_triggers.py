import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import at_terminal, run
from tests.client.fakes import FakeServer

from callboard.v1 import definition_service_pb2 as pb
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import executions_pb2
from callboard.v1.definitions_pb2 import EventTrigger, ScheduleTrigger, Trigger


def at(*parts: int) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime(*parts, tzinfo=UTC))  # type: ignore[misc, arg-type]
    return moment


NIGHTLY = pb.TriggerInfo(
    definition_id="nightly-import",
    version=3,
    trigger=Trigger(
        id="nightly",
        schedule=ScheduleTrigger(
            cron="30 4 * * *", time_zone="Europe/Berlin", overlap="OVERLAP_QUEUE", catch_up="6h", jitter="5m"
        ),
    ),
    next_slots=[at(2990, 3, 1, 3, 30), at(2990, 3, 2, 3, 30)],
    last_slot=at(2026, 1, 1, 3, 30),
    last_execution_id="nightly-import-nightly-20260101T033000Z",
    queued_slots=2,
    skipped_count=5,
    last_skipped_slot=at(2025, 12, 31, 3, 30),
)
CREATED = pb.TriggerInfo(
    definition_id="subscription",
    version=1,
    trigger=Trigger(
        id="created",
        event=EventTrigger(name="subscription.created", filter="event.plan != 'free'", execution_id="'s-' + event.id"),
        unique_key="event.customer",
    ),
    paused=True,
)
EXECUTION = executions_pb2.Execution(execution_id="e1", status="EXECUTION_STATUS_RUNNING")


@pytest.fixture
def listed(threaded: FakeServer) -> FakeServer:
    threaded.unary.on("ListTriggers", pb.ListTriggersResponse(triggers=[NIGHTLY, CREATED]))
    return threaded


def test_triggers_are_listed_for_programs(listed: FakeServer) -> None:
    header, nightly, created = (line.split("\t") for line in run(listed, "triggers").stdout.splitlines())
    assert header == [
        "DEFINITION",
        "TRIGGER",
        "ON",
        "STATE",
        "NEXT",
        "LAST SLOT",
        "LAST EXECUTION",
        "SKIPPED",
        "WAITING",
    ]
    assert nightly == [
        "nightly-import",
        "nightly",
        "cron 30 4 * * * Europe/Berlin",
        "active",
        "2990-03-01T03:30:00Z 2990-03-02T03:30:00Z",
        "2026-01-01T03:30:00Z",
        "nightly-import-nightly-20260101T033000Z",
        "5",
        "2",
    ]
    assert created[:5] == ["subscription", "created", "event subscription.created", "paused", ""]
    as_json = json.loads(run(listed, "triggers", "order", "--event", "paid", "--json").stdout)
    assert as_json[0]["trigger"]["schedule"]["overlap"] == "QUEUE"
    assert as_json[1]["trigger"]["event"]["name"] == "subscription.created"
    request = listed.unary.asked("ListTriggers")[-1]
    assert (request.definition_id, request.event_name) == ("order", "paid")


def test_a_person_sees_local_and_relative_times_in_a_narrow_terminal(listed: FakeServer) -> None:
    code, seen = at_terminal(listed, "triggers")
    lines = seen.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert lines[:3] == [
        "nightly-import nightly",
        "  on              cron 30 4 * * * Europe/Berlin",
        "  state           active",
    ]
    assert lines[3].startswith("  next            Mon 01 Mar 2990 04:30 CET (in ")
    assert lines[8:] == ["subscription created", "  on        event subscription.created", "  state     paused"]


def test_a_slot_that_waits_for_the_one_before_it_is_late(threaded: FakeServer) -> None:
    stalled = pb.TriggerInfo(definition_id="a", trigger=Trigger(id="b"), next_slots=[at(2026, 1, 1, 3, 30)])
    threaded.unary.on("ListTriggers", pb.ListTriggersResponse(triggers=[stalled]))
    _, seen = at_terminal(threaded, "triggers", "a", "b")
    assert "04:30 CET (late by " in seen


def test_one_trigger_is_shown_whole(listed: FakeServer) -> None:
    assert run(listed, "triggers", "nightly-import", "nightly").stdout.splitlines() == [
        "trigger         nightly",
        "definition      nightly-import version 3",
        "on              cron 30 4 * * * Europe/Berlin",
        "overlap         QUEUE",
        "catch up        6h",
        "jitter          5m",
        "state           active",
        "next            2990-03-01T03:30:00Z",
        "                2990-03-02T03:30:00Z",
        "last slot       2026-01-01T03:30:00Z",
        "last execution  nightly-import-nightly-20260101T033000Z",
        "waiting         2",
        "skipped         5 slots, the last 2025-12-31T03:30:00Z",
    ]
    created = run(listed, "triggers", "subscription", "created").stdout.splitlines()
    assert "filter      event.plan != 'free'" in created
    assert "unique key  event.customer" in created
    assert json.loads(run(listed, "triggers", "subscription", "created", "--json").stdout)["paused"]
    nowhere = run(listed, "triggers", "subscription", "nope")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert "TRIGGER_NOT_FOUND" in nowhere.stderr


def test_triggers_are_paused_and_resumed(threaded: FakeServer) -> None:
    threaded.unary.on("PauseTrigger", pb.PauseTriggerResponse(trigger=CREATED, changed=True))
    result = run(threaded, "triggers", "subscription", "created", "--pause")
    assert result.stdout == "subscription created is paused\n"
    threaded.unary.on("ResumeTrigger", pb.ResumeTriggerResponse(trigger=NIGHTLY, changed=False))
    result = run(threaded, "triggers", "nightly-import", "nightly", "--resume")
    assert result.stdout == "nightly-import nightly is active already; next 2990-03-01T03:30:00Z\n"
    [request] = threaded.unary.asked("ResumeTrigger")
    assert (request.definition_id, request.trigger_id) == ("nightly-import", "nightly")
    assert json.loads(run(threaded, "triggers", "a", "b", "--pause", "--json").stdout)["trigger"]["paused"]


def test_triggers_are_fired_by_hand(threaded: FakeServer) -> None:
    threaded.unary.on("FireTrigger", pb.FireTriggerResponse(execution=EXECUTION, started=True))
    assert run(threaded, "triggers", "a", "b", "--fire", "--payload", '{"n": 1}').stdout == "e1\n"
    threaded.unary.on("FireTrigger", pb.FireTriggerResponse(execution=EXECUTION))
    slot = ("--slot", "2026-01-31T04:30:00+01:00")
    assert run(threaded, "triggers", "a", "b", "--fire", *slot).stdout == "e1 (there already)\n"
    by_event, by_slot = threaded.unary.asked("FireTrigger")
    assert by_event.payload.json == '{"n":1}'
    assert not by_event.HasField("slot")
    assert by_slot.slot == at(2026, 1, 31, 3, 30)
    assert not by_slot.HasField("payload")


@pytest.mark.parametrize(
    ("slot", "said"),
    [
        ("tomorrow", "'tomorrow' is no time; write it as 2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00", "names no zone; end it with Z for UTC, or with such as +02:00"),
    ],
)
def test_a_slot_is_a_moment(slot: str, said: str) -> None:
    result = run(None, "triggers", "a", "b", "--fire", "--slot", slot)
    assert result.exit_code == 2
    assert said in result.stderr


def emitted(**fields: Any) -> events_pb.PublishEventResponse:
    return events_pb.PublishEventResponse(event_id="x1", **fields)


STARTED = events_pb.TriggeredStart(definition_id="order", trigger_id="paid", execution_id="o-1", version=3)
OFFERED = events_pb.OfferedWait(execution_id="o-2", step_path="lines[3]/approval")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (emitted(), ["paid is accepted as x1", "  matched   nothing: no trigger and no waiting step"]),
        (
            emitted(started_count=12, started=[STARTED], offered_count=1, offered=[OFFERED]),
            [
                "paid is accepted as x1",
                "  starts      o-1 (order version 3, trigger paid)",
                "              12 in all",
                "  offered to  o-2 at lines[3]/approval",
            ],
        ),
        (
            emitted(duplicate=True, offered_count=2, offered=[OFFERED], job_id="j1"),
            [
                "paid had been accepted before as x1",
                "  offered to  o-2 at lines[3]/approval",
                "              2 in all",
                "  and         job j1 works through the rest: callboard jobs j1",
            ],
        ),
    ],
)
def test_an_event_shows_what_it_matched(
    threaded: FakeServer, answer: events_pb.PublishEventResponse, said: list[str]
) -> None:
    threaded.unary.on("PublishEvent", answer)
    result = run(threaded, "emit", "paid", "--key", "k", "--payload", '{"n": 1}', "--event-id", "x1")
    assert (result.exit_code, result.stdout.splitlines()) == (0, said)
    [request] = threaded.unary.asked("PublishEvent")
    assert (request.name, request.key, request.event_id, request.payload.json) == ("paid", "k", "x1", '{"n":1}')
    assert request.request_id
    assert json.loads(run(threaded, "emit", "paid", "--json").stdout)["event_id"] == "x1"


def test_what_an_event_could_not_be_matched_with_is_a_warning(threaded: FakeServer) -> None:
    threaded.unary.on("PublishEvent", emitted(warnings=["order, triggers[0].event.filter: no such key: plan"]))
    assert run(threaded, "emit", "paid").stderr == "warning: order, triggers[0].event.filter: no such key: plan\n"
