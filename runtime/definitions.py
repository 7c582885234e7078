"""Reading definitions: what GetDefinition and the lists answer with. Nothing here changes or caches anything."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from .catalog import DefinitionSource, deleted, not_found, version_not_found
from .core.lifecycle import Standing, evolve, fact_of
from .core.refusals import Kind, Refusal, Refused
from .lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion

EVENTS_PAGE = 1_000
EVENTS_BYTES = 3 * 1024 * 1024
HEADS_PAGE = 200


class DefinitionState(enum.Enum):
    """Where a version stands."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    SUPERSEDED = "SUPERSEDED"
    RETRACTED = "RETRACTED"
    DELETING = "DELETING"
    DELETED = "DELETED"


class DefinitionReads(DefinitionSource, Protocol):
    """What is read here; a Store has it."""

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """Definitions by id, after this one."""
        ...

    async def definition_versions(
        self, tenant: str, definition_id: str, below: int, limit: int
    ) -> list[DefinitionVersion]:
        """Versions, newest first, below this number (0: from the newest)."""
        ...

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """What happened to one definition after a sequence and after a revision, in order; at most `limit` events and
        about `bytes_max` (at least one)."""
        ...

    async def tenant_definition_events(
        self, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
    ) -> list[tuple[str, DefinitionEvent]]:
        """What happened to all definitions of a tenant, in the order of (revision, definition id, sequence)."""
        ...


class Summary(msgspec.Struct, frozen=True):
    """A definition as a whole."""

    definition_id: str
    description: str
    """Of its newest version that is not deleted, or of the draft where there is none."""
    state: DefinitionState
    """Of its newest version that is not deleted; where there is none, DRAFT, or DELETED without a draft."""
    published_version: int
    """0: none."""
    latest_version: int
    """0: none."""
    has_draft: bool
    revision: int
    etag: str
    created_at: int
    updated_at: int


class VersionView(msgspec.Struct, frozen=True):
    """One version, or the draft."""

    definition_id: str
    version: int
    """0: the draft."""
    state: DefinitionState
    description: str
    content: bytes
    """Canonical JSON of the definition."""
    fingerprint: bytes
    """SHA-256 of `content`; of a draft empty."""
    created_at: int
    user_id: str
    revision: int
    """Of the definition's last change."""

    @property
    def tree(self) -> dict[str, Any]:
        """The definition as plain values, by the names of the file form."""
        plain: dict[str, Any] = msgspec.json.decode(self.content)
        return plain


class EventView(msgspec.Struct, frozen=True):
    """One past fact about a definition."""

    definition_id: str
    event: DefinitionEvent
    version: int
    """The version it is about; 0: the draft."""


class Past(msgspec.Struct, frozen=True):
    """A definition as it was after one of its events."""

    summary: Summary
    version: VersionView | None
    """What was published then; where nothing was, the draft. None: neither, or its content has been deleted since."""


class EventPage(msgspec.Struct, frozen=True):
    """Facts in order."""

    events: tuple[EventView, ...]
    more: bool
    """Whether others follow."""


