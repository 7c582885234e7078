"""Differences by JSON Pointer: exact, and complete: applied, they give the second value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from callboard.runtime.core.differences import Change, differences, sealed_places
from callboard.runtime.core.values import REDACTED, SEALED_KEY, encode

KEYS = st.sampled_from(["a", "b", "", "a/b", "~1", "m~n"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5, "", "x"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


def applied(value: Any, changes: list[Change]) -> Any:
    """The value after the changes."""
    root = {"": value}
    for change in changes:
        *path, last = ["", *(part.replace("~1", "/").replace("~0", "~") for part in change.pointer.split("/")[1:])]
        place: Any = root
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            assert (int(last) < len(place)) == (change.before is not UNSET)
            place[int(last) : int(last) + 1] = [] if change.after is UNSET else [change.after]
        elif change.after is UNSET:
            del place[last]
        else:
            assert (last in place) == (change.before is not UNSET)
            place[last] = change.after
    return root[""]


@given(VALUES, VALUES)
def test_the_changes_lead_from_one_value_to_the_other(before: Any, after: Any) -> None:
    changes = list(differences(before, after))
    changed = applied(_copy(before), changes)
    assert list(differences(changed, after)) == []
    assert bool(changes) == (_sorted(before) != _sorted(after))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _sorted(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"{%s}" % b",".join(encode(name) + _sorted(value[name]) for name in sorted(value))
    return b"[%s]" % b",".join(map(_sorted, value)) if isinstance(value, list) else encode(value)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 2}, [Change("/a", 1, 2)]),
        ({"a": 1}, {"a": 1.0}, [Change("/a", 1, 1.0)]),
        ({"a": 1}, {"a": True}, [Change("/a", 1, True)]),
        ({}, {"a/b": {"m~n": None}}, [Change("/a~1b", UNSET, {"m~n": None})]),
        ({"x": {"a/b": {"m~n": 1}}}, {"x": {"a/b": {"m~n": 2}}}, [Change("/x/a~1b/m~0n", 1, 2)]),
        ([1, 2, 3], [1], [Change("/2", 3, UNSET), Change("/1", 2, UNSET)]),
        ([1], {"a": 1}, [Change("", [1], {"a": 1})]),
        (None, 0, [Change("", None, 0)]),
    ],
)
def test_each_place_is_named_once(before: Any, after: Any, changes: list[Change]) -> None:
    assert list(differences(before, after)) == changes


def sealed(commitment: str) -> dict[str, Any]:
    return {SEALED_KEY: REDACTED, "commitment": commitment}


def test_a_sensitive_value_is_one_value_that_has_changed_or_not() -> None:
    one, other = sealed("one"), sealed("other")
    assert list(differences({"a": [one]}, {"a": [other]})) == [Change("/a/0", one, other)]
    assert list(differences({"a": [one]}, {"a": [sealed("one")]})) == []
    assert list(differences({"a": one}, {"a": {"commitment": "one"}})) == [Change("/a", one, {"commitment": "one"})]
    assert list(differences({"a": 1}, {"a": 1, "b": one})) == [Change("/b", UNSET, one)]


def test_places_of_sensitive_values_are_found_in_order() -> None:
    value = {"a/b": [1, sealed("one"), {"m~n": sealed("two")}], "c": {"commitment": "none"}, "d": sealed("three")}
    assert list(sealed_places(value)) == [("/a~1b/1", "one"), ("/a~1b/2/m~0n", "two"), ("/d", "three")]
    assert list(sealed_places(sealed("whole"))) == [("", "whole")]
