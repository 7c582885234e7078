"""Definition to plan: the plan's shape, and every mistake of sense with its place."""

from pathlib import Path
from typing import Any

import pytest

from callboard.runtime.core.compiler import Compiled, compile_definition
from callboard.runtime.core.nodes import DefinitionLimits, render
from callboard.runtime.core.plan import EmitBody, ForeachBody, ParallelBody, Plan, ReceiveBody, TaskBody, WaitBody
from callboard.runtime.core.reader import read_definition
from callboard.runtime.loader import load
from callboard.runtime.schemas import Validator, check_schema, misfits_of

TASK = "task: {service: s, operation: o}"


def compiled(text: str, **limits: int) -> Compiled:
    return compile_definition(read_definition(load("f.yaml", text), "f.yaml"), 7, DefinitionLimits(**limits))


def steps(*lines: str, rest: str = "") -> Compiled:
    return compiled("id: d\n" + rest + "\nsteps:\n" + "\n".join(f"  - {{{line}}}" for line in lines))


def plan(*lines: str, rest: str = "") -> Plan:
    found = steps(*lines, rest=rest)
    assert found.violations == ()
    assert found.plan is not None
    return found.plan


def problems(*lines: str, rest: str = "") -> list[tuple[str, str]]:
    return [(one.path, one.code) for one in steps(*lines, rest=rest).violations]


def warnings(*lines: str, rest: str = "") -> list[tuple[str, str]]:
    found = steps(*lines, rest=rest)
    assert found.violations == ()
    return [(one.path, one.code) for one in found.warnings]


# The plan


def test_steps_know_their_blocks_positions_and_paths() -> None:
    found = plan(
        "id: seq, sequence: {steps: [{id: a, set: {}}]}",
        "id: par, parallel: {branches: [{id: left, steps: [{id: b, set: {}}]}]}",
        "id: each, foreach: {items: '[1]', as: x, steps: [{id: c, foreach: {items: x,"
        " steps: [{id: e, set: {v: '${item}'}}]}}]}",
        "id: pick, switch: {cases: [{when: 'true', steps: [{id: f, set: {}}]}], default: [{id: g, set: {}}]}",
        f"id: t, {TASK}, on_error: [{{match: [A], steps: [{{id: h, set: {{v: '${{error.type}}'}}}}]}}]",
    )
    assert {name: step.path((4, 2)) for name, step in found.steps.items()} == {
        "seq": "seq",
        "a": "seq/a",
        "par": "par",
        "b": "par/left/b",
        "each": "each",
        "c": "each[4]/c",
        "e": "each[4]/c[2]/e",
        "pick": "pick",
        "f": "pick/f",
        "g": "pick/g",
        "t": "t",
        "h": "t/on_error/h",
    }
    assert found.version == 7
    assert [step.is_last for step in found.root.steps] == [False, False, False, False, True]
    assert found.steps["e"].item_names == {"x": 0, "item": 1}
    assert found.steps["h"].block is found.steps["t"].handlers[0].block
    assert found.steps["h"].block.owner is found.steps["t"]
    branches = found.steps["par"].body
    assert isinstance(branches, ParallelBody)
    assert branches.branches[0][1].suffix == "/left"


def test_defaults_are_merged_field_by_field_for_tasks_only() -> None:
    found = plan(
        f"id: a, {TASK}, retry: {{max_attempts: 3}}, timeouts: {{total: 1h}}",
        f"id: b, {TASK}, retry: {{on_exhausted: PARK, non_retryable: [X]}}",
        "id: c, set: {}",
        rest="defaults: {retry: {max_attempts: 5, initial_backoff: 200ms, non_retryable: [Y]},"
        " timeouts: {attempt: 10s, total: 10m}}",
    )
    a, b, c = (found.steps[name] for name in "abc")
    assert (a.retry.max_attempts, a.retry.initial_backoff, a.retry.non_retryable) == (3, 200_000, ("Y",))
    assert (a.timeouts.attempt, a.timeouts.total) == (10_000_000, 3_600_000_000)
    assert (b.retry.max_attempts, b.retry.park, b.retry.non_retryable) == (5, True, ("X",))
    assert (c.retry.max_attempts, c.timeouts.total) == (1, None)


