"""What one turn of an actor has decided so far, until it is appended whole or not at all; how a start is told no."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from .core.effects import Effect
from .core.refusals import Kind, Refusal
from .core.state import State
from .core.values import encode
from .mailbox import Letter, Reply
from .ports import DefinitionGuard, ExecutionRef, Head, Lost, Request, StoredEvent, Why


class Batch(msgspec.Struct):
    """What one turn has decided so far."""

    events: list[StoredEvent] = []
    effects: list[Effect] = []
    consumed: list[int] = []
    requests: list[Request] = []
    guard: DefinitionGuard | None = None
    answers: list[tuple[Letter, Reply | Refusal]] = []
    buried: list[tuple[int, Refusal]] = []
    event_ids: set[str] = set()
    refused: bool = False
    """There are refusals among the answers."""
    cut: bool = False
    """A decision was cut: its rest stands in the inbox."""
    stalled: bool = False
    """An inbox row cannot be worked off now: those behind it have to wait, so that their order stays."""

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
    """What a start is told; the engine looks at the reason and decides again, or answers with what exists."""
    reasons = {
        Why.EXISTS: (Kind.EXISTS, "EXECUTION_ALREADY_EXISTS"),
        Why.DUPLICATE_REQUEST: (Kind.EXISTS, "DUPLICATE_REQUEST"),
        Why.REVISION: (Kind.RACE, "LOST_RACE"),
    }
    kind, reason = reasons.get(lost.why, (Kind.INTERNAL, "INTERNAL"))
    metadata: dict[str, str] = {}
    if lost.stored is not None:
        metadata = {"identity": lost.stored.identity, "fingerprint": lost.stored.fingerprint.hex()}
    message = lost.message or lost.why.value
    return Refusal(kind, reason, message, metadata, resource_type="execution", resource=ref.execution_id)


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
