"""Checking a stored history as it is read: gaps, hashes, and events that have changed places.

One wrong event must not make all that follow it look wrong. So the chain is taken up again behind it: from the hash
that is stored there, or from the one that should be. Behind a gap the next event is taken as it is.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence

import msgspec

from .history import GENESIS, HashedEvent, event_hash


class ProblemKind(enum.StrEnum):
    """What kind of thing is wrong with a stored execution."""

    HASH = "HASH"
    """An event's hash does not fit its content and the event before."""
    GAP = "GAP"
    """A sequence is missing."""
    HEAD = "HEAD"
    """The last event is not the head that the execution records."""
    EVENT = "EVENT"
    """An event cannot be read, or does not follow from the state before."""
    SNAPSHOT = "SNAPSHOT"
    """A snapshot is not the state that a replay gives."""
    LIVE_STATE = "LIVE_STATE"
    """The live state is not the state that a replay gives."""
    SEALED_VALUE = "SEALED_VALUE"
    """A sensitive value that an event names is not there, or not the one that the event binds."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    kind: ProblemKind
    sequence: int
    message: str


_NOTHING: Sequence[Problem] = ()


class Chain:
    """The hash chain of one execution, event after event."""

    def __init__(self, tenant: str, execution_id: str) -> None:
        self._tenant = tenant
        self._execution_id = execution_id
        self.sequence = 0
        """Of the last event taken."""
        self.hash = GENESIS
        """Of the last event taken, as stored."""
        self.sound = True
        """Nothing was found wrong so far."""
        self._before: tuple[bytes, ...] = (GENESIS,)
        """What the next event's hash may be built on; empty: unknown, behind a gap."""
        self._odd: tuple[HashedEvent, bytes] | None = None
        """The last event, where its hash is wrong, and what it should be built on: the next event may say why."""

    def take(self, event: HashedEvent) -> Sequence[Problem]:
        """Check the next event; what was wrong with the one before may come with it."""
        if self._odd is None and event.sequence == self.sequence + 1 and len(self._before) == 1:
            (before,) = self._before
            if self._hash(event, event.sequence, before) == event.hash:
                self.sequence, self.hash, self._before = event.sequence, event.hash, (event.hash,)
                return _NOTHING
        return self._take(event)

    def _take(self, event: HashedEvent) -> list[Problem]:
        """The same where something is wrong, or was just before."""
        found: list[Problem] = []
        if event.sequence != self.sequence + 1:
            found += self.settle()
            found.append(_gap(self.sequence + 1, event.sequence - 1))
            self._before = ()
        before, odd = self._before, self._odd
        expected = [self._hash(event, event.sequence, base) for base in before]
        fits = not before or event.hash in expected
        if fits:
            found += self.settle()
            self._before = (event.hash,)
        elif odd is not None and self._swapped(*odd, event):
            found += [_moved(odd[0].sequence, event.sequence), _moved(event.sequence, odd[0].sequence)]
            self._odd, self._before = None, (odd[0].hash,)
        else:
            found += self.settle()
            self._odd = (event, next(iter(before)))
            self._before = (event.hash, next(iter(expected)))
        self.sound = self.sound and fits and not found
        self.sequence, self.hash = event.sequence, event.hash
        return found

    def settle(self) -> list[Problem]:
        """What is known to be wrong and has not been told; to be asked at the end."""
        if self._odd is None:
            return []
        event, self._odd = self._odd[0], None
        message = f"the hash of event {event.sequence} does not fit its content and the event before"
        return [Problem(ProblemKind.HASH, event.sequence, message)]

    def _swapped(self, one: HashedEvent, before: bytes, other: HashedEvent) -> bool:
        """Whether two neighbours hold what belongs into each other's place."""
        if self._hash(other, one.sequence, before) != other.hash:
            return False
        return self._hash(one, other.sequence, other.hash) == one.hash

    def _hash(self, event: HashedEvent, sequence: int, before: bytes) -> bytes:
        """What the event's hash should be; empty where a damaged file has given fields of other types."""
        try:
            return event_hash(
                before,
                self._tenant,
                self._execution_id,
                sequence,
                event.name,
                event.payload,
                event.created_at,
                event.to_state,
                event.event_id,
                event.context,
            )
        except (AttributeError, TypeError, struct.error):
            return b""


def _gap(first: int, last: int) -> Problem:
    if last < first:
        return Problem(ProblemKind.GAP, first, f"event {first} is missing: {last + 1} stands in its place")
    what = f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
    return Problem(ProblemKind.GAP, first, what)


def _moved(sequence: int, home: int) -> Problem:
    message = f"what stands at {sequence} belongs to {home}: events {sequence} and {home} have changed places"
    return Problem(ProblemKind.HASH, sequence, message)
