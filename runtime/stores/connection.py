"""One connection to SQLite in its own thread: work goes there as a whole, in one hop, and its result comes back.

A flipped bit makes text that is no text. It must not stop who reads the rows beside it, so that is read as far as it
can be, with U+FFFD for the rest; `verify` and `doctor` name it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

import aiosqlite

P = ParamSpec("P")
T = TypeVar("T")

LENIENT: Final = methodcaller("decode", "utf-8", "replace")
"""A `text_factory` for text that may be damaged."""
_STATEMENTS_KEPT = 512
"""More than the hot statements have shapes (33 each, see sql.py): a dropped one would be prepared again and again."""
_ITEMS_PER_FETCH = 64
_NO_TEXT = "Could not decode to UTF-8"
"""So begins what the sqlite3 module says of text that is none; it gives it no code."""


class Connections(Protocol):
    """How the parts of `SqliteStore` reach its connections."""

    async def _point(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A short read that somebody waits for."""
        ...

    async def _page(
        self, read: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A longer one, which short ones need not wait for."""
        ...

    async def _tidy(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Work on the writing connection, between two flushes."""
        ...


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
        """Do all of `work` in the connection's thread; it must not keep the connection. Raises what `work` raises. It
        is done once more where it met text that is none."""
        return cast(T, await self._execute(lambda: _done(work, self._conn)))  # type: ignore[no-untyped-call]


def _done(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    try:
        return work(connection)
    except sqlite3.OperationalError as error:
        if not str(error).startswith(_NO_TEXT) or connection.text_factory is LENIENT:
            raise
    connection.text_factory = LENIENT
    try:
        return work(connection)
    finally:
        connection.text_factory = str
