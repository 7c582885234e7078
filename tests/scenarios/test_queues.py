"""Tasks without a worker: they wait, they are seen, and a time-out of the queue ends them."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.kit import HOLD, LINEAR, PATIENT, serve, status, worker

from callboard.runtime.clock import ManualClock
from callboard.v1 import executions_pb2 as pb2

IMPATIENT = LINEAR.replace("input: {n: 1}}}", "input: {n: 1}}, timeouts: {queue: 1h}}")


async def test_a_task_without_a_worker_stays_queued_and_is_seen_until_one_comes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(LINEAR)
        await api.start("linear", "x-1")
        await clock.advance(30 * 86_400)
        step = (await api.get("x-1")).open_steps[0]
        assert (step.path, step.operation, step.waiting_on) == ("one", "s.one", pb2.WAITING_ON_QUEUE)
        assert (step.state, step.worker_id, step.attempt) == (pb2.STEP_STATE_SCHEDULED, "", 1)
        queue = await api.queue("s.one")
        assert (queue.queued, queue.running, queue.workers) == (1, 0, 0)
        assert queue.oldest_age.seconds == 30 * 86_400
        async with worker(api, lambda task: task.step_path) as stub:
            await api.ended("x-1")
            assert len(stub.tasks) == 2


async def test_what_a_worker_has_is_seen(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: HOLD, worker_id="bob", slots=7) as stub:
            await api.start("linear", "x-1")
            await stub.seen()
            step = (await api.get("x-1")).open_steps[0]
            assert (step.waiting_on, step.worker_id) == (pb2.WAITING_ON_WORKER, "bob")
            queue = await api.queue("s.one")
            assert (queue.queued, queue.running, queue.workers, queue.free_slots) == (0, 1, 1, 6)
            assert await api.worker_ids() == ["bob"]


async def test_the_time_out_of_the_queue_fails_the_step(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(IMPATIENT)
        await api.start("linear", "x-1")
        await clock.advance(3_599)
        assert (await api.get("x-1")).status == status("RUNNING")
        await clock.advance(2)
        execution = await api.ended("x-1")
        assert (execution.status, execution.failure.type) == (status("FAILED"), "Timeout")
        assert await api.queue("s.one") is None


async def test_the_time_out_of_the_queue_counts_through_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(IMPATIENT)
        await api.start("linear", "x-1")
    clock.jump(7_200)
    async with serve(tmp_path, clock=clock) as api:
        await clock.advance(10)
        assert (await api.ended("x-1")).failure.type == "Timeout"


async def test_a_task_that_a_worker_has_is_not_subject_to_the_time_out_of_the_queue(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock, dispatching=PATIENT) as api:
        await api.publish(IMPATIENT)
        async with worker(api, lambda task: HOLD) as stub:
            await api.start("linear", "x-1")
            task = (await stub.seen())[0]
            await clock.advance(86_400)
            assert (await api.get("x-1")).status == status("RUNNING")
            stub.rule = lambda task: 2
            await stub.answer(task, 1)
            assert (await api.ended("x-1")).status == status("COMPLETED")
