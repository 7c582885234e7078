"""Checking the sensitive values of a stored execution: those that its events name are there, and are what they bind.

What is wrong is held back until the end: whoever reads page by page may hear of an erasure after the values have gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from .core.chain import Problem, ProblemKind
from .core.events import ExecutionErased
from .core.sealing import ErasedError
from .core.upcasts import plain_name
from .core.values import sealed_in
from .rows import SealedValue, Secrets, StoredEvent
from .vaults import SecretsSource, unbox

VALUES_AT_ONCE: Final = 100
"""How many values are read at a time."""


class SealedValues(SecretsSource, Protocol):
    """What is read (part of the Store port)."""

    async def sealed_values(self, key: int, after: str, limit: int) -> list[SealedValue]:
        """All sensitive values of an execution, by commitment, after this one."""
        ...


class ValueChecks:
    """The checking of the values of one execution."""

    def __init__(self, store: SealedValues, key: int) -> None:
        self._store = store
        self._key = key
        self.expected = False
        """Values should be there: they come with what is recorded, and not with an execution that was taken over when
        it had ended."""
        self.erased = 0
        """The event that says that they were erased; 0: none."""
        self._found: list[Problem] = []
        self._wrong: set[str] = set()

    async def take(self, events: Sequence[StoredEvent]) -> None:
        """Look at the next events."""
        named: dict[str, int] = {}
        for event in events:
            if plain_name(str(event.name)) == ExecutionErased.__name__:
                self.erased = event.sequence
            for commitment in _named_in(event):
                named.setdefault(commitment, event.sequence)
        commitments = list(named) if self.expected else []
        for start in range(0, len(commitments), VALUES_AT_ONCE):
            asked = commitments[start : start + VALUES_AT_ONCE]
            stored = await self._store.secrets(self._key, asked)
            there = {value.commitment: value for value in stored.values}
            for commitment in asked:
                self._check(stored, there.get(commitment), commitment, named[commitment])

    async def settle(self) -> list[Problem]:
        """What is wrong, once every event was looked at; also with values that no event names."""
        if self.erased:
            left = (await self._store.secrets(self._key, ())).key
            message = "the sensitive values were erased, but their key is still there"
            return [Problem(ProblemKind.SEALED_VALUE, self.erased, message)] if left else []
        if self.expected:
            await self._check_all()
        return self._found

    async def _check_all(self) -> None:
        key = await self._store.secrets(self._key, ())
        page = await self._store.sealed_values(self._key, "", VALUES_AT_ONCE)
        while page:
            for value in page:
                if value.commitment not in self._wrong:
                    self._check(key, value, value.commitment, 0)
            page = await self._store.sealed_values(self._key, page[-1].commitment, VALUES_AT_ONCE)

    def _check(self, stored: Secrets, value: SealedValue | None, commitment: str, sequence: int) -> None:
        which = f"a sensitive value of event {sequence}" if sequence else "a sensitive value that no event names"
        if value is None:
            self._tell(commitment, sequence, f"{which} is not there")
            return
        try:
            unbox(stored.key, commitment, value.ciphertext)
        except ErasedError:
            self._tell(commitment, sequence, f"{which} cannot be opened, or is not the one that was sealed")

    def _tell(self, commitment: str, sequence: int, message: str) -> None:
        self._wrong.add(commitment)
        self._found.append(Problem(ProblemKind.SEALED_VALUE, sequence, message))


def _named_in(event: StoredEvent) -> list[str]:
    """The commitments in an event; one that cannot be read is found by others."""
    try:
        return sealed_in(event.payload)
    except (TypeError, ValueError, msgspec.MsgspecError):
        return []
