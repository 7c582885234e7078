"""What the chains share of the durable part: one write for one change, and requests that come twice."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from ..catalog import DefinitionSource
from ..core.lifecycle import Content, Decision, StageRun, Standing
from ..core.refusals import Kind, Refusal, Refused
from ..ports import (
    Clock,
    DefinitionChange,
    DefinitionEvent,
    DefinitionHead,
    DefinitionVersion,
    Lost,
    Outcome,
    Request,
    Why,
    Write,
)

Answer = TypeVar("Answer")

log = logging.getLogger("callboard.lifecycle")


class Writer(Protocol):
    """Where changes go: the journal."""

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Commit, and say what became of it; raises Refused while the disk is full."""
        ...


class LifecycleStore(DefinitionSource, Protocol):
    """What the chains read; a Store has it."""

    async def requests(self, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
        """The remembered requests among these ids that have not expired."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """Whose change it is, and by which request."""

    tenant: str
    user_id: str = ""
    request: Request | None = None
    """Its identity is filled in here."""


class Announcement(msgspec.Struct, frozen=True):
    """A lifecycle change that is on disk."""

    tenant: str
    definition_id: str
    events: tuple[str, ...]
    """Names of the definition's events, such as DefinitionPublished."""
    published: int
    """The published version after it; 0: none."""
    revision: int
    user_id: str


Announce: TypeAlias = Callable[[Announcement], None]


def standing_of(head: DefinitionHead | None) -> Standing:
    """Where a definition stands, as the rules see it."""
    return Standing(head.sequence, head.published, head.latest, head.draft) if head is not None else Standing()


def log_change(change: Announcement) -> None:
    """One line a change, for operators."""
    log.info(
        "%s %s/%s: published version %d, revision %d",
        ", ".join(change.events),
        change.tenant,
        change.definition_id,
        change.published,
        change.revision,
    )


def announce(
    listeners: Sequence[Announce], origin: Origin, decision: Decision, definition_id: str, revision: int
) -> None:
    """Tell everybody, if anything has changed."""
    if not decision.changed:
        return
    names = tuple(type(event).__name__ for event in decision.events)
    change = Announcement(origin.tenant, definition_id, names, decision.after.published, revision, origin.user_id)
    for listener in (log_change, *listeners):
        listener(change)


class Recorder:
    """Writes decisions down, and knows the requests that were carried out already."""

    def __init__(self, store: LifecycleStore, journal: Writer, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock

    async def once(
        self, origin: Origin, change: Callable[[], Awaitable[Answer]], again: Callable[[Request], Awaitable[Answer]]
    ) -> Answer:
        """The answer of `change`, or of `again` where this request was carried out before."""
        done = await self._repeated(origin)
        if done is not None:
            return await again(done)
        try:
            return await change()
        except Refused as refused:
            if refused.refusal.reason == "STAGE_FAILED":
                # Whether or not the change is stored, the caller has to hear of the stage.
                raise
            # The same request, sent twice at one time: the other one may have won meanwhile.
            done = await self._repeated(origin)
            if done is None:
                raise
            return await again(done)

    async def _repeated(self, origin: Origin) -> Request | None:
        """The request as it was carried out before; None: it was not. Raises Refused(REQUEST_ID_REUSED)."""
        request = origin.request
        if request is None:
            return None
        found = await self._store.requests(origin.tenant, [request.request_id], self._clock.now())
        stored = found.get(request.request_id)
        if stored is not None and stored.fingerprint != request.fingerprint:
            raise _reused(request)
        return stored

    async def record(
        self,
        origin: Origin,
        decision: Decision,
        definition_id: str,
        stages: tuple[StageRun, ...],
        *,
        identity: str = "",
        content: Content | None = None,
    ) -> int:
        """Write the change in one transaction; its revision. Raises Refused(LOST_RACE) where another was faster.

        `identity` is what a repeat of the request answers with, where that is not the definition's id alone; `content`
        is that of the version which the decision makes.
        """
        change = self._change(origin, decision, definition_id, stages, content)
        if origin.request is not None:
            request = msgspec.structs.replace(origin.request, identity=identity or definition_id)
            change = msgspec.structs.replace(change, requests=(request,))
        outcome = await self._journal.write(change)
        if isinstance(outcome, Lost):
            raise _lost(outcome, change)
        return outcome.revision

    def _change(
        self,
        origin: Origin,
        decision: Decision,
        definition_id: str,
        stages: tuple[StageRun, ...],
        content: Content | None,
    ) -> DefinitionChange:
        now = self._clock.now()
        before, after = decision.before, decision.after
        version = None
        if after.latest > before.latest:
            assert content is not None, "a new version has a content"
            version = DefinitionVersion(after.latest, content.data, content.fingerprint, now, origin.user_id)
        events = tuple(
            DefinitionEvent(
                sequence=before.sequence + number,
                name=type(event).__name__,
                payload=msgspec.json.encode(msgspec.structs.replace(event, stages=stages)),
                user_id=origin.user_id,
                created_at=now,
            )
            for number, event in enumerate(decision.events, 1)
        )
        return DefinitionChange(
            tenant=origin.tenant,
            definition_id=definition_id,
            expected=before.sequence,
            published=after.published,
            draft=after.draft,
            version=version,
            events=events,
            at=now,
        )


def _lost(lost: Lost, change: DefinitionChange) -> Refused:
    if lost.why is Why.DUPLICATE_REQUEST and change.requests:
        return _reused(change.requests[0])
    if lost.why is Why.SEQUENCE:
        message = f"a concurrent change of definition {change.definition_id!r} won; read it again and decide anew"
        return Refused(
            Refusal(Kind.RACE, "LOST_RACE", message, resource_type="definition", resource=change.definition_id)
        )
    message = (
        f"the store did not take the change of definition {change.definition_id!r}: {lost.why.value} {lost.message}"
    )
    return Refused(Refusal(Kind.INTERNAL, "INTERNAL", message.rstrip()))


def _reused(request: Request) -> Refused:
    message = f"request_id {request.request_id!r} was used for a request with another content"
    return Refused(Refusal(Kind.INVALID, "REQUEST_ID_REUSED", message, {"request_id": request.request_id}))
