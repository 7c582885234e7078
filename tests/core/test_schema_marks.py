"""Sensitive fields: everything at a marked place is sealed, whatever leads there, and no mark protects nothing."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core import schema_shapes
from callboard.runtime.core.numbers import typed_numbers
from callboard.runtime.core.schema_marks import mark_faults, sealing_of, sensitive_fields
from callboard.runtime.core.schema_shapes import NamePattern, name_pattern
from callboard.runtime.core.values import Sealed, Value, encode, replace_each

SECRET: dict[str, Any] = {"sensitive": True}


class Drawer:
    """A vault that keeps values as they are."""

    def __init__(self) -> None:
        self.values: list[Value] = []

    def seal(self, value: Value) -> Sealed:
        self.values.append(copy.deepcopy(value))
        return Sealed(str(len(self.values) - 1))

    def open(self, sealed: Sealed) -> Value:
        return self.values[int(sealed.commitment)]

    def size(self, sealed: Sealed) -> int:
        return len(encode(self.open(sealed)))


def sealed(schema: object, value: Any) -> tuple[Any, Drawer]:
    """The value with its sensitive fields sealed; as it is where the schema has none."""
    drawer, seal = Drawer(), sealing_of(schema, typed_numbers(schema))
    return (value if seal is None else seal(value, drawer)), drawer


def shown(schema: object, value: Any) -> Any:
    """The value with a mark in the place of each sensitive field."""
    return replace_each(sealed(schema, value)[0], Sealed, lambda _: "#")


# What is sealed


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (SECRET, {"a": 1}, "#"),
        (SECRET, None, "#"),
        ({"properties": {"a": SECRET}}, {"a": {"b": [1]}, "c": 1}, {"a": "#", "c": 1}),
        ({"properties": {"a": SECRET}}, [{"a": 1}], [{"a": 1}]),
        ({"properties": {"a": {"properties": {"b": SECRET}}}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": "#", "c": 2}}),
        ({"properties": {"a": {}}, "additionalProperties": SECRET}, {"a": 1, "b": 2}, {"a": 1, "b": "#"}),
        ({"properties": {"a": {}}, "unevaluatedProperties": SECRET}, {"a": 1, "b": 2}, {"a": 1, "b": "#"}),
        ({"patternProperties": {"^x_": SECRET}}, {"x_1": 1, "y": 2}, {"x_1": "#", "y": 2}),
        ({"patternProperties": {"^x$": SECRET}}, {"x": 1, "x1": 2}, {"x": "#", "x1": 2}),
        (
            {"patternProperties": {"^x_": {}, "^x_y_": SECRET}, "additionalProperties": SECRET},
            {"x_1": 1, "x_y_1": 1, "z": 1},
            {"x_1": 1, "x_y_1": "#", "z": "#"},
        ),
        ({"properties": {"x_1": {}}, "patternProperties": {"^x_": SECRET}}, {"x_1": 1}, {"x_1": "#"}),
        ({"patternProperties": {"^x_[0-9]$": {}}, "additionalProperties": SECRET}, {"x_y": 1}, {"x_y": "#"}),
        (
            {
                "properties": {"x_y": {}},
                "allOf": [{"patternProperties": {"^x_[0-9]$": {}}, "additionalProperties": SECRET}],
            },
            {"x_y": 1},
            {"x_y": "#"},
        ),
        ({"patternProperties": {"_key$": SECRET}}, {"a": 1}, {"a": "#"}),
        ({"items": SECRET}, [1, 2], ["#", "#"]),
        ({"prefixItems": [{}, SECRET], "items": {}}, [1, 2, 3], [1, "#", 3]),
        ({"prefixItems": [{}], "items": SECRET}, [1, 2, 3], [1, "#", "#"]),
        ({"prefixItems": [{}], "unevaluatedItems": SECRET}, [1, 2], [1, "#"]),
        ({"contains": SECRET}, [1, 2], ["#", "#"]),
        ({"allOf": [{"properties": {"a": SECRET}}]}, {"a": 1}, {"a": "#"}),
        ({"anyOf": [{"type": "string"}, {"properties": {"a": SECRET}}]}, {"a": 1}, {"a": "#"}),
        ({"oneOf": [{"type": "string"}, {"properties": {"a": SECRET}}]}, {"a": 1}, {"a": "#"}),
        ({"if": {"properties": {"a": SECRET}}}, {"a": 1}, {"a": "#"}),
        ({"if": True, "then": {"properties": {"a": SECRET}}}, {"a": 1}, {"a": "#"}),
        ({"if": True, "else": {"properties": {"a": SECRET}}}, {"a": 1}, {"a": "#"}),
        ({"dependentSchemas": {"b": {"properties": {"a": SECRET}}}}, {"a": 1}, {"a": "#"}),
        ({"properties": {"a": {"$ref": "#/$defs/s"}}, "$defs": {"s": SECRET}}, {"a": 1}, {"a": "#"}),
        ({"properties": {"a": {"$ref": "#/x%2Fy/0"}}, "x": {"y": [SECRET]}}, {"a": 1}, {"a": "#"}),
        ({"properties": {"a": {"$ref": "#s"}}, "$defs": {"x": {"$anchor": "s", **SECRET}}}, {"a": 1}, {"a": "#"}),
        (
            {"properties": {"a": {"$dynamicRef": "#s"}}, "$defs": {"x": {"$dynamicAnchor": "s", **SECRET}}},
            {"a": 1},
            {"a": "#"},
        ),
        (
            {"properties": {"pin": SECRET, "next": {"$ref": "#"}}},
            {"pin": 1, "next": {"pin": 2, "n": 3}},
            {"pin": "#", "next": {"pin": "#", "n": 3}},
        ),
        ({"properties": {"a": SECRET}, "allOf": [{"properties": {"a": {"sensitive": False}}}]}, {"a": 1}, {"a": "#"}),
        ({"properties": {"sensitive": {"type": "boolean"}}}, {"sensitive": True}, {"sensitive": True}),
        ({"properties": {"default": SECRET}, "default": {"sensitive": True}}, {"default": 1}, {"default": "#"}),
    ],
)
def test_marked_fields_are_sealed_and_nothing_else(schema: Any, value: Any, expected: Any) -> None:
    assert shown(schema, value) == expected
    assert list(mark_faults(schema, ())) == []


@pytest.mark.parametrize("schema", [True, {}, {"type": "object", "properties": {"a": {"sensitive": False}}}])
def test_a_schema_without_marks_seals_nothing(schema: object) -> None:
    assert sealing_of(schema, None) is None
    assert sensitive_fields(schema) is None


def test_what_is_sealed_has_the_numbers_of_the_schema_and_the_rest_those_that_came() -> None:
    money = {"type": "number"}
    schema = {"properties": {"a": {**money, **SECRET}, "b": money, "c": {**SECRET, "items": money}}}
    value: dict[str, Any] = {"a": 1, "b": 1, "c": [2]}
    result, drawer = sealed(schema, value)
    assert repr(drawer.values) == "[1.0, [2.0]]"
    assert repr(result["b"]) == "1"
    assert repr(value) == "{'a': 1, 'b': 1, 'c': [2]}"


def test_what_is_sealed_already_stays() -> None:
    before = Sealed("0")
    result, drawer = sealed({"properties": {"a": SECRET, "b": SECRET}}, {"a": before, "b": 1})
    assert result["a"] is before
    assert drawer.values == [1]


def test_what_has_no_sensitive_field_is_shared() -> None:
    value: dict[str, Any] = {"a": 1, "b": {"c": [1, 2]}}
    result, _ = sealed({"properties": {"a": SECRET}}, value)
    assert result["b"] is value["b"]


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        (["open", "x", 0], (("open", "x", 0), False)),
        (["card"], (("card",), True)),
        (["card", "number", 3], (("card",), True)),
        (["lines", 2, "pin", "x"], (("lines", 2, "pin"), True)),
        (["lines", 2, "qty"], (("lines", 2, "qty"), False)),
        ([], ((), False)),
    ],
)
def test_a_path_ends_where_a_sensitive_field_begins(path: list[str | int], seen: Any) -> None:
    fields = sensitive_fields({"properties": {"card": SECRET, "lines": {"items": {"properties": {"pin": SECRET}}}}})
    assert fields is not None
    assert fields.seen(path) == seen


# Every nesting

NAMES = st.sampled_from(["a", "b", "ab", "x"])
LEAVES: list[Any] = [
    *(True, {}, {"type": "string"}, {"type": "number"}, {"sensitive": False}, {"enum": [1, "a"]}),
    *(SECRET, {"sensitive": True, "type": "integer"}, {"sensitive": True, "minimum": 1}),
    *({"$ref": "#"}, {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"$ref": "#one"}, {"$dynamicRef": "#two"}),
]


def schemas_around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas with some of these in them, under any keyword that leads on."""
    named = st.dictionaries(NAMES, inner, max_size=2)
    listed = st.lists(inner, min_size=1, max_size=2)
    patterns = st.dictionaries(
        st.sampled_from(["^a", "^ab", "^a$", "b$", "^x.*", "a|x", "^ab?", ""]), inner, max_size=2
    )
    single = ["additionalProperties", "unevaluatedProperties", "items", "contains", "unevaluatedItems"]
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": named,
            "patternProperties": patterns,
            "dependentSchemas": named,
            **dict.fromkeys(("prefixItems", "allOf", "anyOf", "oneOf"), listed),
            **dict.fromkeys((*single, "if", "then", "else"), inner),
            "sensitive": st.booleans(),
            "type": st.sampled_from(["object", "array", "number"]),
        },
    )


