"""The rules by which ended executions go: never one that runs, as the store has it in the commit that takes it away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from ..core.state import ENDED
from ..feed_rows import FeedPruning
from ..retention_rows import ExecutionDeletion, ExecutionPruning, JobBegin, LeftoverRemoval
from ..rows import ExecutionRecord, ExecutionRef
from ..writes import Committed, Lost, Outcome, Why, Write
from .changes import Books
from .unit_feeds import prune_feed
from .unit_secrets import forget

EVENTS_AT_ONCE_MAX: Final = 1_000
"""Events that go with their executions in one commit; those of the others stay behind as leftovers."""


def parts(batch: Sequence[Write]) -> list[list[Write]]:
    """The batch in parts to be judged and carried out one after the other: what takes executions away stands by
    itself, so that what comes before it is in the tables, and what comes after it finds their ids free."""
    return [list(part) for _, part in groupby(batch, key=_takes_away)]


def _takes_away(write: Write) -> bool:
    return type(write) is ExecutionDeletion or type(write) is ExecutionPruning


def delete(books: Books, write: ExecutionDeletion) -> Outcome:
    """One execution, or why it stays."""
    key = books.known.keys.get(write.ref, 0)
    record = books.known.heads.get(key)
    if record is None:
        return Lost(Why.NOT_FOUND, f"there is no execution {write.ref.execution_id!r}")
    why = _kept(books, record)
    if why is not None:
        return Lost(why, f"execution {write.ref.execution_id!r}: {why.value}")
    _take_away(books, record)
    return Committed(pruned=(write.ref,))


def prune(books: Books, write: ExecutionPruning) -> Outcome:
    """As many as may go."""
    known = books.known
    pruned: list[ExecutionRef] = []
    held: list[ExecutionRef] = []
    acknowledged = known.acknowledged.get(write.tenant) if write.patient else None
    for key in write.keys:
        record = known.heads.get(key)
        if record is None or record.ref.tenant != write.tenant or _kept(books, record) is not None:
            continue
        if acknowledged is not None and known.last_positions.get(key, 0) > acknowledged:
            held.append(record.ref)
        else:
            _take_away(books, record)
            pruned.append(record.ref)
    if write.job is not None:
        job = msgspec.structs.replace(write.job, done=write.job.done + len(pruned))
        books.changes.jobs[job.tenant, job.job_id] = job
    return Committed(pruned=tuple(pruned), held=tuple(held))


def _kept(books: Books, record: ExecutionRecord) -> Why | None:
    """Why an execution stays, whoever wants it to go; None: it need not."""
    if not record.head.ended_at or record.head.status not in ENDED:  # one flipped bit must not make an end
        return Why.OPEN
    if record.head.incidents:
        return Why.INCIDENTS
    return Why.EMITTING if record.key in books.known.emitting else None


def _take_away(books: Books, record: ExecutionRecord) -> None:
    known, changes = books.known, books.changes
    del known.heads[record.key]
    known.keys.pop(record.ref, None)
    known.gone.add(record.key)
    changes.gone.append(record)
    if changes.gone_events + record.head.sequence > EVENTS_AT_ONCE_MAX:
        changes.left_over.add(record.key)
    else:
        changes.gone_events += record.head.sequence
    forget(books, record.key)
    prune_feed(books, FeedPruning(record.ref.tenant, known.last_positions.get(record.key, 0)))


def remove_leftover(books: Books, write: LeftoverRemoval) -> Outcome:
    """Events that nothing finds any more."""
    books.changes.leftovers.append(write)
    return Committed()


def begin_job(books: Books, write: JobBegin) -> Outcome:
    """A new job."""
    books.changes.jobs[write.job.tenant, write.job.job_id] = write.job
    return Committed()
