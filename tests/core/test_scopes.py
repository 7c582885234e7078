"""Scopes: sequence, parallel, switch, foreach; how they begin, join, fail, and wait for what workers hold."""

from typing import Any

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core.events import StepScheduled
from callboard.runtime.core.failures import EXPRESSION_ERROR, Failure
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.turn import Limits


def started(*lines: str, rest: str = "", given: Any = None, **limits: int) -> Flow:
    return Flow(of_steps(*lines, rest=rest), Limits(**limits)).start(given)


def branches(*each: str, more: str = "") -> str:
    named = ", ".join(f"{{id: b{n}, steps: [{steps}]}}" for n, steps in enumerate(each))
    return f"id: par, parallel: {{branches: [{named}]{', ' + more if more else ''}}}"


def tasks(*names: str) -> str:
    return ", ".join(f"{{id: {name}, {TASK}}}" for name in names)


def each(items: str, steps: str, more: str = "") -> str:
    return f"id: each, foreach: {{items: '{items}', steps: [{steps}]{', ' + more if more else ''}}}"


# Sequence, switch, set


def test_a_sequence_gives_its_last_result() -> None:
    flow = started(f"id: seq, sequence: {{steps: [{tasks('a', 'b')}]}}", "id: c, set: {v: '${steps.seq.result}'}")
    flow.complete("seq/a", 1).complete("seq/b", 2)
    assert flow.state.output == {"v": 2}


def test_a_list_whose_last_step_is_skipped_gives_null() -> None:
    flow = started("id: seq, sequence: {steps: [{id: a, set: {x: 1}}, {id: b, when: 'false', set: {x: 2}}]}")
    assert (flow.state.output, flow.run("seq").result, flow.status) == (None, None, Status.COMPLETED)


def test_a_container_whose_condition_is_false_runs_nothing() -> None:
    flow = started(
        f"id: seq, when: 'false', sequence: {{steps: [{tasks('a')}]}}", "id: b, set: {v: '${has(steps.seq.result)}'}"
    )
    assert (flow.run("seq").state, flow.state.output) == (StepState.SKIPPED, {"v": False})
    assert "seq/a" not in flow.state.runs


@pytest.mark.parametrize(("given", "output"), [(1, "one"), (2, "two"), (3, "else")])
def test_the_first_case_that_holds_is_taken(given: int, output: str) -> None:
    cases = (
        "{when: 'input == 1', steps: [{id: a, set: {v: one}}]}, {when: 'input <= 2', steps: [{id: b, set: {v: two}}]}"
    )
    flow = started(f"id: pick, switch: {{cases: [{cases}], default: [{{id: c, set: {{v: else}}}}]}}", given=given)
    assert flow.state.output == {"v": output}


def test_a_switch_without_default_gives_null() -> None:
    flow = started("id: pick, switch: {cases: [{when: 'false', steps: [{id: a, set: {}}]}]}")
    assert (flow.names[2], flow.status, flow.state.output) == ("BranchChosen", Status.COMPLETED, None)


def test_all_values_of_a_set_see_the_state_before() -> None:
    flow = started("id: a, set: {x: 1, y: 2}", "id: b, set: {x: '${vars.y}', y: '${vars.x}'}")
    assert flow.state.variables == {"x": 2, "y": 1}


def test_variables_cannot_grow_deeper_than_json_may_be() -> None:
    flow = started(
        "id: a, set: {x: 0}", each("input", "{id: b, set: {x: ['${vars.x}']}}"), given=list(range(200))
    ).proceed()
    assert flow.error.type == EXPRESSION_ERROR


def test_the_authors_state_stays() -> None:
    flow = started(f"id: a, set_state: packing, {TASK}", "id: b, set: {}")
    assert flow.state.state == "packing"
    assert flow.complete("a").state.state == "packing"


# Parallel


def test_a_parallel_gives_the_results_of_its_branches() -> None:
    flow = started(branches(tasks("a"), tasks("b", "c")))
    assert flow.open == ["par/b0/a", "par/b1/b"]
    flow.complete("par/b1/b").complete("par/b1/c", 3).complete("par/b0/a", 1)
    assert flow.state.output == {"b0": 1, "b1": 3}


