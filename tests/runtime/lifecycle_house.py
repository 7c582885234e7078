"""Everything that changes definitions, over a journal and a store in memory and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from callboard.runtime.catalog import Catalog
from callboard.runtime.clock import ManualClock, ManualIds
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.definitions import Definitions
from callboard.runtime.journal import Journal
from callboard.runtime.lifecycle.batching import Batching
from callboard.runtime.lifecycle.contents import Given
from callboard.runtime.lifecycle.deleting import Deleting
from callboard.runtime.lifecycle.drafting import Drafting, PutDraft
from callboard.runtime.lifecycle.extensions import UserStage
from callboard.runtime.lifecycle.importing import Importing
from callboard.runtime.lifecycle.pausing import Pausing
from callboard.runtime.lifecycle.publishing import Publish, Publishing
from callboard.runtime.lifecycle.recording import Announcement, Origin
from callboard.runtime.lifecycle.retracting import Retracting
from callboard.runtime.lifecycle.reverting import Reverting
from callboard.runtime.lifecycle_rows import DefinitionHead, LifecycleChange
from callboard.runtime.rows import ExecutionAppend, ExecutionRef, Head, Request, StoredEvent
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.writes import Committed, Outcome, Write

STAGES = ["load", "validate", "compile", "decide", "record", "invalidate", "announce"]


class Watched(MemoryStore):
    """Keeps what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[LifecycleChange] = []

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        self.changes += [write for write in batch if isinstance(write, LifecycleChange)]
        return await super().write(batch)


class House:
    """All chains; every announcement is kept."""

    def __init__(self, *user_stages: UserStage, event_triggers_max: int = 100, store: Watched | None = None) -> None:
        self.store = store or Watched()
        self.clock = ManualClock()
        self.journal = Journal(self.store, self.clock)
        self.catalog = Catalog(self.store, self.clock)
        self.journal.subscribe(self.catalog.committed)
        self.told: list[Announcement] = []
        self.cancelled: list[ExecutionRef] = []
        self.uncancellable: set[str] = set()
        self.slow: set[str] = set()
        """They take a cancel, and do not end by it."""
        wiring = (self.store, self.journal, self.catalog, self.clock, [self.told.append])
        self.publishing = Publishing(*wiring, event_triggers_max=event_triggers_max, user_stages=user_stages)
        self.drafting = Drafting(*wiring, user_stages=user_stages)
        self.retracting = Retracting(*wiring, user_stages=user_stages)
        self.reverting = Reverting(self.store, self.publishing)
        self.batching = Batching(self.publishing)
        self.importing = Importing(self.publishing, self.batching)
        self.pausing = Pausing(*wiring, user_stages=user_stages)
        self.deleting = Deleting(*wiring, ids=ManualIds("job-"), cancel=self._cancel, user_stages=user_stages)
        self.definitions = Definitions(self.store)

    async def head(self, definition_id: str = "flow") -> DefinitionHead:
        found = await self.store.definition("acme", definition_id)
        assert found is not None
        return found

    async def start(self, execution_id: str, version: int = 1) -> None:
        """An execution of the definition that has not ended."""
        await self._append(execution_id, version, "RUNNING", 0)

    async def end(self, execution_id: str) -> None:
        """The execution ends."""
        record = await self.store.execution(ExecutionRef("acme", execution_id))
        assert record is not None
        await self._append(execution_id, record.head.version, "COMPLETED", record.key)

    async def _append(self, execution_id: str, version: int, status: str, key: int) -> None:
        now, sequence = self.clock.now(), 2 if key else 1
        event = StoredEvent(sequence, "ExecutionStarted" if not key else "ExecutionCompleted", b"{}", now, bytes(32))
        ended_at = now if key else 0
        head = Head(status, status.lower(), "flow", version, b"{}", sequence, bytes(32), now, now, ended_at)
        write = ExecutionAppend(ExecutionRef("acme", execution_id), key, sequence - 1, (event,), head)
        assert isinstance(await self.journal.write(write), Committed)

    async def _cancel(self, ref: ExecutionRef, _: str) -> None:
        if ref.execution_id in self.uncancellable:
            raise Refused(Refusal(Kind.STATE, "EXECUTION_STATE_FORBIDS", "not now"))
        self.cancelled.append(ref)
        if ref.execution_id not in self.slow:
            await self.end(ref.execution_id)


def flow(**fields: Any) -> dict[str, Any]:
    return {"id": "flow", "steps": [{"id": "end", "finish": {}}], **fields}


def given(**fields: Any) -> Given:
    return Given(definition=flow(**fields))


def origin(request_id: str = "", fingerprint: bytes = b"f") -> Origin:
    request = Request("acme", request_id, fingerprint, "", 2**60) if request_id else None
    return Origin("acme", "ann", request)


def publish(**fields: Any) -> Publish:
    return Publish(**{"origin": origin(), "given": given(), **fields})


def draft(**fields: Any) -> PutDraft:
    return PutDraft(**{"origin": origin(), "given": given(), **fields})


async def refusal(awaited: Awaitable[Any]) -> Refusal:
    with pytest.raises(Refused) as raised:
        await awaited
    return raised.value.refusal


async def refused(awaited: Awaitable[Any]) -> tuple[Kind, str]:
    found = await refusal(awaited)
    return found.kind, found.reason
