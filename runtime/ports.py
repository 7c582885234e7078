"""The ports of the engine: what it needs from outside, in small Protocols.

`Store` speaks domain verbs. Every change goes through `write`, which commits a whole batch in ONE transaction and
answers for each write by itself: a write that loses its precondition or breaks a rule is taken out and told so,
the others commit. What crosses the port is in rows.py, trigger_rows.py, lifecycle_rows.py and writes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .backup_rows import Progress, StoreCopy
from .feed_rows import Before, FeedBounds, SubscriptionRow, TenantPage
from .lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from .listing_rows import CountQuery, CountSlice, ListPage, ListQuery
from .retention_rows import Expired, ExpiredQuery
from .rows import (
    Counts,
    DeadLetter,
    ExecutionRecord,
    ExecutionRef,
    InboxRow,
    Request,
    SealedValue,
    Secrets,
    Snapshot,
    StoredEvent,
    StoreInfo,
    TaskRecord,
    TimerRecord,
)
from .trigger_rows import EventOutcome, JobRow, OutboxRow, TriggerRow, WaitRow
from .writes import Outcome, Write


class StorageFullError(Exception):
    """The disk is full: the batch was rolled back whole; the same write can be tried again when there is room."""


class StorageFailedError(Exception):
    """A commit or sync failed in an unknown state: stop serving; nothing of the batch may be acknowledged."""


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

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events after a sequence, at most `limit` and about `bytes_max` (at least one). The context of the first
        one returned is filled in from the event that carries it."""
        ...

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """The same, exactly as stored: the context is there only on the events that carry it. For long readings, which
        do not stand in the way of others."""
        ...

    async def snapshot(self, key: int, until: int | None = None) -> Snapshot | None:
        """The newest kept snapshot at or before a sequence (None: of all), or None."""
        ...

    async def snapshots(self, key: int) -> list[Snapshot]:
        """The kept snapshots, newest first; core/thinning.py says which are kept."""
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

    async def inbox(self, key: int, limit: int, events: bool = True) -> list[InboxRow]:
        """The oldest undelivered rows of one execution; without `events`, those that are no enqueued events."""
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

    async def tenant_definition_events(
        self, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
    ) -> list[tuple[str, DefinitionEvent]]:
        """What happened to all definitions of a tenant, with their ids, in the order of (revision, definition id,
        sequence) after this place; at most `limit` events and about `bytes_max` (at least one)."""
        ...

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """The active triggers of an event, and the revision of the last change to them (0: there was none). The
        revision is never newer than the rows."""
        ...

    async def triggers(
        self, tenant: str, definition_id: str, event_name: str, after: tuple[str, str], limit: int
    ) -> list[TriggerRow]:
        """Active triggers in the order of (definition id, trigger id), after this place; of one definition and of one
        event where these are not empty."""
        ...

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """One trigger, active or not, or None."""
        ...

    async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
        """The active schedules of all tenants that are not paused and due first, at most at `until`."""
        ...

    async def line(self, tenant: str, definition_id: str, line: str, limit: int) -> list[ExecutionRef]:
        """The first executions in a line; the one at the front runs."""
        ...

    async def open_count(self, tenant: str, definition_id: str, version: int) -> int:
        """How many executions of a definition have not ended; of one version, where it is not 0."""
        ...

    async def open_executions(
        self, tenant: str, definition_id: str, version: int, after: int, limit: int
    ) -> list[tuple[int, ExecutionRef]]:
        """Executions of a definition that have not ended, with their keys, by key after this one; of one version,
        where it is not 0."""
        ...

    async def waits(self, tenant: str, name: str, key: str, after: int, until: int, limit: int) -> list[WaitRow]:
        """The steps that wait for an event of this name and key, by id, after one id and up to another."""
        ...

    async def outbox(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        """Emitted events that have not been accepted yet, by id after this one; of one tenant, where it is given."""
        ...

    async def published_event(self, tenant: str, event_id: str, now: int) -> EventOutcome | None:
        """What a published event matched, if its id is remembered."""
        ...

    async def job(self, tenant: str, job_id: str) -> JobRow | None:
        """One job, or None."""
        ...

    async def jobs(self, tenant: str, below: int, limit: int) -> list[JobRow]:
        """Jobs, newest first, below this number (0: from the newest)."""
        ...

    async def open_jobs(self) -> list[JobRow]:
        """The jobs of all tenants that have not ended, oldest first."""
        ...

    async def revision(self, tenant: str) -> int:
        """The tenant's last revision; 0: nothing was ever published."""
        ...

    # Listing and counting

    async def listed(self, query: ListQuery) -> ListPage:
        """Executions in the order asked for; `after` of the answer says where to go on."""
        ...

    async def counted(self, query: CountQuery) -> CountSlice:
        """How many executions match in a stretch of keys, the newest first; `before` of the answer says where to go
        on."""
        ...

    # Feeds

    async def tenant_events(self, tenant: str, after: int, scan_max: int, limit: int, bytes_max: int) -> TenantPage:
        """Events of a tenant after a position, by position; at most `limit` and about `bytes_max` (at least one). No
        more than `scan_max` events are looked at, of whatever tenant, and the answer says how far that was."""
        ...

    async def feed_bounds(self, tenant: str) -> FeedBounds:
        """From where to where the feed of a tenant goes."""
        ...

    async def tenant_count(self, tenant: str, after: int, scan_max: int) -> tuple[int, int]:
        """How many of the `scan_max` events after a position are the tenant's, and the position of the last of them
        (where there are none: `after`)."""
        ...

    async def before(self, places: Sequence[tuple[int, int]]) -> list[Before]:
        """What holds before the events at these (key, sequence)."""
        ...

    async def subscription(self, tenant: str, subscription_id: str) -> SubscriptionRow | None:
        """One subscription, or None."""
        ...

    async def subscriptions(self, tenant: str, after: str, limit: int) -> list[SubscriptionRow]:
        """Subscriptions by id, after this one."""
        ...

    # Sensitive values

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        """An execution's key, and those of its sensitive values that are stored, among these."""
        ...

    async def sealed_values(self, key: int, after: str, limit: int) -> list[SealedValue]:
        """All sensitive values of an execution, by commitment, after this one."""
        ...

    # Retention

    async def expired(self, query: ExpiredQuery) -> list[Expired]:
        """Ended executions whose time is over, by expiry and key."""
        ...

    async def expired_count(self, tenant: str, until: int, ended_before: int) -> int:
        """How many executions of a tenant have expired by a time, and ended before another."""
        ...

    async def first_expiries(self) -> list[tuple[str, int]]:
        """The tenants of which executions expire, with the time of the first one, past or to come."""
        ...

    async def leftovers(self, limit: int) -> list[int]:
        """Keys of executions that are gone and whose events are still to go."""
        ...

    async def give_back(self, bytes_max: int) -> int:
        """Give space that is not used any more back to the file system, about so much; how many bytes there are still
        to give back. Raises StorageFullError or StorageFailedError."""
        ...

    async def counts(self) -> Counts:
        """How much there is; may be a few seconds old."""
        ...

    # Backup

    async def back_up(self, target: Path | None, progress: Progress | None = None) -> StoreCopy:
        """A copy of everything as of one moment, checked and sealed, while others write; None: in a file beside the
        store, which the caller removes. Raises Refused UNSUPPORTED, STORAGE_FULL, HISTORY_DAMAGED; then nothing of it
        is left."""
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

    def random_bytes(self, count: int) -> bytes:
        """So many random bytes, fit for keys."""
        ...
