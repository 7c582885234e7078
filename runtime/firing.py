"""A trigger fires: the one write that starts its execution, whoever asked for it (the clock, or a caller by hand).

Rules
- Everything of a firing is one commit: the step from the slot to the next one, the start, its places in lines.
- `overlap` is a place in the line `trigger:<trigger id>`, `unique_key` one in `key:<unique key>`. Which of the two was
  taken is asked of the line itself.
- A start is decided on a revision of its definition and on a slot; where either has moved on, nothing is written, and
  the caller reads again and decides again.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from .births import Birth, outcome_of
from .catalog import Catalog, Published
from .core.commands import KEY_LINE, TRIGGER_LINE, Origin, Start
from .core.definition import Overlap
from .core.plan import Plan, ScheduleSource, TriggerPlan
from .core.refusals import Kind, Refusal, Refused
from .core.sealing import wordless
from .core.triggers import Firing
from .mailbox import NO_CONTEXT
from .ports import Clock
from .requests import check_id, check_size
from .rows import ExecutionAppend, ExecutionRef, LineClaim, Request
from .settings import Settings
from .slots import slot_name
from .trigger_rows import SlotStep, TriggerFiring, TriggerRow
from .writes import Committed, Lost, Outcome, Why, Write

log = logging.getLogger("callboard.triggers")

PLACES_MAX: Final = 10
"""How often a place in a line is asked for that comes and goes while it is asked for."""


class LineStore(Protocol):
    """What is read here; a Store has it."""

    async def line(self, tenant: str, definition_id: str, line: str, limit: int) -> list[ExecutionRef]:
        """The first executions in a line; the one at the front runs."""
        ...


class Writer(Protocol):
    """Where firings go: the journal."""

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Commit, and say what became of it; raises Refused while the disk is full."""
        ...


class Beginnings(Protocol):
    """Where new executions come from: births.py."""

    def prepare(
        self,
        ref: ExecutionRef,
        command: Start,
        plan: Plan,
        *,
        context: bytes,
        request: Request | None = None,
        claims: tuple[LineClaim, ...] = (),
    ) -> Birth:
        """Decide a start without writing it; raises Refused."""
        ...

    def adopt(self, birth: Birth, committed: Committed) -> None:
        """It is on disk: it may run."""
        ...


class Result(enum.Enum):
    """What became of a firing."""

    STARTED = "started"
    EXISTED = "existed"
    """It had been started before; the slot passes all the same."""
    OVERLAP = "overlap"
    """An earlier execution of the trigger has not ended. Nothing is written."""
    KEY_TAKEN = "unique_key"
    """An execution with its unique key has not ended. Nothing is written."""
    FULL = "full"
    """As many executions as may wait behind the earlier one do so. Nothing is written."""
    CHANGED = "changed"
    """The slot or the definition has moved on. Nothing is written."""
    REPEATED = "repeated"
    """The caller's request was carried out before. Nothing is written."""


class Fired(NamedTuple):
    """What became of a firing, and who holds the place that it wanted."""

    result: Result
    holder: str = ""
    """OVERLAP, KEY_TAKEN: an execution id."""


class Target(NamedTuple):
    """The published version whose trigger it is."""

    published: Published
    trigger: TriggerPlan

    @property
    def overlap(self) -> Overlap:
        """Events are never in each other's way."""
        source = self.trigger.source
        return source.overlap if isinstance(source, ScheduleSource) else Overlap.ALLOW


@dataclass(frozen=True, slots=True)
class Wish:
    """A firing that is wanted."""

    target: Target
    ref: ExecutionRef
    firing: Firing
    origin: Origin
    step: SlotStep | None = None
    """None: by hand."""
    context: bytes = NO_CONTEXT
    trace: str = ""
    request: Request | None = None

    @property
    def line(self) -> str:
        """The line of the trigger's own executions."""
        return line_of(self.target.trigger.id)


