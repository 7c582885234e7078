"""The chain of PublishDefinition: the draft, or a definition given with the call, becomes the published version.

    load -> validate -> compile -> decide -> record -> invalidate -> announce

`validate` finds everything that is wrong, at once; `compile` makes what runs; `record` is the only stage that changes
anything. Whatever happens, the published version is wholly the old one or wholly the new one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from ..catalog import Catalog, CompiledVersion, executable
from ..core.compiler import compile_definition
from ..core.lifecycle import (
    Content,
    Decision,
    Impact,
    StageRun,
    check_etag,
    content_of,
    decide_publish,
    refuse_content,
)
from ..core.nodes import DefinitionLimits
from ..core.plan import Plan
from ..core.reader import Reading
from ..core.refusals import Kind, Refusal, Refused, Violation
from ..ports import Clock, DefinitionHead, Request
from ..schemas import check_schema
from .chain import Chain, Ran, first
from .contents import Given, other_id, published_content, read_given, read_stored, usable_id
from .recording import Announce, LifecycleStore, Origin, Recorder, Writer, announce, standing_of


class RunningExecutions(enum.Enum):
    """What becomes of running executions when another version is published."""

    PIN = "PIN"
    MIGRATE = "MIGRATE"


class Publish(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    definition_id: str = ""
    """May be empty with a content, else it must be the content's id."""
    given: Given | None = None
    """None: the draft."""
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""
    validate_only: bool = False
    running: RunningExecutions = RunningExecutions.PIN


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is published now, and what shall be."""

    command: Publish
    head: DefinitionHead | None
    published: Content | None
    reading: Reading
    reverts_to: int = 0
    """The old version that the content is taken from; 0: none."""


@dataclass(frozen=True, slots=True)
class Validated:
    """Nothing is wrong with it."""

    loaded: Loaded
    plan: Plan
    """As the next version."""
    warnings: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """It can run."""

    loaded: Loaded
    content: Content
    version: CompiledVersion
    warnings: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What the publish comes to. Nothing has changed yet."""

    compiled: Compiled
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


class PublishAnswer(msgspec.Struct, frozen=True):
    """What was published; with `validate_only`, what would be."""

    definition_id: str
    version: int
    revision: int
    """Of the definition's last change."""
    etag: str
    changed: bool
    """False: this content was published already."""
    stages: tuple[StageRun, ...] = ()
    """The stages that ran; none for a request that was carried out before."""
    impact: Impact = Impact()
    warnings: tuple[Violation, ...] = ()


class Wish(Protocol):
    """A command that ends in a publish."""

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        ...

    @property
    def validate_only(self) -> bool:
        """Nothing is to be changed."""
        ...


Wanted = TypeVar("Wanted", bound=Wish)


