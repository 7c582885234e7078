import datetime

from callboard.v1 import execution_control_pb2 as _execution_control_pb2
from callboard.v1 import execution_events_pb2 as _execution_events_pb2
from callboard.v1 import executions_pb2 as _executions_pb2
from callboard.v1 import history_pb2 as _history_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConflictPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_POLICY_UNSPECIFIED: _ClassVar[ConflictPolicy]
    CONFLICT_POLICY_RETURN_EXISTING: _ClassVar[ConflictPolicy]
    CONFLICT_POLICY_REJECT: _ClassVar[ConflictPolicy]

class UniquePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIQUE_POLICY_UNSPECIFIED: _ClassVar[UniquePolicy]
    UNIQUE_POLICY_RETURN_EXISTING: _ClassVar[UniquePolicy]
    UNIQUE_POLICY_REJECT: _ClassVar[UniquePolicy]
    UNIQUE_POLICY_CANCEL_EXISTING: _ClassVar[UniquePolicy]

class VerifyProblemKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERIFY_PROBLEM_KIND_UNSPECIFIED: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_HASH: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_GAP: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_HEAD: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_EVENT: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_SNAPSHOT: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_LIVE_STATE: _ClassVar[VerifyProblemKind]
    VERIFY_PROBLEM_KIND_SEALED_VALUE: _ClassVar[VerifyProblemKind]
CONFLICT_POLICY_UNSPECIFIED: ConflictPolicy
CONFLICT_POLICY_RETURN_EXISTING: ConflictPolicy
CONFLICT_POLICY_REJECT: ConflictPolicy
UNIQUE_POLICY_UNSPECIFIED: UniquePolicy
UNIQUE_POLICY_RETURN_EXISTING: UniquePolicy
UNIQUE_POLICY_REJECT: UniquePolicy
UNIQUE_POLICY_CANCEL_EXISTING: UniquePolicy
VERIFY_PROBLEM_KIND_UNSPECIFIED: VerifyProblemKind
VERIFY_PROBLEM_KIND_HASH: VerifyProblemKind
VERIFY_PROBLEM_KIND_GAP: VerifyProblemKind
VERIFY_PROBLEM_KIND_HEAD: VerifyProblemKind
VERIFY_PROBLEM_KIND_EVENT: VerifyProblemKind
VERIFY_PROBLEM_KIND_SNAPSHOT: VerifyProblemKind
VERIFY_PROBLEM_KIND_LIVE_STATE: VerifyProblemKind
VERIFY_PROBLEM_KIND_SEALED_VALUE: VerifyProblemKind

class StartExecutionRequest(_message.Message):
    __slots__ = ("definition_id", "version", "execution_id", "input", "labels", "conflict_policy", "unique_key", "unique_policy", "wait", "min_revision", "request_id")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_POLICY_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_KEY_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_POLICY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    execution_id: str
    input: _payload_pb2.Payload
    labels: _containers.ScalarMap[str, str]
    conflict_policy: ConflictPolicy
    unique_key: str
    unique_policy: UniquePolicy
    wait: _duration_pb2.Duration
    min_revision: int
    request_id: str
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., execution_id: _Optional[str] = ..., input: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., conflict_policy: _Optional[_Union[ConflictPolicy, str]] = ..., unique_key: _Optional[str] = ..., unique_policy: _Optional[_Union[UniquePolicy, str]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_revision: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartExecutionResponse(_message.Message):
    __slots__ = ("execution", "started", "ended")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    started: bool
    ended: bool
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., started: _Optional[bool] = ..., ended: _Optional[bool] = ...) -> None: ...

class StartExecutionsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[StartExecutionRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[StartExecutionRequest, _Mapping]]] = ...) -> None: ...

class StartExecutionsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StartExecutionsResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StartExecutionsResult, _Mapping]]] = ...) -> None: ...

class StartExecutionsResult(_message.Message):
    __slots__ = ("index", "execution", "status", "started", "ended")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    index: int
    execution: _executions_pb2.Execution
    status: _status_pb2.Status
    started: bool
    ended: bool
    def __init__(self, index: _Optional[int] = ..., execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., started: _Optional[bool] = ..., ended: _Optional[bool] = ...) -> None: ...

class GetExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "view", "at_sequence", "at_time", "max_frame_bytes")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    AT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    view: _executions_pb2.ExecutionView
    at_sequence: int
    at_time: _timestamp_pb2.Timestamp
    max_frame_bytes: int
    def __init__(self, execution_id: _Optional[str] = ..., view: _Optional[_Union[_executions_pb2.ExecutionView, str]] = ..., at_sequence: _Optional[int] = ..., at_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class GetExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class WaitExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "wait", "view")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    wait: _duration_pb2.Duration
    view: _executions_pb2.ExecutionView
    def __init__(self, execution_id: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., view: _Optional[_Union[_executions_pb2.ExecutionView, str]] = ...) -> None: ...

class WaitExecutionResponse(_message.Message):
    __slots__ = ("execution", "ended")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    ended: bool
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., ended: _Optional[bool] = ...) -> None: ...

