"""Several things that go through a chain together: every stage takes all of them, and what is wrong with any of them is
told at once.

A stage takes one after the other and lets others run in between: how many there are is nobody else's trouble. So it is
a `then` of its chain also where it only thinks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from ..core.lifecycle import refuse_content
from ..core.refusals import Refusal, Refused, Violation
from ..trigger_rows import JobRow
from .recording import Origin, Part, Resolved

T = TypeVar("T")
Made = TypeVar("Made")
Decided = TypeVar("Decided", bound=Resolved)


@dataclass(frozen=True, slots=True)
class Each(Generic[T]):
    """Things of one kind, in the order of the request."""

    items: tuple[T, ...]
    places: tuple[str, ...]
    """What each is called where it is refused: `items[2]`, `lines[3]`."""

    def singles(self) -> Iterator[tuple[str, T]]:
        """Each of them, with the name of its place in the request."""
        return zip(self.places, self.items, strict=True)


@dataclass(frozen=True, slots=True)
class AllDecided(Generic[Decided]):
    """What all of them come to, as one change."""

    each: Each[Decided]

    def singles(self) -> Iterator[tuple[str, Decided]]:
        """Each of them, with the name of its place in the request."""
        return self.each.singles()

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        return self.each.items[0].origin

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of each definition."""
        return tuple(part for item in self.each.items for part in item.parts)

    @property
    def identity(self) -> str:
        """What a repeat of the request is answered with."""
        return ",".join(item.identity for item in self.each.items)

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it: none."""
        return None


def for_each(pure: Callable[[T], Made]) -> Callable[[Each[T]], Awaitable[Each[Made]]]:
    """The stage that does to each what `pure` does to one."""

    async def effect(item: T) -> Made:
        await asyncio.sleep(0)
        return pure(item)

    return for_each_in_turn(effect)


def for_each_in_turn(effect: Callable[[T], Awaitable[Made]]) -> Callable[[Each[T]], Awaitable[Each[Made]]]:
    """The stage that does to one after the other what `effect` does to one."""

    async def run(each: Each[T]) -> Each[Made]:
        made: list[Made] = []
        refused: list[tuple[str, Refusal]] = []
        for place, item in each.singles():
            try:
                made.append(await effect(item))
            except Refused as error:
                refused.append((place, error.refusal))
        check_none(refused)
        return Each(tuple(made), each.places)

    return run


def check_none(refused: Sequence[tuple[str, Refusal]]) -> None:
    """Raise one refusal that tells of all of these, by their places; nothing where there is none."""
    if not refused:
        return
    alike = {(refusal.kind, refusal.reason) for _, refusal in refused}
    violations = tuple(_placed(place, found) for place, refusal in refused for found in refusal.violations)
    if len(alike) > 1 and all(refusal.violations for _, refusal in refused):
        first = refuse_content(violations)
    else:
        # What is no matter of content (an etag, a definition being deleted) is what the caller has to see to first.
        first = next((refusal for _, refusal in refused if not refusal.violations), refused[0][1])
    told = [f"{_named(place, refusal)}: {refusal.message}" for place, refusal in refused[:_SPELLED_OUT]]
    if len(refused) > len(told):
        told.append(f"and {len(refused) - len(told)} more definitions")
    raise Refused(
        msgspec.structs.replace(
            first,
            message="; ".join(told),
            metadata={**first.metadata, "items": ",".join(place for place, _ in refused)},
            violations=violations,
        )
    )


_SPELLED_OUT = 3


def _named(place: str, refusal: Refusal) -> str:
    return f"{place} ({refusal.resource})" if refusal.resource else place


def _placed(place: str, found: Violation) -> Violation:
    return msgspec.structs.replace(found, path=f"{place}.{found.path}" if found.path else place)
