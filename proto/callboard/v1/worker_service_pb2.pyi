import datetime

from callboard.v1 import tasks_pb2 as _tasks_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkRequest(_message.Message):
    __slots__ = ("hello", "results", "heartbeats", "drain")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEATS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    hello: WorkerHello
    results: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskResult]
    heartbeats: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskHeartbeat]
    drain: bool
    def __init__(self, hello: _Optional[_Union[WorkerHello, _Mapping]] = ..., results: _Optional[_Iterable[_Union[_tasks_pb2.TaskResult, _Mapping]]] = ..., heartbeats: _Optional[_Iterable[_Union[_tasks_pb2.TaskHeartbeat, _Mapping]]] = ..., drain: _Optional[bool] = ...) -> None: ...

class WorkerHello(_message.Message):
    __slots__ = ("worker_id", "build", "operations", "max_in_flight", "max_frame_bytes", "holding")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    build: str
    operations: _containers.RepeatedScalarFieldContainer[str]
    max_in_flight: int
    max_frame_bytes: int
    holding: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, worker_id: _Optional[str] = ..., build: _Optional[str] = ..., operations: _Optional[_Iterable[str]] = ..., max_in_flight: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., holding: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("welcome", "tasks", "acks", "cancels", "reconnect", "ping")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    welcome: WorkerWelcome
    tasks: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.Task]
    acks: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskAck]
    cancels: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskCancel]
    reconnect: WorkReconnect
    ping: WorkPing
    def __init__(self, welcome: _Optional[_Union[WorkerWelcome, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[_tasks_pb2.Task, _Mapping]]] = ..., acks: _Optional[_Iterable[_Union[_tasks_pb2.TaskAck, _Mapping]]] = ..., cancels: _Optional[_Iterable[_Union[_tasks_pb2.TaskCancel, _Mapping]]] = ..., reconnect: _Optional[_Union[WorkReconnect, _Mapping]] = ..., ping: _Optional[_Union[WorkPing, _Mapping]] = ...) -> None: ...

class WorkerWelcome(_message.Message):
    __slots__ = ("lease", "ping_interval", "server_version", "holding")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    ping_interval: _duration_pb2.Duration
    server_version: str
    holding: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ping_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., server_version: _Optional[str] = ..., holding: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WorkReconnect(_message.Message):
    __slots__ = ("grace", "reason")
    GRACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    reason: str
    def __init__(self, grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class WorkPing(_message.Message):
    __slots__ = ("sent_at",)
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PollTasksRequest(_message.Message):
    __slots__ = ("worker_id", "build", "operations", "max_tasks", "wait", "holding", "max_frame_bytes")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_TASKS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    build: str
    operations: _containers.RepeatedScalarFieldContainer[str]
    max_tasks: int
    wait: _duration_pb2.Duration
    holding: _containers.RepeatedScalarFieldContainer[bytes]
    max_frame_bytes: int
    def __init__(self, worker_id: _Optional[str] = ..., build: _Optional[str] = ..., operations: _Optional[_Iterable[str]] = ..., max_tasks: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., holding: _Optional[_Iterable[bytes]] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class PollTasksResponse(_message.Message):
    __slots__ = ("tasks", "lease", "cancels")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.Task]
    lease: _duration_pb2.Duration
    cancels: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskCancel]
    def __init__(self, tasks: _Optional[_Iterable[_Union[_tasks_pb2.Task, _Mapping]]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cancels: _Optional[_Iterable[_Union[_tasks_pb2.TaskCancel, _Mapping]]] = ...) -> None: ...

class CompleteTasksRequest(_message.Message):
    __slots__ = ("worker_id", "results")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    results: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskResult]
    def __init__(self, worker_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[_tasks_pb2.TaskResult, _Mapping]]] = ...) -> None: ...

class CompleteTasksResponse(_message.Message):
    __slots__ = ("acks",)
    ACKS_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskAck]
    def __init__(self, acks: _Optional[_Iterable[_Union[_tasks_pb2.TaskAck, _Mapping]]] = ...) -> None: ...

class HeartbeatTasksRequest(_message.Message):
    __slots__ = ("worker_id", "heartbeats")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEATS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    heartbeats: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskHeartbeat]
    def __init__(self, worker_id: _Optional[str] = ..., heartbeats: _Optional[_Iterable[_Union[_tasks_pb2.TaskHeartbeat, _Mapping]]] = ...) -> None: ...

class HeartbeatTasksResponse(_message.Message):
    __slots__ = ("acks", "lease")
    ACKS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[_tasks_pb2.TaskAck]
    lease: _duration_pb2.Duration
    def __init__(self, acks: _Optional[_Iterable[_Union[_tasks_pb2.TaskAck, _Mapping]]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
