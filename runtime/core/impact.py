"""What a lifecycle change does, against the version that is published now: for people, before and after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeGuard, get_args, get_type_hints

import msgspec

from .definition import Definition, Step


class Impact(msgspec.Struct, frozen=True):
    """What a change does against the published version."""

    version: int = 0
    """The version that is published afterwards; 0: none."""
    previous_version: int = 0
    """0: none was published."""
    steps_added: tuple[str, ...] = ()
    steps_removed: tuple[str, ...] = ()
    steps_changed: tuple[str, ...] = ()
    """A scope counts as changed where it got, lost or reordered steps of its own."""
    triggers_added: tuple[str, ...] = ()
    triggers_removed: tuple[str, ...] = ()
    triggers_changed: tuple[str, ...] = ()
    running_executions: int = 0
    """Executions of the definition that have not ended; where one version is deleted, those of that version."""


def impact_of_publish(
    version: int, previous: int, definition: Definition, published: Definition | None, running: int = 0
) -> Impact:
    """What publishing this definition as this version does; `published` is what is published now."""
    old = published or Definition()
    steps = _compared(_steps(old), _steps(definition))
    triggers = _compared(_triggers(old), _triggers(definition))
    return Impact(version, previous, *steps, *triggers, running)


def impact_of_end(previous: int, published: Definition | None, running: int = 0) -> Impact:
    """What it does that no version is published any more."""
    triggers = tuple(_triggers(published)) if published is not None else ()
    return Impact(previous_version=previous, triggers_removed=triggers, running_executions=running)


_Names: TypeAlias = tuple[str, ...]


def _compared(old: dict[str, bytes], new: dict[str, bytes]) -> tuple[_Names, _Names, _Names]:
    """Names added, removed, changed."""
    return (
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and new[name] != old[name]),
    )


def _triggers(definition: Definition) -> dict[str, bytes]:
    return {trigger.id: _spelling(trigger) for trigger in definition.triggers}


def _steps(definition: Definition) -> dict[str, bytes]:
    """Every step by id, spelled without the steps within it."""
    found: dict[str, bytes] = {}
    for step in _within(definition.steps):
        # Most steps hold nothing in which others could stand, and are spelled as they are.
        holds = any(_parts(step)) and any(True for value in _parts(step) for _ in _within(value))
        found[step.id] = _spelling(_bare(step) if holds else step)
    return found


def _spelling(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _within(part: Any) -> Iterator[Step]:
    """All steps in a part of a definition, each before those within it."""
    if isinstance(part, Step):
        yield part
    for value in _parts(part):
        if value:
            yield from _within(value)


def _is_list(part: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(part, tuple)


def _parts(part: Any) -> Iterable[Any]:
    """What is in a part, as far as there may be steps in it."""
    if isinstance(part, msgspec.Struct):
        return (getattr(part, name) for name in _holders(type(part)))
    return part if _is_list(part) else ()


@functools.cache
def _holders(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a kind of part in which steps may stand: most have none, and are never looked into."""
    return tuple(name for name, hint in get_type_hints(kind).items() if _leads_to_steps(hint))


def _leads_to_steps(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        return issubclass(hint, Step) or bool(_holders(hint))
    return any(map(_leads_to_steps, get_args(hint)))


def _bare(part: Any) -> Any:
    """A part of a definition as plain values, with the ids of inner steps in their place."""
    if isinstance(part, msgspec.Struct):
        values = (getattr(part, name) for name in part.__struct_fields__)
        return [value.id if isinstance(value, Step) else _bare(value) for value in values]
    if _is_list(part):
        return [entry.id if isinstance(entry, Step) else _bare(entry) for entry in part]
    return part