class Firings:
    """Fires triggers of one store."""

    def __init__(
        self,
        *,
        store: LineStore,
        journal: Writer,
        catalog: Catalog,
        births: Beginnings,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._store = store
        self._journal = journal
        self._catalog = catalog
        self._births = births
        self._clock = clock
        self._settings = settings

    async def target(self, row: TriggerRow) -> Target | None:
        """What the trigger starts; None: its definition is just changing. Raises Refused, where it cannot run."""
        try:
            known = self._catalog.cached_published(row.tenant, row.definition_id)
            published = known or await self._catalog.published(row.tenant, row.definition_id)
        except Refused as refused:
            if refused.refusal.kind in (Kind.STATE, Kind.NOT_FOUND):
                return None
            raise
        if published.compiled.version != row.version:
            return None
        for trigger in published.compiled.plan.triggers:
            if trigger.id == row.trigger_id:
                return Target(published, trigger)
        message = f"version {row.version} of definition {row.definition_id!r} has no trigger {row.trigger_id!r}"
        raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", message))

    async def fire(self, wish: Wish) -> Fired:
        """Start what is wanted. Raises Refused where it cannot be started (SCHEMA_MISMATCH, PAYLOAD_TOO_LARGE, ...) or
        not now (STORAGE_FULL, ...)."""
        self._check(wish)
        behind = ""
        for _ in range(PLACES_MAX):
            birth = self._birth(wish, behind)
            outcome = await self._commit(wish, birth)
            if isinstance(outcome, Committed):
                return Fired(Result.STARTED if _started(outcome) is not None else Result.EXISTED)
            place = await self._place(wish, behind, outcome)
            if isinstance(place, Fired):
                return place
            behind = place
        return Fired(Result.CHANGED)

    async def skip(self, row: TriggerRow, target: Target, step: SlotStep) -> bool:
        """Let the slot pass without a start; False: it or the definition has moved on, and nothing was written."""
        outcome = await self._write(target, row.tenant, None, step)
        if isinstance(outcome, Lost) and outcome.why not in _MOVED_ON:
            raise _not_taken(outcome)
        return isinstance(outcome, Committed)

    def _check(self, wish: Wish) -> None:
        check_id("execution_id", wish.ref.execution_id)
        check_size("input", wish.firing.input, self._settings)
        violations = wish.target.published.compiled.input_violations(wish.firing.input)
        if violations:
            message = f"the trigger's input does not fit input_schema: {violations[0].located}"
            raise Refused(Refusal(Kind.INVALID, "SCHEMA_MISMATCH", message, violations=violations))

    def _birth(self, wish: Wish, behind: str) -> Birth:
        plan = wish.target.published.compiled.plan
        claims = self._claims(wish, behind)
        command = Start(
            plan.definition_id,
            plan.version,
            wish.firing.input,
            trace=wish.trace,
            behind=behind,
            origin=wish.origin,
        )
        try:
            return self._births.prepare(
                wish.ref, command, plan, context=wish.context, request=wish.request, claims=claims
            )
        except Refused:
            raise
        except Exception as error:
            # As in an actor: a defect in deciding concerns this start alone.
            told = wordless(error) if plan.sensitive else error
            log.error("the start of %s could not be decided", wish.ref.execution_id, exc_info=told)
            message = f"the start could not be decided: {told!r}"
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", message)) from told

    def _claims(self, wish: Wish, behind: str) -> tuple[LineClaim, ...]:
        overlap, key = wish.target.overlap, wish.firing.unique_key
        claims: list[LineClaim] = []
        if overlap is not Overlap.ALLOW:
            cancels = bool(behind) and overlap is Overlap.CANCEL_RUNNING
            # The one that runs is in the line, too.
            length_max = self._settings.slots_waiting_max + 1 if behind and overlap is Overlap.QUEUE else 0
            claims.append(LineClaim(wish.line, bool(behind), cancels, length_max))
        if key:
            claims.append(LineClaim(KEY_LINE + key))
        return tuple(claims)

    def _write(
        self, target: Target, tenant: str, start: ExecutionAppend | None, step: SlotStep | None
    ) -> Awaitable[Outcome]:
        guard = target.published.guard
        return self._journal.write(
            TriggerFiring(tenant, guard.definition_id, target.trigger.id, self._clock.now(), guard, start, step)
        )

    async def _commit(self, wish: Wish, birth: Birth) -> Outcome:
        """Write the firing. The execution is taken over also where the caller has given up."""

        def take_over(fired: Committed) -> None:
            if (start := _started(fired)) is not None:
                self._births.adopt(birth, start)

        return await outcome_of(self._write(wish.target, wish.ref.tenant, birth.append, wish.step), take_over)

    async def _place(self, wish: Wish, behind: str, lost: Lost) -> Fired | str:
        """What a lost firing means; a text: try again, behind the execution with this id (empty: in front)."""
        if lost.why in _MOVED_ON:
            return Fired(Result.CHANGED)
        match lost.why:
            case Why.LINE_TAKEN:
                return await self._taken(wish, behind, lost.holder)
            case Why.LINE_EMPTY:
                return ""
            case Why.LINE_FULL:
                return Fired(Result.FULL)
            case Why.DUPLICATE_REQUEST:
                return Fired(Result.REPEATED)
            case _:
                raise _not_taken(lost)

    async def _taken(self, wish: Wish, behind: str, holder: str) -> Fired | str:
        overlap = wish.target.overlap
        if behind or overlap is Overlap.ALLOW:
            return Fired(Result.KEY_TAKEN, holder)
        front = holder
        if wish.firing.unique_key:
            tenant, definition_id = wish.ref.tenant, wish.target.published.compiled.definition_id
            line = await self._store.line(tenant, definition_id, wish.line, 1)
            if not line:
                return Fired(Result.KEY_TAKEN, holder)
            front = line[0].execution_id
        return Fired(Result.OVERLAP, front) if overlap is Overlap.SKIP else front


_MOVED_ON: Final = frozenset({Why.SEQUENCE, Why.REVISION})


def line_of(trigger_id: str) -> str:
    """The line of a trigger's executions."""
    return TRIGGER_LINE + trigger_id


def slot_execution_id(definition_id: str, trigger_id: str, slot: int) -> str:
    """The id of the one execution that a slot starts."""
    return f"{definition_id}-{trigger_id}-{slot_name(slot)}"


def _started(fired: Committed) -> Committed | None:
    """The start that a firing has made; None: the execution was there before."""
    start = next(iter(fired.starts), None)
    return start if isinstance(start, Committed) else None


def _not_taken(lost: Lost) -> Refused:
    message = f"the store did not take the firing of the trigger: {lost.why.value} {lost.message}"
    return Refused(Refusal(Kind.INTERNAL, "INTERNAL", message.rstrip()))
