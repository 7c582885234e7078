"""The chain of PutDraft: a definition as far as it has come. Nothing runs from a draft.

    load -> validate -> decide -> record -> invalidate -> announce

Only the form is refused; what publishing would refuse is told along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog
from ..core.compiler import compile_definition
from ..core.lifecycle import (
    Content,
    Decision,
    StageRun,
    check_etag,
    content_of,
    decide_draft,
    refuse_content,
)
from ..core.nodes import DefinitionLimits
from ..core.reader import Reading
from ..core.refusals import Refused, Violation
from ..ports import Clock, DefinitionHead, Request
from ..schemas import check_schema
from .chain import Chain, Ran, first
from .contents import Given, other_id, read_given, usable_id
from .recording import Announce, LifecycleStore, Origin, Recorder, Writer, announce, standing_of


class PutDraft(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    given: Given
    definition_id: str = ""
    """May be empty, else it must be the content's id."""
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the definition stands, and the new draft as it was read."""

    command: PutDraft
    head: DefinitionHead | None
    reading: Reading


@dataclass(frozen=True, slots=True)
class Validated:
    """A definition by its form."""

    loaded: Loaded
    content: Content
    violations: tuple[Violation, ...]
    """What publishing it would refuse or warn about."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What it comes to. Nothing has changed yet."""

    validated: Validated
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


class DraftAnswer(msgspec.Struct, frozen=True):
    """What has become of the draft; with `validate_only`, what would."""

    definition_id: str
    revision: int
    """Of the definition's last change."""
    etag: str
    changed: bool
    """False: this was the draft already."""
    stages: tuple[StageRun, ...] = ()
    violations: tuple[Violation, ...] = ()


class Drafting:
    """Puts drafts."""

    def __init__(
        self,
        store: LifecycleStore,
        journal: Writer,
        catalog: Catalog,
        clock: Clock,
        listeners: Sequence[Announce] = (),
        limits: DefinitionLimits | None = None,
    ) -> None:
        self._store = store
        self._recorder = Recorder(store, journal, clock)
        self._catalog = catalog
        self._clock = clock
        self._listeners = listeners
        self._limits = limits or DefinitionLimits()
        self.chain: Chain[PutDraft, Announced] = (
            first("load", self._load)
            .map("validate", self._validate)
            .map("decide", _decide)
            .commit("record", self._record)
            .then("invalidate", self._invalidate)
            .then("announce", self._announce)
        )

    async def put(self, command: PutDraft) -> DraftAnswer:
        """Create or replace the draft. Raises Refused: INVALID_DEFINITION, UNKNOWN_FIELD, LIMIT_EXCEEDED,
        ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        if command.validate_only:
            return await self._rehearse(command)
        return await self._recorder.once(
            command.origin, lambda: self._change(command), lambda done: self._as_it_is(command, done)
        )

    async def _change(self, command: PutDraft) -> DraftAnswer:
        ran = await self.chain.run(command, monotonic=self._clock.monotonic)
        recorded = ran.value.recorded
        return _answer(recorded.decided, recorded.revision, ran.stages)

    async def _rehearse(self, command: PutDraft) -> DraftAnswer:
        ran: Ran[object] = await self.chain.run(command, until="decide", monotonic=self._clock.monotonic)
        assert isinstance(ran.value, Decided)
        return _answer(ran.value, _revision(ran.value.validated.loaded), ran.stages)

    async def _as_it_is(self, command: PutDraft, done: Request) -> DraftAnswer:
        """The answer to a request that was carried out before: the definition as it is now."""
        head = await self._store.definition(command.origin.tenant, done.identity)
        return DraftAnswer(done.identity, head.revision if head is not None else 0, standing_of(head).etag, True)

    # The stages

    async def _load(self, command: PutDraft) -> Loaded:
        reading = read_given(command.given, self._limits)
        definition_id = usable_id(reading.definition.id)
        head = await self._store.definition(command.origin.tenant, definition_id) if definition_id else None
        return Loaded(command, head, reading)

    def _validate(self, loaded: Loaded) -> Validated:
        reading, wanted = loaded.reading, loaded.command.definition_id
        compiled = compile_definition(reading, 0, self._limits)
        wrong = [*other_id(reading, wanted), *reading.violations]
        # Without an id there is nothing to keep the draft under, and what is too large can never fit.
        wrong += (found for found in compiled.violations if found.path == "id" or found.code == "LIMIT")
        if wrong:
            raise Refused(refuse_content(dict.fromkeys(wrong), reading.definition.id))
        schema = reading.definition.input_schema
        schema_violations = check_schema(schema, reading) if schema is not None else ()
        violations = (*compiled.violations, *schema_violations, *compiled.warnings)
        return Validated(loaded, content_of(reading.definition), violations)

    async def _record(self, decided: Decided, stages: tuple[StageRun, ...]) -> Recorded:
        validated = decided.validated
        if not decided.decision.changed:
            return Recorded(decided, _revision(validated.loaded))
        origin, definition_id = validated.loaded.command.origin, validated.content.definition.id
        revision = await self._recorder.record(origin, decided.decision, definition_id, stages)
        return Recorded(decided, revision)

    async def _invalidate(self, recorded: Recorded) -> Invalidated:
        validated = recorded.decided.validated
        if recorded.decided.decision.changed:
            tenant = validated.loaded.command.origin.tenant
            self._catalog.changed(tenant, validated.content.definition.id, recorded.revision)
        return Invalidated(recorded)

    async def _announce(self, invalidated: Invalidated) -> Announced:
        recorded = invalidated.recorded
        validated = recorded.decided.validated
        origin, definition_id = validated.loaded.command.origin, validated.content.definition.id
        announce(self._listeners, origin, recorded.decided.decision, definition_id, recorded.revision)
        return Announced(recorded)


def _decide(validated: Validated) -> Decided:
    loaded, definition_id = validated.loaded, validated.content.definition.id
    standing = standing_of(loaded.head)
    refusal = check_etag(standing, loaded.command.etag, definition_id)
    if refusal is not None:
        raise Refused(refusal)
    return Decided(validated, decide_draft(standing, validated.content))


def _revision(loaded: Loaded) -> int:
    return loaded.head.revision if loaded.head is not None else 0


def _answer(decided: Decided, revision: int, stages: tuple[StageRun, ...]) -> DraftAnswer:
    """With `validate_only` the etag is that of the standing there is."""
    validated, decision = decided.validated, decided.decision
    dry = validated.loaded.command.validate_only
    return DraftAnswer(
        definition_id=validated.content.definition.id,
        revision=revision,
        etag=(decision.before if dry else decision.after).etag,
        changed=decision.changed,
        stages=stages,
        violations=validated.violations,
    )
