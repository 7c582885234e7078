"""The rules of sensitive values: an execution has one key, and no value without it. What is erased stays away."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from ..rows import Erasure, ExecutionAppend, Secrets
from ..writes import Lost, Why
from .changes import Books
from .wanted import Known

_DIGEST_BYTES: Final = 32


def digest_of(commitment: str) -> bytes:
    """The bytes that are stored for it; raises ValueError where they would not give the same text again."""
    digest = urlsafe_b64decode(f"{commitment}=")
    if len(digest) != _DIGEST_BYTES or commitment_of(digest) != commitment:
        raise ValueError("it is not the base64url of 32 bytes")
    return digest


def digests_of(commitments: Iterable[str]) -> list[bytes]:
    """Of each once, in their order; nothing can be stored under what is no commitment."""
    digests: list[bytes] = []
    for commitment in dict.fromkeys(commitments):
        with suppress(ValueError):
            digests.append(digest_of(commitment))
    return digests


def commitment_of(digest: bytes) -> str:
    """The text of stored bytes."""
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def refuse_secrets(known: Known, write: ExecutionAppend, secrets: Secrets) -> Lost | None:
    """Why the values cannot be stored."""
    has_key = write.key in known.secrets
    if secrets.key and has_key:
        return Lost(Why.ROW, f"execution {write.ref.execution_id!r} has a key already")
    if secrets.values and not secrets.key and not has_key:
        return Lost(Why.ROW, f"execution {write.ref.execution_id!r} has no key that would open the values")
    for value in secrets.values:
        try:
            digest_of(value.commitment)
        except ValueError as error:
            return Lost(Why.ROW, f"commitment {value.commitment!r}: {error}")
    return None


def seal(books: Books, key: int, secrets: Secrets) -> None:
    """Values to be stored, and the key, if it is new."""
    if secrets.key:
        books.known.secrets.add(key)
        books.changes.keys[key] = secrets.key
    values = books.changes.sealed.setdefault(key, {})
    for value in secrets.values:
        values.setdefault(digest_of(value.commitment), value.ciphertext)


def erase(books: Books, key: int, erasure: Erasure) -> None:
    """Key and values go, and dead letters lose theirs."""
    books.known.wiped = True
    books.changes.letters_erased += [(letter, key, payload) for letter, payload in erasure.letters]
    forget(books, key)


def forget(books: Books, key: int) -> None:
    """Key and values go, where there are any."""
    known, changes = books.known, books.changes
    if key not in known.secrets:
        return
    known.wiped = True
    known.secrets.discard(key)
    changes.erased[key] = None
    changes.keys.pop(key, None)
    changes.sealed.pop(key, None)
