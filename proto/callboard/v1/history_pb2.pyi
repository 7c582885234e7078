import datetime

from callboard.v1 import failure_pb2 as _failure_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkflowEvent(_message.Message):
    __slots__ = ("event_id", "tenant", "execution_id", "sequence", "event_name", "event_type", "from_state", "to_state", "user_id", "payload", "created_at", "causation", "trace_context", "hash")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    FROM_STATE_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CAUSATION_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    tenant: str
    execution_id: str
    sequence: int
    event_name: str
    event_type: str
    from_state: str
    to_state: str
    user_id: str
    payload: _payload_pb2.Payload
    created_at: _timestamp_pb2.Timestamp
    causation: Causation
    trace_context: _payload_pb2.TraceContext
    hash: bytes
    def __init__(self, event_id: _Optional[str] = ..., tenant: _Optional[str] = ..., execution_id: _Optional[str] = ..., sequence: _Optional[int] = ..., event_name: _Optional[str] = ..., event_type: _Optional[str] = ..., from_state: _Optional[str] = ..., to_state: _Optional[str] = ..., user_id: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., causation: _Optional[_Union[Causation, _Mapping]] = ..., trace_context: _Optional[_Union[_payload_pb2.TraceContext, _Mapping]] = ..., hash: _Optional[bytes] = ...) -> None: ...

class Causation(_message.Message):
    __slots__ = ("command", "source_id", "execution_id", "sequence")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    command: str
    source_id: str
    execution_id: str
    sequence: int
    def __init__(self, command: _Optional[str] = ..., source_id: _Optional[str] = ..., execution_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("dead_letter_id", "tenant", "execution_id", "kind", "event_name", "event_id", "payload", "cause", "attempts", "accepted_at", "created_at", "user_id")
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    tenant: str
    execution_id: str
    kind: str
    event_name: str
    event_id: str
    payload: _payload_pb2.Payload
    cause: _failure_pb2.Failure
    attempts: int
    accepted_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    user_id: str
    def __init__(self, dead_letter_id: _Optional[str] = ..., tenant: _Optional[str] = ..., execution_id: _Optional[str] = ..., kind: _Optional[str] = ..., event_name: _Optional[str] = ..., event_id: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., cause: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., attempts: _Optional[int] = ..., accepted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_id: _Optional[str] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("subscription_id", "filter", "position", "created_at", "used_at", "lag_events")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USED_AT_FIELD_NUMBER: _ClassVar[int]
    LAG_EVENTS_FIELD_NUMBER: _ClassVar[int]
    subscription_id: str
    filter: str
    position: str
    created_at: _timestamp_pb2.Timestamp
    used_at: _timestamp_pb2.Timestamp
    lag_events: int
    def __init__(self, subscription_id: _Optional[str] = ..., filter: _Optional[str] = ..., position: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., used_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lag_events: _Optional[int] = ...) -> None: ...
