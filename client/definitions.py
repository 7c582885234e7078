"""Publishing and reading definitions. They travel as text or as messages; only the server's loader reads texts."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

from callboard.v1 import definition_service_pb2 as pb
from callboard.v1.definition_service_pb2_grpc import DefinitionServiceStub
from callboard.v1.definitions_pb2 import Definition
from callboard.v1.violations_pb2 import SourceText

from .calls import Calls, each, new_request_id
from .channel import Connection
from .codec import Seconds
from .decoding import decode
from .models import (
    DefinitionEvent,
    DefinitionState,
    DefinitionSummary,
    DefinitionVersion,
    Draft,
    Published,
    Retracted,
    Reverted,
)

Content: TypeAlias = Path | str | Mapping[str, Any] | Definition
"""A definition: a path, YAML or JSON text (with a line break, or beginning with a brace), a dict, or the message."""

RunningExecutions: TypeAlias = Literal["PIN", "MIGRATE"]


class DefinitionCalls(Calls):
    """The calls about definitions."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._definitions = DefinitionServiceStub(connection.channel)

    async def publish(
        self,
        definition: Content,
        *,
        name: str = "",
        etag: str = "",
        running_executions: RunningExecutions = "PIN",
        validate_only: bool = False,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Published:
        """Publishes a definition as the next version; the content that is published already changes nothing.

        `name` is what errors call the text; without it the path as given. Raises `errors.InvalidDefinition` and
        `errors.UnknownField` with every violation located, and OSError where a file cannot be read.
        """
        request = pb.PublishDefinitionRequest(
            etag=etag,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
            running_executions=f"PUBLISH_RUNNING_EXECUTIONS_{running_executions}",
            **await _content(definition, name),
        )
        answer = await self._connection.unary(self._definitions.PublishDefinition, request, timeout)
        return decode(Published, answer)

    async def validate(self, definition: Content, *, name: str = "", timeout: Seconds | None = None) -> Published:
        """What `publish` would do or refuse; nothing changes."""
        return await self.publish(definition, name=name, validate_only=True, timeout=timeout)

    async def put_draft(
        self,
        definition: Content,
        *,
        name: str = "",
        etag: str = "",
        validate_only: bool = False,
        timeout: Seconds | None = None,
    ) -> Draft:
        """Creates or replaces the draft of a definition; only its form is checked."""
        request = pb.PutDraftRequest(
            etag=etag,
            request_id=new_request_id(),
            validate_only=validate_only,
            **await _content(definition, name),
        )
        return decode(Draft, await self._connection.unary(self._definitions.PutDraft, request, timeout))

    async def publish_draft(self, definition_id: str, *, etag: str = "", timeout: Seconds | None = None) -> Published:
        """Publishes the draft of a definition as its next version."""
        request = pb.PublishDefinitionRequest(definition_id=definition_id, etag=etag, request_id=new_request_id())
        answer = await self._connection.unary(self._definitions.PublishDefinition, request, timeout)
        return decode(Published, answer)

    async def retract(
        self,
        definition_id: str,
        *,
        etag: str = "",
        validate_only: bool = False,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Retracted:
        """Takes the published version back: no new starts, running executions go on. Once more changes nothing."""
        request = pb.RetractDefinitionRequest(
            definition_id=definition_id,
            etag=etag,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        answer = await self._connection.unary(self._definitions.RetractDefinition, request, timeout)
        return decode(Retracted, answer)

    async def revert(
        self,
        definition_id: str,
        version: int,
        *,
        etag: str = "",
        running_executions: RunningExecutions = "PIN",
        validate_only: bool = False,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Reverted:
        """Publishes the content of an old version as the next one; that which is published already changes nothing."""
        request = pb.RevertDefinitionRequest(
            definition_id=definition_id,
            version=version,
            etag=etag,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
            running_executions=f"PUBLISH_RUNNING_EXECUTIONS_{running_executions}",
        )
        answer = await self._connection.unary(self._definitions.RevertDefinition, request, timeout)
        return decode(Reverted, answer)

    async def definition(
        self,
        definition_id: str,
        *,
        version: int = 0,
        draft: bool = False,
        min_revision: int = 0,
        timeout: Seconds | None = None,
    ) -> DefinitionVersion:
        """A version of a definition (0: the published one, else the newest), or its draft."""
        request = pb.GetDefinitionRequest(
            definition_id=definition_id, version=version, draft=draft, min_revision=min_revision
        )
        answer = await self._connection.unary(self._definitions.GetDefinition, request, timeout)
        return decode(DefinitionVersion, answer.definition_version)

    def definitions(
        self,
        *,
        state: DefinitionState | None = None,
        id_prefix: str = "",
        min_revision: int = 0,
        page_size: int = 0,
    ) -> AsyncIterator[DefinitionSummary]:
        """All definitions, by id; those that are deleted only where asked for."""
        request = pb.ListDefinitionsRequest(
            state=f"DEFINITION_STATE_{state or 'UNSPECIFIED'}",
            id_prefix=id_prefix,
            min_revision=min_revision,
            page_size=page_size,
        )
        pages = self._connection.pages(self._definitions.ListDefinitions, request)
        return each(pages, attrgetter("definitions"), lambda item: decode(DefinitionSummary, item))

    def versions(self, definition_id: str, *, page_size: int = 0) -> AsyncIterator[DefinitionVersion]:
        """The versions of a definition, the newest first, without their texts."""
        request = pb.ListDefinitionVersionsRequest(
            definition_id=definition_id, view=pb.DEFINITION_VIEW_BASIC, page_size=page_size
        )
        pages = self._connection.pages(self._definitions.ListDefinitionVersions, request)
        return each(pages, attrgetter("versions"), lambda item: decode(DefinitionVersion, item))

    def definition_events(
        self, definition_id: str, *, after_revision: int = 0, min_revision: int = 0, page_size: int = 0
    ) -> AsyncIterator[DefinitionEvent]:
        """What happened to a definition, the oldest first: who drafted, published, retracted it, and when."""
        request = pb.ListDefinitionEventsRequest(
            definition_id=definition_id, after_revision=after_revision, min_revision=min_revision, page_size=page_size
        )
        pages = self._connection.pages(self._definitions.ListDefinitionEvents, request)
        return each(pages, attrgetter("events"), lambda item: decode(DefinitionEvent, item))


async def _content(definition: Content, name: str) -> dict[str, Any]:
    """The content of a request, as the field that fits what was given."""
    match definition:
        case Definition():
            return {"definition": definition}
        case Mapping():
            text = json.dumps(definition, ensure_ascii=False, indent=2)
            return {"source": SourceText(name=name or "definition", text=text)}
        case str() if "\n" in definition or definition.lstrip().startswith("{"):
            return {"source": SourceText(name=name or "definition", text=definition)}
        case path:
            text = await asyncio.to_thread(Path(path).read_text, "utf-8")
            return {"source": SourceText(name=name or str(path), text=text)}
