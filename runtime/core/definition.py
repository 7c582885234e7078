"""The language of definitions as values: every field of the published contract, executed yet or not.

The annotations say what a field holds, and reader.py reads by them: `Text` is a plain string, `Cel` a bare
expression, `Duration` a duration string or one `${...}`, `Free` any value with templates in it. Absent fields are
None, empty strings, empty tuples or empty dicts; null is absent. `to_tree` gives the canonical form, which is what
is stored, hashed and shown.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, TypeAlias

import msgspec


class Holds(enum.Enum):
    """What a field of the language holds, where its Python type does not say it."""

    CEL = "bare CEL"
    DURATION = "a duration"
    FREE = "any value"


Text: TypeAlias = str
Cel = Annotated[str, Holds.CEL]
Duration = Annotated[str, Holds.DURATION]
Free = Annotated[Any, Holds.FREE]
FreeObject = Annotated[dict[str, Any], Holds.FREE]


class OnFailure(enum.StrEnum):
    """What happens to a failure that nothing has handled."""

    REVERT = "REVERT"
    PARK = "PARK"


class Overlap(enum.StrEnum):
    """What happens when a slot comes and the execution of an earlier one has not ended."""

    SKIP = "SKIP"
    QUEUE = "QUEUE"
    CANCEL_RUNNING = "CANCEL_RUNNING"
    ALLOW = "ALLOW"


class Join(enum.StrEnum):
    """How many branches have to succeed."""

    ALL = "ALL"
    ANY = "ANY"
    COUNT = "COUNT"


class Losers(enum.StrEnum):
    """What happens to what losing branches have done."""

    REVERT = "REVERT"
    KEEP = "KEEP"


class EdgeDepth(enum.StrEnum):
    """How far a "no" of an edge reaches."""

    ALL = "ALL"
    FLOW = "FLOW"
    NEIGHBORS = "NEIGHBORS"
    ATOM = "ATOM"


class OnItemError(enum.StrEnum):
    """What a failed item does to the others."""

    FAIL = "FAIL"
    CONTINUE = "CONTINUE"


class OnTimeout(enum.StrEnum):
    """What happens when the time of a `receive` is up."""

    FAIL = "FAIL"
    CONTINUE = "CONTINUE"


class OnParentClose(enum.StrEnum):
    """What happens to a child when its parent ends first."""

    CANCEL = "CANCEL"
    TERMINATE = "TERMINATE"
    ABANDON = "ABANDON"


class OnExhausted(enum.StrEnum):
    """What happens after the final failure of a step."""

    FAIL = "FAIL"
    PARK = "PARK"


class OnScopeExhausted(enum.StrEnum):
    """What happens when a scope has no run left."""

    REVERT = "REVERT"
    REVERT_ALL = "REVERT_ALL"


class OnUnknown(enum.StrEnum):
    """Whether a step whose outcome is unknown is compensated."""

    RUN = "RUN"
    SKIP = "SKIP"


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The base of all parts of a definition: immutable, and stored without what is absent."""


class Retry(_Part, frozen=True):
    """How attempts are repeated; absent fields come from the defaults."""

    max_attempts: int | None = None
    initial_backoff: Duration = ""
    backoff_factor: float | None = None
    max_backoff: Duration = ""
    jitter: float | None = None
    retry_on: tuple[Text, ...] = ()
    non_retryable: tuple[Text, ...] = ()
    on_exhausted: OnExhausted | None = None
    max_deliveries: int | None = None


class Timeouts(_Part, frozen=True):
    """Time limits of a step; absent fields come from the defaults."""

    queue: Duration = ""
    attempt: Duration = ""
    total: Duration = ""
    heartbeat: Duration = ""
    cancel_grace: Duration = ""


class Defaults(_Part, frozen=True):
    """What `task` steps have unless they say otherwise."""

    retry: Retry | None = None
    timeouts: Timeouts | None = None


class Factory(_Part, frozen=True):
    """A Python function on the server that makes the steps."""

    callable: Text = ""
    args: FreeObject | None = None
    version: Text = ""


class EventTrigger(_Part, frozen=True):
    """Starts one execution for each matching event."""

    name: Text = ""
    filter: Cel = ""
    execution_id: Cel = ""


class ScheduleTrigger(_Part, frozen=True):
    """Starts executions at nominal instants."""

    cron: Text = ""
    every: Duration = ""
    at: Text = ""
    time_zone: Text = ""
    overlap: Overlap | None = None
    catch_up: Duration = ""
    jitter: Duration = ""


class Trigger(_Part, frozen=True):
    """Starts executions by itself while the definition is published."""

    id: Text = ""
    input: Free = None
    unique_key: Cel = ""
    event: EventTrigger | None = None
    schedule: ScheduleTrigger | None = None


class ScopeRetry(_Part, frozen=True):
    """What a scope does with a failure inside it."""

    times: int | None = None
    for_each: Free = None
    always_revert: bool | None = None
    always_revert_all: bool | None = None
    on_exhausted: OnScopeExhausted | None = None


class Poll(_Part, frozen=True):
    """Repeats a successful task until its result is what is waited for."""

    until: Cel = ""
    initial_delay: Duration = ""
    factor: float | None = None
    max_delay: Duration = ""


class Compensate(_Part, frozen=True):
    """The task that undoes a step."""

    service: Text = ""
    operation: Text = ""
    input: Free = None
    resource_type: Text = ""
    priority: int | None = None
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    on_unknown: OnUnknown | None = None


