"""Durable timers: rows in the store, of which those that are due soon are also live alarms.

Rules
- The store's index is the truth. In memory are the timers due within the horizon, and of these about `held_max` at
  most: a million dormant timers cost nothing here.
- `_covered` is a moment of the wall clock: every stored timer due at or before it is in memory (later ones may be).
- A timer that is due is offered to its execution until its row is gone, that is, until the append that consumed it
  comes back through `committed`.
- Due times are of the wall clock; the alarm is set on the monotonic clock for what remains, and checked when it
  rings. A wall clock that jumped is noticed within `check_seconds`, and all alarms are set anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, cast

import msgspec

from .alarms import Alarm, Alarms
from .core.commands import FireTimer
from .core.effects import ClearTimer, CloseExecution, SetTimer
from .core.refusals import Refusal
from .offers import Offers
from .ports import Clock
from .rows import ExecutionAppend, ExecutionRef, TimerRecord
from .writes import Committed, Write

log = logging.getLogger(__name__)

_MICROSECONDS: Final = 1_000_000
_JUMP_US: Final = 500_000
"""Difference between the clocks from which on the wall clock has jumped and not just been slewed."""
_END_OF_TIME: Final = 2**63 - 1


class TimerSettings(msgspec.Struct, frozen=True):
    """The limits and times of the timers, each with its unit in its name."""

    horizon_seconds: float = 3_600.0
    """Timers due within it are kept in memory."""
    held_max: int = 10_000
    """Timers in memory; above twice as many, the latest are left to the store again."""
    firing_max: int = 256
    """Timers put to their executions at one time."""
    check_seconds: float = 30.0
    """How often the wall clock is compared with the monotonic one, and the horizon moved."""
    uncertain_seconds: float = 1.0
    """Pause before a timer is looked at again that cannot be judged yet."""


class TimerStore(Protocol):
    """What the timers read."""

    async def timers(self, until: int, limit: int) -> list[TimerRecord]:
        """The timers due first, at most at `until`."""
        ...


Premature = Callable[[int, str, str], bool]
"""(execution key, path, timer): whether the timer cannot be judged yet, so that it must wait a little."""


class _Timer:
    """One timer in memory."""

    __slots__ = ("alarm", "due", "firing", "key", "path", "ref", "timer")

    def __init__(self, ref: ExecutionRef, key: int, path: str, timer: str, due: int) -> None:
        self.ref = ref
        self.key = key
        self.path = path
        self.timer = timer
        self.due = due
        self.alarm: Alarm | None = None
        """None: it is due, or was cleared."""
        self.firing = False


class Timers:
    """All durable timers of one store. `alarms` must be running for them to ring."""

    def __init__(
        self,
        *,
        store: TimerStore,
        clock: Clock,
        alarms: Alarms,
        offers: Offers,
        settings: TimerSettings | None = None,
        premature: Premature | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alarms = alarms
        self._offers = offers
        self._settings = settings or TimerSettings()
        self._premature = premature
        self._held: dict[int, dict[str, dict[str, _Timer]]] = {}
        self._count = 0
        self._firing = 0
        self._due: OrderedDict[_Timer, None] = OrderedDict()
        self._covered = -1
        self._cut = False
        """Whether `_covered` ends before the horizon because there are too many."""
        self._changed: set[tuple[int, str, str]] | None = None
        """What was set or cleared while a page is being read: the page may be older."""
        self._loading: asyncio.Task[None] | None = None
        self._offset = 0
        self._check: Alarm | None = None

    def __len__(self) -> int:
        return self._count

    async def start(self) -> None:
        """Read what is due soon, and go on from there; effects may be committed already."""
        self._offset = self._clock_offset()
        await self._load()
        self._check = self._alarms.after(self._settings.check_seconds, self._look_ahead)

    async def close(self) -> None:
        """Fire nothing any more."""
        self._covered = -1
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for timer in tuple(self._all()):
            self._drop(timer)
        if self._loading is not None:
            self._loading.cancel()
            with suppress(asyncio.CancelledError):
                await self._loading

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """Act on what has just been committed; called by the journal, in commit order."""
        for write, outcome in writes:
            if type(write) is ExecutionAppend and write.effects:
                self._perform(write, outcome.key)
        self._refill()

    def _perform(self, write: ExecutionAppend, key: int) -> None:
        for effect in write.effects:
            kind = type(effect)
            if kind is SetTimer:
                wanted = cast(SetTimer, effect)
                self._clear(key, wanted.path, wanted.timer)
                if wanted.due <= self._covered:
                    self._hold(_Timer(write.ref, key, wanted.path, wanted.timer, wanted.due))
            elif kind is ClearTimer:
                gone = cast(ClearTimer, effect)
                self._clear(key, gone.path, gone.timer)
            elif kind is CloseExecution:
                self._note(key, "", "")
                for path in tuple(self._held.get(key, ())):
                    self._clear(key, path, "")

    # In memory

    def _note(self, key: int, path: str, timer: str) -> None:
        if self._changed is not None:
            self._changed.add((key, path, timer))

    def _clear(self, key: int, path: str, timer: str) -> None:
        self._note(key, path, timer)
        of_step = self._held.get(key, {}).get(path)
        if of_step is None:
            return
        for held in (of_step.get(timer),) if timer else tuple(of_step.values()):
            if held is not None:
                self._drop(held)

    def _hold(self, timer: _Timer) -> None:
        self._held.setdefault(timer.key, {}).setdefault(timer.path, {})[timer.timer] = timer
        self._count += 1
        self._arm(timer)
        if self._count > 2 * self._settings.held_max:
            self._leave_latest()

    def _is_held(self, timer: _Timer) -> bool:
        return self._held.get(timer.key, {}).get(timer.path, {}).get(timer.timer) is timer

    def _drop(self, timer: _Timer) -> None:
        of_key = self._held[timer.key]
        of_step = of_key[timer.path]
        del of_step[timer.timer]
        if not of_step:
            del of_key[timer.path]
            if not of_key:
                del self._held[timer.key]
        self._count -= 1
        self._due.pop(timer, None)
        if timer.alarm is not None:
            timer.alarm.cancel()
            timer.alarm = None
        if timer.firing:
            self._fired(timer)

    def _all(self) -> Iterator[_Timer]:
        for of_key in self._held.values():
            for of_step in of_key.values():
                yield from of_step.values()

    def _leave_latest(self) -> None:
        """Too many: leave those due last to the store, which gives them back in time. Not while a page is being
        read, for it might be too old to hold them."""
        if self._changed is not None:
            return
        waiting = sorted((timer for timer in self._all() if timer.alarm is not None), key=lambda timer: timer.due)
        if len(waiting) <= self._settings.held_max:
            return
        self._covered = min(self._covered, waiting[self._settings.held_max].due - 1)
        self._cut = True
        for timer in waiting[self._settings.held_max :]:
            self._drop(timer)

    # Ringing

    def _arm(self, timer: _Timer) -> None:
        remaining = max(0, timer.due - self._clock.now()) / _MICROSECONDS
        timer.alarm = self._alarms.after(remaining, partial(self._ring, timer))

    def _ring(self, timer: _Timer) -> None:
        timer.alarm = None
        if timer.due > self._clock.now():
            # The wall clock was set back, or the alarm was rounded down.
            self._arm(timer)
            return
        self._due[timer] = None
        self._fire()

    def _fire(self) -> None:
        """Put what is due to its executions, a bounded number at a time."""
        while self._due and self._firing < self._settings.firing_max:
            timer = self._due.popitem(last=False)[0]
            if self._premature is not None and self._premature(timer.key, timer.path, timer.timer):
                timer.alarm = self._alarms.after(self._settings.uncertain_seconds, partial(self._ring, timer))
                continue
            timer.firing = True
            self._firing += 1
            command = FireTimer(timer.path, timer.timer, timer.due)
            self._offers.offer(timer.ref, command, partial(self._is_held, timer), partial(self._answered, timer))

    def _answered(self, timer: _Timer, refusal: Refusal | None) -> None:
        """One that was not taken is offered again after a pause; meanwhile it must not take the place of others."""
        if refusal is not None:
            log.debug("timer %s of %s was not taken: %s", timer.timer, timer.ref, refusal.message)
        self._fired(timer)

    def _fired(self, timer: _Timer) -> None:
        if timer.firing:
            timer.firing = False
            self._firing -= 1
            self._fire()

    # Reading ahead

    def _clock_offset(self) -> int:
        return self._clock.now() - int(self._clock.monotonic() * _MICROSECONDS)

    def _look_ahead(self) -> None:
        offset = self._clock_offset()
        if abs(offset - self._offset) > _JUMP_US:
            log.warning(
                "the wall clock has jumped by %.1f s; timers follow it", (offset - self._offset) / _MICROSECONDS
            )
            for timer in tuple(self._all()):
                if timer.alarm is not None:
                    timer.alarm.cancel()
                    self._arm(timer)
        self._offset = offset
        if self._covered < self._clock.now() + int(self._settings.horizon_seconds * _MICROSECONDS) // 2:
            self._read_on()
        self._check = self._alarms.after(self._settings.check_seconds, self._look_ahead)

    def _refill(self) -> None:
        """Some have gone, and the store has more that are due within the horizon."""
        if self._wants_more():
            self._read_on()

    def _wants_more(self) -> bool:
        return self._cut and self._count <= self._settings.held_max // 2

    def _read_on(self) -> None:
        if self._loading is None or self._loading.done():
            self._loading = asyncio.get_running_loop().create_task(self._load_again(), name="callboard-timers")

    async def _load_again(self) -> None:
        try:
            await self._load()
            while self._wants_more():
                await self._load()
        except Exception:
            # The next look ahead tries again.
            log.exception("timers could not be read")

    async def _load(self) -> None:
        """Read the timers due first. While the page is being read, whatever is set is kept, however late it is due,
        and whatever is cleared is noted: the page may be older than that."""
        until = self._clock.now() + int(self._settings.horizon_seconds * _MICROSECONDS)
        limit = self._settings.held_max + self._overdue()
        before, self._covered = self._covered, _END_OF_TIME
        changed = self._changed = set[tuple[int, str, str]]()
        try:
            page = await self._store.timers(until, limit)
        except BaseException:
            self._covered = before
            raise
        finally:
            self._changed = None
        self._cut = len(page) >= limit
        self._covered = page[-1].due - 1 if self._cut else until
        for record in page:
            self._take_up(record, changed)

    def _overdue(self) -> int:
        """Those in memory that ring no more: their executions are not taking them yet, and they fill the front of
        the index."""
        return sum(1 for timer in self._all() if timer.alarm is None)

    def _take_up(self, record: TimerRecord, changed: set[tuple[int, str, str]]) -> None:
        key, path = record.key, record.path
        if {(key, path, record.timer), (key, path, ""), (key, "", "")} & changed:
            return
        if record.timer not in self._held.get(key, {}).get(path, {}):
            self._hold(_Timer(record.ref, key, path, record.timer, record.due))
