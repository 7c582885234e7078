"""The past of executions: as they were at a moment, what each event changed, whether the stored history holds together.

A moment is a sequence, or a time: then the last event recorded at or before it. Events of one execution are never
recorded earlier than those before them, so that one is found by halving. Nothing here changes an execution; a snapshot
on request is the state that is there already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import msgspec

from .batch import not_found, request_reused
from .core.differences import Change, differences
from .core.plan import Plan
from .core.refusals import Kind, Refusal, Refused
from .core.state import State
from .core.values import canonical, encode
from .feeds import HistoryEvent
from .forking import sequence_at
from .ports import Clock, Store
from .replay import HistoryDamagedError, advance, apply, begin, replay
from .requests import Caller, check_id
from .roles import Plans, Writer
from .rows import ExecutionAppend, ExecutionRecord, ExecutionRef, Snapshot
from .settings import Settings
from .verification import Verification, verify
from .views import ExecutionView, full_view, state_view
from .writes import Committed, Why

SNAPSHOT_TRIES_MAX = 20
"""How often a snapshot on request is taken again because the execution went on while it was being written."""
_HEADS_OWN = frozenset({"hash"})
"""Fields of a state that say what it was made of, and nothing about the execution."""


class Moment(msgspec.Struct, frozen=True):
    """A point in the life of an execution; with neither: now."""

    sequence: int | None = None
    time: int | None = None
    """Microseconds since the epoch."""


class Steps(msgspec.Struct, frozen=True):
    """One page of what each event changed."""

    limit: int
    begin: int = 0
    """Of a page that is not the first: the sequence from which the first one began, ..."""
    until: int = 0
    """... the one up to which they go, ..."""
    after: int = 0
    """... and the last one of the page before; 0: the first page."""


class Step(msgspec.Struct, frozen=True):
    """What one event changed."""

    event: HistoryEvent
    changes: tuple[Change, ...]


class Replayed(msgspec.Struct, frozen=True):
    """An execution rebuilt from its events."""

    view: ExecutionView | None
    """None: this is not the first page of steps."""
    state: bytes
    """JSON in canonical form; equal states have equal texts. Empty with `view` None."""
    begun_from: Snapshot | None
    """None: from zero."""
    begun_at: int
    until: int
    skipped: tuple[Snapshot, ...]
    """Snapshots that were passed over, as they are damaged or of another format."""
    steps: tuple[Step, ...] = ()

    @property
    def more(self) -> bool:
        """Whether more steps follow."""
        return bool(self.steps) and self.steps[-1].event.stored.sequence < self.until


class Living(Protocol):
    """What is asked of live executions (the supervisor)."""

    async def snapshot(self, ref: ExecutionRef) -> ExecutionAppend:
        """An append of a snapshot, to be written at once."""
        ...

    async def awake(self, ref: ExecutionRef) -> State | None:
        """The live state; None: it sleeps."""
        ...


class Pages(Protocol):
    """Where pages of history come from (the feeds)."""

    async def history(
        self, key: int, after: int, limit: int, bytes_max: int, state: str | None = None
    ) -> list[HistoryEvent]:
        """Events after a sequence, at which the execution's `state` was this."""
        ...


