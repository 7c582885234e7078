"""An examination of a data directory on which no server runs: what is there, and what is wrong with it.

Nothing is changed unless it is asked for, and then only what is derived and can be made again: the counts of
executions, their searchable labels, and files that a killed process left. A history is never touched; `verify` checks
each against its hashes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from ..ports import StoreRefusedError
from ..suspects import DEATHS_MAX, read_slot
from .connection import LENIENT
from .schema import UNREADABLE, FileLock, migrations, stored_version
from .sql import statements

_SQL = statements("doctor.sql")
_PROBLEMS_SHOWN: Final = 10
_LEFTOVERS: Final = ("-backup", "-restore", "-restore-journal", "-restore-wal", "-restore-shm")
_NUMBERS: Final = ("executions", "open_executions", "events", "open_tasks", "timers", "waits", "inbox", "outbox")
_OWNED: Final = (
    *("labels", "events", "snapshots", "open_tasks", "timers", "inbox", "waits", "outbox", "lines", "retention"),
    *("dead_letters", "secrets", "sealed_values"),
)
_ENDED_HAVE_NONE: Final = ("open_tasks", "timers", "waits")


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong."""

    what: str
    """A stable name: DATABASE_DAMAGED, ORPHANS, ..."""
    message: str
    fixed: bool = False


class Examination(msgspec.Struct, frozen=True):
    """What was found in a data directory."""

    database: str
    store_id: str
    generation: int
    boot: int
    schema_version: int
    pending_migrations: list[str]
    size_bytes: int
    log_bytes: int
    """Of the write-ahead log that a killed process left; it is taken up at the next opening."""
    pages: int
    free_pages: int
    counts: dict[str, int]
    """Rows, by what they are."""
    backups: list[str]
    """Copies that were made before migrations; they may be removed."""
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(finding.fixed for finding in self.findings)


def examine(database: Path, *, fix: bool = False) -> Examination:
    """Look at everything that can be seen without replaying histories. Raises StoreRefusedError where there is no
    store, where it is in use, newer than this program, or cannot be read at all."""
    if not database.exists():
        raise StoreRefusedError(f"{database} is not there")
    lock = FileLock(database)
    lock.take()
    try:
        return _Doctor(database, fix).examine()
    except UNREADABLE as error:
        raise StoreRefusedError(f"{database} cannot be read: {error}; restore a backup") from error
    finally:
        lock.release()


