"""The rules of an append: what it expects, and what its events and effects change."""

from __future__ import annotations

from typing import cast

from ..core.effects import (
    BuryEvent,
    ClearTimer,
    CloseExecution,
    CloseTask,
    CloseWait,
    Continue,
    EmitEvent,
    LeaveLine,
    OpenTask,
    OpenWait,
    RequestCancel,
    SetTimer,
)
from ..core.values import Value, encode
from ..rows import ExecutionAppend, ExecutionRecord, ExecutionRef, Head, InboxKind
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books, Buried, OutboxEntry, TaskRow, shard_of
from .unit_inbox import is_there
from .unit_lines import join, leave, refuse_claims
from .unit_secrets import erase, refuse_secrets, seal
from .unit_waits import close_wait, open_wait
from .wanted import Known


def append(books: Books, write: ExecutionAppend, at: int) -> Outcome:
    """A new execution, or what one turn of its actor has come to."""
    lost = _refuse(books, write)
    if lost is not None:
        return lost
    changes, known, key = books.changes, books.known, write.key
    if not key:
        key = books.counters.execution = books.counters.execution + 1
        known.keys[write.ref] = key
        _begin(books, ExecutionRecord(write.ref, key, write.head))
    elif write.events:
        _advance(books, ExecutionRecord(write.ref, key, write.head))
    position = 0
    for event in write.events:
        position = books.counters.position = books.counters.position + 1
        changes.events.append((position, key, event))
        if event.event_id:
            known.history_ids.add((key, event.event_id))
    for row in write.consumed:
        known.inbox.pop(row, None)
    changes.inbox_gone += write.consumed
    if write.snapshot is not None:
        changes.snapshots.append((key, write.snapshot))
    woken = join(books, write, key, at) if write.claims else ()
    if write.effects:
        woken += _carry_out(books, write, key, at)
    if write.expires_at:
        changes.expiries[key] = (write.ref.tenant, write.expires_at, position)
    if write.erases is not None:
        erase(books, key, write.erases)
    elif write.secrets is not None:
        seal(books, key, write.secrets)
    return Committed(key=key, position=position, woken=woken)


def _begin(books: Books, record: ExecutionRecord) -> None:
    books.changes.executions.append(record)
    books.known.heads[record.key] = record
    if books.known.open:
        _count(books.known, record.ref, record.head, 1)


def _advance(books: Books, record: ExecutionRecord) -> None:
    known, key = books.known, record.key
    before = known.heads[key]
    stored, _ = books.changes.heads.get(key, (before, None))
    books.changes.heads[key] = (stored, record.head)
    known.heads[key] = record
    if before.head.ended_at and not record.head.ended_at:
        books.changes.expiries[key] = (record.ref.tenant, 0, 0)
    if known.open:
        _count(known, record.ref, before.head, -1)
        _count(known, record.ref, record.head, 1)


def _count(known: Known, ref: ExecutionRef, head: Head, more: int) -> None:
    if head.ended_at:
        return
    for version in (0, head.version):
        place = (ref.tenant, head.definition_id, version)
        if place in known.open:
            known.open[place] += more


# -- what it expects -------------------------------------------------------------------------------------------


def _refuse(books: Books, write: ExecutionAppend) -> Lost | None:
    known, key = books.known, write.key
    if not key:
        if write.ref in known.keys:
            return Lost(Why.EXISTS, f"execution {write.ref.execution_id!r} exists")
        sequence = 0
    else:
        record = known.heads.get(key)
        if record is None:
            return Lost(Why.NOT_FOUND, f"there is no execution {write.ref.execution_id!r}")
        sequence = record.head.sequence
    if write.expected != sequence:
        return Lost(Why.SEQUENCE, f"expected sequence {write.expected}, stored is {sequence}")
    if (guard := write.guard) is not None:
        definition = known.definitions.get((write.ref.tenant, guard.definition_id))
        if definition is None or definition.revision != guard.revision:
            return Lost(Why.REVISION, f"definition {guard.definition_id!r} has changed since")
    for row in write.consumed:
        if not is_there(books, row, key):
            return Lost(Why.SEQUENCE, f"inbox row {row} has been worked off already")
    lost = _refuse_events(known, write, key, sequence)
    if lost is None and write.claims:
        lost = refuse_claims(known, write)
    if lost is None and write.secrets is not None:
        lost = refuse_secrets(known, write, write.secrets)
    return lost


