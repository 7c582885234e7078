"""The first pass over a definition: which steps there are and where, and whether its structure holds together.

Expressions are not looked at here; before any of them can be judged, all ids must be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from . import definition as lang
from .expressions import RESERVED_WORDS
from .language import (
    ALL_ROOTS,
    CEL_WORDS,
    DEFINITION_ID,
    EVENT_NAME,
    EXECUTED_KINDS,
    ITEM_NAME,
    KINDS,
    OPERATION,
    PRIORITY_MAX,
    RESERVED_STEP_IDS,
    SERVICE,
    STATE_CHARACTERS_MAX,
    STEP_ID,
    kinds_of,
)
from .nodes import Path, Problems
from .sites import Site, Stretch, StretchKind

DEFAULT_ITEM_NAME = "item"

_Steps: TypeAlias = Sequence[lang.Step]


class Survey:
    """What the first pass found."""

    def __init__(self, definition: lang.Definition, problems: Problems) -> None:
        self.definition = definition
        self.problems = problems
        self.sites: dict[str, Site] = {}
        """The steps by id; of several with one id, the first."""
        self.variables: set[str] = set()
        """Names that some `set` gives a value."""
        self.steps = 0
        self.schemas: list[tuple[Path, Mapping[str, Any]]] = []
        """The JSON Schemas of values, with their paths."""
        self._received: set[str] = set()
        self._ids: dict[str, Path] = {}
        _check_definition(definition, problems)
        if definition.input_schema is not None:
            self.schemas.append((("input_schema",), definition.input_schema))
        self.root = self._stretch(StretchKind.ROOT, definition.steps, ("steps",), None)
        self._event_schemas(definition.event_schemas)

    def _stretch(
        self, kind: StretchKind, steps: _Steps, path: Path, owner: Site | None, name: str = "", when: str = ""
    ) -> Stretch:
        stretch = Stretch(kind, path, owner, name, when)
        if not steps:
            self.problems.add(path, "at least one step is needed here", "REQUIRED")
        for position, step in enumerate(steps):
            self._site(step, Site(step, (*path, position), stretch, position))
        if owner is not None:
            owner.inner.append(stretch)
        return stretch

    def _site(self, step: lang.Step, site: Site) -> None:
        site.stretch.sites.append(site)
        self.steps += 1
        self._claim(step.id, (*site.path, "id"), "step")
        self.sites.setdefault(step.id, site)
        kinds = kinds_of(step)
        if len(kinds) != 1:
            self._wrong_kinds(kinds, site.path)
        self._enter(step, site)
        for number, handler in enumerate(step.on_error):
            path = (*site.path, "on_error", number, "steps")
            self._stretch(StretchKind.HANDLER, handler.steps, path, site)
        _check_common(step, site, kinds, self.problems)

    def _event_schemas(self, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        for name, schema in schemas.items():
            path = ("event_schemas", name)
            self.schemas.append((path, schema))
            check_event_name(name, path, self.problems, "a schema of events needs the event's name", key=True)
            if name and name not in self._received:
                message = f"no `receive` waits for {name!r}; nothing is done with what is given to an execution"
                self.problems.add(path, message, "UNUSED_SCHEMA", key=True, warning=True)

    def _wrong_kinds(self, kinds: list[str], path: Path) -> None:
        if kinds:
            named = ", ".join(f"`{kind}`" for kind in kinds)
            self.problems.add(path, f"a step has exactly one kind, this one has {named}", "KIND")
        else:
            self.problems.add(path, f"a step needs a kind: one of {', '.join(KINDS)}", "KIND")

    def _claim(self, name: str, path: Path, what: str) -> None:
        """Ids of steps and branches: well formed, and each once in the whole definition."""
        if not name:
            self.problems.add(path, f"a {what} needs an id", "REQUIRED")
        elif not STEP_ID.fullmatch(name):
            self.problems.add(path, f"the {what} id {name!r} does not fit [a-z][a-z0-9_]{{0,62}}", "INVALID_ID")
        elif name in CEL_WORDS:
            self.problems.add(path, f"{name!r} is a reserved word of CEL and cannot be a {what} id", "INVALID_ID")
        elif name in RESERVED_STEP_IDS:
            self.problems.add(path, f"{name!r} is reserved for paths and cannot be a {what} id", "INVALID_ID")
        elif name in self._ids:
            first = self.problems.where(self._ids[name])
            self.problems.add(path, f"the id {name!r} is used twice; first at {first}", "DUPLICATE_ID")
        self._ids.setdefault(name, path)

    def _enter(self, step: lang.Step, site: Site) -> None:
        """The steps inside a step, and what its kind asks for."""
        problems, path = self.problems, site.path
        if step.task is not None:
            _check_task(step.task, (*path, "task"), problems)
            if step.task.result_schema is not None:
                self.schemas.append(((*path, "task", "result_schema"), step.task.result_schema))
        if step.sequence is not None:
            self._stretch(StretchKind.BODY, step.sequence.steps, (*path, "sequence", "steps"), site)
        if step.parallel is not None:
            self._parallel(step.parallel, site)
        if step.switch is not None:
            self._switch(step.switch, site)
        if step.foreach is not None:
            self._foreach(step.foreach, site)
        for kind, opaque in (("loop", step.loop), ("graph", step.graph)):
            if opaque is not None:
                self._stretch(StretchKind.OPAQUE, opaque.steps, (*path, kind, "steps"), site)
        if step.wait is not None:
            _check_wait(step.wait, (*path, "wait"), problems)
        if step.receive is not None:
            _check_receive(step.receive, (*path, "receive"), problems)
            self._received.update((step.receive.event, *(match.event for match in step.receive.any_of)))
        if step.emit is not None:
            check_event_name(step.emit.name, (*path, "emit", "name"), problems, "an `emit` needs the event's `name`")
        if step.fail is not None and not step.fail.type:
            problems.add((*path, "fail", "type"), "a failure needs a type", "REQUIRED")
        self.variables.update(step.set or ())

    def _parallel(self, parallel: lang.ParallelStep, site: Site) -> None:
        path = (*site.path, "parallel", "branches")
        if not parallel.branches:
            self.problems.add(path, "at least one branch is needed", "REQUIRED")
        for number, branch in enumerate(parallel.branches):
            here = (*path, number)
            self._claim(branch.id, (*here, "id"), "branch")
            self._stretch(StretchKind.BRANCH, branch.steps, (*here, "steps"), site, branch.id)

    def _switch(self, switch: lang.SwitchStep, site: Site) -> None:
        path = (*site.path, "switch", "cases")
        if not switch.cases:
            self.problems.add(path, "at least one case is needed", "REQUIRED")
        for number, case in enumerate(switch.cases):
            here = (*path, number)
            if not case.when:
                self.problems.add(
                    (*here, "when"), "a case needs a condition; what is left goes to `default`", "REQUIRED"
                )
            self._stretch(StretchKind.CASE, case.steps, (*here, "steps"), site, when=case.when)
        if switch.default:
            self._stretch(StretchKind.CASE, switch.default, (*site.path, "switch", "default"), site)

    def _foreach(self, foreach: lang.ForeachStep, site: Site) -> None:
        path, problems = (*site.path, "foreach"), self.problems
        name = foreach.item_name
        if not foreach.items:
            problems.add((*path, "items"), "a `foreach` needs `items`, an expression that gives a list", "REQUIRED")
        if foreach.max_concurrency is not None and foreach.max_concurrency < 1:
            problems.add(
                (*path, "max_concurrency"), "must be at least 1; absent, all items run at once", "OUT_OF_RANGE"
            )
        if foreach.max_failures and foreach.on_item_error is not lang.OnItemError.CONTINUE:
            problems.add((*path, "max_failures"), "is for `on_item_error: CONTINUE` only", "CONFLICT")
        if name and (not ITEM_NAME.fullmatch(name) or name in RESERVED_WORDS):
            problems.add((*path, "as"), f"{name!r} is not a name that CEL can read", "INVALID_ID")
        elif name in ALL_ROOTS - {DEFAULT_ITEM_NAME}:
            problems.add((*path, "as"), f"{name!r} would hide the root of that name", "INVALID_ID")
        elif name and name in _items_around(site):
            problems.add((*path, "as"), f"{name!r} is already the item of a `foreach` around this one", "INVALID_ID")
        self._stretch(StretchKind.ITEM, foreach.steps, (*path, "steps"), site, name or DEFAULT_ITEM_NAME)


def _items_around(site: Site) -> list[str]:
    """The names of the items in reach of a step, innermost first."""
    found: list[str] = []
    stretch: Stretch | None = site.stretch
    while stretch is not None:
        if stretch.kind is StretchKind.ITEM:
            found.append(stretch.name)
        stretch = stretch.owner.stretch if stretch.owner is not None else None
    return found


def _check_definition(definition: lang.Definition, problems: Problems) -> None:
    if not definition.id:
        problems.add(("id",), "a definition needs an id", "REQUIRED")
    elif not DEFINITION_ID.fullmatch(definition.id):
        message = f"the definition id {definition.id!r} does not fit [a-z0-9][a-z0-9._-]{{0,127}}"
        problems.add(("id",), message, "INVALID_ID")
    for name in definition.labels:
        if not name:
            problems.add(("labels", name), "a label needs a name", "INVALID_ID", key=True)


def _check_common(step: lang.Step, site: Site, kinds: list[str], problems: Problems) -> None:
    """What may stand on a step of this kind."""
    path = site.path
    if len(step.set_state) > STATE_CHARACTERS_MAX:
        problems.add((*path, "set_state"), f"is longer than {STATE_CHARACTERS_MAX} characters", "OUT_OF_RANGE")
    if "${" in step.set_state:
        problems.add((*path, "set_state"), "is a constant; nothing in it is evaluated", "CONSTANT")
    if len(kinds) != 1 or kinds[0] == "task":
        return
    if step.retry is not None and kinds[0] != "subflow":
        problems.add((*path, "retry"), f"is for `task` steps, not for `{kinds[0]}`", "CONFLICT")
    if step.timeouts is not None and kinds[0] in EXECUTED_KINDS:
        message = f"`timeouts` of a `{kinds[0]}` step are not executed yet by this version of the server"
        problems.add((*path, "timeouts"), message, "UNSUPPORTED_FEATURE")


def _check_task(task: lang.TaskStep, path: Path, problems: Problems) -> None:
    for name, value, pattern in (("service", task.service, SERVICE), ("operation", task.operation, OPERATION)):
        if not value:
            problems.add((*path, name), f"a task needs `{name}`", "REQUIRED")
        elif name == "operation" and "." in value:
            problems.add(
                (*path, name), f"{value!r} holds a dot; what stands before it belongs to `service`", "INVALID_ID"
            )
        elif not pattern.fullmatch(value):
            problems.add((*path, name), f"{value!r} is not a name of a {name}", "INVALID_ID")
    if task.priority is not None and abs(task.priority) > PRIORITY_MAX:
        problems.add((*path, "priority"), f"must be within -{PRIORITY_MAX} and {PRIORITY_MAX}", "OUT_OF_RANGE")


def _check_wait(wait: lang.WaitStep, path: Path, problems: Problems) -> None:
    if bool(wait.duration) == bool(wait.until):
        problems.add(path, "a `wait` needs exactly one of `duration` and `until`", "CONFLICT")


def _check_receive(receive: lang.ReceiveStep, path: Path, problems: Problems) -> None:
    if bool(receive.event) == bool(receive.any_of):
        problems.add(path, "a `receive` needs exactly one of `event` and `any_of`", "CONFLICT")
    if receive.timeout and receive.until:
        problems.add(path, "a `receive` has at most one of `timeout` and `until`", "CONFLICT")
    if receive.on_timeout is not None and not (receive.timeout or receive.until):
        problems.add((*path, "on_timeout"), "without `timeout` or `until` there is no such time", "CONFLICT")
    if receive.event:
        check_event_name(receive.event, (*path, "event"), problems)
    for number, match in enumerate(receive.any_of):
        here = (*path, "any_of", number, "event")
        check_event_name(match.event, here, problems, "an entry of `any_of` needs `event`")


def check_event_name(name: str, path: Path, problems: Problems, missing: str = "", *, key: bool = False) -> None:
    """The name of an event, as callers may publish or submit it; `missing` is what to say where there is none, `key`
    that it is the last key of the path."""
    if not name:
        problems.add(path, missing, "REQUIRED", key=key)
    elif "${" in name:
        problems.add(path, "is a constant; nothing in it is evaluated", "CONSTANT", key=key)
    elif not EVENT_NAME.fullmatch(name):
        message = f"the event name {name[:80]!r} does not fit [A-Za-z0-9][A-Za-z0-9._:-]{{0,254}}"
        problems.add(path, message, "INVALID_ID", key=key)
