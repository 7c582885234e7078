"""Checking a chain as it is read: what is found, where, and that one wrong event does not blame the others."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_history import Stored, chain

from callboard.runtime.core.chain import Chain, Problem, ProblemKind


def found(events: list[Stored], execution_id: str = "o-1") -> list[tuple[str, int]]:
    return [(problem.kind.value, problem.sequence) for problem in problems(events, execution_id)]


def problems(events: list[Stored], execution_id: str = "o-1") -> list[Problem]:
    checked = Chain("acme", execution_id)
    told = [problem for event in events for problem in checked.take(event)] + checked.settle()
    assert checked.sound == (not told)
    return told


def swapped(events: list[Stored], one: int, other: int) -> None:
    """Two rows exchange their places, hashes and all."""
    first, second = events[one - 1], events[other - 1]
    events[one - 1] = second._replace(sequence=one)
    events[other - 1] = first._replace(sequence=other)


def swapped_contents(events: list[Stored], one: int, other: int) -> None:
    """Two rows exchange everything but place and hash."""
    first, second = events[one - 1], events[other - 1]
    events[one - 1] = second._replace(sequence=one, hash=first.hash)
    events[other - 1] = first._replace(sequence=other, hash=second.hash)


@given(st.integers(0, 30))
def test_a_whole_chain_has_no_problem(length: int) -> None:
    assert problems(chain(length)) == []


def test_what_follows_a_lost_beginning_holds_by_itself() -> None:
    (lost,) = problems(chain(5)[3:])
    assert (lost.kind, lost.sequence, lost.message) == (ProblemKind.GAP, 1, "events 1 to 3 are missing")


@pytest.mark.parametrize("change", [{"payload": b"[]"}, {"created_at": 0}, {"context": None}, {"event_id": "x"}])
@pytest.mark.parametrize("place", [1, 4, 9])
def test_a_changed_event_alone_is_to_blame(change: dict[str, Any], place: int) -> None:
    events = chain(9)
    events[place - 1] = events[place - 1]._replace(**change)
    assert found(events) == [("HASH", place)]


def test_a_changed_hash_blames_its_event_only() -> None:
    events = chain(5)
    events[2] = events[2]._replace(hash=b"x" * 32)
    assert found(events) == [("HASH", 3)]


@pytest.mark.parametrize("wrong", [None, 7, "text"])
def test_a_field_of_another_type_is_a_wrong_hash(wrong: object) -> None:
    events = chain(3)
    events[1] = events[1]._replace(payload=wrong)  # type: ignore[arg-type]
    assert found(events) == [("HASH", 2)]


@pytest.mark.parametrize(("gone", "message"), [((3,), "event 3 is missing"), ((3, 4), "events 3 to 4 are missing")])
def test_a_gap_is_one_problem_and_the_chain_goes_on_behind_it(gone: tuple[int, ...], message: str) -> None:
    events = [event for event in chain(8) if event.sequence not in gone]
    events[-1] = events[-1]._replace(payload=b"[]")
    first, second = problems(events)
    assert (first.kind, first.sequence, first.message) == (ProblemKind.GAP, 3, message)
    assert (second.kind, second.sequence) == (ProblemKind.HASH, 8)


def test_events_that_come_in_the_wrong_order_are_found() -> None:
    events = chain(5)
    events[1], events[2] = events[2], events[1]
    assert found(events)[0] == ("GAP", 2)


def test_a_first_event_that_is_gone_is_a_gap() -> None:
    assert found(chain(3)[1:]) == [("GAP", 1)]


@pytest.mark.parametrize("one", [1, 4, 8])
def test_neighbours_that_changed_places_are_named_and_nobody_else(one: int) -> None:
    events = chain(9)
    swapped(events, one, one + 1)
    assert found(events) == [("HASH", one), ("HASH", one + 1)]
    assert all(f"events {one} and" in text or f"and {one} have" in text for _, _, text in map(_parts, problems(events)))


def _parts(problem: Problem) -> tuple[str, int, str]:
    return problem.kind.value, problem.sequence, problem.message


@pytest.mark.parametrize("exchange", [swapped, swapped_contents])
@given(st.integers(1, 12), st.integers(1, 12))
def test_any_two_events_that_changed_places_are_found(
    exchange: Callable[[list[Stored], int, int], None], one: int, other: int
) -> None:
    events = chain(12)
    exchange(events, one, other)
    assert {("HASH", one), ("HASH", other)} <= set(found(events)) if one != other else not found(events)


def test_a_history_under_another_name_is_wrong_from_its_first_event() -> None:
    assert found(chain(2), "o-2")[0] == ("HASH", 1)
