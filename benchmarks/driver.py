"""The client process: takes commands as lines of JSON on stdin and answers each with one line on stdout.

It lives as long as the whole run, so that no figure holds the start of an interpreter; every command has a channel of
its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from callboard.v1 import server_service_pb2 as server_pb
from callboard.v1 import server_service_pb2_grpc as server_grpc

from . import bounds
from .closed_loop import Window, run_count, run_window
from .workloads import Load

_COUNT_OUTSTANDING = 64

Answer = dict[str, Any]


async def _unary(command: Answer, _channel: grpc.aio.Channel) -> Answer:
    return (await bounds.unary_rate(command["address"], command["seconds"])).as_json()


async def _stream(command: Answer, _channel: grpc.aio.Channel) -> Answer:
    return {"milliseconds": await bounds.stream_round_trip(command["address"], command["seconds"])}


async def _publish(command: Answer, channel: grpc.aio.Channel) -> Answer:
    await Load(channel).publish(command["definition"])
    return {}


async def _run(command: Answer, channel: grpc.aio.Channel) -> Answer:
    async with Load(channel).rounds(command["workload"], command["way"]) as once:
        window: Window = await run_window(once, command["outstanding"], command["seconds"])
    return window.as_json()


async def _run_count(command: Answer, channel: grpc.aio.Channel) -> Answer:
    async with Load(channel).rounds(command["workload"], command["way"]) as once:
        failures = await run_count(lambda _: once(), command["count"], _COUNT_OUTSTANDING)
    return {"failures": failures}


async def _start(command: Answer, channel: grpc.aio.Channel) -> Answer:
    load = Load(channel)

    async def once(number: int) -> None:
        await load.start_waiting(command["definition"], f"{command['prefix']}{number}")

    return {"failures": await run_count(once, command["count"], _COUNT_OUTSTANDING)}


async def _finish(command: Answer, channel: grpc.aio.Channel) -> Answer:
    load = Load(channel)
    first, finish = command["first"], load.ended if command["by_worker"] else load.go

    async def once(number: int) -> None:
        await finish(f"{command['prefix']}{first + number}")

    return {"failures": await run_count(once, command["count"], _COUNT_OUTSTANDING)}


async def _long(command: Answer, channel: grpc.aio.Channel) -> Answer:
    load = Load(channel)
    await load.start_waiting("bench-long", command["execution_id"])
    await load.reached(command["execution_id"], "signal", command["seconds"])
    return {}


async def _info(_command: Answer, channel: grpc.aio.Channel) -> Answer:
    stub: server_grpc.ServerServiceAsyncStub = server_grpc.ServerServiceStub(channel)
    info = await stub.GetServerInfo(server_pb.GetServerInfoRequest(), timeout=10, wait_for_ready=True)
    limits = {limit.name: limit.value for limit in info.limits}
    return {"version": info.version, "storage": info.storage, "limits": limits}


_COMMANDS: dict[str, Callable[[Answer, grpc.aio.Channel], Awaitable[Answer]]] = {
    "unary": _unary,
    "stream": _stream,
    "publish": _publish,
    "run": _run,
    "run_count": _run_count,
    "start": _start,
    "finish": _finish,
    "long": _long,
    "info": _info,
}


async def _serve() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            async with grpc.aio.insecure_channel(command["address"]) as channel:
                answer = await _COMMANDS[command["do"]](command, channel)
        except Exception as error:  # noqa: BLE001 - the harness shows it and ends the run
            answer = {"error": f"{command['do']}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
