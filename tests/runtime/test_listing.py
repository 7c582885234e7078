"""The filter of ListExecutions, and page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.refusals import Refused
from callboard.runtime.listing import PageTokens, parse_filter, scope_of
from callboard.runtime.rows import ExecutionQuery

T = 1_763_000_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ('status == "RUNNING"', {"statuses": ("RUNNING",)}),
        ('"RUNNING" == status', {"statuses": ("RUNNING",)}),
        ("status in ['FAILED', 'RUNNING', 'FAILED']", {"statuses": ("FAILED", "RUNNING")}),
        ('state == "paid" && definition_id == "d"', {"state": "paid", "definition_id": "d"}),
        ('state == ""', {"state": ""}),
        ("version == 3", {"version": 3}),
        ('labels.team == "x"&&labels["a/b"]==\'y"z\'', {"labels": (("team", "x"), ("a/b", 'y"z'))}),
        (r'state == "a\"bé"', {"state": 'a"bé'}),
        ("incident", {"incident": True}),
        ("!incident && version == 1", {"incident": False, "version": 1}),
        ("incident == false", {"incident": False}),
        ('started_at > timestamp("2025-11-13T02:13:20Z")', {"started_after": T}),
        ('started_at >= timestamp("2025-11-13T02:13:20Z")', {"started_after": T - 1}),
        ('updated_at < timestamp("2025-11-13T03:13:20+01:00")', {"updated_before": T}),
        ('timestamp("2025-11-13T02:13:20Z") >= updated_at', {"updated_before": T + 1}),
        (
            'started_at > timestamp("2025-11-13T02:13:20Z") && started_at < timestamp("2025-11-13T02:13:21Z")',
            {"started_after": T, "started_before": T + 1_000_000},
        ),
    ],
)
def test_what_is_understood(text: str, expected: dict[str, object]) -> None:
    assert parse_filter(text, "acme") == ExecutionQuery("acme", **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ('status == "DONE"', 11, "there is no status"),
        ('status = "RUNNING"', 8, "'=' is not understood"),
        ('status != "RUNNING"', 8, "cannot be compared by '!='"),
        ('status == "RUNNING" || incident', 21, "'|'"),
        ('stat == "RUNNING"', 1, "no field 'stat'"),
        ('status == "RUNNING" &&', 23, "ends in the middle"),
        ("status ==", 10, "ends in the middle"),
        ("&& incident", 1, "cannot begin"),
        ("version == 1.5", 12, "not understood"),
        ("version == 0", 12, "a version is a number"),
        ("version > 1", 9, "cannot be compared"),
        ("version == 99999999999999999999999", 12, "a version is a number"),
        ('definition_id == ""', 18, "empty id"),
        ("labels.team", 12, "ends in the middle"),
        ("labels[team] == 'x'", 8, "expected a string"),
        ("size(labels) == 1", 1, "no field 'size'"),
        ('status == "RUNNING" && status == "FAILED"', 24, "two conditions on status"),
        ('started_at > "2025-11-13T02:13:20Z"', 14, "expected a name"),
        ('started_at > timestamp("soon")', 24, "not an RFC 3339 time"),
        ('started_at > timestamp("2025-11-13T02:13:20")', 24, "no time zone"),
        ('state == "open', 10, "is not understood"),
        (r'state == "\ud800"', 10, "not Unicode"),
        ("status in []", 12, "expected a string"),
        ("x" * 5000, 4097, "longer than"),
    ],
)
def test_what_is_refused_and_where(text: str, column: int, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_filter(text, "acme")
    refusal = caught.value.refusal
    assert refusal.reason == "INVALID_FILTER"
    assert message in refusal.message
    assert "supported are" in refusal.message
    assert refusal.violations[0].column == column


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse_filter(text, "acme")
    except Refused as refused:
        assert refused.refusal.reason == "INVALID_FILTER"


def test_a_page_token_leads_on() -> None:
    tokens = PageTokens(b"s" * 32)
    scope = scope_of("ListExecutions", "acme", 'status == "RUNNING"')
    assert tokens.number(scope, tokens.make(scope, "17")) == 17
    assert tokens.number(scope, "") == 0
    assert tokens.read(scope, tokens.make(scope, "ü/x")) == "ü/x"


@pytest.mark.parametrize(
    "other", [("ListExecutions", "other", "f"), ("ListExecutions", "acme", "g"), ("X", "acme", "f")]
)
def test_a_page_token_belongs_to_its_question(other: tuple[str, str, str]) -> None:
    tokens = PageTokens(b"s" * 32)
    token = tokens.make(scope_of("ListExecutions", "acme", "f"), "17")
    with pytest.raises(Refused, match="INVALID_PAGE_TOKEN"):
        tokens.read(scope_of(*other), token)


@pytest.mark.parametrize("token", ["x", "!!", "AAAA", "ü", "QUFBQUFBQUFBQUFBQUFBQUFBQUE"])
def test_a_made_up_page_token_is_refused(token: str) -> None:
    with pytest.raises(Refused, match="INVALID_PAGE_TOKEN"):
        PageTokens(b"s" * 32).number(scope_of("ListExecutions", "acme"), token)


def test_a_page_token_of_another_store_is_refused() -> None:
    scope = scope_of("ListExecutions", "acme")
    with pytest.raises(Refused, match="INVALID_PAGE_TOKEN"):
        PageTokens(b"t" * 32).read(scope, PageTokens(b"s" * 32).make(scope, "17"))
