import datetime

from callboard.v1 import failure_pb2 as _failure_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecutionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTION_STATUS_UNSPECIFIED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_PENDING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_RUNNING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_REVERTING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_COMPLETED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_FAILED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_REVERTED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_CANCELLED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_TERMINATED: _ClassVar[ExecutionStatus]

class ExecutionView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTION_VIEW_UNSPECIFIED: _ClassVar[ExecutionView]
    EXECUTION_VIEW_BASIC: _ClassVar[ExecutionView]
    EXECUTION_VIEW_FULL: _ClassVar[ExecutionView]

class StepState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_STATE_UNSPECIFIED: _ClassVar[StepState]
    STEP_STATE_PENDING: _ClassVar[StepState]
    STEP_STATE_SCHEDULED: _ClassVar[StepState]
    STEP_STATE_WAITING: _ClassVar[StepState]
    STEP_STATE_RETRYING: _ClassVar[StepState]
    STEP_STATE_PARKED: _ClassVar[StepState]
    STEP_STATE_SUCCEEDED: _ClassVar[StepState]
    STEP_STATE_FAILED: _ClassVar[StepState]
    STEP_STATE_SKIPPED: _ClassVar[StepState]
    STEP_STATE_CANCELLED: _ClassVar[StepState]
    STEP_STATE_REVERTING: _ClassVar[StepState]
    STEP_STATE_REVERTED: _ClassVar[StepState]
    STEP_STATE_REVERT_FAILED: _ClassVar[StepState]