def test_the_first_failure_ends_what_nobody_holds() -> None:
    flow = started(branches(tasks("a"), tasks("b"), "{id: w, wait: {duration: 5s}}"), f"id: z, {TASK}").fail("par/b0/a")
    assert (flow.status, flow.rows.tasks, flow.rows.timers) == (Status.FAILED, {}, {})
    assert flow.run("par/b1/b").state is StepState.CANCELLED


def test_attempts_that_workers_hold_are_awaited() -> None:
    flow = started(branches(tasks("a"), tasks("b"), tasks("c"), "{id: w, wait: {duration: 5s}}"))
    flow.hold("par/b1/b").fail("par/b0/a")
    assert (flow.names, flow.rows.told) == (["StepFailed", "ScopeClosing"], ["par/b1/b"])
    assert (flow.open, flow.rows.timers) == (["par/b1/b"], {("par", "grace"): flow.now + 10 * SECOND})
    flow.complete("par/b1/b", "late")
    assert (flow.status, flow.error.type, flow.run("par/b1/b").result) == (Status.FAILED, "Broken", "late")


def test_their_grace_is_bounded() -> None:
    flow = started(branches(tasks("a"), tasks("b"))).hold("par/b1/b").fail("par/b0/a").fire("par", "grace")
    assert (flow.status, flow.run("par/b1/b").state) == (Status.FAILED, StepState.CANCELLED)


def test_a_step_has_its_own_grace() -> None:
    flow = started(branches(tasks("a"), f"{{id: b, {TASK}, timeouts: {{cancel_grace: 60s}}}}", tasks("c")))
    flow.hold("par/b1/b", "par/b2/c").fail("par/b0/a")
    assert flow.rows.timers == {("par", "grace"): flow.now + 60 * SECOND}


@pytest.mark.parametrize("answer", ["complete", "fail", "lose"])
def test_any_answer_ends_the_waiting(answer: str) -> None:
    flow = started(branches(tasks("a"), f"{{id: b, {TASK}, retry: {{max_attempts: 9}}}}", tasks("c")))
    flow.hold("par/b1/b", "par/b2/c").fail("par/b0/a")
    getattr(flow, answer)("par/b1/b")
    assert flow.status is Status.RUNNING
    getattr(flow, answer)("par/b2/c")
    assert (flow.status, flow.error.message) == (Status.FAILED, "par/b0/a broke")


def test_an_awaited_attempt_is_neither_retried_nor_handled_nor_limited() -> None:
    step = f"{{id: b, {TASK}, timeouts: {{total: 3s}}, on_error: [{{steps: [{tasks('h')}]}}]}}"
    flow = started(branches(tasks("a"), step)).hold("par/b1/b").fail("par/b0/a")
    assert list(flow.rows.timers) == [("par", "grace")]
    assert flow.fail("par/b1/b").status is Status.FAILED


def test_what_follows_an_awaited_attempt_does_not_begin() -> None:
    flow = started(branches(tasks("a"), tasks("b", "c"))).hold("par/b1/b").fail("par/b0/a").complete("par/b1/b")
    assert (flow.status, "par/b1/c" in flow.state.runs) == (Status.FAILED, False)


def test_nothing_begins_in_a_closing_scope_after_a_restart() -> None:
    flow = started(branches(tasks("a"), tasks("b", "c"), tasks("d"))).hold("par/b1/b", "par/b2/d").fail("par/b0/a")
    flow.complete("par/b1/b")
    flow.left = {"": None}
    flow.proceed(forgetful=True)
    assert (flow.names, flow.open) == ([], ["par/b2/d"])


def test_a_failure_further_out_takes_the_waiting_over() -> None:
    inner = branches(tasks("a"), tasks("b")) + ", on_error: [{steps: [{id: h, set: {}}]}]"
    flow = started(
        f"id: outer, parallel: {{branches: [{{id: inner, steps: [{{{inner}}}]}}, {{id: out, steps: [{tasks('c')}]}}]}}"
    )
    b = "outer/inner/par/b1/b"
    flow.hold(b).fail("outer/inner/par/b0/a")
    assert list(flow.rows.timers) == [("outer/inner/par", "grace")]
    flow.fail("outer/out/c", "Outer")
    assert list(flow.rows.timers) == [("outer", "grace")]
    assert flow.complete(b).error.type == "Outer"


