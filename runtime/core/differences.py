"""What differs between two JSON values: one change for each place, by JSON Pointer (RFC 6901).

Applied in order to the first value, the changes give the second. Objects are compared member by member and lists
item by item; a list that has become shorter loses its last items, the last one first. The stored form of a sensitive
value is one value: what is in it is nothing to look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard, cast

import msgspec
from msgspec import UNSET

from .values import SEALED_KEY, encode


class Change(msgspec.Struct, frozen=True):
    """One place at which two values differ."""

    pointer: str
    """Empty: the whole value."""
    before: Any = UNSET
    """UNSET: there was nothing."""
    after: Any = UNSET
    """UNSET: there is nothing any more."""


def differences(before: Any, after: Any, pointer: str = "") -> Iterator[Change]:
    """The changes that lead from one JSON value to another, in order of place."""
    if before == after and encode(before) == encode(after):
        return  # quick, for most of a large value is equal; `==` alone does not tell 1 from 1.0
    if _is_object(before) and _is_object(after):
        yield from _members(before, after, pointer)
    elif _is_list(before) and _is_list(after):
        yield from _items(before, after, pointer)
    else:
        yield Change(pointer, before, after)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return type(value) is dict and SEALED_KEY not in cast("dict[str, Any]", value)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return type(value) is list


def _members(before: dict[str, Any], after: dict[str, Any], pointer: str) -> Iterator[Change]:
    for name, value in before.items():
        place = f"{pointer}/{_escaped(name)}"
        if name not in after:
            yield Change(place, before=value)
        else:
            yield from differences(value, after[name], place)
    for name, value in after.items():
        if name not in before:
            yield Change(f"{pointer}/{_escaped(name)}", after=value)


def _items(before: list[Any], after: list[Any], pointer: str) -> Iterator[Change]:
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        yield from differences(one, other, f"{pointer}/{number}")
    for number in range(len(before), len(after)):
        yield Change(f"{pointer}/{number}", after=after[number])
    for number in range(len(before) - 1, len(after) - 1, -1):
        yield Change(f"{pointer}/{number}", before=before[number])


def sealed_places(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Where sensitive values stand in a JSON value, in order of place, with their commitments."""
    if _is_object(value):
        for name, member in value.items():
            yield from sealed_places(member, f"{pointer}/{_escaped(name)}")
    elif _is_list(value):
        for number, item in enumerate(value):
            yield from sealed_places(item, f"{pointer}/{number}")
    elif type(value) is dict:
        yield pointer, cast("dict[str, str]", value)["commitment"]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
