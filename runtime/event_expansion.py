"""The job that offers a published event to the waiting steps that its acceptance did not get to.

An acceptance offers an event to a bounded number of steps; the rest, up to the last wait there was at its place in the
order of commits, get it page by page. Each page is one commit with the job's next cursor, so that a stop at any moment
costs nothing and no step gets the event twice. Waits that began later are behind `until`, and those that have ended
meanwhile are no longer in the index.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from .core.refusals import Kind, Refusal, Refused
from .ports import Clock
from .roles import Writer
from .settings import Settings
from .trigger_rows import (
    OFFERED_BYTES_MAX,
    EventExpansion,
    ExpansionCursor,
    JobRow,
    JobState,
    WaitRow,
    offers_within,
)
from .writes import Lost


class WaitSource(Protocol):
    """What is read; a Store has it."""

    async def waits(self, tenant: str, name: str, key: str, after: int, until: int, limit: int) -> list[WaitRow]:
        """The steps that wait for an event of this name and key, by id, after one id and up to another."""
        ...


class EventExpander:
    """The handler of EXPAND_EVENT jobs."""

    def __init__(self, store: WaitSource, journal: Writer, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._settings = settings

    async def run(self, job: JobRow) -> None:
        """Run the job to its end from where it stands. Raises what the journal refuses; then it is to be run again
        from the stored row."""
        while job.state is JobState.RUNNING:
            cursor = msgspec.json.decode(job.cursor, type=ExpansionCursor)
            fitting = offers_within(OFFERED_BYTES_MAX, cursor.payload.encode())
            limit = min(self._settings.event_offers_max, fitting)
            waits = await self._store.waits(job.tenant, cursor.name, cursor.key, cursor.after, cursor.until, limit)
            job = self._moved_on(job, cursor, waits, last=len(waits) < limit)
            await self._commit(job, cursor, waits)

    def _moved_on(self, job: JobRow, cursor: ExpansionCursor, waits: list[WaitRow], last: bool) -> JobRow:
        """The job once these steps have got the event."""
        now, done = self._clock.now(), job.done + len(waits)
        after = waits[-1].id if waits else cursor.until
        return msgspec.structs.replace(
            job,
            cursor=msgspec.json.encode(msgspec.structs.replace(cursor, after=after)),
            state=JobState.SUCCEEDED if last else JobState.RUNNING,
            done=done,
            total=done if last else max(job.total, done),
            updated_at=now,
            ended_at=now if last else 0,
        )

    async def _commit(self, job: JobRow, cursor: ExpansionCursor, waits: list[WaitRow]) -> None:
        outcome = await self._journal.write(
            EventExpansion(
                job=job,
                event_id=cursor.event_id,
                name=cursor.name,
                payload=cursor.payload.encode(),
                context=cursor.context.encode(),
                accepted_at=cursor.accepted_at,
                offers=tuple(waits),
            )
        )
        if isinstance(outcome, Lost):
            message = f"the event was not offered: {outcome.message or outcome.why.value}"
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", message))
