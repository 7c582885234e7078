"""What crosses the storage port about backups, and the seal that makes a file a whole backup.

A backup is the database file with a seal at its end: a mark, the length before it, and the SHA-256 of that. SQLite
does not look behind its last page, so a sealed file is still a database that any tool of SQLite reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

_MARK: Final = b"\ncallboard-seal1\n"
_SEAL: Final = struct.Struct(f">{len(_MARK)}sQ32s")
SEAL_BYTES: Final = _SEAL.size

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is, in bytes; from another thread."""


class StoreCopy(NamedTuple):
    """A backup in a file."""

    path: Path
    size_bytes: int
    """With the seal."""
    sha256: bytes
    """Over all of the file, the seal included."""
    schema_version: int


class Seal(NamedTuple):
    """What the end of a backup says about the rest."""

    size_bytes: int
    sha256: bytes

    def encode(self) -> bytes:
        """The bytes that `read_seal` understands."""
        return _SEAL.pack(_MARK, self.size_bytes, self.sha256)


def read_seal(data: bytes) -> Seal | None:
    """The seal in the last `SEAL_BYTES` bytes of a file; None: there is none, so that the file is no whole backup."""
    if len(data) != SEAL_BYTES:
        return None
    mark, size_bytes, sha256 = _SEAL.unpack(data)
    return Seal(size_bytes, sha256) if mark == _MARK else None
