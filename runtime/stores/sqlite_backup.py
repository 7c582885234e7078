"""A copy of the database while it is written to: as of one moment, checked, sealed, and whole or not there at all.

A read transaction of a connection of its own fixes the moment; SQLite's online backup then copies what stood in the
pages at that moment, slice by slice, whatever is committed meanwhile. (Without it every commit would make the copy
begin anew, and under load it would never end.) The writer is never waited for and never waits; all that it notices is
that the log cannot begin anew until the copy is made. Everything here runs in a thread of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from ..backup_rows import Progress, Seal, StoreCopy
from ..core.refusals import Kind, Refusal, Refused
from ..ports import StorageFullError
from .sqlite_writer import storage_error

_SLICE_PAGES: Final = 256
_SLICES_PER_SYNC: Final = 16
"""What the system has not written yet stays small, so that a sync of the writer never waits for much of the copy."""
_PAUSE_SECONDS: Final = 0.002
_PIECE_BYTES: Final = 1024 * 1024
_MARGIN_BYTES: Final = 32 * 1024 * 1024
"""What has to stay free beside the copy."""
_STEPS_PER_LOOK: Final = 100_000
_PROBLEMS_SHOWN: Final = 3
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class BackupStoppedError(Exception):
    """Whoever wanted the copy does not want it any more."""


class Copying:
    """One copy under way."""

    def __init__(self, database: Path, target: Path, progress: Progress | None) -> None:
        self._database = database
        self._target = target
        self._progress = progress
        self._stopped = threading.Event()
        self._slices = 0

    def stop(self) -> None:
        """Give it up; `run` raises BackupStoppedError soon. From any thread."""
        self._stopped.set()

    def run(self) -> StoreCopy:
        """Make the copy. Raises Refused: STORAGE_FULL where there is no room, HISTORY_DAMAGED where what is copied is
        damaged, STORAGE_UNAVAILABLE; and BackupStoppedError. Then the target is not there."""
        try:
            with self._made():
                return self._make()
        except OSError as error:
            raise no_room(self._target.parent, str(error.strerror or error)) from error

    def _make(self) -> StoreCopy:
        try:
            version = self._copy()
            self._check()
            return self._sealed(version)
        except BaseException as error:
            explained = self._explained(error) if isinstance(error, sqlite3.Error) else error
            self._target.unlink(missing_ok=True)
            raise explained from error

    def _made(self) -> closing[_Descriptor]:
        """The empty file: nobody else may read it. Held open, so that it can be synced from time to time."""
        self._target.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = _Descriptor(os.open(self._target, flags, 0o600))
        return closing(self._file)

    def _copy(self) -> int:
        """All pages as of one moment; the schema's version at that moment."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as source:
            source.execute("PRAGMA query_only = ON")
            source.execute("BEGIN")
            (version,) = source.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
            self._check_room(source)
            with closing(sqlite3.connect(self._target, isolation_level=None)) as target:
                target.execute("PRAGMA journal_mode = OFF").fetchall()
                target.execute("PRAGMA synchronous = OFF")
                page_bytes: int = source.execute("PRAGMA page_size").fetchone()[0]
                source.backup(
                    target,
                    pages=_SLICE_PAGES,
                    progress=lambda _, left, total: self._breathe((total - left) * page_bytes, total * page_bytes),
                )
        self._file.sync()
        return int(version)

    def _check_room(self, source: sqlite3.Connection) -> None:
        """A backup must not be what fills the disk of the store."""
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
        needed, free = pages * page_bytes + _MARGIN_BYTES, shutil.disk_usage(self._target.parent).free
        if free < needed:
            raise no_room(self._target.parent, f"{needed} bytes are needed, {free} are free")

    def _breathe(self, done: int, total: int) -> None:
        """Between two slices: whoever else wants the disk or the interpreter has it."""
        self._look()
        self._slices += 1
        if self._slices % _SLICES_PER_SYNC == 0:
            self._file.sync()
        if self._progress is not None:
            self._progress(done, total)
        time.sleep(_PAUSE_SECONDS)

    def _look(self) -> None:
        if self._stopped.is_set():
            raise BackupStoppedError

    def _check(self) -> None:
        """A copy of a damaged database is no backup; one is better told now than when it is needed."""
        uri = f"{self._target.as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as copy:
            copy.set_progress_handler(lambda: int(self._stopped.is_set()), _STEPS_PER_LOOK)
            found = [str(said) for (said,) in copy.execute(f"PRAGMA quick_check({_PROBLEMS_SHOWN})")]
        if found != ["ok"]:
            raise _damaged("; ".join(found))

    def _sealed(self, version: int) -> StoreCopy:
        digest, size = hashlib.sha256(), 0
        with self._target.open("r+b") as file:
            while piece := file.read(_PIECE_BYTES):
                self._look()
                digest.update(piece)
                size += len(piece)
            seal = Seal(size, digest.digest()).encode()
            digest.update(seal)
            file.write(seal)
            file.flush()
            os.fsync(file.fileno())
        return StoreCopy(self._target, size + len(seal), digest.digest(), version)

    def _explained(self, error: sqlite3.Error) -> Exception:
        if self._stopped.is_set():
            return BackupStoppedError()
        if isinstance(storage_error(error, self._target.parent), StorageFullError) or not self._file.can_grow():
            return no_room(self._target.parent, str(error))
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            return _damaged(str(error))
        message = f"the database cannot be copied: {error}"
        return Refused(Refusal(Kind.UNAVAILABLE, "STORAGE_UNAVAILABLE", message))


class _Descriptor:
    """An open file that another connection writes."""

    def __init__(self, number: int) -> None:
        self._number = number

    def sync(self) -> None:
        os.fsync(self._number)

    def can_grow(self) -> bool:
        """Whether there is room behind its end: SQLite calls a quota and a full disk input/output errors at times."""
        try:
            os.pwrite(self._number, bytes(_PIECE_BYTES), os.fstat(self._number).st_size)
            os.fsync(self._number)
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._number)


def _damaged(cause: str) -> Refused:
    message = f"the database is damaged, no backup of it was made: {cause}"
    return Refused(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", message))


def no_room(folder: Path, cause: str) -> Refused:
    """The refusal of a backup for which there is no place."""
    message = f"a copy of the store cannot be written in {folder}, and nothing of it was left there: {cause}"
    return Refused(Refusal(Kind.BUSY, "STORAGE_FULL", message, retry_after_us=60_000_000))
