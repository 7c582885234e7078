"""The chain of DeleteDefinition: one version, or all of them and the draft.

    load -> decide -> record -> invalidate -> announce

From `record` on nothing starts any more from what is deleted. Where nothing runs, the contents go with the same
commit, which proves that nothing runs. Where something does, it refuses (REFUSE), or the commit begins a job that sees
to the rest (deletion.py); the answer names it and claims no more. With CANCEL the whole definition is DELETING until
the job is through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog, not_found, version_not_found
from ..core.lifecycle import (
    DELETING,
    Content,
    Decision,
    DefinitionDeleting,
    Impact,
    StageRun,
    check_etag,
    decide_delete,
    fact_of,
    refuse_in_use,
)
from ..core.lifecycle import OnDelete as OnDelete  # noqa: PLC0414 - it is part of what is asked for
from ..core.refusals import Refused
from ..lifecycle_rows import DefinitionHead
from ..ports import Clock, Ids
from ..trigger_rows import JobKind, JobRow, JobState
from .chain import Chain, Report, first
from .contents import published_content
from .deletion import Cancel, Deletion, Deletions
from .extensions import UserStage, extended
from .recording import (
    Announce,
    Announced,
    Done,
    Ending,
    LifecycleStore,
    Origin,
    Part,
    Writer,
    lost_race,
    standing_of,
)

RUNNING_NAMED_MAX = 10
"""Executions that a refusal names."""
TRIES_MAX = 3
"""How often a deletion that found nothing running, and was lost to a start, is decided anew."""


class Delete(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    definition_id: str
    version: int = 0
    """0: all of them, and the draft."""
    running: OnDelete = OnDelete.REFUSE
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the definition stands, and what runs of it."""

    command: Delete
    head: DefinitionHead
    published: Content | None
    running: int
    """Executions that have not ended, of the version or of all."""
    first_running: tuple[str, ...]
    """Some of them."""
    job_id: str
    """Of the job that will see to them; where the definition is being deleted already, of the one that does."""
    now: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What it comes to. Nothing has changed yet."""

    loaded: Loaded
    decision: Decision
    job: JobRow | None
    """The job that begins with it."""

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        return self.loaded.command.origin

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of the definition."""
        command, standing = self.loaded.command, self.decision.before
        idle: tuple[int, ...] = (command.version,) if command.version else ()
        silenced = standing.published and not self.decision.after.published
        return (
            Part(
                command.definition_id,
                self.decision,
                self.loaded.head.revision,
                triggers=() if silenced else None,
                idle=idle if self.job is None else None,
                purged=(idle or standing.versions) if self.job is None else (),
            ),
        )

    @property
    def identity(self) -> str:
        """The definition, and the job that finishes it."""
        return f"{self.loaded.command.definition_id}#{self.working}"

    @property
    def working(self) -> str:
        """The job that sees to what runs, once this is carried out; empty: there is none."""
        return self.loaded.job_id if self.job is not None or self.loaded.head.state == DELETING else ""


class DeleteAnswer(msgspec.Struct, frozen=True):
    """What was deleted, or is being deleted; with `validate_only`, what would be."""

    definition_id: str
    revision: int
    """Of the definition's last change."""
    etag: str
    changed: bool
    """False: it was deleted already, or is being deleted."""
    stages: tuple[StageRun, ...] = ()
    """The stages that ran; none for a request that was carried out before."""
    impact: Impact = Impact()
    job_id: str = ""
    """The job that sees to what runs; empty: there is none."""


