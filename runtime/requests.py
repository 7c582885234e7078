"""Who asks, and what is asked: the values that the edge hands to the engine, and the rules they have to keep."""

from __future__ import annotations

import enum
import hashlib
import re
from typing import Any

import msgspec

from .core.refusals import Kind, Refusal, Refused, Violation
from .core.values import Opaque, Value, encode
from .rows import Request
from .settings import Settings

EXECUTION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
EVENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")
ID_CHARS_MAX = 255


class Caller(msgspec.Struct, frozen=True):
    """Who asks."""

    tenant: str = "default"
    user_id: str = ""
    trace: str = ""
    """W3C `traceparent`; empty: no trace."""
    request_id: str = ""
    """The caller's idempotency key; empty: none."""
    fingerprint: bytes = b""
    """Hash of the decoded request without its id, to tell a repeat from a reuse."""

    @property
    def context(self) -> bytes:
        """What is stored of it with the events."""
        known = {"user": self.user_id, "trace": self.trace, "request": self.request_id}
        return encode({name: value for name, value in known.items() if value})

    def remembered(self, identity: str, now: int, settings: Settings) -> Request | None:
        """The row that makes a repeat of this request harmless; None: the caller gave no id."""
        if not self.request_id:
            return None
        expires_at = now + settings.request_ids_seconds * 1_000_000
        return Request(self.tenant, self.request_id, self.fingerprint, identity, expires_at)

    def derived_id(self, kind: str) -> str:
        """An id that a repeat of the same request gives again; empty where the caller gave no request id."""
        if not self.request_id:
            return ""
        seed = f"{kind}\0{self.tenant}\0{self.request_id}".encode()
        return hashlib.blake2b(seed, digest_size=16).hexdigest()


class UniquePolicy(enum.Enum):
    """What a start does when an execution of the definition that has not ended holds its unique key."""

    RETURN_EXISTING = "RETURN_EXISTING"
    """Answer with that one."""
    REJECT = "REJECT"
    """Refuse with UNIQUE_KEY_TAKEN."""
    CANCEL_EXISTING = "CANCEL_EXISTING"
    """Cancel that one; the new one is PENDING until it has ended."""


class StartRequest(msgspec.Struct, frozen=True):
    """An execution to begin."""

    definition_id: str
    version: int = 0
    """0: the published one."""
    execution_id: str = ""
    """Empty: made by the engine (from the request id, where there is one)."""
    input: Any = None
    labels: dict[str, str] = {}
    reject_existing: bool = False
    """Refuse with EXECUTION_ALREADY_EXISTS in place of answering with the one that is there."""
    min_revision: int = 0
    unique_key: str = ""
    """At most one execution of the definition that has not ended holds it; empty: none."""
    unique_policy: UniquePolicy = UniquePolicy.RETURN_EXISTING


def invalid(path: str, message: str, code: str = "INVALID") -> Refused:
    """A request with one field that is wrong."""
    violation = Violation(path, message, code)
    return Refused(Refusal(Kind.INVALID, "INVALID_REQUEST", violation.located, violations=(violation,)))


def check_id(field: str, value: str) -> None:
    """An execution id a caller chose."""
    if not EXECUTION_ID.fullmatch(value):
        raise invalid(field, f"{value!r} does not match {EXECUTION_ID.pattern}")


def check_event_name(value: str) -> None:
    """The name of an event."""
    if not EVENT_NAME.fullmatch(value):
        raise invalid("name", f"{value!r} does not match {EVENT_NAME.pattern}")


def check_length(field: str, value: str) -> None:
    """An id of a caller's that is only compared."""
    if len(value) > ID_CHARS_MAX:
        raise invalid(field, f"has {len(value)} characters; at most {ID_CHARS_MAX}")


def check_sequence(field: str, value: int | None) -> None:
    """A place in a history, where there is one: they begin with 1."""
    if value is not None and value < 1:
        raise invalid(field, f"is {value}; sequences begin with 1")


def check_size(field: str, value: Value, settings: Settings) -> bytes:
    """The encoded payload, if it is within `payload_bytes_max`."""
    data = value.data if isinstance(value, Opaque) else encode(value)
    limit = settings.payload_bytes_max
    if len(data) > limit:
        raise Refused(
            Refusal(
                Kind.INVALID,
                "PAYLOAD_TOO_LARGE",
                f"{field} has {len(data)} bytes; payload_bytes_max is {limit}",
                {"limit": str(limit), "size": str(len(data)), "limit_name": "payload_bytes_max"},
            )
        )
    return encode(value) if isinstance(value, Opaque) else data


def check_labels(labels: dict[str, str], settings: Settings) -> None:
    """Labels within their limits."""
    if len(labels) > settings.labels_max:
        raise invalid("labels", f"{len(labels)} labels; labels_max is {settings.labels_max}")
    for name, value in labels.items():
        if max(len(name.encode()), len(value.encode())) > settings.label_bytes_max:
            raise invalid(f"labels.{name}", f"longer than label_bytes_max, {settings.label_bytes_max} bytes")
