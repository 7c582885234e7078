"""What is wrong with a definition is told at publish, all of it at once, each mistake with its place."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.kit import LINEAR, Api, Refusal, refused

from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import definitions_pb2, violations_pb2

UNKNOWN_FIELD = """
id: bad
steps:
  - id: one
    task: {service: s, operation: one, inptu: {a: 1}}
"""
UNKNOWN_REFERENCE = """
id: bad
steps:
  - {id: one, task: {service: s, operation: one, input: "${steps.nobody.result}"}}
"""
CYCLIC_REFERENCES = """
id: bad
steps:
  - {id: one, task: {service: s, operation: one, input: "${steps.two.result}"}}
  - {id: two, task: {service: s, operation: two, input: "${steps.one.result}"}}
"""
OWN_REFERENCE = """
id: bad
steps:
  - {id: one, task: {service: s, operation: one, input: "${steps.one.result}"}}
"""
BROKEN_EXPRESSION = """
id: bad
steps:
  - id: one
    when: "input.qty >"
    task: {service: s, operation: one}
"""
BROKEN_TEMPLATE = """
id: bad
steps:
  - id: one
    task:
      service: s
      operation: one
      input: {text: "so many: ${input.a + }"}
"""


def located(refusal: Refusal) -> list[tuple[str, str, int]]:
    """(code, path, line) of each violation."""
    return [(one.code, one.path, one.line) for one in refusal.violations]


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        (UNKNOWN_FIELD, "UNKNOWN_FIELD", ("UNKNOWN_FIELD", "steps[0].task.inptu", 5)),
        (UNKNOWN_REFERENCE, "INVALID_DEFINITION", ("UNKNOWN_REFERENCE", "steps[0].task.input", 4)),
        (CYCLIC_REFERENCES, "INVALID_DEFINITION", ("UNREACHABLE_STEP", "steps[0].task.input", 4)),
        (OWN_REFERENCE, "INVALID_DEFINITION", ("UNREACHABLE_STEP", "steps[0].task.input", 4)),
        (BROKEN_EXPRESSION, "INVALID_DEFINITION", ("INVALID_EXPRESSION", "steps[0].when", 5)),
        (BROKEN_TEMPLATE, "INVALID_DEFINITION", ("INVALID_EXPRESSION", "steps[0].task.input.text", 8)),
    ],
)
async def test_a_mistake_is_told_with_path_line_and_column(
    api: Api, text: str, reason: str, expected: tuple[str, str, int]
) -> None:
    refusal = await refused(api.publish(text))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", reason)
    assert located(refusal) == [expected]
    violation = refusal.violations[0]
    assert violation.source_name == "flow.yaml"
    line = text.split("\n")[violation.line - 1]
    assert 1 <= violation.column <= len(line)
    place = f"flow.yaml:{violation.line}:{violation.column}"
    assert refusal.fields[violation.path].startswith(place), refusal.fields


async def test_the_column_of_an_expression_that_does_not_compile_is_in_the_expression(api: Api) -> None:
    violation = (await refused(api.publish(BROKEN_TEMPLATE))).violations[0]
    line = BROKEN_TEMPLATE.split("\n")[violation.line - 1]
    assert line.index("${") < violation.column - 1 <= line.index("}"), (line, violation)


async def test_all_mistakes_are_told_at_once(api: Api) -> None:
    text = """
id: bad
steps:
  - {id: one, task: {service: s, operation: one, input: "${steps.nobody.result}"}, when: "1 +"}
  - {id: one, task: {service: s}}
  - {id: no way, wait: {duration: 5 parsecs}}
