"""kill -9 of the server, of workers, of both, at random moments under load, again and again; between them a worker that
falls silent, and a server that is asked to end.

`CALLBOARD_CRASH_ROUNDS` makes it longer, `CALLBOARD_CRASH_SEED` repeats the choices of an earlier run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.crash.kit import (
    CALL_SECONDS,
    Child,
    Database,
    House,
    Server,
    Stored,
    Worker,
    house,
    payload,
    read_database,
    received,
    status,
)

from callboard.runtime.core import events as ev
from callboard.v1 import execution_events_pb2 as events_pb2

ROUNDS = int(os.environ.get("CALLBOARD_CRASH_ROUNDS", "12"))
CLIENTS = 8
WORKERS = 2
CALM_SECONDS = (0.05, 1.2)
"""How long everything runs between two kills."""
LEASE_SECONDS = 2
FLAGS = ("--limit", "reconnect_grace_seconds=1", "--limit", f"lease_seconds={LEASE_SECONDS}", "--drain-seconds", "5")

STORM = """
id: storm
steps:
  - {id: one, task: {service: crash, operation: work, input: {n: "${input.n}"}}}
  - id: both
    parallel:
      branches:
        - id: left
          steps: [{id: slow, task: {service: crash, operation: work, input: {n: "${input.n}", ms: 30}}}]
        - id: right
          steps:
            - id: flaky
              task: {service: crash, operation: work, input: {n: "${input.n}", fail: 1}}
              retry: {max_attempts: 3, initial_backoff: 20ms}
  - {id: submitted, receive: {event: submitted}}
  - {id: rest, wait: {duration: 20ms}}
  - {id: queued, receive: {event: queued}}
  - {id: last, task: {service: crash, operation: work, input: {n: "${steps.queued.result.payload.n}"}}}
output:
  runs: ["${steps.one.result.run}", "${steps.flaky.result.run}", "${steps.last.result.run}"]
  sum: "${steps.submitted.result.payload.n + steps.last.result.n}"
