"""Sensitive values in SQLite: their part of a batch, their reads, and how they leave no trace in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ..rows import SealedValue, Secrets
from .changes import Changes
from .connection import Connections
from .sql import Many, statements
from .unit_secrets import commitment_of, digest_of, digests_of
from .wanted import Known, Wanted

_SQL = statements("secrets.sql")
_MANY = {name: Many(text) for name, text in _SQL.items() if Many.marked(text)}


@contextmanager
def overwriting(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """What is deleted meanwhile is overwritten, also in pages that are not used any more.

    Otherwise such a page stays as it is until it is used again (`secure_delete = FAST`, the setting of the writing
    connection): to overwrite each of those as well would write as much again as snapshots and prunings give free.
    """
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete = FAST").fetchall()


# -- within a batch --------------------------------------------------------------------------------------------


def look_up(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    """Add which of the executions have a key, where it matters."""
    if not (wanted.secrets or wanted.pruned_refs or wanted.pruned_keys):
        return
    keys = wanted.secrets | known.to_prune(wanted)
    known.secrets.update(key for (key,) in _MANY["with_key"].query(connection, [(key,) for key in keys]))


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Make the changes. The values of an execution that leaves events behind go with these, bit by bit."""
    if changes.erased or changes.letters_erased:
        with overwriting(connection):
            _run(connection, "erase_keys", [(key,) for key in changes.erased])
            _run(connection, "erase_values", [(key,) for key in changes.erased if key not in changes.left_over])
            _run(connection, "erase_letters", changes.letters_erased)
    if changes.sealed:
        _run(connection, "insert_key", list(changes.keys.items()))
        rows = [(key, *value) for key, values in changes.sealed.items() for value in values.items()]
        _run(connection, "insert_values", rows)


def _run(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        _MANY[name].run(connection, rows)


# -- reads -----------------------------------------------------------------------------------------------------


def secrets(connection: sqlite3.Connection, key: int, commitments: Sequence[str]) -> Secrets:
    """The key first: where it is erased meanwhile, no value is found for it."""
    found = connection.execute(_SQL["key"], (key,)).fetchone()
    if found is None:
        return Secrets()
    asked = digests_of(commitments)
    values = dict(_MANY["values"].query(connection, [(key, digest) for digest in asked]))
    stored = (SealedValue(commitment_of(digest), values[digest]) for digest in asked if digest in values)
    return Secrets(found[0], tuple(stored))


def sealed_values(connection: sqlite3.Connection, key: int, after: str, limit: int) -> list[SealedValue]:
    """By the bytes of their commitments."""
    rows = connection.execute(_SQL["page"], (key, digest_of(after) if after else b"", limit))
    return [SealedValue(commitment_of(digest), ciphertext) for digest, ciphertext in rows]


class SecretReads(Connections, Protocol):
    """The part of `SqliteStore` that reads sensitive values."""

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        """In the order asked for."""
        return await self._point(secrets, key, commitments)

    async def sealed_values(self, key: int, after: str, limit: int) -> list[SealedValue]:
        """By the bytes of their commitments."""
        return await self._page(sealed_values, key, after, limit)