def test_without_fail_fast_the_others_go_on() -> None:
    flow = started(branches(tasks("a"), tasks("b", "c"), more="fail_fast: false")).fail("par/b0/a", "First")
    flow.complete("par/b1/b")
    assert flow.open == ["par/b1/c"]
    assert flow.fail("par/b1/c", "Second").error.type == "First"


def test_branches_that_have_not_begun_do_not_begin_in_a_failed_or_handled_scope() -> None:
    line = branches("{id: f, fail: {type: T}}", tasks("b")) + ", on_error: [{steps: [{id: h, set: {v: 1}}]}]"
    flow = started(line)
    assert (flow.state.output, "par/b1/b" in flow.state.runs) == ({"v": 1}, False)


# Foreach


def test_items_are_done_each_by_itself_and_forgotten() -> None:
    flow = started(
        each("input", f"{{id: a, {TASK[:-1]}, input: {{i: '${{index}}', v: '${{item}}'}}}}}}"), given=["x", "y"]
    )
    assert flow.open == ["each[0]/a", "each[1]/a"]
    flow.complete("each[1]/a", 2)
    assert [path for path in flow.state.runs if "[1]" in path] == []
    assert flow.complete("each[0]/a", 1).state.output == [1, 2]


def test_so_many_items_at_once() -> None:
    flow = started(each("input", tasks("a"), "max_concurrency: 2"), given=[1, 2, 3, 4])
    assert flow.open == ["each[0]/a", "each[1]/a"]
    flow.complete("each[0]/a")
    assert flow.open == ["each[1]/a", "each[2]/a"]


def test_no_items_no_steps() -> None:
    flow = started(
        each("input", tasks("a")), "id: z, set: {r: '${steps.each.result}', f: '${steps.each.failures}'}", given=[]
    )
    assert flow.state.output == {"r": [], "f": []}


@pytest.mark.parametrize("more", ["", "max_concurrency: 1"])
def test_items_whose_steps_are_all_immediate(more: str) -> None:
    steps = "{id: a, set: {n: '${item}'}}, {id: b, when: 'item > 1', set: {m: '${steps.a.result.n}'}}"
    flow = started(each("input", steps, more), given=[1, 2])
    flow.proceed()
    assert flow.state.output == [None, {"m": 2}]


def test_wide_and_long_do_not_recurse() -> None:
    flow = started(
        each("input", "{id: a, set: {n: '${item}'}}, {id: b, set: {n: '${index}'}}"),
        given=[0] * 1_500,
        turn_events_max=100_000,
    )
    assert (flow.status, len(flow.state.output)) == (Status.COMPLETED, 1_500)


def test_collect_makes_the_items_value() -> None:
    line = each(
        "input",
        f"{{id: a, {TASK}}}, {{id: b, set: {{v: '${{item}}'}}}}",
        'collect: ["${item}", "${index}", "${steps.a.result}", "${result.v}", "${vars.v}"]',
    )
    flow = started(line, given=["x"]).complete("each[0]/a", 7)
    assert flow.state.output == [["x", 0, 7, "x", "x"]]


def test_collect_sees_a_skipped_last_step_as_null() -> None:
    line = each("input", "{id: a, when: 'item > 1', set: {v: 1}}", 'collect: ["${result}", "${has(steps.a.result)}"]')
    assert started(line, given=[1, 2]).state.output == [[None, False], [{"v": 1}, True]]


def test_collect_sees_what_the_last_step_has_come_to() -> None:
    handled = f"{{id: a, {TASK}, on_error: [{{steps: [{{id: h, set: {{v: 1}}}}]}}]}}"
    flow = started(each("input", handled, 'collect: ["${result}", "${steps.a.error.type}"]'), given=[0]).fail(
        "each[0]/a"
    )
    assert flow.state.output == [[{"v": 1}, "Broken"]]


