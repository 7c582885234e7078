"""Expressions over sensitive values: they give what they give for plain values, and what is kept tells nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callboard.runtime.core.expressions import (
    MISSING,
    ROOTS,
    ExpressionError,
    Lookup,
    Names,
    TemplateSyntaxError,
    compile_expression,
    compile_template,
    evaluate_bool,
)
from callboard.runtime.core.sealing import ErasedError, Unsealing, is_sensitive, opened, sealed_again
from callboard.runtime.core.values import Sealed, Value, encode, redacted

NAMES = Names(roots=ROOTS - {"item"}, steps=frozenset({"done"}), items=frozenset({"line"}))
ROOTS_SEEN: dict[str, Any] = {
    "input": {
        "a": "secret-0",
        "b": "secret-1",
        "n": 7_001,
        "o": {"x": "secret-2", "y": ["secret-3", {"z": "secret-4"}]},
        "l": ["secret-5", "secret-6"],
        "none": None,
        "yes": True,
    },
    "vars": {"v": "secret-7", "w": {"deep": "secret-8"}},
    "line": {"item": "secret-9", "n": 2},
    "done": {"r": "secret-10", "f": 1.5},
    "index": 1,
}
"""Every text is a secret where it, or what it lies in, is sealed. `done` stands for `steps.done.result`."""

Place = tuple[str | int, ...]


def places(value: Any, here: Place = ()) -> list[Place]:
    """The paths of everything in a value."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [place for key, item in items for place in places(item, (*here, key))]
    return [here, *below] if here else below


PLACES = [place for place in places(ROOTS_SEEN) if place not in (("vars",), ("index",))]


class Values:
    """A vault, and the roots with some of their places sealed."""

    def __init__(self, sealed: Sequence[Place], roots: dict[str, Any] = ROOTS_SEEN) -> None:
        self.kept: dict[str, Value] = {}
        self.roots = copy.deepcopy(roots)
        self.secrets: list[str] = []
        for place in sorted(sealed, key=len, reverse=True):
            holder: Any = self.roots
            for key in place[:-1]:
                holder = holder[key]
            plain, _ = opened(holder[place[-1]], self)
            self.secrets += _texts(plain)
            holder[place[-1]] = self.seal(plain)

    def seal(self, value: Value) -> Sealed:
        commitment = f"c{len(self.kept)}"
        self.kept[commitment] = opened(value, self)[0]
        return Sealed(commitment)

    def open(self, sealed: Sealed) -> Value:
        if sealed.commitment not in self.kept:
            raise ErasedError(sealed.commitment)
        return copy.deepcopy(self.kept[sealed.commitment])

    def size(self, sealed: Sealed) -> int:
        return len(encode(self.open(sealed)))

    def lookup(self) -> Lookup:
        def look(root: str, name: str) -> object:
            if root == "steps":
                return {"result": self.roots["done"]}
            return self.roots.get(root, MISSING)

        return Unsealing(look, self)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items: Any = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _texts(item)]


def _written(place: Place) -> str:
    """A place as a path in CEL."""
    root, *rest = place
    text = "steps.done.result" if root == "done" else str(root)
    return text + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rest)


PATHS = st.sampled_from([_written(place) for place in [*places(ROOTS_SEEN), ("input", "gone"), ("input", "a", "gone")]])
BINARY = st.sampled_from(["{} + {}", "{} == {}", "[{}, {}]", "{{'k': {}, 'l': {}}}", "{} in {}", "{} < {}", "{} && {}"])
UNARY = st.sampled_from(
    [
        *(
            "string({})",
            "size({})",
            "int({})",
            "{}[0]",
            "{}.x",
            "[{}].map(e, e)",
            "input.l.map(e, [e, {}])",
            "type({})",
        ),
        *("has({})", "{}.upperAscii()", "{}.startsWith('sec')", "dyn({})", "{}.?x.orValue('none')"),
        *("[{}].filter(e, true)", "{}.exists(e, e == 'secret-3')"),
    ]
)


def _joined(shape: str, parts: tuple[str, ...]) -> str:
    return shape.format(*parts)


EXPRESSIONS = st.recursive(
    PATHS,
    lambda inner: st.one_of(
        st.builds(_joined, BINARY, st.tuples(inner, inner)),
        st.builds(_joined, UNARY, st.tuples(inner)),
        st.builds(_joined, st.just("({} == 'secret-0' ? {} : {})"), st.tuples(inner, inner, inner)),
    ),
    max_leaves=4,
)
PIECES = EXPRESSIONS.map(lambda source: f"${{{source}}}")
TEXTS = PIECES | st.lists(PIECES | st.sampled_from(["", "and ", "$${", "<"]), min_size=2, max_size=3).map("".join)
TEMPLATES = st.recursive(
    TEXTS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.fixed_dictionaries({"p": inner, "q": st.just(1)}),
    max_leaves=4,
)
SEALINGS = st.lists(st.sampled_from(PLACES), min_size=1, max_size=6, unique=True)


