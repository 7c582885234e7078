"""Optimistic concurrency: a command that names the sequence it was meant for happens there or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.scenarios.kit import (
    WAITING,
    Api,
    Refusal,
    connect,
    payload,
    refusal_of,
    refused,
    serve,
    status,
    value,
    worker,
)

from callboard.v1 import execution_control_pb2, executions_pb2, failure_pb2

PARKING = """
id: parking
steps: [{id: one, task: {service: s, operation: one}, retry: {on_exhausted: PARK}}]
output: "${steps.one.result}"
"""
COUNTING = """
id: counting
steps:
  - {id: each, foreach: {items: "input", steps: [{id: got, receive: {event: e}}]}}
"""
CLIENTS = 8
ROUNDS = 5


async def submit(api: Api, execution_id: str, name: str, content: Any = None, **more: Any) -> Any:
    """What a submit came to: its answer, or why it was refused."""
    try:
        return await api.submit(execution_id, name, content, **more)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


async def resolve(api: Api, **more: Any) -> Any:
    request = execution_control_pb2.ResolveStepRequest(
        execution_id="x-1", step_path="one", action=execution_control_pb2.RESOLVE_ACTION_COMPLETE, **more
    )
    return await api.executions.ResolveStep(request, metadata=api.metadata)


def is_mismatch(refusal: Any, actual: int, expected: int) -> bool:
    """Whether this is the refusal that says where the execution is."""
    if not isinstance(refusal, Refusal):
        return False
    said = (refusal.code, refusal.reason, refusal.metadata)
    return said == (
        "ABORTED",
        "SEQUENCE_MISMATCH",
        {"sequence": str(actual), "expected_sequence": str(expected)},
    )


async def begun(api: Api) -> int:
    """An execution that waits for `go`; its sequence."""
    await api.publish(WAITING)
    return (await api.start("waiting", "x-1")).execution.sequence


async def test_an_event_counts_only_at_the_sequence_it_was_meant_for(api: Api) -> None:
    at = await begun(api)
    before = await api.history("x-1")
    for expected in (at - 1, at + 1, 2**62):
        assert is_mismatch(await submit(api, "x-1", "go", 1, expected_sequence=expected), at, expected)
    assert await api.history("x-1") == before
    answer = await api.submit("x-1", "go", 1, expected_sequence=at)
    assert answer.sequence == at + 1
    now = answer.execution.sequence
    assert is_mismatch(await submit(api, "x-1", "more", 2, expected_sequence=at), now, at)
    ended = (await api.submit("x-1", "more", 2, expected_sequence=now)).execution
    assert (ended.status, value((await api.get("x-1")).output)) == (status("COMPLETED"), [1, 2])


async def test_a_repeat_is_answered_as_the_repeat_wherever_the_execution_is(api: Api) -> None:
    at = await begun(api)
    by_event = {"event_id": "e-1", "expected_sequence": at}
    first = await api.submit("x-1", "other", 1, **by_event)
    now = first.execution.sequence
    by_request = {"request_id": "r-1", "expected_sequence": now}
    await api.submit("x-1", "other", 2, **by_request)
    before = await api.history("x-1")
    for _ in range(2):  # at first unlooked for, then with its id looked up before it is decided
        for repeat in (by_event, by_request):
            again = await api.submit("x-1", "other", 1 if repeat is by_event else 2, **repeat)
            assert (again.duplicate, again.execution.sequence) == (True, len(before))
    assert await api.history("x-1") == before
    # Without an id it is another event, and with another expectation another request.
    assert is_mismatch(await submit(api, "x-1", "other", 1, expected_sequence=at), len(before), at)
    changed = await refused(api.submit("x-1", "other", 2, request_id="r-1", expected_sequence=len(before)))
    assert changed.reason == "REQUEST_ID_REUSED"


async def test_a_refused_event_is_not_remembered(api: Api) -> None:
    at = await begun(api)
    assert is_mismatch(
        await submit(api, "x-1", "go", 1, event_id="e-1", request_id="r-1", expected_sequence=at + 5), at, at + 5
    )
    answer = await api.submit("x-1", "go", 1, event_id="e-1", expected_sequence=at)
    assert not answer.duplicate and answer.sequence == at + 1


async def test_of_clients_that_race_one_wins_each_round(api: Api) -> None:
    await api.publish(COUNTING)
    at = (await api.start("counting", "x-1", input=payload(list(range(ROUNDS + 1))))).execution.sequence
    async with connect(api.server) as channel:
        clients = [Api(api.server, one) for one in (api.channel, channel)] * (CLIENTS // 2)
        for _ in range(ROUNDS):
            tries = [submit(one, "x-1", "e", n, expected_sequence=at) for n, one in enumerate(clients)]
            outcomes = await asyncio.gather(*tries)
            (winner,) = [one for one in outcomes if not isinstance(one, Refusal)]
            assert winner.sequence == at + 1
            now = winner.execution.sequence
            assert all(is_mismatch(one, now, at) for one in outcomes if one is not winner)
            at = now
    names = await api.names("x-1")
    assert names.count("EventReceived") == ROUNDS and len(names) == at


async def test_what_was_accepted_before_goes_first_and_counts(api: Api) -> None:
    """The sequence is compared when the event is decided, not when it comes in."""
    at = await begun(api)
    await api.enqueue("x-1", "other", 1)
    assert is_mismatch(await submit(api, "x-1", "go", 1, expected_sequence=at), at + 1, at)


async def test_after_a_restart_it_is_the_same(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        at = await begun(api)
        await api.submit("x-1", "other", 1, event_id="e-1", expected_sequence=at)
    async with serve(tmp_path) as api:
        assert is_mismatch(await submit(api, "x-1", "go", 1, expected_sequence=at), at + 1, at)
        assert (await api.submit("x-1", "other", 1, event_id="e-1", expected_sequence=at)).duplicate
        assert (await api.submit("x-1", "go", 1, expected_sequence=at + 1)).sequence == at + 2


async def test_a_step_is_resolved_only_at_the_sequence_it_was_looked_at(api: Api) -> None:
    await api.publish(PARKING)
    async with worker(api, lambda task: failure_pb2.Failure(type="Down", message="no")):
        await api.start("parking", "x-1")
        await api.until("x-1", "StepParked")
    at = (await api.get("x-1")).sequence
    refusal = await refused(resolve(api, expected_sequence=at - 1))
    assert is_mismatch(refusal, at, at - 1)
    assert (await api.get("x-1")).sequence == at
    resolved = (await resolve(api, result=payload(7), expected_sequence=at, request_id="r-1")).execution
    assert resolved.status == executions_pb2.EXECUTION_STATUS_COMPLETED
    again = (await resolve(api, result=payload(7), expected_sequence=at, request_id="r-1")).execution
    assert again == resolved
    assert is_mismatch(await refused(resolve(api, expected_sequence=at)), resolved.sequence, at)
    assert (await refused(resolve(api, expected_sequence=resolved.sequence))).reason == "EXECUTION_ENDED"


@pytest.mark.parametrize("expected", [0, -1])
async def test_a_sequence_that_no_execution_is_ever_at_is_wrong_usage(api: Api, expected: int) -> None:
    await begun(api)
    for call in (api.submit("x-1", "go", expected_sequence=expected), resolve(api, expected_sequence=expected)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason, list(refusal.fields)) == (
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
            ["expected_sequence"],
        )


async def test_of_an_execution_that_is_not_there_it_is_not_found(api: Api) -> None:
    assert (await refused(api.submit("x-9", "go", expected_sequence=1))).reason == "EXECUTION_NOT_FOUND"