def test_kinds_are_compiled_with_all_their_fields() -> None:
    found = plan(
        f"id: t, {TASK[:-1]}, priority: 5, input: {{a: '${{input.x}}'}}}}, set_state: working",
        "id: each, foreach: {items: input.list, as: i, max_concurrency: 2, on_item_error: CONTINUE, max_failures: 3,"
        " collect: '${[i, index, result]}', steps: [{id: u, set: {v: '${i}'}}]}",
        "id: r, receive: {any_of: [{event: a}, {event: b, filter: event.x}], filter: '${event.y}',"
        " timeout: 5m, on_timeout: CONTINUE}",
        "id: w, wait: {until: '2030-01-01T00:00:00Z'}",
        "id: w2, wait: {until: \"timestamp(input.at) + duration('1h')\"}",
        "id: w3, wait: {duration: '${input.rest}'}",
    )
    task, each, receive = (found.steps[name].body for name in ("t", "each", "r"))
    assert isinstance(task, TaskBody)
    assert (task.operation, task.priority) == ("s.o", 5)
    assert isinstance(each, ForeachBody)
    assert (each.item_name, each.max_concurrency, each.continue_on_error) == ("i", 2, True)
    assert each.collect is not None
    assert isinstance(receive, ReceiveBody)
    assert [(name, filter_ is None) for name, filter_ in receive.events] == [("a", False), ("b", False)]
    assert (receive.timeout, receive.continue_on_timeout) == (300_000_000, True)
    constant, computed, rest = (found.steps[name].body for name in ("w", "w2", "w3"))
    assert isinstance(constant, WaitBody) and constant.until is not None and constant.until.constant
    assert isinstance(computed, WaitBody) and computed.until is not None and not computed.until.constant
    assert isinstance(rest, WaitBody) and not isinstance(rest.duration, int | None)
    assert found.steps["t"].state is not None


def test_published_events_are_emitted_and_waited_for_by_key() -> None:
    found = plan(
        "id: a, set: {id: 7}",
        "id: tell, emit: {name: order.paid, key: 'string(steps.a.result.id)', payload: {id: '${steps.a.result.id}'}}",
        "id: bare, emit: {name: done}",
        "id: each, foreach: {items: input.lines, steps: [{id: hear, receive: {event: x, key: '${item.id}'}}]}",
    )
    tell, bare, hear = (found.steps[name].body for name in ("tell", "bare", "hear"))
    assert isinstance(tell, EmitBody)
    assert tell.key is not None and tell.payload is not None
    assert (tell.name, tell.key.references) == ("order.paid", (("steps", "a", "result", "id"),))
    assert bare == EmitBody("done")
    assert isinstance(hear, ReceiveBody)
    assert hear.key is not None and hear.key.source == "item.id"


def test_a_condition_may_be_one_dollar_expression() -> None:
    first, second = plan("id: a, when: '${input.x}', set: {}", "id: b, when: input.x, set: {}").root.steps
    assert first.when is not None and second.when is not None
    assert first.when.source == second.when.source


def test_on_failure_and_typed_input() -> None:
    found = plan("id: a, set: {}", rest="on_failure: PARK\ninput_schema: {properties: {n: {type: number}}}")
    assert found.park_on_failure
    assert found.typed_input is not None
    assert found.typed_input({"n": 1}) == {"n": 1.0}


# Structure


