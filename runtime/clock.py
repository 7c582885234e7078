"""Time, identity and chance: the real ones, and ones a test drives by hand.

`ManualClock` makes waiting free: a wait of 30 days takes as long as the work that happens at its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
import secrets
import time
from typing import Final

from .ports import Clock

_MICROSECONDS: Final = 1_000_000


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Wall clock, in microseconds since the epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds on the clock that asyncio uses too."""
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        """Return once `monotonic()` has reached this; asyncio may wake a little early, hence the recursion."""
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))
        if time.monotonic() < deadline:
            await self.sleep_until(deadline)


class ManualClock:
    """A clock that stands still until `advance` is called; for tests.

    Whoever sleeps is woken in the order of the deadlines, and everything that follows from it runs before the next
    one is woken.
    """

    def __init__(self, start: int = 1_750_000_000_000_000, settle_rounds: int = 24) -> None:
        self._wall = start
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._settle_rounds = settle_rounds

    def now(self) -> int:
        """Wall clock, in microseconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return self._monotonic

    async def sleep_until(self, deadline: float) -> None:
        """Return once `advance` has come this far."""
        if deadline <= self._monotonic:
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (deadline, next(self._order), woken))
        await woken

    async def advance(self, seconds: float, steps_max: int = 1000) -> None:
        """Let time pass. It halts at every deadline on the way, but at most about `steps_max` times: over a long
        stretch, deadlines that lie close together are reached in one step (in their order, a little late)."""
        target = self._monotonic + seconds
        stride = seconds / steps_max if seconds > steps_max else 0.0
        await self.settle()
        while (deadline := self._next_deadline()) is not None and deadline <= target:
            self._move_to(min(target, max(deadline, self._monotonic + stride)))
            self._wake()
            await self.settle()
        self._move_to(target)
        await self.settle()

    async def settle(self, rounds: int = 0) -> None:
        """Let everything run that can run now: so many turns of the loop (0: as given to the constructor). What
        happens in threads is not waited for."""
        for _ in range(rounds or self._settle_rounds):
            await asyncio.sleep(0)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server might; no time passes."""
        self._wall += round(seconds * _MICROSECONDS)

    def _next_deadline(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _move_to(self, moment: float) -> None:
        passed = max(0.0, moment - self._monotonic)
        self._monotonic += passed
        self._wall += round(passed * _MICROSECONDS)

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)


class SystemIds:
    """Unique ids in the form of UUID version 7 (RFC 9562): ordered by time, across processes to the millisecond."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._random = random.SystemRandom()
        self._chance = random.Random(secrets.randbits(64))

    def new(self) -> str:
        """A new id; one made later by this object is always greater, even where the clock stands or runs back."""
        # 48 bits of milliseconds and the 12 bits below them, as fractions of a millisecond.
        stamp = self._clock.now() * 4096 // 1000
        self._last = stamp = max(stamp, self._last + 1)
        value = (
            (stamp >> 12 << 80) | (0x7 << 76) | ((stamp & 0xFFF) << 64) | (0b10 << 62) | self._random.getrandbits(62)
        )
        text = f"{value & (2**128 - 1):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def chance(self) -> float:
        """A random number in [0, 1)."""
        return self._chance.random()

    def random_bytes(self, count: int) -> bytes:
        """From the system's source for secrets."""
        return secrets.token_bytes(count)


class ManualIds:
    """Ids that count up, and a chance that is always the same; for tests."""

    def __init__(self, prefix: str = "id-", chance: float = 0.5) -> None:
        self._prefix = prefix
        self._count = itertools.count(1)
        self.next_chance = chance

    def new(self) -> str:
        """`id-00000001`, `id-00000002`, ..."""
        return f"{self._prefix}{next(self._count):08d}"

    def chance(self) -> float:
        """`next_chance`, which a test may set."""
        return self.next_chance

    def random_bytes(self, count: int) -> bytes:
        """Bytes that differ from call to call, and are the same in every run."""
        return hashlib.shake_256(f"{self._prefix}{next(self._count)}".encode()).digest(count)
