"""Who gets what: queued tasks and seats with room find each other.

It runs once a turn of the loop for everything that has changed, so that one commit's tasks share frames. Its cost
follows the tasks handed out; nothing looks through all seats, queues or tasks (see the rules in board.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .board import ReadyQueue, Seat


class Matching:
    """The matching of one dispatcher."""

    def __init__(self, done: Callable[[ReadyQueue], None]) -> None:
        self._done = done
        """Told of every queue that was looked at."""
        self._dirty: dict[ReadyQueue, None] = {}
        self._freed: dict[Seat, None] = {}
        self._scheduled = False
        self._stopped = False

    def touched(self, queue: ReadyQueue) -> None:
        """A task was queued."""
        self._dirty[queue] = None
        self._schedule()

    def freed(self, seat: Seat) -> None:
        """The seat may have room again."""
        if seat.parked and seat.open:
            self._freed[seat] = None
            self._schedule()

    def left(self, seat: Seat) -> None:
        """The seat is gone."""
        seat.parked.clear()
        self._freed.pop(seat, None)

    def stop(self) -> None:
        """Match nothing any more."""
        self._stopped = True

    def _schedule(self) -> None:
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        freed, self._freed = self._freed, {}
        dirty, self._dirty = self._dirty, {}
        if self._stopped:
            return
        # One each in turns, so that the first seat does not take all.
        seats = deque(freed)
        while seats:
            seat = seats.popleft()
            if self._serve(seat):
                seats.append(seat)
        for queue in dirty:
            self._match(queue)
            self._done(queue)

    @staticmethod
    def _serve(seat: Seat) -> bool:
        """A seat with room gets a task of a queue that found it full; the queues take turns. False: it gets none."""
        while seat.parked and seat.eligible:
            queue = seat.parked.popitem(last=False)[0]
            if queue.queued:
                seat.assign(queue.take())
                seat.parked[queue] = None
                return True
            queue.idle[seat] = None
        return False

    @staticmethod
    def _match(queue: ReadyQueue) -> None:
        """Tasks look for seats with room; the seats take turns."""
        if len(queue.idle) == 1:
            alone = next(iter(queue.idle))
            while queue.queued and alone.eligible:
                alone.assign(queue.take())
        while queue.queued and queue.idle:
            seat = queue.idle.popitem(last=False)[0]
            if seat.eligible:
                seat.assign(queue.take())
                queue.idle[seat] = None
            else:
                seat.parked[queue] = None
