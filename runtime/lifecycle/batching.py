"""The chain of BatchPublish: several definitions, all or none, with one revision.

    load -> validate -> compile -> decide -> record -> invalidate -> announce

Every stage does to each definition what it does to one in publishing.py; what is wrong with any of them is told at
once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..core.lifecycle import StageRun, refuse_content
from ..core.refusals import Kind, Refusal, Refused, Violation
from .chain import Chain, Report, first
from .contents import Given
from .each import AllDecided, Each, check_none, for_each, for_each_in_turn
from .extensions import extended
from .publishing import (
    Compiled,
    Decided,
    Loaded,
    Publish,
    PublishAnswer,
    Publishing,
    RunningExecutions,
    Validated,
    answer_to,
    compile_content,
)
from .recording import Announced, Done, Origin
from .triggering import Together


class BatchItem(msgspec.Struct, frozen=True):
    """One definition to publish."""

    given: Given | None = None
    """None: the draft of `definition_id`."""
    definition_id: str = ""
    """May be empty with a content, else it must be the content's id."""
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""


class PublishBatch(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    items: tuple[BatchItem, ...]
    """At least one, each definition once."""
    validate_only: bool = False
    running: RunningExecutions = RunningExecutions.PIN

    def singles(self) -> Iterator[tuple[str, Publish]]:
        """The publishes it consists of."""
        for number, item in enumerate(self.items):
            publish = Publish(self.origin, item.definition_id, item.given, item.etag, self.validate_only, self.running)
            yield f"items[{number}]", publish


class BatchAnswer(msgspec.Struct, frozen=True):
    """What was published together; with `validate_only`, what would be."""

    definitions: tuple[PublishAnswer, ...]
    """In the order of the request; their `stages` are empty."""
    revision: int
    """Of the change; where nothing changed, the highest of the definitions' last changes."""
    stages: tuple[StageRun, ...] = ()
    """The stages that ran; none for a request that was carried out before."""


class Batching:
    """Publishes several definitions as one change."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing
        chain: Chain[PublishBatch, Announced[AllDecided[Decided]]] = (
            first("load", self._load)
            .then("validate", self.validate)
            .then("compile", for_each(compile_content))
            .then("decide", self.decide)
            .commit("record", publishing.ending.record)
            .then("invalidate", publishing.ending.invalidate)
            .then("announce", publishing.ending.announce)
        )
        self.chain = extended(chain, "publish", publishing.user_stages, publishing.clock)

    async def publish(self, command: PublishBatch) -> BatchAnswer:
        """Publish all of them or none. Raises Refused: INVALID_REQUEST where there is none, and what publishing one
        raises, with the place of each item that is refused."""
        tenant = command.origin.tenant
        return await self._publishing.ending.carry_out(
            self.chain, command, batch_answer, lambda done: self.as_it_is(tenant, done)
        )

    async def as_it_is(self, tenant: str, done: Done) -> BatchAnswer:
        """The answer to a request that was carried out before: its versions, and the definitions as they are now."""
        each = zip(done.identity.split(","), done.changed, strict=True)
        answers = [await self._publishing.as_it_is(tenant, identity, changed) for identity, changed in each]
        return BatchAnswer(tuple(answers), max(answer.revision for answer in answers))

    # The stages

    async def _load(self, command: PublishBatch) -> Each[Loaded]:
        singles = tuple(command.singles())
        return await self.load(Each(tuple(item for _, item in singles), tuple(place for place, _ in singles)))

    async def load(self, each: Each[Publish]) -> Each[Loaded]:
        """Read what there is of each definition, and what shall be. Raises Refused."""
        if not each.items:
            violation = Violation("items", "is required: at least one definition", "REQUIRED")
            message = "there is nothing to publish"
            raise Refused(Refusal(Kind.INVALID, "INVALID_REQUEST", message, violations=(violation,)))
        loaded = await for_each_in_turn(self._publishing.load)(each)
        check_none(_repeated(loaded))
        return loaded

    async def validate(self, each: Each[Loaded]) -> Each[Validated]:
        """Find everything that is wrong with any of them, and what does not go together. Raises Refused."""
        examined = await for_each(self._publishing.examine)(each)
        together = Together(item.plan for item in examined.items)

        def suits(item: Validated) -> Validated:
            return self._publishing.suits(item, together)

        return await for_each(suits)(examined)

    async def decide(self, each: Each[Compiled]) -> AllDecided[Decided]:
        """Find what each comes to. Raises Refused."""
        return AllDecided(await for_each(self._publishing.decide)(each))


def batch_answer(decided: AllDecided[Decided], revision: int, stages: Report) -> BatchAnswer:
    """The answer after the change of this revision; 0: it was rehearsed only, or nothing was to be changed."""
    answers = tuple(answer_to(item, revision) for item in decided.each.items)
    return BatchAnswer(answers, revision or max(answer.revision for answer in answers), stages)


def _repeated(each: Each[Loaded]) -> list[tuple[str, Refusal]]:
    """Definitions that stand there twice."""
    first_places: dict[str, str] = {}
    refused: list[tuple[str, Refusal]] = []
    for place, loaded in each.singles():
        definition_id = loaded.reading.definition.id
        if first_places.setdefault(definition_id, place) != place and definition_id:
            message = f"{definition_id!r} is {first_places[definition_id]} already; each definition once"
            violation = Violation("id", message, "DUPLICATE_ID")
            refused.append((place, refuse_content([violation], definition_id)))
    return refused
