"""The store in one SQLite file: one connection writes, two read, one copies the log into the database behind them.

What is acknowledged is on disk (write-ahead log, `synchronous = FULL`). A batch, however large, is one hop to the
writer's thread. Point reads (what actors wait for) and pages (what people ask for) have a connection each, so that a
long listing never stands in the way of an activation.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from ..ports import StorageFailedError, StorageFullError, StoreRefusedError
from ..rows import (
    Counts,
    DeadLetter,
    ExecutionRecord,
    ExecutionRef,
    InboxRow,
    Request,
    Snapshot,
    StoredEvent,
    StoreInfo,
    TaskRecord,
    TimerRecord,
)
from ..trigger_rows import EventOutcome, JobRow, OutboxRow, TriggerRow, WaitRow
from ..writes import Outcome, Write
from . import sqlite_history as history_reads
from . import sqlite_lifecycle_reads as lifecycle_reads
from . import sqlite_reads as reads
from .connection import Connection
from .schema import FileLock, pending_migrations, prepare, prepare_checkpointer, prepare_reader
from .sqlite_copies import StoreCopies
from .sqlite_feeds import FeedReads
from .sqlite_listing import SqliteListing
from .sqlite_retention import Retention
from .sqlite_secrets import SecretReads
from .sqlite_writer import Writer, checkpoint, storage_error

__all__ = ["SqliteStore", "pending_migrations"]

_LOG = logging.getLogger(__name__)
_ROWS_PER_CHECKPOINT = 2000
_WIPE_PAUSE_SECONDS = 2.0
"""Between two attempts to cut off the log, where a reader or a copy is in the way."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore(FeedReads, SqliteListing, StoreCopies, SecretReads, Retention):
    """The `Store` port over a file and the few that SQLite and the lock keep beside it. Opened once, closed once."""

    def __init__(
        self, path: Path | str, *, backup_before_migration: bool = True, wal_bytes_max: int = 64 * 1024 * 1024
    ) -> None:
        self._path = Path(path).absolute()
        self._backup = backup_before_migration
        self._wal_bytes_max = wal_bytes_max
        self._lock = FileLock(self._path)
        self._writing = Connection(self._path)
        self._points = Connection(self._path)
        self._pages = Connection(self._path)
        self._copying = Connection(self._path)
        self._opened: list[Connection] = []
        self._writer: Writer | None = None
        self._failure: StorageFailedError | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        self._checkpointed_rows = 0
        self._restart_due = False
        self._wiping: asyncio.Task[None] | None = None

    async def open(self) -> StoreInfo:
        """Take the lock, migrate, count the opening. Raises StoreRefusedError; then everything is given back."""
        self._lock.take()
        try:
            self.scratch_path(self._path).unlink(missing_ok=True)
            log_left = self._has_log()
            await self._connect(self._writing)
            info = await self._writing.run(
                lambda connection: prepare(
                    connection, self._path, backup=self._backup, wal_bytes_max=self._wal_bytes_max
                )
            )
            self._writer = await self._writing.run(lambda connection: Writer(connection, self._path.parent))
            for connection, prepared in (
                (self._points, prepare_reader),
                (self._pages, prepare_reader),
                (self._copying, prepare_checkpointer),
            ):
                await self._connect(connection)
                await connection.run(prepared)
        except OSError as error:
            await self.close()
            raise StoreRefusedError(f"{self._path} cannot be opened: {error.strerror or error}") from error
        except BaseException:
            await self.close()
            raise
        if log_left:
            # Of a process that was killed, perhaps between an erasure and what follows it.
            self._writer.wipe_due = True
            self._wipe_soon(self._writer)
        return info

    def _has_log(self) -> bool:
        log = self._path.with_name(f"{self._path.name}-wal")
        return log.exists() and log.stat().st_size > 0

    async def _connect(self, connection: Connection) -> None:
        try:
            await connection
        except sqlite3.Error as error:
            raise StoreRefusedError(f"{self._path} cannot be opened: {error}") from error
        self._opened.append(connection)

    async def close(self) -> None:
        """Close every connection, the writing one last: it copies the rest of the log and removes it."""
        if self._wiping is not None:
            self._wiping.cancel()
            await asyncio.wait([self._wiping])
            self._wiping = None
        if self._checkpoint is not None:
            await self._checkpoint
            self._checkpoint = None
        while self._opened:
            await self._opened.pop().close()
        self._writer = None
        self._lock.release()

    # -- writing -----------------------------------------------------------------------------------------------

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        """One transaction, one hop."""
        writer = self._sound_writer()
        if self._restart_due and not self._copies_under_way:
            await self._restart_log(writer)
        outcomes = await self._writing.run(lambda _: writer.flush(batch))
        if writer.rows_changed - self._checkpointed_rows >= _ROWS_PER_CHECKPOINT:
            self._copy_soon(writer)
        if writer.wipe_due:
            self._wipe_soon(writer)
        return outcomes

    async def probe(self) -> bool:
        """Room for a file, for pages and for a commit."""
        writer = self._sound_writer()
        return await self._writing.run(lambda _: writer.probe())

    async def _tidy(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Between two flushes. Raises StorageFullError or StorageFailedError."""
        writer = self._sound_writer()
        try:
            return await self._writing.run(lambda connection: work(connection, *args, **kwargs))
        except sqlite3.Error as error:
            raise storage_error(error, self._path.parent) or StorageFailedError(str(error)) from error
        finally:
            self._copy_soon(writer)

    def _sound_writer(self) -> Writer:
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            raise StorageFailedError("the store is not open")
        return self._writer

    def _copy_soon(self, writer: Writer) -> asyncio.Task[None]:
        if self._checkpoint is None:
            self._checkpointed_rows = writer.rows_changed
            self._checkpoint = asyncio.create_task(self._copy_log(writer), name="callboard-checkpoint")
        return self._checkpoint

    async def _copy_log(self, writer: Writer) -> None:
        """Passive, beside the flushes. A full disk is met again by the next flush, which says so."""
        try:
            pages = await self._copying.run(lambda connection: checkpoint(connection, self._path.parent))
            self._restart_due = pages * writer.page_bytes > self._wal_bytes_max
            if writer.wipe_due and not self._copies_under_way:
                await self._writing.run(lambda _: writer.wipe_log())
        except StorageFullError as error:
            _LOG.warning("the disk is full, the write-ahead log cannot be copied: %s", error)
        except StorageFailedError as error:
            self._failure = error
        finally:
            self._checkpoint = None

    async def _restart_log(self, writer: Writer) -> None:
        """Between two flushes: passive copying alone never catches up with a writer that does not pause."""
        if self._checkpoint is not None:
            await self._checkpoint
        self._restart_due = False
        if not await self._writing.run(lambda _: writer.restart_log()):
            _LOG.info("a reader keeps the write-ahead log from being restarted")

    def _wipe_soon(self, writer: Writer) -> None:
        if self._wiping is None:
            self._wiping = asyncio.create_task(self._wipe_log(writer), name="callboard-wiping")

    async def _wipe_log(self, writer: Writer) -> None:
        """Until nothing that was erased is left in the log."""
        try:
            while writer.wipe_due and self._failure is None:
                await asyncio.wait([self._copy_soon(writer)])
                if writer.wipe_due:
                    await asyncio.sleep(_WIPE_PAUSE_SECONDS)
        finally:
            self._wiping = None

    # -- reading -----------------------------------------------------------------------------------------------

    async def _point(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._points.run(lambda connection: read(connection, *args, **kwargs))

    async def _page(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._pages.run(lambda connection: read(connection, *args, **kwargs))

    async def execution(self, ref: ExecutionRef) -> ExecutionRecord | None:
        """By tenant and id."""
        return await self._point(reads.execution, ref)

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """By key."""
        return await self._point(reads.execution_by_key, key)

    async def events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """One page of a history."""
        return await self._point(reads.events, key, after, limit, bytes_max)

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """One page, as stored."""
        return await self._page(history_reads.stored_events, key, after, limit, bytes_max)

    async def snapshot(self, key: int, until: int | None = None) -> Snapshot | None:
        """The newest at or before a sequence."""
        return await self._point(reads.snapshot, key, until)

    async def snapshots(self, key: int) -> list[Snapshot]:
        """Newest first."""
        return await self._page(reads.snapshots, key)

    async def known_events(self, key: int, event_ids: Sequence[str]) -> set[str]:
        """Which of these the history holds."""
        return await self._point(reads.known_events, key, event_ids)

    async def requests(self, tenant: str, request_ids: Sequence[str], now: int) -> dict[str, Request]:
        """Those that have not expired."""
        return await self._point(reads.requests, tenant, request_ids, now)

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        """By key and path."""
        return await self._page(reads.open_tasks, after, limit)

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Payloads of events."""
        return await self._point(reads.task_inputs, wanted)

    async def timers(self, until: int, limit: int) -> list[TimerRecord]:
        """Those due first."""
        return await self._point(reads.timers, until, limit)

    async def inbox(self, key: int, limit: int, events: bool = True) -> list[InboxRow]:
        """The oldest first."""
        return await self._point(reads.inbox, key, limit, events)

    async def inbox_executions(self, after_key: int, limit: int) -> list[tuple[int, ExecutionRef]]:
        """By key."""
        return await self._page(reads.inbox_executions, after_key, limit)

    async def dead_letters(self, tenant: str, execution_id: str, after: int, limit: int) -> list[DeadLetter]:
        """By id."""
        return await self._page(reads.dead_letters, tenant, execution_id, after, limit)

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        """Where it stands."""
        return await self._point(lifecycle_reads.definition, tenant, definition_id)

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """By id."""
        return await self._page(lifecycle_reads.definitions, tenant, after, limit)

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        """One of them."""
        return await self._point(lifecycle_reads.definition_version, tenant, definition_id, version)

    async def definition_versions(
        self, tenant: str, definition_id: str, below: int, limit: int
    ) -> list[DefinitionVersion]:
        """Newest first."""
        return await self._page(lifecycle_reads.definition_versions, tenant, definition_id, below, limit)

    async def definition_events(
        self, tenant: str, definition_id: str, after: int, after_revision: int, limit: int, bytes_max: int
    ) -> list[DefinitionEvent]:
        """In order."""
        return await self._page(
            lifecycle_reads.definition_events, tenant, definition_id, after, after_revision, limit, bytes_max
        )

    async def tenant_definition_events(
        self, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
    ) -> list[tuple[str, DefinitionEvent]]:
        """Of all definitions, in order."""
        return await self._page(lifecycle_reads.tenant_definition_events, tenant, after, limit, bytes_max)

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        """With the revision of the last change to them."""
        return await self._point(lifecycle_reads.listeners, tenant, event_name)

    async def triggers(
        self, tenant: str, definition_id: str, event_name: str, after: tuple[str, str], limit: int
    ) -> list[TriggerRow]:
        """Active ones, by definition and id."""
        return await self._page(lifecycle_reads.triggers, tenant, definition_id, event_name, after, limit)

    async def trigger(self, tenant: str, definition_id: str, trigger_id: str) -> TriggerRow | None:
        """Active or not."""
        return await self._point(lifecycle_reads.trigger, tenant, definition_id, trigger_id)

    async def due_triggers(self, until: int, limit: int) -> list[TriggerRow]:
        """Schedules, those due first."""
        return await self._point(lifecycle_reads.due_triggers, until, limit)

    async def line(self, tenant: str, definition_id: str, line: str, limit: int) -> list[ExecutionRef]:
        """Its first executions."""
        return await self._point(reads.line, tenant, definition_id, line, limit)

    async def open_count(self, tenant: str, definition_id: str, version: int) -> int:
        """Counted now."""
        return await self._page(reads.open_count, tenant, definition_id, version)

    async def open_executions(
        self, tenant: str, definition_id: str, version: int, after: int, limit: int
    ) -> list[tuple[int, ExecutionRef]]:
        """By key."""
        return await self._page(reads.open_executions, tenant, definition_id, version, after, limit)

    async def waits(self, tenant: str, name: str, key: str, after: int, until: int, limit: int) -> list[WaitRow]:
        """By id."""
        return await self._page(reads.waits, tenant, name, key, after, until, limit)

    async def outbox(self, after: int, limit: int, tenant: str = "") -> list[OutboxRow]:
        """By id."""
        return await self._point(reads.outbox, after, limit, tenant)

    async def published_event(self, tenant: str, event_id: str, now: int) -> EventOutcome | None:
        """What it matched, while it is remembered."""
        return await self._point(lifecycle_reads.published_event, tenant, event_id, now)

    async def job(self, tenant: str, job_id: str) -> JobRow | None:
        """One of them."""
        return await self._point(lifecycle_reads.job, tenant, job_id)

    async def jobs(self, tenant: str, below: int, limit: int) -> list[JobRow]:
        """Newest first."""
        return await self._page(lifecycle_reads.jobs, tenant, below, limit)

    async def open_jobs(self) -> list[JobRow]:
        """Oldest first."""
        return await self._page(lifecycle_reads.open_jobs)

    async def revision(self, tenant: str) -> int:
        """The tenant's last one."""
        return await self._point(lifecycle_reads.revision, tenant)

    async def counts(self) -> Counts:
        """Counted now."""
        return await self._page(reads.counts)
