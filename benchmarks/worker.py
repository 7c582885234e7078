"""The worker process: no-op handlers, either on bare stubs over the Work stream or with the client library's Worker.

It says `{}` on stdout when it is connected, and ends with SIGTERM or when its stdin is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

import grpc.aio

from callboard.v1 import payload_pb2 as payload_pb
from callboard.v1 import tasks_pb2 as tasks_pb
from callboard.v1 import worker_service_pb2 as worker_pb
from callboard.v1 import worker_service_pb2_grpc as worker_grpc

from .definitions import OPERATION, RESULT, RESULT_TEXT

MAX_IN_FLIGHT = 1_000
_OUTPUT = payload_pb.Payload(json=RESULT_TEXT)


async def work_on_stubs(address: str) -> None:
    """One stream; the results of a frame's tasks go back in one frame."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: worker_grpc.WorkerServiceAsyncStub = worker_grpc.WorkerServiceStub(channel)
        call: Any = stub.Work()
        hello = worker_pb.WorkerHello(
            worker_id=f"bench-{os.getpid()}", build="bench", operations=[OPERATION], max_in_flight=MAX_IN_FLIGHT
        )
        await call.write(worker_pb.WorkRequest(hello=hello))
        async for frame in call:
            if frame.HasField("welcome"):
                print("{}", flush=True)
            if frame.tasks:
                results = [tasks_pb.TaskResult(task_token=task.task_token, output=_OUTPUT) for task in frame.tasks]
                await call.write(worker_pb.WorkRequest(results=results))
            elif frame.HasField("ping"):
                await call.write(worker_pb.WorkRequest())


async def work_with_client(address: str) -> None:
    """The client library's Worker, as users write it."""
    from callboard.client import Worker  # noqa: PLC0415 - only this kind needs it

    worker = Worker(address, max_in_flight=MAX_IN_FLIGHT)

    @worker.operation(OPERATION)
    async def noop(task: Any, n: int) -> dict[str, str]:
        return RESULT

    print("{}", flush=True)
    await worker.run()


async def _main(address: str, kind: str) -> None:
    work = asyncio.create_task(work_on_stubs(address) if kind == "stub" else work_with_client(address))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    loop.add_reader(sys.stdin.fileno(), work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--kind", choices=("stub", "client"), required=True)
    options = parser.parse_args()
    asyncio.run(_main(options.address, options.kind))
