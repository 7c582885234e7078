"""The wheel, built from the sdist as users would: what is in it, and that it runs without the checkout."""

import configparser
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

# One worker runs them all, so that the wheel is built once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

# Folder in the repository -> folder in the wheel.
MAPPING = {
    "runtime": "callboard/runtime",
    "server": "callboard/server",
    "client": "callboard/client",
    "proto/callboard/v1": "callboard/v1",
    "examples/orders": "callboard/examples/orders",
    "examples/stages": "callboard/examples/stages",
}
PACKAGES = ["callboard.runtime", "callboard.server", "callboard.client", "callboard.v1"]


@pytest.fixture(scope="session")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # Without isolation: the build uses the hatchling of this environment and downloads nothing.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(repository)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def on_disk(repository: Path, pattern: str) -> set[str]:
    return {
        f"{inside}/{path.relative_to(repository / folder).as_posix()}"
        for folder, inside in MAPPING.items()
        for path in (repository / folder).rglob(pattern)
    }


def run_installed(installed: Path, program: str, cwd: Path) -> str:
    """Run a program that sees the wheel and its dependencies but no checkout.

    -I and -S leave out the working directory, PYTHONPATH and every .pth line, the editable install's among them.
    """
    paths = [str(installed), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    command = [sys.executable, "-I", "-S", "-c", f"import sys\nsys.path += {paths!r}\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_only_top_level_name_is_callboard(names: list[str]) -> None:
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"callboard"}


def test_its_modules_are_those_on_disk(names: list[str], repository: Path) -> None:
    assert {name for name in names if name.endswith(".py")} == on_disk(repository, "*.py")


@pytest.mark.parametrize("pattern", ["*.proto", "*.sql", "*.pyi", "py.typed"])
def test_what_is_not_code_but_needed_is_in_it(names: list[str], repository: Path, pattern: str) -> None:
    expected = on_disk(repository, pattern)
    assert expected, f"no {pattern} on disk: this test looks in the wrong place"
    assert expected <= set(names)


def test_the_example_is_in_it_whole(names: list[str], repository: Path) -> None:
    expected = {name for name in on_disk(repository, "*.*") if "/orders/" in name and "__pycache__" not in name}
    assert expected
    assert expected <= set(names)


def test_neither_lint_rules_nor_tests_nor_caches_are_in_it(names: list[str]) -> None:
    unwanted = ("ruff.toml", "/tests/", "/benchmarks/", "__pycache__", ".pyc")
    assert [name for name in names if any(part in name for part in unwanted)] == []


def test_the_licence_is_in_it(names: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_it_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = f"import {', '.join(PACKAGES)}\nfor name in {PACKAGES!r}: print(sys.modules[name].__file__)"
    files = run_installed(installed, program, tmp_path).split()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(installed) for file in files), files


def test_its_command_starts(installed: Path, tmp_path: Path) -> None:
    [entry_points] = installed.glob("*.dist-info/entry_points.txt")
    scripts = configparser.ConfigParser()
    scripts.read(entry_points)
    module, _, function = scripts["console_scripts"]["callboard"].partition(":")
    program = f"sys.argv = ['callboard', '--help']\nfrom {module} import {function}\n{function}()"
    assert "serve" in run_installed(installed, program, tmp_path)