@pytest.mark.parametrize(
    ("line", "path", "code"),
    [
        ("id: a", "steps[0]", "KIND"),
        ("id: a, set: {}, finish: {}", "steps[0]", "KIND"),
        ("id: A, set: {}", "steps[0].id", "INVALID_ID"),
        ("id: in, set: {}", "steps[0].id", "INVALID_ID"),
        ("id: on_error, set: {}", "steps[0].id", "INVALID_ID"),
        ("set: {}", "steps[0].id", "REQUIRED"),
        ("id: a, sequence: {}", "steps[0].sequence.steps", "REQUIRED"),
        ("id: a, parallel: {}", "steps[0].parallel.branches", "REQUIRED"),
        ("id: a, switch: {cases: [{steps: [{id: b, set: {}}]}]}", "steps[0].switch.cases[0].when", "REQUIRED"),
        ("id: a, task: {service: s}", "steps[0].task.operation", "REQUIRED"),
        ("id: a, task: {service: s, operation: x.o}", "steps[0].task.operation", "INVALID_ID"),
        ("id: a, task: {service: s, operation: o, priority: 5000}", "steps[0].task.priority", "OUT_OF_RANGE"),
        ("id: a, wait: {}", "steps[0].wait", "CONFLICT"),
        ("id: a, wait: {duration: 5}", "steps[0].wait.duration", "INVALID_DURATION"),
        ("id: a, wait: {duration: 'in ${input.x}'}", "steps[0].wait.duration", "INVALID_DURATION"),
        ("id: a, receive: {event: x, timeout: 0s}", "steps[0].receive.timeout", "OUT_OF_RANGE"),
        ("id: a, receive: {event: x, any_of: [{event: y}]}", "steps[0].receive", "CONFLICT"),
        ("id: a, receive: {event: x, on_timeout: FAIL}", "steps[0].receive.on_timeout", "CONFLICT"),
        ("id: a, receive: {event: 'a b'}", "steps[0].receive.event", "INVALID_ID"),
        ("id: a, receive: {event: '${input.x}'}", "steps[0].receive.event", "CONSTANT"),
        ("id: a, receive: {any_of: [{filter: event.x}]}", "steps[0].receive.any_of[0].event", "REQUIRED"),
        ("id: a, receive: {event: x, key: steps.a.result}", "steps[0].receive.key", "UNREACHABLE_STEP"),
        ("id: a, receive: {event: x, key: event.id}", "steps[0].receive.key", "INVALID_EXPRESSION"),
        ("id: a, emit: {}", "steps[0].emit.name", "REQUIRED"),
        ("id: a, emit: {name: -x}", "steps[0].emit.name", "INVALID_ID"),
        (f"id: a, emit: {{name: {'x' * 256}}}", "steps[0].emit.name", "INVALID_ID"),
        ("id: a, emit: {name: 'x.${input.y}'}", "steps[0].emit.name", "CONSTANT"),
        ("id: a, emit: {name: x, key: '1 +'}", "steps[0].emit.key", "INVALID_EXPRESSION"),
        ("id: a, emit: {name: x, payload: {a: '${steps.a.result}'}}", "steps[0].emit.payload.a", "UNREACHABLE_STEP"),
        ("id: a, emit: {name: x}, retry: {max_attempts: 2}", "steps[0].retry", "CONFLICT"),
        ("id: a, fail: {}", "steps[0].fail.type", "REQUIRED"),
        ("id: a, fail: {type: Timeout}", "steps[0].fail.type", "RESERVED"),
        ("id: a, set: {}, retry: {max_attempts: 2}", "steps[0].retry", "CONFLICT"),
        ("id: a, set: {}, timeouts: {total: 1s}", "steps[0].timeouts", "UNSUPPORTED_FEATURE"),
        ("id: a, set: {}, set_state: '${input.x}'", "steps[0].set_state", "CONSTANT"),
        ("id: a, foreach: {items: x, as: vars, steps: [{id: b, set: {}}]}", "steps[0].foreach.as", "INVALID_ID"),
        (f"id: a, {TASK}, retry: {{max_attempts: -1}}", "steps[0].retry.max_attempts", "OUT_OF_RANGE"),
        (f"id: a, {TASK}, retry: {{jitter: 1.5}}", "steps[0].retry.jitter", "OUT_OF_RANGE"),
        (f"id: a, {TASK}, retry: {{backoff_factor: 0.5}}", "steps[0].retry.backoff_factor", "OUT_OF_RANGE"),
        (f"id: a, {TASK}, retry: {{initial_backoff: 5s, max_backoff: 1s}}", "steps[0].retry", "CONFLICT"),
        (f"id: a, {TASK}, retry: {{initial_backoff: '${{x}}'}}", "steps[0].retry.initial_backoff", "CONSTANT"),
        (f"id: a, {TASK}, retry: {{retry_on: [A], non_retryable: [A]}}", "steps[0].retry", "CONFLICT"),
        (f"id: a, {TASK}, timeouts: {{attempt: 0s}}", "steps[0].timeouts.attempt", "OUT_OF_RANGE"),
    ],
)
def test_mistakes_of_structure(line: str, path: str, code: str) -> None:
    assert (path, code) in problems(line)


