"""What of the language this version executes, and the rules for names: data, in one place.

A definition may say everything definition.py knows. What is listed here as not executed yet is refused by name at
publish, never ignored; the issue that brings a feature deletes its line.
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from . import definition as lang
from .nodes import Path
from .plan import StepKind

NOT_EXECUTED: Final[Mapping[type[msgspec.Struct], frozenset[str]]] = {
    lang.Definition: frozenset({"factory"}),
    lang.Step: frozenset(
        {
            "scope_retry",
            "poll",
            "compensate",
            "version",
            "renamed_from",
            "labels",
            "after",
            "graph",
            "loop",
            "subflow",
        }
    ),
    lang.TaskStep: frozenset({"mutates", "resource_type", "cache"}),
    lang.ParallelStep: frozenset({"join_count", "losers"}),
    lang.Timeouts: frozenset({"heartbeat"}),
    lang.Retry: frozenset({"max_deliveries"}),
}
"""Fields that are refused where they are set."""

VALUES_NOT_EXECUTED: Final[Mapping[tuple[type[msgspec.Struct], str], frozenset[str]]] = {
    (lang.ParallelStep, "join"): frozenset({lang.Join.ANY, lang.Join.COUNT}),
}
"""Values of fields that are refused."""

ROOTS_NOT_BOUND: Final[Mapping[str, str]] = {
    "trigger": "it is bound in `input` and `unique_key` of triggers only; let the trigger put it into the input",
    "attempt": "it belongs to `scope_retry`, which is not executed yet by this version of the server",
    "args": "it belongs to `compensate`, which is not executed yet by this version of the server",
    "outcome": "it belongs to `compensate`, which is not executed yet by this version of the server",
    "original_key": "it belongs to `compensate`, which is not executed yet by this version of the server",
    "event": "it is bound in filters and triggers only; a received event is `steps.<id>.result.payload`",
    "error": "it is bound in the steps of `on_error` only",
    "result": "it is bound in `output` and `collect` only; an earlier step's is `steps.<id>.result`",
    "item": "it is bound in the steps of a `foreach` without `as` only",
    "index": "it is bound in the steps of a `foreach` only",
}
"""Why a root that exists somewhere is not there at some place."""

_IN_TRIGGERS: Final = "no execution runs yet where a trigger is judged"

ROOTS_NOT_BOUND_IN_TRIGGERS: Final[Mapping[str, str]] = {
    **ROOTS_NOT_BOUND,
    "trigger": "it is bound in a trigger's `input` and `unique_key`; its filter and execution id see `event` alone",
    "input": "a trigger makes the input; what came in is `event`",
    "steps": _IN_TRIGGERS,
    "vars": _IN_TRIGGERS,
    "execution": _IN_TRIGGERS,
    "now": "when a trigger is judged must not matter; a schedule's own time is `trigger.slot`",
    "event": "a schedule fires without an event; its own time is `trigger.slot`",
}
"""The same, within triggers."""

ROOTS: Final = frozenset({"input", "steps", "vars", "execution", "now"})
"""Roots that are bound in every step."""

ALL_ROOTS: Final = ROOTS | frozenset(ROOTS_NOT_BOUND)

EXECUTION_FIELDS: Final = frozenset({"id", "started_at", "definition", "version"})

STEP_FIELDS: Final = frozenset({"result", "error", "failures"})

KINDS: Final = (
    *("task", "sequence", "parallel", "graph", "switch", "foreach", "loop", "wait", "receive", "emit", "subflow"),
    *("set", "fail", "finish"),
)
"""All step kinds of the language."""

EXECUTED_KINDS: Final = frozenset(kind.value for kind in StepKind)

DEFINITION_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
STEP_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
ITEM_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
SERVICE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
OPERATION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
TRIGGER_ID: Final = STEP_ID
"""Without a dash, so that `<definition>-<trigger>-<slot>` can only be read in one way."""
EVENT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
EXECUTION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")

RESERVED_STEP_IDS: Final = frozenset({"on_error"})
"""Parts of paths that are not steps."""

CEL_WORDS: Final = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
    )
)

STATE_CHARACTERS_MAX: Final = 255
KEY_CHARACTERS_MAX: Final = 255
"""Of unique keys."""
PRIORITY_MAX: Final = 1_000


def kinds_of(step: lang.Step) -> list[str]:
    """The kinds a step says it is; exactly one is right."""
    return [kind for kind in KINDS if getattr(step, kind) is not None]


def not_executed(part: msgspec.Struct, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Everything set in a part of a definition that this version does not execute: its path and what it is."""
    refused = NOT_EXECUTED.get(type(part), frozenset())
    for name, key in _watched(type(part)):
        value = getattr(part, name)
        if value is None or (value in ("", (), {}) and name not in KINDS):
            continue
        here = (*path, key)
        if name in refused:
            yield here, f"{_owner(part)}`{key}`"
        elif value in VALUES_NOT_EXECUTED.get((type(part), name), ()):
            yield here, f"{_owner(part)}`{key}: {value}`"
        if name not in refused or hasattr(value, "steps"):
            yield from _inside(value, here)


@functools.cache
def _watched(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """The fields that may be refused or have something refused in them, each with its key."""
    hints = typing.get_type_hints(kind)
    refused = NOT_EXECUTED.get(kind, frozenset())
    return tuple(
        (name, key)
        for name, key in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        if name in refused or (kind, name) in VALUES_NOT_EXECUTED or _holds_parts(hints[name])
    )


def _holds_parts(hint: Any) -> bool:
    """Whether values of an annotation are, or have in them, parts of the language."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return True
    return any(map(_holds_parts, typing.get_args(hint)))


def _inside(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    entries = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    for number, entry in enumerate(entries):
        yield from _inside(entry, (*path, number))
    if isinstance(value, msgspec.Struct):
        yield from not_executed(value, path)


def _owner(part: msgspec.Struct) -> str:
    """In words, whose field it is."""
    match part:
        case lang.TaskStep():
            return "`task` with "
        case lang.ParallelStep():
            return "`parallel` with "
        case lang.ReceiveStep():
            return "`receive` with "
        case _:
            return ""
