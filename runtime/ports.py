"""The ports of the engine: what it needs from outside, in small Protocols, and the rows that cross them.

`Store` speaks domain verbs. Every change goes through `write`, which commits a whole batch in ONE transaction and
answers for each write by itself: a write that loses its precondition or breaks a rule is taken out and told so,
the others commit. Times are integer microseconds since the epoch; payloads are bytes encoded once.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias, Union

import msgspec

from .core.effects import Effect


class ExecutionRef(NamedTuple):
    """The address of an execution."""

    tenant: str
    execution_id: str


class StoredEvent(msgspec.Struct, frozen=True):
    """One event as it lies on disk (insert-only)."""

    sequence: int
    name: str
    payload: bytes
    """The event's fields as JSON."""
    created_at: int
    hash: bytes
    """SHA-256 over the previous hash and the stored fields (core/history.py)."""
    to_state: str | None = None
    """The execution's `state` after it, where it changed; else None."""
    event_id: str | None = None
    """The caller's id; unique within the execution."""
    context: bytes | None = None
    """JSON of {user, trace, request} of the command that caused it; stored on the command's first event only,
    None on those that follow."""
    position: int = 0
    """Place in the store's commit order; given by the store."""


class Head(msgspec.Struct, frozen=True):
    """The listing projection of an execution: what `executions` holds, replaced with every append."""

    status: str
    state: str
    definition_id: str
    version: int
    labels: bytes
    """JSON object of strings."""
    sequence: int
    hash: bytes
    started_at: int
    updated_at: int
    ended_at: int = 0
    incidents: int = 0


class ExecutionRecord(msgspec.Struct, frozen=True):
    """A stored execution."""

    ref: ExecutionRef
    key: int
    """The store's own integer key; never reused."""
    head: Head


class Snapshot(msgspec.Struct, frozen=True):
    """A state at a sequence, encoded."""

    sequence: int
    format: int
    data: bytes
    check: bytes
    """SHA-256 of `data`: one that does not match is passed over."""


class Request(msgspec.Struct, frozen=True):
    """A caller's idempotency key, remembered for `expires_at`."""

    tenant: str
    request_id: str
    fingerprint: bytes
    """Hash of the decoded request: the same id with another request is a caller's mistake."""
    identity: str
    """What the first call made or acted upon (an execution id, `definition@version`, ...)."""
    expires_at: int


class ExecutionAppend(msgspec.Struct, frozen=True):
    """Everything one turn of an actor wants written."""

    ref: ExecutionRef
    key: int
    """0: the execution is new; `expected` is 0 too, and the execution id must be free."""
    expected: int
    """The sequence before the first of `events`; another one stored means that another writer was faster."""
    events: tuple[StoredEvent, ...]
    head: Head
    effects: tuple[Effect, ...] = ()
    consumed: tuple[int, ...] = ()
    """Inbox rows that this append has worked off; deleted with it."""
    requests: tuple[Request, ...] = ()
    snapshot: Snapshot | None = None
    guard: DefinitionGuard | None = None


class DefinitionGuard(msgspec.Struct, frozen=True):
    """A start's condition: the definition's last change is still the one it was decided on."""

    definition_id: str
    revision: int


class InboxKind(enum.StrEnum):
    """What an inbox row is."""

    EVENT = "event"
    CONTINUE = "continue"


class InboxInsert(msgspec.Struct, frozen=True):
    """An event accepted for later processing; needs no actor. Lost: NOT_FOUND, ENDED, DUPLICATE_EVENT."""

    ref: ExecutionRef
    event_id: str
    name: str
    payload: bytes
    """JSON (values.encode)."""
    context: bytes
    accepted_at: int
    requests: tuple[Request, ...] = ()


class InboxRow(msgspec.Struct, frozen=True):
    """An accepted item that an actor has to work off, in the order of `id`."""

    id: int
    kind: InboxKind
    event_id: str = ""
    name: str = ""
    payload: bytes = b"null"
    context: bytes = b"{}"
    accepted_at: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """An item that could not be processed, kept for an operator."""

    id: int
    ref: ExecutionRef
    event_id: str
    name: str
    payload: bytes
    context: bytes
    cause: str
    """The published reason, such as EXECUTION_ENDED or POISONED."""
    message: str
    accepted_at: int
    died_at: int