output: "${vars.}"
"""
    refusal = await refused(api.publish(text))
    assert refusal.reason == "INVALID_DEFINITION"
    assert {one.line for one in refusal.violations} == {4, 5, 6, 7}
    assert len(refusal.violations) >= 6
    assert [one.line for one in refusal.violations] == sorted(one.line for one in refusal.violations)


@pytest.mark.parametrize(
    "feature",
    [
        "loop: {until: 'true', max_iterations: 3, steps: [{id: a, set: {b: 1}}]}",
        "graph: {steps: [{id: a, set: {b: 1}}]}",
        "subflow: {definition_id: other}",
        "scope_retry: {times: 3}",
        "compensate: {service: s, operation: undo}",
        "poll: {until: 'true'}",
        "renamed_from: other",
    ],
)
async def test_a_feature_that_is_not_executed_yet_is_refused_by_name(api: Api, feature: str) -> None:
    name = feature.partition(":")[0]
    kind = name in ("loop", "graph", "subflow")
    text = f"id: bad\nsteps:\n  - id: one\n    {feature}\n" + (
        "" if kind else "    task: {service: s, operation: one}\n"
    )
    if name == "scope_retry":
        text = text.replace("task: {service: s, operation: one}", "sequence: {steps: [{id: a, set: {b: 1}}]}")
    refusal = await refused(api.publish(text))
    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")
    assert located(refusal) == [("UNSUPPORTED_FEATURE", f"steps[0].{name}", 4)]
    assert f"`{name}`" in refusal.message


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "id: x\nid: x\nsteps: [{id: a, set: {b: 1}}]", "id: !!binary aa"])
async def test_text_that_is_no_definition_is_refused(api: Api, text: str) -> None:
    refusal = await refused(api.publish(text))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_DEFINITION")
    assert refusal.violations


async def test_a_definition_as_a_message_is_held_to_the_same(api: Api) -> None:
    step = definitions_pb2.Step(id="one", task=definitions_pb2.TaskStep(service="s", operation="one"))
    step.when = "input.qty >"
    definition = definitions_pb2.Definition(id="bad", steps=[step])
    refusal = await refused(_publish(api, definition=definition))
    assert refusal.reason == "INVALID_DEFINITION"
    assert [(one.code, one.path, one.line) for one in refusal.violations] == [
        ("INVALID_EXPRESSION", "steps[0].when", 0)
    ]


async def test_an_unknown_field_of_a_definition_message_is_refused_with_its_number(api: Api) -> None:
    task = definitions_pb2.TaskStep.FromString(
        definitions_pb2.TaskStep(service="s", operation="one").SerializeToString() + b"\xc2\x3e\x01x"
    )
    definition = definitions_pb2.Definition(id="bad", steps=[definitions_pb2.Step(id="one", task=task)])
    refusal = await refused(_publish(api, definition=definition))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "UNKNOWN_FIELD")
    assert [one.path for one in refusal.violations] == ["steps[0].task"]
    assert "1000" in refusal.violations[0].message


async def test_validate_only_tells_the_same_and_changes_nothing(api: Api) -> None:
    refusal = await refused(api.publish(UNKNOWN_REFERENCE, validate_only=True))
    assert refusal.reason == "INVALID_DEFINITION"
    answer = await api.publish(LINEAR, validate_only=True)
    assert (answer.definition_id, answer.version) == ("linear", 1)
    assert (await refused(api.start("linear"))).reason == "DEFINITION_NOT_FOUND"


async def test_a_definition_over_the_limit_is_refused_with_the_number(api: Api) -> None:
    refusal = await refused(api.publish("id: big\ndescription: " + "x" * 1_100_000 + "\nsteps: [{id: a, set: {b: 1}}]"))
    assert (refusal.code, refusal.reason) in (
        ("INVALID_ARGUMENT", "INVALID_DEFINITION"),
        ("INVALID_ARGUMENT", "LIMIT_EXCEEDED"),
    )
    assert "1048576" in refusal.message + str(refusal.metadata) + str(refusal.violations)


async def test_publishing_a_draft_that_is_not_there_is_refused(api: Api) -> None:
    refusal = await refused(_publish(api, definition_id="nobody"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DRAFT_NOT_FOUND")


async def test_a_draft_with_mistakes_is_kept_and_refused_at_publish(api: Api) -> None:
    source = violations_pb2.SourceText(name="draft.yaml", text=UNKNOWN_REFERENCE)
    put = await api.definitions.PutDraft(pb2.PutDraftRequest(source=source))
    assert [one.code for one in put.violations] == ["UNKNOWN_REFERENCE"]
    refusal = await refused(_publish(api, definition_id="bad"))
    assert (refusal.reason, located(refusal)[0][0]) == ("INVALID_DEFINITION", "UNKNOWN_REFERENCE")


async def test_a_publish_that_read_another_state_loses(api: Api) -> None:
    first = await api.publish(LINEAR)
    changed = LINEAR.replace("n: 1", "n: 2")
    stale = await refused(api.publish(changed, etag="other"))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert (await api.publish(changed, etag=first.etag)).version == 2


def _publish(api: Api, **more: Any) -> Any:
    return api.definitions.PublishDefinition(pb2.PublishDefinitionRequest(**more))
