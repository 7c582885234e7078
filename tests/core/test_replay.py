"""Properties of any execution: replayed state is live state, rows are what it says, nothing raises, it ends."""

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.core.flow import TASK, Flow, of_steps
from tests.core.worlds import INPUT, bring_to_an_end, definitions, live

from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.state import STATUS_TRANSITIONS, STEP_TRANSITIONS, State
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque, encode
from callboard.runtime.replay import read_event, read_snapshot, take_snapshot
from callboard.runtime.rows import StoredEvent


def stored(flow: Flow) -> list[StoredEvent]:
    """The history as the store holds it, without hashes."""
    return [
        StoredEvent(n, type(event).__name__, encode(cast(Any, event)), at, b"", None, event_id or None, None)
        for n, (event, at, event_id) in enumerate(flow.history, start=1)
    ]


def apply(state: State, events: list[StoredEvent]) -> State:
    for event in events:
        evolve(state, read_event(event), event.created_at, event.event_id or "")
    return state


def from_snapshot(flow: Flow, sequence: int) -> State:
    """The state by way of a snapshot at a sequence."""
    history = stored(flow)
    early = apply(State(execution_id=flow.state.execution_id), history[:sequence])
    kept = read_snapshot(take_snapshot(early))
    assert kept is not None and kept == early
    return apply(kept, history[sequence:])


@pytest.mark.timeout(1_200)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definitions(), st.data(), st.sampled_from([1, 3, 256]), st.sampled_from([0, 10_000_000]))
def test_any_life_replays_to_the_same_state_and_comes_to_an_end(
    text: str, data: st.DataObject, turn_events_max: int, grace: int
) -> None:
    flow = Flow(text, Limits(turn_events_max=turn_events_max, cancel_grace_us=grace, kept_events_max=5))
    if data.draw(st.booleans()):
        flow.start(INPUT)
    else:
        flow.pend("key:k", "trigger:t", input=INPUT)
    live(flow, data.draw, 25)
    bring_to_an_end(flow)
    assert from_snapshot(flow, data.draw(st.integers(1, len(flow.history)))) == flow.state


@pytest.mark.timeout(1_200)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(definitions())
def test_a_turn_may_be_cut_anywhere(text: str) -> None:
    assume("vars." not in text)  # branches that race for a variable may end differently, and may do so uncut
    whole, cut, restarted = (Flow(text, Limits(turn_events_max=size)).start(INPUT) for size in (10_000, 1, 1))
    cut.proceed()
    restarted.proceed(forgetful=True)
    for flow in (whole, cut, restarted):
        bring_to_an_end(flow)
    ends = [(flow.status, flow.state.output, flow.state.failure and flow.state.failure.type) for flow in (whole, cut)]
    assert ends[0] == ends[1]
    assert (restarted.status, restarted.state.output) == (whole.status, whole.state.output)


@pytest.mark.parametrize("sequence", range(1, 12))
def test_payloads_that_are_not_json_survive_events_and_snapshots(sequence: int) -> None:
    raw = Opaque("image/png", b"\x89PNG")
    flow = Flow(
        of_steps(
            f"id: a, {TASK[:-1]}, input: {{raw: '${{input}}'}}}}",
            "id: b, receive: {event: got}",
            "id: c, set: {kept: '${steps.b.result.payload}'}",
            "id: e, foreach: {items: '[1, 2]', steps: [{id: f, set: {v: '${steps.a.result}'}}]}",
            f"id: g, {TASK}",
        )
    ).start(raw)
    flow.submit("early", raw, "null")
    flow.complete("a", raw).submit("got", raw, "e-1")
    assert flow.state.variables == {"kept": raw, "v": raw}
    assert from_snapshot(flow, sequence) == flow.state
    assert all(kept.payload == raw for kept in flow.state.kept.values())


def test_the_tables_of_transitions_are_closed() -> None:
    for table in (STATUS_TRANSITIONS, STEP_TRANSITIONS):
        assert set(table) == set(type(next(iter(table))))
