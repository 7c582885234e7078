"""`--profile`: where the server's time goes, by function."""

from __future__ import annotations

import io
import pstats
from pathlib import Path

_FUNCTIONS_SHOWN = 35


def top_functions(path: Path) -> str:
    """The functions with the most time of their own, then those with the most time in all they call."""
    text = io.StringIO()
    stats = pstats.Stats(str(path), stream=text)
    stats.strip_dirs()
    for order in ("tottime", "cumtime"):
        stats.sort_stats(order).print_stats(_FUNCTIONS_SHOWN)
    return text.getvalue()
