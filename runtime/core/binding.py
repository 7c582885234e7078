"""Expressions and templates of a definition at their places: compiled, and what they name checked against the survey.

A name that cannot exist where it stands is an error, and a step that may have been skipped a warning, unless the
expression or a `when` around it provides for that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from .durations import TimeTextError, parse_duration, parse_timestamp
from .expressions import (
    Expression,
    ExpressionSyntaxError,
    Names,
    Template,
    TemplateSyntaxError,
    compile_expression,
    compile_template,
)
from .language import ROOTS, ROOTS_NOT_BOUND
from .nodes import Path, Problems, render
from .plan import Duration
from .sites import Sight, Spot, StretchKind, Verdict, governing_conditions, sight
from .survey import Survey

_UNKNOWN_ROOT = re.compile(r"`(\w+)` is unknown here")
_NOTHING: frozenset[str] = frozenset()

UNKNOWN_REFERENCE = "UNKNOWN_REFERENCE"


@dataclass(frozen=True, slots=True)
class Apart:
    """A place outside of the steps."""

    names: Names
    """What may be named there."""
    reasons: Mapping[str, str]
    """Why other roots may not."""
    absent: Mapping[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])
    """Fields of bound roots that cannot exist there, and why."""


_LABEL = Apart(Names(frozenset({"input", "execution", "now"})), ROOTS_NOT_BOUND)
_STEP = Apart(Names(ROOTS), ROOTS_NOT_BOUND)


class Binder:
    """Compiles what stands at the spots of one definition. What is wrong is noted, and a null stands in for it."""

    def __init__(self, survey: Survey, problems: Problems) -> None:
        self._survey = survey
        self._problems = problems
        self._steps = frozenset(survey.sites)

    def expression(self, text: str, path: Path, spot: Spot, extra: frozenset[str] = _NOTHING) -> Expression:
        """A bare-CEL field; `extra` are roots bound beside those of the spot."""
        try:
            expression = compile_expression(text, self._names(spot, extra))
        except ExpressionSyntaxError as error:
            self._note(error, path)
            return _NULL
        self._check(expression.references, expression.guarded, text, path, spot)
        return expression

    def optional(self, text: str, path: Path, spot: Spot, extra: frozenset[str] = _NOTHING) -> Expression | None:
        """A bare-CEL field that may be absent."""
        return self.expression(text, path, spot, extra) if text else None

    def template(self, value: Any, path: Path, spot: Spot, extra: frozenset[str] = _NOTHING) -> Template:
        """A free value with templates in it."""
        return self._template(value, path, spot, self._names(spot, extra), _where(path, spot), _STEP)

    def free(self, value: Any, path: Path, spot: Spot, extra: frozenset[str] = _NOTHING) -> Template | None:
        """A free value that may be absent."""
        return None if value is None else self.template(value, path, spot, extra)

    def text(self, text: str, path: Path, spot: Spot) -> Template | None:
        """A string with templates in it that may be absent."""
        return self.template(text, path, spot) if text else None

    def label(self, text: str, path: Path) -> Template:
        """A label: made at the start, when nothing has run."""
        return self.template_apart(text, path, _LABEL, render(path))

    def template_apart(self, value: Any, path: Path, place: Apart, where: str) -> Template:
        """A free value with templates in it that belongs to no step; `where` is what run-time errors call it."""
        return self._template(value, path, None, place.names, where, place)

    def expression_apart(self, text: str, path: Path, place: Apart) -> Expression | None:
        """A bare-CEL field that belongs to no step and may be absent."""
        if not text:
            return None
        try:
            expression = compile_expression(text, place.names)
        except ExpressionSyntaxError as error:
            self._note(error, path, place)
            return _NULL
        self._check_absent(expression.references, text, path, place)
        return expression

    def moment(self, text: str, path: Path, spot: Spot) -> Template | None:
        """A time: bare CEL, or an RFC 3339 timestamp as it is."""
        if not text:
            return None
        try:
            parse_timestamp(text)
        except TimeTextError:
            text = "${" + self.expression(text, path, spot).source + "\n}"
        names = self._names(spot, _NOTHING)
        try:
            return compile_template(text, names, _where(path, spot))
        except TemplateSyntaxError:
            return compile_template(None, names)

    def duration(self, text: str, path: Path, spot: Spot) -> Duration | None:
        """A duration of more than zero, or one `${...}` that gives it."""
        if not text:
            return None
        if "${" in text:
            if not (text.strip().startswith("${") and text.strip().endswith("}")):
                message = "a duration is constant, or one ${...} that gives all of it"
                self._problems.add(path, message, "INVALID_DURATION")
                return None
            return self.expression(text, path, spot)
        try:
            length = parse_duration(text)
        except TimeTextError as error:
            self._problems.add(path, str(error), "INVALID_DURATION", at=(1, error.column))
            return None
        if length <= 0:
            self._problems.add(path, "must be more than zero", "OUT_OF_RANGE")
        return length

    def both(self, first: Expression | None, second: Expression | None, spot: Spot) -> Expression | None:
        """The condition that both hold."""
        if first is None or second is None:
            return first or second
        names = self._names(spot, frozenset({"event"}))
        return compile_expression(f"({first.source}\n) && ({second.source}\n)", names)

    def _template(self, value: Any, path: Path, spot: Spot | None, names: Names, where: str, place: Apart) -> Template:
        """The template; null where there is a fault, and then the texts are gone through one by one to note all."""
        try:
            template = compile_template(value, names, where)
        except TemplateSyntaxError:
            for text, here in _texts(value, path):
                self._blame(text, here, spot, names, place)
            return compile_template(None, names)
        self._check_texts(template, path, spot, place)
        return template

    def _blame(self, text: str, path: Path, spot: Spot | None, names: Names, place: Apart) -> None:
        try:
            template = compile_template(text, names)
        except TemplateSyntaxError as refused:
            for error in refused.errors:
                self._note(error, path, place)
            return
        self._check_texts(template, path, spot, place)

    def _check_texts(self, template: Template, path: Path, spot: Spot | None, place: Apart) -> None:
        for part in template.texts:
            here = (*path, *part.path)
            self._check_absent(part.references, part.source, here, place)
            self._check(part.references, part.guarded, part.source, here, spot)

    def _names(self, spot: Spot, extra: frozenset[str]) -> Names:
        items = frozenset(_items(spot))
        roots = ROOTS | extra
        if items:
            roots |= {"index"}
        if _handled(spot):
            roots |= {"error"}
        return Names(roots=roots, steps=self._steps, items=items)

    def _note(self, error: ExpressionSyntaxError, path: Path, place: Apart = _STEP) -> None:
        root = _UNKNOWN_ROOT.fullmatch(error.message)
        if root is not None and root[1] in place.reasons:
            message = f"`{root[1]}` is not bound here: {place.reasons[root[1]]}"
        else:
            message = f"{error.message}; {error.hint}" if error.hint else error.message
        unknown = error.message.startswith("there is no step")
        code = UNKNOWN_REFERENCE if unknown else "INVALID_EXPRESSION"
        self._problems.add(path, message, code, at=(error.line, error.column))

    def _check_absent(self, references: tuple[tuple[str, ...], ...], text: str, path: Path, place: Apart) -> None:
        for reference in references:
            reason = place.absent.get(reference[:2])
            if reason is not None:
                name = ".".join(reference[:2])
                message = f"`{name}` cannot exist here: {reason}"
                self._problems.add(path, message, "INVALID_EXPRESSION", at=_position(text, name))

    def _check(
        self,
        references: tuple[tuple[str, ...], ...],
        guarded: frozenset[str],
        text: str,
        path: Path,
        spot: Spot | None,
    ) -> None:
        for reference in references:
            match reference:
                case ("steps", name, *fields) if spot is not None:
                    self._check_step(name, fields[:1], guarded, text, path, spot)
                case ("vars", name, *_):
                    self._check_variable(name, text, path)
                case _:
                    pass

    def _check_step(
        self, name: str, field: list[str], guarded: frozenset[str], text: str, path: Path, spot: Spot
    ) -> None:
        target = self._survey.sites[name]
        seen = sight(target, spot)
        if seen.verdict is not Verdict.HAS_RUN:
            reason = "it is this step; its result is `result` in `output`" if seen.verdict is Verdict.SELF else ""
            message = f"`steps.{name}` cannot exist here: {reason or seen.verdict.value}"
            self._note_step(name, message, text, path)
        elif field == ["failures"] and target.step.foreach is None:
            self._note_step(name, f"`{name}` is no `foreach`, so it has no `failures`", text, path)
        elif field and name not in guarded and not _provided_for(seen, text, spot):
            message = (
                f"`{name}` may be skipped, and then `steps.{name}.{field[0]}` has no value; "
                f"guard it with has(...), .? or `when`"
            )
            self._note_step(name, message, text, path, warning=True)

    def _note_step(self, name: str, message: str, text: str, path: Path, *, warning: bool = False) -> None:
        code = "MAY_BE_SKIPPED" if warning else "UNREACHABLE_STEP"
        self._problems.add(path, message, code, at=_position(text, f"steps.{name}"), warning=warning)

    def _check_variable(self, name: str, text: str, path: Path) -> None:
        if name in self._survey.variables or f"has(vars.{name})" in text:
            return
        near = difflib.get_close_matches(name, sorted(self._survey.variables), n=1)
        message = f"no step sets `vars.{name}`" + (f"; did you mean `vars.{near[0]}`?" if near else "")
        self._problems.add(path, message, "UNKNOWN_VARIABLE", at=_position(text, f"vars.{name}"), warning=True)


_NULL = compile_expression("null", Names(ROOTS))


def _provided_for(seen: Sight, text: str, spot: Spot) -> bool:
    """Whether nothing can have kept the step from running, or a `when` that holds here takes care of it."""
    if not seen.conditions:
        return True
    holding = [when for when in governing_conditions(spot) if when != text]
    if all(condition in holding for condition in seen.conditions):
        return True
    named = re.compile("|".join(rf"\bsteps\s*\.\s*{re.escape(name)}\b" for name in seen.skippable))
    return any(named.search(when) for when in holding)


def _texts(value: object, path: Path) -> Iterator[tuple[str, Path]]:
    """The strings in a free value that are templates."""
    if isinstance(value, str):
        if "${" in value:
            yield value, path
    elif isinstance(value, list):
        entries = cast("list[object]", value)
        for number, entry in enumerate(entries):
            yield from _texts(entry, (*path, number))
    elif isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        for name, item in fields.items():
            yield from _texts(item, (*path, name))


def _items(spot: Spot) -> Iterator[str]:
    """Names of the items in reach of a spot."""
    stretch = spot.stretch
    while True:
        if stretch.kind is StretchKind.ITEM:
            yield stretch.name
        if stretch.owner is None:
            return
        stretch = stretch.owner.stretch


def _handled(spot: Spot) -> bool:
    """Whether the spot is within the steps of an `on_error`."""
    stretch = spot.stretch
    while stretch.owner is not None:
        if stretch.kind is StretchKind.HANDLER:
            return True
        stretch = stretch.owner.stretch
    return False


def _where(path: Path, spot: Spot) -> str:
    """A path as run-time errors name it: within its step."""
    return _rendered(path[len(spot.site.path) :] if spot.site is not None else path)


_rendered = lru_cache(render)
"""The steps of a definition have the same few paths within them, over and over."""


def _position(text: str, name: str) -> tuple[int, int]:
    """Line and column of a name such as `steps.reserve` in a text; its beginning where it is written another way."""
    pattern = re.escape(name).replace(r"\.", r"\s*\.\s*")
    found = re.search(rf"\b{pattern}\b", text)
    before = text[: found.start()] if found else ""
    return before.count("\n") + 1, len(before) - before.rfind("\n")
