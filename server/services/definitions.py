"""`DefinitionService`: decode, ask, encode. What this version does not do has no method here and is refused by name."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.drafting import PutDraft
from callboard.runtime.lifecycle.publishing import Publish, RunningExecutions
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.listing import PageTokens, scope_of
from callboard.v1 import definition_service_pb2 as pb2

from ..calls import Call, Calls
from ..codec_definitions import (
    drafted_of,
    event_of,
    given_of,
    published_of,
    retracted_of,
    reverted_of,
    summary_of,
    version_of,
)
from ..codec_executions import FRAME_BYTES_MAX
from ..requests import Faults, invalid, unsupported, unsupported_field

_M = TypeVar("_M", pb2.DefinitionVersion, pb2.DefinitionEvent)

_PAGE_ITEMS_DEFAULT: Final = 100
_REVISION_SECONDS_MAX: Final = 60


class DefinitionService:
    """The definitions of a runtime over gRPC."""

    def __init__(self, runtime: Runtime, calls: Calls) -> None:
        self._runtime = runtime
        self._calls = calls
        self._tokens = PageTokens(runtime.info.secret)

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
            _running(request.running_executions),
        )
        answer = await self._calls.whole(self._runtime.publishing.publish(publish))
        if request.validate_only:
            return published_of(answer, None)
        version = await self._runtime.definitions.get(call.tenant, answer.definition_id, answer.version)
        return published_of(answer, version)

    async def RetractDefinition(
        self, call: Call, request: pb2.RetractDefinitionRequest
    ) -> pb2.RetractDefinitionResponse:
        _check_id(request)
        origin = self._runtime.origin(call.caller(request))
        retract = Retract(origin, request.definition_id, request.etag, request.validate_only)
        answer = await self._calls.whole(self._runtime.retracting.retract(retract))
        return retracted_of(answer, await self._runtime.definitions.summary(call.tenant, answer.definition_id))

    async def RevertDefinition(self, call: Call, request: pb2.RevertDefinitionRequest) -> pb2.RevertDefinitionResponse:
        _check_revert(request)
        revert = Revert(
            self._runtime.origin(call.caller(request)),
            request.definition_id,
            request.version,
            request.etag,
            request.validate_only,
            _running(request.running_executions),
        )
        answer = await self._calls.whole(self._runtime.reverting.revert(revert))
        if request.validate_only and answer.changed:
            return reverted_of(answer, None)
        version = await self._runtime.definitions.get(call.tenant, answer.definition_id, answer.version)
        return reverted_of(answer, version)

    async def GetDefinition(self, call: Call, request: pb2.GetDefinitionRequest) -> pb2.GetDefinitionResponse:
        _check_get(request)
        await self._reach(call, request)
        definitions = self._runtime.definitions
        version = await definitions.get(call.tenant, request.definition_id, request.version, draft=request.draft)
        summary = await definitions.summary(call.tenant, request.definition_id)
        full = request.view != pb2.DEFINITION_VIEW_BASIC
        return pb2.GetDefinitionResponse(
            definition_version=version_of(version, full), definition=summary_of(summary), revision=self._now_at(call)
        )

    async def ListDefinitions(self, call: Call, request: pb2.ListDefinitionsRequest) -> pb2.ListDefinitionsResponse:
        unsupported(request, "state", "id_prefix")
        await self._reach(call, request)
        limit = self._limit(request.page_size)
        scope = scope_of("ListDefinitions", call.tenant)
        after = self._tokens.read(scope, request.page_token)
        found = await self._runtime.definitions.summaries(call.tenant, after, limit + 1)
        token = self._tokens.make(scope, found[limit - 1].definition_id) if len(found) > limit else ""
        return pb2.ListDefinitionsResponse(
            definitions=[summary_of(summary) for summary in found[:limit]],
            next_page_token=token,
            revision=self._now_at(call),
        )

    async def ListDefinitionVersions(
        self, call: Call, request: pb2.ListDefinitionVersionsRequest
    ) -> pb2.ListDefinitionVersionsResponse:
        await self._reach(call, request)
        limit = self._limit(request.page_size)
        scope = scope_of("ListDefinitionVersions", call.tenant, request.definition_id)
        below = self._tokens.number(scope, request.page_token)
        found = await self._runtime.definitions.versions(call.tenant, request.definition_id, below, limit + 1)
        full = request.view == pb2.DEFINITION_VIEW_FULL
        versions = _fitting([version_of(version, full) for version in found[:limit]])
        token = self._tokens.make(scope, str(versions[-1].version)) if len(versions) < len(found) else ""
        return pb2.ListDefinitionVersionsResponse(versions=versions, next_page_token=token, revision=self._now_at(call))

    async def ListDefinitionEvents(
        self, call: Call, request: pb2.ListDefinitionEventsRequest
    ) -> pb2.ListDefinitionEventsResponse:
        _check_events(request)
        await self._reach(call, request)
        scope = scope_of("ListDefinitionEvents", call.tenant, request.definition_id, request.after_revision)
        page = await self._runtime.definitions.events(
            call.tenant,
            request.definition_id,
            self._tokens.number(scope, request.page_token),
            after_revision=request.after_revision,
            limit=self._limit(request.page_size),
            bytes_max=FRAME_BYTES_MAX,
        )
        events = _fitting([event_of(view) for view in page.events])
        more = page.more or len(events) < len(page.events)
        token = self._tokens.make(scope, str(events[-1].sequence)) if more else ""
        return pb2.ListDefinitionEventsResponse(events=events, next_page_token=token, revision=self._now_at(call))

    async def _reach(self, call: Call, request: Any) -> None:
        if request.min_revision:
            await self._runtime.reached(call.tenant, request.min_revision, _REVISION_SECONDS_MAX)

    def _now_at(self, call: Call) -> int:
        return self._runtime.catalog.known(call.tenant)

    def _limit(self, page_size: int) -> int:
        if page_size < 0:
            raise invalid("page_size", f"is {page_size}; it must not be negative")
        return min(page_size or _PAGE_ITEMS_DEFAULT, self._runtime.settings.page_items_max)


def _running(value: int) -> RunningExecutions:
    if value not in pb2.PublishRunningExecutions.values():
        raise invalid("running_executions", f"{value} is no value of PublishRunningExecutions")
    migrate = value == pb2.PUBLISH_RUNNING_EXECUTIONS_MIGRATE
    return RunningExecutions.MIGRATE if migrate else RunningExecutions.PIN


def _check_get(request: pb2.GetDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("version", request.version)
    if request.draft and request.version:
        faults.add("version", "must be 0 to read the draft")
    faults.settle()


def _check_id(request: pb2.RetractDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.settle()


def _check_revert(request: pb2.RevertDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("version", request.version)
    if not request.version:
        faults.add("version", "is required")
    faults.settle()


def _check_events(request: pb2.ListDefinitionEventsRequest) -> None:
    if not request.definition_id:
        raise unsupported_field("definition_id", "'' (the events of all definitions)")
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("after_revision", request.after_revision)
    faults.settle()


def _fitting(messages: list[_M]) -> list[_M]:
    """As many as fit into one frame; the first one always does."""
    room = FRAME_BYTES_MAX
    for place, message in enumerate(messages):
        room -= message.ByteSize() + 8
        if room < 0 and place:
            return messages[:place]
    return messages
