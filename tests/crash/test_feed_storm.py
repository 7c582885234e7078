"""kill -9 of the server while readers follow the events of a tenant.

A subscriber sees every event at least once and skips none; a watcher that goes on from its last position sees every
event exactly once. `CALLBOARD_CRASH_ROUNDS` makes it longer, `CALLBOARD_CRASH_SEED` repeats the choices of an earlier
run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import grpc
from tests.crash.kit import CALL_SECONDS, Server, house, read_database, until

from callboard.v1 import execution_events_pb2 as events_pb2

ROUNDS = min(int(os.environ.get("CALLBOARD_CRASH_ROUNDS", "4")), 100)
STARTERS = 3
PER_ROUND = 40
"""Executions that are begun before each kill."""
BRISK = ("--limit", "feed_scan_events_max=20", "--limit", "feed_frame_seconds=1")

STEPS = """
id: steps
steps:
  - {id: one, set: {n: 1}, set_state: first}
  - {id: two, set: {n: 2}, set_state: second}
"""

Place = tuple[str, int]


class Subscriber:
    """Pulls, and acknowledges some of what it pulled: now this, now an earlier position again."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self.seen: list[Place] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        create = events_pb2.CreateSubscriptionRequest(subscription_id="projection", from_start=True, request_id="make")
        await self._server.insist(lambda stubs: stubs.executions.CreateSubscription(create, timeout=CALL_SECONDS))
        earlier = ""
        while True:
            pull = events_pb2.PullSubscriptionRequest(subscription_id="projection", max_events=25)
            pull.wait.FromSeconds(5)
            page = await self._server.insist(
                lambda stubs, request=pull: stubs.executions.PullSubscription(request, timeout=CALL_SECONDS)
            )
            self.seen += [(event.execution_id, event.sequence) for event in page.events]
            if self._chance.random() < 0.3:
                continue
            for position in {earlier or page.position: None, page.position: None}:
                ack = events_pb2.AckSubscriptionRequest(subscription_id="projection", position=position)
                await self._server.insist(
                    lambda stubs, request=ack: stubs.executions.AckSubscription(request, timeout=CALL_SECONDS)
                )
            earlier = page.position


class Watcher:
    """Watches, and goes on after the last frame when the stream breaks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.position = ""
        self.seen: list[Place] = []
        self.broken = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            stubs = await until(lambda: self._server.stubs, "a server")
            request = events_pb2.WatchEventsRequest(position=self.position, from_start=True)
            try:
                async for frame in stubs.executions.WatchEvents(request):
                    self.seen += [(event.execution_id, event.sequence) for event in frame.events]
                    self.position = frame.position
            except grpc.aio.AioRpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error
                self.broken += 1
                await asyncio.sleep(0.02)


def firsts(places: Iterable[Place]) -> list[Place]:
    """Each place where it stands first."""
    return list(dict.fromkeys(places))


def sequences(places: Iterable[Place]) -> dict[str, list[int]]:
    """The sequences of each execution, as they came."""
    found: dict[str, list[int]] = defaultdict(list)
    for execution_id, sequence in places:
        found[execution_id].append(sequence)
    return found


async def test_readers_of_a_killed_server_miss_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("CALLBOARD_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
    print(f"CALLBOARD_CRASH_SEED={seed}")
    chance = random.Random(seed)
    async with house(tmp_path, *BRISK) as own:
        server = await own.server.start()
        await server.publish(STEPS)
        subscriber, watcher = Subscriber(server, chance), Watcher(server)
        readers = [asyncio.create_task(reader.run()) for reader in (subscriber, watcher)]
        for number in range(ROUNDS):
            starting = asyncio.create_task(_start_many(server, number))
            target = len(watcher.seen) + chance.randrange(1, 60)
            await until(lambda target=target: len(watcher.seen) >= target, "events")
            await server.kill()
            await server.start()
            await starting
        history = {name: await server.history(name) for name in _names(ROUNDS)}
        expected = {(name, event.sequence) for name, events in history.items() for event in events}
        done = "the readers have everything"
        await until(lambda: expected <= set(subscriber.seen) and expected <= set(watcher.seen), done)
        for reader in readers:
            assert not reader.done(), reader
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await server.stop()
    assert watcher.broken >= ROUNDS - 1
    assert len(watcher.seen) == len(set(watcher.seen)), "the watcher saw an event twice"
    for seen in (firsts(subscriber.seen), watcher.seen):
        assert set(seen) == expected
        assert all(found == list(range(1, len(found) + 1)) for found in sequences(seen).values())
    stored = await read_database(server.data)
    assert {(name, event.sequence) for name, each in stored.executions.items() for event in each.events} == expected


def _names(rounds: int) -> list[str]:
    return [f"x-{number}-{count}" for number in range(rounds) for count in range(PER_ROUND)]


async def _start_many(server: Server, number: int) -> None:
    names = iter([name for name in _names(number + 1) if name.startswith(f"x-{number}-")])

    async def begin() -> None:
        for name in names:
            await server.begin("steps", name)

    await asyncio.gather(*(begin() for _ in range(STARTERS)))
