"""Connections are renewed while workers hold tasks: nothing is handed out again, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.scenarios.kit import HOLD, LINEAR, Api, StubWorker, connect, disposition, serve, value, worker

from callboard.runtime.tasks import DispatcherSettings

AGE_SECONDS = 1.0


async def test_a_long_task_is_not_handed_out_again_when_the_age_of_its_connection_passes(tmp_path: Path) -> None:
    async with serve(tmp_path, connection_age_seconds_max=AGE_SECONDS) as api, connect(api.server) as lasting:
        await api.publish(LINEAR)
        holder = StubWorker(api, lambda task: HOLD, worker_id="holder")
        await holder.connect()
        await api.start("linear", "x-1")
        task = (await holder.seen())[0]
        others = []
        for _ in range(3):
            await _asked_to_move(holder)
            again = StubWorker(
                api, lambda task: HOLD, worker_id="holder", operations=["s.one"], holding=[task.task_token]
            )
            await again.connect()
            assert list(again.frames[0].welcome.holding) == [task.task_token]
            await holder.vanish()
            holder = again
        assert not holder.tasks
        async with worker(Api(api.server, lasting), lambda task: others.append(task) or "other", worker_id="other"):
            step = (await api.get("x-1")).open_steps[0]
            assert (step.worker_id, step.attempt) == ("holder", 1)
            assert disposition(await holder.answer(task.task_token, {"long": "done"})) == "ACCEPTED"
            assert value((await api.ended("x-1")).output) == "other"
            assert [one.step_path for one in others] == ["two"]
        await holder.vanish()
        assert "StepDeliveryLost" not in await api.names("x-1")


async def test_a_drain_asks_workers_to_reconnect_and_takes_what_they_still_owe(tmp_path: Path) -> None:
    async with serve(tmp_path, drain_seconds=20.0) as api:
        await api.publish(LINEAR)
        stub = await StubWorker(api, lambda task: HOLD).connect()
        await api.start("linear", "x-1")
        task = (await stub.seen())[0]
        draining = asyncio.create_task(api.server.drain())
        await _asked_to_move(stub)
        assert disposition(await stub.answer(task, {"owed": True})) == "ACCEPTED"
        await stub.when(lambda: stub.ended)
        await draining
        await stub.vanish()
    grace = DispatcherSettings(reconnect_grace_seconds=0.01)
    async with (
        serve(tmp_path, dispatching=grace) as api,
        worker(api, lambda task: value(task.input), worker_id="w-2") as stub,
    ):
        assert value((await api.ended("x-1")).output) == {"owed": True}
        assert [one.step_path for one in stub.tasks] == ["two"]


async def _asked_to_move(stub: StubWorker) -> None:
    await stub.when(lambda: any(frame.HasField("reconnect") for frame in stub.frames))
