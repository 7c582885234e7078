"""Page tokens."""

import pytest

from callboard.runtime.core.refusals import Refused
from callboard.runtime.listing import PageTokens, scope_of


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


def test_a_token_of_an_earlier_generation_is_refused_as_that() -> None:
    scope = scope_of("ListExecutions", "acme")
    for old, new in ((1, 2), (2, 9)):
        token = PageTokens(b"s" * 32, old).make(scope, "17")
        with pytest.raises(Refused, match="OTHER_GENERATION"):
            PageTokens(b"t" * 32, new).read(scope, token)
        with pytest.raises(Refused, match="INVALID_PAGE_TOKEN"):
            PageTokens(b"t" * 32, old).read(scope, token)
