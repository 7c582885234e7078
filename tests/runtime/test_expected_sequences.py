"""Commands that name the sequence they were meant for, decided together in one turn."""

from __future__ import annotations

import asyncio

from tests.runtime.engine_kit import ME, WAITING, engine, started

from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.executions import Submitted


async def submitted(runtime: Runtime, number: int, expected: int | None = None, event_id: str = "") -> int | Refused:
    """The sequence of its event (0: it was a repeat), or why it was refused."""
    try:
        answer: Submitted = await runtime.submit(ME, "x-1", "other", number, event_id, expected)
    except Refused as refused:
        return refused
    return answer.sequence


def told(outcome: int | Refused) -> tuple[Kind, str, dict[str, str]]:
    assert isinstance(outcome, Refused), outcome
    return outcome.refusal.kind, outcome.refusal.reason, outcome.refusal.metadata


async def test_the_first_of_a_turn_wins_and_the_others_are_told_where_it_is_then() -> None:
    async with engine() as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        turns = [submitted(runtime, 1, 2), submitted(runtime, 2, 2), submitted(runtime, 3), submitted(runtime, 4, 2)]
        first, second, third, fourth = await asyncio.gather(*turns)
        assert (first, third) == (3, 4)
        assert told(second) == (Kind.RACE, "SEQUENCE_MISMATCH", {"sequence": "3", "expected_sequence": "2"})
        assert told(fourth) == (Kind.RACE, "SEQUENCE_MISMATCH", {"sequence": "4", "expected_sequence": "2"})


async def test_a_turn_that_has_to_be_decided_again_compares_again() -> None:
    """A repeat is found out by its append only: what was decided behind it has not happened, nor has a refusal."""
    async with engine() as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        assert await submitted(runtime, 1, event_id="e-1") == 3
        repeat, behind, last = await asyncio.gather(
            submitted(runtime, 1, event_id="e-1"), submitted(runtime, 2, 3), submitted(runtime, 3, 4)
        )
        assert (repeat, behind, last) == (0, 4, 5)


async def test_a_repeat_within_a_turn_is_a_repeat_though_the_execution_has_moved_on() -> None:
    async with engine() as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        first, again = await asyncio.gather(
            submitted(runtime, 1, 2, event_id="e-1"), submitted(runtime, 1, 2, event_id="e-1")
        )
        assert (first, again) == (3, 0)
