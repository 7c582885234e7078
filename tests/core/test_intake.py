"""What comes in from outside: schemas of events and results, typed numbers, sensitive fields in decisions."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.failures import EXPRESSION_ERROR, SCHEMA_MISMATCH
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.sealing import opened
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import JSON_DEPTH_MAX, REDACTED, Sealed, encode

SECRET = "4111-1111"
CARD = "input_schema: {properties: {card: {type: string, sensitive: true}, cards: {type: array, sensitive: true}}}"
PAID = "event_schemas: {paid: {properties: {n: {type: number}, iban: {type: string, sensitive: true}}}}"
RESULT = "task: {service: s, operation: o, result_schema: {properties: {n: {type: number}, pin: {sensitive: true}}}}"


def seen(flow: Flow, value: Any) -> Any:
    """A value in the clear; the flow's history must not tell what was in it."""
    assert flow.vault is not None
    assert SECRET.encode() not in encode(cast(Any, [event for event, *_ in flow.history]))
    assert SECRET.encode() not in encode(cast(Any, flow.state))
    return opened(value, flow.vault)[0]


def with_card(*lines: str, rest: str = "") -> Flow:
    return Flow(of_steps(*lines, rest=f"{CARD}\n{rest}")).start({"card": SECRET, "cards": [SECRET, "2"], "n": 1})


def test_results_are_typed_for_expressions_and_kept_as_they_came() -> None:
    flow = Flow(of_steps(f"id: a, {RESULT}", "id: b, set: {x: '${steps.a.result.n / 2.0}'}")).start()
    flow.complete("a", {"n": 3})
    assert flow.state.variables == {"x": 1.5}
    assert flow.run("a").result == {"n": 3}


def test_output_of_a_step_sees_the_typed_result() -> None:
    flow = Flow(of_steps(f"id: a, {RESULT}, output: '${{result.n / 2.0}}'")).start().complete("a", {"n": 3})
    assert flow.state.output == 1.5


def test_events_are_typed_for_filters_and_results_of_a_receive() -> None:
    receive = "id: r, receive: {event: paid, filter: event.n / 2.0 > 1.0}"
    flow = Flow(of_steps(receive, "id: b, set: {x: '${steps.r.result.payload.n / 2.0}'}", rest=PAID)).start()
    flow.submit("paid", {"n": 2})
    assert flow.status is Status.RUNNING
    flow.submit("paid", {"n": 3})
    assert flow.state.variables == {"x": 1.5}


def test_a_result_that_does_not_fit_fails_the_attempt() -> None:
    flow = Flow(of_steps(f"id: a, retry: {{max_attempts: 2, initial_backoff: 1s}}, {RESULT}")).start()
    flow.complete("a", {"n": "three"})
    assert flow.run("a").state is StepState.RETRYING
    failed = flow.last[0]
    assert isinstance(failed, ev.StepRetryScheduled)
    assert failed.failure.type == SCHEMA_MISMATCH
    assert "result.n" in failed.failure.message and "three" not in failed.failure.message


def test_an_event_that_does_not_fit_is_refused_and_an_offered_one_is_not_taken() -> None:
    flow = Flow(of_steps("id: r, receive: {event: paid, key: \"'k'\"}", rest=PAID)).start()
    refusal = flow.do(cmd.Submit("paid", {"n": "three"}))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "SCHEMA_MISMATCH"
    assert [violation.path for violation in refusal.violations] == ["payload.n"]
    flow.offer("r", "paid", {"n": "three"})
    warning = flow.last[0]
    assert isinstance(warning, ev.WarningRaised) and "payload.n" in warning.message and "three" not in warning.message
    assert flow.status is Status.RUNNING
    assert flow.offer("r", "paid", {"n": 1}).status is Status.COMPLETED


