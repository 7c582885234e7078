"""The rows of executions that cross the storage port, and the writes that concern executions alone.

Times are integer microseconds since the epoch; payloads are bytes encoded once.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

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
    created_at: int = 0
    """When it was made; 0: not known, as an older version of the program has stored it."""


class Request(msgspec.Struct, frozen=True):
    """A caller's idempotency key, remembered for `expires_at`."""

    tenant: str
    request_id: str
    fingerprint: bytes
    """Hash of the decoded request: the same id with another request is a caller's mistake."""
    identity: str
    """What the first call made or acted upon (an execution id, `definition@version`, ...)."""
    expires_at: int


class SealedValue(msgspec.Struct, frozen=True):
    """A sensitive value of one execution, as it lies in the erasable side table."""

    commitment: str
    """What the events hold in its place (core/values.py: Sealed); unique within the execution."""
    ciphertext: bytes


class Secrets(msgspec.Struct, frozen=True):
    """Sensitive values of one execution, and the key that opens them."""

    key: bytes = b""
    """The execution's own key. To be written: empty where it is stored already. Read: empty where there is none, as
    nothing was ever sealed, or it was erased."""
    values: tuple[SealedValue, ...] = ()


class LineClaim(msgspec.Struct, frozen=True):
    """A start's place in a line: executions of one definition of which one at a time runs, in order of their starts.

    A line is named by what asks for it: `key:<unique key>`, or `trigger:<trigger id>`. An execution leaves its lines
    with its end, in the same commit; the next in line is then released.
    """

    line: str
    behind: bool = False
    """False: the line must be empty, and the execution runs at once. True: it must not be, and the execution is
    PENDING until those before it have ended."""
    cancels: bool = False
    """With `behind`: those before it are told to cancel, in the same commit."""
    length_max: int = 0
    """With `behind`: the line takes no more where it has so many already, the one that runs included; 0: any number."""


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
    claims: tuple[LineClaim, ...] = ()
    """Of a new execution. Lost: LINE_TAKEN, LINE_EMPTY, LINE_FULL."""
    expires_at: int = 0
    """Of an execution that ends with it: when it may be pruned by itself; 0: never."""
    secrets: Secrets | None = None
    """Sensitive values that its events hold the commitments of."""
    erases: Erasure | None = None
    """It erases the execution's key and sensitive values, for good; those of the same append are not even written."""


class Erasure(msgspec.Struct, frozen=True):
    """What goes with an execution's sensitive values."""

    letters: tuple[tuple[int, bytes], ...] = ()
    """Dead letters of the execution by id, with the payloads that take the place of theirs."""


class DefinitionGuard(msgspec.Struct, frozen=True):
    """A start's condition: the definition's last change is still the one it was decided on."""

    definition_id: str
    revision: int


class InboxKind(enum.StrEnum):
    """What an inbox row is."""

    EVENT = "event"
    """An enqueued event."""
    CONTINUE = "continue"
    """The rest of a decision that was cut."""
    OFFER = "offer"
    """A published event, for the `receive` step at `path`."""
    RELEASE = "release"
    """The execution has come to the front of its line."""
    CANCEL = "cancel"
    """An execution that was started later takes its place; `name` is that one's id."""


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
    path: str = ""
    """OFFER: the step that waits."""
    published_id: str = ""
    """OFFER: the published event's id, which is unique in the tenant and not in the execution."""


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
