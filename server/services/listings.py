"""The part of `ExecutionService` that lists and counts executions."""

from __future__ import annotations

from callboard.runtime.engine import Runtime
from callboard.v1 import execution_service_pb2 as pb2
from callboard.v1 import executions_pb2

from ..calls import Call
from ..codec_executions import FRAME_BYTES_MAX, execution_of
from ..requests import invalid, unsupported_field


class ListingService:
    """ListExecutions and CountExecutions."""

    _runtime: Runtime

    async def ListExecutions(self, call: Call, request: pb2.ListExecutionsRequest) -> pb2.ListExecutionsResponse:
        _check_view(request.view)
        caller, size = call.caller(), request.page_size
        while True:
            page = await self._runtime.listings.page(caller, request.filter, size, request.page_token, request.order_by)
            items = [execution_of(view) for view in page.items]
            answer = pb2.ListExecutionsResponse(executions=items, next_page_token=page.next_page_token)
            if len(items) <= 1 or answer.ByteSize() <= (request.max_frame_bytes or FRAME_BYTES_MAX):
                return answer
            size = len(items) // 2

    async def CountExecutions(self, call: Call, request: pb2.CountExecutionsRequest) -> pb2.CountExecutionsResponse:
        found = await self._runtime.listings.count(call.caller(), request.filter, request.group_by)
        groups = [pb2.ExecutionGroup(value=value, count=count) for value, count in found.groups]
        return pb2.CountExecutionsResponse(count=found.count, groups=groups)


def _check_view(view: int) -> None:
    if view not in executions_pb2.ExecutionView.values():
        raise invalid("view", f"{view} is no value of ExecutionView")
    if view == executions_pb2.EXECUTION_VIEW_FULL:
        raise unsupported_field("view", "EXECUTION_VIEW_FULL")
