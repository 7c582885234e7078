"""Expressions: what they may name, what they yield, and that every failure is one of ours."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cel as other_cel
import pytest

from callboard.runtime.core.expressions import (
    MISSING,
    ROOTS,
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Lookup,
    Names,
    compile_expression,
    evaluate_bool,
)
from callboard.runtime.core.values import Opaque

NAMES = Names(
    roots=ROOTS - {"item", "trigger"},
    steps=frozenset({"reserve", "charge", "scan"}),
    hidden_steps=frozenset({"pick"}),
    items=frozenset({"line"}),
)
NOW_US = 1_700_000_000_123_456
INPUT: dict[str, Any] = {
    "qty": 2,
    "price": 2.0,
    "big": 2**53 + 1,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "zero": -0.0,
    "name": "héllo",
    "none": None,
    "a-b": 7,
    "lines": [{"sku": "x", "qty": 1}, {"sku": "y", "qty": 3}],
    "nested": {"x": {"y": [1, [2.0, None]]}},
    "many": list(range(501)),
    "enough": list(range(500)),
    "at": "2026-01-31T08:00:00Z",
}
ROOT_VALUES: dict[str, Any] = {"input": INPUT, "vars": {}, "line": {"sku": "l"}, "index": 1, "now": NOW_US}
STEPS: dict[str, Any] = {
    "reserve": {"result": {"id": "r-1"}},
    "charge": {},
    "scan": {"result": Opaque("image/png", b"x")},
}


def lookup(root: str, name: str) -> object:
    return STEPS.get(name, MISSING) if root == "steps" else ROOT_VALUES.get(root, MISSING)


def compiled(source: str) -> Expression:
    return compile_expression(source, NAMES)


def value_of(source: str) -> Any:
    return compiled(source).evaluate(lookup)


def refusal_of(source: str) -> ExpressionSyntaxError:
    with pytest.raises(ExpressionSyntaxError) as refused:
        compiled(source)
    return refused.value


def failure_of(source: str) -> ExpressionError:
    expression = compiled(source)
    with pytest.raises(ExpressionError) as failed:
        expression.evaluate(lookup)
    return failed.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.qty", 2),
        ("input.price", 2.0),
        ("input.zero", -0.0),
        ("input.lines[1].sku", "y"),
        ('input["a-b"]', 7),
        ("input['nested'].x[\"y\"][1][0]", 2.0),
        ("steps.reserve.result.id", "r-1"),
        ('steps["reserve"].result', {"id": "r-1"}),
        ("line.sku", "l"),
        ("index", 1),
        ("now", "2023-11-14T22:13:20.123456Z"),
        ("${input.qty}", 2),
        (" ${ input.qty + 1 } ", 3),
        ('"${" + "}"', "${}"),
    ],
)
def test_a_value_is_found(source: str, value: Any) -> None:
    found = value_of(source)
    assert (type(found), repr(found)) == (type(value), repr(value))


@pytest.mark.parametrize("key", ["big", "largest", "smallest", "zero", "price", "qty", "none", "name", "nested"])
def test_cel_hands_every_value_back_unchanged(key: str) -> None:
    assert repr(value_of(f"[input.{key}][0]")) == repr(INPUT[key])


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("input.big + 1", 2**53 + 2),
        ("input.largest - 1", 2**63 - 2),
        ("input.smallest + 1", -(2**63) + 1),
        ("input.price * 1.5", 3.0),
        ("input.qty < 2.5", True),
        ("input.none == null", True),
        ("has(input.none)", True),
        ("has(input.absent)", False),
        ("input.?absent.?deeper.orValue(5)", 5),
        ("input.?nested.?x.?y[0].orValue(5)", 1),
        ("has(steps.charge.result) ? steps.charge.result.id : 'none'", "none"),
        ("has(steps.scan.result)", True),
        ("steps.charge.?result.?id.orValue('none')", "none"),
        ("input.lines.filter(l, l.qty > 1)[0].sku", "y"),
        ("input.lines.map(line, line.sku)", ["x", "y"]),
        ("input.lines.map(input, input.qty)", [1, 3]),
        ("input.lines[index].sku + line.sku", "yl"),
        ("timestamp(input.at).getHours('Europe/Berlin')", 9),
        ("input.name.size()", 5),
        ("input.enough.all(x, x >= 0)", True),
        ("input.many.size()", 501),
        ("'a-b-c'.replace('-', '+', 1)", "a+b-c"),
        ("['a', 'b'].join('-') + ['c'].join()", "a-bc"),
        ("math.greatest(1, input.qty)", 2),
        ("dyn([1, 'a']).map(x, [x])", [[1], ["a"]]),
        ('{"b": 1, "a": {"d": 1, "c": [2.0]}}', {"a": {"c": [2.0], "d": 1}, "b": 1}),
        ("input.qty == 2 // why", True),
        ("5u", 5),
    ],
)
def test_cel_gives_the_expected_value(source: str, value: Any) -> None:
    assert repr(value_of(source)) == repr(value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("now - timestamp(input.at) < duration('0s')", True),
        ("[now]", ["2023-11-14T22:13:20.123456Z"]),
        ("timestamp(input.at) + duration('90m')", "2026-01-31T09:30:00Z"),
        ("{'for': duration('1h1.5s')}", {"for": "3601.500s"}),
        ("duration('-1.5s')", "-1.500s"),
        ("add_months(timestamp(input.at), 1, 'UTC')", "2026-02-28T08:00:00Z"),
        ("add_months(timestamp('2026-02-28T11:00:00Z'), 1, 'Europe/Berlin')", "2026-03-28T11:00:00Z"),
        ("add_months(timestamp('2026-03-15T11:00:00Z'), 1, 'Europe/Berlin')", "2026-04-15T10:00:00Z"),
        ("add_months(timestamp('2024-03-31T00:00:00Z'), -13, 'UTC')", "2023-02-28T00:00:00Z"),
    ],
)
def test_times_and_durations_become_strings(source: str, value: Any) -> None:
    assert value_of(source) == value


@pytest.mark.parametrize(
    ("source", "message", "line", "column", "hint"),
    [
        ("1 +", "Syntax error", 1, 4, ""),
        ("input.a b", "Syntax error", 1, 9, ""),
        ("", "empty", 1, 1, ""),
        ("${ }", "empty", 1, 3, ""),
        ("inptu.qty", "`inptu` is unknown here", 1, 1, "did you mean `input`?"),
        ("input.qty +\n  inptu.qty", "`inptu` is unknown here", 2, 3, "did you mean `input`?"),
        ("'é' + trigger.id", "`trigger` is unknown here", 1, 7, ""),
        ("item.sku", "`item` is unknown here", 1, 1, ""),
        ("steps.reserv.result", "no step `reserv`", 1, 1, "did you mean `reserve`?"),
        ("1 > 0 ? steps.pick.result : 0", "inside of a foreach", 1, 9, "name the foreach"),
        ("steps[input.name].result", "`steps` needs the id", 1, 1, "cannot be computed"),
        ("size(steps)", "`steps` needs the id", 1, 6, ""),
        ("steps.reserve.id", "no `id`", 1, 1, "steps.reserve.result.id"),
        ("execution.started", "no field `started`", 1, 1, ""),
        ("input.name.upperASCII()", "no function `upperASCII`", 1, 12, "`upperAscii`"),
        ("sise(input.lines)", "no function `sise`", 1, 1, "`size`"),
        ("1 * 1.5", "`*` does not work on (int, double)", 1, 3, "double(x)"),
        ("input.?qty", "optional", 1, 1, ""),
        ("now > '2026'", "does not work", 1, 5, "timestamp(x)"),
        ("${1 + }", "Syntax error", 1, 7, ""),
        ("@too_many()", "Syntax error", 1, 1, ""),
        (" + ".join(["input.qty"] * 50), "nested too deep", 1, 1, ""),
        ("'" + "x" * 10_000 + "'", "expression_chars_max", 1, 1, ""),
    ],
)
def test_what_can_never_work_is_refused_with_its_place(
    source: str, message: str, line: int, column: int, hint: str
) -> None:
    refusal = refusal_of(source)
    assert message in refusal.message
    assert (refusal.line, refusal.column) == (line, column)
    assert hint in refusal.hint


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("input.absent", "`input.absent` has no value", "has(input.absent)"),
        ("input.absent.deeper + 1", "`input.absent` has no value", "has(input.absent)"),
        ("input.lines[2].sku", "`input.lines[2]` has no value", ""),
        ("input.name.x", "`input.name.x` has no value", ""),
        ("error.type == 'x'", "`error` has no value", ""),
        ("steps.charge.result.id", "the step has not succeeded", "has(steps.charge.result)"),
        ("steps.charge.result.id == 1", "the step has not succeeded", "has(steps.charge.result)"),
        ("input.largest + 1", "integer overflow", ""),
        ("-input.smallest", "overflow", ""),
        ("1 / (input.qty - 2)", "divide by zero", ""),
        ("1.0 / 0.0", "not a JSON number", ""),
        ("input.qty * 1.2", "`*` does not work on (int, double)", "double(x) * 1.2"),
        ("input.name + 1", "`+` does not work on (string, int)", "string(x)"),
        ("input.at < now", "`<` does not work", "timestamp(x)"),
        ("{1: input.qty}", "not a string", ""),
        ("{'$callboard.opaque': input.qty}", "the key $callboard.opaque in the result is reserved", ""),
        ("[{'$callboard.' + 'sensitive': input.name}]", "reserved", ""),
        ("[b'abc']", "bytes", ""),
        ("type(input.qty)", "no JSON form", ""),
        ("9223372036854775808u", "int64", ""),
        ("add_months(now, 1, 'Nowhere/X')", "unknown time zone", ""),
        ("add_months(input.at, 1, 'UTC')", "`add_months` does not work", ""),
        ("input.many.map(x, x)", "expression_items_max", ""),
        ("[input.many].map(x, x.map(y, y))", "expression_items_max", ""),
        ("(input.enough + input.enough).exists(x, x < 0)", "expression_items_max", ""),
        ("input.enough.exists(x, input.enough.exists(y, y < 0))", "too many items", ""),
        ("['%s'].map(x, input.enough.map(y, x).join('-').replace('-', input.enough.map(y, 'xxxxxxxxxxxxxxxxxxx')"
         ".join('-')))[0].replace('x', '" + "y" * 500 + "')", "characters", ""),
        ("[input.name, 1].join()", "every item has to be a string", ""),
        ("steps.scan.result.size", "cannot be looked into", ""),
        ("steps.scan.result == null", "cannot be looked into", ""),
    ],
)  # fmt: skip
def test_a_failing_evaluation_is_an_expression_error(source: str, message: str, hint: str) -> None:
    failure = failure_of(source)
    assert message in failure.message
    assert hint in failure.hint
    assert failure.source == source


@pytest.mark.parametrize(
    "source", ["[optional.of(1)]", '{"a": optional.of(1)}', "[[input.?qty]]", '{"a": [1].first()}']
)
def test_an_optional_in_the_result_is_an_error_and_no_crash(source: str) -> None:
    assert "optional" in failure_of(source).message


def test_an_opaque_payload_passes_through_whole() -> None:
    assert value_of("steps.scan.result") == Opaque("image/png", b"x")


@pytest.mark.parametrize(
    ("source", "references"),
    [
        ("input.a.b + input.a.b", {("input", "a", "b")}),
        ("input.lines[0].sku", {("input", "lines")}),
        ('input.lines[index].sku + input["k"].z', {("input", "lines"), ("index",), ("input", "k", "z")}),
        ("input.lines.all(x, x.qty > input.min && x.y)", {("input", "lines"), ("input", "min")}),
        ("has(steps.charge.result)", {("steps", "charge", "result")}),
        ("input.a.?b[?'c'].orValue(index)", {("input", "a", "b", "c"), ("index",)}),
        ("input", {("input",)}),
        ("[1].map(input, input)", set()),
    ],
)  # fmt: skip
def test_the_references_are_the_paths_it_names(source: str, references: set[tuple[str, ...]]) -> None:
    assert set(compiled(source).references) == references


@pytest.mark.parametrize(
    ("source", "guarded"),
    [
        ("steps.charge.result.id", set()),
        ("has(steps.charge.result)", {"charge"}),
        ("has(steps.charge.result.id)", set()),
        ("has(steps.charge.result) ? steps.charge.result.id : ''", {"charge"}),
        ("has(steps.charge.result) && steps.charge.result.ok", {"charge"}),
        ("steps.charge.?result.id.orValue('')", {"charge"}),
        ("steps.charge.result.?id.orValue('')", set()),
        ("has(steps.charge.result) ? steps.reserve.result.id : steps.charge.error.type", {"charge", "reserve"}),
        ("steps.charge.result.id + (has(steps.charge.result) ? 'a' : 'b')", set()),
    ],
)
def test_guarded_are_the_steps_whose_absence_is_provided_for(source: str, guarded: set[str]) -> None:
    assert compiled(source).guarded == guarded


def test_only_the_named_parts_are_looked_up() -> None:
    asked: list[tuple[str, str]] = []

    def recording(root: str, name: str) -> object:
        asked.append((root, name))
        return lookup(root, name)

    compiled("steps.reserve.result.id == input.name || has(steps.charge.result)").evaluate(recording)
    assert sorted(asked) == [("input", ""), ("steps", "charge"), ("steps", "reserve")]


def test_cel_sees_no_part_that_is_not_named() -> None:
    not_json: Lookup = lambda root, name: {"qty": 1, "rest": object()}  # noqa: E731
    assert compiled("input.qty + 1").evaluate(not_json) == 2


@pytest.mark.parametrize(("source", "truth"), [("input.qty > 1", True), ("has(input.nope)", False)])
def test_a_condition_is_true_or_false(source: str, truth: bool) -> None:
    assert evaluate_bool(compiled(source), lookup) is truth


@pytest.mark.parametrize("source", ["input.qty", "input.none", "'true'"])
def test_a_condition_is_nothing_else(source: str) -> None:
    with pytest.raises(ExpressionError, match="not true or false"):
        evaluate_bool(compiled(source), lookup)


def test_one_compiled_expression_serves_many_threads() -> None:
    expression = compiled("input.lines.map(l, l.qty + index)")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: expression.evaluate(lookup), range(200)))
    assert results == [[2, 4]] * 200


@pytest.mark.parametrize(
    "source",
    [
        "input.qty + 3 * 2 - 1",
        "input.big % 10",
        "-7 / 2",
        "-7 % 3",
        "input.price / 4.0",
        "input.name + '!'",
        "input.at.size()",
        "size(input.lines)",
        "input.name.startsWith('h') && !input.name.endsWith('x')",
        "input.name.contains('ll') || false",
        "input.name.matches('^h.l+o$')",
        "input.qty in [1, 2, 3]",
        "'x' in input.nested",
        "input.lines.map(l, l.sku)",
        "input.lines.filter(l, l.qty > 1).map(l, l.qty * 2)",
        "input.lines.all(l, l.qty > 0)",
        "input.lines.exists(l, l.sku == 'y')",
        "input.lines.exists_one(l, l.qty == 1)",
        "has(input.nested.x)",
        "has(input.nested.z)",
        "input.qty > 1 ? 'many' : 'one'",
        "[1, 2] + [3]",
        "{'a': input.qty}.a",
        "string(input.qty) + '!'",
        "int('42') + int(2.9)",
        "double(input.qty) * 1.2",
        "input.qty < 2.5",
        "timestamp('2026-01-31T08:00:00Z') < timestamp('2026-02-01T00:00:00Z')",
        "duration('90m') == duration('5400s')",
        "timestamp(input.at).getFullYear()",
        "timestamp(input.at).getHours()",
        "input.none == null",
        "input.lines == input.lines",
        "'a' < 'b' && 'Z' < 'a'",
    ],
)
def test_another_cel_implementation_gives_the_same_answer(source: str) -> None:
    expected = other_cel.evaluate(source, {"input": INPUT})
    found = value_of(source)
    assert (type(found), found) == (type(expected), expected)