def test_ids_are_unique_in_the_whole_definition() -> None:
    found = steps("id: a, sequence: {steps: [{id: b, set: {}}]}", "id: b, set: {}").violations
    assert [one.located for one in found] == [
        "f.yaml:5:10: steps[1].id: the id 'b' is used twice; first at steps[0].sequence.steps[0].id (line 4)"
    ]


def test_a_definition_needs_an_id_and_steps() -> None:
    assert [(one.path, one.code) for one in compiled("description: x").violations] == [
        ("id", "REQUIRED"),
        ("steps", "REQUIRED"),
    ]


def test_limits_are_named() -> None:
    many = "id: d\nsteps:\n" + "".join(f"  - {{id: s{number}, set: {{}}}}\n" for number in range(5))
    assert "definition_steps_max = 4" in compiled(many, definition_steps_max=4).violations[0].message


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f"id: a, {TASK}, compensate: {{service: s, operation: u}}", "steps[0].compensate"),
        (f"id: a, {TASK}, poll: {{until: result}}", "steps[0].poll"),
        (f"id: a, {TASK}, labels: {{a: b}}", "steps[0].labels"),
        (f"id: a, {TASK}, version: 1.0", "steps[0].version"),
        (f"id: a, {TASK}, renamed_from: b", "steps[0].renamed_from"),
        (f"id: a, {TASK}, retry: {{max_deliveries: 3}}", "steps[0].retry.max_deliveries"),
        (f"id: a, {TASK}, timeouts: {{heartbeat: 3s}}", "steps[0].timeouts.heartbeat"),
        (f"id: a, {TASK[:-1]}, mutates: false}}", "steps[0].task.mutates"),
        (f"id: a, {TASK[:-1]}, cache: {{ttl: 1s}}}}", "steps[0].task.cache"),
        ("id: a, sequence: {steps: [{id: b, subflow: {definition_id: x}}]}", "steps[0].sequence.steps[0].subflow"),
        ("id: a, loop: {until: 'true', max_iterations: 1, steps: [{id: b, set: {}}]}", "steps[0].loop"),
        ("id: a, graph: {steps: [{id: b, set: {}}]}", "steps[0].graph"),
        ("id: a, subflow: {definition_id: x}", "steps[0].subflow"),
        ("id: a, sequence: {steps: [{id: b, set: {}}]}, scope_retry: {times: 2}", "steps[0].scope_retry"),
        ("id: a, parallel: {join: ANY, branches: [{id: b, steps: [{id: c, set: {}}]}]}", "steps[0].parallel.join"),
        ("id: a, parallel: {losers: KEEP, branches: [{id: b, steps: [{id: c, set: {}}]}]}", "steps[0].parallel.losers"),
    ],
)
def test_what_is_not_executed_yet_is_refused_by_name(line: str, path: str) -> None:
    (violation,) = steps(line).violations
    assert (violation.path, violation.code) == (path, "UNSUPPORTED_FEATURE")
    assert f"`{path.rpartition('.')[2]}" in violation.message


