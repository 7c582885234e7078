"""What comes into an execution from outside: whether it fits its schema, and its sensitive fields sealed."""

from __future__ import annotations

from typing import Any

from .plan import TaskBody, ValueSchema
from .refusals import Violation
from .sealing import ErasedError, opened
from .turn import Turn


def admit_event(turn: Turn, name: str, payload: Any) -> tuple[Any, tuple[Violation, ...]]:
    """The payload of an event as it is kept, and where it does not fit: then it may not be taken in."""
    return _admit(turn, turn.plan.events.get(name), payload) if turn.plan.events else (payload, ())


def admit_result(turn: Turn, path: str, result: Any) -> tuple[Any, tuple[Violation, ...]]:
    """The same for the result of a task's step run."""
    body = turn.plan.steps[turn.state.runs[path].step].body
    return _admit(turn, body.result, result) if type(body) is TaskBody else (result, ())


def _admit(turn: Turn, schema: ValueSchema | None, value: Any) -> tuple[Any, tuple[Violation, ...]]:
    if schema is None:
        return value, ()
    plain = value
    if turn.facts.vault is not None:  # a dead letter that is given again may be sealed already
        try:
            plain, _ = opened(value, turn.facts.vault)
        except ErasedError:
            return value, (Violation("", "holds sensitive values that are not there any more", "SCHEMA_MISMATCH"),)
    if misfits := schema.misfits(plain):
        return value, misfits
    return value if schema.seal is None else schema.seal(value, turn.vault), ()
