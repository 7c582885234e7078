"""What a batch of writes changes: rows to be written and removed, and the numbers given to them."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import msgspec

from ..feed_rows import SubscriptionRow
from ..lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from ..retention_rows import LeftoverRemoval
from ..rows import ExecutionRecord, ExecutionRef, Head, InboxKind, Request, Snapshot, StoredEvent
from ..trigger_rows import EventOutcome, ForgetJobs, JobRow, TriggerRow, WaitRow
from .wanted import DefinitionPlace, Known, LinePlace, TriggerPlace, VersionPlace, WaitPlace

_SHARDS = 1024


@lru_cache(maxsize=8192)
def shard_of(ref: ExecutionRef) -> int:
    """The fixed shard of an execution: rows keep it, so this function can never change."""
    return crc32(f"{ref.tenant}\0{ref.execution_id}".encode()) % _SHARDS


class Counters(msgspec.Struct):
    """The last numbers given; they never fall, so that no number is used twice."""

    execution: int = 0
    position: int = 0
    inbox: int = 0
    wait: int = 0

    def copy(self) -> Counters:
        """For a batch that may yet be rolled back."""
        return Counters(self.execution, self.position, self.inbox, self.wait)

    def restore(self, before: Counters) -> None:
        """A write was rolled back: go on from here."""
        self.execution, self.position, self.inbox, self.wait = (
            before.execution,
            before.position,
            before.inbox,
            before.wait,
        )


class TaskRow(NamedTuple):
    """One row of open_tasks, in the order of its columns."""

    key: int
    path: str
    shard: int
    operation: str
    attempt: int
    scheduled: int
    priority: int
    attempt_timeout: int
    since: int
    cancel_requested: bool


class InboxEntry(NamedTuple):
    """One row of inbox, in the order of its columns."""

    id: int
    key: int
    shard: int
    kind: str
    event_id: str
    name: str
    payload: bytes
    context: bytes
    accepted_at: int
    path: str
    published_id: str


class OutboxEntry(NamedTuple):
    """One row of outbox without its id, in the order of its columns."""

    key: int
    shard: int
    sequence: int
    name: str
    event_key: str
    payload: bytes
    context: bytes
    created_at: int


class Buried(NamedTuple):
    """An event of a history that becomes a dead letter."""

    ref: ExecutionRef
    key: int
    event_id: str
    name: str
    payload: bytes
    cause: str
    died_at: int


class Published(NamedTuple):
    """One row of published_events without its id, in the order of its columns."""

    tenant: str
    event_id: str
    outcome: EventOutcome
    expires_at: int


class Changes:
    """What has to become of the tables. The parts are carried out in this order."""

    def __init__(self) -> None:
        self.executions: list[ExecutionRecord] = []
        self.heads: dict[int, tuple[ExecutionRecord, Head]] = {}
        """As stored, and as it will be."""
        self.events: list[tuple[int, int, StoredEvent]] = []
        """Position, execution's key, event."""
        self.requests: list[Request] = []
        self.snapshots: list[tuple[int, Snapshot]] = []
        self.inbox: list[InboxEntry] = []
        self.requeued: list[tuple[int, int, int, int]] = []
        """Inbox id, letter, shard, accepted at."""
        self.letters_gone: list[int] = []
        self.inbox_buried: list[tuple[int, str, str, str, int]] = []
        """Inbox id, tenant, cause, message, died at."""
        self.inbox_gone: list[int] = []
        self.closed: dict[int, int] = {}
        """When each execution ended: its tasks and timers go, its inbox becomes dead letters."""
        self.cancels: dict[tuple[int, str], None] = {}
        self.tasks: defaultdict[int, dict[str, TaskRow | None]] = defaultdict(dict)
        """By execution and path; None: the row goes."""
        self.step_timers_gone: dict[tuple[int, str], None] = {}
        self.timers: defaultdict[int, dict[tuple[str, str], tuple[int, int] | None]] = defaultdict(dict)
        """By execution, path and name: shard and due time; None: the row goes."""
        self.buried: list[Buried] = []
        self.lines_left: list[tuple[LinePlace, int]] = []
        self.lines: dict[tuple[LinePlace, int], ExecutionRef] = {}
        """By line and execution's key."""
        self.waits_gone: dict[tuple[int, str], None] = {}
        """By execution and path."""
        self.waits: dict[tuple[int, str], list[tuple[WaitPlace, WaitRow]]] = {}
        """By execution and path."""
        self.waits_until = 0
        """A job was told that this was the last number of a wait: later ones get higher numbers, also where the wait of
        this number was over before it was written, and the store is opened again; 0: none was told."""
        self.offered_bytes = 0
        """Of what the published events among the writes are offered in."""
        self.outbox_gone: list[int] = []
        self.outbox: list[OutboxEntry] = []
        self.published: list[Published] = []
        self.definitions: dict[DefinitionPlace, DefinitionHead] = {}
        self.revisions: dict[str, int] = {}
        self.versions: list[tuple[str, str, DefinitionVersion]] = []
        self.versions_gone: list[VersionPlace] = []
        self.definition_events: list[tuple[str, str, DefinitionEvent]] = []
        self.triggers: dict[TriggerPlace, TriggerRow] = {}
        """All but what it started last, which is in `trigger_starts`."""
        self.trigger_starts: dict[TriggerPlace, tuple[str, int]] = {}
        """The last execution each has started, and when."""
        self.listeners: dict[tuple[str, str], int] = {}
        """Revisions by tenant and event name."""
        self.jobs: dict[tuple[str, str], JobRow] = {}
        """By tenant and job id."""
        self.jobs_forgotten: list[ForgetJobs] = []
        self.subscriptions: dict[tuple[str, str], SubscriptionRow | None] = {}
        """By tenant and subscription id; None: the row goes."""
        self.feeds_pruned: dict[str, int] = {}
        """Positions by tenant."""
        self.erased: dict[int, None] = {}
        """Executions whose keys and sensitive values go."""
        self.letters_erased: list[tuple[int, int, bytes]] = []
        """Letter, execution, the payload that takes the place of its own."""
        self.keys: dict[int, bytes] = {}
        """New keys by execution; what is erased goes before them."""
        self.sealed: dict[int, dict[bytes, bytes]] = {}
        """New ciphertexts by execution and the bytes of their commitments; what is erased goes before them."""
        self.expiries: dict[int, tuple[str, int, int]] = {}
        """By execution: tenant, when it may be pruned by itself (0: it may not), position of its last event."""
        self.gone: list[ExecutionRecord] = []
        self.gone_events = 0
        """How many events go with them at once."""
        self.left_over: set[int] = set()
        """Those of `gone` whose events stay behind, to be removed bit by bit."""
        self.leftovers: list[LeftoverRemoval] = []


class Books:
    """What the judging of a batch works on: what is known, which moves along, and what is to be changed."""

    def __init__(self, known: Known, counters: Counters) -> None:
        self.known = known
        self.counters = counters
        self.changes = Changes()

    def enter(
        self,
        ref: ExecutionRef,
        key: int,
        kind: InboxKind,
        accepted_at: int,
        *,
        event_id: str = "",
        name: str = "",
        payload: bytes = b"null",
        context: bytes = b"{}",
        path: str = "",
        published_id: str = "",
    ) -> int:
        """A new inbox row; its id."""
        row = self.counters.inbox = self.counters.inbox + 1
        self.changes.inbox.append(
            InboxEntry(
                row,
                key,
                shard_of(ref),
                kind.value,
                event_id,
                name,
                payload,
                context,
                accepted_at,
                path,
                published_id,
            )
        )
        return row
