"""Pruning by itself: what a definition's `retention` lets go, the rest of long histories, and unused space.

- It sleeps until the first execution expires, as the store and later commits say: a store without any costs nothing.
- Batches are small, and after each it rests as long as the batch took, so that it has half of the writer at most.
- It waits for durable subscriptions, for each execution up to `prune_wait_seconds` from its expiry.
- All it does is in the store, and it keeps nothing that a restart would lose.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from .core.refusals import Refused
from .jobs import Writer
from .ports import Clock, StorageFailedError, StorageFullError, Store
from .retention import rest
from .retention_rows import ExecutionDeletion, ExecutionPruning, ExpiredQuery, LeftoverRemoval
from .rows import ExecutionAppend
from .settings import Settings
from .writes import Committed, Write

log = logging.getLogger(__name__)

SLEEP_SECONDS_MAX: Final = 3_600.0
"""The longest sleep: the wall clock may be set."""
AGAIN_SECONDS: Final = 300.0
"""After so long it looks again at what had to stay."""
LEFTOVER_EVENTS_MAX: Final = 500
"""Events of a long history that go in one commit."""
GIVEN_BACK_BYTES_MAX: Final = 1024 * 1024
"""Bytes given back to the file system at a time."""


class RetentionSweeps:
    """One task that prunes what has expired."""

    def __init__(self, store: Store, journal: Writer, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._woken = asyncio.Event()
        self._next_at = 0
        """When it wakes by itself, on the wall clock; an expiry before that wakes it."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on, beginning with what expired or was left over while nothing ran."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="callboard-retention")

    async def close(self) -> None:
        """Stop; what is left is done after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener: something expires earlier than thought, or was taken away by others."""
        for write, outcome in writes:
            if type(write) is ExecutionAppend:
                if write.expires_at and write.expires_at < self._next_at:
                    self._woken.set()
            elif type(write) is ExecutionDeletion or (type(write) is ExecutionPruning and write.job and outcome.pruned):
                self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._next_at = 2**62
            pause = AGAIN_SECONDS
            try:
                swept = self._clock.now()
                await self._sweep(swept)
                await self._tidy()
                pause = await self._pause(swept)
            except (Refused, StorageFullError) as error:
                log.info("pruning goes on later: %s", error)
            except StorageFailedError:
                return  # the server stops for it
            except Exception:  # a defect here must not keep it from ever pruning again
                log.exception("pruning was interrupted; it is tried again")
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        """Until it is time, or something has happened."""
        waits = [
            asyncio.ensure_future(self._clock.sleep_until(self._clock.monotonic() + seconds)),
            asyncio.ensure_future(self._woken.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _pause(self, swept: int) -> float:
        """How long there is nothing to do: what had expired when it swept and is still there has to stay for now."""
        firsts = [first for _, first in await self._store.first_expiries()]
        now = self._clock.now()
        seconds = SLEEP_SECONDS_MAX
        for first in firsts:
            seconds = min(seconds, max(0.0, (first - now) / 1_000_000) if first > swept else AGAIN_SECONDS)
        self._next_at = now + round(seconds * 1_000_000)
        return seconds

    async def _sweep(self, now: int) -> None:
        """Prune what has expired in every tenant."""
        for tenant, first in await self._store.first_expiries():
            if first <= now:
                await self._sweep_tenant(tenant, now)

    async def _sweep_tenant(self, tenant: str, now: int) -> None:
        limit = self._settings.prune_batch_max
        waited_until = now - self._settings.prune_wait_seconds * 1_000_000
        after = (0, 0)
        while True:
            acknowledged = await self._acknowledged(tenant)
            query = ExpiredQuery(tenant, now, after, acknowledged=acknowledged, waited_until=waited_until, limit=limit)
            rows = await self._store.expired(query)
            for patient in (True, False):
                keys = tuple(row.key for row in rows if (row.expires_at > waited_until) is patient)
                if keys:
                    await self._paced(ExecutionPruning(tenant, keys, self._clock.now(), patient))
            if len(rows) < limit:
                return
            after = (rows[-1].expires_at, rows[-1].key)

    async def _acknowledged(self, tenant: str) -> int:
        """Up to where all durable subscriptions of a tenant are."""
        rows = await self._store.subscriptions(tenant, "", self._settings.subscriptions_max)
        return min((row.position for row in rows), default=2**62)

    async def _tidy(self) -> None:
        """Remove what long histories have left behind, then give space back."""
        while keys := await self._store.leftovers(1):
            await self._paced(LeftoverRemoval(keys[0], LEFTOVER_EVENTS_MAX))
        before, left = 2**62 + 1, 2**62
        while 0 < left < before:
            began = self._clock.monotonic()
            before, left = left, await self._store.give_back(GIVEN_BACK_BYTES_MAX)
            await rest(self._clock, began)

    async def _paced(self, write: Write) -> None:
        """Write, and rest as long as that took."""
        began = self._clock.monotonic()
        await self._journal.write(write)
        await rest(self._clock, began)