def test_parts_of_definitions_that_are_not_executed_yet_are_refused() -> None:
    assert problems("id: a, set: {}", rest="factory: {callable: 'a:b'}") == [("factory", "UNSUPPORTED_FEATURE")]


@pytest.mark.parametrize(
    ("text", "code"), [("30 days", "INVALID_DURATION"), ("0s", "OUT_OF_RANGE"), ("'${input.days}'", "CONSTANT")]
)
def test_a_retention_is_a_constant_length_of_time(text: str, code: str) -> None:
    assert problems("id: a, set: {}", rest=f"retention: {text}") == [("retention", code)]
    plan = steps("id: a, set: {}", rest="retention: 30d").plan
    assert plan is not None and plan.retention == 30 * 86_400_000_000


def test_the_flows_of_the_contract_are_refused_for_what_is_not_executed_yet_only(repository: Path) -> None:
    for flow in sorted((repository / "tests" / "flows").glob("*.yaml")):
        found = compile_definition(read_definition(load(flow.name, flow.read_text()), flow.name))
        assert {one.code for one in found.violations} == {"UNSUPPORTED_FEATURE"}
        assert not [one.path for one in found.violations if one.path.startswith("triggers")]
        assert found.warnings == ()


# Expressions


def test_an_expression_that_does_not_compile_is_located_to_the_column() -> None:
    found = compiled("id: d\nsteps:\n  - id: a\n    set:\n      v: |\n        ${input.x +\n          * 2}\n").violations
    assert [(one.path, one.code, one.line) for one in found] == [("steps[0].set.v", "INVALID_EXPRESSION", 7)]
    (violation,) = compiled('id: d\nsteps:\n  - id: a\n    when: "input.x =="\n    set: {}\n').violations
    assert (violation.path, violation.line) == ("steps[0].when", 4)
    assert violation.column >= 12


def test_every_bad_expression_is_told_at_once() -> None:
    assert problems("id: a, when: '1 +', set: {x: '${(}', y: ['${nope}', '${steps.zz.result}']}") == [
        ("steps[0].when", "INVALID_EXPRESSION"),
        ("steps[0].set.x", "INVALID_EXPRESSION"),
        ("steps[0].set.y[0]", "INVALID_EXPRESSION"),
        ("steps[0].set.y[1]", "UNKNOWN_REFERENCE"),
    ]


def test_an_unknown_step_is_located_with_the_closest_id() -> None:
    (violation,) = compiled(
        "id: d\nsteps:\n  - {id: reserve, set: {}}\n  - {id: b, set: {x: '${steps.reserv.result}'}}\n"
    ).violations
    assert (violation.line, violation.column) == (4, 25)
    assert "did you mean `reserve`?" in violation.message