SCHEMAS = st.builds(
    lambda root, a, b: {
        **(root if isinstance(root, dict) else {}),
        "$defs": {"a": a, "b": b, "c": {"$anchor": "one", "allOf": [a]}, "d": {"$dynamicAnchor": "two", "anyOf": [b]}},
    },
    *[st.recursive(st.sampled_from(LEAVES), schemas_around, max_leaves=8)] * 3,
).map(copy.deepcopy)

VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 1.5, 2.0, "a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.sampled_from(["abb", "xa"]), inner),
    max_leaves=10,
)


IN_PLACE = ["allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "$ref", "#", "$dynamicRef", "beside"]


class Fitting:
    """Draws schemas together with values that fit them, so that the marks in them count."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.definitions: dict[str, Any] = {}

    def pair(self) -> tuple[dict[str, Any], Any]:
        schema, value = self.place(3)
        return {**schema, "$defs": self.definitions}, value

    def place(self, depth: int) -> tuple[dict[str, Any], Any]:
        kinds = ["object", "array", "secret", "plain"] if depth else ["secret", "plain"]
        match self.draw(st.sampled_from(kinds)):
            case "object":
                schema, value = self.object(depth - 1)
            case "array":
                schema, value = self.array(depth - 1)
            case "secret":
                schema, value = {"sensitive": True, **self.draw(TYPES)}, self.draw(VALUES)
            case _:
                schema, value = self.draw(TYPES), self.draw(VALUES)
        for way in self.draw(st.lists(st.sampled_from(IN_PLACE), max_size=2)):
            schema = self.led_to(way, schema, value)
        return schema, value

    def object(self, depth: int) -> tuple[dict[str, Any], Any]:
        schema: dict[str, Any] = {}
        value: dict[str, Any] = {}
        rest = self.draw(st.sampled_from(["additionalProperties", "unevaluatedProperties"]))
        for name in self.draw(st.lists(st.sampled_from(["a", "b", "ab", "abb", "x"]), min_size=1, unique=True)):
            inner, value[name] = self.place(depth)
            way = self.draw(st.sampled_from(["properties", f"^{name}$", f"^{name}", f"^{name}.*", f"{name}$", rest]))
            if way == rest:
                schema.setdefault(rest, {"anyOf": []})["anyOf"].append(inner)
            elif way == "properties":
                schema.setdefault(way, {})[name] = inner
            else:
                schema.setdefault("patternProperties", {})[way] = {"anyOf": [inner, True]}
        return schema, value

    def array(self, depth: int) -> tuple[dict[str, Any], Any]:
        pairs = [self.place(depth) for _ in range(self.draw(st.integers(1, 4)))]
        length = self.draw(st.integers(0, len(pairs)))
        rest = self.draw(st.sampled_from(["items", "unevaluatedItems", "contains"]))
        schema: dict[str, Any] = {"prefixItems": [inner for inner, _ in pairs[:length]]} if length else {}
        if length < len(pairs):
            schema[rest] = {"anyOf": [inner for inner, _ in pairs[length:]]}
        return schema, [value for _, value in pairs]

    def led_to(self, way: str, schema: dict[str, Any], value: Any) -> dict[str, Any]:
        """A schema that leads to this one at the same place."""
        name = f"d{len(self.definitions)}"
        match way:
            case "allOf" | "anyOf":
                return {way: [schema]}
            case "oneOf":
                return {way: [False, schema]}
            case "if":
                return {way: schema}
            case "then" | "else":
                return {"if": way == "then", way: schema}
            case "dependentSchemas":
                return {way: {min(value): schema}} if isinstance(value, dict) and value else schema
            case "$ref":
                self.definitions[name] = schema
                return {way: f"#/$defs/{name}"}
            case "#":
                self.definitions[name] = {"$anchor": name, "allOf": [schema]}
                return {"$ref": f"#{name}"}
            case "$dynamicRef":
                self.definitions[name] = {"$dynamicAnchor": name, "allOf": [schema]}
                return {way: f"#{name}"}
            case _:
                return {**schema, "anyOf": [*schema.get("anyOf", []), True], "minimum": -1}


@st.composite
def fitting(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    return Fitting(draw).pair()


KINDS = ["null", "boolean", "number", "string", "array", "object"]
TYPES: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {"type": KINDS}, {"title": "x"}])


@given(fitting() | st.tuples(SCHEMAS, VALUES))
def test_whatever_a_validator_finds_marked_is_sealed(pair: tuple[dict[str, Any], Any]) -> None:
    schema, value = pair
    before = repr(value)
    result, drawer = sealed(schema, value)
    for place in marked_places(schema, value):
        assert is_sealed(result, place), (place, result)
    assert repr(value) == before
    everything = replace_each(result, Sealed, drawer.open)
    assert everything == value
    numbers = typed_numbers(schema)
    typed: Any = numbers(value) if numbers is not None else value
    for place, kept in leaves(result, ()):
        at: Any = typed if isinstance(kept, Sealed) else value
        for step in place:
            at = at[step]
        assert repr(drawer.open(kept) if isinstance(kept, Sealed) else kept) == repr(at)


def marked_places(schema: dict[str, Any], value: Any) -> Iterator[list[str]]:
    """Where a validator annotates the value as sensitive, as JSON pointers' tokens."""
    evaluation = jsonschema_rs.Draft202012Validator(schema).evaluate(value)
    for unit in evaluation.annotations():
        said = unit["annotations"]
        if isinstance(said, dict) and said.get("sensitive") is True:
            yield unit["instanceLocation"].split("/")[1:]


def is_sealed(value: Any, place: list[str]) -> bool:
    for token in place:
        if isinstance(value, Sealed):
            return True
        value = value[int(token) if isinstance(value, list) else token]
    return isinstance(value, Sealed)


def leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


@given(SCHEMAS)
def test_marks_that_can_be_followed_are_no_faults(schema: dict[str, Any]) -> None:
    # A silenced `unevaluated...` next to its louder sibling protects nothing, and so is one.
    loud = {"additionalProperties", "items", "patternProperties"}
    if not any(loud & keys(schema)):
        assert list(mark_faults(schema, ())) == []


def keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys, value))
    return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()


