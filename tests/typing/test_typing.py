"""What the types promise to users: correct programs pass, wrong ones are refused on the very line that is wrong.

Every file in examples/ must pass mypy and pyright. In every file in rejected/, each line that ends in `# error` must be
reported by both, and no other line.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

# One worker runs them all, so that each checker runs once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("typing")]

HERE = Path(__file__).resolve().parent
EXAMPLES = sorted((HERE / "examples").glob("*.py"))
REJECTED = sorted((HERE / "rejected").glob("*.py"))

# File -> line -> what the checker says there.
Reports: TypeAlias = dict[Path, dict[int, str]]


def run(command: list[str], repository: Path) -> str:
    # The checkers are those of this environment; pyright is not to ask the network for a newer one.
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository, env=environment)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(repository: Path) -> Reports:
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--no-error-summary", *map(str, EXAMPLES + REJECTED)]
    reports: Reports = defaultdict(dict)
    for line in run(command, repository).splitlines():
        found = re.match(r"(?P<file>.+?):(?P<line>\d+): error: (?P<message>.*)", line)
        if found:
            reports[(repository / found["file"]).resolve()][int(found["line"])] = found["message"]
    return reports


def pyright(repository: Path) -> Reports:
    # The repository's own configuration leaves the rejected programs out, even where they are named: this has its own.
    answer = json.loads(run([sys.executable, "-m", "pyright", "--outputjson", "--project", str(HERE)], repository))
    assert answer["summary"]["filesAnalyzed"] >= len(EXAMPLES + REJECTED)
    reports: Reports = defaultdict(dict)
    for found in answer["generalDiagnostics"]:
        if found["severity"] == "error":
            # pyright counts lines from 0.
            reports[Path(found["file"]).resolve()][found["range"]["start"]["line"] + 1] = found["message"]
    return reports


@pytest.fixture(scope="session", params=[mypy, pyright], ids=["mypy", "pyright"])
def reports(request: pytest.FixtureRequest, repository: Path) -> Reports:
    checker: Callable[[Path], Reports] = request.param
    return checker(repository)


def marked(path: Path) -> set[int]:
    lines = path.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, start=1) if line.rstrip().endswith("# error")}


def test_there_is_something_to_check() -> None:
    assert EXAMPLES
    assert REJECTED
    assert all(marked(path) for path in REJECTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_correct_program_passes(reports: Reports, path: Path) -> None:
    assert reports.get(path, {}) == {}


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_a_wrong_program_is_refused_where_it_is_wrong(reports: Reports, path: Path) -> None:
    found = reports.get(path, {})
    expected = marked(path)
    missed = sorted(expected - set(found))
    surplus = {line: message for line, message in found.items() if line not in expected}
    assert not missed, f"nothing was reported on lines {missed}"
    assert not surplus
