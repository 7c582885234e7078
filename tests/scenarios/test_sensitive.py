"""Sensitive values: workers get them, people and files never show them, and nothing is decided differently for that."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import HOLD, Api, eventually, payload, refused, serve, status, value, worker
from tests.scenarios.sensitive import (
    CARD,
    EVENT,
    FLOW,
    HIDDEN,
    INPUT,
    LINES,
    OUTPUT,
    PAYLOAD,
    RESULT,
    SCHEMAS,
    SECRETS,
    WHOLE,
    commitments,
    exported,
    files,
    leaks,
    payloads,
    replay,
    rows,
    rule,
    run_through,
    seen,
    snapshot,
    verify,
    waits,
)
from tests.scenarios.test_telemetry import Observed

from callboard.runtime.core.turn import Limits
from callboard.runtime.settings import Settings
from callboard.runtime.tasks import DispatcherSettings
from callboard.v1 import execution_events_pb2 as events_pb2


@pytest.fixture
def observed() -> Observed:
    return Observed()


BRISK = DispatcherSettings(reconnect_grace_seconds=0.05)


async def test_workers_get_the_values_and_people_do_not(api: Api, tmp_path: Path) -> None:
    ended, tasks = await run_through(api)
    given = {task.step_path: value(task.input) for task in tasks}
    assert given["one"] == {"card": CARD}
    assert [given[f"many[{n}]/each"] for n in (0, 1)] == [{"line": line, "n": n} for n, line in enumerate(LINES)]
    assert given["two"] == WHOLE
    assert type(given["two"]["double"]) is float
    assert ended.status == status("COMPLETED")
    assert value(ended.output) == OUTPUT
    hidden = {"card": HIDDEN, "person": {"name": "ann", "pin": HIDDEN}, "lines": HIDDEN, "amount": HIDDEN}
    assert value(ended.input) == hidden
    assert value(ended.variables) == {"card": HIDDEN, "text": HIDDEN}
    told = await seen(api, "o-1")
    bound = commitments(tmp_path)
    assert len(bound) > len(SECRETS)
    assert leaks(told, *bound, "$callboard", "commitment") == []
    assert await verify(api, "o-1") == []


async def test_whole_inputs_payloads_and_results_may_be_sensitive(api: Api) -> None:
    await api.publish("""
id: whole
input_schema: {sensitive: true}
event_schemas: {go: {sensitive: true}}
steps:
  - {id: one, task: {service: s, operation: one, input: "${input.card}", result_schema: {sensitive: true}}}
  - {id: got, receive: {event: go, filter: "event.by == 'bob'"}}
  - {id: two, task: {service: s, operation: two, input: ["${input}", "${steps.one.result.hidden}",
      "${steps.got.result.payload}", "${steps.got.result.payload.token}"]}}
output: ["${input}", "${steps.one.result}", "${steps.got.result.payload}"]
""")
    async with worker(api, rule) as stub:
        await api.start("whole", "x-1", input=payload(INPUT))
        await api.submit("x-1", "go", PAYLOAD)
        ended = await api.ended("x-1")
    assert [value(task.input) for task in stub.tasks] == [CARD, [INPUT, RESULT, PAYLOAD, EVENT]]
    assert (value(ended.input), value(ended.output)) == (HIDDEN, [HIDDEN] * 3)
    assert leaks(await seen(api, "x-1")) == []
    assert await verify(api, "x-1") == []


async def test_events_say_where_something_sensitive_was(api: Api) -> None:
    await run_through(api)
    history = await api.history("o-1")
    (started,) = payloads(history, "ExecutionStarted")
    assert started["input"]["person"] == {"name": "ann", "pin": HIDDEN}
    scheduled = {one["path"]: one.get("input") for one in payloads(history, "StepScheduled")}
    assert scheduled["two"]["person"] == {"name": "ann", "pin": HIDDEN}
    assert (scheduled["two"]["text"], scheduled["two"]["items"]) == (HIDDEN, [HIDDEN, HIDDEN])
    (received,) = payloads(history, "EventReceived")
    assert received["payload"] == {"token": HIDDEN, "by": "bob"}
    results = {one["path"]: one.get("result") for one in payloads(history, "StepCompleted")}
    assert (results["one"], results["two"]) == ({"hidden": HIDDEN}, {"open": "yes"})


async def test_a_replay_says_that_a_sensitive_value_has_changed_and_not_how(api: Api) -> None:
    await api.publish("""