@pytest.mark.parametrize(("action", "value"), [("SKIP", [None]), ("COMPLETE", [5])])
def test_collect_applies_to_what_an_operator_decides(action: str, value: Any) -> None:
    line = each("input", f"{{id: a, {TASK}, retry: {{on_exhausted: PARK}}}}", 'collect: ["${result}"]')
    flow = started(line, given=[0]).fail("each[0]/a").resolve("each[0]/a", action, 5)
    assert flow.state.output == [value]


def test_collect_that_fails_after_an_operators_decision_fails_the_step() -> None:
    line = each("input", f"{{id: a, {TASK}, retry: {{on_exhausted: PARK}}}}", 'collect: "${result.missing}"')
    flow = started(line, given=[0]).fail("each[0]/a").resolve("each[0]/a", "SKIP")
    assert flow.error.type == EXPRESSION_ERROR


def test_one_failed_item_fails_all() -> None:
    flow = started(each("input", tasks("a")), given=[1, 2]).hold("each[1]/a").fail("each[0]/a")
    assert flow.names == ["StepFailed", "ScopeClosing"]
    assert flow.complete("each[1]/a").error.type == "Broken"


CONTINUE = "on_item_error: CONTINUE"


def test_going_on_without_failed_items() -> None:
    flow = started(
        each("input", tasks("a"), CONTINUE),
        "id: z, set: {r: '${steps.each.result}', f: '${steps.each.failures}'}",
        given=["x", "y"],
    )
    flow.fail("each[0]/a").complete("each[1]/a", 2)
    failures = [
        {
            "index": 0,
            "item": "x",
            "error": {"type": "Broken", "message": "each[0]/a broke", "details": None, "retryable": True},
        }
    ]
    assert flow.state.output == {"r": [None, 2], "f": failures}


def test_a_failed_item_makes_room_for_the_next() -> None:
    flow = started(each("input", tasks("a", "b"), f"{CONTINUE}, max_concurrency: 1"), given=[1, 2]).fail("each[0]/a")
    assert flow.open == ["each[1]/a"]


def test_too_many_failed_items_fail_the_foreach() -> None:
    flow = started(each("input", tasks("a"), f"{CONTINUE}, max_failures: '1'"), given=[1, 2, 3, 4])
    flow.hold("each[2]/a").fail("each[0]/a")
    assert flow.status is Status.RUNNING
    flow.fail("each[1]/a")
    assert (flow.names, flow.open) == (["StepFailed", "ScopeClosing"], ["each[2]/a"])
    flow.complete("each[2]/a")
    assert (flow.error.type, flow.error.cause and flow.error.cause.type) == ("TooManyItemFailures", "Broken")


def test_an_item_that_closes_holds_the_next_back() -> None:
    inner = f"{{{branches(tasks('a'), tasks('b'))}}}"
    flow = started(each("input", inner, f"{CONTINUE}, max_concurrency: 1"), given=[1, 2])
    flow.hold("each[0]/par/b1/b").fail("each[0]/par/b0/a")
    assert flow.open == ["each[0]/par/b1/b"]
    flow.complete("each[0]/par/b1/b")
    assert flow.open == ["each[1]/par/b0/a", "each[1]/par/b1/b"]


def test_nested_items_have_their_paths_and_names() -> None:
    step = f"{{id: a, {TASK[:-1]}, input: ['${{outer.n}}', '${{x}}', '${{index}}']}}}}"
    inner = f"{{id: inner, foreach: {{items: outer.l, as: x, steps: [{step}]}}}}"
    flow = started(each("input", inner, "as: outer"), given=[{"n": "p", "l": [1]}, {"n": "q", "l": [2, 3]}])
    assert flow.open == ["each[0]/inner[0]/a", "each[1]/inner[0]/a", "each[1]/inner[1]/a"]
    inputs = [event.input for event in flow.last if isinstance(event, StepScheduled) and event.operation]
    assert inputs == [["p", 1, 0], ["q", 2, 0], ["q", 3, 1]]
    flow.complete("each[1]/inner[1]/a", "c").complete("each[0]/inner[0]/a", "a").complete("each[1]/inner[0]/a", "b")
    assert flow.state.output == [["a"], ["b", "c"]]


