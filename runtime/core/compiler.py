"""Definition -> Plan, with everything that is wrong with it, located, at once.

Three passes: the survey says which steps there are and whether the structure holds; language.py names what this
version does not execute; then the plan is built, its expressions bound to their places. With any error there is no
plan. What the reader could not read is not blamed a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NoReturn, TypeAlias

import msgspec

from . import definition as lang
from .binding import UNKNOWN_REFERENCE, Binder
from .failures import RESERVED_TYPES
from .language import EXECUTED_KINDS, kinds_of, not_executed
from .nodes import DefinitionLimits, Path, Problems
from .numbers import typed_numbers
from .plan import (
    Block,
    Body,
    EmitBody,
    FailBody,
    FinishBody,
    ForeachBody,
    Handler,
    ParallelBody,
    Plan,
    ReceiveBody,
    RetryPolicy,
    SequenceBody,
    SetBody,
    Step,
    StepKind,
    SwitchBody,
    TaskBody,
    Timeouts,
    ValueSchema,
    WaitBody,
)
from .policies import check_merged, check_retry, check_types, merged, retention, retry_policy, timeouts
from .reader import Reading
from .refusals import Violation
from .schema_marks import sealing_of
from .sites import Moment, Site, Spot, Stretch, StretchKind
from .survey import Survey
from .trigger_compiler import check_triggers, compile_triggers
from .values import Value

_RESULT = frozenset({"result"})
_EVENT = frozenset({"event"})

Misfits: TypeAlias = Callable[[Value], tuple[Violation, ...]]
MisfitsOf: TypeAlias = Callable[[Mapping[str, Any], str], Misfits]
"""What finds where values do not fit a schema, in words that never quote them; the second argument is what the paths
begin with. It is asked for schemas that may not be ones, and so may say so only when it is given a value."""


def _typed_results(steps: Iterable[Step], events: Mapping[str, ValueSchema]) -> dict[str, Callable[[Value], Value]]:
    typed: dict[str, Callable[[Value], Value]] = {}
    for step in steps:
        if isinstance(step.body, TaskBody) and step.body.result is not None and step.body.result.typed is not None:
            typed[step.id] = step.body.result.typed
        if isinstance(step.body, ReceiveBody):
            payloads = {name: events[name].typed for name, _ in step.body.events if name in events}
            if any(payloads.values()):
                typed[step.id] = partial(_typed_payload, payloads)
    return typed


def _typed_payload(payloads: Mapping[str, Callable[[Value], Value] | None], result: Value) -> Value:
    """The result of a `receive`, which holds the payload of the event that it took."""
    if not isinstance(result, dict):
        return result
    typed = payloads.get(result["event"])
    return {**result, "payload": typed(result["payload"])} if typed is not None else result


@dataclass(frozen=True, slots=True)
class Compiled:
    """The plan of a definition, or why there is none."""

    plan: Plan | None
    violations: tuple[Violation, ...]
    """Errors, of reading and of compiling, in the order of the source text; empty where there is a plan."""
    warnings: tuple[Violation, ...]
    schemas: tuple[tuple[Path, Mapping[str, Any]], ...] = ()
    """What the definition says are JSON Schemas, with their paths; whether they are is not looked at here."""


def compile_definition(
    reading: Reading,
    version: int = 0,
    limits: DefinitionLimits | None = None,
    misfits_of: MisfitsOf | None = None,
) -> Compiled:
    """The plan of what was read, as this version. Without `misfits_of` a plan with schemas of events or results cannot
    check any."""
    problems = Problems(reading.root, reading.source)
    definition = reading.definition
    _check_size(definition, limits or DefinitionLimits(), problems)
    survey = Survey(definition, problems)
    for path, what in not_executed(definition):
        problems.add(path, f"{what} is not executed yet by this version of the server", "UNSUPPORTED_FEATURE", key=True)
    _check_steps(survey, limits or DefinitionLimits(), problems)
    check_triggers(definition.triggers, limits or DefinitionLimits(), problems)
    plan = _Builder(survey, problems, misfits_of or _no_validator).plan(version)
    found = [*reading.violations, *_unblamed(problems, reading, survey)]
    found.sort(key=lambda violation: (violation.line, violation.column))
    errors = tuple(violation for violation in found if not violation.warning)
    warnings = tuple(violation for violation in found if violation.warning)
    return Compiled(None if errors else plan, errors, warnings, tuple(survey.schemas))


def _no_validator(_schema: Mapping[str, Any], root: str) -> Misfits:
    def misfits(_value: Value) -> NoReturn:
        raise LookupError(f"the plan was compiled without a validator, and cannot check the {root}")

    return misfits


def _check_size(definition: lang.Definition, limits: DefinitionLimits, problems: Problems) -> None:
    size = len(msgspec.json.encode(definition))
    if size > limits.definition_bytes_max:
        problems.add((), f"{size} bytes are more than definition_bytes_max = {limits.definition_bytes_max}", "LIMIT")


def _check_steps(survey: Survey, limits: DefinitionLimits, problems: Problems) -> None:
    if survey.steps > limits.definition_steps_max:
        message = f"{survey.steps} steps are more than definition_steps_max = {limits.definition_steps_max}"
        problems.add(("steps",), message, "LIMIT")


def _unblamed(problems: Problems, reading: Reading, survey: Survey) -> list[Violation]:
    """The problems that do not merely follow from what could not be read."""
    if not reading.broken:
        return list(problems.found)
    nameless = "" in survey.sites
    return [
        violation
        for violation, path in problems.paths.items()
        if not (nameless and violation.code == UNKNOWN_REFERENCE)
        and not any(_follows(path, violation.code, broken) for broken in reading.broken)
    ]


def _follows(path: Path, code: str, broken: Path) -> bool:
    around = broken[:-1]
    return path[: len(broken)] == broken or path == around or (code == "REQUIRED" and path[:-1] == around)


class _Builder:
    """The second pass: steps and blocks of the plan."""

    def __init__(self, survey: Survey, problems: Problems, misfits_of: MisfitsOf) -> None:
        self._survey = survey
        self._problems = problems
        self._misfits_of = misfits_of
        self._bind = Binder(survey, problems)
        self._steps: dict[str, Step] = {}
        defaults = survey.definition.defaults or lang.Defaults()
        self._retry = defaults.retry
        if defaults.retry is not None:
            check_retry(defaults.retry, ("defaults", "retry"), problems)
        start = Spot(survey.root, 0)
        self._timeouts = self._limits(defaults.timeouts, ("defaults", "timeouts"), start)

    def plan(self, version: int) -> Plan:
        """The whole plan; worth something only if no problem was noted."""
        definition = self._survey.definition
        root = self._block(self._survey.root, None, (), {})
        end = Spot(self._survey.root, len(self._survey.root.sites))
        labels = {name: self._bind.label(text, ("labels", name)) for name, text in definition.labels.items()}
        events = {name: self._schema(schema, "payload") for name, schema in definition.event_schemas.items()}
        results = [step.body.result for step in self._steps.values() if isinstance(step.body, TaskBody)]
        typed_input = typed_numbers(definition.input_schema) if definition.input_schema else None
        seal_input = sealing_of(definition.input_schema, typed_input) if definition.input_schema else None
        return Plan(
            definition_id=definition.id,
            version=version,
            root=root,
            steps=self._steps,
            labels=labels,
            output=self._bind.free(definition.output, ("output",), end),
            park_on_failure=definition.on_failure is lang.OnFailure.PARK,
            triggers=compile_triggers(definition.triggers, self._bind, self._problems),
            typed_input=typed_input,
            retention=retention(definition.retention, self._problems),
            events=events,
            typed_results=_typed_results(self._steps.values(), events),
            seal_input=seal_input,
            sensitive=seal_input is not None
            or any(schema is not None and schema.seal is not None for schema in (*events.values(), *results)),
        )

    def _schema(self, schema: Mapping[str, Any], root: str) -> ValueSchema:
        typed = typed_numbers(schema)
        return ValueSchema(self._misfits_of(schema, root), typed, sealing_of(schema, typed))

    def _block(
        self,
        stretch: Stretch,
        owner: Step | None,
        segments: tuple[str, ...],
        items: Mapping[str, int],
        suffix: str = "",
    ) -> Block:
        """A stretch as a block; `segments` are those of its owner."""
        is_item = stretch.kind is StretchKind.ITEM
        if is_item:
            items = {**items, stretch.name: len(segments) - 1}
        block = Block(owner=owner, suffix=suffix, items=is_item)
        block.steps = tuple(
            self._step(site, block, _below(segments, site.step.id, suffix, is_item), items) for site in stretch.sites
        )
        return block

    def _step(self, site: Site, block: Block, segments: tuple[str, ...], items: Mapping[str, int]) -> Step:
        said, path = site.step, site.path
        entry = Spot(site.stretch, site.position, site)
        kinds = kinds_of(said)
        kind = StepKind(kinds[0]) if len(kinds) == 1 and EXECUTED_KINDS.issuperset(kinds) else None
        step = Step(
            id=said.id,
            kind=kind or StepKind.FINISH,
            block=block,
            position=site.position,
            body=FinishBody(),
            segments=segments,
            when=self._bind.optional(said.when, (*path, "when"), entry),
            item_names=items,
        )
        if kind is None:
            return step
        step.body = self._body(site, entry, step)
        end = Spot(site.stretch, site.position, site, Moment.END)
        step.output = self._bind.free(said.output, (*path, "output"), end, _RESULT)
        step.state = self._bind.text(said.set_state, (*path, "set_state"), entry)
        if kind is StepKind.TASK:
            step.retry = self._policy(said.retry, (*path, "retry"))
            step.timeouts = self._task_limits(said.timeouts, (*path, "timeouts"), entry)
        step.handlers = self._handlers(site, step)
        self._steps[said.id] = step
        return step

    def _policy(self, own: lang.Retry | None, path: Path) -> RetryPolicy:
        if own is None:
            return self._usual_policy
        check_retry(own, path, self._problems)
        return self._merged(own, path)

    @cached_property
    def _usual_policy(self) -> RetryPolicy:
        """Of the steps that say nothing themselves."""
        return self._merged(None, ("defaults", "retry"))

    def _merged(self, own: lang.Retry | None, path: Path) -> RetryPolicy:
        whole = merged(own, self._retry, lang.Retry())
        check_merged(whole, path, self._problems)
        return retry_policy(whole)

    def _limits(self, said: lang.Timeouts | None, path: Path, spot: Spot) -> Timeouts:
        return timeouts(said or lang.Timeouts(), path, lambda text, here: self._bind.duration(text, here, spot))

    def _task_limits(self, own: lang.Timeouts | None, path: Path, spot: Spot) -> Timeouts:
        if own is None:
            return self._timeouts
        mine, default = self._limits(own, path, spot), self._timeouts
        return Timeouts(
            queue=default.queue if mine.queue is None else mine.queue,
            attempt=default.attempt if mine.attempt is None else mine.attempt,
            total=default.total if mine.total is None else mine.total,
            cancel_grace=default.cancel_grace if mine.cancel_grace is None else mine.cancel_grace,
        )

    def _handlers(self, site: Site, step: Step) -> tuple[Handler, ...]:
        stretches = [stretch for stretch in site.inner if stretch.kind is StretchKind.HANDLER]
        found: list[Handler] = []
        for number, (said, stretch) in enumerate(zip(site.step.on_error, stretches, strict=True)):
            path = (*site.path, "on_error", number)
            check_types(said.match, (*path, "match"), self._problems)
            if found and any(not earlier.match for earlier in found):
                message = "never runs: an entry before it has no `match` and takes every failure"
                self._problems.add(path, message, "UNREACHABLE_HANDLER", warning=True)
            found.append(Handler(said.match, self._inside(stretch, step, "/on_error")))
        return tuple(found)

    def _inside(self, stretch: Stretch, step: Step, suffix: str = "") -> Block:
        return self._block(stretch, step, step.segments, step.item_names, suffix)

    # One method a kind

    def _body(self, site: Site, entry: Spot, step: Step) -> Body:
        said = site.step
        inner = [stretch for stretch in site.inner if stretch.kind is not StretchKind.HANDLER]
        if said.task is not None:
            return self._task(said.task, (*site.path, "task"), entry)
        if said.sequence is not None:
            return SequenceBody(self._inside(inner[0], step))
        if said.parallel is not None:
            branches = tuple((branch.name, self._inside(branch, step, f"/{branch.name}")) for branch in inner)
            return ParallelBody(branches, said.parallel.fail_fast is not False)
        if said.switch is not None:
            return self._switch(said.switch, inner, site, entry, step)
        if said.foreach is not None:
            return self._foreach(said.foreach, inner[0], site, entry, step)
        if said.wait is not None:
            path = (*site.path, "wait")
            duration = self._bind.duration(said.wait.duration, (*path, "duration"), entry)
            return WaitBody(duration, self._bind.moment(said.wait.until, (*path, "until"), entry))
        if said.receive is not None:
            return self._receive(said.receive, (*site.path, "receive"), entry)
        if said.emit is not None:
            return self._emit(said.emit, (*site.path, "emit"), entry)
        if said.fail is not None:
            return self._fail(said.fail, (*site.path, "fail"), entry)
        if said.set is not None:
            return SetBody(self._bind.template(said.set, (*site.path, "set"), entry))
        output = said.finish.output if said.finish is not None else None
        return FinishBody(self._bind.free(output, (*site.path, "finish", "output"), entry))

    def _task(self, said: lang.TaskStep, path: Path, entry: Spot) -> TaskBody:
        given = self._bind.template(said.input, (*path, "input"), entry)
        result = self._schema(said.result_schema, "result") if said.result_schema is not None else None
        return TaskBody(f"{said.service}.{said.operation}", given, said.priority or 0, result)

    def _switch(self, said: lang.SwitchStep, inner: list[Stretch], site: Site, entry: Spot, step: Step) -> SwitchBody:
        path = (*site.path, "switch", "cases")
        blocks = [self._inside(stretch, step) for stretch in inner]
        cases = tuple(
            (self._bind.expression(case.when or "null", (*path, number, "when"), entry), blocks[number])
            for number, case in enumerate(said.cases)
        )
        return SwitchBody(cases, blocks[-1] if said.default else None)

    def _foreach(self, said: lang.ForeachStep, inner: Stretch, site: Site, entry: Spot, step: Step) -> ForeachBody:
        path = (*site.path, "foreach")
        collect = Spot(inner, len(inner.sites), None, Moment.COLLECT)
        return ForeachBody(
            items=self._bind.expression(said.items or "null", (*path, "items"), entry),
            item_name=inner.name,
            block=self._inside(inner, step),
            max_concurrency=said.max_concurrency or 0,
            continue_on_error=said.on_item_error is lang.OnItemError.CONTINUE,
            max_failures=self._bind.optional(said.max_failures, (*path, "max_failures"), entry),
            collect=self._bind.free(said.collect, (*path, "collect"), collect, _RESULT),
        )

    def _receive(self, said: lang.ReceiveStep, path: Path, entry: Spot) -> ReceiveBody:
        own = self._bind.optional(said.filter, (*path, "filter"), entry, _EVENT)
        events = [(said.event, own)] if said.event else []
        for number, match in enumerate(said.any_of):
            entry_path = (*path, "any_of", number, "filter")
            one = self._bind.optional(match.filter, entry_path, entry, _EVENT)
            events.append((match.event, self._bind.both(own, one, entry)))
        return ReceiveBody(
            events=tuple(events),
            timeout=self._bind.duration(said.timeout, (*path, "timeout"), entry),
            until=self._bind.moment(said.until, (*path, "until"), entry),
            continue_on_timeout=said.on_timeout is lang.OnTimeout.CONTINUE,
            key=self._bind.optional(said.key, (*path, "key"), entry),
        )

    def _emit(self, said: lang.EmitStep, path: Path, entry: Spot) -> EmitBody:
        return EmitBody(
            name=said.name,
            key=self._bind.optional(said.key, (*path, "key"), entry),
            payload=self._bind.free(said.payload, (*path, "payload"), entry),
        )

    def _fail(self, said: lang.FailStep, path: Path, entry: Spot) -> FailBody:
        if said.type in RESERVED_TYPES:
            message = f"{said.type!r} is a type of failure that only the engine makes"
            self._problems.add((*path, "type"), message, "RESERVED")
        return FailBody(
            type=self._bind.template(said.type, (*path, "type"), entry),
            message=self._bind.text(said.message, (*path, "message"), entry),
            details=self._bind.free(said.details, (*path, "details"), entry),
        )


def _below(segments: tuple[str, ...], name: str, suffix: str, is_item: bool) -> tuple[str, ...]:
    """The segments of a step in a block with this suffix, whose owner has these segments."""
    if not segments:
        return (name,)
    if is_item:
        return (*segments, f"/{name}")
    return (*segments[:-1], f"{segments[-1]}{suffix}/{name}")
