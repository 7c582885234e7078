"""The rules of lines: executions of one definition of which one at a time runs, in the order of their starts."""

from __future__ import annotations

from ..rows import ExecutionAppend, ExecutionRef, InboxKind, LineClaim
from ..writes import Lost, Why
from .changes import Books
from .wanted import Known, Member, line_place


def refuse_claims(known: Known, write: ExecutionAppend) -> Lost | None:
    """Why this start cannot have all the places it claims."""
    if write.key or len({claim.line for claim in write.claims}) < len(write.claims):
        return Lost(Why.ROW, "only a start claims places, and each line once")
    for claim in write.claims:
        lost = _refuse(claim, known.lines[line_place(write, claim.line)])
        if lost is not None:
            return lost
    return None


def _refuse(claim: LineClaim, members: list[Member]) -> Lost | None:
    if not claim.behind:
        if not members:
            return None
        holder = members[0].ref.execution_id
        return Lost(Why.LINE_TAKEN, f"execution {holder!r} is at the front of {claim.line!r}", holder=holder)
    if not members:
        return Lost(Why.LINE_EMPTY, f"nobody is in {claim.line!r}")
    if claim.length_max and len(members) >= claim.length_max:
        return Lost(Why.LINE_FULL, f"{len(members)} are in {claim.line!r} already")
    return None


def join(books: Books, write: ExecutionAppend, key: int, at: int) -> tuple[ExecutionRef, ...]:
    """Put the new execution in its lines; those who are told to cancel for it."""
    told: list[ExecutionRef] = []
    for claim in write.claims:
        place = line_place(write, claim.line)
        members = books.known.lines[place]
        for member in members if claim.cancels else ():
            books.enter(member.ref, member.key, InboxKind.CANCEL, at, name=write.ref.execution_id)
            told.append(member.ref)
        members.append(Member(key, write.ref))
        books.changes.lines[place, key] = write.ref
    return tuple(told)


def leave(books: Books, write: ExecutionAppend, key: int, line: str, at: int) -> tuple[ExecutionRef, ...]:
    """Take the ended execution out of the line; the next one, where it was at the front, is released."""
    place = line_place(write, line)
    members = books.known.lines[place]
    member = Member(key, write.ref)
    if member not in members:
        return ()
    was_front = members[0] == member
    members.remove(member)
    if books.changes.lines.pop((place, key), None) is None:
        books.changes.lines_left.append((place, key))
    if not was_front or not members:
        return ()
    after = members[0]
    books.enter(after.ref, after.key, InboxKind.RELEASE, at)
    return (after.ref,)
