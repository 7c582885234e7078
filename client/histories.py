"""The past of executions: replays, what each event changed, checks, snapshots."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

from callboard.v1 import execution_service_pb2 as pb
from callboard.v1.execution_service_pb2_grpc import ExecutionServiceStub

from .calls import Calls, new_request_id
from .channel import Connection
from .codec import Seconds, decode_payload, encode_timestamp
from .decoding import decode
from .execution_models import Event, Execution
from .history_models import Replay, ReplayStep, Snapshot, StateChange, Verification

VERIFY_SECONDS: Final = 600.0
"""How long a check may take where nothing else is said: it reads the whole history."""


class HistoryCalls(Calls):
    """The calls about the past of executions."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._histories = ExecutionServiceStub(connection.channel)

    async def replay(
        self,
        execution_id: str,
        *,
        until_sequence: int | None = None,
        until_time: datetime | None = None,
        use_snapshots: bool = True,
        debug: bool = False,
        timeout: Seconds | None = None,
    ) -> Replay:
        """Rebuilds an execution from its events, up to one of them or to a time, beside the live one.

        With `debug` it has what each event changed: all of them, however many; `replay_steps` gives them one by one.
        """
        request = _replay_request(execution_id, until_sequence, until_time, use_snapshots, debug=debug)
        pages = self._connection.pages(self._histories.ReplayExecution, request, timeout)
        first: pb.ReplayExecutionResponse | None = None
        steps: list[ReplayStep] = []
        async for page in pages:
            first = first or page
            steps += map(_step, page.steps)
        assert first is not None, "there is always one page"
        return _replay(first, tuple(steps))

    async def replay_steps(
        self,
        execution_id: str,
        *,
        until_sequence: int | None = None,
        until_time: datetime | None = None,
        use_snapshots: bool = True,
        page_size: int = 0,
    ) -> AsyncIterator[ReplayStep]:
        """What each event changed, in order, page by page."""
        request = _replay_request(execution_id, until_sequence, until_time, use_snapshots, debug=True)
        request.page_size = page_size
        async for page in self._connection.pages(self._histories.ReplayExecution, request):
            for step in page.steps:
                yield _step(step)

    async def verify(self, execution_id: str, *, timeout: Seconds | None = None) -> Verification:
        """Checks a stored execution: its hashes, gaps and head, and that a replay from zero is what its snapshots and
        its live state say. What is wrong is in the answer; it raises nothing for that."""
        request = pb.VerifyExecutionRequest(execution_id=execution_id)
        allowed = VERIFY_SECONDS if timeout is None else timeout
        answer = await self._connection.unary(self._histories.VerifyExecution, request, allowed)
        return decode(Verification, answer, execution_id=execution_id)

    async def create_snapshot(self, execution_id: str, *, timeout: Seconds | None = None) -> Snapshot:
        """Stores a snapshot of an execution as it is now."""
        request = pb.CreateSnapshotRequest(execution_id=execution_id, request_id=new_request_id())
        answer = await self._connection.unary(self._histories.CreateSnapshot, request, timeout)
        return decode(Snapshot, answer.snapshot)


def _replay_request(
    execution_id: str, until_sequence: int | None, until_time: datetime | None, use_snapshots: bool, *, debug: bool
) -> pb.ReplayExecutionRequest:
    request = pb.ReplayExecutionRequest(
        execution_id=execution_id, until_sequence=until_sequence, use_snapshots=use_snapshots, debug=debug
    )
    if until_time is not None:
        request.until_time.CopyFrom(encode_timestamp(until_time))
    return request


def _replay(answer: pb.ReplayExecutionResponse, steps: tuple[ReplayStep, ...]) -> Replay:
    return Replay(
        execution=decode(Execution, answer.execution),
        state=decode_payload(answer.state),
        snapshot=decode(Snapshot, answer.snapshot) if answer.HasField("snapshot") else None,
        events_replayed=answer.events_replayed,
        skipped_snapshots=tuple(decode(Snapshot, snapshot) for snapshot in answer.skipped_snapshots),
        steps=steps,
        sensitive={place.pointer: place.mark.hex() for place in answer.sensitive_places},
    )


def _step(step: pb.ReplayStep) -> ReplayStep:
    return ReplayStep(decode(Event, step.event), tuple(map(_change, step.changes)))


def _change(change: pb.StateChange) -> StateChange:
    added, removed = not change.HasField("before"), not change.HasField("after")
    before: Any = None if added else decode_payload(change.before)
    after: Any = None if removed else decode_payload(change.after)
    return StateChange(change.pointer, before, after, added, removed)
