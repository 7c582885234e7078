"""Which execution was being decided when the process died: one slot of a memory-mapped file beside the store.

A command that kills the process (a native crash, out of memory) leaves no exception to catch, and would kill every
restart that takes it up. The slot is written without a sync: it outlives the process, not the machine, and that is
enough. An execution found there after three deaths in a row is parked for this boot: whoever addresses it is refused
with EXECUTION_POISONED, everything else goes on. A boot that ends otherwise gives it another chance.
"""

from __future__ import annotations

import logging
import mmap
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from .core.refusals import Kind, Refusal

log = logging.getLogger("callboard.suspects")

DEATHS_MAX: Final = 3
"""Unclean deaths in a row on the same execution, after which it is parked."""

_SLOT: Final = Struct("<qqq")  # being decided now, found there last time, deaths in a row
_KEY: Final = Struct("<q")


class Slot(NamedTuple):
    """What the slot says after a boot."""

    deciding: int
    """Key of the execution that was being decided when the process died; 0: it ended otherwise."""
    suspect: int
    deaths: int

    def concluded(self) -> int:
        """Deaths in a row on the execution that was being decided, the last one included."""
        if not self.deciding:
            return 0
        return self.deaths + 1 if self.deciding == self.suspect else 1


def read_slot(path: Path) -> Slot | None:
    """The slot in a file, while no process has it; None: there is none, or it is not whole."""
    data = path.read_bytes() if path.exists() else b""
    return Slot(*_SLOT.unpack(data)) if len(data) == _SLOT.size else None


class Suspects:
    """The slot. Without a path it remembers nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._slot: mmap.mmap | bytearray = bytearray(_SLOT.size)
        self.parked = 0
        """Key of the execution that is parked for this boot; 0: none."""

    def open(self) -> None:
        """Map the slot and draw the conclusion from how the last boot ended."""
        if self._path is None:
            return
        try:
            self._slot = _mapped(self._path)
        except OSError as error:
            log.warning("what is being decided is not noted in this boot", extra={"cause": str(error)})
            return
        slot = Slot(*_SLOT.unpack_from(self._slot))
        deciding, deaths = slot.deciding, slot.concluded()
        _SLOT.pack_into(self._slot, 0, 0, deciding, deaths)
        if deaths >= DEATHS_MAX:
            self.parked = deciding
            log.error("execution parked: the process died while deciding it", extra={"key": deciding, "deaths": deaths})

    def deciding(self, key: int) -> None:
        """From now on this execution is being decided; 0: none."""
        _KEY.pack_into(self._slot, 0, key)

    def close(self) -> None:
        """Unmap; what was being decided is over."""
        self.deciding(0)
        if isinstance(self._slot, mmap.mmap):
            self._slot.close()
            self._slot = bytearray(_SLOT.size)

    def refusal(self) -> Refusal:
        """What callers of the parked execution are told."""
        return Refusal(
            Kind.STATE,
            "EXECUTION_POISONED",
            f"the server died {DEATHS_MAX} times in a row while it decided this execution; it is parked until the next "
            "start of the server",
        )


def _mapped(path: Path) -> mmap.mmap:
    """The slot in its file, which is made where it is not there, or not whole."""
    if not path.exists() or path.stat().st_size != _SLOT.size:
        path.write_bytes(bytes(_SLOT.size))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _SLOT.size)
