"""What the scenarios of sensitive values share: a definition that takes them everywhere, and all that people see."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.scenarios.kit import SECONDS_MAX, Api, eventually, payload, value, worker

from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2, tasks_pb2

HIDDEN = "[redacted]"
CARD, PIN, RESULT, EVENT = "4111-only-the-worker", 90_210_777, "result-only-the-worker", "event-only-the-worker"
LINES = [{"item": "line-one-only-the-worker"}, {"item": "line-two-only-the-worker"}]
SECRETS = (CARD, str(PIN), RESULT, EVENT, *(line["item"] for line in LINES))
INPUT = {"card": CARD, "person": {"name": "ann", "pin": PIN}, "lines": LINES, "amount": 20}
PAYLOAD = {"token": EVENT, "by": "bob"}
SCHEMAS = """
input_schema:
  type: object
  properties:
    card: {type: string, sensitive: true}
    person: {type: object, properties: {pin: {type: integer, sensitive: true}}}
    lines: {type: array, sensitive: true, items: {type: object}}
    amount: {type: number, sensitive: true}
event_schemas:
  go: {type: object, properties: {token: {type: string, sensitive: true}}, required: [token]}
"""
RESULT_SCHEMA = "{type: object, properties: {hidden: {type: string, sensitive: true}}}"
FLOW = f"""
id: pay
{SCHEMAS}
steps:
  - {{id: kept, set: {{card: "${{input.card}}", text: "card <${{input.card}}> of ${{input.person.name}}"}}}}
  - id: one
    task:
      service: s
      operation: one
      input: {{card: "${{input.card}}"}}
      result_schema: {RESULT_SCHEMA}
  - id: many
    foreach:
      items: input.lines
      as: line
      steps:
        - id: each
          task:
            service: s
            operation: one
            input: {{line: "${{line}}", n: "${{index}}"}}
            result_schema: {RESULT_SCHEMA}
      collect: "${{steps.each.result.hidden}}"
  - {{id: got, receive: {{event: go, filter: "event.token.startsWith('event')"}}}}
  - id: two
    task:
      service: s
      operation: two
      input:
        path: "${{input.card}}"
        text: "<${{input.card}}> for ${{steps.got.result.payload.by}}"
        cel: "${{input.card + '/' + string(input.person.pin + 1)}}"
        double: "${{input.amount * 1.5}}"
        vars: "${{vars.text}}"
        result: "${{steps.one.result.hidden}}"
        event: "${{steps.got.result.payload.token}}"
        person: "${{input.person}}"
        lines: "${{input.lines}}"
        items: "${{steps.many.result}}"
output:
  done: "${{steps.two.result.open}}"
  card: "${{vars.card}}"
  big: "${{input.person.pin > 5}}"
  by: "${{input.person.name}}"
