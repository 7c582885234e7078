"""What parts of the engine are to each other: small Protocols, so that a part needs to know only what it uses."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from .core.plan import Plan
from .writes import Outcome, Write


class Writer(Protocol):
    """Where appends go: the journal."""

    def write(self, write: Write) -> Awaitable[Outcome]:
        """Commit, and say what became of it; raises Refused while the disk is full."""
        ...


class Plans(Protocol):
    """Where plans come from: the catalog."""

    async def plan(self, tenant: str, definition_id: str, version: int) -> Plan:
        """The plan of a version; raises Refused."""
        ...
