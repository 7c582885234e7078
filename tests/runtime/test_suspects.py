"""The slot that tells on whom the process died."""

from pathlib import Path

import pytest
from tests.runtime.engine_kit import ME, WAITING, engine, started

from callboard.runtime.core.refusals import Refused
from callboard.runtime.suspects import Suspects


def die_deciding(path: Path, key: int) -> Suspects:
    suspects = Suspects(path)
    suspects.open()
    suspects.deciding(key)
    return suspects


def test_three_deaths_in_a_row_on_one_execution_park_it(tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    for _ in range(3):
        assert die_deciding(slot, 7).parked == 0
    fourth = die_deciding(slot, 0)
    assert fourth.parked == 7
    fourth.close()
    assert die_deciding(slot, 0).parked == 0


def test_deaths_on_different_executions_park_nobody(tmp_path: Path) -> None:
    for key in (7, 7, 8, 7, 7):
        assert die_deciding(tmp_path / "slot", key).parked == 0


async def test_a_parked_execution_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "callboard.db"
    async with engine(path) as runtime:
        await runtime.publish(WAITING)
        for execution_id in ("x-1", "x-2"):
            await started(runtime, "waiting", execution_id)
        key = (await runtime.get(ME, "x-1")).key
    for _ in range(3):
        die_deciding(Path(f"{path}-deciding"), key)
    async with engine(path) as runtime:
        with pytest.raises(Refused) as caught:
            await runtime.submit(ME, "x-1", "go")
        assert caught.value.refusal.reason == "EXECUTION_POISONED"
        assert (await runtime.submit(ME, "x-2", "go")).kept is False
