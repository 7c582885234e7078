"""Sensitive values in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..rows import SealedValue, Secrets
from .changes import Changes
from .memory_executions import ExecutionTables
from .unit_secrets import commitment_of, digest_of, digests_of
from .wanted import Known, Wanted


class SecretTables:
    """The keys of executions, and what they open."""

    def __init__(self, executions: ExecutionTables) -> None:
        self._executions = executions
        self.keys: dict[int, bytes] = {}
        self.values: dict[int, dict[bytes, bytes]] = {}
        """Ciphertexts by execution and the bytes of their commitments."""

    def look_up(self, wanted: Wanted, known: Known) -> None:
        """Add which of the executions have a key, where it matters."""
        known.secrets.update((wanted.secrets | known.to_prune(wanted)) & self.keys.keys())

    def carry_out(self, changes: Changes) -> None:
        """Make the changes."""
        for key in changes.erased:
            self.keys.pop(key, None)
            self.values.pop(key, None)
        for number, key, payload in changes.letters_erased:
            letter = self._executions.letters.get(number)
            if letter is not None and letter.key == key:
                redacted = msgspec.structs.replace(letter.letter, payload=payload)
                self._executions.letters[number] = letter._replace(letter=redacted)
        self.keys.update(changes.keys)
        for key, values in changes.sealed.items():
            self.values[key] = values | self.values.get(key, {})


class _Tables(Protocol):
    """What the store keeps."""

    _secrets: SecretTables


class SecretReads(_Tables, Protocol):
    """The part of `MemoryStore` that reads sensitive values."""

    async def secrets(self, key: int, commitments: Sequence[str]) -> Secrets:
        """In the order asked for."""
        if key not in self._secrets.keys:
            return Secrets()
        values = self._secrets.values[key]
        stored = (digest for digest in digests_of(commitments) if digest in values)
        found = (SealedValue(commitment_of(digest), values[digest]) for digest in stored)
        return Secrets(self._secrets.keys[key], tuple(found))

    async def sealed_values(self, key: int, after: str, limit: int) -> list[SealedValue]:
        """By the bytes of their commitments."""
        start = digest_of(after) if after else b""
        page = sorted(each for each in self._secrets.values.get(key, {}).items() if each[0] > start)[:limit]
        return [SealedValue(commitment_of(digest), ciphertext) for digest, ciphertext in page]
