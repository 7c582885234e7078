"""YAML and JSON text to a tree with marks: what a scalar means, and where each mistake stands."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.nodes import DefinitionLimits, Node
from callboard.runtime.core.refusals import Refused, Violation
from callboard.runtime.loader import load


def plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    return [plain(entry) for entry in node.value] if isinstance(node.value, list) else node.value


def refusal(text: str, name: str = "f.yaml", limits: DefinitionLimits | None = None) -> tuple[Violation, ...]:
    with pytest.raises(Refused) as refused:
        load(name, text, limits)
    return refused.value.refusal.violations


def places(text: str, name: str = "f.yaml", limits: DefinitionLimits | None = None) -> list[tuple[str, int, int]]:
    return [(one.code, one.line, one.column) for one in refusal(text, name, limits)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("12:30:45", "12:30:45"),
        ("2001-12-14", "2001-12-14"),
        ("-.inf", -math.inf),
        ("'1'", "1"),
        ("=", "="),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = plain(load("f.yaml", f"a: {text}"))
    assert found == {"a": value}


def test_a_scalar_keeps_its_source_text_and_place() -> None:
    root = load("f.yaml", "id: x\nversion: 1.10\n")
    assert isinstance(root.value, dict)
    version = root.value["version"]
    assert (version.text, version.line, version.column) == ("1.10", 2, 10)


@pytest.mark.parametrize(
    ("text", "line", "column", "place"),
    [
        ("a: b + c", 1, 5, (1, 8)),
        ("a: 'b + c'", 1, 5, (1, 9)),
        ('a: "b \\n c"', 1, 5, (1, 4)),
        ("a: |\n  b\n   + c\n", 2, 2, (3, 4)),
        ("a: >-\n  b\n  + c\n", 1, 1, (2, 3)),
        ("a: b\n  + c", 1, 3, (1, 4)),
    ],
)
def test_a_place_inside_a_scalar_is_found_where_the_text_stands_as_it_is(
    text: str, line: int, column: int, place: tuple[int, int]
) -> None:
    root = load("f.yaml", text)
    assert isinstance(root.value, dict)
    assert root.value["a"].point(line, column) == place


def test_every_forbidden_part_of_yaml_is_named_at_once() -> None:
    text = "a: 1\na: 2\n<<: {b: 1}\nc: !!str 3\n"
    assert places(text) == [("DUPLICATE_KEY", 2, 1), ("MERGE_KEY", 3, 1), ("TAG", 4, 4)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: [1, 2", ("SYNTAX", 1, 9)),
        ("a: b\n\tc: d", ("SYNTAX", 2, 1)),
        ("a: \x07", ("SYNTAX", 1, 4)),
        ("é: é\nb: \x07", ("SYNTAX", 2, 4)),
        ("a: 1\n---\nb: 1", ("SYNTAX", 2, 1)),
        ("%YAML 1.1\n---\na: 1", ("SYNTAX", 1, 1)),
        ("a: *b", ("INVALID_ALIAS", 1, 4)),
        ("a: &b [*b]", ("INVALID_ALIAS", 1, 8)),
        ("? [a]\n: b", ("INVALID_KEY", 1, 3)),
        ('a: "\\ud800"', ("SYNTAX", 1, 4)),
        ("a: \ud800", ("INVALID_TEXT", 0, 0)),
    ],
)
def test_yaml_that_cannot_be_read_is_located(text: str, found: tuple[str, int, int]) -> None:
    code, line, column = places(text)[-1]
    assert (code, line) == found[:2]
    assert column == found[2] or code == "SYNTAX"


def test_aliases_repeat_what_they_name() -> None:
    assert plain(load("f.yaml", "a: &x {b: 1}\nc: *x")) == {"a": {"b": 1}, "c": {"b": 1}}


LIMITS = DefinitionLimits(definition_nodes_max=1_000, definition_aliases_max=50, definition_depth_max=10)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]",
        "a: &a 1\nb: [" + "*a," * 60 + "]",
        "[" * 100_000,
        "a: &a [[[[[1]]]]]\nb: &b [[[[*a]]]]\nc: *b",
        "- " * 1_000 + "a",
        "\n".join(["- 1"] * 2_000),
    ],
)
def test_bombs_are_refused_before_they_go_off(text: str) -> None:
    assert refusal(text, limits=LIMITS)[-1].code == "LIMIT"


def test_a_text_over_the_limit_is_refused_with_the_number() -> None:
    limits = dataclasses.replace(DefinitionLimits(), definition_bytes_max=10)
    (violation,) = refusal("a: " + "b" * 20, limits=limits)
    assert "definition_bytes_max = 10" in violation.message


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"a": 1,}', 1, 8),
        ('{"a": NaN}', 1, 7),
        ('{"a": 1} x', 1, 10),
        ('{"a" 1}', 1, 6),
        ("{'a': 1}", 1, 2),
        ('{"a": 01}', 1, 8),
        ('{\n "a": "b\n"}', 2, 7),
        ('{"a": "\\ud800"}', 1, 7),
        ('{"a": [1', 1, 9),
        ("", 1, 1),
        ("[" * 100_000, 1, 101),
    ],
)
def test_json_that_cannot_be_read_is_located(text: str, line: int, column: int) -> None:
    (violation,) = refusal(text, "f.json")
    assert (violation.source, violation.line, violation.column) == ("f.json", line, column)


def test_doubled_keys_of_json_are_all_named() -> None:
    assert places('{"a": 1, "a": 2, "b": {"c": 1, "c": 2}}', "f.json") == [
        ("DUPLICATE_KEY", 1, 10),
        ("DUPLICATE_KEY", 1, 32),
    ]


def test_the_form_is_told_from_the_name_or_the_first_character() -> None:
    assert plain(load("", '{\t"a": "\\u00e9\\/"}')) == {"a": "é/"}
    assert plain(load("", "{a: b}")) == {"a": "b"}
    assert plain(load("f.yml", '{"a": b}')) == {"a": "b"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
def test_json_text_gives_the_value_it_was_made_of(value: object) -> None:
    assert plain(load("f.json", json.dumps(value))) == value


def test_the_flows_of_the_contract_are_read(repository: Path) -> None:
    flows = sorted((repository / "tests" / "flows").glob("*.yaml"))
    assert len(flows) == 5
    assert all(load(flow.name, flow.read_text()).value for flow in flows)
