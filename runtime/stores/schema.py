"""Opening a database file: the lock on it, its identity, its migrations, and the backup made before them."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import uuid
from contextlib import closing
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from ..ports import StoreRefusedError
from ..rows import StoreInfo

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises of a file that is no sound database: it may not even be able to say what is wrong with it."""
_BACKUP_MARGIN_BYTES = 16 * 1024 * 1024


class Migration(NamedTuple):
    """One numbered change of the schema."""

    number: int
    name: str
    """The file's name."""
    text: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations this program knows, in order."""
    folder = resources.files(__name__.rpartition(".")[0]).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(Migration(int(file.name[:4]), file.name, file.read_text("utf-8")) for file in files)


def pending_migrations(path: Path) -> list[str]:
    """The names of the migrations that opening this file would apply; raises StoreRefusedError like opening it."""
    if not path.exists():
        return [migration.name for migration in migrations()]
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            version = stored_version(connection, path)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    return [migration.name for migration in migrations() if migration.number > version]


class FileLock:
    """An exclusive lock on a file beside the database; it ends with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}.lock")
        self._database = database
        self._file: int | None = None

    def take(self) -> None:
        """Raises StoreRefusedError when another process, or another store of this one, holds it."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreRefusedError(f"{self._path} cannot be opened ({error.strerror}); check the folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            message = f"{self._database} is in use by process {holder}; stop it, or choose another data directory"
            raise StoreRefusedError(message) from error
        self._file = file
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            self.release()
            raise StoreRefusedError(f"{self._path} cannot be written ({error.strerror}); make room") from error

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def prepare(connection: sqlite3.Connection, path: Path, *, backup: bool, wal_bytes_max: int) -> StoreInfo:
    """Bring the writing connection and the schema into shape, and count this opening."""
    # Of an empty file only: one with tables keeps what it was made with, and this would write to it all the same.
    fresh = not path.exists() or path.stat().st_size == 0
    try:
        for pragma in (
            "busy_timeout = 5000",
            *(("auto_vacuum = INCREMENTAL",) if fresh else ()),
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {wal_bytes_max}",
            "cache_size = -16384",
            "temp_store = MEMORY",
            # Said, for what it is otherwise depends on how SQLite was built.
            "secure_delete = FAST",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection, path, backup=backup)
        info = _count_opening(connection)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    sync_folder(path.parent)
    return info


def prepare_reader(connection: sqlite3.Connection) -> None:
    """Settings of a connection that only reads."""
    for pragma in ("busy_timeout = 5000", "query_only = ON", "cache_size = -4096", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def prepare_checkpointer(connection: sqlite3.Connection) -> None:
    """Settings of the connection that copies the log into the database."""
    for pragma in ("synchronous = FULL", "wal_autocheckpoint = 0", "cache_size = -512"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _unreadable(path: Path, error: Exception) -> StoreRefusedError:
    return StoreRefusedError(f"{path} cannot be opened as a store: {error}")


def stored_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's number, 0 for an empty file; refuses what this program must not touch."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return 0
    if "meta" not in tables:
        raise StoreRefusedError(f"{path} is a database of another program; choose another file")
    found = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    version = int(found[0]) if found is not None else 0
    newest = migrations()[-1].number
    if version > newest:
        raise StoreRefusedError(
            f"{path} has schema version {version}, and this program knows versions up to {newest}: "
            "start a program at least as new as the one that wrote it, or use the backup made before its migration"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path, *, backup: bool) -> None:
    version = stored_version(connection, path)
    pending = [migration for migration in migrations() if migration.number > version]
    if pending and version and backup:
        _back_up(connection, path, pending[0])
    for migration in pending:
        number = migration.number
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.text}\n"
            f"INSERT INTO meta (name, value) VALUES ('schema_version', {number}) "
            f"ON CONFLICT (name) DO UPDATE SET value = {number};\nCOMMIT;"
        )


def _back_up(connection: sqlite3.Connection, path: Path, first: Migration) -> None:
    target = path.with_name(f"{path.name}.before-{first.number:04}")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    needed = pages * page_bytes + _BACKUP_MARGIN_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreRefusedError(
            f"{path} has to be migrated, and the backup {target.name} before it needs {needed} bytes where "
            f"{free} are free: make room, or open it without a backup"
        )
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _count_opening(connection: sqlite3.Connection) -> StoreInfo:
    connection.execute("BEGIN IMMEDIATE")
    for name, value in (
        ("store_id", str(uuid.uuid4())),
        ("generation", 1),
        ("boot", 0),
        ("secret", secrets.token_bytes(32)),
    ):
        connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", (name, value))
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'boot'")
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    connection.execute("COMMIT")
    return StoreInfo(meta["store_id"], meta["generation"], meta["boot"], meta["schema_version"], meta["secret"])


def sync_folder(folder: Path) -> None:
    """The new files' names have to survive a power cut as well."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
