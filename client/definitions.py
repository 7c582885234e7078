"""Publishing and reading definitions. They travel as text or as messages; only the server's loader reads texts."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Mapping
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
from .definition_models import (
    BatchPublished,
    DefinitionEvent,
    DefinitionState,
    DefinitionSummary,
    DefinitionVersion,
    Deleted,
    Draft,
    Imported,
    Published,
    Retracted,
    Reverted,
    Source,
)

Content: TypeAlias = Path | str | Mapping[str, Any] | Definition | Source
"""A definition: a path, YAML or JSON text (with a line break, or beginning with a brace), a dict, the message, or a
`Source`: text with the name that errors call it by."""

RunningExecutions: TypeAlias = Literal["PIN", "MIGRATE"]
OnDelete: TypeAlias = Literal["REFUSE", "CANCEL", "KEEP"]


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

    async def publish_all(
        self,
        definitions: Iterable[Content],
        *,
        running_executions: RunningExecutions = "PIN",
        validate_only: bool = False,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> BatchPublished:
        """Publishes several definitions with one revision: all of them, or none.

        Raises as `publish` does, with the violations of all of them.
        """
        items = [
            pb.BatchPublishItem(**await _content(definition, _name(definition, number)))
            for number, definition in enumerate(definitions, 1)
        ]
        request = pb.BatchPublishRequest(
            items=items,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
            running_executions=f"PUBLISH_RUNNING_EXECUTIONS_{running_executions}",
        )
        return decode(BatchPublished, await self._connection.unary(self._definitions.BatchPublish, request, timeout))

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

    async def delete_definition(
        self,
        definition_id: str,
        *,
        version: int = 0,
        running: OnDelete = "REFUSE",
        etag: str = "",
        validate_only: bool = False,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Deleted:
        """Deletes a definition with all its versions and its draft, or one version of it.

        `running` says what becomes of executions that have not ended: with REFUSE they stand in the way
        (`errors.DefinitionInUse`), with CANCEL a job cancels them first (`wait_job(deleted.job_id)`), with KEEP they go
        on to their ends.
        """
        request = pb.DeleteDefinitionRequest(
            definition_id=definition_id,
            version=version,
            running_executions=f"DELETE_RUNNING_EXECUTIONS_{running}",
            etag=etag,
            request_id=request_id or new_request_id(),
            validate_only=validate_only,
        )
        return decode(Deleted, await self._connection.unary(self._definitions.DeleteDefinition, request, timeout))

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
        at_sequence: int = 0,
        min_revision: int = 0,
        timeout: Seconds | None = None,
    ) -> DefinitionVersion:
        """A version of a definition (0: the published one, else the newest), or its draft.

        With `at_sequence` as it was after that event of its own (`definition_events`): what was published then, else
        the draft. Where there was neither, or it has been deleted since, `version` is 0 and `definition` is None;
        `summary` says how it stood.
        """
        request = pb.GetDefinitionRequest(
            definition_id=definition_id,
            version=version,
            draft=draft,
            at_sequence=at_sequence,
            min_revision=min_revision,
        )
        answer = await self._connection.unary(self._definitions.GetDefinition, request, timeout)
        summary = decode(DefinitionSummary, answer.definition)
        read = decode(DefinitionVersion, answer.definition_version, summary=summary)
        if answer.HasField("definition_version"):
            return read
        return dataclasses.replace(read, definition_id=summary.id, state=summary.state, revision=summary.revision)

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
        self, definition_id: str = "", *, after_revision: int = 0, min_revision: int = 0, page_size: int = 0
    ) -> AsyncIterator[DefinitionEvent]:
        """What happened to a definition, the oldest first: who drafted, published, retracted it, and when.

        Without an id: what happened to all of them, in order of revision.
        """
        request = pb.ListDefinitionEventsRequest(
            definition_id=definition_id, after_revision=after_revision, min_revision=min_revision, page_size=page_size
        )
        pages = self._connection.pages(self._definitions.ListDefinitionEvents, request)
        return each(pages, attrgetter("events"), lambda item: decode(DefinitionEvent, item))

    async def export_definitions(
        self, definition_ids: Iterable[str] = (), *, min_revision: int = 0, timeout: Seconds | None = None
    ) -> str:
        """Definitions (none named: all that are published) as text for `import_definitions`: one JSON document a line.

        `timeout` is for each of the calls it takes.
        """
        request = pb.ExportDefinitionsRequest(definition_ids=definition_ids, min_revision=min_revision)
        pages = self._connection.pages(self._definitions.ExportDefinitions, request, timeout)
        return "".join([f"{line}\n" async for page in pages for line in page.lines])

    async def import_definitions(
        self, text: str, *, validate_only: bool = False, request_id: str = "", timeout: Seconds | None = None
    ) -> Imported:
        """Publishes what `export_definitions` gave, here or on another server: all of it, or nothing.

        Raises `errors.InvalidExport` for what is no export, and otherwise as `publish_all` does.
        """
        request = pb.ImportDefinitionsRequest(
            text=text, request_id=request_id or new_request_id(), validate_only=validate_only
        )
        return decode(Imported, await self._connection.unary(self._definitions.ImportDefinitions, request, timeout))


def _name(definition: Content, number: int) -> str:
    """What errors call one of several; empty where it says so itself."""
    is_text = isinstance(definition, Mapping) or (isinstance(definition, str) and _is_text(definition))
    return f"definition {number}" if is_text else ""


def _is_text(given: str) -> bool:
    return "\n" in given or given.lstrip().startswith("{")


async def _content(definition: Content, name: str) -> dict[str, Any]:
    """The content of a request, as the field that fits what was given."""
    match definition:
        case Definition():
            return {"definition": definition}
        case Source():
            return {"source": SourceText(name=name or definition.name, text=definition.text)}
        case Mapping():
            text = json.dumps(definition, ensure_ascii=False, indent=2)
            return {"source": SourceText(name=name or "definition", text=text)}
        case str() if _is_text(definition):
            return {"source": SourceText(name=name or "definition", text=definition)}
        case path:
            text = await asyncio.to_thread(Path(path).read_text, "utf-8")
            return {"source": SourceText(name=name or str(path), text=text)}
