"""Executions accepted behind others: PENDING until they are released, and what their end leaves."""

import pytest
from tests.core.flow import START, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.commands import Origin
from callboard.runtime.core.decide import Accepted
from callboard.runtime.core.durations import format_timestamp
from callboard.runtime.core.effects import CloseExecution, LeaveLine
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import Status

TEXT = of_steps(f"id: a, {TASK}", "id: r, receive: {event: go}")


def pending(text: str = TEXT) -> Flow:
    return Flow(text).pend("key:k", "trigger:t")


def ended(decision: Accepted | Refusal) -> bool:
    return isinstance(decision, Refusal) and decision.reason == "EXECUTION_ENDED"


def test_it_is_accepted_and_begins_nothing() -> None:
    flow = pending()
    assert flow.last == [ev.ExecutionStarted(definition_id="d", version=1, lines=("key:k", "trigger:t"), behind="x-0")]
    assert (flow.status, flow.state.state, flow.effects, flow.left) == (Status.PENDING, "pending", [], {})


def test_released_it_begins() -> None:
    flow = pending().release()
    assert flow.names == ["ExecutionReleased", "StepScheduled"]
    assert (flow.status, flow.open) == (Status.RUNNING, ["a"])


def test_its_first_state_stands_at_its_release() -> None:
    flow = pending()
    decision = flow.do(cmd.Release())
    assert isinstance(decision, Accepted) and decision.states == {0: "running"}


def test_a_second_release_does_nothing() -> None:
    assert pending().release().release().names == []


def test_a_release_of_one_that_never_waited_does_nothing() -> None:
    assert Flow(TEXT).start().release().names == []


def test_released_by_a_skipped_step_it_may_end_at_once() -> None:
    flow = pending(of_steps(f"id: a, {TASK}, when: 'false'")).release()
    assert (flow.status, flow.rows.lines_left) == (Status.COMPLETED, ["key:k", "trigger:t"])


def test_what_comes_meanwhile_is_kept() -> None:
    flow = pending().submit("go", 1, "e-1")
    flow.do(cmd.Submit("go", 2, "e-2", enqueued=True))
    assert [kept.payload for kept in flow.state.kept.values()] == [1, 2]
    assert flow.release().complete("a").state.output["payload"] == 1


def test_what_was_enqueued_and_never_taken_is_buried() -> None:
    flow = pending()
    flow.do(cmd.Submit("go", 2, "e-2", enqueued=True))
    flow.do(cmd.Cancel())
    assert [buried.event_id for buried in flow.rows.buried] == ["e-2"]


@pytest.mark.parametrize(
    ("command", "status", "name"),
    [
        (cmd.Cancel("no more"), Status.CANCELLED, "ExecutionCancelled"),
        (cmd.Terminate("no more"), Status.TERMINATED, "ExecutionTerminated"),
    ],
)
def test_it_ends_at_once_and_leaves_its_lines(command: cmd.Command, status: Status, name: str) -> None:
    flow = pending()
    flow.do(command)
    assert (flow.names, flow.status, flow.state.reason) == ([name], status, "no more")
    assert flow.effects == [LeaveLine("key:k"), LeaveLine("trigger:t"), CloseExecution()]
    assert ended(flow.do(cmd.Release())) and ended(flow.do(command))


def test_an_operator_finds_nothing_to_resolve() -> None:
    decision = pending().do(cmd.Resolve("", cmd.ResolveAction.SKIP))
    assert isinstance(decision, Refusal) and decision.reason == "STEP_STATE_FORBIDS"


@pytest.mark.parametrize("left", [None, {"": None}])
def test_going_on_does_not_begin_it(left: dict[str, None] | None) -> None:
    flow = pending()
    flow.do(cmd.Proceed(left))
    assert (flow.names, flow.status) == ([], Status.PENDING)


def test_an_offer_is_missed() -> None:
    assert pending().offer("r", "go").names == ["EventMissed"]


def test_it_cannot_be_started_again() -> None:
    decision = pending().do(cmd.Start("d", 1))
    assert isinstance(decision, Refusal) and decision.reason == "EXECUTION_ALREADY_EXISTS"


def test_its_times() -> None:
    text = of_steps("id: a, set: {at: '${execution.started_at}'}", "id: r, receive: {event: go}")
    flow = pending(text)
    assert (flow.state.started_at, flow.state.begun_at) == (START, 0)
    flow.now += 7
    flow.release()
    assert (flow.state.started_at, flow.state.begun_at) == (START, START + 7)
    assert flow.state.variables == {"at": format_timestamp(START + 7)}
    flow = Flow(text).start()
    assert (flow.state.started_at, flow.state.begun_at) == (START, START)


@pytest.mark.parametrize("origin", [Origin("t", event_id="p-1"), Origin("t", slot=5), None])
def test_it_remembers_what_started_it(origin: Origin | None) -> None:
    flow = Flow(TEXT)
    flow.do(cmd.Start("d", 1, lines=("key:k",), origin=origin))
    assert (flow.state.origin, flow.state.lines, flow.status) == (origin, ("key:k",), Status.RUNNING)


@pytest.mark.parametrize("how", ["complete", "fail", "cancel", "terminate"])
def test_every_end_leaves_the_lines_once(how: str) -> None:
    flow = Flow(of_steps(f"id: a, {TASK}"))
    flow.do(cmd.Start("d", 1, lines=("key:k",)))
    match how:
        case "complete":
            flow.complete("a")
        case "fail":
            flow.fail("a")
        case "cancel":
            flow.hold("a").do(cmd.Cancel())
            assert flow.rows.lines_left == [], "it goes on until the worker has answered"
            flow.complete("a")
        case _:
            flow.do(cmd.Terminate())
    assert flow.status.ended and flow.rows.lines_left == ["key:k"]


def test_one_without_lines_leaves_none() -> None:
    assert Flow(of_steps(f"id: a, {TASK}")).start().complete("a").rows.lines_left == []
