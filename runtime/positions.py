"""Positions as they are handed out: opaque, authenticated by the store's secret, bound to one tenant and generation.

A position also says what had been pruned when its reader last learned of it: a reader that began after a pruning has
missed nothing by it, one that was behind it has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from .core.refusals import Kind, Refusal, Refused, Violation
from .generations import is_earlier, other_generation
from .rows import StoreInfo

_FORMAT: Final = 1
_BODY: Final = struct.Struct(">BI8sQQ")
_SEAL_BYTES: Final = 16
_STORE_BYTES: Final = 8


class Position(NamedTuple):
    """A place in the feed of a tenant: after this event."""

    number: int
    """In the store's commit order; 0: before the first event."""
    pruned: int = 0
    """The reader knows that events up to here may be missing."""

    def misses(self, pruned: int) -> bool:
        """Whether a pruning up to this position has taken events that the reader has not seen and does not know of."""
        return pruned > self.number and pruned > self.pruned


class Positions:
    """Makes and reads the positions of one store."""

    def __init__(self, info: StoreInfo) -> None:
        self._secret = info.secret
        self._generation = info.generation
        self._store = hashlib.sha256(info.store_id.encode()).digest()[:_STORE_BYTES]

    def make(self, tenant: str, position: Position) -> str:
        """The text that `read` understands."""
        body = _BODY.pack(_FORMAT, self._generation, self._store, position.number, position.pruned)
        return base64.urlsafe_b64encode(self._seal(tenant, body) + body).decode("ascii").rstrip("=")

    def read(self, tenant: str, text: str) -> Position:
        """Raises Refused: OTHER_GENERATION, or INVALID_REQUEST where it was never issued for this tenant."""
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        seal, body = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        if len(body) != _BODY.size:
            raise _refused("was not issued by this server for this tenant, or is damaged")
        made, generation, store, number, pruned = _BODY.unpack(body)
        if is_earlier(generation, self._generation) and store == self._store:
            raise _other_generation(generation, self._generation)
        if not hmac.compare_digest(seal, self._seal(tenant, body)):
            raise _refused("was not issued by this server for this tenant, or is damaged")
        if made != _FORMAT:
            raise _refused("has a format that this version of the server does not know")
        if (generation, store) != (self._generation, self._store):
            raise _other_generation(generation, self._generation)
        return Position(number, pruned)

    def _seal(self, tenant: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"position\0" + tenant.encode() + b"\0" + body, "sha256")[:_SEAL_BYTES]


def _refused(message: str) -> Refused:
    violation = Violation("position", message)
    return Refused(Refusal(Kind.INVALID, "INVALID_REQUEST", violation.located, violations=(violation,)))


def _other_generation(issued: int, now: int) -> Refused:
    return other_generation("position", issued, now, "read again from the start")