id: changing
event_schemas: {e: {properties: {v: {sensitive: true}}}}
steps:
  - {id: a, receive: {event: e}}
  - {id: first, set: {x: "${steps.a.result.payload.v}"}}
  - {id: b, receive: {event: e}}
  - {id: second, set: {x: "${steps.b.result.payload.v}"}}
  - {id: c, receive: {event: e}}
""")
    await api.start("changing", "x-1")
    for secret in SECRETS[:2]:
        await api.submit("x-1", "e", {"v": secret})
    replayed = await replay(api, "x-1", debug=True)
    told = {change.pointer: (step.event.sequence, change) for step in replayed.steps for change in step.changes}
    assert not [pointer for pointer in told if "commitment" in pointer]
    assert value(told["/variables"][1].after) == {"x": HIDDEN}
    changed = told["/variables/x"][1]
    assert value(changed.before) == value(changed.after) == HIDDEN
    first, last = [
        {place.pointer: place.mark for place in (await replay(api, "x-1", until_sequence=at)).sensitive_places}
        for at in (told["/variables"][0], replayed.execution.sequence)
    ]
    assert first["/variables/x"] != last["/variables/x"]
    assert first["/runs/a/result/payload/v"] == last["/runs/a/result/payload/v"] == first["/variables/x"]
    state = json.loads(replayed.state.json)
    assert list(last) == _hidden_in(state)


def _hidden_in(found: Any, pointer: str = "") -> list[str]:
    if found == HIDDEN:
        return [pointer]
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [place for name, item in items for place in _hidden_in(item, f"{pointer}/{name}")]


async def test_no_file_holds_them_and_workers_get_them_after_restarts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a restart from a snapshot, and to the next worker when a delivery is lost."""
    caplog.set_level(logging.DEBUG)
    data = tmp_path / "data"
    data.mkdir()
    async with serve(data) as api:
        await api.publish(FLOW)
        async with worker(api, rule):
            await api.start("pay", "o-1", input=payload(INPUT))
            await waits(api, "got")
        await snapshot(api, "o-1")
        assert files(data) == []
    async with serve(data, dispatching=BRISK) as api:
        async with worker(api, lambda task: HOLD) as holder:
            await api.submit("o-1", "go", PAYLOAD)
            (held,) = await holder.seen()
            assert (await replay(api, "o-1")).HasField("snapshot")
        async with worker(api, rule) as stub:
            await api.ended("o-1")
        (task,) = stub.tasks
        assert value(held.input) == value(task.input) == WHOLE
        assert "StepDeliveryLost" in await api.names("o-1")
        assert leaks([("the export", (await exported(api, "o-1")).decode())]) == []
        assert files(data) == []
    assert files(data) == []
    assert leaks([("the log", caplog.text)]) == []


async def test_an_enqueued_value_leaves_the_files_with_its_processing(tmp_path: Path) -> None:
    """What is accepted only lies as it came; in the log of the database until that is copied."""
    async with serve(tmp_path) as api:
        await api.publish(FLOW)
        async with worker(api, rule) as stub:
            await api.start("pay", "o-1", input=payload(INPUT))
            await api.enqueue("o-1", "go", {"token": EVENT, "by": "x" * 30_000})
            await api.ended("o-1")
    assert value(stub.tasks[-1].input)["event"] == EVENT
    assert files(tmp_path) == []


async def test_of_a_refused_event_nothing_stays(tmp_path: Path) -> None:
    settings = Settings(decisions=Limits(kept_events_max=1))
    async with serve(tmp_path, settings=settings) as api:
        await api.publish(FLOW)
        await api.start("pay", "o-1", input=payload(INPUT))
        await api.submit("o-1", "go", PAYLOAD)
        for _ in range(3):
            refusal = await refused(api.submit("o-1", "go", {"token": "another"}))
            assert refusal.code == "RESOURCE_EXHAUSTED"
        async with worker(api, rule):
            await api.ended("o-1")
    assert rows(tmp_path) == (1, len(commitments(tmp_path)))


