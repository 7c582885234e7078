"""The no-op operation as a registry: `serve --handlers benchmarks.handlers` does W1 in the server process."""

from __future__ import annotations

from typing import Any

from callboard.runtime.handlers import Operations

from .definitions import OPERATION, RESULT

operations = Operations()


@operations.operation(OPERATION)
async def noop(task: Any, n: int) -> dict[str, str]:
    """Nothing, and 50 bytes of it."""
    return RESULT
