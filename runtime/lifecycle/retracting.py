"""The chain of RetractDefinition: the published version is taken back. Nothing new starts, what runs goes on.

    load -> decide -> record -> invalidate -> announce

A start that was decided on the version before `record` and comes to the disk after it is refused there: it carries the
revision it was decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog, never_published, not_found
from ..core.lifecycle import Content, Decision, Impact, StageRun, check_etag, decide_retract
from ..core.refusals import Refused
from ..ports import Clock, DefinitionHead, Request
from .chain import Chain, Ran, first
from .contents import published_content
from .recording import Announce, LifecycleStore, Origin, Recorder, Writer, announce, standing_of


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


@dataclass(frozen=True, slots=True)
class Decided:
    """What it comes to. Nothing has changed yet."""

    loaded: Loaded
    decision: Decision


@dataclass(frozen=True, slots=True)
class Recorded:
    """It is on disk."""

    decided: Decided
    revision: int


@dataclass(frozen=True, slots=True)
class Invalidated:
    """No cache of this process is older."""

    recorded: Recorded


@dataclass(frozen=True, slots=True)
class Announced:
    """Everybody has been told."""

    recorded: Recorded


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
    ) -> None:
        self._store = store
        self._recorder = Recorder(store, journal, clock)
        self._catalog = catalog
        self._clock = clock
        self._listeners = listeners
        self.chain: Chain[Retract, Announced] = (
            first("load", self._load)
            .map("decide", _decide)
            .commit("record", self._record)
            .then("invalidate", self._invalidate)
            .then("announce", self._announce)
        )

    async def retract(self, command: Retract) -> RetractAnswer:
        """Take the published version back; where none is any more, nothing changes. Raises Refused:
        DEFINITION_NOT_FOUND, DEFINITION_NOT_PUBLISHED, ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        if command.validate_only:
            return await self._rehearse(command)
        return await self._recorder.once(
            command.origin, lambda: self._change(command), lambda done: self._as_it_is(command, done)
        )

    async def _change(self, command: Retract) -> RetractAnswer:
        ran = await self.chain.run(command, monotonic=self._clock.monotonic)
        recorded = ran.value.recorded
        return _answer(recorded.decided, recorded.revision, ran.stages)

    async def _rehearse(self, command: Retract) -> RetractAnswer:
        ran: Ran[object] = await self.chain.run(command, until="decide", monotonic=self._clock.monotonic)
        assert isinstance(ran.value, Decided)
        return _answer(ran.value, ran.value.loaded.head.revision, ran.stages)

    async def _as_it_is(self, command: Retract, done: Request) -> RetractAnswer:
        """The answer to a request that was carried out before: the definition as it is now."""
        head = await self._store.definition(command.origin.tenant, done.identity)
        revision = head.revision if head is not None else 0
        return RetractAnswer(done.identity, revision, standing_of(head).etag, changed=True)

    # The stages

    async def _load(self, command: Retract) -> Loaded:
        head = await self._store.definition(command.origin.tenant, command.definition_id)
        if head is None:
            raise not_found(command.definition_id)
        return Loaded(command, head, await published_content(self._store, head))

    async def _record(self, decided: Decided, stages: tuple[StageRun, ...]) -> Recorded:
        command, decision = decided.loaded.command, decided.decision
        if not decision.changed:
            return Recorded(decided, decided.loaded.head.revision)
        revision = await self._recorder.record(command.origin, decision, command.definition_id, stages)
        return Recorded(decided, revision)

    async def _invalidate(self, recorded: Recorded) -> Invalidated:
        command = recorded.decided.loaded.command
        if recorded.decided.decision.changed:
            self._catalog.changed(command.origin.tenant, command.definition_id, recorded.revision)
        return Invalidated(recorded)

    async def _announce(self, invalidated: Invalidated) -> Announced:
        recorded = invalidated.recorded
        command, decision = recorded.decided.loaded.command, recorded.decided.decision
        announce(self._listeners, command.origin, decision, command.definition_id, recorded.revision)
        return Announced(recorded)


def _decide(loaded: Loaded) -> Decided:
    command, standing = loaded.command, standing_of(loaded.head)
    refusal = check_etag(standing, command.etag, command.definition_id)
    if refusal is not None:
        raise Refused(refusal)
    if not standing.latest:
        raise never_published(command.definition_id)
    return Decided(loaded, decide_retract(standing, loaded.published))


def _answer(decided: Decided, revision: int, stages: tuple[StageRun, ...]) -> RetractAnswer:
    """With `validate_only` the etag is that of the standing there is."""
    command, decision = decided.loaded.command, decided.decision
    return RetractAnswer(
        definition_id=command.definition_id,
        revision=revision,
        etag=(decision.before if command.validate_only else decision.after).etag,
        changed=decision.changed,
        stages=stages,
        impact=decision.impact,
    )
