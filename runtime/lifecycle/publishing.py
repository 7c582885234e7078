"""The chain of PublishDefinition: the draft, or a definition given with the call, becomes the published version.

    load -> validate -> compile -> decide -> record -> invalidate -> announce

`validate` finds everything that is wrong, at once; `compile` makes what runs; `record` is the only stage that changes
anything: the version, what is published, the triggers. Whatever happens, the published version is wholly the old one or
wholly the new one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog, CompiledVersion, executable
from ..core.compiler import compile_definition
from ..core.lifecycle import (
    Content,
    Decision,
    Impact,
    StageRun,
    check_etag,
    check_state,
    content_of,
    decide_publish,
    refuse_content,
)
from ..core.nodes import DefinitionLimits
from ..core.plan import Plan
from ..core.reader import Reading
from ..core.refusals import Kind, Refusal, Refused, Violation
from ..lifecycle_rows import DefinitionHead
from ..ports import Clock
from ..schemas import check_schemas, misfits_of
from ..slots import check_schedules
from ..trigger_rows import JobRow, TriggerPause
from .chain import Chain, Report, first
from .contents import Given, other_id, published_content, read_given, read_stored, usable_id
from .extensions import UserStage, extended
from .recording import Announce, Announced, Ending, LifecycleStore, Origin, Part, Writer, standing_of
from .triggering import Candidate, Heard, Together, collisions, guards, hear, past_slots, trigger_changes


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
    imported: bool = False
    paused: tuple[str, ...] = ()
    """Of an import: the triggers that were paused where it was exported."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is published now, and what shall be."""

    command: Publish
    head: DefinitionHead | None
    published: Content | None
    reading: Reading
    heard: Mapping[str, Heard]
    """Who listens to the events that its triggers name."""
    running: int
    """Executions of the definition that have not ended."""
    now: int
    reverts_to: int = 0
    """The old version that the content is taken from; 0: none."""


