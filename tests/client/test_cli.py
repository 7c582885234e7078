import errno
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from tests.client.command_line import run
from tests.client.fakes import FakeServer, status

from callboard.client import Execution, Failure, Incident, IncidentKind, OpenStep, Queue, StepState, WaitingOn
from callboard.client.cli.output import length, to_json
from callboard.client.cli.session import Length
from callboard.client.cli.why import explain
from callboard.client.cli.workers import find_registry, load
from callboard.client.codec import Opaque
from callboard.client.decoding import decode
from callboard.v1 import definition_service_pb2 as definition_pb
from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2
from callboard.v1 import server_service_pb2 as server_pb
from callboard.v1.history_pb2 import WorkflowEvent
from callboard.v1.payload_pb2 import Payload
from callboard.v1.violations_pb2 import DefinitionViolation, DefinitionViolations


def execution(status: str, **fields: Any) -> executions_pb2.Execution:
    known = {"execution_id": "e1", "definition_id": "order", "version": 1, "status": f"EXECUTION_STATUS_{status}"}
    return executions_pb2.Execution(**known, **fields)


COMPLETED = execution("COMPLETED", state="done", output=Payload(json='{"n":9007199254740993}'))
RUNNING = execution("RUNNING", state="running")


@pytest.mark.parametrize(
    ("arguments", "answer", "code"),
    [
        ((), pb.StartExecutionResponse(execution=RUNNING, started=True), 0),
        (("--wait", "5"), pb.StartExecutionResponse(execution=COMPLETED, ended=True), 0),
        (("--wait", "5s"), pb.StartExecutionResponse(execution=execution("FAILED"), ended=True), 4),
        (("--wait", "1"), pb.StartExecutionResponse(execution=RUNNING), 5),
        ((), status(grpc.StatusCode.NOT_FOUND, "DEFINITION_NOT_FOUND"), 1),
        (("--wait", "soon"), None, 2),
        (("--input", "{"), None, 2),
        (("--label", "x"), None, 2),
        (("--unique-policy", "reject"), None, 2),
        (("--unique-key", "k", "--unique-policy", "dance"), None, 2),
        (("--label", "x=1", "--label", "x=2"), None, 2),
        (("--input", '{"a": 1, "a": 2}'), None, 2),
        (("--input", '{"a": NaN}'), None, 2),
    ],
)
def test_the_exit_code_of_a_start(threaded: FakeServer, arguments: tuple[str, ...], answer: Any, code: int) -> None:
    threaded.unary.on("StartExecution", answer)
    result = run(threaded, "start", "order", *arguments)
    assert result.exit_code == code, result.output


def test_a_start_carries_what_was_given(threaded: FakeServer, tmp_path: Path) -> None:
    threaded.unary.on("StartExecution", pb.StartExecutionResponse(execution=COMPLETED, started=True, ended=True))
    path = tmp_path / "input.json"
    path.write_text('{"n": 9007199254740993}')
    options = ("--input", f"@{path}", "--id", "e1", "--label", "a=b=c", "--wait", "--json")
    result = run(threaded, "start", "order", *options)
    assert json.loads(result.stdout)["output"] == {"n": 9007199254740993}
    [(_, request, metadata)] = threaded.unary.requests
    assert isinstance(request, pb.StartExecutionRequest)
    assert (request.execution_id, dict(request.labels)) == ("e1", {"a": "b=c"})
    assert request.input.json == '{"n":9007199254740993}'
    assert metadata["callboard-tenant"] == "acme"
    run(threaded, "--tenant", "other", "start", "order", "--input", "-", stdin="[1]")
    _, request, metadata = threaded.unary.requests[-1]
    assert isinstance(request, pb.StartExecutionRequest)
    assert request.input.json == "[1]"
    assert metadata["callboard-tenant"] == "other"


