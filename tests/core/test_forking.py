"""An execution that begins as another one was: at every event it has what the original had, and goes on by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.flow import SECOND, START, TASK, Flow, of_steps
from tests.core.rows import Rows
from tests.core.worlds import INPUT, Dice, bring_to_an_end, definitions, live

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.commands import ForkOrigin
from callboard.runtime.core.decide import Accepted
from callboard.runtime.core.effects import Continue
from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.forking import Inheritance, decide_fork, open_tasks
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import State, Status, StepState
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import encode
from callboard.runtime.replay import read_event
from callboard.runtime.rows import StoredEvent

LATER = 100 * SECOND


class Recorded(Flow):
    """Remembers after which events a command was done, and what was open then."""

    def __init__(self, text: str, limits: Limits | None = None, execution_id: str = "x-1") -> None:
        super().__init__(text, limits, execution_id)
        self.rests: dict[int, Rows] = {}

    def do(self, command: cmd.Command, chance: float = 0.5) -> Accepted | Refusal:
        """Decide one command, as any flow does."""
        decision = super().do(command, chance)
        self.rests[len(self.history)] = copy.deepcopy(self.rows)
        return decision

    def rest_of(self, sequence: int) -> int:
        """The last event of the command that led to this one."""
        return min(end for end in self.rests if end >= sequence)


def fork(flow: Recorded, sequence: int, now: int | None = None, moment: int | None = None) -> Recorded:
    """A fork of an execution, as it goes on from one of its events."""
    state = State(execution_id=flow.state.execution_id)
    for event, at, event_id in flow.history[:sequence]:
        evolve(state, event, at, event_id)
    inputs = {path: input_at(flow, place) for path, place in open_tasks(state).items()}
    rest = tuple(event for event, _, _ in flow.history[sequence : flow.rest_of(sequence)])
    made = Recorded.__new__(Recorded)
    made.plan, made.limits, made.vault = flow.plan, flow.limits, flow.vault
    made.state, made.now, made.held = State(execution_id="x-2"), now or flow.now, set()
    made.effects, made.rows, made.rests = [], Rows(), {}
    origin = ForkOrigin(flow.state.execution_id, sequence, b"\x01" * 32)
    inheritance = Inheritance(origin, state, inputs, rest, moment=flow.now if moment is None else moment)
    accepted = decide_fork(made.state, made.plan, inheritance, cmd.Facts(made.now, vault=made.vault), made.limits)
    made.last = accepted.events
    made.history = [(event, made.now, "") for event in accepted.events]
    made.rows.apply(accepted.effects)
    made.left = dict(accepted.left)
    made.rests[len(made.history)] = copy.deepcopy(made.rows)
    assert bool(made.left) == (Continue() in accepted.effects)
    if not made.state.status.ended:
        made.rows.agree_with(made.state)
    assert made.replayed() == made.state
    assert as_stored(made) == made.state
    return made


def input_at(flow: Recorded, sequence: int) -> Any:
    event = flow.history[sequence - 1][0]
    assert isinstance(event, ev.StepScheduled | ev.StepInherited)
    return event.input


def as_stored(flow: Recorded) -> State:
    """The state that the events give when they are read again."""
    state = State(execution_id=flow.state.execution_id)
    for number, (event, at, event_id) in enumerate(flow.history, 1):
        stored = StoredEvent(number, type(event).__name__, encode(cast(Any, event)), at, b"", None, event_id or None)
        evolve(state, read_event(stored), at, event_id)
    return state


def drained(flow: Recorded) -> Recorded:
    """Once everything that a cut decision left has been done."""
    flow.proceed()
    return flow


def everything(flow: Recorded) -> None:
    flow.submit("early", {"n": 1}).submit("late", 2).complete("work", {"r": 1})
    flow.fail("again")
    flow.now += 5 * SECOND
    flow.fire("again", "retry").complete("again")
    flow.complete("each[1]/one").lose("each[0]/one").complete("each[0]/one")
    flow.now += 60 * SECOND
    flow.fire("pause", "wait").submit("late")


EVERYTHING = of_steps(
    f"id: work, {TASK[:-1]}, input: '${{input}}'}}, set_state: working",
    "id: mail, receive: {event: early}",
    f"id: again, {TASK}, retry: {{max_attempts: 3, initial_backoff: 5s}}, timeouts: {{queue: 10m}}",
    "id: note, set: {v: '${steps.mail.result.event}'}",
    f"id: each, foreach: {{items: '[1, 2]', steps: [{{id: one, {TASK}}}]}}",
    "id: tell, emit: {name: told, payload: '${vars.v}'}",
    "id: pause, wait: {duration: 1m}",
    "id: last, receive: {event: late, key: 'input.k', timeout: 1h, on_timeout: CONTINUE}",
    "id: last2, receive: {event: late, timeout: 1h, on_timeout: CONTINUE}",
    rest="labels: {k: v}",
)


def lived() -> Recorded:
    flow = Recorded(EVERYTHING)
    flow.start({"k": "k-1"})
    everything(flow)
    assert flow.status is Status.COMPLETED
    return flow


LIVED = lived()


@pytest.mark.parametrize("sequence", range(1, len(LIVED.history) + 1))
def test_a_fork_at_any_event_has_the_rows_that_the_original_had(sequence: int) -> None:
    forked = fork(LIVED, sequence, now=START)
    there = LIVED.rests[LIVED.rest_of(sequence)]
    assert forked.rows.tasks == there.tasks
    assert forked.rows.waits == there.waits
    assert forked.rows.timers.keys() == there.timers.keys()
    assert not forked.rows.lines_left


@pytest.mark.parametrize("sequence", range(1, len(LIVED.history) + 1))
def test_a_fork_at_any_event_comes_to_the_end_of_the_original(sequence: int) -> None:
    forked = fork(LIVED, sequence)
    bring_to_an_end(forked)
    assert (forked.status, forked.state.author_state) == (Status.COMPLETED, "working")
    assert forked.state.variables == {"v": "early"}
    assert forked.state.fork == ForkOrigin("x-1", sequence, b"\x01" * 32)


@pytest.mark.parametrize("sequence", range(1, len(LIVED.history) + 1, 3))
def test_a_fork_of_a_fork_is_like_any_other(sequence: int) -> None:
    first = drained(fork(LIVED, sequence))
    for again in range(1, len(first.history) + 1):
        second = fork(first, again)
        assert second.rows.tasks == first.rests[first.rest_of(again)].tasks
        assert list(second.state.kept.values()) == sorted(second.state.kept.values(), key=lambda kept: kept.received_at)


def test_the_end_is_taken_over_and_so_is_a_moment_before_it() -> None:
    flow = Recorded(of_steps(f"id: a, {TASK}", f"id: b, {TASK}"))
    flow.start(1).complete("a", "x").complete("b", "y")
    ended = fork(flow, len(flow.history))
    assert (ended.status, ended.state.output, ended.names) == (Status.COMPLETED, "y", ["ExecutionForked"])
    alive = fork(flow, next(n for n, (event, _, _) in enumerate(flow.history, 1) if getattr(event, "path", "") == "b"))
    assert alive.names == ["ExecutionForked", "StepInherited"]
    assert alive.complete("b", "z").state.output == "z"


def test_timers_have_what_remained_of_them_and_never_lie_in_the_past() -> None:
    flow = Recorded(of_steps("id: a, wait: {duration: 100s}")).start()
    moment = START + 30 * SECOND
    assert fork(flow, len(flow.history), now=START + 500 * SECOND, moment=moment).rows.timers == {  # type: ignore[arg-type]
        ("a", "wait"): START + 570 * SECOND
    }
    late = fork(flow, len(flow.history), now=START + 500 * SECOND, moment=START + 200 * SECOND)  # type: ignore[arg-type]
    assert late.rows.timers == {("a", "wait"): START + 500 * SECOND}
    assert late.fire("a", "wait").status is Status.COMPLETED


def test_a_retry_that_was_waited_for_comes_after_what_remained() -> None:
    flow = Recorded(of_steps(f"id: a, {TASK[:-1]}, input: {{n: 1}}}}, retry: {{max_attempts: 3, initial_backoff: 9s}}"))
    flow.start().fail("a")
    forked = fork(flow, len(flow.history), now=flow.now + LATER, moment=flow.now + SECOND)
    assert forked.run("a").due == forked.rows.timers["a", "retry"] == forked.now + 8 * SECOND
    forked.now += 8 * SECOND
    assert forked.fire("a", "retry").rows.tasks == {"a": 2}
    assert input_at(forked, forked.run("a").scheduled) == {"n": 1}


def test_places_in_lines_stay_with_the_original_and_one_that_waited_begins() -> None:
    flow = Recorded(of_steps(f"id: a, {TASK}"))
    flow.pend("key:k", input=1)
    forked = fork(flow, 1)
    assert (forked.status, forked.state.lines, forked.open) == (Status.RUNNING, (), ["a"])
    assert forked.complete("a").rows.lines_left == []


def test_events_that_are_kept_stay_in_their_order_before_new_ones() -> None:
    flow = Recorded(of_steps(f"id: a, {TASK}", "id: b, foreach: {items: '[1, 2, 3]', max_concurrency: 1, steps: "
                             "[{id: got, receive: {event: go}}]}", rest="output: '${steps.b.result}'"))  # fmt: skip
    flow.start().submit("go", 1).submit("go", 2)
    forked = fork(flow, len(flow.history))
    assert all(number < 0 for number in forked.state.kept)
    forked.submit("go", 3).complete("a")
    assert [result["payload"] for result in forked.state.output] == [1, 2, 3]


def closing() -> Recorded:
    """A scope that has failed while a worker holds a task in it."""
    flow = Recorded(
        of_steps(
            f"id: p, parallel: {{branches: [{{id: x, steps: [{{id: a, {TASK}}}]}}, "
            f"{{id: y, steps: [{{id: b, {TASK}}}]}}]}}"
        )
    )
    flow.start().hold("p/y/b")
    flow.fail("p/x/a", retryable=False)
    return flow


def cancelling() -> Recorded:
    flow = Recorded(of_steps(f"id: a, {TASK}"))
    flow.start().hold("a")
    flow.do(cmd.Cancel("enough"))
    return flow


@pytest.mark.parametrize("make", [closing, cancelling])
def test_answers_that_workers_owe_the_original_are_not_waited_for(make: Callable[[], Recorded]) -> None:
    flow = make()
    assert flow.state.awaiting
    for sequence in range(1, len(flow.history) + 1):
        forked = fork(flow, sequence, now=flow.now + LATER)
        assert not forked.state.awaiting
        if sequence == len(flow.history):
            assert not forked.open
            assert set(forked.rows.timers.values()) == {forked.now}
        bring_to_an_end(forked)


def test_a_parked_step_can_be_tried_again() -> None:
    flow = Recorded(of_steps(f"id: a, {TASK[:-1]}, input: 7}}, retry: {{max_attempts: 1, on_exhausted: PARK}}"))
    flow.start().fail("a")
    forked = fork(flow, len(flow.history))
    assert (forked.run("a").state, forked.open) == (StepState.PARKED, [])
    assert forked.resolve("a", "RETRY_NOW").rows.tasks == {"a": 2}
    assert input_at(forked, forked.run("a").scheduled) == 7


@pytest.mark.timeout(1_200)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definitions(), st.data(), st.sampled_from([1, 3, 256]), st.sampled_from([0, 10_000_000]))
def test_any_life_can_be_forked_anywhere_and_comes_to_an_end(
    text: str, data: st.DataObject, turn_events_max: int, grace: int
) -> None:
    flow = Recorded(text, Limits(turn_events_max=turn_events_max, cancel_grace_us=grace, kept_events_max=5))
    if data.draw(st.booleans()):
        flow.start(INPUT)
    else:
        flow.pend("key:k", "trigger:t", input=INPUT)
    live(flow, Dice(data.draw), 15)
    forked = fork(flow, data.draw(st.integers(1, len(flow.history))), now=flow.now + data.draw(st.integers(0, LATER)))
    live(forked, Dice(data.draw), 5)
    again = fork(forked, data.draw(st.integers(1, len(forked.history))))
    bring_to_an_end(forked)
    bring_to_an_end(again)