def test_an_operator_s_result_has_to_fit_too() -> None:
    flow = Flow(of_steps(f"id: a, retry: {{max_attempts: 1, on_exhausted: PARK}}, {RESULT}")).start().fail("a")
    refusal = flow.do(cmd.Resolve("a", cmd.ResolveAction.COMPLETE, {"n": "three"}))
    assert isinstance(refusal, Refusal) and refusal.reason == "SCHEMA_MISMATCH"
    flow.resolve("a", "COMPLETE", {"n": 1, "pin": SECRET})
    assert seen(flow, flow.state.output) == {"n": 1, "pin": SECRET}


@pytest.mark.parametrize(
    ("made", "clear"),
    [
        ("${input.card}", SECRET),
        ("card ${input.card}!", f"card {SECRET}!"),
        ("${input.card + '?'}", SECRET + "?"),
        ("${input}", {"card": SECRET, "cards": [SECRET, "2"], "n": 1}),
        ("${input.cards[0]}", SECRET),
        ("${size(input.card) + input.n}", len(SECRET) + 1),
    ],
)
def test_what_is_made_of_a_sensitive_value_is_sensitive(made: str, clear: Any) -> None:
    flow = with_card(f"id: a, task: {{service: s, operation: o, input: {{x: '{made}'}}}}".replace("'?'", "''?''"))
    scheduled = flow.history[1][0]
    assert isinstance(scheduled, ev.StepScheduled)
    assert seen(flow, scheduled.input) == {"x": clear}


def test_conditions_see_through() -> None:
    cases = "cases: [{when: input.card.startsWith('4'), steps: [{id: b, set: {x: 1}}]}]"
    flow = with_card("id: a, when: size(input.card) > 99, set: {x: 2}", f"id: s, switch: {{{cases}}}")
    assert flow.state.variables == {"x": 1}
    assert seen(flow, flow.state.input)["card"] == SECRET


@pytest.mark.parametrize("items", ["input.cards", "[input.card, 'b']"])
def test_items_of_a_sensitive_list_are_sensitive_one_by_one(items: str) -> None:
    flow = with_card(f'id: f, foreach: {{items: "{items}", as: c, steps: [{{id: a, set: {{y: "${{c}}"}}}}]}}')
    assert flow.status is Status.COMPLETED
    scheduled = flow.history[1][0]
    assert isinstance(scheduled, ev.StepScheduled)
    assert [type(item) for item in scheduled.items] == [Sealed, Sealed]
    assert seen(flow, flow.state.variables["y"]) in ("2", "b")


@pytest.mark.parametrize(
    "step",
    [
        "id: a, receive: {event: e, key: input.card}",
        'id: a, emit: {name: e, payload: {c: "${input.card}"}}',
        "id: a, emit: {name: e, key: \"input.card + 'x'\"}",
        'id: a, wait: {duration: "${input.card}"}',
        'id: a, wait: {until: "input.card"}',
        'id: a, fail: {type: "T-${input.card}"}',
        'id: a, foreach: {items: "[1]", on_item_error: CONTINUE, max_failures: size(input.card), '
        "steps: [{id: x, set: {}}]}",
    ],
)
def test_what_has_to_stand_in_the_clear_may_not_be_sensitive(step: str) -> None:
    flow = with_card(step)
    assert flow.status is Status.FAILED
    failure = flow.state.failure
    assert failure is not None
    assert failure.type == EXPRESSION_ERROR
    assert "sensitive" in failure.message
    assert seen(flow, flow.state.input)["card"] == SECRET


def test_a_label_may_not_be_sensitive() -> None:
    flow = Flow(of_steps(f"id: a, {TASK}", rest=f'{CARD}\nlabels: {{c: "${{input.card}}"}}'))
    refusal = flow.do(cmd.Start("d", 1, {"card": SECRET}))
    assert isinstance(refusal, Refusal)
    assert "sensitive" in refusal.message and SECRET not in refusal.message


def test_the_message_of_a_failure_is_redacted_and_its_details_are_sealed() -> None:
    flow = with_card('id: a, fail: {type: Declined, message: "no ${input.card}", details: {c: "${input.card}"}}')
    failure = flow.state.failure
    assert failure is not None
    assert (failure.type, failure.message) == ("Declined", REDACTED)
    assert seen(flow, failure.details) == {"c": SECRET}


