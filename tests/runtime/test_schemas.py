"""Schemas in the shell: which are refused, and misfits told without the value."""

import json
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from tests.runtime.lifecycle_house import House, draft, given, publish

from callboard.runtime.core.plan import TaskBody
from callboard.runtime.core.refusals import Refused, Violation
from callboard.runtime.core.values import Opaque, Sealed
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.schemas import META_SCHEMA, VIOLATIONS_MAX, Validator, check_schema, misfits_of

SECRET: dict[str, Any] = {"sensitive": True}


def told(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    return [(one.path, one.message) for one in misfits_of(schema, "payload")(value)]


# Which are refused


@pytest.mark.parametrize(
    "schema", [SECRET, {"properties": {"a": {"sensitive": False}, "b": SECRET}}, {"items": SECRET}]
)
def test_the_mark_is_a_keyword_of_schemas(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == ()
    Validator(schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"sensitive": "yes"}}}, "result_schema.properties.a.sensitive"),
        ({"not": SECRET}, "result_schema.not.sensitive"),
        ({"sensitive": 1, "type": "strng"}, "result_schema.type"),
        ({"items": {"$ref": "x:y"}}, 'result_schema.items["$ref"]'),
        ({"properties": {"enum": {"$ref": "x:y"}}}, 'result_schema.properties.enum["$ref"]'),
    ],
)
def test_a_faulty_schema_is_located_where_it_stands(schema: dict[str, Any], path: str) -> None:
    found = check_schema(schema, None, ("result_schema",))
    assert path in [one.path for one in found]
    assert {one.code for one in found} == {"INVALID_SCHEMA"}


def test_data_that_looks_like_a_reference_is_none() -> None:
    assert check_schema({"const": {"$ref": "x:y"}, "items": {"$ref": META_SCHEMA}}) == ()


FLOW = """
id: flow
input_schema: {properties: {pin: {sensitive: maybe}}}
event_schemas:
  paid: {type: objekt}
  "not a name": {}
steps:
  - id: hear
    receive: {event: paid}
  - id: each
    foreach:
      items: "[1]"
      steps:
        - id: work
          task: {service: s, operation: o, result_schema: {not: {sensitive: true}}}
        - id: last
          task: {service: s, operation: o, result_schema: 7}
"""


async def opened() -> House:
    house = House()
    await house.store.open()
    return house


async def test_all_schemas_of_a_definition_are_checked_at_publish_and_at_draft() -> None:
    house = await opened()
    text = Given(SourceText("f.yaml", FLOW))
    with pytest.raises(Refused) as raised:
        await house.publishing.publish(publish(given=text))
    wrong = {(one.path, one.code, one.line) for one in raised.value.refusal.violations}
    faults = {
        ("input_schema.properties.pin.sensitive", "INVALID_SCHEMA", 3),
        ("event_schemas.paid.type", "INVALID_SCHEMA", 5),
        ("steps[1].foreach.steps[0].task.result_schema.not.sensitive", "INVALID_SCHEMA", 15),
    }
    assert wrong == faults | {
        ('event_schemas["not a name"]', "INVALID_ID", 6),
        ("steps[1].foreach.steps[1].task.result_schema", "INVALID_TYPE", 17),
    }
    readable = Given(SourceText("f.yaml", FLOW.replace(", result_schema: 7", "")))
    drafted = await house.drafting.put(draft(given=readable))
    assert {(one.path, one.code, one.line) for one in drafted.violations} > faults


async def test_a_published_version_checks_types_and_seals() -> None:
    house = await opened()
    price = {"properties": {"price": {"type": "number"}, "pin": {"type": "string", "sensitive": True}}}
    work = {"id": "work", "task": {"service": "s", "operation": "o", "result_schema": price}}
    hear = {"id": "hear", "receive": {"event": "paid"}}
    content = given(steps=[hear, work], event_schemas={"paid": price}, input_schema=price)
    await house.publishing.publish(publish(given=content))
    for compiled in (
        (await house.catalog.published("acme", "flow")).compiled,
        (await type(house.catalog)(house.store, house.clock).published("acme", "flow")).compiled,
    ):
        plan = compiled.plan
        body = plan.steps["work"].body
        assert isinstance(body, TaskBody)
        assert body.result is not None
        assert plan.sensitive
        assert [one.path for one in body.result.misfits({"price": "x"})] == ["result.price"]
        assert [one.path for one in plan.events["paid"].misfits({"price": "x"})] == ["payload.price"]
        assert "4711" not in compiled.input_violations({"pin": 4711})[0].message


# Misfits


