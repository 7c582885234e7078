"""Reading a history exactly as it is stored: for verification and export."""

from __future__ import annotations

import sqlite3

from ..rows import StoredEvent
from .sql import statements

_SQL = statements("reads.sql")


def stored_events(
    connection: sqlite3.Connection, key: int, after: int, limit: int, bytes_max: int
) -> list[StoredEvent]:
    """A page of one history, with nothing filled in."""
    page: list[StoredEvent] = []
    size = 0
    cursor = connection.execute(_SQL["stored_events"], (key, after, limit))
    for sequence, name, payload, created_at, digest, to_state, event_id, context, position in cursor:
        size += len(payload)
        if page and size > bytes_max:
            break
        page.append(StoredEvent(sequence, name, payload, created_at, digest, to_state, event_id, context, position))
    cursor.close()
    return page