class Definitions:
    """The definitions of all tenants, to look at."""

    def __init__(self, store: DefinitionReads) -> None:
        self._store = store

    async def summary(self, tenant: str, definition_id: str) -> Summary:
        """A definition as a whole. Raises Refused(DEFINITION_NOT_FOUND)."""
        return await self._summary(await self._head(tenant, definition_id))

    async def get(self, tenant: str, definition_id: str, version: int = 0, *, draft: bool = False) -> VersionView:
        """A version (0: the published one; where none is, the newest that is not deleted) or the draft.

        Raises Refused: DEFINITION_NOT_FOUND, VERSION_NOT_FOUND, DRAFT_NOT_FOUND, DEFINITION_NOT_PUBLISHED,
        DEFINITION_DELETED.
        """
        head = await self._head(tenant, definition_id)
        if draft:
            return _draft(head)
        if head.state and not version:
            raise deleted(definition_id)
        number = version or head.published or _newest(head)
        if not number and not head.latest:
            message = f"definition {definition_id!r} has never been published; it has a draft only"
            raise Refused(_refusal(Kind.STATE, "DEFINITION_NOT_PUBLISHED", message, definition_id))
        stored = await self._store.definition_version(tenant, definition_id, number)
        if stored is None or number in head.gone:
            raise version_not_found(definition_id, number or head.latest)
        return _version(head, stored)

    async def summaries(
        self, tenant: str, after: str = "", limit: int = 100, *, state: DefinitionState | None = None, prefix: str = ""
    ) -> list[Summary]:
        """One page by id, after this one; shorter than `limit`: the last one. `state` None: all but deleted ones."""
        found: list[Summary] = []
        async for head in self._heads(tenant, after, prefix):
            stands = _state(head, _newest(head))
            if stands is state or (state is None and stands is not DefinitionState.DELETED):
                found.append(await self._summary(head))
            if len(found) == limit:
                break
        return found

    async def _heads(self, tenant: str, after: str, prefix: str) -> AsyncIterator[DefinitionHead]:
        """The definitions after an id, of those whose ids begin so."""
        if after < prefix:
            exact = await self._store.definition(tenant, prefix)
            if exact is not None:
                yield exact
            after = prefix
        while page := await self._store.definitions(tenant, after, HEADS_PAGE):
            for head in page:
                if not head.definition_id.startswith(prefix):
                    return
                yield head
            after = page[-1].definition_id

    async def as_of(self, tenant: str, definition_id: str, sequence: int) -> Past:
        """The definition as it was after this event of its stream: what its events up to there add up to.

        Raises Refused: DEFINITION_NOT_FOUND, SEQUENCE_OUT_OF_RANGE.
        """
        head = await self._head(tenant, definition_id)
        if not 1 <= sequence <= head.sequence:
            message = f"definition {definition_id!r} has events 1 to {head.sequence}, and no {sequence}"
            known = {"sequence": str(head.sequence)}
            raise Refused(Refusal(Kind.RANGE, "SEQUENCE_OUT_OF_RANGE", message, known, resource_type="definition"))
        then, last = Standing(), None
        created_at = 0
        while then.sequence < sequence:
            limit = min(EVENTS_PAGE, sequence - then.sequence)
            page = await self._store.definition_events(tenant, definition_id, then.sequence, 0, limit, EVENTS_BYTES)
            for last in page:
                created_at = created_at or last.created_at
                then = evolve(then, fact_of(last.name, last.payload))
        assert last is not None
        past = DefinitionHead(
            tenant,
            definition_id,
            then.sequence,
            then.published,
            then.latest,
            last.revision,
            then.draft,
            created_at,
            last.created_at,
            then.state,
            then.gone,
            then.paused,
        )
        return Past(await self._summary(past), await self._content(past))

    async def _content(self, head: DefinitionHead) -> VersionView | None:
        if not head.published:
            return _draft(head) if head.draft is not None else None
        stored = await self._store.definition_version(head.tenant, head.definition_id, head.published)
        return _version(head, stored) if stored is not None else None

    async def versions(self, tenant: str, definition_id: str, below: int = 0, limit: int = 100) -> list[VersionView]:
        """One page of versions, newest first, below this number (0: from the newest). The draft is none of them.

        Raises Refused(DEFINITION_NOT_FOUND).
        """
        head = await self._head(tenant, definition_id)
        stored = await self._store.definition_versions(tenant, definition_id, below, limit)
        return [_version(head, version) for version in stored]

    async def events(
        self,
        tenant: str,
        definition_id: str,
        after: int = 0,
        *,
        after_revision: int = 0,
        limit: int = 100,
        bytes_max: int = EVENTS_BYTES,
    ) -> EventPage:
        """One page of what happened to a definition, the oldest first, after this sequence and this revision.

        Raises Refused(DEFINITION_NOT_FOUND).
        """
        head = await self._head(tenant, definition_id)
        found = await self._store.definition_events(tenant, definition_id, after, after_revision, limit, bytes_max)
        views = tuple(EventView(definition_id, event, _about(event)) for event in found)
        return EventPage(views, bool(found) and found[-1].sequence < head.sequence)

    async def tenant_events(
        self, tenant: str, after: tuple[int, str, int], limit: int = 100, bytes_max: int = EVENTS_BYTES
    ) -> EventPage:
        """One page of what happened to all definitions of a tenant, after this (revision, definition id, sequence)."""
        found = await self._store.tenant_definition_events(tenant, after, limit + 1, bytes_max)
        views = tuple(EventView(definition_id, event, _about(event)) for definition_id, event in found[:limit])
        more = len(found) > limit
        if found and not more:
            last_id, last = found[-1]
            more = bool(
                await self._store.tenant_definition_events(
                    tenant, (last.revision, last_id, last.sequence), 1, bytes_max
                )
            )
        return EventPage(views, more)

    async def _head(self, tenant: str, definition_id: str) -> DefinitionHead:
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        return head

    async def _summary(self, head: DefinitionHead) -> Summary:
        content, newest = head.draft, _newest(head)
        if newest:
            stored = await self._store.definition_version(head.tenant, head.definition_id, newest)
            content = stored.content if stored is not None else content
        return Summary(
            definition_id=head.definition_id,
            description=_description(content),
            state=_state(head, newest),
            published_version=head.published,
            latest_version=head.latest,
            has_draft=head.draft is not None,
            revision=head.revision,
            etag=str(head.sequence),
            created_at=head.created_at,
            updated_at=head.updated_at,
        )


