"""One connection to SQLite in its own thread: work goes there as a whole, in one hop, and its result comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import aiosqlite

T = TypeVar("T")

_STATEMENTS_KEPT = 512
"""More than the hot statements have shapes (33 each, see sql.py): a dropped one would be prepared again and again."""
_ITEMS_PER_FETCH = 64


class Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with one more verb."""

    def __init__(self, path: Path) -> None:
        connect = partial(
            sqlite3.connect, path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_KEPT
        )
        super().__init__(connect, _ITEMS_PER_FETCH)
        # A process that ends without closing must end: what was acknowledged is on disk.
        self._thread.daemon = True

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do all of `work` in the connection's thread; it must not keep the connection. Raises what `work` raises."""
        return cast(T, await self._execute(lambda: work(self._conn)))  # type: ignore[no-untyped-call]
