"""What the process imports from its users: handlers of operations, and stages of lifecycle changes.

Whatever is wrong with a name ends the start with one line that says what is right.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from functools import reduce
from types import ModuleType
from typing import Any

from callboard.runtime.handlers import Operations
from callboard.runtime.lifecycle.extensions import UserStage

from .config import StageSpec


class ServeError(Exception):
    """The server cannot start; the message says why, in one line, and what to do."""


class MisconfiguredError(ServeError):
    """What is wrong stands in the configuration."""


class Registered:
    """A registry of handlers and the name of the module it comes from."""

    def __init__(self, name: str, operations: Operations) -> None:
        self.name = name
        self.operations = operations


def load_handlers(names: Sequence[str]) -> list[Registered]:
    """Import the modules of --handlers. Raises ServeError."""
    _find_here()
    return [Registered(name, _operations_of(name)) for name in names]


def _operations_of(name: str) -> Operations:
    operations = getattr(_imported(name, f"--handlers {name}"), "operations", None)
    if not isinstance(operations, Operations):
        raise ServeError(f"--handlers {name}: the module has no `operations`, an Operations registry")
    if not operations.names():
        raise ServeError(f"--handlers {name}: its `operations` has no handlers")
    return operations


def load_stages(specs: Sequence[StageSpec]) -> tuple[UserStage, ...]:
    """Import the callables of --stage. Raises ServeError."""
    _find_here()
    return tuple(_stage_of(spec) for spec in specs)


def _stage_of(spec: StageSpec) -> UserStage:
    module = _imported(spec.module, f"--stage {spec}")
    try:
        call: Any = reduce(getattr, spec.function.split("."), module)
    except AttributeError as error:
        raise ServeError(f"--stage {spec}: {error}") from None
    if not callable(call):
        raise ServeError(f"--stage {spec}: {spec.function} is no function but a {type(call).__name__}")
    if not _takes_one(call):
        raise ServeError(f"--stage {spec}: {spec.function} has to take one argument, the value of its place")
    return UserStage(
        chain=spec.chain, place=spec.place, after=spec.after, name=f"{spec.module}:{spec.function}", call=call
    )


def _takes_one(call: Any) -> bool:
    """Whether it can be called with a value alone."""
    try:
        inspect.signature(call).bind(None)
    except TypeError:
        return False
    except ValueError:  # some functions written in C do not say what they take
        return True
    return True


def _imported(name: str, said: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ServeError(f"{said}: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _find_here() -> None:
    """Modules are looked for in the working directory, too."""
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds texts
    if folder not in sys.path:
        sys.path.insert(0, folder)
