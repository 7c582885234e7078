"""The plan: a definition in its compiled form, made once per version and then only read.

Steps know their parents, positions and the shape of their paths, so that advancing looks only at what depends on
the step that ended. A *block* is a list of steps that run one after the other: the root, a `sequence`, a branch,
a case, the steps of a `foreach` item, an error handler.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, Union

from .definition import Overlap
from .expressions import Expression, Template
from .refusals import Violation
from .sealing import Vault
from .values import Value


class StepKind(enum.StrEnum):
    """The step kinds this version executes."""

    TASK = "task"
    SEQUENCE = "sequence"
    PARALLEL = "parallel"
    SWITCH = "switch"
    FOREACH = "foreach"
    WAIT = "wait"
    RECEIVE = "receive"
    EMIT = "emit"
    SET = "set"
    FAIL = "fail"
    FINISH = "finish"


Duration: TypeAlias = Union[int, Expression]  # noqa: UP007
"""Microseconds, or an expression that gives a duration string (resolved when the step is scheduled)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon an attempt is repeated. Times in microseconds."""

    max_attempts: int = 1
    """0: no limit."""
    initial_backoff: int = 1_000_000
    backoff_factor: float = 2.0
    max_backoff: int | None = None
    jitter: float = 0.0
    """The share of the delay, 0 to 1, that chance may add or take away."""
    retry_on: tuple[str, ...] = ()
    """Failure types that are retried; empty: all."""
    non_retryable: tuple[str, ...] = ()
    park: bool = False
    """`on_exhausted: PARK`."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of a task in time; None: no limit."""

    queue: Duration | None = None
    attempt: Duration | None = None
    total: Duration | None = None
    cancel_grace: Duration | None = None


@dataclass(eq=False, slots=True)
class Block:
    """Steps that run one after the other."""

    steps: tuple[Step, ...] = ()
    owner: Step | None = None
    """The step this block belongs to; None: the root."""
    suffix: str = ""
    """What the block adds to its owner's path: `` (sequence, switch), `/branch`, `/on_error`; an item adds `[n]`."""
    items: bool = False
    """True for the block of a `foreach`: its path ends in `[n]`."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One entry of `on_error`."""

    match: tuple[str, ...]
    """Failure types; empty: all."""
    block: Block


@dataclass(frozen=True, slots=True)
class ValueSchema:
    """What a JSON Schema says of the values it is for."""

    misfits: Callable[[Value], tuple[Violation, ...]]
    """Where a value does not fit; the messages never quote the value."""
    typed: Callable[[Value], Value] | None = None
    """The value as expressions see it: numbers as the schema says; None: as it is."""
    seal: Callable[[Value, Vault], Value] | None = None
    """The value with its sensitive fields sealed; None: it has none."""


@dataclass(frozen=True, slots=True)
class TaskBody:
    """Work for a worker."""

    operation: str
    """`service.operation`."""
    input: Template
    priority: int = 0
    result: ValueSchema | None = None
    """What its results are to be; None: anything."""


@dataclass(frozen=True, slots=True)
class SequenceBody:
    """Steps in order."""

    block: Block


@dataclass(frozen=True, slots=True)
class ParallelBody:
    """Branches side by side, joined when all have ended."""

    branches: tuple[tuple[str, Block], ...]
    fail_fast: bool = True


@dataclass(frozen=True, slots=True)
class SwitchBody:
    """The first case that holds."""

    cases: tuple[tuple[Expression, Block], ...]
    default: Block | None


@dataclass(frozen=True, slots=True)
class ForeachBody:
    """The same steps for each item of a list."""

    items: Expression
    item_name: str
    block: Block
    max_concurrency: int = 0
    """0: as many as there are, up to the engine's limit."""
    continue_on_error: bool = False
    max_failures: Expression | None = None
    collect: Template | None = None


@dataclass(frozen=True, slots=True)
class WaitBody:
    """A rest: for a time, or until a time."""

    duration: Duration | None = None
    until: Template | None = None


@dataclass(frozen=True, slots=True)
class ReceiveBody:
    """Waits for one of some events from outside."""

    events: tuple[tuple[str, Expression | None], ...]
    """Event names with their filters."""
    timeout: Duration | None = None
    until: Template | None = None
    continue_on_timeout: bool = False
    key: Expression | None = None
    """With it, published events of the same key are heard, too; evaluated once, when the waiting begins."""


