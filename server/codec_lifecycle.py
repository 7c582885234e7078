"""What the lifecycle chains answer: engine values -> messages.

A change that was rehearsed only (`validate_only`) has no version to show yet; its number and state then stand alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from callboard.runtime.core.lifecycle import Impact, OnDelete, StageRun
from callboard.runtime.core.refusals import Violation
from callboard.runtime.definitions import Summary, VersionView
from callboard.runtime.lifecycle.batching import BatchAnswer, BatchItem
from callboard.runtime.lifecycle.deleting import DeleteAnswer
from callboard.runtime.lifecycle.drafting import DraftAnswer
from callboard.runtime.lifecycle.publishing import PublishAnswer, RunningExecutions
from callboard.runtime.lifecycle.retracting import RetractAnswer
from callboard.v1 import definition_service_pb2 as pb2

from .codec import duration_of
from .codec_definitions import given_of, summary_of, version_of
from .codec_executions import FRAME_BYTES_MAX
from .requests import Faults, invalid
from .status import violation_message

_DETAILS: Final = ("warnings", "impact")
"""What an answer about many definitions can do without, in the order in which it goes."""


def running_of(value: int) -> RunningExecutions:
    """What becomes of running executions when another version is published."""
    if value not in pb2.PublishRunningExecutions.values():
        raise invalid("running_executions", f"{value} is no value of PublishRunningExecutions")
    migrate = value == pb2.PUBLISH_RUNNING_EXECUTIONS_MIGRATE
    return RunningExecutions.MIGRATE if migrate else RunningExecutions.PIN


def on_delete_of(value: int) -> OnDelete:
    """What becomes of running executions when their definition is deleted; `value` is one of the enum's."""
    match value:
        case pb2.DELETE_RUNNING_EXECUTIONS_CANCEL:
            return OnDelete.CANCEL
        case pb2.DELETE_RUNNING_EXECUTIONS_KEEP:
            return OnDelete.KEEP
        case _:
            return OnDelete.REFUSE


def batch_items_of(request: pb2.BatchPublishRequest) -> tuple[BatchItem, ...]:
    """What is to be published together. Raises Refused with every item that says nothing."""
    faults = Faults()
    if not request.items:
        faults.add("items", "is required: at least one")
    items: list[BatchItem] = []
    for place, item in enumerate(request.items):
        given = given_of(item)
        if given is None or item.definition_id:
            faults.definition_id(item.definition_id, f"items[{place}].definition_id")
        items.append(BatchItem(given, item.definition_id, item.etag))
    faults.settle()
    return tuple(items)


def drafted_of(answer: DraftAnswer, summary: Summary | None) -> pb2.PutDraftResponse:
    """What has become of a draft."""
    return pb2.PutDraftResponse(
        definition=None if summary is None else summary_of(summary),
        revision=answer.revision,
        violations=_violations(answer.violations, answer.definition_id),
        changed=answer.changed,
        stages=stages_of(answer.stages),
    )


def published_of(answer: PublishAnswer, version: VersionView | None) -> pb2.PublishDefinitionResponse:
    """What was published; `version` as it is now, where there is one."""
    return pb2.PublishDefinitionResponse(
        definition_id=answer.definition_id,
        version=answer.version,
        revision=answer.revision,
        changed=answer.changed,
        stages=stages_of(answer.stages),
        impact=impact_of(answer.impact),
        warnings=_violations(answer.warnings, answer.definition_id),
        definition_version=None if version is None else version_of(version, full=False),
        etag=answer.etag,
    )


def batched_of(answer: BatchAnswer, versions: Mapping[str, VersionView]) -> list[pb2.PublishedDefinition]:
    """What was published together; `versions` as they are now, by definition, where there are any.

    An answer that would be larger than a frame tells fewer details, never fewer definitions.
    """
    published = [_one_of_batch(one, versions.get(one.definition_id)) for one in answer.definitions]
    for name in _DETAILS:
        if sum(one.ByteSize() for one in published) <= FRAME_BYTES_MAX:
            break
        for one in published:
            one.ClearField(name)
    return published


def _one_of_batch(answer: PublishAnswer, version: VersionView | None) -> pb2.PublishedDefinition:
    return pb2.PublishedDefinition(
        definition_version=_version_of(answer, version),
        changed=answer.changed,
        impact=impact_of(answer.impact),
        warnings=_violations(answer.warnings, answer.definition_id),
        etag=answer.etag,
    )


def retracted_of(answer: RetractAnswer, summary: Summary) -> pb2.RetractDefinitionResponse:
    """What was retracted, and the definition as it is now."""
    return pb2.RetractDefinitionResponse(
        definition=summary_of(summary),
        revision=answer.revision,
        stages=stages_of(answer.stages),
        impact=impact_of(answer.impact),
        changed=answer.changed,
    )


def deleted_of(answer: DeleteAnswer, summary: Summary) -> pb2.DeleteDefinitionResponse:
    """What was deleted, and the definition as it is now."""
    return pb2.DeleteDefinitionResponse(
        definition=summary_of(summary),
        revision=answer.revision,
        stages=stages_of(answer.stages),
        job_id=answer.job_id,
        impact=impact_of(answer.impact),
        changed=answer.changed,
    )


def reverted_of(answer: PublishAnswer, version: VersionView | None) -> pb2.RevertDefinitionResponse:
    """What was published by going back; without a `version` as it is now, the number that it would get."""
    return pb2.RevertDefinitionResponse(
        definition_version=_version_of(answer, version),
        revision=answer.revision,
        changed=answer.changed,
        stages=stages_of(answer.stages),
        impact=impact_of(answer.impact),
        warnings=_violations(answer.warnings, answer.definition_id),
        etag=answer.etag,
    )


def _version_of(answer: PublishAnswer, version: VersionView | None) -> pb2.DefinitionVersion:
    if version is not None:
        return version_of(version, full=False)
    return pb2.DefinitionVersion(
        definition_id=answer.definition_id, version=answer.version, state=pb2.DEFINITION_STATE_PUBLISHED
    )


def stages_of(stages: Iterable[StageRun]) -> list[pb2.StageRun]:
    """The stages that ran, in order."""
    return [
        pb2.StageRun(name=stage.name, duration=duration_of(stage.duration_us), error=stage.error) for stage in stages
    ]


def impact_of(impact: Impact) -> pb2.PublishImpact:
    """What a change does to triggers, steps and executions."""
    return pb2.PublishImpact(
        previous_version=impact.previous_version,
        version=impact.version,
        running_executions=impact.running_executions,
        triggers_added=impact.triggers_added,
        triggers_changed=impact.triggers_changed,
        triggers_removed=impact.triggers_removed,
        steps_added=impact.steps_added,
        steps_changed=impact.steps_changed,
        steps_removed=impact.steps_removed,
    )


def _violations(violations: Iterable[Violation], definition_id: str) -> list[Any]:
    return [violation_message(one, definition_id) for one in violations]
