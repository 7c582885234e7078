from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_FAILURE_UNSPECIFIED: _ClassVar[OnFailure]
    ON_FAILURE_REVERT: _ClassVar[OnFailure]
    ON_FAILURE_PARK: _ClassVar[OnFailure]

class Overlap(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERLAP_UNSPECIFIED: _ClassVar[Overlap]
    OVERLAP_SKIP: _ClassVar[Overlap]
    OVERLAP_QUEUE: _ClassVar[Overlap]
    OVERLAP_CANCEL_RUNNING: _ClassVar[Overlap]
    OVERLAP_ALLOW: _ClassVar[Overlap]

class Join(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOIN_UNSPECIFIED: _ClassVar[Join]
    JOIN_ALL: _ClassVar[Join]
    JOIN_ANY: _ClassVar[Join]
    JOIN_COUNT: _ClassVar[Join]

class Losers(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSERS_UNSPECIFIED: _ClassVar[Losers]
    LOSERS_REVERT: _ClassVar[Losers]
    LOSERS_KEEP: _ClassVar[Losers]

class EdgeDepth(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_DEPTH_UNSPECIFIED: _ClassVar[EdgeDepth]
    EDGE_DEPTH_ALL: _ClassVar[EdgeDepth]
    EDGE_DEPTH_FLOW: _ClassVar[EdgeDepth]
    EDGE_DEPTH_NEIGHBORS: _ClassVar[EdgeDepth]
    EDGE_DEPTH_ATOM: _ClassVar[EdgeDepth]

class OnItemError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_ITEM_ERROR_UNSPECIFIED: _ClassVar[OnItemError]
    ON_ITEM_ERROR_FAIL: _ClassVar[OnItemError]
    ON_ITEM_ERROR_CONTINUE: _ClassVar[OnItemError]

class OnTimeout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_TIMEOUT_UNSPECIFIED: _ClassVar[OnTimeout]
    ON_TIMEOUT_FAIL: _ClassVar[OnTimeout]
    ON_TIMEOUT_CONTINUE: _ClassVar[OnTimeout]

class OnParentClose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_PARENT_CLOSE_UNSPECIFIED: _ClassVar[OnParentClose]
    ON_PARENT_CLOSE_CANCEL: _ClassVar[OnParentClose]
    ON_PARENT_CLOSE_TERMINATE: _ClassVar[OnParentClose]
    ON_PARENT_CLOSE_ABANDON: _ClassVar[OnParentClose]

class OnExhausted(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_EXHAUSTED_UNSPECIFIED: _ClassVar[OnExhausted]
    ON_EXHAUSTED_FAIL: _ClassVar[OnExhausted]
    ON_EXHAUSTED_PARK: _ClassVar[OnExhausted]

class OnScopeExhausted(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_SCOPE_EXHAUSTED_UNSPECIFIED: _ClassVar[OnScopeExhausted]
    ON_SCOPE_EXHAUSTED_REVERT: _ClassVar[OnScopeExhausted]
    ON_SCOPE_EXHAUSTED_REVERT_ALL: _ClassVar[OnScopeExhausted]

class OnUnknown(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_UNKNOWN_UNSPECIFIED: _ClassVar[OnUnknown]
    ON_UNKNOWN_RUN: _ClassVar[OnUnknown]
    ON_UNKNOWN_SKIP: _ClassVar[OnUnknown]
ON_FAILURE_UNSPECIFIED: OnFailure
ON_FAILURE_REVERT: OnFailure
ON_FAILURE_PARK: OnFailure
OVERLAP_UNSPECIFIED: Overlap
OVERLAP_SKIP: Overlap
OVERLAP_QUEUE: Overlap
OVERLAP_CANCEL_RUNNING: Overlap
OVERLAP_ALLOW: Overlap
JOIN_UNSPECIFIED: Join
JOIN_ALL: Join
JOIN_ANY: Join
JOIN_COUNT: Join
LOSERS_UNSPECIFIED: Losers
LOSERS_REVERT: Losers
LOSERS_KEEP: Losers
EDGE_DEPTH_UNSPECIFIED: EdgeDepth
EDGE_DEPTH_ALL: EdgeDepth
EDGE_DEPTH_FLOW: EdgeDepth
EDGE_DEPTH_NEIGHBORS: EdgeDepth
EDGE_DEPTH_ATOM: EdgeDepth
ON_ITEM_ERROR_UNSPECIFIED: OnItemError
ON_ITEM_ERROR_FAIL: OnItemError
ON_ITEM_ERROR_CONTINUE: OnItemError
ON_TIMEOUT_UNSPECIFIED: OnTimeout
ON_TIMEOUT_FAIL: OnTimeout
ON_TIMEOUT_CONTINUE: OnTimeout
ON_PARENT_CLOSE_UNSPECIFIED: OnParentClose
ON_PARENT_CLOSE_CANCEL: OnParentClose
ON_PARENT_CLOSE_TERMINATE: OnParentClose
ON_PARENT_CLOSE_ABANDON: OnParentClose
ON_EXHAUSTED_UNSPECIFIED: OnExhausted
ON_EXHAUSTED_FAIL: OnExhausted
ON_EXHAUSTED_PARK: OnExhausted
ON_SCOPE_EXHAUSTED_UNSPECIFIED: OnScopeExhausted
ON_SCOPE_EXHAUSTED_REVERT: OnScopeExhausted
ON_SCOPE_EXHAUSTED_REVERT_ALL: OnScopeExhausted
ON_UNKNOWN_UNSPECIFIED: OnUnknown
ON_UNKNOWN_RUN: OnUnknown
ON_UNKNOWN_SKIP: OnUnknown

class Definition(_message.Message):
    __slots__ = ("id", "description", "input_schema", "labels", "defaults", "triggers", "steps", "output", "on_failure", "retention", "factory", "event_schemas")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EventSchemasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Struct
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    FACTORY_FIELD_NUMBER: _ClassVar[int]
    EVENT_SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    id: str
    description: str
    input_schema: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    defaults: Defaults
    triggers: _containers.RepeatedCompositeFieldContainer[Trigger]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    output: _struct_pb2.Value
    on_failure: OnFailure
    retention: str
    factory: Factory
    event_schemas: _containers.MessageMap[str, _struct_pb2.Struct]
    def __init__(self, id: _Optional[str] = ..., description: _Optional[str] = ..., input_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., defaults: _Optional[_Union[Defaults, _Mapping]] = ..., triggers: _Optional[_Iterable[_Union[Trigger, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., on_failure: _Optional[_Union[OnFailure, str]] = ..., retention: _Optional[str] = ..., factory: _Optional[_Union[Factory, _Mapping]] = ..., event_schemas: _Optional[_Mapping[str, _struct_pb2.Struct]] = ...) -> None: ...

class Defaults(_message.Message):
    __slots__ = ("retry", "timeouts")
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    retry: Retry
    timeouts: Timeouts
    def __init__(self, retry: _Optional[_Union[Retry, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ...) -> None: ...

class Factory(_message.Message):
    __slots__ = ("callable", "args", "version")
    CALLABLE_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    callable: str
    args: _struct_pb2.Struct
    version: str
    def __init__(self, callable: _Optional[str] = ..., args: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., version: _Optional[str] = ...) -> None: ...

class Trigger(_message.Message):
    __slots__ = ("id", "input", "unique_key", "event", "schedule")
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    id: str
    input: _struct_pb2.Value
    unique_key: str
    event: EventTrigger
    schedule: ScheduleTrigger
    def __init__(self, id: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., unique_key: _Optional[str] = ..., event: _Optional[_Union[EventTrigger, _Mapping]] = ..., schedule: _Optional[_Union[ScheduleTrigger, _Mapping]] = ...) -> None: ...

class EventTrigger(_message.Message):
    __slots__ = ("name", "filter", "execution_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    filter: str
    execution_id: str
    def __init__(self, name: _Optional[str] = ..., filter: _Optional[str] = ..., execution_id: _Optional[str] = ...) -> None: ...

class ScheduleTrigger(_message.Message):
    __slots__ = ("cron", "every", "at", "time_zone", "overlap", "catch_up", "jitter")
    CRON_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    CATCH_UP_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    cron: str
    every: str
    at: str
    time_zone: str
    overlap: Overlap
    catch_up: str
    jitter: str
    def __init__(self, cron: _Optional[str] = ..., every: _Optional[str] = ..., at: _Optional[str] = ..., time_zone: _Optional[str] = ..., overlap: _Optional[_Union[Overlap, str]] = ..., catch_up: _Optional[str] = ..., jitter: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("id", "when", "output", "retry", "scope_retry", "poll", "timeouts", "on_error", "compensate", "set_state", "version", "renamed_from", "labels", "after", "task", "sequence", "parallel", "graph", "switch", "foreach", "loop", "wait", "receive", "emit", "subflow", "set", "fail", "finish")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_RETRY_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    COMPENSATE_FIELD_NUMBER: _ClassVar[int]
    SET_STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RENAMED_FROM_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    SWITCH_FIELD_NUMBER: _ClassVar[int]
    FOREACH_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_FIELD_NUMBER: _ClassVar[int]
    EMIT_FIELD_NUMBER: _ClassVar[int]
    SUBFLOW_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    id: str
    when: str
    output: _struct_pb2.Value
    retry: Retry
    scope_retry: ScopeRetry
    poll: Poll
    timeouts: Timeouts
    on_error: _containers.RepeatedCompositeFieldContainer[ErrorHandler]
    compensate: Compensate
    set_state: str
    version: str
    renamed_from: str
    labels: _containers.ScalarMap[str, str]
    after: _containers.RepeatedCompositeFieldContainer[Edge]
    task: TaskStep
    sequence: SequenceStep
    parallel: ParallelStep
    graph: GraphStep
    switch: SwitchStep
    foreach: ForeachStep
    loop: LoopStep
    wait: WaitStep
    receive: ReceiveStep
    emit: EmitStep
    subflow: SubflowStep
    set: _struct_pb2.Struct
    fail: FailStep
    finish: FinishStep
    def __init__(self, id: _Optional[str] = ..., when: _Optional[str] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., scope_retry: _Optional[_Union[ScopeRetry, _Mapping]] = ..., poll: _Optional[_Union[Poll, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., on_error: _Optional[_Iterable[_Union[ErrorHandler, _Mapping]]] = ..., compensate: _Optional[_Union[Compensate, _Mapping]] = ..., set_state: _Optional[str] = ..., version: _Optional[str] = ..., renamed_from: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., after: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ..., task: _Optional[_Union[TaskStep, _Mapping]] = ..., sequence: _Optional[_Union[SequenceStep, _Mapping]] = ..., parallel: _Optional[_Union[ParallelStep, _Mapping]] = ..., graph: _Optional[_Union[GraphStep, _Mapping]] = ..., switch: _Optional[_Union[SwitchStep, _Mapping]] = ..., foreach: _Optional[_Union[ForeachStep, _Mapping]] = ..., loop: _Optional[_Union[LoopStep, _Mapping]] = ..., wait: _Optional[_Union[WaitStep, _Mapping]] = ..., receive: _Optional[_Union[ReceiveStep, _Mapping]] = ..., emit: _Optional[_Union[EmitStep, _Mapping]] = ..., subflow: _Optional[_Union[SubflowStep, _Mapping]] = ..., set: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., fail: _Optional[_Union[FailStep, _Mapping]] = ..., finish: _Optional[_Union[FinishStep, _Mapping]] = ...) -> None: ...

class TaskStep(_message.Message):
    __slots__ = ("service", "operation", "input", "mutates", "resource_type", "priority", "cache", "result_schema")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    MUTATES_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    RESULT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    input: _struct_pb2.Value
    mutates: bool
    resource_type: str
    priority: int
    cache: StepCache
    result_schema: _struct_pb2.Struct
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., mutates: _Optional[bool] = ..., resource_type: _Optional[str] = ..., priority: _Optional[int] = ..., cache: _Optional[_Union[StepCache, _Mapping]] = ..., result_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class StepCache(_message.Message):
    __slots__ = ("ttl",)
    TTL_FIELD_NUMBER: _ClassVar[int]
    ttl: str
    def __init__(self, ttl: _Optional[str] = ...) -> None: ...

class SequenceStep(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class ParallelStep(_message.Message):
    __slots__ = ("branches", "join", "join_count", "losers", "fail_fast")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    JOIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOSERS_FIELD_NUMBER: _ClassVar[int]
    FAIL_FAST_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    join: Join
    join_count: int
    losers: Losers
    fail_fast: bool
    def __init__(self, branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ..., join: _Optional[_Union[Join, str]] = ..., join_count: _Optional[int] = ..., losers: _Optional[_Union[Losers, str]] = ..., fail_fast: _Optional[bool] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("id", "steps")
    ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, id: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class GraphStep(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Edge(_message.Message):
    __slots__ = ("step", "when", "depth")
    STEP_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    step: str
    when: str
    depth: EdgeDepth
    def __init__(self, step: _Optional[str] = ..., when: _Optional[str] = ..., depth: _Optional[_Union[EdgeDepth, str]] = ...) -> None: ...

class SwitchStep(_message.Message):
    __slots__ = ("cases", "default")
    CASES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    cases: _containers.RepeatedCompositeFieldContainer[SwitchCase]
    default: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, cases: _Optional[_Iterable[_Union[SwitchCase, _Mapping]]] = ..., default: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class SwitchCase(_message.Message):
    __slots__ = ("when", "steps")
    WHEN_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    when: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, when: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class ForeachStep(_message.Message):
    __slots__ = ("items", "item_name", "max_concurrency", "on_item_error", "max_failures", "collect", "steps")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ITEM_NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    ON_ITEM_ERROR_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    COLLECT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    items: str
    item_name: str
    max_concurrency: int
    on_item_error: OnItemError
    max_failures: str
    collect: _struct_pb2.Value
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, items: _Optional[str] = ..., item_name: _Optional[str] = ..., max_concurrency: _Optional[int] = ..., on_item_error: _Optional[_Union[OnItemError, str]] = ..., max_failures: _Optional[str] = ..., collect: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class LoopStep(_message.Message):
    __slots__ = ("until", "max_iterations", "steps")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    until: str
    max_iterations: int
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, until: _Optional[str] = ..., max_iterations: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class WaitStep(_message.Message):
    __slots__ = ("duration", "until")
    DURATION_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    duration: str
    until: str
    def __init__(self, duration: _Optional[str] = ..., until: _Optional[str] = ...) -> None: ...

class ReceiveStep(_message.Message):
    __slots__ = ("event", "any_of", "key", "filter", "timeout", "until", "on_timeout")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    ON_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    event: str
    any_of: _containers.RepeatedCompositeFieldContainer[EventMatch]
    key: str
    filter: str
    timeout: str
    until: str
    on_timeout: OnTimeout
    def __init__(self, event: _Optional[str] = ..., any_of: _Optional[_Iterable[_Union[EventMatch, _Mapping]]] = ..., key: _Optional[str] = ..., filter: _Optional[str] = ..., timeout: _Optional[str] = ..., until: _Optional[str] = ..., on_timeout: _Optional[_Union[OnTimeout, str]] = ...) -> None: ...

class EventMatch(_message.Message):
    __slots__ = ("event", "filter")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    event: str
    filter: str
    def __init__(self, event: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class EmitStep(_message.Message):
    __slots__ = ("name", "key", "payload")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    payload: _struct_pb2.Value
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class SubflowStep(_message.Message):
    __slots__ = ("definition_id", "version", "input", "detached", "on_parent_close")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    ON_PARENT_CLOSE_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    input: _struct_pb2.Value
    detached: bool
    on_parent_close: OnParentClose
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., input: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., detached: _Optional[bool] = ..., on_parent_close: _Optional[_Union[OnParentClose, str]] = ...) -> None: ...

class FailStep(_message.Message):
    __slots__ = ("type", "message", "details")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    details: _struct_pb2.Value
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class FinishStep(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: _struct_pb2.Value
    def __init__(self, output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("max_attempts", "initial_backoff", "backoff_factor", "max_backoff", "jitter", "retry_on", "non_retryable", "on_exhausted", "max_deliveries")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FACTOR_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    NON_RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    ON_EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    MAX_DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_backoff: str
    backoff_factor: float
    max_backoff: str
    jitter: float
    retry_on: _containers.RepeatedScalarFieldContainer[str]
    non_retryable: _containers.RepeatedScalarFieldContainer[str]
    on_exhausted: OnExhausted
    max_deliveries: int
    def __init__(self, max_attempts: _Optional[int] = ..., initial_backoff: _Optional[str] = ..., backoff_factor: _Optional[float] = ..., max_backoff: _Optional[str] = ..., jitter: _Optional[float] = ..., retry_on: _Optional[_Iterable[str]] = ..., non_retryable: _Optional[_Iterable[str]] = ..., on_exhausted: _Optional[_Union[OnExhausted, str]] = ..., max_deliveries: _Optional[int] = ...) -> None: ...

class ScopeRetry(_message.Message):
    __slots__ = ("times", "for_each", "always_revert", "always_revert_all", "on_exhausted")
    TIMES_FIELD_NUMBER: _ClassVar[int]
    FOR_EACH_FIELD_NUMBER: _ClassVar[int]
    ALWAYS_REVERT_FIELD_NUMBER: _ClassVar[int]
    ALWAYS_REVERT_ALL_FIELD_NUMBER: _ClassVar[int]
    ON_EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    times: int
    for_each: _struct_pb2.Value
    always_revert: bool
    always_revert_all: bool
    on_exhausted: OnScopeExhausted
    def __init__(self, times: _Optional[int] = ..., for_each: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., always_revert: _Optional[bool] = ..., always_revert_all: _Optional[bool] = ..., on_exhausted: _Optional[_Union[OnScopeExhausted, str]] = ...) -> None: ...

class Poll(_message.Message):
    __slots__ = ("until", "initial_delay", "factor", "max_delay")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DELAY_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    until: str
    initial_delay: str
    factor: float
    max_delay: str
    def __init__(self, until: _Optional[str] = ..., initial_delay: _Optional[str] = ..., factor: _Optional[float] = ..., max_delay: _Optional[str] = ...) -> None: ...

class Timeouts(_message.Message):
    __slots__ = ("queue", "attempt", "total", "heartbeat", "cancel_grace")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_GRACE_FIELD_NUMBER: _ClassVar[int]
    queue: str
    attempt: str
    total: str
    heartbeat: str
    cancel_grace: str
    def __init__(self, queue: _Optional[str] = ..., attempt: _Optional[str] = ..., total: _Optional[str] = ..., heartbeat: _Optional[str] = ..., cancel_grace: _Optional[str] = ...) -> None: ...

class ErrorHandler(_message.Message):
    __slots__ = ("match", "steps")
    MATCH_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    match: _containers.RepeatedScalarFieldContainer[str]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, match: _Optional[_Iterable[str]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Compensate(_message.Message):
    __slots__ = ("service", "operation", "input", "resource_type", "priority", "retry", "timeouts", "on_unknown")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    ON_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    input: _struct_pb2.Value
    resource_type: str
    priority: int
    retry: Retry
    timeouts: Timeouts
    on_unknown: OnUnknown
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., resource_type: _Optional[str] = ..., priority: _Optional[int] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., on_unknown: _Optional[_Union[OnUnknown, str]] = ...) -> None: ...