@pytest.mark.parametrize("policy", ["return-existing", "reject", "cancel-existing"])
def test_a_start_carries_its_unique_key(threaded: FakeServer, policy: str) -> None:
    waiting_one = execution("PENDING", waits_for_execution_id="e0")
    threaded.unary.on("StartExecution", pb.StartExecutionResponse(execution=waiting_one, started=True))
    result = run(threaded, "start", "order", "--unique-key", "k", "--unique-policy", policy)
    assert result.stdout == "e1 (begins when e0 has ended)\n"
    [request] = threaded.unary.asked("StartExecution")
    assert request.unique_key == "k"
    assert pb.UniquePolicy.Name(request.unique_policy) == f"UNIQUE_POLICY_{policy.upper().replace('-', '_')}"


def test_a_start_says_which_one_holds_the_key(threaded: FakeServer) -> None:
    threaded.unary.on("StartExecution", pb.StartExecutionResponse(execution=RUNNING))
    key = ("--unique-key", "k")
    assert run(threaded, "start", "order", "--id", "e2", *key).stdout == "e1 (holds the unique key 'k')\n"
    assert run(threaded, "start", "order", "--id", "e1", *key).stdout == "e1 (there already)\n"


def test_what_the_message_names_is_not_said_again(threaded: FakeServer) -> None:
    message = "2 executions have not ended: e1, e2"
    unmet = error_details_pb2.PreconditionFailure()
    unmet.violations.add(subject="definition/order", description=message)
    unmet.violations.add(subject="execution/e1", description="has an incident")
    known = {"execution_ids": "e1,e2", "running": "2"}
    for more, said in (({}, ""), ({"oldest": "e0"}, " (execution_ids=e1,e2, oldest=e0, running=2)")):
        refusal = status(grpc.StatusCode.FAILED_PRECONDITION, "DEFINITION_IN_USE", message, unmet, **known, **more)
        threaded.unary.on("GetExecution", refusal)
        assert run(threaded, "get", "e1").stderr.splitlines() == [
            "execution/e1: has an incident",
            f"error: DEFINITION_IN_USE: {message}{said}",
        ]


def test_no_server_is_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.client.cli.session.CONNECT_SECONDS_MAX", 0.1)
    result = run(None, "get", "e1", "--json")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "no server answers at 127.0.0.1:1" in result.stderr


