"""The events behind an execution's newest snapshot: how many, how large, and whether it is time for another one."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import StoredEvent

EVENT_OVERHEAD_BYTES = 64
"""What an event takes on disk beside its payload: hash, name, numbers."""


class Tail:
    """A snapshot is due when enough events *and* more bytes than the last one's size have come since: so the sum of all
    snapshots grows as the history does."""

    __slots__ = ("_bytes", "_snapshot_bytes", "events")

    def __init__(self) -> None:
        self.events = 0
        self._bytes = 0
        self._snapshot_bytes = 0

    def begin(self, events: int) -> None:
        """The state was just made from so many events."""
        self.events, self._bytes = events, 0

    def grow(self, events: Sequence[StoredEvent]) -> None:
        """These have come."""
        self.events += len(events)
        for event in events:
            self._bytes += len(event.payload) + EVENT_OVERHEAD_BYTES

    def is_long(self, events_min: int) -> bool:
        """Whether a snapshot is due, where one wants at least so many events."""
        return self.events >= events_min and self._bytes > self._snapshot_bytes

    def end(self, snapshot_bytes: int) -> None:
        """A snapshot of this size was taken."""
        self.events = self._bytes = 0
        self._snapshot_bytes = snapshot_bytes
