"""The outbox pump: what executions emitted, on its way to being accepted as published events.

Rules
- The rows in the store are the truth. A row is written with the event that emits, and goes with the acceptance of
  what it emits, in one commit: nothing is lost by stopping at any moment, and nothing is accepted twice.
- Rows are read in the order of their ids, which is that of the commits, and held in memory up to a bound. Of one sender
  one is on its way at a time, in order; senders do not wait for each other.
- Of one tenant no more are held than its share: the rest is passed over and read again when there is room for it, so
  that a flood of one tenant (executions that start each other without end) holds up no other.
- A refusal that time cures (a full disk, a draining server, a lost race) is tried again after growing pauses; those
  behind it, of the same sender, wait, so that their order stays.
- One that fails otherwise, again and again, is set aside: it is logged, and tried only once in a long while; those
  behind it go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from .alarms import Alarm, Alarms
from .core.effects import EmitEvent
from .core.refusals import Kind, Refused
from .ports import StorageFailedError
from .rows import ExecutionAppend
from .trigger_rows import OutboxRow
from .writes import Committed, Write

log = logging.getLogger("callboard.outbox")


class OutboxSettings(msgspec.Struct, frozen=True):
    """The limits and times of the pump, each with its unit in its name."""

    held_max: int = 1_000
    """Rows in memory, and rows of one page; beyond it, one of each tenant that has none there."""
    tenant_held_max: int = 250
    """Rows of one tenant in memory."""
    delivering_max: int = 64
    """Rows on their way at one time."""
    tries_max: int = 6
    """Failures, other than those that time cures, after which a row is set aside."""
    first_seconds: float = 0.1
    """Pause after the first failure of a row."""
    factor: float = 2.0
    longest_seconds: float = 30.0


class OutboxSource(Protocol):
    """What is read; a Store has it."""

    async def outbox(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        """Emitted events that have not been accepted yet, by id after this one; of one tenant, where it is given."""
        ...


Deliver = Callable[[OutboxRow], Awaitable[None]]
"""Have a row accepted; returns when it is, by this or an earlier call. Raises Refused, StorageFailedError."""

_CURABLE = frozenset({Kind.BUSY, Kind.UNAVAILABLE, Kind.RACE})


class _Sender:
    """One execution's rows, oldest first; the first one is on its way, or waits for its turn or its next try."""

    __slots__ = ("pause", "rows", "tries")

    def __init__(self, pause: float) -> None:
        self.rows: deque[OutboxRow] = deque()
        self.pause = pause
        self.tries = 0