"""
PATHS = {"one", "both/left/slow", "both/right/flaky", "last"}


class Client:
    """One caller: begins executions, feeds them, and repeats requests as one does who is not sure."""

    def __init__(self, server: Server, name: str, chance: random.Random) -> None:
        self._server = server
        self._name = name
        self._chance = chance
        self.acknowledged: dict[str, int] = {}
        """Executions whose start and events were all acknowledged, with their input."""
        self.stopping = False

    async def run(self) -> None:
        """Until it is stopped; the execution under way is carried to its last event."""
        count = 0
        while not self.stopping:
            count += 1
            await self._one(f"{self._name}-{count}", count)

    async def _one(self, execution_id: str, n: int) -> None:
        server = self._server
        first = await server.begin("storm", execution_id, {"n": n})
        assert first.execution.execution_id == execution_id
        if self._doubts():
            again = await server.begin("storm", execution_id, {"n": n})
            assert again.execution.created_at == first.execution.created_at
        # One is told apart by the event's id, the other by the request's alone.
        await server.submit(execution_id, "submitted", {"n": n}, event_id=f"{execution_id} submitted")
        accepted = await server.enqueue(execution_id, "queued", {"n": n})
        if self._doubts():
            again = await server.enqueue(execution_id, "queued", {"n": n})
            assert again.event_id == accepted.event_id
        if self._doubts():
            await self._submit_under_another_request(execution_id, n)
        self.acknowledged[execution_id] = n

    async def _submit_under_another_request(self, execution_id: str, n: int) -> None:
        request = events_pb2.SubmitEventRequest(
            execution_id=execution_id,
            name="submitted",
            payload=payload({"n": n}),
            event_id=f"{execution_id} submitted",
            request_id=f"another {execution_id}",
        )
        response = await self._server.insist(lambda stubs: stubs.executions.SubmitEvent(request, timeout=CALL_SECONDS))
        assert response.duplicate

    def _doubts(self) -> bool:
        return self._chance.random() < 0.3


class Storm:
    """The kills."""

    def __init__(self, own: House, chance: random.Random) -> None:
        self._own = own
        self._chance = chance
        self._seats: list[Worker] = []
        self._count = 0

    async def hire(self, seat: int) -> None:
        """Put a worker at a seat: a new one, or, as after a restart of its machine, one with the name of the last."""
        name = f"w{seat}"
        if seat < len(self._seats) and self._chance.random() < 0.5:
            self._seats[seat] = await self._seats[seat].start()
            return
        self._count += 1
        worker = await self._own.worker(f"{name}-{self._count}", slots=16)
        self._seats[seat : seat + 1] = [worker]

    async def round(self, victims: str) -> None:
        """Some calm, then the kill of these, then they are back."""
        await asyncio.sleep(self._chance.uniform(*CALM_SECONDS))
        if victims == "frozen":
            await self._freeze(self._seats[0].process)
            return
        if victims == "drained":
            assert await self._own.server.stop() == 0
            await self._own.server.start()
            return
        seats = [seat for seat in range(WORKERS) if victims != "server" and (seat == 0 or self._chance.random() < 0.5)]
        await asyncio.gather(
            *[self._seats[seat].kill() for seat in seats],
            *([self._own.server.kill()] if victims != "workers" else []),
        )
        if victims != "workers":
            await self._own.server.start()
        for seat in seats:
            await self.hire(seat)

    async def _freeze(self, worker: Child) -> None:
        """It falls silent for longer than its lease, and then goes on as if nothing had been."""
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(LEASE_SECONDS * 1.2)
        worker.send(signal.SIGCONT)


def _victims(chance: random.Random) -> list[str]:
    """As many rounds as asked for; each kind has its share."""
    kinds = ["server", "workers", "both", "server", "drained", "frozen"]
    chosen = [kinds[number % len(kinds)] for number in range(ROUNDS)]
    chance.shuffle(chosen)
    return chosen


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * ROUNDS)
async def test_a_storm_of_kills_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("CALLBOARD_CRASH_SEED", str(random.randrange(1 << 32))))
    print(f"CALLBOARD_CRASH_SEED={seed}")
    chance, began = random.Random(seed), time.monotonic()
    async with house(tmp_path, *FLAGS) as own:
        server = await own.server.start()
        await server.publish(STORM)
        storm = Storm(own, chance)
        for seat in range(WORKERS):
            await storm.hire(seat)
        clients = [Client(server, f"c{number}", random.Random(chance.random())) for number in range(CLIENTS)]
        load = asyncio.gather(*[client.run() for client in clients])
        for victims in _victims(chance):
            await _unless_failed(load, storm.round(victims))
        for client in clients:
            client.stopping = True
        await load
        acknowledged = {name: n for client in clients for name, n in client.acknowledged.items()}
        for name in acknowledged:
            assert status(await server.end_of(name)) == "COMPLETED", name
        await server.kill()
        seconds = time.monotonic() - began
        print(f"{len(acknowledged)} executions, {server.boots} boots of the server, {seconds:.0f} s")
        database = await read_database(server.data)
        records = own.records()
    _check_executions(database, acknowledged)
    _check_answers(database, records)
    _check_keys(records)


async def _unless_failed(load: asyncio.Future[Any], doing: Any) -> None:
    """Go through a round, but stop at once when a client has found something wrong."""
    task = asyncio.ensure_future(doing)
    await asyncio.wait([task, load], return_when=asyncio.FIRST_COMPLETED)
    if load.done():
        task.cancel()
        await load
    await task


def _check_executions(database: Database, acknowledged: dict[str, int]) -> None:
    assert set(database.executions) == set(acknowledged), "an execution is missing, or one too many is there"
    counts = database.counts
    assert (counts.inbox, counts.dead_letters, counts.open_tasks, counts.timers) == (0, 0, 0, 0)
    for name, n in acknowledged.items():
        stored = database.executions[name]
        assert stored.record.head.status == "COMPLETED", name
        assert len(received(stored, "submitted")) == len(received(stored, "queued")) == 1, name
        assert [event.attempt for event in stored.of(ev.StepRetryScheduled)] == [1], name
        done = [event.path for event in stored.of(ev.StepCompleted)]
        assert len(done) == len(set(done)) and set(done) >= PATHS, name
        (ended,) = stored.of(ev.ExecutionCompleted)
        assert ended.output["sum"] == 2 * n, name


def _check_answers(database: Database, records: list[dict[str, Any]]) -> None:
    """What a worker was told of a result is what the history says of it."""
    told: dict[str, int] = {}
    for line in records:
        if line["what"] != "acked":
            continue
        told[line["disposition"]] = told.get(line["disposition"], 0) + 1
        stands = line["run"] in _results(database.executions[line["execution"]]).get(line["path"], "")
        failed = line["path"] == "both/right/flaky" and line["attempt"] == 1
        match line["disposition"]:
            case "ACCEPTED":
                assert stands or failed, f"an accepted result is not in the history: {line}"
            case "STALE":
                assert not stands, f"the result was taken, and called stale: {line}"
            case "DUPLICATE":
                # Of an attempt that was delivered twice, the history does not say whose answer it holds.
                pass
            case other:
                raise AssertionError(f"a result was answered with {other}: {line}")
    print("answers:", told)


def _results(stored: Stored) -> dict[str, str]:
    return {event.path: json.dumps(event.result) for event in stored.of(ev.StepCompleted) if event.path in PATHS}


def _check_keys(records: list[dict[str, Any]]) -> None:
    """All deliveries of a step run have one idempotency key, and no other step run has it."""
    keys: dict[tuple[str, str], set[str]] = {}
    for line in records:
        keys.setdefault((line["execution"], line["path"]), set()).add(line["key"])
    assert all(len(found) == 1 for found in keys.values())
    assert len(set().union(*keys.values())) == len(keys)
