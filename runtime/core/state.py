"""The state of one execution: what its events add up to, and nothing else.

Rules
- `State` is changed by `evolve` alone (evolve.py); decide.py reads it. It never holds what no event said.
- Step runs are kept by path. A *block* (a list of steps; plan.py) is kept by the path its steps stand under:
  `""` the root, `seq`, `par/branch`, `each[3]`, `step/on_error`. Its cursor is the step it has come to.
- The step runs of a finished `foreach` item are dropped: only the item's value stays.
- Legal transitions of an execution's status and of a step run's state are the two tables below.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from .commands import ForkOrigin, Origin
from .failures import Failure


class Status(enum.StrEnum):
    """Where an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    REVERTING = "REVERTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REVERTED = "REVERTED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"

    __hash__ = str.__hash__  # Enum's own is a Python function, and every event looks into the tables below

    @property
    def ended(self) -> bool:
        """Whether nothing more can happen."""
        return self in ENDED


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.REVERTED, Status.CANCELLED, Status.TERMINATED})

STATUS_TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.CANCELLED, Status.TERMINATED}),
    Status.RUNNING: frozenset({Status.REVERTING, Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TERMINATED}),
    Status.REVERTING: frozenset({Status.REVERTED, Status.FAILED, Status.CANCELLED, Status.TERMINATED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.REVERTED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.TERMINATED: frozenset(),
}


class StepState(enum.StrEnum):
    """Where a step run stands."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    """A task: queued or in a worker's hands."""
    WAITING = "WAITING"
    """For a timer, an event, or the steps inside it."""
    RETRYING = "RETRYING"
    """An attempt failed; the next one has a time."""
    PARKED = "PARKED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    REVERTING = "REVERTING"
    REVERTED = "REVERTED"
    REVERT_FAILED = "REVERT_FAILED"

    __hash__ = str.__hash__

    @property
    def open(self) -> bool:
        """Whether the step run still has to end."""
        return self in OPEN


OPEN = frozenset({StepState.PENDING, StepState.SCHEDULED, StepState.WAITING, StepState.RETRYING, StepState.PARKED})

_ENDS = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED})

STEP_TRANSITIONS: Mapping[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset({StepState.SCHEDULED, StepState.WAITING, StepState.SKIPPED}),
    StepState.SCHEDULED: _ENDS | {StepState.SCHEDULED, StepState.RETRYING, StepState.PARKED, StepState.WAITING},
    StepState.WAITING: _ENDS | {StepState.WAITING, StepState.PARKED},
    StepState.RETRYING: _ENDS | {StepState.SCHEDULED, StepState.WAITING, StepState.PARKED},
    StepState.PARKED: _ENDS | {StepState.SCHEDULED, StepState.WAITING, StepState.SKIPPED},
    StepState.SUCCEEDED: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.SKIPPED: frozenset(),
    StepState.CANCELLED: frozenset(),
    StepState.REVERTING: frozenset({StepState.REVERTED, StepState.REVERT_FAILED}),
    StepState.REVERTED: frozenset(),
    StepState.REVERT_FAILED: frozenset({StepState.REVERTING, StepState.REVERTED}),
}


class IllegalTransition(Exception):
    """An event does not fit the state: the history is damaged or the engine has a defect. Nothing is appended."""


class ItemFailure(msgspec.Struct, frozen=True):
    """One failed item of a `foreach` that goes on."""

    index: int
    item: Any
    error: Failure


class Run(msgspec.Struct, omit_defaults=True):
    """One step run."""

    step: str
    kind: str
    state: StepState
    since: int
    """When it came into this state, in microseconds since the epoch."""
    scheduled: int = 0
    """Sequence of its StepScheduled event."""
    attempt: int = 0
    spent: int = 0
    """Attempts before the last RETRY_NOW of an operator: the retry budget counts from there."""
    operation: str = ""
    priority: int = 0
    attempt_timeout: int = 0
    queue_timeout: int = 0
    total_timeout: int = 0
    due: int = 0
    """RETRYING: when the next attempt starts."""
    losses: int = 0
    """Deliveries lost in a row in this attempt."""
    result: Any | UnsetType = UNSET
    error: Failure | None = None
    handler: int | None = None
    """The `on_error` entry that runs for it."""
    events: tuple[str, ...] = ()
    """Names of the events a `receive` waits for."""
    key: str = ""
    """The key of the published events that are offered to a `receive` while it waits; empty: none are."""
    offered: int = 0
    """Sequence of the published event that it is about to take."""
    closing: Failure | None = None
    """A scope that has failed and waits for its delivered attempts."""
    awaits: int = 0
    """How many of those have not been answered."""
    case: int | None = None
    """The case a `switch` chose; -1: `default`."""
    items: list[Any] | None = None
    results: list[Any] | None = None
    max_failures: int = 0
    failures: list[ItemFailure] | None = None
    started: int = 0
    """Blocks begun: items of a `foreach`, branches of a `parallel`."""
    done: int = 0
    """Blocks that have ended."""
    blocks: dict[str, None] = {}
    """Paths of the blocks under it that have begun and are still kept."""
    timers: dict[str, int] = {}


