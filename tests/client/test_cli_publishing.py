import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from tests.client.command_line import at_terminal, run
from tests.client.fakes import FakeServer, status

from callboard.client.cli.impact import IDS_MAX
from callboard.v1 import definition_service_pb2 as pb
from callboard.v1.violations_pb2 import DefinitionViolation, DefinitionViolations

STAGES = [
    pb.StageRun(name="load", duration=Duration(nanos=300_000)),
    pb.StageRun(name="decide", duration=Duration(nanos=2_340_000)),
]
IMPACT = pb.PublishImpact(
    previous_version=3,
    version=4,
    running_executions=12,
    steps_added=["notify", "pack"],
    steps_changed=["charge"],
    steps_removed=["mail"],
    triggers_added=["nightly"],
)
WARNING = DefinitionViolation(
    path="steps[3].when",
    source_name="order.yaml",
    line=12,
    column=9,
    message="may be skipped",
    severity="VIOLATION_SEVERITY_WARNING",
)
HEAD = '{"format":"callboard.definitions/1"}'
IMPACT_LINES = [
    "  version   3 -> 4",
    "  steps     + notify, pack",
    "            ~ charge",
    "            - mail",
    "  triggers  + nightly",
    "  running   12 executions would go on with their versions",
]


def published(**fields: Any) -> pb.PublishDefinitionResponse:
    known: dict[str, Any] = {"definition_id": "order", "version": 4, "changed": True, "revision": 8}
    return pb.PublishDefinitionResponse(**(known | fields))


def one(definition_id: str, version: int, **fields: Any) -> pb.PublishedDefinition:
    which = pb.DefinitionVersion(definition_id=definition_id, version=version)
    return pb.PublishedDefinition(definition_version=which, **fields)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    for name in ("order", "refund"):
        Path(f"{name}.yaml").write_text(f"id: {name}")
    return ["order.yaml", "refund.yaml"]


def test_one_file_is_published_by_itself(threaded: FakeServer, files: list[str]) -> None:
    threaded.unary.on("PublishDefinition", published(warnings=[WARNING]))
    result = run(threaded, "publish", files[0])
    assert (result.exit_code, result.stdout) == (0, "order.yaml: published order version 4 (revision 8)\n")
    assert result.stderr == "warning: order.yaml:12:9: steps[3].when: may be skipped\n"
    [request] = threaded.unary.asked("PublishDefinition")
    assert (request.source.name, request.source.text, request.validate_only) == ("order.yaml", "id: order", False)


def test_a_dry_run_shows_the_impact(threaded: FakeServer, files: list[str]) -> None:
    threaded.unary.on("PublishDefinition", published(impact=IMPACT, stages=STAGES, warnings=[WARNING]))
    result = run(threaded, "publish", files[0], "--dry-run")
    assert result.stdout.splitlines() == [
        "order.yaml: would publish order version 4",
        *IMPACT_LINES,
        "  warning   order.yaml:12:9: steps[3].when: may be skipped",
        "  stages    load 0.3ms, decide 2.3ms",
    ]
    assert result.stderr == ""
    assert threaded.unary.asked("PublishDefinition")[0].validate_only
    as_json = json.loads(run(threaded, "publish", files[0], "--dry-run", "--json").stdout)
    assert as_json["impact"]["steps_changed"] == ["charge"]


def test_what_a_dry_run_leaves_alone(threaded: FakeServer, files: list[str]) -> None:
    threaded.unary.on("PublishDefinition", published(impact=pb.PublishImpact(version=1), version=1))
    assert run(threaded, "publish", files[0], "--dry-run").stdout.splitlines() == [
        "order.yaml: would publish order version 1",
        "  version   none -> 1",
        "  steps     no change",
        "  triggers  no change",
        "  running   none",
    ]
    threaded.unary.on("PublishDefinition", published(changed=False, impact=IMPACT))
    unchanged = run(threaded, "publish", files[0], "--dry-run").stdout
    assert unchanged == "order.yaml: order version 4 is published already\n"


def test_one_execution_is_not_several(threaded: FakeServer, files: list[str]) -> None:
    threaded.unary.on("PublishDefinition", published(impact=pb.PublishImpact(version=1, running_executions=1)))
    said = run(threaded, "publish", files[0], "--dry-run").stdout
    assert "  running   1 execution would go on with its version\n" in said


