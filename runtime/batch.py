"""What one turn of an actor has decided so far, until it is appended whole or not at all; how a start is told no."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from .core.commands import Submit
from .core.effects import Effect
from .core.plan import Plan
from .core.refusals import Kind, Refusal
from .core.state import State
from .core.values import encode
from .mailbox import Letter, Reply
from .rows import DefinitionGuard, Erasure, ExecutionRef, Head, LineClaim, Request, StoredEvent
from .writes import Lost, Why


class Batch(msgspec.Struct):
    """What one turn has decided so far."""

    events: list[StoredEvent] = []
    effects: list[Effect] = []
    consumed: list[int] = []
    requests: list[Request] = []
    guard: DefinitionGuard | None = None
    claims: tuple[LineClaim, ...] = ()
    erases: Erasure | None = None
    answers: list[tuple[Letter, Reply | Refusal]] = []
    buried: list[tuple[int, Refusal]] = []
    event_ids: set[str] = set()
    refused: bool = False
    """There are refusals among the answers."""
    cut: bool = False
    """A decision was cut: its rest stands in the inbox."""
    stalled: set[str] = set()
    """Names of enqueued events that cannot be taken now: those of the same name behind them have to wait, so that their
    order stays. Whatever else is in the inbox does not wait: it may be what makes room."""

    @property
    def writes(self) -> bool:
        """Whether there is anything to append."""
        return bool(self.events or self.effects or self.consumed or self.requests)


def repeated(letter: Letter, batch: Batch, event_ids: set[str], requests: dict[str, Request]) -> Reply | Refusal | None:
    """The answer to a command that was carried out before; None: it is new."""
    if letter.request is not None:
        request_id = letter.request.request_id
        earlier = requests.get(request_id) or next((r for r in batch.requests if r.request_id == request_id), None)
        if earlier is not None:
            same = earlier.fingerprint == letter.request.fingerprint
            return Reply(duplicate=True) if same else request_reused(request_id)
    if letter.event_id and (letter.event_id in event_ids or letter.event_id in batch.event_ids):
        return Reply(duplicate=True)
    return None


def overtaken(letter: Letter, state: State) -> Refusal | None:
    """The answer to a command that was meant for another moment of the execution; None: it may be decided."""
    expected = letter.expected_sequence
    if expected is None or expected == state.sequence:
        return None
    return Refusal(
        Kind.RACE,
        "SEQUENCE_MISMATCH",
        f"execution {state.execution_id} is at sequence {state.sequence}, not at {expected}",
        {"sequence": str(state.sequence), "expected_sequence": str(expected)},
        resource_type="execution",
        resource=state.execution_id,
    )


def refused_row(letter: Letter, batch: Batch, refusal: Refusal) -> None:
    """What becomes of an inbox row that was refused."""
    if type(letter.command) is not Submit:  # of one that has ended nothing is wanted
        batch.consumed.append(letter.inbox_id)
    elif refusal.kind is Kind.BUSY:
        batch.stalled.add(letter.command.name)
    else:
        batch.buried.append((letter.inbox_id, refusal))


def request_reused(request_id: str) -> Refusal:
    """The same request id came with another request."""
    return Refusal(
        Kind.INVALID, "REQUEST_ID_REUSED", f"request_id {request_id} was used with another request within the last 24 h"
    )


def not_found(ref: ExecutionRef) -> Refusal:
    """There is no such execution."""
    return Refusal(
        Kind.NOT_FOUND,
        "EXECUTION_NOT_FOUND",
        f"there is no execution {ref.execution_id}",
        resource_type="execution",
        resource=ref.execution_id,
    )


def start_refusal(ref: ExecutionRef, lost: Lost) -> Refusal:
    """What a start is told; the engine looks at the reason and decides again, or answers with what exists.

    UNIQUE_KEY_TAKEN has the execution at the front of the line as `holder` in its metadata; LOST_RACE has `line` =
    `empty` there where what the start was to wait for has ended.
    """
    kind, reason = _START_REASONS.get(lost.why, (Kind.INTERNAL, "INTERNAL"))
    metadata: dict[str, str] = {}
    if lost.stored is not None:
        metadata = {"identity": lost.stored.identity, "fingerprint": lost.stored.fingerprint.hex()}
    if lost.holder:
        metadata = {"holder": lost.holder}
    elif lost.why is Why.LINE_EMPTY:
        metadata = {"line": "empty"}
    return Refusal(
        kind,
        reason,
        lost.message or lost.why.value,
        metadata,
        resource_type="execution",
        resource=lost.holder or ref.execution_id,
        retry_after_us=1_000_000 if kind is Kind.BUSY else None,
    )


_START_REASONS = {
    Why.EXISTS: (Kind.EXISTS, "EXECUTION_ALREADY_EXISTS"),
    Why.DUPLICATE_REQUEST: (Kind.EXISTS, "DUPLICATE_REQUEST"),
    Why.REVISION: (Kind.RACE, "LOST_RACE"),
    Why.LINE_TAKEN: (Kind.EXISTS, "UNIQUE_KEY_TAKEN"),
    Why.LINE_EMPTY: (Kind.RACE, "LOST_RACE"),
    Why.LINE_FULL: (Kind.BUSY, "SERVER_BUSY"),
}


def expiry(head: Head, plan: Plan | None) -> int:
    """When an execution that has ended may be pruned by itself; 0: never, or it has not ended.

    One that was taken over as it had ended is kept as long from then on, however long ago that end was.
    """
    if not head.ended_at or plan is None or plan.retention is None:
        return 0
    return head.updated_at + plan.retention


def head_of(state: State) -> Head:
    """The listing projection of a state."""
    return Head(
        status=state.status.value,
        state=state.state,
        definition_id=state.definition_id,
        version=state.version,
        labels=encode(cast(Any, state.labels)) if state.labels else b"{}",
        sequence=state.sequence,
        hash=state.hash,
        started_at=state.started_at,
        updated_at=state.updated_at,
        ended_at=state.ended_at,
        incidents=len(state.incidents),
    )