# Faults


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"not": SECRET}, "not sensitive"),
        ({"not": {"items": {"properties": {"a": SECRET}}}}, "not items properties a sensitive"),
        ({"properties": {"a": {"propertyNames": SECRET}}}, "properties a propertyNames sensitive"),
        ({"contentSchema": {"properties": {"a": SECRET}}}, "contentSchema properties a sensitive"),
        ({"properties": {"a": SECRET, "b": {"not": {"$ref": "#/properties/a"}}}}, "properties b not $ref"),
        (
            {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"items": SECRET}}},
            "not $ref",
        ),
        ({"propertes": {"a": SECRET}}, "propertes a sensitive"),
        ({"additionalItems": SECRET}, "additionalItems sensitive"),
        ({"dependencies": {"a": {"properties": {"b": SECRET}}}}, "dependencies a properties b sensitive"),
        ({"additionalProperties": {}, "unevaluatedProperties": SECRET}, "unevaluatedProperties sensitive"),
        ({"patternProperties": {"": {}}, "additionalProperties": SECRET}, "additionalProperties sensitive"),
        (
            {"properties": {"a": {"$ref": "card.json"}}, "$defs": {"c": {"$id": "card.json", **SECRET}}},
            "properties a $ref",
        ),
        ({"$id": "x:y", "items": {"$ref": "x:y#/$defs/c"}, "$defs": {"c": SECRET}}, "items $ref"),
        ({"items": {"$id": "x:y", **SECRET}}, "items $id"),
        ({"not": {"$ref": "x:y"}, "items": SECRET}, "not $ref"),
        (
            {"items": {"$ref": "#c"}, "$defs": {"a": {"$anchor": "c", **SECRET}, "b": {"$anchor": "c", **SECRET}}},
            "items $ref",
        ),
        ({"sensitive": "yes"}, "sensitive"),
        ({"properties": {"a": {"not": {"sensitive": 1}}}}, "properties a not sensitive"),
        ({"$defs": {"a": {"sensitive": None}}}, "$defs a sensitive"),
    ],
)  # fmt: skip
def test_a_mark_that_protects_nothing_is_located(schema: Any, path: str) -> None:
    assert [" ".join(map(str, found)) for found, _ in mark_faults(schema, ())] == [path]


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}, "items": SECRET},
        {"$defs": {"unused": SECRET}},
        {"items": SECRET, "examples": [{"sensitive": True}], "x-form": {"hidden": True}},
        {"items": {"$ref": "https://json-schema.org/draft/2020-12/schema"}, "properties": {"a": SECRET}},
        {"$id": "x:y", "items": {"$ref": "#/$defs/c"}, "$defs": {"c": SECRET}},
        {"properties": {"a": {"$ref": "#/components/c"}}, "components": {"c": SECRET}},
    ],
)
def test_what_hides_no_field_is_no_fault(schema: Any) -> None:
    assert list(mark_faults(schema, ())) == []


