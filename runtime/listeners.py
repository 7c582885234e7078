"""What listens to an event of a name in a tenant: its triggers, compiled, and the revision that they are as of.

Nothing is right because of this cache. An event's acceptance carries the revision, and the store compares it in the
commit; an entry that turns out to be old is dropped and read again. That entries also go when the journal tells of a
lifecycle change of their tenant only saves lost commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cachetools import TTLCache

from .catalog import CompiledVersion
from .core.plan import TriggerPlan
from .core.refusals import Refused
from .lifecycle_rows import LifecycleChange
from .ports import Clock
from .trigger_rows import TriggerRow
from .writes import Committed, Write

NAMES_MAX = 1_000
"""Event names in the cache, those that nothing listens to among them."""
SECONDS_MAX = 600.0
"""How long one stays there, used or not."""


class ListenerSource(Protocol):
    """What is read; a Store has it."""

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """The active triggers of an event, and the revision of the last change to them."""
        ...


class Versions(Protocol):
    """Where compiled versions come from: the catalog."""

    async def version(self, tenant: str, definition_id: str, version: int) -> CompiledVersion:
        """A version, ready to run; raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Listener:
    """One trigger that hears an event."""

    trigger: TriggerPlan
    compiled: CompiledVersion
    """The version it starts."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """All that listens to one name, as of a revision."""

    revision: int
    """Of the last change to any of it; 0: nothing ever listened."""
    listeners: tuple[Listener, ...]
    """Those that are not paused."""
    warnings: tuple[str, ...]
    """Triggers that cannot run in this version of the server."""


class Listeners:
    """The cache, with one reader a name however many wait."""

    def __init__(self, store: ListenerSource, versions: Versions, clock: Clock, names_max: int = NAMES_MAX) -> None:
        self._store = store
        self._versions = versions
        self._heard: TTLCache[tuple[str, str], Hearing] = TTLCache(names_max, SECONDS_MAX, clock.monotonic)
        self._readers: dict[tuple[str, str], asyncio.Task[Hearing]] = {}

    def cached(self, tenant: str, event_name: str) -> Hearing | None:
        """What listens, if it is in memory."""
        return self._heard.get((tenant, event_name))

    async def of(self, tenant: str, event_name: str) -> Hearing:
        """What listens to events of this name."""
        place = (tenant, event_name)
        found = self._heard.get(place)
        if found is not None:
            return found
        reader = self._readers.get(place)
        if reader is None:
            reader = self._readers[place] = asyncio.create_task(self._read(tenant, event_name))
            reader.add_done_callback(lambda task: self._have_read(place, task))
        return await asyncio.shield(reader)

    def forget(self, tenant: str, event_name: str, revision: int) -> None:
        """There is something newer than what was read at this revision."""
        place = (tenant, event_name)
        found = self._heard.get(place)
        if found is not None and found.revision <= revision:
            self._heard.pop(place, None)

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener. A change does not name the events that a version before it listened to, so all of
        its tenant are dropped; what is being read now may be older than it and is not kept."""
        for tenant in {write.tenant for write, _ in writes if type(write) is LifecycleChange}:
            for place in [place for place in self._heard if place[0] == tenant]:
                self._heard.pop(place, None)
            for place in [place for place in self._readers if place[0] == tenant]:
                del self._readers[place]

    async def _read(self, tenant: str, event_name: str) -> Hearing:
        revision, rows = await self._store.listeners(tenant, event_name)
        listeners: list[Listener] = []
        warnings: list[str] = []
        for row in rows:
            if row.paused:
                continue
            try:
                compiled = await self._versions.version(tenant, row.definition_id, row.version)
            except Refused as refused:
                warnings.append(located(row.definition_id, row.version, row.trigger_id, refused.refusal.message))
                continue
            trigger = next((one for one in compiled.plan.triggers if one.id == row.trigger_id), None)
            if trigger is None:
                message = "this version of the server finds no such trigger in the definition"
                warnings.append(located(row.definition_id, row.version, row.trigger_id, message))
            else:
                listeners.append(Listener(trigger, compiled))
        return Hearing(revision, tuple(listeners), tuple(warnings))

    def _have_read(self, place: tuple[str, str], task: asyncio.Task[Hearing]) -> None:
        current = self._readers.get(place) is task
        if current:
            del self._readers[place]
        # The exception is fetched, so that a failure nobody waits for any more is not reported as forgotten.
        if not task.cancelled() and task.exception() is None and current:
            self._heard[place] = task.result()


def located(definition_id: str, version: int, trigger_id: str, message: str) -> str:
    """A warning about a trigger, with its place."""
    return f"{definition_id}@{version} triggers[{trigger_id}]: {message}"
