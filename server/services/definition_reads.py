"""The reading half of `DefinitionService`: definitions, their versions and events, triggers, exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from callboard.runtime.definitions import DefinitionState, EventPage
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.listing import PageTokens, scope_of
from callboard.v1 import definition_service_pb2 as pb2

from ..calls import Call
from ..codec_definitions import event_of, summary_of, version_of
from ..codec_executions import FRAME_BYTES_MAX
from ..codec_triggers import trigger_of
from ..requests import Faults

_M = TypeVar("_M", pb2.DefinitionVersion, pb2.DefinitionEvent, pb2.TriggerInfo)

_PAGE_ITEMS_DEFAULT: Final = 100
_REVISION_SECONDS_MAX: Final = 60
_STATES: Final[dict[int, DefinitionState]] = {
    pb2.DefinitionState.Value(f"DEFINITION_STATE_{state.value}"): state for state in DefinitionState
}


class DefinitionReads:
    """The definitions of a runtime, to look at."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tokens = PageTokens(runtime.info.secret, runtime.info.generation)

    async def GetDefinition(self, call: Call, request: pb2.GetDefinitionRequest) -> pb2.GetDefinitionResponse:
        _check_get(request)
        await self._reach(call, request)
        definitions, full = self._runtime.definitions, request.view != pb2.DEFINITION_VIEW_BASIC
        if request.at_sequence:
            past = await definitions.as_of(call.tenant, request.definition_id, request.at_sequence)
            version, summary = past.version, past.summary
        else:
            version = await definitions.get(call.tenant, request.definition_id, request.version, draft=request.draft)
            summary = await definitions.summary(call.tenant, request.definition_id)
        return pb2.GetDefinitionResponse(
            definition_version=None if version is None else version_of(version, full),
            definition=summary_of(summary),
            revision=self._now_at(call),
        )

    async def ListDefinitions(self, call: Call, request: pb2.ListDefinitionsRequest) -> pb2.ListDefinitionsResponse:
        _check_list(request)
        await self._reach(call, request)
        limit = self._limit(request.page_size)
        scope = scope_of("ListDefinitions", call.tenant, request.state, request.id_prefix)
        found = await self._runtime.definitions.summaries(
            call.tenant,
            self._tokens.read(scope, request.page_token),
            limit + 1,
            state=_STATES.get(request.state),
            prefix=request.id_prefix,
        )
        token = self._tokens.make(scope, found[limit - 1].definition_id) if len(found) > limit else ""
        return pb2.ListDefinitionsResponse(
            definitions=[summary_of(summary) for summary in found[:limit]],
            next_page_token=token,
            revision=self._now_at(call),
        )

    async def ListDefinitionVersions(
        self, call: Call, request: pb2.ListDefinitionVersionsRequest
    ) -> pb2.ListDefinitionVersionsResponse:
        faults = _paged(request)
        faults.definition_id(request.definition_id)
        faults.enum("view", request.view, pb2.DefinitionView)
        faults.settle()
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
        faults = _paged(request)
        if request.definition_id:
            faults.definition_id(request.definition_id)
        faults.not_negative("after_revision", request.after_revision)
        faults.settle()
        await self._reach(call, request)
        scope = scope_of("ListDefinitionEvents", call.tenant, request.definition_id, request.after_revision)
        page = await self._events(call, request, scope)
        events = _fitting([event_of(view) for view in page.events])
        more = page.more or len(events) < len(page.events)
        token = self._tokens.make(scope, _place_of(request, events[-1])) if more else ""
        return pb2.ListDefinitionEventsResponse(events=events, next_page_token=token, revision=self._now_at(call))

    async def _events(self, call: Call, request: pb2.ListDefinitionEventsRequest, scope: str) -> EventPage:
        definitions, limit = self._runtime.definitions, self._limit(request.page_size)
        if request.definition_id:
            after = self._tokens.number(scope, request.page_token)
            return await definitions.events(
                call.tenant,
                request.definition_id,
                after,
                after_revision=request.after_revision,
                limit=limit,
                bytes_max=FRAME_BYTES_MAX,
            )
        cursor = self._tokens.read(scope, request.page_token)
        place: tuple[int, str, int] = tuple(json.loads(cursor)) if cursor else (request.after_revision + 1, "", 0)
        return await definitions.tenant_events(call.tenant, place, limit, FRAME_BYTES_MAX)

    async def ListTriggers(self, call: Call, request: pb2.ListTriggersRequest) -> pb2.ListTriggersResponse:
        faults = _paged(request)
        if request.definition_id:
            faults.definition_id(request.definition_id)
        faults.short("event_name", request.event_name)
        faults.settle()
        await self._reach(call, request)
        limit = self._limit(request.page_size)
        scope = scope_of("ListTriggers", call.tenant, request.definition_id, request.event_name)
        cursor = self._tokens.read(scope, request.page_token)
        after: tuple[str, str] = tuple(json.loads(cursor)) if cursor else ("", "")
        found = await self._runtime.triggers.list(
            call.tenant, request.definition_id, request.event_name, after, limit + 1
        )
        triggers = _fitting([trigger_of(view) for view in found[:limit]])
        token = ""
        if len(triggers) < len(found):
            last = triggers[-1]
            token = self._tokens.make(scope, json.dumps([last.definition_id, last.trigger.id]))
        return pb2.ListTriggersResponse(triggers=triggers, next_page_token=token, revision=self._now_at(call))

    async def ExportDefinitions(
        self, call: Call, request: pb2.ExportDefinitionsRequest
    ) -> pb2.ExportDefinitionsResponse:
        wanted = tuple(dict.fromkeys(request.definition_ids))
        _check_export(request, wanted)
        await self._reach(call, request)
        scope = scope_of("ExportDefinitions", call.tenant, *wanted)
        after = self._tokens.read(scope, request.page_token)
        page = await export(self._runtime.store, call.tenant, wanted, after, FRAME_BYTES_MAX)
        token = self._tokens.make(scope, page.next_after) if page.next_after else ""
        return pb2.ExportDefinitionsResponse(lines=page.lines, next_page_token=token, revision=self._now_at(call))

    async def _reach(self, call: Call, request: Any) -> None:
        if request.min_revision:
            await self._runtime.reached(call.tenant, request.min_revision, _REVISION_SECONDS_MAX)

    def _now_at(self, call: Call) -> int:
        return self._runtime.catalog.known(call.tenant)

    def _limit(self, page_size: int) -> int:
        return min(page_size or _PAGE_ITEMS_DEFAULT, self._runtime.settings.page_items_max)


