import datetime

from callboard.v1 import executions_pb2 as _executions_pb2
from callboard.v1 import failure_pb2 as _failure_pb2
from callboard.v1 import jobs_pb2 as _jobs_pb2
from callboard.v1 import payload_pb2 as _payload_pb2
from callboard.v1 import violations_pb2 as _violations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResolveAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESOLVE_ACTION_UNSPECIFIED: _ClassVar[ResolveAction]
    RESOLVE_ACTION_RETRY_NOW: _ClassVar[ResolveAction]
    RESOLVE_ACTION_SKIP: _ClassVar[ResolveAction]
    RESOLVE_ACTION_COMPLETE: _ClassVar[ResolveAction]
    RESOLVE_ACTION_FAIL: _ClassVar[ResolveAction]

class RemovedFinished(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REMOVED_FINISHED_UNSPECIFIED: _ClassVar[RemovedFinished]
    REMOVED_FINISHED_KEEP: _ClassVar[RemovedFinished]
    REMOVED_FINISHED_REVERT: _ClassVar[RemovedFinished]
    REMOVED_FINISHED_REFUSE: _ClassVar[RemovedFinished]

class VersionMismatch(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_MISMATCH_UNSPECIFIED: _ClassVar[VersionMismatch]
    VERSION_MISMATCH_KEEP: _ClassVar[VersionMismatch]
    VERSION_MISMATCH_RERUN: _ClassVar[VersionMismatch]
    VERSION_MISMATCH_REFUSE: _ClassVar[VersionMismatch]

class StepMigrationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_MIGRATION_KIND_UNSPECIFIED: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_KEPT: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_ADDED: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_REMOVED: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_RENAMED: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_RERUN: _ClassVar[StepMigrationKind]
    STEP_MIGRATION_KIND_INCOMPATIBLE: _ClassVar[StepMigrationKind]
RESOLVE_ACTION_UNSPECIFIED: ResolveAction
RESOLVE_ACTION_RETRY_NOW: ResolveAction
RESOLVE_ACTION_SKIP: ResolveAction
RESOLVE_ACTION_COMPLETE: ResolveAction
RESOLVE_ACTION_FAIL: ResolveAction
REMOVED_FINISHED_UNSPECIFIED: RemovedFinished
REMOVED_FINISHED_KEEP: RemovedFinished
REMOVED_FINISHED_REVERT: RemovedFinished
REMOVED_FINISHED_REFUSE: RemovedFinished
VERSION_MISMATCH_UNSPECIFIED: VersionMismatch
VERSION_MISMATCH_KEEP: VersionMismatch
VERSION_MISMATCH_RERUN: VersionMismatch
VERSION_MISMATCH_REFUSE: VersionMismatch
STEP_MIGRATION_KIND_UNSPECIFIED: StepMigrationKind
STEP_MIGRATION_KIND_KEPT: StepMigrationKind
STEP_MIGRATION_KIND_ADDED: StepMigrationKind
STEP_MIGRATION_KIND_REMOVED: StepMigrationKind
STEP_MIGRATION_KIND_RENAMED: StepMigrationKind
STEP_MIGRATION_KIND_RERUN: StepMigrationKind
STEP_MIGRATION_KIND_INCOMPATIBLE: StepMigrationKind

class PauseExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class ResumeExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class CancelExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class TerminateExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TerminateExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class RetryExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetryExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class ResolveStepRequest(_message.Message):
    __slots__ = ("execution_id", "step_path", "action", "result", "failure", "reason", "expected_sequence", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    step_path: str
    action: ResolveAction
    result: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    reason: str
    expected_sequence: int
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., step_path: _Optional[str] = ..., action: _Optional[_Union[ResolveAction, str]] = ..., result: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., reason: _Optional[str] = ..., expected_sequence: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResolveStepResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class MigrateExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "to_version", "dry_run", "renames", "removed_finished", "version_mismatch", "reason", "request_id")
    class RenamesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    RENAMES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FINISHED_FIELD_NUMBER: _ClassVar[int]
    VERSION_MISMATCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    to_version: int
    dry_run: bool
    renames: _containers.ScalarMap[str, str]
    removed_finished: RemovedFinished
    version_mismatch: VersionMismatch
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., to_version: _Optional[int] = ..., dry_run: _Optional[bool] = ..., renames: _Optional[_Mapping[str, str]] = ..., removed_finished: _Optional[_Union[RemovedFinished, str]] = ..., version_mismatch: _Optional[_Union[VersionMismatch, str]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class MigrateExecutionResponse(_message.Message):
    __slots__ = ("execution", "steps", "warnings", "accepted")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    steps: _containers.RepeatedCompositeFieldContainer[StepMigration]
    warnings: _containers.RepeatedCompositeFieldContainer[_violations_pb2.DefinitionViolation]
    accepted: bool
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[StepMigration, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[_violations_pb2.DefinitionViolation, _Mapping]]] = ..., accepted: _Optional[bool] = ...) -> None: ...

class StepMigration(_message.Message):
    __slots__ = ("from_path", "to_path", "kind", "reason", "state")
    FROM_PATH_FIELD_NUMBER: _ClassVar[int]
    TO_PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    from_path: str
    to_path: str
    kind: StepMigrationKind
    reason: str
    state: _executions_pb2.StepState
    def __init__(self, from_path: _Optional[str] = ..., to_path: _Optional[str] = ..., kind: _Optional[_Union[StepMigrationKind, str]] = ..., reason: _Optional[str] = ..., state: _Optional[_Union[_executions_pb2.StepState, str]] = ...) -> None: ...

class SetVariablesRequest(_message.Message):
    __slots__ = ("execution_id", "variables", "reason", "expected_sequence", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    variables: _payload_pb2.Payload
    reason: str
    expected_sequence: int
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., variables: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., reason: _Optional[str] = ..., expected_sequence: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetVariablesResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class ScheduleStepRequest(_message.Message):
    __slots__ = ("execution_id", "step_path", "at", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    step_path: str
    at: _timestamp_pb2.Timestamp
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., step_path: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ScheduleStepResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class CancelStepRequest(_message.Message):
    __slots__ = ("execution_id", "step_path", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    step_path: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., step_path: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelStepResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class EraseExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    reason: str
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EraseExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: _executions_pb2.Execution
    def __init__(self, execution: _Optional[_Union[_executions_pb2.Execution, _Mapping]] = ...) -> None: ...

class BatchControlRequest(_message.Message):
    __slots__ = ("filter", "pause", "resume", "cancel", "terminate", "retry", "resolve", "migrate", "set_variables", "schedule_step", "cancel_step", "erase", "max_count", "validate_only", "resume_token", "request_id")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    TERMINATE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_FIELD_NUMBER: _ClassVar[int]
    MIGRATE_FIELD_NUMBER: _ClassVar[int]
    SET_VARIABLES_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_STEP_FIELD_NUMBER: _ClassVar[int]
    CANCEL_STEP_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    filter: str
    pause: PauseExecutionRequest
    resume: ResumeExecutionRequest
    cancel: CancelExecutionRequest
    terminate: TerminateExecutionRequest
    retry: RetryExecutionRequest
    resolve: ResolveStepRequest
    migrate: MigrateExecutionRequest
    set_variables: SetVariablesRequest
    schedule_step: ScheduleStepRequest
    cancel_step: CancelStepRequest
    erase: EraseExecutionRequest
    max_count: int
    validate_only: bool
    resume_token: str
    request_id: str
    def __init__(self, filter: _Optional[str] = ..., pause: _Optional[_Union[PauseExecutionRequest, _Mapping]] = ..., resume: _Optional[_Union[ResumeExecutionRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelExecutionRequest, _Mapping]] = ..., terminate: _Optional[_Union[TerminateExecutionRequest, _Mapping]] = ..., retry: _Optional[_Union[RetryExecutionRequest, _Mapping]] = ..., resolve: _Optional[_Union[ResolveStepRequest, _Mapping]] = ..., migrate: _Optional[_Union[MigrateExecutionRequest, _Mapping]] = ..., set_variables: _Optional[_Union[SetVariablesRequest, _Mapping]] = ..., schedule_step: _Optional[_Union[ScheduleStepRequest, _Mapping]] = ..., cancel_step: _Optional[_Union[CancelStepRequest, _Mapping]] = ..., erase: _Optional[_Union[EraseExecutionRequest, _Mapping]] = ..., max_count: _Optional[int] = ..., validate_only: _Optional[bool] = ..., resume_token: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchControlResponse(_message.Message):
    __slots__ = ("execution_id", "status", "resume_token")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    status: _status_pb2.Status
    resume_token: str
    def __init__(self, execution_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class PruneExecutionsRequest(_message.Message):
    __slots__ = ("filter", "ended_before", "max_count", "validate_only", "request_id")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ENDED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    filter: str
    ended_before: _timestamp_pb2.Timestamp
    max_count: int
    validate_only: bool
    request_id: str
    def __init__(self, filter: _Optional[str] = ..., ended_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_count: _Optional[int] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class PruneExecutionsResponse(_message.Message):
    __slots__ = ("job", "matched_count")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    matched_count: int
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ..., matched_count: _Optional[int] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("kind", "state", "page_size", "page_token")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: _jobs_pb2.JobKind
    state: _jobs_pb2.JobState
    page_size: int
    page_token: str
    def __init__(self, kind: _Optional[_Union[_jobs_pb2.JobKind, str]] = ..., state: _Optional[_Union[_jobs_pb2.JobState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_jobs_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
