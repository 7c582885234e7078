"""The hash of an event: what it covers."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.history import GENESIS, event_hash


class Stored(NamedTuple):
    sequence: int
    name: str
    payload: bytes
    created_at: int
    to_state: str | None
    event_id: str | None
    context: bytes | None
    hash: bytes


def chain(length: int) -> list[Stored]:
    events: list[Stored] = []
    previous = GENESIS
    for sequence in range(1, length + 1):
        fields: Any = (sequence, "StepCompleted", b'{"path":"a"}', 1000 + sequence, None, f"e-{sequence}", b"{}")
        previous = event_hash(previous, "acme", "o-1", *fields)
        events.append(Stored._make((*fields, previous)))
    return events


def hashed(**changes: Any) -> bytes:
    fields: dict[str, Any] = {**BASE, **changes}
    return event_hash(**fields)


BASE: dict[str, Any] = {
    "previous": b"p" * 32,
    "tenant": "acme",
    "execution_id": "o-1",
    "sequence": 7,
    "name": "StepCompleted",
    "payload": b"{}",
    "created_at": 1_763_000_000_000_000,
    "to_state": "paid",
    "event_id": "e-1",
    "context": b'{"user":"u"}',
}


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("previous", b"q" * 32),
        ("tenant", "acm"),
        ("execution_id", "o-2"),
        ("sequence", 8),
        ("name", "StepFailed"),
        ("payload", b"[]"),
        ("created_at", 1),
        ("to_state", None),
        ("to_state", ""),
        ("event_id", None),
        ("event_id", ""),
        ("context", None),
        ("context", b""),
    ],
)
def test_every_field_is_covered(field: str, other: object) -> None:
    assert hashed() != hashed(**{field: other})


def test_absent_is_not_empty() -> None:
    for field in ("to_state", "event_id"):
        assert hashed(**{field: None}) != hashed(**{field: ""})
    assert hashed(context=None) != hashed(context=b"")


@given(st.text(), st.text(), st.text(), st.text())
def test_fields_do_not_run_into_each_other(a: str, b: str, c: str, d: str) -> None:
    try:
        first, second = event_hash(b"", a, b, 1, "X", b"", 0), event_hash(b"", c, d, 1, "X", b"", 0)
    except UnicodeEncodeError:
        return
    assert (first == second) == ((a, b) == (c, d))


def test_the_hash_never_changes() -> None:
    assert hashed().hex() == "16355bd21e2b9a53e6fe6c0fccb2a83a1074d43be8f5032847b4f72ca0d6d7ca"
