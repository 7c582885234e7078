import json
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import at_terminal, run
from tests.client.fakes import FakeServer, status

from callboard.v1 import definition_service_pb2 as pb
from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1.definitions_pb2 import Definition, Step, Trigger
from callboard.v1.failure_pb2 import Failure
from callboard.v1.jobs_pb2 import Job, JobFailure
from callboard.v1.payload_pb2 import Payload

PUBLISHED = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_PUBLISHED", etag="7", latest_version=4)
DELETING = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_DELETING", etag="8", latest_version=4)
DELETED = pb.DefinitionSummary(definition_id="order", state="DEFINITION_STATE_DELETED", etag="8", latest_version=4)
STOPS = pb.PublishImpact(previous_version=4, running_executions=12, triggers_removed=["nightly", "created"])


def deleted(summary: pb.DefinitionSummary = DELETED, **fields: Any) -> pb.DeleteDefinitionResponse:
    known: dict[str, Any] = {"definition": summary, "revision": 9, "changed": True, "impact": STOPS}
    return pb.DeleteDefinitionResponse(**(known | fields))


def job(state: str, **fields: Any) -> control_pb.GetJobResponse:
    known: dict[str, Any] = {"job_id": "j1", "kind": "JOB_KIND_DELETE_DEFINITION", "target": "order"}
    return control_pb.GetJobResponse(job=Job(state=f"JOB_STATE_{state}", total_count=12, **known, **fields))


@pytest.mark.parametrize(
    ("arguments", "answer", "said"),
    [
        (("--dry-run",), deleted(impact=None), "would delete order\n"),
        (
            ("--dry-run", "--running", "keep"),
            deleted(PUBLISHED),
            "would delete order\n  triggers  - nightly, created\n  running   12 executions go on to their ends\n",
        ),
        ((), deleted(impact=None), "deleted order (revision 9)\n"),
        (("--version", "2"), deleted(impact=None), "deleted version 2 of order (revision 9)\n"),
        (("--running", "keep"), deleted(), "deleted order (revision 9); 12 executions go on to their ends\n"),
        ((), deleted(changed=False), "order is deleted already\n"),
        ((), deleted(DELETING, changed=False, job_id="j1"), "order is being deleted already\n"),
        (
            ("--running", "cancel"),
            deleted(DELETING, job_id="j1"),
            "deleting order (revision 9): 12 executions are cancelled first\njob j1 does it: callboard jobs j1\n",
        ),
    ],
)
def test_a_deletion_says_what_it_does(
    threaded: FakeServer, arguments: tuple[str, ...], answer: pb.DeleteDefinitionResponse, said: str
) -> None:
    threaded.unary.on("DeleteDefinition", answer)
    result = run(threaded, "delete", "order", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    [request] = threaded.unary.asked("DeleteDefinition")
    fate = pb.DeleteRunningExecutions.Name(request.running_executions).removeprefix("DELETE_RUNNING_EXECUTIONS_")
    assert fate.lower() == (arguments[-1] if "--running" in arguments else "refuse")
    assert request.version == (2 if "--version" in arguments else 0)
    assert request.validate_only == ("--dry-run" in arguments)


def test_what_is_in_use_is_not_deleted(threaded: FakeServer) -> None:
    threaded.unary.on("DeleteDefinition", status(grpc.StatusCode.FAILED_PRECONDITION, "DEFINITION_IN_USE", "12 run"))
    result = run(threaded, "delete", "order")
    assert (result.exit_code, result.stderr) == (1, "error: DEFINITION_IN_USE: 12 run\n")


def test_a_person_is_asked_and_deletes_what_was_shown(threaded: FakeServer) -> None:
    question = "delete order (stops nightly, created; 12 executions are cancelled first)? [y/N]: "
    arguments = ("delete", "order", "--running", "cancel")
    threaded.unary.on("DeleteDefinition", deleted(PUBLISHED), deleted(DELETING, job_id="j1"))
    code, seen = at_terminal(threaded, *arguments, typed="\n")
    assert code == 1
    assert seen.startswith(question)
    [tried] = threaded.unary.asked("DeleteDefinition")
    assert tried.validate_only
    threaded.unary.on("DeleteDefinition", deleted(PUBLISHED), deleted(DELETING, job_id="j1"))
    code, seen = at_terminal(threaded, *arguments, typed="y\n")
    assert code == 0
    assert "deleting order (revision 9): 12 executions are cancelled first\n" in seen
    done = threaded.unary.asked("DeleteDefinition")[-1]
    assert (done.validate_only, done.etag) == (False, "7")
    threaded.unary.on("DeleteDefinition", deleted(impact=None))
    assert at_terminal(threaded, "delete", "order", "--yes") == (0, "deleted order (revision 9)\n")


def test_a_deletion_waits_for_its_job(threaded: FakeServer) -> None:
    refused = JobFailure(execution_id="o-1", failure=Failure(type="RevertFailed", message="no"))
    threaded.unary.on("DeleteDefinition", deleted(DELETING, job_id="j1"))
    ended = job("SUCCEEDED", done_count=12, failed_count=1, failures=[refused])
    threaded.unary.on("GetJob", job("RUNNING", done_count=3), ended)
    result = run(threaded, "delete", "order", "--running", "cancel", "--wait")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "deleted order (revision 9)",
        "1 failed:",
        "EXECUTION\tFAILURE",
        "o-1\tRevertFailed: no",
    ]
    as_json = json.loads(run(threaded, "delete", "order", "--running", "cancel", "--wait", "--json").stdout)
    assert (as_json["job_id"], as_json["job"]["state"]) == ("j1", "SUCCEEDED")


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 4), ("RUNNING", 5), ("PENDING", 5)])
def test_the_exit_code_of_waiting_for_a_job(threaded: FakeServer, state: str, code: int) -> None:
    threaded.unary.on("DeleteDefinition", deleted(DELETING, job_id="j1"))
    threaded.unary.on("GetJob", job(state))
    assert run(threaded, "jobs", "j1", "--wait", "0").exit_code == code
    assert run(threaded, "jobs", "j1").exit_code == 0
    result = run(threaded, "delete", "order", "--running", "cancel", "--wait", "0")
    assert result.exit_code == code
    assert ("deleted order" in result.stdout) == (code == 0)