class _Described(msgspec.Struct):
    """The one field of a definition that a list shows."""

    description: str = ""


class _Numbered(msgspec.Struct):
    """The one member of an event that is shown beside it."""

    version: int = 0


def _about(event: DefinitionEvent) -> int:
    return msgspec.json.decode(event.payload, type=_Numbered).version


def _description(content: bytes | None) -> str:
    return msgspec.json.decode(content, type=_Described).description if content is not None else ""


def _newest(head: DefinitionHead) -> int:
    """The newest version that is not deleted; 0: there is none."""
    gone = set(head.gone)
    return next((version for version in range(head.latest, 0, -1) if version not in gone), 0)


def _state(head: DefinitionHead, version: int) -> DefinitionState:
    """Where a version stands, or (0) a definition that has none."""
    if head.state:
        return DefinitionState(head.state)
    if version in head.gone:
        return DefinitionState.DELETED
    if version == 0:
        return DefinitionState.DRAFT if head.draft is not None or not head.latest else DefinitionState.DELETED
    if version == head.published:
        return DefinitionState.PUBLISHED
    retracted = head.published == 0 and version == _newest(head)
    return DefinitionState.RETRACTED if retracted else DefinitionState.SUPERSEDED


def _version(head: DefinitionHead, stored: DefinitionVersion) -> VersionView:
    return VersionView(
        definition_id=head.definition_id,
        version=stored.version,
        state=_state(head, stored.version),
        description=_description(stored.content),
        content=stored.content,
        fingerprint=stored.fingerprint,
        created_at=stored.created_at,
        user_id=stored.user_id,
        revision=head.revision,
    )


def _draft(head: DefinitionHead) -> VersionView:
    if head.draft is None:
        message = f"definition {head.definition_id!r} has no draft"
        raise Refused(_refusal(Kind.NOT_FOUND, "DRAFT_NOT_FOUND", message, head.definition_id))
    return VersionView(
        definition_id=head.definition_id,
        version=0,
        state=DefinitionState.DRAFT,
        description=_description(head.draft),
        content=head.draft,
        fingerprint=b"",
        created_at=head.updated_at,
        user_id="",
        revision=head.revision,
    )


def _refusal(kind: Kind, reason: str, message: str, definition_id: str) -> Refusal:
    return Refusal(kind, reason, message, resource_type="definition", resource=definition_id)