def test_violations_come_one_a_line(threaded: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("id: order\n")
    violation = DefinitionViolation(path="steps[3].task", source_name="order.yaml", line=12, column=9, message="odd")
    details = DefinitionViolations(violations=[violation])
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEFINITION", "order.yaml:12:9: odd", details)
    fine = definition_pb.PublishDefinitionResponse(definition_id="order", version=2, changed=True, revision=7)
    threaded.unary.on("PublishDefinition", refusal, fine)
    result = run(threaded, "validate", str(path), str(path))
    assert result.exit_code == 1
    located, summary = result.stderr.splitlines()
    assert located == "order.yaml:12:9: steps[3].task: odd"
    assert summary == "error: INVALID_DEFINITION: 1 violation"
    assert result.stdout == f"{path}: valid; would be order version 2\n"
    assert run(threaded, "validate", "/nowhere.yaml").exit_code == 2


def test_many_violations_are_counted_and_not_told_twice(threaded: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("id: order\n")
    violations = [
        DefinitionViolation(path=f"steps[{n}]", source_name="order.yaml", line=n, column=1, message=f"odd{n}")
        for n in range(1, 6)
    ]
    message = "order.yaml:1:1: steps[1]: odd1; order.yaml:2:1: steps[2]: odd2; and 3 more"
    details = DefinitionViolations(violations=violations)
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEFINITION", message, details)
    threaded.unary.on("PublishDefinition", refusal)
    lines = run(threaded, "publish", str(path)).stderr.splitlines()
    assert lines[:-1] == [f"order.yaml:{n}:1: steps[{n}]: odd{n}" for n in range(1, 6)]
    assert lines[-1] == "error: INVALID_DEFINITION: 5 violations"


@pytest.mark.parametrize("option", ["--tenant", "--user"])
def test_a_name_that_no_header_can_carry_is_refused(threaded: FakeServer, option: str) -> None:
    result = run(threaded, "list", option, "Jürgen", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'Jürgen' has characters that are not printable ASCII" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_answer_that_cannot_be_written_is_told(
    threaded: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("callboard.client.cli.output.Output.document", full)
    threaded.unary.on("GetExecution", pb.GetExecutionResponse(execution=COMPLETED))
    result = run(threaded, "get", "e1", "--json")
    assert result.exit_code == 1
    assert result.stderr == "error: the answer cannot be written: No space left on device\n"


def test_reading_commands_print_one_document(threaded: FakeServer) -> None:
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse(executions=[RUNNING, COMPLETED]))
    threaded.unary.on("ListQueues", server_pb.ListQueuesResponse(queues=[server_pb.Queue(operation="a.b", queued=3)]))
    threaded.unary.on("ListWorkers", server_pb.ListWorkersResponse())
    threaded.unary.on("ListDefinitions", definition_pb.ListDefinitionsResponse())
    threaded.unary.on("ListDeadLetters", events_pb.ListDeadLettersResponse())
    threaded.unary.on("GetHistory", events_pb.GetHistoryResponse(events=[WorkflowEvent(sequence=1, event_name="X")]))
    threaded.unary.on("GetExecution", pb.GetExecutionResponse(execution=RUNNING))
    found = {
        " ".join(command): json.loads(run(threaded, *command, "--json").stdout)
        for command in (
            ["list"],
            ["list", "--limit", "1"],
            ["stuck"],
            ["queues"],
            ["workers"],
            ["definitions"],
            ["dead-letters"],
            ["history", "e1"],
            ["get", "e1"],
            ["why", "e1"],
        )
    }
    assert [item["status"] for item in found["list"]] == ["RUNNING", "COMPLETED"]
    assert len(found["list --limit 1"]) == 1
    assert found["queues"][0]["queued"] == 3
    assert found["workers"] == found["definitions"] == found["dead-letters"] == []
    assert found["history e1"][0]["sequence"] == 1
    assert found["get e1"]["id"] == found["why e1"]["id"] == "e1"


def test_watch_prints_each_event_in_a_line(threaded: FakeServer) -> None:
    event = WorkflowEvent(
        sequence=1,
        event_name="StepScheduled",
        from_state="running",
        to_state="reserving",
        payload=Payload(json='{"path":"reserve","operation":"inventory.reserve"}'),
    )
    threaded.executions.events = [events_pb.WatchExecutionResponse(events=[event])]
    line = run(threaded, "watch", "e1").stdout
    assert line.split()[:1] == ["1"]
    for part in ("StepScheduled", "reserve", "[running -> reserving]", "inventory.reserve"):
        assert part in line
    threaded.executions.events = [events_pb.WatchExecutionResponse(events=[event, event])]
    lines = run(threaded, "watch", "e1", "--json").stdout.splitlines()
    assert [json.loads(line)["event_name"] for line in lines] == ["StepScheduled"] * 2


def test_without_a_terminal_tables_are_lines_with_tabs(threaded: FakeServer) -> None:
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse(executions=[COMPLETED]))
    header, row = run(threaded, "list").stdout.splitlines()
    assert header.split("\t")[:4] == ["ID", "DEFINITION", "VERSION", "STATUS"]
    assert row.split("\t")[:5] == ["e1", "order", "1", "COMPLETED", "done"]


def test_resolve_says_what_becomes_of_a_step(threaded: FakeServer) -> None:
    threaded.unary.on("ResolveStep", control_pb.ResolveStepResponse(execution=RUNNING))
    result = run(threaded, "resolve", "e1", "ship", "--action", "complete", "--result", "[1]", "--reason", "by hand")
    assert result.exit_code == 0, result.output
    [request] = threaded.unary.asked("ResolveStep")
    assert (request.step_path, request.action, request.result.json, request.reason) == ("ship", 3, "[1]", "by hand")
    assert not request.HasField("expected_sequence")
    assert run(threaded, "resolve", "e1", "ship", "--action", "skip", "--expected-sequence", "7").exit_code == 0
    assert threaded.unary.asked("ResolveStep")[1].expected_sequence == 7
    assert run(threaded, "resolve", "e1", "ship", "--action", "skip", "--result", "1").exit_code == 2
    assert run(threaded, "resolve", "e1", "ship", "--action", "dance").exit_code == 2


def test_events_are_handed_in(threaded: FakeServer) -> None:
    threaded.unary.on("SubmitEvent", events_pb.SubmitEventResponse(execution=RUNNING, event_id="x", kept=True))
    threaded.unary.on("EnqueueEvent", events_pb.EnqueueEventResponse(event_id="x", duplicate=True))
    assert "kept" in run(threaded, "submit", "e1", "approved", "--payload", '{"by": "ann"}').stdout
    assert "accepted before" in run(threaded, "enqueue", "e1", "approved", "--event-id", "x").stdout
    [request] = threaded.unary.asked("SubmitEvent")
    assert (request.payload.json, request.HasField("expected_sequence")) == ('{"by":"ann"}', False)


def test_an_event_is_for_one_sequence_only_where_that_is_said(threaded: FakeServer) -> None:
    mismatch = status(grpc.StatusCode.ABORTED, "SEQUENCE_MISMATCH", "e1 is at 8", sequence="8", expected_sequence="7")
    threaded.unary.on("SubmitEvent", mismatch)
    result = run(threaded, "submit", "e1", "approved", "--expected-sequence", "7")
    assert (result.exit_code, "SEQUENCE_MISMATCH" in result.stderr) == (1, True)
    assert threaded.unary.asked("SubmitEvent")[0].expected_sequence == 7
    assert run(threaded, "submit", "e1", "approved", "--expected-sequence", "0").exit_code == 2


def test_an_unknown_command_is_wrong_usage() -> None:
    result = run(None, "nope")
    assert result.exit_code == 2
    assert "no command 'nope'" in result.stderr
    assert run(None, "--help").exit_code == 0


def test_the_command_line_starts_without_grpc_rich_or_the_server() -> None:
    code = "import sys, callboard.client.cli; print({'grpc', 'rich', 'callboard.server'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("1.5", 1.5), ("250ms", 0.25), ("1h30m", 5400), ("2d", 172800)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert Length().convert(text, None, None) == seconds


def test_lengths_for_people() -> None:
    assert [length(value) for value in (0.25, 59, 61, 3700, 90000)] == ["0.2s", "59s", "1m1s", "1h1m", "1d1h"]


def test_json_keeps_integers_and_shows_the_rest_as_text() -> None:
    value = {"n": 2**62, "after": timedelta(seconds=1.5), "hash": b"\x01", "data": Opaque(b"x", "a/b")}
    expected = {"n": 2**62, "after": "1.5s", "hash": "01", "data": {"content_type": "a/b", "data_base64": "eA=="}}
    assert json.loads(to_json(value)) == expected


def step(waiting_on: WaitingOn, **fields: Any) -> OpenStep:
    known: dict[str, Any] = {
        "path": "ship",
        "state": StepState.SCHEDULED,
        "waiting_on": waiting_on,
        "since": datetime.now(UTC),
        "attempt": 1,
        "max_attempts": 3,
        "next_attempt_at": None,
        "last_failure": None,
        "operation": "shipping.ship",
        "worker_id": "w1",
        "event": "approved",
        "incarnation": 0,
        "progress": None,
        "child_execution_id": "",
    }
    return OpenStep(**(known | fields))


def waiting(*steps: OpenStep, incidents: tuple[Incident, ...] = ()) -> Execution:
    plain = decode(Execution, RUNNING)

    return replace(plain, open_steps=steps, open_step_count=len(steps), incidents=incidents)


def queue(**fields: Any) -> dict[str, Queue]:
    known: dict[str, Any] = {"queued": 4, "running": 2, "oldest_age": timedelta(minutes=2), "workers": 1}
    known |= {"free_slots": 0, "paused": False}
    return {"shipping.ship": Queue(operation="shipping.ship", **(known | fields))}


@pytest.mark.parametrize(
    ("open_step", "queues", "said"),
    [
        (step(WaitingOn.QUEUE), {}, "No worker offers this operation"),
        (step(WaitingOn.QUEUE), queue(workers=0), "No worker offers this operation"),
        (step(WaitingOn.QUEUE), queue(), "All 1 workers are busy (2 running, 4 queued, the oldest for 2m0s)"),
        (step(WaitingOn.QUEUE), queue(free_slots=3), "have room"),
        (step(WaitingOn.QUEUE), queue(paused=True), "The operation is paused"),
        (step(WaitingOn.WORKER), {}, "worker w1 has been at shipping.ship"),
        (step(WaitingOn.EVENT), {}, "waits for the event 'approved'"),
        (step(WaitingOn.RETRY, last_failure=Failure("Boom", "bad")), {}, "The last failure was Boom: bad."),
    ],
)
def test_why_names_what_is_waited_for(open_step: OpenStep, queues: dict[str, Queue], said: str) -> None:
    assert said in " ".join(explain(waiting(open_step), queues))


def test_why_asks_for_a_decision_where_one_is_due() -> None:
    incident = Incident("i1", IncidentKind.STEP_PARKED, "ship", Failure("Boom", "bad"), None, "")
    said = explain(waiting(step(WaitingOn.RESOLUTION), incidents=(incident,)), {})
    assert len(said) == 2
    assert "Boom: bad" in said[1]
    assert "callboard resolve e1 ship" in said[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"waits_for_execution_id": "e0"}, "It begins when execution e0 has ended: callboard why e0"),
        (
            {"waits_for_execution_id": "e0", "unique_key": "k"},
            "It begins when execution e0 has ended, for both have the unique key 'k': callboard why e0",
        ),
        (
            {
                "waits_for_execution_id": "e0",
                "trigger": executions_pb2.TriggerOrigin(trigger_id="nightly", slot=Timestamp(seconds=1)),
            },
            "It begins when execution e0 has ended, for runs of trigger nightly do not overlap: callboard why e0",
        ),
        ({}, "It has been accepted and begins at any moment."),
    ],
)
def test_why_and_get_of_one_that_has_not_begun(threaded: FakeServer, fields: dict[str, Any], said: str) -> None:
    threaded.unary.on(
        "GetExecution",
        pb.GetExecutionResponse(
            execution=execution("PENDING", state="pending", created_at=Timestamp(seconds=5), **fields)
        ),
    )
    assert run(threaded, "why", "e1").stdout.splitlines() == ["e1 is PENDING.", said]
    shown = run(threaded, "get", "e1").stdout
    assert ("waits for   e0 to end" in shown) == bool(fields)
    assert "accepted    1970-01-01T00:00:05Z" in shown
    assert json.loads(run(threaded, "get", "e1", "--json").stdout)["waits_for_execution_id"] == fields.get(
        "waits_for_execution_id", ""
    )


