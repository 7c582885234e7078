"""kill -9 while sensitive values are under way: the next server's workers get them, and no file has ever held them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.crash.kit import CALL_SECONDS, Server, house, status
from tests.scenarios.sensitive import FLOW, INPUT, PAYLOAD, WHOLE, files, leaks, rule

from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import tasks_pb2, worker_service_pb2

BRISK = ("--limit", "reconnect_grace_seconds=0.2")


async def polled(server: Server, operation: str) -> tasks_pb2.Task:
    """The next task of an operation."""
    request = worker_service_pb2.PollTasksRequest(worker_id="w", operations=[operation], max_tasks=1)
    request.wait.FromSeconds(1)
    while True:
        found = await server.insist(lambda stubs: stubs.workers.PollTasks(request, timeout=CALL_SECONDS))
        if found.tasks:
            task: tasks_pb2.Task = found.tasks[0]
            return task


async def answer(server: Server, task: tasks_pb2.Task) -> None:
    assert await server.answer("w", task.task_token, rule(task)) == "ACCEPTED"


async def test_a_killed_server_has_lost_no_value_and_told_none(tmp_path: Path) -> None:
    async with house(tmp_path, *BRISK) as own:
        server, told = await own.server.start(), list[tuple[str, str]]()

        async def kill() -> None:
            await server.kill()
            assert files(server.data) == []
            told.append((f"the log of boot {server.boots}", server.process.text))
            await server.start()

        await server.publish(FLOW)
        await server.begin("pay", "o-1", INPUT)
        await kill()
        for _ in range(3):
            await answer(server, await polled(server, "s.one"))
        await kill()
        await server.submit("o-1", "go", PAYLOAD)
        held = await polled(server, "s.two")
        await kill()
        task = await polled(server, "s.two")
        assert json.loads(held.input.json) == json.loads(task.input.json) == WHOLE
        await answer(server, task)
        ended = await server.end_of("o-1")
        assert status(ended) == "COMPLETED"
        request = pb2.VerifyExecutionRequest(execution_id="o-1")
        verified: Any = await server.insist(lambda stubs: stubs.executions.VerifyExecution(request))
        assert verified.valid, verified
        await kill()
        assert len(told) == 4 and all(text for _, text in told)
        assert leaks(told) == []
