"""One decision in the making: the state it works on, the events and effects it has made, what is left to look at.

A `Turn` owns its state while it decides: each event is applied as it is made, so that the next question sees it. If
the append that carries the events fails, the actor throws the state away; memory is never ahead of the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from . import events as ev
from .commands import Facts
from .durations import format_timestamp, parse_duration, parse_timestamp
from .effects import Continue, Effect
from .evolve import evolve
from .expressions import MISSING, Expression, ExpressionError, Template
from .failures import EXPRESSION_ERROR, Failure
from .plan import Duration, Plan, Step
from .react import react
from .sealing import ErasedError, Tainted, Unsealing, Vault, hidden_bytes, is_sensitive, opened, sealed_again
from .state import State, StepState, numbers_in
from .values import OPAQUE_KEY, Sealed, Value, encode

Nothing: Mapping[str, Any] = {}

_GROWING = (str, list, dict, Tainted)
"""Types of values that can be large."""


class Limits(msgspec.Struct, frozen=True):
    """The limits of decisions."""

    turn_events_max: int = 256
    """Events of one decision, after which it goes on in another turn."""
    kept_events_max: int = 1_000
    """Events of one execution that wait for a `receive`."""
    value_bytes_max: int = 4_194_304
    """Bytes of one value that an expression or template makes, as JSON."""
    foreach_items_max: int = 100_000
    """Items of one `foreach`."""
    max_deliveries: int = 10
    """Deliveries in a row that may be lost before the step fails with WorkerLost."""
    cancel_grace_us: int = 10_000_000
    """Microseconds for which answers of delivered attempts are awaited when their scope ends."""


class Turn:
    """A decision in the making."""

    __slots__ = ("_typed_input", "agenda", "effects", "events", "facts", "ids", "limits", "plan", "state", "states")

    def __init__(self, state: State, plan: Plan, facts: Facts, limits: Limits) -> None:
        self.state = state
        self.plan = plan
        self.facts = facts
        self.limits = limits
        self.events: list[ev.Event] = []
        self.ids: dict[int, str] = {}
        """Callers' event ids, by place in `events`."""
        self.states: dict[int, str] = {}
        """The execution's `state` where an event changed it, by place in `events`."""
        self.effects: list[Effect] = []
        self.agenda: dict[str, None] = {}
        """Paths of scopes and blocks to look at next; what they need is read from the state."""
        self._typed_input: Any = MISSING

    def emit(self, event: ev.Event, event_id: str = "") -> None:
        """Make an event: note its effects and apply it."""
        state = self.state
        self.effects.extend(react(state, event))
        if event_id:
            self.ids[len(self.events)] = event_id
        status, word = state.status, state.author_state
        evolve(state, event, self.facts.now, event_id)
        if state.author_state != word or (word is None and state.status is not status):
            self.states[len(self.events)] = state.state
        self.events.append(event)

    @property
    def is_full(self) -> bool:
        """Whether the rest has to wait for another turn."""
        return len(self.events) >= self.limits.turn_events_max

    def cut(self) -> None:
        """Leave the rest of the agenda to another turn."""
        self.effects.append(Continue())

    def due_in(self, delay_us: int) -> int:
        """The moment so many microseconds from now, kept within what a timestamp can hold."""
        return self.facts.now + min(delay_us, _FOREVER_US)

    # What expressions see

    def lookup(self, numbers: tuple[int, ...], extra: Mapping[str, Any] = Nothing, step: Step | None = None) -> Lookup:
        """The roots as seen from within the items with these numbers; `extra` shadows them."""

        def look(root: str, name: str) -> Any:
            if root == "steps":
                own = extra.get("steps", Nothing)
                return own[name] if name in own else self.view(self.plan.steps[name].path(numbers))
            if root in extra:
                return extra[root]
            handler = _ROOTS.get(root)
            if handler is not None:
                return handler(self)
            if root == "error":
                return self._handled(numbers, step)
            return self._item(root, numbers, step)

        vault = self.facts.vault
        return look if vault is None else Unsealing(look, vault)

    def view(self, path: str) -> dict[str, Any]:
        """What `steps.<id>` gives: `result` only once it has succeeded, `error` only of a final failure."""
        run = self.state.runs.get(path)
        if run is None:
            return {}
        view: dict[str, Any] = {}
        if run.result is not msgspec.UNSET:
            made = self.plan.typed_results and self.plan.steps[run.step].output is not None
            view["result"] = run.result if made else self.typed_result(run.step, run.result)
        if run.error is not None and run.state not in _ATTEMPTED:
            view["error"] = failure_value(run.error)
        if run.failures is not None:
            view["failures"] = [
                {"index": f.index, "item": f.item, "error": failure_value(f.error)} for f in run.failures
            ]
        return view

    def typed_result(self, step_id: str, result: Any) -> Any:
        """What a step was given as its result, as expressions see it (numbers as the schema says)."""
        typed = self.plan.typed_results.get(step_id) if self.plan.typed_results else None
        return result if typed is None else typed(result)

    def _handled(self, numbers: tuple[int, ...], step: Step | None) -> Any:
        """The failure that the innermost `on_error` around a step is for."""
        while step is not None and (owner := step.block.owner) is not None:
            if any(entry.block is step.block for entry in owner.handlers):
                failure = self.state.runs[owner.path(numbers)].error
                return MISSING if failure is None else failure_value(failure)
            step = owner
        return MISSING

    def _item(self, root: str, numbers: tuple[int, ...], step: Step | None) -> Any:
        if step is None or not numbers:
            return MISSING
        if root == "index":
            return numbers[-1]
        depth = step.item_names.get(root)
        if depth is None:
            return MISSING
        scope = step.path(numbers).split("[", depth + 1)[: depth + 1]
        items = self.state.runs["[".join(scope)].items
        return items[numbers[depth]] if items is not None else MISSING

    @property
    def typed_input(self) -> Any:
        """The input as expressions see it (numbers as the schema says)."""
        if self.plan.typed_input is None:
            return self.state.input
        if self._typed_input is MISSING:
            self._typed_input = self.plan.typed_input(self.state.input)
        return self._typed_input

    def see(self, expression: Expression | Template, step: Step, path: str, extra: Mapping[str, Any] = Nothing) -> Any:
        """Evaluate for a step run; raises ExpressionError."""
        return self.bounded(expression.evaluate(self.lookup(numbers_in(path), extra, step)), expression)

    def bounded(self, value: Any, expression: Expression | Template) -> Any:
        """The value, if it is not too large to be kept; values can grow by feeding on themselves."""
        limit, vault = self.limits.value_bytes_max, self.facts.vault
        if type(value) in _GROWING:
            size = len(encode(value))
            if vault is not None and size <= limit:
                size += hidden_bytes(value, vault)
            if size > limit:
                source = expression.source if isinstance(expression, Expression) else ""
                raise ExpressionError(f"gives more than value_bytes_max, {limit} bytes", source)
        return value if vault is None else sealed_again(value, vault)

    @property
    def vault(self) -> Vault:
        """The sensitive values; whoever decides for a definition that knows such hands them in."""
        assert self.facts.vault is not None
        return self.facts.vault

    def apart(self, value: Any) -> Any:
        """What a list that is sensitive as a whole gives: its items, each sensitive by itself. Raises
        ExpressionError."""
        if type(value) is not Sealed:
            return value
        plain, _ = self.clear(value)
        if type(plain) is not list:
            return plain
        items = cast(list[Value], plain)
        # One that is too long is refused, and not sealed in vain.
        return [self.vault.seal(item) for item in items] if len(items) <= self.limits.foreach_items_max else items

    def clear(self, value: Any) -> tuple[Any, bool]:
        """A value in the clear, and whether there is anything sensitive in it; raises ExpressionError."""
        if self.facts.vault is None:
            return value, False
        try:
            return opened(value, self.facts.vault)
        except ErasedError:
            raise ExpressionError("needs a sensitive value that is not there any more", "") from None

    def duration(self, duration: Duration | None, step: Step, path: str) -> int | None:
        """Microseconds of a duration that may be an expression; raises ExpressionError."""
        if duration is None or isinstance(duration, int):
            return duration
        return as_duration(self.see(duration, step, path), duration.source)


