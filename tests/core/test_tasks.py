"""Tasks: attempts, retries, time limits, lost deliveries, and what operators do with parked ones."""

import pytest
from tests.core.flow import SECOND, TASK, Flow, of_steps

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import effects as fx
from callboard.runtime.core.failures import EXPRESSION_ERROR, TIMEOUT, WORKER_LOST, Failure
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.turn import Limits
from callboard.runtime.core.values import Opaque


def task(more: str = "", *others: str, rest: str = "") -> Flow:
    return Flow(of_steps(f"id: a, {TASK}{', ' + more if more else ''}", *others, rest=rest)).start({"n": 5})


def retried(policy: str) -> Flow:
    return task(f"retry: {{{policy}}}")


def delay(flow: Flow) -> float:
    return (flow.rows.timers["a", "retry"] - flow.now) / SECOND


def test_a_linear_flow_completes_with_its_last_result() -> None:
    flow = task("", f"id: b, {TASK[:-1]}, input: {{n: '${{steps.a.result.n}}'}}}}")
    flow.complete("a", {"n": 1})
    (opened,) = [effect for effect in flow.effects if isinstance(effect, fx.OpenTask)]
    assert (opened.path, opened.operation, opened.input) == ("b", "s.o", {"n": 1})
    flow.complete("b", "done")
    assert (flow.status, flow.state.output, flow.state.state) == (Status.COMPLETED, "done", "completed")


def test_the_effect_names_the_event_that_holds_the_input() -> None:
    flow = task()
    (opened,) = flow.effects
    assert isinstance(opened, fx.OpenTask)
    assert opened.scheduled == 2 == flow.run("a").scheduled


def test_without_a_policy_there_is_one_attempt() -> None:
    flow = task().fail("a")
    assert (flow.status, flow.error) == (Status.FAILED, Failure("Broken", "a broke"))


def test_a_retry_waits_for_its_timer_and_is_the_next_attempt() -> None:
    flow = retried("max_attempts: 2, initial_backoff: 4s").fail("a")
    assert (flow.run("a").state, flow.open, delay(flow)) == (StepState.RETRYING, [], 4)
    flow.fire("a", "retry")
    assert (flow.run("a").state, flow.rows.tasks) == (StepState.SCHEDULED, {"a": 2})
    assert flow.fail("a").status is Status.FAILED


def test_a_success_after_a_failure_leaves_no_error() -> None:
    flow = retried("max_attempts: 2").fail("a").fire("a", "retry").complete("a", 1)
    assert (flow.status, flow.run("a").error) == (Status.COMPLETED, None)


def test_backoff_grows_up_to_its_cap() -> None:
    flow = retried("max_attempts: 0, initial_backoff: 1s, backoff_factor: 3, max_backoff: 20s")
    delays = []
    for _ in range(5):
        flow.fail("a")
        delays.append(delay(flow))
        flow.fire("a", "retry")
    assert delays == [1, 3, 9, 20, 20]


def test_unlimited_attempts_never_overflow() -> None:
    flow = retried("max_attempts: 0, initial_backoff: 1h, backoff_factor: 1000")
    flow.state.runs["a"].attempt = 5_000
    command = cmd.FailTask("a", 5_000, Failure("Broken"))
    flow.history.clear()
    flow.replayed = lambda: flow.state  # type: ignore[method-assign]  # the attempt was not made by events
    flow.rows.tasks["a"] = 5_000
    flow.do(command)
    assert flow.run("a").state is StepState.RETRYING


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 5), (0.5, 10), (0.75, 12.5)])
def test_jitter_shortens_or_lengthens_by_its_share(chance: float, seconds: float) -> None:
    flow = retried("max_attempts: 2, initial_backoff: 10s, jitter: 0.5").fail("a", chance=chance)
    assert delay(flow) == seconds


def test_a_worker_may_say_when() -> None:
    assert delay(retried("max_attempts: 2, initial_backoff: 10s").fail("a", retry_after=90 * SECOND)) == 90