DECIDING = f"""
id: deciding
{SCHEMAS}
steps:
  - {{id: never, when: "input.card == 'other'", set: {{a: 1}}}}
  - id: which
    switch:
      cases:
        - {{when: "input.person.pin < 0", steps: [{{id: low, set: {{a: low}}}}]}}
        - {{when: "input.card.startsWith('4111')", steps: [{{id: high, set: {{a: high}}}}]}}
  - {{id: got, receive: {{event: go, filter: "event.token == input.card"}}}}
output: {{a: "${{vars.a}}", by: "${{steps.got.result.payload.by}}"}}
"""


async def test_conditions_see_the_values(api: Api) -> None:
    await api.publish(DECIDING)
    await api.start("deciding", "x-1", input=payload(INPUT))
    passed = await api.submit("x-1", "go", {"token": EVENT, "by": "passed over"})
    assert passed.kept
    await api.submit("x-1", "go", {"token": CARD, "by": "taken"})
    ended = await api.ended("x-1")
    assert value(ended.output) == {"a": "high", "by": "taken"}
    assert "StepSkipped" in await api.names("x-1")
    assert leaks(await seen(api, "x-1")) == []


CLEAR = [
    ('wait: {duration: "${input.card}"}', "`input.card` is sensitive"),
    ("wait: {duration: \"${string(input.person.pin) + 's'}\"}", "`string(input.person.pin) + 's'` is sensitive"),
    ('wait: {until: "${input.card}"}', "`until` is sensitive"),
    ('receive: {event: go, key: "input.card"}', "`input.card` is sensitive"),
    ("receive: {event: go, key: \"'k-' + input.card\"}", "`'k-' + input.card` is sensitive"),
    ('emit: {name: out, payload: {deep: ["${input.card}"]}}', "`payload` is sensitive"),
    ('emit: {name: out, key: "input.card"}', "`input.card` is sensitive"),
    ('fail: {type: "${input.card}"}', "`fail.type` is sensitive"),
    (
        'foreach: {items: "[1]", max_failures: "${input.person.pin}", on_item_error: CONTINUE, '
        "steps: [{id: b, set: {}}]}",
        "`input.person.pin` is sensitive",
    ),
    ('foreach: {items: "input.card", steps: [{id: b, set: {}}]}', "`items` gives str, where a list is wanted"),
    ('set: {b: "${int(input.card)}"}', "`int(input.card)` fails for a sensitive value; the reason is withheld"),
    ('when: "int(input.card) > 1", set: {}', "`int(input.card) > 1` fails for a sensitive value"),
    ('when: "input.card", set: {}', "the condition is str, not true or false"),
    ('set: {b: "${input.card.none}"}', "`input.card.none` has no value"),
]


@pytest.mark.parametrize(("step", "message"), CLEAR)
async def test_where_a_value_would_stand_in_the_clear_it_is_an_error(api: Api, step: str, message: str) -> None:
    await api.publish(f"id: clear\n{SCHEMAS}\nsteps: [{{id: a, {step}}}]")
    await api.start("clear", "x-1", input=payload(INPUT))
    ended = await api.ended("x-1")
    assert (ended.status, ended.failure.type) == (status("FAILED"), "ExpressionError")
    assert message in ended.failure.message
    (failed,) = payloads(await api.history("x-1"), "StepFailed")
    assert failed["path"] == "a"
    assert leaks(await seen(api, "x-1")) == []