def test_many_steps_are_counted_and_fit_the_terminal(threaded: FakeServer, files: list[str]) -> None:
    ids = [f"step_{number}" for number in range(500)]
    impact = pb.PublishImpact(version=1, steps_added=ids)
    threaded.unary.on("PublishDefinition", published(impact=impact))
    piped = run(threaded, "publish", files[0], "--dry-run").stdout.splitlines()[2]
    assert piped.endswith(f"step_{IDS_MAX - 1} and {500 - IDS_MAX} more")
    code, seen = at_terminal(threaded, "publish", files[0], "--dry-run")
    assert code == 0
    assert max(map(len, seen.splitlines())) <= 80
    assert seen.split() == run(threaded, "publish", files[0], "--dry-run").stdout.split()


def test_several_files_are_one_change(threaded: FakeServer, files: list[str]) -> None:
    both = [one("order", 4, changed=True, impact=IMPACT), one("refund", 7, changed=False)]
    hook = pb.StageRun(name="announcer", error="ValueError: nobody is home")
    threaded.unary.on("BatchPublish", pb.BatchPublishResponse(definitions=both, revision=9, stages=[*STAGES, hook]))
    result = run(threaded, "publish", *files)
    assert result.stdout.splitlines() == [
        "order.yaml: published order version 4 (revision 9)",
        "refund.yaml: refund version 7 is published already",
    ]
    told = "warning: the change stands, but its stage announcer failed: ValueError: nobody is home\n"
    assert result.stderr == told
    [request] = threaded.unary.asked("BatchPublish")
    assert [(item.source.name, item.source.text) for item in request.items] == [
        ("order.yaml", "id: order"),
        ("refund.yaml", "id: refund"),
    ]
    assert request.request_id
    threaded.unary.on("BatchPublish", pb.BatchPublishResponse(definitions=both, stages=STAGES))
    tried = run(threaded, "publish", *files, "--dry-run").stdout.splitlines()
    assert tried == [
        "order.yaml: would publish order version 4",
        *IMPACT_LINES,
        "refund.yaml: refund version 7 is published already",
        "stages: load 0.3ms, decide 2.3ms",
    ]
    as_json = json.loads(run(threaded, "publish", *files, "--json").stdout)
    assert [item["definition_version"]["version"] for item in as_json["definitions"]] == [4, 7]


def test_errors_of_all_files_come_at_once(threaded: FakeServer, files: list[str]) -> None:
    violations = [
        DefinitionViolation(path="steps[0]", source_name="order.yaml", line=3, column=1, message="is odd"),
        DefinitionViolation(path="steps[1].when", source_name="refund.yaml", line=4, column=7, message="no such root"),
    ]
    details = DefinitionViolations(violations=violations)
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEFINITION", "2 violations", details)
    threaded.unary.on("BatchPublish", refusal)
    for more in ((), ("--dry-run",)):
        result = run(threaded, "publish", *files, *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            "order.yaml:3:1: steps[0]: is odd",
            "refund.yaml:4:7: steps[1].when: no such root",
            "error: INVALID_DEFINITION: 2 violations",
            "none of the files is published",
        ]


def test_violations_come_from_the_top_of_each_file_and_those_left_out_are_counted(
    threaded: FakeServer, files: list[str]
) -> None:
    places = [("refund.yaml", 9, 2), ("order.yaml", 4, 7), ("refund.yaml", 3, 5), ("refund.yaml", 3, 1)]
    violations = [
        DefinitionViolation(path=f"steps[{number}]", source_name=name, line=line, column=column, message="is odd")
        for number, (name, line, column) in enumerate(places)
    ]
    details = DefinitionViolations(violations=violations)
    counts = {"violations_shown": "4", "violations_total": "31"}
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEFINITION", "so much", details, **counts)
    threaded.unary.on("BatchPublish", refusal)
    assert run(threaded, "publish", *files).stderr.splitlines() == [
        "refund.yaml:3:1: steps[3]: is odd",
        "refund.yaml:3:5: steps[2]: is odd",
        "refund.yaml:9:2: steps[0]: is odd",
        "order.yaml:4:7: steps[1]: is odd",
        "error: INVALID_DEFINITION: 31 violations, of which these are the first 4",
        "none of the files is published",
    ]


def test_a_refusal_that_names_no_text_names_the_file(threaded: FakeServer, files: list[str]) -> None:
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED", "that is too much")
    threaded.unary.on("PublishDefinition", refusal)
    expected = [f"error: {name}: LIMIT_EXCEEDED: that is too much" for name in files]
    assert run(threaded, "validate", *files).stderr.splitlines() == expected
    assert run(threaded, "publish", files[0]).stderr.splitlines() == expected[:1]


