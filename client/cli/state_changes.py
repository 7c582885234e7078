"""What differs between two states, and how that is shown."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from ..history_models import StateChange
from .output import compact

_SHOWN_CHARACTERS_MAX = 80
_REDACTED = "[redacted]"


def changes(before: Any, after: Any, pointer: str = "") -> Iterator[StateChange]:
    """The places at which two JSON values differ, by JSON Pointer."""
    if _is_object(before) and _is_object(after):
        yield from _members(before, after, pointer)
    elif _is_list(before) and _is_list(after):
        yield from _members(_numbered(before), _numbered(after), pointer)
    elif before != after or type(before) is not type(after):
        yield StateChange(pointer, before, after)


def hidden_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[StateChange]:
    """The places at which there is a sensitive value before and after, and another one."""
    for pointer, mark in after.items():
        if before.get(pointer, mark) != mark:
            yield StateChange(pointer, _REDACTED, _REDACTED)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return type(value) is dict


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return type(value) is list


def _members(before: dict[str, Any], after: dict[str, Any], pointer: str) -> Iterator[StateChange]:
    for name in {**before, **after}:
        place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in after:
            yield StateChange(place, before=before[name], removed=True)
        elif name not in before:
            yield StateChange(place, after=after[name], added=True)
        else:
            yield from changes(before[name], after[name], place)


def _numbered(items: list[Any]) -> dict[str, Any]:
    return {str(number): item for number, item in enumerate(items)}


def change_line(change: StateChange) -> str:
    """One change in one line: its sign, its place, what was there and what is."""
    before, after = compact(change.before, _SHOWN_CHARACTERS_MAX), compact(change.after, _SHOWN_CHARACTERS_MAX)
    if change.added:
        return f"+ {change.pointer}  {after}"
    if change.removed:
        return f"- {change.pointer}  {before}"
    return f"~ {change.pointer}  {before} -> {after}"
