"""Development view: in a checkout, ``callboard`` is the repository root itself."""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
__path__ = [str(_root), str(_root / "proto" / "callboard")]
