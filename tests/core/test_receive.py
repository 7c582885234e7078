"""Events from outside: who takes them, which are kept, what a filter or a time-out does."""

from typing import Any

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.durations import format_timestamp
from callboard.runtime.core.failures import TIMEOUT
from callboard.runtime.core.refusals import Kind, Refusal
from callboard.runtime.core.state import Status
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque


def started(*lines: str, given: Any = None, **limits: int) -> Flow:
    return Flow(of_steps(*lines), Limits(**limits)).start(given)


def receive(more: str, name: str = "r") -> str:
    return f"id: {name}, receive: {{{more}}}"


def warnings(flow: Flow) -> list[ev.WarningRaised]:
    return [event for event in flow.last if isinstance(event, ev.WarningRaised)]


def test_a_waiting_receive_takes_the_event() -> None:
    flow = started(receive("event: go")).submit("go", {"n": 1}, "e-1")
    assert flow.names == ["EventReceived", "StepCompleted", "ExecutionCompleted"]
    taken = {"event": "go", "payload": {"n": 1}, "event_id": "e-1", "received_at": format_timestamp(flow.now)}
    assert (flow.state.output, flow.state.kept) == (taken, {})


def test_an_event_that_nobody_waits_for_is_kept_for_a_later_receive() -> None:
    flow = started(f"id: a, {TASK}", receive("event: go")).submit("go", 1).submit("go", 2)
    assert [kept.payload for kept in flow.state.kept.values()] == [1, 2]
    flow.complete("a")
    assert (flow.state.output["payload"], len(flow.state.kept)) == (1, 1)


def test_the_oldest_match_is_taken() -> None:
    flow = started(f"id: a, {TASK}", receive("event: go, filter: event.n > 1"))
    for n in (1, 2, 3):
        flow.submit("go", {"n": n})
    assert flow.complete("a").state.output["payload"] == {"n": 2}


def test_who_waits_longest_is_served_first() -> None:
    def branch(name: str) -> str:
        return f"{{id: b_{name}, steps: [{{{receive('event: go', name)}}}]}}"

    flow = started(f"id: par, parallel: {{branches: [{branch('x')}, {branch('y')}]}}").submit("go", 1)
    first: Any = flow.run("par/b_x/x").result
    assert first["payload"] == 1
    assert flow.submit("go", 2).status is Status.COMPLETED


def test_any_of_several_events() -> None:
    flow = started(receive("any_of: [{event: a, filter: event == 1}, {event: a, filter: event == 2}, {event: b}]"))
    flow.submit("a", 3).submit("c")
    assert flow.status is Status.RUNNING
    assert flow.submit("a", 2).state.output["payload"] == 2
    assert started(receive("any_of: [{event: a}, {event: b}]")).submit("b").state.output["event"] == "b"


def test_a_filter_that_errors_is_no_match_and_a_warning() -> None:
    flow = started(receive("event: go, filter: event.ok")).submit("go", {})
    assert (flow.status, len(flow.state.kept)) == (Status.RUNNING, 1)
    (warning,) = warnings(flow)
    assert warning.path == "r"
    assert "event.ok" in warning.message
    assert flow.submit("go", {"ok": True}).status is Status.COMPLETED


def test_one_warning_for_many_kept_events() -> None:
    flow = started(f"id: a, {TASK}", receive("event: go, filter: event.ok"))
    for _ in range(5):
        flow.submit("go", {})
    assert len(warnings(flow.complete("a"))) == 1


def test_a_payload_that_is_not_json_is_taken_whole_but_not_looked_into() -> None:
    raw = Opaque("image/png", b"\x89")
    assert started(receive("event: go")).submit("go", raw).state.output["payload"] == raw
    assert warnings(started(receive("event: go, filter: event.ok")).submit("go", raw))


def test_an_output_sees_what_was_received() -> None:
    assert started(receive("event: go") + ", output: '${result.payload}'").submit("go", 4).state.output == 4


def test_no_event_in_time_fails_or_continues() -> None:
    flow = started(receive("event: go, timeout: 5m"))
    assert flow.rows.timers == {("r", "receive"): flow.now + 300 * SECOND}
    assert flow.fire("r", "receive").error.type == TIMEOUT
    flow = started(receive("event: go, timeout: 5m, on_timeout: CONTINUE")).fire("r", "receive")
    assert (flow.status, flow.state.output) == (Status.COMPLETED, None)


def test_an_event_in_time_clears_the_timer() -> None:
    flow = started(receive("event: go, until: '2030-01-01T00:00:00Z'"), f"id: a, {TASK}").submit("go")
    assert flow.rows.timers == {}


def test_kept_events_are_bounded() -> None:
    flow = started(f"id: a, {TASK}", receive("event: go"), receive("event: stop", "s"), kept_events_max=2)
    flow.submit("x").submit("y")
    refused = flow.do(cmd.Submit("go"))
    assert isinstance(refused, Refusal)
    assert (refused.kind, refused.reason, refused.metadata) == (Kind.BUSY, "KEPT_EVENTS_FULL", {"limit": "2"})
    assert refused.retry_after_us is not None
    flow.complete("a")
    assert flow.submit("go").names[:2] == ["EventReceived", "StepCompleted"], "what is taken at once is never too much"


def test_an_enqueued_event_that_nobody_took_is_buried() -> None:
    flow = started(f"id: a, {TASK}")
    flow.do(cmd.Submit("lost", 1, "e-1", enqueued=True))
    flow.submit("told", 2)
    (buried,) = flow.complete("a").rows.buried
    assert (buried.name, buried.payload, buried.event_id, buried.cause) == ("lost", 1, "e-1", "EXECUTION_ENDED")


def test_an_enqueued_event_that_was_taken_is_not_buried() -> None:
    flow = started(receive("event: go"))
    flow.do(cmd.Submit("go", 1, enqueued=True))
    assert (flow.status, flow.rows.buried) == (Status.COMPLETED, [])


def test_a_cancelled_receive_takes_nothing() -> None:
    steps = (f"id: a, {TASK}", f"id: c, {TASK}", receive("event: go"))
    branches = ", ".join(f"{{id: b{n}, steps: [{{{step}}}]}}" for n, step in enumerate(steps))
    flow = started(f"id: par, parallel: {{branches: [{branches}]}}")
    flow.hold("par/b1/c").fail("par/b0/a").submit("go")
    assert (len(flow.state.kept), flow.names) == (1, ["EventReceived"])


@pytest.mark.parametrize("payload", [None, 0, "", [], {}])
def test_an_empty_payload_is_a_payload(payload: Any) -> None:
    assert started(receive("event: go")).submit("go", payload).state.output["payload"] == payload