class _Share:
    """What one tenant has in memory."""

    __slots__ = ("after", "held", "more", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.held = 0
        self.after = 0
        """Id of its last row that was taken."""
        self.more = False
        """Rows behind that one have been passed over."""


class Outbox:
    """The pump. `alarms` must be running for it to try again."""

    def __init__(
        self, store: OutboxSource, deliver: Deliver, alarms: Alarms, settings: OutboxSettings | None = None
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._alarms = alarms
        self._settings = settings or OutboxSettings()
        self._senders: dict[int, _Sender] = {}
        """By the executions' keys."""
        self._ready: deque[_Sender | int] = deque()
        """Whose first row may be delivered; the ids of rows set aside, where it is time for a try."""
        self._held = 0
        self._shares: dict[str, _Share] = {}
        """Of the tenants that have rows in memory, or rows that were passed over."""
        self._behind: dict[str, _Share] = {}
        """Those of which rows were passed over."""
        self._aside: dict[int, Alarm] = {}
        """Rows set aside, by id, until their next try."""
        self._after = 0
        """Id of the last row that was read."""
        self._more = True
        """There may be rows that have not been read."""
        self._running = False
        self._reader: asyncio.Task[None] | None = None
        self._delivering: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return self._held + len(self._aside)

    def start(self) -> None:
        """Take up what is stored, and go on from there; rows may be committed already."""
        self._running = True
        self._read_on()

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener: something was emitted."""
        if self._more or _emits(writes):
            self._more = True
            self._read_on()

    async def close(self) -> None:
        """Deliver nothing more, and return when what is on its way has been answered."""
        self._running = False
        for alarm in self._aside.values():
            alarm.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await asyncio.gather(*self._delivering, return_exceptions=True)

    # Reading

    def _read_on(self) -> None:
        """Read more, if there may be more, or there is room for a good part of what was passed over."""
        if self._running and self._reader is None and (self._more or self._next_share() is not None):
            self._reader = asyncio.get_running_loop().create_task(self._read_again(), name="callboard-outbox")

    async def _read_again(self) -> None:
        try:
            await self._read()
        except Exception:
            log.exception("the outbox cannot be read")
            self._more = True
            self._alarms.after(self._settings.longest_seconds, self._read_on)
        finally:
            self._reader = None

    async def _read(self) -> None:
        """New rows and those that were passed over, in turns."""
        while True:
            if self._more:
                await self._read_page()
            share = self._next_share()
            if share is not None:
                await self._read_share(share)
            elif not self._more:
                return

    async def _read_page(self) -> None:
        limit = self._settings.held_max
        self._more = False  # what is emitted while they are read sets it again
        rows = await self._store.outbox(self._after, limit)
        self._more = self._more or len(rows) == limit
        for row in rows:
            self._after = row.id
            share = self._shares.get(row.ref.tenant)
            if share is None:
                share = self._shares[row.ref.tenant] = _Share(row.ref.tenant)
            if share.more or not self._room(share):
                share.more = True
                self._behind[share.tenant] = share
            else:
                self._take_up(row, share)
        self._go_on()

    async def _read_share(self, share: _Share) -> None:
        """What was passed over of one tenant, as far as there is room: not more than the pages have come to."""
        limit = max(1, self._room(share))
        rows = await self._store.outbox(share.after, limit, share.tenant)
        known = [row for row in rows if row.id <= self._after]
        for row in known:
            self._take_up(row, share)
        if len(known) < limit:
            share.more = False
        del self._behind[share.tenant]
        if share.more:
            self._behind[share.tenant] = share  # at the end: the others come first
        self._leave(share)
        self._go_on()

    def _room(self, share: _Share) -> int:
        """How many more rows of this tenant may be held."""
        room = min(self._settings.tenant_held_max - share.held, self._settings.held_max - self._held)
        return max(room, 0 if share.held else 1)

    def _next_share(self) -> _Share | None:
        """A tenant of which rows were passed over and half of whose share is free."""
        half = self._settings.tenant_held_max // 2
        full = self._held > self._settings.held_max // 2
        return next((each for each in self._behind.values() if not each.held or (each.held <= half and not full)), None)

    def _leave(self, share: _Share) -> None:
        """A tenant that has nothing any more takes no room."""
        if not share.held and not share.more:
            self._shares.pop(share.tenant, None)

    def _take_up(self, row: OutboxRow, share: _Share) -> None:
        share.after = row.id
        share.held += 1
        self._held += 1
        sender = self._senders.get(row.key)
        if sender is None:
            sender = self._senders[row.key] = _Sender(self._settings.first_seconds)
            self._ready.append(sender)
        sender.rows.append(row)

    # Delivering

    def _go_on(self) -> None:
        """Send what is ready on its way, a bounded number at a time."""
        while self._running and self._ready and len(self._delivering) < self._settings.delivering_max:
            ready = self._ready.popleft()
            self._spawn(self._try_again(ready) if isinstance(ready, int) else self._try(ready))
        self._read_on()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="callboard-outbox-delivery")
        self._delivering.add(task)
        task.add_done_callback(self._tried)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._delivering.discard(task)
        self._go_on()

    async def _try(self, sender: _Sender) -> None:
        row = sender.rows[0]
        try:
            await self._deliver(row)
        except StorageFailedError:
            self._running = False  # the engine stops, and whatever is left is taken up when it starts again
        except Exception as error:  # noqa: BLE001 - whatever it is concerns this row only
            self._failed(sender, row, error)
        else:
            self._next(sender)

    def _next(self, sender: _Sender) -> None:
        """The sender's first row is off its hands."""
        row = sender.rows.popleft()
        self._held -= 1
        share = self._shares[row.ref.tenant]
        share.held -= 1
        self._leave(share)
        sender.tries, sender.pause = 0, self._settings.first_seconds
        if sender.rows:
            self._ready.append(sender)
        else:
            del self._senders[row.key]

    def _failed(self, sender: _Sender, row: OutboxRow, error: Exception) -> None:
        curable = isinstance(error, Refused) and error.refusal.kind in _CURABLE
        sender.tries += 0 if curable else 1
        known = {"execution": row.ref.execution_id, "event": row.name, "cause": str(error)}
        if sender.tries >= self._settings.tries_max:
            log.error("an emitted event is not accepted, and set aside", exc_info=error, extra=known)
            self._set_aside(row.id)
            self._next(sender)
            return
        log.log(logging.INFO if curable else logging.WARNING, "an emitted event is tried again", extra=known)
        self._alarms.after(sender.pause, lambda: self._once_more(sender))
        sender.pause = min(sender.pause * self._settings.factor, self._settings.longest_seconds)

    def _once_more(self, ready: _Sender | int) -> None:
        self._ready.append(ready)
        self._go_on()

    # Set aside

    def _set_aside(self, row_id: int) -> None:
        self._aside[row_id] = self._alarms.after(self._settings.longest_seconds, lambda: self._once_more(row_id))

    async def _try_again(self, row_id: int) -> None:
        """Only the id is kept of a row set aside."""
        try:
            rows = await self._store.outbox(row_id - 1, 1)
            if rows and rows[0].id == row_id:
                await self._deliver(rows[0])
        except Exception as error:  # noqa: BLE001 - whatever it is concerns this row only
            log.warning("an emitted event is still not accepted", extra={"row": row_id, "cause": str(error)})
            self._set_aside(row_id)
        else:
            del self._aside[row_id]


def _emits(writes: Sequence[tuple[Write, Committed]]) -> bool:
    """Every commit is asked this: it costs next to nothing where nothing is emitted."""
    for write, _ in writes:
        if type(write) is ExecutionAppend:
            for effect in write.effects:
                if type(effect) is EmitEvent:
                    return True
    return False
