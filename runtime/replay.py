"""From stored bytes to values and back: events, snapshots, and the state they add up to.

Replay needs events only. A snapshot saves time; one that is damaged or of another format is passed over.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from .core import events as ev
from .core.decide import Accepted
from .core.evolve import evolve
from .core.failures import TIMEOUT, WORKER_LOST
from .core.history import event_hash
from .core.state import State
from .core.upcasts import UPCASTS, plain_name, stored_name, upcast
from .core.values import MARK, encode, revive
from .rows import ExecutionRef, Snapshot, StoredEvent

SNAPSHOT_FORMAT = 1
PAGE_EVENTS = 1_000
PAGE_BYTES = 4 * 1024 * 1024
SLICE_EVENTS = 250
"""How many events are applied before others have their turn."""

_EVENT_DECODERS: Mapping[str, msgspec.json.Decoder[ev.Event]] = {
    name: msgspec.json.Decoder(kind) for name, kind in ev.TYPES.items()
}
_STATE_DECODER = msgspec.json.Decoder(State)


class HistoryDamagedError(Exception):
    """A stored history cannot be replayed; the message says where. `verify` shows more."""

    def __init__(self, message: str, sequence: int = 0) -> None:
        super().__init__(message)
        self.sequence = sequence
        """Of the event that cannot be read or applied, or is missing; 0: not known."""


class HistorySource(Protocol):
    """Where stored histories come from (part of the Store port)."""

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events after a sequence."""
        ...

    async def snapshot(self, key: int, until: int | None = None) -> Snapshot | None:
        """The newest kept snapshot at or before a sequence (None: of all)."""
        ...


def read_event(stored: StoredEvent) -> ev.Event:
    """The event as a value, in its current shape; raises HistoryDamagedError."""
    decoder = None if stored.name in UPCASTS else _EVENT_DECODERS.get(stored.name)
    try:
        if decoder is None:
            return _read_shape(stored)
        if MARK in stored.payload:
            return msgspec.convert(revive(msgspec.json.decode(stored.payload)), ev.TYPES[stored.name])
        return decoder.decode(stored.payload)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise HistoryDamagedError(f"event {stored.sequence}: {error}", stored.sequence) from error


def _read_shape(stored: StoredEvent) -> ev.Event:
    """An event that is stored under the number of its shape, or was before there was another; raises ValueError."""
    kind = ev.TYPES.get(plain_name(stored.name))
    if kind is None:
        raise ValueError(f"this version knows no {stored.name}")
    fields = cast("dict[str, Any]", revive(msgspec.json.decode(stored.payload, type=dict[str, Any])))
    return msgspec.convert(upcast(stored.name, fields), kind)


def seal(state: State, accepted: Accepted, at: int, context: bytes, tenant: str) -> list[StoredEvent]:
    """The stored form of events that were just applied to `state`; moves the state's head hash on."""
    sequence = state.sequence - len(accepted.events)
    sealed: list[StoredEvent] = []
    for place, event in enumerate(accepted.events):
        sequence += 1
        name = stored_name(type(event).__name__)
        payload = encode(cast(Any, event))
        to_state = accepted.states.get(place)
        event_id = accepted.event_ids.get(place)
        own_context = context if place == 0 else None
        state.hash = event_hash(
            state.hash,
            tenant,
            state.execution_id,
            sequence=sequence,
            name=name,
            payload=payload,
            created_at=at,
            to_state=to_state,
            event_id=event_id,
            context=own_context,
        )
        sealed.append(StoredEvent(sequence, name, payload, at, state.hash, to_state, event_id, own_context))
    return sealed


def take_snapshot(state: State, at: int = 0) -> Snapshot:
    """The state, encoded with its check; `at` is when, where anybody will want to know."""
    data = encode(cast(Any, state))
    return Snapshot(state.sequence, SNAPSHOT_FORMAT, data, hashlib.sha256(data).digest(), at)


def read_snapshot(snapshot: Snapshot) -> State | None:
    """The state in a snapshot; None when it is damaged or of another format."""
    try:
        if snapshot.format != SNAPSHOT_FORMAT or hashlib.sha256(snapshot.data).digest() != snapshot.check:
            return None
        if MARK in snapshot.data:
            return msgspec.convert(revive(msgspec.json.decode(snapshot.data)), State, strict=False)
        return _STATE_DECODER.decode(snapshot.data)
    except (msgspec.MsgspecError, TypeError):  # a damaged file may hold anything in place of bytes
        return None


