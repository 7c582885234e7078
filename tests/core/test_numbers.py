"""Numbers get the kind their schema names, and nothing is paid where it names none."""

from typing import Any

import pytest

from callboard.runtime.core.numbers import typed_numbers


@pytest.mark.parametrize(
    "schema",
    [True, {}, {"type": "object", "properties": {"a": {"type": "string"}}}, {"$ref": "#"}, {"$ref": "#/nowhere"}],
)
def test_a_schema_without_numbers_costs_nothing(schema: object) -> None:
    assert typed_numbers(schema) is None


@pytest.mark.parametrize(
    ("schema", "value", "typed"),
    [
        ({"type": "number"}, 2, 2.0),
        ({"type": "integer"}, 2.0, 2),
        ({"type": "integer"}, 2.5, 2.5),
        ({"type": ["number", "null"]}, None, None),
        ({"type": "number"}, True, True),
        ({"properties": {"a": {"type": "number"}}}, {"a": 1, "b": 1}, {"a": 1.0, "b": 1}),
        ({"additionalProperties": {"type": "number"}, "properties": {"n": {}}}, {"a": 1, "n": 1}, {"a": 1.0, "n": 1}),
        ({"items": {"type": "number"}}, [1, 2], [1.0, 2.0]),
        ({"prefixItems": [{"type": "integer"}], "items": {"type": "number"}}, [1.0, 2], [1, 2.0]),
        ({"allOf": [{"items": {"type": "number"}}, {"items": {"minimum": 0}}]}, [1], [1.0]),
        ({"$ref": "#/$defs/money~1eu", "$defs": {"money/eu": {"type": "number"}}}, 1, 1.0),
    ],
)  # fmt: skip
def test_numbers_take_the_kind_of_their_schema(schema: Any, value: Any, typed: Any) -> None:
    convert = typed_numbers(schema)
    assert convert is not None
    assert repr(convert(value)) == repr(typed)


def test_a_recursive_schema_reaches_every_level() -> None:
    convert = typed_numbers({"properties": {"price": {"type": "number"}, "parts": {"items": {"$ref": "#"}}}})
    given: Any = {"price": 1, "parts": [{"price": 2, "parts": []}]}
    assert convert is not None
    assert repr(convert(given)) == repr({"price": 1.0, "parts": [{"price": 2.0, "parts": []}]})
    assert repr(given["price"]) == "1"
