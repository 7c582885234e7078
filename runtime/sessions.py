"""Sessions: one connected worker each, by stream, by polling, or in this process.

A session waits until there is something to say and says it in one frame: acks, cancels and tasks together, within the
worker's frame size. It watches the worker's lease: whoever is silent for too long gets nothing more, loses what it
has, and is closed.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from .alarms import Alarm, Alarms
from .board import Delivery, Entry, Phase, Seat
from .ports import Clock
from .tasks import (
    Ack,
    CancelNotice,
    Delivered,
    DispatcherSettings,
    Frame,
    Heartbeat,
    TaskResult,
    WorkerHello,
    WorkerInfo,
)

log = logging.getLogger(__name__)

_TASK_OVERHEAD_BYTES: Final = 256
"""What a task's other fields take in a frame, apart from its input, progress and path."""
_MICROSECONDS: Final = 1_000_000
_READ_PAUSE_SECONDS: Final = 0.5
# A name of its own: looking the member up in its class costs as much as a call.
_ASSIGNED: Final = Phase.ASSIGNED


class Kind(enum.Enum):
    """How a worker is connected."""

    STREAM = "stream"
    POLL = "poll"
    LOCAL = "local"
    """In this process: it cannot fall silent, so it has no lease and gets no pings."""


class Host(Protocol):
    """What a session needs of the dispatcher."""

    def deliver(self, entry: Entry, seat: Seat, payload: bytes, monotonic: float) -> Delivered:
        """Hand an assigned task out."""
        ...

    async def load(self, entries: Sequence[Entry]) -> None:
        """Read the inputs of these tasks into memory; raises what the store raises."""
        ...

    def spill(self, entry: Entry) -> bytes | None:
        """Take the task's input out of memory, if it is there."""
        ...

    def freed(self, seat: Seat) -> None:
        """The seat may take a task again."""
        ...

    def requeue(self, entry: Entry) -> None:
        """An assigned task did not leave: let it wait again, before others."""
        ...

    def result(self, session: WorkerSession, result: TaskResult) -> None:
        """Take a result; its ack goes into a frame."""
        ...

    def beat(self, session: WorkerSession, beat: Heartbeat) -> Ack:
        """Take a heartbeat."""
        ...

    def lose(self, delivery: Delivery) -> None:
        """The worker is gone with this task."""
        ...

    def left(self, session: WorkerSession, grace_seconds: float) -> None:
        """The session is over; what it still holds may be claimed for so long."""
        ...


