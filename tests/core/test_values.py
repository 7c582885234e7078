"""The edge of the engine: what is a value, what is refused, and that storage keeps it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.values import (
    JSON_DEPTH_MAX,
    Opaque,
    ValueRefused,
    canonical,
    check_value,
    decode,
    encode,
    format_path,
    parse_json,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text", ["2.0", "2", "-0.0", "1e308", "9223372036854775807", "-9223372036854775808", '""', "null", "5e-324"]
)
def test_what_is_in_range_stays_as_it_is(text: str) -> None:
    found, expected = parse_json(text), json.loads(text)
    assert (type(found), repr(found)) == (type(expected), repr(expected))
    assert repr(decode(encode(found))) == repr(found)


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        ('{"a": {"b": [1, 9223372036854775808]}}', "int64", "a.b[1]"),
        ("-9223372036854775809", "int64", ""),
        ("1" * 6000, "int64", ""),
        ('{"a":1,"a":2}', 'the key "a" stands here twice', ""),
        ('[{"x": {"a" : 1, "b": 2, "\\u0061" : 2}}]', 'the key "a" stands here twice', "[0].x"),
        ('"\\ud800"', "lone surrogate", ""),
        ('{"\\udc00": 1}', "lone surrogate", '["\\udc00"]'),
        ('"\ud800"', "lone surrogate", "character 2"),
        (b'"\xff"', "invalid UTF-8", "byte 2"),
        (b'"\xed\xa0\x80"', "invalid UTF-8", "byte 2"),
        ("[1, NaN]", "NaN is not JSON", ""),
        ("-Infinity", "-Infinity is not JSON", ""),
        ('{"a": 1e999}', "too large", "a"),
        ("[" * 129 + "]" * 129, "json_depth_max", "[0][0][0][0][0][0][0][0]..."),
        ("[" * 100_000, "json_depth_max", ""),
        ('{"a": {"$callboard.opaque": 1}}', "reserved", "a"),
        ('{"$callboard\\u002eopaque": 1}', "reserved", ""),
        ("", "not JSON", "line 1 column 1"),
        ('{"a": 1,\n "b" 2}', "not JSON", "line 2 column 6"),
        ("\ufeff1", "not JSON", "line 1 column 1"),
        ("[1] 2", "not JSON", "line 1 column 5"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_place(text: str | bytes, reason: str, where: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        parse_json(text)
    assert reason in refused.value.reason
    assert refused.value.where == where


def test_the_deepest_allowed_value_passes_everywhere() -> None:
    deep = "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX
    value = parse_json(deep)
    assert canonical(decode(encode(check_value(value)))).decode() == deep


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_the_fast_reader_agrees_with_the_standard_one(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert repr(parse_json(text)) == repr(json.loads(text)) == repr(parse_json(text.encode()))


@given(st.lists(st.tuples(st.text(':"a\\', max_size=3), st.text(':"a', max_size=3)), max_size=4))
def test_no_duplicate_key_ever_slips_through(pairs: list[tuple[str, str]]) -> None:
    text = "{" + ", ".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    if len(dict(pairs)) == len(pairs):
        assert parse_json(text) == dict(pairs)
    else:
        with pytest.raises(ValueRefused):
            parse_json(text)


@given(json_values)
def test_storage_keeps_every_value(value: Any) -> None:
    assert repr(decode(encode(value))) == repr(value)
    assert repr(check_value(value)) == repr(value)


def test_an_opaque_payload_is_stored_inside_of_json() -> None:
    value: Any = {"files": [Opaque("image/png", b"\x00\xff")], "n": 1}
    assert b'"$callboard.opaque"' in encode(value)
    assert decode(encode(value)) == value


def test_text_that_mentions_the_reserved_key_stays_text() -> None:
    value: Any = ["$callboard.opaque"]
    assert decode(encode(value)) == value == parse_json('["$callboard.opaque"]')


def test_the_canonical_form_sorts_keys_and_keeps_kinds_of_numbers() -> None:
    assert canonical({"b": 2.0, "a": {"d": 2, "c": -0.0}}) == b'{"a":{"c":-0.0,"d":2},"b":2.0}'


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {2}]}, "a[1]"),
        ({1: 2}, ""),
        ({"a": math.nan}, "a"),
        ([2**63], "[0]"),
        ("\ud800", ""),
        ({"$callboard.opaque": 1}, ""),
        (b"x", ""),
    ],
)
def test_python_objects_follow_the_same_rules(value: object, where: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        check_value(value)
    assert refused.value.where == where


def test_a_cycle_is_refused_as_too_deep() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueRefused, match="json_depth_max"):
        check_value(cycle)


def test_a_checked_value_is_a_copy_with_lists_for_tuples() -> None:
    given_value: Any = {"a": (1, [True])}
    checked = check_value(given_value)
    given_value["a"][1].append(2)
    assert checked == {"a": [1, [True]]}


def test_a_path_is_written_as_people_write_it() -> None:
    assert format_path(("lines", 3, "sku", "a b")) == 'lines[3].sku["a b"]'