REFERENCES_THAT_CANNOT_EXIST: list[tuple[tuple[str, ...], str]] = [
    (("id: a, set: {x: '${steps.a.result}'}",), "it is this step"),
    (("id: a, set: {x: '${steps.b.result}'}", "id: b, set: {x: '${steps.a.result}'}"), "runs later"),
    (("id: a, sequence: {steps: [{id: b, set: {x: '${steps.a.result}'}}]}",), "is around this place"),
    (
        (
            "id: p, parallel: {branches: [{id: l, steps: [{id: a, set: {}}]},"
            " {id: r, steps: [{id: b, set: {x: '${steps.a.result}'}}]}]}",
        ),
        "another branch",
    ),
    (
        (
            "id: p, switch: {cases: [{when: 'true', steps: [{id: a, set: {}}]}],"
            " default: [{id: b, set: {x: '${steps.a.result}'}}]}",
        ),
        "another case",
    ),
    (
        ("id: f, foreach: {items: '[1]', steps: [{id: a, set: {}}]}", "id: b, set: {x: '${steps.a.result}'}"),
        "not visible outside",
    ),
    (("id: f, foreach: {items: 'steps.a.result', steps: [{id: a, set: {}}]}",), "not visible outside"),
    (
        ("id: f, foreach: {items: '[1]', steps: [{id: a, set: {}}]}, output: '${steps.a.result}'",),
        "not visible outside",
    ),
    (("id: s, when: steps.a.result, sequence: {steps: [{id: a, set: {}}]}",), "runs later"),
    (("id: a, set: {}", "id: b, set: {x: '${steps.a.failures}'}"), "no `foreach`"),
    (("id: a, set: {}", "id: b, set: {x: '${steps.a.output}'}"), "no `output`"),
    (("id: a, set: {x: '${event.y}'}",), "`event` is not bound here"),
    (("id: a, set: {x: '${error.type}'}",), "`error` is not bound here"),
    (("id: a, set: {x: '${result}'}",), "`result` is not bound here"),
    (("id: a, set: {x: '${item}'}",), "`item` is not bound here"),
    (("id: a, set: {x: '${attempt.number}'}",), "`attempt` is not bound here"),
    (("id: a, set: {x: '${trigger.id}'}",), "`trigger` is not bound here"),
    (("id: f, foreach: {items: '[1]', as: x, steps: [{id: a, set: {v: '${item}'}}]}",), "`item` is not bound here"),
    (("id: f, foreach: {items: 'index', steps: [{id: a, set: {}}]}",), "`index` is not bound here"),
    (("id: a, set: {x: '${execution.owner}'}",), "`execution` has no field `owner`"),
]


@pytest.mark.parametrize(("lines", "message"), REFERENCES_THAT_CANNOT_EXIST)
def test_a_reference_that_cannot_exist_is_an_error(lines: tuple[str, ...], message: str) -> None:
    assert any(message in one.message for one in steps(*lines).violations)


def test_labels_see_the_input_and_no_step() -> None:
    assert problems("id: a, set: {}", rest="labels: {x: '${input.a}-${execution.id}', y: '${steps.a.result}'}") == [
        ("labels.y", "INVALID_EXPRESSION")
    ]


VISIBLE: list[tuple[str, ...]] = [
    ("id: a, set: {}", "id: b, set: {x: '${steps.a.result}'}"),
    ("id: s, sequence: {steps: [{id: a, set: {}}]}, output: '${[result, steps.a.result]}'",),
    ("id: s, sequence: {steps: [{id: a, set: {}}]}", "id: b, set: {x: '${steps.a.result}'}"),
    (
        "id: p, parallel: {branches: [{id: l, steps: [{id: a, set: {}}, {id: b, set: {x: '${steps.a.result}'}}]}]}",
        "id: c, set: {x: '${steps.a.result}'}",
    ),
    (
        "id: f, foreach: {items: '[1]', collect: '${steps.a.result}', steps: [{id: a, set: {}},"
        " {id: b, set: {x: '${steps.a.result}'}}]}",
        "id: c, set: {x: '${steps.f.failures}'}",
    ),
    (
        f"id: t, {TASK}, on_error: [{{steps: [{{id: a, set: {{}}}}, "
        "{id: b, set: {x: '${[steps.a.result, error]}'}}]}]",
    ),
]


@pytest.mark.parametrize("lines", VISIBLE)
def test_what_has_run_can_be_named(lines: tuple[str, ...]) -> None:
    assert warnings(*lines) == []


MAYBE = "id: a, when: input.x, set: {}"


