"""What the lifecycle of definitions and published events cost: `python -m benchmarks.lifecycle [case ...]`.

Each case has a server and a data directory of its own; the client is this process, with bare stubs. A case that finds
an event lost or doubled ends the run with exit code 1.

- `storm`: matching events at a fixed rate from several clients while versions are published and retracted; every
  accepted event must have started one execution of a version that was published when it was accepted.
- `big`: publishing a definition of 500 steps and 20 triggers; the chain's time as its answer tells it.
- `many`: 10,000 definitions in the store: the time until the server answers, and a publish, beside an empty store's.
- `keyed`: one event with a key among 100,000 sleeping executions: from the call to its one waiter's end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc.aio

from callboard.v1 import definition_service_pb2 as definitions_pb
from callboard.v1 import definition_service_pb2_grpc as definitions_grpc
from callboard.v1 import execution_events_pb2 as events_pb
from callboard.v1 import execution_service_pb2 as executions_pb
from callboard.v1 import execution_service_pb2_grpc as executions_grpc
from callboard.v1 import payload_pb2, server_service_pb2, server_service_pb2_grpc, violations_pb2

from .processes import Process, serve
from .stores import multiply_waiting

STORM_SECONDS: Final = 20.0
STORM_RATE: Final = 200
STORM_CLIENTS: Final = 8
BIG_STEPS: Final = 500
BIG_TRIGGERS: Final = 20
MANY: Final = 10_000
SLEEPERS: Final = 100_000
REPEATS: Final = 15

LISTENING = """
id: listening
triggers: [{{id: placed, event: {{name: placed}}}}]
steps: [{{id: number, set: {{version: {version}}}}}]
"""
WAITING = """
id: waiting
steps: [{id: paid, receive: {event: paid, key: "input"}}]
"""
SMALL = "id: d{number}\ntriggers: [{{id: t, event: {{name: e{number}}}}}]\nsteps: [{{id: a, set: {{n: {number}}}}}]\n"

Figures = dict[str, float | int]


class LostError(Exception):
    """An event was lost or doubled."""


class Api:
    """A server, spoken to by stubs."""

    def __init__(self, process: Process, channel: grpc.aio.Channel) -> None:
        self.process = process
        self._definitions: Any = definitions_grpc.DefinitionServiceStub(channel)
        self._executions: Any = executions_grpc.ExecutionServiceStub(channel)
        self._server: Any = server_service_pb2_grpc.ServerServiceStub(channel)

    async def publish(self, text: str) -> Any:
        source = violations_pb2.SourceText(name="d.yaml", text=text)
        return await self._definitions.PublishDefinition(definitions_pb.PublishDefinitionRequest(source=source))

    async def publish_all(self, texts: list[str]) -> None:
        items = [
            definitions_pb.BatchPublishItem(source=violations_pb2.SourceText(name="d.yaml", text=text))
            for text in texts
        ]
        await self._definitions.BatchPublish(definitions_pb.BatchPublishRequest(items=items))

    async def retract(self, definition_id: str) -> None:
        await self._definitions.RetractDefinition(definitions_pb.RetractDefinitionRequest(definition_id=definition_id))

    async def emit(self, name: str, value: Any, key: str = "", event_id: str = "") -> Any:
        payload = payload_pb2.Payload(json=json.dumps(value))
        request = events_pb.PublishEventRequest(name=name, key=key, event_id=event_id, payload=payload)
        return await self._executions.PublishEvent(request)

    async def start(self, definition_id: str, execution_id: str, value: Any) -> None:
        payload = payload_pb2.Payload(json=json.dumps(value))
        request = executions_pb.StartExecutionRequest(
            definition_id=definition_id, execution_id=execution_id, input=payload
        )
        await self._executions.StartExecution(request)

    async def ended(self, execution_id: str) -> None:
        request = executions_pb.WaitExecutionRequest(execution_id=execution_id)
        request.wait.FromSeconds(30)
        if not (await self._executions.WaitExecution(request)).ended:
            raise LostError(f"{execution_id} has not ended")

    async def versions(self) -> dict[str, int]:
        """Of all executions."""
        request, found = executions_pb.ListExecutionsRequest(page_size=1_000), dict[str, int]()
        while True:
            page = await self._executions.ListExecutions(request)
            found.update((one.execution_id, one.version) for one in page.executions)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def live(self) -> int:
        """Executions in memory."""
        info = await self._server.GetServerInfo(server_service_pb2.GetServerInfoRequest())
        return int(info.counts.live_executions)


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[Api]:
    process = serve(data)
    try:
        async with grpc.aio.insecure_channel(process.address()) as channel:
            yield Api(process, channel)
    finally:
        process.stop()


# Events while versions change


class Windows:
    """Which versions may have been published at a moment: more than one while a change is under way; 0: none."""

    def __init__(self) -> None:
        self.possible: list[tuple[float, frozenset[int]]] = [(0.0, frozenset({1}))]

    async def change(self, call: Awaitable[Any], to: int) -> None:
        """From the call on both may hold, from its answer on the new one."""
        (before,) = self.possible[-1][1]
        self.possible.append((time.monotonic(), frozenset({before, to})))
        await call
        self.possible.append((time.monotonic(), frozenset({to})))

    def within(self, begun: float, ended: float) -> set[int]:
        """All that may have held at any moment of a stretch."""
        found: set[int] = set()
        for place, (since, versions) in enumerate(self.possible):
            until = self.possible[place + 1][0] if place + 1 < len(self.possible) else float("inf")
            if since <= ended and until >= begun:
                found |= versions
        return found


async def storm(folder: Path) -> Figures:
    """The storm."""
    async with served(folder) as api:
        await api.publish(LISTENING.format(version=1))
        windows, answers = Windows(), list[tuple[float, float, Any]]()
        deadline = time.monotonic() + STORM_SECONDS
        senders = [asyncio.create_task(_send(api, client, deadline, answers)) for client in range(STORM_CLIENTS)]
        version, changes = 1, 0
        while time.monotonic() < deadline:
            await asyncio.sleep(0.4)
            if changes % 3 == 2:
                await windows.change(api.retract("listening"), 0)
                await asyncio.sleep(0.2)
            version, changes = version + 1, changes + 1
            await windows.change(api.publish(LISTENING.format(version=version)), version)
        await asyncio.gather(*senders)
        started = _checked(answers, windows)
        stored = await api.versions()
        if started != stored:
            raise LostError(f"{len(started)} executions were answered, {len(stored)} are stored")
        times = sorted((ended - begun) * 1e3 for begun, ended, _ in answers)
        return {
            "events": len(answers),
            "events_per_second": len(answers) / STORM_SECONDS,
            "started": len(started),
            "changes": changes,
            "p50_ms": statistics.median(times),
            "p99_ms": times[int(len(times) * 0.99)],
        }


async def _send(api: Api, client: int, deadline: float, answers: list[tuple[float, float, Any]]) -> None:
    """Events at a fixed rate, whatever the answers take."""
    step, calls = STORM_CLIENTS / STORM_RATE, list[asyncio.Task[None]]()
    due = time.monotonic() + step * client / STORM_CLIENTS

    async def once(number: int) -> None:
        begun = time.monotonic()
        answer = await api.emit("placed", {"n": number}, event_id=f"e-{client}-{number}")
        answers.append((begun, time.monotonic(), answer))

    for number in itertools.count():
        if due >= deadline:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        calls.append(asyncio.create_task(once(number)))
        due += step
    await asyncio.gather(*calls)


def _checked(answers: list[tuple[float, float, Any]], windows: Windows) -> dict[str, int]:
    """The executions that were started, with their versions."""
    started: dict[str, int] = {}
    for begun, ended, answer in answers:
        versions = [one.version for one in answer.started] or [0]
        if len(versions) > 1 or versions[0] not in windows.within(begun, ended):
            raise LostError(f"event {answer.event_id} started {versions}")
        started.update((one.execution_id, one.version) for one in answer.started)
    most = Counter(one.execution_id for _, _, answer in answers for one in answer.started).most_common(1)
    if most and most[0][1] > 1:
        raise LostError(f"{most[0][0]} was started twice")
    return started


# Publishing


def big(number: int) -> str:
    """A definition of many steps, each with an expression, and many triggers."""
    lines = ["id: big", "triggers:"]
    for trigger in range(BIG_TRIGGERS // 2):
        lines.append(f"  - {{id: e{trigger}, event: {{name: e{trigger}, filter: 'event.n > {trigger}'}}}}")
        lines.append(f"  - {{id: s{trigger}, schedule: {{cron: '{trigger} 4 * * *', time_zone: Europe/Berlin}}}}")
    lines.append("steps:")
    for step in range(BIG_STEPS):
        of = f"${{steps.s{step - 1}.result.n + {number}}}" if step else number
        lines.append(f"  - {{id: s{step}, task: {{service: s, operation: o, input: {{n: {json.dumps(of)}}}}}}}")
    return "\n".join(lines)


def chain_ms(answer: Any) -> float:
    """All stages of a change together."""
    return float(sum(stage.duration.ToMicroseconds() for stage in answer.stages)) / 1e3


async def publish_big(folder: Path) -> Figures:
    """The first publish, and the median of those after it."""
    async with served(folder) as api:
        times = [chain_ms(await api.publish(big(number))) for number in range(1, REPEATS + 1)]
        return {"first_ms": times[0], "p50_ms": statistics.median(times[1:]), "max_ms": max(times[1:])}


async def many(folder: Path) -> Figures:
    """A start and a publish with many definitions, beside those of an empty store."""
    async with served(folder / "empty") as api:
        empty = [chain_ms(await api.publish(SMALL.format(number=n))) for n in range(REPEATS)]
    async with served(folder / "full") as api:
        for first in range(0, MANY, 500):
            await api.publish_all([SMALL.format(number=number) for number in range(first, first + 500)])
    begun = time.monotonic()
    async with served(folder / "full") as api:
        await api.live()
        ready = time.monotonic() - begun
        full = [chain_ms(await api.publish(SMALL.format(number=n))) for n in range(MANY, MANY + REPEATS)]
        memory = api.process.memory_mb() or 0.0
    return {
        "ready_s": ready,
        "memory_mb": memory,
        "publish_empty_ms": statistics.median(empty),
        "publish_full_ms": statistics.median(full),
    }


async def keyed(folder: Path) -> Figures:
    """One waiter among many sleepers."""
    async with served(folder) as api:
        await api.publish(WAITING)
        await api.start("waiting", "w-0", "k-0")
    await multiply_waiting(folder / "callboard.db", "w-", "k-", SLEEPERS)
    async with served(folder) as api:
        before, times = await api.live(), list[float]()
        for number in range(1, REPEATS + 1):
            place = number * SLEEPERS // (REPEATS + 2)
            begun = time.monotonic()
            answer = await api.emit("paid", 1, key=f"k-{place}")
            await api.ended(f"w-{place}")
            times.append((time.monotonic() - begun) * 1e3)
            if answer.offered_count != 1:
                raise LostError(f"k-{place} was offered {answer.offered_count} times")
        woken = await api.live() - before
        return {"p50_ms": statistics.median(times), "first_ms": times[0], "max_ms": max(times[1:]), "left_awake": woken}


CASES: Final[dict[str, Callable[[Path], Awaitable[Figures]]]] = {
    "storm": storm,
    "big": publish_big,
    "many": many,
    "keyed": keyed,
}


def main() -> int:
    """Run the cases, one line of JSON each."""
    parser = argparse.ArgumentParser(description="The cost of lifecycle changes and published events.")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"which ones: {', '.join(CASES)} (all of them)")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := set(chosen) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="callboard-benchmark-") as folder:
            try:
                figures = asyncio.run(CASES[name](Path(folder)))
            except LostError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
        print(json.dumps({"case": name, **{key: round(value, 2) for key, value in figures.items()}}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
