import json
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import at_terminal, run
from tests.client.fakes import FakeServer, status

from callboard.client import Client
from callboard.client.cli.state_changes import change_line, changes
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2
from callboard.v1.history_pb2 import WorkflowEvent
from callboard.v1.payload_pb2 import Payload

RUNNING = executions_pb2.Execution(
    execution_id="o-1", definition_id="order", version=1, status="EXECUTION_STATUS_RUNNING", state="running", sequence=2
)
SOUND = pb.VerifyExecutionResponse(valid=True, events_checked=4, snapshots_checked=1, head_sequence=4, head_hash=b"\1")
DAMAGED = pb.VerifyExecutionResponse(
    problems=[pb.VerifyProblem(kind="VERIFY_PROBLEM_KIND_GAP", sequence=3, message="event 3 is missing")],
    events_checked=3,
)


def json_of(text: str | None) -> Payload | None:
    return None if text is None else Payload(json=text)


def step(sequence: int, *values: tuple[str, str | None, str | None]) -> pb.ReplayStep:
    event = WorkflowEvent(
        sequence=sequence,
        event_name="TimerSet",
        from_state="running",
        to_state="running",
        payload=Payload(json="{}"),
        created_at=Timestamp(seconds=1_700_000_000),
    )
    told = [pb.StateChange(pointer=place, before=json_of(old), after=json_of(new)) for place, old, new in values]
    return pb.ReplayStep(event=event, changes=told)


FIRST_PAGE = pb.ReplayExecutionResponse(
    execution=RUNNING,
    state=Payload(json='{"sequence": 2}'),
    snapshot=executions_pb2.Snapshot(sequence=1, created_at=Timestamp(seconds=1_700_000_000)),
    skipped_snapshots=[executions_pb2.Snapshot(sequence=2)],
    events_replayed=1,
    steps=[step(1, ("/sequence", "0", "1"), ("/a", None, "null"), ("/b", "1", "2"))],
    next_page_token="more",
)
LAST_PAGE = pb.ReplayExecutionResponse(steps=[step(2, ("/a", "null", None))])


def stated(**state: Any) -> pb.ReplayExecutionResponse:
    return pb.ReplayExecutionResponse(execution=RUNNING, state=Payload(json=json.dumps(state)))


async def test_a_replay_has_all_steps_of_all_pages(server: FakeServer) -> None:
    server.unary.on("ReplayExecution", FIRST_PAGE, LAST_PAGE)
    async with Client(server.address) as client:
        replayed = await client.replay("o-1", until_sequence=2, debug=True)
    assert (replayed.execution.id, replayed.state, replayed.events_replayed) == ("o-1", {"sequence": 2}, 1)
    assert replayed.snapshot is not None and replayed.snapshot.sequence == 1
    assert replayed.snapshot.created_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert [one.sequence for one in replayed.skipped_snapshots] == [2]
    assert [one.event.sequence for one in replayed.steps] == [1, 2]
    _, added, changed = replayed.steps[0].changes
    assert (added.added, added.removed, added.after) == (True, False, None)
    assert (changed.added, changed.removed, changed.before, changed.after) == (False, False, 1, 2)
    assert replayed.steps[1].changes[0].removed
    asked = server.unary.asked("ReplayExecution")
    assert [request.page_token for request in asked] == ["", "more"]


async def test_a_snapshot_is_asked_for_once(server: FakeServer) -> None:
    taken = pb.CreateSnapshotResponse(snapshot=executions_pb2.Snapshot(sequence=7, format=1, size_bytes=10))
    server.unary.on("CreateSnapshot", taken)
    async with Client(server.address) as client:
        snapshot = await client.create_snapshot("o-1")
    assert (snapshot.sequence, snapshot.format, snapshot.size_bytes, snapshot.created_at) == (7, 1, 10, None)
    assert server.unary.asked("CreateSnapshot")[0].request_id


