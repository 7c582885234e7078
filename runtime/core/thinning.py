"""Which snapshots of an execution are kept: the newest two, and of the older ones the fewer the older they are.

Rules
- The answer follows from the sequences of the stored snapshots alone, and is asked for with each new one: what fell out
  before cannot come back.
- The beginning, sequence 0, counts as a snapshot: every replay can begin there.
- An older snapshot falls out where those on both sides of it are near each other, compared with how far the newer of
  them is from the newest of all: at most SPARSITY times as far.

What follows from that
- A replay up to a past event begins with the last snapshot that was ever taken at or before it, or at most SPARSITY
  times as far from it as it is from the newest: a moment a little ago costs little, whatever the length of the history.
- Each kept snapshot but the newest two is more than (SPARSITY + 1) times as far from the newest as the one kept two
  places after it, so that there are at most 1 + log2(newest) of them.
"""

from __future__ import annotations

from collections.abc import Sequence

SPARSITY = 3
NEWEST_KEPT = 2


def fallen_out(sequences: Sequence[int]) -> list[int]:
    """Of the snapshots at these sequences (ascending, from 1): those that need not be kept any longer, newest first."""
    gone: list[int] = []
    if len(sequences) <= NEWEST_KEPT:
        return gone
    newest, newer = sequences[-1], sequences[-NEWEST_KEPT]
    for place in range(len(sequences) - NEWEST_KEPT - 1, -1, -1):
        older = sequences[place - 1] if place else 0
        if newer - older <= SPARSITY * (newest - newer):
            gone.append(sequences[place])
        else:
            newer = sequences[place]
    return gone
