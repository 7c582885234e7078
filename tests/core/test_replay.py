"""Properties of any execution: replayed state is live state, rows are what it says, nothing raises, it ends."""

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.flow import TASK, Flow, of_steps
from tests.core.worlds import INPUT, Dice, QuickDice, bring_to_an_end, definitions, live

from callboard.runtime.core import commands as cmd
from callboard.runtime.core.decide import Accepted, decide
from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import STATUS_TRANSITIONS, STEP_TRANSITIONS, State
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque, encode
from callboard.runtime.replay import read_event, read_snapshot, take_snapshot
from callboard.runtime.rows import StoredEvent


def stored(flow: Flow, after: int = 0) -> list[StoredEvent]:
    """The history as the store holds it, without hashes."""
    return [
        StoredEvent(n, type(event).__name__, encode(cast(Any, event)), at, b"", None, event_id or None, None)
        for n, (event, at, event_id) in enumerate(flow.history[after:], start=after + 1)
    ]


def encoded(state: State) -> bytes:
    """To the byte: also the order of what is in it."""
    return encode(cast(Any, state))


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


class Mortal(Flow):
    """An execution whose actor may die between any two steps: before a command, and between deciding and appending.

    A snapshot is taken after each command. After each, the state from zero (Flow does that), the state by way of the
    snapshot before, and the live state are the same to the byte.
    """

    def __init__(self, text: str, limits: Limits, dice: Dice) -> None:
        super().__init__(text, limits)
        self.dice = dice
        self.deaths = 0
        self.snapshots = [take_snapshot(self.state)]
        self._stored: list[StoredEvent] = []

    def do(self, command: cmd.Command, chance: float = 0.5) -> Accepted | Refusal:
        match self.dice.number(9):
            case 0:
                self._die()
            case 1:
                facts = cmd.Facts(self.now, chance, frozenset(self.held), self.vault)
                decide(self.state, self.plan, command, facts, self.limits)  # and the append never comes to pass
                self._die()
            case _:
                pass
        if self.deaths and isinstance(command, cmd.Proceed):
            command = cmd.Proceed()  # what was left is in nobody's memory
        decision = super().do(command, chance)
        self._compare(len(self.snapshots) - 1)
        self.snapshots.append(take_snapshot(self.state))
        return decision

    def _die(self) -> None:
        """The next command finds what is stored: a snapshot, damaged ones passed over, and what came after it."""
        self.deaths += 1
        self.state = self._by_way_of(self.dice.number(len(self.snapshots) - 1))

    def _by_way_of(self, number: int) -> State:
        kept = read_snapshot(self.snapshots[number])
        assert kept is not None
        self._stored += stored(self, len(self._stored))
        return apply(kept, self._stored[kept.sequence :])

    def _compare(self, number: int) -> None:
        by_way = self._by_way_of(number)
        assert by_way == self.state
        assert encoded(by_way) == encoded(self.state)

    def compare_all(self) -> None:
        """By way of every snapshot there was."""
        assert encoded(self.replayed()) == encoded(self.state)
        for number in range(len(self.snapshots)):
            self._compare(number)


LIVES = 20
"""Lives of each definition: finding a definition takes longer than living."""


@pytest.mark.timeout(1_200)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.booleans().flatmap(definitions),
    st.integers(0, 2**32),
    st.sampled_from([1, 3, 256]),
    st.sampled_from([0, 10_000_000]),
    st.booleans(),
)
def test_any_life_replays_to_the_same_state_and_comes_to_an_end(
    text: str, seed: int, turn_events_max: int, grace: int, lined: bool
) -> None:
    limits = Limits(turn_events_max=turn_events_max, cancel_grace_us=grace, kept_events_max=5)
    for life in range(LIVES):
        dice = QuickDice(seed + life)
        flow = Mortal(text, limits, dice)
        if lined:
            flow.pend("key:k", "trigger:t", input=INPUT)
        else:
            flow.start(INPUT)
        live(flow, dice, 25)
        bring_to_an_end(flow)
        flow.compare_all()


@pytest.mark.timeout(1_200)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(definitions())
def test_a_turn_may_be_cut_anywhere(text: str) -> None:
    whole, cut, restarted = (Flow(text, Limits(turn_events_max=size)).start(INPUT) for size in (10_000, 1, 1))
    cut.proceed()
    restarted.proceed(forgetful=True)
    for flow in (whole, cut, restarted):
        bring_to_an_end(flow)
    if "parallel" in text or "foreach" in text:
        return  # branches that race for a variable, a failure or the end may end differently, and may do so uncut
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
