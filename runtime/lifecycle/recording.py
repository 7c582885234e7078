"""What all chains end in: `record`, `invalidate`, `announce`; and requests that come twice.

A chain decides; what it has decided says what becomes of each definition (`Part`). Here that is one write, one revision
for all of it, and then the caches and everybody who wants to know hear of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import msgspec

from ..catalog import Catalog, CompiledVersion, DefinitionSource
from ..core.lifecycle import Content, Decision, StageRun, Standing, refuse_in_use
from ..core.refusals import Kind, Refusal, Refused
from ..lifecycle_rows import DefinitionChange, DefinitionEvent, DefinitionHead, DefinitionVersion, LifecycleChange
from ..ports import Clock
from ..rows import ExecutionRef, Request
from ..trigger_rows import JobRow, TriggerChange, TriggerPause, TriggerRow
from ..writes import Lost, Outcome, Why, Write
from .chain import Chain, Interrupted, Report

Answer = TypeVar("Answer")

INTERRUPTED_MAX: Final = 1_000
"""Changes whose announcement failed and that are remembered for a repeat of their request."""

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

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """What happened to one definition after a sequence and after a revision, in order."""
        ...

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """The active triggers of an event, and the revision of the last change to them."""
        ...

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """One trigger, active or not, or None."""
        ...

    async def open_count(self, tenant: str, definition_id: str, version: int) -> int:
        """How many executions of a definition have not ended; of one version, where it is not 0."""
        ...

    async def open_executions(
        self, tenant: str, definition_id: str, version: int, after: int, limit: int
    ) -> list[tuple[int, ExecutionRef]]:
        """Executions of a definition that have not ended, with their keys, by key after this one."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """Whose change it is, and by which request."""

    tenant: str
    user_id: str = ""
    request: Request | None = None
    """Its identity is filled in here."""


class Done(NamedTuple):
    """What is remembered of a request that was carried out."""

    identity: str
    """What it made or acted upon, as the chain calls it."""
    changed: tuple[bool, ...]
    """Whether it changed anything, of each definition."""


class Present(NamedTuple):
    """Where a definition stands now, as the answer to a repeat says it."""

    revision: int
    etag: str


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


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of one definition."""

    definition_id: str
    decision: Decision
    revision: int
    """Of the definition's last change until now."""
    content: Content | None = None
    """Of the version that the decision makes."""
    compiled: CompiledVersion | None = None
    """That version, ready to run."""
    triggers: tuple[TriggerChange, ...] | None = None
    """All that listen from now on; None: they stay as they are."""
    pauses: tuple[TriggerPause, ...] = ()
    listeners: tuple[tuple[str, int], ...] = ()
    """Events whose listeners were looked at, with the revision of these."""
    idle: tuple[int, ...] | None = None
    """Versions of which no execution may be open (an empty tuple: none of any version); None: not asked."""
    purged: tuple[int, ...] = ()
    """Versions whose contents go."""

    def revision_after(self, revision: int) -> int:
        """The definition's revision after the change of this revision (0: it was not carried out)."""
        return revision if revision and self.decision.changed else self.revision

    def etag_after(self, revision: int) -> str:
        """The definition's etag, likewise: one of what is not there yet would be of no use."""
        return (self.decision.after if revision else self.decision.before).etag


class Resolved(Protocol):
    """What a chain has decided. Nothing has changed yet."""

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]:
        """What becomes of each definition."""
        ...

    @property
    def identity(self) -> str:
        """What a repeat of the request is answered with."""
        ...

    @property
    def job(self) -> JobRow | None:
        """The job that begins with it."""
        ...


Decided = TypeVar("Decided", bound=Resolved)


@runtime_checkable
class Several(Protocol):
    """What holds more than one thing."""

    def singles(self) -> Iterator[tuple[str, Any]]:
        """Each of them, with the name of its place in the request."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded(Generic[Decided]):
    """It is on disk."""

    decided: Decided
    revision: int
    """The change's; 0: nothing was to be changed."""

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return any(part.decision.changed for part in self.decided.parts)

    def singles(self) -> Iterator[tuple[str, Any]]:
        """The same of each of several definitions, with the name of its place in the request."""
        decided: object = self.decided
        if not isinstance(decided, Several):
            yield "", self
            return
        for place, single in decided.singles():
            yield place, Recorded(single, self.revision)


@dataclass(frozen=True, slots=True)
class Invalidated(Generic[Decided]):
    """No cache of this process is older."""

    recorded: Recorded[Decided]

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return self.recorded.changed

    def singles(self) -> Iterator[tuple[str, Any]]:
        """The same of each of several definitions, with the name of its place in the request."""
        return ((place, Invalidated(single)) for place, single in self.recorded.singles())


