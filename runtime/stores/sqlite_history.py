"""Reading a history exactly as it is stored: for verification and export."""

from __future__ import annotations

import sqlite3

from ..rows import StoredEvent
from .sql import statements

_SQL = statements("reads.sql")


def stored_events(
    connection: sqlite3.Connection, key: int, after: int, limit: int, bytes_max: int
) -> list[StoredEvent]:
    """A page of one history, with nothing filled in. Text that is damaged is read as far as it can be."""
    try:
        return _page(connection, key, after, limit, bytes_max)
    except sqlite3.OperationalError:
        strict = connection.text_factory
        connection.text_factory = _lenient
        try:
            return _page(connection, key, after, limit, bytes_max)
        finally:
            connection.text_factory = strict


def _page(connection: sqlite3.Connection, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
    page: list[StoredEvent] = []
    size = 0
    cursor = connection.execute(_SQL["events"], (key, after, limit))
    for sequence, name, payload, created_at, digest, to_state, event_id, context, position in cursor:
        size += len(payload)
        if page and size > bytes_max:
            break
        page.append(StoredEvent(sequence, name, payload, created_at, digest, to_state, event_id, context, position))
    cursor.close()
    return page


def _lenient(text: bytes) -> str:
    return text.decode(errors="replace")
