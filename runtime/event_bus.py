"""Published events: one acceptance, one commit, and in it everything that the event comes to.

Rules
- Which triggers match, of which versions, and under which execution ids is decided before the commit, on what listens
  as of a revision; the store compares that in the commit, and where it has changed, everything is decided again. So
  no execution is started by a version that was not published at the event's place in the order of commits.
- Which steps wait is found by the store, within the commit.
- A trigger that errors, or that cannot start what it wants to, is no match and a warning: never a failure of the
  event, nor of the other triggers. An execution id or unique key that is taken is no match and no warning.
- What an execution emits comes the same way; the row in the outbox goes with the acceptance.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from .batch import request_reused
from .births import Birth, Births, outcome_of
from .core.commands import KEY_LINE, Origin, Start
from .core.expressions import ExpressionError
from .core.refusals import Kind, Refusal, Refused
from .core.sealing import wordless
from .core.triggers import Firing, TriggerFact, fire, hears
from .core.values import Value, decode
from .listeners import Hearing, Listener, Listeners, located
from .ports import Clock, Ids
from .requests import Caller, check_event_name, check_length, check_size, invalid
from .roles import Writer
from .rows import ExecutionRef, LineClaim
from .settings import Settings
from .trigger_rows import EventAcceptance, EventOutcome, OutboxRow, TriggerStart
from .writes import Committed, Lost, Outcome, Why

log = logging.getLogger("callboard.events")

DECISIONS_MAX = 20
"""How often an event is decided again because what listens to it changed while it was being committed."""
TRIGGERS_AT_ONCE_MAX = 16
"""Triggers that are judged before others get their turn on the loop."""
EMITTED = "emit:"
"""How the ids of emitted events begin; callers' ids must not."""

Observe = Callable[[EventOutcome], None]
"""Told what every accepted event matched, with its warnings."""


class PublishedEvents(Protocol):
    """What is read here; a Store has it."""

    async def published_event(self, tenant: str, event_id: str, now: int) -> EventOutcome | None:
        """What a published event matched, if its id is remembered."""
        ...


class EventAnswer(msgspec.Struct, frozen=True):
    """The answer to a published event, once it is durable."""

    event_id: str
    duplicate: bool
    """It had been accepted before; `outcome` is what it matched then."""
    outcome: EventOutcome


class _Event(NamedTuple):
    """An event on its way."""

    caller: Caller
    id: str
    name: str
    key: str
    payload: Value
    data: bytes
    """The payload, encoded."""
    outbox: int = 0


class _Decided(NamedTuple):
    """What an event comes to, as of a revision of what listens to it."""

    revision: int
    births: list[tuple[str, Birth]]
    """With the ids of their triggers."""
    warnings: list[str]