class Histories:
    """The past of all executions of one engine."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Writer,
        living: Living,
        plans: Plans,
        pages: Pages,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._journal = journal
        self._living = living
        self._plans = plans
        self._pages = pages
        self._clock = clock
        self._settings = settings

    # Looking back

    async def past(self, caller: Caller, execution_id: str, moment: Moment, full: bool = False) -> ExecutionView:
        """An execution as it was. Raises Refused: EXECUTION_NOT_FOUND, SEQUENCE_OUT_OF_RANGE, HISTORY_DAMAGED."""
        record = await self._record(caller, execution_id)
        async with self._stays(record):
            until = await self._sequence(record, moment)
            state, _ = await replay(self._store, record.ref, record.key, until=until)
        return await self._full(state, record) if full else state_view(state, record.ref, record.key)

    async def replay(
        self,
        caller: Caller,
        execution_id: str,
        moment: Moment,
        *,
        use_snapshots: bool = True,
        steps: Steps | None = None,
    ) -> Replayed:
        """Rebuild an execution beside the live one, and say what each event changed where `steps` ask for it. Raises
        Refused as `past` does."""
        record = await self._record(caller, execution_id)
        async with self._stays(record):
            if steps is not None and steps.after:
                return await self._next_steps(record, use_snapshots, steps)
            until = await self._sequence(record, moment)
            return await self._replay(record, until, use_snapshots, steps)

    async def _replay(self, record: ExecutionRecord, until: int, use_snapshots: bool, steps: Steps | None) -> Replayed:
        state, snapshot, skipped = await begin(self._store, record.ref, record.key, until, use_snapshots)
        begun_at = state.sequence
        taken = await self._steps(record, state, until, steps.limit) if steps is not None else ()
        await advance(self._store, record.key, state, until)
        view = await self._full(state, record)
        return Replayed(view, state_text(state), snapshot, begun_at, until, skipped, taken)

    async def _next_steps(self, record: ExecutionRecord, use_snapshots: bool, steps: Steps) -> Replayed:
        if steps.until > record.head.sequence:  # another execution has the id since the page before
            raise _out_of_range(f"sequence {steps.until}", record)
        state = (await begin(self._store, record.ref, record.key, steps.after, use_snapshots)).state
        await advance(self._store, record.key, state, steps.after)
        taken = await self._steps(record, state, steps.until, steps.limit)
        return Replayed(None, b"", None, steps.begin, steps.until, (), taken)

    async def _steps(self, record: ExecutionRecord, state: State, until: int, limit: int) -> tuple[Step, ...]:
        """What the next events change, up to a sequence and to a number of them; applies them to the state."""
        steps: list[Step] = []
        limit = min(limit, until - state.sequence)
        room = self._settings.page_bytes_max
        before = _plain(state)
        while len(steps) < limit and room > 0:
            wanted = limit - len(steps)
            page = await self._pages.history(record.key, state.sequence, wanted, room, state.state)
            if not page:
                missing = state.sequence + 1
                raise HistoryDamagedError(f"event {missing} is missing: the history ends before event {until}", missing)
            for event in page:
                apply(state, event.stored)
                after = _plain(state)
                changes = tuple(differences(before, after))
                steps.append(Step(event, changes))
                before = after
                room -= len(event.stored.payload) + sum(map(_size, changes))
                await asyncio.sleep(0)
                if room <= 0:
                    break
        return tuple(steps)

    async def _full(self, state: State, record: ExecutionRecord) -> ExecutionView:
        """With its open steps; what only the definition says is left out where that is gone."""
        plan: Plan | None = None
        if not state.status.ended:
            try:
                plan = await self._plans.plan(record.ref.tenant, state.definition_id, state.version)
            except Refused:
                plan = None
        return full_view(state, record.ref, record.key, plan, self._settings.open_steps_max)

    async def _sequence(self, record: ExecutionRecord, moment: Moment) -> int:
        """The last event of a moment."""
        last = record.head.sequence
        if moment.time is not None:
            found = await sequence_at(self._store, record.key, last, moment.time)
            if not found:
                raise _out_of_range("the time", record)
            return found
        if moment.sequence is None:
            return last
        if not 1 <= moment.sequence <= last:
            raise _out_of_range(f"sequence {moment.sequence}", record)
        return moment.sequence

    @asynccontextmanager
    async def _stays(self, record: ExecutionRecord) -> AsyncGenerator[None]:
        """What is read within is of a history that is whole, and what is missing of it is damage. Raises Refused:
        HISTORY_DAMAGED, or EXECUTION_NOT_FOUND where the execution was deleted meanwhile."""
        try:
            yield
        except HistoryDamagedError as error:
            await self._check_there(record)
            raise _damaged(error) from error
        except Refused:
            await self._check_there(record)
            raise
        await self._check_there(record)

    async def _check_there(self, record: ExecutionRecord) -> None:
        if await self._store.execution_by_key(record.key) is None:
            raise Refused(not_found(record.ref))

    async def _record(self, caller: Caller, execution_id: str) -> ExecutionRecord:
        check_id("execution_id", execution_id)
        ref = ExecutionRef(caller.tenant, execution_id)
        record = await self._store.execution(ref)
        if record is None:
            raise Refused(not_found(ref))
        return record

    # Checking

    async def verify(self, caller: Caller, execution_id: str) -> Verification:
        """Check an execution. Raises Refused EXECUTION_NOT_FOUND."""
        check_id("execution_id", execution_id)
        return await verify(self._store, self._living.awake, ExecutionRef(caller.tenant, execution_id))

    # Snapshots on request

    async def snapshot(self, caller: Caller, execution_id: str) -> Snapshot:
        """Store a snapshot of an execution as it is; where there is a good one already, that one. Raises Refused
        EXECUTION_NOT_FOUND."""
        for _ in range(SNAPSHOT_TRIES_MAX):
            record = await self._record(caller, execution_id)
            newest = await self._newest(record)
            if await self._repeated(caller) and newest is not None:
                return newest
            there = newest is not None and newest.sequence == record.head.sequence
            append = await self._living.snapshot(record.ref)
            request = caller.remembered(execution_id, self._clock.now(), self._settings)
            requests = (request,) if request is not None else ()
            append = msgspec.structs.replace(append, requests=requests, snapshot=None if there else append.snapshot)
            if there and not requests and newest is not None:
                return newest
            outcome = await self._journal.write(append)
            if isinstance(outcome, Committed):
                taken = newest if there else append.snapshot
                assert taken is not None, "an append of a snapshot has one"
                return taken
            if outcome.why not in (Why.SEQUENCE, Why.DUPLICATE_REQUEST, Why.NOT_FOUND):
                raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", outcome.message or outcome.why.value))
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", "the execution keeps going on; try again"))

    async def _newest(self, record: ExecutionRecord) -> Snapshot | None:
        """The newest good snapshot."""
        return (await begin(self._store, record.ref, record.key, until=None, use_snapshots=True)).snapshot

    async def _repeated(self, caller: Caller) -> bool:
        """Whether the same request was carried out before; raises Refused REQUEST_ID_REUSED."""
        if not caller.request_id:
            return False
        found = await self._store.requests(caller.tenant, [caller.request_id], self._clock.now())
        earlier = found.get(caller.request_id)
        if earlier is not None and earlier.fingerprint != caller.fingerprint:
            raise Refused(request_reused(caller.request_id))
        return earlier is not None


def state_text(state: State) -> bytes:
    """A state as people see it, in canonical form."""
    return canonical(_plain(state))


def _plain(state: State) -> dict[str, Any]:
    """A state as a JSON value, payloads that are not JSON in their stored form."""
    plain = cast("dict[str, Any]", msgspec.json.decode(encode(cast(Any, state))))
    return {name: value for name, value in plain.items() if name not in _HEADS_OWN}


def _size(change: Change) -> int:
    shown = (change.before, change.after)
    return len(change.pointer) + sum(len(encode(value)) for value in shown if value is not msgspec.UNSET)


def _out_of_range(what: str, record: ExecutionRecord) -> Refused:
    last = record.head.sequence
    message = f"{what} is not within the history of {record.ref.execution_id}, which goes from event 1 to {last}"
    return Refused(Refusal(Kind.RANGE, "SEQUENCE_OUT_OF_RANGE", message, {"first": "1", "last": str(last)}))


def _damaged(error: HistoryDamagedError) -> Refused:
    message = f"{error}; verify says more"
    return Refused(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", message, {"sequence": str(error.sequence)}))
