"""All writes, and what becomes of them."""

from __future__ import annotations

import enum
from typing import TypeAlias, Union

import msgspec

from .feed_rows import FeedPruning, SubscriptionAck, SubscriptionCreation, SubscriptionDeletion
from .lifecycle_rows import LifecycleChange
from .retention_rows import ExecutionDeletion, ExecutionPruning, JobBegin, LeftoverRemoval
from .rows import (
    BuryInbox,
    DiscardLetter,
    ExecutionAppend,
    ExecutionRef,
    InboxInsert,
    Request,
    RequeueLetter,
)
from .trigger_rows import EventAcceptance, EventExpansion, EventOutcome, ForgetJobs, JobUpdate, TriggerFiring

Write: TypeAlias = Union[  # noqa: UP007
    ExecutionAppend,
    InboxInsert,
    BuryInbox,
    RequeueLetter,
    DiscardLetter,
    LifecycleChange,
    TriggerFiring,
    EventAcceptance,
    EventExpansion,
    JobUpdate,
    ForgetJobs,
    SubscriptionCreation,
    SubscriptionAck,
    SubscriptionDeletion,
    FeedPruning,
    ExecutionDeletion,
    ExecutionPruning,
    LeftoverRemoval,
    JobBegin,
]


class Committed(msgspec.Struct, frozen=True):
    """The write is on disk."""

    key: int = 0
    """The execution's key (of a new one: as given now)."""
    position: int = 0
    """Commit-order position of the last event written; 0: none."""
    inbox_id: int = 0
    revision: int = 0
    ref: ExecutionRef | None = None
    """RequeueLetter: the execution it went to."""
    woken: tuple[ExecutionRef, ...] = ()
    """Other executions whose inbox has got rows by this write: an event's waiters, the next in a line."""
    starts: tuple[Outcome, ...] = ()
    """EventAcceptance: of each of its starts. TriggerFiring: of its one start (Lost: EXISTS)."""
    event: EventOutcome | None = None
    """EventAcceptance: what it matched."""
    pruned: tuple[ExecutionRef, ...] = ()
    """ExecutionDeletion, ExecutionPruning: those that are gone."""
    held: tuple[ExecutionRef, ...] = ()
    """ExecutionPruning: those that stay, for a durable subscription has not acknowledged all of their events."""


class Why(enum.Enum):
    """Why a write was taken out of the batch."""

    SEQUENCE = "another writer was faster"
    EXISTS = "the execution id is taken"
    NOT_FOUND = "there is no such thing"
    ENDED = "the execution has ended"
    DUPLICATE_EVENT = "the event id is stored already"
    DUPLICATE_REQUEST = "the request id is stored already"
    REVISION = "the definition has changed since"
    LISTENERS = "what listens to the event has changed since"
    IN_USE = "executions of it have not ended"
    OPEN = "it has not ended"
    INCIDENTS = "it has open incidents"
    EMITTING = "events that it emitted are on their way"
    LINE_TAKEN = "an execution that has not ended holds the place"
    LINE_EMPTY = "nobody is in the line any more"
    LINE_FULL = "too many wait in the line already"
    LIMIT = "there are as many as there may be"
    ROW = "a row broke a rule of the store"


class Lost(msgspec.Struct, frozen=True):
    """The write was not carried out, and nothing of it is on disk."""

    why: Why
    message: str = ""
    stored: Request | None = None
    """DUPLICATE_REQUEST: the stored one, to compare fingerprints and find its identity."""
    event: EventOutcome | None = None
    """DUPLICATE_EVENT of an acceptance: what the event matched the first time."""
    holder: str = ""
    """LINE_TAKEN: the id of the execution at the front of the line."""


Outcome: TypeAlias = Union[Committed, Lost]  # noqa: UP007