def entangled(size: int) -> dict[str, Any]:
    """A schema in which each further name of a value leads to another combination of its parts."""

    def part(number: int) -> dict[str, Any]:
        targets = [(number + 1) % size, (number * 2 + 1) % size]
        return {
            "properties": {
                name: {"anyOf": [{"$ref": f"#/$defs/{target}"} for target in targets[:many]]}
                for name, many in (("a", 1), ("b", 2))
            }
        }

    parts = {str(number): part(number) for number in range(size)}
    return {**part(0), "$defs": parts, "allOf": [{"properties": {"pin": SECRET}}]}


def test_beyond_the_limits_everything_is_sensitive_and_that_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = entangled(40)
    value = {"pin": 1, "a": {"b": {"b": {"b": {"b": {"b": 1}}}}}, "c": 2}
    assert shown(schema, value)["a"] == value["a"]
    monkeypatch.setattr(schema_shapes, "SHAPES_MAX", 3)
    assert shown(schema, value) != value
    assert shown(schema, value)["c"] == 2
    (fault,) = mark_faults(schema, ("input_schema",))
    assert fault[0] == ("input_schema",)
    monkeypatch.setattr(schema_shapes, "LOOKS_MAX", 0)
    assert shown(schema, value) == "#"


def test_a_long_chain_of_schemas_is_followed_to_its_end() -> None:
    links = {f"d{number}": {"properties": {"n": {"$ref": f"#/$defs/d{number + 1}"}}} for number in range(3_000)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**links, "d3000": SECRET}}
    assert sensitive_fields(schema) is not None
    assert list(mark_faults(schema, ())) == []


