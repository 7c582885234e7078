"""Refusals as values: why a command or request is not carried out. The server turns each into one gRPC status.

A refusal writes nothing. Its `reason` is a name of the published `ErrorReason` enum (without prefix); `subject`
names the resource and `metadata` the numbers that help the caller.
"""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.Enum):
    """The class of a refusal; each maps to exactly one gRPC status code."""

    INVALID = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    EXISTS = "ALREADY_EXISTS"
    STATE = "FAILED_PRECONDITION"
    RACE = "ABORTED"
    BUSY = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    RANGE = "OUT_OF_RANGE"
    UNSUPPORTED = "UNIMPLEMENTED"
    DENIED = "PERMISSION_DENIED"
    INTERNAL = "INTERNAL"
    DEADLINE = "DEADLINE_EXCEEDED"


class Violation(msgspec.Struct, frozen=True):
    """One located mistake in a definition or a request."""

    path: str
    """Where in the value: `steps[3].task.input.sku`."""
    message: str
    code: str = "INVALID"
    """A stable name of the kind of mistake, such as UNKNOWN_FIELD."""
    source: str = ""
    """Name of the source text, when there is one."""
    line: int = 0
    """Line in the source text, from 1; 0: not known."""
    column: int = 0
    warning: bool = False

    @property
    def located(self) -> str:
        """`name:line:column: path: message`, with the parts that are known."""
        place = f"{self.source}:{self.line}:{self.column}: " if self.line else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


class Refusal(msgspec.Struct, frozen=True):
    """A clear no: what kind, which published reason, and words a person understands."""

    kind: Kind
    reason: str
    message: str
    metadata: dict[str, str] = {}
    violations: tuple[Violation, ...] = ()
    retry_after_us: int | None = None
    """When it makes sense to try again; None: not by itself."""
    resource_type: str = ""
    """`execution`, `definition`, ...: with `resource`, the thing the refusal is about."""
    resource: str = ""


class Refused(Exception):
    """Carries a refusal up to the edge; catch it to read `.refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason}: {refusal.message}")
        self.refusal = refusal
