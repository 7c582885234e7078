"""Marks change nothing but what is told: sensitive values lead to the decisions that the same plain ones lead to."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.flow import Flow
from tests.core.worlds import INPUT, QuickDice, definitions, live

from callboard.runtime.core.sealing import opened
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Value, decode, encode

COMMANDS = 15
MARKED = {"sensitive": True}
EXCEPTIONS = (
    b"is sensitive, and would be stored in the clear here",
    b"for a sensitive value; the reason is withheld",
    b"a payload that is not JSON cannot fit a schema",
)
"""Words of the only ways in which the two may come apart."""


def marked(text: str, chance: Random) -> str:
    """The same definition with marks on some of its inputs, events and results."""
    said = json.loads(text)
    said["input_schema"] = {"properties": {name: MARKED for name in INPUT if chance.random() < 0.7}}
    said["event_schemas"] = {name: MARKED for name in ("go", "other") if chance.random() < 0.5}

    def mark(part: Any) -> None:
        if isinstance(part, dict) and isinstance(task := part.get("task"), dict) and chance.random() < 0.5:
            task["result_schema"] = MARKED
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            mark(inner)

    mark(said["steps"])
    return json.dumps(said)


def lived(text: str, seed: int, limits: Limits) -> Flow:
    flow = Flow(text, limits).start(INPUT)
    live(flow, QuickDice(seed), COMMANDS)
    return flow


def told(flow: Flow) -> list[tuple[Value, int, str]]:
    """The history, with whatever is sealed in the clear."""
    stored = [(decode(encode(cast(Any, event))), at, event_id) for event, at, event_id in flow.history]
    if flow.vault is not None:
        stored = [(opened(content, flow.vault)[0], at, event_id) for content, at, event_id in stored]
    return [(_without_nulls(content), at, event_id) for content, at, event_id in stored]


def _without_nulls(content: Any) -> Value:
    """A field that is null is left out of an event, unless it is sealed."""
    return {name: value for name, value in content.items() if value is not None}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.booleans().flatmap(definitions), seed=st.integers(0, 1 << 32), turn_events_max=st.sampled_from([2, 256]))
def test_marked_and_unmarked_executions_live_the_same_life(text: str, seed: int, turn_events_max: int) -> None:
    limits = Limits(turn_events_max=turn_events_max)
    plain, sealed = lived(text, seed, limits), lived(marked(text, Random(seed)), seed, limits)
    as_plain = told(sealed)
    same = next((n for n, both in enumerate(zip(told(plain), as_plain, strict=False)) if both[0] != both[1]), None)
    if same is None:
        assert len(plain.history) == len(sealed.history)
    else:
        rest = encode(cast(Any, as_plain[same:]))
        assert any(words in rest for words in EXCEPTIONS), (told(plain)[same], as_plain[same])
