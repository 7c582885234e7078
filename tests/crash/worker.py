"""A worker in a process of its own, on bare generated stubs over the Work stream, that writes down all it does.

It keeps a result until it is acknowledged and sends it again after a reconnect. The input of a task says how to behave:
`ms` to take, a `gate` file to wait for, how many attempts `fail`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from callboard.v1 import failure_pb2, payload_pb2, tasks_pb2, worker_service_pb2
from callboard.v1 import worker_service_pb2_grpc as workers_grpc

_RETRY_SECONDS = 0.05
_BREATH_SECONDS = 0.5
"""An empty frame this often keeps short leases alive."""


class Hands:
    """What the worker has, over all its connections."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._record = os.open(options.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._answers: dict[bytes, tasks_pb2.TaskResult] = {}
        self._notes: dict[bytes, dict[str, Any]] = {}
        self._unsent: set[bytes] = set()
        self._wake = asyncio.Event()

    def _write_down(self, what: str, token: bytes, **more: Any) -> None:
        """One write, so that a kill leaves whole lines, and in the kernel's hands, so that they survive it."""
        line = {"what": what, "worker": self._options.worker_id, "token": token.hex(), **self._notes[token], **more}
        os.write(self._record, json.dumps(line).encode() + b"\n")

    async def connect(self, address: str) -> None:
        """One connection, for as long as it lasts."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = workers_grpc.WorkerServiceStub(channel)
            call = stub.Work()
            hello = worker_service_pb2.WorkerHello(
                worker_id=self._options.worker_id,
                operations=self._options.operations,
                max_in_flight=self._options.slots,
                holding=[*self._running, *self._answers],
            )
            await call.write(worker_service_pb2.WorkRequest(hello=hello))
            sender: asyncio.Task[None] | None = None
            try:
                async for frame in call:
                    if frame.HasField("welcome"):
                        self._welcome(set(frame.welcome.holding))
                        sender = asyncio.create_task(self._send(call))
                    self._take(frame)
            finally:
                if sender is not None:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)

    def _welcome(self, kept: set[bytes]) -> None:
        """Stop what is no longer ours; what is done is sent again in any case, and its ack says what became of it."""
        for token in [token for token in self._running if token not in kept]:
            self._stop(token, "superseded")
        self._unsent = set(self._answers)
        self._wake.set()

    def _stop(self, token: bytes, why: str) -> None:
        if (task := self._running.pop(token, None)) is not None:
            task.cancel()
            self._write_down(why, token)

    def _take(self, frame: Any) -> None:
        for task in frame.tasks:
            self._begin(task)
        for ack in frame.acks:
            self._acked(ack)
        for cancel in frame.cancels:
            self._stop(cancel.task_token, "stopped")

    def _begin(self, task: Any) -> None:
        token = task.task_token
        self._notes[token] = {
            "execution": task.execution_id,
            "path": task.step_path,
            "attempt": task.attempt,
            "key": task.idempotency_key,
            "run": uuid.uuid4().hex,
        }
        self._write_down("begun", token)
        self._running[token] = asyncio.create_task(self._do(task))

    async def _do(self, task: Any) -> None:
        token, given = task.task_token, json.loads(task.input.json) or {}
        await asyncio.sleep(given.get("ms", 0) / 1_000)
        while "gate" in given and not Path(given["gate"]).exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(_RETRY_SECONDS)
        result = tasks_pb2.TaskResult(task_token=token)
        if task.attempt <= given.get("fail", 0):
            result.failure.CopyFrom(
                failure_pb2.Failure(type="Broken", message=f"attempt {task.attempt}", retryable=True)
            )
        else:
            output = {"run": self._notes[token]["run"], "n": given.get("n")}
            result.output.CopyFrom(payload_pb2.Payload(json=json.dumps(output)))
        del self._running[token]
        self._answers[token] = result
        self._write_down("answered", token)
        self._unsent.add(token)
        self._wake.set()

    def _acked(self, ack: Any) -> None:
        token = ack.task_token
        name = tasks_pb2.TaskDisposition.Name(ack.disposition).removeprefix("TASK_DISPOSITION_")
        if ack.disposition == tasks_pb2.TASK_DISPOSITION_RETRY:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._again, token)
        elif self._answers.pop(token, None) is not None:
            self._write_down("acked", token, disposition=name)

    def _again(self, token: bytes) -> None:
        if token in self._answers:
            self._unsent.add(token)
            self._wake.set()

    async def _send(self, call: Any) -> None:
        """All that is there in one frame, and a sign of life where there is nothing."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BREATH_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            tokens, self._unsent = self._unsent, set()
            results = [self._answers[token] for token in tokens if token in self._answers]
            await call.write(worker_service_pb2.WorkRequest(results=results))


async def _main(options: argparse.Namespace) -> None:
    hands = Hands(options)
    while True:
        with contextlib.suppress(OSError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await hands.connect(options.address_file.read_text())
        await asyncio.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--address-file", type=Path, required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--operations", nargs="+", required=True)
    asyncio.run(_main(parser.parse_args()))
