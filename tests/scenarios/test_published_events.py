"""Published events: what listens is started, what waits is offered them, each exactly once, in the order of commits."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import Api, eventually, payload, raw, refused, serve, value

from callboard.runtime.settings import Settings
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import (
    execution_control_pb2,
    execution_events_pb2,
    execution_service_pb2,
    executions_pb2,
    violations_pb2,
)

LISTENING = """
id: {id}
triggers:
  - id: placed
    event: {{name: order.placed}}
    input: {{order: "${{event.id}}", by: {number}}}
steps:
  - {{id: keep, set: {{number: {number}}}}}
output: {{order: "${{input.order}}", number: {number}}}
"""
KEYED = """
id: keyed
steps:
  - {id: paid, receive: {event: payment, key: "input.order", filter: "event.cents > 0"}}
output: "${steps.paid.result.payload}"
"""


def listening(number: int, definition_id: str = "listening") -> str:
    return LISTENING.format(id=definition_id, number=number)


async def emit(api: Api, name: str, content: Any = None, key: str = "", **more: Any) -> Any:
    request = execution_events_pb2.PublishEventRequest(name=name, key=key, payload=payload(content), **more)
    return await api.executions.PublishEvent(request, metadata=api.metadata)


async def retract(api: Api, definition_id: str) -> Any:
    return await api.definitions.RetractDefinition(pb2.RetractDefinitionRequest(definition_id=definition_id))


async def executions(api: Api, filter_text: str = "") -> list[Any]:
    """All of them, newest first."""
    found: list[Any] = []
    request = execution_service_pb2.ListExecutionsRequest(filter=filter_text, page_size=1_000)
    while True:
        page = await api.executions.ListExecutions(request, metadata=api.metadata)
        found += page.executions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


# What listens


async def test_an_event_starts_one_execution_of_every_trigger_that_listens(api: Api) -> None:
    await api.publish(listening(1))
    await api.publish(listening(2, "also"))
    answer = await emit(api, "order.placed", {"id": "o-1"}, event_id="e-1")
    assert (answer.event_id, answer.duplicate, answer.started_count, list(answer.warnings)) == ("e-1", False, 2, [])
    started = {one.definition_id: one for one in answer.started}
    assert {name: one.version for name, one in started.items()} == {"listening": 1, "also": 1}
    for name, number in (("listening", 1), ("also", 2)):
        ended = await api.ended(started[name].execution_id)
        assert value(ended.output) == {"order": "o-1", "number": number}
        assert (ended.trigger.trigger_id, ended.trigger.event_id) == ("placed", "e-1")


async def test_the_same_event_again_starts_nothing_and_answers_as_the_first_time(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(listening(1))
        first = await emit(api, "order.placed", {"id": "o-1"}, event_id="e-1")
        twice = await asyncio.gather(*(emit(api, "order.placed", {"id": "o-1"}, event_id="e-1") for _ in range(5)))
        assert all(again.duplicate and again.started == first.started for again in twice)
    async with serve(tmp_path) as api:
        again = await emit(api, "order.placed", {"id": "o-1"}, event_id="e-1")
        assert (again.duplicate, again.started_count, again.started) == (True, 1, first.started)
        assert len(await executions(api)) == 1
        assert not (await emit(api, "order.placed", {"id": "o-1"}, event_id="e-2")).duplicate


async def test_the_same_request_again_is_the_same_event(api: Api) -> None:
    await api.publish(listening(1))
    first = await emit(api, "order.placed", {"id": "o-1"}, request_id="r-1")
    again = await emit(api, "order.placed", {"id": "o-1"}, request_id="r-1")
    assert (again.event_id, again.duplicate, again.started) == (first.event_id, True, first.started)
    refusal = await refused(emit(api, "order.placed", {"id": "o-2"}, request_id="r-1"))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_after_a_retract_a_matching_event_starts_nothing(api: Api) -> None:
    await api.publish(listening(1))
    await retract(api, "listening")
    answer = await emit(api, "order.placed", {"id": "o-1"})
    assert (answer.started_count, answer.offered_count) == (0, 0)
    assert await executions(api) == []


async def test_a_filter_that_errors_is_no_match_and_harms_nobody(api: Api) -> None:
    strict = listening(1, "strict").replace("order.placed}", "order.placed, filter: \"event.by == 'ann'\"}")
    await api.publish(strict)
    await api.publish(listening(2))
    answer = await emit(api, "order.placed", {"id": "o-1"})
    assert [one.definition_id for one in answer.started] == ["listening"]
    (warning,) = answer.warnings
    assert "strict" in warning
    assert "placed" in warning
    assert [one.definition_id for one in (await emit(api, "order.placed", {"id": "o", "by": "bob"})).started] == [
        "listening"
    ]
    assert (await emit(api, "order.placed", {"id": "o", "by": "ann"})).started_count == 2


async def test_equal_events_start_an_execution_with_a_chosen_id_once(api: Api) -> None:
    await api.publish(listening(1).replace("order.placed}", "order.placed, execution_id: \"'order-' + event.id\"}"))
    first = await emit(api, "order.placed", {"id": "7"}, event_id="e-1")
    again = await emit(api, "order.placed", {"id": "7"}, event_id="e-2")
    assert [one.execution_id for one in first.started] == ["order-7"]
    assert (again.duplicate, again.started_count) == (False, 0)


async def test_a_unique_key_of_a_trigger_holds_until_its_execution_has_ended(api: Api) -> None:
    held = """
