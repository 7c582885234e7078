"""The `emit` step: what it publishes, and what it needs for it."""

from typing import Any

import pytest
from tests.core.flow import TASK, Flow, of_steps

from callboard.runtime.core import events as ev
from callboard.runtime.core.effects import EmitEvent
from callboard.runtime.core.failures import EXPRESSION_ERROR
from callboard.runtime.core.state import Status
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque


def emit(more: str, given: Any = None, *lines: str) -> Flow:
    return Flow(of_steps(f"id: e, emit: {{name: paid{more}}}", *lines)).start(given)


def test_it_publishes_and_goes_on_with_null() -> None:
    flow = emit(", key: input.order, payload: {cents: '${input.cents}'}", {"order": "o-1", "cents": 5})
    assert flow.names == ["ExecutionStarted", "StepScheduled", "EventEmitted", "StepCompleted", "ExecutionCompleted"]
    assert flow.last[2] == ev.EventEmitted(path="e", name="paid", key="o-1", payload={"cents": 5})
    assert flow.rows.emitted == [EmitEvent(3, "paid", "o-1", {"cents": 5})]
    assert (flow.status, flow.state.output) == (Status.COMPLETED, None)


def test_without_key_and_payload_they_are_empty() -> None:
    flow = emit("")
    assert flow.rows.emitted == [EmitEvent(3, "paid", "", None)]


def test_its_output_replaces_null() -> None:
    flow = Flow(of_steps("id: e, emit: {name: paid}, output: {was: '${result}'}")).start()
    assert flow.state.output == {"was": None}


def test_a_payload_that_is_not_json_passes_whole() -> None:
    raw = Opaque("image/png", b"\x89")
    assert emit(", payload: '${input}'", raw).rows.emitted == [EmitEvent(3, "paid", "", raw)]


@pytest.mark.parametrize(
    ("more", "given"),
    [
        (", key: input.order", {}),
        (", key: input.order", {"order": None}),
        (", key: input.order", {"order": "x" * 256}),
        (", payload: '${input.cents}'", {}),
    ],
)
def test_what_cannot_be_made_fails_it_and_nothing_is_published(more: str, given: Any) -> None:
    flow = emit(more, given)
    assert (flow.status, flow.error.type, flow.rows.emitted) == (Status.FAILED, EXPRESSION_ERROR, [])


def test_it_may_be_left_out() -> None:
    flow = Flow(of_steps("id: e, emit: {name: paid}, when: 'false'", f"id: a, {TASK}")).start()
    assert (flow.rows.emitted, flow.open) == ([], ["a"])


def test_it_sets_the_state() -> None:
    flow = Flow(of_steps("id: e, emit: {name: paid}, set_state: told", f"id: a, {TASK}")).start()
    assert flow.state.state == "told"


@pytest.mark.parametrize("forgetful", [False, True])
def test_each_is_published_once_however_the_turns_are_cut(forgetful: bool) -> None:
    inner = "id: e, emit: {name: paid, key: string(item), payload: '${index}'}"
    text = of_steps(f"id: each, foreach: {{items: input, steps: [{{{inner}}}]}}")
    flow = Flow(text, Limits(turn_events_max=4)).start([7, 8, 9]).proceed(forgetful)
    assert flow.status is Status.COMPLETED
    assert [(each.key, each.payload) for each in flow.rows.emitted] == [("7", 0), ("8", 1), ("9", 2)]
    assert all(type(flow.history[each.sequence - 1][0]) is ev.EventEmitted for each in flow.rows.emitted)
