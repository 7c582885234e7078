"""The rules of waits: `receive` steps to which published events are offered."""

from __future__ import annotations

from ..core.effects import OpenWait
from ..rows import ExecutionRef, InboxKind
from ..trigger_rows import EventAcceptance, EventExpansion, WaitRow
from .changes import Books


def open_wait(books: Books, ref: ExecutionRef, key: int, effect: OpenWait) -> None:
    """A step waits for events of these names and this key from now on."""
    rows = books.changes.waits.setdefault((key, effect.path), [])
    for name in dict.fromkeys(effect.names):
        number = books.counters.wait = books.counters.wait + 1
        row = WaitRow(number, ref, key, effect.path)
        place = (ref.tenant, name, effect.key)
        rows.append((place, row))
        found = books.known.waits.get(place)
        if found is not None:
            found.opened(row)


def close_wait(books: Books, key: int, path: str) -> None:
    """The step no longer waits."""
    books.changes.waits_gone[key, path] = None
    books.changes.waits.pop((key, path), None)
    for found in books.known.waits.values():
        found.rows.pop((key, path), None)


def offer(books: Books, write: EventAcceptance | EventExpansion, row: WaitRow) -> None:
    """The event goes into the inbox of the execution that waits."""
    books.enter(
        row.ref,
        row.key,
        InboxKind.OFFER,
        write.accepted_at,
        name=write.name,
        payload=write.payload,
        context=write.context,
        path=row.path,
        published_id=write.event_id,
    )
