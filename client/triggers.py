"""The triggers of published definitions: when they fire next, pausing, resuming and firing them."""

from collections.abc import AsyncIterator
from datetime import datetime
from operator import attrgetter
from typing import Any

from callboard.v1 import definition_service_pb2 as pb
from callboard.v1.definition_service_pb2_grpc import DefinitionServiceStub

from .calls import Calls, each, new_request_id
from .channel import Connection
from .codec import Seconds, encode_payload, encode_timestamp
from .decoding import decode
from .definition_models import TriggerInfo, TriggerPaused, TriggerResumed
from .execution_models import Execution


class TriggerCalls(Calls):
    """The calls about triggers."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._triggers = DefinitionServiceStub(connection.channel)

    def triggers(
        self, definition_id: str = "", *, event_name: str = "", min_revision: int = 0, page_size: int = 0
    ) -> AsyncIterator[TriggerInfo]:
        """The triggers of published definitions, by definition and trigger id: of all, of one, or of one event."""
        request = pb.ListTriggersRequest(
            definition_id=definition_id, event_name=event_name, min_revision=min_revision, page_size=page_size
        )
        pages = self._connection.pages(self._triggers.ListTriggers, request)
        return each(pages, attrgetter("triggers"), lambda item: decode(TriggerInfo, item))

    async def pause_trigger(
        self, definition_id: str, trigger_id: str, *, timeout: Seconds | None = None
    ) -> TriggerPaused:
        """Stops a trigger from starting executions until it is resumed, through later versions too."""
        request = pb.PauseTriggerRequest(
            definition_id=definition_id, trigger_id=trigger_id, request_id=new_request_id()
        )
        return decode(TriggerPaused, await self._connection.unary(self._triggers.PauseTrigger, request, timeout))

    async def resume_trigger(
        self, definition_id: str, trigger_id: str, *, timeout: Seconds | None = None
    ) -> TriggerResumed:
        """Lets a trigger start executions again; what it missed is not made up for."""
        request = pb.ResumeTriggerRequest(
            definition_id=definition_id, trigger_id=trigger_id, request_id=new_request_id()
        )
        return decode(TriggerResumed, await self._connection.unary(self._triggers.ResumeTrigger, request, timeout))

    async def fire_trigger(
        self,
        definition_id: str,
        trigger_id: str,
        payload: Any = None,
        *,
        slot: datetime | None = None,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Execution:
        """Makes a trigger start an execution now, as if its event (with this payload) or its slot had come.

        `started` says whether this call started it: a slot that has started an execution does not start another.
        """
        request = pb.FireTriggerRequest(
            definition_id=definition_id,
            trigger_id=trigger_id,
            payload=None if payload is None else encode_payload(payload),
            slot=None if slot is None else encode_timestamp(slot),
            request_id=request_id or new_request_id(),
        )
        answer = await self._connection.unary(self._triggers.FireTrigger, request, timeout)
        return decode(Execution, answer.execution, started=answer.started)
