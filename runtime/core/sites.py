"""Where steps stand in a definition, and so which of them a place can know about.

A *site* is a step's place, a *stretch* a list of steps (what becomes a block of the plan). `verdict` answers for an
expression at some place whether a step it names can have run, may have been skipped, or cannot exist there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import definition as lang
from .nodes import Path


class StretchKind(enum.Enum):
    """What a list of steps is to the step it belongs to."""

    ROOT = "root"
    BODY = "body"
    BRANCH = "branch"
    CASE = "case"
    ITEM = "item"
    HANDLER = "handler"
    OPAQUE = "opaque"
    """Of a kind that is not executed yet: its ids are known, nothing in it is looked at."""


@dataclass(eq=False, slots=True)
class Stretch:
    """A list of steps that run one after the other."""

    kind: StretchKind
    path: Path
    """Of the list in the definition."""
    owner: Site | None = None
    name: str = ""
    """A branch's id; the name of a `foreach` item."""
    when: str = ""
    """A case's condition."""
    sites: list[Site] = field(default_factory=list["Site"])


@dataclass(eq=False, slots=True)
class Site:
    """A step's place."""

    step: lang.Step
    path: Path
    stretch: Stretch
    position: int
    inner: list[Stretch] = field(default_factory=list[Stretch])
    """The lists of steps under it, handlers last."""

    @property
    def around(self) -> Iterator[Site]:
        """The steps it stands in, innermost first."""
        owner = self.stretch.owner
        while owner is not None:
            yield owner
            owner = owner.stretch.owner


class Moment(enum.Enum):
    """When, in a step's life, an expression is evaluated."""

    ENTRY = "entry"
    """When the step begins: nothing of it has run."""
    END = "end"
    """When all in it has ended (`output`)."""
    COLLECT = "collect"
    """When one item of a `foreach` has ended."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a definition at which an expression is evaluated: after `position` steps of a stretch."""

    stretch: Stretch
    position: int
    site: Site | None = None
    """The step whose own field it is, if it stands in `stretch` at `position`."""
    moment: Moment = Moment.ENTRY


class Verdict(enum.Enum):
    """What a place can know of a step."""

    HAS_RUN = "has run"
    SELF = "a step cannot name itself"
    AROUND = "it is around this place, so it has no result yet"
    LATER = "it runs later"
    BESIDE = "it stands in another branch, which may not have run"
    OTHERWISE = "it stands in another case, which cannot have run"
    UNHANDLED = "it stands in an `on_error` handler, which runs only after this"
    HIDDEN = "steps inside a `foreach` are not visible outside; name the `foreach` step itself"


@dataclass(frozen=True, slots=True)
class Sight:
    """A verdict and, where the step can have run, what may have kept it from running."""

    verdict: Verdict
    conditions: tuple[str, ...] = ()
    """Texts of the `when`s on the way to it; an empty one is a case or handler that may not have been taken."""
    skippable: tuple[str, ...] = ()
    """Ids of the steps on the way to it that may be skipped or not taken, its own included."""


def sight(target: Site, spot: Spot) -> Sight:
    """What a place can know of a step."""
    places = dict(_places(spot))
    conditions: list[str] = []
    skippable: list[str] = []
    site: Site = target
    came_from: Stretch | None = None
    while site.stretch not in places:
        _note_condition(site, conditions, skippable)
        if site.stretch.kind is StretchKind.ITEM:
            return Sight(Verdict.HIDDEN)
        if site.stretch.kind in (StretchKind.CASE, StretchKind.HANDLER):
            conditions.append("")
            skippable.append(target.step.id)
        came_from, owner = site.stretch, site.stretch.owner
        assert owner is not None, "the root stretch is among the places of every spot"
        site = owner
    position = places[site.stretch]
    if site.position < position:
        _note_condition(site, conditions, skippable)
        return Sight(Verdict.HAS_RUN, tuple(conditions), tuple(skippable))
    if site.position > position:
        return Sight(Verdict.LATER)
    if any(place.kind is StretchKind.HANDLER and place.owner is site for place in places):
        conditions.append("")
        skippable.append(target.step.id)
    return Sight(_within(site, came_from, spot), tuple(conditions), tuple(skippable))


def _note_condition(site: Site, conditions: list[str], skippable: list[str]) -> None:
    if site.step.when:
        conditions.append(site.step.when)
        skippable.append(site.step.id)


def _places(spot: Spot) -> Iterator[tuple[Stretch, int]]:
    """The stretches around a spot with how many of their steps have ended, innermost first."""
    yield spot.stretch, spot.position
    owner = spot.stretch.owner
    while owner is not None:
        yield owner.stretch, owner.position
        owner = owner.stretch.owner


def _within(site: Site, came_from: Stretch | None, spot: Spot) -> Verdict:
    """The verdict on a step that is, or stands in, the step that is under way at the spot."""
    if spot.site is site:
        if came_from is None:
            return Verdict.SELF
        return Verdict.HAS_RUN if spot.moment is Moment.END else Verdict.LATER
    if came_from is None:
        return Verdict.AROUND
    inside = next(stretch for stretch, _ in _places(spot) if stretch.owner is site)
    if inside.kind is StretchKind.HANDLER:
        return Verdict.HAS_RUN if came_from.kind is not StretchKind.HANDLER else Verdict.OTHERWISE
    if came_from.kind is StretchKind.HANDLER:
        return Verdict.UNHANDLED
    return Verdict.BESIDE if came_from.kind is StretchKind.BRANCH else Verdict.OTHERWISE


def governing_conditions(spot: Spot) -> Iterator[str]:
    """The `when`s that have held where an expression at this spot is evaluated."""
    if spot.site is not None and spot.site.step.when:
        yield spot.site.step.when
    stretch: Stretch | None = spot.stretch
    while stretch is not None:
        if stretch.when:
            yield stretch.when
        owner = stretch.owner
        if owner is not None and owner.step.when:
            yield owner.step.when
        stretch = owner.stretch if owner is not None else None
