"""Feeds of whole tenants: every event once, in order for each execution, from any position; subscriptions that last."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.scenarios.kit import (
    ECHO,
    SECONDS_MAX,
    WAITING,
    Api,
    connect,
    eventually,
    payload,
    refusal_of,
    refused,
    serve,
    worker,
)

from callboard.runtime.feed_rows import FeedPruning
from callboard.runtime.settings import Settings
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import history_pb2

Seen = list[tuple[str, int]]
ECHO_EVENTS = 4
"""Events of an execution of `echo`."""
BRISK = Settings(feed_frame_seconds=1, feed_scan_events_max=16)
"""Frames without events come soon, and a read looks at few events."""


def places(events: Iterable[history_pb2.WorkflowEvent]) -> Seen:
    """Which events they are."""
    return [(event.execution_id, event.sequence) for event in events]


def frames(api: Api, **fields: Any) -> Any:
    """A watch of the tenant."""
    return api.executions.WatchEvents(events_pb2.WatchEventsRequest(**fields), metadata=api.metadata)


async def watched(api: Api, count: int, **fields: Any) -> list[history_pb2.WorkflowEvent]:
    """The first events of a watch; more may have come with the last of them."""
    events: list[history_pb2.WorkflowEvent] = []
    watch = frames(api, **fields)
    async with asyncio.timeout(SECONDS_MAX):
        while len(events) < count:
            events += (await watch.read()).events
    watch.cancel()
    return events


async def stored(api: Api, execution_ids: Iterable[str]) -> Seen:
    """The events of these executions, as their histories have them."""
    return [place for name in execution_ids for place in places(await api.history(name))]


def in_order(seen: Seen) -> bool:
    """Whether each execution's events come once and in order, from the first one."""
    by_execution = defaultdict(list)
    for execution_id, sequence in seen:
        by_execution[execution_id].append(sequence)
    return all(sequences == list(range(1, len(sequences) + 1)) for sequences in by_execution.values())


async def run_echoes(api: Api, names: Iterable[str]) -> None:
    """Start executions that end by themselves, many at a time."""
    await asyncio.gather(*(api.start("echo", name, wait=SECONDS_MAX) for name in names))


@pytest.fixture
async def echoing(tmp_path: Path) -> AsyncIterator[Api]:
    """A server whose tenants `ours` and `theirs` have workers that answer."""
    async with serve(tmp_path, settings=BRISK) as api, AsyncExitStack() as workers:
        for tenant in ("ours", "theirs"):
            await api.of(tenant).publish(ECHO)
            await workers.enter_async_context(worker(api.of(tenant), lambda task: 1, operations=("s.one",)))
        yield api


async def test_many_watchers_under_load_see_every_event_of_their_tenant_once(echoing: Api) -> None:
    ours, theirs = echoing.of("ours"), echoing.of("theirs")
    names = [f"x-{number}" for number in range(40)]
    await run_echoes(ours, names[:5])
    early = [asyncio.create_task(watched(ours, 40 * ECHO_EVENTS, from_start=True)) for _ in range(8)]
    await asyncio.gather(run_echoes(ours, names[5:]), run_echoes(theirs, names))
    late = [asyncio.create_task(watched(ours, 40 * ECHO_EVENTS, from_start=True)) for _ in range(2)]
    expected = sorted(await stored(ours, names))
    assert len(expected) == 40 * ECHO_EVENTS
    for events in await asyncio.gather(*early, *late):
        seen = places(events)
        assert sorted(seen) == expected and in_order(seen)
        assert {event.tenant for event in events} == {"ours"}


async def test_the_events_of_a_feed_are_those_of_the_histories(echoing: Api) -> None:
    ours = echoing.of("ours", user="ann")
    await ours.start("echo", "x-1", wait=SECONDS_MAX)
    history = await ours.history("x-1")
    assert await watched(ours, len(history), from_start=True) == history
    assert (history[0].user_id, history[0].from_state, history[-1].to_state) == ("ann", "pending", "completed")


async def test_a_watch_goes_on_after_every_position(echoing: Api) -> None:
    ours = echoing.of("ours")
    await run_echoes(ours, ["x-1", "x-2", "x-3"])
    everything = places(await watched(ours, 12, from_start=True))
    assert len(everything) == 12
    await ours.executions.CreateSubscription(
        events_pb2.CreateSubscriptionRequest(subscription_id="one-by-one", from_start=True), metadata=ours.metadata
    )
    for number in range(12):
        pulled = await pull(ours, "one-by-one", max_events=1)
        assert places(pulled.events) == everything[number : number + 1]
        await ack(ours, "one-by-one", pulled.position)
        rest = everything[number + 1 :]
        assert places(await watched(ours, len(rest), position=pulled.position)) == rest


