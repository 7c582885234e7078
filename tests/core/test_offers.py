"""Published events: when a `receive` with a key waits, what it takes, what it misses."""

from typing import Any

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.durations import format_timestamp
from callboard.runtime.core.effects import CloseExecution, CloseWait, OpenWait
from callboard.runtime.core.failures import EXPRESSION_ERROR, TIMEOUT
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.views import full_view

ORDER = {"order": "o-1"}


def started(*lines: str, given: Any = None, rest: str = "", **limits: int) -> Flow:
    return Flow(of_steps(*lines, rest=rest), Limits(**limits)).start(given if given is not None else ORDER)


def receive(more: str = "event: go", name: str = "r", key: str = "input.order") -> str:
    return f"id: {name}, receive: {{{more}, key: {key}}}"


def side_by_side(*lines: str, more: str = "") -> str:
    branches = ", ".join(f"{{id: b{n}, steps: [{{{line}}}]}}" for n, line in enumerate(lines))
    return f"id: par, parallel: {{branches: [{branches}]{more}}}"


def warnings(flow: Flow) -> list[str]:
    return [event.message for event in flow.last if isinstance(event, ev.WarningRaised)]


# When it waits


def test_the_key_is_evaluated_when_the_waiting_begins_and_recorded() -> None:
    flow = started(receive("any_of: [{event: go}, {event: stop}, {event: go, filter: 'true'}]"))
    scheduled = flow.last[1]
    assert isinstance(scheduled, ev.StepScheduled)
    assert (scheduled.events, scheduled.key) == (("go", "stop"), "o-1")
    assert flow.effects == [OpenWait("r", ("go", "stop"), "o-1")]


def test_a_receive_without_a_key_waits_for_no_published_event() -> None:
    flow = started("id: r, receive: {event: go}")
    assert flow.effects == []
    assert flow.offer("r", "go").names == ["EventMissed"]


@pytest.mark.parametrize(("given", "key"), [(7, "7"), (1.5, "1.5"), (True, "true"), ("ü", "ü")])
def test_a_key_is_a_text(given: Any, key: str) -> None:
    flow = started(receive(), given={"order": given})
    assert flow.rows.waits == {"r": (("go",), key)}


@pytest.mark.parametrize(
    ("given", "says"),
    [({}, ""), ({"order": None}, "null"), ({"order": "x" * 256}, "256"), ({"order": Opaque("a/b", b"")}, "not JSON")],
)
def test_a_key_that_cannot_be_made_fails_the_step(given: Any, says: str) -> None:
    flow = started(receive(), given=given)
    assert (flow.status, flow.error.type, flow.rows.waits) == (Status.FAILED, EXPRESSION_ERROR, {})
    assert says in flow.error.message


def test_an_empty_key_reaches_nobody_and_says_so() -> None:
    flow = started(receive(), given={"order": ""})
    assert (warnings(flow), flow.rows.waits) == (["`key` is empty: no published event reaches this step"], {})
    assert flow.submit("go", 1).status is Status.COMPLETED


def test_a_kept_event_is_taken_and_the_waiting_is_over_at_once() -> None:
    flow = started(f"id: a, {TASK}", receive()).submit("go", 1).complete("a")
    assert (flow.state.output["payload"], flow.rows.waits) == (1, {})
    assert flow.effects[1:3] == [OpenWait("r", ("go",), "o-1"), CloseWait("r")]


# What is offered


def test_an_offer_is_taken() -> None:
    flow = started(receive()).offer("r", "go", {"n": 1}, "p-1")
    assert flow.names == ["EventReceived", "StepCompleted", "ExecutionCompleted"]
    assert flow.last[0] == ev.EventReceived(name="go", payload={"n": 1}, published_id="p-1", offered_to="r")
    taken = {"event": "go", "payload": {"n": 1}, "event_id": "p-1", "received_at": format_timestamp(flow.now)}
    assert (flow.state.output, flow.state.kept) == (taken, {})
    assert flow.effects == [CloseWait("r"), CloseExecution()]


def test_it_carries_no_event_id_of_its_own() -> None:
    flow = started(receive()).offer("r", "go")
    assert all(event_id == "" for _, _, event_id in flow.history)


