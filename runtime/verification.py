"""Checking a stored execution: its chain, its head, that a replay from zero is what snapshots and memory say, and that
its sensitive values are there until they are erased.

Rules
- It reads page by page as the events are stored, holds one state and what is wrong, and lets others have their turn.
- Where the chain is broken nothing behind it can be replayed, so snapshots and live state are compared up to there.
- What is appended meanwhile is read, too: at the end the last event is the head that the execution records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import msgspec

from .batch import head_of, not_found
from .core.chain import Chain, Problem, ProblemKind
from .core.refusals import Refused
from .core.state import State
from .core.values import encode
from .replay import PAGE_BYTES, PAGE_EVENTS, HistoryDamagedError, apply, read_snapshot
from .rows import ExecutionRecord, ExecutionRef, Head, Snapshot, StoredEvent
from .value_checks import SealedValues, ValueChecks

PROBLEMS_MAX = 1_000
"""Problems of one execution that are told; the others are not."""
SLICE_EVENTS = 200
"""How many events are checked before others have their turn."""


class Verification(msgspec.Struct, frozen=True):
    """What came of checking an execution."""

    problems: tuple[Problem, ...]
    """In order of sequence; empty: all is well."""
    events_checked: int
    snapshots_checked: int
    head_sequence: int
    """As the execution records it."""
    head_hash: bytes


class StoredHistories(SealedValues, Protocol):
    """What is read (part of the Store port)."""

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """By tenant and id."""
        ...

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """The row itself."""
        ...

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events as they are stored."""
        ...

    async def snapshots(self, key: int) -> list[Snapshot]:
        """Kept snapshots."""
        ...


Awake = Callable[[ExecutionRef], Awaitable[State | None]]
"""The live state of an execution, not ahead of the disk; None: it sleeps."""


async def verify(store: StoredHistories, awake: Awake, ref: ExecutionRef) -> Verification:
    """Check one execution. Raises Refused EXECUTION_NOT_FOUND."""
    record = await store.execution(ref)
    if record is None:
        raise Refused(not_found(ref))
    return await _Check(store, awake, record).run()