def test_an_expression_that_fails_for_a_sensitive_value_does_not_quote_it() -> None:
    flow = with_card('id: a, set: {x: "${timestamp(input.card)}"}')
    failure = flow.state.failure
    assert failure is not None and failure.type == EXPRESSION_ERROR
    assert SECRET not in failure.message
    assert seen(flow, flow.state.input)["card"] == SECRET


def test_events_and_results_are_sealed_on_their_way_in() -> None:
    receive = "id: r, receive: {event: paid, filter: \"event.iban.startsWith('4')\"}"
    flow = Flow(of_steps(f"id: a, {RESULT}", receive, rest=PAID)).start()
    flow.submit("paid", {"iban": "5", "n": 1}).submit("paid", {"iban": SECRET, "n": 2})
    flow.complete("a", {"pin": SECRET, "n": 1})
    assert flow.status is Status.COMPLETED
    assert seen(flow, flow.state.output["payload"]) == {"iban": SECRET, "n": 2}
    assert seen(flow, flow.run("a").result) == {"pin": SECRET, "n": 1}


def test_values_are_erased_after_the_end_and_once() -> None:
    flow = with_card(f"id: a, {TASK}")
    refusal = flow.do(cmd.Erase())
    assert isinstance(refusal, Refusal) and refusal.reason == "EXECUTION_NOT_ENDED"
    flow.complete("a")
    flow.now += SECOND
    flow.do(cmd.Erase("asked for"))
    assert flow.names == ["ExecutionErased"]
    assert (flow.state.erased_at, flow.status) == (flow.now, Status.COMPLETED)
    flow.do(cmd.Erase())
    assert flow.names == []


def test_a_sensitive_value_is_as_long_as_what_it_stands_for() -> None:
    """What feeds on itself is bounded by what a worker would get."""
    steps = ["id: a, set: {x: ['${input.card}', '${input.card}']}", "id: b, set: {y: ['${vars.x}', '${vars.x}']}"]
    text = of_steps(*steps, rest=CARD)
    fits = Flow(text, Limits(value_bytes_max=900)).start({"card": "4" * 200})
    assert fits.status is Status.COMPLETED
    flow = Flow(text, Limits(value_bytes_max=800)).start({"card": "4" * 200})
    assert flow.run("a").state is StepState.SUCCEEDED
    assert flow.state.failure is not None
    assert (flow.state.failure.type, "value_bytes_max" in flow.state.failure.message) == (EXPRESSION_ERROR, True)


@pytest.mark.parametrize("value", ["${[vars.x]}", ["${vars.x}"], {"more": "${vars.x}"}])
def test_sensitive_variables_are_as_deep_as_others_at_most(value: Any) -> None:
    each = f"- {{id: each, set: {{x: {json.dumps(value)}}}}}"
    foreach = f"id: many, foreach: {{items: input.n, max_concurrency: 1, steps: [{each[2:]}]}}"
    steps = of_steps("id: first, set: {x: '${input.card}'}", foreach, rest=CARD)
    for card, plain in ((SECRET, False), (None, True)):
        text = steps.replace(CARD, "") if plain else steps
        fits, flow = (Flow(text, Limits(turn_events_max=10_000)) for _ in range(2))
        assert fits.start({"card": card, "n": [0] * (JSON_DEPTH_MAX - 1)}).status is Status.COMPLETED
        flow.start({"card": card, "n": [0] * JSON_DEPTH_MAX})
        assert flow.status is Status.FAILED
        assert flow.state.failure is not None
        assert (flow.state.failure.type, "json_depth_max" in flow.state.failure.message) == (EXPRESSION_ERROR, True)


def test_of_a_list_that_is_too_long_nothing_is_sealed_in_vain() -> None:
    text = of_steps("id: a, foreach: {items: input.cards, steps: [{id: b, set: {}}]}", rest=CARD)
    flow = Flow(text, Limits(foreach_items_max=2)).start({"cards": [SECRET] * 3})
    assert flow.status is Status.FAILED
    assert flow.vault is not None and flow.vault.unwritten_count == 1
