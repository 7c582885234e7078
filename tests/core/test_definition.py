"""The tree to a Definition: the file form's rules, all mistakes at once, and the canonical form."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from callboard.runtime.core import definition as language
from callboard.runtime.core.definition import Definition, ForeachStep, OnItemError, Step, TaskStep, to_tree
from callboard.runtime.core.nodes import DefinitionLimits, render, tree
from callboard.runtime.core.reader import Reading, read_definition
from callboard.runtime.core.refusals import Refused
from callboard.runtime.loader import load
from callboard.v1 import definitions_pb2


def read(text: str) -> Reading:
    return read_definition(load("f.yaml", text), "f.yaml")


def located(text: str) -> list[tuple[str, str, int, int]]:
    return [(one.path, one.code, one.line, one.column) for one in read(text).violations]


def read_plain(value: Any) -> Reading:
    return read_definition(tree(value))


def step(**fields: Any) -> Step:
    reading = read_plain({"id": "d", "steps": [fields]})
    assert reading.violations == ()
    return reading.definition.steps[0]


def test_both_spellings_of_names_and_enums_mean_the_same() -> None:
    snake = {"items": "x", "as": "line", "on_item_error": "CONTINUE", "max_concurrency": 2}
    humped = {"items": "x", "itemName": "line", "onItemError": "ON_ITEM_ERROR_CONTINUE", "maxConcurrency": 2}
    expected = ForeachStep(items="x", item_name="line", on_item_error=OnItemError.CONTINUE, max_concurrency=2)
    assert step(id="a", foreach=snake).foreach == expected
    assert step(id="a", foreach=humped).foreach == expected


def test_the_two_spellings_do_not_mix_in_one_object() -> None:
    assert located("set_state: a\non_failure: PARK\ninputSchema: {}\n") == [
        ("inputSchema", "MIXED_NAMES", 3, 1),
        ("set_state", "UNKNOWN_FIELD", 1, 1),
    ]
    assert located("on_failure: PARK\nonFailure: PARK") == [
        ("onFailure", "MIXED_NAMES", 2, 1),
        ("onFailure", "DUPLICATE_FIELD", 2, 1),
    ]


def test_an_unknown_field_is_named_with_the_closest_known_one() -> None:
    (violation,) = read("id: a\nsteps:\n  - id: b\n    tsak: {}\n").violations
    assert violation.located == "f.yaml:4:5: steps[0].tsak: unknown field 'tsak'; did you mean 'task'?"


def test_null_is_not_set() -> None:
    assert step(id="a", when=None, task={"service": "s", "operation": "o", "input": None}).task == TaskStep(
        service="s", operation="o"
    )


def test_a_scalar_for_a_string_field_is_its_source_text() -> None:
    definition = read(
        "id: 1.10\ndescription: yes\nlabels: {n: 007}\nsteps: [{id: a, when: true, version: 1.20}]"
    ).definition
    assert (definition.id, definition.description, definition.labels) == ("1.10", "yes", {"n": "007"})
    assert (definition.steps[0].when, definition.steps[0].version) == ("true", "1.20")


def test_numbers_in_free_values() -> None:
    reading = read("id: a\nsteps: [{id: b, set: {a: 2.0, b: 9007199254740992, c: 1.5, d: null, e: 1e3}}]")
    assert reading.violations == ()
    assert reading.definition.steps[0].set == {"a": 2, "b": 9007199254740992, "c": 1.5, "d": None, "e": 1000}
    assert isinstance((reading.definition.steps[0].set or {})["a"], int)


def test_an_integer_that_would_lose_digits_is_refused_with_the_way_out() -> None:
    (violation,) = read("id: a\nsteps: [{id: b, set: {x: 9007199254740993}}]").violations
    assert violation.path == "steps[0].set.x"
    assert 'write "${9007199254740993}"' in violation.message
    assert read_plain({"output": 1e300}).violations[0].code == "OUT_OF_RANGE"
    assert read("output: .inf").violations[0].code == "OUT_OF_RANGE"


def test_in_a_schema_nothing_is_evaluated_so_there_is_no_such_way_out() -> None:
    task = "{id: b, task: {service: s, operation: o, result_schema: {maximum: 9007199254740993}}}"
    reading = read(f"id: a\nevent_schemas: {{e: {{maximum: 9007199254740993}}}}\nsteps: [{task}]")
    assert [(one.path, "write" in one.message) for one in reading.violations] == [
        ("event_schemas.e.maximum", False),
        ("steps[0].task.result_schema.maximum", False),
    ]


def test_schemas_by_name_are_objects() -> None:
    reading = read("id: a\nevent_schemas: {a: {x: 1}, b: null, c: 7}")
    assert reading.definition.event_schemas == {"a": {"x": 1}}
    assert [one.path for one in reading.violations] == ["event_schemas.c"]


def test_all_mistakes_of_form_are_told_at_once_and_the_rest_is_read() -> None:
    text = """
