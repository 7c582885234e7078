"""The chain of PauseTrigger and ResumeTrigger: a trigger starts nothing, until it is resumed.

    load -> decide -> record -> invalidate -> announce

It stays paused through later versions. What it missed is not made up for: the next slot of a schedule is the first one
after it was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..catalog import Catalog, not_found
from ..core.lifecycle import Decision, StageRun, check_state, decide_pause
from ..core.refusals import Kind, Refusal, Refused
from ..lifecycle_rows import DefinitionHead
from ..ports import Clock
from ..trigger_rows import JobRow, TriggerPause, TriggerRow
from .chain import Chain, Report, first
from .extensions import UserStage, extended
from .recording import Announce, Announced, Done, Ending, LifecycleStore, Origin, Part, Writer, standing_of
from .triggering import next_slot


class PauseTrigger(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    definition_id: str
    trigger_id: str
    paused: bool
    """False: it is resumed."""
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the definition stands, and when the trigger would fire next."""

    command: PauseTrigger
    head: DefinitionHead
    next_slot: int
    due: int


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
        loaded, command = self.loaded, self.loaded.command
        pause = TriggerPause(command.trigger_id, True)
        if not command.paused:
            pause = TriggerPause(command.trigger_id, False, loaded.next_slot, loaded.due)
        return (Part(command.definition_id, self.decision, loaded.head.revision, pauses=(pause,)),)

    @property
    def identity(self) -> str:
        """The definition."""
        return self.loaded.command.definition_id

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it: none."""
        return None


class PauseAnswer(msgspec.Struct, frozen=True):
    """What was paused or resumed; with `validate_only`, what would be."""

    definition_id: str
    trigger_id: str
    revision: int
    """Of the definition's last change."""
    changed: bool
    """False: it was so already."""
    stages: tuple[StageRun, ...] = ()
    """The stages that ran; none for a request that was carried out before."""


class Pausing:
    """Pauses and resumes triggers."""

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
        self._catalog = catalog
        self._clock = clock
        self._ending = Ending(store, journal, catalog, clock, listeners)
        chain: Chain[PauseTrigger, Announced[Decided]] = (
            first("load", self._load)
            .map("decide", _decide)
            .commit("record", self._ending.record)
            .then("invalidate", self._ending.invalidate)
            .then("announce", self._ending.announce)
        )
        self.chain = extended(chain, "pause", user_stages, clock)

    async def pause(self, command: PauseTrigger) -> PauseAnswer:
        """Pause or resume. Raises Refused: DEFINITION_NOT_FOUND, TRIGGER_NOT_FOUND, DEFINITION_DELETED, LOST_RACE,
        REQUEST_ID_REUSED, STAGE_FAILED."""
        return await self._ending.carry_out(self.chain, command, _answer, lambda done: self._as_it_is(command, done))

    async def _as_it_is(self, command: PauseTrigger, done: Done) -> PauseAnswer:
        """The answer to a request that was carried out before: the definition as it is now."""
        present = await self._ending.present(command.origin.tenant, done.identity)
        return PauseAnswer(done.identity, command.trigger_id, present.revision, done.changed[0])

    async def _load(self, command: PauseTrigger) -> Loaded:
        tenant, definition_id, trigger_id = command.origin.tenant, command.definition_id, command.trigger_id
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        refusal = check_state(standing_of(head), definition_id)
        if refusal is not None:
            raise Refused(refusal)
        row = await self._store.trigger(tenant, definition_id, trigger_id)
        if row is None or not _known(row, head):
            raise trigger_not_found(definition_id, trigger_id)
        slot, due = 0, 0
        if row.active and not command.paused:
            plan = await self._catalog.plan(tenant, definition_id, head.published)
            slot, due = next_slot(tenant, plan, trigger_id, self._clock.now())
        return Loaded(command, head, slot, due)


def _known(row: TriggerRow, head: DefinitionHead) -> bool:
    """Whether the trigger is one of the definition, or was one of it when it was retracted, or is still paused."""
    return row.active or not head.published or row.trigger_id in head.paused


def _decide(loaded: Loaded) -> Decided:
    command = loaded.command
    return Decided(loaded, decide_pause(standing_of(loaded.head), command.trigger_id, command.paused))


def _answer(decided: Decided, revision: int, stages: Report) -> PauseAnswer:
    part, command = decided.parts[0], decided.loaded.command
    changed = decided.decision.changed
    return PauseAnswer(part.definition_id, command.trigger_id, part.revision_after(revision), changed, stages)


def trigger_not_found(definition_id: str, trigger_id: str) -> Refused:
    """The definition has no such trigger."""
    message = f"definition {definition_id!r} has no trigger {trigger_id!r}"
    resource = f"{definition_id}/{trigger_id}"
    return Refused(Refusal(Kind.NOT_FOUND, "TRIGGER_NOT_FOUND", message, resource_type="trigger", resource=resource))
