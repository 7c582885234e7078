"""What is published, ready to run: compiled versions, and which version of a definition that is.

- A compiled version is immutable, so its cache is never wrong; time and number bound its memory.
- Which version is published is cached with the tenant's revision that was read *before* it. The journal tells of every
  change in order; a revision that leaves a gap came from elsewhere, and everything read before it is read again.
- A change of a definition while it is being read makes the reader read again. One reader a key, however many wait.
- Absence is not cached. Nothing is right because of a time limit: a start carries the revision it was decided on, and
  the store compares.

Everything here runs on one event loop; between two awaits nothing else happens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from cachetools import TTLCache
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from .core.compiler import compile_definition
from .core.definition import Definition
from .core.nodes import Node
from .core.plan import Plan
from .core.reader import Reading
from .core.refusals import Kind, Refusal, Refused, Violation
from .core.values import Value
from .lifecycle_rows import DefinitionHead, DefinitionVersion, LifecycleChange
from .ports import Clock
from .rows import DefinitionGuard
from .schemas import Validator, misfits_of
from .writes import Committed, Write

_LOG = logging.getLogger("callboard.catalog")

READS_MAX = 5
"""How often a definition that changes while it is read is read again before the answer is taken uncached."""


class DefinitionSource(Protocol):
    """What the catalog reads; a Store has it."""

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where a definition stands, or None."""
        ...

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One version, or None."""
        ...

    async def revision(self, tenant: str) -> int:
        """The tenant's last revision."""
        ...


@dataclass(frozen=True, slots=True)
class CompiledVersion:
    """One version of a definition, ready to run."""

    definition_id: str
    version: int
    plan: Plan
    validator: Validator | None
    """Checks inputs; None: anything fits."""
    content: bytes
    """Canonical JSON of the definition."""
    fingerprint: bytes

    def input_violations(self, value: Value) -> tuple[Violation, ...]:
        """Where an input does not fit `input_schema`; empty: it fits. Where the schema has sensitive fields, the
        messages do not quote the input."""
        return self.validator.violations(value) if self.validator is not None else ()


class Published(NamedTuple):
    """What a start runs, and the revision it is decided on."""

    compiled: CompiledVersion
    revision: int
    """Of the definition's last change."""

    @property
    def guard(self) -> DefinitionGuard:
        """The condition that a start's append carries."""
        return DefinitionGuard(self.compiled.definition_id, self.revision)


class CatalogLimits(msgspec.Struct, frozen=True):
    """Bounds of the caches."""

    versions_max: int = 1_000
    versions_seconds_max: float = 600.0
    """A version is dropped so long after it was compiled, used or not."""
    pointers_max: int = 10_000
    pointers_seconds_max: float = 600.0


class CatalogCounts(msgspec.Struct):
    """How lookups were answered since the start."""

    hits: int = 0
    """Versions found in memory."""
    misses: int = 0
    """Reads from the store: of a version, or of where a definition stands."""
    stale: int = 0
    """Found in memory, but older than a change made elsewhere, and dropped."""


class _Pointer(NamedTuple):
    """Where a definition stands, as of a revision of its tenant."""

    published: int
    revision: int
    as_of: int
    gone: tuple[int, ...]
    """Deleted versions."""


_Key = TypeVar("_Key")
_Read = TypeVar("_Read")


class _Flight(Generic[_Read]):
    """A read under way."""

    __slots__ = ("spoiled", "task")

    def __init__(self) -> None:
        self.spoiled = False
        """What is being read has changed meanwhile."""
        self.task: asyncio.Task[_Read] | None = None


class _Flights(Generic[_Key, _Read]):
    """One reader a key: who asks for what is being read joins, and giving up concerns nobody else."""

    def __init__(self) -> None:
        self.under_way: dict[_Key, _Flight[_Read]] = {}

    async def join(self, key: _Key, read: Callable[[_Flight[_Read]], Coroutine[Any, Any, _Read]]) -> _Read:
        flight = self.under_way.get(key)
        if flight is None:
            flight = self.under_way[key] = _Flight()
            flight.task = asyncio.create_task(read(flight))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        assert flight.task is not None
        return await asyncio.shield(flight.task)

    def _landed(self, key: _Key, task: asyncio.Task[_Read]) -> None:
        self.under_way.pop(key, None)
        if not task.cancelled():
            # Fetched, so that a failure nobody waits for any more is not reported as forgotten.
            task.exception()


