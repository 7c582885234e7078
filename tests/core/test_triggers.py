"""Triggers: what a definition may say of them, and what they make of an event or a slot."""

from __future__ import annotations

from typing import Any

import pytest

from callboard.runtime.core.compiler import Compiled, compile_definition
from callboard.runtime.core.definition import Overlap
from callboard.runtime.core.expressions import ExpressionError
from callboard.runtime.core.nodes import DefinitionLimits
from callboard.runtime.core.plan import EventSource, ScheduleSource, TriggerPlan
from callboard.runtime.core.reader import read_definition
from callboard.runtime.core.triggers import Firing, TriggerFact, fire, hears, identity
from callboard.runtime.core.values import Opaque, Value
from callboard.runtime.loader import load

EVENT = "event: {name: order.placed}"
SLOT = TriggerFact("t", "2026-11-21T03:30:00Z", "2026-11-21T04:30:00+01:00")
BINARY = Opaque("image/png", b"\x89PNG")


def compiled(*triggers: str, rest: str = "", **limits: int) -> Compiled:
    lines = "\n".join(f"  - {{{line}}}" for line in triggers)
    text = f"id: d\n{rest}\ntriggers:\n{lines}\nsteps: [{{id: a, set: {{}}}}]"
    return compile_definition(read_definition(load("f.yaml", text), "f.yaml"), 1, DefinitionLimits(**limits))


def plans(*triggers: str, rest: str = "") -> tuple[TriggerPlan, ...]:
    found = compiled(*triggers, rest=rest)
    assert found.violations == ()
    assert found.plan is not None
    return found.plan.triggers


def plan(trigger: str) -> TriggerPlan:
    return plans(trigger)[0]


def problems(*triggers: str) -> list[tuple[str, str]]:
    return [(one.path, one.code) for one in compiled(*triggers).violations]


def heard(trigger: str, event: Value) -> bool:
    return hears(plan(trigger), event)


def failure(trigger: str, event: Value) -> ExpressionError:
    with pytest.raises(ExpressionError) as raised:
        fire(plan(trigger), TriggerFact("t"), event)
    return raised.value


# The plan


def test_an_event_trigger_is_compiled_with_all_its_fields() -> None:
    found = plan(
        "id: t, event: {name: order.placed, filter: event.qty > 1, execution_id: '${event.id}'},"
        " input: '${event}', unique_key: event.customer"
    )
    assert isinstance(found.source, EventSource)
    assert (found.id, found.source.name) == ("t", "order.placed")
    assert found.source.filter is not None and found.source.filter.source == "event.qty > 1"
    assert identity(found) == "event.id"
    assert found.input is not None and found.unique_key is not None


def test_a_schedule_is_compiled_with_all_its_fields() -> None:
    nightly, often, once = plans(
        "id: a, schedule: {cron: ' 30  4 * * * ', time_zone: Europe/Berlin, overlap: CANCEL_RUNNING,"
        " catch_up: 6h, jitter: 90s}",
        "id: b, schedule: {every: 1h30m, catch_up: 0s}",
        "id: c, schedule: {at: '2026-11-21T03:00:00+01:00', overlap: QUEUE}",
    )
    assert nightly.source == ScheduleSource(
        cron="30 4 * * *",
        time_zone="Europe/Berlin",
        overlap=Overlap.CANCEL_RUNNING,
        catch_up=21_600_000_000,
        jitter=90_000_000,
    )
    assert often.source == ScheduleSource(every=5_400_000_000, overlap=Overlap.SKIP, catch_up=0)
    assert once.source == ScheduleSource(at=1_795_226_400_000_000, overlap=Overlap.QUEUE)
    assert (nightly.input, nightly.unique_key, identity(nightly)) == (None, None, "")


def test_a_schema_of_the_input_asks_for_no_input_of_triggers() -> None:
    (found,) = plans(f"id: t, {EVENT}", rest="input_schema: {type: object, required: [id]}")
    assert found.input is None


def test_triggers_of_one_event_without_an_execution_id_do_not_clash() -> None:
    assert [one.id for one in plans(f"id: one, {EVENT}", f"id: two, {EVENT}")] == ["one", "two"]


# What is wrong