# Names


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        ("^card", NamePattern("card", certain=True)),
        ("^card.*", NamePattern("card", certain=True)),
        ("^card$", NamePattern("card", exact=True)),
        (r"^a\.b\-c$", NamePattern("a.b-c", exact=True)),
        ("^card.*$", NamePattern("card")),
        ("^card[0-9]+$", NamePattern("card")),
        ("^cards?$", NamePattern("card")),
        (r"^card\d", NamePattern("card")),
        ("^card|pin", NamePattern("")),
        ("card", NamePattern("")),
        ("", NamePattern("", certain=True)),
        (".*", NamePattern("", certain=True)),
    ],
)
def test_what_is_known_of_a_pattern(pattern: str, known: NamePattern) -> None:
    assert name_pattern(pattern) == known


@given(
    st.text(st.sampled_from("^^ab.*$?+|\\-(){}[]1,"), max_size=7),
    st.lists(st.text(st.sampled_from("ab.-1\n^$"), max_size=4), min_size=1, max_size=8),
)
def test_what_is_known_of_a_pattern_agrees_with_the_engine(pattern: str, names: list[str]) -> None:
    try:
        engine = jsonschema_rs.Draft202012Validator({"pattern": pattern})
    except (jsonschema_rs.ValidationError, ValueError):
        return
    known = name_pattern(pattern)
    for name in [*names, known.prefix, f"{known.prefix}b", f"{known.prefix}\n"]:
        matches = engine.is_valid(name)
        assert known.may_match(name) or not matches
        if known.may_match(name) and (known.certain or known.exact):
            assert matches
