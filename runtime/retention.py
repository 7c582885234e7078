"""Pruning that somebody asks for: one execution at once, or all that match in a job.

Only ended executions without open incidents go, and none whose emitted events are still on their way. A job also waits
for durable subscriptions, up to `prune_wait_seconds` from its beginning. How far it is stands in the commits that take
the executions away, so that it goes on after a restart as if nothing had been and prunes no more than it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from .batch import not_found, request_reused
from .core.refusals import Kind, Refusal, Refused
from .core.state import ENDED
from .filter_text import parse_filter
from .filters import Among, Compared, Filter, all_of
from .jobs import Jobs, Writer
from .lifecycle.deletion import FAILURES_MAX, Failure
from .listing_rows import CountQuery, ListQuery, Order, Position, position_of
from .ports import Clock, Ids, Store
from .requests import Caller, invalid
from .retention_rows import ExecutionDeletion, ExecutionPruning, ExpiredQuery, JobBegin
from .rows import ExecutionRef, Request
from .settings import Settings
from .trigger_rows import JobKind, JobRow, JobState, JobUpdate
from .writes import Committed, Lost, Why

EXAMINED_MAX: Final = 10_000
"""Rows that one reading looks at."""
AGAIN_SECONDS: Final = 10.0
"""After so long a job looks whether the subscriptions it waits for have moved on."""
REST_SECONDS_MAX: Final = 1.0

_ENDED: Final = Among("status", tuple(sorted(status.value for status in ENDED)))


class Pruning(msgspec.Struct, frozen=True):
    """`JobRow.cursor` of PRUNE, as JSON: which executions are to go."""

    filter: str
    """Empty: those whose definition does not ask to keep them any longer."""
    ended_before: int
    max_count: int
    """0: no limit."""
    until: int
    """When it was asked for: nothing that ends or expires later is meant."""


class _Found(NamedTuple):
    """Some executions that match, and where to go on."""

    executions: list[tuple[int, ExecutionRef]]
    after: Position
    """Empty: there is nothing behind."""


class _Sweep(NamedTuple):
    """What going over all that matches has come to."""

    job: JobRow
    held: int
    """How many stay for a subscription."""
    failures: list[Failure]


class Retention:
    """Takes ended executions away."""

    def __init__(self, store: Store, journal: Writer, jobs: Jobs, clock: Clock, ids: Ids, settings: Settings) -> None:
        self._store = store
        self._journal = journal
        self._jobs = jobs
        self._clock = clock
        self._ids = ids
        self._settings = settings

    async def delete(self, caller: Caller, execution_id: str) -> None:
        """Delete an ended execution. Raises Refused: EXECUTION_NOT_FOUND, EXECUTION_NOT_ENDED, EXECUTION_STATE_FORBIDS,
        SERVER_BUSY, REQUEST_ID_REUSED."""
        ref, now = ExecutionRef(caller.tenant, execution_id), self._clock.now()
        request = caller.remembered(execution_id, now, self._settings)
        outcome = await self._journal.write(ExecutionDeletion(ref, now, _some(request)))
        if isinstance(outcome, Lost):
            _settle(caller, outcome, ref)

    async def prune(
        self, caller: Caller, filter_text: str = "", ended_before: int = 0, max_count: int = 0, *, dry_run: bool = False
    ) -> tuple[JobRow | None, int]:
        """Begin a job that prunes what matches; the job (None with `dry_run`), and how many executions it is about.
        Raises Refused: INVALID_FILTER, REQUEST_ID_REUSED."""
        if max_count < 0:
            raise invalid("max_count", "is below 0")
        now = self._clock.now()
        asked = Pruning(filter_text, min(ended_before or now + 1, now + 1), max_count, now)
        matched = await self._count(caller.tenant, asked)
        if max_count:
            matched = min(matched, max_count)
        if dry_run:
            return None, matched
        job = JobRow(
            caller.tenant,
            caller.derived_id("prune") or self._ids.new(),
            JobKind.PRUNE,
            JobState.RUNNING,
            filter_text or "retention",
            msgspec.json.encode(asked),
            user_id=caller.user_id,
            total=matched,
            created_at=now,
            updated_at=now,
        )
        request = caller.remembered(job.job_id, now, self._settings)
        outcome = await self._journal.write(JobBegin(job, _some(request)))
        if isinstance(outcome, Lost):
            if outcome.stored is None or outcome.stored.fingerprint != caller.fingerprint:
                raise Refused(request_reused(caller.request_id))
            job = await self._jobs.get(caller.tenant, outcome.stored.identity)
        return job, job.total

    async def run(self, job: JobRow) -> None:
        """Go on with a job (kind PRUNE) to its end."""
        asked = msgspec.json.decode(job.cursor, type=Pruning)
        patient_until = job.created_at + self._settings.prune_wait_seconds * 1_000_000
        while True:
            patient = self._clock.now() < patient_until
            job, held, failures = await self._sweep(job, asked, patient)
            if not held or not patient:
                break
            await self._clock.sleep_until(self._clock.monotonic() + AGAIN_SECONDS)
        now = self._clock.now()
        ended = msgspec.structs.replace(
            job,
            state=JobState.SUCCEEDED,
            failed=len(failures),
            failures=msgspec.json.encode(failures[:FAILURES_MAX]),
            updated_at=now,
            ended_at=now,
        )
        await self._journal.write(JobUpdate(ended))

    async def _sweep(self, job: JobRow, asked: Pruning, patient: bool) -> _Sweep:
        """Go over all that matches once, in small commits and with pauses as long as they took."""
        held, failures, after = 0, list[Failure](), Position()
        while True:
            room = asked.max_count - job.done if asked.max_count else self._settings.prune_batch_max
            if room <= 0:
                return _Sweep(job, 0, failures)
            found = await self._find(job.tenant, asked, after, min(room, self._settings.prune_batch_max))
            if found.executions:
                began, now = self._clock.monotonic(), self._clock.now()
                job = msgspec.structs.replace(job, updated_at=now)
                keys = tuple(key for key, _ in found.executions)
                outcome = await self._journal.write(ExecutionPruning(job.tenant, keys, now, patient, job))
                if isinstance(outcome, Lost):
                    raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", outcome.message or outcome.why.value))
                job = msgspec.structs.replace(job, done=job.done + len(outcome.pruned))
                held += len(outcome.held)
                failures += await self._stayed(found.executions, outcome)
                await rest(self._clock, began)
            if not found.after:
                return _Sweep(job, held, failures)
            after = found.after

    async def _stayed(self, executions: Sequence[tuple[int, ExecutionRef]], outcome: Committed) -> list[Failure]:
        """Those that neither went nor are waited for."""
        settled = {*outcome.pruned, *outcome.held}
        failures: list[Failure] = []
        for key, ref in executions:
            if ref not in settled and (record := await self._store.execution_by_key(key)) is not None:
                why = Why.INCIDENTS if record.head.incidents else Why.EMITTING
                failures.append(Failure(ref.execution_id, "EXECUTION_STATE_FORBIDS", why.value))
        return failures

    # What matches

    async def _find(self, tenant: str, asked: Pruning, after: Position, limit: int) -> _Found:
        if not asked.filter:
            place = (int(after[0]), int(after[1])) if after else (0, 0)
            query = ExpiredQuery(tenant, asked.until, place, asked.ended_before, limit=limit)
            rows = await self._store.expired(query)
            last = rows[-1] if len(rows) == limit else None
            return _Found([(row.key, row.ref) for row in rows], (last.expires_at, last.key) if last else ())
        page = await self._store.listed(
            ListQuery(tenant, _where(asked), Order.ENDED, False, after, limit, examined_max=EXAMINED_MAX)
        )
        records = page.records
        after = position_of(records[-1], Order.ENDED) if len(records) == limit else page.after
        return _Found([(record.key, record.ref) for record in records], after)

    async def _count(self, tenant: str, asked: Pruning) -> int:
        if not asked.filter:
            return await self._store.expired_count(tenant, asked.until, asked.ended_before)
        query = CountQuery(tenant, _where(asked), examined_max=EXAMINED_MAX)
        count = 0
        while True:
            part = await self._store.counted(query)
            count += part.count
            if not part.before:
                return count
            query = msgspec.structs.replace(query, before=part.before)


async def rest(clock: Clock, began: float) -> None:
    """Leave the writer to others for as long as what began then has taken it."""
    now = clock.monotonic()
    await clock.sleep_until(now + min(now - began, REST_SECONDS_MAX))


def _where(asked: Pruning) -> Filter:
    return all_of((parse_filter(asked.filter), _ENDED, Compared("ended_at", "<", asked.ended_before)))


def _some(request: Request | None) -> tuple[Request, ...]:
    return (request,) if request is not None else ()


def _settle(caller: Caller, lost: Lost, ref: ExecutionRef) -> None:
    """Nothing, where the deletion is a repeat. Raises Refused."""
    match lost.why:
        case Why.DUPLICATE_REQUEST:
            if lost.stored is not None and lost.stored.fingerprint != caller.fingerprint:
                raise Refused(request_reused(caller.request_id))
        case Why.NOT_FOUND:
            raise Refused(not_found(ref))
        case Why.OPEN:
            message = f"execution {ref.execution_id} has not ended; cancel or terminate it first"
            raise _refused(ref, Kind.STATE, "EXECUTION_NOT_ENDED", message)
        case Why.INCIDENTS:
            message = f"execution {ref.execution_id} has open incidents; resolve them first"
            raise _refused(ref, Kind.STATE, "EXECUTION_STATE_FORBIDS", message)
        case Why.EMITTING:
            message = f"events that execution {ref.execution_id} emitted are on their way; try again"
            raise _refused(ref, Kind.BUSY, "SERVER_BUSY", message)
        case why:
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", lost.message or why.value))


def _refused(ref: ExecutionRef, kind: Kind, reason: str, message: str) -> Refused:
    retry_after_us = 1_000_000 if kind is Kind.BUSY else None
    return Refused(
        Refusal(
            kind,
            reason,
            message,
            resource_type="execution",
            resource=ref.execution_id,
            retry_after_us=retry_after_us,
        )
    )