def test_a_handled_foreach_leaves_its_items_behind() -> None:
    line = each("input", tasks("a", "b")) + f", on_error: [{{steps: [{tasks('h')}]}}]"
    flow = started(line, given=[1, 2, 3]).hold("each[1]/a", "each[2]/a").fail("each[0]/a")
    flow.complete("each[1]/a").complete("each[2]/a")
    assert flow.open == ["each/on_error/h"]
    flow.left = {"": None}
    assert flow.proceed(forgetful=True).open == ["each/on_error/h"]
    assert flow.complete("each/on_error/h", "ok").state.output == "ok"


@pytest.mark.parametrize(
    "line",
    [
        each("input.missing", tasks("a")),
        each("input.word", tasks("a")),
        each("input.list", tasks("a"), f"{CONTINUE}, max_failures: input.word"),
        each("input.list", tasks("a"), f"{CONTINUE}, max_failures: '-1'"),
        each("input.list", tasks("a"), f"{CONTINUE}, max_failures: '1.0 / 0.0'"),
        "id: s, switch: {cases: [{when: input.word, steps: [{id: a, set: {}}]}]}",
        "id: s, sequence: {steps: [{id: a, set: {}}]}, output: '${result.missing}'",
        "id: s, set: {v: '${input.missing}'}",
        "id: s, wait: {duration: '${input.word}'}",
        "id: s, wait: {until: input.word}",
        "id: s, receive: {event: e, timeout: '${input.word}'}",
        "id: s, receive: {event: e, until: input.missing}",
        "id: s, fail: {type: '${input.missing}'}",
        "id: s, finish: {output: '${input.missing}'}",
    ],
)
def test_expression_errors_are_failures_that_on_error_takes(line: str) -> None:
    handled = f"{line}, on_error: [{{match: [{EXPRESSION_ERROR}], steps: [{{id: h, set: {{v: '${{error.type}}'}}}}]}}]"
    flow = started(handled, given={"word": "w", "list": [1]})
    assert (flow.status, flow.state.output) == (Status.COMPLETED, {"v": EXPRESSION_ERROR})
    assert started(line, given={"word": "w", "list": [1]}).error.type == EXPRESSION_ERROR


def test_a_foreach_with_too_many_items_fails() -> None:
    flow = started(each("input", tasks("a")), given=[1, 2, 3], foreach_items_max=2)
    assert "foreach_items_max is 2" in flow.error.message


# The other kinds


def test_a_failure_on_purpose() -> None:
    flow = started(
        "id: f, fail: {type: '${input.t}', message: 'n is ${input.n}', details: {n: '${input.n}'}}",
        given={"t": "T", "n": 3},
    )
    assert flow.error == Failure("T", "n is 3", {"n": 3}, retryable=False)


def test_a_wait_ends_at_its_time() -> None:
    flow = started("id: w, wait: {duration: 90s}", "id: z, set: {}")
    assert flow.rows.timers == {("w", "wait"): flow.now + 90 * SECOND}
    assert flow.fire("w", "wait").status is Status.COMPLETED


def test_a_wait_for_a_time_that_has_passed_is_over() -> None:
    assert started("id: w, wait: {until: '2020-01-01T00:00:00Z'}").status is Status.COMPLETED


def test_a_wait_until_a_computed_time() -> None:
    flow = started("id: w, wait: {until: \"now + duration('90s')\"}")
    assert flow.rows.timers == {("w", "wait"): flow.now + 90 * SECOND}


def test_finish_ends_everything_at_once() -> None:
    flow = started(
        branches(tasks("a"), "{id: w, wait: {duration: 1s}}, {id: end, finish: {output: {v: 1}}}"), f"id: z, {TASK}"
    )
    flow.hold("par/b0/a").fire("par/b1/w", "wait")
    assert (flow.status, flow.state.output, flow.rows.tasks) == (Status.COMPLETED, {"v": 1}, {})
    assert flow.run("par/b0/a").state is StepState.CANCELLED
