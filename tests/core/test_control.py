"""Control from outside, ends, and what waits for an operator."""

from typing import Any

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.decide import Accepted
from callboard.runtime.core.failures import EXPRESSION_ERROR, Failure
from callboard.runtime.core.refusals import Kind, Refusal
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.turn import Limits

PARK = "on_failure: PARK"


def started(*lines: str, rest: str = "", given: Any = None, **limits: int) -> Flow:
    return Flow(of_steps(*lines, rest=rest), Limits(**limits)).start(given)


def two(more: str = "", branches: str = "") -> str:
    pair = f"{{id: x, steps: [{{id: a, {TASK}}}]}}, {{id: y, steps: [{{id: b, {TASK}}}]}}"
    return f"id: p, parallel: {{branches: [{pair}{branches}]{more}}}"


def items(steps: str, more: str = "") -> str:
    """A `foreach` that goes on without failed items; one failure is too many."""
    return f"id: each, foreach: {{items: '[1, 2]', on_item_error: CONTINUE, max_failures: '0', steps: [{steps}]}}{more}"


def refused(flow: Flow, command: cmd.Command) -> Refusal:
    decision = flow.do(command)
    assert isinstance(decision, Refusal)
    return decision


# Starting


def test_labels_are_made_at_the_start_and_the_callers_win() -> None:
    flow = Flow(of_steps("id: a, set: {}", rest="labels: {n: '${input.n}', who: '${execution.id}', mine: x}"))
    flow.start({"n": 5}, mine="y")
    assert flow.state.labels == {"n": "5", "who": "x-1", "mine": "y"}


def test_a_label_that_cannot_be_made_refuses_the_start() -> None:
    flow = Flow(of_steps("id: a, set: {}", rest="labels: {n: '${input.n}'}"))
    assert refused(flow, cmd.Start("d", 1, {})).kind is Kind.INVALID
    assert flow.start({"n": "1"}, n="mine").state.labels == {"n": "mine"}


def test_an_execution_starts_once() -> None:
    assert refused(started(f"id: a, {TASK}"), cmd.Start("d", 1)).kind is Kind.EXISTS


@pytest.mark.parametrize(
    "command", [cmd.Cancel(), cmd.Terminate(), cmd.Submit("go"), cmd.Proceed(), cmd.FireTimer("", "grace", 1)]
)
def test_nothing_happens_before_the_start(command: cmd.Command) -> None:
    assert refused(Flow(of_steps(f"id: a, {TASK}")), command).kind is Kind.NOT_FOUND


def test_the_state_tells_its_changes() -> None:
    flow = Flow(of_steps(f"id: a, set_state: busy, {TASK}"))
    decision = flow.do(cmd.Start("d", 1))
    assert isinstance(decision, Accepted)
    assert decision.states == {0: "running", 1: "busy"}
    ended = flow.do(cmd.CompleteTask("a", 1))
    assert isinstance(ended, Accepted)
    assert ended.states == {}, "the author's word stays"


# Cancel and terminate


def test_cancel_is_at_once_when_nobody_works() -> None:
    flow = started(two(), f"id: z, {TASK}")
    flow.do(cmd.Cancel("enough"))
    assert (flow.names, flow.status, flow.state.reason) == (["ExecutionCancelled"], Status.CANCELLED, "enough")


def test_cancel_awaits_attempts_that_workers_hold() -> None:
    flow = started(two(), f"id: z, {TASK}").hold("p/x/a")
    flow.do(cmd.Cancel("enough"))
    assert (flow.status, flow.open, flow.rows.told) == (Status.REVERTING, ["p/x/a"], ["p/x/a"])
    assert flow.rows.timers == {("", "grace"): flow.now + 10 * SECOND}
    flow.do(cmd.Cancel("again"))
    assert flow.names == []
    flow.complete("p/x/a", 1)
    assert (flow.status, flow.state.reason) == (Status.CANCELLED, "enough")
    assert flow.run("p/x/a").state is StepState.SUCCEEDED


def test_cancel_waits_no_longer_than_its_grace() -> None:
    flow = started(two()).hold("p/x/a")
    flow.do(cmd.Cancel())
    assert flow.fire("", "grace").status is Status.CANCELLED


def test_without_a_grace_nothing_is_awaited() -> None:
    flow = started(two(), cancel_grace_us=0).hold("p/x/a")
    flow.do(cmd.Cancel())
    assert flow.status is Status.CANCELLED


