import datetime

from callboard.v1 import errors_pb2 as _errors_pb2
from callboard.v1 import failure_pb2 as _failure_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_OUTCOME_UNSPECIFIED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_SUCCEEDED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_UNKNOWN: _ClassVar[TaskOutcome]

class TaskDisposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_DISPOSITION_UNSPECIFIED: _ClassVar[TaskDisposition]
    TASK_DISPOSITION_ACCEPTED: _ClassVar[TaskDisposition]
    TASK_DISPOSITION_DUPLICATE: _ClassVar[TaskDisposition]
    TASK_DISPOSITION_STALE: _ClassVar[TaskDisposition]
    TASK_DISPOSITION_INVALID: _ClassVar[TaskDisposition]
    TASK_DISPOSITION_RETRY: _ClassVar[TaskDisposition]
TASK_OUTCOME_UNSPECIFIED: TaskOutcome
TASK_OUTCOME_SUCCEEDED: TaskOutcome
TASK_OUTCOME_UNKNOWN: TaskOutcome
TASK_DISPOSITION_UNSPECIFIED: TaskDisposition
TASK_DISPOSITION_ACCEPTED: TaskDisposition
TASK_DISPOSITION_DUPLICATE: TaskDisposition
TASK_DISPOSITION_STALE: TaskDisposition
TASK_DISPOSITION_INVALID: TaskDisposition
TASK_DISPOSITION_RETRY: TaskDisposition

class Task(_message.Message):
    __slots__ = ("task_token", "execution_id", "step_path", "attempt", "idempotency_key", "service", "operation", "input", "deadline", "progress", "original_idempotency_key", "outcome", "trace_context", "heartbeat_timeout")
    TASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    task_token: bytes
    execution_id: str
    step_path: str
    attempt: int
    idempotency_key: str
    service: str
    operation: str
    input: _payload_pb2.Payload
    deadline: _timestamp_pb2.Timestamp
    progress: _payload_pb2.Payload
    original_idempotency_key: str
    outcome: TaskOutcome
    trace_context: _payload_pb2.TraceContext
    heartbeat_timeout: _duration_pb2.Duration
    def __init__(self, task_token: _Optional[bytes] = ..., execution_id: _Optional[str] = ..., step_path: _Optional[str] = ..., attempt: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., service: _Optional[str] = ..., operation: _Optional[str] = ..., input: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., progress: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., original_idempotency_key: _Optional[str] = ..., outcome: _Optional[_Union[TaskOutcome, str]] = ..., trace_context: _Optional[_Union[_payload_pb2.TraceContext, _Mapping]] = ..., heartbeat_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("task_token", "output", "failure")
    TASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    task_token: bytes
    output: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    def __init__(self, task_token: _Optional[bytes] = ..., output: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class TaskHeartbeat(_message.Message):
    __slots__ = ("task_token", "progress")
    TASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    task_token: bytes
    progress: _payload_pb2.Payload
    def __init__(self, task_token: _Optional[bytes] = ..., progress: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class TaskAck(_message.Message):
    __slots__ = ("task_token", "disposition", "message", "cancel_requested", "reason", "retry_after", "heartbeat")
    TASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    task_token: bytes
    disposition: TaskDisposition
    message: str
    cancel_requested: bool
    reason: _errors_pb2.ErrorReason
    retry_after: _duration_pb2.Duration
    heartbeat: bool
    def __init__(self, task_token: _Optional[bytes] = ..., disposition: _Optional[_Union[TaskDisposition, str]] = ..., message: _Optional[str] = ..., cancel_requested: _Optional[bool] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat: _Optional[bool] = ...) -> None: ...

class TaskCancel(_message.Message):
    __slots__ = ("task_token", "reason", "grace")
    TASK_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    task_token: bytes
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, task_token: _Optional[bytes] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
