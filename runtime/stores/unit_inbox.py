"""The rules of the inbox and of dead letters."""

from __future__ import annotations

from ..core.state import ENDED
from ..rows import BuryInbox, DiscardLetter, InboxInsert, InboxKind, RequeueLetter
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books, shard_of


def is_there(books: Books, row: int, key: int) -> bool:
    """Whether this inbox row of this execution has not been worked off."""
    return books.known.inbox.get(row) == key and key not in books.changes.closed


def accept(books: Books, write: InboxInsert) -> Outcome:
    """An event waits for its execution."""
    known = books.known
    key = known.keys.get(write.ref)
    if key is None:
        return Lost(Why.NOT_FOUND, f"there is no execution {write.ref.execution_id!r}")
    place = (key, write.event_id)
    # Also after the end: whoever repeats what was taken must not believe that it came too late.
    if write.event_id and (place in known.history_ids or place in known.waiting_ids):
        return Lost(Why.DUPLICATE_EVENT, f"event id {write.event_id!r} is stored already")
    if known.heads[key].head.status in ENDED:
        return Lost(Why.ENDED, f"execution {write.ref.execution_id!r} has ended")
    if write.event_id:
        known.waiting_ids.add(place)
    row = books.enter(
        write.ref,
        key,
        InboxKind.EVENT,
        write.accepted_at,
        event_id=write.event_id,
        name=write.name,
        payload=write.payload,
        context=write.context,
    )
    return Committed(key=key, inbox_id=row)


def bury(books: Books, write: BuryInbox) -> Outcome:
    """Inbox rows become dead letters."""
    there = [row for row in write.rows if is_there(books, row, write.key)]
    if not there:
        return Lost(Why.NOT_FOUND, "none of these inbox rows is there any more")
    for row in there:
        del books.known.inbox[row]
        books.changes.inbox_buried.append((row, write.ref.tenant, write.cause, write.message, write.died_at))
        books.changes.inbox_gone.append(row)
    return Committed(key=write.key)


def requeue(books: Books, write: RequeueLetter) -> Outcome:
    """A dead letter becomes the inbox row again that it was."""
    known = books.known
    letter = known.letters.get(write.letter)
    if letter is None or letter.tenant != write.tenant:
        return Lost(Why.NOT_FOUND, f"there is no dead letter {write.letter}")
    record = known.heads.get(letter.key)
    if record is None:
        return Lost(Why.NOT_FOUND, "its execution is not stored any more")
    if record.head.status in ENDED:
        return Lost(Why.ENDED, f"execution {record.ref.execution_id!r} has ended")
    del known.letters[write.letter]
    row = books.counters.inbox = books.counters.inbox + 1
    books.changes.requeued.append((row, write.letter, shard_of(record.ref), write.accepted_at))
    books.changes.letters_gone.append(write.letter)
    return Committed(key=letter.key, inbox_id=row, ref=record.ref)


def discard(books: Books, write: DiscardLetter) -> Outcome:
    """A dead letter goes."""
    letter = books.known.letters.get(write.letter)
    if letter is None or letter.tenant != write.tenant:
        return Lost(Why.NOT_FOUND, f"there is no dead letter {write.letter}")
    del books.known.letters[write.letter]
    books.known.waiting_ids.discard((letter.key, letter.event_id))
    books.changes.letters_gone.append(write.letter)
    return Committed(key=letter.key)
