"""Values go through everything unchanged, and what could not is refused at the edge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import Api, payload, raw, refused, serve, worker

from callboard.runtime.settings import Settings
from callboard.v1 import execution_events_pb2, payload_pb2

PASSING = """
id: passing
steps:
  - {id: keep, set: {kept: "${input}"}}
  - {id: one, task: {service: s, operation: one, input: "${vars.kept}"}}
  - {id: got, receive: {event: go}}
output: {task: "${steps.one.result}", event: "${steps.got.result.payload}", again: "${vars.kept}"}
"""
DEEP = "[" * 60 + "1" + "]" * 60
VALUES = [
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "2.0",
    "-0.0",
    "0.1",
    "1e+308",
    "5e-324",
    '""',
    '"no"',
    '"${not.expanded}"',
    '"\\u0000 \U0001f600 é"',
    "null",
    "true",
    "[]",
    "{}",
    '{"b":1,"a":{"":[0,0.0,-0.0,false,null,""]}}',
    DEEP,
]


def same(text: str, expected: str) -> bool:
    """Equal as JSON, types, signs of zero and order of keys included."""
    return repr(json.loads(text)) == repr(json.loads(expected))


@pytest.mark.parametrize("restarts", [False, True])
async def test_values_go_through_everything_unchanged(tmp_path: Path, restarts: bool) -> None:
    """Input, variable, task input and result, event, output, history; and all of it through snapshot and replay."""
    settings = Settings(snapshot_events_min=1, sleep_tail_events_min=1)
    content = f"[{','.join(VALUES)}]"
    async with serve(tmp_path, settings=settings) as api:
        await api.publish(PASSING)
        await api.start("passing", "x-1", input=raw(content))
        async with worker(api, lambda task: json.loads(task.input.json)) as stub:
            task = (await stub.seen())[0]
            assert same(task.input.json, content)
            await api.until("x-1", "StepCompleted", 2)
        if not restarts:
            await _finish(api, content)
    if restarts:
        async with serve(tmp_path, settings=settings) as api:
            await _finish(api, content)


async def _finish(api: Api, content: str) -> None:
    await api.submit("x-1", "go", json.loads(content))
    execution = await api.ended("x-1")
    assert same(execution.input.json, content)
    output = json.loads(execution.output.json)
    assert sorted(output) == ["again", "event", "task"]
    assert {repr(one) for one in output.values()} == {repr(json.loads(content))}
    for event in await api.history("x-1"):
        written = json.loads(event.payload.json)
        for key in ("input", "result", "payload"):
            if event.event_name in ("ExecutionStarted", "EventReceived") and key in written:
                assert repr(written[key]) == repr(json.loads(content)), event


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("${9007199254740993}", "9007199254740993"),
        ("${9223372036854775807}", "9223372036854775807"),
        ("${2.0}", "2.0"),
        ("${1.0}", "1.0"),
        ("${-0.0}", "-0.0"),
        ("${1e308}", "1e+308"),
        ("${''}", '""'),
        ("${'no'}", '"no"'),
        ("no", '"no"'),
        ("$${input}", '"${input}"'),
    ],
)
async def test_values_of_a_definition_are_what_its_author_wrote(api: Api, expression: str, expected: str) -> None:
    await api.publish(f"id: written\nsteps: [{{id: a, set: {{v: {json.dumps(expression)}}}}}]\noutput: ${{vars.v}}")
    execution = (await api.start("written", "x-1", wait=10)).execution
    assert same(execution.output.json, expected)


@pytest.mark.parametrize(("literal", "expected"), [("3", "3"), ("2.5", "2.5"), ("no", '"no"'), ("~", "null")])
async def test_literals_of_a_definition_keep_their_types(api: Api, literal: str, expected: str) -> None:
    await api.publish(f"id: literal\nsteps: [{{id: a, set: {{v: {literal}}}}}]\noutput: ${{vars.v}}")
    execution = (await api.start("literal", "x-1", wait=10)).execution
    assert same(execution.output.json, expected)


async def test_a_literal_that_a_definition_cannot_carry_is_refused_with_the_hint(api: Api) -> None:
    refusal = await refused(api.publish("id: large\nsteps: [{id: a, set: {v: 9007199254740993}}]"))
    assert refusal.reason == "INVALID_DEFINITION"
    assert "${9007199254740993}" in refusal.violations[0].message


@pytest.mark.parametrize("text", ["18446744073709551616", "-9223372036854775809", '{"a":1,"a":1}', '"\\ud83d"'])
async def test_what_could_not_go_through_unchanged_is_refused_everywhere(api: Api, text: str) -> None:
    await api.publish(PASSING)
    refusal = await refused(api.start("passing", "x-1", input=raw(f'{{"deep":[{text}]}}')))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_JSON")
    await api.start("passing", "x-2", input=payload(1))
    assert (await refused(_submit(api, text))).reason == "INVALID_JSON"


def _submit(api: Api, text: str) -> Any:
    request = execution_events_pb2.SubmitEventRequest(execution_id="x-2", name="go", payload=raw(text))
    return api.executions.SubmitEvent(request)


async def test_bytes_that_are_no_json_pass_through_whole(api: Api) -> None:
    content = payload_pb2.Payload(content_type="image/png", data=bytes(range(256)))
    await api.publish("id: bytes\nsteps: [{id: one, task: {service: s, operation: one, input: '${input}'}}]")
    async with worker(api, lambda task: 1) as stub:
        await api.start("bytes", "x-1", input=content)
        assert (await stub.seen())[0].input == content
        assert (await api.ended("x-1")).input == content
