"""Live alarms: callbacks at moments of the monotonic clock, all driven by one background task.

An alarm lives in memory only. What has to survive a restart is a row that timers.py reads; leases, time-outs of
attempts and graces are derived from what is open and are armed again after a restart.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .ports import Clock

log = logging.getLogger(__name__)

_CANCELLED_MIN: Final = 256
_CALLBACKS_PER_TURN_MAX: Final = 1_000


class Alarm:
    """One callback to come; `cancel` it when it is no longer wanted."""

    __slots__ = ("_alarms", "callback", "deadline")

    def __init__(self, alarms: Alarms, deadline: float, callback: Callable[[], None]) -> None:
        self._alarms = alarms
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """It will not ring; cancelling twice, or after it rang, does nothing."""
        if self.callback is not None:
            self.callback = None
            self._alarms.forget_one()


class Alarms:
    """A heap of alarms. Setting one costs O(log n), cancelling O(1): a cancelled one is dropped when it comes up, or
    when more than half of the heap is cancelled. An alarm may be set before `start`; it rings after it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._sleeping_until = float("inf")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def start(self) -> None:
        """Begin to ring; needs the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="callboard-alarms")

    async def close(self) -> None:
        """Ring no more; what is still set is dropped."""
        task, self._task = self._task, None
        self._heap.clear()
        self._cancelled = 0
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def at(self, deadline: float, callback: Callable[[], None]) -> Alarm:
        """Call back once the monotonic clock has reached `deadline`; never before this call has returned."""
        alarm = Alarm(self, deadline, callback)
        heapq.heappush(self._heap, (deadline, next(self._order), alarm))
        if deadline < self._sleeping_until:
            self._wake.set()
        return alarm

    def after(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """Call back in so many seconds."""
        return self.at(self._clock.monotonic() + seconds, callback)

    def forget_one(self) -> None:
        """One alarm in the heap was cancelled; called by the alarm itself."""
        self._cancelled += 1
        if self._cancelled > _CANCELLED_MIN and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._ring():
                await asyncio.sleep(0)
                continue
            self._sleeping_until = self._heap[0][0] if self._heap else float("inf")
            await self._sleep()
            self._sleeping_until = float("-inf")

    async def _sleep(self) -> None:
        """Until the first alarm is due, or an earlier one is set."""
        if self._sleeping_until == float("inf"):
            await self._wake.wait()
            return
        sleeper = asyncio.ensure_future(self._clock.sleep_until(self._sleeping_until))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleeper, waker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()

    def _ring(self) -> bool:
        """Ring what is due, up to a bound, and say whether there was any."""
        now = self._clock.monotonic()
        rung = 0
        while self._heap and self._heap[0][0] <= now and rung < _CALLBACKS_PER_TURN_MAX:
            alarm = heapq.heappop(self._heap)[2]
            callback, alarm.callback = alarm.callback, None
            if callback is None:
                self._cancelled -= 1
                continue
            rung += 1
            try:
                callback()
            except Exception:
                log.exception("an alarm's callback failed")
        return rung > 0
