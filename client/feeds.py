"""The events of a whole tenant: watched from a position, or pulled from a durable subscription."""

from collections.abc import AsyncIterator
from operator import attrgetter

from grpc import aio

from callboard.v1 import execution_events_pb2 as pb
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub

from .calls import Calls, each, new_request_id
from .channel import Connection
from .codec import Seconds, encode_duration, seconds
from .decoding import decode
from .execution_models import Event
from .feed_models import EventBatch, Subscription
from .streams import Patience

PULL_SECONDS_MAX = 60.0
"""The longest that a single pull waits."""


class FeedCalls(Calls):
    """The calls about feeds and subscriptions."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._feeds = ExecutionServiceStub(connection.channel)

    async def watch_events(
        self, *, filter: str = "", position: str = "", from_start: bool = False
    ) -> AsyncIterator[EventBatch]:
        """The events of all executions, each once, in order for each execution; without end.

        From after `position`, else from the oldest event (`from_start`) or from now on. `filter` is CEL over
        `event_name`, `event_type`, `execution_id`, `definition_id`, `to_state`, `user_id`. Keep the position of the
        last batch to go on from it some time; batches without events move it on. A stream that breaks is opened again
        after the last batch; raises `CallboardError` when no server answers within the client's timeout.
        """
        patience = Patience(self._connection)
        while True:
            request = pb.WatchEventsRequest(filter=filter, position=position, from_start=from_start and not position)
            call = self._feeds.WatchEvents(request, metadata=self._connection.metadata())
            try:
                async for answer in call:
                    patience.restored()
                    events = tuple(decode(Event, event) for event in answer.events)
                    yield EventBatch(events, answer.position)
                    position = answer.position
                return
            except aio.AioRpcError as error:
                await patience.wait(self._connection.explain(error))
            finally:
                call.cancel()

    async def subscribe(
        self,
        subscription_id: str,
        *,
        filter: str = "",
        position: str = "",
        from_start: bool = False,
        max_events: int = 0,
    ) -> AsyncIterator[tuple[Event, ...]]:
        """The events of a durable subscription in batches, without end; it is made where it is not there.

        A batch is acknowledged when the next one is asked for: one whose handling raised, or was cut off, comes again,
        here or in another process. `position` and `from_start` say where a new subscription begins.
        """
        made = await self.create_subscription(subscription_id, filter=filter, position=position, from_start=from_start)
        acknowledged = made.position
        while True:
            batch = await self.pull(subscription_id, max_events=max_events, wait=PULL_SECONDS_MAX)
            if batch.events:
                yield batch.events
            if batch.position != acknowledged:
                await self.ack(subscription_id, batch.position)
                acknowledged = batch.position

    async def create_subscription(
        self,
        subscription_id: str,
        *,
        filter: str = "",
        position: str = "",
        from_start: bool = False,
        timeout: Seconds | None = None,
    ) -> Subscription:
        """Makes a durable subscription to the events of the tenant; one with this id and filter is answered as it is.

        It begins after `position`, else with the oldest event (`from_start`) or now.
        """
        request = pb.CreateSubscriptionRequest(
            subscription_id=subscription_id,
            filter=filter,
            position=position,
            from_start=from_start,
            request_id=new_request_id(),
        )
        answer = await self._connection.unary(self._feeds.CreateSubscription, request, timeout)
        return decode(Subscription, answer.subscription)

    def subscriptions(self, *, page_size: int = 0) -> AsyncIterator[Subscription]:
        """The durable subscriptions of the tenant, by id."""
        pages = self._connection.pages(self._feeds.ListSubscriptions, pb.ListSubscriptionsRequest(page_size=page_size))
        return each(pages, attrgetter("subscriptions"), lambda item: decode(Subscription, item))

    async def pull(
        self,
        subscription_id: str,
        *,
        max_events: int = 0,
        wait: Seconds | None = None,
        timeout: Seconds | None = None,
    ) -> EventBatch:
        """The next events of a subscription after what is acknowledged; without an `ack` they come again.

        With `wait` (seconds, at most 60) it waits so long for the first one. `timeout` is for the call without its
        wait.
        """
        waited = 0.0 if wait is None else min(seconds(wait), PULL_SECONDS_MAX)
        request = pb.PullSubscriptionRequest(
            subscription_id=subscription_id,
            max_events=max_events,
            wait=None if wait is None else encode_duration(waited),
        )
        allowed = self._connection.timeout if timeout is None else seconds(timeout)
        answer = await self._connection.unary(self._feeds.PullSubscription, request, allowed + waited)
        return decode(EventBatch, answer)

    async def ack(self, subscription_id: str, position: str, *, timeout: Seconds | None = None) -> Subscription:
        """Says that all events up to a position are taken care of; an earlier position changes nothing."""
        request = pb.AckSubscriptionRequest(
            subscription_id=subscription_id, position=position, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._feeds.AckSubscription, request, timeout)
        return decode(Subscription, answer.subscription)

    async def delete_subscription(self, subscription_id: str, *, timeout: Seconds | None = None) -> None:
        """Deletes a subscription."""
        request = pb.DeleteSubscriptionRequest(subscription_id=subscription_id, request_id=new_request_id())
        await self._connection.unary(self._feeds.DeleteSubscription, request, timeout)
