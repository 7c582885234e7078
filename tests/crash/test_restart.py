"""The server or a worker is killed at a chosen moment: what is finished stays finished, what is not is done once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.crash.kit import House, Server, Worker, house, read_database, received, status, until, until_async

from callboard.runtime.core import events as ev

TWO = """
id: two
steps:
  - {id: first, task: {service: crash, operation: first, input: {n: 1}}}
  - {id: second, task: {service: crash, operation: second, input: {n: "${steps.first.result.n + 1}"}}}
output: {first: "${steps.first.result}", second: "${steps.second.result}"}
"""
FAILING = """
id: failing
steps:
  - id: flaky
    task: {service: crash, operation: work, input: {n: 7, fail: 1}}
    retry: {max_attempts: 2, initial_backoff: 100ms}
output: "${steps.flaky.result.n}"
"""
GATED = """
id: gated
steps:
  - id: held
    task: {service: crash, operation: work, input: {n: 5, gate: "${input.gate}"}}
    retry: {max_attempts: 1}
output: "${steps.held.result}"
"""
SLOW = """
id: slow
steps:
  - {id: held, task: {service: crash, operation: work, input: {n: 5, ms: 500}}, retry: {max_attempts: 1}}
output: "${steps.held.result}"
"""
WAITING = """
id: waiting
steps:
  - {id: got, receive: {event: go}}
