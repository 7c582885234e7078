"""The journal: the one way to the disk. Everything that waits goes into one commit, and only then is anyone told.

- One flush at a time. While it is on its way, what is submitted gathers for the next, so batches grow with the load;
  alone, a write waits for its own commit and for no timer.
- After a commit: first the listeners (dispatcher, timers, feeds, catalog), in the order in which they subscribed, then
  the callers. A listener therefore knows everything that any answer can depend on.
- A full disk refuses everything until a probe succeeds; then work goes on by itself. Nothing of a refused flush is
  on disk.
- Any other failure of the storage is final: every pending and later write raises StorageFailedError, and `on_fatal` is
  called once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from .core.refusals import Kind, Refusal, Refused
from .lifecycle_rows import LifecycleChange
from .ports import Clock, StorageFailedError, StorageFullError
from .rows import ExecutionAppend, InboxInsert
from .trigger_rows import EventAcceptance, EventExpansion, TriggerFiring, offer_bytes
from .writes import Committed, Outcome, Write

_LOG = logging.getLogger(__name__)

FLUSH_APPENDS_MAX = 512
FLUSH_BYTES_MAX = 8 * 1024 * 1024
PROBE_SECONDS = 1.0
GATHER_ROUNDS_MAX = 32
"""Rounds of the loop for which a flush waits for company."""
CALM_ROUNDS_MAX = 4
"""Rounds without company after which it goes (measured with 64 executions: half as many commits, 15 to 20 % more
steps a second; more rounds gain nothing)."""

Listener: TypeAlias = Callable[[Sequence[tuple[Write, Committed]]], None]
"""Called after every commit with what was committed, in commit order. It must not raise and must not wait."""


class JournalStore(Protocol):
    """What the journal needs of a store."""

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        """Commit the batch in one transaction; raises StorageFullError or StorageFailedError."""
        ...

    async def probe(self) -> bool:
        """Whether a small durable write succeeds."""
        ...


class _Waiting(NamedTuple):
    write: Write
    answer: asyncio.Future[Outcome]


class Journal:
    """Group commit over a store."""

    def __init__(
        self,
        store: JournalStore,
        clock: Clock,
        *,
        on_fatal: Callable[[BaseException], None] | None = None,
        observe: Callable[[int, float], None] | None = None,
        flush_appends_max: int = FLUSH_APPENDS_MAX,
        flush_bytes_max: int = FLUSH_BYTES_MAX,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """`observe` gets the size of each flush in writes and its duration in seconds."""
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._clock = clock
        self._on_fatal = on_fatal
        self._observe = observe
        self._flush_appends_max = flush_appends_max
        self._flush_bytes_max = flush_bytes_max
        self._probe_seconds = probe_seconds
        self._listeners: list[Listener] = []
        self._waiting: deque[_Waiting] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._failure: StorageFailedError | None = None
        self._closing = False

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every commit from now on."""
        self._listeners.append(listener)

    @property
    def full(self) -> bool:
        """Whether writes are refused because the disk is full."""
        return self._prober is not None

    @property
    def waiting(self) -> int:
        """Writes that no flush has taken yet."""
        return len(self._waiting)

    def submit(self, write: Write) -> asyncio.Future[Outcome]:
        """Put it into the next flush. The answer may be given up; the write is carried out all the same.

        Raises, here or from the answer, Refused while the disk is full or the journal closes, and StorageFailedError.
        """
        if self._failure is not None:
            raise StorageFailedError(str(self._failure))
        if self.full:
            raise _storage_full(self._probe_seconds)
        if self._closing:
            raise Refused(Refusal(Kind.UNAVAILABLE, "SERVER_DRAINING", "the server is shutting down"))
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append(_Waiting(write, answer))
        if self._flusher is None:
            self._flusher = self._loop.create_task(self._flush_all(), name="callboard-journal")
        return answer

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Submit, and wait for the answer; giving up the wait does not take the write back."""
        return self.submit(write)

    async def close(self) -> None:
        """Take no more writes, and return when those that are waiting have been answered."""
        self._closing = True
        if self._flusher is not None:
            await asyncio.shield(self._flusher)
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.wait([self._prober])
            self._prober = None

    async def _flush_all(self) -> None:
        """Lives as long as something waits, so that an idle journal costs nothing."""
        try:
            while self._waiting:
                await self._gather()
                await self._flush(self._take())
        finally:
            self._flusher = None

    async def _gather(self) -> None:
        """Let whoever is about to write come along: a commit costs nearly the same for one as for many, and while it
        is written, its thread and the loop compete for the interpreter. No timer: rounds of the loop, one when a write
        is alone, and the more the more writes would win by company; it is over when no more of them come."""
        await asyncio.sleep(0)
        calm = 0
        for _ in range(GATHER_ROUNDS_MAX):
            waiting = len(self._waiting)
            if calm >= min(CALM_ROUNDS_MAX, waiting // 2) or waiting >= self._flush_appends_max:
                return
            await asyncio.sleep(0)
            calm = calm + 1 if len(self._waiting) == waiting else 0

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < self._flush_appends_max and size < self._flush_bytes_max:
            waiting = self._waiting.popleft()
            size += _bytes_of(waiting.write)
            batch.append(waiting)
        return batch

    async def _flush(self, batch: list[_Waiting]) -> None:
        started = self._clock.monotonic()
        try:
            outcomes = await self._store.write([waiting.write for waiting in batch])
        except StorageFullError as error:
            self._refuse(batch, error)
            return
        except BaseException as error:
            # What a defect, or a cancelled flush, left on disk is as unknown as what a failed sync left.
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            return
        if self._observe is not None:
            self._observe(len(batch), self._clock.monotonic() - started)
        self._tell(batch, outcomes)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    def _tell(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        committed: list[tuple[Write, Committed]] = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Committed):
                committed.append((waiting.write, outcome))
                if outcome.starts:
                    committed += _starts(waiting.write, outcome)
        for listener in self._listeners if committed else ():
            try:
                listener(committed)
            except Exception:  # noqa: BLE001 - one listener's defect must not keep the others from their commit
                # The commit stands and its callers are answered; what this listener missed, it finds in the tables.
                _LOG.exception("a listener of the journal failed")

    def _refuse(self, batch: Sequence[_Waiting], error: StorageFullError) -> None:
        """Everything that waits is refused, so that callers see the full disk now and not one after the other."""
        _LOG.error("the disk is full; writes are refused until there is room: %s", error)
        self._answer_all(batch, lambda: _storage_full(self._probe_seconds))
        self._prober = asyncio.create_task(self._probe(), name="callboard-journal-probe")

    async def _probe(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + self._probe_seconds)
            try:
                room = await self._store.probe()
            except Exception as error:  # noqa: BLE001 - it says that the storage failed, whatever it is
                self._prober = None
                self._fail([], error)
                return
            if room:
                self._prober = None
                _LOG.warning("the disk has room again; writes go on")
                return

    def _fail(self, batch: Sequence[_Waiting], error: BaseException) -> None:
        failure = error if isinstance(error, StorageFailedError) else StorageFailedError(f"unexpected: {error!r}")
        first, self._failure = self._failure is None, failure
        _LOG.critical("the storage failed; nothing more is written: %s", error, exc_info=error)
        self._answer_all(batch, lambda: StorageFailedError(str(failure)))
        if first and self._on_fatal is not None:
            self._on_fatal(failure)

    def _answer_all(self, batch: Sequence[_Waiting], error: Callable[[], Exception]) -> None:
        """Everyone gets an exception of their own: one that is raised in many places drags all their tracebacks."""
        for waiting in (*batch, *self._waiting):
            if not waiting.answer.done():
                waiting.answer.set_exception(error())
        self._waiting.clear()


def _starts(write: Write, outcome: Committed) -> list[tuple[Write, Committed]]:
    """The executions that a write has started: to listeners, appends like any others."""
    appends: list[ExecutionAppend] = []
    if isinstance(write, EventAcceptance):
        appends = [start.append for start in write.starts]
    elif isinstance(write, TriggerFiring) and write.start is not None:
        appends = [write.start]
    pairs = zip(appends, outcome.starts, strict=True)
    return [(append, start) for append, start in pairs if isinstance(start, Committed)]


def _bytes_of(write: Write) -> int:
    """Roughly what the write adds to the log."""
    match write:
        case ExecutionAppend():
            size = len(write.snapshot.data) if write.snapshot is not None else 0
            for event in write.events:
                size += len(event.payload)
            return size
        case InboxInsert():
            return len(write.payload)
        case LifecycleChange():
            return sum(
                len(change.draft or b"") + (len(change.version.content) if change.version is not None else 0)
                for change in write.changes
            )
        case EventAcceptance():
            return len(write.payload) + sum(_bytes_of(start.append) for start in write.starts)
        case TriggerFiring():
            return _bytes_of(write.start) if write.start is not None else 0
        case EventExpansion():
            return len(write.offers) * offer_bytes(write.payload)
        case _:
            return 0


def _storage_full(probe_seconds: float) -> Refused:
    return Refused(
        Refusal(
            Kind.BUSY,
            "STORAGE_FULL",
            "the disk is full: nothing was written; the server goes on by itself when there is room",
            retry_after_us=int(probe_seconds * 1_000_000),
        )
    )