def test_why_of_an_ended_execution() -> None:
    assert explain(decode(Execution, COMPLETED), {}) == ["e1 is COMPLETED. It has ended and waits for nothing."]


def test_a_worker_module_has_one_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = "class R:\n    def names(self): return []\n    def handler(self, name): ...\n"
    (tmp_path / "one_registry.py").write_text(registry + "mine = R()\nalso = mine\n")
    (tmp_path / "two_registries.py").write_text(registry + "a = R()\nb = R()\n")
    (tmp_path / "named_registry.py").write_text(registry + "a = R()\noperations = R()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    one, named = load("one_registry"), load("named_registry")
    assert find_registry(one) is one.mine
    assert find_registry(named) is named.operations
    with pytest.raises(LookupError, match="2 Operations"):
        find_registry(load("two_registries"))
    assert run(None, "worker", "two_registries").exit_code == 2
    assert run(None, "worker", "no.such.module").exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("raises_at_import", "raise ValueError('hm')\n", "raises_at_import.py:1)"),
        ("leaves_at_import", "raise SystemExit(0)\n", "SystemExit: 0"),
        ("cannot_be_read", "x = (\n", "SyntaxError: '(' was never closed"),
        ("is_a_file.py", "", "name the module, such as is_a_file"),
        ("./is_a_file.py", "", "name the module, such as is_a_file"),
        ("offers_nothing", "from callboard.runtime import Operations\noperations = Operations()\n", "nothing to offer"),
    ],
)
def test_a_worker_module_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    (tmp_path / f"{name.removesuffix('.py')}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = run(None, "worker", name)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
