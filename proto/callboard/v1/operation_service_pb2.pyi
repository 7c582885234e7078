import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationSpec(_message.Message):
    __slots__ = ("service", "operation", "mutates", "resource_type", "cache_ttl", "result_schema", "sensitive_fields", "concurrency_max", "rate", "version", "paused", "registered_at")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MUTATES_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    CACHE_TTL_FIELD_NUMBER: _ClassVar[int]
    RESULT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SENSITIVE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_MAX_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    mutates: bool
    resource_type: str
    cache_ttl: _duration_pb2.Duration
    result_schema: _struct_pb2.Struct
    sensitive_fields: _containers.RepeatedScalarFieldContainer[str]
    concurrency_max: int
    rate: float
    version: str
    paused: bool
    registered_at: _timestamp_pb2.Timestamp
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., mutates: _Optional[bool] = ..., resource_type: _Optional[str] = ..., cache_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., result_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., sensitive_fields: _Optional[_Iterable[str]] = ..., concurrency_max: _Optional[int] = ..., rate: _Optional[float] = ..., version: _Optional[str] = ..., paused: _Optional[bool] = ..., registered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RegisterOperationsRequest(_message.Message):
    __slots__ = ("operations", "request_id")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationSpec]
    request_id: str
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationSpec, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RegisterOperationsResponse(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationSpec]
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationSpec, _Mapping]]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("service", "page_size", "page_token")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    service: str
    page_size: int
    page_token: str
    def __init__(self, service: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations", "next_page_token")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationSpec]
    next_page_token: str
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationSpec, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PauseOperationRequest(_message.Message):
    __slots__ = ("service", "operation", "reason", "request_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    reason: str
    request_id: str
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseOperationResponse(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationSpec]
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationSpec, _Mapping]]] = ...) -> None: ...

class ResumeOperationRequest(_message.Message):
    __slots__ = ("service", "operation", "request_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    request_id: str
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeOperationResponse(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationSpec]
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationSpec, _Mapping]]] = ...) -> None: ...

class PurgeStepCacheRequest(_message.Message):
    __slots__ = ("service", "operation", "resource_type", "request_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    resource_type: str
    request_id: str
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., resource_type: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PurgeStepCacheResponse(_message.Message):
    __slots__ = ("purged_count",)
    PURGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    purged_count: int
    def __init__(self, purged_count: _Optional[int] = ...) -> None: ...

class GetStepCacheStatsRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class GetStepCacheStatsResponse(_message.Message):
    __slots__ = ("stats", "size_bytes", "size_bytes_max")
    STATS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    stats: _containers.RepeatedCompositeFieldContainer[StepCacheStats]
    size_bytes: int
    size_bytes_max: int
    def __init__(self, stats: _Optional[_Iterable[_Union[StepCacheStats, _Mapping]]] = ..., size_bytes: _Optional[int] = ..., size_bytes_max: _Optional[int] = ...) -> None: ...

class StepCacheStats(_message.Message):
    __slots__ = ("service", "operation", "entries", "hits", "misses", "rejected", "purges", "open_writes")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    PURGES_FIELD_NUMBER: _ClassVar[int]
    OPEN_WRITES_FIELD_NUMBER: _ClassVar[int]
    service: str
    operation: str
    entries: int
    hits: int
    misses: int
    rejected: int
    purges: int
    open_writes: int
    def __init__(self, service: _Optional[str] = ..., operation: _Optional[str] = ..., entries: _Optional[int] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., rejected: _Optional[int] = ..., purges: _Optional[int] = ..., open_writes: _Optional[int] = ...) -> None: ...