@pytest.mark.parametrize(
    ("trigger", "path", "code"),
    [
        (EVENT, "id", "REQUIRED"),
        (f"id: Night, {EVENT}", "id", "INVALID_ID"),
        (f"id: every-night, {EVENT}", "id", "INVALID_ID"),
        (f"id: {'x' * 64}, {EVENT}", "id", "INVALID_ID"),
        ("id: t", "", "CONFLICT"),
        (f"id: t, {EVENT}, schedule: {{every: 1h}}", "", "CONFLICT"),
        ("id: t, event: {}", "event.name", "REQUIRED"),
        ("id: t, event: {name: 'a b'}", "event.name", "INVALID_ID"),
        (f"id: t, event: {{name: {'x' * 256}}}", "event.name", "INVALID_ID"),
        ("id: t, event: {name: 'a-${event.b}'}", "event.name", "CONSTANT"),
        ("id: t, schedule: {}", "schedule", "CONFLICT"),
        ("id: t, schedule: {every: 1h, at: '2026-01-01T00:00:00Z'}", "schedule", "CONFLICT"),
        ("id: t, schedule: {cron: '0 3 * * *', every: 1h}", "schedule", "CONFLICT"),
        ("id: t, schedule: {cron: '${event.cron}'}", "schedule.cron", "CONSTANT"),
        ("id: t, schedule: {every: 1h, time_zone: '${x}'}", "schedule.time_zone", "CONSTANT"),
        ("id: t, schedule: {every: 5}", "schedule.every", "INVALID_DURATION"),
        ("id: t, schedule: {every: 999ms}", "schedule.every", "OUT_OF_RANGE"),
        ("id: t, schedule: {every: 1500ms}", "schedule.every", "OUT_OF_RANGE"),
        ("id: t, schedule: {every: 0s}", "schedule.every", "OUT_OF_RANGE"),
        ("id: t, schedule: {every: '${event.pause}'}", "schedule.every", "CONSTANT"),
        ("id: t, schedule: {every: 1h, catch_up: -5m}", "schedule.catch_up", "INVALID_DURATION"),
        ("id: t, schedule: {every: 1h, catch_up: '${x}'}", "schedule.catch_up", "CONSTANT"),
        ("id: t, schedule: {every: 1h, jitter: soon}", "schedule.jitter", "INVALID_DURATION"),
        ("id: t, schedule: {every: 1h, jitter: 2h}", "schedule.jitter", "CONFLICT"),
        ("id: t, schedule: {every: 1h, overlap: WAIT}", "schedule.overlap", "UNKNOWN_VALUE"),
        ("id: t, schedule: {at: tomorrow}", "schedule.at", "INVALID_TIMESTAMP"),
        ("id: t, schedule: {at: '2026-02-30T00:00:00Z'}", "schedule.at", "INVALID_TIMESTAMP"),
        ("id: t, schedule: {at: '2026-01-01T00:00:00.5Z'}", "schedule.at", "OUT_OF_RANGE"),
        ("id: t, schedule: {at: '1970-01-01T00:00:00Z'}", "schedule.at", "OUT_OF_RANGE"),
        ("id: t, schedule: {at: '${trigger.slot}'}", "schedule.at", "CONSTANT"),
        (f"id: t, {EVENT}, unique_key: event.", "unique_key", "INVALID_EXPRESSION"),
        (f"id: t, {EVENT}, input: {{a: ['${{event.x + }}']}}", "input.a[0]", "INVALID_EXPRESSION"),
    ],
)
def test_mistakes_in_a_trigger(trigger: str, path: str, code: str) -> None:
    where = f"triggers[0].{path}" if path else "triggers[0]"
    assert problems(trigger) == [(where, code)]


def test_every_mistake_is_told_at_once_and_in_the_order_of_the_text() -> None:
    assert problems(
        "id: A, event: {name: x, filter: steps.a.result}",
        "schedule: {every: 1x, jitter: -1s}",
        "id: c, event: {name: ''}, input: '${now}'",
    ) == [
        ("triggers[0].id", "INVALID_ID"),
        ("triggers[0].event.filter", "INVALID_EXPRESSION"),
        ("triggers[1].id", "REQUIRED"),
        ("triggers[1].schedule.every", "INVALID_DURATION"),
        ("triggers[1].schedule.jitter", "INVALID_DURATION"),
        ("triggers[2].event.name", "REQUIRED"),
        ("triggers[2].input", "INVALID_EXPRESSION"),
    ]