"""
WHOLE = {
    "path": CARD,
    "text": f"<{CARD}> for bob",
    "cel": f"{CARD}/{PIN + 1}",
    "double": 30.0,
    "vars": f"card <{CARD}> of ann",
    "result": RESULT,
    "event": EVENT,
    "person": INPUT["person"],
    "lines": LINES,
    "items": [RESULT, RESULT],
}
"""The input of `two`."""
OUTPUT = {"done": "yes", "card": HIDDEN, "big": HIDDEN, "by": "ann"}


def rule(task: tasks_pb2.Task) -> Any:
    """What the worker answers."""
    return {"open": "yes"} if task.step_path == "two" else {"hidden": RESULT}


def leaks(told: Iterable[tuple[str, str]], *more: str) -> list[str]:
    """The places where a secret is told."""
    return [f"{secret} in {place}" for place, text in told for secret in (*SECRETS, *more) if secret in text]


def files(data: Path, *secrets: str) -> list[str]:
    """The files under a directory in which a secret stands in the clear."""
    found = [path for path in sorted(data.rglob("*")) if path.is_file()]
    told = {path: path.read_bytes() for path in found}
    assert any(path.suffix == ".db" for path in found), found
    return [f"{one} in {path.name}" for path in found for one in secrets or SECRETS if one.encode() in told[path]]


def commitments(data: Path) -> list[str]:
    """All commitments that the events of a data directory hold."""
    with closing(sqlite3.connect(data / "callboard.db")) as connection:
        payloads = [json.loads(row[0]) for row in connection.execute("SELECT payload FROM events")]
    found: list[str] = []
    while payloads:
        one = payloads.pop()
        if isinstance(one, dict) and "$callboard.sensitive" in one:
            found.append(one["commitment"])
        elif isinstance(one, dict | list):
            payloads += one.values() if isinstance(one, dict) else one
    return sorted(set(found))


def rows(data: Path) -> tuple[int, int]:
    """How many keys and how many sealed values a data directory has."""
    with closing(sqlite3.connect(data / "callboard.db")) as connection:
        (keys,) = connection.execute("SELECT count(*) FROM secrets").fetchone()
        (values,) = connection.execute("SELECT count(*) FROM sealed_values").fetchone()
    return keys, values


async def waits(api: Api, path: str, execution_id: str = "o-1") -> None:
    """Until a step is open."""

    async def is_open() -> bool:
        return any(step.path == path for step in (await api.get(execution_id)).open_steps)

    await eventually(is_open)


async def run_through(api: Api, execution_id: str = "o-1") -> tuple[Any, list[tasks_pb2.Task]]:
    """A whole execution, and the tasks that the worker got; no answer on the way tells anything."""
    await api.publish(FLOW)
    async with worker(api, rule) as stub:
        answer = await api.start("pay", execution_id, input=payload(INPUT))
        await waits(api, "got", execution_id)
        submitted = await api.submit(execution_id, "go", PAYLOAD)
        ended = await api.ended(execution_id)
    told = [("StartExecution", str(answer)), ("SubmitEvent", str(submitted)), ("WaitExecution", str(ended))]
    assert leaks(told) == []
    return ended, stub.tasks


async def snapshot(api: Api, execution_id: str) -> None:
    """Store one."""
    request = pb2.CreateSnapshotRequest(execution_id=execution_id)
    await api.executions.CreateSnapshot(request, metadata=api.metadata)


async def exported(api: Api, execution_id: str) -> bytes:
    """An execution as JSON Lines."""
    request = pb2.ExportExecutionRequest(execution_id=execution_id)
    pieces = [piece.data async for piece in api.executions.ExportExecution(request, metadata=api.metadata)]
    return b"".join(pieces)


async def past(api: Api, execution_id: str, sequence: int, full: bool = True) -> Any:
    """An execution as it was."""
    view = executions_pb2.EXECUTION_VIEW_FULL if full else executions_pb2.EXECUTION_VIEW_BASIC
    request = pb2.GetExecutionRequest(execution_id=execution_id, view=view, at_sequence=sequence)
    return (await api.executions.GetExecution(request, metadata=api.metadata)).execution


async def replay(api: Api, execution_id: str, **more: Any) -> Any:
    """A replay, with all its steps on one page."""
    request = pb2.ReplayExecutionRequest(execution_id=execution_id, page_size=1_000, **more)
    return await api.executions.ReplayExecution(request, metadata=api.metadata)


async def verify(api: Api, execution_id: str) -> list[tuple[str, int]]:
    """What is wrong with it."""
    request = pb2.VerifyExecutionRequest(execution_id=execution_id)
    answer = await api.executions.VerifyExecution(request, metadata=api.metadata)
    names = [pb2.VerifyProblemKind.Name(one.kind).removeprefix("VERIFY_PROBLEM_KIND_") for one in answer.problems]
    return [(name, one.sequence) for name, one in zip(names, answer.problems, strict=True)]


async def erase(api: Api, execution_id: str, **more: Any) -> Any:
    """The execution, without its sensitive values."""
    request = control_pb2.EraseExecutionRequest(execution_id=execution_id, **more)
    return (await api.executions.EraseExecution(request, metadata=api.metadata)).execution


async def seen(api: Api, execution_id: str) -> list[tuple[str, str]]:
    """Everything that people can ask about an execution, with what they are told."""
    history = await api.history(execution_id)
    wait = pb2.WaitExecutionRequest(execution_id=execution_id, view=executions_pb2.EXECUTION_VIEW_FULL)
    wait.wait.FromMilliseconds(1)
    listed = pb2.ListExecutionsRequest()
    told = [
        ("GetHistory", history),
        ("WatchExecution", await api.until(execution_id, history[-1].event_name, _count(history))),
        ("WatchEvents", await _watched(api, len(history))),
        ("PullSubscription", await _pulled(api)),
        ("WaitExecution", await api.executions.WaitExecution(wait, metadata=api.metadata)),
        ("ListExecutions", await api.executions.ListExecutions(listed, metadata=api.metadata)),
        ("ListDeadLetters", await api.dead_letters(execution_id)),
        ("GetExecution", await api.get(execution_id)),
        ("ReplayExecution", await replay(api, execution_id, debug=True)),
        ("ReplayExecution from zero", await replay(api, execution_id, debug=True, use_snapshots=False)),
    ]
    for event in history:
        told += [(f"GetExecution at {event.sequence}", await past(api, execution_id, event.sequence))]
        told += [(f"GetExecution BASIC at {event.sequence}", await past(api, execution_id, event.sequence, full=False))]
    return [(name, str(message)) for name, message in told]


def _count(history: list[Any]) -> int:
    return sum(event.event_name == history[-1].event_name for event in history)


async def _watched(api: Api, count: int) -> list[Any]:
    watch = api.executions.WatchEvents(events_pb2.WatchEventsRequest(from_start=True), metadata=api.metadata)
    found: list[Any] = []
    async with asyncio.timeout(SECONDS_MAX):
        async for page in watch:
            found += page.events
            if len(found) >= count:
                break
    watch.cancel()
    return found


async def _pulled(api: Api) -> list[Any]:
    made = events_pb2.CreateSubscriptionRequest(subscription_id="all", from_start=True)
    await api.executions.CreateSubscription(made, metadata=api.metadata)
    found: list[Any] = []
    while True:
        request = events_pb2.PullSubscriptionRequest(subscription_id="all", max_events=1_000)
        page = await api.executions.PullSubscription(request, metadata=api.metadata)
        if not page.events:
            break
        found += page.events
        acknowledged = events_pb2.AckSubscriptionRequest(subscription_id="all", position=page.position)
        await api.executions.AckSubscription(acknowledged, metadata=api.metadata)
    gone = events_pb2.DeleteSubscriptionRequest(subscription_id="all")
    await api.executions.DeleteSubscription(gone, metadata=api.metadata)
    return found


def payloads(events: Iterable[Any], name: str) -> list[Any]:
    """What the events of one name say."""
    return [value(event.payload) for event in events if event.event_name == name]
