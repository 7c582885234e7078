"""Failures as values: they survive storage with their types by name and keep the chain of what caused them."""

from __future__ import annotations

from typing import Any

import msgspec

TIMEOUT = "Timeout"
WORKER_LOST = "WorkerLost"
CANCELLED = "Cancelled"
EXPRESSION_ERROR = "ExpressionError"
LOOP_LIMIT = "LoopLimit"
RESULT_TOO_LARGE = "ResultTooLarge"
SCHEMA_MISMATCH = "SchemaMismatch"

RESERVED_TYPES = (TIMEOUT, WORKER_LOST, CANCELLED, EXPRESSION_ERROR, LOOP_LIMIT, RESULT_TOO_LARGE, SCHEMA_MISMATCH)


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt, a step or an execution failed."""

    type: str
    message: str = ""
    details: Any = None
    cause: Failure | None = None
    retryable: bool = True
    retry_after: int | None = None
    """Microseconds to wait before the next attempt, in place of the policy's backoff."""
    decided: bool = False
    """An operator has decided that this failure stands: nothing on its way out parks it again."""

    def because(self, cause: Failure) -> Failure:
        """This failure with `cause` at the end of its chain."""
        links: list[Failure] = [self]
        while (inner := links[-1].cause) is not None:
            links.append(inner)
        for link in reversed(links):
            cause = msgspec.structs.replace(link, cause=cause)
        return cause