id: [a]
on_failure: REVER
defaults: {retry: {max_attempts: x, jitter: a, backoff_factor: 99999999999999999999}}
steps:
  - 5
  - null
  - {id: ok, parallel: {fail_fast: maybe}, on_error: {}}
"""
    reading = read(text)
    assert [(one.path, one.line) for one in reading.violations] == [
        ("id", 2),
        ("on_failure", 3),
        ("defaults.retry.max_attempts", 4),
        ("defaults.retry.jitter", 4),
        ("steps[0]", 6),
        ("steps[1]", 7),
        ("steps[2].parallel.fail_fast", 8),
        ("steps[2].on_error", 8),
    ]
    assert [one.id for one in reading.definition.steps] == ["", "", "ok"]


@pytest.mark.parametrize("value", [None, 5, "x", [], [1]])
def test_what_is_no_object_is_no_definition(value: Any) -> None:
    assert read_plain(value).violations[0].path == ""


def test_a_message_in_json_mapping_is_taken_as_it_comes() -> None:
    reading = read_plain(
        {
            "id": "d",
            "on_failure": "ON_FAILURE_UNSPECIFIED",
            "steps": [{"id": "a", "task": {"service": "s", "operation": "o", "priority": 3, "input": {"n": 2.0}}}],
        }
    )
    assert reading.violations == ()
    assert reading.definition.on_failure is None
    assert reading.definition.steps[0].task == TaskStep(service="s", operation="o", priority=3, input={"n": 2})


def test_plain_trees_are_bounded_too() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    for value, limits in (
        (deep, None),
        ([0] * 20, DefinitionLimits(definition_nodes_max=10)),
        ({1: 2}, None),
        ("\ud800", None),
    ):
        with pytest.raises(Refused):
            tree(value, limits)


def test_paths_are_written_as_people_read_them() -> None:
    assert render(("steps", 3, "task", "input", "sku", "a b")) == 'steps[3].task.input.sku["a b"]'


def test_every_flow_of_the_contract_is_read_and_its_canonical_form_reads_the_same(repository: Path) -> None:
    for flow in sorted((repository / "tests" / "flows").glob("*.yaml")):
        reading = read_definition(load(flow.name, flow.read_text()), flow.name)
        assert reading.violations == ()
        again = read_plain(to_tree(reading.definition))
        assert again.violations == ()
        assert again.definition == reading.definition


def test_the_canonical_form_is_snake_case_without_what_is_absent() -> None:
    definition = Definition(
        id="d",
        steps=(
            Step(id="a", foreach=ForeachStep(items="x", item_name="y", on_item_error=OnItemError.FAIL)),
            Step(id="b", set={}),
        ),
    )
    assert to_tree(definition) == {
        "id": "d",
        "steps": [
            {"id": "a", "foreach": {"items": "x", "as": "y", "on_item_error": "FAIL"}},
            {"id": "b", "set": {}},
        ],
    }


def test_the_language_is_the_published_messages_field_by_field() -> None:
    for name, message in definitions_pb2.DESCRIPTOR.message_types_by_name.items():
        part: type[msgspec.Struct] = getattr(language, name)
        assert set(part.__struct_fields__) == {field.name for field in message.fields}, name
    for name, values in definitions_pb2.DESCRIPTOR.enum_types_by_name.items():
        known = {value.name.removeprefix(_prefix(values.values[0].name)) for value in values.values}
        assert known == {"UNSPECIFIED", *getattr(language, name).__members__}, name


def _prefix(unspecified: str) -> str:
    return unspecified.removesuffix("UNSPECIFIED")