def test_a_person_sees_a_job_move(threaded: FakeServer) -> None:
    threaded.unary.on("GetJob", job("RUNNING", done_count=3), job("SUCCEEDED", done_count=12))
    code, seen = at_terminal(threaded, "jobs", "j1", "--wait")
    assert code == 0
    assert "job j1" in seen
    assert "100%" in seen
    assert seen.endswith("job     j1\nkind    DELETE_DEFINITION\nstate   SUCCEEDED\ntarget  order\ndone    12/12\n")


def test_jobs_are_listed(threaded: FakeServer) -> None:
    listed = [job("RUNNING", done_count=3, failed_count=2).job, job("FAILED", failure=Failure(type="Boom")).job]
    threaded.unary.on("ListJobs", control_pb.ListJobsResponse(jobs=listed))
    lines = run(threaded, "jobs").stdout.splitlines()
    assert lines[1].split("\t")[:6] == ["j1", "DELETE_DEFINITION", "RUNNING", "order", "3/12", "2"]
    as_json = json.loads(run(threaded, "jobs", "--json").stdout)
    assert [item["state"] for item in as_json] == ["RUNNING", "FAILED"]
    assert as_json[1]["error"]["type"] == "Boom"
    assert run(threaded, "jobs", "--wait").exit_code == 2


def test_empty_lists_say_so(threaded: FakeServer) -> None:
    threaded.unary.on("ListJobs", control_pb.ListJobsResponse())
    threaded.unary.on("ListDefinitions", pb.ListDefinitionsResponse())
    threaded.unary.on("ListTriggers", pb.ListTriggersResponse())
    threaded.unary.on("ListDefinitionEvents", pb.ListDefinitionEventsResponse())
    expected = {
        ("jobs",): "there are no jobs\n",
        ("definitions",): "there are no definitions\n",
        ("definitions", "--history"): "nothing has happened to any definition\n",
        ("triggers",): "no trigger is published\n",
        ("triggers", "order", "--event", "paid"): "no trigger of order is published for the event paid\n",
    }
    for arguments, said in expected.items():
        result = run(threaded, *arguments)
        assert (len(result.stdout.splitlines()), result.stderr) == (1, said)
        assert run(threaded, *arguments, "--json").stdout == "[]\n"
    assert at_terminal(threaded, "jobs") == (0, "there are no jobs\n")


def test_deleted_definitions_are_listed_where_asked_for(threaded: FakeServer) -> None:
    alive = [pb.DefinitionSummary(definition_id=name, state="DEFINITION_STATE_PUBLISHED") for name in "ac"]
    gone = [pb.DefinitionSummary(definition_id="b", state="DEFINITION_STATE_DELETED")]

    def answer(request: pb.ListDefinitionsRequest) -> pb.ListDefinitionsResponse:
        return pb.ListDefinitionsResponse(definitions=gone if request.state == pb.DEFINITION_STATE_DELETED else alive)

    threaded.unary.on("ListDefinitions", answer)
    assert [line.split("\t")[0] for line in run(threaded, "definitions").stdout.splitlines()] == ["ID", "a", "c"]
    every = json.loads(run(threaded, "definitions", "--all", "--json").stdout)
    assert [(item["id"], item["state"]) for item in every] == [("a", "PUBLISHED"), ("b", "DELETED"), ("c", "PUBLISHED")]


