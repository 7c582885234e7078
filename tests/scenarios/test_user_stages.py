"""Stages that users add to the lifecycle, named in the server's configuration: a naming policy and a webhook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import ECHO, LINEAR, Api, refused, serve

from callboard.examples.stages.policies import WEBHOOK_VARIABLE
from callboard.server.config import load
from callboard.server.loading import load_stages
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import violations_pb2

POLICY = "publish:after:validate=callboard.examples.stages.policies:verbs_first"
WEBHOOK = "publish:after:announce=callboard.examples.stages.policies:announce"
NAMED = ECHO.replace("operation: one", "operation: reserve_stock")


@asynccontextmanager
async def served(data: Path, *stages: str) -> AsyncIterator[Api]:
    loaded = load_stages(load({}, {"CALLBOARD_STAGES": ",".join(stages)}).stages)
    async with serve(data, user_stages=loaded) as api:
        yield api


@asynccontextmanager
async def webhook(answer: bytes, told: list[Any]) -> AsyncIterator[str]:
    """A server that writes down what it is told; its address."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        told.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/"


async def test_a_policy_refuses_every_way_of_publishing(tmp_path: Path) -> None:
    async with served(tmp_path, POLICY) as api:
        source = violations_pb2.SourceText(name="flow.yaml", text=ECHO)
        batch = pb2.BatchPublishRequest(items=[pb2.BatchPublishItem(source=source)])
        for call in (api.publish(ECHO), api.publish(ECHO, validate_only=True), api.definitions.BatchPublish(batch)):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "STAGE_FAILED")
            assert "step 'one': the operation 'one' is not named verb_noun" in refusal.message
            assert refusal.metadata["stage"] == "callboard.examples.stages.policies:verbs_first"
        assert (await api.definitions.ListDefinitions(pb2.ListDefinitionsRequest())).definitions == []
        answer = await api.publish(NAMED)
        names = [stage.name for stage in answer.stages]
        assert names.index("validate") + 1 == names.index("callboard.examples.stages.policies:verbs_first")


async def test_an_announcer_tells_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    async with webhook(b"204 No Content", told) as address, served(tmp_path, WEBHOOK) as api:
        monkeypatch.setenv(WEBHOOK_VARIABLE, address)
        answer = await api.publish(LINEAR)
        assert [stage.error for stage in answer.stages if stage.error] == []
        assert told == [[{"definition_id": "linear", "version": 1, "revision": 1, "changed": True}]]
        assert not (await api.publish(LINEAR)).changed
        assert len(told) == 1


async def test_an_announcer_that_fails_is_reported_and_the_change_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    async with webhook(b"503 Service Unavailable", told) as address, served(tmp_path, WEBHOOK) as api:
        monkeypatch.setenv(WEBHOOK_VARIABLE, address)
        answer = await api.publish(LINEAR)
        (error,) = [stage.error for stage in answer.stages if stage.error]
        assert "503" in error
        assert len(told) > 1
        assert (await api.start("linear", "x")).started
