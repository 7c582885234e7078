"""What tests of triggers share: the engine's parts around schedules, over any store, with a manual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from callboard.runtime.alarms import Alarms
from callboard.runtime.births import Births
from callboard.runtime.catalog import Catalog
from callboard.runtime.clock import ManualClock, ManualIds
from callboard.runtime.core.commands import Cancel, Submit
from callboard.runtime.core.compiler import compile_definition
from callboard.runtime.core.durations import from_datetime
from callboard.runtime.core.lifecycle import content_of
from callboard.runtime.core.nodes import tree
from callboard.runtime.core.plan import EventSource, Plan, TriggerPlan
from callboard.runtime.core.reader import read_definition
from callboard.runtime.core.state import State
from callboard.runtime.core.triggers import identity
from callboard.runtime.firing import Firings
from callboard.runtime.journal import Journal
from callboard.runtime.lifecycle_rows import (
    DefinitionChange,
    DefinitionEvent,
    DefinitionHead,
    DefinitionVersion,
    LifecycleChange,
)
from callboard.runtime.listing_rows import ListQuery
from callboard.runtime.ports import Store
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.schedules import Schedules, ScheduleSettings
from callboard.runtime.settings import Settings
from callboard.runtime.slot_decisions import SlotDecisions, place_of
from callboard.runtime.slots import Slots
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.supervisor import Supervisor
from callboard.runtime.trigger_rows import TriggerChange, TriggerFiring, TriggerPause, TriggerRow
from callboard.runtime.triggers import Triggers
from callboard.runtime.vaults import ExecutionVault
from callboard.runtime.writes import Committed, Write

SECOND = 1_000_000
HOUR = 3_600
DAY = 24 * HOUR
TENANT = "default"
DONE: list[dict[str, Any]] = [{"id": "end", "finish": {}}]
OPEN: list[dict[str, Any]] = [{"id": "go", "receive": {"event": "go"}}]


def moment(text: str) -> int:
    """Microseconds since the epoch of `2026-03-29T01:00` in UTC."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def schedule(trigger_id: str = "tick", **more: Any) -> dict[str, Any]:
    """A trigger with a schedule; `input` and `unique_key` are the trigger's own."""
    own = {name: more.pop(name) for name in ("input", "unique_key") if name in more}
    return {"id": trigger_id, **own, "schedule": more}


