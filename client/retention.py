"""Taking ended executions away, or what was sensitive in them."""

from datetime import datetime

from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub

from .calls import Calls, new_request_id
from .channel import Connection
from .codec import Seconds, encode_timestamp
from .decoding import decode
from .execution_models import Execution
from .job_models import Pruning


class RetentionCalls(Calls):
    """The calls that take ended executions away, or what was sensitive in them."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._retention = ExecutionServiceStub(connection.channel)

    async def delete_execution(self, execution_id: str, *, timeout: Seconds | None = None) -> None:
        """Deletes an ended execution and all that belongs to it; its id may be used again."""
        request = pb.DeleteExecutionRequest(execution_id=execution_id, request_id=new_request_id())
        await self._connection.unary(self._retention.DeleteExecution, request, timeout)

    async def erase(self, execution_id: str, *, reason: str = "", timeout: Seconds | None = None) -> Execution:
        """Erases the sensitive values of an ended execution, for good. Its history stays, and still verifies; one that
        has none, or has lost them already, is answered as it is."""
        request = control_pb.EraseExecutionRequest(
            execution_id=execution_id, reason=reason, request_id=new_request_id()
        )
        answer = await self._connection.unary(self._retention.EraseExecution, request, timeout)
        return decode(Execution, answer.execution)

    async def prune(
        self,
        *,
        filter: str = "",
        ended_before: datetime | None = None,
        max_count: int = 0,
        validate_only: bool = False,
        timeout: Seconds | None = None,
    ) -> Pruning:
        """Begins a job that deletes ended executions; `wait_job` waits for its end.

        `filter` is as in `executions`, and `true` means all; without one it is about those whose definition does not
        ask to keep them any longer. With `validate_only` it only counts.
        """
        request = control_pb.PruneExecutionsRequest(
            filter=filter, max_count=max_count, validate_only=validate_only, request_id=new_request_id()
        )
        if ended_before is not None:
            request.ended_before.CopyFrom(encode_timestamp(ended_before))
        answer = await self._connection.unary(self._retention.PruneExecutions, request, timeout)
        return decode(Pruning, answer)
