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

    def because(self, cause: Failure) -> Failure:
        """This failure with `cause` at the end of its chain."""
        inner = self.cause.because(cause) if self.cause else cause
        return msgspec.structs.replace(self, cause=inner)