id: held
triggers:
  - {id: t, event: {name: go}, unique_key: "event.who", input: "${event}"}
steps:
  - {id: wait, receive: {event: done}}
"""
    await api.publish(held)
    first = (await emit(api, "go", {"who": "ann"})).started[0].execution_id
    assert (await emit(api, "go", {"who": "ann"})).started_count == 0
    assert (await emit(api, "go", {"who": "bob"})).started_count == 1
    await api.submit(first, "done")
    await api.ended(first)
    assert (await emit(api, "go", {"who": "ann"})).started_count == 1


async def test_an_input_that_does_not_fit_is_a_warning(api: Api) -> None:
    await api.publish(listening(1) + "input_schema: {type: object, properties: {order: {type: integer}}}\n")
    answer = await emit(api, "order.placed", {"id": "no number"})
    assert answer.started_count == 0
    assert "input_schema" in answer.warnings[0]
    assert (await emit(api, "order.placed", {"id": 7})).started_count == 1


# What waits


async def wait_for(api: Api, execution_id: str, order: str) -> None:
    await api.start("keyed", execution_id, input=payload({"order": order}))


async def test_an_event_reaches_the_steps_that_wait_with_its_key_and_no_others(api: Api) -> None:
    await api.publish(KEYED)
    for execution_id, order in (("a", "o-1"), ("b", "o-2"), ("c", "o-1")):
        await wait_for(api, execution_id, order)
    answer = await emit(api, "payment", {"cents": 5}, key="o-1", event_id="e-1")
    assert answer.offered_count == 2
    assert [(one.execution_id, one.step_path) for one in answer.offered] == [("a", "paid"), ("c", "paid")]
    for execution_id in ("a", "c"):
        assert value((await api.ended(execution_id)).output) == {"cents": 5}
    assert (await api.get("b")).status == executions_pb2.EXECUTION_STATUS_RUNNING
    assert (await emit(api, "payment", {"cents": 5}, key="o-1")).offered_count == 0


async def test_an_event_without_a_key_reaches_no_waiting_step(api: Api) -> None:
    await api.publish(KEYED)
    await wait_for(api, "a", "o-1")
    assert (await emit(api, "payment", {"cents": 5})).offered_count == 0
    await api.submit("a", "payment", {"cents": 6})
    assert value((await api.ended("a")).output) == {"cents": 6}


async def test_a_filter_of_a_receive_is_judged_by_its_execution(api: Api) -> None:
    await api.publish(KEYED)
    await wait_for(api, "a", "o-1")
    assert (await emit(api, "payment", {"cents": 0}, key="o-1")).offered_count == 1
    assert (await emit(api, "payment", {}, key="o-1")).offered_count == 1
    await api.until("a", "WarningRaised")
    assert (await api.get("a")).status == executions_pb2.EXECUTION_STATUS_RUNNING
    await emit(api, "payment", {"cents": 1}, key="o-1")
    assert value((await api.ended("a")).output) == {"cents": 1}


async def test_nothing_is_kept_for_later_receivers(api: Api) -> None:
    await api.publish(KEYED)
    await emit(api, "payment", {"cents": 5}, key="o-1")
    await wait_for(api, "a", "o-1")
    assert (await api.get("a")).status == executions_pb2.EXECUTION_STATUS_RUNNING


async def test_two_steps_of_one_execution_that_wait_both_get_the_event(api: Api) -> None:
    await api.publish("""
id: both
steps:
  - id: par
    parallel:
      branches:
        - {id: l, steps: [{id: left, receive: {event: e, key: "'k'"}}]}
        - {id: r, steps: [{id: right, receive: {event: e, key: "'k'"}}]}
