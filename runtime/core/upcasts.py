"""Older shapes of events, read as the current ones. What is stored is never rewritten.

An event's first shape is stored under its plain name, its n-th as `<Name>.<n>`. When a shape changes so that stored
fields would be misread, a function is added here that turns the fields of the last shape into those of the new one;
from then on new events are stored under the next number. The hash chain covers what is stored, so it holds across
upcasts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from .values import decode, encode

Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""The stored fields of one shape -> those of the next; JSON values, pure, and never fails on what was once valid."""

UPCASTS: dict[str, tuple[Upcast, ...]] = {}
"""By event name: from its first shape to its second, from its second to its third, and so on."""


def stored_name(name: str) -> str:
    """The name under which new events of this kind are stored."""
    steps = UPCASTS.get(name)
    return f"{name}.{len(steps) + 1}" if steps else name


def plain_name(stored: str) -> str:
    """The event's name without the number of its shape."""
    return stored.partition(".")[0]


def is_current(stored: str) -> bool:
    """Whether an event of this stored name needs no upcast."""
    return stored == stored_name(plain_name(stored))


def upcast(stored: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Stored fields in the event's current shape. Raises ValueError for a shape that this version does not know."""
    name, _, number = stored.partition(".")
    steps = UPCASTS.get(name, ())
    shape = int(number) if number else 1
    if not 1 <= shape <= len(steps) + 1:
        raise ValueError(f"this version knows no {stored}")
    for step in steps[shape - 1 :]:
        fields = step(fields)
    return fields


def shown(stored: str, payload: bytes) -> tuple[str, bytes]:
    """An event's name and payload as people see them: without the number, in the current shape."""
    if stored not in UPCASTS and "." not in stored:
        return stored, payload
    if is_current(stored):
        return plain_name(stored), payload
    return plain_name(stored), encode(upcast(stored, cast("dict[str, Any]", decode(payload))))
