"""`on_error`: which failures a handler takes, what becomes of the step, and what if the handler fails itself."""

from typing import Any

from tests.core.flow import TASK, Flow, of_steps

from callboard.runtime.core.state import Status, StepState


def handled(steps: str, match: str = "", kind: str = TASK, name: str = "a") -> str:
    return f"id: {name}, {kind}, on_error: [{{{f'match: [{match}], ' if match else ''}steps: [{steps}]}}]"


def started(*lines: str, rest: str = "", given: Any = None) -> Flow:
    return Flow(of_steps(*lines, rest=rest)).start(given)


H = f"{{id: h, {TASK}}}"


def test_a_handled_step_has_the_handlers_result_and_keeps_its_error() -> None:
    flow = started(handled(H), "id: z, set: {r: '${steps.a.result}', e: '${steps.a.error.type}'}").fail("a")
    assert (flow.names, flow.open, flow.run("a").state) == (
        ["StepFailed", "StepScheduled"],
        ["a/on_error/h"],
        StepState.WAITING,
    )
    flow.complete("a/on_error/h", 5)
    assert (flow.run("a").state, flow.state.output) == (StepState.SUCCEEDED, {"r": 5, "e": "Broken"})


def test_a_handler_sees_the_failure() -> None:
    seen = "{id: h, set: {t: '${error.type}', m: '${error.message}', d: '${error.details}'}}"
    flow = started(handled(seen)).fail("a", details={"n": 1})
    assert flow.state.output == {"t": "Broken", "m": "a broke", "d": {"n": 1}}


def test_a_handler_sees_the_failure_of_its_own_item() -> None:
    line = handled("{id: h, set: {m: '${error.message}'}}")
    flow = started(f"id: each, foreach: {{items: input, steps: [{{{line}}}]}}", given=[0, 1])
    flow.fail("each[1]/a").fail("each[0]/a")
    assert flow.state.output == [{"m": "each[0]/a broke"}, {"m": "each[1]/a broke"}]


def test_the_nearest_error_is_seen_in_nested_handlers() -> None:
    inner = handled("{id: j, set: {t: '${error.type}'}}", name="h")
    flow = started(handled(f"{{{inner}}}, {{id: k, set: {{i: '${{steps.h.result.t}}', o: '${{error.type}}'}}}}"))
    flow.fail("a", "Outer").fail("a/on_error/h", "Inner")
    assert flow.state.output == {"i": "Inner", "o": "Outer"}


def test_an_empty_match_takes_all_and_a_list_what_it_names() -> None:
    assert started(handled("{id: h, set: {}}")).fail("a", "Any").status is Status.COMPLETED
    assert started(handled("{id: h, set: {}}", "X, Y")).fail("a", "Y").status is Status.COMPLETED
    assert started(handled("{id: h, set: {}}", "X, Y")).fail("a", "Z").error.type == "Z"


def test_the_first_entry_that_matches_runs() -> None:
    entries = "{match: [X], steps: [{id: h, set: {v: x}}]}, {steps: [{id: i, set: {v: rest}}]}"
    flow = started(f"id: a, {TASK}, on_error: [{entries}]").fail("a", "Y")
    assert flow.state.output == {"v": "rest"}


def test_retries_come_before_handlers() -> None:
    flow = started(handled(H) + ", retry: {max_attempts: 2}").fail("a")
    assert flow.open == []
    flow.fire("a", "retry").fail("a")
    assert flow.open == ["a/on_error/h"]


def test_a_handlers_own_failure_replaces_the_old_one_which_is_its_cause() -> None:
    flow = started(handled(H)).fail("a", "First").fail("a/on_error/h", "Second")
    assert (flow.error.type, flow.error.cause and flow.error.cause.type) == ("Second", "First")
    assert flow.run("a").state is StepState.FAILED


def test_the_old_failure_stands_at_the_end_of_the_chain() -> None:
    flow = started(handled(f"{{{handled(f'{{id: j, {TASK}}}', name='h')}}}"))
    flow.fail("a", "First").fail("a/on_error/h", "Second").fail("a/on_error/h/on_error/j", "Third")
    chain = [flow.error]
    while (cause := chain[-1].cause) is not None:
        chain.append(cause)
    assert [failure.type for failure in chain] == ["Third", "Second", "First"]


def test_a_handler_does_not_handle_itself() -> None:
    flow = started(handled(f"{{id: h, {TASK}}}, {{id: i, set: {{}}}}")).fail("a").fail("a/on_error/h")
    assert (flow.status, flow.open) == (Status.FAILED, [])


def test_a_scope_handles_what_fails_in_it() -> None:
    flow = started(handled(H, kind=f"sequence: {{steps: [{{id: b, {TASK}}}, {{id: c, {TASK}}}]}}", name="s")).fail(
        "s/b", "X"
    )
    assert (flow.open, flow.run("s").error and flow.run("s").error.type) == (["s/on_error/h"], "X")  # type: ignore[union-attr]
    assert flow.complete("s/on_error/h", 1).state.output == 1


def test_a_parallel_is_handled_once_its_attempts_are_answered() -> None:
    par = f"parallel: {{branches: [{{id: x, steps: [{{id: b, {TASK}}}]}}, {{id: y, steps: [{{id: c, {TASK}}}]}}]}}"
    flow = started(handled(H, kind=par, name="p")).hold("p/y/c").fail("p/x/b")
    assert flow.open == ["p/y/c"]
    assert flow.complete("p/y/c").open == ["p/on_error/h"]


def test_a_foreach_that_goes_on_records_no_failure_of_a_handled_item() -> None:
    line = handled("{id: h, set: {v: 1}}")
    flow = started(
        f"id: each, foreach: {{items: input, on_item_error: CONTINUE, steps: [{{{line}}}]}}",
        "id: z, set: {f: '${steps.each.failures}'}",
        given=[0],
    )
    assert flow.fail("each[0]/a").state.output == {"f": []}


def test_a_failed_handler_in_an_item_is_the_items_failure() -> None:
    line = f"id: each, foreach: {{items: input, on_item_error: CONTINUE, steps: [{{{handled(H)}}}]}}"
    flow = started(line, "id: z, set: {f: '${steps.each.failures[0].error}'}", given=[0])
    flow.fail("each[0]/a", "First").fail("each[0]/a/on_error/h", "Second")
    error = flow.state.output["f"]
    assert (error["type"], error["cause"]["type"]) == ("Second", "First")


def test_a_failing_step_in_the_handler_of_a_foreach_is_not_an_item() -> None:
    line = handled(
        H,
        kind=f"foreach: {{items: input, on_item_error: CONTINUE, max_failures: '0', steps: [{{id: b, {TASK}}}]}}",
        name="each",
    )
    flow = started(line, given=[0]).fail("each[0]/b").fail("each/on_error/h", "Second")
    assert (flow.status, flow.error.type, flow.error.cause and flow.error.cause.type) == (
        Status.FAILED,
        "Second",
        "TooManyItemFailures",
    )


def test_a_step_that_waits_to_be_handled_gives_back_nothing_to_the_queue() -> None:
    flow = started(handled(H) + ", timeouts: {total: 9s, queue: 5s}").fail("a")
    assert (flow.open, flow.rows.timers) == (["a/on_error/h"], {})