class BuryInbox(msgspec.Struct, frozen=True):
    """Turn inbox rows of one execution into dead letters."""

    ref: ExecutionRef
    key: int
    rows: tuple[int, ...]
    cause: str
    message: str
    died_at: int


class RequeueLetter(msgspec.Struct, frozen=True):
    """Put a dead letter back into its execution's inbox. Lost: NOT_FOUND, ENDED."""

    tenant: str
    letter: int
    accepted_at: int
    requests: tuple[Request, ...] = ()


class DiscardLetter(msgspec.Struct, frozen=True):
    """Remove a dead letter. Lost: NOT_FOUND."""

    tenant: str
    letter: int
    requests: tuple[Request, ...] = ()


class DefinitionEvent(msgspec.Struct, frozen=True):
    """One fact in a definition's own stream."""

    sequence: int
    name: str
    payload: bytes
    user_id: str
    created_at: int
    revision: int = 0
    """Given by the store."""


class DefinitionVersion(msgspec.Struct, frozen=True):
    """One immutable version."""

    version: int
    content: bytes
    """Canonical JSON of the definition."""
    fingerprint: bytes
    """SHA-256 of `content`."""
    created_at: int
    user_id: str


class DefinitionHead(msgspec.Struct, frozen=True):
    """Where a definition stands."""

    tenant: str
    definition_id: str
    sequence: int
    """Of its own event stream: the etag, and what a change expects."""
    published: int
    """The published version; 0: none."""
    latest: int
    """The highest version ever published; 0: none."""
    revision: int
    """The tenant-wide number of its last change."""
    draft: bytes | None
    """Canonical JSON of the draft, if there is one."""
    created_at: int
    updated_at: int


class DefinitionChange(msgspec.Struct, frozen=True):
    """One lifecycle change of one definition: all of it or nothing. Lost: SEQUENCE."""

    tenant: str
    definition_id: str
    expected: int
    """`DefinitionHead.sequence` it was decided on; 0: the definition is new."""
    published: int
    draft: bytes | None
    version: DefinitionVersion | None
    """A new version to store."""
    events: tuple[DefinitionEvent, ...]
    at: int
    requests: tuple[Request, ...] = ()


