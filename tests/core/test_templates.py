"""Templates: types kept, text interpolated, one pass, every error at its place."""

from typing import Any

import pytest

from callboard.runtime.core.expressions import (
    MISSING,
    ROOTS,
    ExpressionError,
    Names,
    Template,
    TemplateSyntaxError,
    compile_template,
)
from callboard.runtime.core.values import Opaque

NAMES = Names(roots=ROOTS - {"item"}, steps=frozenset({"scan", "reserve"}))
INPUT: dict[str, Any] = {
    "n": 3,
    "d": 2.0,
    "s": "text",
    "none": None,
    "yes": True,
    "list": [1, 2.0, "é"],
    "object": {"a": 1},
    "evil": "${input.s}",
}
OPAQUE = Opaque("image/png", b"x")


def lookup(root: str, name: str) -> object:
    if root == "steps":
        return {"result": OPAQUE} if name == "scan" else MISSING
    return {"input": INPUT}.get(root, MISSING)


def template(value: Any, where: str = "") -> Template:
    return compile_template(value, NAMES, where)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("${input.n}", 3),
        ("${input.d}", 2.0),
        ("${input.object}", {"a": 1}),
        ("${ input.n + 1 }", 4),
        (" ${input.n}", " 3"),
        ("${input.n}${input.n}", "33"),
        ("a ${input.s} b", "a text b"),
        ("${input.d}/${input.none}/${input.yes}", "2.0/null/true"),
        ("x${input.list}${input.object}", 'x[1,2.0,"é"]{"a":1}'),
        ("$${input.n}", "${input.n}"),
        ("$${a} ${input.n} $${b}", "${a} 3 ${b}"),
        ("costs $5 {and} more $", "costs $5 {and} more $"),
        ("${input.evil}", "${input.s}"),
        ("<${input.evil}>", "<${input.s}>"),
        ("""${ {"a": "}"}.a }-""", "}-"),
        ("""${'it\\'s }' + r"\\}"}""", "it's }\\}"),
        ('${"${" + "x"}', "${x"),
        ({"a": [{"b": "${input.n}"}, 1], "c": "x"}, {"a": [{"b": 3}, 1], "c": "x"}),
        ("${steps.scan.result}", OPAQUE),
        ({"file": "${steps.scan.result}"}, {"file": OPAQUE}),
        (None, None),
        ("", ""),
    ],
)
def test_a_template_is_filled_in(given: Any, made: Any) -> None:
    assert repr(template(given).evaluate(lookup)) == repr(made)


def test_a_template_without_expressions_is_constant() -> None:
    constant = template({"a": ["$${x}", 1]})
    assert constant.constant
    assert constant.evaluate(lookup) is constant.evaluate(lookup)
    assert constant.evaluate(lookup) == {"a": ["${x}", 1]}


def test_keys_are_taken_as_they_are() -> None:
    assert template({"${input.n}": "${input.n}"}).evaluate(lookup) == {"${input.n}": 3}


def test_references_and_guards_are_those_of_all_expressions() -> None:
    made = template(
        ["${input.s} ${steps.reserve.?result.orValue(1)}", "${has(steps.scan.result)}", "${steps.scan.result}"]
    )
    assert set(made.references) == {("input", "s"), ("steps", "reserve", "result"), ("steps", "scan", "result")}
    assert made.guarded == {"reserve"}


def test_all_errors_of_a_template_are_named_with_their_places() -> None:
    with pytest.raises(TemplateSyntaxError) as refused:
        template({"a": "${inptu.n}", "b": [{"c": "one\nand ${1 +}"}], "d": "a\n${'}'"}, "input")
    errors = [(error.where, error.line, error.column) for error in refused.value.errors]
    assert errors == [("input.a", 1, 3), ("input.b[0].c", 2, 10), ("input.d", 2, 1)]


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"sku": "${input.absent}"}, "input.sku"),
        ({"lines": [{"text": "a ${input.n / 0}"}]}, "input.lines[0].text"),
        ({"text": "file: ${steps.scan.result}"}, "input.text"),
        ("${steps.scan.result.size}", "input"),
        ("${[steps.scan.result]}", "input"),
    ],
)
def test_a_failure_names_its_place(given: Any, where: str) -> None:
    made = template(given, "input")
    with pytest.raises(ExpressionError) as failed:
        made.evaluate(lookup)
    assert failed.value.where == where