@dataclass(frozen=True, slots=True)
class EmitBody:
    """Publishes an event."""

    name: str
    key: Expression | None = None
    payload: Template | None = None


@dataclass(frozen=True, slots=True)
class SetBody:
    """New values of variables; all see the state before."""

    values: Template


@dataclass(frozen=True, slots=True)
class FailBody:
    """A failure on purpose."""

    type: Template
    message: Template | None = None
    details: Template | None = None


@dataclass(frozen=True, slots=True)
class FinishBody:
    """The early, good end of the whole execution."""

    output: Template | None = None


Body: TypeAlias = Union[  # noqa: UP007
    TaskBody,
    SequenceBody,
    ParallelBody,
    SwitchBody,
    ForeachBody,
    WaitBody,
    ReceiveBody,
    EmitBody,
    SetBody,
    FailBody,
    FinishBody,
]


@dataclass(eq=False, slots=True)
class Step:
    """One step, with its place in the plan. Built by the compiler in two passes, then never changed."""

    id: str
    kind: StepKind
    block: Block
    """The list of steps it stands in."""
    position: int
    """Its place in `block.steps`."""
    body: Body
    segments: tuple[str, ...]
    """Its path cut at the places where an item's number goes: `("load", "/fetch")` is `load[n]/fetch`."""
    when: Expression | None = None
    output: Template | None = None
    state: Template | None = None
    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts = Timeouts()
    handlers: tuple[Handler, ...] = ()
    item_names: Mapping[str, int] = field(default_factory=dict[str, int])
    """Names of items in reach -> which number of the path they belong to (0: the outermost `foreach`)."""

    def path(self, numbers: tuple[int, ...] = ()) -> str:
        """Its path within the items with these numbers (only as many are used as it has foreach scopes around it)."""
        if len(self.segments) == 1:
            return self.segments[0]
        parts = [self.segments[0]]
        for number, segment in zip(numbers, self.segments[1:], strict=False):
            parts.append(f"[{number}]{segment}")
        return "".join(parts)

    @property
    def is_last(self) -> bool:
        """Whether its end closes its block."""
        return self.position == len(self.block.steps) - 1


@dataclass(frozen=True, slots=True)
class EventSource:
    """A trigger listens to published events of a name. Its expressions see `event` only."""

    name: str
    filter: Expression | None = None
    execution_id: Expression | None = None


@dataclass(frozen=True, slots=True)
class ScheduleSource:
    """A trigger fires at nominal instants: exactly one of `cron`, `every` and `at` is set. Times in microseconds."""

    cron: str = ""
    every: int = 0
    at: int = 0
    """Since the epoch."""
    time_zone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    catch_up: int | None = None
    """How far back missed slots are made up for; None: not at all."""
    jitter: int = 0


@dataclass(frozen=True, slots=True)
class TriggerPlan:
    """Starts executions by itself. Its input and unique key see `trigger`, and of an event trigger `event`."""

    id: str
    source: EventSource | ScheduleSource
    input: Template | None = None
    """None: the event's payload, or null for a schedule."""
    unique_key: Expression | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A definition version, ready to run."""

    definition_id: str
    version: int
    root: Block
    steps: Mapping[str, Step]
    """All steps by id."""
    labels: Mapping[str, Template] = field(default_factory=dict[str, Template])
    output: Template | None = None
    park_on_failure: bool = False
    triggers: tuple[TriggerPlan, ...] = ()
    typed_input: Callable[[Value], Value] | None = None
    """Where the input schema says `number` or `integer`: the input as expressions see it."""
    retention: int | None = None
    """How long an execution is kept after its end, in microseconds; None: until it is pruned by hand."""
    events: Mapping[str, ValueSchema] = field(default_factory=dict[str, "ValueSchema"])
    """By event name: what payloads are to be. Those of other events may be anything."""
    typed_results: Mapping[str, Callable[[Value], Value]] = field(default_factory=dict[str, Callable[[Value], Value]])
    """By step id: what it was given as its result (before `output`) as expressions see it, where a schema types numbers
    in it."""
    seal_input: Callable[[Value, Vault], Value] | None = None
    """The input with its sensitive fields sealed; None: it has none."""
    sensitive: bool = False
    """Inputs, events or results have sensitive fields."""