class EventBus:
    """Takes events, and says what became of each."""

    def __init__(
        self,
        *,
        store: PublishedEvents,
        journal: Writer,
        listeners: Listeners,
        births: Births,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        observe: Observe | None = None,
    ) -> None:
        self._store = store
        self._journal = journal
        self._listeners = listeners
        self._births = births
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._observe = observe

    async def publish(
        self, caller: Caller, name: str, key: str = "", payload: Value = None, event_id: str = ""
    ) -> EventAnswer:
        """Accept an event durably. Raises Refused: INVALID_REQUEST, PAYLOAD_TOO_LARGE, REQUEST_ID_REUSED, LOST_RACE,
        and what the journal refuses."""
        check_event_name(name)
        check_length("key", key)
        check_length("event_id", event_id)
        if event_id.startswith(EMITTED):
            raise invalid("event_id", f"begins with {EMITTED!r}, as the ids of emitted events do")
        data = check_size("payload", payload, self._settings)
        known = event_id or caller.derived_id("event") or self._ids.new()
        outcome = await self._accept(_Event(caller, known, name, key, payload, data))
        if isinstance(outcome, Committed):
            return EventAnswer(known, duplicate=False, outcome=outcome.event or EventOutcome())
        return await self._repeated(caller, known, outcome)

    async def deliver(self, row: OutboxRow) -> None:
        """Accept what an execution emitted; returns when it is accepted, by this call or an earlier one. Raises
        Refused: LOST_RACE, INTERNAL, and what the journal refuses."""
        known = msgspec.json.decode(row.context, type=_Context)
        caller = Caller(row.ref.tenant, known.user, known.trace)
        emitted = f"{EMITTED}{row.key}:{row.sequence}"
        outcome = await self._accept(
            _Event(caller, emitted, row.name, row.event_key, decode(row.payload), row.payload, row.id)
        )
        if isinstance(outcome, Lost) and outcome.why not in (Why.NOT_FOUND, Why.DUPLICATE_EVENT):
            raise _internal(outcome)

    async def _accept(self, event: _Event) -> Outcome:
        """Decide and commit, until what listens has not changed in between."""
        tenant, name = event.caller.tenant, event.name
        for _ in range(DECISIONS_MAX):
            decided = await self._decide(event, await self._listeners.of(tenant, name))
            outcome = await self._commit(event, decided)
            if isinstance(outcome, Committed):
                if self._observe is not None and outcome.event is not None:
                    self._observe(outcome.event)
                return outcome
            if outcome.why is not Why.LISTENERS:
                return outcome
            self._listeners.forget(tenant, name, decided.revision)
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", f"what listens to {name!r} keeps changing; try again"))

    async def _repeated(self, caller: Caller, event_id: str, lost: Lost) -> EventAnswer:
        """What a caller gets whose request or event was there before; raises Refused where it was another request."""
        if lost.why is Why.DUPLICATE_EVENT and lost.event is not None:
            return EventAnswer(event_id, duplicate=True, outcome=lost.event)
        if lost.why is not Why.DUPLICATE_REQUEST or lost.stored is None:
            raise _internal(lost)
        if lost.stored.fingerprint != caller.fingerprint:
            raise Refused(request_reused(caller.request_id))
        earlier = lost.stored.identity
        outcome = await self._store.published_event(caller.tenant, earlier, self._clock.now())
        return EventAnswer(earlier, duplicate=True, outcome=outcome or EventOutcome())

    # What listens

    async def _decide(self, event: _Event, hearing: Hearing) -> _Decided:
        """The starts of the triggers that match."""
        decided = _Decided(hearing.revision, [], list(hearing.warnings))
        for count, listener in enumerate(hearing.listeners, 1):
            plan, trigger = listener.compiled.plan, listener.trigger
            try:
                birth = self._birth(event, listener)
            except (ExpressionError, Refused) as error:
                decided.warnings.append(located(plan.definition_id, plan.version, trigger.id, _said(error)))
            except Exception as error:
                # A defect that one definition brings out must not cost the others their event.
                told = wordless(error) if plan.sensitive else error
                known = {"definition": plan.definition_id, "trigger": trigger.id}
                log.error("a trigger raised", exc_info=told, extra=known)
                message = f"{type(told).__name__}: {told}"
                decided.warnings.append(located(plan.definition_id, plan.version, trigger.id, message))
            else:
                if birth is not None:
                    decided.births.append((trigger.id, birth))
            if not count % TRIGGERS_AT_ONCE_MAX:
                await asyncio.sleep(0)
        return decided

    def _birth(self, event: _Event, listener: Listener) -> Birth | None:
        """What a trigger starts for the event; None: it does not match. Raises ExpressionError, Refused."""
        trigger, plan = listener.trigger, listener.compiled.plan
        if not hears(trigger, event.payload):
            return None
        firing = fire(trigger, TriggerFact(trigger.id), event.payload)
        self._check(firing, listener)
        execution_id = firing.execution_id or derived_id(plan.definition_id, trigger.id, event.id)
        command = Start(
            plan.definition_id,
            plan.version,
            firing.input,
            trace=event.caller.trace,
            origin=Origin(trigger.id, event.id),
        )
        return self._births.prepare(
            ExecutionRef(event.caller.tenant, execution_id),
            command,
            plan,
            context=event.caller.context,
            claims=(LineClaim(KEY_LINE + firing.unique_key),) if firing.unique_key else (),
        )

    def _check(self, firing: Firing, listener: Listener) -> None:
        """Whether an execution may be started so; raises Refused, as a start by a caller would."""
        if listener.trigger.input is not None:
            check_size("input", firing.input, self._settings)
        violations = listener.compiled.input_violations(firing.input)
        if violations:
            message = f"the input does not fit input_schema: {violations[0].located}"
            raise Refused(Refusal(Kind.INVALID, "SCHEMA_MISMATCH", message, violations=violations))

    # The one commit

    async def _commit(self, event: _Event, decided: _Decided) -> Outcome:
        """Write the acceptance. Executions that it starts are taken over also where the caller has given up."""

        def take_over(accepted: Committed) -> None:
            for (_, birth), start in zip(decided.births, accepted.starts, strict=True):
                if isinstance(start, Committed):
                    self._births.adopt(birth, start)

        return await outcome_of(self._journal.write(self._acceptance(event, decided)), take_over)

    def _acceptance(self, event: _Event, decided: _Decided) -> EventAcceptance:
        caller, settings, now = event.caller, self._settings, self._clock.now()
        request = caller.remembered(event.id, now, settings)
        return EventAcceptance(
            tenant=caller.tenant,
            event_id=event.id,
            name=event.name,
            key=event.key,
            payload=event.data,
            context=caller.context,
            accepted_at=now,
            expires_at=now + settings.event_ids_seconds * 1_000_000,
            listeners=decided.revision,
            starts=tuple(TriggerStart(trigger_id, birth.append) for trigger_id, birth in decided.births),
            warnings=tuple(decided.warnings),
            offers_max=settings.event_offers_max,
            job_id=self._ids.new() if event.key else "",
            outbox=event.outbox,
            requests=(request,) if request is not None else (),
        )


class _Context(msgspec.Struct, frozen=True):
    """What is stored of whoever caused an event (Caller.context)."""

    user: str = ""
    trace: str = ""


def derived_id(definition_id: str, trigger_id: str, event_id: str) -> str:
    """The id of the execution that an event starts through a trigger, where no expression gives it."""
    digest = hashlib.blake2b(f"{definition_id}\0{trigger_id}\0{event_id}".encode(), digest_size=16)
    return f"{definition_id}-{trigger_id}-{digest.hexdigest()}"


def _said(error: ExpressionError | Refused) -> str:
    if isinstance(error, Refused):
        return error.refusal.message
    return f"{error.where}: {error}" if error.where else str(error)


def _internal(lost: Lost) -> Refused:
    return Refused(Refusal(Kind.INTERNAL, "INTERNAL", f"the event was not accepted: {lost.message or lost.why.value}"))