class Outcome(NamedTuple):
    """What came of a template: a value as it is kept, or an error."""

    kept: Any
    error: str | None


def outcome(template: Any, values: Values) -> Outcome | None:
    """None: it is no template."""
    try:
        compiled = compile_template(template, NAMES)
    except TemplateSyntaxError:
        return None
    try:
        made = compiled.evaluate(values.lookup())
    except ExpressionError as error:
        return Outcome(None, str(error))
    return Outcome(sealed_again(made, values), None)


@given(TEMPLATES, SEALINGS)
@example("${input.a}", [("input", "a")])
@example("<${input.o.y[1].z}>", [("input", "o")])
@example("${input.l.map(e, e + '!')}", [("input", "l", 0)])
@example("${input}", [("input",)])
@example({"p": "${input.o.x}"}, [("input", "o"), ("input", "o", "x")])
@example("${int(input.a)}", [("input", "a")])
def test_a_template_over_sealed_values_gives_the_same_and_tells_nothing(template: Any, sealed: list[Place]) -> None:
    values, plain = Values(sealed), Values([])
    found, expected = outcome(template, values), outcome(template, plain)
    if found is None or expected is None:
        assert found is expected
        return
    assert (found.error is None) == (expected.error is None)
    told = found.error or encode(found.kept).decode()
    assert [secret for secret in _told_at_all(values) if secret in told] == []
    assert encode(opened(found.kept, values)[0]) == encode(expected.kept)


def _told_at_all(values: Values) -> list[str]:
    """Texts that are sealed wherever they stand, and are no part of any template here."""
    literals = ("secret-0", "secret-3", "secret-1")  # quoted by templates, or the beginning of others
    return [secret for secret in values.secrets if secret not in literals]


@given(TEMPLATES, SEALINGS)
def test_what_is_shown_does_not_depend_on_what_is_sealed(template: Any, sealed: list[Place]) -> None:
    """Two executions that differ in sealed values only show the same, unless one of them fails."""
    other = _reversed_texts(ROOTS_SEEN, set(_sealed_texts(sealed)))
    one, another = outcome(template, Values(sealed)), outcome(template, Values(sealed, other))
    if one is None or another is None or one.error or another.error:
        return
    assert redacted(one.kept) == redacted(another.kept)


def _sealed_texts(sealed: Sequence[Place]) -> list[str]:
    return Values(sealed).secrets


def _reversed_texts(value: Any, texts: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _reversed_texts(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_reversed_texts(item, texts) for item in value]
    return value[::-1] if isinstance(value, str) and value in texts else value


@given(EXPRESSIONS, SEALINGS)
@example("input.yes", [("input", "yes")])
@example("input.o.y[0] == 'secret-3'", [("input", "o", "y", 0)])
def test_a_condition_decides_the_same(source: str, sealed: list[Place]) -> None:
    def decided(values: Values) -> bool | None:
        try:
            return evaluate_bool(expression, values.lookup())
        except ExpressionError as error:
            assert [secret for secret in _told_at_all(values) if secret in str(error)] == []
            return None

    try:
        expression = compile_expression(source, NAMES)
    except Exception:  # noqa: BLE001 - the compiler's own tests are elsewhere
        return
    assert decided(Values(sealed)) == decided(Values([]))


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("${input.a}", "[redacted]"),
        ("for ${input.a}!", "[redacted]"),
        ("${input.b + input.a}", "[redacted]"),
        ("${size(input.a) > 3}", "[redacted]"),
        ({"p": ["${input.a}", "${input.b}"], "q": 1}, {"p": ["[redacted]", "secret-1"], "q": 1}),
        ("${input.o.y}", ["secret-3", "[redacted]"]),
        ("${input.o.y[1].z}", "[redacted]"),
        ("${input.o.x}", "secret-2"),
        ("${input.o.y.map(e, 1)}", "[redacted]"),
        ("${has(input.a)}", True),
        ("${input.b}", "secret-1"),
    ],
)
def test_as_little_is_hidden_as_can_be(template: Any, shown: Any) -> None:
    found = outcome(template, Values([("input", "a"), ("input", "o", "y", 1)]))
    assert found is not None
    assert redacted(found.kept) == shown


@pytest.mark.parametrize("source", ["${input.a + '!'}", "<${input.a}>", "${[input.a].size()}", "${input.o.x}"])
def test_what_is_erased_is_an_error_where_it_is_looked_into(source: str) -> None:
    values = Values([("input", "a"), ("input", "o")])
    values.kept.clear()
    found = outcome(source, values)
    assert found is not None and found.error is not None
    assert "not there any more" in found.error
    assert is_sensitive(compile_template("${input.a}", NAMES).evaluate(values.lookup())), (
        "what is passed on may be gone"
    )