def test_an_id_is_used_once() -> None:
    (violation,) = compiled(f"id: t, {EVENT}", "id: t, schedule: {every: 1h}").violations
    assert violation.located == (
        "f.yaml:5:10: triggers[1].id: the trigger id 't' is used twice; first at triggers[0].id (line 4)"
    )


def test_the_number_of_triggers_is_limited() -> None:
    many = [f"id: t{number}, {EVENT}" for number in range(3)]
    (violation,) = compiled(*many, definition_triggers_max=2).violations
    assert (violation.path, violation.code) == ("triggers", "LIMIT")
    assert "3 triggers are more than definition_triggers_max = 2" in violation.message


@pytest.mark.parametrize(
    "other",
    [
        "'order-' + event.id",
        "'order-'+event.id",
        "${ 'order-'  +  event.id }",
        "  'order-' + event . id",
    ],
)
def test_triggers_that_give_the_same_execution_id_clash(other: str) -> None:
    found = compiled(
        "id: first, event: {name: placed, execution_id: \"'order-' + event.id\"}",
        f'id: second, event: {{name: placed, filter: event.rush, execution_id: "{other}"}}',
        "id: third, event: {name: changed, execution_id: \"'order-' + event.id\"}",
    )
    (violation,) = found.violations
    assert (violation.path, violation.code) == ("triggers[1].event.execution_id", "TRIGGER_CLASH")
    assert "the triggers 'first' and 'second' both listen to 'placed'" in violation.message
    assert "triggers[0].event.execution_id (line 4)" in violation.message


@pytest.mark.parametrize("other", ["'order-' + event.i", "'order -' + event.id", "'order-' + event.id + 'x'"])
def test_other_execution_ids_do_not_clash(other: str) -> None:
    found = plans(
        "id: first, event: {name: placed, execution_id: \"'order-' + event.id\"}",
        f'id: second, event: {{name: placed, execution_id: "{other}"}}',
    )
    assert len({identity(one) for one in found}) == 2


def test_white_space_between_words_keeps_them_apart() -> None:
    kept = plan("id: t, event: {name: x, execution_id: \"event.a\\n   in  ['x  y'] ? 'a' : 'b'\"}")
    assert identity(kept) == "event.a in['x  y']?'a':'b'"


BY_EVENT, BY_SCHEDULE = f"id: t, {EVENT}", "id: t, schedule: {every: 1h}"


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (f"{BY_EVENT}, input: '${{input.x}}'", "`input` is not bound here: a trigger makes the input"),
        (f"{BY_EVENT}, input: '${{steps.a.result}}'", "`steps` is not bound here: no execution runs yet"),
        (f"{BY_EVENT}, input: '${{vars.x}}'", "`vars` is not bound here: no execution runs yet"),
        (f"{BY_EVENT}, unique_key: execution.id", "`execution` is not bound here: no execution runs yet"),
        (f"{BY_EVENT}, input: '${{now}}'", "`now` is not bound here"),
        (f"{BY_EVENT}, input: '${{result}}'", "`result` is not bound here"),
        (f"{BY_EVENT}, input: '${{evnt.x}}'", "`evnt` is unknown here; did you mean `event`?"),
        (f"{BY_EVENT}, input: '${{trigger.name}}'", "`trigger` has no field `name`, only id, slot, slot_local"),
        (f"{BY_EVENT}, input: {{a: 'x ${{trigger.slot}}'}}", "`trigger.slot` cannot exist here: an event trigger"),
        (f"{BY_EVENT}, unique_key: trigger.slot_local", "`trigger.slot_local` cannot exist here: an event trigger"),
        ("id: t, event: {name: x, filter: trigger.id == 't'}", "`trigger` is not bound here"),
        ("id: t, event: {name: x, execution_id: 'trigger.id'}", "its filter and execution id see `event` alone"),
        ("id: t, event: {name: x, filter: input.x}", "`input` is not bound here"),
        (f"{BY_SCHEDULE}, input: '${{event.x}}'", "`event` is not bound here: a schedule fires without an event"),
        (f"{BY_SCHEDULE}, unique_key: event", "`event` is not bound here: a schedule fires without an event"),
        (f"{BY_SCHEDULE}, input: '${{now}}'", "a schedule's own time is `trigger.slot`"),
    ],
)
def test_what_is_not_there_is_refused_with_the_reason(trigger: str, message: str) -> None:
    (violation,) = compiled(trigger).violations
    assert violation.code == "INVALID_EXPRESSION"
    assert message in violation.message