def _paged(request: Any) -> Faults:
    """What may be wrong with any list that waits for a revision."""
    faults = Faults()
    faults.not_negative("page_size", request.page_size)
    faults.not_negative("min_revision", request.min_revision)
    return faults


def _check_get(request: pb2.GetDefinitionRequest) -> None:
    faults = Faults()
    faults.definition_id(request.definition_id)
    faults.not_negative("version", request.version)
    faults.not_negative("min_revision", request.min_revision)
    faults.not_negative("at_sequence", request.at_sequence)
    faults.enum("view", request.view, pb2.DefinitionView)
    if request.draft and request.version:
        faults.add("version", "must be 0 to read the draft")
    if request.at_sequence and (request.version or request.draft):
        faults.add("at_sequence", "goes with neither `version` nor `draft`")
    faults.settle()


def _check_list(request: pb2.ListDefinitionsRequest) -> None:
    faults = _paged(request)
    faults.enum("state", request.state, pb2.DefinitionState)
    faults.short("id_prefix", request.id_prefix)
    faults.settle()


def _check_export(request: pb2.ExportDefinitionsRequest, wanted: Sequence[str]) -> None:
    faults = Faults()
    for place, definition_id in enumerate(wanted):
        faults.definition_id(definition_id, f"definition_ids[{place}]")
    faults.not_negative("min_revision", request.min_revision)
    faults.settle()


def _place_of(request: pb2.ListDefinitionEventsRequest, event: pb2.DefinitionEvent) -> str:
    """Where a page of events goes on, after this one."""
    if request.definition_id:
        return str(event.sequence)
    return json.dumps([event.revision, event.definition_id, event.sequence])


def _fitting(messages: list[_M]) -> list[_M]:
    """As many as fit into one frame; the first one always does."""
    room = FRAME_BYTES_MAX
    for place, message in enumerate(messages):
        room -= message.ByteSize() + 8
        if room < 0 and place:
            return messages[:place]
    return messages
