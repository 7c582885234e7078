"""The part of `ExecutionService` that tells the events of a whole tenant: watches, and durable subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Final

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.event_filters import event_filter
from callboard.runtime.listing import PageTokens, scope_of
from callboard.runtime.positions import Position
from callboard.runtime.subscriptions import Subscription
from callboard.runtime.tenant_feeds import FeedPage
from callboard.v1 import execution_events_pb2 as pb2
from callboard.v1 import history_pb2

from ..calls import DRAINING, Call, Calls
from ..codec import timestamp_of
from ..codec_executions import FRAME_BYTES_MAX, event_of
from ..requests import Faults, invalid, wait_us

_ITEMS_DEFAULT: Final = 100
_FRAME_OVERHEAD_BYTES: Final = 256
"""What an answer takes beside its events."""
_EVENT_FRAMING_BYTES: Final = 8


class FeedCalls:
    """The feeds of a runtime over gRPC; a base of `ExecutionService`."""

    _runtime: Runtime
    _calls: Calls
    _tokens: PageTokens
    _wait_seconds_max: int

    async def WatchEvents(self, call: Call, request: pb2.WatchEventsRequest) -> AsyncIterator[pb2.WatchEventsResponse]:
        feeds, tenant = self._runtime.tenant_feeds, call.tenant
        wanted = event_filter(request.filter)
        begin = await feeds.begin(tenant, self._given(tenant, request.position), from_start=request.from_start)
        async with aclosing(feeds.watch(tenant, begin, wanted)) as pages:
            async for page in pages:
                for events, position in _frames(page, tenant, FRAME_BYTES_MAX):
                    yield pb2.WatchEventsResponse(events=events, position=feeds.positions.make(tenant, position))
        raise Refused(DRAINING)

    async def CreateSubscription(
        self, call: Call, request: pb2.CreateSubscriptionRequest
    ) -> pb2.CreateSubscriptionResponse:
        subscription = await self._runtime.subscriptions.create(
            call.caller(request),
            request.subscription_id,
            request.filter,
            self._given(call.tenant, request.position),
            from_start=request.from_start,
        )
        return pb2.CreateSubscriptionResponse(subscription=self._shown(subscription))

    async def ListSubscriptions(
        self, call: Call, request: pb2.ListSubscriptionsRequest
    ) -> pb2.ListSubscriptionsResponse:
        limit = self._items(request.page_size, "page_size")
        scope = scope_of("ListSubscriptions", call.tenant)
        after = self._tokens.read(scope, request.page_token)
        found = await self._runtime.subscriptions.list(call.tenant, after, limit)
        # A full page may be the last one; then the next one is empty.
        token = self._tokens.make(scope, found[-1].row.subscription_id) if len(found) == limit else ""
        shown = [self._shown(subscription) for subscription in found]
        return pb2.ListSubscriptionsResponse(subscriptions=shown, next_page_token=token)

    async def PullSubscription(self, call: Call, request: pb2.PullSubscriptionRequest) -> pb2.PullSubscriptionResponse:
        faults = Faults()
        faults.name("subscription_id", request.subscription_id)
        faults.not_negative("max_frame_bytes", request.max_frame_bytes)
        wait = wait_us(faults, "wait", request.wait, self._wait_seconds_max)
        faults.settle()
        limit = self._items(request.max_events, "max_events")
        room = min(request.max_frame_bytes or FRAME_BYTES_MAX, FRAME_BYTES_MAX)
        with self._calls.waits.waiting():
            page = await self._runtime.subscriptions.pull(call.caller(), request.subscription_id, limit, room, wait)
        events, position = next(_frames(page, call.tenant, room))
        return pb2.PullSubscriptionResponse(events=events, position=self._text(call.tenant, position))

    async def AckSubscription(self, call: Call, request: pb2.AckSubscriptionRequest) -> pb2.AckSubscriptionResponse:
        faults = Faults()
        faults.name("subscription_id", request.subscription_id)
        if not request.position:
            faults.add("position", "is required")
        faults.settle()
        position = self._runtime.tenant_feeds.positions.read(call.tenant, request.position)
        subscription = await self._runtime.subscriptions.acknowledge(
            call.caller(request), request.subscription_id, position
        )
        return pb2.AckSubscriptionResponse(subscription=self._shown(subscription))

    async def DeleteSubscription(
        self, call: Call, request: pb2.DeleteSubscriptionRequest
    ) -> pb2.DeleteSubscriptionResponse:
        faults = Faults()
        faults.name("subscription_id", request.subscription_id)
        faults.settle()
        await self._runtime.subscriptions.delete(call.caller(request), request.subscription_id)
        return pb2.DeleteSubscriptionResponse()

    def _given(self, tenant: str, position: str) -> Position | None:
        return self._runtime.tenant_feeds.positions.read(tenant, position) if position else None

    def _text(self, tenant: str, position: Position) -> str:
        return self._runtime.tenant_feeds.positions.make(tenant, position)

    def _items(self, asked: int, field: str) -> int:
        if asked < 0:
            raise invalid(field, f"is {asked}; it must not be negative")
        return min(asked or _ITEMS_DEFAULT, self._runtime.settings.page_items_max)

    def _shown(self, subscription: Subscription) -> history_pb2.Subscription:
        row = subscription.row
        return history_pb2.Subscription(
            subscription_id=row.subscription_id,
            filter=row.filter,
            position=self._text(row.tenant, subscription.position),
            created_at=timestamp_of(row.created_at),
            used_at=timestamp_of(row.used_at),
            lag_events=subscription.lag_events,
        )


def _frames(page: FeedPage, tenant: str, bytes_max: int) -> Iterator[tuple[list[history_pb2.WorkflowEvent], Position]]:
    """The events of a page in frames that fit, each with the position after it; at least one frame."""
    frame: list[history_pb2.WorkflowEvent] = []
    room, last = bytes_max - _FRAME_OVERHEAD_BYTES, page.position
    for execution_id, event in page.events:
        message = event_of(event, tenant, execution_id)
        size = message.ByteSize() + _EVENT_FRAMING_BYTES
        if frame and size > room:
            yield frame, last
            frame, room = [], bytes_max - _FRAME_OVERHEAD_BYTES
        frame.append(message)
        room -= size
        last = Position(event.stored.position, page.position.pruned)
    yield frame, page.position