@pytest.mark.parametrize(
    ("policy", "kind", "retryable"),
    [
        ("non_retryable: [Broken]", "Broken", True),
        ("retry_on: [Other]", "Broken", True),
        ("jitter: 0", "Broken", False),
    ],
)
def test_what_is_not_retried_fails_at_once(policy: str, kind: str, retryable: bool) -> None:
    flow = retried(f"max_attempts: 5, {policy}").fail("a", kind, retryable=retryable)
    assert flow.status is Status.FAILED


def test_retry_on_names_what_is_retried() -> None:
    assert retried("max_attempts: 5, retry_on: [Broken]").fail("a").run("a").state is StepState.RETRYING


# Answers that come too late


def test_answers_of_other_attempts_are_stale() -> None:
    flow = retried("max_attempts: 2").fail("a")
    assert isinstance(flow.do(cmd.CompleteTask("a", 1, 1)), Refusal)
    flow.fire("a", "retry")
    refused = flow.do(cmd.CompleteTask("a", 1, 1))
    assert isinstance(refused, Refusal)
    assert refused.reason == "STALE_TOKEN"
    assert isinstance(flow.do(cmd.LoseDelivery("a", 1)), Refusal)
    assert isinstance(flow.do(cmd.FailTask("nowhere", 1, Failure("X"))), Refusal)


def test_the_first_answer_counts() -> None:
    flow = task("", "id: b, receive: {event: go}").complete("a", 1)
    assert isinstance(flow.do(cmd.FailTask("a", 1, Failure("X"))), Refusal)


# Lost deliveries


def test_a_lost_delivery_is_the_same_attempt_again() -> None:
    flow = task().hold("a").lose("a")
    assert (flow.names, flow.rows.tasks) == (["StepDeliveryLost"], {"a": 1})
    assert [type(effect) for effect in flow.effects] == [fx.OpenTask]


def test_ten_deliveries_lost_in_a_row_fail_the_step() -> None:
    flow = task("retry: {max_attempts: 0}")
    for _ in range(9):
        flow.lose("a")
    assert flow.status is Status.RUNNING
    assert flow.lose("a").error.type == WORKER_LOST


def test_another_attempt_counts_its_losses_afresh() -> None:
    flow = retried("max_attempts: 2")
    for _ in range(9):
        flow.lose("a")
    flow.fail("a").fire("a", "retry").lose("a")
    assert (flow.status, flow.run("a").losses) == (Status.RUNNING, 1)


# Time limits


def test_the_time_of_an_attempt_is_told_to_the_dispatcher() -> None:
    (opened,) = task("timeouts: {attempt: 7s}").effects
    assert isinstance(opened, fx.OpenTask)
    assert opened.attempt_timeout == 7 * SECOND


def test_a_task_that_no_worker_takes_in_time_fails() -> None:
    flow = task("timeouts: {queue: 5s}, retry: {max_attempts: 3}").fire("a", "queue")
    assert (flow.status, flow.error.type) == (Status.FAILED, TIMEOUT)


def test_a_task_in_hand_does_not_time_out_in_the_queue() -> None:
    flow = task("timeouts: {queue: 5s}").hold("a").fire("a", "queue")
    assert (flow.status, flow.names, flow.rows.timers) == (Status.RUNNING, ["TimerFired"], {})


def test_each_time_in_the_queue_is_limited() -> None:
    flow = task("timeouts: {queue: 5s}, retry: {max_attempts: 2}").hold("a").fire("a", "queue").lose("a")
    assert ("a", "queue") in flow.rows.timers
    flow.fail("a")
    assert list(flow.rows.timers) == [("a", "retry")]
    flow.fire("a", "retry")
    assert flow.rows.timers == {("a", "queue"): flow.now + 5 * SECOND}
    assert flow.fire("a", "queue").error.type == TIMEOUT


def test_the_total_time_covers_backoffs() -> None:
    flow = task("timeouts: {total: 5s}, retry: {max_attempts: 3, initial_backoff: 60s}").fail("a").fire("a", "total")
    assert (flow.error.type, flow.rows.timers) == (TIMEOUT, {})


