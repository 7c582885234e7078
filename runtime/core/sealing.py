"""Sensitive values in decisions: where they are opened, and how everything that was made from one is sealed in turn.

Rules
- State and events hold a `Sealed` in the place of a sensitive value, whoever replays them. The value itself lies in
  the execution's vault, which is no part of the state: a history whose values are erased replays to the same state.
- An expression that is only a path hands a `Sealed` on as it is. Any other that has seen the value of one gives a
  `Tainted`, and that is sealed anew before it becomes part of an event.
- A condition is told as it is: what it decides stands in the history anyway. Where a value has to stand in the clear to
  be of use (a key, a label, a time), one that is sensitive is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import msgspec

from .values import Sealed, Value, encode, replace_each


class ErasedError(Exception):
    """The value of a `Sealed` is not there any more, or never was: it was erased, or came without it."""


class Vault(Protocol):
    """The sensitive values of one execution."""

    def seal(self, value: Value) -> Sealed:
        """Take a value in; `Sealed` inside of it are opened."""
        ...

    def open(self, sealed: Sealed) -> Value:
        """The value; raises `ErasedError`."""
        ...

    def size(self, sealed: Sealed) -> int:
        """Bytes of the value as JSON, without opening it; 0 where it is not there."""
        ...


class Tainted(msgspec.Struct, frozen=True):
    """What an expression made of a sensitive value: to be sealed before it is kept."""

    value: Value


Look: TypeAlias = Callable[[str, str], object]


class Unsealing:
    """A lookup into an execution that may have sensitive values, with what opens them."""

    __slots__ = ("_look", "vault")

    def __init__(self, look: Look, vault: Vault) -> None:
        self._look = look
        self.vault = vault

    def __call__(self, root: str, name: str) -> object:
        return self._look(root, name)


def opened(value: Any, vault: Vault) -> tuple[Any, bool]:
    """The value in the clear, and whether there was anything sensitive in it; raises `ErasedError`."""
    if type(value) is Tainted:
        return value.value, True
    plain = replace_each(value, Sealed, vault.open)
    return plain, plain is not value


def sealed_again(value: Any, vault: Vault) -> Value:
    """The value with each `Tainted` in it sealed."""
    return cast(Value, replace_each(value, Tainted, lambda tainted: vault.seal(tainted.value)))


def hidden_bytes(value: Any, vault: Vault) -> int:
    """Bytes by which a value grows at most where all that is sealed in it is opened; the same one counts each time."""
    sizes: list[int] = []

    def note(sealed: Sealed) -> Sealed:
        sizes.append(max(0, vault.size(sealed) - len(encode(sealed))))
        return sealed

    replace_each(value, Sealed, note)
    return sum(sizes)


def is_sensitive(value: Any) -> bool:
    """Whether there is anything sensitive in a value."""
    found: list[Sealed | Tainted] = []

    def note(sensitive: Sealed | Tainted) -> Sealed | Tainted:
        found.append(sensitive)
        return sensitive

    replace_each(value, Sealed, note)
    replace_each(value, Tainted, note)
    return bool(found)


def wordless(error: Exception) -> Exception:
    """An error that only says what kind it is, and where: the words of an unforeseen one may quote values."""
    return RuntimeError(f"{type(error).__name__}, its words are withheld").with_traceback(error.__traceback__)
