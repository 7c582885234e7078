"""Unique keys: of one definition, at most one execution that has not ended holds one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.scenarios.kit import HOLD, Api, refused, serve, value, worker
from tests.scenarios.lifecycle import DEFINITION, text

from callboard.v1 import execution_control_pb2, executions_pb2
from callboard.v1 import execution_service_pb2 as pb2

POLICIES = {name: pb2.UniquePolicy.Value(f"UNIQUE_POLICY_{name}") for name in ("REJECT", "CANCEL_EXISTING")}


async def start(api: Api, execution_id: str, policy: int = 0, key: str = "k", **more: Any) -> Any:
    return await api.start(DEFINITION, execution_id, unique_key=key, unique_policy=policy, **more)


async def test_the_execution_that_holds_the_key_is_the_answer(api: Api) -> None:
    await api.publish(text(1))
    first = await start(api, "a")
    assert (first.started, first.execution.unique_key) == (True, "k")
    again = await start(api, "b")
    assert (again.started, again.execution.execution_id) == (False, "a")
    assert (await start(api, "c", key="other")).started
    refusal = await refused(start(api, "d", POLICIES["REJECT"]))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "UNIQUE_KEY_TAKEN")
    assert "'a'" in refusal.message or " a " in refusal.message


async def test_the_key_is_free_when_its_execution_has_ended(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(text(1))
        await start(api, "a")
        await api.submit("a", "go")
        await api.ended("a")
    async with serve(tmp_path) as api:
        assert (await start(api, "b")).started
        assert not (await start(api, "c")).started


async def test_of_many_starts_at_once_one_holds_the_key(api: Api) -> None:
    await api.publish(text(1))
    answers = await asyncio.gather(*(start(api, f"x-{number}") for number in range(30)))
    assert sum(answer.started for answer in answers) == 1
    assert len({answer.execution.execution_id for answer in answers}) == 1


async def test_cancel_existing_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(text(1))
        await start(api, "a")
        answer = await start(api, "b", POLICIES["CANCEL_EXISTING"])
        assert answer.started
        assert (await api.ended("a")).status == executions_pb2.EXECUTION_STATUS_CANCELLED
        await api.until("b", "StepScheduled")
        assert (await api.get("b")).status == executions_pb2.EXECUTION_STATUS_RUNNING
    async with serve(tmp_path) as api:
        await api.submit("b", "go")
        assert value((await api.ended("b")).output) == {"number": 1}


async def test_a_repeat_of_the_request_answers_with_the_same_execution(api: Api) -> None:
    await api.publish(text(1))
    first = await start(api, "", POLICIES["CANCEL_EXISTING"], request_id="r-1")
    again = await start(api, "", POLICIES["CANCEL_EXISTING"], request_id="r-1")
    assert first.execution.execution_id == again.execution.execution_id
    assert again.started
    assert again.execution.status == executions_pb2.EXECUTION_STATUS_RUNNING


async def test_one_that_waits_can_be_cancelled_and_the_next_goes_on(api: Api) -> None:
    """The first does not end when it is told to: its worker holds a task and is awaited."""
    slow = (
        f"id: {DEFINITION}\nsteps: [{{id: one, task: {{service: s, operation: one}}, timeouts: {{cancel_grace: 1h}}}}]"
    )
    await api.publish(slow)
    async with worker(api, lambda _: HOLD) as stub:
        await start(api, "a")
        (task, *_) = await stub.seen()
        for name in ("b", "c"):
            assert (await start(api, name, POLICIES["CANCEL_EXISTING"])).started
        assert (await api.ended("b")).status == executions_pb2.EXECUTION_STATUS_CANCELLED
        waiting = await api.get("c")
        assert waiting.status == executions_pb2.EXECUTION_STATUS_PENDING
        assert not waiting.HasField("started_at")
        await api.executions.TerminateExecution(execution_control_pb2.TerminateExecutionRequest(execution_id="a"))
        await api.until("c", "StepScheduled")
        assert task.execution_id == "a"