def test_limits_may_be_expressions() -> None:
    flow = task("timeouts: {total: '${string(input.n) + \"s\"}', queue: '${\"2s\"}'}")
    assert flow.rows.timers == {("a", "total"): flow.now + 5 * SECOND, ("a", "queue"): flow.now + 2 * SECOND}


@pytest.mark.parametrize("limit", ["queue", "attempt", "total"])
def test_a_limit_that_is_no_duration_fails_the_step(limit: str) -> None:
    handler = f"on_error: [{{match: [{EXPRESSION_ERROR}], steps: [{{id: h, set: {{}}}}]}}]"
    flow = task(f"timeouts: {{{limit}: '${{input.n}}'}}, {handler}")
    assert (flow.status, flow.open) == (Status.COMPLETED, [])


def test_a_timer_that_comes_twice_or_late_is_nothing() -> None:
    flow = task("timeouts: {total: 5s}")
    due = flow.rows.timers["a", "total"]
    flow.do(cmd.FireTimer("a", "total", due - 1))
    assert (flow.names, flow.rows.timers) == ([], {("a", "total"): due})
    flow.do(cmd.FireTimer("a", "queue", due))
    assert (flow.names, flow.status) == ([], Status.RUNNING)
    flow.complete("a")
    flow.do(cmd.FireTimer("a", "total", due))
    assert flow.names == []


# Parked


def parked(policy: str = "on_exhausted: PARK", *others: str, rest: str = "") -> Flow:
    return task(f"retry: {{{policy}}}", *others, rest=rest).fail("a")


def test_a_parked_step_waits_for_an_operator() -> None:
    flow = parked()
    assert (flow.status, flow.run("a").state, flow.open) == (Status.RUNNING, StepState.PARKED, [])
    assert flow.state.incidents["a"].failure.type == "Broken"
    assert isinstance(flow.do(cmd.CompleteTask("a", 1, 1)), Refusal)


def test_retry_now_is_another_attempt_with_a_fresh_budget() -> None:
    flow = parked("on_exhausted: PARK, max_attempts: 2").fire("a", "retry").fail("a")
    assert flow.run("a").state is StepState.PARKED
    flow.resolve("a", "RETRY_NOW")
    assert (flow.rows.tasks, flow.state.incidents) == ({"a": 3}, {})
    assert flow.fail("a").run("a").state is StepState.RETRYING
    assert flow.fire("a", "retry").fail("a").run("a").state is StepState.PARKED


def test_retry_now_does_not_wait_for_the_backoff() -> None:
    flow = task("retry: {max_attempts: 2, initial_backoff: 30d}").fail("a").resolve("a", "RETRY_NOW")
    assert (flow.rows.tasks, flow.rows.timers) == ({"a": 2}, {})
    assert flow.fail("a").status is Status.FAILED


def test_retry_now_sets_the_limits_again() -> None:
    flow = task("retry: {on_exhausted: PARK}, timeouts: {total: 9s, queue: 3s}").fail("a").resolve("a", "RETRY_NOW")
    assert set(flow.rows.timers) == {("a", "total"), ("a", "queue")}


def test_skip_goes_on_without_a_result() -> None:
    flow = parked("on_exhausted: PARK", "id: b, set: {seen: '${has(steps.a.result)}'}").resolve("a", "SKIP")
    assert (flow.run("a").state, flow.state.output) == (StepState.SKIPPED, {"seen": False})


def test_complete_goes_on_with_the_operators_result() -> None:
    flow = parked("on_exhausted: PARK", "id: b, set: {seen: '${steps.a.result}'}").resolve("a", "COMPLETE", 3)
    assert (flow.run("a").error, flow.state.output) == (None, {"seen": 3})


def test_fail_is_the_final_failure() -> None:
    flow = parked().resolve("a", "FAIL")
    assert (flow.status, flow.error.type) == (Status.FAILED, "Broken")


