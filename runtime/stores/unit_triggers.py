"""The rules of triggers: which are active, when schedules come to their next slot, and what a firing starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ..lifecycle_rows import DefinitionChange
from ..rows import ExecutionAppend
from ..trigger_rows import SlotStep, TriggerChange, TriggerFiring, TriggerRow
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books


def fire(books: Books, write: TriggerFiring, start: Callable[[ExecutionAppend], Outcome]) -> Outcome:
    """Start an execution, or let a slot pass without one."""
    place = (write.tenant, write.definition_id, write.trigger_id)
    definition = books.known.definitions.get((write.tenant, write.guard.definition_id))
    if definition is None or definition.revision != write.guard.revision:
        return Lost(Why.REVISION, f"definition {write.guard.definition_id!r} has changed since")
    row = books.known.triggers.get(place)
    step = write.step
    if step is not None and (row is None or row.next_slot != step.slot):
        return Lost(Why.SEQUENCE, f"slot {step.slot} of trigger {write.trigger_id!r} has been decided already")
    starts: tuple[Outcome, ...] = ()
    if write.start is not None:
        started = start(write.start)
        if isinstance(started, Lost) and started.why is not Why.EXISTS:
            return started
        starts = (started,)
        if isinstance(started, Committed):
            books.changes.trigger_starts[place] = (write.start.ref.execution_id, write.at)
    if step is not None and row is not None:
        _put(books, _stepped(row, step))
    woken = tuple(ref for each in starts if isinstance(each, Committed) for ref in each.woken)
    return Committed(woken=woken, starts=starts)


def _stepped(row: TriggerRow, step: SlotStep) -> TriggerRow:
    return msgspec.structs.replace(
        row,
        next_slot=step.next_slot,
        due=step.due,
        # One that is only put off has not been decided.
        last_slot=row.last_slot if step.next_slot == step.slot else step.slot,
        skipped=row.skipped + step.skipped,
        last_skipped=step.slot if step.skipped else row.last_skipped,
    )


def _put(books: Books, row: TriggerRow) -> None:
    place = (row.tenant, row.definition_id, row.trigger_id)
    books.known.triggers[place] = row
    books.changes.triggers[place] = row


def listen(books: Books, change: DefinitionChange, revision: int) -> None:
    """Make these the definition's triggers, pause and resume; what listens to the events they name has changed."""
    names: set[str] = set()
    if change.triggers is not None:
        names.update(_replace(books, change, change.triggers))
    for pause in change.pauses:
        row = books.known.triggers.get((change.tenant, change.definition_id, pause.trigger_id))
        if row is not None:
            names.add(row.event_name)
            _put(
                books,
                msgspec.structs.replace(row, paused=pause.paused, next_slot=pause.next_slot, due=pause.due),
            )
    for name in names - {""}:
        books.known.listeners[change.tenant, name] = revision
        books.changes.listeners[change.tenant, name] = revision


def _replace(books: Books, change: DefinitionChange, triggers: tuple[TriggerChange, ...]) -> Iterator[str]:
    """The event names of the triggers that were active, and of those that are."""
    definition = (change.tenant, change.definition_id)
    rows = {place[2]: row for place, row in books.known.triggers.items() if place[:2] == definition}
    named = {trigger.trigger_id for trigger in triggers}
    for trigger_id, row in rows.items():
        if not row.active:
            continue
        yield row.event_name
        if trigger_id not in named:
            _put(books, msgspec.structs.replace(row, active=False, next_slot=0, due=0))
    for trigger in triggers:
        yield trigger.event_name
        _put(books, _activated(rows.get(trigger.trigger_id), change, trigger))


def _activated(before: TriggerRow | None, change: DefinitionChange, trigger: TriggerChange) -> TriggerRow:
    """The row of a trigger that is active now. A schedule that goes on as it was keeps its next slot."""
    paused = trigger.trigger_id in change.paused
    row = before or TriggerRow(
        change.tenant, change.definition_id, trigger.trigger_id, trigger.version, "", "", False, paused, b""
    )
    goes_on = row.active and row.spec == trigger.spec
    return msgspec.structs.replace(
        row,
        version=trigger.version,
        event_name=trigger.event_name,
        identity=trigger.identity,
        active=True,
        paused=paused,
        spec=trigger.spec,
        next_slot=row.next_slot if goes_on else trigger.next_slot,
        due=row.due if goes_on else trigger.due,
    )