class _Check:
    """The checking of one execution."""

    def __init__(self, store: StoredHistories, awake: Awake, record: ExecutionRecord) -> None:
        self._store = store
        self._awake = awake
        self._record = record
        self._chain = Chain(*record.ref)
        self._state: State | None = State(execution_id=record.ref.execution_id)
        """The replayed state; None: the events so far cannot be replayed."""
        self._snapshots: dict[int, Snapshot] = {}
        """By sequence: those not met yet."""
        self._values = ValueChecks(store, record.key)
        self._problems: list[Problem] = []
        self._checked = 0
        self._after = 0
        """The sequence up to which the events were read."""

    async def run(self) -> Verification:
        """Everything, in order."""
        snapshots = await self._store.snapshots(self._record.key)
        for snapshot in snapshots:
            if read_snapshot(snapshot) is None:
                self._snapshot_problem(snapshot, "cannot be read or fails its check")
            else:
                self._snapshots[snapshot.sequence] = snapshot
        await self._read_to_the_end()
        self._tell(self._chain.settle())
        self._check_head(self._record.head)
        await self._check_name()
        for snapshot in self._snapshots.values():
            if snapshot.sequence > self._chain.sequence:
                self._snapshot_problem(snapshot, f"is behind the last event, {self._chain.sequence}")
            elif self._state is not None:
                self._snapshot_problem(snapshot, "is at no event")
        await self._check_live()
        await self._check_values()
        head = self._record.head
        problems = sorted(self._problems, key=lambda problem: problem.sequence)
        return Verification(tuple(problems), self._checked, len(snapshots), head.sequence, head.hash)

    async def _read_to_the_end(self) -> None:
        """Read until the execution records no later event than those that were read, or they are not there."""
        while True:
            while page := await self._page():
                await self._take(page)
            record = await self._there()
            grown, self._record = record.head.sequence > self._record.head.sequence, record
            if not grown or record.head.sequence <= self._chain.sequence:
                return

    async def _there(self) -> ExecutionRecord:
        """The execution as it is stored now. Raises Refused EXECUTION_NOT_FOUND where it was deleted, also if another
        one has its id since: what was read of it says nothing then."""
        record = await self._store.execution(self._record.ref)
        if record is None or record.key != self._record.key:
            raise Refused(not_found(self._record.ref))
        return record

    async def _page(self, limit: int = PAGE_EVENTS) -> list[StoredEvent]:
        page = await self._store.stored_events(self._record.key, self._after, limit, PAGE_BYTES)
        if page:  # a damaged number must not lead back
            self._after = max(self._after + len(page), page[-1].sequence)
        return page

    async def _take(self, page: Sequence[StoredEvent]) -> None:
        for start in range(0, len(page), SLICE_EVENTS):
            for event in page[start : start + SLICE_EVENTS]:
                if found := self._chain.take(event):
                    self._tell(found)
                if not self._chain.sound:
                    self._state = None
                elif self._state is not None:
                    self._apply(self._state, event)
            await asyncio.sleep(0)
        await self._values.take(page)
        self._checked += len(page)

    def _apply(self, state: State, event: StoredEvent) -> None:
        try:
            apply(state, event)
        except HistoryDamagedError as error:
            self._tell([Problem(ProblemKind.EVENT, event.sequence, str(error))])
            self._state = None
            return
        if event.sequence == 1:
            self._values.expected = not state.status.ended
        snapshot = self._snapshots.pop(event.sequence, None)
        if snapshot is not None and _encoded(read_snapshot(snapshot)) != _encoded(state):
            self._snapshot_problem(snapshot, "is not the state that a replay gives")

    def _check_head(self, head: Head) -> None:
        chain = self._chain
        if head.sequence > chain.sequence:
            first, last = chain.sequence + 1, head.sequence
            missing = f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
            self._head_problem(first, f"{missing}: the execution records {last} as its last event")
        elif head.sequence < chain.sequence:
            self._head_problem(chain.sequence, f"the execution records {head.sequence} as its last event")
        elif head.hash != chain.hash:
            self._head_problem(head.sequence, "the execution records another hash of its last event")
        elif self._state is not None and (wrong := _unlike(head, head_of(self._state))):
            self._head_problem(head.sequence, f"what is listed of the execution is not what its events say: {wrong}")

    async def _check_name(self) -> None:
        """An index leads to the row; what stands in the row itself is what listings show."""
        row = await self._store.execution_by_key(self._record.key)
        if row is None or row.ref != self._record.ref:
            await self._there()
            known = "is not there" if row is None else f"is that of {row.ref.execution_id!r} of {row.ref.tenant!r}"
            self._head_problem(self._record.head.sequence, f"the row of the execution {known}")

    async def _check_live(self) -> None:
        """Compare what is in memory; it may have gone on since, and then the events up to there are read first."""
        live = await self._awake(self._record.ref)
        if live is None or self._state is None:
            return
        at, remembered = live.sequence, _encoded(live)
        while self._chain.sequence < at and (page := await self._page(min(PAGE_EVENTS, at - self._chain.sequence))):
            await self._take(page)
        self._tell(self._chain.settle())
        if self._differs(at, remembered):
            await self._there()
            message = f"the live state, at {at}, is not the state that a replay gives"
            self._tell([Problem(ProblemKind.LIVE_STATE, at, message)])

    async def _check_values(self) -> None:
        """They may have been erased since the last event was read, or the whole execution deleted."""
        found = await self._values.settle()
        if found:
            await self._there()
            await self._values.take(await self._page())
            found = await self._values.settle() if self._values.erased else found
        self._tell(found)

    def _differs(self, at: int, remembered: bytes) -> bool:
        """Whether the live state is another one. Where events are missing or wrong, that has been told."""
        if at < self._chain.sequence:
            return True
        return self._state is not None and self._state.sequence == at and _encoded(self._state) != remembered

    def _head_problem(self, sequence: int, message: str) -> None:
        self._tell([Problem(ProblemKind.HEAD, sequence, message)])

    def _snapshot_problem(self, snapshot: Snapshot, what: str) -> None:
        message = f"the snapshot at {snapshot.sequence} {what}"
        self._tell([Problem(ProblemKind.SNAPSHOT, snapshot.sequence, message)])

    def _tell(self, problems: Iterable[Problem]) -> None:
        self._problems += problems
        del self._problems[PROBLEMS_MAX:]


def _encoded(state: State | None) -> bytes:
    return encode(cast(Any, state))


def _unlike(head: Head, told: Head) -> str:
    """The fields in which a stored projection differs from the one that the events give; empty: none."""
    fields = (name for name in Head.__struct_fields__ if getattr(head, name) != getattr(told, name))
    return ", ".join(f"{name} is {getattr(head, name)!r}, not {getattr(told, name)!r}" for name in fields)