def test_the_step_that_waited_takes_it_and_no_other() -> None:
    flow = started(side_by_side("id: x, receive: {event: go}", receive(name="y"), receive(name="z")))
    flow.offer("par/b2/z", "go", 1)
    states = [flow.run(path).state for path in ("par/b0/x", "par/b1/y", "par/b2/z")]
    assert states == [StepState.WAITING, StepState.WAITING, StepState.SUCCEEDED]


def test_it_also_hears_what_is_submitted() -> None:
    flow = started(receive()).submit("go", 2, "e-1")
    assert (flow.state.output["event_id"], flow.rows.waits) == ("e-1", {})


def test_a_filter_decides_and_what_it_refuses_leaves_no_trace() -> None:
    flow = started(receive("event: go, filter: event.n > 1"))
    assert flow.offer("r", "go", {"n": 1}).names == []
    assert (flow.state.kept, list(flow.rows.waits)) == ({}, ["r"])
    assert flow.offer("r", "go", {"n": 2}).state.output["payload"] == {"n": 2}


def test_a_filter_that_errors_is_no_match_and_a_warning() -> None:
    flow = started(receive("event: go, filter: event.n > 1")).offer("r", "go", {})
    assert flow.names == ["WarningRaised"]
    assert warnings(flow)[0].startswith("filter of go: ")
    assert (flow.state.kept, list(flow.rows.waits)) == ({}, ["r"])


def test_a_warning_does_not_keep_another_entry_from_taking_it() -> None:
    flow = started(receive("any_of: [{event: go, filter: event.missing}, {event: go}]")).offer("r", "go", {})
    assert flow.names == ["EventReceived", "WarningRaised", "StepCompleted", "ExecutionCompleted"]


def test_the_limit_of_kept_events_is_not_for_offers() -> None:
    flow = started(receive(), kept_events_max=1).submit("other")
    assert isinstance(flow.do(cmd.Submit("other")), Refusal)
    assert flow.offer("r", "go").status is Status.COMPLETED


def test_an_offer_whose_receiver_fails_over_it_is_for_nobody_else() -> None:
    failing = receive("event: go", "r") + ", output: '${result.missing}'"
    flow = started(side_by_side(failing, f"id: a, {TASK}", more=", fail_fast: false")).offer("par/b0/r", "go", 1)
    assert flow.names == ["EventReceived", "StepFailed"]
    assert flow.state.kept == {}


def test_an_offer_whose_receiver_is_handled_is_for_nobody_else() -> None:
    failing = receive() + ", output: '${result.missing}', on_error: [{steps: [{id: h, receive: {event: go}}]}]"
    flow = started(failing).offer("r", "go", 1)
    assert (flow.run("r/on_error/h").state, flow.state.kept, flow.rows.waits) == (StepState.WAITING, {}, {})
    assert flow.submit("go", 2).state.output["payload"] == 2


def test_an_offer_whose_receiver_is_parked_over_it_is_for_nobody_else() -> None:
    flow = started(receive() + ", output: '${result.missing}'", rest="on_failure: PARK").offer("r", "go", 1)
    assert (flow.names, flow.state.kept, flow.rows.waits) == (["EventReceived", "StepParked"], {}, {})
    assert flow.resolve("r", "COMPLETE", 5).state.output == 5


# What is missed


@pytest.mark.parametrize(("path", "name"), [("r", "other"), ("a", "go"), ("no/such", "go")])
def test_an_offer_of_what_is_not_waited_for_is_missed(path: str, name: str) -> None:
    flow = started(side_by_side(receive(), f"id: a, {TASK}")).offer(path, name, 1, "p-9")
    assert flow.last == [ev.EventMissed(path=path, name=name, published_id="p-9")]
    assert (flow.state.kept, flow.effects) == ({}, [])


def test_a_second_offer_is_missed() -> None:
    flow = started(receive(), f"id: a, {TASK}").offer("r", "go", 1, "p-1").offer("r", "go", 2, "p-2")
    assert flow.last == [ev.EventMissed(path="r", name="go", published_id="p-2")]
    first: Any = flow.run("r").result
    assert first["payload"] == 1


def test_an_ended_execution_refuses_an_offer() -> None:
    flow = started(receive()).submit("go")
    refusal = flow.do(cmd.Offer("r", "go", 1, "p-1"))
    assert isinstance(refusal, Refusal) and refusal.reason == "EXECUTION_ENDED"


# How the waiting ends: each with its row


