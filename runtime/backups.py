"""Backups of the whole store while it is in use: to a file, or to somebody who takes the bytes elsewhere.

One at a time: each takes as much room as the store, and the disk's time.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from .backup_rows import Progress, StoreCopy
from .core.refusals import Kind, Refusal, Refused
from .ports import Clock, Store
from .rows import StoreInfo
from .stores.schema import sync_folder


class Backup(NamedTuple):
    """A backup, and what it is of."""

    copy: StoreCopy
    info: StoreInfo
    created_at: int
    """Microseconds since the epoch. All that was acknowledged before is in it."""


class Backups:
    """Makes backups of one store."""

    def __init__(self, store: Store, info: StoreInfo, clock: Clock) -> None:
        self._store = store
        self._info = info
        self._clock = clock
        self._under_way = False

    async def write(self, path: Path, progress: Progress | None = None, *, replace: bool = False) -> Backup:
        """Make a backup in a file, which is there when it is whole, and not before. Raises FileExistsError unless it
        may be replaced, and Refused as `lent` does."""
        _refuse_existing(path, replace)
        with self._seat():
            backup = await self._make(path.with_name(f"{path.name}.part"), progress)
            return backup._replace(copy=_named(backup.copy, path))

    @asynccontextmanager
    async def lent(self, progress: Progress | None = None) -> AsyncGenerator[Backup, None]:
        """A backup in a file beside the store, which is gone at the end of the context.

        Raises Refused: SERVER_BUSY while another one is under way, STORAGE_FULL where there is no room for it,
        UNSUPPORTED where the store is in memory, HISTORY_DAMAGED where what is stored is no sound database.
        """
        with self._seat():
            backup = await self._make(None, progress)
            try:
                yield backup
            finally:
                backup.copy.path.unlink(missing_ok=True)

    @contextmanager
    def _seat(self) -> Generator[None]:
        if self._under_way:
            message = "another backup is under way; try again when it has ended"
            raise Refused(Refusal(Kind.BUSY, "SERVER_BUSY", message, retry_after_us=5_000_000))
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False

    async def _make(self, target: Path | None, progress: Progress | None) -> Backup:
        began = self._clock.now()
        return Backup(await self._store.back_up(target, progress), self._info, began)


def _refuse_existing(path: Path, replace: bool) -> None:
    if path.exists() and not replace:
        raise FileExistsError(errno.EEXIST, "is there already", str(path))


def _named(copy: StoreCopy, path: Path) -> StoreCopy:
    copy.path.replace(path)
    sync_folder(path.absolute().parent)
    return copy._replace(path=path)
