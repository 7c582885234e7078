"""The benchmark of lists and counts finds what its store holds. Nothing is timed."""

from pathlib import Path

import pytest
from benchmarks.listing import fill, lists


async def test_it_tells_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "full.db"
    await fill(path, 300)
    await lists(path)
    told = {line[:36].strip(): line.split() for line in capsys.readouterr().out.splitlines()}
    assert told["no filter"][-1] == told["definition, half of all"][-1] == "100+"
    assert told["definition, the 10 oldest"][-1] == "10"
    assert told["state, not there"][-1] == told["label, not there"][-1] == "0"
    assert told["state, named (1 in 1,000)"][-1] == told["by updated_at, 5,000"][-1] == "1"
    assert told["all, by status"][-4] == told["all, by state"][-4] == "300"
