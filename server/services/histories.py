"""The part of `ExecutionService` that looks at the past: replays, checks, snapshots."""

from __future__ import annotations

from typing import Any, Final

from callboard.runtime.engine import Runtime
from callboard.runtime.histories import Replayed, Steps
from callboard.runtime.listing import PageTokens, scope_of
from callboard.runtime.views import ExecutionView
from callboard.v1 import execution_service_pb2 as pb2

from ..calls import Call, Calls
from ..codec import payload_of_json
from ..codec_executions import FRAME_BYTES_MAX, execution_of, fitted
from ..codec_histories import moment_of, sensitive_places_of, snapshot_of, steps_of, verification_of
from ..requests import Faults, invalid

_STEPS_DEFAULT: Final = 100
_STEPS_MAX: Final = 1_000
_STEP_OVERHEAD_BYTES: Final = 16


class HistoryService:
    """The past of a runtime's executions over gRPC."""

    _runtime: Runtime
    _calls: Calls
    _tokens: PageTokens

    async def _past(self, call: Call, request: pb2.GetExecutionRequest, full: bool) -> ExecutionView:
        return await self._runtime.histories.past(call.caller(), request.execution_id, moment_of(request), full)

    async def ReplayExecution(self, call: Call, request: pb2.ReplayExecutionRequest) -> pb2.ReplayExecutionResponse:
        moment = moment_of(request)
        use_snapshots = request.use_snapshots if request.HasField("use_snapshots") else True
        scope = scope_of(
            "ReplayExecution", call.tenant, request.execution_id, repr(moment), use_snapshots, request.debug
        )
        steps = self._steps(request, scope)
        replayed = await self._runtime.histories.replay(
            call.caller(), request.execution_id, moment, use_snapshots=use_snapshots, steps=steps
        )
        answer = _replayed(replayed, request)
        shown = steps_of(replayed, call.tenant, request.execution_id)
        _fill(answer, shown, request.max_frame_bytes or FRAME_BYTES_MAX)
        if len(answer.steps) < len(shown) or replayed.more:
            last = answer.steps[-1].event.sequence
            answer.next_page_token = self._tokens.make(scope, f"{replayed.begun_at}:{replayed.until}:{last}")
        return answer

    def _steps(self, request: pb2.ReplayExecutionRequest, scope: str) -> Steps | None:
        if not request.debug:
            if request.page_token:
                raise invalid("page_token", "goes with debug")
            return None
        if request.page_size < 0:
            raise invalid("page_size", f"is {request.page_size}; it must not be negative")
        limit = min(request.page_size or _STEPS_DEFAULT, _STEPS_MAX)
        token = self._tokens.read(scope, request.page_token)
        return Steps(limit, *map(int, token.split(":"))) if token else Steps(limit)

    async def VerifyExecution(self, call: Call, request: pb2.VerifyExecutionRequest) -> pb2.VerifyExecutionResponse:
        _check_id(request)
        return verification_of(await self._runtime.histories.verify(call.caller(), request.execution_id))

    async def CreateSnapshot(self, call: Call, request: pb2.CreateSnapshotRequest) -> pb2.CreateSnapshotResponse:
        _check_id(request)
        taking = self._runtime.histories.snapshot(call.caller(request), request.execution_id)
        return pb2.CreateSnapshotResponse(snapshot=snapshot_of(await self._calls.whole(taking)))


def _replayed(replayed: Replayed, request: pb2.ReplayExecutionRequest) -> pb2.ReplayExecutionResponse:
    """The answer without its steps."""
    answer = pb2.ReplayExecutionResponse(events_replayed=replayed.until - replayed.begun_at)
    if replayed.view is not None:
        answer.execution.CopyFrom(fitted(execution_of(replayed.view, full=True), request.max_frame_bytes))
        answer.state.CopyFrom(payload_of_json(replayed.state))
        answer.sensitive_places.extend(sensitive_places_of(replayed.state))
    if replayed.begun_from is not None:
        answer.snapshot.CopyFrom(snapshot_of(replayed.begun_from))
    answer.skipped_snapshots.extend(snapshot_of(snapshot) for snapshot in replayed.skipped)
    return answer


def _fill(answer: pb2.ReplayExecutionResponse, steps: list[pb2.ReplayStep], bytes_max: int) -> None:
    """Add the steps that fit, at least one; a state that leaves no room is not shown."""
    if answer.ByteSize() > bytes_max:
        answer.ClearField("state")
        answer.ClearField("sensitive_places")
    room = bytes_max - answer.ByteSize()
    for step in steps:
        room -= step.ByteSize() + _STEP_OVERHEAD_BYTES
        if room < 0 and answer.steps:
            return
        answer.steps.append(step)


def _check_id(request: Any) -> None:
    faults = Faults()
    faults.execution_id(request.execution_id)
    faults.settle()