def test_fail_is_handled_like_any_failure() -> None:
    flow = task("retry: {on_exhausted: PARK}, on_error: [{steps: [{id: h, set: {v: 1}}]}]").fail("a")
    assert flow.run("a").state is StepState.PARKED
    assert flow.resolve("a", "FAIL").state.output == {"v": 1}


def test_park_decides_every_final_failure() -> None:
    assert parked().run("a").state is StepState.PARKED
    limited = task("retry: {on_exhausted: PARK, max_attempts: 3}, timeouts: {total: 5s}").fire("a", "total")
    assert limited.run("a").state is StepState.PARKED
    unresolved = task("retry: {on_exhausted: PARK}, when: 'input.missing'")
    assert unresolved.run("a").state is StepState.PARKED
    assert isinstance(unresolved.do(cmd.Resolve("a", cmd.ResolveAction.RETRY_NOW)), Refusal)
    assert unresolved.resolve("a", "COMPLETE", 1).status is Status.COMPLETED


def test_a_parked_step_whose_handler_failed_can_run_again() -> None:
    flow = task("on_error: [{match: [Broken], steps: [{id: h, fail: {type: Worse}}]}]", rest="on_failure: PARK").fail(
        "a"
    )
    assert set(flow.state.incidents) == {"a/on_error/h"}
    flow.resolve("a/on_error/h", "COMPLETE", 7)
    assert flow.state.output == 7


def test_only_what_is_parked_can_be_resolved() -> None:
    flow = task()
    for path, reason in (("a", "STEP_STATE_FORBIDS"), ("", "STEP_STATE_FORBIDS"), ("nowhere", "STEP_NOT_FOUND")):
        refused = flow.do(cmd.Resolve(path, cmd.ResolveAction.SKIP))
        assert isinstance(refused, Refusal)
        assert refused.reason == reason


# Values


def test_payloads_that_are_not_json_pass_through_whole() -> None:
    raw = Opaque("image/png", b"\x89")
    flow = Flow(of_steps(f"id: a, {TASK[:-1]}, input: '${{input}}'}}", "id: b, set: {v: '${steps.a.result}'}")).start(
        raw
    )
    (opened,) = flow.effects
    assert isinstance(opened, fx.OpenTask)
    assert opened.input == raw
    assert flow.complete("a", raw).state.output == {"v": raw}


def test_they_cannot_become_text() -> None:
    raw = Opaque("image/png", b"\x89")
    assert Flow(of_steps("id: a, fail: {type: T, message: '${input}'}")).start(raw).error.type == EXPRESSION_ERROR
    labelled = Flow(of_steps("id: a, set: {}", rest="labels: {l: '${input}'}"))
    assert isinstance(labelled.do(cmd.Start("d", 1, raw)), Refusal)
    assert labelled.state.sequence == 0


def test_an_output_replaces_the_result() -> None:
    flow = task("output: {doubled: '${result * 2}'}").complete("a", 4)
    assert flow.state.output == {"doubled": 8}


@pytest.mark.parametrize("more", ["when: input.missing", "output: '${result.missing}'"])
def test_an_expression_error_is_a_failure_that_on_error_takes(more: str) -> None:
    flow = task(
        f"{more}, on_error: [{{match: [{EXPRESSION_ERROR}], steps: [{{id: h, set: {{t: '${{error.message}}'}}}}]}}]"
    )
    if flow.open:
        flow.complete("a", {})
    assert flow.status is Status.COMPLETED
    assert "missing" in flow.state.output["t"]


def test_an_input_that_cannot_be_made_fails_the_step_before_it_is_queued() -> None:
    flow = Flow(of_steps(f"id: a, {TASK[:-1]}, input: {{v: '${{input.missing}}'}}}}")).start({})
    assert (flow.error.type, flow.names[1:3]) == (EXPRESSION_ERROR, ["StepScheduled", "StepFailed"])


def test_losses_are_bounded_by_the_limit_given() -> None:
    flow = Flow(of_steps(f"id: a, {TASK}"), Limits(max_deliveries=1)).start().lose("a")
    assert flow.error.type == WORKER_LOST