def test_a_failed_attempt_of_a_cancelled_execution_is_not_retried() -> None:
    flow = started(f"id: a, {TASK}, retry: {{max_attempts: 5}}, on_error: [{{steps: [{{id: h, {TASK}}}]}}]").hold("a")
    flow.do(cmd.Cancel())
    assert flow.fail("a").status is Status.CANCELLED


def test_cancel_takes_over_from_a_closing_scope() -> None:
    flow = started(two(branches=f", {{id: w, steps: [{{id: c, {TASK}}}]}}")).hold("p/y/b").fail("p/x/a")
    flow.do(cmd.Cancel())
    assert list(flow.rows.timers) == [("", "grace")]
    assert flow.complete("p/y/b").status is Status.CANCELLED


def test_events_are_taken_note_of_while_cancelling() -> None:
    flow = started(two(), "id: r, receive: {event: go}").hold("p/x/a")
    flow.do(cmd.Cancel())
    flow.do(cmd.Submit("go", 1, enqueued=True))
    assert (flow.names, flow.rows.buried) == (["EventReceived"], [])
    assert [one.name for one in flow.complete("p/x/a").rows.buried] == ["go"]


def test_cancel_clears_incidents() -> None:
    flow = started(f"id: a, {TASK}, retry: {{on_exhausted: PARK}}").fail("a")
    flow.do(cmd.Cancel())
    assert (flow.status, flow.state.incidents) == (Status.CANCELLED, {})


@pytest.mark.parametrize("cancelled_before", [False, True])
def test_terminate_awaits_nothing(cancelled_before: bool) -> None:
    flow = started(two()).hold("p/x/a")
    if cancelled_before:
        flow.do(cmd.Cancel())
    flow.do(cmd.Terminate("now"))
    assert (flow.names, flow.status, flow.state.reason) == (["ExecutionTerminated"], Status.TERMINATED, "now")


@pytest.mark.parametrize(
    "command",
    [
        cmd.Cancel(),
        cmd.Terminate(),
        cmd.Submit("go"),
        cmd.Resolve("a", cmd.ResolveAction.SKIP),
        cmd.Resolve("", cmd.ResolveAction.FAIL),
    ],
)
def test_an_ended_execution_refuses(command: cmd.Command) -> None:
    refusal = refused(started("id: a, set: {}"), command)
    assert (refusal.kind, refusal.reason, refusal.metadata) == (Kind.STATE, "EXECUTION_ENDED", {"status": "COMPLETED"})


def test_late_answers_and_timers_of_an_ended_execution_change_nothing() -> None:
    flow = started(f"id: a, {TASK}", "id: b, wait: {duration: 5s}")
    flow.do(cmd.Terminate())
    assert refused(flow, cmd.CompleteTask("a", 1)).kind is Kind.RACE
    for command in (cmd.FireTimer("b", "wait", flow.now), cmd.Proceed(), cmd.Proceed({"": None})):
        assert isinstance(flow.do(command), Accepted)
        assert flow.names == []


# on_failure: PARK


def test_what_would_end_the_execution_is_parked_where_it_failed() -> None:
    flow = started(f"id: s, sequence: {{steps: [{{id: a, {TASK}}}, {{id: b, set: {{v: 1}}}}]}}", rest=PARK).fail("s/a")
    assert (list(flow.state.incidents), flow.status) == (["s/a"], Status.RUNNING)
    assert flow.resolve("s/a", "RETRY_NOW").complete("s/a").state.output == {"v": 1}


def test_siblings_of_a_parked_step_go_on() -> None:
    flow = started(two(), rest=PARK).fail("p/x/a")
    flow.complete("p/y/b", 2).resolve("p/x/a", "COMPLETE", 1)
    assert flow.state.output == {"x": 1, "y": 2}


@pytest.mark.parametrize("more", ["", ", fail_fast: false"])
def test_an_operators_fail_goes_through_to_the_end(more: str) -> None:
    nested = f"id: each, foreach: {{items: '[1]', steps: [{{id: s, sequence: {{steps: [{{{two(more)}}}]}}}}]}}"
    flow = started(nested, rest=PARK).fail("each[0]/s/p/x/a")
    flow.resolve("each[0]/s/p/x/a", "FAIL")
    if more:
        flow.complete("each[0]/s/p/y/b")
    assert (flow.status, flow.error.type) == (Status.FAILED, "Broken")