def over(flow: Flow, path: str = "r") -> bool:
    """The last command has ended the waiting, and an offer comes too late."""
    assert CloseWait(path) in flow.effects and flow.effects.count(CloseWait(path)) == 1
    return flow.status.ended or flow.offer(path, "go").names == ["EventMissed"]


def test_a_time_out_ends_it() -> None:
    flow = started(receive("event: go, timeout: 5m"))
    assert flow.rows.timers == {("r", "receive"): flow.now + 300 * SECOND}
    assert over(flow.fire("r", "receive"))
    assert flow.error.type == TIMEOUT


def test_a_time_out_that_continues_ends_it() -> None:
    assert over(started(receive("event: go, timeout: 5m, on_timeout: CONTINUE"), f"id: a, {TASK}").fire("r", "receive"))


def test_a_time_out_that_is_handled_ends_it() -> None:
    flow = started(receive("event: go, timeout: 5m") + f", on_error: [{{steps: [{{id: h, {TASK}}}]}}]")
    assert over(flow.fire("r", "receive"))
    flow.complete("r/on_error/h")
    assert CloseWait("r") not in flow.effects, "it is closed once"


def test_a_time_out_that_parks_ends_it() -> None:
    flow = started(receive("event: go, timeout: 5m"), rest="on_failure: PARK").fire("r", "receive")
    assert over(flow)
    assert flow.resolve("r", "SKIP").status is Status.COMPLETED


def test_a_failure_beside_it_ends_it() -> None:
    assert over(started(side_by_side(receive(), f"id: a, {TASK}")).fail("par/b1/a"), "par/b0/r")


def test_a_scope_that_closes_ends_it() -> None:
    tasks = (f"id: a, {TASK}", f"id: c, {TASK}")
    flow = started(side_by_side(receive(), *tasks)).hold("par/b2/c").fail("par/b1/a")
    assert over(flow, "par/b0/r")
    assert flow.complete("par/b2/c").status is Status.FAILED


def test_a_cancel_that_awaits_an_answer_ends_it() -> None:
    flow = started(side_by_side(receive(), f"id: a, {TASK}")).hold("par/b1/a")
    flow.do(cmd.Cancel())
    assert over(flow, "par/b0/r")


@pytest.mark.parametrize("command", [cmd.Cancel(), cmd.Terminate()])
def test_the_end_from_outside_ends_it(command: cmd.Command) -> None:
    flow = started(side_by_side(receive(name="x"), receive("any_of: [{event: go}, {event: stop}]", name="y")))
    flow.do(command)
    assert flow.effects == [CloseWait("par/b0/x"), CloseWait("par/b1/y"), CloseExecution()]


def test_a_finish_elsewhere_ends_it() -> None:
    assert over(started(side_by_side(receive(), "id: f, finish: {}")), "par/b0/r")


def test_items_of_a_foreach_wait_each_for_their_own_key() -> None:
    inner = receive("event: paid", "got", "string(item)")
    flow = started(f"id: each, foreach: {{items: input, steps: [{{{inner}}}]}}", given=["a", "b"])
    assert flow.rows.waits == {"each[0]/got": (("paid",), "a"), "each[1]/got": (("paid",), "b")}
    flow.offer("each[1]/got", "paid", 2)
    assert list(flow.rows.waits) == ["each[0]/got"]
    assert flow.offer("each[1]/got", "paid", 3).names == ["EventMissed"], "the item is gone"
    assert [one["payload"] for one in flow.offer("each[0]/got", "paid", 1).state.output] == [1, 2]


def test_an_open_step_shows_what_it_waits_for() -> None:
    flow = started(receive("event: go, timeout: 5m") + f", on_error: [{{steps: [{{id: h, {TASK}}}]}}]")

    def shown() -> list[tuple[str, str, str]]:
        view = full_view(flow.state, ExecutionRef("default", "x-1"), 1, flow.plan, 10)
        return [(step.path, step.waiting_on, step.key) for step in view.open_steps]

    assert shown() == [("r", "event", "o-1")]
    flow.fire("r", "receive")
    assert shown() == [("r", "steps", ""), ("r/on_error/h", "worker", "")]


def test_joining_changes_nothing_and_needs_one_that_goes_on() -> None:
    flow = started(receive())
    flow.do(cmd.Join())
    assert (flow.names, flow.effects) == ([], [])
    flow.submit("go")
    refusal = flow.do(cmd.Join())
    assert isinstance(refusal, Refusal) and refusal.reason == "EXECUTION_ENDED"
