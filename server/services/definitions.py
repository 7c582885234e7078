"""`DefinitionService`: decode, ask, encode. Its reads are in the module beside this one."""

from __future__ import annotations

from typing import Any

from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.definitions import VersionView
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.batching import BatchAnswer, PublishBatch
from callboard.runtime.lifecycle.deleting import Delete
from callboard.runtime.lifecycle.drafting import PutDraft
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.pausing import PauseAnswer, PauseTrigger
from callboard.runtime.lifecycle.publishing import Publish
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.v1 import definition_service_pb2 as pb2

from ..calls import Call, Calls
from ..codec import value_of
from ..codec_definitions import given_of
from ..codec_executions import execution_of
from ..codec_lifecycle import (
    batch_items_of,
    batched_of,
    deleted_of,
    drafted_of,
    on_delete_of,
    published_of,
    retracted_of,
    reverted_of,
    running_of,
    stages_of,
)
from ..codec_triggers import named_trigger, trigger_of
from ..requests import Faults, invalid, moment_us
from .definition_reads import DefinitionReads


class DefinitionService(DefinitionReads):
    """The definitions of a runtime over gRPC."""

    def __init__(self, runtime: Runtime, calls: Calls) -> None:
        super().__init__(runtime)
        self._calls = calls

    # Lifecycle changes

    async def PutDraft(self, call: Call, request: pb2.PutDraftRequest) -> pb2.PutDraftResponse:
        given = given_of(request)
        if given is None:
            raise invalid("content", "is required: `definition` or `source`")
        origin = self._runtime.origin(call.caller(request))
        put = PutDraft(origin, given, etag=request.etag, validate_only=request.validate_only)
        answer = await self._calls.whole(self._runtime.drafting.put(put))
        if request.validate_only:
            return drafted_of(answer, None)
        return drafted_of(answer, await self._runtime.definitions.summary(call.tenant, answer.definition_id))

    async def PublishDefinition(
        self, call: Call, request: pb2.PublishDefinitionRequest
    ) -> pb2.PublishDefinitionResponse:
        publish = Publish(
            self._runtime.origin(call.caller(request)),
            request.definition_id,
            given_of(request),
            request.etag,
            request.validate_only,
            running_of(request.running_executions),
        )
        answer = await self._calls.whole(self._runtime.publishing.publish(publish))
        if request.validate_only:
            return published_of(answer, None)
        return published_of(answer, await self._version(call, answer.definition_id, answer.version))

    async def BatchPublish(self, call: Call, request: pb2.BatchPublishRequest) -> pb2.BatchPublishResponse:
        batch = PublishBatch(
            self._runtime.origin(call.caller(request)),
            batch_items_of(request),
            request.validate_only,
            running_of(request.running_executions),
        )
        answer = await self._calls.whole(self._runtime.batching.publish(batch))
        published = batched_of(answer, await self._versions(call, answer, request.validate_only))
        return pb2.BatchPublishResponse(
            definitions=published, revision=answer.revision, stages=stages_of(answer.stages)
        )

    async def ImportDefinitions(
        self, call: Call, request: pb2.ImportDefinitionsRequest
    ) -> pb2.ImportDefinitionsResponse:
        bundle = Import(self._runtime.origin(call.caller(request)), request.text, request.validate_only)
        answer = await self._calls.whole(self._runtime.importing.import_bundle(bundle))
        published = batched_of(answer, await self._versions(call, answer, request.validate_only))
        return pb2.ImportDefinitionsResponse(
            definitions=published, revision=answer.revision, stages=stages_of(answer.stages)
        )

    async def RetractDefinition(
        self, call: Call, request: pb2.RetractDefinitionRequest
    ) -> pb2.RetractDefinitionResponse:
        _check_id(request)
        origin = self._runtime.origin(call.caller(request))
        retract = Retract(origin, request.definition_id, request.etag, request.validate_only)
        answer = await self._calls.whole(self._runtime.retracting.retract(retract))
        return retracted_of(answer, await self._runtime.definitions.summary(call.tenant, answer.definition_id))

    async def DeleteDefinition(self, call: Call, request: pb2.DeleteDefinitionRequest) -> pb2.DeleteDefinitionResponse:
        _check_delete(request)
        delete = Delete(
            self._runtime.origin(call.caller(request)),
            request.definition_id,
            request.version,
            on_delete_of(request.running_executions),
            request.etag,
            request.validate_only,
        )
        answer = await self._calls.whole(self._runtime.deleting.delete(delete))
        return deleted_of(answer, await self._runtime.definitions.summary(call.tenant, answer.definition_id))

    async def RevertDefinition(self, call: Call, request: pb2.RevertDefinitionRequest) -> pb2.RevertDefinitionResponse:
        _check_revert(request)
        revert = Revert(
            self._runtime.origin(call.caller(request)),
            request.definition_id,
            request.version,
            request.etag,
            request.validate_only,
            running_of(request.running_executions),
        )
        answer = await self._calls.whole(self._runtime.reverting.revert(revert))
        if request.validate_only and answer.changed:
            return reverted_of(answer, None)
        return reverted_of(answer, await self._version(call, answer.definition_id, answer.version))

    # Triggers

    async def PauseTrigger(self, call: Call, request: pb2.PauseTriggerRequest) -> pb2.PauseTriggerResponse:
        answer = await self._pause(call, request, paused=True)
        return pb2.PauseTriggerResponse(
            trigger=await self._trigger(call, answer, paused=True),
            revision=answer.revision,
            stages=stages_of(answer.stages),
            changed=answer.changed,
        )

    async def ResumeTrigger(self, call: Call, request: pb2.ResumeTriggerRequest) -> pb2.ResumeTriggerResponse:
        answer = await self._pause(call, request, paused=False)
        return pb2.ResumeTriggerResponse(
            trigger=await self._trigger(call, answer, paused=False),
            revision=answer.revision,
            stages=stages_of(answer.stages),
            changed=answer.changed,
        )

    async def _pause(self, call: Call, request: Any, *, paused: bool) -> PauseAnswer:
        _check_trigger(request).settle()
        origin = self._runtime.origin(call.caller(request))
        pause = PauseTrigger(origin, request.definition_id, request.trigger_id, paused)
        return await self._calls.whole(self._runtime.pausing.pause(pause))

    async def _trigger(self, call: Call, answer: PauseAnswer, *, paused: bool) -> pb2.TriggerInfo:
        """The trigger as it is now; one whose definition is not published listens to nothing, and is only named."""
        try:
            return trigger_of(await self._runtime.triggers.get(call.tenant, answer.definition_id, answer.trigger_id))
        except Refused as refused:
            if refused.refusal.kind is not Kind.NOT_FOUND:
                raise
        return named_trigger(answer.definition_id, answer.trigger_id, paused=paused)

    async def FireTrigger(self, call: Call, request: pb2.FireTriggerRequest) -> pb2.FireTriggerResponse:
        faults = _check_trigger(request)
        slot = moment_us(faults, "slot", request.slot) if request.HasField("slot") else 0
        faults.settle()
        payload = value_of(request.payload, "payload", self._runtime.settings.payload_bytes_max)
        fired = await self._calls.whole(
            self._runtime.triggers.fire(call.caller(request), request.definition_id, request.trigger_id, payload, slot)
        )
        return pb2.FireTriggerResponse(execution=execution_of(fired.view), started=fired.started)

    async def _versions(self, call: Call, answer: BatchAnswer, rehearsed: bool) -> dict[str, VersionView]:
        """The versions of a batch as they are now; of a rehearsal, those that are there."""
        found: dict[str, VersionView] = {}
        for one in answer.definitions:
            if not (rehearsed and one.changed):
                version = await self._version(call, one.definition_id, one.version)
                found |= {one.definition_id: version} if version is not None else {}
        return found

    async def _version(self, call: Call, definition_id: str, version: int) -> VersionView | None:
        """The version as it is now; None: it has been deleted since."""
        try:
            return await self._runtime.definitions.get(call.tenant, definition_id, version)
        except Refused as refused:
            if refused.refusal.kind is Kind.NOT_FOUND:
                return None
            raise


def _check_id(request: Any) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.settle()


def _check_delete(request: pb2.DeleteDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("version", request.version)
    faults.enum("running_executions", request.running_executions, pb2.DeleteRunningExecutions)
    faults.settle()


def _check_revert(request: pb2.RevertDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("version", request.version)
    if not request.version:
        faults.add("version", "is required")
    faults.settle()


def _check_trigger(request: Any) -> Faults:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.trigger_id(request.trigger_id)
    return faults