class Catalog:
    """The definitions of all tenants, as far as they are in use."""

    def __init__(self, store: DefinitionSource, clock: Clock, limits: CatalogLimits | None = None) -> None:
        bounds = limits or CatalogLimits()
        self._store = store
        self._versions: TTLCache[tuple[str, str, int], CompiledVersion] = TTLCache(
            bounds.versions_max, bounds.versions_seconds_max, clock.monotonic
        )
        self._pointers: TTLCache[tuple[str, str], _Pointer] = TTLCache(
            bounds.pointers_max, bounds.pointers_seconds_max, clock.monotonic
        )
        self._version_flights: _Flights[tuple[str, str, int], CompiledVersion] = _Flights()
        self._pointer_flights: _Flights[tuple[str, str], _Pointer] = _Flights()
        self._known: dict[str, int] = {}
        """The highest revision heard of, by tenant."""
        self._floor: dict[str, int] = {}
        """Pointers read before this revision may be old, by tenant."""
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self.counts = CatalogCounts()

    # Lookups

    def cached_published(self, tenant: str, definition_id: str, version: int = 0) -> Published | None:
        """What a start would run, if that is known without a read; None: ask `published`. `version` 0: the published.

        Raises Refused where it is known that nothing may be started: DEFINITION_RETRACTED, DEFINITION_NOT_PUBLISHED.
        """
        pointer = self._cached_pointer(tenant, definition_id)
        if pointer is None:
            return None
        number = _startable(pointer, definition_id, version)
        compiled = self.cached_version(tenant, definition_id, number)
        return Published(compiled, pointer.revision) if compiled is not None else None

    async def published(self, tenant: str, definition_id: str, version: int = 0) -> Published:
        """What a start runs. `version` 0: the published one.

        Raises Refused: DEFINITION_NOT_FOUND, VERSION_NOT_FOUND, DEFINITION_NOT_PUBLISHED, DEFINITION_RETRACTED.
        """
        pointer = self._cached_pointer(tenant, definition_id)
        if pointer is None:
            pointer = await self._pointer_flights.join(
                (tenant, definition_id), lambda flight: self._read_pointer(tenant, definition_id, flight)
            )
        number = _startable(pointer, definition_id, version)
        return Published(await self.version(tenant, definition_id, number), pointer.revision)

    def cached_version(self, tenant: str, definition_id: str, version: int) -> CompiledVersion | None:
        """A version, if it is in memory."""
        try:
            found = self._versions[tenant, definition_id, version]
        except KeyError:
            return None
        self.counts.hits += 1
        return found

    async def version(self, tenant: str, definition_id: str, version: int) -> CompiledVersion:
        """A version, published or not: what a running execution needs. Raises Refused(VERSION_NOT_FOUND)."""
        found = self.cached_version(tenant, definition_id, version)
        if found is not None:
            return found
        return await self._version_flights.join(
            (tenant, definition_id, version), lambda _: self._read_version(tenant, definition_id, version)
        )

    async def plan(self, tenant: str, definition_id: str, version: int) -> Plan:
        """The plan of a version. Raises Refused(VERSION_NOT_FOUND)."""
        return (await self.version(tenant, definition_id, version)).plan

    # Revisions

    def known(self, tenant: str) -> int:
        """The highest revision heard of; 0: none yet."""
        return self._known.get(tenant, 0)

    async def at_least(self, tenant: str, revision: int) -> None:
        """Return once no lookup answers with anything older than this revision. The caller sets the time limit."""
        if revision <= self.known(tenant):
            return
        self.advance(tenant, await self._store.revision(tenant))
        if revision <= self.known(tenant):
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (revision, reached)
        self._waiting.setdefault(tenant, []).append(waiting)
        try:
            await reached
        finally:
            self._forget(tenant, waiting)

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener: told of every commit, in order."""
        for write, committed in writes:
            if type(write) is LifecycleChange:
                for change in write.changes:
                    self.changed(write.tenant, change.definition_id, committed.revision)

    def changed(self, tenant: str, definition_id: str, revision: int) -> None:
        """A definition was changed by this revision. May come late, twice, or not at all."""
        key = (tenant, definition_id)
        flight = self._pointer_flights.under_way.get(key)
        if flight is not None:
            flight.spoiled = True
        pointer = self._pointers.get(key)
        if pointer is not None and pointer.as_of < revision:
            self._pointers.pop(key, None)
        if revision == self.known(tenant) + 1:
            self._reach(tenant, revision)
        else:
            self.advance(tenant, revision)

    def advance(self, tenant: str, revision: int) -> None:
        """The tenant is at this revision, and what was changed on the way is not known: doubt everything older."""
        if revision <= self.known(tenant):
            return
        self._floor[tenant] = revision
        for (owner, _), flight in self._pointer_flights.under_way.items():
            flight.spoiled = flight.spoiled or owner == tenant
        self._reach(tenant, revision)

    def keep(self, tenant: str, compiled: CompiledVersion) -> None:
        """Take a version that has just been stored, so that its first start need not compile it again."""
        self._versions[tenant, compiled.definition_id, compiled.version] = compiled

    def observe(self, meter: Meter) -> None:
        """Show the counts as a metric."""
        meter.create_observable_counter(
            "callboard.catalog.lookups",
            [self._observations],
            "{lookup}",
            "Lookups of definitions, by how they were answered",
        )

    def _observations(self, _: CallbackOptions) -> Iterable[Observation]:
        for name in self.counts.__struct_fields__:
            yield Observation(getattr(self.counts, name), {"callboard.result": name})

    # Reading

    def _cached_pointer(self, tenant: str, definition_id: str) -> _Pointer | None:
        try:
            pointer = self._pointers[tenant, definition_id]
        except KeyError:
            return None
        if pointer.as_of < self._floor.get(tenant, 0):
            self.counts.stale += 1
            self._pointers.pop((tenant, definition_id), None)
            return None
        return pointer

    async def _read_pointer(self, tenant: str, definition_id: str, flight: _Flight[_Pointer]) -> _Pointer:
        head: DefinitionHead | None = None
        as_of = 0
        for _ in range(READS_MAX):
            self.counts.misses += 1
            as_of = await self._store.revision(tenant)
            self.advance(tenant, as_of)
            flight.spoiled = False
            head = await self._store.definition(tenant, definition_id)
            if not flight.spoiled:
                break
        if head is None:
            raise not_found(definition_id)
        pointer = _Pointer(_published_of(head), head.revision, as_of, head.gone)
        if not flight.spoiled:
            self._pointers[tenant, definition_id] = pointer
        return pointer

    async def _read_version(self, tenant: str, definition_id: str, version: int) -> CompiledVersion:
        self.counts.misses += 1
        stored = await self._store.definition_version(tenant, definition_id, version)
        if stored is None:
            raise version_not_found(definition_id, version)
        compiled = _compile_stored(stored, definition_id)
        self.keep(tenant, compiled)
        return compiled

    def _reach(self, tenant: str, revision: int) -> None:
        self._known[tenant] = revision
        for wanted, reached in self._waiting.get(tenant, ()):
            if wanted <= revision and not reached.done():
                reached.set_result(None)

    def _forget(self, tenant: str, waiting: tuple[int, asyncio.Future[None]]) -> None:
        others = self._waiting[tenant]
        others.remove(waiting)
        if not others:
            del self._waiting[tenant]


_NEVER = -1
"""Instead of a published version: there has never been one. 0: it was retracted."""
_DELETED = -2
"""Instead of a published version: the definition is deleted, or is being deleted."""


def _published_of(head: DefinitionHead) -> int:
    if head.state:
        return _DELETED
    return head.published if head.latest else _NEVER


def _startable(pointer: _Pointer, definition_id: str, version: int) -> int:
    """The version that a start runs; raises Refused where none may be started."""
    if version in pointer.gone:
        raise version_not_found(definition_id, version)
    if pointer.published > 0:
        return version or pointer.published
    if pointer.published == _NEVER:
        raise never_published(definition_id)
    if pointer.published == _DELETED:
        raise deleted(definition_id)
    message = f"definition {definition_id!r} has been retracted: nothing new starts from it"
    raise Refused(_refusal(Kind.STATE, "DEFINITION_RETRACTED", message, definition_id))


def not_found(definition_id: str) -> Refused:
    """There is no such definition."""
    message = f"there is no definition {definition_id!r}"
    return Refused(_refusal(Kind.NOT_FOUND, "DEFINITION_NOT_FOUND", message, definition_id))


def never_published(definition_id: str) -> Refused:
    """The definition has a draft only."""
    message = f"definition {definition_id!r} has never been published"
    return Refused(_refusal(Kind.STATE, "DEFINITION_NOT_PUBLISHED", message, definition_id))


def deleted(definition_id: str) -> Refused:
    """The definition is deleted, or is being deleted."""
    message = f"definition {definition_id!r} has been deleted: nothing new starts from it"
    return Refused(_refusal(Kind.STATE, "DEFINITION_DELETED", message, definition_id))


def version_not_found(definition_id: str, version: int) -> Refused:
    """The definition has no such version."""
    message = f"definition {definition_id!r} has no version {version}"
    return Refused(_refusal(Kind.NOT_FOUND, "VERSION_NOT_FOUND", message, f"{definition_id}@{version}"))


def _refusal(kind: Kind, reason: str, message: str, resource: str) -> Refusal:
    return Refusal(kind, reason, message, resource_type="definition", resource=resource)


def _compile_stored(stored: DefinitionVersion, definition_id: str) -> CompiledVersion:
    """Compile what this program, or an earlier one, has accepted. However it fails, it concerns this version alone:
    raises Refused."""
    place = f"version {stored.version} of definition {definition_id!r}"
    message = f"{place} does not compile in this version of the server"
    refusal = _refusal(Kind.INTERNAL, "INTERNAL", message, f"{definition_id}@{stored.version}")
    try:
        definition = msgspec.json.decode(stored.content, type=Definition)
        compiled = compile_definition(Reading(definition, Node(None)), stored.version, misfits_of=misfits_of)
        if compiled.plan is not None:
            return executable(definition, compiled.plan, stored.content, stored.fingerprint)
    except Exception as error:
        _LOG.exception("%s cannot be read", place)
        raise Refused(msgspec.structs.replace(refusal, message=f"{message}: {error}")) from error
    raise Refused(msgspec.structs.replace(refusal, violations=compiled.violations))


def executable(definition: Definition, plan: Plan, content: bytes, fingerprint: bytes) -> CompiledVersion:
    """The runnable form of a definition that has a plan and whose schemas were checked."""
    schema, masked = definition.input_schema, plan.seal_input is not None
    validator = Validator(schema, masked=masked) if schema is not None else None
    return CompiledVersion(plan.definition_id, plan.version, plan, validator, content, fingerprint)