class World:
    """All that is between a schedule and its executions."""

    def __init__(self, store: Store, clock: ManualClock, settings: Settings, timing: ScheduleSettings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.timing = timing
        self.told: list[str] = []
        """What became of slots."""
        self.firings: list[TriggerFiring] = []
        """Committed ones that started something."""
        self.adopts = True
        self.ids = ManualIds()

    async def up(self) -> None:
        """Begin, or begin again after a stop."""
        clock, settings, store = self.clock, self.settings, self.store
        await store.open()
        self.alarms = Alarms(clock)
        self.journal = Journal(store, clock)
        self.catalog = Catalog(store, clock)
        self.supervisor = Supervisor(
            store, self.journal, self.catalog, clock, self.ids, self.alarms, settings, delivered=lambda key: ()
        )
        births = Births(clock, self.ids, settings, adopt=self._adopt)
        firings = Firings(
            store=store, journal=self.journal, catalog=self.catalog, births=births, clock=clock, settings=settings
        )
        decisions = SlotDecisions(firings=firings, clock=clock, settings=settings, observe=self.told.append)
        self.schedules = Schedules(
            store=store, clock=clock, alarms=self.alarms, decisions=decisions, settings=self.timing
        )
        self.triggers = Triggers(
            store=store, firings=firings, look=self.supervisor.view, clock=clock, ids=self.ids, settings=settings
        )
        for listener in (self.schedules, self.catalog, self.supervisor):
            self.journal.subscribe(listener.committed)
        self.journal.subscribe(self._heard)
        self.alarms.start()
        await self.schedules.start()
        await self.supervisor.recover()

    async def down(self) -> None:
        """Stop in order."""
        await self.schedules.close()
        await self.supervisor.close()
        await self.journal.close()
        await self.alarms.close()
        await self.store.close()

    async def restart(self, seconds: float = 0.0) -> None:
        """Stop, let time pass, begin again."""
        await self.down()
        await self.clock.advance(seconds)
        await self.up()
        await self.clock.settle(100)

    def _adopt(
        self,
        ref: ExecutionRef,
        key: int,
        state: State,
        plan: Plan,
        left: dict[str, None],
        vault: ExecutionVault | None = None,
    ) -> None:
        if self.adopts:
            self.supervisor.adopt(ref, key, state, plan, left, vault)

    def _heard(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        for write, outcome in writes:
            if isinstance(write, TriggerFiring) and any(isinstance(start, Committed) for start in outcome.starts):
                self.firings.append(write)

    # Time

    async def pass_time(self, seconds: float) -> None:
        """Halt at every deadline on the way, and let everything come to rest."""
        await self.clock.advance(seconds, steps_max=10_000_000)
        await self.clock.settle(200)

    async def pass_until(self, text: str) -> None:
        """Up to a moment in UTC."""
        await self.pass_time((moment(text) - self.clock.now()) / SECOND)

    # Definitions

    async def publish(
        self, triggers: list[dict[str, Any]], steps: list[dict[str, Any]] = DONE, name: str = "flow", **more: Any
    ) -> None:
        """The next version, as the chain of PublishDefinition would write it."""
        head = await self.store.definition(TENANT, name)
        version = head.latest + 1 if head is not None else 1
        reading = read_definition(tree({"id": name, "triggers": triggers, "steps": steps, **more}))
        plan = compile_definition(reading, version).plan
        assert plan is not None, compile_definition(reading, version).violations
        content = content_of(reading.definition)
        stored = DefinitionVersion(version, content.data, content.fingerprint, self.clock.now(), "")
        await self._change(head, name, published=version, version=stored, triggers=self._triggers(plan))

    async def retract(self, name: str = "flow") -> None:
        """Nothing new starts."""
        head = await self.store.definition(TENANT, name)
        await self._change(head, name, published=0, triggers=())

    async def pause(self, paused: bool = True, name: str = "flow", trigger: str = "tick") -> None:
        """Pause or resume a schedule."""
        head = await self.store.definition(TENANT, name)
        assert head is not None
        plan = await self.catalog.plan(TENANT, name, head.published)
        change = next(each for each in self._triggers(plan) if each.trigger_id == trigger)
        resumed = TriggerPause(trigger, False, change.next_slot, change.due)
        pauses = (TriggerPause(trigger, True) if paused else resumed,)
        await self._change(head, name, published=head.published, paused=(trigger,) if paused else (), pauses=pauses)

    async def _change(self, head: DefinitionHead | None, name: str, **what: Any) -> None:
        expected, now = head.sequence if head is not None else 0, self.clock.now()
        change = DefinitionChange(
            TENANT,
            name,
            expected=expected,
            draft=None,
            events=(DefinitionEvent(expected + 1, "DefinitionDrafted", b"{}", "", now),),
            at=now,
            **{"version": None, **what},
        )
        outcome = await self.journal.write(LifecycleChange(TENANT, (change,), self.clock.now()))
        assert isinstance(outcome, Committed), outcome
        await self.clock.settle(50)

    def _triggers(self, plan: Plan) -> tuple[TriggerChange, ...]:
        return tuple(self._listens(plan, trigger) for trigger in plan.triggers)

    def _listens(self, plan: Plan, trigger: TriggerPlan) -> TriggerChange:
        source = trigger.source
        if isinstance(source, EventSource):
            return TriggerChange(trigger.id, plan.version, source.name, identity(trigger))
        slots = Slots(source)
        slot = slots.next_after(self.clock.now())
        due = slots.due(place_of(TENANT, plan.definition_id, trigger.id), slot) if slot else 0
        return TriggerChange(trigger.id, plan.version, spec=slots.fingerprint, next_slot=slot, due=due)

    # Looking

    async def row(self, trigger: str = "tick", name: str = "flow") -> TriggerRow:
        """The trigger as it is stored."""
        found = await self.store.trigger(TENANT, name, trigger)
        assert found is not None
        return found

    async def started(self) -> list[str]:
        """Ids of all executions, oldest first."""
        page = await self.store.listed(ListQuery(TENANT, descending=False, limit=100_000))
        return [record.ref.execution_id for record in page.records]

    async def slots(self) -> list[str]:
        """`MMDDThhmmss` of the slots of all executions, oldest first."""
        return [each.rpartition("-")[2][4:-1] for each in await self.started()]

    async def status(self, execution_id: str) -> str:
        """RUNNING, PENDING, ..."""
        record = await self.store.execution(ExecutionRef(TENANT, execution_id))
        assert record is not None
        return record.head.status

    # Executions

    async def finish(self, execution_id: str) -> None:
        """Send the event that an execution of OPEN waits for."""
        await self.supervisor.ask(ExecutionRef(TENANT, execution_id), Submit("go"))
        await self.clock.settle(200)

    async def cancel(self, execution_id: str) -> None:
        """End one before its time."""
        await self.supervisor.ask(ExecutionRef(TENANT, execution_id), Cancel())
        await self.clock.settle(200)


@asynccontextmanager
async def world(
    start: str = "2026-01-01T00:00:30", store: Store | None = None, settings: Settings | None = None, **timing: Any
) -> AsyncIterator[World]:
    """A running world, at a moment in UTC."""
    made = World(
        store or MemoryStore(),
        ManualClock(moment(start), settle_rounds=100),
        settings or Settings(),
        msgspec.structs.replace(ScheduleSettings(), **timing),
    )
    await made.up()
    try:
        yield made
    finally:
        await made.down()


async def until(condition: Callable[[], bool], rounds: int = 5_000) -> None:
    """Let the loop and the store's threads work until something holds; fails after so many rounds."""
    for _ in range(rounds):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to be")