def test_a_file_that_cannot_be_read_keeps_all_from_being_published(threaded: FakeServer, files: list[str]) -> None:
    result = run(threaded, "publish", files[0], "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: nowhere.yaml: No such file or directory",
        "none of the files is published",
    ]
    assert run(threaded, "publish", "-", "-", stdin="id: order").exit_code == 2
    assert threaded.unary.requests == []


def test_a_revert_can_be_tried_out(threaded: FakeServer) -> None:
    version = pb.DefinitionVersion(definition_id="order", version=4)
    answer = pb.RevertDefinitionResponse(definition_version=version, changed=True, impact=IMPACT, stages=STAGES)
    threaded.unary.on("RevertDefinition", answer)
    assert run(threaded, "revert", "order", "--to", "1", "--dry-run").stdout.splitlines() == [
        "would publish order version 4 with the content of version 1",
        *IMPACT_LINES,
        "  stages    load 0.3ms, decide 2.3ms",
    ]


def test_an_export_is_the_lines_of_all_pages(threaded: FakeServer, tmp_path: Path) -> None:
    pages = [
        pb.ExportDefinitionsResponse(lines=[HEAD, '{"id":"a"}', '{"id":"b\u2028"}'], next_page_token="2"),
        pb.ExportDefinitionsResponse(lines=['{"id":"c"}']),
    ]
    expected = HEAD + '\n{"id":"a"}\n{"id":"b\u2028"}\n{"id":"c"}\n'
    threaded.unary.on("ExportDefinitions", *pages)
    result = run(threaded, "export")
    assert (result.stdout, result.stderr) == (expected, "")
    threaded.unary.on("ExportDefinitions", *pages)
    path = tmp_path / "flows.jsonl"
    result = run(threaded, "export", "a", "b", "c", "--output", str(path))
    assert (result.stdout, result.stderr) == ("", f"exported 3 definitions to {path}\n")
    assert path.read_text("utf-8") == expected
    asked = threaded.unary.asked("ExportDefinitions")
    assert [list(request.definition_ids) for request in asked[2:]] == [["a", "b", "c"]] * 2
    threaded.unary.on("ExportDefinitions", pb.ExportDefinitionsResponse(lines=[HEAD]))
    result = run(threaded, "export")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{HEAD}\n", "no definition is published\n")
    assert run(threaded, "export", "-o", str(tmp_path / "no" / "where")).exit_code == 2


def test_an_import_shows_what_it_publishes(threaded: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    path.write_text('{"id":"a"}\n')
    both = [one("order", 4, changed=True, impact=IMPACT), one("refund", 7)]
    threaded.unary.on("ImportDefinitions", pb.ImportDefinitionsResponse(definitions=both, revision=9, stages=STAGES))
    assert run(threaded, "import", str(path)).stdout.splitlines() == [
        "published order version 4 (revision 9)",
        "refund version 7 is published already",
    ]
    tried = run(threaded, "import", "-", "--dry-run", stdin="{}\n").stdout.splitlines()
    assert tried[:2] == ["would publish order version 4", IMPACT_LINES[0]]
    asked = threaded.unary.asked("ImportDefinitions")
    assert [(request.text, request.validate_only) for request in asked] == [('{"id":"a"}\n', False), ("{}\n", True)]
    violation = DefinitionViolation(line=3, column=1, message="is no definition")
    details = DefinitionViolations(violations=[violation])
    refusal = status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EXPORT", "line 3 is no definition", details)
    threaded.unary.on("ImportDefinitions", refusal)
    result = run(threaded, "import", str(path))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["line 3: is no definition", "error: INVALID_EXPORT: 1 violation"]
    assert run(threaded, "import", str(tmp_path / "nowhere")).exit_code == 2


def test_what_is_wrong_with_an_export_is_said_once(threaded: FakeServer) -> None:
    lines = [f"export:{number}:1: is no definition of an export" for number in range(1, 5)]
    bad = error_details_pb2.BadRequest()
    for line in lines:
        bad.field_violations.add(description=line)
    message = "; ".join(lines[:3]) + "; and 1 more"
    threaded.unary.on("ImportDefinitions", status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EXPORT", message, bad))
    result = run(threaded, "import", "-", stdin="{}")
    assert result.stderr.splitlines() == [*lines, "error: INVALID_EXPORT: 4 violations"]
