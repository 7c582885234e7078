"""What becomes of one slot: it starts its execution, is passed over, or waits for room in its line.

- Late is a slot that was first seen more than `schedule_lateness_seconds` after it was due. Without `catch_up` it is
  passed over, with it only where it is older than the window; all that are too late are passed over in one step.
- A slot that was decided makes the next one due at that moment, if it was due before: what stood behind it has not
  been late by itself. With jitter, too, slots are decided in their order.
- A slot whose line is full is put off: the moment when it is tried again is stored with it, so that a restart does
  not take the wait for lateness.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from .core.commands import Origin
from .core.expressions import ExpressionError
from .core.plan import ScheduleSource
from .core.refusals import Kind, Refused
from .core.triggers import TriggerFact, fire
from .firing import Firings, Result, Target, Wish, slot_execution_id
from .ports import Clock
from .rows import ExecutionRef
from .settings import Settings
from .slots import Slots, slot_text
from .trigger_rows import SlotStep, TriggerRow

log = logging.getLogger("callboard.schedules")

PUT_OFF_SECONDS: Final = 10
"""Pause before a slot is tried again whose line is full, unless somebody leaves the line before."""
_MICROSECONDS: Final = 1_000_000

Observe: TypeAlias = Callable[[str], None]
"""Hears what became of each slot: `started`, `existed`, `late`, `overlap`, `unique_key`, `failed`, `full`."""


class Decision(enum.Enum):
    """How a slot was decided."""

    PASSED = "passed"
    """The schedule has gone on to its next slot."""
    STALLED = "stalled"
    """There is no room in its line: it is put off."""
    CHANGED = "changed"
    """The schedule or its definition has changed: read it again."""


@dataclass(frozen=True, slots=True)
class _Timetable:
    """The steps from slot to slot."""

    slots: Slots
    source: ScheduleSource
    place: str
    lateness: int

    def late(self, slot: int, due: int, now: int) -> bool:
        """Whether it starts nothing any more."""
        if now - due <= self.lateness:
            return False
        return self.source.catch_up is None or slot <= now - self.source.catch_up

    def on(self, slot: int, now: int) -> SlotStep:
        """To the next slot, from one that is decided now."""
        following = self.slots.next_after(slot)
        due = max(self.slots.due(self.place, following), now) if following else 0
        return SlotStep(slot, following, due)

    def over(self, slot: int, now: int) -> SlotStep:
        """To the first slot that is not too late."""
        back = max(self.source.catch_up or 0, self.lateness + self.source.jitter)
        following = self.slots.next_after(max(slot, now - back))
        while following and self.late(following, self.slots.due(self.place, following), now):
            following = self.slots.next_after(following)
        due = self.slots.due(self.place, following) if following else 0
        return SlotStep(slot, following, due, skipped=1)


class SlotDecisions:
    """Decides the slots of one store's schedules."""

    def __init__(self, *, firings: Firings, clock: Clock, settings: Settings, observe: Observe | None = None) -> None:
        self._firings = firings
        self._clock = clock
        self._lateness = settings.schedule_lateness_seconds * _MICROSECONDS
        self._observe = observe

    async def decide(self, row: TriggerRow, seen: int, stalls: Callable[[], None]) -> Decision:
        """Decide `row.next_slot`, which was first seen to be due at `seen`. `stalls` is called before a slot is put
        off, so that nobody who leaves its line meanwhile is missed. Raises where it cannot be decided now: a full
        disk, a definition that does not run.
        """
        target = await self._firings.target(row)
        if target is None or not isinstance(target.trigger.source, ScheduleSource):
            return Decision.CHANGED
        source = target.trigger.source
        slots = Slots(source)
        timetable = _Timetable(slots, source, place_of(row.tenant, row.definition_id, row.trigger_id), self._lateness)
        if timetable.late(row.next_slot, row.due, seen):
            return await self._pass(row, target, timetable.over(row.next_slot, self._clock.now()), "late")
        step = timetable.on(row.next_slot, self._clock.now())
        result = await self._start(row, target, slots, step)
        match result:
            case Result.STARTED | Result.EXISTED:
                self._tell(result.value)
                return Decision.PASSED
            case Result.CHANGED | Result.REPEATED:
                return Decision.CHANGED
            case Result.OVERLAP | Result.KEY_TAKEN:
                return await self._pass(row, target, _without(step), result.value)
            case Result.FULL:
                stalls()
                return await self._put_off(row, target)
            case None:
                return await self._pass(row, target, _without(step), "failed")

    async def _start(self, row: TriggerRow, target: Target, slots: Slots, step: SlotStep) -> Result | None:
        """None: whatever is wrong with this slot will not get better."""
        try:
            fired = await self._firings.fire(_wish(row, target, slots, step))
        except Refused as refused:
            if refused.refusal.kind in _PASSING:
                raise
            self._warn(row, refused)
            return None
        except ExpressionError as error:
            self._warn(row, error)
            return None
        return fired.result

    async def _pass(self, row: TriggerRow, target: Target, step: SlotStep, why: str) -> Decision:
        if not await self._firings.skip(row, target, step):
            return Decision.CHANGED
        log.info("slot %s of %s/%s starts nothing: %s", slot_text(step.slot), row.definition_id, row.trigger_id, why)
        self._tell(why)
        return Decision.PASSED

    async def _put_off(self, row: TriggerRow, target: Target) -> Decision:
        slot = row.next_slot
        step = SlotStep(slot, slot, self._clock.now() + PUT_OFF_SECONDS * _MICROSECONDS)
        if not await self._firings.skip(row, target, step):
            return Decision.CHANGED
        self._tell(Result.FULL.value)
        return Decision.STALLED

    def _warn(self, row: TriggerRow, error: Exception) -> None:
        place = f"{row.definition_id}/{row.trigger_id}"
        log.warning("slot %s of %s cannot start anything: %s", slot_text(row.next_slot), place, error)

    def _tell(self, what: str) -> None:
        if self._observe is not None:
            self._observe(what)


_PASSING: Final = frozenset({Kind.BUSY, Kind.UNAVAILABLE, Kind.RACE, Kind.DEADLINE})
"""Refusals that say nothing about the slot."""


def place_of(tenant: str, definition_id: str, trigger_id: str) -> str:
    """The trigger's name in the hash that spreads its slots."""
    return f"{tenant}/{definition_id}/{trigger_id}"


def _wish(row: TriggerRow, target: Target, slots: Slots, step: SlotStep) -> Wish:
    """Raises ExpressionError."""
    fact = TriggerFact(row.trigger_id, slot_text(step.slot), slots.local(step.slot))
    return Wish(
        target=target,
        ref=ExecutionRef(row.tenant, slot_execution_id(row.definition_id, row.trigger_id, step.slot)),
        firing=fire(target.trigger, fact),
        origin=Origin(row.trigger_id, slot=step.slot),
        step=step,
    )


def _without(step: SlotStep) -> SlotStep:
    """The same step, with nothing started."""
    return SlotStep(step.slot, step.next_slot, step.due, skipped=1)