@pytest.mark.parametrize(
    ("schema", "value", "path", "message"),
    [
        ({"type": ["string", "null"]}, 5, "payload", "is not of type null or string"),
        ({"required": ["id"]}, {}, "payload", '"id" is required'),
        ({"properties": {"n": {"minimum": 9}}}, {"n": 5}, "payload.n", "does not fit `minimum`: 9"),
        ({"properties": {"n": {"enum": ["a", 1]}}}, {"n": 5}, "payload.n", 'does not fit `enum`: ["a",1]'),
        ({"items": {"const": {"a": 1}}}, [5], "payload[0]", 'does not fit `const`: {"a":1}'),
        ({"pattern": "^a"}, "b", "payload", 'does not fit `pattern`: "^a"'),
        ({"not": {"const": "b"}}, "b", "payload", "does not fit `not`"),
        ({"oneOf": [True, True]}, "b", "payload", "does not fit `oneOf`"),
        ({"properties": {"n": False}}, {"n": 1}, "payload.n", "is not allowed"),
        ({"unevaluatedProperties": False}, {"n": 1}, "payload", 'has properties that are not allowed: "n"'),
        ({"propertyNames": {"pattern": "^a"}}, {"b": 1}, "payload", "does not fit `propertyNames`"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "payload", '"b" is required'),
    ],
)
def test_a_misfit_says_what_was_expected(schema: dict[str, Any], value: Any, path: str, message: str) -> None:
    assert told(schema, value) == [(path, message)]


def test_nothing_is_told_of_the_inside_of_a_sensitive_field() -> None:
    inside = {
        "additionalProperties": {"type": "string"},
        "propertyNames": {"maxLength": 3},
        "unevaluatedProperties": False,
    }
    closed = {"properties": {"x": {}}, "additionalProperties": False, **SECRET}
    schema = {"properties": {"a": {**inside, **SECRET}, "b": closed}}
    assert told(schema, {"a": {"4711": 1, "4712": 2}, "b": {"4713": 1}}) == [
        ("payload.a", "something inside is not of type string"),
        ("payload.a", "does not fit `propertyNames`"),
        ("payload.b", "does not fit `additionalProperties`"),
    ]


def test_inputs_are_quoted_to_their_sender_unless_they_are_sensitive() -> None:
    schema = {"properties": {"n": {"type": "string"}}}
    assert "4711" in Validator(schema).violations({"n": 4711})[0].message
    assert Validator(schema, masked=True).violations({"n": 4711}) == (
        Violation("input.n", "is not of type string", "SCHEMA_MISMATCH"),
    )


def test_what_is_no_json_fits_no_schema() -> None:
    for value in (Opaque("text/plain", b"x"), {"a": Sealed("x")}):
        assert [path for path, _ in told({"additionalProperties": {"type": "string"}}, value)] == ["payload"]


def test_misfits_are_limited() -> None:
    assert len(told({"items": {"type": "string"}}, list(range(1_000)))) == VIOLATIONS_MAX
    (long,) = told({"enum": ["x" * 1_000, "y"]}, 1)
    assert len(long[1]) < 400


def test_a_schema_that_is_none_says_so_with_the_first_value() -> None:
    misfits = misfits_of({"type": "strng"}, "payload")
    with pytest.raises(ValueError, match="strng"):
        misfits(1)


WORDS = st.sampled_from(["Quetzal", "Zebra7", "Yak"])
SECRETS = st.recursive(
    WORDS | st.integers(77_700_000, 77_799_999) | st.floats(777.1, 777.9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
)
RULES: list[dict[str, Any]] = [
    *({"type": "null"}, {"const": 1}, {"enum": [1, 2]}, {"maximum": 1}, {"exclusiveMaximum": 1}, {"multipleOf": 7}),
    *({"maxLength": 1}, {"minLength": 20}, {"pattern": "^z"}, {"not": {}}, {"anyOf": [{"type": "null"}, False]}),
    *({"oneOf": [True, True]}, {"maxItems": 0}, {"minItems": 9}, {"uniqueItems": True}, {"contains": {"type": "null"}}),
    *({"items": False}, {"unevaluatedItems": False}, {"items": {"type": "null"}}, {"prefixItems": [False]}),
    *({"additionalProperties": {"const": 1}}, {"properties": {"a": {"maxLength": 0}}}, {"maxProperties": 0}),
    *({"if": {}, "then": {"type": "null"}}, {"dependentSchemas": {"a": {"type": "null"}}}, {"format": "date"}),
    *({"contentEncoding": "base64"}, {"contentMediaType": "application/json"}, {"contains": {}, "maxContains": 0}),
    *(
        {"unevaluatedProperties": {"type": "null"}},
        {"additionalProperties": False},
        {"propertyNames": {"maxLength": 0}},
    ),
]


@for_all(SECRETS, st.lists(st.sampled_from(RULES), min_size=1, max_size=6))
def test_no_misfit_quotes_the_value(value: Any, rules: list[dict[str, Any]]) -> None:
    text = repr(told({"allOf": rules}, value))
    for part in parts(value):
        assert part not in text


def parts(value: Any) -> list[str]:
    """The scalars of a value, as they are written."""
    if isinstance(value, list | dict):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in parts(item)]
    return [json.dumps(value).strip('"')]