class Beginning(NamedTuple):
    """Where a replay begins."""

    state: State
    snapshot: Snapshot | None
    """None: from zero."""
    skipped: tuple[Snapshot, ...]
    """Those that were passed over, as they are damaged or of another format."""


async def begin(
    source: HistorySource, ref: ExecutionRef, key: int, until: int | None, use_snapshots: bool
) -> Beginning:
    """The newest good snapshot at or before a sequence (None: the newest), else the state before the first event."""
    skipped: list[Snapshot] = []
    while use_snapshots and (snapshot := await source.snapshot(key, until)) is not None:
        if (kept := read_snapshot(snapshot)) is not None:
            return Beginning(kept, snapshot, tuple(skipped))
        skipped.append(snapshot)
        until = snapshot.sequence - 1
    return Beginning(State(execution_id=ref.execution_id), None, tuple(skipped))


async def advance(source: HistorySource, key: int, state: State, until: int | None) -> int:
    """Apply the events up to a sequence (None: all that there are) to a state, and say how many they were. Raises
    HistoryDamagedError, also where the history ends before."""
    applied = 0
    while until is None or state.sequence < until:
        limit = PAGE_EVENTS if until is None else min(PAGE_EVENTS, until - state.sequence)
        page = await source.events(key, state.sequence, limit, PAGE_BYTES)
        for start in range(0, len(page), SLICE_EVENTS):
            if start or applied:
                await asyncio.sleep(0)  # a long history must not hold up the others
            for stored in page[start : start + SLICE_EVENTS]:
                apply(state, stored)
        applied += len(page)
        if not page:
            break
    if until is not None and state.sequence < until:
        missing = state.sequence + 1
        raise HistoryDamagedError(f"event {missing} is missing: the history ends before event {until}", missing)
    return applied


async def replay(
    source: HistorySource,
    ref: ExecutionRef,
    key: int,
    *,
    until: int | None = None,
    use_snapshots: bool = True,
    on_damaged: Callable[[Snapshot], None] = lambda _: None,
) -> tuple[State, int]:
    """The state at a sequence (None: now), and how many events had to be applied for it. Raises HistoryDamagedError."""
    if until is not None and until < 1:
        raise HistoryDamagedError(f"the execution records {until} as its last event", 1)
    beginning = await begin(source, ref, key, until, use_snapshots)
    for snapshot in beginning.skipped:
        on_damaged(snapshot)
    return beginning.state, await advance(source, key, beginning.state, until)


async def was_answered(source: HistorySource, key: int, path: str, attempt: int) -> bool:
    """Whether a worker's answer to this attempt of a step is in the history.

    It reads the history up to that answer, as the state forgets earlier attempts and what was in finished scopes.
    """
    named, after, failed = encode(path), 0, 0
    while page := await source.events(key, after, PAGE_EVENTS, PAGE_BYTES):
        for stored in page:
            if plain_name(stored.name) not in _ANSWERS or named not in stored.payload:
                continue
            event = read_event(stored)
            if isinstance(event, ev.StepRetryScheduled):
                if event.path == path and event.attempt == attempt:
                    return event.failure.type not in _NO_ANSWER
                failed = max(failed, event.attempt) if event.path == path else failed
            elif isinstance(event, ev.StepCompleted) and event.path == path:
                return attempt > failed
            elif isinstance(event, ev.StepFailed | ev.StepParked) and event.path == path and attempt > failed:
                return event.failure.type not in _NO_ANSWER
        after = page[-1].sequence
        await asyncio.sleep(0)
    return False


_ANSWERS = frozenset(kind.__name__ for kind in (ev.StepCompleted, ev.StepRetryScheduled, ev.StepFailed, ev.StepParked))
_NO_ANSWER = frozenset({TIMEOUT, WORKER_LOST})
"""Types of the failures with which the engine ends an attempt itself."""


def apply(state: State, stored: StoredEvent) -> None:
    """Apply the next event; raises HistoryDamagedError, and then the state is of no use."""
    if stored.sequence != state.sequence + 1:
        missing = state.sequence + 1
        raise HistoryDamagedError(f"event {missing} is missing: {stored.sequence} follows", missing)
    event = read_event(stored)
    try:
        evolve(state, event, stored.created_at, stored.event_id or "")
    except Exception as error:  # an event that does not fit may break anything
        what = f"event {stored.sequence} does not follow from the state before: {type(error).__name__}: {error}"
        raise HistoryDamagedError(what, stored.sequence) from error
    state.hash = stored.hash
