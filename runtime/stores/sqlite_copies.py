"""The part of the SQLite store that makes backups of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..backup_rows import Progress, StoreCopy
from .sqlite_backup import Copying


class StoreCopies:
    """Copies of the database, each in a thread of its own; a base of `SqliteStore`."""

    _path: Path
    _copies_under_way = 0
    """While one is, a moment of the past is held, and the log cannot begin anew."""

    async def back_up(self, target: Path | None, progress: Progress | None = None) -> StoreCopy:
        """As of one moment. Cancelled, it ends within a slice, and leaves nothing."""
        copying = Copying(self._path, (target or self.scratch_path(self._path)).absolute(), progress)
        self._copies_under_way += 1
        made = asyncio.get_running_loop().run_in_executor(None, copying.run)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            copying.stop()
            await asyncio.gather(made, return_exceptions=True)
            if made.exception() is None:
                made.result().path.unlink(missing_ok=True)
            raise
        finally:
            self._copies_under_way -= 1

    @staticmethod
    def scratch_path(database: Path) -> Path:
        """Where a copy is made that is to go elsewhere."""
        return database.with_name(f"{database.name}-backup")
