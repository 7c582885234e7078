"""The rows of triggers, published events, lines and jobs, and the writes that concern them.

An event trigger and a schedule are one kind of row: a schedule has a next slot, an event trigger an event name.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import msgspec

from .rows import DefinitionGuard, ExecutionAppend, ExecutionRef, Request

OFFERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the rows that offer published events to waiting steps in one commit; each has the payload."""
_OFFER_BYTES: Final = 256
"""Of such a row, beside the payload."""


def offers_within(size: int, payload: bytes) -> int:
    """How many offers of this payload fit into so many bytes; one in any case."""
    return max(1, size // offer_bytes(payload))


def offer_bytes(payload: bytes) -> int:
    """What one offer of this payload takes, or about so much."""
    return len(payload) + _OFFER_BYTES


class TriggerRow(msgspec.Struct, frozen=True):
    """A trigger as it is stored. It stays, inactive, when its definition is retracted or a version comes without it."""

    tenant: str
    definition_id: str
    trigger_id: str
    version: int
    """The version whose trigger it is."""
    event_name: str
    """Empty: a schedule."""
    identity: str
    """The `execution_id` expression of an event trigger, by which clashes are found; else empty."""
    active: bool
    """Whether its definition is published and has it."""
    paused: bool
    spec: bytes
    """Fingerprint of a schedule's times: while it is the same, a new version changes nothing about the slots."""
    next_slot: int = 0
    """The nominal instant that is decided next; 0: none."""
    due: int = 0
    """When `next_slot` fires: the slot, and its jitter; 0: never."""
    last_slot: int = 0
    """The last instant that was decided; 0: none."""
    last_execution_id: str = ""
    last_started_at: int = 0
    skipped: int = 0
    """Slots that started nothing, for overlap or for being too late."""
    last_skipped: int = 0
    waiting: int = 0
    """Executions of it that are PENDING behind another. Counted when it is read."""


class TriggerChange(msgspec.Struct, frozen=True):
    """A trigger of the version that is published now."""

    trigger_id: str
    version: int
    event_name: str = ""
    identity: str = ""
    spec: bytes = b""
    next_slot: int = 0
    """Taken where the trigger was not active before, or had another `spec`."""
    due: int = 0


class TriggerPause(msgspec.Struct, frozen=True):
    """A trigger is paused or resumed; the slots it missed are not made up for."""

    trigger_id: str
    paused: bool
    next_slot: int = 0
    due: int = 0


class SlotStep(msgspec.Struct, frozen=True):
    """A schedule goes on from one slot to the next."""

    slot: int
    """Must be the stored `next_slot`. Lost: SEQUENCE."""
    next_slot: int
    due: int
    skipped: int = 0
    """How many slots started nothing by this step."""


class TriggerFiring(msgspec.Struct, frozen=True):
    """A trigger starts an execution, or a slot passes without one: both in one commit.

    A start that is lost to EXISTS has been made before, and the slot passes; any other loss of it is the firing's loss.
    Lost: SEQUENCE, REVISION, LINE_TAKEN, LINE_EMPTY, LINE_FULL, DUPLICATE_REQUEST, ROW.
    """

    tenant: str
    definition_id: str
    trigger_id: str
    at: int
    guard: DefinitionGuard
    start: ExecutionAppend | None = None
    step: SlotStep | None = None
    """None: fired by hand; the slots go on as they were."""


class TriggerStart(msgspec.Struct, frozen=True):
    """The execution that one trigger starts for an event."""

    trigger_id: str
    append: ExecutionAppend


class EventAcceptance(msgspec.Struct, frozen=True):
    """A published event: it starts what listens and is offered to what waits, in one commit.

    Which steps wait is found within the commit; which triggers listen was found before, and `listeners` is the proof
    that they still do. A start that is lost (its id or unique key is taken) is no match, and the rest goes on.
    Lost: DUPLICATE_EVENT (with the stored outcome), LISTENERS, NOT_FOUND (the outbox row has gone), ROW.
    """

    tenant: str
    event_id: str
    name: str
    key: str
    """Empty: no waiting step is looked for."""
    payload: bytes
    """JSON (values.encode)."""
    context: bytes
    accepted_at: int
    expires_at: int
    """Until when the event id is remembered."""
    listeners: int
    """Revision of the name's listeners that `starts` was decided on."""
    starts: tuple[TriggerStart, ...] = ()
    warnings: tuple[str, ...] = ()
    offers_max: int = 1_000
    """How many waiting steps get the event in this commit, at most: fewer, if its payload is large, or the commit
    offers much already. Where there are more, a job named `job_id` does the rest."""
    job_id: str = ""
    outbox: int = 0
    """The outbox row that this delivers; 0: none."""
    requests: tuple[Request, ...] = ()


class StartedByTrigger(msgspec.Struct, frozen=True):
    """An execution that a trigger started."""

    definition_id: str
    trigger_id: str
    execution_id: str
    version: int


class OfferedWait(msgspec.Struct, frozen=True):
    """A waiting step that an event is offered to."""

    execution_id: str
    path: str


class EventOutcome(msgspec.Struct, frozen=True):
    """What an accepted event matched; remembered with its id."""

    started_count: int = 0
    started: tuple[StartedByTrigger, ...] = ()
    """The first 10."""
    offered_count: int = 0
    offered: tuple[OfferedWait, ...] = ()
    """The first 10."""
    warnings: tuple[str, ...] = ()
    job_id: str = ""


class OutboxRow(msgspec.Struct, frozen=True):
    """An event that an execution emitted and that has not been accepted yet."""

    id: int
    ref: ExecutionRef
    key: int
    """The sender's."""
    sequence: int
    """Of the event that emitted it: with the sender's key it names the emission for ever."""
    name: str
    event_key: str
    payload: bytes
    context: bytes
    created_at: int


class WaitRow(NamedTuple):
    """A `receive` step that waits for events of a name and key."""

    id: int
    """Grows in the order in which the waits began."""
    ref: ExecutionRef
    key: int
    """The execution's."""
    path: str


class JobKind(enum.StrEnum):
    """What a job does."""

    DELETE_DEFINITION = "DELETE_DEFINITION"
    EXPAND_EVENT = "EXPAND_EVENT"
    PRUNE = "PRUNE"


class JobState(enum.StrEnum):
    """Where a job stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class JobRow(msgspec.Struct, frozen=True):
    """Work in the background that a commit began: durable, resumed after a restart from its cursor."""

    tenant: str
    job_id: str
    kind: JobKind
    state: JobState
    target: str
    """What it is about, for people: a definition's id, an event's name."""
    cursor: bytes
    """JSON of what it needs to go on; its shape depends on `kind`."""
    user_id: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    failures: bytes = b"[]"
    """JSON of the first failures, [{execution_id, type, message}]."""
    message: str = ""
    """FAILED: why."""
    created_at: int = 0
    updated_at: int = 0
    ended_at: int = 0
    number: int = 0
    """The store's own; grows with every job. Given by the store."""


class JobUpdate(msgspec.Struct, frozen=True):
    """A job has moved on (its row is replaced by tenant and id)."""

    job: JobRow


class ForgetJobs(msgspec.Struct, frozen=True):
    """Jobs of all tenants that have ended before a time go, those that ended first first, and at most `jobs_max` with
    one write."""

    before: int
    jobs_max: int = 100


class ExpansionCursor(msgspec.Struct, frozen=True):
    """`JobRow.cursor` of EXPAND_EVENT, as JSON: the event, and which waiting steps are still to get it."""

    name: str
    key: str
    event_id: str
    payload: str
    """JSON, as it was accepted."""
    context: str
    """JSON."""
    accepted_at: int
    after: int
    """Id of the last wait that has got it."""
    until: int
    """Id of the last wait that there was when it was accepted."""


class EventExpansion(msgspec.Struct, frozen=True):
    """More waiting steps get an event that was accepted before, and its job moves on with them, in one commit.

    Steps whose execution has ended meanwhile are passed over.
    """

    job: JobRow
    event_id: str
    name: str
    payload: bytes
    context: bytes
    accepted_at: int
    offers: tuple[WaitRow, ...]