class Deleting:
    """Deletes versions and definitions."""

    def __init__(
        self,
        store: LifecycleStore,
        journal: Writer,
        catalog: Catalog,
        clock: Clock,
        listeners: Sequence[Announce] = (),
        *,
        ids: Ids,
        cancel: Cancel,
        user_stages: Sequence[UserStage] = (),
    ) -> None:
        """`cancel` asks an execution to end, with a reason; it raises Refused where that cannot be."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._ending = Ending(store, journal, catalog, clock, listeners)
        self._deletions = Deletions(store, journal, clock, cancel, listeners)
        chain: Chain[Delete, Announced[Decided]] = (
            first("load", self._load)
            .map("decide", _decide)
            .commit("record", self._ending.record)
            .then("invalidate", self._ending.invalidate)
            .then("announce", self._ending.announce)
        )
        self.chain = extended(chain, "delete", user_stages, clock)

    async def delete(self, command: Delete) -> DeleteAnswer:
        """Delete; what is deleted, or being deleted, already stays as it is. Raises Refused: DEFINITION_NOT_FOUND,
        VERSION_NOT_FOUND, DEFINITION_IN_USE, ETAG_MISMATCH, LOST_RACE, REQUEST_ID_REUSED, STAGE_FAILED."""
        for _ in range(TRIES_MAX):
            try:
                return await self._ending.carry_out(
                    self.chain, command, _answer, lambda done: self._as_it_is(command.origin.tenant, done)
                )
            except Refused as refused:
                # Where the store has found something that runs, it counts none: decided anew, it is named.
                if refused.refusal.metadata.get("running") != "0":
                    raise
        message = f"executions of definition {command.definition_id!r} begin faster than it is deleted; try again"
        raise lost_race(message, command.definition_id)

    async def finish(self, job: JobRow) -> None:
        """Run a job that a deletion began (kind DELETE_DEFINITION) to its end."""
        await self._deletions.run(job)

    async def _as_it_is(self, tenant: str, done: Done) -> DeleteAnswer:
        """The answer to a request that was carried out before: its job, and the definition as it is now."""
        definition_id, _, job_id = done.identity.partition("#")
        return DeleteAnswer(
            definition_id, *await self._ending.present(tenant, definition_id), done.changed[0], job_id=job_id
        )

    # The stages

    async def _load(self, command: Delete) -> Loaded:
        tenant, definition_id, version = command.origin.tenant, command.definition_id, command.version
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        if not 0 <= version <= head.latest:
            raise version_not_found(definition_id, version)
        running = await self._store.open_count(tenant, definition_id, version)
        some: list[str] = []
        if running:
            found = await self._store.open_executions(tenant, definition_id, version, 0, RUNNING_NAMED_MAX)
            some = [ref.execution_id for _, ref in found]
        published = await published_content(self._store, head)
        job_id = await self._job_of(head) if head.state == DELETING else self._ids.new()
        return Loaded(command, head, published, running, tuple(some), job_id, self._clock.now())

    async def _job_of(self, head: DefinitionHead) -> str:
        """The job that is deleting it: nothing follows DefinitionDeleting in the stream until it is through."""
        (last,) = await self._store.definition_events(head.tenant, head.definition_id, head.sequence - 1, 0, 1, 1)
        fact = fact_of(last.name, last.payload)
        return fact.job_id if isinstance(fact, DefinitionDeleting) else ""


def _decide(loaded: Loaded) -> Decided:
    command, standing = loaded.command, standing_of(loaded.head)
    refusal = check_etag(standing, command.etag, command.definition_id)
    if refusal is not None:
        raise Refused(refusal)
    decision = decide_delete(
        standing,
        command.version,
        command.running,
        loaded.published,
        running=loaded.running,
        job_id=loaded.job_id,
    )
    if not decision.changed or not loaded.running:
        return Decided(loaded, decision, None)
    if command.running is OnDelete.REFUSE:
        raise Refused(refuse_in_use(command.definition_id, command.version, loaded.running, loaded.first_running))
    return Decided(loaded, decision, _job(loaded, decision))


def _job(loaded: Loaded, decision: Decision) -> JobRow:
    command = loaded.command
    whole = not command.version
    deletion = Deletion(
        command.definition_id,
        decision.before.versions if whole else (command.version,),
        whole=whole,
        cancel=command.running is OnDelete.CANCEL,
    )
    return JobRow(
        command.origin.tenant,
        loaded.job_id,
        JobKind.DELETE_DEFINITION,
        JobState.RUNNING,
        command.definition_id if whole else f"{command.definition_id}@{command.version}",
        msgspec.json.encode(deletion),
        user_id=command.origin.user_id,
        total=loaded.running,
        created_at=loaded.now,
        updated_at=loaded.now,
    )


def _answer(decided: Decided, revision: int, stages: Report) -> DeleteAnswer:
    """A job is named only where there is one: not where the deletion was rehearsed."""
    part, decision, loaded = decided.parts[0], decided.decision, decided.loaded
    working = revision or loaded.head.state == DELETING
    return DeleteAnswer(
        definition_id=part.definition_id,
        revision=part.revision_after(revision),
        etag=part.etag_after(revision),
        changed=decision.changed,
        stages=stages,
        impact=decision.impact,
        job_id=decided.working if working else "",
    )
