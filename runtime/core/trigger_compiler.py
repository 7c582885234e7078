"""The triggers of a definition -> TriggerPlan, with everything that is wrong with them, located, at once.

Whether a cron text and a time zone mean something is not looked at here: the calendar is the shell's part (slots.py).
"""

from __future__ import annotations

from typing import Final

from . import definition as lang
from .binding import Apart, Binder
from .durations import SECOND_US, TimeTextError, parse_duration, parse_timestamp
from .expressions import Expression, ExpressionError, Names
from .language import ROOTS_NOT_BOUND_IN_TRIGGERS, TRIGGER_ID
from .nodes import DefinitionLimits, Path, Problems
from .plan import EventSource, ScheduleSource, TriggerPlan
from .survey import check_event_name
from .triggers import identity
from .values import encode

TRIGGER_CLASH = "TRIGGER_CLASH"

_NO_SLOT: Final = "an event trigger has no slot; only a schedule's trigger has"

_JUDGED: Final = Apart(Names(frozenset({"event"})), ROOTS_NOT_BOUND_IN_TRIGGERS)
"""The filter and the execution id of an event trigger."""

_BY_EVENT: Final = Apart(
    Names(frozenset({"event", "trigger"})),
    ROOTS_NOT_BOUND_IN_TRIGGERS,
    {("trigger", "slot"): _NO_SLOT, ("trigger", "slot_local"): _NO_SLOT},
)
_BY_SCHEDULE: Final = Apart(Names(frozenset({"trigger"})), ROOTS_NOT_BOUND_IN_TRIGGERS)
_BY_NOBODY: Final = Apart(Names(frozenset({"event", "trigger"})), ROOTS_NOT_BOUND_IN_TRIGGERS)
"""Of a trigger that does not say what fires it: blamed for that alone."""


def check_triggers(triggers: tuple[lang.Trigger, ...], limits: DefinitionLimits, problems: Problems) -> None:
    """What is wrong with them beside their expressions, durations and names of events."""
    if len(triggers) > limits.definition_triggers_max:
        message = f"{len(triggers)} triggers are more than definition_triggers_max = {limits.definition_triggers_max}"
        problems.add(("triggers",), message, "LIMIT")
    first: dict[str, Path] = {}
    for number, trigger in enumerate(triggers):
        path: Path = ("triggers", number)
        _check_id(trigger.id, (*path, "id"), first, problems)
        if (trigger.event is None) == (trigger.schedule is None):
            problems.add(path, "a trigger has exactly one of `event` and `schedule`", "CONFLICT")


def compile_triggers(triggers: tuple[lang.Trigger, ...], bind: Binder, problems: Problems) -> tuple[TriggerPlan, ...]:
    """The plans of all triggers; worth something only if no problem was noted."""
    compiler = _Compiler(bind, problems)
    plans = tuple(compiler.trigger(said, ("triggers", number)) for number, said in enumerate(triggers))
    _check_clashes(plans, problems)
    return plans


def _check_id(trigger_id: str, path: Path, first: dict[str, Path], problems: Problems) -> None:
    if not trigger_id:
        problems.add(path, "a trigger needs an id", "REQUIRED")
    elif not TRIGGER_ID.fullmatch(trigger_id):
        problems.add(path, f"the trigger id {trigger_id!r} does not fit {TRIGGER_ID.pattern}", "INVALID_ID")
    elif trigger_id in first:
        where = problems.where(first[trigger_id])
        problems.add(path, f"the trigger id {trigger_id!r} is used twice; first at {where}", "DUPLICATE_ID")
    first.setdefault(trigger_id, path)


def _check_clashes(plans: tuple[TriggerPlan, ...], problems: Problems) -> None:
    """Two triggers that would give everything they both hear the same execution id."""
    first: dict[tuple[str, str], int] = {}
    for number, plan in enumerate(plans):
        named = identity(plan)
        if not named or not isinstance(plan.source, EventSource):
            continue
        other = first.setdefault((plan.source.name, named), number)
        if other == number:
            continue
        where = problems.where(("triggers", other, "event", "execution_id"))
        message = (
            f"the triggers {plans[other].id!r} and {plan.id!r} both listen to {plan.source.name!r} and give the same "
            f"execution id, so one of them would never start anything; the other is at {where}"
        )
        problems.add(("triggers", number, "event", "execution_id"), message, TRIGGER_CLASH)


def _nothing(root: str, step: str) -> object:
    raise AssertionError(f"an expression without references asks for {root} {step}")


