"""A wide `foreach` is worked off in portions: other executions keep their latency."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.scenarios.kit import ECHO, Api, connect, payload, serve, status, value, worker

WIDE_SET = """
id: wide
steps:
  - id: all
    foreach: {items: input, as: n, steps: [{id: a, set: {last: "${n}"}}]}
output: "${size(steps.all.result)}"
"""
WIDE_TASKS = """
id: wide
steps:
  - id: all
    foreach: {items: input, as: n, steps: [{id: a, task: {service: wide, operation: one, input: "${n}"}}]}
output: "${size(steps.all.result)}"
"""
LATENCY_SECONDS_MAX = 2.0
"""A whole round trip with a task, of the slowest of all; alone it takes about 10 ms. A decision that were not cut
would hold the loop for many seconds."""


async def _meanwhile(api: Api, done: asyncio.Task[None]) -> list[float]:
    """Start executions one after the other until the other thing is done; how long each took."""
    took = []
    while not done.done():
        began = time.perf_counter()
        assert (await api.start("echo", input=payload(1), wait=20)).ended
        took.append(time.perf_counter() - began)
    await done
    return took


@pytest.mark.parametrize(("text", "items"), [(WIDE_SET, 50_000), (WIDE_TASKS, 5_000)])
async def test_a_wide_foreach_leaves_others_their_latency(tmp_path: Path, text: str, items: int) -> None:
    async with serve(tmp_path) as api, connect(api.server) as channel:
        other = Api(api.server, channel)
        await api.publish(text)
        await api.publish(ECHO)
        async with worker(api, lambda task: 1), worker(other, lambda task: 2, worker_id="w-2", operations=["wide.one"]):
            for _ in range(3):
                await other.start("echo", input=payload(1), wait=10)
            wide = asyncio.create_task(_run_wide(api, items))
            took = await _meanwhile(other, wide)
        assert len(took) >= 3
        assert max(took) < LATENCY_SECONDS_MAX, (max(took), len(took))


async def _run_wide(api: Api, items: int) -> None:
    await api.start("wide", "x-1", input=payload(list(range(items))))
    execution = await api.ended("x-1")
    assert execution.status == status("COMPLETED")
    assert value(execution.output) == items
    if items > 10_000:
        assert execution.sequence == 2 * items + 4
