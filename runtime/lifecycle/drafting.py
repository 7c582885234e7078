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
    check_state,
    content_of,
    decide_draft,
    refuse_content,
)
from ..core.nodes import DefinitionLimits
from ..core.reader import Reading
from ..core.refusals import Refused, Violation
from ..lifecycle_rows import DefinitionHead
from ..ports import Clock
from ..schemas import check_schemas, misfits_of
from ..slots import check_schedules
from ..trigger_rows import JobRow
from .chain import Chain, Report, first
from .contents import Given, other_id, read_given, usable_id
from .extensions import UserStage, extended
from .recording import Announce, Announced, Done, Ending, LifecycleStore, Origin, Part, Writer, standing_of


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

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        return self.validated.loaded.command.origin

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of the definition."""
        head = self.validated.loaded.head
        return (Part(self.identity, self.decision, head.revision if head is not None else 0),)

    @property
    def identity(self) -> str:
        """The definition."""
        return self.validated.content.definition.id

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it: none."""
        return None


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
        *,
        user_stages: Sequence[UserStage] = (),
    ) -> None:
        self._store = store
        self._limits = limits or DefinitionLimits()
        self._ending = Ending(store, journal, catalog, clock, listeners)
        chain: Chain[PutDraft, Announced[Decided]] = (
            first("load", self._load)
            .map("validate", self._validate)
            .map("decide", _decide)
            .commit("record", self._ending.record)
            .then("invalidate", self._ending.invalidate)
            .then("announce", self._ending.announce)
        )
        self.chain = extended(chain, "draft", user_stages, clock)

    async def put(self, command: PutDraft) -> DraftAnswer:
        """Create or replace the draft. Raises Refused: INVALID_DEFINITION, UNKNOWN_FIELD, LIMIT_EXCEEDED,
        DEFINITION_DELETED, ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        return await self._ending.carry_out(
            self.chain, command, _answer, lambda done: self._as_it_is(command.origin.tenant, done)
        )

    async def _as_it_is(self, tenant: str, done: Done) -> DraftAnswer:
        """The answer to a request that was carried out before: the definition as it is now."""
        return DraftAnswer(done.identity, *await self._ending.present(tenant, done.identity), done.changed[0])

    # The stages

    async def _load(self, command: PutDraft) -> Loaded:
        reading = read_given(command.given, self._limits)
        definition_id = usable_id(reading.definition.id)
        head = await self._store.definition(command.origin.tenant, definition_id) if definition_id else None
        return Loaded(command, head, reading)

    def _validate(self, loaded: Loaded) -> Validated:
        reading, wanted = loaded.reading, loaded.command.definition_id
        compiled = compile_definition(reading, 0, self._limits, misfits_of)
        wrong = [*other_id(reading, wanted), *reading.violations]
        # Without an id there is nothing to keep the draft under, and what is too large can never fit.
        wrong += (found for found in compiled.violations if found.path == "id" or found.code == "LIMIT")
        if wrong:
            raise Refused(refuse_content(dict.fromkeys(wrong), reading.definition.id))
        schema_violations = check_schemas(compiled.schemas, reading)
        schedule_violations = check_schedules(reading)
        violations = (*compiled.violations, *schema_violations, *schedule_violations, *compiled.warnings)
        return Validated(loaded, content_of(reading.definition), violations)


def _decide(validated: Validated) -> Decided:
    loaded, definition_id = validated.loaded, validated.content.definition.id
    standing = standing_of(loaded.head)
    refusal = check_state(standing, definition_id, revives=True) or check_etag(
        standing, loaded.command.etag, definition_id
    )
    if refusal is not None:
        raise Refused(refusal)
    return Decided(validated, decide_draft(standing, validated.content))


def _answer(decided: Decided, revision: int, stages: Report) -> DraftAnswer:
    part = decided.parts[0]
    return DraftAnswer(
        definition_id=part.definition_id,
        revision=part.revision_after(revision),
        etag=part.etag_after(revision),
        changed=part.decision.changed,
        stages=stages,
        violations=decided.validated.violations,
    )
