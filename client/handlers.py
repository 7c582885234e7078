"""Handlers: the functions that do the work of operations, and how their arguments are found.

`Handlers` is the registry behind `Worker.operation`. The `Operations` of ``callboard.runtime``, which this package
does not import, is taken by the same shape, `Registry`, and obeys the same rules.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from .errors import TaskError
from .tasks import Task

INPUT_MISMATCH = "InputMismatch"
"""Type of the failure of a task whose input does not fit its handler's parameters."""
THREADS_MAX = 32
"""How many handlers that are not async run at a time."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Invocable(Protocol):
    """A handler of one operation."""

    async def invoke(self, task: Any) -> Any:
        """Does the task and returns its output; raises whatever the handler raises."""
        ...


class Registry(Protocol):
    """Where handlers come from."""

    def names(self) -> list[str]:
        """The operations that have a handler, each as `service.operation`."""
        ...

    def handler(self, name: str) -> Invocable:
        """The handler of an operation."""
        ...


class Handler:
    """One operation's function, with its parameters looked at once."""

    def __init__(
        self, operation: str, function: Callable[..., Any], executor: Callable[[], ThreadPoolExecutor]
    ) -> None:
        self.operation = operation
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
        )
        self._function = function
        self._executor = executor
        parameters = _parameters(operation, function)
        named = [item for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
        self._allowed = frozenset(item.name for item in named)
        self._required = frozenset(item.name for item in named if item.default is item.empty)
        self._any_name = any(item.kind is item.VAR_KEYWORD for item in parameters)
        self._task_only = not named and not self._any_name

    async def invoke(self, task: Task) -> Any:
        """Does the task: the members of its input become the arguments of the same names."""
        arguments = {} if self._task_only else self._bind(task.input)
        if self.is_async:
            return await self._function(task, **arguments)
        call = partial(contextvars.copy_context().run, self._function, task, **arguments)
        result = await asyncio.get_running_loop().run_in_executor(self._executor(), call)
        # A plain function may still return an awaitable: it is awaited on the loop.
        return await result if inspect.isawaitable(result) else result

    def _bind(self, value: Any) -> dict[str, Any]:
        if value is None and not self._required:
            return {}
        if not isinstance(value, dict):
            raise self._mismatch(f"the input is no object, and the handler takes {_listed(self._required)}")
        members = cast("dict[str, Any]", value)
        names = members.keys()
        if not self._required <= names:
            raise self._mismatch(f"the input lacks {_listed(self._required - names)}")
        if not self._any_name and not names <= self._allowed:
            raise self._mismatch(f"the handler does not take {_listed(names - self._allowed)}")
        return members

    def _mismatch(self, message: str) -> TaskError:
        return TaskError(INPUT_MISMATCH, f"{self.operation}: {message}", retryable=False)


class Handlers:
    """A registry of handlers by operation."""

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        self._threads_max = threads_max
        self._handlers: dict[str, Handler] = {}
        self._pool: ThreadPoolExecutor | None = None

    def operation(self, name: str) -> Callable[[Function], Function]:
        """Registers the decorated function. Raises ValueError for a bad or repeated name, TypeError for a function
        that cannot take a task."""

        def register(function: Function) -> Function:
            self.add(name, function)
            return function

        return register

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """The same as the decorator."""
        service, _, operation = name.rpartition(".")
        if not service or not operation:
            raise ValueError(f"{name!r} is not of the form service.operation")
        if name in self._handlers:
            raise ValueError(f"{name} has a handler already")
        self._handlers[name] = Handler(name, function, self._executor)

    def names(self) -> list[str]:
        """The operations that have a handler."""
        return sorted(self._handlers)

    def handler(self, name: str) -> Handler:
        """The handler of an operation; raises KeyError."""
        return self._handlers[name]

    def close(self) -> None:
        """Lets the threads end; does not wait for what they do."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="callboard-handler")
        return self._pool


def _parameters(operation: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters after the task."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise TypeError(f"the handler of {operation} takes the task as its first parameter")
    for parameter in parameters[1:]:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"the handler of {operation}: {parameter.name} cannot be given by name")
    return parameters[1:]


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none of it"
