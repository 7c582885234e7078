"""The writer: one transaction a flush, what to do when one goes wrong, and the care of the write-ahead log.

Everything here runs in the thread of the one writing connection, except `checkpoint`, which has its own.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ..core.state import ENDED
from ..ports import StorageFailedError, StorageFullError
from ..writes import Lost, Outcome, Why, Write
from .changes import Counters
from .connection import LENIENT
from .sql import statements
from .sqlite_lookups import Heads
from .sqlite_writes import carry_out
from .wanted import Known

_LOG = logging.getLogger(__name__)
_SQL = statements("writes.sql")

_HEADS_KEPT_MAX = 8192
_ROOM_BYTES = 256 * 1024
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)
_SYNC_ERRORS = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


class Writer:
    """Writes batches; remembers the heads of the executions it wrote, so that a step reads nothing."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        connection.text_factory = LENIENT  # one damaged row must not fail a flush
        self._connection = connection
        self._folder = folder
        self._heads: Heads = {}
        given = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        self._counters = Counters(*(given.get(table, 0) for table in ("executions", "events", "inbox", "waits")))
        (self.page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        self.rows_changed = 0
        """Since the connection was opened."""
        self.wipe_due = False
        """The log may hold what is erased in the database."""

    def flush(self, batch: Sequence[Write]) -> list[Outcome]:
        """One transaction for all of it. Raises StorageFullError or StorageFailedError, and then nothing is written."""
        counters = self._counters.copy()
        self._execute("BEGIN IMMEDIATE")
        try:
            outcomes, known = carry_out(self._connection, batch, counters, self._heads)
        except Exception as error:  # noqa: BLE001 - whatever a row raised, only its own write may fail
            self._roll_back(error)
            return self._one_by_one(batch)
        self._commit(counters)
        self._remember(known)
        self.wipe_due = self.wipe_due or known.wiped
        return outcomes

    def probe(self) -> bool:
        """Whether there is room again: for a file, for pages of the database, and for a commit in the log."""
        if not has_room(self._folder):
            return False
        try:
            self._execute("BEGIN IMMEDIATE")
            for name in ("probe", "probe_done", "probed"):
                self._execute(_SQL[name])
            self._execute("COMMIT")
        except StorageFullError:
            self._leave_transaction()
            return False
        return True

    def restart_log(self) -> bool:
        """Copy all of the log into the database and begin it anew; False while a reader is in the way."""
        return self._copy_log("RESTART")

    def wipe_log(self) -> bool:
        """The same, and nothing that was written to the log stays in its file."""
        wiped = self._copy_log("TRUNCATE")
        self.wipe_due = self.wipe_due and not wiped
        return wiped

    def _copy_log(self, mode: str) -> bool:
        self._execute("PRAGMA busy_timeout = 100")
        try:
            busy, _, _ = self._execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            self._execute("PRAGMA busy_timeout = 5000")
        return not busy

    def _one_by_one(self, batch: Sequence[Write]) -> list[Outcome]:
        """The same batch with every write in a savepoint of its own, so that only the culprits fail."""
        counters = self._counters.copy()
        self._execute("BEGIN IMMEDIATE")
        outcomes = [self._alone(write, counters) for write in batch]
        self._commit(counters)
        return outcomes

    def _alone(self, write: Write, counters: Counters) -> Outcome:
        before = counters.copy()
        self._execute("SAVEPOINT alone")
        try:
            (outcome,), known = carry_out(self._connection, [write], counters, {})
            self.wipe_due = self.wipe_due or known.wiped
        except Exception as error:  # noqa: BLE001 - whatever a row raised, only its own write may fail
            serious = storage_error(error, self._folder)
            if serious is not None:
                self._roll_back(error)
            _LOG.warning("a write was taken out of its flush: %s", error, exc_info=error)
            self._execute("ROLLBACK TO alone")
            counters.restore(before)
            outcome = Lost(Why.ROW, f"{type(error).__name__}: {error}")
        self._execute("RELEASE alone")
        return outcome

    def _execute(self, sql: str) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql)
        except sqlite3.Error as error:
            raise storage_error(error, self._folder) or StorageFailedError(f"{sql}: {error}") from error

    def _commit(self, counters: Counters) -> None:
        try:
            self._execute("COMMIT")
        except StorageFullError:
            self._leave_transaction()
            raise
        self._counters = counters
        self.rows_changed = self._connection.total_changes

    def _roll_back(self, error: Exception) -> None:
        """Undo the transaction; raises where the storage, not a row, is to blame."""
        self._leave_transaction()
        serious = storage_error(error, self._folder)
        if serious is not None:
            raise serious from error

    def _leave_transaction(self) -> None:
        self._heads.clear()
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def _remember(self, known: Known) -> None:
        heads = self._heads
        for key in known.gone:
            heads.pop(key, None)
        for key, record in known.heads.items():
            # What was used last goes to the end: the front is what is forgotten first.
            heads.pop(key, None)
            if record.head.status not in ENDED:
                heads[key] = record
        if len(heads) > _HEADS_KEPT_MAX:
            for key in list(heads)[: len(heads) // 4]:
                del heads[key]


def checkpoint(connection: sqlite3.Connection, folder: Path) -> int:
    """Copy what no reader needs from the log into the database; returns the pages in the log."""
    try:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        raise storage_error(error, folder) or StorageFailedError(f"checkpoint: {error}") from error
    return max(0, int(pages))


def storage_error(error: Exception, folder: Path) -> StorageFullError | StorageFailedError | None:
    """What the error says about the storage; None: a row is to blame."""
    if isinstance(error, StorageFullError | StorageFailedError):
        return error
    if isinstance(error, MemoryError):
        return StorageFailedError("out of memory")
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, _ROW_ERRORS):
        return None
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StorageFullError(str(error))
    # A quota, or a full disk met while the log's index grows, shows as an input/output error. A failed sync is
    # something else: what it left on disk is not known.
    if code & 0xFF == sqlite3.SQLITE_IOERR and code not in _SYNC_ERRORS and not has_room(folder):
        return StorageFullError(str(error))
    name = getattr(error, "sqlite_errorname", "")
    return StorageFailedError(f"{error} {name}".strip())


def has_room(folder: Path) -> bool:
    """Whether a file of some size can be written beside the database."""
    path = folder / f".callboard-room-{os.getpid()}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(file, bytes(_ROOM_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        return error.errno not in _NO_ROOM
    finally:
        path.unlink(missing_ok=True)
    return written == _ROOM_BYTES
