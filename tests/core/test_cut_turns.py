"""Decisions are bounded: what does not fit into one turn goes on in the next, also after a restart."""

import pytest
from tests.core.flow import TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core.effects import Continue
from callboard.runtime.core.state import Status
from callboard.runtime.core.turn import Limits

CHAIN = of_steps(*(f"id: s{n}, set: {{x: {n}}}" for n in range(200)))
WIDE = of_steps(
    "id: each, foreach: {items: input, steps: [{id: a, set: {v: '${item}'}}, {id: b, set: {v: '${index}'}}]}"
)
TASKS = of_steps(f"id: each, foreach: {{items: input, steps: [{{id: a, {TASK}}}, {{id: b, set: {{v: '${{item}}'}}}}]}}")
BOUND = 20
SLACK = 6
"""Events by which one step may go over the bound: the ends of the scopes around it."""

forgetful = pytest.mark.parametrize("forgetful", [False, True])


def cut(text: str, given: object = None) -> Flow:
    flow = Flow(text, Limits(turn_events_max=BOUND))
    flow.start(given)
    assert BOUND <= len(flow.last) <= BOUND + SLACK
    assert Continue() in flow.effects
    return flow


@forgetful
def test_a_long_chain_goes_on(forgetful: bool) -> None:
    flow = cut(CHAIN).proceed(forgetful)
    assert (flow.status, flow.state.output) == (Status.COMPLETED, {"x": 199})
    assert flow.history[:-1] and len(flow.history) == 402


@forgetful
def test_a_wide_foreach_goes_on(forgetful: bool) -> None:
    flow = cut(WIDE, list(range(100))).proceed(forgetful)
    assert (flow.status, flow.state.output) == (Status.COMPLETED, [{"v": n} for n in range(100)])


@forgetful
def test_every_turn_is_bounded(forgetful: bool) -> None:
    flow = cut(WIDE, list(range(100)))
    while flow.left:
        left, flow.left = flow.left, {}
        flow.do(cmd.Proceed(None if forgetful else left))
        assert len(flow.last) <= BOUND + SLACK


@forgetful
def test_commands_may_come_between(forgetful: bool) -> None:
    flow = cut(TASKS, list(range(50)))
    flow.complete("each[0]/a").complete("each[1]/a").proceed(forgetful)
    assert len(flow.open) == 48
    for path in list(flow.open):
        flow.complete(path)
    assert flow.state.output == [{"v": n} for n in range(50)]


@forgetful
def test_a_failure_between_ends_it(forgetful: bool) -> None:
    flow = cut(TASKS, list(range(50))).hold("each[3]/a").fail("each[0]/a")
    flow.left["each"] = None
    flow.proceed(forgetful)
    assert flow.open == ["each[3]/a"]
    flow.complete("each[3]/a")
    assert flow.status is Status.FAILED


@forgetful
def test_a_cancel_between_ends_it(forgetful: bool) -> None:
    flow = cut(CHAIN)
    flow.do(cmd.Cancel())
    flow.proceed(forgetful)
    assert (flow.status, flow.names) == (Status.CANCELLED, [])


def test_going_on_twice_does_nothing_twice() -> None:
    flow = cut(WIDE, list(range(30)))
    again = dict(flow.left)
    flow.proceed()
    output = flow.state.output
    flow.do(cmd.Proceed(again))
    assert (flow.names, flow.state.output) == ([], output)


def test_the_agenda_given_is_not_changed() -> None:
    flow = cut(WIDE, list(range(30)))
    left = dict(flow.left)
    flow.do(cmd.Proceed(left))
    assert left == {"each": None} | left and list(left)


def test_wide_work_is_linear() -> None:
    flow = Flow(TASKS, Limits(turn_events_max=100_000))
    flow.replayed = lambda: flow.state  # type: ignore[method-assign]  # comparing states of this size takes its time
    flow.start(list(range(20_000)))
    assert len(flow.open) == 20_000
