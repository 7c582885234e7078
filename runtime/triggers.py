"""Triggers to look at, and to fire by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import msgspec
from cachetools import LRUCache

from .batch import request_reused
from .catalog import not_found, version_not_found
from .core import definition as lang
from .core.commands import Origin
from .core.durations import SECOND_US, parse_duration, parse_timestamp
from .core.expressions import ExpressionError
from .core.plan import ScheduleSource
from .core.refusals import Kind, Refusal, Refused
from .core.triggers import TriggerFact, fire
from .core.values import Value
from .executions import Started
from .firing import Fired, Firings, Result, Target, Wish, slot_execution_id
from .lifecycle_rows import DefinitionHead, DefinitionVersion
from .ports import Clock, Ids
from .requests import Caller, check_size, invalid
from .rows import ExecutionRef, Request
from .settings import Settings
from .slots import SLOT_MAX, Slots, slot_text
from .trigger_rows import TriggerRow
from .views import ExecutionView

NEXT_SLOTS_MAX: Final = 5
"""Slots to come that a view shows."""
FIRINGS_MAX: Final = 20
"""How often a firing is decided again because its definition was changing."""
_VERSIONS_MAX: Final = 256
"""Versions whose triggers are kept in memory."""

Look: TypeAlias = Callable[[ExecutionRef], Awaitable[ExecutionView]]
"""What an execution looks like now; raises Refused EXECUTION_NOT_FOUND."""


class TriggerStore(Protocol):
    """What is read here; a Store has it."""

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where a definition stands, or None."""
        ...

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One version, or None."""
        ...

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """One trigger, active or not, or None."""
        ...

    async def triggers(
        self, tenant: str, definition_id: str, event_name: str, after: tuple[str, str], limit: int
    ) -> list[TriggerRow]:
        """Active triggers in the order of (definition id, trigger id), after this place; of one definition and of one
        event where these are not empty."""
        ...

    async def requests(self, tenant: str, request_ids: list[str], now: int) -> dict[str, Request]:
        """The remembered requests among these ids that have not expired."""
        ...


class TriggerView(msgspec.Struct, frozen=True):
    """A trigger as it is now."""

    row: TriggerRow
    definition: lang.Trigger
    next_slots: tuple[int, ...]
    """The slots to come, at most five; none of an event trigger, nor of one that is paused."""


class Triggers:
    """The triggers of all tenants."""

    def __init__(
        self, *, store: TriggerStore, firings: Firings, look: Look, clock: Clock, ids: Ids, settings: Settings
    ) -> None:
        self._store = store
        self._firings = firings
        self._look = look
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._versions: LRUCache[tuple[str, str, int], dict[str, lang.Trigger]] = LRUCache(_VERSIONS_MAX)

    # Looking

    async def list(
        self,
        tenant: str,
        definition_id: str = "",
        event_name: str = "",
        after: tuple[str, str] = ("", ""),
        limit: int = 100,
    ) -> list[TriggerView]:
        """The triggers of published definitions by (definition id, trigger id), after this place; of one definition and
        of one event, where these are not empty."""
        rows = await self._store.triggers(tenant, definition_id, event_name, after, limit)
        return [await self._view(row) for row in rows]

    async def get(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerView:
        """One trigger. Raises Refused: DEFINITION_NOT_FOUND, TRIGGER_NOT_FOUND (also where it was retracted)."""
        return await self._view(await self._row(tenant, definition_id, trigger_id))

    async def _row(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow:
        row = await self._store.trigger(tenant, definition_id, trigger_id)
        if row is not None and row.active:
            return row
        if await self._store.definition(tenant, definition_id) is None:
            raise not_found(definition_id)
        message = f"definition {definition_id!r} has no trigger {trigger_id!r}, or is not published"
        resource = f"{definition_id}/{trigger_id}"
        raise Refused(Refusal(Kind.NOT_FOUND, "TRIGGER_NOT_FOUND", message, resource_type="trigger", resource=resource))

    async def _view(self, row: TriggerRow) -> TriggerView:
        said = (await self._said(row)).get(row.trigger_id)
        if said is None:
            message = f"version {row.version} of definition {row.definition_id!r} has no trigger {row.trigger_id!r}"
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", message))
        return TriggerView(row, said, _next_slots(row, said))

    async def _said(self, row: TriggerRow) -> dict[str, lang.Trigger]:
        """The triggers of the row's version, by id."""
        place = (row.tenant, row.definition_id, row.version)
        known = self._versions.get(place)
        if known is None:
            stored = await self._store.definition_version(*place)
            if stored is None:
                raise version_not_found(row.definition_id, row.version)
            definition = msgspec.json.decode(stored.content, type=lang.Definition)
            known = self._versions[place] = {trigger.id: trigger for trigger in definition.triggers}
        return known

    # By hand

    async def fire(
        self, caller: Caller, definition_id: str, trigger_id: str, payload: Value = None, slot: int = 0
    ) -> Started:
        """Do what the trigger does for an event with this payload (its filter is not asked), or for this slot (0: now).

        A paused trigger can be fired, too. Raises Refused: TRIGGER_NOT_FOUND, DEFINITION_NOT_FOUND, INVALID_REQUEST,
        SCHEMA_MISMATCH, PAYLOAD_TOO_LARGE, UNIQUE_KEY_TAKEN (by another execution with its unique key, or an earlier
        one of the trigger), EXECUTION_ALREADY_EXISTS, SERVER_BUSY, LOST_RACE, REQUEST_ID_REUSED.
        """
        check_size("payload", payload, self._settings)
        now = self._clock.now()
        for _ in range(FIRINGS_MAX):
            earlier = await self._earlier(caller)
            if earlier is not None:
                ref = ExecutionRef(caller.tenant, earlier.identity)
                return Started(await self._look(ref), started=True)
            row = await self._row(caller.tenant, definition_id, trigger_id)
            target = await self._firings.target(row)
            if target is None:
                continue
            wish = self._wish(caller, target, payload, _slot_of(target, payload, slot, now))
            fired = await self._firings.fire(wish)
            if fired.result not in (Result.CHANGED, Result.REPEATED):
                return await self._answer(wish, fired)
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", f"definition {definition_id!r} keeps changing; try again"))

    async def _earlier(self, caller: Caller) -> Request | None:
        """The request, if it was carried out before. Raises Refused REQUEST_ID_REUSED."""
        if not caller.request_id:
            return None
        found = await self._store.requests(caller.tenant, [caller.request_id], self._clock.now())
        stored = found.get(caller.request_id)
        if stored is not None and stored.fingerprint != caller.fingerprint:
            raise Refused(request_reused(caller.request_id))
        return stored

    def _wish(self, caller: Caller, target: Target, payload: Value, slot: int) -> Wish:
        trigger, definition_id = target.trigger, target.published.compiled.definition_id
        source = trigger.source
        try:
            if isinstance(source, ScheduleSource):
                firing = fire(trigger, TriggerFact(trigger.id, slot_text(slot), Slots(source).local(slot)))
                chosen = slot_execution_id(definition_id, trigger.id, slot)
            else:
                firing = fire(trigger, TriggerFact(trigger.id), payload)
                chosen = firing.execution_id or caller.derived_id("firing") or self._ids.new()
        except ExpressionError as error:
            raise _does_not_fit(trigger.id, error) from None
        return Wish(
            target=target,
            ref=ExecutionRef(caller.tenant, chosen),
            firing=firing,
            origin=Origin(trigger.id, slot=slot),
            context=caller.context,
            trace=caller.trace,
            request=caller.remembered(chosen, self._clock.now(), self._settings),
        )

    async def _answer(self, wish: Wish, fired: Fired) -> Started:
        match fired.result:
            case Result.STARTED:
                return Started(await self._look(wish.ref), started=True)
            case Result.EXISTED:
                return Started(_same_definition(wish, await self._look(wish.ref)), started=False)
            case Result.FULL:
                raise _full(wish, self._settings.slots_waiting_max)
            case _:
                raise _taken(wish, fired)


