"""What a batch of writes comes to: the rules of the store, applied in order of arrival, without touching a table.

An adapter looks up what a batch asks about (`Wanted` -> `Known`), lets `Unit.add` judge write after write, and carries
out the `Changes` that are left. `Known` moves along with every accepted write, so that the next one in the batch is
judged on what it will find. A write that is refused leaves no trace in either.

The rules themselves stand by subject in the modules unit_*.py; here is what holds for every write.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..feed_rows import FeedPruning, SubscriptionAck, SubscriptionCreation, SubscriptionDeletion
from ..lifecycle_rows import LifecycleChange
from ..retention_rows import ExecutionDeletion, ExecutionPruning, JobBegin, LeftoverRemoval
from ..rows import BuryInbox, DiscardLetter, ExecutionAppend, InboxInsert, Request, RequeueLetter
from ..trigger_rows import EventAcceptance, EventExpansion, ForgetJobs, JobUpdate, TriggerFiring
from ..writes import Committed, Lost, Outcome, Why, Write
from .changes import Books, Changes, Counters
from .unit_events import accept_event, expand_event
from .unit_executions import append
from .unit_feeds import acknowledge, prune_feed, subscribe, unsubscribe
from .unit_inbox import accept, bury, discard, requeue
from .unit_lifecycle import change_definitions
from .unit_retention import begin_job, delete, prune, remove_leftover
from .unit_triggers import fire
from .wanted import Known, requests_of


def time_of(write: Write) -> int:
    """When the write was decided, in microseconds since the epoch; 0: it does not say."""
    match write:
        case ExecutionAppend():
            return write.events[-1].created_at if write.events else write.head.updated_at
        case InboxInsert() | RequeueLetter() | EventAcceptance():
            return write.accepted_at
        case BuryInbox():
            return write.died_at
        case LifecycleChange() | TriggerFiring() | SubscriptionAck() | ExecutionDeletion() | ExecutionPruning():
            return write.at
        case SubscriptionCreation():
            return write.row.created_at
        case EventExpansion() | JobUpdate() | JobBegin():
            return write.job.updated_at
        case DiscardLetter() | ForgetJobs() | SubscriptionDeletion() | FeedPruning() | LeftoverRemoval():
            return 0


class Unit:
    """Judges the writes of a batch and adds up what they change."""

    def __init__(self, known: Known, counters: Counters) -> None:
        self._books = Books(known, counters)
        self.now = 0
        """The latest time any write of the batch was decided at."""

    @property
    def changes(self) -> Changes:
        """What the accepted writes come to."""
        return self._books.changes

    @property
    def counters(self) -> Counters:
        """The numbers given by now."""
        return self._books.counters

    def add(self, write: Write) -> Outcome:
        """Take the write in, or say why not."""
        at = time_of(write)
        self.now = max(self.now, at)
        requests = requests_of(write)
        if requests and (lost := self._repeated(requests, at or self.now)) is not None:
            return lost
        outcome = self._judge(write, at)
        if requests and isinstance(outcome, Committed):
            for request in requests:
                self._books.known.requests[request.tenant, request.request_id] = request
                self._books.changes.requests.append(request)
        return outcome

    def _judge(self, write: Write, at: int) -> Outcome:
        match write:
            case ExecutionAppend():
                return append(self._books, write, at)
            case InboxInsert():
                return accept(self._books, write)
            case BuryInbox():
                return bury(self._books, write)
            case RequeueLetter():
                return requeue(self._books, write)
            case DiscardLetter():
                return discard(self._books, write)
            case LifecycleChange():
                return change_definitions(self._books, write)
            case TriggerFiring():
                return fire(self._books, write, self.add)
            case EventAcceptance():
                return accept_event(self._books, write, self.add)
            case EventExpansion():
                return expand_event(self._books, write)
            case JobUpdate():
                self._books.changes.jobs[write.job.tenant, write.job.job_id] = write.job
                return Committed()
            case ForgetJobs():
                self._books.changes.jobs_forgotten.append(write)
                return Committed()
            case SubscriptionCreation():
                return subscribe(self._books, write)
            case SubscriptionAck():
                return acknowledge(self._books, write)
            case SubscriptionDeletion():
                return unsubscribe(self._books, write)
            case FeedPruning():
                return prune_feed(self._books, write)
            case ExecutionDeletion():
                return delete(self._books, write)
            case ExecutionPruning():
                return prune(self._books, write)
            case LeftoverRemoval():
                return remove_leftover(self._books, write)
            case JobBegin():
                return begin_job(self._books, write)

    def _repeated(self, requests: Iterable[Request], at: int) -> Lost | None:
        for request in requests:
            stored = self._books.known.requests.get((request.tenant, request.request_id))
            if stored is not None and stored.expires_at > at:
                return Lost(Why.DUPLICATE_REQUEST, f"request {request.request_id!r} is stored already", stored)
        return None
