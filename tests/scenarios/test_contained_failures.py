"""Whatever fails inside costs as little as it can: nobody waits for ever, and nothing committed is left undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import LINEAR, WAITING, Api, refused, serve, status, value, worker

from callboard.runtime.actor import Actor
from callboard.runtime.clock import ManualClock
from callboard.runtime.ports import StorageFailedError

SLEEPY = """
id: sleepy
steps:
  - {id: nap, wait: {duration: 1h}}
  - {id: one, task: {service: s, operation: one}}
"""


def break_answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The next turn of an actor raises right after its append was committed."""
    broken: list[str] = []
    sound = Actor._answer

    async def answer(self: Actor, batch: Any) -> None:
        if not broken:
            broken.append(self.ref.execution_id)
            raise RuntimeError("between commit and effect")
        await sound(self, batch)

    monkeypatch.setattr(Actor, "_answer", answer)
    return broken


async def test_an_actor_that_dies_after_its_commit_leaves_its_task_dispatched(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: task.step_path):
        broken = break_answers(monkeypatch)
        refusal = await refused(api.start("linear", "x-1"))
        assert (refusal.reason, broken) == ("INTERNAL", ["x-1"])
        assert value((await api.ended("x-1")).output) == "two"


async def test_an_actor_that_dies_after_its_commit_leaves_its_timer_armed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with serve(tmp_path, clock=clock) as api:
        await api.publish(SLEEPY)
        break_answers(monkeypatch)
        await refused(api.start("sleepy", "x-1"))
        await clock.advance(3_601)
        await api.until("x-1", "StepScheduled", 2)
        async with worker(api, lambda task: 1):
            assert (await api.ended("x-1")).status == status("COMPLETED")


async def test_an_answer_of_a_worker_goes_on_though_the_actor_dies_after_its_commit(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish(LINEAR)
    await api.start("linear", "x-1")
    break_answers(monkeypatch)
    async with worker(api, lambda task: task.step_path) as stub:
        assert value((await api.ended("x-1")).output) == "two"
        assert [task.step_path for task in stub.tasks] == ["one", "two"]


@pytest.mark.parametrize("method", ["known_events", "execution", "requests"])
async def test_a_read_that_fails_is_answered_and_the_next_call_is_served(api: Api, method: str) -> None:
    await api.publish(WAITING)
    await api.start("waiting", "x-1")
    for _ in range(2):  # after a repeat, the ids of the next events are looked up before they are decided on
        await api.submit("x-1", "other", event_id="e-0", request_id="r-0")
    store: Any = api.server.runtime.store
    sound = getattr(store, method)

    async def failing(*args: Any) -> Any:
        raise StorageFailedError("a read failed")

    if method == "execution":
        api.server.runtime.supervisor._actors.clear()
    setattr(store, method, failing)
    refusal = await refused(api.submit("x-1", "go", 1, event_id="e-1", request_id="r-1"))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "STORAGE_UNAVAILABLE")
    setattr(store, method, sound)
    assert not (await api.submit("x-1", "go", 1, event_id="e-1", request_id="r-1")).duplicate
    assert (await api.submit("x-1", "go", 1, event_id="e-1")).duplicate