class Publishing:
    """Publishes definitions. All stages but the first take any content: other chains end in them, too."""

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
        self.chain: Chain[Publish, Announced] = (
            first("load", self._load)
            .map("validate", self.validate)
            .map("compile", compile_content)
            .map("decide", decide)
            .commit("record", self.record)
            .then("invalidate", self.invalidate)
            .then("announce", self.announce)
        )

    async def publish(self, command: Publish) -> PublishAnswer:
        """Publish. Raises Refused: INVALID_DEFINITION, UNKNOWN_FIELD, LIMIT_EXCEEDED, UNSUPPORTED, DRAFT_NOT_FOUND,
        ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        return await self.carry_out(self.chain, command)

    async def carry_out(self, chain: Chain[Wanted, Announced], command: Wanted) -> PublishAnswer:
        """Run a chain that ends in these stages, or answer as to a request that was carried out before."""
        if command.validate_only:
            return await self._rehearse(chain, command)
        return await self._recorder.once(
            command.origin, lambda: self._change(chain, command), lambda done: self._as_it_is(command.origin, done)
        )

    async def _change(self, chain: Chain[Wanted, Announced], command: Wanted) -> PublishAnswer:
        ran = await chain.run(command, monotonic=self._clock.monotonic)
        recorded = ran.value.recorded
        return _answer(recorded.decided, recorded.revision, ran.stages)

    async def _rehearse(self, chain: Chain[Wanted, Announced], command: Wanted) -> PublishAnswer:
        ran: Ran[object] = await chain.run(command, until="decide", monotonic=self._clock.monotonic)
        assert isinstance(ran.value, Decided)
        return _answer(ran.value, _revision(ran.value.compiled.loaded), ran.stages)

    async def _as_it_is(self, origin: Origin, done: Request) -> PublishAnswer:
        """The answer to a request that was carried out before: its version, and the definition as it is now."""
        definition_id, _, version = done.identity.rpartition("@")
        head = await self._store.definition(origin.tenant, definition_id)
        revision = head.revision if head is not None else 0
        etag = standing_of(head).etag
        return PublishAnswer(definition_id, int(version), revision, etag, True, impact=Impact(version=int(version)))

    # The stages

    async def _load(self, command: Publish) -> Loaded:
        reading = read_given(command.given, self._limits) if command.given is not None else None
        wanted = command.definition_id or (reading.definition.id if reading is not None else "")
        definition_id, tenant = usable_id(wanted), command.origin.tenant
        head = await self._store.definition(tenant, definition_id) if definition_id else None
        published = await published_content(self._store, head)
        return Loaded(command, head, published, reading or _draft(head, published, wanted))

    def validate(self, loaded: Loaded) -> Validated:
        """Find everything that is wrong with the content."""
        command, reading = loaded.command, loaded.reading
        if command.running is RunningExecutions.MIGRATE:
            raise _no_migration()
        schema = reading.definition.input_schema
        compiled = compile_definition(reading, standing_of(loaded.head).latest + 1, self._limits)
        wrong = (
            *other_id(reading, command.definition_id),
            *compiled.violations,
            *(check_schema(schema, reading) if schema is not None else ()),
        )
        if wrong or compiled.plan is None:
            raise Refused(refuse_content(wrong, reading.definition.id))
        return Validated(loaded, compiled.plan, compiled.warnings)

    async def record(self, decided: Decided, stages: tuple[StageRun, ...]) -> Recorded:
        """Write the change, if there is one."""
        compiled, decision = decided.compiled, decided.decision
        if not decision.changed:
            return Recorded(decided, _revision(compiled.loaded))
        origin, definition_id = compiled.loaded.command.origin, compiled.version.definition_id
        identity = f"{definition_id}@{decision.after.published}"
        revision = await self._recorder.record(
            origin, decision, definition_id, stages, identity=identity, content=compiled.content
        )
        return Recorded(decided, revision)

    async def invalidate(self, recorded: Recorded) -> Invalidated:
        """Put the new version in the place of the old one in the caches."""
        compiled, tenant = recorded.decided.compiled, recorded.decided.compiled.loaded.command.origin.tenant
        if recorded.decided.decision.changed:
            self._catalog.changed(tenant, compiled.version.definition_id, recorded.revision)
            self._catalog.keep(tenant, compiled.version)
        return Invalidated(recorded)

    async def announce(self, invalidated: Invalidated) -> Announced:
        """Tell everybody."""
        recorded = invalidated.recorded
        compiled = recorded.decided.compiled
        origin, definition_id = compiled.loaded.command.origin, compiled.version.definition_id
        announce(self._listeners, origin, recorded.decided.decision, definition_id, recorded.revision)
        return Announced(recorded)


def compile_content(validated: Validated) -> Compiled:
    """Make what runs."""
    loaded = validated.loaded
    content = content_of(loaded.reading.definition)
    version = executable(content.definition, validated.plan, content.data, content.fingerprint)
    return Compiled(loaded, content, version, validated.warnings)


def decide(compiled: Compiled) -> Decided:
    """Find what it comes to."""
    loaded = compiled.loaded
    standing = standing_of(loaded.head)
    refusal = check_etag(standing, loaded.command.etag, compiled.version.definition_id)
    if refusal is not None:
        raise Refused(refusal)
    return Decided(compiled, decide_publish(standing, compiled.content, loaded.published, loaded.reverts_to))


def _draft(head: DefinitionHead | None, published: Content | None, definition_id: str) -> Reading:
    """The draft. A publish uses it up: calling again finds what that has published, and changes nothing."""
    if head is not None and head.draft is not None:
        return read_stored(head.draft)
    if published is not None:
        return read_stored(published.data)
    if not definition_id:
        message = "name the definition whose draft to publish, or give one with the call"
        violation = Violation("definition_id", "is required where no content is given", "REQUIRED")
        raise Refused(Refusal(Kind.INVALID, "INVALID_REQUEST", message, violations=(violation,)))
    message = f"definition {definition_id!r} has no draft to publish"
    raise Refused(
        Refusal(Kind.NOT_FOUND, "DRAFT_NOT_FOUND", message, resource_type="definition", resource=definition_id)
    )


def _no_migration() -> Refused:
    message = "`running_executions: MIGRATE` is not executed yet by this version of the server; use PIN"
    return Refused(Refusal(Kind.UNSUPPORTED, "UNSUPPORTED", message))


def _revision(loaded: Loaded) -> int:
    return loaded.head.revision if loaded.head is not None else 0


def _answer(decided: Decided, revision: int, stages: tuple[StageRun, ...]) -> PublishAnswer:
    """With `validate_only` the standing is the one before: an etag of what is not there yet would be of no use."""
    compiled, decision = decided.compiled, decided.decision
    dry = compiled.loaded.command.validate_only
    return PublishAnswer(
        definition_id=compiled.version.definition_id,
        version=decision.impact.version,
        revision=revision,
        etag=(decision.before if dry else decision.after).etag,
        changed=decision.changed,
        stages=stages,
        impact=decision.impact,
        warnings=compiled.warnings,
    )