@pytest.mark.parametrize(
    "lines",
    [
        (MAYBE, "id: b, set: {x: '${steps.a.result}'}"),
        (MAYBE, "id: b, when: steps.a.result, set: {}"),
        ("id: s, when: input.x, sequence: {steps: [{id: a, set: {}}]}", "id: b, set: {x: '${steps.a.result}'}"),
        (
            "id: s, switch: {cases: [{when: input.x, steps: [{id: a, set: {}}]}]}",
            "id: b, set: {x: '${steps.a.result}'}",
        ),
        (
            "id: s, sequence: {steps: [{id: a, set: {}}]},"
            " on_error: [{steps: [{id: h, set: {x: '${steps.a.result}'}}]}]",
        ),
    ],
)
def test_naming_what_may_be_skipped_is_a_warning(lines: tuple[str, ...]) -> None:
    assert [code for _, code in warnings(*lines)] == ["MAY_BE_SKIPPED"]


@pytest.mark.parametrize(
    "second",
    [
        "id: b, set: {x: '${has(steps.a.result) ? steps.a.result : null}'}",
        "id: b, set: {x: '${steps.a.?result.orValue(1)}'}",
        "id: b, when: input.x, set: {x: '${steps.a.result}'}",
        "id: b, when: 'has(steps.a.result)', set: {x: '${steps.a.result}'}",
        "id: b, when: input.x, sequence: {steps: [{id: c, set: {x: '${steps.a.result}'}}]}",
        "id: b, switch: {cases: [{when: 'has(steps.a.result)', steps: [{id: c, set: {x: '${steps.a.result}'}}]}]}",
    ],
)
def test_a_guard_takes_the_warning_away(second: str) -> None:
    assert warnings(MAYBE, second) == []


def test_a_variable_that_nobody_sets_is_a_warning() -> None:
    assert warnings("id: a, set: {total: 1}", "id: b, set: {x: '${vars.totl}'}") == [
        ("steps[1].set.x", "UNKNOWN_VARIABLE")
    ]


# Reading and compiling together


def test_what_could_not_be_read_is_not_blamed_twice() -> None:
    assert problems("id: a, tsak: {}", "name: b, set: {}", "id: c, set: {x: '${steps.b.result}', y: '${nope}'}") == [
        ("steps[0].tsak", "UNKNOWN_FIELD"),
        ("steps[1].name", "UNKNOWN_FIELD"),
        ("steps[2].set.y", "INVALID_EXPRESSION"),
    ]


def test_mistakes_of_form_and_of_sense_come_together_in_the_order_of_the_text() -> None:
    found = steps("id: a, set: {x: '${nope}'}", "id: b, set: {}, colour: red", "id: b, set: {}").violations
    assert [(one.line, one.code) for one in found] == [
        (4, "INVALID_EXPRESSION"),
        (5, "UNKNOWN_FIELD"),
        (6, "DUPLICATE_ID"),
    ]


# Schemas


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "strng"}, "input_schema.type"),
        ({"properties": {"a": {"minimum": "x"}}}, "input_schema.properties.a.minimum"),
        ({"pattern": "("}, "input_schema.pattern"),
        ({"$ref": "file:///etc/hostname"}, 'input_schema["$ref"]'),
        ({"$id": "http://a.b/c", "$ref": "http://example.invalid/x"}, "input_schema"),
        ({"$ref": "#/$defs/no"}, "input_schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, 'input_schema["$schema"]'),
    ],
)
def test_a_schema_that_cannot_check_anything_is_refused(schema: dict[str, Any], path: str) -> None:
    assert path in [one.path for one in check_schema(schema)]


def test_a_faulty_schema_is_located_in_its_text() -> None:
    reading = read_definition(load("f.yaml", "id: a\ninput_schema:\n  properties:\n    n: {type: strng}\n"), "f.yaml")
    (violation,) = check_schema(reading.definition.input_schema or {}, reading)
    assert (violation.path, violation.line, violation.column) == ("input_schema.properties.n.type", 4, 15)