def test_a_replay_shows_what_each_event_changed(threaded: FakeServer) -> None:
    threaded.unary.on("ReplayExecution", FIRST_PAGE, LAST_PAGE, FIRST_PAGE, LAST_PAGE)
    result = run(threaded, "replay", "o-1", "--until", "2", "--no-snapshots", "--debug")
    assert result.exit_code == 0, result.output
    assert [line.strip() for line in result.stdout.splitlines() if line.strip()[:2] in ("+ ", "~ ", "- ")] == [
        "+ /a  null",
        "~ /b  1 -> 2",
        "- /a  null",
    ]
    assert "1 event from the snapshot at 1, made 2023-11-14T22:13:20Z" in result.stdout
    assert "passed over  the snapshot at 2" in result.stdout
    asked = threaded.unary.asked("ReplayExecution")
    assert all((one.until_sequence, one.use_snapshots) == (2, False) for one in asked)


def test_a_replay_as_json_is_one_document(threaded: FakeServer) -> None:
    threaded.unary.on("ReplayExecution", FIRST_PAGE, LAST_PAGE)
    result = run(threaded, "replay", "o-1", "--at", "2023-11-14T22:13:20Z", "--debug", "--json")
    document = json.loads(result.stdout)
    assert [len(one["changes"]) for one in document["steps"]] == [3, 1]
    assert threaded.unary.asked("ReplayExecution")[0].until_time.seconds == 1_700_000_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "o-1", "--until", "1", "--at", "2023-11-14T22:13:20Z"),
        ("get", "o-1", "--at-sequence", "1", "--at-time", "2023-11-14T22:13:20Z"),
        ("diff", "o-1"),
        ("diff", "o-1", "o-2", "--from", "1"),
        ("diff", "o-1", "--from", "yesterday"),
        ("diff", "o-1", "--from", "-1"),
        ("verify",),
        ("verify", "o-1", "--all"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(threaded: FakeServer, arguments: tuple[str, ...]) -> None:
    assert run(threaded, *arguments).exit_code == 2


def test_a_diff_of_two_moments(threaded: FakeServer) -> None:
    threaded.unary.on("ReplayExecution", stated(a=1, l=[1, 2]), stated(a=1.0, l=[1], n={"x/y": None}))
    result = run(threaded, "diff", "o-1", "--from", "3")
    assert result.stdout.splitlines() == ["~ /a  1 -> 1.0", "- /l/1  2", '+ /n  {"x/y": null}']
    before, after = threaded.unary.asked("ReplayExecution")
    assert (before.until_sequence, after.HasField("until_sequence")) == (3, False)
    threaded.unary.on("ReplayExecution", stated(a=1), stated(a=1))
    said = run(threaded, "diff", "o-1", "--from", "2023-11-14T22:13:20Z", "--to", "7").stdout
    assert said == "no difference\n"
    before, after = threaded.unary.asked("ReplayExecution")[-2:]
    assert (before.until_time.seconds, after.until_sequence) == (1_700_000_000, 7)


def hidden(place: str, mark: bytes, **state: Any) -> pb.ReplayExecutionResponse:
    answer = stated(**state)
    answer.sensitive_places.add(pointer=place, mark=mark)
    return answer


def test_a_diff_says_that_a_sensitive_value_has_changed(threaded: FakeServer) -> None:
    states = [hidden("/a", mark, a="[redacted]", b=n) for n, mark in enumerate((b"1", b"2", b"1", b"1", b"1", b"2"))]
    threaded.unary.on("ReplayExecution", *states)
    arguments = ("diff", "o-1", "--from", "3")
    assert run(threaded, *arguments).stdout == '~ /b  0 -> 1\n~ /a  "[redacted]" -> "[redacted]"\n'
    assert run(threaded, *arguments).stdout == "~ /b  2 -> 3\n", "the same value"
    assert run(threaded, "diff", "o-1", "o-2").stdout == "~ /b  4 -> 5\n", "of two executions nobody can tell"


def test_a_diff_of_two_executions_leaves_their_ids_out(threaded: FakeServer) -> None:
    answers = (stated(execution_id="o-1", v={"a~b": 1}), stated(execution_id="o-2", v={"a~b": 2}))
    threaded.unary.on("ReplayExecution", *answers)
    result = run(threaded, "diff", "o-1", "o-2", "--json")
    assert json.loads(result.stdout) == [
        {"pointer": "/v/a~0b", "before": 1, "after": 2, "added": False, "removed": False}
    ]
    threaded.unary.on("ReplayExecution", answers[0], answers[0])
    assert run(threaded, "diff", "o-1", "o-2").stdout == "no difference\n"


def test_long_values_are_cut_for_people() -> None:
    (change,) = changes({"a": "x"}, {"a": "y" * 500})
    assert len(change_line(change)) < 200


@pytest.mark.parametrize(("answer", "code"), [(SOUND, 0), (DAMAGED, 1)])
def test_verify_says_what_is_wrong_and_ends_with_it(
    threaded: FakeServer, answer: pb.VerifyExecutionResponse, code: int
) -> None:
    threaded.unary.on("VerifyExecution", answer)
    result = run(threaded, "verify", "o-1")
    assert result.exit_code == code
    told = "o-1: GAP at 3: event 3 is missing\n" if code else "o-1: all is well, 4 events and 1 snapshot checked\n"
    assert result.stdout == told
    document = json.loads(run(threaded, "verify", "o-1", "--json").stdout)
    assert (document["valid"], document["execution_id"]) == (not code, "o-1")


def listing(*ids: str) -> pb.ListExecutionsResponse:
    return pb.ListExecutionsResponse(executions=[executions_pb2.Execution(execution_id=one) for one in ids])


def test_verify_of_all_names_the_damaged_ones(threaded: FakeServer) -> None:
    gone = status(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND")
    threaded.unary.on("ListExecutions", listing("o-3", "o-2", "o-1"))
    threaded.unary.on("VerifyExecution", SOUND, gone, DAMAGED)
    result = run(threaded, "verify", "--all")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "o-1: GAP at 3: event 3 is missing",
        "2 executions with 7 events checked: 1 damaged",
    ]
    threaded.unary.on("VerifyExecution", SOUND)
    result = run(threaded, "verify", "--all", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["execution_id"] for line in result.stdout.splitlines()] == ["o-3", "o-2", "o-1"]


@pytest.mark.parametrize("reason", ["INTERNAL", "INVALID_REQUEST", "HISTORY_DAMAGED"])
def test_verify_of_all_goes_on_behind_one_that_cannot_be_read(threaded: FakeServer, reason: str) -> None:
    threaded.unary.on("ListExecutions", listing("o-2", "o-1"))
    threaded.unary.on("VerifyExecution", status(grpc.StatusCode.INTERNAL, reason), SOUND)
    result = run(threaded, "verify", "--all")
    assert (result.exit_code, result.stdout) == (1, "2 executions with 4 events checked: 1 damaged\n")
    assert result.stderr.startswith("o-2: cannot be checked: ")
    threaded.unary.on("VerifyExecution", status(grpc.StatusCode.PERMISSION_DENIED, "UNAUTHENTICATED"))
    assert "checked" not in run(threaded, "verify", "--all").output


@pytest.mark.parametrize("count", [pb.CountExecutionsResponse(count=2), None])
def test_people_see_how_far_a_check_of_all_has_come(
    threaded: FakeServer, count: pb.CountExecutionsResponse | None
) -> None:
    threaded.unary.on("ListExecutions", listing("o-2", "o-1"))
    threaded.unary.on("VerifyExecution", SOUND)
    if count is not None:
        threaded.unary.on("CountExecutions", count)
    code, seen = at_terminal(threaded, "verify", "--all")
    assert code == 0
    assert ("verifying" in seen, "2 executions with 8 events checked: all is well" in seen) == (True, True)
    assert "verifying" not in run(threaded, "verify", "--all").output