@dataclass(frozen=True, slots=True)
class Validated:
    """Nothing is wrong with it."""

    loaded: Loaded
    plan: Plan
    """As the next version."""
    warnings: tuple[Violation, ...]

    @property
    def candidate(self) -> Candidate:
        """What has to go together with the triggers of others."""
        return Candidate(self.loaded.reading, self.plan)


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
    part: Part

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        return self.compiled.loaded.command.origin

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of the definition."""
        return (self.part,)

    @property
    def identity(self) -> str:
        """The definition and the version that is published then."""
        return f"{self.part.definition_id}@{self.decision.after.published}"

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it: none."""
        return None


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
        *,
        event_triggers_max: int = 100,
        user_stages: Sequence[UserStage] = (),
    ) -> None:
        """`event_triggers_max`: triggers that may listen to one event name in a tenant."""
        self.store = store
        self.clock = clock
        self.user_stages = user_stages
        self.limits = limits or DefinitionLimits()
        self.event_triggers_max = event_triggers_max
        self.ending = Ending(store, journal, catalog, clock, listeners)
        chain: Chain[Publish, Announced[Decided]] = (
            first("load", self.load)
            .map("validate", self.validate)
            .map("compile", compile_content)
            .map("decide", self.decide)
            .commit("record", self.ending.record)
            .then("invalidate", self.ending.invalidate)
            .then("announce", self.ending.announce)
        )
        self.chain = extended(chain, "publish", user_stages, clock)

    async def publish(self, command: Publish) -> PublishAnswer:
        """Publish. Raises Refused: INVALID_DEFINITION, UNKNOWN_FIELD, LIMIT_EXCEEDED, UNSUPPORTED, DRAFT_NOT_FOUND,
        DEFINITION_DELETED, ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        return await self.ending.carry_out(
            self.chain,
            command,
            answer_to,
            lambda done: self.as_it_is(command.origin.tenant, done.identity, done.changed[0]),
        )

    async def as_it_is(self, tenant: str, identity: str, changed: bool) -> PublishAnswer:
        """The answer to a request that was carried out before: its version, and the definition as it is now."""
        definition_id, _, version = identity.rpartition("@")
        present = await self.ending.present(tenant, definition_id)
        return PublishAnswer(definition_id, int(version), *present, changed, impact=Impact(version=int(version)))

    # The stages

    async def load(self, command: Publish) -> Loaded:
        """Read what there is, and what shall be. Raises Refused: DRAFT_NOT_FOUND, INVALID_REQUEST, and where the text
        cannot be read at all."""
        reading = read_given(command.given, self.limits) if command.given is not None else None
        wanted = command.definition_id or (reading.definition.id if reading is not None else "")
        definition_id = usable_id(wanted)
        head = await self.store.definition(command.origin.tenant, definition_id) if definition_id else None
        published = await published_content(self.store, head)
        return await self.look_around(command, head, published, reading or _draft(head, published, wanted))

    async def look_around(
        self,
        command: Publish,
        head: DefinitionHead | None,
        published: Content | None,
        reading: Reading,
        reverts_to: int = 0,
    ) -> Loaded:
        """The end of every `load`: what else the change has to do with."""
        tenant = command.origin.tenant
        heard = await hear(self.store, tenant, reading.definition)
        running = await self.store.open_count(tenant, head.definition_id, 0) if head is not None else 0
        return Loaded(command, head, published, reading, heard, running, self.clock.now(), reverts_to)

    def validate(self, loaded: Loaded) -> Validated:
        """Find everything that is wrong with the content. Raises Refused."""
        examined = self.examine(loaded)
        return self.suits(examined, Together([examined.plan]))

    def examine(self, loaded: Loaded) -> Validated:
        """Find what is wrong with the content by itself. Raises Refused."""
        command, reading = loaded.command, loaded.reading
        if command.running is RunningExecutions.MIGRATE:
            raise _no_migration()
        compiled = compile_definition(reading, standing_of(loaded.head).latest + 1, self.limits, misfits_of)
        wrong = (
            *other_id(reading, command.definition_id),
            *compiled.violations,
            *check_schemas(compiled.schemas, reading),
            *check_schedules(reading),
        )
        if wrong or compiled.plan is None:
            raise Refused(refuse_content(wrong, reading.definition.id))
        past = past_slots(Candidate(reading, compiled.plan), loaded.now)
        return Validated(loaded, compiled.plan, (*compiled.warnings, *past))

    def suits(self, examined: Validated, together: Together) -> Validated:
        """The same, if its triggers go together with those of other definitions, and of those that are published along
        with it. Raises Refused."""
        wrong = collisions(examined.candidate, together, examined.loaded.heard, self.event_triggers_max)
        if wrong:
            raise Refused(refuse_content(wrong, examined.plan.definition_id))
        return examined

    def decide(self, compiled: Compiled) -> Decided:
        """Find what it comes to. Raises Refused: DEFINITION_DELETED, ETAG_MISMATCH."""
        loaded, plan = compiled.loaded, compiled.version.plan
        command, standing = loaded.command, standing_of(loaded.head)
        refusal = check_state(standing, plan.definition_id, revives=True) or check_etag(
            standing, command.etag, plan.definition_id
        )
        if refusal is not None:
            raise Refused(refusal)
        decision = decide_publish(
            standing,
            compiled.content,
            loaded.published,
            reverts_to=loaded.reverts_to,
            imported=command.imported,
            paused=command.paused,
            running=loaded.running,
        )
        fresh = decision.after.latest > standing.latest
        pauses = [trigger_id for trigger_id in decision.after.paused if trigger_id not in standing.paused]
        part = Part(
            plan.definition_id,
            decision,
            loaded.head.revision if loaded.head is not None else 0,
            content=compiled.content if fresh else None,
            compiled=compiled.version if fresh else None,
            triggers=trigger_changes(command.origin.tenant, plan, loaded.now) if fresh else None,
            pauses=tuple(TriggerPause(trigger_id, True) for trigger_id in pauses),
            listeners=guards(plan, loaded.heard, self.event_triggers_max) if fresh else (),
        )
        return Decided(compiled, decision, part)


def compile_content(validated: Validated) -> Compiled:
    """Make what runs."""
    loaded = validated.loaded
    content = content_of(loaded.reading.definition)
    version = executable(content.definition, validated.plan, content.data, content.fingerprint)
    return Compiled(loaded, content, version, validated.warnings)


def answer_to(decided: Decided, revision: int, stages: Report = ()) -> PublishAnswer:
    """The answer after the change of this revision; 0: it was rehearsed only, or nothing was to be changed."""
    part, decision = decided.part, decided.decision
    return PublishAnswer(
        definition_id=part.definition_id,
        version=decision.impact.version,
        revision=part.revision_after(revision),
        etag=part.etag_after(revision),
        changed=decision.changed,
        stages=stages,
        impact=decision.impact,
        warnings=decided.compiled.warnings,
    )


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
