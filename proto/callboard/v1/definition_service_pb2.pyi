import datetime

from callboard.v1 import definitions_pb2 as _definitions_pb2
from callboard.v1 import executions_pb2 as _executions_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from callboard.v1 import violations_pb2 as _violations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DefinitionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEFINITION_STATE_UNSPECIFIED: _ClassVar[DefinitionState]
    DEFINITION_STATE_DRAFT: _ClassVar[DefinitionState]
    DEFINITION_STATE_PUBLISHED: _ClassVar[DefinitionState]
    DEFINITION_STATE_SUPERSEDED: _ClassVar[DefinitionState]
    DEFINITION_STATE_RETRACTED: _ClassVar[DefinitionState]
    DEFINITION_STATE_DELETING: _ClassVar[DefinitionState]
    DEFINITION_STATE_DELETED: _ClassVar[DefinitionState]

class DefinitionView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEFINITION_VIEW_UNSPECIFIED: _ClassVar[DefinitionView]
    DEFINITION_VIEW_BASIC: _ClassVar[DefinitionView]
    DEFINITION_VIEW_FULL: _ClassVar[DefinitionView]

class PublishRunningExecutions(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PUBLISH_RUNNING_EXECUTIONS_UNSPECIFIED: _ClassVar[PublishRunningExecutions]
    PUBLISH_RUNNING_EXECUTIONS_PIN: _ClassVar[PublishRunningExecutions]
    PUBLISH_RUNNING_EXECUTIONS_MIGRATE: _ClassVar[PublishRunningExecutions]

class DeleteRunningExecutions(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELETE_RUNNING_EXECUTIONS_UNSPECIFIED: _ClassVar[DeleteRunningExecutions]
    DELETE_RUNNING_EXECUTIONS_REFUSE: _ClassVar[DeleteRunningExecutions]
    DELETE_RUNNING_EXECUTIONS_CANCEL: _ClassVar[DeleteRunningExecutions]
    DELETE_RUNNING_EXECUTIONS_KEEP: _ClassVar[DeleteRunningExecutions]
DEFINITION_STATE_UNSPECIFIED: DefinitionState
DEFINITION_STATE_DRAFT: DefinitionState
DEFINITION_STATE_PUBLISHED: DefinitionState
DEFINITION_STATE_SUPERSEDED: DefinitionState
DEFINITION_STATE_RETRACTED: DefinitionState
DEFINITION_STATE_DELETING: DefinitionState
DEFINITION_STATE_DELETED: DefinitionState
DEFINITION_VIEW_UNSPECIFIED: DefinitionView
DEFINITION_VIEW_BASIC: DefinitionView
DEFINITION_VIEW_FULL: DefinitionView
PUBLISH_RUNNING_EXECUTIONS_UNSPECIFIED: PublishRunningExecutions
PUBLISH_RUNNING_EXECUTIONS_PIN: PublishRunningExecutions
PUBLISH_RUNNING_EXECUTIONS_MIGRATE: PublishRunningExecutions
DELETE_RUNNING_EXECUTIONS_UNSPECIFIED: DeleteRunningExecutions
DELETE_RUNNING_EXECUTIONS_REFUSE: DeleteRunningExecutions
DELETE_RUNNING_EXECUTIONS_CANCEL: DeleteRunningExecutions
DELETE_RUNNING_EXECUTIONS_KEEP: DeleteRunningExecutions

class DefinitionSummary(_message.Message):
    __slots__ = ("definition_id", "description", "state", "published_version", "latest_version", "has_draft", "revision", "etag", "created_at", "updated_at")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    LATEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    HAS_DRAFT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    description: str
    state: DefinitionState
    published_version: int
    latest_version: int
    has_draft: bool
    revision: int
    etag: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, definition_id: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[_Union[DefinitionState, str]] = ..., published_version: _Optional[int] = ..., latest_version: _Optional[int] = ..., has_draft: _Optional[bool] = ..., revision: _Optional[int] = ..., etag: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DefinitionVersion(_message.Message):
    __slots__ = ("definition_id", "version", "state", "content_hash", "definition", "source", "created_at", "user_id", "revision", "description")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    state: DefinitionState
    content_hash: bytes
    definition: _definitions_pb2.Definition
    source: _violations_pb2.SourceText
    created_at: _timestamp_pb2.Timestamp
    user_id: str
    revision: int
    description: str
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[DefinitionState, str]] = ..., content_hash: _Optional[bytes] = ..., definition: _Optional[_Union[_definitions_pb2.Definition, _Mapping]] = ..., source: _Optional[_Union[_violations_pb2.SourceText, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_id: _Optional[str] = ..., revision: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...

class PutDraftRequest(_message.Message):
    __slots__ = ("definition", "source", "etag", "request_id", "validate_only")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    definition: _definitions_pb2.Definition
    source: _violations_pb2.SourceText
    etag: str
    request_id: str
    validate_only: bool
    def __init__(self, definition: _Optional[_Union[_definitions_pb2.Definition, _Mapping]] = ..., source: _Optional[_Union[_violations_pb2.SourceText, _Mapping]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class PutDraftResponse(_message.Message):
    __slots__ = ("definition", "revision", "violations", "changed", "stages")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    definition: DefinitionSummary
    revision: int
    violations: _containers.RepeatedCompositeFieldContainer[_violations_pb2.DefinitionViolation]
    changed: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    def __init__(self, definition: _Optional[_Union[DefinitionSummary, _Mapping]] = ..., revision: _Optional[int] = ..., violations: _Optional[_Iterable[_Union[_violations_pb2.DefinitionViolation, _Mapping]]] = ..., changed: _Optional[bool] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ...) -> None: ...

class PublishDefinitionRequest(_message.Message):
    __slots__ = ("definition", "source", "definition_id", "etag", "request_id", "validate_only", "running_executions")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    definition: _definitions_pb2.Definition
    source: _violations_pb2.SourceText
    definition_id: str
    etag: str
    request_id: str
    validate_only: bool
    running_executions: PublishRunningExecutions
    def __init__(self, definition: _Optional[_Union[_definitions_pb2.Definition, _Mapping]] = ..., source: _Optional[_Union[_violations_pb2.SourceText, _Mapping]] = ..., definition_id: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., running_executions: _Optional[_Union[PublishRunningExecutions, str]] = ...) -> None: ...

class PublishDefinitionResponse(_message.Message):
    __slots__ = ("definition_id", "version", "revision", "changed", "stages", "impact", "warnings", "definition_version", "etag", "job_id")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    revision: int
    changed: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    impact: PublishImpact
    warnings: _containers.RepeatedCompositeFieldContainer[_violations_pb2.DefinitionViolation]
    definition_version: DefinitionVersion
    etag: str
    job_id: str
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., changed: _Optional[bool] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., impact: _Optional[_Union[PublishImpact, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_violations_pb2.DefinitionViolation, _Mapping]]] = ..., definition_version: _Optional[_Union[DefinitionVersion, _Mapping]] = ..., etag: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class StageRun(_message.Message):
    __slots__ = ("name", "duration", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    duration: _duration_pb2.Duration
    error: str
    def __init__(self, name: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class PublishImpact(_message.Message):
    __slots__ = ("previous_version", "running_executions", "triggers_added", "triggers_changed", "triggers_removed", "version", "steps_added", "steps_changed", "steps_removed")
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    TRIGGERS_ADDED_FIELD_NUMBER: _ClassVar[int]
    TRIGGERS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    TRIGGERS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STEPS_ADDED_FIELD_NUMBER: _ClassVar[int]
    STEPS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    STEPS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    previous_version: int
    running_executions: int
    triggers_added: _containers.RepeatedScalarFieldContainer[str]
    triggers_changed: _containers.RepeatedScalarFieldContainer[str]
    triggers_removed: _containers.RepeatedScalarFieldContainer[str]
    version: int
    steps_added: _containers.RepeatedScalarFieldContainer[str]
    steps_changed: _containers.RepeatedScalarFieldContainer[str]
    steps_removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, previous_version: _Optional[int] = ..., running_executions: _Optional[int] = ..., triggers_added: _Optional[_Iterable[str]] = ..., triggers_changed: _Optional[_Iterable[str]] = ..., triggers_removed: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ..., steps_added: _Optional[_Iterable[str]] = ..., steps_changed: _Optional[_Iterable[str]] = ..., steps_removed: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchPublishRequest(_message.Message):
    __slots__ = ("items", "request_id", "validate_only", "running_executions")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchPublishItem]
    request_id: str
    validate_only: bool
    running_executions: PublishRunningExecutions
    def __init__(self, items: _Optional[_Iterable[_Union[BatchPublishItem, _Mapping]]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., running_executions: _Optional[_Union[PublishRunningExecutions, str]] = ...) -> None: ...

class BatchPublishItem(_message.Message):
    __slots__ = ("definition", "source", "definition_id", "etag")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    definition: _definitions_pb2.Definition
    source: _violations_pb2.SourceText
    definition_id: str
    etag: str
    def __init__(self, definition: _Optional[_Union[_definitions_pb2.Definition, _Mapping]] = ..., source: _Optional[_Union[_violations_pb2.SourceText, _Mapping]] = ..., definition_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class BatchPublishResponse(_message.Message):
    __slots__ = ("definitions", "revision", "stages", "job_id")
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    definitions: _containers.RepeatedCompositeFieldContainer[PublishedDefinition]
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    job_id: str
    def __init__(self, definitions: _Optional[_Iterable[_Union[PublishedDefinition, _Mapping]]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., job_id: _Optional[str] = ...) -> None: ...

class PublishedDefinition(_message.Message):
    __slots__ = ("definition_version", "changed", "impact", "warnings", "etag")
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    definition_version: DefinitionVersion
    changed: bool
    impact: PublishImpact
    warnings: _containers.RepeatedCompositeFieldContainer[_violations_pb2.DefinitionViolation]
    etag: str
    def __init__(self, definition_version: _Optional[_Union[DefinitionVersion, _Mapping]] = ..., changed: _Optional[bool] = ..., impact: _Optional[_Union[PublishImpact, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_violations_pb2.DefinitionViolation, _Mapping]]] = ..., etag: _Optional[str] = ...) -> None: ...

class RetractDefinitionRequest(_message.Message):
    __slots__ = ("definition_id", "etag", "request_id", "validate_only")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    etag: str
    request_id: str
    validate_only: bool
    def __init__(self, definition_id: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RetractDefinitionResponse(_message.Message):
    __slots__ = ("definition", "revision", "stages", "impact", "changed")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    definition: DefinitionSummary
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    impact: PublishImpact
    changed: bool
    def __init__(self, definition: _Optional[_Union[DefinitionSummary, _Mapping]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., impact: _Optional[_Union[PublishImpact, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class DeleteDefinitionRequest(_message.Message):
    __slots__ = ("definition_id", "version", "running_executions", "etag", "request_id", "validate_only")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    running_executions: DeleteRunningExecutions
    etag: str
    request_id: str
    validate_only: bool
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., running_executions: _Optional[_Union[DeleteRunningExecutions, str]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeleteDefinitionResponse(_message.Message):
    __slots__ = ("definition", "revision", "stages", "job_id", "impact", "changed")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    definition: DefinitionSummary
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    job_id: str
    impact: PublishImpact
    changed: bool
    def __init__(self, definition: _Optional[_Union[DefinitionSummary, _Mapping]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., job_id: _Optional[str] = ..., impact: _Optional[_Union[PublishImpact, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class RevertDefinitionRequest(_message.Message):
    __slots__ = ("definition_id", "version", "etag", "request_id", "validate_only", "running_executions")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    etag: str
    request_id: str
    validate_only: bool
    running_executions: PublishRunningExecutions
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., running_executions: _Optional[_Union[PublishRunningExecutions, str]] = ...) -> None: ...

class RevertDefinitionResponse(_message.Message):
    __slots__ = ("definition_version", "revision", "changed", "stages", "impact", "warnings", "etag", "job_id")
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    definition_version: DefinitionVersion
    revision: int
    changed: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    impact: PublishImpact
    warnings: _containers.RepeatedCompositeFieldContainer[_violations_pb2.DefinitionViolation]
    etag: str
    job_id: str
    def __init__(self, definition_version: _Optional[_Union[DefinitionVersion, _Mapping]] = ..., revision: _Optional[int] = ..., changed: _Optional[bool] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., impact: _Optional[_Union[PublishImpact, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_violations_pb2.DefinitionViolation, _Mapping]]] = ..., etag: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class GetDefinitionRequest(_message.Message):
    __slots__ = ("definition_id", "version", "draft", "view", "min_revision", "at_sequence")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    AT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    version: int
    draft: bool
    view: DefinitionView
    min_revision: int
    at_sequence: int
    def __init__(self, definition_id: _Optional[str] = ..., version: _Optional[int] = ..., draft: _Optional[bool] = ..., view: _Optional[_Union[DefinitionView, str]] = ..., min_revision: _Optional[int] = ..., at_sequence: _Optional[int] = ...) -> None: ...

class GetDefinitionResponse(_message.Message):
    __slots__ = ("definition_version", "definition", "revision")
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    definition_version: DefinitionVersion
    definition: DefinitionSummary
    revision: int
    def __init__(self, definition_version: _Optional[_Union[DefinitionVersion, _Mapping]] = ..., definition: _Optional[_Union[DefinitionSummary, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListDefinitionsRequest(_message.Message):
    __slots__ = ("state", "id_prefix", "page_size", "page_token", "min_revision")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    state: DefinitionState
    id_prefix: str
    page_size: int
    page_token: str
    min_revision: int
    def __init__(self, state: _Optional[_Union[DefinitionState, str]] = ..., id_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListDefinitionsResponse(_message.Message):
    __slots__ = ("definitions", "next_page_token", "revision")
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    definitions: _containers.RepeatedCompositeFieldContainer[DefinitionSummary]
    next_page_token: str
    revision: int
    def __init__(self, definitions: _Optional[_Iterable[_Union[DefinitionSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListDefinitionVersionsRequest(_message.Message):
    __slots__ = ("definition_id", "view", "page_size", "page_token", "min_revision")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    view: DefinitionView
    page_size: int
    page_token: str
    min_revision: int
    def __init__(self, definition_id: _Optional[str] = ..., view: _Optional[_Union[DefinitionView, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListDefinitionVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token", "revision")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[DefinitionVersion]
    next_page_token: str
    revision: int
    def __init__(self, versions: _Optional[_Iterable[_Union[DefinitionVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class DefinitionEvent(_message.Message):
    __slots__ = ("event_id", "definition_id", "sequence", "event_name", "version", "revision", "user_id", "created_at", "payload")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    definition_id: str
    sequence: int
    event_name: str
    version: int
    revision: int
    user_id: str
    created_at: _timestamp_pb2.Timestamp
    payload: _payload_pb2.Payload
    def __init__(self, event_id: _Optional[str] = ..., definition_id: _Optional[str] = ..., sequence: _Optional[int] = ..., event_name: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., user_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class ListDefinitionEventsRequest(_message.Message):
    __slots__ = ("definition_id", "after_revision", "page_size", "page_token", "min_revision")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    after_revision: int
    page_size: int
    page_token: str
    min_revision: int
    def __init__(self, definition_id: _Optional[str] = ..., after_revision: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListDefinitionEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token", "revision")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[DefinitionEvent]
    next_page_token: str
    revision: int
    def __init__(self, events: _Optional[_Iterable[_Union[DefinitionEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class TriggerInfo(_message.Message):
    __slots__ = ("definition_id", "trigger", "version", "paused", "next_slot", "last_slot", "last_execution_id", "last_started_at", "queued_slots", "next_slots", "skipped_count", "last_skipped_slot")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEXT_SLOT_FIELD_NUMBER: _ClassVar[int]
    LAST_SLOT_FIELD_NUMBER: _ClassVar[int]
    LAST_EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SLOTS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_SKIPPED_SLOT_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    trigger: _definitions_pb2.Trigger
    version: int
    paused: bool
    next_slot: _timestamp_pb2.Timestamp
    last_slot: _timestamp_pb2.Timestamp
    last_execution_id: str
    last_started_at: _timestamp_pb2.Timestamp
    queued_slots: int
    next_slots: _containers.RepeatedCompositeFieldContainer[_timestamp_pb2.Timestamp]
    skipped_count: int
    last_skipped_slot: _timestamp_pb2.Timestamp
    def __init__(self, definition_id: _Optional[str] = ..., trigger: _Optional[_Union[_definitions_pb2.Trigger, _Mapping]] = ..., version: _Optional[int] = ..., paused: _Optional[bool] = ..., next_slot: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_slot: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_execution_id: _Optional[str] = ..., last_started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queued_slots: _Optional[int] = ..., next_slots: _Optional[_Iterable[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]]] = ..., skipped_count: _Optional[int] = ..., last_skipped_slot: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListTriggersRequest(_message.Message):
    __slots__ = ("definition_id", "event_name", "page_size", "page_token", "min_revision")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    event_name: str
    page_size: int
    page_token: str
    min_revision: int
    def __init__(self, definition_id: _Optional[str] = ..., event_name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListTriggersResponse(_message.Message):
    __slots__ = ("triggers", "next_page_token", "revision")
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    triggers: _containers.RepeatedCompositeFieldContainer[TriggerInfo]
    next_page_token: str
    revision: int
    def __init__(self, triggers: _Optional[_Iterable[_Union[TriggerInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class PauseTriggerRequest(_message.Message):
    __slots__ = ("definition_id", "trigger_id", "request_id")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    trigger_id: str
    request_id: str
    def __init__(self, definition_id: _Optional[str] = ..., trigger_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseTriggerResponse(_message.Message):
    __slots__ = ("trigger", "revision", "stages", "changed")
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    trigger: TriggerInfo
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    changed: bool
    def __init__(self, trigger: _Optional[_Union[TriggerInfo, _Mapping]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., changed: _Optional[bool] = ...) -> None: ...

class ResumeTriggerRequest(_message.Message):
    __slots__ = ("definition_id", "trigger_id", "request_id")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    trigger_id: str
    request_id: str
    def __init__(self, definition_id: _Optional[str] = ..., trigger_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeTriggerResponse(_message.Message):
    __slots__ = ("trigger", "revision", "stages", "changed")
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    trigger: TriggerInfo
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    changed: bool
    def __init__(self, trigger: _Optional[_Union[TriggerInfo, _Mapping]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ..., changed: _Optional[bool] = ...) -> None: ...

class FireTriggerRequest(_message.Message):
    __slots__ = ("definition_id", "trigger_id", "payload", "slot", "request_id")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    trigger_id: str
    payload: _payload_pb2.Payload
    slot: _timestamp_pb2.Timestamp
    request_id: str
    def __init__(self, definition_id: _Optional[str] = ..., trigger_id: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., slot: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class FireTriggerResponse(_message.Message):
    __slots__ = ("execution", "started")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    started: bool
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., started: _Optional[bool] = ...) -> None: ...

class ExportDefinitionsRequest(_message.Message):
    __slots__ = ("definition_ids", "page_token", "min_revision")
    DEFINITION_IDS_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    definition_ids: _containers.RepeatedScalarFieldContainer[str]
    page_token: str
    min_revision: int
    def __init__(self, definition_ids: _Optional[_Iterable[str]] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ExportDefinitionsResponse(_message.Message):
    __slots__ = ("lines", "next_page_token", "revision")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    revision: int
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ImportDefinitionsRequest(_message.Message):
    __slots__ = ("text", "request_id", "validate_only")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    text: str
    request_id: str
    validate_only: bool
    def __init__(self, text: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class ImportDefinitionsResponse(_message.Message):
    __slots__ = ("definitions", "revision", "stages")
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    definitions: _containers.RepeatedCompositeFieldContainer[PublishedDefinition]
    revision: int
    stages: _containers.RepeatedCompositeFieldContainer[StageRun]
    def __init__(self, definitions: _Optional[_Iterable[_Union[PublishedDefinition, _Mapping]]] = ..., revision: _Optional[int] = ..., stages: _Optional[_Iterable[_Union[StageRun, _Mapping]]] = ...) -> None: ...
