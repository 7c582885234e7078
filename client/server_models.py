"""What the client answers with about the server itself: small frozen values, one for each message.

Each field has the name of the message's field, or says it as `wire`; `decoding` needs nothing more.
"""

import dataclasses
from datetime import datetime, timedelta

from .decoding import value_of


@value_of("Queue")
@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """The tasks of one operation."""

    operation: str
    queued: int
    running: int
    oldest_age: timedelta | None
    workers: int
    free_slots: int
    paused: bool


@value_of("WorkerInfo")
@dataclasses.dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as the server sees it."""

    id: str = dataclasses.field(metadata={"wire": "worker_id"})
    build: str
    tenant: str
    address: str
    since: datetime | None
    seen_at: datetime | None
    in_flight: int
    max_in_flight: int
    operations: tuple[str, ...]
    draining: bool


@value_of("Limit")
@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the server; 0 is no limit."""

    name: str
    value: int
    unit: str
    description: str


@value_of("ServerCounts")
@dataclasses.dataclass(frozen=True, slots=True)
class ServerCounts:
    """How much a server holds, of all tenants."""

    live_executions: int
    open_executions: int
    open_tasks: int
    timers: int
    inbox: int
    dead_letters: int
    workers: int
    waiting_commands: int
    watchers: int


@value_of("GetServerInfoResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is, how far it goes and how much it holds."""

    version: str
    schema_version: int
    store_id: str
    generation: int
    boot: int
    started_at: datetime | None
    limits: tuple[Limit, ...]
    counts: ServerCounts | None
    revision: int
    draining: bool
    storage: str
