"""Watching an execution: pages from the store, woken by commits. A watcher holds a position and no events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from .batch import not_found
from .causes import BY, name_of
from .core import events as ev
from .core.refusals import Kind, Refusal, Refused
from .core.upcasts import plain_name
from .ports import Store
from .rows import ExecutionAppend, ExecutionRef, StoredEvent
from .settings import Settings
from .writes import Committed, Write

_TERMINAL = frozenset(kind.__name__ for kind in ev.TERMINAL)


class HistoryEvent(msgspec.Struct, frozen=True):
    """A stored event with everything that is kept once for several."""

    stored: StoredEvent
    from_state: str
    to_state: str
    user_id: str
    trace: str
    request_id: str
    command: str = ""
    """What led to it; empty: not known."""

    @property
    def event_type(self) -> str:
        """What it is about."""
        return ev.category(plain_name(str(self.stored.name)))

    @property
    def is_last(self) -> bool:
        """Whether nothing happens after it; its execution's sensitive values may still be erased."""
        return plain_name(str(self.stored.name)) in _TERMINAL


class Seats:
    """How many watches are open, of executions and of tenants together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self) -> None:
        """Raises Refused SERVER_BUSY where all are taken."""
        if self.taken >= self._limit:
            raise Refused(
                Refusal(
                    Kind.BUSY,
                    "SERVER_BUSY",
                    f"{self._limit} watches are open already (watchers_max)",
                    {"limit": str(self._limit)},
                    retry_after_us=1_000_000,
                )
            )
        self.taken += 1

    def give_back(self) -> None:
        """A watch has ended."""
        self.taken -= 1


class Feeds:
    """All watchers of single executions."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._signals: dict[ExecutionRef, set[asyncio.Event]] = {}
        self.seats = Seats(settings.watchers_max)
        self._closing = False

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener."""
        if not self._signals:
            return
        for write, outcome in writes:
            if type(write) is ExecutionAppend:
                for signal in self._signals.get(write.ref, ()):
                    signal.set()
            for ref in outcome.pruned:
                for signal in self._signals.get(ref, ()):
                    signal.set()

    async def history(
        self, key: int, after: int, limit: int, bytes_max: int, state: str | None = None
    ) -> list[HistoryEvent]:
        """One page of events after a sequence; `state` is the execution's after that one, where the caller knows it."""
        limit = min(limit, self._settings.page_items_max)
        if state is None:  # asked for first: of an execution that is deleted now, there is no page without it then
            (before,) = await self._store.before([(key, after + 1)])
            state = before.state
        page = await self._store.events(key, after, limit, min(bytes_max, self._settings.page_bytes_max))
        return _completed(page, state)

    async def watch(self, ref: ExecutionRef, key: int, after: int) -> AsyncIterator[list[HistoryEvent]]:
        """Pages of events as they come, from after a sequence; ends after the execution's last event."""
        signal = self._enter(ref)
        ended, state = False, None
        try:
            while not self._closing:
                signal.clear()
                page = await self.history(
                    key, after, self._settings.page_items_max, self._settings.page_bytes_max, state
                )
                if page:
                    after, state = page[-1].stored.sequence, page[-1].to_state
                    yield page
                    ended = page[-1].is_last  # what was erased since stands behind it, maybe on another page
                elif ended:
                    return
                elif await self._has_ended(ref, key):
                    ended = True  # look once more: the end may have come between the page and the question
                else:
                    await signal.wait()
        finally:
            self._leave(ref, signal)

    async def _has_ended(self, ref: ExecutionRef, key: int) -> bool:
        """Whether nothing can follow. Raises Refused EXECUTION_NOT_FOUND where it is not there any more: what of it had
        not been read yet is lost."""
        record = await self._store.execution_by_key(key)
        if record is None:
            raise Refused(not_found(ref))
        return record.head.ended_at != 0

    def _enter(self, ref: ExecutionRef) -> asyncio.Event:
        self.seats.take()
        signal = asyncio.Event()
        self._signals.setdefault(ref, set()).add(signal)
        return signal

    def _leave(self, ref: ExecutionRef, signal: asyncio.Event) -> None:
        self.seats.give_back()
        signals = self._signals[ref]
        signals.discard(signal)
        if not signals:
            del self._signals[ref]

    def close(self) -> None:
        """End every watch; they can be taken up again from where they were."""
        self._closing = True
        for signals in self._signals.values():
            for signal in signals:
                signal.set()


def _context(data: bytes) -> dict[str, Any]:
    """Who caused an event; nobody where that is damaged, so that the events beside it can be seen."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _completed(page: list[StoredEvent], state: str) -> list[HistoryEvent]:
    context: dict[str, Any] = {}
    events: list[HistoryEvent] = []
    for stored in page:
        if stored.context is not None:
            context = _context(stored.context)
        to_state = stored.to_state if stored.to_state is not None else state
        events.append(
            HistoryEvent(
                stored,
                from_state=state,
                to_state=to_state,
                user_id=context.get("user", ""),
                trace=context.get("trace", ""),
                request_id=context.get("request", ""),
                command=name_of(context.get(BY, "")),
            )
        )
        state = to_state
    return events
