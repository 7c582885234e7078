"""What a lifecycle change does, against the version that is published now: for people, before and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeGuard

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
    return {step.id: _spelling(_bare(step) if _holds_steps(step) else step) for step in _within(definition)}


def _holds_steps(step: Step) -> bool:
    return any(inner is not step for inner in _within(step))


def _spelling(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _within(part: Any) -> Iterator[Step]:
    """All steps in a part of a definition, each before those within it."""
    if isinstance(part, Step):
        yield part
    for value in _parts(part):
        if isinstance(value, msgspec.Struct | tuple):
            yield from _within(value)


def _is_list(part: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(part, tuple)


def _parts(part: Any) -> Iterable[Any]:
    if isinstance(part, msgspec.Struct):
        return (getattr(part, name) for name in part.__struct_fields__)
    return part if _is_list(part) else ()


def _bare(part: Any) -> Any:
    """A part of a definition as plain values, with the ids of inner steps in their place."""
    if isinstance(part, msgspec.Struct):
        values = (getattr(part, name) for name in part.__struct_fields__)
        return [value.id if isinstance(value, Step) else _bare(value) for value in values]
    if _is_list(part):
        return [entry.id if isinstance(entry, Step) else _bare(entry) for entry in part]
    return part