class WorkerSession(Seat):
    """A connected worker. Made by the dispatcher."""

    def __init__(
        self,
        hello: WorkerHello,
        kind: Kind,
        host: Host,
        clock: Clock,
        alarms: Alarms,
        settings: DispatcherSettings,
    ) -> None:
        super().__init__(hello, clock.now(), clock.monotonic(), local=kind is Kind.LOCAL)
        self.kind = kind
        self.kept: tuple[bytes, ...] = ()
        """The tokens of `hello.holding` that are still the worker's."""
        self.closed = False
        self._host = host
        self._clock = clock
        self._alarms = alarms
        self._settings = settings
        self._frame_bytes_max = self._bounded(hello.max_frame_bytes)
        self._reconnect = ""
        self._reconnect_due = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._waking = False
        self._receivers = 0
        self._wanted = 0
        self._cold: list[Entry] = []
        self._loading = False
        self._silent = False
        self._ping = False
        self._spoke = clock.monotonic()
        self._lease: Alarm | None = None
        self._pinger: Alarm | None = None
        if kind is not Kind.LOCAL:
            self._lease = alarms.after(settings.lease_seconds, self._check_lease)
        if kind is Kind.STREAM:
            self._pinger = alarms.after(settings.ping_interval_seconds, self._check_quiet)
        self.open = kind is not Kind.POLL

    # What the connection calls

    async def receive(self) -> Frame:
        """The next frame, as soon as there is something to say; at the latest after the ping interval (streams).
        After the end of the session: frames with `closing`."""
        while True:
            if (frame := self._frame(self._settings.tasks_per_frame_max)) is not None:
                return frame
            await self._more(None)

    def answer(self, results: Sequence[TaskResult]) -> None:
        """Results came in; each gets its ack in a later frame."""
        self.touch()
        for result in results:
            self._host.result(self, result)

    def heartbeat(self, beats: Sequence[Heartbeat]) -> None:
        """Heartbeats came in; each gets its ack in a later frame."""
        self.touch()
        self.acks.extend(self._host.beat(self, beat) for beat in beats)
        self.wake()

    def touch(self) -> None:
        """The worker was heard of: all its leases begin anew."""
        self.seen = self._clock.monotonic()
        if self._silent:
            self._silent = False
            self._reopen()

    def drain(self) -> None:
        """The worker wants no more tasks. The session closes once it holds none."""
        if not self.draining:
            self.draining = True
            self._shut()
            self.let_go()

    def ask_reconnect(self, reason: str) -> None:
        """Have the worker open another connection; this one gets no more tasks, and is served until it breaks."""
        if not (self.closed or self._reconnect or self.kind is Kind.LOCAL):
            self._reconnect = reason
            self._reconnect_due = self.kind is Kind.STREAM
            self._shut()
            self.wake()

    def disconnect(self) -> None:
        """The connection is gone. What the worker holds waits for its next connection for the grace; after a drain it
        goes to others at once."""
        self.close(0.0 if self.draining else self._settings.reconnect_grace_seconds)

    # What the dispatcher calls

    def close(self, grace_seconds: float) -> None:
        """End the session; its frames say so from now on."""
        if self.closed:
            return
        self.closed = True
        for alarm in (self._lease, self._pinger):
            if alarm is not None:
                alarm.cancel()
        self._shut()
        self._host.left(self, grace_seconds)
        self.wake()

    def acknowledge(self, ack: Ack) -> None:
        """Put an ack into the next frame."""
        self.acks.append(ack)
        self.wake()

    def stop(self, token: bytes) -> None:
        """Tell the worker that a task it believes to hold is not its own."""
        self.cancels.append(CancelNotice(token, "the task is not this worker's any more"))
        self.wake()

    async def poll(self, tasks_max: int, wait_seconds: float) -> Frame:
        """One long poll for so many tasks. Several may be under way at a time."""
        until = self._clock.monotonic() + wait_seconds
        self._receivers += 1
        self._wanted += tasks_max
        self._size_window()
        self._reopen()
        try:
            while True:
                frame = self._frame(tasks_max)
                if frame is not None:
                    return frame
                if self._clock.monotonic() >= until or self._reconnect:
                    return Frame(reconnect=self._reconnect)
                await self._more(until)
        finally:
            self._receivers -= 1
            self._wanted -= tasks_max
            self._size_window()
            self.seen = self._clock.monotonic()
            if not self._receivers:
                self._shut()

    def rejoin(self, hello: WorkerHello) -> None:
        """What a further poll says anew."""
        self.build = hello.build
        self.address = hello.address
        self._frame_bytes_max = self._bounded(hello.max_frame_bytes)
        self.touch()

    def wake(self) -> None:
        """There is something to tell the worker: wake whoever waits, one turn of the loop later than needed, so that
        acks of a commit and the tasks that follow from it share a frame."""
        if not self._waking and self._waiters:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._rouse)

    def let_go(self) -> None:
        """A held task has left: a draining session closes after the last one."""
        if self.draining and not self.held and not self.closed:
            self.close(0.0)

    def info(self) -> WorkerInfo:
        """The worker, for people."""
        unseen = round((self._clock.monotonic() - self.seen) * _MICROSECONDS)
        return WorkerInfo(
            self.worker_id,
            self.build,
            self.tenant,
            self.address,
            self.since,
            self._clock.now() - unseen,
            len(self.held),
            self.max_in_flight,
            self.operations,
            self.draining or bool(self._reconnect),
        )

    # Frames

    def _frame(self, tasks_max: int) -> Frame | None:
        """What there is to say now; None: nothing, or inputs have to be read first."""
        tasks = self._tasks(tasks_max)
        if not (tasks or self.acks or self.cancels or self._ping or self._reconnect_due or self.closed):
            return None
        acks = self._some_acks()
        cancels = tuple(self.cancels)
        self.cancels.clear()
        reconnect = self._reconnect if self._reconnect_due else ""
        frame = Frame(tuple(tasks), acks, cancels, self._ping, reconnect, self.closed and not self.acks)
        self._ping = self._reconnect_due = False
        self._spoke = self._clock.monotonic()
        if self.assigned or self.acks:
            self.wake()
        return frame

    def _tasks(self, tasks_max: int) -> list[Delivered]:
        tasks: list[Delivered] = []
        room = self._frame_bytes_max
        monotonic = self._clock.monotonic()
        while self.assigned and len(tasks) < tasks_max:
            entry = self.assigned[0]
            if entry.phase is not _ASSIGNED or entry.seat is not self:
                self.assigned.popleft()
                continue
            if entry.input is None:
                break
            room -= len(entry.input) + len(entry.path) + len(entry.trace) + _TASK_OVERHEAD_BYTES
            if tasks and room < 0:
                break
            self.assigned.popleft()
            payload = self._host.spill(entry)
            if payload is not None:
                tasks.append(self._host.deliver(entry, self, payload, monotonic))
        return tasks

    def _some_acks(self) -> tuple[Ack, ...]:
        limit = self._settings.acks_per_frame_max
        if len(self.acks) <= limit:
            acks = tuple(self.acks)
            self.acks.clear()
            return acks
        return tuple(self.acks.popleft() for _ in range(limit))

    def _bounded(self, frame_bytes_max: int) -> int:
        own = self._settings.frame_bytes_max
        return min(own, frame_bytes_max) if frame_bytes_max > 0 else own

    # Waiting

    async def _more(self, until: float | None) -> None:
        """Read the inputs that the next frame needs, or wait until there is something to say."""
        if not self._loading and self._next_cold():
            await self._load()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        alarm = self._alarms.at(until, lambda: self._end_wait(waiter)) if until is not None else None
        try:
            await waiter
        except asyncio.CancelledError:
            # It may have been woken already: the others have to hear of it in its place.
            self.wake()
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    @staticmethod
    def _end_wait(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def _rouse(self) -> None:
        self._waking = False
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _next_cold(self) -> list[Entry]:
        """Tasks for the next frame whose inputs have to be read."""
        limit = self._settings.inputs_per_read_max
        cold: list[Entry] = []
        for entry in self.assigned:
            if entry.phase is Phase.ASSIGNED and entry.seat is self and entry.input is None:
                cold.append(entry)
                if len(cold) == limit:
                    break
        return cold

    async def _load(self) -> None:
        self._loading = True
        try:
            await self._host.load(self._next_cold())
        except Exception:
            log.exception("inputs of tasks for worker %s could not be read", self.worker_id)
            await self._clock.sleep_until(self._clock.monotonic() + _READ_PAUSE_SECONDS)
        finally:
            self._loading = False
            self.wake()

    # Being open

    def _size_window(self) -> None:
        """A poll takes so many tasks more, whatever the worker has in hand."""
        self.max_in_flight = min(len(self.held) + self._wanted, self._settings.tasks_per_worker_max)

    def _reopen(self) -> None:
        polling = self.kind is not Kind.POLL or self._receivers > 0
        if polling and not (self.closed or self.draining or self._reconnect or self._silent):
            self.open = True
            self._host.freed(self)

    def _shut(self) -> None:
        """Take no new tasks; those assigned and not yet in a frame go back."""
        self.open = False
        while self.assigned:
            entry = self.assigned.pop()
            if entry.phase is Phase.ASSIGNED and entry.seat is self:
                self.unassign(entry)
                self._host.requeue(entry)

    # Silence

    def _check_lease(self) -> None:
        now = self._clock.monotonic()
        if self._receivers:
            self.seen = now
        lease = self._settings.lease_seconds
        if self.seen + lease > now:
            self._lease = self._alarms.at(self.seen + lease, self._check_lease)
            return
        self._silent = True
        self._shut()
        rest = self._lose_overdue(now, lease)
        if rest is None:
            self.close(0.0)
        else:
            self._lease = self._alarms.at(rest, self._check_lease)

    def _lose_overdue(self, now: float, lease: float) -> float | None:
        """Lose what was delivered a lease ago; returns when the next lease ends, None: nothing is left."""
        rest: float | None = None
        for delivery in tuple(self.held.values()):
            if delivery.entry.delivery is not delivery:
                continue
            ends = delivery.at + lease
            if ends <= now:
                self._host.lose(delivery)
            else:
                rest = ends if rest is None else min(rest, ends)
        return rest

    def _check_quiet(self) -> None:
        interval = self._settings.ping_interval_seconds
        now = self._clock.monotonic()
        if self._spoke + interval <= now:
            self._ping = True
            self._spoke = now
            self.wake()
        self._pinger = self._alarms.at(self._spoke + interval, self._check_quiet)
