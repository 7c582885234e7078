"""A backup becomes the store of a data directory, with a new generation: all of it, or nothing has changed.

What follows from the new generation: tokens, page tokens and positions of the time before are refused, because the
generation in them is an earlier one, and because the store gets a new secret (which also refuses what an earlier
restore of the same backup has issued under the same generation). Revisions go on in a range of their own; see
generations.py. Nothing else is touched: every execution goes on from where the backup has it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ..backup_rows import SEAL_BYTES, Progress, read_seal
from ..generations import first_revision
from ..ports import StoreRefusedError
from .schema import UNREADABLE, FileLock, stored_version, sync_folder

_PIECE_BYTES: Final = 1024 * 1024
_MARGIN_BYTES: Final = 16 * 1024 * 1024
_PROBLEMS_SHOWN: Final = 3
_HEAD: Final = b"SQLite format 3\x00"


class Restored(NamedTuple):
    """What a restore has made."""

    database: Path
    store_id: str
    generation: int
    """The new one."""
    schema_version: int
    size_bytes: int
    open_executions: int


def restore(
    backup: Path, database: Path, *, replace: bool = False, unsealed: bool = False, progress: Progress | None = None
) -> Restored:
    """Put a backup in the place of a database. Raises StoreRefusedError, and then nothing has changed.

    `replace`: a database that is there is given up. `unsealed`: also a file that no backup has sealed, such as the copy
    made before a migration, of which only the structure can be checked.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(database)
        lock.take()
        try:
            return _restore(backup, database, replace, unsealed, progress)
        finally:
            lock.release()
    except OSError as error:
        raise StoreRefusedError(f"{error.filename or backup}: {error.strerror or error}") from error


def _restore(backup: Path, database: Path, replace: bool, unsealed: bool, progress: Progress | None) -> Restored:
    if database.exists() and not replace:
        raise StoreRefusedError(f"{database} is there already; restore into another directory, or say --force")
    part = database.with_name(f"{database.name}-restore")
    _remove(part)
    try:
        _copy(backup, part, unsealed, progress)
        restored = _renew(part, database, backup)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        _put_in_place(part, database)
    except BaseException:
        _remove(part)
        raise
    return restored


def _copy(backup: Path, part: Path, unsealed: bool, progress: Progress | None) -> None:
    """Copy what stands before the seal, and compare it with what the seal says."""
    with backup.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(_HEAD)) != _HEAD:
            raise StoreRefusedError(f"{backup} is no backup: it does not begin as a database does")
        file.seek(max(0, size - SEAL_BYTES))
        seal = read_seal(file.read())
        if seal is None and not unsealed:
            raise StoreRefusedError(
                f"{backup} is not whole: it does not end with the seal of a backup; take another one (a copy that was "
                "made in another way is taken with --unsealed)"
            )
        length = size - SEAL_BYTES if seal is not None else size
        if seal is not None and seal.size_bytes != length:
            raise StoreRefusedError(f"{backup} is damaged: {length} bytes where its seal says {seal.size_bytes}")
        free = shutil.disk_usage(part.parent).free
        if free < length + _MARGIN_BYTES:
            raise StoreRefusedError(f"{part.parent} has {free} bytes free, {length + _MARGIN_BYTES} are needed")
        file.seek(0)
        digest = _write(file, part, length, progress)
    if seal is not None and digest != seal.sha256:
        raise StoreRefusedError(f"{backup} is damaged: its bytes are not those that were sealed; take another backup")


def _write(file: BinaryIO, part: Path, length: int, progress: Progress | None) -> bytes:
    digest, left = hashlib.sha256(), length
    with part.open("xb") as copy:
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            digest.update(piece)
            copy.write(piece)
            left -= len(piece)
            if progress is not None:
                progress(length - left, length)
    return digest.digest()


def _renew(part: Path, database: Path, backup: Path) -> Restored:
    """Check the copy as a database and as a store, and give it the next generation."""
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as connection:
            # One file, whatever happens: a log beside it could be left behind.
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            found = [str(said) for (said,) in connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})")]
            if found != ["ok"]:
                raise StoreRefusedError(f"{backup} is damaged: {'; '.join(found)}")
            version = stored_version(connection, backup)
            if not version:
                raise StoreRefusedError(f"{backup} is an empty database, and no backup of a store")
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            generation = max(meta["generation"], _generation_of(database, meta["store_id"])) + 1
            _write_generation(connection, generation)
            (count,) = connection.execute("SELECT count(*) FROM executions WHERE ended_at = 0").fetchone()
    except UNREADABLE as error:
        raise StoreRefusedError(f"{backup} cannot be restored: {error}") from error
    return Restored(database, meta["store_id"], generation, version, part.stat().st_size, count)


def _write_generation(connection: sqlite3.Connection, generation: int) -> None:
    base = first_revision(generation)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'generation'", (generation,))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (secrets.token_bytes(32),))
    # No tenant has an empty name: that row stands for all that have had no revision yet.
    connection.execute("INSERT OR IGNORE INTO revisions (tenant, revision) VALUES ('', 0)")
    connection.execute("UPDATE revisions SET revision = max(revision, ?)", (base,))
    connection.execute("COMMIT")


def _generation_of(database: Path, store_id: str) -> int:
    """The generation of the store that is given up, if it is the same one; 0 where that cannot be read."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        return int(meta.get("generation", 0)) if meta.get("store_id") == store_id else 0
    except (*UNREADABLE, TypeError, ValueError):
        return 0


def _put_in_place(part: Path, database: Path) -> None:
    """From the old database to the new one in one step. First the old one's log goes into it: a log that stayed would
    be taken for the new one's."""
    if database.exists():
        _settle(database)
    for suffix in ("-wal", "-shm", "-journal", "-deciding"):
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)
    part.replace(database)
    sync_folder(database.parent)


def _settle(database: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except UNREADABLE:
        return  # it is damaged, and is given up in any case


def _remove(part: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