@dataclass(frozen=True, slots=True)
class Announced(Generic[Decided]):
    """Everybody has been told."""

    recorded: Recorded[Decided]

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return self.recorded.changed

    def singles(self) -> Iterator[tuple[str, Any]]:
        """The same of each of several definitions, with the name of its place in the request."""
        return ((place, Announced(single)) for place, single in self.recorded.singles())


class Wish(Protocol):
    """A command of a chain."""

    @property
    def origin(self) -> Origin:
        """Whose change it is."""
        ...

    @property
    def validate_only(self) -> bool:
        """Nothing is to be changed."""
        ...


Wanted = TypeVar("Wanted", bound=Wish)


def standing_of(head: DefinitionHead | None) -> Standing:
    """Where a definition stands, as the rules see it."""
    if head is None:
        return Standing()
    return Standing(head.sequence, head.published, head.latest, head.draft, head.state, head.gone, head.paused)


def log_change(change: Announcement) -> None:
    """One line a change, for operators."""
    log.info(
        "%s %s/%s: %s, revision %d",
        ", ".join(change.events),
        change.tenant,
        change.definition_id,
        f"published version {change.published}" if change.published else "no version published",
        change.revision,
    )


class Ending:
    """The last three stages of every chain, and the way of a command through a chain."""

    def __init__(
        self,
        store: LifecycleStore,
        journal: Writer,
        catalog: Catalog,
        clock: Clock,
        listeners: Sequence[Announce] = (),
    ) -> None:
        self._store = store
        self._journal = journal
        self._catalog = catalog
        self._clock = clock
        self._listeners = listeners
        self._interrupted: dict[tuple[str, str], Interrupted] = {}

    async def carry_out(
        self,
        chain: Chain[Wanted, Announced[Decided]],
        command: Wanted,
        answer: Callable[[Decided, int, Report], Answer],
        again: Callable[[Done], Awaitable[Answer]],
    ) -> Answer:
        """Run the chain; with `validate_only`, up to what is decided.

        `answer` is given what was decided, the revision (0: nothing was changed) and the stages that ran; `again`
        answers to a request that was carried out before.
        """
        if command.validate_only:
            rehearsed = await chain.rehearse(command, monotonic=self._clock.monotonic)
            # A chain that ends in an Announced of something has decided just that before it records.
            return answer(cast("Decided", rehearsed.value), 0, rehearsed.stages)
        done = await self._repeated(command.origin)
        if done is not None:
            return await self._repeat(chain, command.origin, done, again)
        try:
            ran = await chain.run(command, monotonic=self._clock.monotonic)
        except Interrupted as left:
            self._remember(command.origin, left)
            raise
        except Refused as refused:
            # The same request, sent twice at one time: the other one may have won meanwhile. Of a stage that failed
            # the caller has to hear in any case.
            done = await self._repeated(command.origin) if refused.refusal.reason != "STAGE_FAILED" else None
            if done is None:
                raise
            return await self._repeat(chain, command.origin, done, again)
        return answer(ran.value.recorded.decided, ran.value.recorded.revision, ran.stages)

    async def _repeat(
        self,
        chain: Chain[Wanted, Announced[Decided]],
        origin: Origin,
        done: Request,
        again: Callable[[Done], Awaitable[Answer]],
    ) -> Answer:
        """Answer to a request that was carried out before; what its stages after `record` left undone is done now."""
        left = self._interrupted.pop((done.tenant, done.request_id), None)
        if left is not None:
            try:
                await chain.finish(left, monotonic=self._clock.monotonic)
            except Interrupted as still:
                self._remember(origin, still)
                raise
        return await again(_done(done))

    async def present(self, tenant: str, definition_id: str) -> Present:
        """Where a definition stands now."""
        head = await self._store.definition(tenant, definition_id)
        return Present(head.revision if head is not None else 0, standing_of(head).etag)

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

    def _remember(self, origin: Origin, left: Interrupted) -> None:
        if origin.request is None:
            return
        while len(self._interrupted) >= INTERRUPTED_MAX:
            del self._interrupted[next(iter(self._interrupted))]
        self._interrupted[origin.tenant, origin.request.request_id] = left

    # The stages

    async def record(self, decided: Decided, stages: Report) -> Recorded[Decided]:
        """Write the change in one transaction, if there is one; a request is remembered in any case. What stays as it
        is among others that change must still be so then.

        Raises Refused: LOST_RACE where another change was faster, DEFINITION_IN_USE, REQUEST_ID_REUSED.
        """
        origin, now = decided.origin, self._clock.now()
        parts = decided.parts
        changed = any(part.decision.changed for part in parts)
        requests: tuple[Request, ...] = ()
        if origin.request is not None:
            requests = (msgspec.structs.replace(origin.request, identity=_remembered(decided)),)
        if not changed and not requests:
            return Recorded(decided, 0)
        changes = tuple(definition_change(origin, part, now, stages) for part in parts) if changed else ()
        outcome = await self._journal.write(LifecycleChange(origin.tenant, changes, now, requests, decided.job))
        if isinstance(outcome, Lost):
            raise _lost(outcome, origin, parts)
        return Recorded(decided, outcome.revision if changed else 0)

    async def invalidate(self, recorded: Recorded[Decided]) -> Invalidated[Decided]:
        """Let no cache be older than what was changed, and put a new version in the place of the old one."""
        tenant = recorded.decided.origin.tenant
        for part in recorded.decided.parts:
            if part.decision.changed:
                self._catalog.changed(tenant, part.definition_id, recorded.revision)
                if part.compiled is not None:
                    self._catalog.keep(tenant, part.compiled)
        return Invalidated(recorded)

    async def announce(self, invalidated: Invalidated[Decided]) -> Announced[Decided]:
        """Tell everybody, if anything has changed."""
        recorded = invalidated.recorded
        for part in recorded.decided.parts:
            announce(self._listeners, recorded.decided.origin, part, recorded.revision)
        return Announced(recorded)


