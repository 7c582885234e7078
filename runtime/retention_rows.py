"""The writes by which ended executions go, and what is asked about those whose time is over.

An execution goes with everything that is its own: events, snapshots, labels, inbox rows, dead letters. Its id is free
again. What callers' request ids did stays remembered. Long histories go bit by bit after it, as leftovers, which
nothing finds any more but the removal itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .rows import ExecutionRef, Request
from .trigger_rows import JobRow


class ExecutionDeletion(msgspec.Struct, frozen=True):
    """One ended execution goes, whatever has been acknowledged. Lost: NOT_FOUND, OPEN, INCIDENTS, EMITTING,
    DUPLICATE_REQUEST."""

    ref: ExecutionRef
    at: int
    requests: tuple[Request, ...] = ()


class ExecutionPruning(msgspec.Struct, frozen=True):
    """Ended executions of one tenant go; those that may not stay, and the others are not kept by them."""

    tenant: str
    keys: tuple[int, ...]
    at: int
    patient: bool = True
    """Those whose last event some durable subscription of the tenant has not acknowledged stay."""
    job: JobRow | None = None
    """Replaced in the same commit, with as many more `done` as have gone."""


class LeftoverRemoval(msgspec.Struct, frozen=True):
    """Some of the events that a pruned execution has left behind go, the last ones first."""

    key: int
    events_max: int


class JobBegin(msgspec.Struct, frozen=True):
    """A job begins by itself, and not as part of another write. Lost: DUPLICATE_REQUEST."""

    job: JobRow
    requests: tuple[Request, ...] = ()


class ExpiredQuery(msgspec.Struct, frozen=True):
    """Which executions to name whose definition does not ask to keep them any longer."""

    tenant: str
    until: int
    """Those that expired by then."""
    after: tuple[int, int] = (0, 0)
    """Expiry and key of the last one named."""
    ended_before: int = 2**62
    acknowledged: int = 2**62
    """Only those whose last event is at this position or before it..."""
    waited_until: int = 2**62
    """... or that expired by then."""
    limit: int = 50


class Expired(NamedTuple):
    """An ended execution whose time is over."""

    expires_at: int
    key: int
    ref: ExecutionRef