async def test_a_label_from_one_is_refused(api: Api) -> None:
    await api.publish(f'id: clear\n{SCHEMAS}\nlabels: {{card: "${{input.card}}"}}\nsteps: [{{id: a, set: {{b: 1}}}}]')
    refusal = await refused(api.start("clear", "x-1", input=payload(INPUT)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "a label cannot be made: `card` is sensitive" in refusal.message
    assert leaks([("the refusal", str(refusal))]) == []


async def test_a_failure_of_ones_own_shows_no_value(api: Api) -> None:
    fail = '{id: a, fail: {type: Declined, message: "card ${input.card}", details: {card: "${input.card}", n: 1}}}'
    await api.publish(f"id: failing\n{SCHEMAS}\nsteps: [{fail}]")
    await api.start("failing", "x-1", input=payload(INPUT))
    failure = (await api.ended("x-1")).failure
    assert (failure.type, failure.message, value(failure.details)) == ("Declined", HIDDEN, {"card": HIDDEN, "n": 1})
    assert leaks(await seen(api, "x-1")) == []


async def test_dead_letters_are_redacted_and_a_requeue_gives_the_value(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await api.publish(FLOW)
    async with worker(api, rule) as stub:
        await api.start("pay", "o-1", input=payload(INPUT))
        await waits(api, "got")
        poison(monkeypatch)
        await api.enqueue("o-1", "go", PAYLOAD)
        letter = (await eventually(lambda: api.dead_letters("o-1")))[0]
        assert (letter.cause.type, value(letter.payload)) == ("EXECUTION_POISONED", {"token": HIDDEN, "by": "bob"})
        assert leaks(await seen(api, "o-1")) == []
        monkeypatch.undo()
        request = events_pb2.RequeueDeadLetterRequest(dead_letter_id=letter.dead_letter_id)
        assert (await api.executions.RequeueDeadLetter(request)).dead_letter == letter
        await api.ended("o-1")
    assert value(stub.tasks[-1].input)["event"] == EVENT
    assert leaks([("the log", caplog.text)]) == []


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding on an event raises, with words that quote its payload."""
    from callboard.runtime import actor

    sound = actor.decide

    def decide(state: Any, plan: Any, command: Any, facts: Any, limits: Any) -> Any:
        if content := getattr(command, "payload", None):
            raise KeyError(f"what to do with {content}")
        return sound(state, plan, command, facts, limits)

    monkeypatch.setattr(actor, "decide", decide)


async def test_what_does_not_fit_is_refused_without_being_quoted(api: Api) -> None:
    await api.publish(FLOW)
    wrong = {**INPUT, "card": 411_199_999, "person": {"pin": "pin-only-the-worker"}}
    refusal = await refused(api.start("pay", "o-0", input=payload(wrong)))
    assert refusal.reason == "SCHEMA_MISMATCH"
    assert sorted(refusal.fields) == ["input.card", "input.person.pin"]
    assert leaks([("the refusal", str(refusal))], "411199999", "pin-only") == []
    answers: list[Any] = [{"hidden": 987_654_321}]
    async with worker(api, lambda task: answers.pop() if answers else rule(task)) as stub:
        await api.start("pay", "o-1", input=payload(INPUT))
        failed = await api.ended("o-1")
        assert (failed.status, failed.failure.type) == (status("FAILED"), "SchemaMismatch")
        assert "result.hidden" in failed.failure.message
        assert leaks(await seen(api, "o-1"), "987654321") == []
        assert len(stub.tasks) == 1
        await api.start("pay", "o-2", input=payload(INPUT))
        await waits(api, "got", "o-2")
        refusal = await refused(api.submit("o-2", "go", {"token": 123_456_789}))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "SCHEMA_MISMATCH")
        assert list(refusal.fields) == ["payload.token"]
        await api.enqueue("o-2", "go", {"token": 123_456_789})
        (letter,) = await eventually(lambda: api.dead_letters("o-2"))
        assert (letter.cause.type, value(letter.payload)) == ("SCHEMA_MISMATCH", {"token": HIDDEN})
        assert leaks([("the refusal", str(refusal)), *await seen(api, "o-2")], "123456789") == []
        await api.submit("o-2", "go", PAYLOAD)
        assert (await api.ended("o-2")).status == status("COMPLETED")


async def test_traces_and_metrics_hold_none(tmp_path: Path, observed: Observed) -> None:
    async with serve(tmp_path, telemetry=observed.telemetry) as api:
        await run_through(api)
        await refused(api.start("pay", "o-2", input=payload({"card": 411_199_999})))
    told = [("a span", span.to_json()) for span in observed.exporter.get_finished_spans()]
    assert len(told) > len(WHOLE)
    assert leaks([*told, ("the metrics", str(observed.metrics()))], "411199999") == []


async def test_two_tenants_have_the_same_execution_and_other_values(api: Api, tmp_path: Path) -> None:
    tenants = {name: api.of(name) for name in ("acme", "other")}
    for name, one in tenants.items():
        await one.publish(FLOW)
        await one.start("pay", "o-1", input=payload({**INPUT, "card": f"{CARD}-of-{name}"}))
    for name, one in tenants.items():
        async with worker(one, rule) as stub:
            await one.submit("o-1", "go", PAYLOAD)
            await one.ended("o-1")
        assert {task.execution_id for task in stub.tasks} == {"o-1"}
        assert value(stub.tasks[-1].input)["path"] == f"{CARD}-of-{name}"
        assert leaks(await seen(one, "o-1"), *commitments(tmp_path)) == []
    assert files(tmp_path) == []