def test_it_goes_through_awaited_attempts_too() -> None:
    flow = started(two(), rest=PARK).hold("p/y/b").fail("p/x/a").resolve("p/x/a", "FAIL")
    assert "ScopeClosing" in flow.names
    assert flow.complete("p/y/b").status is Status.FAILED


def test_it_may_be_one_failed_item_too_many() -> None:
    line = items(f"{{id: a, {TASK}, retry: {{on_exhausted: PARK}}}}")
    assert started(line, rest=PARK).fail("each[0]/a").resolve("each[0]/a", "FAIL").status is Status.FAILED


def test_what_is_answered_further_out_is_not_parked() -> None:
    handler = ", on_error: [{match: [Broken], steps: [{id: h, set: {v: 1}}]}]"
    flow = started(f"id: s, sequence: {{steps: [{{id: a, {TASK}}}]}}{handler}", rest=PARK).fail("s/a")
    assert flow.state.output == {"v": 1}
    flow = started(f"id: s, sequence: {{steps: [{{id: a, {TASK}}}]}}{handler}", rest=PARK).fail("s/a", "Other")
    assert list(flow.state.incidents) == ["s/a"]
    flow = started(
        f"id: each, foreach: {{items: '[1]', on_item_error: CONTINUE, steps: [{{id: a, {TASK}}}]}}", rest=PARK
    )
    assert flow.fail("each[0]/a").status is Status.COMPLETED


def test_a_handlers_failure_is_parked_in_the_handler() -> None:
    line = items(f"{{id: a, {TASK}}}", f", on_error: [{{match: [TooManyItemFailures], steps: [{{id: h, {TASK}}}]}}]")
    flow = started(line, rest=PARK).fail("each[0]/a").fail("each/on_error/h", "Second")
    assert list(flow.state.incidents) == ["each/on_error/h"]
    flow.resolve("each/on_error/h", "FAIL")
    assert (flow.error.type, flow.error.cause and flow.error.cause.type) == ("Second", "TooManyItemFailures")


def test_a_scope_with_too_many_failures_is_parked_and_can_be_completed() -> None:
    line = items(f"{{id: a, {TASK}}}")
    flow = started(line, rest=PARK).fail("each[0]/a")
    assert (list(flow.state.incidents), flow.open) == (["each"], [])
    assert refused(flow, cmd.Resolve("each", cmd.ResolveAction.RETRY_NOW)).reason == "STEP_STATE_FORBIDS"
    assert flow.resolve("each", "COMPLETE", ["mine"]).state.output == ["mine"]


# The execution's own end


def test_an_output_that_fails_parks_the_execution() -> None:
    flow = started("id: a, set: {v: 1}", rest="output: '${input.missing}'", given={})
    assert (flow.status, flow.state.incidents[""].failure.type) == (Status.RUNNING, EXPRESSION_ERROR)


@pytest.mark.parametrize(
    ("action", "status", "output"),
    [("SKIP", Status.COMPLETED, None), ("COMPLETE", Status.COMPLETED, 7), ("FAIL", Status.FAILED, None)],
)
def test_an_operator_decides_how_it_ends(action: str, status: Status, output: Any) -> None:
    flow = started("id: a, set: {v: 1}", rest="output: '${input.missing}'", given={}).resolve("", action, 7)
    assert (flow.status, flow.state.output) == (status, output)


def test_trying_again_may_park_again() -> None:
    flow = started("id: a, set: {v: 1}", rest="output: '${input.missing}'", given={}).resolve("", "RETRY_NOW")
    assert flow.names == ["StepResolved", "ExecutionParked"]
    assert list(flow.state.incidents) == [""]


def test_an_operators_reason_is_recorded() -> None:
    flow = started(f"id: a, {TASK}, retry: {{on_exhausted: PARK}}").fail("a")
    flow.do(cmd.Resolve("a", cmd.ResolveAction.FAIL, reason="seen"))
    assert flow.last[0] == ev.StepResolved(path="a", action="FAIL", reason="seen")
    assert flow.error == Failure("Broken", "a broke", decided=True)


def test_values_that_feed_on_themselves_meet_their_limit() -> None:
    doubling = [f"id: d{n}, set: {{v: '${{vars.v}}${{vars.v}}'}}" for n in range(12)]
    flow = started("id: a, set: {v: xx}", *doubling, value_bytes_max=1_000)
    assert flow.state.failure is not None
    assert flow.state.failure.type == EXPRESSION_ERROR
    assert "value_bytes_max" in flow.state.failure.message
