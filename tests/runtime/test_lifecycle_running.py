"""Deleting what runs, in a whole engine: what waits in a line, what has ended, what comes after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.runtime.engine_kit import ME, engine

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.deleting import Delete, OnDelete
from callboard.runtime.requests import StartRequest, UniquePolicy
from callboard.runtime.rows import ExecutionRef
from callboard.runtime.trigger_rows import JobState

TEXT = """
id: flow
triggers: [{id: often, schedule: {every: 60s, overlap: QUEUE}}]
steps: [{id: got, receive: {event: go}}]
output: "${steps.got.result.payload}"
"""


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def runtime(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(tmp_path / "data.db", clock) as runtime:
        await runtime.publish(TEXT)
        yield runtime


async def settle(runtime: Runtime, clock: ManualClock, job_id: str, state: JobState = JobState.SUCCEEDED) -> None:
    for _ in range(200):
        if (await runtime.jobs.get("default", job_id)).state is state:
            return
        await clock.advance(1)
    raise AssertionError("the job has not come to its end")


async def delete(runtime: Runtime, running: OnDelete) -> str:
    return (await runtime.deleting.delete(Delete(runtime.origin(ME), "flow", running=running))).job_id


async def status(runtime: Runtime, execution_id: str) -> str:
    return (await runtime.supervisor.view(ExecutionRef("default", execution_id), full=True)).status.value


async def begin_line(runtime: Runtime, clock: ManualClock) -> list[str]:
    """One that runs, one of a later start that waits for it to be cancelled, and slots in a line of their own."""
    for name in ("front", "behind"):
        policy = UniquePolicy.CANCEL_EXISTING
        request = StartRequest("flow", execution_id=name, unique_key="k", unique_policy=policy)
        await runtime.start(ME, request)
    names: set[str] = set()
    while len(names) < 5:
        await clock.advance(10)
        rows = await runtime.store.open_executions("default", "flow", 0, 0, 100)
        names |= {ref.execution_id for _, ref in rows}
    return sorted(names)


async def test_cancel_reaches_what_waits_in_lines(runtime: Runtime, clock: ManualClock) -> None:
    names = await begin_line(runtime, clock)
    assert [await status(runtime, name) for name in names if "often" in name].count("PENDING") >= 2
    await settle(runtime, clock, await delete(runtime, OnDelete.CANCEL))
    assert {await status(runtime, name) for name in names} == {"CANCELLED"}
    assert await runtime.store.open_count("default", "flow", 0) == 0
    assert (await runtime.definitions.summary("default", "flow")).state.value == "DELETED"


async def test_what_is_kept_goes_through_its_line_also_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with engine(tmp_path / "data.db", clock) as runtime:
        await runtime.publish(TEXT)
        await begin_line(runtime, clock)
        job_id = await delete(runtime, OnDelete.KEEP)
        # One more slot may have come before the deletion; after it none does.
        rows = await runtime.store.open_executions("default", "flow", 0, 0, 100)
        names = sorted(ref.execution_id for _, ref in rows)
        assert len(names) >= 4
    async with engine(tmp_path / "data.db", clock) as runtime:
        for name in names:
            for _ in range(100):
                if await status(runtime, name) in ("RUNNING", "CANCELLED"):
                    break
                await clock.advance(1)
            if await status(runtime, name) == "RUNNING":
                await runtime.submit(ME, name, "go", name)
        assert {await status(runtime, name) for name in names} <= {"COMPLETED", "CANCELLED"}
        assert await runtime.store.open_count("default", "flow", 0) == 0
        await settle(runtime, clock, job_id)
        assert await runtime.store.definition_versions("default", "flow", 0, 10) == []


async def test_what_has_ended_can_be_looked_at_when_its_definition_is_gone(tmp_path: Path, clock: ManualClock) -> None:
    async with engine(tmp_path / "data.db", clock) as runtime:
        await runtime.publish(TEXT)
        await runtime.start(ME, StartRequest("flow", execution_id="x"))
        await runtime.submit(ME, "x", "go", 7)
        await delete(runtime, OnDelete.REFUSE)
        assert await runtime.store.definition_versions("default", "flow", 0, 10) == []
    async with engine(tmp_path / "data.db", clock) as runtime:
        view = await runtime.supervisor.view(ExecutionRef("default", "x"), full=True)
        assert (view.status.value, view.version, view.output) == ("COMPLETED", 1, 7)
        with pytest.raises(Refused, match="EXECUTION_ENDED"):
            await runtime.submit(ME, "x", "go")
        # Its id still names it, whatever has become of the definition.
        assert not (await runtime.start(ME, StartRequest("flow", execution_id="x"))).started