HEARS = (
    "id: hear, receive: {event: paid}",
    "id: work, task: {service: s, operation: o, result_schema: {type: number}}",
)


def test_a_plan_knows_the_schemas_of_events_and_results() -> None:
    text = "id: d\nevent_schemas: {paid: {properties: {n: {type: number}}}}\nsteps:\n"
    reading = read_definition(load("f.yaml", text + "\n".join(f"  - {{{line}}}" for line in HEARS)))
    found = compile_definition(reading, misfits_of=misfits_of).plan
    assert found is not None
    assert [one.path for one in found.events["paid"].misfits({"n": "x"})] == ["payload.n"]
    typed = found.events["paid"].typed
    assert typed is not None
    assert repr(typed({"n": 1})) == "{'n': 1.0}"
    body = found.steps["work"].body
    assert isinstance(body, TaskBody)
    assert body.result is not None
    assert [one.path for one in body.result.misfits("x")] == ["result"]
    assert (found.events["paid"].seal, body.result.seal, found.seal_input, found.sensitive) == (None, None, None, False)


@pytest.mark.parametrize(
    "rest",
    [
        "input_schema: {properties: {pin: {sensitive: true}}}",
        "event_schemas: {paid: {properties: {pin: {sensitive: true}}}}",
        "defaults: {retry: {max_attempts: 2}}",
    ],
)
def test_a_plan_knows_whether_anything_in_it_is_sensitive(rest: str) -> None:
    secret = "id: pay, task: {service: s, operation: o, result_schema: {sensitive: true}}"
    steps_of = HEARS if "schema" in rest else (*HEARS, f"id: all, foreach: {{items: '[1]', steps: [{{{secret}}}]}}")
    assert plan(*steps_of, rest=rest).sensitive
    assert (plan(*steps_of, rest=rest).seal_input is not None) == rest.startswith("input_schema")


def test_a_plan_without_a_validator_does_not_let_values_pass() -> None:
    with pytest.raises(LookupError, match="payload"):
        plan(*HEARS, rest="event_schemas: {paid: {}}").events["paid"].misfits(1)


def test_the_schemas_of_a_definition_come_with_their_paths() -> None:
    inner = "id: all, foreach: {items: '[1]', steps: [{id: x, task: {service: s, operation: o, result_schema: {}}}]}"
    found = steps(*HEARS, inner, rest="event_schemas: {paid: {}}\ninput_schema: {type: object}")
    assert [render(path) for path, _ in found.schemas] == [
        "input_schema",
        "steps[1].task.result_schema",
        "steps[2].foreach.steps[0].task.result_schema",
        "event_schemas.paid",
    ]


def test_event_schemas_have_names_of_events() -> None:
    rest = "event_schemas: {'': {}, 'a b': {}, '${x}': {}, paid: {}}"
    assert problems(*HEARS, rest=rest) == [
        ('event_schemas[""]', "REQUIRED"),
        ('event_schemas["a b"]', "INVALID_ID"),
        ('event_schemas["${x}"]', "CONSTANT"),
    ]


def test_a_schema_for_an_event_that_nobody_receives_is_a_warning() -> None:
    rest = "event_schemas: {paid: {}, shipped: {}, b: {}}"
    many = "id: many, receive: {any_of: [{event: a}, {event: b}]}"
    assert warnings(*HEARS, many, rest=rest) == [("event_schemas.shipped", "UNUSED_SCHEMA")]


def test_values_that_do_not_fit_are_told_with_their_paths() -> None:
    schema = {"required": ["id"], "properties": {"lines": {"items": {"properties": {"qty": {"type": "integer"}}}}}}
    validator = Validator(schema)
    assert validator.violations({"id": 1, "lines": [{"qty": 2}]}) == ()
    found = validator.violations({"lines": [{"qty": 2}, {"qty": "x" * 1_000}]})
    assert [one.path for one in found] == ["input", "input.lines[1].qty"]
    assert len(found[1].message) < 400