output: "${steps.got.result.payload}"
"""
FAULTY = ("-m", "tests.crash.faulty_server")
BRISK = ("--limit", "reconnect_grace_seconds=0.5")
"""What nobody claims goes to another worker soon."""
PATIENT = ("--limit", "reconnect_grace_seconds=30")
"""A worker has time to come back, however slow the machine is."""


async def _waits_for(server: Server, execution_id: str, path: str) -> bool:
    execution = await server.get(execution_id)
    return any(step.path == path for step in execution.open_steps)


def _by_path(own: House, what: str, path: str) -> list[dict[str, Any]]:
    return [line for line in own.records(what) if line["path"] == path]


async def test_of_two_tasks_only_the_one_without_a_result_runs_after_a_kill(tmp_path: Path) -> None:
    async with house(tmp_path, *BRISK) as own:
        server = await own.server.start()
        await server.publish(TWO)
        await own.worker("firsts", "crash.first")
        await server.begin("two", "x-1")
        await until_async(lambda: _waits_for(server, "x-1", "second"), "the second task is open")
        await server.kill()
        await server.start()
        await own.worker("both", "crash.first", "crash.second")
        ended = await server.end_of("x-1")
        assert status(ended) == "COMPLETED"
        (first,), (second,) = _by_path(own, "begun", "first"), _by_path(own, "begun", "second")
        assert (first["worker"], second["worker"]) == ("firsts", "both")
        assert first["run"] in ended.output.json and second["run"] in ended.output.json
        await server.kill()
    (stored,) = (await read_database(server.data)).executions.values()
    results: dict[str, Any] = {event.path: event.result for event in stored.of(ev.StepCompleted)}
    assert {path: result["n"] for path, result in results.items()} == {"first": 1, "second": 2}


@pytest.mark.parametrize("moment", ["kill-before", "kill-after"])
async def test_a_failure_is_recorded_once_when_the_server_dies_around_its_append(tmp_path: Path, moment: str) -> None:
    async with house(tmp_path, *PATIENT) as own:
        server = await own.server.start(program=(*FAULTY, moment, "StepRetryScheduled"))
        await server.publish(FAILING)
        await own.worker("w")
        await server.begin("failing", "x-1")
        await server.process.ended()
        server.gone()
        await server.start()
        assert status(await server.end_of("x-1")) == "COMPLETED"
        assert [line["attempt"] for line in own.records("begun")] == [1, 2], "an attempt ran twice"
        # The answer whose ack the dead server owed came again: it was new to the disk, or known to it.
        expected = {"kill-before": "ACCEPTED", "kill-after": "DUPLICATE"}[moment]
        await until(lambda: len(own.records("acked")) == 2, "the acks")
        acked = {line["attempt"]: line["disposition"] for line in own.records("acked")}
        assert acked == {1: expected, 2: "ACCEPTED"}
        await server.kill()
    (stored,) = (await read_database(server.data)).executions.values()
    assert [event.attempt for event in stored.of(ev.StepRetryScheduled)] == [1]
    assert not stored.of(ev.StepDeliveryLost)


async def test_many_failures_in_flight_are_each_recorded_once_across_a_kill(tmp_path: Path) -> None:
    async with house(tmp_path, *PATIENT) as own:
        server = await own.server.start()
        await server.publish(FAILING)
        names = [f"x-{n}" for n in range(40)]
        await asyncio.gather(*[server.begin("failing", name) for name in names])
        await own.worker("w")
        await until(lambda: own.records("acked"), "the first ack")
        await server.kill()
        await server.start()
        assert {status(await server.end_of(name)) for name in names} == {"COMPLETED"}
        await server.kill()
    stored = (await read_database(server.data)).executions
    assert set(stored) == set(names)
    for each in stored.values():
        assert len(each.of(ev.StepRetryScheduled)) == len(each.of(ev.StepCompleted)) == 1
    assert sorted((line["execution"], line["attempt"]) for line in own.records("begun")) == sorted(
        (name, attempt) for name in names for attempt in (1, 2)
    )


async def test_the_task_of_a_killed_worker_goes_to_another_and_uses_up_no_retry(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, *BRISK) as own:
        server = await own.server.start()
        await server.publish(GATED)
        lost = await own.worker("lost")
        await server.begin("gated", "x-1", {"gate": str(gate)})
        (begun,) = await until(lambda: lost.lines("begun"), "the task is with the first worker")
        other = await own.worker("other")
        await lost.kill()
        (again,) = await until(lambda: other.lines("begun"), "the task is with the second worker")
        assert (again["attempt"], again["key"]) == (1, begun["key"])
        token = bytes.fromhex(begun["token"])
        assert await server.answer("lost", token, {"run": "late"}) == "STALE"
        gate.touch()
        ended = await server.end_of("x-1")
        assert status(ended) == "COMPLETED" and again["run"] in ended.output.json
        assert await server.answer("lost", token, {"run": "late"}) == "STALE"
        await server.kill()
        await server.start()
        assert await server.answer("other", bytes.fromhex(again["token"]), {"run": "again"}) == "DUPLICATE"
        await server.kill()
    (stored,) = (await read_database(server.data)).executions.values()
    assert [event.worker_id for event in stored.of(ev.StepDeliveryLost)] == ["lost"]
    assert len(stored.of(ev.StepCompleted)) == 1


async def test_the_answer_of_a_worker_that_was_silent_for_too_long_is_stale(tmp_path: Path) -> None:
    async with house(tmp_path, "--limit", "lease_seconds=2") as own:
        server = await own.server.start()
        await server.publish(SLOW)
        silent = await own.worker("silent")
        await server.begin("slow", "x-1")
        await until(lambda: silent.lines("begun"), "the task is with the first worker")
        silent.process.send(signal.SIGSTOP)
        other = await own.worker("other")
        ended = await server.end_of("x-1")
        silent.process.send(signal.SIGCONT)
        assert other.lines("begun")[0]["run"] in ended.output.json
        told = await until(lambda: _last_words(silent), "the silent one is told")
        assert told["what"] != "acked" or told["disposition"] == "STALE"


def _last_words(worker: Worker) -> dict[str, Any] | None:
    """What its one task came to: an ack, a cancel, or a welcome that does not name it any more."""
    return next((line for line in worker.lines() if line["what"] in ("acked", "stopped", "superseded")), None)


async def test_a_worker_keeps_its_task_while_the_server_is_killed_and_restarted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, *PATIENT) as own:
        server = await own.server.start()
        await server.publish(GATED)
        holder = await own.worker("holder", slots=1)
        await server.begin("gated", "x-1", {"gate": str(gate)})
        (begun,) = await until(lambda: holder.lines("begun"), "the task is with the worker")
        for _ in range(2):
            await server.kill()
            await server.start()
            await until_async(lambda: _holds(server, "x-1", "holder"), "the worker has claimed it")
        idle = await own.worker("idle")
        await server.begin("gated", "x-2", {"gate": str(tmp_path)})
        await until(lambda: idle.lines("begun"), "the other worker is at work")
        gate.touch()
        ended = await server.end_of("x-1")
        assert status(ended) == "COMPLETED" and begun["run"] in ended.output.json
        assert [line["worker"] for line in own.records("begun") if line["execution"] == "x-1"] == ["holder"]
        acked = await until(lambda: holder.lines("acked"), "the ack")
        assert [line["disposition"] for line in acked] == ["ACCEPTED"]


async def _holds(server: Server, execution_id: str, worker_id: str) -> bool:
    execution = await server.get(execution_id)
    return any(step.worker_id == worker_id for step in execution.open_steps)


async def test_a_result_finished_while_the_server_was_down_is_accepted_after_its_restart(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, *PATIENT) as own:
        server = await own.server.start()
        await server.publish(GATED)
        worker = await own.worker("w")
        await server.begin("gated", "x-1", {"gate": str(gate)})
        await until(lambda: worker.lines("begun"), "the task is with the worker")
        await server.kill()
        gate.touch()
        await until(lambda: worker.lines("answered"), "the worker is done")
        await server.start()
        assert status(await server.end_of("x-1")) == "COMPLETED"
        assert len(worker.lines("begun")) == 1


async def test_accepted_events_are_worked_off_after_a_kill(tmp_path: Path) -> None:
    async with house(tmp_path) as own:
        server = await own.server.start()
        await server.publish(WAITING)
        names = [f"x-{n}" for n in range(30)]
        await asyncio.gather(*[server.begin("waiting", name) for name in names])
        await server.kill()
        await server.start()
        sending = [asyncio.create_task(server.enqueue(name, "go", {"to": name})) for name in names]
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        await server.kill()
        await server.start()
        await asyncio.gather(*sending)
        for name in names:
            assert name in (await server.end_of(name)).output.json
            # The same request again, after the end of the execution: it is known, and nothing happens.
            await server.enqueue(name, "go", {"to": name})
        await server.kill()
    database = await read_database(server.data)
    assert {len(received(stored, "go")) for stored in database.executions.values()} == {1}
    assert (database.counts.inbox, database.counts.dead_letters) == (0, 0)


async def test_a_drain_lets_a_worker_finish_what_it_has(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, "--drain-seconds", "60") as own:
        server = await own.server.start()
        await server.publish(GATED)
        worker = await own.worker("w")
        await server.begin("gated", "x-1", {"gate": str(gate)})
        await until(lambda: worker.lines("begun"), "the task is with the worker")
        stopping = asyncio.create_task(server.stop())
        await until(lambda: '"stopping"' in server.process.text, "the drain has begun")
        gate.touch()
        assert await stopping == 0
        acked = await until(lambda: worker.lines("acked"), "the ack")
        assert [line["disposition"] for line in acked] == ["ACCEPTED"]
    (stored,) = (await read_database(server.data)).executions.values()
    assert stored.record.head.status == "COMPLETED"


async def test_what_a_drain_cannot_wait_for_is_taken_up_by_the_next_server(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with house(tmp_path, *PATIENT, "--drain-seconds", "0.5") as own:
        server = await own.server.start()
        await server.publish(GATED)
        worker = await own.worker("w")
        await server.begin("gated", "x-1", {"gate": str(gate)})
        await until(lambda: worker.lines("begun"), "the task is with the worker")
        waiting = asyncio.create_task(server.end_of("x-1"))
        assert await server.stop() == 0
        await server.start()
        gate.touch()
        assert status(await waiting) == "COMPLETED"
        assert len(worker.lines("begun")) == 1