class _Compiler:
    """One method a part."""

    def __init__(self, bind: Binder, problems: Problems) -> None:
        self._bind = bind
        self._problems = problems

    def trigger(self, said: lang.Trigger, path: Path) -> TriggerPlan:
        """A whole trigger."""
        source: EventSource | ScheduleSource = EventSource("")
        place = _BY_NOBODY
        if said.event is not None:
            source, place = self._event(said.event, (*path, "event")), _BY_EVENT
        if said.schedule is not None:
            source = self._schedule(said.schedule, (*path, "schedule"))
            place = _BY_SCHEDULE if said.event is None else _BY_NOBODY
        given = said.input
        return TriggerPlan(
            id=said.id,
            source=source,
            input=None if given is None else self._bind.template_apart(given, (*path, "input"), place, "input"),
            unique_key=self._bind.expression_apart(said.unique_key, (*path, "unique_key"), place),
        )

    def _event(self, said: lang.EventTrigger, path: Path) -> EventSource:
        check_event_name(said.name, (*path, "name"), self._problems, "an event trigger needs the event's `name`")
        condition = self._bind.expression_apart(said.filter, (*path, "filter"), _JUDGED)
        self._check_constant(condition, bool, "must be true or false", (*path, "filter"))
        execution_id = self._bind.expression_apart(said.execution_id, (*path, "execution_id"), _JUDGED)
        self._check_constant(execution_id, str, "must be a string", (*path, "execution_id"))
        return EventSource(name=said.name, filter=condition, execution_id=execution_id)

    def _check_constant(self, expression: Expression | None, wanted: type, rule: str, path: Path) -> None:
        """An expression that looks at nothing is the same for every event: what it gives is known now."""
        if expression is None or expression.references or expression.source == "null":
            return  # an expression that does not compile, and has been blamed for it, is null
        try:
            value = expression.evaluate(_nothing)
        except ExpressionError as error:
            self._problems.add(path, error.message, "INVALID_EXPRESSION")
            return
        if not isinstance(value, wanted):
            self._problems.add(path, f"{rule}, and is always {encode(value).decode()}", "WRONG_TYPE")

    def _schedule(self, said: lang.ScheduleTrigger, path: Path) -> ScheduleSource:
        self._check_times(said, path)
        jitter = self._duration(said.jitter, (*path, "jitter")) or 0
        every = self._every(said.every, (*path, "every"))
        if every and jitter > every:
            message = f"`jitter` {said.jitter} is longer than `every` {said.every}, so slots would wait for each other"
            self._problems.add((*path, "jitter"), message, "CONFLICT")
        return ScheduleSource(
            cron=" ".join(said.cron.split()),
            every=every,
            at=self._instant(said.at, (*path, "at")),
            time_zone=said.time_zone or "UTC",
            overlap=said.overlap or lang.Overlap.SKIP,
            catch_up=self._duration(said.catch_up, (*path, "catch_up")),
            jitter=jitter,
        )

    def _check_times(self, said: lang.ScheduleTrigger, path: Path) -> None:
        if [bool(said.cron), bool(said.every), bool(said.at)].count(True) != 1:
            self._problems.add(path, "a schedule has exactly one of `cron`, `every` and `at`", "CONFLICT")
        for name, text in (("cron", said.cron), ("at", said.at), ("time_zone", said.time_zone)):
            if "${" in text:
                self._constant((*path, name))

    def _constant(self, path: Path) -> None:
        self._problems.add(path, "is a constant; nothing in it is evaluated", "CONSTANT")

    def _every(self, text: str, path: Path) -> int:
        every = self._duration(text, path)
        if every is not None and (every < SECOND_US or every % SECOND_US):
            self._problems.add(path, "must be whole seconds, and at least 1s", "OUT_OF_RANGE")
        return every or 0

    def _duration(self, text: str, path: Path) -> int | None:
        """Microseconds of a constant duration; None where it is absent, or wrong and noted."""
        if not text:
            return None
        if "${" in text:
            self._constant(path)
            return None
        try:
            return parse_duration(text)
        except TimeTextError as error:
            self._problems.add(path, str(error), "INVALID_DURATION", at=(1, error.column))
            return None

    def _instant(self, text: str, path: Path) -> int:
        if not text or "${" in text:
            return 0
        try:
            at = parse_timestamp(text)
        except TimeTextError as error:
            self._problems.add(path, str(error), "INVALID_TIMESTAMP", at=(1, error.column))
            return 0
        if at <= 0 or at % SECOND_US:
            self._problems.add(path, "must be a whole second after 1970-01-01T00:00:00Z", "OUT_OF_RANGE")
        return at
