"""What users import: the client, the worker, the values they give, and the errors they raise.

Everything is loaded at its first use, so that the command line starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import errors
    from .backup import Backup
    from .client import Client
    from .codec import NotJson, Opaque
    from .definition_models import (
        BatchPublished,
        DefinitionEvent,
        DefinitionState,
        DefinitionSummary,
        DefinitionVersion,
        Deleted,
        Imported,
        Overlap,
        Published,
        PublishImpact,
        Retracted,
        Reverted,
        Source,
        Trigger,
        TriggerInfo,
        Violation,
    )
    from .errors import CallboardError, TaskError, Unreachable
    from .execution_models import (
        DeadLetter,
        Emitted,
        Enqueued,
        Event,
        Execution,
        Failure,
        Incident,
        IncidentKind,
        OpenStep,
        Status,
        StepState,
        Submitted,
        WaitingOn,
    )
    from .feed_models import EventBatch, Subscription
    from .history_models import (
        Replay,
        ReplayStep,
        Snapshot,
        StateChange,
        Verification,
        VerifyProblem,
        VerifyProblemKind,
    )
    from .job_models import Job, JobKind, JobState, Pruning
    from .server_models import Queue, ServerInfo, WorkerInfo
    from .streams import Start, Started
    from .sync import SyncClient
    from .tasks import Task
    from .worker import Worker

__all__ = [
    "Client",
    "SyncClient",
    "Worker",
    "Task",
    "TaskError",
    "CallboardError",
    "Unreachable",
    "NotJson",
    "errors",
    "Status",
    "Execution",
    "Failure",
    "OpenStep",
    "StepState",
    "WaitingOn",
    "Incident",
    "IncidentKind",
    "Event",
    "Start",
    "Started",
    "Submitted",
    "Enqueued",
    "Emitted",
    "DeadLetter",
    "EventBatch",
    "Subscription",
    "Replay",
    "ReplayStep",
    "StateChange",
    "Snapshot",
    "Verification",
    "VerifyProblem",
    "VerifyProblemKind",
    "Source",
    "Published",
    "BatchPublished",
    "PublishImpact",
    "Retracted",
    "Deleted",
    "Reverted",
    "Imported",
    "Violation",
    "DefinitionState",
    "DefinitionSummary",
    "DefinitionVersion",
    "DefinitionEvent",
    "Trigger",
    "TriggerInfo",
    "Overlap",
    "Job",
    "JobKind",
    "JobState",
    "Pruning",
    "Backup",
    "Queue",
    "ServerInfo",
    "WorkerInfo",
    "Opaque",
]

_HOMES = {
    "backup": ["Backup"],
    "client": ["Client"],
    "sync": ["SyncClient"],
    "worker": ["Worker"],
    "tasks": ["Task"],
    "errors": ["TaskError", "CallboardError", "Unreachable"],
    "codec": ["NotJson", "Opaque"],
    "streams": ["Start", "Started"],
    "definition_models": [
        "Source",
        "Published",
        "BatchPublished",
        "PublishImpact",
        "Retracted",
        "Deleted",
        "Reverted",
        "Imported",
        "Violation",
        "DefinitionState",
        "DefinitionSummary",
        "DefinitionVersion",
        "DefinitionEvent",
        "Trigger",
        "TriggerInfo",
        "Overlap",
    ],
    "feed_models": ["EventBatch", "Subscription"],
    "history_models": [
        "Replay",
        "ReplayStep",
        "StateChange",
        "Snapshot",
        "Verification",
        "VerifyProblem",
        "VerifyProblemKind",
    ],
    "job_models": ["Job", "JobKind", "JobState", "Pruning"],
    "server_models": ["Queue", "ServerInfo", "WorkerInfo"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:
    # Hidden from type checkers, to whom a module with this function has every name.
    def __getattr__(name):
        if name == "errors":
            return import_module(".errors", __name__)
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOME.get(name, 'execution_models')}", __name__), name)
