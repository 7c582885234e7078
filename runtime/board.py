"""The entities of the dispatcher: what is open, where it waits, and who has it.

Rules
- An `Entry` is one open task of one execution. It is in exactly one phase; dispatcher.py and deliveries.py move it.
- A `ReadyQueue` holds the queued entries of one operation of one tenant: the highest priority first, then in turns
  between executions, then the oldest.
- A `Seat` is a worker's place: its window, what it has in hand, what it is still to be told.
- Of every queue and every seat that offers its operation, one knows the other: the queue has the seat in `idle`, or
  the seat, having been full when it was offered a task, has the queue in `parked`. So a free slot finds work, and work
  finds a free slot, without looking through seats or queues.
"""

from __future__ import annotations

import enum
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from opentelemetry.trace import Span

from .alarms import Alarm
from .rows import ExecutionRef
from .tasks import Ack, CancelNotice, WorkerHello


class Phase(enum.Enum):
    """Where an open task stands."""

    QUEUED = "waits for a worker"
    WITHHELD = "of an earlier boot; the worker that may have it has some seconds to say so"
    ASSIGNED = "a worker was chosen, the frame is not made yet"
    HELD = "in a worker's hands"
    ENDING = "its delivery has ended, and its execution has yet to say what follows"
    CLOSED = "over"


# A name of its own: looking the member up in its class costs as much as a call.
_ASSIGNED: Final = Phase.ASSIGNED


class Entry:
    """One open task."""

    __slots__ = (
        "attempt",
        "attempt_timeout",
        "cancel_requested",
        "delivered",
        "delivery",
        "ended",
        "input",
        "key",
        "operation",
        "path",
        "phase",
        "priority",
        "progress",
        "queue",
        "ref",
        "scheduled",
        "seat",
        "since",
        "trace",
    )

    def __init__(self, ref: ExecutionRef, key: int, path: str, operation: str, queue: ReadyQueue) -> None:
        self.ref = ref
        self.key = key
        self.path = path
        self.operation = operation
        self.queue = queue
        self.phase = Phase.CLOSED
        self.attempt = 0
        self.scheduled = 0
        self.priority = 0
        self.attempt_timeout = 0
        self.since = 0
        self.input: bytes | None = None
        """JSON, where it is in memory."""
        self.trace = ""
        """`traceparent` for the worker."""
        self.progress: Any = None
        self.cancel_requested = False
        self.delivered = False
        """Whether this boot has delivered this attempt: from then on, tokens of earlier boots are stale."""
        self.seat: Seat | None = None
        """ASSIGNED: the worker chosen."""
        self.delivery: Delivery | None = None
        """HELD: the newest delivery."""
        self.ended: Delivery | None = None
        """ENDING: the delivery that ended."""


class Delivery:
    """An attempt handed to one worker."""

    __slots__ = ("alarm", "asked", "at", "cancelled", "doubted", "entry", "overdue", "seat", "span", "token", "waiting")

    def __init__(self, token: bytes, entry: Entry, seat: Seat | None, at: float) -> None:
        self.token = token
        self.entry = entry
        self.seat = seat
        """None: an answer from an earlier boot whose worker has not connected."""
        self.at = at
        """When, on the monotonic clock: its lease starts here."""
        self.alarm: Alarm | None = None
        """The attempt's time-out."""
        self.span: Span | None = None
        """From the delivery to its end, where there is telemetry."""
        self.asked = False
        """An answer is before the execution now."""
        self.waiting: list[Callable[[Ack], None]] | None = None
        """Senders of repeats of that answer, who wait for the same outcome."""
        self.overdue = ""
        """`lost` or `timeout`: what has to follow if the answer before the execution is not taken."""
        self.doubted = False
        """The worker sent something unreadable: without a better answer it loses the task after a lease."""
        self.cancelled = False
        """The worker was told to stop."""


_Line: TypeAlias = "OrderedDict[str, Entry]"