def test_the_history_of_all_definitions_names_them(threaded: FakeServer) -> None:
    event = pb.DefinitionEvent(
        definition_id="order",
        sequence=2,
        event_name="DefinitionPublished",
        version=1,
        revision=5,
        user_id="ann",
        payload=Payload(json='{"previous": 3, "version": 1}'),
    )
    threaded.unary.on("ListDefinitionEvents", pb.ListDefinitionEventsResponse(events=[event]))
    header, row = run(threaded, "definitions", "--history").stdout.splitlines()
    assert header.startswith("ID\tSEQUENCE\t")
    assert row == 'order\t2\tDefinitionPublished\t1\t5\t\tann\t{"previous": 3}'
    assert threaded.unary.asked("ListDefinitionEvents")[0].definition_id == ""
    header, row = run(threaded, "definitions", "order", "--history").stdout.splitlines()
    assert header.startswith("SEQUENCE\t")
    assert row.startswith("2\tDefinitionPublished\t")


def test_a_definition_as_it_was(threaded: FakeServer) -> None:
    moment = Timestamp()
    moment.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    summary = pb.DefinitionSummary(
        definition_id="order",
        state="DEFINITION_STATE_PUBLISHED",
        published_version=3,
        latest_version=3,
        has_draft=True,
        revision=12,
        updated_at=moment,
    )
    content = Definition(id="order", steps=[Step(id="reserve"), Step(id="charge")], triggers=[Trigger(id="nightly")])
    version = pb.DefinitionVersion(definition_id="order", version=3, definition=content)
    threaded.unary.on("GetDefinition", pb.GetDefinitionResponse(definition=summary, definition_version=version))
    shown = run(threaded, "definitions", "order", "--at-sequence", "4").stdout.splitlines()
    assert shown == [
        "definition  order",
        "as of       event 4",
        "state       PUBLISHED",
        "published   version 3",
        "latest      version 3",
        "draft       yes",
        "changed     2026-01-02T03:04:05Z",
        "revision    12",
        "steps       reserve, charge",
        "triggers    nightly",
    ]
    assert threaded.unary.asked("GetDefinition")[0].at_sequence == 4
    as_json = json.loads(run(threaded, "definitions", "order", "--at-sequence", "4", "--json").stdout)
    assert as_json["definition"]["steps"] == [{"id": "reserve"}, {"id": "charge"}]
    assert as_json["summary"]["has_draft"]
    threaded.unary.on("GetDefinition", pb.GetDefinitionResponse(definition=summary))
    assert "content     deleted since" in run(threaded, "definitions", "order", "--at-sequence", "4").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("definitions", "--at-sequence", "4"),
        ("definitions", "order", "--at-sequence", "0"),
        ("definitions", "order", "--history", "--at-sequence", "4"),
        ("definitions", "order", "--all"),
        ("delete",),
        ("delete", "order", "--version", "0"),
        ("delete", "order", "--running", "dance"),
        ("triggers", "order", "--pause"),
        ("triggers", "order", "nightly", "--payload", "1"),
        ("triggers", "order", "nightly", "--pause", "--slot", "2026-01-31T04:30:00Z"),
        ("triggers", "order", "nightly", "--fire", "--slot", "2026-01-31T04:30:00"),
        ("triggers", "order", "nightly", "--event", "paid"),
        ("emit",),
        ("emit", "paid", "--payload", "{"),
    ],
)
def test_wrong_usage_asks_the_server_nothing(threaded: FakeServer, arguments: tuple[str, ...]) -> None:
    result = run(threaded, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert threaded.unary.requests == []


def test_a_retract_tells_what_stops(threaded: FakeServer) -> None:
    impact = pb.PublishImpact(previous_version=4, triggers_removed=["nightly"], running_executions=1)
    hook = pb.StageRun(name="announcer", error="boom")
    threaded.unary.on("RetractDefinition", pb.RetractDefinitionResponse(changed=True, impact=impact, stages=[hook]))
    assert run(threaded, "retract", "order", "--dry-run").stdout.splitlines() == [
        "would retract version 4 of order",
        "  triggers  - nightly",
        "  running   1 execution would go on",
    ]
    result = run(threaded, "retract", "order", "--json")
    assert json.loads(result.stdout)["stages"][0]["error"] == "boom"
    assert result.stderr == "warning: the change stands, but its stage announcer failed: boom\n"
