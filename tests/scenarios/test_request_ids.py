"""A repeat with the same request id has its effect once, whatever the call; with another request it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import (
    LINEAR,
    WAITING,
    Api,
    eventually,
    payload,
    refused,
    serve,
    status,
    worker,
)

from callboard.v1 import (
    definition_service_pb2,
    execution_control_pb2,
    execution_events_pb2,
    execution_service_pb2,
    failure_pb2,
    violations_pb2,
)

PARKING = """
id: parking
steps: [{id: one, task: {service: s, operation: one}, retry: {on_exhausted: PARK}}]
"""
OTHER = WAITING.replace("id: waiting", "id: other")


def source(text: str) -> violations_pb2.SourceText:
    return violations_pb2.SourceText(name="flow.yaml", text=text)


async def _parked(api: Api) -> None:
    await api.publish(PARKING)
    async with worker(api, lambda task: failure_pb2.Failure(type="Down", message="no")):
        await api.start("parking", "x-p")
        await api.until("x-p", "StepParked")


async def _letters(api: Api) -> list[str]:
    """Two dead letters."""
    await api.start("waiting", "x-d")
    for n in (1, 2):
        await api.enqueue("x-d", "nobody", n)
    await api.submit("x-d", "go")
    await api.submit("x-d", "more")

    async def both() -> Any:
        found = await api.dead_letters()
        return found if len(found) == 2 else None

    return [letter.dead_letter_id for letter in await eventually(both)]


Calls = dict[str, tuple[Any, Any, Any]]
"""Name -> (method, request, a change that makes it another request)."""


async def _calls(api: Api) -> Calls:
    await api.publish(WAITING)
    for execution_id in ("x-1", "x-2", "x-3"):
        await api.start("waiting", execution_id)
    await _parked(api)
    letters = await _letters(api)
    events, control, service = execution_events_pb2, execution_control_pb2, execution_service_pb2
    definitions = definition_service_pb2
    executions = api.executions
    return {
        "PutDraft": (api.definitions.PutDraft, definitions.PutDraftRequest(source=source(LINEAR)), "source"),
        "PublishDefinition": (
            api.definitions.PublishDefinition,
            definitions.PublishDefinitionRequest(source=source(OTHER)),
            "source",
        ),
        "StartExecution": (
            executions.StartExecution,
            service.StartExecutionRequest(definition_id="waiting", input=payload(1)),
            "input",
        ),
        "SubmitEvent": (
            executions.SubmitEvent,
            events.SubmitEventRequest(execution_id="x-1", name="go", payload=payload(1)),
            "payload",
        ),
        "EnqueueEvent": (
            executions.EnqueueEvent,
            events.EnqueueEventRequest(execution_id="x-1", name="other", payload=payload(1)),
            "payload",
        ),
        "CancelExecution": (
            executions.CancelExecution,
            control.CancelExecutionRequest(execution_id="x-2", reason="a"),
            "reason",
        ),
        "TerminateExecution": (
            executions.TerminateExecution,
            control.TerminateExecutionRequest(execution_id="x-3", reason="a"),
            "reason",
        ),
        "ResolveStep": (
            executions.ResolveStep,
            control.ResolveStepRequest(execution_id="x-p", step_path="one", action="RESOLVE_ACTION_SKIP", reason="a"),
            "reason",
        ),
        "DiscardDeadLetter": (
            executions.DiscardDeadLetter,
            events.DiscardDeadLetterRequest(dead_letter_id=letters[0], reason="a"),
            "reason",
        ),
    }


def _another(request: Any, field: str) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    match field:
        case "reason":
            changed.reason = "b"
        case "source":
            changed.source.text += "\n# changed"
        case _:
            getattr(changed, field).CopyFrom(payload(2))
    return changed


async def test_every_mutating_call_has_its_effect_once(tmp_path: Path) -> None:
    """Repeated at once, later, and after a restart; and refused with another request."""
    answers: dict[str, Any] = {}
    async with serve(tmp_path) as api:
        calls = await _calls(api)
        for name, (method, request, _) in calls.items():
            request.request_id = f"r-{name}"
            first, joined = await asyncio.gather(method(request), method(request))
            again = await method(request)
            assert _identity(first) == _identity(joined) == _identity(again), name
            answers[name] = _identity(first)
        histories = {one: await api.names(one) for one in ("x-1", "x-2", "x-3", "x-p", "x-d")}
        assert len(await api.dead_letters()) == 1
    async with serve(tmp_path) as api:
        for name, (method, request, field) in calls.items():
            method = _same(api, name)
            assert _identity(await method(request)) == answers[name], name
            refusal = await refused(method(_another(request, field)))
            assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED"), name
        assert {one: await api.names(one) for one in histories} == histories
        listed = await api.executions.ListExecutions(
            execution_service_pb2.ListExecutionsRequest(filter='definition_id == "waiting"')
        )
        assert len(listed.executions) == 5
        assert len(await api.dead_letters()) == 1


def _same(api: Api, name: str) -> Callable[[Any], Any]:
    stub = api.executions if hasattr(api.executions, name) else api.definitions
    return getattr(stub, name)


def _identity(answer: Any) -> Any:
    for field in ("execution", "definition_version", "definition"):
        if field in answer.DESCRIPTOR.fields_by_name and answer.HasField(field):
            found = getattr(answer, field)
            names = ("execution_id", "definition_id", "version", "published_version")
            return [getattr(found, name) for name in names if hasattr(found, name)]
    return getattr(answer, "event_id", None)


async def test_a_repeated_start_waits_again_and_shows_the_execution_as_it_is_now(api: Api) -> None:
    await api.publish(LINEAR)
    first = await api.start("linear", request_id="r-1")
    assert not first.ended
    repeat = asyncio.ensure_future(api.start("linear", request_id="r-1", wait=20))
    async with worker(api, lambda task: 1):
        answer = await repeat
    assert (answer.ended, answer.started) == (True, True)
    assert answer.execution.execution_id == first.execution.execution_id
    assert answer.execution.status == status("COMPLETED")


async def test_a_refusal_is_not_remembered(api: Api) -> None:
    assert (await refused(api.start("waiting", request_id="r-1"))).reason == "DEFINITION_NOT_FOUND"
    await api.publish(WAITING)
    assert (await api.start("waiting", request_id="r-1")).started


async def test_an_id_that_the_server_makes_is_derived_from_the_request_id(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        async with serve(tmp_path / folder) as api:
            await api.publish(WAITING)
            made.append((await api.start("waiting", request_id="r-1")).execution.execution_id)
    assert made[0] == made[1]


@pytest.mark.parametrize("policy", ["RETURN_EXISTING", "REJECT"])
async def test_concurrent_starts_with_one_id_begin_one_execution(api: Api, policy: str) -> None:
    await api.publish(WAITING)
    number = execution_service_pb2.ConflictPolicy.Value(f"CONFLICT_POLICY_{policy}")
    starts = [api.start("waiting", "x-1", conflict_policy=number) for _ in range(64)]
    answers = await asyncio.gather(*starts, return_exceptions=True)
    begun = [one for one in answers if not isinstance(one, BaseException) and one.started]
    assert len(begun) == 1
    assert sum(isinstance(one, BaseException) for one in answers) == (63 if policy == "REJECT" else 0)
    assert await api.names("x-1") == ["ExecutionStarted", "StepScheduled"]


async def test_losers_of_one_flush_do_not_touch_the_others(api: Api) -> None:
    """64 starts at once, three of them with the id of another: 61 begin, and only those three are told."""
    await api.publish(WAITING)
    await api.publish(OTHER)
    ids = [f"x-{n}" for n in range(61)]
    starts = [api.start("waiting", one) for one in ids]
    starts += [api.start("other", "x-0"), api.start("waiting", "x-1", conflict_policy=2), api.start("nothing", "x-2")]
    answers = await asyncio.gather(*starts, return_exceptions=True)
    assert [isinstance(one, BaseException) for one in answers] == [False] * 61 + [True] * 3
    for execution_id in ids:
        assert await api.names(execution_id) == ["ExecutionStarted", "StepScheduled"]


async def test_an_id_that_is_in_use_by_another_definition_is_refused(api: Api) -> None:
    await api.publish(WAITING)
    await api.publish(OTHER)
    await api.start("waiting", "x-1")
    existing = await api.start("waiting", "x-1")
    assert (existing.started, existing.execution.execution_id) == (False, "x-1")
    for call in (api.start("other", "x-1"), api.start("waiting", "x-1", conflict_policy=2)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "EXECUTION_ALREADY_EXISTS")