class Edge(_Part, frozen=True):
    """Says that a step in a graph comes after another."""

    step: Text = ""
    when: Cel = ""
    depth: EdgeDepth | None = None


class StepCache(_Part, frozen=True):
    """Keeps a task's result for equal inputs."""

    ttl: Duration = ""


class TaskStep(_Part, frozen=True):
    """One operation done by a worker."""

    service: Text = ""
    operation: Text = ""
    input: Free = None
    mutates: bool | None = None
    resource_type: Text = ""
    priority: int | None = None
    cache: StepCache | None = None
    result_schema: FreeObject | None = None


class SequenceStep(_Part, frozen=True):
    """Steps in order."""

    steps: tuple[Step, ...] = ()


class Branch(_Part, frozen=True):
    """One branch of a `parallel`."""

    id: Text = ""
    steps: tuple[Step, ...] = ()


class ParallelStep(_Part, frozen=True):
    """Branches side by side."""

    branches: tuple[Branch, ...] = ()
    join: Join | None = None
    join_count: int | None = None
    losers: Losers | None = None
    fail_fast: bool | None = None


class GraphStep(_Part, frozen=True):
    """Steps ordered by what they come after."""

    steps: tuple[Step, ...] = ()


class SwitchCase(_Part, frozen=True):
    """One case of a `switch`."""

    when: Cel = ""
    steps: tuple[Step, ...] = ()


class SwitchStep(_Part, frozen=True):
    """The first case that holds."""

    cases: tuple[SwitchCase, ...] = ()
    default: tuple[Step, ...] = ()


class ForeachStep(_Part, frozen=True, rename={"item_name": "as"}):
    """The same steps for each item of a list."""

    items: Cel = ""
    item_name: Text = ""
    max_concurrency: int | None = None
    on_item_error: OnItemError | None = None
    max_failures: Cel = ""
    collect: Free = None
    steps: tuple[Step, ...] = ()


class LoopStep(_Part, frozen=True):
    """The same steps until a condition holds."""

    until: Cel = ""
    max_iterations: int | None = None
    steps: tuple[Step, ...] = ()


class WaitStep(_Part, frozen=True):
    """A rest: for a time, or until a time."""

    duration: Duration = ""
    until: Cel = ""


class EventMatch(_Part, frozen=True):
    """One of several events that a `receive` waits for."""

    event: Text = ""
    filter: Cel = ""


class ReceiveStep(_Part, frozen=True):
    """Waits for an event from outside."""

    event: Text = ""
    any_of: tuple[EventMatch, ...] = ()
    key: Cel = ""
    filter: Cel = ""
    timeout: Duration = ""
    until: Cel = ""
    on_timeout: OnTimeout | None = None


class EmitStep(_Part, frozen=True):
    """Publishes an event."""

    name: Text = ""
    key: Cel = ""
    payload: Free = None


class SubflowStep(_Part, frozen=True):
    """Starts another definition."""

    definition_id: Text = ""
    version: int | None = None
    input: Free = None
    detached: bool | None = None
    on_parent_close: OnParentClose | None = None


class FailStep(_Part, frozen=True):
    """A failure on purpose."""

    type: Text = ""
    message: Text = ""
    details: Free = None


class FinishStep(_Part, frozen=True):
    """The early, good end of the whole execution."""

    output: Free = None


class ErrorHandler(_Part, frozen=True):
    """Steps that run after a step's final failure."""

    match: tuple[Text, ...] = ()
    steps: tuple[Step, ...] = ()


class Step(_Part, frozen=True):
    """One step: what may stand on any step, and exactly one kind."""

    id: Text = ""
    when: Cel = ""
    output: Free = None
    retry: Retry | None = None
    scope_retry: ScopeRetry | None = None
    poll: Poll | None = None
    timeouts: Timeouts | None = None
    on_error: tuple[ErrorHandler, ...] = ()
    compensate: Compensate | None = None
    set_state: Text = ""
    version: Text = ""
    renamed_from: Text = ""
    labels: dict[str, Text] = {}
    after: tuple[Edge, ...] = ()
    task: TaskStep | None = None
    sequence: SequenceStep | None = None
    parallel: ParallelStep | None = None
    graph: GraphStep | None = None
    switch: SwitchStep | None = None
    foreach: ForeachStep | None = None
    loop: LoopStep | None = None
    wait: WaitStep | None = None
    receive: ReceiveStep | None = None
    emit: EmitStep | None = None
    subflow: SubflowStep | None = None
    set: FreeObject | None = None
    fail: FailStep | None = None
    finish: FinishStep | None = None


class Definition(_Part, frozen=True):
    """A workflow as data."""

    id: Text = ""
    description: Text = ""
    input_schema: FreeObject | None = None
    labels: dict[str, Text] = {}
    defaults: Defaults | None = None
    triggers: tuple[Trigger, ...] = ()
    steps: tuple[Step, ...] = ()
    output: Free = None
    on_failure: OnFailure | None = None
    retention: Duration = ""
    factory: Factory | None = None
    event_schemas: dict[str, FreeObject] = {}


def to_tree(definition: Definition) -> dict[str, Any]:
    """The canonical form: the JSON mapping in snake_case without absent fields, enum names without their prefix.

    Reading it again gives an equal Definition.
    """
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(definition))
    return plain