def test_a_reference_that_cannot_exist_is_located_to_the_column() -> None:
    line = f"{BY_EVENT}, input: {{a: 'x ${{trigger.slot}}'}}"
    (violation,) = compiled(line).violations
    assert (violation.line, violation.column) == (4, len("  - {") + line.index("trigger.slot") + 1)


def test_steps_and_labels_do_not_see_the_trigger() -> None:
    found = compiled(BY_EVENT, rest="labels: {slot: '${trigger.slot}'}\noutput: '${trigger.id}'")
    assert [(one.path, one.code) for one in found.violations] == [
        ("labels.slot", "INVALID_EXPRESSION"),
        ("output", "INVALID_EXPRESSION"),
    ]
    assert "in `input` and `unique_key` of triggers only" in found.violations[0].message


# Hearing


@pytest.mark.parametrize(
    ("filter_", "event", "wanted"),
    [
        ("", {"qty": 2}, True),
        ("", None, True),
        ("event.qty > 1", {"qty": 2}, True),
        ("event.qty > 1", {"qty": 1}, False),
        ("has(event.vip) && event.vip", {"qty": 1}, False),
        ("event == null", None, True),
        ("event in [1, 2]", 2, True),
        ("${event.ok}", {"ok": False}, False),
        ("size(event.lines.filter(l, l.qty > 1)) == 1", {"lines": [{"qty": 1}, {"qty": 5}]}, True),
    ],
)
def test_a_filter_lets_pass_what_it_holds_for(filter_: str, event: Any, wanted: bool) -> None:
    assert heard(f'id: t, event: {{name: x, filter: "{filter_}"}}', event) is wanted


def test_a_schedule_hears_nothing() -> None:
    assert not heard("id: t, schedule: {every: 1h}", {"x": 1})


