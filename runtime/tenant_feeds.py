"""Watching all of a tenant: events by position from the store, woken by commits.

- A watcher holds a position and no events. What it has not asked for yet is on the disk, so that a slow one holds
  nothing up and costs no memory.
- A read looks at so many events of all tenants and says how far it came. One that found the end of the feed need not
  look again at what is committed until something of its own tenant is: whatever came between belongs to others.
- Positions go forward also over what is not wanted, so that a reader that comes back does not go over it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from .causes import name_of
from .core import events as ev
from .core.refusals import Kind, Refusal, Refused
from .event_filters import EventFacts, EventFilter
from .feed_rows import FeedPruning, SubscriptionAck, SubscriptionCreation, SubscriptionDeletion, TenantEvent
from .feeds import HistoryEvent, Seats
from .lifecycle_rows import LifecycleChange
from .ports import Store
from .positions import Position, Positions
from .retention_rows import ExecutionDeletion, ExecutionPruning, JobBegin, LeftoverRemoval
from .rows import BuryInbox, DiscardLetter, ExecutionAppend, InboxInsert, RequeueLetter
from .settings import Settings
from .trigger_rows import EventAcceptance, EventExpansion, ForgetJobs, JobUpdate, TriggerFiring
from .writes import Committed, Write

_KNOWN_MAX: Final = 4_096
"""Executions whose state after some event is remembered, for whoever reads on from there."""
_WATCHED_EVENTS_MAX: Final = 256
"""Events of one page of a watch: few enough that making it does not keep others waiting."""
_FIRST_STATE: Final = "pending"
_WITHOUT_EVENTS: Final = frozenset(
    {
        InboxInsert,
        BuryInbox,
        RequeueLetter,
        DiscardLetter,
        LifecycleChange,
        TriggerFiring,
        EventAcceptance,
        EventExpansion,
        JobUpdate,
        ForgetJobs,
        SubscriptionCreation,
        SubscriptionAck,
        SubscriptionDeletion,
        FeedPruning,
        ExecutionDeletion,
        ExecutionPruning,
        LeftoverRemoval,
        JobBegin,
    }
)
"""Writes that add no event by themselves (what a trigger starts comes as an append of its own). Any other kind rings
every bell, from wherever its reader stands."""


class FeedEvent(NamedTuple):
    """An event, and the execution it belongs to."""

    execution_id: str
    event: HistoryEvent


class FeedPage(NamedTuple):
    """The wanted events up to a position."""

    events: list[FeedEvent]
    position: Position
    end: bool
    """Whether nothing was stored after it."""


class _Origin(msgspec.Struct, frozen=True):
    """What caused an event, as it is stored."""

    user: str = ""
    trace: str = ""
    request: str = ""
    by: str = ""
    """Letters for the command (causes.py)."""


_DECODER: Final = msgspec.json.Decoder(_Origin)
_NOBODY: Final = _Origin()


def _origin_of(context: bytes) -> _Origin:
    """Nobody where it is damaged: one event must not end the feed of its tenant."""
    try:
        return _DECODER.decode(context)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NOBODY


class _After(NamedTuple):
    """What holds after an event, for the one that follows."""

    state: str
    origin: _Origin


class _Bell:
    """Rings when something of the tenant is committed."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.first = 0
        """Position of the first event since it was silenced; 0: not known."""

    def ring(self, first: int) -> None:
        """Something is there, from this position on."""
        self.first = min(self.first, first) if self._rung.is_set() else first
        self._rung.set()

    def silence(self) -> None:
        """From now on."""
        self._rung.clear()

    async def heard(self, seconds: float) -> bool:
        """Wait for it, at most so long; False: it was silent."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return self._rung.is_set()
        return True


class TenantFeeds:
    """All readers of the feeds of tenants."""

    def __init__(self, store: Store, settings: Settings, seats: Seats, positions: Positions) -> None:
        self.positions = positions
        self._store = store
        self._settings = settings
        self._seats = seats
        self._bells: dict[str, set[_Bell]] = {}
        self._latest = 0
        """Position of the last event that the bells were rung for, or need not be."""
        self._known: dict[tuple[int, int], _After] = {}
        """By execution's key and sequence, the oldest first."""
        self.closing = False

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener."""
        if not self._bells:
            return
        for write, outcome in writes:
            if type(write) is ExecutionAppend:
                if write.events:
                    self._latest = max(self._latest, outcome.position)
                    self._ring(self._bells.get(write.ref.tenant, ()), outcome.position - len(write.events) + 1)
            elif type(write) not in _WITHOUT_EVENTS:
                self._ring_all()

    @staticmethod
    def _ring(bells: set[_Bell] | tuple[()], first: int) -> None:
        for bell in bells:
            bell.ring(first)

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            self._ring(bells, 0)

    async def begin(self, tenant: str, position: Position | None = None, *, from_start: bool = False) -> Position:
        """Where to read from: after `position`, else from the oldest event or from now on. Raises POSITION_PRUNED."""
        bounds = await self._store.feed_bounds(tenant)
        if position is None:
            return Position(0 if from_start else bounds.last, bounds.pruned)
        self._check(tenant, position, bounds.pruned)
        return position

    @contextmanager
    def reading(self, tenant: str, position: Position, wanted: EventFilter) -> Generator[Reader]:
        """A reader of the feed after a position. Raises Refused SERVER_BUSY."""
        self._seats.take()
        bell = _Bell()
        self._bells.setdefault(tenant, set()).add(bell)
        try:
            yield Reader(self, tenant, position, wanted, bell)
        finally:
            self._seats.give_back()
            self._bells[tenant].discard(bell)
            if not self._bells[tenant]:
                del self._bells[tenant]

    async def watch(self, tenant: str, position: Position, wanted: EventFilter) -> AsyncGenerator[FeedPage]:
        """Pages as they come, the first at once, without end; ends when the engine does. A page may have no events."""
        loop, settings = asyncio.get_running_loop(), self._settings
        told, told_at = Position(-1), 0.0
        with self.reading(tenant, position, wanted) as reader:
            while not self.closing:
                page = await reader.read(_WATCHED_EVENTS_MAX, settings.page_bytes_max)
                due = loop.time() >= told_at + settings.feed_frame_seconds
                if page.events or (due and page.position != told):
                    yield page
                    told, told_at = page.position, loop.time()
                if page.end and not self.closing:
                    await reader.rest(settings.feed_frame_seconds)

    async def read(self, tenant: str, after: Position, wanted: EventFilter, limit: int, bytes_max: int) -> FeedPage:
        """The wanted ones of the next events. Raises Refused POSITION_PRUNED."""
        page = await self._store.tenant_events(
            tenant,
            after.number,
            self._settings.feed_scan_events_max,
            min(limit, self._settings.page_items_max),
            min(bytes_max, self._settings.page_bytes_max),
        )
        self._check(tenant, after, page.pruned)
        before, gone = await self._before(page.events)
        found_events = page.events
        if gone:
            self._check(tenant, after, (await self._store.feed_bounds(tenant)).pruned)
            found_events = [found for found in page.events if found.key not in gone]
        matching = [
            FeedEvent(found.execution_id, event)
            for found, event in zip(found_events, self._completed(found_events, before), strict=True)
            if wanted.matches(_facts(found, event))
        ]
        return FeedPage(matching, Position(page.position, after.pruned), page.end)

    def _check(self, tenant: str, position: Position, pruned: int) -> None:
        if not position.misses(pruned):
            return
        oldest = self.positions.make(tenant, Position(position.number, pruned))
        raise Refused(
            Refusal(
                Kind.RANGE,
                "POSITION_PRUNED",
                "events after this position have been pruned; `oldest_position` goes on with those that are still "
                "there",
                {"oldest_position": oldest},
            )
        )

    def latest(self, tenant_position: int) -> int:
        """Where a reader stands that was at the end of the feed there, and whose bell has not rung since."""
        return max(tenant_position, self._latest)

    def _completed(self, page: list[TenantEvent], after: dict[int, _After]) -> list[HistoryEvent]:
        """With what is stored once for several events: the state before, and who caused it."""
        events: list[HistoryEvent] = []
        for found in page:
            stored, (state, origin) = found.stored, after[found.key]
            if stored.context is not None:
                origin = _origin_of(stored.context)
            to_state = state if stored.to_state is None else stored.to_state
            events.append(
                HistoryEvent(stored, state, to_state, origin.user, origin.trace, origin.request, name_of(origin.by))
            )
            after[found.key] = _After(to_state, origin)
        for place in {found.key: found.stored.sequence for found in page}.items():
            self._remember(place, after[place[0]])
        return events

    async def _before(self, page: list[TenantEvent]) -> tuple[dict[int, _After], set[int]]:
        """What holds before the first event of each execution in the page; the keys of those that were deleted since
        it was read, of which nobody can say it any more."""
        found: dict[int, _After] = {}
        missing: list[tuple[int, int]] = []
        for event in page:
            if event.key in found:
                continue
            sequence = event.stored.sequence
            known = self._known.get((event.key, sequence - 1)) if sequence > 1 else _After(_FIRST_STATE, _NOBODY)
            found[event.key] = known or _After("", _NOBODY)
            if known is None:
                missing.append((event.key, sequence))
        gone: set[int] = set()
        for (key, _), before in zip(missing, await self._store.before(missing) if missing else (), strict=True):
            found[key] = _After(before.state, _origin_of(before.context) if before.context is not None else _NOBODY)
            # The first event of every execution has a context.
            if before.context is None and await self._store.execution_by_key(key) is None:
                gone.add(key)
        return found, gone

    def _remember(self, place: tuple[int, int], after: _After) -> None:
        self._known[place] = after
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def close(self) -> None:
        """End every watch; they can be taken up again from where they were."""
        self.closing = True
        self._ring_all()


class Reader:
    """One reader: a position that goes forward."""

    def __init__(self, feeds: TenantFeeds, tenant: str, position: Position, wanted: EventFilter, bell: _Bell) -> None:
        self._feeds = feeds
        self._tenant = tenant
        self._wanted = wanted
        self._bell = bell
        self.position = position

    async def read(self, limit: int, bytes_max: int) -> FeedPage:
        """The wanted ones of the next events, which may be none; the position goes on behind what was looked at."""
        self._bell.silence()
        page = await self._feeds.read(self._tenant, self.position, self._wanted, limit, bytes_max)
        self.position = page.position
        return page

    async def rest(self, seconds: float) -> None:
        """After a page that was the end: until something of the tenant is committed, but at most so long."""
        number, pruned = self.position
        if not await self._bell.heard(seconds):
            number = self._feeds.latest(number)
        elif self._bell.first:
            number = max(number, self._bell.first - 1)
        self.position = Position(number, pruned)


def _facts(found: TenantEvent, event: HistoryEvent) -> EventFacts:
    name = str(event.stored.name)  # in a damaged row it may be none
    return EventFacts(name, ev.category(name), found.execution_id, found.definition_id, event.to_state, event.user_id)
