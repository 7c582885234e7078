"""What a publish does to triggers: the rows they get, and whether they go together with those of other definitions.

Two triggers of one event that give the same execution id can never both be right: the second start of each event would
always find its id taken. Within one definition the compiler sees that; between definitions it is seen here, and the
revisions of the listeners that were looked at go into the change, so that of two concurrent ones one is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ..core.definition import Definition
from ..core.nodes import Problems
from ..core.plan import EventSource, Plan, ScheduleSource, TriggerPlan
from ..core.reader import Reading
from ..core.refusals import Violation
from ..core.triggers import identity
from ..slots import Slots
from ..trigger_rows import TriggerChange, TriggerRow

TRIGGER_CLASH = "TRIGGER_CLASH"


class ListenerReads(Protocol):
    """What is read here; a Store has it."""

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """The active triggers of an event, and the revision of the last change to them."""
        ...


class Heard(NamedTuple):
    """Who listens to an event now."""

    revision: int
    rows: tuple[TriggerRow, ...]


class Candidate(NamedTuple):
    """A definition that shall be published."""

    reading: Reading
    plan: Plan


async def hear(store: ListenerReads, tenant: str, definition: Definition) -> Mapping[str, Heard]:
    """Who listens to the events that a definition's triggers name, by event."""
    found: dict[str, Heard] = {}
    for name in dict.fromkeys(trigger.event.name for trigger in definition.triggers if trigger.event is not None):
        if name:
            revision, rows = await store.listeners(tenant, name)
            found[name] = Heard(revision, tuple(rows))
    return found


class Together:
    """The event triggers of all definitions that are published in one change, by event: what the store says of the
    triggers of these definitions no longer counts."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self.definitions: set[str] = set()
        self._listening: dict[str, list[tuple[str, TriggerPlan]]] = {}
        for plan in plans:
            self.definitions.add(plan.definition_id)
            for trigger in plan.triggers:
                if isinstance(trigger.source, EventSource):
                    self._listening.setdefault(trigger.source.name, []).append((plan.definition_id, trigger))

    def listening(self, name: str) -> Sequence[tuple[str, TriggerPlan]]:
        """Those that listen to an event, with the ids of their definitions."""
        return self._listening.get(name, ())


def collisions(
    candidate: Candidate, together: Together, heard: Mapping[str, Heard], triggers_max: int
) -> tuple[Violation, ...]:
    """Triggers that clash with those of other definitions, or are one too many for their event. `together` holds the
    candidate's own triggers, too."""
    problems = Problems(candidate.reading.root, candidate.reading.source)
    for number, trigger in enumerate(candidate.plan.triggers):
        source = trigger.source
        if not isinstance(source, EventSource):
            continue
        listening = list(_listening(source.name, candidate.plan.definition_id, together, heard))
        named = identity(trigger)
        clash = next((place for place, other in listening if named and other == named), None)
        if clash is not None:
            message = (
                f"trigger {trigger.id!r} and {clash} both listen to {source.name!r} and give the same execution id, so "
                "one of them would never start anything"
            )
            problems.add(("triggers", number, "event", "execution_id"), message, TRIGGER_CLASH)
        count = len(listening) + _own(candidate.plan, source.name)
        if count > triggers_max:
            message = f"{count} triggers on {source.name!r} are more than event_triggers_max = {triggers_max}"
            problems.add(("triggers", number, "event", "name"), message, "LIMIT")
    return problems.found


def guards(plan: Plan, heard: Mapping[str, Heard], triggers_max: int) -> tuple[tuple[str, int], ...]:
    """The events whose listeners must not have changed since they were looked at: where a concurrent change could have
    brought a clash, or one trigger too many."""
    named = {trigger.source.name for trigger in plan.triggers if isinstance(trigger.source, EventSource)}
    exclusive = {
        trigger.source.name
        for trigger in plan.triggers
        if isinstance(trigger.source, EventSource) and identity(trigger)
    }
    return tuple(
        (name, found.revision)
        for name, found in heard.items()
        if name in exclusive or (name in named and (len(found.rows) + _own(plan, name)) * 2 > triggers_max)
    )


def trigger_changes(tenant: str, plan: Plan, now: int) -> tuple[TriggerChange, ...]:
    """The rows of a version's triggers, should it be published now."""
    return tuple(_change(tenant, plan, trigger, now) for trigger in plan.triggers)


def next_slot(tenant: str, plan: Plan, trigger_id: str, now: int) -> tuple[int, int]:
    """The first slot of a trigger after now and when it is due; (0, 0) where there is none."""
    source = next((trigger.source for trigger in plan.triggers if trigger.id == trigger_id), None)
    if not isinstance(source, ScheduleSource):
        return 0, 0
    slots = Slots(source)
    slot = slots.next_after(now)
    return slot, slots.due(f"{tenant}/{plan.definition_id}/{trigger_id}", slot) if slot else 0


def past_slots(candidate: Candidate, now: int) -> tuple[Violation, ...]:
    """Warnings about schedules whose one slot is over."""
    problems = Problems(candidate.reading.root, candidate.reading.source)
    for number, trigger in enumerate(candidate.plan.triggers):
        if isinstance(trigger.source, ScheduleSource) and 0 < trigger.source.at <= now:
            problems.add(("triggers", number, "schedule", "at"), "is over, so it never fires", "PAST", warning=True)
    return problems.found


def _listening(
    name: str, definition_id: str, together: Together, heard: Mapping[str, Heard]
) -> Iterable[tuple[str, str]]:
    """Triggers of other definitions on an event: what messages call them, and their identity."""
    rows = heard[name].rows if name in heard else ()
    for row in rows:
        if row.definition_id not in together.definitions:
            yield f"trigger {row.trigger_id!r} of definition {row.definition_id!r}", row.identity
    for owner, trigger in together.listening(name):
        if owner != definition_id:
            yield f"trigger {trigger.id!r} of definition {owner!r}", identity(trigger)


def _own(plan: Plan, name: str) -> int:
    return sum(isinstance(trigger.source, EventSource) and trigger.source.name == name for trigger in plan.triggers)


def _change(tenant: str, plan: Plan, trigger: TriggerPlan, now: int) -> TriggerChange:
    if isinstance(trigger.source, EventSource):
        return TriggerChange(trigger.id, plan.version, trigger.source.name, identity(trigger))
    slot, due = next_slot(tenant, plan, trigger.id, now)
    return TriggerChange(trigger.id, plan.version, spec=Slots(trigger.source).fingerprint, next_slot=slot, due=due)
