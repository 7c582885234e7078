import datetime

from callboard.v1 import executions_pb2 as _executions_pb2
from callboard.v1 import history_pb2 as _history_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitEventRequest(_message.Message):
    __slots__ = ("execution_id", "name", "payload", "event_id", "expected_sequence", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    name: str
    payload: _payload_pb2.Payload
    event_id: str
    expected_sequence: int
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., event_id: _Optional[str] = ..., expected_sequence: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitEventResponse(_message.Message):
    __slots__ = ("execution", "event_id", "sequence", "duplicate", "kept")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    event_id: str
    sequence: int
    duplicate: bool
    kept: bool
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., event_id: _Optional[str] = ..., sequence: _Optional[int] = ..., duplicate: _Optional[bool] = ..., kept: _Optional[bool] = ...) -> None: ...

class EnqueueEventRequest(_message.Message):
    __slots__ = ("execution_id", "name", "payload", "event_id", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    name: str
    payload: _payload_pb2.Payload
    event_id: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., event_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnqueueEventResponse(_message.Message):
    __slots__ = ("event_id", "duplicate", "accepted_at")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    duplicate: bool
    accepted_at: _timestamp_pb2.Timestamp
    def __init__(self, event_id: _Optional[str] = ..., duplicate: _Optional[bool] = ..., accepted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PublishEventRequest(_message.Message):
    __slots__ = ("name", "key", "event_id", "payload", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    event_id: str
    payload: _payload_pb2.Payload
    request_id: str
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ..., event_id: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class PublishEventResponse(_message.Message):
    __slots__ = ("event_id", "duplicate", "started_count", "started", "offered_count", "offered", "warnings", "job_id")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    OFFERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    duplicate: bool
    started_count: int
    started: _containers.RepeatedCompositeFieldContainer[TriggeredStart]
    offered_count: int
    offered: _containers.RepeatedCompositeFieldContainer[OfferedWait]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    job_id: str
    def __init__(self, event_id: _Optional[str] = ..., duplicate: _Optional[bool] = ..., started_count: _Optional[int] = ..., started: _Optional[_Iterable[_Union[TriggeredStart, _Mapping]]] = ..., offered_count: _Optional[int] = ..., offered: _Optional[_Iterable[_Union[OfferedWait, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., job_id: _Optional[str] = ...) -> None: ...

class TriggeredStart(_message.Message):
    __slots__ = ("definition_id", "trigger_id", "execution_id", "version")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    trigger_id: str
    execution_id: str
    version: int
    def __init__(self, definition_id: _Optional[str] = ..., trigger_id: _Optional[str] = ..., execution_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class OfferedWait(_message.Message):
    __slots__ = ("execution_id", "step_path")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    step_path: str
    def __init__(self, execution_id: _Optional[str] = ..., step_path: _Optional[str] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("execution_id", "after_sequence", "page_size", "page_token", "max_frame_bytes", "event_names", "descending")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAMES_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    after_sequence: int
    page_size: int
    page_token: str
    max_frame_bytes: int
    event_names: _containers.RepeatedScalarFieldContainer[str]
    descending: bool
    def __init__(self, execution_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., max_frame_bytes: _Optional[int] = ..., event_names: _Optional[_Iterable[str]] = ..., descending: _Optional[bool] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_history_pb2.WorkflowEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_history_pb2.WorkflowEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "after_sequence")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    after_sequence: int
    def __init__(self, execution_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchExecutionResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_history_pb2.WorkflowEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_history_pb2.WorkflowEvent, _Mapping]]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("position", "from_start", "filter")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    position: str
    from_start: bool
    filter: str
    def __init__(self, position: _Optional[str] = ..., from_start: _Optional[bool] = ..., filter: _Optional[str] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("events", "position")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_history_pb2.WorkflowEvent]
    position: str
    def __init__(self, events: _Optional[_Iterable[_Union[_history_pb2.WorkflowEvent, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("execution_id", "kind", "page_size", "page_token")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    kind: str
    page_size: int
    page_token: str
    def __init__(self, execution_id: _Optional[str] = ..., kind: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters", "next_page_token")
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[_history_pb2.DeadLetter]
    next_page_token: str
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[_history_pb2.DeadLetter, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RequeueDeadLetterRequest(_message.Message):
    __slots__ = ("dead_letter_id", "request_id")
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    request_id: str
    def __init__(self, dead_letter_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RequeueDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter",)
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    dead_letter: _history_pb2.DeadLetter
    def __init__(self, dead_letter: _Optional[_Union[_history_pb2.DeadLetter, _Mapping]] = ...) -> None: ...

class DiscardDeadLetterRequest(_message.Message):
    __slots__ = ("dead_letter_id", "request_id", "reason")
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    request_id: str
    reason: str
    def __init__(self, dead_letter_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DiscardDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter",)
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    dead_letter: _history_pb2.DeadLetter
    def __init__(self, dead_letter: _Optional[_Union[_history_pb2.DeadLetter, _Mapping]] = ...) -> None: ...

class CreateSubscriptionRequest(_message.Message):
    __slots__ = ("subscription_id", "filter", "position", "from_start", "request_id")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    subscription_id: str
    filter: str
    position: str
    from_start: bool
    request_id: str
    def __init__(self, subscription_id: _Optional[str] = ..., filter: _Optional[str] = ..., position: _Optional[str] = ..., from_start: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: _history_pb2.Subscription
    def __init__(self, subscription: _Optional[_Union[_history_pb2.Subscription, _Mapping]] = ...) -> None: ...

class ListSubscriptionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[_history_pb2.Subscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[_history_pb2.Subscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PullSubscriptionRequest(_message.Message):
    __slots__ = ("subscription_id", "max_events", "wait", "max_frame_bytes")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    subscription_id: str
    max_events: int
    wait: _duration_pb2.Duration
    max_frame_bytes: int
    def __init__(self, subscription_id: _Optional[str] = ..., max_events: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_frame_bytes: _Optional[int] = ...) -> None: ...

class PullSubscriptionResponse(_message.Message):
    __slots__ = ("events", "position")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_history_pb2.WorkflowEvent]
    position: str
    def __init__(self, events: _Optional[_Iterable[_Union[_history_pb2.WorkflowEvent, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class AckSubscriptionRequest(_message.Message):
    __slots__ = ("subscription_id", "position", "request_id")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    subscription_id: str
    position: str
    request_id: str
    def __init__(self, subscription_id: _Optional[str] = ..., position: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class AckSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: _history_pb2.Subscription
    def __init__(self, subscription: _Optional[_Union[_history_pb2.Subscription, _Mapping]] = ...) -> None: ...

class DeleteSubscriptionRequest(_message.Message):
    __slots__ = ("subscription_id", "request_id")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    subscription_id: str
    request_id: str
    def __init__(self, subscription_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteSubscriptionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