output: "${[steps.left.result.event_id, steps.right.result.event_id]}"
""")
    await api.start("both", "x")
    assert (await emit(api, "e", 1, key="k", event_id="e-1")).offered_count == 2
    assert value((await api.ended("x")).output) == ["e-1", "e-1"]


async def test_an_event_for_more_than_one_commit_takes_is_offered_to_the_rest_by_a_job(tmp_path: Path) -> None:
    async with serve(tmp_path, settings=Settings(event_offers_max=3)) as api:
        await api.publish(KEYED)
        for number in range(10):
            await wait_for(api, f"x-{number}", "o-1")
        answer = await emit(api, "payment", {"cents": 5}, key="o-1")
        assert answer.offered_count == 3
        assert answer.job_id
        for number in range(10):
            assert value((await api.ended(f"x-{number}")).output) == {"cents": 5}
        request = execution_control_pb2.GetJobRequest(job_id=answer.job_id)
        job = await eventually(lambda: ended_job(api, request))
        assert (job.done_count, job.failed_count) == (7, 0)


async def ended_job(api: Api, request: Any) -> Any:
    job = (await api.executions.GetJob(request, metadata=api.metadata)).job
    return job if job.HasField("ended_at") else None


async def test_a_step_emits_what_others_wait_for_and_listen_to(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(KEYED)
        await api.publish(listening(1))
        await api.publish("""
id: sender
steps:
  - {id: pay, emit: {name: payment, key: "'o-1'", payload: {cents: 9}}}
  - {id: place, emit: {name: order.placed, payload: {id: "${execution.id}"}}}
output: "${has(steps.pay.result)}"
""")
        await wait_for(api, "a", "o-1")
        assert value((await api.start("sender", "s", wait=10)).execution.output) is True
        assert value((await api.ended("a")).output) == {"cents": 9}
        (begun,) = await eventually(lambda: executions(api, "definition_id == 'listening'"))
        assert value((await api.ended(begun.execution_id)).output) == {"order": "s", "number": 1}


# Tenants, and bad requests


async def test_nothing_crosses_tenants(api: Api) -> None:
    other = api.of("other")
    await api.publish(listening(1))
    await api.publish(KEYED)
    await wait_for(api, "a", "o-1")
    answer = await emit(other, "order.placed", {"id": 1}, event_id="e-1")
    assert (answer.started_count, answer.duplicate) == (0, False)
    assert (await emit(other, "payment", {"cents": 1}, key="o-1")).offered_count == 0
    assert not (await emit(api, "order.placed", {"id": 1}, event_id="e-1")).duplicate


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "no spaces"}, "name"),
        ({"name": "e", "key": "k" * 256}, "key"),
        ({"name": "e", "event_id": "k" * 256}, "event_id"),
    ],
)
async def test_bad_events_are_refused_by_field(api: Api, fields: dict[str, Any], field: str) -> None:
    refusal = await refused(api.executions.PublishEvent(execution_events_pb2.PublishEventRequest(**fields)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert field in refusal.fields


async def test_a_payload_that_is_no_json_is_refused(api: Api) -> None:
    request = execution_events_pb2.PublishEventRequest(name="e", payload=raw("{"))
    assert (await refused(api.executions.PublishEvent(request))).reason == "INVALID_JSON"


# While versions change


async def test_every_event_starts_one_execution_of_a_version_published_when_it_was_accepted(tmp_path: Path) -> None:
    """The commits decide: between two changes of the definition, in the order of the disk, only that version starts."""
    async with serve(tmp_path) as api:
        await api.publish(listening(1))
        answers: dict[str, Any] = {}
        stop = asyncio.Event()

        async def send(client: int) -> None:
            number = 0
            while not stop.is_set():
                event_id = f"e-{client}-{number}"
                answers[event_id] = await emit(api, "order.placed", {"id": event_id}, event_id=event_id)
                number += 1

        senders = [asyncio.create_task(send(client)) for client in range(4)]
        for version in range(2, 12):
            await reached(answers, len(answers) + 20)
            if version % 3 == 0:
                await retract(api, "listening")
                await reached(answers, len(answers) + 20)
            await api.publish(listening(version))
        await reached(answers, len(answers) + 20)
        stop.set()
        await asyncio.gather(*senders)
        begun = {one.execution_id: one for one in await executions(api)}
        started = [one for answer in answers.values() for one in answer.started]
        assert Counter(one.execution_id for one in started) == Counter(begun.keys())
        assert all(begun[one.execution_id].version == one.version for one in started)
        assert {answer.started_count for answer in answers.values()} == {0, 1}
        assert {one.version for one in started} == set(range(1, 12))


async def reached(answers: dict[str, Any], count: int) -> None:
    async def there() -> bool:
        return len(answers) >= count

    await eventually(there)


async def test_a_batch_of_sources_is_one_revision(api: Api) -> None:
    items = [
        pb2.BatchPublishItem(source=violations_pb2.SourceText(name=f"{name}.yaml", text=listening(1, name)))
        for name in ("a", "b")
    ]
    answer = await api.definitions.BatchPublish(pb2.BatchPublishRequest(items=items))
    assert [one.definition_version.version for one in answer.definitions] == [1, 1]
    assert (await emit(api, "order.placed", {"id": 1})).started_count == 2