Lookup = Callable[[str, str], Any]

_ATTEMPTED = frozenset({StepState.SCHEDULED, StepState.RETRYING})
"""States in which a failure is that of an attempt, not yet the step's."""

_FOREVER_US = 100 * 365 * 24 * 3600 * 1_000_000

_ROOTS: Mapping[str, Callable[[Turn], Any]] = {
    "input": lambda turn: turn.typed_input,
    "vars": lambda turn: turn.state.variables,
    "now": lambda turn: turn.facts.now,
    "execution": lambda turn: {
        "id": turn.state.execution_id,
        "started_at": format_timestamp(turn.state.begun_at),
        "definition": turn.state.definition_id,
        "version": turn.state.version,
    },
}


def as_duration(value: Any, source: str) -> int:
    """Microseconds of a duration text that an expression gave."""
    check_clear(value, source)
    try:
        if isinstance(value, str):
            return parse_duration(value)
    except ValueError as error:
        raise ExpressionError(str(error), source) from error
    raise ExpressionError(f"gives {type(value).__name__}, where a duration is wanted", source)


def as_moment(value: Any, source: str) -> int:
    """Microseconds since the epoch of a timestamp text that an expression gave."""
    check_clear(value, source)
    try:
        if isinstance(value, str):
            return parse_timestamp(value)
    except ValueError as error:
        raise ExpressionError(str(error), source) from error
    raise ExpressionError(f"gives {type(value).__name__}, where a time is wanted", source)


def as_text(value: Any, source: str) -> str:
    """A value as text: strings as they are, anything else as JSON; raises ExpressionError for what is not JSON."""
    if isinstance(value, str):
        return value
    check_clear(value, source)
    data = encode(value).decode()
    if OPAQUE_KEY in data:
        raise ExpressionError("a payload that is not JSON cannot become a text", source)
    return data


def check_clear(value: Any, source: str) -> None:
    """Raises ExpressionError for a sensitive value where all can see it."""
    if is_sensitive(value):
        raise ExpressionError(f"`{source}` is sensitive, and would be stored in the clear here", source)


def failure_value(failure: Failure) -> dict[str, Any]:
    """A failure as expressions see it."""
    value: dict[str, Any] = {
        "type": failure.type,
        "message": failure.message,
        "details": failure.details,
        "retryable": failure.retryable,
    }
    if failure.cause is not None:
        value["cause"] = failure_value(failure.cause)
    return value


def expression_failure(error: ExpressionError) -> Failure:
    """An expression error as the failure of the step that needed it."""
    return Failure(EXPRESSION_ERROR, str(error), retryable=False)