def _next_slots(row: TriggerRow, said: lang.Trigger) -> tuple[int, ...]:
    if said.schedule is None or row.paused or not row.next_slot:
        return ()
    times = said.schedule
    slots = Slots(
        ScheduleSource(
            cron=" ".join(times.cron.split()),
            every=parse_duration(times.every) if times.every else 0,
            at=parse_timestamp(times.at) if times.at else 0,
            time_zone=times.time_zone or "UTC",
        )
    )
    found = [row.next_slot]
    while len(found) < NEXT_SLOTS_MAX and (following := slots.next_after(found[-1])):
        found.append(following)
    return tuple(found)


def _slot_of(target: Target, payload: Value, slot: int, now: int) -> int:
    """The slot to stand for; 0: an event. Raises Refused INVALID_REQUEST where the trigger is of the other kind."""
    if not isinstance(target.trigger.source, ScheduleSource):
        if slot:
            raise invalid("slot", f"trigger {target.trigger.id!r} listens to an event, which has no slot")
        return 0
    if payload is not None:
        raise invalid("payload", f"trigger {target.trigger.id!r} is a schedule, which has no payload")
    if slot % SECOND_US or not 0 <= slot <= SLOT_MAX:
        raise invalid("slot", "is not a whole second between 1970 and 9999")
    return slot or now // SECOND_US * SECOND_US


def _does_not_fit(trigger_id: str, error: ExpressionError) -> Refused:
    path = f"triggers.{trigger_id}.{error.where}" if error.where else f"triggers.{trigger_id}"
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return invalid(path, message, "EXPRESSION_ERROR")


def _same_definition(wish: Wish, view: ExecutionView) -> ExecutionView:
    if view.definition_id == wish.target.published.compiled.definition_id:
        return view
    chosen = wish.ref.execution_id
    message = f"execution {chosen} exists, and runs {view.definition_id}"
    metadata = {"definition_id": view.definition_id}
    raise Refused(
        Refusal(Kind.EXISTS, "EXECUTION_ALREADY_EXISTS", message, metadata, resource_type="execution", resource=chosen)
    )


def _full(wish: Wish, limit: int) -> Refused:
    message = f"{limit} executions of trigger {wish.target.trigger.id!r} wait already (slots_waiting_max)"
    return Refused(Refusal(Kind.BUSY, "SERVER_BUSY", message, {"limit": str(limit)}, retry_after_us=10 * SECOND_US))


def _taken(wish: Wish, fired: Fired) -> Refused:
    message = f"execution {fired.holder} holds the unique key {wish.firing.unique_key!r}"
    if fired.result is Result.OVERLAP:
        message = f"execution {fired.holder} of trigger {wish.target.trigger.id!r} has not ended"
    return Refused(
        Refusal(
            Kind.EXISTS,
            "UNIQUE_KEY_TAKEN",
            message,
            {"holder": fired.holder},
            resource_type="execution",
            resource=fired.holder,
        )
    )
