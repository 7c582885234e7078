"""The hash chain of a history: each event's hash covers the one before, so nothing can be changed, dropped or moved.

A hash covers the fields as they are stored (before any upcast) and the logical address of the execution, never a key
or position of one particular store: a copy of the history elsewhere has the same hashes.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import Protocol

GENESIS = b""
"""What stands before the first event of an execution."""

_NUMBERS = Struct(">QqIIIIIIII")
_ABSENT = 0xFFFFFFFF
"""In place of a length: the field is not there, which is not the same as empty."""


class HashedEvent(Protocol):
    """A stored event with the fields that its hash covers, and the hash."""

    @property
    def sequence(self) -> int:
        """Place in the history, from 1."""
        ...

    @property
    def name(self) -> str:
        """The stored name, with the number of its shape."""
        ...

    @property
    def payload(self) -> bytes:
        """The event's fields as JSON."""
        ...

    @property
    def created_at(self) -> int:
        """Microseconds since the epoch."""
        ...

    @property
    def to_state(self) -> str | None:
        """The execution's state after it, where it changed."""
        ...

    @property
    def event_id(self) -> str | None:
        """The caller's id."""
        ...

    @property
    def context(self) -> bytes | None:
        """What caused it; on the first event of a command only."""
        ...

    @property
    def hash(self) -> bytes:
        """As stored."""
        ...


def event_hash(
    previous: bytes,
    tenant: str,
    execution_id: str,
    sequence: int,
    name: str,
    payload: bytes,
    created_at: int,
    to_state: str | None = None,
    event_id: str | None = None,
    context: bytes | None = None,
) -> bytes:
    """SHA-256 over the previous hash and the length-prefixed fields; 32 bytes."""
    owner, execution, kind = tenant.encode(), execution_id.encode(), name.encode()
    state = to_state.encode() if to_state is not None else b""
    caller = event_id.encode() if event_id is not None else b""
    cause = context or b""
    numbers = _NUMBERS.pack(
        sequence,
        created_at,
        len(previous),
        len(owner),
        len(execution),
        len(kind),
        len(payload),
        len(state) if to_state is not None else _ABSENT,
        len(caller) if event_id is not None else _ABSENT,
        len(cause) if context is not None else _ABSENT,
    )
    return sha256(b"".join((numbers, previous, owner, execution, kind, payload, state, caller, cause))).digest()
