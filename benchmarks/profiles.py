"""`--profile`: where the time of the event loop's thread goes, by module and by function."""

from __future__ import annotations

import io
import pstats
from collections import defaultdict
from pathlib import Path
from typing import Any

_FUNCTIONS_SHOWN = 40
_MODULES_SHOWN = 25
_IDLE = "method 'poll' of 'select.epoll'"


def top_functions(path: Path) -> str:
    """Own time by module, then the functions with the most time of their own, then those with the most in all."""
    text = io.StringIO()
    stats = pstats.Stats(str(path), stream=text)
    text.write(_by_module(stats))
    stats.strip_dirs()
    for order in ("tottime", "cumtime"):
        stats.sort_stats(order).print_stats(_FUNCTIONS_SHOWN)
    return text.getvalue()


def _by_module(stats: Any) -> str:
    """Built-in functions count for the module that calls them; waiting for work counts for nobody."""
    own: dict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own_seconds, _, callers) in stats.stats.items():
        if _IDLE in function:
            continue
        if file == "~":
            for (caller, *_rest), timing in callers.items():
                own[_module(caller)] += timing[2]
        else:
            own[_module(file)] += own_seconds
    total = sum(own.values())
    ordered = sorted(own.items(), key=lambda item: -item[1])[:_MODULES_SHOWN]
    lines = [f"  {seconds:7.3f} s  {seconds / total:5.1%}  {module}\n" for module, seconds in ordered]
    return f"own time by module, built-ins included, {total:.3f} s in all:\n{''.join(lines)}"


def _module(file: str) -> str:
    return "/".join(Path(file).parts[-2:]) if file != "~" else "built-ins and C code"