Write: TypeAlias = Union[  # noqa: UP007
    ExecutionAppend, InboxInsert, BuryInbox, RequeueLetter, DiscardLetter, DefinitionChange
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


class Why(enum.Enum):
    """Why a write was taken out of the batch."""

    SEQUENCE = "another writer was faster"
    EXISTS = "the execution id is taken"
    NOT_FOUND = "there is no such thing"
    ENDED = "the execution has ended"
    DUPLICATE_EVENT = "the event id is stored already"
    DUPLICATE_REQUEST = "the request id is stored already"
    REVISION = "the definition has changed since"
    ROW = "a row broke a rule of the store"


class Lost(msgspec.Struct, frozen=True):
    """The write was not carried out, and nothing of it is on disk."""

    why: Why
    message: str = ""
    stored: Request | None = None
    """DUPLICATE_REQUEST: the stored one, to compare fingerprints and find its identity."""


Outcome: TypeAlias = Union[Committed, Lost]  # noqa: UP007


class StorageFullError(Exception):
    """The disk is full: the batch was rolled back whole; the same write can be tried again when there is room."""


class StorageFailedError(Exception):
    """A commit or sync failed in an unknown state: stop serving; nothing of the batch may be acknowledged."""


class TaskRecord(msgspec.Struct, frozen=True):
    """An open task as recovered at start-up; its input is read when it is delivered."""

    ref: ExecutionRef
    key: int
    path: str
    operation: str
    attempt: int
    scheduled: int
    priority: int
    attempt_timeout: int
    since: int
    """When it was queued."""
    cancel_requested: bool = False


class TimerRecord(msgspec.Struct, frozen=True):
    """A timer that is due or soon will be."""

    ref: ExecutionRef
    key: int
    path: str
    timer: str
    due: int


class ExecutionQuery(msgspec.Struct, frozen=True):
    """Which executions to list; every condition that is set must hold."""

    tenant: str
    statuses: tuple[str, ...] = ()
    definition_id: str = ""
    version: int = 0
    state: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    incident: bool | None = None
    started_after: int | None = None
    started_before: int | None = None
    updated_before: int | None = None
    updated_after: int | None = None
    before_key: int = 0
    """Newest first: only keys below this one (the page's cursor); 0: from the newest."""
    limit: int = 100


class Counts(msgspec.Struct, frozen=True):
    """What the store holds, for GetServerInfo."""

    open_executions: int
    open_tasks: int
    timers: int
    inbox: int
    dead_letters: int
    definitions: int


class StoreInfo(msgspec.Struct, frozen=True):
    """The identity of a store."""

    store_id: str
    generation: int
    """Grows with every restore from a backup; tokens and positions of another generation are refused."""
    boot: int
    """Grows with every opening."""
    schema_version: int
    secret: bytes
    """32 random bytes that authenticate task tokens and page tokens; kept, so that tokens survive a restart."""


class Store(Protocol):
    """Durable storage: one writer, many readers, one transaction a batch."""

    async def open(self) -> StoreInfo:
        """Open and migrate; raises `StoreRefusedError` when the store is newer than the program or in other hands."""
        ...

    async def close(self) -> None:
        """Give everything back; nothing may be pending."""
        ...

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        """Commit the batch in one transaction and answer for each; raises StorageFullError or StorageFailedError."""
        ...

    async def probe(self) -> bool:
        """Whether a small durable write succeeds (after the disk was full)."""
        ...

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """The stored execution, or None."""
        ...

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """The stored execution with this key, or None."""
        ...

    async def executions(self, query: ExecutionQuery) -> list[ExecutionRecord]:
        """One page, newest first."""
        ...

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events after a sequence, at most `limit` and about `bytes_max` (at least one). The context of the first
        one returned is filled in from the event that carries it."""
        ...

    async def snapshots(self, key: int) -> list[Snapshot]:
        """The kept snapshots, newest first."""
        ...

    async def known_events(self, key: int, event_ids: Sequence[str]) -> set[str]:
        """Which of these callers' event ids are stored in this execution's history."""
        ...

    async def requests(self, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
        """The remembered requests among these ids that have not expired."""
        ...

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        """Open tasks in the order of (key, path), after this place; ("0, ''" for the first page)."""
        ...

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Payloads of the StepScheduled events at these (key, sequence)."""
        ...

    async def timers(self, until: int, limit: int) -> list[TimerRecord]:
        """The timers due first, at most at `until`."""
        ...

    async def inbox(self, key: int, limit: int) -> list[InboxRow]:
        """The oldest undelivered rows of one execution."""
        ...

    async def inbox_executions(self, after_key: int, limit: int) -> list[tuple[int, ExecutionRef]]:
        """Executions with undelivered rows, by key."""
        ...

    async def dead_letters(self, tenant: str, execution_id: str, after: int, limit: int) -> list[DeadLetter]:
        """Dead letters by id (of one execution where its id is not empty)."""
        ...

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where a definition stands, or None."""
        ...

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """Definitions by id, after this one."""
        ...

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One version, or None."""
        ...

    async def definition_versions(
        self, tenant: str, definition_id: str, below: int, limit: int
    ) -> list[DefinitionVersion]:
        """Versions, newest first, below this number (0: from the newest)."""
        ...

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """What happened to one definition after a sequence and after a revision, in order; at most `limit` events and
        about `bytes_max` (at least one)."""
        ...

    async def revision(self, tenant: str) -> int:
        """The tenant's last revision; 0: nothing was ever published."""
        ...

    async def counts(self) -> Counts:
        """How much there is; may be a few seconds old."""
        ...


class StoreRefusedError(Exception):
    """The store cannot be opened; the message says why and what to do about it."""


class Clock(Protocol):
    """Time, passed in."""

    def now(self) -> int:
        """Wall clock, in microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps, to arm live timers with."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Return once `monotonic()` has reached this."""
        ...


class Ids(Protocol):
    """Identity and chance, passed in."""

    def new(self) -> str:
        """A new unique id (time-ordered)."""
        ...

    def chance(self) -> float:
        """A random number in [0, 1)."""
        ...