class _Doctor:
    """One examination."""

    def __init__(self, database: Path, fix: bool) -> None:
        self._database = database
        self._fix = fix
        self._findings: list[Finding] = []

    def examine(self) -> Examination:
        files = self._files()
        self._suspects()
        log_bytes = _size(self._beside("-wal"))
        uri = f"{self._database.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.text_factory = LENIENT
            version = stored_version(connection, self._database)
            if not version:
                raise StoreRefusedError(f"{self._database} is empty: no server has been started on it yet")
            self._integrity(connection)
            damaged = any(finding.what == "DATABASE_DAMAGED" for finding in self._findings)
            if not damaged:
                self._rows(connection)
            meta = dict(connection.execute(_SQL["meta"]).fetchall())
            return Examination(
                database=str(self._database),
                store_id=meta["store_id"],
                generation=meta["generation"],
                boot=meta["boot"],
                schema_version=version,
                pending_migrations=[migration.name for migration in migrations() if migration.number > version],
                size_bytes=_size(self._database),
                log_bytes=log_bytes,
                pages=connection.execute("PRAGMA page_count").fetchone()[0],
                free_pages=connection.execute("PRAGMA freelist_count").fetchone()[0],
                counts={} if damaged else _counts(connection),
                backups=files,
                findings=self._findings,
            )

    def _beside(self, suffix: str) -> Path:
        return self._database.with_name(f"{self._database.name}{suffix}")

    def _found(self, what: str, message: str, cure: Callable[[], None] | None = None) -> None:
        fixed = self._fix and cure is not None
        if fixed and cure is not None:
            cure()
        self._findings.append(Finding(what, message, fixed))

    def _files(self) -> list[str]:
        for suffix in _LEFTOVERS:
            path = self._beside(suffix)
            if path.exists():
                message = f"{path.name} was left by a process that was killed, {_size(path)} bytes"
                self._found("LEFTOVER", message, path.unlink)
        return sorted(path.name for path in self._database.parent.glob(f"{self._database.name}.before-*"))

    def _suspects(self) -> None:
        """An execution in the slot is no finding by itself: any kill amid a decision leaves one."""
        slot = read_slot(self._beside("-deciding"))
        if slot is not None and slot.concluded() >= DEATHS_MAX:
            message = f"the process died {slot.concluded()} times in a row while it decided the execution of key"
            self._found("SUSPECT", f"{message} {slot.deciding}; the next start parks it")

    def _integrity(self, connection: sqlite3.Connection) -> None:
        try:
            said = [str(said) for (said,) in connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})")]
        except sqlite3.DatabaseError as error:
            said = [str(error)]
        for problem in said:
            if problem != "ok":
                self._found("DATABASE_DAMAGED", f"{problem}; restore a backup")

    def _rows(self, connection: sqlite3.Connection) -> None:
        """What the tables say about each other. A table that a pending migration makes is not there yet."""
        orphans = _SQL["orphans_but_leftovers" if _has(connection, "leftovers") else "orphans"]
        for table in _OWNED:
            if not _has(connection, table):
                continue
            (count,) = connection.execute(orphans.replace("{table}", table)).fetchone()
            if count:
                self._found("ORPHANS", f"{table} has {count} rows that belong to no execution")
        for table in _ENDED_HAVE_NONE:
            if not _has(connection, table):
                continue
            (count,) = connection.execute(_SQL["of_ended"].replace("{table}", table)).fetchone()
            if count:
                self._found("OPEN_AFTER_END", f"{table} has {count} rows of executions that have ended")
        self._heads(connection)
        self._definitions(connection)
        if _has(connection, "execution_kinds"):
            self._derived(connection)

    def _heads(self, connection: sqlite3.Connection) -> None:
        for tenant, execution_id, sequence, last, count in connection.execute(_SQL["heads"], (_PROBLEMS_SHOWN,)):
            message = (
                f"{tenant}/{execution_id}: its head is at {sequence}; {count} events are stored, the last is {last}"
            )
            self._found("HISTORY_INCOMPLETE", message)
        for tenant, execution_id, status in connection.execute(_SQL["strange"], (_PROBLEMS_SHOWN,)):
            self._found("HEAD_WRONG", f"{tenant}/{execution_id}: there is no status {status!r}; `verify` says more")

    def _definitions(self, connection: sqlite3.Connection) -> None:
        for tenant, definition_id, version in connection.execute(_SQL["unpublished"], (_PROBLEMS_SHOWN,)):
            message = f"{tenant}/{definition_id}: version {version} is published, and is not stored"
            self._found("DEFINITION_INCOMPLETE", message)

    def _derived(self, connection: sqlite3.Connection) -> None:
        (wrong,) = connection.execute(_SQL["wrong_counts"]).fetchone()
        if wrong:
            message = f"{wrong} counts of executions are not what there is"
            self._found("COUNTS_WRONG", message, lambda: _renew(connection, "forget_counts", "count_again"))
        (wrong,) = connection.execute(_SQL["wrong_labels"]).fetchone()
        if wrong:
            message = f"{wrong} labels by which executions are found are not those they have"
            self._found("LABELS_WRONG", message, lambda: _renew(connection, "forget_labels", "label_again"))


def _renew(connection: sqlite3.Connection, *names: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for name in names:
        connection.execute(_SQL[name])
    connection.execute("COMMIT")


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(_SQL["table"], (table,)).fetchone() is not None


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in _NUMBERS:
        if name == "open_executions":
            (counts[name],) = connection.execute(_SQL["open_executions"]).fetchone()
        elif _has(connection, name):
            (counts[name],) = connection.execute(_SQL["rows"].replace("{table}", name)).fetchone()
    return counts


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
