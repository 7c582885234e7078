"""The rules of published events: accepted once, with all that they start and reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ..core.state import ENDED
from ..rows import ExecutionAppend, ExecutionRef
from ..trigger_rows import (
    OFFERED_BYTES_MAX,
    EventAcceptance,
    EventExpansion,
    EventOutcome,
    JobKind,
    JobRow,
    JobState,
    OfferedWait,
    StartedByTrigger,
    WaitRow,
    offer_bytes,
    offers_within,
)
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books, Published
from .unit_waits import offer
from .wanted import Known

_MATCHES_TOLD_MAX = 10
"""How many starts and offers an outcome names."""


class _Reach(NamedTuple):
    """Whom the event is offered to now, and where a job has to go on."""

    offers: tuple[WaitRow, ...] = ()
    more: bool = False
    """Whether others wait that are left to the job."""
    after: int = 0
    """The id of the last wait that is looked at now."""
    until: int = 0
    """The id of the last wait that has begun by now."""


class _Context(msgspec.Struct):
    """What is needed of an event's context."""

    user: str = ""


def accept_event(books: Books, write: EventAcceptance, start: Callable[[ExecutionAppend], Outcome]) -> Outcome:
    """Start what listens and offer to what waits. What waited is settled before anything starts: an execution does
    not get the event that started it once more."""
    known, changes = books.known, books.changes
    reach = _reach(books, write)
    lost = _refuse(known, write, reach)
    if lost is not None:
        return lost
    starts = tuple(start(each.append) for each in write.starts)
    for row in reach.offers:
        offer(books, write, row)
    changes.offered_bytes += len(reach.offers) * offer_bytes(write.payload)
    if reach.more:
        changes.jobs[write.tenant, write.job_id] = _expansion(write, reach)
        changes.waits_until = reach.until
    outcome = _outcome(books, write, starts, reach)
    known.published[write.tenant, write.event_id] = (outcome, write.expires_at)
    changes.published.append(Published(write.tenant, write.event_id, outcome, write.expires_at))
    if write.outbox:
        known.outbox.discard(write.outbox)
        changes.outbox_gone.append(write.outbox)
    woken = [ref for each in starts if isinstance(each, Committed) for ref in each.woken]
    return Committed(woken=_once(woken, reach.offers), starts=starts, event=outcome)


def _refuse(known: Known, write: EventAcceptance, reach: _Reach) -> Lost | None:
    stored, expires_at = known.published.get((write.tenant, write.event_id), (None, 0))
    if expires_at > write.accepted_at:
        return Lost(Why.DUPLICATE_EVENT, f"event id {write.event_id!r} is stored already", event=stored)
    if write.outbox and write.outbox not in known.outbox:
        return Lost(Why.NOT_FOUND, f"outbox row {write.outbox} has gone")
    revision = known.listeners.get((write.tenant, write.name), 0)
    if write.listeners != revision:
        return Lost(Why.LISTENERS, f"listeners of {write.name!r} expected at {write.listeners}, stored is {revision}")
    if reach.more and not write.job_id:
        return Lost(Why.ROW, f"more than {write.offers_max} wait for {write.name!r}, and no job is named for the rest")
    return None


def _reach(books: Books, write: EventAcceptance) -> _Reach:
    if not write.key:
        return _Reach()
    found = books.known.waits[write.tenant, write.name, write.key]
    rows = tuple(found.rows.values())
    fitting = offers_within(OFFERED_BYTES_MAX - books.changes.offered_bytes, write.payload)
    offers = rows[: min(write.offers_max, fitting)]
    until = books.counters.wait
    if len(rows) > len(offers):
        return _Reach(offers, True, offers[-1].id if offers else 0, until)
    return _Reach(offers, found.more_after > 0, found.more_after, until)


def _expansion(write: EventAcceptance, reach: _Reach) -> JobRow:
    cursor = {
        "name": write.name,
        "key": write.key,
        "event_id": write.event_id,
        "payload": write.payload.decode(),
        "context": write.context.decode(),
        "accepted_at": write.accepted_at,
        "after": reach.after,
        "until": reach.until,
    }
    return JobRow(
        write.tenant,
        write.job_id,
        JobKind.EXPAND_EVENT,
        JobState.RUNNING,
        write.name,
        msgspec.json.encode(cursor),
        user_id=msgspec.json.decode(write.context, type=_Context).user,
        created_at=write.accepted_at,
        updated_at=write.accepted_at,
    )


def _outcome(books: Books, write: EventAcceptance, starts: tuple[Outcome, ...], reach: _Reach) -> EventOutcome:
    started: list[StartedByTrigger] = []
    for each, outcome in zip(write.starts, starts, strict=True):
        if isinstance(outcome, Lost):
            continue
        ref, head = each.append.ref, each.append.head
        started.append(StartedByTrigger(head.definition_id, each.trigger_id, ref.execution_id, head.version))
        place = (ref.tenant, head.definition_id, each.trigger_id)
        books.changes.trigger_starts[place] = (ref.execution_id, write.accepted_at)
    told = reach.offers[:_MATCHES_TOLD_MAX]
    return EventOutcome(
        len(started),
        tuple(started[:_MATCHES_TOLD_MAX]),
        len(reach.offers),
        tuple(OfferedWait(row.ref.execution_id, row.path) for row in told),
        write.warnings,
        write.job_id if reach.more else "",
    )


def expand_event(books: Books, write: EventExpansion) -> Outcome:
    """Offer the event to more waits, and note how far the job has come."""
    heads = books.known.heads
    rows = [row for row in write.offers if row.key in heads and heads[row.key].head.status not in ENDED]
    for row in rows:
        offer(books, write, row)
    books.changes.jobs[write.job.tenant, write.job.job_id] = write.job
    return Committed(woken=_once((), rows))


def _once(woken: Sequence[ExecutionRef], offers: Sequence[WaitRow]) -> tuple[ExecutionRef, ...]:
    """Each execution once, in order."""
    return tuple(dict.fromkeys((*woken, *(row.ref for row in offers))))