class BlockRun(msgspec.Struct, omit_defaults=True):
    """How far one list of steps has come."""

    cursor: str
    """Path of the step run it has come to."""
    members: list[str] = []


class Kept(msgspec.Struct, omit_defaults=True):
    """An event from outside that no `receive` has taken yet."""

    name: str
    payload: Any
    received_at: int
    event_id: str = ""
    enqueued: bool = False


class Incident(msgspec.Struct):
    """Something waits for an operator."""

    since: int
    failure: Failure


class State(msgspec.Struct, omit_defaults=True):
    """One execution, replayed."""

    execution_id: str = ""
    """Its address, given by whoever replays it."""
    sequence: int = 0
    hash: bytes = b""
    status: Status = Status.PENDING
    author_state: str | None = None
    """The author's last word (`set_state`)."""
    definition_id: str = ""
    version: int = 0
    input: Any = None
    labels: dict[str, str] = {}
    trace: str = ""
    variables: dict[str, Any] = {}
    output: Any = None
    failure: Failure | None = None
    reason: str = ""
    """Why it was cancelled or terminated."""
    lines: tuple[str, ...] = ()
    """The lines it has a place in until it ends."""
    behind: str = ""
    """The id of the execution that it was accepted behind: PENDING until it was released; empty: it began at once."""
    origin: Origin | None = None
    """The trigger that started it."""
    fork: ForkOrigin | None = None
    """What it was forked or imported from."""
    started_at: int = 0
    """When it was accepted."""
    released_at: int = 0
    """When it was released; 0: not yet, or it began at once."""
    updated_at: int = 0
    ended_at: int = 0
    erased_at: int = 0
    """When its sensitive values were erased; 0: they were not."""
    runs: dict[str, Run] = {}
    blocks: dict[str, BlockRun] = {}
    listening: dict[str, dict[str, None]] = {}
    """By event name: paths of the `receive` steps that wait for it, in the order in which they began."""
    kept: dict[int, Kept] = {}
    """Events that nobody waited for yet, by sequence."""
    incidents: dict[str, Incident] = {}
    """By step path; an empty path is the execution's own end."""
    cancelling: bool = False
    """Cancelled, and awaiting the answers of delivered attempts."""
    awaiting: dict[str, str] = {}
    """Paths of delivered attempts whose answers are awaited -> the scope that then ends (empty: the execution)."""
    timers: dict[str, int] = {}
    """Timers of the execution itself."""

    @property
    def begun_at(self) -> int:
        """When its first step was entered; 0: not yet, or it ended before."""
        return self.released_at if self.behind else self.started_at

    @property
    def state(self) -> str:
        """The author's last word, else the status in lower case."""
        return self.author_state if self.author_state is not None else self.status.value.lower()

    def open_runs(self, within: str = "") -> Iterator[tuple[str, Run]]:
        """Step runs that have not ended, in the whole execution or within one step, containers first."""
        if not within:
            yield from ((path, run) for path, run in self.runs.items() if run.state.open)
            return
        for block in self.runs[within].blocks:
            for path in self.blocks[block].members:
                if (run := self.runs[path]).state.open:
                    yield path, run
                    yield from self.open_runs(path)


def block_of(path: str) -> str:
    """The path of the block in which a step run stands."""
    return path.rpartition("/")[0]


def item_number(block: str) -> int | None:
    """The item's number in the path of a `foreach` block, else None."""
    return int(block[block.rindex("[") + 1 : -1]) if block.endswith("]") else None


def numbers_in(path: str) -> tuple[int, ...]:
    """The item numbers in a path, outermost first: `a[3]/b[1]/c` has (3, 1)."""
    if "[" not in path:
        return ()
    return tuple(int(part.partition("]")[0]) for part in path.split("[")[1:])
