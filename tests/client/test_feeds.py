"""The client's feeds and subscriptions, and the commands about them."""

import json
from collections.abc import AsyncIterator

import grpc
import pytest
from tests.client.command_line import run
from tests.client.fakes import FakeServer, status

from callboard.client import Client, Event, EventBatch, errors
from callboard.v1 import execution_events_pb2 as pb
from callboard.v1 import history_pb2
from callboard.v1.payload_pb2 import Payload


def event(execution_id: str, sequence: int = 1) -> history_pb2.WorkflowEvent:
    return history_pb2.WorkflowEvent(
        execution_id=execution_id, sequence=sequence, event_name="ExecutionStarted", payload=Payload(json="{}")
    )


def frame(position: str, *ids: str) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(events=[event(name) for name in ids], position=position)


def pulled(position: str, *ids: str) -> pb.PullSubscriptionResponse:
    return pb.PullSubscriptionResponse(events=[event(name) for name in ids], position=position)


def made(position: str = "p-0") -> history_pb2.Subscription:
    return history_pb2.Subscription(subscription_id="s", filter="true", position=position, lag_events=7)


def names(events: tuple[Event, ...]) -> list[str]:
    return [each.execution_id for each in events]


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with Client(server.address, timeout=5) as made:
        yield made


async def test_a_watch_that_breaks_goes_on_after_the_last_position(server: FakeServer, client: Client) -> None:
    broken = status(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    server.executions.events = [frame("p-1", "a"), frame("p-2"), broken, frame("p-3", "b")]
    seen: list[EventBatch] = [batch async for batch in client.watch_events(filter="true", from_start=True)]
    assert [(names(batch.events), batch.position) for batch in seen] == [(["a"], "p-1"), ([], "p-2"), (["b"], "p-3")]
    asked = [(each.position, each.from_start, each.filter) for each in server.executions.watched]
    assert asked == [("", True, "true"), ("p-2", False, "true")]


async def test_a_refused_watch_raises(server: FakeServer, client: Client) -> None:
    server.executions.events = [status(grpc.StatusCode.OUT_OF_RANGE, "POSITION_PRUNED", oldest_position="p-9")]
    with pytest.raises(errors.PositionPruned) as error:
        await anext(client.watch_events(position="p-1"))
    assert error.value.metadata["oldest_position"] == "p-9"


async def test_a_subscriber_acknowledges_what_was_handled(server: FakeServer, client: Client) -> None:
    server.unary.on("CreateSubscription", pb.CreateSubscriptionResponse(subscription=made()))
    server.unary.on("PullSubscription", pulled("p-1", "a", "b"), pulled("p-2"), pulled("p-2"), pulled("p-3", "c"))
    server.unary.on("AckSubscription", pb.AckSubscriptionResponse(subscription=made("p-1")))
    batches = client.subscribe("s", filter="true", from_start=True, max_events=2)
    assert names(await anext(batches)) == ["a", "b"]
    assert server.unary.asked("AckSubscription") == []
    assert names(await anext(batches)) == ["c"]
    assert [each.position for each in server.unary.asked("AckSubscription")] == ["p-1", "p-2"]
    with pytest.raises(ZeroDivisionError):
        await batches.athrow(ZeroDivisionError)  # type: ignore[attr-defined]
    assert len(server.unary.asked("AckSubscription")) == 2
    (create,) = server.unary.asked("CreateSubscription")
    assert (create.subscription_id, create.filter, create.from_start) == ("s", "true", True) and create.request_id
    assert server.unary.asked("PullSubscription")[0].wait.seconds == 60


async def test_subscriptions_are_values(server: FakeServer, client: Client) -> None:
    server.unary.on("ListSubscriptions", pb.ListSubscriptionsResponse(subscriptions=[made()]))
    (one,) = [each async for each in client.subscriptions()]
    assert (one.id, one.filter, one.position, one.lag_events, one.used_at) == ("s", "true", "p-0", 7, None)
    server.unary.on("DeleteSubscription", pb.DeleteSubscriptionResponse())
    await client.delete_subscription("s")
    assert server.unary.asked("DeleteSubscription")[0].subscription_id == "s"


def test_watch_all_prints_the_events_of_all_executions(threaded: FakeServer) -> None:
    threaded.executions.events = [frame("p-1", "a"), frame("p-2"), frame("p-3", "b")]
    result = run(threaded, "watch", "--all", "--filter", "true", "--from-start", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["execution_id"] for line in result.stdout.splitlines()] == ["a", "b"]
    (asked,) = threaded.executions.watched
    assert (asked.filter, asked.from_start) == ("true", True)
    threaded.executions.events = [frame("p-1", "a")]
    assert run(threaded, "watch", "--all").stdout.startswith("a     1  ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch",),
        ("watch", "e1", "--all"),
        ("watch", "e1", "--from-start"),
        ("watch", "--all", "--after", "3"),
        ("subscriptions", "--pull"),
        ("subscriptions", "s", "--pull", "--ack", "p"),
        ("subscriptions", "s", "--filter", "true"),
        ("subscriptions", "s", "--wait", "5s"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(None, *arguments).exit_code == 2


def test_a_subscription_is_made_pulled_acknowledged_and_deleted(threaded: FakeServer) -> None:
    threaded.unary.on("CreateSubscription", pb.CreateSubscriptionResponse(subscription=made()))
    shown = run(threaded, "subscriptions", "s", "--create", "--filter", "true").stdout
    assert "position      p-0" in shown and "7 events" in shown
    threaded.unary.on("PullSubscription", pulled("p-1", "a"))
    batch = json.loads(run(threaded, "subscriptions", "s", "--pull", "--max", "5", "--wait", "3s", "--json").stdout)
    assert (batch["position"], len(batch["events"])) == ("p-1", 1)
    (asked,) = threaded.unary.asked("PullSubscription")
    assert (asked.max_events, asked.wait.seconds) == (5, 3)
    threaded.unary.on("AckSubscription", pb.AckSubscriptionResponse(subscription=made("p-1")))
    assert json.loads(run(threaded, "subscriptions", "s", "--ack", "p-1", "--json").stdout)["position"] == "p-1"
    threaded.unary.on("DeleteSubscription", pb.DeleteSubscriptionResponse())
    assert run(threaded, "subscriptions", "s", "--delete").stdout == "s is deleted\n"


def test_subscriptions_are_listed_and_one_is_shown(threaded: FakeServer) -> None:
    threaded.unary.on("ListSubscriptions", pb.ListSubscriptionsResponse(subscriptions=[made()]))
    assert run(threaded, "subscriptions").stdout.splitlines()[1].startswith("s\t7\t")
    assert json.loads(run(threaded, "subscriptions", "s", "--json").stdout)["lag_events"] == 7
    assert run(threaded, "subscriptions", "t").exit_code == 1
