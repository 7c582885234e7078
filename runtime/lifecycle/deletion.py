"""The job that finishes a deletion: it sees to the executions that still run, then the contents go.

With `cancel` it cancels each, as often as it takes; without, it waits. Nothing new starts from what is deleted, so
their number falls; only one that is reopened comes back, which is why it looks again now and then. The last commit
proves that nothing runs any more. Everything it needs to go on is in its row, and all it does can be done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from ..core.lifecycle import Decision, decide_deleted
from ..core.refusals import Refused
from ..lifecycle_rows import DefinitionHead, LifecycleChange
from ..ports import Clock
from ..rows import ExecutionRef
from ..trigger_rows import JobRow, JobState, JobUpdate
from ..writes import Committed
from .recording import Announce, Origin, Part, Writer, announce, definition_change, standing_of

PAGE: Final = 100
"""Executions that are cancelled at a time."""
FAILURES_MAX: Final = 10
"""Failures that the job's row tells of."""
FIRST_SECONDS: Final = 0.05
CANCEL_SECONDS_MAX: Final = 5.0
KEEP_SECONDS_MAX: Final = 60.0
"""The pauses between two looks double from the first to the longest."""
AGAIN_SECONDS: Final = 60.0
"""After so long it looks for executions that were reopened."""

Cancel: TypeAlias = Callable[[ExecutionRef, str], Awaitable[object]]
"""Cancel an execution, with a reason; raises Refused."""

_OVER: Final = frozenset({"EXECUTION_ENDED", "EXECUTION_NOT_FOUND"})


class Deletion(msgspec.Struct, frozen=True):
    """What the job's row has to say."""

    definition_id: str
    versions: tuple[int, ...]
    """The versions that go."""
    whole: bool
    """All of the definition."""
    cancel: bool


class DeletionStore(Protocol):
    """What is read here; a Store has it."""

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where a definition stands, or None."""
        ...

    async def open_count(self, tenant: str, definition_id: str, version: int) -> int:
        """How many executions of a definition have not ended; of one version, where it is not 0."""
        ...

    async def open_executions(
        self, tenant: str, definition_id: str, version: int, after: int, limit: int
    ) -> list[tuple[int, ExecutionRef]]:
        """Executions of a definition that have not ended, with their keys, by key after this one."""
        ...


class Failure(msgspec.Struct, frozen=True):
    """One execution that could not be cancelled yet."""

    execution_id: str
    type: str
    message: str


class Deletions:
    """Runs jobs of the kind DELETE_DEFINITION."""

    def __init__(
        self, store: DeletionStore, journal: Writer, clock: Clock, cancel: Cancel, listeners: Sequence[Announce] = ()
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._cancel = cancel
        self._listeners = listeners

    async def run(self, job: JobRow) -> None:
        """Go on with a job until it has succeeded; what it raises is no reason to give up."""
        deletion = msgspec.json.decode(job.cursor, type=Deletion)
        pause, look_at = FIRST_SECONDS, self._clock.monotonic()
        failures: tuple[Failure, ...] = ()
        while True:
            if deletion.cancel and self._clock.monotonic() >= look_at:
                failures = await self._cancel_all(job, deletion)
                look_at = self._clock.monotonic() + (0 if failures else AGAIN_SECONDS)
            running = await self._running(job.tenant, deletion)
            if not running and await self._finish(job, deletion):
                return
            job = await self._report(job, running, failures)
            await self._clock.sleep_until(self._clock.monotonic() + pause)
            pause = min(2 * pause, CANCEL_SECONDS_MAX if deletion.cancel else KEEP_SECONDS_MAX)

    def _scopes(self, deletion: Deletion) -> tuple[int, ...]:
        """The versions to look at, as the store names them. While the whole definition is being deleted, nothing of it
        may run; where it is deleted already it may have been published again."""
        return (0,) if deletion.whole and deletion.cancel else deletion.versions

    async def _running(self, tenant: str, deletion: Deletion) -> int:
        counts = [
            await self._store.open_count(tenant, deletion.definition_id, version) for version in self._scopes(deletion)
        ]
        return sum(counts)

    async def _cancel_all(self, job: JobRow, deletion: Deletion) -> tuple[Failure, ...]:
        """Ask every execution that runs to end; those that cannot be asked."""
        reason = f"definition {job.target} is deleted"
        failures: list[Failure] = []
        for version in self._scopes(deletion):
            after = 0
            while page := await self._store.open_executions(job.tenant, deletion.definition_id, version, after, PAGE):
                asked = await asyncio.gather(*(self._ask(ref, reason) for _, ref in page))
                failures += (failure for failure in asked if failure is not None)
                after = page[-1][0]
        return tuple(failures)

    async def _ask(self, ref: ExecutionRef, reason: str) -> Failure | None:
        try:
            await self._cancel(ref, reason)
        except Refused as refused:
            refusal = refused.refusal
            return None if refusal.reason in _OVER else Failure(ref.execution_id, refusal.reason, refusal.message)
        return None

    async def _report(self, job: JobRow, running: int, failures: tuple[Failure, ...]) -> JobRow:
        """Write down how far it is, if that is news."""
        total = max(job.total, running)
        moved = msgspec.structs.replace(
            job,
            total=total,
            done=total - running,
            failed=len(failures),
            failures=msgspec.json.encode(failures[:FAILURES_MAX]),
        )
        if moved == job:
            return job
        moved = msgspec.structs.replace(moved, updated_at=self._clock.now())
        await self._journal.write(JobUpdate(moved))
        return moved

    async def _finish(self, job: JobRow, deletion: Deletion) -> bool:
        """Delete the contents, if nothing runs and nothing else has changed meanwhile."""
        head = await self._store.definition(job.tenant, deletion.definition_id)
        assert head is not None, "a definition's head is never deleted"
        now, standing = self._clock.now(), standing_of(head)
        decision = Decision(standing, standing)
        if deletion.whole and deletion.cancel:
            decision = decide_deleted(standing, deletion.versions)
        # Without a version to go, what runs are versions that were deleted before, and the concern of other jobs.
        idle = () if self._scopes(deletion) == (0,) else deletion.versions or None
        part = Part(deletion.definition_id, decision, head.revision, idle=idle, purged=deletion.versions)
        origin = Origin(job.tenant, job.user_id)
        ended = msgspec.structs.replace(
            job, state=JobState.SUCCEEDED, done=job.total, failed=0, failures=b"[]", updated_at=now, ended_at=now
        )
        change = LifecycleChange(job.tenant, (definition_change(origin, part, now),), now, job=ended)
        outcome = await self._journal.write(change)
        if not isinstance(outcome, Committed):
            return False
        announce(self._listeners, origin, part, outcome.revision)
        return True
