"""Who may import whom, checked on the syntax tree of every module.

ruff's banned-api says the same while one types, but sees neither an upward relative import nor a circle. Here each
folder has a list of what it may import; what is not listed is refused, imports for type checkers included.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Folder:
    """The rules of the modules under one name. A prefix allows the module of that name and all below it."""

    allowed: frozenset[str]
    refused: frozenset[str] = field(default=frozenset())
    """What is refused although a shorter prefix, or the standard library as a whole, is allowed."""


GRPC = {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google.protobuf", "google.rpc"}

# The most specific name that contains a module decides; inside its own folder every module may import every other.
FOLDERS = {
    "callboard.runtime.core": Folder(
        allowed=frozenset({"callboard.runtime.core", "msgspec", "cel_expr_python"}),
        refused=frozenset(
            {"asyncio", "concurrent", "multiprocessing", "queue", "sched", "select", "selectors", "signal", "threading"}
            | {"ctypes", "http", "io", "os", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "urllib"}
            | {"logging", "random", "secrets", "time", "uuid"}
        ),
    ),
    "callboard.runtime": Folder(
        allowed=frozenset(
            {"callboard.runtime", "aiosqlite", "cachetools", "cronsim", "cryptography", "jsonschema_rs"}
            | {"msgspec", "opentelemetry", "yaml"}
        ),
        refused=frozenset({"opentelemetry.sdk", "opentelemetry.exporter"}),
    ),
    "callboard.v1": Folder(allowed=frozenset({"callboard.v1"} | GRPC)),
    "callboard.server": Folder(
        allowed=frozenset(
            {"callboard.server", "callboard.runtime", "callboard.v1", "callboard.examples"}
            | {"click", "msgspec", "opentelemetry", "rich"}
            | GRPC
        ),
    ),
    "callboard.client": Folder(
        allowed=frozenset({"callboard.client", "callboard.v1", "click", "opentelemetry", "rich"} | GRPC),
        refused=frozenset({"opentelemetry.sdk", "opentelemetry.exporter", "sqlite3"}),
    ),
    # What users copy: an example shows the public packages and nothing behind them.
    "callboard.examples": Folder(
        allowed=frozenset({"callboard.examples", "callboard.client", "callboard.runtime"}),
        refused=frozenset({"callboard.runtime.core", "callboard.runtime.stores"}),
    ),
}

# The local commands of the command line: one module of the client may import this one, inside a function.
DOOR = "callboard.server.commands"

SOURCES = {
    "callboard.runtime": ROOT / "runtime",
    "callboard.server": ROOT / "server",
    "callboard.client": ROOT / "client",
    "callboard.v1": ROOT / "proto" / "callboard" / "v1",
    "callboard.examples": ROOT / "examples",
}


class Import(NamedTuple):
    """One imported module, as its absolute name."""

    line: int
    target: str
    lazy: bool


def modules() -> dict[str, Path]:
    """Every module of the wheel by its absolute name; a package is named like its __init__."""
    found: dict[str, Path] = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def imports(name: str, path: Path) -> Iterator[Import]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"), str(path))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, id(node) in lazy)
        elif isinstance(node, ast.ImportFrom):
            for target in from_targets(node, package):
                yield Import(node.lineno, target, id(node) in lazy)


def from_targets(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """The modules that one `from ... import ...` reaches: the submodule where there is one, else the module named."""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    module = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        inner = f"{module}.{alias.name}"
        submodule = inner in MODULES or not module.startswith("callboard.")
        yield inner if submodule and not is_stdlib(module) else module


def is_stdlib(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def within(module: str, prefixes: frozenset[str]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def folder_of(module: str) -> Folder:
    owners = [name for name in FOLDERS if within(module, frozenset({name}))]
    return FOLDERS[max(owners, key=len)]


def may_import(module: str, target: str) -> bool:
    folder = folder_of(module)
    if within(target, folder.refused):
        return False
    return is_stdlib(target) or within(target, folder.allowed)


def opens_the_door(module: str, imported: Import) -> bool:
    return within(module, frozenset({"callboard.client"})) and imported.target == DOOR and imported.lazy


@pytest.mark.parametrize(
    ("module", "target", "allowed"),
    [
        ("callboard.runtime.core.state", "msgspec", True),
        ("callboard.runtime.core.state", "datetime", True),
        ("callboard.runtime.core.state", "asyncio", False),
        ("callboard.runtime.core.state", "os.path", False),
        ("callboard.runtime.core.state", "callboard.runtime.ports", False),
        ("callboard.runtime.core.state", "yaml", False),
        ("callboard.runtime.actor", "callboard.runtime.core.state", True),
        ("callboard.runtime.actor", "opentelemetry.trace", True),
        ("callboard.runtime.actor", "opentelemetry.sdk.trace", False),
        ("callboard.runtime.actor", "grpc", False),
        ("callboard.runtime.actor", "callboard.v1.common_pb2", False),
        ("callboard.server.codec", "callboard.v1.common_pb2", True),
        ("callboard.server.codec", "callboard.client", False),
        ("callboard.client.worker", "callboard.v1.worker_pb2", True),
        ("callboard.client.worker", "callboard.runtime", False),
        ("callboard.client.cli", DOOR, False),
        ("callboard.examples.orders.worker", "callboard.server", False),
    ],
)
def test_the_rules_say_what_the_architecture_says(module: str, target: str, allowed: bool) -> None:
    assert may_import(module, target) is allowed


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("from . import x", "callboard.runtime.core"),
        ("from .. import actor", "callboard.runtime"),
        ("from ..journal import Journal", "callboard.runtime.journal"),
        ("from ...server import wiring", "callboard.server"),
        ("from google.protobuf import struct_pb2", "google.protobuf.struct_pb2"),
        ("from opentelemetry import sdk", "opentelemetry.sdk"),
        ("from collections.abc import Mapping", "collections.abc"),
    ],
)
def test_a_relative_import_counts_as_what_it_reaches(statement: str, reached: str) -> None:
    node = ast.parse(statement).body[0]
    assert isinstance(node, ast.ImportFrom)
    [target] = from_targets(node, package="callboard.runtime.core")
    assert within(target, frozenset({reached}))


def test_every_folder_imports_only_what_it_may() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{imported.line}: {name} may not import {imported.target}"
        for name, path in MODULES.items()
        for imported in imports(name, path)
        if not may_import(name, imported.target) and not opens_the_door(name, imported)
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_the_client_has_at_most_one_door_to_the_local_commands() -> None:
    doors = [
        name for name, path in MODULES.items() for imported in imports(name, path) if opens_the_door(name, imported)
    ]
    assert len(set(doors)) <= 1, doors


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name: {imported.target for imported in imports(name, path) if imported.target in MODULES} - {name}
        for name, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        pytest.fail("a circle of imports: " + " <- ".join(circle))


def test_nothing_imports_the_folders_by_their_own_names_or_the_tests() -> None:
    outside = {
        path: f"{folder}.{path.stem}" for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    }
    inside = {path: name for name, path in MODULES.items()}
    wrong = [
        f"{path.relative_to(ROOT)}:{imported.line}: imports {imported.target}"
        for path, name in (inside | outside).items()
        for imported in imports(name, path)
        if imported.target.partition(".")[0] in {"runtime", "server", "client", "examples", "proto"}
        or (path in inside and imported.target.partition(".")[0] in {"tests", "benchmarks"})
    ]
    assert not wrong, "\n" + "\n".join(wrong)
