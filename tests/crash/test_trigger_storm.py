"""kill -9 of the server at random moments while events are published, versions change and slots come due.

Every acknowledged event has started one execution, of a version that was published when it was accepted; every waiting
step got its event once; what was emitted arrived once; every slot between the first and the last has fired once.
`CALLBOARD_CRASH_ROUNDS` makes it longer, `CALLBOARD_CRASH_SEED` repeats the choices of an earlier run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.crash.kit import CALL_SECONDS, Database, Server, Stored, house, payload, read_database, status, until_async

from callboard.runtime.core import events as ev
from callboard.runtime.slots import slot_name
from callboard.v1 import definition_service_pb2 as definitions_pb2
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as executions_pb2

ROUNDS = int(os.environ.get("CALLBOARD_CRASH_ROUNDS", "6"))
CLIENTS = 4
SECOND = 1_000_000

LISTENING = """
id: listening
triggers: [{{id: placed, event: {{name: placed}}}}]
steps:
  - {{id: number, set: {{version: {version}}}}}
  - {{id: tell, emit: {{name: paid, key: "input.id", payload: "${{input}}"}}}}
output: "${{input.id}}"
"""
WAITING = """
id: waiting
steps:
  - {id: paid, receive: {event: paid, key: "input.id"}}
output: "${steps.paid.result.payload.id}"
"""
TICKING = """
id: ticking
triggers: [{id: tick, schedule: {every: 1s, overlap: QUEUE, catch_up: 1h}, input: "${trigger.slot}"}]
steps: [{id: keep, set: {slot: "${input}"}}]
"""


class Client:
    """One caller: begins an execution that waits, publishes the event that in the end lets it go on."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.answers: dict[str, Any] = {}
        self.stopping = False

    async def run(self) -> None:
        """Until it is stopped."""
        count = 0
        while not self.stopping:
            count += 1
            order = f"{self._name}-{count}"
            await self._server.begin("waiting", f"w-{order}", {"id": order})
            self.answers[order] = await publish_event(self._server, order)


async def publish_event(server: Server, order: str) -> Any:
    request = events_pb2.PublishEventRequest(
        name="placed", event_id=f"e-{order}", payload=payload({"id": order}), request_id=f"publish {order}"
    )
    return await server.insist(lambda stubs: stubs.executions.PublishEvent(request, timeout=CALL_SECONDS))


async def change_versions(server: Server, stop: asyncio.Event, chance: random.Random) -> int:
    """Publish one version after the other; the number of the last."""
    version = 1
    while not stop.is_set():
        await asyncio.sleep(chance.uniform(0.01, 0.2))
        version += 1
        await server.publish(LISTENING.format(version=version))
    return version


async def retract(server: Server, definition_id: str) -> None:
    request = definitions_pb2.RetractDefinitionRequest(definition_id=definition_id)
    await server.insist(lambda stubs: stubs.definitions.RetractDefinition(request, timeout=CALL_SECONDS))


async def nothing_runs(server: Server) -> bool:
    request = executions_pb2.ListExecutionsRequest(filter="status in ['RUNNING', 'PENDING']", page_size=1)
    answer = await server.insist(lambda stubs: stubs.executions.ListExecutions(request, timeout=CALL_SECONDS))
    return not answer.executions


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * ROUNDS)
async def test_a_storm_of_kills_loses_and_doubles_no_event_and_no_slot(tmp_path: Path) -> None:
    seed = int(os.environ.get("CALLBOARD_CRASH_SEED", str(random.randrange(1 << 32))))
    print(f"CALLBOARD_CRASH_SEED={seed}")
    chance = random.Random(seed)
    async with house(tmp_path, "--drain-seconds", "5") as own:
        server = await own.server.start()
        for text in (LISTENING.format(version=1), WAITING, TICKING):
            await server.publish(text)
        clients = [Client(server, f"c{number}") for number in range(CLIENTS)]
        stop = asyncio.Event()
        load = asyncio.gather(*[client.run() for client in clients])
        versions = asyncio.create_task(change_versions(server, stop, chance))
        for _ in range(ROUNDS):
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            await server.kill()
            await server.start()
        for client in clients:
            client.stopping = True
        stop.set()
        await load
        await versions
        await retract(server, "ticking")
        answers = {order: answer for client in clients for order, answer in client.answers.items()}
        for order in answers:
            assert status(await server.end_of(f"w-{order}")) == "COMPLETED", order
        await until_async(lambda: nothing_runs(server), "everything has ended")
        await server.kill()
        database = await read_database(server.data)
    print(f"{len(answers)} events, {server.boots} boots of the server")
    check_events(database, answers)
    check_slots(database)
    counts = database.counts
    assert (counts.inbox, counts.dead_letters, counts.open_tasks, counts.timers) == (0, 0, 0, 0)


def by_definition(database: Database, definition_id: str) -> dict[str, Stored]:
    found = database.executions.items()
    return {name: stored for name, stored in found if stored.record.head.definition_id == definition_id}


def check_events(database: Database, answers: dict[str, Any]) -> None:
    begun = by_definition(database, "listening")
    assert Counter(stored.of(ev.ExecutionStarted)[0].input["id"] for stored in begun.values()) == Counter(
        answers.keys()
    )
    for order, answer in answers.items():
        (started,) = answer.started
        assert begun[started.execution_id].record.head.version == started.version
        assert begun[started.execution_id].of(ev.ExecutionStarted)[0].input == {"id": order}
    waited = by_definition(database, "waiting")
    assert set(waited) == {f"w-{order}" for order in answers}
    for name, stored in waited.items():
        assert len(stored.of(ev.EventReceived)) == 1, name
        assert stored.of(ev.EventMissed) == []


def check_slots(database: Database) -> None:
    """No slot between the first and the last is missing; that none came twice, its id says."""
    begun = by_definition(database, "ticking")
    slots = sorted(stored.of(ev.ExecutionStarted)[0].origin.slot for stored in begun.values())  # type: ignore[union-attr]
    assert len(slots) > ROUNDS / 10
    assert slots == list(range(slots[0], slots[-1] + 1, SECOND))
    assert set(begun) == {f"ticking-tick-{slot_name(slot)}" for slot in slots}