def _refuse_events(known: Known, write: ExecutionAppend, key: int, sequence: int) -> Lost | None:
    seen: set[str] = set()
    for event in write.events:
        sequence += 1
        if event.sequence != sequence:
            return Lost(Why.ROW, f"event {event.sequence} stands where {sequence} was due")
        if event.event_id:
            if event.event_id in seen or (key, event.event_id) in known.history_ids:
                return Lost(Why.DUPLICATE_EVENT, f"event id {event.event_id!r} is stored already")
            seen.add(event.event_id)
    if write.events and write.head.sequence != sequence:
        return Lost(Why.ROW, f"the head says sequence {write.head.sequence}, the last event is {sequence}")
    return None


# -- effects ---------------------------------------------------------------------------------------------------


def _carry_out(books: Books, write: ExecutionAppend, key: int, at: int) -> tuple[ExecutionRef, ...]:
    """Take the effects in, in their order; the executions that hear of it."""
    changes, ref = books.changes, write.ref
    shard = shard_of(ref)
    tasks = changes.tasks[key]
    woken: tuple[ExecutionRef, ...] = ()
    for effect in write.effects:
        match effect:
            case OpenTask(path=path):
                tasks[path] = _task(effect, key, shard, at)
            case CloseTask(path=path):
                tasks[path] = None
            case RequestCancel(path=path):
                _cancel(books, key, path)
            case SetTimer(path=path, timer=timer):
                changes.timers[key][path, timer] = (shard, effect.due)
            case ClearTimer(path=path, timer=timer):
                _clear(books, key, path, timer)
            case Continue():
                books.enter(ref, key, InboxKind.CONTINUE, at)
            case BuryEvent():
                payload = encode(cast(Value, effect.payload))
                changes.buried.append(Buried(ref, key, effect.event_id, effect.name, payload, effect.cause, at))
            case CloseExecution():
                changes.closed[key] = at
                tasks.clear()
                changes.timers.pop(key, None)
            case OpenWait():
                open_wait(books, ref, key, effect)
            case CloseWait(path=path):
                close_wait(books, key, path)
            case EmitEvent():
                changes.outbox.append(_emission(effect, write, key, shard, at))
            case LeaveLine(line=line):
                woken += leave(books, write, key, line, at)
    return woken


def _task(effect: OpenTask, key: int, shard: int, at: int) -> TaskRow:
    return TaskRow(
        key,
        effect.path,
        shard,
        effect.operation,
        effect.attempt,
        effect.scheduled,
        effect.priority,
        effect.attempt_timeout,
        at,
        False,
    )


def _cancel(books: Books, key: int, path: str) -> None:
    tasks = books.changes.tasks[key]
    if path not in tasks:
        books.changes.cancels[key, path] = None
        return
    row = tasks[path]
    if row is not None:
        tasks[path] = row._replace(cancel_requested=True)


def _clear(books: Books, key: int, path: str, timer: str) -> None:
    timers = books.changes.timers[key]
    if timer:
        timers[path, timer] = None
        return
    books.changes.step_timers_gone[key, path] = None
    for place in [place for place in timers if place[0] == path]:
        del timers[place]


def _emission(effect: EmitEvent, write: ExecutionAppend, key: int, shard: int, at: int) -> OutboxEntry:
    """The context is that of the command that caused the event, which stands on the first of the command's events."""
    up_to = (event for event in reversed(write.events) if event.sequence <= effect.sequence)
    context = next((event.context for event in up_to if event.context is not None), b"{}")
    payload = encode(cast(Value, effect.payload))
    return OutboxEntry(key, shard, effect.sequence, effect.name, effect.key, payload, context, at)