def _remembered(decided: Resolved) -> str:
    """As `_done` reads it."""
    marks = ("+" if part.decision.changed else "=" for part in decided.parts)
    return f"{decided.identity}|{''.join(marks)}"


def _done(request: Request) -> Done:
    identity, _, marks = request.identity.partition("|")
    # Without marks it was remembered by an earlier program.
    return Done(identity, tuple(mark == "+" for mark in marks or "+" * (identity.count(",") + 1)))


def announce(listeners: Sequence[Announce], origin: Origin, part: Part, revision: int) -> None:
    """Tell everybody what has become of one definition, if anything has."""
    if not part.decision.changed:
        return
    names = tuple(type(event).__name__ for event in part.decision.events)
    published = part.decision.after.published
    change = Announcement(origin.tenant, part.definition_id, names, published, revision, origin.user_id)
    for listener in (log_change, *listeners):
        listener(change)


def definition_change(origin: Origin, part: Part, now: int, stages: tuple[StageRun, ...] = ()) -> DefinitionChange:
    """What to write of one definition."""
    before, after = part.decision.before, part.decision.after
    version = None
    if after.latest > before.latest:
        assert part.content is not None, "a new version has a content"
        version = DefinitionVersion(after.latest, part.content.data, part.content.fingerprint, now, origin.user_id)
    events = tuple(
        DefinitionEvent(
            sequence=before.sequence + number,
            name=type(event).__name__,
            payload=msgspec.json.encode(msgspec.structs.replace(event, stages=stages)),
            user_id=origin.user_id,
            created_at=now,
        )
        for number, event in enumerate(part.decision.events, 1)
    )
    return DefinitionChange(
        tenant=origin.tenant,
        definition_id=part.definition_id,
        expected=before.sequence,
        published=after.published,
        draft=after.draft,
        version=version,
        events=events,
        at=now,
        state=after.state,
        gone=after.gone,
        paused=after.paused,
        triggers=part.triggers,
        pauses=part.pauses,
        listeners=part.listeners,
        idle=part.idle,
        purged=part.purged,
    )


def _lost(lost: Lost, origin: Origin, parts: Sequence[Part]) -> Refused:
    names = ", ".join(repr(part.definition_id) for part in parts)
    resource = parts[0].definition_id if len(parts) == 1 else ""
    match lost.why:
        case Why.DUPLICATE_REQUEST if origin.request is not None:
            return _reused(origin.request)
        case Why.SEQUENCE:
            return lost_race(f"a concurrent change of definition {names} won; read it again and decide anew", resource)
        case Why.LISTENERS:
            message = f"what listens to the same events as definition {names} has changed meanwhile; decide anew"
            return lost_race(message, resource)
        case Why.IN_USE:
            return Refused(refuse_in_use(resource, 0, 0, ()))
        case _:
            message = f"the store did not take the change of definition {names}: {lost.why.value} {lost.message}"
            return Refused(Refusal(Kind.INTERNAL, "INTERNAL", message.rstrip()))


def lost_race(message: str, definition_id: str) -> Refused:
    """A concurrent change was faster."""
    return Refused(Refusal(Kind.RACE, "LOST_RACE", message, resource_type="definition", resource=definition_id))


def _reused(request: Request) -> Refused:
    message = f"request_id {request.request_id!r} was used for a request with another content"
    return Refused(Refusal(Kind.INVALID, "REQUEST_ID_REUSED", message, {"request_id": request.request_id}))
