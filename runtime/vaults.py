"""The vault of one execution: its sensitive values, sealed with a key of its own.

A value is told by nothing that stays: the events hold a commitment, which is the SHA-256 of a random salt and the
value; salt and value lie encrypted (AES-256-GCM) in a side table. With the key of the execution they are gone for good,
and the history still verifies. The key lies in the same store as what it opens: it serves erasure, and does not protect
from whoever can read the store.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, cast

from .core.sealing import ErasedError, opened
from .core.values import SEALED_MARK, Sealed, Value, decode, encode, replace_each, sealed_in
from .rows import SealedValue, Secrets

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
_AROUND_BYTES: Final = NONCE_BYTES + SALT_BYTES + 16
"""Of a sealed box, those that are not the value's: with the tag of the cipher."""

ROOM_BYTES: Final = 1_048_576
"""What a vault may have in memory without anybody asking whether it is still of use."""

RandomBytes = Callable[[int], bytes]


class SecretsSource(Protocol):
    """Where sealed values are read from (part of the Store port)."""

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        """An execution's key, and those of its sensitive values that are stored, among these."""
        ...


class ExecutionVault:
    """Seals and opens the sensitive values of one execution. They are in the clear only while they are worked with."""

    def __init__(self, random_bytes: RandomBytes, stored: Secrets | None = None) -> None:
        self._random_bytes = random_bytes
        self._key = stored.key if stored is not None else b""
        self._is_key_stored = bool(self._key)
        self._boxes = {one.commitment: one.ciphertext for one in stored.values} if stored is not None else {}
        self._fresh: dict[str, bytes] = {}
        self._bytes = self._bytes_kept = sum(map(len, self._boxes.values()))

    def seal(self, value: Value) -> Sealed:
        """Take a value in; `Sealed` inside of it are opened. Raises ErasedError where one of those is gone."""
        plain, _ = opened(value, self)
        return self._enclose(self._random_bytes(SALT_BYTES) + encode(plain))

    def open(self, sealed: Sealed) -> Value:
        """The value; raises ErasedError."""
        return decode(self._disclose(sealed.commitment)[SALT_BYTES:])

    def size(self, sealed: Sealed) -> int:
        """Bytes of the value as JSON, without opening it; 0 where it is not there."""
        return max(0, len(self._boxes.get(sealed.commitment, b"")) - _AROUND_BYTES)

    def unwritten(self) -> Secrets | None:
        """What was sealed since it was last written, to be written with the events that hold the commitments."""
        if not self._fresh:
            return None
        return Secrets(
            b"" if self._is_key_stored else self._key, tuple(SealedValue(*one) for one in self._fresh.items())
        )

    @property
    def unwritten_count(self) -> int:
        """How many values were sealed since it was last written."""
        return len(self._fresh)

    def drop(self, count: int) -> None:
        """Let go of what was sealed after the first so many that are unwritten: no event holds its commitment."""
        for commitment in list(self._fresh)[count:]:
            self._bytes -= len(self._fresh.pop(commitment))
            del self._boxes[commitment]

    def written(self) -> None:
        """What was unwritten is on disk."""
        self._is_key_stored = self._is_key_stored or bool(self._fresh)
        self._fresh = {}

    def keep(self, commitments: Iterable[str]) -> None:
        """Let go of what is not among these; they are read again when they are wanted."""
        kept = {*commitments, *self._fresh}
        self._boxes = {commitment: box for commitment, box in self._boxes.items() if commitment in kept}
        self._bytes = self._bytes_kept = sum(map(len, self._boxes.values()))

    @property
    def crowded(self) -> bool:
        """Whether it is time to `keep` only what is of use: more has come since than there was then."""
        return self._bytes > 2 * self._bytes_kept + ROOM_BYTES

    def add(self, stored: Secrets) -> None:
        """Take in more of what is stored."""
        self._boxes.update((one.commitment, one.ciphertext) for one in stored.values)
        self._bytes += sum(len(one.ciphertext) for one in stored.values)

    def copied(self, commitments: Iterable[str]) -> ExecutionVault:
        """A vault for another execution with these values under the same commitments, and a key of its own. Raises
        ErasedError where one of them is gone."""
        copy = ExecutionVault(self._random_bytes)
        for commitment in commitments:
            copy._enclose(self._disclose(commitment))
        return copy

    def _enclose(self, salted: bytes) -> Sealed:
        self._key = self._key or self._random_bytes(KEY_BYTES)
        digest = hashlib.sha256(salted).digest()
        nonce = self._random_bytes(NONCE_BYTES)
        commitment = urlsafe_b64encode(digest).decode().rstrip("=")
        box = nonce + _cipher(self._key).encrypt(nonce, salted, digest)
        self._boxes[commitment] = self._fresh[commitment] = box
        self._bytes += len(box)
        return Sealed(commitment)

    def _disclose(self, commitment: str) -> bytes:
        box = self._boxes.get(commitment)
        if box is None or not self._key:
            raise ErasedError(commitment)
        return unbox(self._key, commitment, box)


async def load_vault(
    source: SecretsSource, key: int, commitments: Sequence[str], random_bytes: RandomBytes
) -> ExecutionVault:
    """The vault of a stored execution, with these of its values."""
    return ExecutionVault(random_bytes, await source.secrets(key, commitments))


async def revealed_json(source: SecretsSource, key: int, data: bytes) -> bytes:
    """Stored JSON of an execution with its sensitive values in the clear, for a worker. Raises ErasedError."""
    if SEALED_MARK not in data:
        return data
    vault = ExecutionVault(_no_randomness, await source.secrets(key, sealed_in(data)))
    return encode(cast(Value, replace_each(decode(data), Sealed, vault.open)))


def unbox(key: bytes, commitment: str, box: bytes) -> bytes:
    """The salt and the value in a sealed box; raises ErasedError where it is not what the commitment binds."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _cipher

    digest = urlsafe_b64decode(commitment + "=")
    try:
        salted: bytes = _cipher(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], digest)
    except (InvalidTag, TypeError, ValueError):  # a damaged file may hold anything
        raise ErasedError(commitment) from None
    if hashlib.sha256(salted).digest() != digest:
        raise ErasedError(commitment)
    return salted


def _cipher(key: bytes) -> Any:
    # Loading the library takes 25 ms and 3 MB, and only few stores have sensitive values.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

    return AESGCM(key)


def _no_randomness(_: int) -> bytes:
    raise AssertionError("nothing is sealed here")