@pytest.mark.parametrize(
    ("filter_", "event", "message"),
    [
        ("event.qty > 1", {}, "`event.qty` has no value"),
        ("event.qty > 1", None, "SELECT"),
        ("event.qty", {"qty": 1}, "the condition is int, not true or false"),
        ("event.qty / 0 > 1", {"qty": 1}, "divide"),
        ("event.qty > 1", {"qty": "many"}, "does not work on"),
        ("event.qty > 1", BINARY, "a payload that is not JSON cannot be looked into"),
        ("event.qty", BINARY, "a payload that is not JSON cannot be looked into"),
    ],
)
def test_a_filter_that_fails_is_an_error_with_its_place(filter_: str, event: Any, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        heard(f'id: t, event: {{name: x, filter: "{filter_}"}}', event)
    assert message in raised.value.message
    assert (raised.value.where, raised.value.source) == ("event.filter", filter_)


# Firing


def test_an_event_makes_the_start_that_the_trigger_says() -> None:
    found = plan(
        "id: placed, event: {name: x, execution_id: \"'order-' + string(event.id)\"},"
        " input: {order: '${event.id}', by: 'trigger ${trigger.id}', first: '${event.lines[0]}'},"
        " unique_key: event.customer"
    )
    event = {"id": 7, "customer": "c-1", "lines": [{"sku": "a"}]}
    assert fire(found, TriggerFact("placed"), event) == Firing(
        {"order": 7, "by": "trigger placed", "first": {"sku": "a"}}, "order-7", "c-1"
    )


def test_a_slot_makes_the_start_that_the_schedule_says() -> None:
    found = plan(
        "id: t, schedule: {cron: '30 4 * * *', time_zone: Europe/Berlin},"
        " input: {date: '${trigger.slot_local.substring(0, 10)}', at: '${timestamp(trigger.slot)}'},"
        " unique_key: \"'night-' + trigger.slot\""
    )
    assert fire(found, SLOT) == Firing(
        {"date": "2026-11-21", "at": "2026-11-21T03:30:00Z"}, "", "night-2026-11-21T03:30:00Z"
    )


def test_without_an_input_the_event_is_the_input_and_a_slot_has_none() -> None:
    assert fire(plan(f"id: t, {EVENT}"), TriggerFact("t"), {"a": [1, 2.5]}) == Firing({"a": [1, 2.5]})
    assert fire(plan(f"id: t, {EVENT}"), TriggerFact("t"), None) == Firing(None)
    assert fire(plan(f"id: t, {EVENT}"), TriggerFact("t"), BINARY) == Firing(BINARY)
    assert fire(plan("id: t, schedule: {every: 1h}"), SLOT) == Firing(None)


def test_a_payload_that_is_not_json_passes_through_whole_only() -> None:
    assert fire(plan(f"id: t, {EVENT}, input: {{file: '${{event}}'}}"), TriggerFact("t"), BINARY).input == {
        "file": BINARY
    }
    error = failure(f"id: t, {EVENT}, input: {{file: '${{event.name}}'}}", BINARY)
    assert "cannot be looked into" in error.message
    assert error.where == "input.file"
    assert "not JSON" in failure(f"id: t, {EVENT}, unique_key: event", BINARY).message


def test_a_schedule_fired_by_hand_without_a_slot_has_none() -> None:
    found = plan("id: t, schedule: {every: 1h}, input: {id: '${trigger.id}', slot: '${trigger.?slot.orValue(null)}'}")
    assert fire(found, TriggerFact("t")).input == {"id": "t", "slot": None}
    with pytest.raises(ExpressionError, match=r"`trigger\.slot` has no value"):
        fire(plan("id: t, schedule: {every: 1h}, input: '${trigger.slot}'"), TriggerFact("t"))


@pytest.mark.parametrize(
    ("event", "key"),
    [({"k": "a b/ü"}, "a b/ü"), ({"k": -7}, "-7"), ({"k": True}, "true"), ({"k": "x" * 255}, "x" * 255)],
)
def test_a_unique_key_becomes_text(event: Value, key: str) -> None:
    assert fire(plan(f"id: t, {EVENT}, unique_key: event.k"), TriggerFact("t"), event).unique_key == key


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "a key is a text, an integer or a boolean, not null"),
        (1.5, "not the number 1.5"),
        ([1], "not a list"),
        ({}, "not an object"),
        ("", "a key cannot be empty"),
        ("x" * 256, "at most 255 characters, this one has 256"),
    ],
)
def test_what_cannot_be_a_unique_key_is_an_error(value: Value, message: str) -> None:
    error = failure(f"id: t, {EVENT}, unique_key: event.k", {"k": value})
    assert message in error.message
    assert (error.where, error.source) == ("unique_key", "event.k")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "'' is no execution id"),
        ("a b", "'a b' is no execution id"),
        ("-a", "is no execution id"),
        ("x" * 256, "is no execution id"),
        (7, "an execution id is a text, not the number 7"),
        (None, "an execution id is a text, not null"),
        (True, "an execution id is a text, not a boolean"),
    ],
)
def test_what_cannot_be_an_execution_id_is_an_error(value: Value, message: str) -> None:
    error = failure("id: t, event: {name: x, execution_id: event.id}", {"id": value})
    assert message in error.message
    assert (error.where, error.source) == ("event.execution_id", "event.id")


def test_an_execution_id_that_has_no_value_is_an_error() -> None:
    error = failure("id: t, event: {name: x, execution_id: event.id}", {})
    assert (error.message, error.where) == ("`event.id` has no value", "event.execution_id")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("execution_id", "5", "must be a string, and is always 5"),
        ("filter", "'text'", 'must be true or false, and is always "text"'),
        ("filter", "1 / 0 == 1", "divide by zero"),
    ],
)
def test_a_constant_of_the_wrong_type_is_found_at_publish(field: str, text: str, message: str) -> None:
    (violation,) = compiled(f'id: t, event: {{name: e, {field}: "{text}"}}').violations
    assert violation.path == f"triggers[0].event.{field}"
    assert message in violation.message