async def test_a_watch_from_now_on_says_at_once_where_that_is(echoing: Api) -> None:
    ours = echoing.of("ours")
    await run_echoes(ours, ["x-1"])
    watch = frames(ours)
    first = await watch.read()
    assert not first.events and first.position
    watch.cancel()
    await run_echoes(ours, ["x-2"])
    events = await watched(ours, ECHO_EVENTS, position=first.position)
    assert places(events) == await stored(ours, ["x-2"])


async def test_positions_go_on_over_what_is_not_wanted(echoing: Api) -> None:
    ours, theirs = echoing.of("ours"), echoing.of("theirs")
    watch = frames(ours, filter='event_name == "ExecutionCompleted"')
    first = await watch.read()
    await asyncio.gather(run_echoes(theirs, [f"x-{number}" for number in range(30)]), run_echoes(ours, ["x-1"]))
    async with asyncio.timeout(SECONDS_MAX):
        done = await watch.read()
        while not done.events:
            done = await watch.read()
        assert [event.event_name for event in done.events] == ["ExecutionCompleted"]
        await run_echoes(theirs, [f"y-{number}" for number in range(30)])
        idle = await watch.read()
    assert not idle.events and idle.position not in (first.position, done.position)
    watch.cancel()


async def test_a_filter_sees_what_every_event_has(echoing: Api) -> None:
    ours = echoing.of("ours", user="ann")
    await run_echoes(ours, ["x-1", "x-2"])
    for text, expected in (
        ('event_name == "ExecutionStarted" && execution_id == "x-2"', [("x-2", 1)]),
        ('event_type == "execution" && to_state == "completed"', [("x-1", 4), ("x-2", 4)]),
        ('user_id == "ann" && definition_id == "echo" && event_name.endsWith("Started")', [("x-1", 1), ("x-2", 1)]),
    ):
        events = await watched(ours, len(expected), from_start=True, filter=text)
        assert sorted(places(events)) == expected


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("event_name ==", "14"),
        ('payload.x == 1 && event_name == "x"', "1"),
        ('event_name == "x" && event_nam == "y"', "22"),
        ("event_name", "1"),
    ],
)
async def test_a_filter_that_does_not_compile_is_refused_with_its_place(api: Api, text: str, column: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await frames(api, filter=text).read()
    create = events_pb2.CreateSubscriptionRequest(subscription_id="s", filter=text)
    for refusal in (refusal_of(error.value), await refused(api.executions.CreateSubscription(create))):
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
        assert refusal.metadata["column"] == column


async def test_a_watch_ends_with_the_server_and_goes_on_with_the_next(tmp_path: Path) -> None:
    async with AsyncExitStack() as outlasting:
        async with serve(tmp_path) as api:
            await api.publish(WAITING)
            await api.start("waiting", "x-1")
            other = Api(api.server, await outlasting.enter_async_context(connect(api.server)))
            watch = frames(other, from_start=True)
            first = await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            while True:
                await watch.read()
        refusal = refusal_of(error.value)
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    async with serve(tmp_path) as api:
        await api.submit("x-1", "go", 1)
        history = await api.history("x-1")
        rest = await watched(api, len(history) - len(first.events), position=first.position)
        assert [*first.events, *rest] == history


async def test_a_slow_watcher_holds_nothing_up_and_misses_nothing(echoing: Api) -> None:
    ours = echoing.of("ours")
    slow = frames(ours)
    first = await slow.read()
    names = [f"x-{number}" for number in range(30)]
    large = payload("x" * 200_000)
    await asyncio.gather(*(ours.start("echo", name, wait=SECONDS_MAX, input=large) for name in names))
    seen = places(first.events)
    async with asyncio.timeout(SECONDS_MAX):
        while len(seen) < 30 * ECHO_EVENTS:
            seen += places((await slow.read()).events)
    slow.cancel()
    assert sorted(seen) == sorted(await stored(ours, names)) and in_order(seen)


async def test_watchers_that_vanish_leave_their_seats(echoing: Api) -> None:
    ours = echoing.of("ours")
    watches = [frames(ours) for _ in range(10)]
    pulling = [asyncio.create_task(subscribed(ours)), asyncio.create_task(subscribed(ours, "t"))]
    await asyncio.gather(*pulling, *(watch.read() for watch in watches))
    waiting = ours.executions.PullSubscription(
        events_pb2.PullSubscriptionRequest(subscription_id="s", wait=Duration(seconds=SECONDS_MAX)),
        metadata=ours.metadata,
    )
    seats = echoing.server.runtime.feeds.seats

    async def taken(count: int) -> bool:
        return seats.taken == count

    await eventually(lambda: taken(11))
    for call in (*watches, waiting):
        call.cancel()
    await eventually(lambda: taken(0))


async def test_another_tenant_sees_nothing_and_its_positions_are_its_own(echoing: Api) -> None:
    ours, theirs = echoing.of("ours"), echoing.of("theirs")
    await run_echoes(ours, ["x-1"])
    pulled = await subscribed(ours)
    assert len(pulled.events) == ECHO_EVENTS
    empty = await subscribed(theirs, "theirs")
    assert not empty.events
    for call in (
        frames(theirs, position=pulled.position).read(),
        ack(theirs, "theirs", pulled.position),
        theirs.executions.CreateSubscription(
            events_pb2.CreateSubscriptionRequest(subscription_id="t", position=pulled.position),
            metadata=theirs.metadata,
        ),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    for call in (
        pull(theirs, "s"),
        ack(theirs, "s", empty.position),
        theirs.executions.DeleteSubscription(
            events_pb2.DeleteSubscriptionRequest(subscription_id="s"), metadata=theirs.metadata
        ),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "SUBSCRIPTION_NOT_FOUND")
    assert [one.subscription_id for one in await listed(theirs)] == ["theirs"]


# -- subscriptions ---------------------------------------------------------------------------------------------


async def subscribed(api: Api, name: str = "s", **fields: Any) -> events_pb2.PullSubscriptionResponse:
    """Make a subscription to everything, and pull once."""
    request = events_pb2.CreateSubscriptionRequest(subscription_id=name, from_start=True, **fields)
    await api.executions.CreateSubscription(request, metadata=api.metadata)
    return await pull(api, name)


async def pull(api: Api, name: str = "s", wait: float = 0, **fields: Any) -> events_pb2.PullSubscriptionResponse:
    """Pull once."""
    request = events_pb2.PullSubscriptionRequest(subscription_id=name, **fields)
    if wait:
        request.wait.CopyFrom(Duration(seconds=int(wait)))
    answer: events_pb2.PullSubscriptionResponse = await api.executions.PullSubscription(request, metadata=api.metadata)
    return answer


async def ack(api: Api, name: str, position: str, **fields: Any) -> history_pb2.Subscription:
    """Acknowledge."""
    request = events_pb2.AckSubscriptionRequest(subscription_id=name, position=position, **fields)
    answer = await api.executions.AckSubscription(request, metadata=api.metadata)
    subscription: history_pb2.Subscription = answer.subscription
    return subscription


async def listed(api: Api, **fields: Any) -> list[history_pb2.Subscription]:
    """The subscriptions of a page."""
    request = events_pb2.ListSubscriptionsRequest(**fields)
    return list((await api.executions.ListSubscriptions(request, metadata=api.metadata)).subscriptions)


async def test_a_subscription_repeats_what_is_not_acknowledged_and_goes_on_after_it(echoing: Api) -> None:
    ours = echoing.of("ours")
    await run_echoes(ours, ["x-1", "x-2"])
    first = await subscribed(ours)
    assert places((await pull(ours)).events) == places(first.events) and len(first.events) == 8
    three = await pull(ours, max_events=3)
    assert (await ack(ours, "s", three.position)).lag_events == 5
    rest = await pull(ours)
    assert [*three.events, *rest.events] == list(first.events)
    after = await ack(ours, "s", rest.position)
    assert (after.lag_events, after.HasField("used_at")) == (0, True)
    late = await ack(ours, "s", three.position)
    assert late.position == after.position
    assert not (await pull(ours)).events


async def test_a_pull_waits_for_the_first_event(echoing: Api) -> None:
    ours = echoing.of("ours")
    await subscribed(ours, filter='event_name == "ExecutionCompleted"')
    waiting = asyncio.create_task(pull(ours, wait=SECONDS_MAX))
    await run_echoes(ours, ["x-1"])
    assert places((await waiting).events) == [("x-1", 4)]
    empty = await subscribed(ours, "empty", filter="false")
    moved = await pull(ours, "empty", wait=1)
    assert not moved.events and (await ack(ours, "empty", moved.position)).lag_events == 0
    assert empty.position


async def test_an_answer_is_cut_to_the_frame_that_fits(echoing: Api) -> None:
    ours = echoing.of("ours")
    await run_echoes(ours, ["x-1"])
    everything = (await subscribed(ours)).events
    seen: list[history_pb2.WorkflowEvent] = []
    while (page := await pull(ours, max_frame_bytes=1_000)).events:
        assert page.ByteSize() <= 1_000 or len(page.events) == 1
        seen += page.events
        await ack(ours, "s", page.position)
    assert seen == list(everything)


async def test_a_subscription_is_created_once(api: Api) -> None:
    def create(**fields: Any) -> Any:
        return api.executions.CreateSubscription(events_pb2.CreateSubscriptionRequest(**fields))

    first = (await create(subscription_id="s", from_start=True, request_id="r-1")).subscription
    assert (await create(subscription_id="s", from_start=True, request_id="r-1")).subscription == first
    assert (await create(subscription_id="s")).subscription == first
    for fields, reason in (
        ({"subscription_id": "s", "filter": "true"}, "SUBSCRIPTION_ALREADY_EXISTS"),
        ({"subscription_id": "t", "request_id": "r-1"}, "REQUEST_ID_REUSED"),
        ({"subscription_id": "no good"}, "INVALID_REQUEST"),
        ({"subscription_id": ""}, "INVALID_REQUEST"),
        ({"subscription_id": "t", "position": "AAAA"}, "INVALID_REQUEST"),
    ):
        assert (await refused(create(**fields))).reason == reason
    assert [one.subscription_id for one in await listed(api)] == ["s"]


async def test_subscriptions_are_listed_in_pages_and_deleted_once(api: Api) -> None:
    for name in ("c", "a", "b"):
        await subscribed(api, name)
    page = await api.executions.ListSubscriptions(events_pb2.ListSubscriptionsRequest(page_size=2))
    assert [one.subscription_id for one in page.subscriptions] == ["a", "b"]
    rest = await api.executions.ListSubscriptions(
        events_pb2.ListSubscriptionsRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [one.subscription_id for one in rest.subscriptions] == ["c"] and not rest.next_page_token

    def delete(request_id: str = "") -> Any:
        request = events_pb2.DeleteSubscriptionRequest(subscription_id="a", request_id=request_id)
        return api.executions.DeleteSubscription(request)

    await delete("r-1")
    await delete("r-1")
    assert (await refused(delete())).reason == "SUBSCRIPTION_NOT_FOUND"
    assert [one.subscription_id for one in await listed(api)] == ["b", "c"]


async def test_a_tenant_has_so_many_subscriptions(tmp_path: Path) -> None:
    async with serve(tmp_path, settings=Settings(subscriptions_max=1)) as api:
        await subscribed(api)
        refusal = await refused(subscribed(api, "t"))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_BUSY")
        assert refusal.metadata["limit_name"] == "subscriptions_max"
        await subscribed(api.of("other"))


async def test_a_subscription_survives_the_server(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        first = await subscribed(api)
        await ack(api, "s", first.position)
        await api.submit("x-1", "go", 1)
    async with serve(tmp_path) as api:
        rest = await pull(api)
        assert [*first.events, *rest.events] == await api.history("x-1")


# -- prunings and restores -------------------------------------------------------------------------------------


async def test_a_position_before_a_pruning_is_refused_and_one_after_it_is_not(echoing: Api) -> None:
    ours = echoing.of("ours")
    await run_echoes(ours, ["x-1"])
    await subscribed(ours)
    three, all_of_it = await pull(ours, max_events=3), await pull(ours)
    bounds = await ours.server.runtime.store.feed_bounds("ours")
    await ours.server.runtime.journal.write(FeedPruning("ours", bounds.last))
    refusals = [
        await refused(frames(ours, position=three.position).read()),
        await refused(pull(ours)),
        await refused(
            ours.executions.CreateSubscription(
                events_pb2.CreateSubscriptionRequest(subscription_id="t", position=three.position),
                metadata=ours.metadata,
            )
        ),
    ]
    for refusal in refusals:
        assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "POSITION_PRUNED")
    assert not (await frames(ours, position=all_of_it.position).read()).events
    assert len(await watched(ours, 4, from_start=True)) == 4
    oldest = refusals[0].metadata["oldest_position"]
    assert places(await watched(ours, 1, position=oldest)) == places(all_of_it.events[3:])
    await ack(ours, "s", oldest)
    assert places((await pull(ours)).events) == places(all_of_it.events[3:])


async def test_a_watch_that_is_behind_a_pruning_ends_with_it(echoing: Api) -> None:
    ours = echoing.of("ours")
    watch = frames(ours)
    await watch.read()
    await run_echoes(ours, ["x-1"])
    bounds = await ours.server.runtime.store.feed_bounds("ours")
    await ours.server.runtime.journal.write(FeedPruning("ours", bounds.last + 100))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                await watch.read()
    assert refusal_of(error.value).reason == "POSITION_PRUNED"


async def test_positions_of_another_generation_are_refused(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        pulled = await subscribed(api)
    (file,) = tmp_path.glob("*.db")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
    async with serve(tmp_path) as api:
        for call in (frames(api, position=pulled.position).read(), ack(api, "s", pulled.position)):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "OTHER_GENERATION")
        assert len((await pull(api)).events) == len(pulled.events)