class ReadyQueue:
    """The queued tasks of one operation of one tenant. Putting, taking and removing cost O(1) for each priority."""

    __slots__ = (
        "_levels",
        "_order",
        "entries",
        "idle",
        "operation",
        "queued",
        "running",
        "seats",
        "tenant",
        "withheld",
    )

    def __init__(self, tenant: str, operation: str) -> None:
        self.tenant = tenant
        self.operation = operation
        self.queued = 0
        self.withheld = 0
        self.running = 0
        self.entries = 0
        """Open tasks in any phase."""
        self.seats = 0
        """Workers that offer the operation."""
        self.idle: OrderedDict[Seat, None] = OrderedDict()
        """Of these, those that may have a free slot; whose turn it is comes first."""
        self._levels: dict[int, OrderedDict[int, Entry | _Line]] = {}
        self._order: list[int] = []
        """Negated priorities of the levels that are not empty."""

    @property
    def unused(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.entries or self.seats)

    def put(self, entry: Entry, first: bool = False) -> None:
        """Queue it; `first`: before all others of its priority, because it has had its turn already."""
        level = self._levels.get(entry.priority)
        if level is None:
            level = self._levels[entry.priority] = OrderedDict()
            insort(self._order, -entry.priority)
        self.queued += 1
        line = level.get(entry.key)
        if line is None:
            level[entry.key] = entry
        elif isinstance(line, Entry):
            level[entry.key] = line = OrderedDict({line.path: line, entry.path: entry})
        else:
            line[entry.path] = entry
        if first:
            level.move_to_end(entry.key, last=False)
            if isinstance(line, OrderedDict):
                line.move_to_end(entry.path, last=False)

    def take(self) -> Entry:
        """The next one; there must be one. The executions of a level take turns."""
        priority = -self._order[0]
        level = self._levels[priority]
        key, line = level.popitem(last=False)
        if isinstance(line, Entry):
            entry = line
        else:
            entry = line.popitem(last=False)[1]
            if line:
                level[key] = line
        self._taken(priority, level)
        return entry

    def remove(self, entry: Entry) -> None:
        """It is no longer wanted; it must be queued here."""
        level = self._levels[entry.priority]
        line = level[entry.key]
        if isinstance(line, Entry):
            del level[entry.key]
        else:
            del line[entry.path]
            if not line:
                del level[entry.key]
        self._taken(entry.priority, level)

    def heads(self) -> Iterator[Entry]:
        """The first task of every priority."""
        for level in self._levels.values():
            line = next(iter(level.values()))
            yield line if isinstance(line, Entry) else next(iter(line.values()))

    def _taken(self, priority: int, level: OrderedDict[int, Entry | _Line]) -> None:
        self.queued -= 1
        if not level:
            del self._levels[priority]
            self._order.remove(-priority)


class Seat:
    """A worker's place at the board."""

    def __init__(self, hello: WorkerHello, now: int, monotonic: float, local: bool = False) -> None:
        self.tenant = hello.tenant
        self.worker_id = hello.worker_id
        self.build = hello.build
        self.address = hello.address
        self.local = local
        """Whether it is in this process, so that its tokens never leave it."""
        self.operations = tuple(dict.fromkeys(hello.operations))
        self.max_in_flight = hello.max_in_flight
        self.since = now
        self.seen = monotonic
        """When it was last heard of, on the monotonic clock."""
        self.open = False
        """Whether it takes new tasks."""
        self.draining = False
        """Whether it asked for no more, or was asked to connect anew."""
        self.used = 0
        """Slots taken: by what is assigned and by what is held, until the answer is acknowledged."""
        self.assigned: deque[Entry] = deque()
        """Tasks for the next frame; those that have been called off since are passed over."""
        self.held: dict[bytes, Delivery] = {}
        """What is in the worker's hands by token, in the order of delivery; ended deliveries too, until the worker
        has let go of them."""
        self.acks: deque[Ack] = deque()
        self.cancels: deque[CancelNotice] = deque()
        self.parked: OrderedDict[ReadyQueue, None] = OrderedDict()

    @property
    def eligible(self) -> bool:
        """Whether it takes a task now."""
        return self.open and self.used < self.max_in_flight

    def assign(self, entry: Entry) -> None:
        """Take a slot for this task and put it into the next frame."""
        entry.phase = _ASSIGNED
        entry.seat = self
        self.used += 1
        self.assigned.append(entry)
        self.wake()

    def unassign(self, entry: Entry) -> None:
        """The task was called off before it was in a frame. It stays in `assigned`, to be passed over."""
        entry.seat = None
        self.used -= 1

    def wake(self) -> None:
        """There is something to tell the worker."""
        raise NotImplementedError

    def let_go(self) -> None:
        """A held task has left; a draining worker may have been waiting for that."""
        raise NotImplementedError
