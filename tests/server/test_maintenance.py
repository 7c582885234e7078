"""The local commands for a data directory without a server, as they are used."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callboard.runtime import Runtime
from callboard.runtime.core.refusals import Refused
from callboard.server.commands import doctor_command, restore_command


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    file = tmp_path / "backup"
    async with Runtime.open(tmp_path / "callboard.db") as runtime:
        made = await runtime.backups.write(file)
        assert made.copy.size_bytes == file.stat().st_size
        with pytest.raises(FileExistsError):
            await runtime.backups.write(file)
        await runtime.backups.write(file, replace=True)
    assert {path.name for path in tmp_path.iterdir() if "backup" in path.name or "part" in path.name} == {"backup"}
    return file


def restore(*arguments: str) -> Result:
    return CliRunner().invoke(restore_command, list(arguments))


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(doctor_command, list(arguments))


async def test_a_backup_becomes_a_data_directory(backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "new"
    result = restore(str(backup), "--data", str(data))
    assert (result.exit_code, "now of generation 2" in result.stdout) == (0, True)
    result = restore(str(backup), "--data", str(data))
    assert (result.exit_code, "is there already" in result.stderr) == (1, True)
    result = restore(str(backup), "--data", str(data), "--force", "--json")
    assert json.loads(result.stdout)["generation"] == 3
    async with Runtime.open(data / "callboard.db") as runtime:
        assert runtime.info.generation == 3


async def test_the_doctor_reports_to_people_and_programs(backup: Path, tmp_path: Path) -> None:
    result = doctor("--data", str(tmp_path))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "nothing is wrong")
    assert "generation 1, opening 1" in result.stdout
    (tmp_path / "callboard.db-restore").write_bytes(b"half")
    result = doctor("--data", str(tmp_path), "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["sound"], found["generation"]) == (1, False, 1)
    assert [finding["what"] for finding in found["findings"]] == ["LEFTOVER"]
    result = doctor("--data", str(tmp_path), "--fix")
    assert (result.exit_code, "fixed  LEFTOVER" in result.stdout) == (0, True)
    result = doctor("--data", str(tmp_path / "nowhere"))
    assert (result.exit_code, "is not there" in result.stderr) == (1, True)


async def test_a_store_in_memory_cannot_be_backed_up(tmp_path: Path) -> None:
    async with Runtime.open() as runtime:
        with pytest.raises(Refused, match="UNSUPPORTED"):
            await runtime.backups.write(tmp_path / "file")
    assert not list(tmp_path.iterdir())