class WaitingOn(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAITING_ON_UNSPECIFIED: _ClassVar[WaitingOn]
    WAITING_ON_QUEUE: _ClassVar[WaitingOn]
    WAITING_ON_WORKER: _ClassVar[WaitingOn]
    WAITING_ON_TIMER: _ClassVar[WaitingOn]
    WAITING_ON_EVENT: _ClassVar[WaitingOn]
    WAITING_ON_RETRY: _ClassVar[WaitingOn]
    WAITING_ON_POLL: _ClassVar[WaitingOn]
    WAITING_ON_SUBFLOW: _ClassVar[WaitingOn]
    WAITING_ON_STEPS: _ClassVar[WaitingOn]
    WAITING_ON_RESOLUTION: _ClassVar[WaitingOn]
    WAITING_ON_RESUME: _ClassVar[WaitingOn]
    WAITING_ON_CACHE: _ClassVar[WaitingOn]

class IncidentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INCIDENT_KIND_UNSPECIFIED: _ClassVar[IncidentKind]
    INCIDENT_KIND_STEP_PARKED: _ClassVar[IncidentKind]
    INCIDENT_KIND_REVERT_FAILED: _ClassVar[IncidentKind]
    INCIDENT_KIND_EXECUTION_PARKED: _ClassVar[IncidentKind]
    INCIDENT_KIND_OUTPUT_FAILED: _ClassVar[IncidentKind]
    INCIDENT_KIND_POISONED: _ClassVar[IncidentKind]
    INCIDENT_KIND_HISTORY_DAMAGED: _ClassVar[IncidentKind]
EXECUTION_STATUS_UNSPECIFIED: ExecutionStatus
EXECUTION_STATUS_PENDING: ExecutionStatus
EXECUTION_STATUS_RUNNING: ExecutionStatus
EXECUTION_STATUS_REVERTING: ExecutionStatus
EXECUTION_STATUS_COMPLETED: ExecutionStatus
EXECUTION_STATUS_FAILED: ExecutionStatus
EXECUTION_STATUS_REVERTED: ExecutionStatus
EXECUTION_STATUS_CANCELLED: ExecutionStatus
EXECUTION_STATUS_TERMINATED: ExecutionStatus
EXECUTION_VIEW_UNSPECIFIED: ExecutionView
EXECUTION_VIEW_BASIC: ExecutionView
EXECUTION_VIEW_FULL: ExecutionView
STEP_STATE_UNSPECIFIED: StepState
STEP_STATE_PENDING: StepState
STEP_STATE_SCHEDULED: StepState
STEP_STATE_WAITING: StepState
STEP_STATE_RETRYING: StepState
STEP_STATE_PARKED: StepState
STEP_STATE_SUCCEEDED: StepState
STEP_STATE_FAILED: StepState
STEP_STATE_SKIPPED: StepState
STEP_STATE_CANCELLED: StepState
STEP_STATE_REVERTING: StepState
STEP_STATE_REVERTED: StepState
STEP_STATE_REVERT_FAILED: StepState
WAITING_ON_UNSPECIFIED: WaitingOn
WAITING_ON_QUEUE: WaitingOn
WAITING_ON_WORKER: WaitingOn
WAITING_ON_TIMER: WaitingOn
WAITING_ON_EVENT: WaitingOn
WAITING_ON_RETRY: WaitingOn
WAITING_ON_POLL: WaitingOn
WAITING_ON_SUBFLOW: WaitingOn
WAITING_ON_STEPS: WaitingOn
WAITING_ON_RESOLUTION: WaitingOn
WAITING_ON_RESUME: WaitingOn
WAITING_ON_CACHE: WaitingOn
INCIDENT_KIND_UNSPECIFIED: IncidentKind
INCIDENT_KIND_STEP_PARKED: IncidentKind
INCIDENT_KIND_REVERT_FAILED: IncidentKind
INCIDENT_KIND_EXECUTION_PARKED: IncidentKind
INCIDENT_KIND_OUTPUT_FAILED: IncidentKind
INCIDENT_KIND_POISONED: IncidentKind
INCIDENT_KIND_HISTORY_DAMAGED: IncidentKind

class Execution(_message.Message):
    __slots__ = ("tenant", "execution_id", "definition_id", "version", "status", "state", "paused", "incident_count", "incidents", "labels", "input", "output", "failure", "created_at", "started_at", "updated_at", "ended_at", "sequence", "head_hash", "parent", "trigger", "fork", "unique_key", "variables", "open_steps", "open_step_count", "user_id", "waits_for_execution_id", "erased_at")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    INCIDENTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEAD_HASH_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    FORK_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_KEY_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    OPEN_STEPS_FIELD_NUMBER: _ClassVar[int]
    OPEN_STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    ERASED_AT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    execution_id: str
    definition_id: str
    version: int
    status: ExecutionStatus
    state: str
    paused: bool
    incident_count: int
    incidents: _containers.RepeatedCompositeFieldContainer[Incident]
    labels: _containers.ScalarMap[str, str]
    input: _payload_pb2.Payload
    output: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    sequence: int
    head_hash: bytes
    parent: ParentOrigin
    trigger: TriggerOrigin
    fork: ForkOrigin
    unique_key: str
    variables: _payload_pb2.Payload
    open_steps: _containers.RepeatedCompositeFieldContainer[OpenStep]
    open_step_count: int
    user_id: str
    waits_for_execution_id: str
    erased_at: _timestamp_pb2.Timestamp
    def __init__(self, tenant: _Optional[str] = ..., execution_id: _Optional[str] = ..., definition_id: _Optional[str] = ..., version: _Optional[int] = ..., status: _Optional[_Union[ExecutionStatus, str]] = ..., state: _Optional[str] = ..., paused: _Optional[bool] = ..., incident_count: _Optional[int] = ..., incidents: _Optional[_Iterable[_Union[Incident, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., input: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., output: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., head_hash: _Optional[bytes] = ..., parent: _Optional[_Union[ParentOrigin, _Mapping]] = ..., trigger: _Optional[_Union[TriggerOrigin, _Mapping]] = ..., fork: _Optional[_Union[ForkOrigin, _Mapping]] = ..., unique_key: _Optional[str] = ..., variables: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., open_steps: _Optional[_Iterable[_Union[OpenStep, _Mapping]]] = ..., open_step_count: _Optional[int] = ..., user_id: _Optional[str] = ..., waits_for_execution_id: _Optional[str] = ..., erased_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ParentOrigin(_message.Message):
    __slots__ = ("execution_id", "step_path", "detached")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    step_path: str
    detached: bool
    def __init__(self, execution_id: _Optional[str] = ..., step_path: _Optional[str] = ..., detached: _Optional[bool] = ...) -> None: ...

class TriggerOrigin(_message.Message):
    __slots__ = ("trigger_id", "event_id", "slot")
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    trigger_id: str
    event_id: str
    slot: _timestamp_pb2.Timestamp
    def __init__(self, trigger_id: _Optional[str] = ..., event_id: _Optional[str] = ..., slot: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ForkOrigin(_message.Message):
    __slots__ = ("execution_id", "sequence", "hash", "imported")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    sequence: int
    hash: bytes
    imported: bool
    def __init__(self, execution_id: _Optional[str] = ..., sequence: _Optional[int] = ..., hash: _Optional[bytes] = ..., imported: _Optional[bool] = ...) -> None: ...

class OpenStep(_message.Message):
    __slots__ = ("path", "state", "waiting_on", "since", "attempt", "next_attempt_at", "last_failure", "operation", "worker_id", "event", "incarnation", "max_attempts", "progress", "child_execution_id", "event_key")
    PATH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WAITING_ON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHILD_EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_KEY_FIELD_NUMBER: _ClassVar[int]
    path: str
    state: StepState
    waiting_on: WaitingOn
    since: _timestamp_pb2.Timestamp
    attempt: int
    next_attempt_at: _timestamp_pb2.Timestamp
    last_failure: _failure_pb2.Failure
    operation: str
    worker_id: str
    event: str
    incarnation: int
    max_attempts: int
    progress: _payload_pb2.Payload
    child_execution_id: str
    event_key: str
    def __init__(self, path: _Optional[str] = ..., state: _Optional[_Union[StepState, str]] = ..., waiting_on: _Optional[_Union[WaitingOn, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., next_attempt_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., operation: _Optional[str] = ..., worker_id: _Optional[str] = ..., event: _Optional[str] = ..., incarnation: _Optional[int] = ..., max_attempts: _Optional[int] = ..., progress: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., child_execution_id: _Optional[str] = ..., event_key: _Optional[str] = ...) -> None: ...

class Incident(_message.Message):
    __slots__ = ("incident_id", "kind", "step_path", "failure", "opened_at", "dead_letter_id")
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    incident_id: str
    kind: IncidentKind
    step_path: str
    failure: _failure_pb2.Failure
    opened_at: _timestamp_pb2.Timestamp
    dead_letter_id: str
    def __init__(self, incident_id: _Optional[str] = ..., kind: _Optional[_Union[IncidentKind, str]] = ..., step_path: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dead_letter_id: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("sequence", "created_at", "format", "size_bytes")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    created_at: _timestamp_pb2.Timestamp
    format: int
    size_bytes: int
    def __init__(self, sequence: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., format: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...
