"""Writes for the contracts of the stores, and how to ask for their outcome."""

from collections.abc import Sequence
from typing import Any

from callboard.runtime.core.effects import (
    Effect,
)
from callboard.runtime.lifecycle_rows import DefinitionChange, DefinitionEvent, DefinitionVersion, LifecycleChange
from callboard.runtime.ports import Store
from callboard.runtime.rows import (
    ExecutionAppend,
    ExecutionRef,
    Head,
    InboxInsert,
    Request,
    StoredEvent,
)
from callboard.runtime.trigger_rows import TriggerChange
from callboard.runtime.writes import Committed, Lost, Outcome, Why, Write

NOW = 1_763_000_000_000_000
DAY = 86_400_000_000
A = ExecutionRef("acme", "a")
B = ExecutionRef("acme", "b")
C = ExecutionRef("acme", "c")


def ref(execution_id: str) -> ExecutionRef:
    return ExecutionRef("acme", execution_id)


def request(request_id: str = "r-1", *, expires_at: int = NOW + DAY, identity: str = "a") -> Request:
    return Request("acme", request_id, b"f" * 32, identity, expires_at)


def event(sequence: int, name: str = "StepSkipped", payload: bytes = b'{"path":"x"}', **fields: Any) -> StoredEvent:
    created_at = fields.pop("created_at", NOW + sequence)
    return StoredEvent(sequence, name, payload, created_at, bytes([sequence % 256]) * 32, **fields)


def head(sequence: int, status: str = "RUNNING", **fields: Any) -> Head:
    values: dict[str, Any] = {
        "state": status.lower(),
        "definition_id": "d",
        "version": 1,
        "labels": b"{}",
        "hash": bytes([sequence % 256]) * 32,
        "started_at": NOW,
        "updated_at": NOW + sequence,
    } | fields
    return Head(status=status, sequence=sequence, **values)


def start(
    ref: ExecutionRef = A, *effects: Effect, events: Sequence[StoredEvent] = (), **fields: Any
) -> ExecutionAppend:
    stored = tuple(events) or (
        event(1, "ExecutionStarted", b'{"definition_id":"d","version":1}', context=b'{"user":"u"}'),
    )
    return ExecutionAppend(ref, 0, 0, stored, fields.pop("head", head(stored[-1].sequence)), effects, **fields)


def append(key: int, expected: int, *effects: Effect, ref: ExecutionRef = A, **fields: Any) -> ExecutionAppend:
    events = fields.pop("events", (event(expected + 1),))
    written = fields.pop("head", head(expected + len(events)))
    return ExecutionAppend(ref, key, expected, events, written, effects, **fields)


def enqueue(event_id: str = "e-1", ref: ExecutionRef = A, **fields: Any) -> InboxInsert:
    return InboxInsert(ref, event_id, "paid", b'{"cents":1}', b'{"user":"u"}', NOW, **fields)


def changed(expected: int = 0, *, definition_id: str = "d", published: int = 1, **fields: Any) -> DefinitionChange:
    version = fields.pop("version", DefinitionVersion(published, b'{"id":"d"}', b"p" * 32, NOW, "u"))
    events = fields.pop("events", (DefinitionEvent(expected + 1, "DefinitionPublished", b"{}", "u", NOW),))
    draft = fields.pop("draft", None)
    return DefinitionChange(
        "acme", definition_id, expected, published, draft, version, events, NOW + expected, **fields
    )


def listening(trigger_id: str = "t", event_name: str = "paid", version: int = 1) -> TriggerChange:
    return TriggerChange(trigger_id, version, event_name, "event.id")


def schedule(trigger_id: str = "s", next_slot: int = NOW, spec: bytes = b"daily", **fields: Any) -> TriggerChange:
    return TriggerChange(trigger_id, fields.pop("version", 1), spec=spec, next_slot=next_slot, due=next_slot + 5)


def together(*changes: DefinitionChange, **fields: Any) -> LifecycleChange:
    return LifecycleChange("acme", changes, NOW, **fields)


def change(expected: int = 0, **fields: Any) -> LifecycleChange:
    """A lifecycle change of one definition."""
    return together(changed(expected, **fields))


async def written(store: Store, *writes: Write) -> list[Committed]:
    outcomes = await store.write(writes)
    committed = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
    assert len(committed) == len(outcomes), outcomes
    return committed


async def lost(store: Store, write: Write) -> Lost:
    (outcome,) = await store.write([write])
    assert isinstance(outcome, Lost), outcome
    return outcome


async def started(store: Store, *effects: Effect, ref: ExecutionRef = A, **fields: Any) -> int:
    (committed,) = await written(store, start(ref, *effects, **fields))
    return committed.key


def whys(outcomes: Sequence[Outcome]) -> list[Why | None]:
    return [outcome.why if isinstance(outcome, Lost) else None for outcome in outcomes]
