"""The chain of RetractDefinition: the published version is taken back. Nothing new starts, what runs goes on.

    load -> decide -> record -> invalidate -> announce

Its triggers are off with the same commit. A start that was decided on the version before `record` and comes to the disk
after it is refused there: it carries the revision it was decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog, never_published, not_found
from ..core.lifecycle import Content, Decision, Impact, StageRun, check_etag, check_state, decide_retract
from ..core.refusals import Refused
from ..lifecycle_rows import DefinitionHead
from ..ports import Clock
from ..trigger_rows import JobRow
from .chain import Chain, Report, first
from .contents import published_content
from .extensions import UserStage, extended
from .recording import Announce, Announced, Done, Ending, LifecycleStore, Origin, Part, Writer, standing_of


class Retract(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    definition_id: str
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the definition stands, and what is published."""

    command: Retract
    head: DefinitionHead
    published: Content | None
    running: int
    """Executions of the definition that have not ended."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What it comes to. Nothing has changed yet."""

    loaded: Loaded
    decision: Decision

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        return self.loaded.command.origin

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of the definition."""
        return (Part(self.identity, self.decision, self.loaded.head.revision, triggers=()),)

    @property
    def identity(self) -> str:
        """The definition."""
        return self.loaded.command.definition_id

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it: none."""
        return None


class RetractAnswer(msgspec.Struct, frozen=True):
    """What was retracted; with `validate_only`, what would be."""

    definition_id: str
    revision: int
    """Of the definition's last change."""
    etag: str
    changed: bool
    """False: it was retracted already."""
    stages: tuple[StageRun, ...] = ()
    """The stages that ran; none for a request that was carried out before."""
    impact: Impact = Impact()


class Retracting:
    """Takes published versions back."""

    def __init__(
        self,
        store: LifecycleStore,
        journal: Writer,
        catalog: Catalog,
        clock: Clock,
        listeners: Sequence[Announce] = (),
        *,
        user_stages: Sequence[UserStage] = (),
    ) -> None:
        self._store = store
        self._ending = Ending(store, journal, catalog, clock, listeners)
        chain: Chain[Retract, Announced[Decided]] = (
            first("load", self._load)
            .map("decide", _decide)
            .commit("record", self._ending.record)
            .then("invalidate", self._ending.invalidate)
            .then("announce", self._ending.announce)
        )
        self.chain = extended(chain, "retract", user_stages, clock)

    async def retract(self, command: Retract) -> RetractAnswer:
        """Take the published version back; where none is any more, nothing changes. Raises Refused:
        DEFINITION_NOT_FOUND, DEFINITION_NOT_PUBLISHED, DEFINITION_DELETED, ETAG_MISMATCH, LOST_RACE,
        REQUEST_ID_REUSED, STAGE_FAILED."""
        return await self._ending.carry_out(
            self.chain, command, _answer, lambda done: self._as_it_is(command.origin.tenant, done)
        )

    async def _as_it_is(self, tenant: str, done: Done) -> RetractAnswer:
        """The answer to a request that was carried out before: the definition as it is now."""
        return RetractAnswer(done.identity, *await self._ending.present(tenant, done.identity), done.changed[0])

    async def _load(self, command: Retract) -> Loaded:
        tenant, definition_id = command.origin.tenant, command.definition_id
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        running = await self._store.open_count(tenant, definition_id, 0)
        return Loaded(command, head, await published_content(self._store, head), running)


def _decide(loaded: Loaded) -> Decided:
    command, standing = loaded.command, standing_of(loaded.head)
    refusal = check_state(standing, command.definition_id) or check_etag(standing, command.etag, command.definition_id)
    if refusal is not None:
        raise Refused(refusal)
    if not standing.latest:
        raise never_published(command.definition_id)
    return Decided(loaded, decide_retract(standing, loaded.published, loaded.running))


def _answer(decided: Decided, revision: int, stages: Report) -> RetractAnswer:
    part, decision = decided.parts[0], decided.decision
    return RetractAnswer(
        definition_id=part.definition_id,
        revision=part.revision_after(revision),
        etag=part.etag_after(revision),
        changed=decision.changed,
        stages=stages,
        impact=decision.impact,
    )
