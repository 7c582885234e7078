"""Task tokens: what a worker shows with its answer.

A token names one delivery: store generation, boot, execution key, incarnation, attempt, number of the delivery, and
the step's path. It is authenticated with the store's secret (HMAC-SHA256, cut to 16 bytes), so nobody can make one
up, and opaque to everybody else. Whether the delivery it names is still the newest is not in the token: see
deliveries.py.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from .generations import is_earlier
from .rows import StoreInfo

_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BIIqIIQ")
_CODE_BYTES: Final = 16
_BLOCK_BYTES: Final = 64
_TOKEN_BYTES_MAX: Final = 16_384


class Token(NamedTuple):
    """What an authentic token says."""

    generation: int
    boot: int
    key: int
    incarnation: int
    attempt: int
    delivery: int
    path: str


class Tokens:
    """Makes and reads the tokens of one store."""

    def __init__(self, info: StoreInfo) -> None:
        self.generation = info.generation
        self.boot = info.boot
        # HMAC-SHA256 with both key blocks absorbed once: less than half the cost of hmac.digest for each token.
        block = (info.secret if len(info.secret) <= _BLOCK_BYTES else hashlib.sha256(info.secret).digest()).ljust(
            _BLOCK_BYTES, b"\0"
        )
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._local = self._code(b"in this process" + struct.pack(">II", info.generation, info.boot))

    def issue(self, key: int, path: str, attempt: int, delivery: int, incarnation: int = 1) -> bytes:
        """The token of one delivery of this boot; `delivery` never repeats within a boot."""
        head = _HEAD.pack(_FORMAT, self.generation, self.boot, key, incarnation, attempt, delivery)
        said = head + path.encode()
        return said + self._code(said)

    def issue_local(self, delivery: int) -> bytes:
        """The token of a delivery that never leaves this process: it only has to be its own, and hard to guess."""
        return self._local + delivery.to_bytes(8, "big")

    def is_local(self, token: bytes) -> bool:
        """Whether `issue_local` of this boot has made it."""
        return len(token) == _CODE_BYTES + 8 and token.startswith(self._local)

    def read(self, token: bytes) -> Token | None:
        """What the token says; None where this store did not make it."""
        if not _HEAD.size + _CODE_BYTES <= len(token) <= _TOKEN_BYTES_MAX:
            return None
        said, code = token[:-_CODE_BYTES], token[-_CODE_BYTES:]
        if not hmac.compare_digest(code, self._code(said)):
            return None
        made, generation, boot, key, incarnation, attempt, delivery = _HEAD.unpack_from(said)
        if made != _FORMAT:
            return None
        return Token(generation, boot, key, incarnation, attempt, delivery, said[_HEAD.size :].decode())

    def is_other_generation(self, token: bytes) -> bool:
        """Whether another generation of the store has issued it, or an earlier one as it says itself."""
        if not _HEAD.size + _CODE_BYTES <= len(token) <= _TOKEN_BYTES_MAX:
            return False
        made, generation = _HEAD.unpack_from(token)[:2]
        if made != _FORMAT or generation == self.generation:
            return False
        return is_earlier(generation, self.generation) or self.read(token) is not None

    def _code(self, said: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(said)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_CODE_BYTES]