class ListExecutionsRequest(_message.Message):
    __slots__ = ("filter", "order_by", "page_size", "page_token", "view", "max_frame_bytes")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    filter: str
    order_by: str
    page_size: int
    page_token: str
    view: _executions_pb2.ExecutionView
    max_frame_bytes: int
    def __init__(self, filter: _Optional[str] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[_executions_pb2.ExecutionView, str]] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class ListExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[_executions_pb2.Execution]
    next_page_token: str
    def __init__(self, executions: _Optional[_Iterable[_Union[_executions_pb2.Execution, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CountExecutionsRequest(_message.Message):
    __slots__ = ("filter", "group_by")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    filter: str
    group_by: str
    def __init__(self, filter: _Optional[str] = ..., group_by: _Optional[str] = ...) -> None: ...

class CountExecutionsResponse(_message.Message):
    __slots__ = ("count", "groups")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    count: int
    groups: _containers.RepeatedCompositeFieldContainer[ExecutionGroup]
    def __init__(self, count: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[ExecutionGroup, _Mapping]]] = ...) -> None: ...

class ExecutionGroup(_message.Message):
    __slots__ = ("value", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: str
    count: int
    def __init__(self, value: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ReplayExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "until_sequence", "until_time", "use_snapshots", "debug", "page_size", "page_token", "max_frame_bytes")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    USE_SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    until_sequence: int
    until_time: _timestamp_pb2.Timestamp
    use_snapshots: bool
    debug: bool
    page_size: int
    page_token: str
    max_frame_bytes: int
    def __init__(self, execution_id: _Optional[str] = ..., until_sequence: _Optional[int] = ..., until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., use_snapshots: _Optional[bool] = ..., debug: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class ReplayExecutionResponse(_message.Message):
    __slots__ = ("execution", "state", "snapshot", "events_replayed", "steps", "next_page_token", "skipped_snapshots", "sensitive_places")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_REPLAYED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    SENSITIVE_PLACES_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    state: _payload_pb2.Payload
    snapshot: _executions_pb2.Snapshot
    events_replayed: int
    steps: _containers.RepeatedCompositeFieldContainer[ReplayStep]
    next_page_token: str
    skipped_snapshots: _containers.RepeatedCompositeFieldContainer[_executions_pb2.Snapshot]
    sensitive_places: _containers.RepeatedCompositeFieldContainer[SensitivePlace]
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., state: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., snapshot: _Optional[_Union[_executions_pb2.Snapshot, _Mapping]] = ..., events_replayed: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[ReplayStep, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., skipped_snapshots: _Optional[_Iterable[_Union[_executions_pb2.Snapshot, _Mapping]]] = ..., sensitive_places: _Optional[_Iterable[_Union[SensitivePlace, _Mapping]]] = ...) -> None: ...

class SensitivePlace(_message.Message):
    __slots__ = ("pointer", "mark")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    pointer: str
    mark: bytes
    def __init__(self, pointer: _Optional[str] = ..., mark: _Optional[bytes] = ...) -> None: ...

class ReplayStep(_message.Message):
    __slots__ = ("event", "changes")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    event: _history_pb2.WorkflowEvent
    changes: _containers.RepeatedCompositeFieldContainer[StateChange]
    def __init__(self, event: _Optional[_Union[_history_pb2.WorkflowEvent, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[StateChange, _Mapping]]] = ...) -> None: ...

class StateChange(_message.Message):
    __slots__ = ("pointer", "before", "after")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    pointer: str
    before: _payload_pb2.Payload
    after: _payload_pb2.Payload
    def __init__(self, pointer: _Optional[str] = ..., before: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., after: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class VerifyExecutionRequest(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class VerifyExecutionResponse(_message.Message):
    __slots__ = ("valid", "problems", "events_checked", "snapshots_checked", "head_sequence", "head_hash")
    VALID_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEAD_HASH_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    problems: _containers.RepeatedCompositeFieldContainer[VerifyProblem]
    events_checked: int
    snapshots_checked: int
    head_sequence: int
    head_hash: bytes
    def __init__(self, valid: _Optional[bool] = ..., problems: _Optional[_Iterable[_Union[VerifyProblem, _Mapping]]] = ..., events_checked: _Optional[int] = ..., snapshots_checked: _Optional[int] = ..., head_sequence: _Optional[int] = ..., head_hash: _Optional[bytes] = ...) -> None: ...

class VerifyProblem(_message.Message):
    __slots__ = ("kind", "sequence", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: VerifyProblemKind
    sequence: int
    message: str
    def __init__(self, kind: _Optional[_Union[VerifyProblemKind, str]] = ..., sequence: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("execution_id", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: _executions_pb2.Snapshot
    def __init__(self, snapshot: _Optional[_Union[_executions_pb2.Snapshot, _Mapping]] = ...) -> None: ...

class ForkExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "at_sequence", "at_time", "new_execution_id", "compensate_inherited", "paused", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    AT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_TIME_FIELD_NUMBER: _ClassVar[int]
    NEW_EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    COMPENSATE_INHERITED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    at_sequence: int
    at_time: _timestamp_pb2.Timestamp
    new_execution_id: str
    compensate_inherited: bool
    paused: bool
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., at_sequence: _Optional[int] = ..., at_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., new_execution_id: _Optional[str] = ..., compensate_inherited: _Optional[bool] = ..., paused: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class ForkExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class DeleteExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteExecutionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportExecutionRequest(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class ExportExecutionResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ImportExecutionRequest(_message.Message):
    __slots__ = ("data", "execution_id", "request_id")
    DATA_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    execution_id: str
    request_id: str
    def __init__(self, data: _Optional[bytes] = ..., execution_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ImportExecutionResponse(_message.Message):
    __slots__ = ("execution", "events_imported")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_IMPORTED_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    events_imported: int
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., events_imported: _Optional[int] = ...) -> None: ...
