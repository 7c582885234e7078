"""The clockwork of schedules: every slot is decided once, in order, and starts its execution or is passed over.

Rules
- The store's index is the truth. In memory is when a schedule is due next, of those due within the horizon, and of
  these about `held_max` at most; what is to be decided then is read when it is due. No definition is read at start.
- A decision is one commit: the step to the next slot, and the execution that the slot starts, with an id made of the
  slot. Killed before it, the slot is found again; killed after it, it has passed.
- A slot that came due while the server was down is late. One that the server saw in time is never late, however long
  the disk was full or the line before it: what is behind it is then due when it has passed.
- Whatever is wrong with one slot (its input, its labels, an expression), the slot passes, and the schedule goes on.
- Due times are of the wall clock; the alarm is set on the monotonic clock for what remains, and checked when it
  rings. A wall clock that jumped is noticed within `check_seconds`, and all alarms are set anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from .alarms import Alarm, Alarms
from .core.effects import LeaveLine
from .fair_queue import FairQueue
from .firing import line_of
from .lifecycle_rows import LifecycleChange
from .ports import Clock
from .rows import ExecutionAppend
from .slot_decisions import Decision, SlotDecisions
from .trigger_rows import TriggerFiring, TriggerRow
from .writes import Committed, Write

log = logging.getLogger("callboard.schedules")

_MICROSECONDS: Final = 1_000_000
_JUMP_US: Final = 500_000
"""Difference between the clocks from which on the wall clock has jumped and not just been slewed."""
_END_OF_TIME: Final = 2**63 - 1
DECISIONS_MAX: Final = 20
"""How often a slot is decided again at once because its definition was changing."""
_PAGE: Final = 100
"""Triggers of a definition that are read at one time."""


class ScheduleSettings(msgspec.Struct, frozen=True):
    """The limits and times of the clockwork, each with its unit in its name."""

    horizon_seconds: float = 3_600.0
    """Schedules due within it are kept in memory."""
    held_max: int = 10_000
    """Schedules in memory; above twice as many, the latest are left to the store again."""
    firing_max: int = 64
    """Slots decided at one time."""
    check_seconds: float = 30.0
    """How often the wall clock is compared with the monotonic one, and the horizon moved."""
    retry_seconds: float = 0.5
    """Pause before a slot is tried again that could not be decided; it doubles every time."""
    retry_seconds_max: float = 30.0


class ScheduleStore(Protocol):
    """What the clockwork reads."""

    async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
        """The active schedules of all tenants that are not paused and due first, at most at `until`."""
        ...

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """One trigger, active or not, or None."""
        ...

    async def triggers(
        self, tenant: str, definition_id: str, event_name: str, after: tuple[str, str], limit: int
    ) -> list[TriggerRow]:
        """Active triggers in the order of (definition id, trigger id), after this place."""
        ...


class _Owner(NamedTuple):
    """A definition."""

    tenant: str
    definition_id: str


_Line: TypeAlias = tuple[_Owner, str]


class _Schedule:
    """One schedule in memory."""

    __slots__ = ("alarm", "busy", "due", "early", "owner", "pause", "seen", "trigger_id", "waits")

    def __init__(self, owner: _Owner, trigger_id: str, due: int) -> None:
        self.owner = owner
        self.trigger_id = trigger_id
        self.due = due
        """0: never, as far as is known."""
        self.seen = 0
        """When it was first seen to be due; 0: it is not, or was not looked at."""
        self.alarm: Alarm | None = None
        self.busy = False
        """Its slot is being decided."""
        self.waits = 0
        """The slot that waits for room in its line; 0: none."""
        self.early = False
        """There may be room now: the slot that waits is tried before it is due again."""
        self.pause = 0.0
        """Seconds until it is tried again after a failure; 0: it has not failed."""

    def __str__(self) -> str:
        return f"{self.owner.tenant}/{self.owner.definition_id}/{self.trigger_id}"


def due_of(row: TriggerRow | None) -> int:
    """When a trigger fires by itself; 0: never, as things are."""
    runs = row is not None and row.active and not row.paused and not row.event_name and row.next_slot
    return row.due if runs and row is not None else 0


class Schedules:
    """All schedules of one store. `alarms` must be running for them to ring."""

    def __init__(
        self,
        *,
        store: ScheduleStore,
        clock: Clock,
        alarms: Alarms,
        decisions: SlotDecisions,
        settings: ScheduleSettings | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alarms = alarms
        self._decisions = decisions
        self._settings = settings or ScheduleSettings()
        self._held: dict[_Owner, dict[str, _Schedule]] = {}
        self._count = 0
        self._due: FairQueue[_Schedule] = FairQueue()
        self._firing: set[asyncio.Task[None]] = set()
        self._stalled: dict[_Line, _Schedule] = {}
        self._covered = -1
        """Every stored schedule due at or before this moment is in memory (later ones may be)."""
        self._cut = False
        """Whether `_covered` ends before the horizon because there are too many."""
        self._reads: dict[int, set[_Owner]] = {}
        """For every read under way, which definitions have changed meanwhile: what it finds may be older."""
        self._read_numbers = itertools.count()
        self._dirty: set[_Owner] = set()
        """Definitions whose triggers have to be read again."""
        self._refreshing: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._offset = 0
        self._check: Alarm | None = None
        self._closed = False

    def __len__(self) -> int:
        return self._count

    async def start(self) -> None:
        """Read what is due soon, and go on from there; commits may be heard of already."""
        self._offset = self._clock_offset()
        await self._load()
        self._check = self._alarms.after(self._settings.check_seconds, self._look_ahead)

    async def close(self) -> None:
        """Fire nothing any more, and return when the firings that have begun are on disk or refused."""
        self._closed = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for schedule in tuple(self._all()):
            self._disarm(schedule)
        for reading in (self._refreshing, self._loading):
            if reading is not None:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
        while self._firing:
            await asyncio.wait(self._firing)

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """Act on what has just been committed; called by the journal, in commit order."""
        for write, _ in writes:
            if type(write) is TriggerFiring:
                self._stepped(write)
            elif type(write) is LifecycleChange:
                self._changed(write)
            elif type(write) is ExecutionAppend and self._stalled:
                self._left(write)
        if self._wants_more():
            self._read_on()

    def _stepped(self, write: TriggerFiring) -> None:
        if write.step is not None:
            owner = _Owner(write.tenant, write.definition_id)
            self._note(owner)
            self._know(owner, write.trigger_id, write.step.due if write.step.next_slot else 0)

    def _changed(self, write: LifecycleChange) -> None:
        """What a change has made of a schedule depends on what it was before: it is read again."""
        for change in write.changes:
            if change.triggers is None and not change.pauses:
                continue
            owner = _Owner(write.tenant, change.definition_id)
            self._note(owner)
            timed = any(not trigger.event_name for trigger in change.triggers or ())
            if timed or change.pauses or owner in self._held:
                self._dirty.add(owner)
        if self._dirty:
            self._refresh()

    def _left(self, write: ExecutionAppend) -> None:
        """An execution has left its line: a slot that waits for room in it is tried at once."""
        owner = _Owner(write.ref.tenant, write.head.definition_id)
        for effect in write.effects:
            schedule = self._stalled.pop((owner, effect.line), None) if type(effect) is LeaveLine else None
            if schedule is not None and self._is_held(schedule):
                schedule.early = True
                if not schedule.busy:
                    self._disarm(schedule)
                    self._enqueue(schedule)

    # In memory

    def _all(self) -> Iterator[_Schedule]:
        for of_owner in self._held.values():
            yield from of_owner.values()

    def _is_held(self, schedule: _Schedule) -> bool:
        return self._held.get(schedule.owner, {}).get(schedule.trigger_id) is schedule

    def _know(self, owner: _Owner, trigger_id: str, due: int) -> None:
        """When a schedule is due, as is now known."""
        schedule = self._held.get(owner, {}).get(trigger_id)
        if schedule is None:
            if 0 < due <= self._covered:
                self._hold(_Schedule(owner, trigger_id, due))
        elif due != schedule.due:
            schedule.due = due
            schedule.seen = 0
            if not schedule.busy:
                self._settle(schedule)

    def _hold(self, schedule: _Schedule) -> None:
        self._held.setdefault(schedule.owner, {})[schedule.trigger_id] = schedule
        self._count += 1
        self._arm(schedule)
        if self._count > 2 * self._settings.held_max:
            self._leave_latest()

    def _drop(self, schedule: _Schedule) -> None:
        of_owner = self._held[schedule.owner]
        del of_owner[schedule.trigger_id]
        if not of_owner:
            del self._held[schedule.owner]
        self._count -= 1
        self._disarm(schedule)
        self._stalled.pop((schedule.owner, line_of(schedule.trigger_id)), None)

    def _settle(self, schedule: _Schedule) -> None:
        """Wait for its due; one that is not due within what is kept is left to the store."""
        if 0 < schedule.due <= self._covered:
            self._arm(schedule)
        else:
            self._drop(schedule)

    def _leave_latest(self) -> None:
        """Too many: leave those due last to the store, which gives them back in time. Not while the page of those due
        first is being read, for it might be too old to hold them."""
        if self._covered == _END_OF_TIME:
            return
        waiting = sorted((each for each in self._all() if each.alarm is not None), key=lambda each: each.due)
        if len(waiting) <= self._settings.held_max:
            return
        self._covered = min(self._covered, waiting[self._settings.held_max].due - 1)
        self._cut = True
        for schedule in waiting[self._settings.held_max :]:
            self._drop(schedule)

    # Ringing

    def _disarm(self, schedule: _Schedule) -> None:
        self._due.discard(schedule.owner.tenant, schedule)
        if schedule.alarm is not None:
            schedule.alarm.cancel()
            schedule.alarm = None

    def _arm(self, schedule: _Schedule) -> None:
        self._ring_after(schedule, max(0, schedule.due - self._clock.now()) / _MICROSECONDS)

    def _ring_after(self, schedule: _Schedule, seconds: float) -> None:
        self._disarm(schedule)
        schedule.alarm = self._alarms.after(seconds, partial(self._ring, schedule))

    def _ring(self, schedule: _Schedule) -> None:
        schedule.alarm = None
        if schedule.due > self._clock.now():
            # The wall clock was set back, or the alarm was rounded down.
            self._arm(schedule)
        else:
            self._enqueue(schedule)

    def _enqueue(self, schedule: _Schedule) -> None:
        self._see(schedule)
        self._due.put(schedule.owner.tenant, schedule)
        self._fire()

    def _see(self, schedule: _Schedule) -> None:
        now = self._clock.now()
        if not schedule.seen and 0 < schedule.due <= now:
            schedule.seen = now

    def _fire(self) -> None:
        """Decide what is due, a bounded number at a time: tenants take turns, and so do the schedules of one."""
        while self._due and len(self._firing) < self._settings.firing_max and not self._closed:
            schedule = self._due.take()
            schedule.busy = True
            task = asyncio.get_running_loop().create_task(self._decide(schedule), name="callboard-slot")
            self._firing.add(task)
            task.add_done_callback(partial(self._decided, schedule))

    def _decided(self, schedule: _Schedule, task: asyncio.Task[None]) -> None:
        self._firing.discard(task)
        schedule.busy = False
        if self._is_held(schedule) and not self._closed:
            if schedule.early:
                self._enqueue(schedule)
            elif schedule.pause:
                self._ring_after(schedule, schedule.pause)
            else:
                self._settle(schedule)
        self._fire()

    async def _decide(self, schedule: _Schedule) -> None:
        """Decide one slot, or find that there is none to decide; with a pause set, it is tried again after that."""
        early, schedule.early = schedule.early, False
        longer = min(2 * schedule.pause or self._settings.retry_seconds, self._settings.retry_seconds_max)
        schedule.pause = 0.0
        try:
            for _ in range(DECISIONS_MAX):
                row = await self._row(schedule, early)
                if row is None or await self._carry_out(schedule, row):
                    return
            log.info("slot of %s keeps changing", schedule)
        except Exception as error:  # noqa: BLE001 - whatever it is, the slot is still there, and the others go on
            log.warning("slot of %s could not be decided yet: %r", schedule, error)
        schedule.pause = longer

    async def _row(self, schedule: _Schedule, early: bool) -> TriggerRow | None:
        """The schedule as it is stored; None: there is nothing to decide now."""
        tenant, definition_id = schedule.owner
        with self._reading() as changed:
            row = await self._store.trigger(tenant, definition_id, schedule.trigger_id)
        due = due_of(row)
        if schedule.owner not in changed and due != schedule.due:
            schedule.due = due
            schedule.seen = 0
        self._see(schedule)
        if row is None or not due:
            return None
        return row if due <= self._clock.now() or (early and row.next_slot == schedule.waits) else None

    async def _carry_out(self, schedule: _Schedule, row: TriggerRow) -> bool:
        """Decide the slot that the row says is next; False: it has moved on meanwhile."""
        line = (schedule.owner, line_of(schedule.trigger_id))

        def stalls() -> None:
            schedule.waits = row.next_slot
            self._stalled[line] = schedule

        seen = schedule.seen if schedule.due == row.due else 0
        decision = await self._decisions.decide(row, seen or self._clock.now(), stalls)
        if decision is Decision.PASSED:
            schedule.waits = 0
            self._stalled.pop(line, None)
        return decision is not Decision.CHANGED

    # Reading

    @contextmanager
    def _reading(self) -> Generator[set[_Owner], None, None]:
        """Collects the definitions that change while something is read: of these, what was read may be older."""
        number = next(self._read_numbers)
        changed = self._reads[number] = set[_Owner]()
        try:
            yield changed
        finally:
            del self._reads[number]

    def _note(self, owner: _Owner) -> None:
        for changed in self._reads.values():
            changed.add(owner)

    def _refresh(self) -> None:
        if (self._refreshing is None or self._refreshing.done()) and not self._closed:
            self._refreshing = asyncio.get_running_loop().create_task(self._read_dirty(), name="callboard-schedules")

    async def _read_dirty(self) -> None:
        """Read what has changed, one definition after the other."""
        while self._dirty:
            owner = self._dirty.pop()
            try:
                with self._reading() as changed:
                    rows = await self._rows_of(owner)
            except Exception:
                log.exception("the schedules of %s could not be read, trying again", owner.definition_id)
                self._dirty.add(owner)
                self._alarms.after(self._settings.retry_seconds_max, self._refresh)
                return
            if owner not in changed:
                self._take_over(owner, rows)
            else:
                self._dirty.add(owner)

    async def _rows_of(self, owner: _Owner) -> list[TriggerRow]:
        rows: list[TriggerRow] = []
        after = ("", "")
        while True:
            page = await self._store.triggers(owner.tenant, owner.definition_id, "", after, _PAGE)
            rows += page
            if len(page) < _PAGE:
                return rows
            after = (page[-1].definition_id, page[-1].trigger_id)

    def _take_over(self, owner: _Owner, rows: Sequence[TriggerRow]) -> None:
        """All that a definition has now."""
        dues = {row.trigger_id: due_of(row) for row in rows}
        for trigger_id in (*self._held.get(owner, ()), *dues):
            self._know(owner, trigger_id, dues.get(trigger_id, 0))

    # Reading ahead

    def _clock_offset(self) -> int:
        return self._clock.now() - int(self._clock.monotonic() * _MICROSECONDS)

    def _look_ahead(self) -> None:
        offset = self._clock_offset()
        if abs(offset - self._offset) > _JUMP_US:
            seconds = (offset - self._offset) / _MICROSECONDS
            log.warning("the wall clock has jumped by %.1f s; schedules follow it", seconds)
            for schedule in tuple(self._all()):
                if schedule.alarm is not None and not schedule.pause:
                    self._arm(schedule)
        self._offset = offset
        if self._lags():
            self._read_on()
        self._check = self._alarms.after(self._settings.check_seconds, self._look_ahead)

    def _lags(self) -> bool:
        """Whether what is in memory ends well before the horizon."""
        return self._covered < self._clock.now() + int(self._settings.horizon_seconds * _MICROSECONDS) // 2

    def _wants_more(self) -> bool:
        """Whether some have gone, and the store has more that are due within the horizon."""
        return self._cut and self._count <= self._settings.held_max // 2

    def _read_on(self) -> None:
        if (self._loading is None or self._loading.done()) and not self._closed:
            self._loading = asyncio.get_running_loop().create_task(self._load_again(), name="callboard-schedules")

    async def _load_again(self) -> None:
        try:
            more = True
            while more:
                more = await self._load() and self._wants_more()
                # Much time may have passed while it was being read, and a look ahead in vain.
                more = more or (self._lags() and not self._cut)
        except Exception:
            # The next look ahead tries again.
            log.exception("schedules could not be read")

    async def _load(self) -> bool:
        """Read the schedules due first; whether there were any that were not in memory. While the page is being read,
        whatever is set is kept, however late it is due."""
        until = self._clock.now() + int(self._settings.horizon_seconds * _MICROSECONDS)
        limit = self._settings.held_max + self._overdue()
        before, self._covered = self._covered, _END_OF_TIME
        count = self._count
        try:
            with self._reading() as changed:
                page = await self._store.due_triggers(until, limit)
            for row in page:
                owner = _Owner(row.tenant, row.definition_id)
                if owner not in changed:
                    self._know(owner, row.trigger_id, due_of(row))
        except BaseException:
            self._covered = before
            raise
        self._cut = len(page) >= limit
        self._covered = page[-1].due - 1 if self._cut else until
        return self._count > count

    def _overdue(self) -> int:
        """Those in memory that ring no more: they cannot be decided yet, and fill the front of the index."""
        return sum(1 for schedule in self._all() if schedule.alarm is None or schedule.pause)
