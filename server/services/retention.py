"""The part of `ExecutionService` that takes ended executions away, or what was sensitive in them."""

from __future__ import annotations

from callboard.runtime.engine import Runtime
from callboard.v1 import execution_control_pb2 as control_pb2
from callboard.v1 import execution_service_pb2 as pb2

from ..calls import Call
from ..codec_executions import execution_of
from ..codec_triggers import job_of
from ..requests import REASON_CHARACTERS_MAX, Faults, moment_us


class RetentionService:
    """DeleteExecution, PruneExecutions and EraseExecution."""

    _runtime: Runtime

    async def DeleteExecution(self, call: Call, request: pb2.DeleteExecutionRequest) -> pb2.DeleteExecutionResponse:
        faults = Faults()
        faults.execution_id(request.execution_id)
        faults.settle()
        await self._runtime.retention.delete(call.caller(request), request.execution_id)
        return pb2.DeleteExecutionResponse()

    async def PruneExecutions(
        self, call: Call, request: control_pb2.PruneExecutionsRequest
    ) -> control_pb2.PruneExecutionsResponse:
        faults = Faults()
        faults.not_negative("max_count", request.max_count)
        ended_before = (
            moment_us(faults, "ended_before", request.ended_before) if request.HasField("ended_before") else 0
        )
        faults.settle()
        job, matched = await self._runtime.retention.prune(
            call.caller(request), request.filter, ended_before, request.max_count, dry_run=request.validate_only
        )
        return control_pb2.PruneExecutionsResponse(job=job_of(job) if job is not None else None, matched_count=matched)

    async def EraseExecution(
        self, call: Call, request: control_pb2.EraseExecutionRequest
    ) -> control_pb2.EraseExecutionResponse:
        faults = Faults()
        faults.execution_id(request.execution_id)
        faults.short("reason", request.reason, REASON_CHARACTERS_MAX)
        faults.settle()
        view = await self._runtime.erasing.erase(call.caller(request), request.execution_id, request.reason)
        return control_pb2.EraseExecutionResponse(execution=execution_of(view))
