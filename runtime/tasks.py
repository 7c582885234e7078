"""What passes between the dispatcher and a worker, as values, and the limits it keeps to.

Nothing here knows how a worker is connected: the gRPC servicer, the unary twins and the in-process worker all speak
in these.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from .core.failures import Failure
from .core.refusals import Kind, Refusal, Refused


class DispatcherSettings(msgspec.Struct, frozen=True):
    """The limits and times of the dispatcher, each with its unit in its name."""

    lease_seconds: float = 30.0
    """How long the tasks of a silent worker are its own."""
    reconnect_grace_seconds: float = 5.0
    """How long the tasks of a broken stream, and after a start those of earlier boots, wait to be claimed."""
    ping_interval_seconds: float = 10.0
    """A stream that has nothing to say carries a ping this often."""
    ready_input_bytes_max: int = 64 * 1024 * 1024
    """Inputs of queued tasks kept in memory; the others are read when they are delivered."""
    tasks_per_worker_max: int = 10_000
    """The largest window a worker gets, whatever it asks for."""
    operations_per_worker_max: int = 1_000
    """Operations that one worker may offer."""
    tasks_per_frame_max: int = 1_000
    """Tasks in one frame to a worker."""
    acks_per_frame_max: int = 5_000
    """Acknowledgements in one frame to a worker."""
    inputs_per_read_max: int = 64
    """Inputs fetched from the store at a time for one worker."""
    frame_bytes_max: int = 3 * 1024 * 1024
    """The size of a frame where the worker does not name one."""
    progress_bytes_max: int = 64 * 1024
    """Progress of a task kept for its next delivery; a larger one is not kept."""
    settled_tokens_max: int = 65_536
    """Tokens of ended deliveries remembered, to answer a repeat without asking the execution."""
    recovery_page_tasks: int = 1_000
    """Open tasks read at a time at start."""
    poll_wait_seconds_max: float = 60.0
    """Longest wait of one PollTasks."""


class WorkerHello(msgspec.Struct, frozen=True):
    """Who a worker is and what it offers."""

    tenant: str
    worker_id: str
    """1 to 255 characters. The same worker uses the same after a reconnect."""
    operations: tuple[str, ...]
    """Each as `service.operation`."""
    max_in_flight: int = 1
    """How many tasks it takes at a time; for a poll: how many it takes with this one."""
    build: str = ""
    address: str = ""
    max_frame_bytes: int = 0
    """The largest frame it takes; 0: the server's own bound."""
    holding: tuple[bytes, ...] = ()
    """Tokens of the tasks it still has, from before a reconnect."""


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A task as a worker gets it."""

    token: bytes
    tenant: str
    execution_id: str
    path: str
    attempt: int
    key: int
    """The store's key of the execution."""
    run_key: Callable[[int, str], str]
    """Makes the idempotency key of the step run at (key, path); few handlers in this process ask for it."""
    operation: str
    """`service.operation`."""
    input: bytes
    """JSON."""
    deadline: int = 0
    """When the attempt ends with `Timeout`, in microseconds since the epoch; 0: never."""
    progress: Any = None
    """What an earlier delivery reported last; None: nothing."""
    trace: str = ""
    """W3C `traceparent`: what the worker does belongs to this trace; empty: none."""
    cancel_requested: bool = False

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts and deliveries of a step run."""
        return self.run_key(self.key, self.path)


class TaskResult(msgspec.Struct, frozen=True, gc=False):
    """What became of a task; exactly one of `output`, `failure` and `fault` is given."""

    token: bytes
    output: Any = UNSET
    """A value that has passed the edge (values.py)."""
    failure: Failure | None = None
    fault: str = ""
    """Why the item cannot be read: it is answered INVALID with this, and nothing changes. Unless the worker sends
    something better, the task goes to another one when the lease ends."""
    fault_reason: str = "INVALID_JSON"
    """The published name of the fault."""


class Heartbeat(msgspec.Struct, frozen=True):
    """A worker is still at a task."""

    token: bytes
    progress: Any | UnsetType = UNSET
    """How far it is; UNSET: unchanged."""
    progress_bytes: int = 0
    """The size it came in with."""


class Disposition(enum.Enum):
    """What became of a result or heartbeat."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    STALE = "STALE"
    INVALID = "INVALID"
    RETRY = "RETRY"


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The answer to one result or one heartbeat."""

    token: bytes
    disposition: Disposition
    message: str = ""
    cancel_requested: bool = False
    reason: str = ""
    """A name of the published `ErrorReason`; empty where there is nothing to explain."""
    retry_after_us: int | None = None
    heartbeat: bool = False


class CancelNotice(msgspec.Struct, frozen=True):
    """A task to stop working on."""

    token: bytes
    reason: str


class Frame(msgspec.Struct, frozen=True):
    """What a worker is told at one time. An empty one means that the wait of a poll is over."""

    tasks: tuple[Delivered, ...] = ()
    acks: tuple[Ack, ...] = ()
    cancels: tuple[CancelNotice, ...] = ()
    ping: bool = False
    """Nothing was said for a while: any frame of the worker answers it."""
    reconnect: str = ""
    """Why the worker is to open another connection; nothing is delivered on this one any more."""
    closing: bool = False
    """The session is over; the connection can be closed."""


class QueueInfo(msgspec.Struct, frozen=True):
    """One queue of a tenant, for people."""

    operation: str
    queued: int
    running: int
    oldest_age_us: int | None
    """How long the oldest queued task has waited, taken from the heads of the queue; None: none is queued."""
    workers: int
    free_slots: int
    paused: bool = False


class WorkerInfo(msgspec.Struct, frozen=True):
    """One connected worker, for people."""

    worker_id: str
    build: str
    tenant: str
    address: str
    since: int
    """Microseconds since the epoch, as `seen_at`."""
    seen_at: int
    in_flight: int
    max_in_flight: int
    operations: tuple[str, ...]
    draining: bool


def check_hello(hello: WorkerHello, settings: DispatcherSettings) -> None:
    """Raises `Refused` for a greeting nobody can work with."""
    if not 1 <= len(hello.worker_id) <= 255:
        raise _refused("INVALID_REQUEST", f"worker_id has {len(hello.worker_id)} characters; it takes 1 to 255")
    if not hello.operations:
        raise _refused("INVALID_REQUEST", "operations is empty: a worker offers at least one")
    if (count := len(hello.operations)) > (limit := settings.operations_per_worker_max):
        raise _refused("LIMIT_EXCEEDED", f"{count} operations; a worker offers at most {limit}")
    for operation in hello.operations:
        service, _, name = operation.rpartition(".")
        if not service or not name:
            raise _refused("INVALID_REQUEST", f"{operation!r} is not of the form service.operation")
    if hello.max_in_flight < 1:
        raise _refused("INVALID_REQUEST", f"max_in_flight is {hello.max_in_flight}; it is at least 1")


def _refused(reason: str, message: str) -> Refused:
    return Refused(Refusal(Kind.INVALID, reason, message))
