"""Handlers: Python functions that do the work of operations.

`Operations` is the registry that `serve --handlers`, `callboard worker` and `Worker(operations=...)` all take. It
knows nothing of how tasks arrive: whoever has a task calls `operations.handler(name).invoke(task)` and turns what
comes back, or what is raised (`failure_of`), into the task's result.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol, TypeGuard, TypeVar, cast

from .core.failures import CANCELLED, Failure
from .core.values import INT64_MAX, INT64_MIN, OPAQUE_KEY, SEALED_KEY, Value, ValueRefused, check_value

INPUT_MISMATCH: Final = "InputMismatch"
"""Type of the failure of a task whose input does not fit its handler's parameters."""
INVALID_RESULT: Final = "InvalidResult"
"""Type of the failure of a task whose handler returned something that is no value."""

_PLAIN_MEMBERS_MAX: Final = 32
_FAILURE_DEPTH_MAX: Final = 8
_MESSAGE_CHARACTERS_MAX: Final = 4_000
_MICROSECONDS: Final = 1_000_000

Function = TypeVar("Function", bound=Callable[..., Any])


class HandlerTask(Protocol):
    """What a handler's caller has to give: the rest of a task is between the caller and the handler."""

    @property
    def input(self) -> Any:
        """The input as a Python value; the handler may change it."""
        ...


class TaskError(Exception):
    """Raise it in a handler to say how the task failed. `retryable=False` ends the attempts; `retry_after` (seconds)
    replaces the policy's backoff before the next one; `details` is any JSON value."""

    def __init__(
        self,
        type: str,
        message: str = "",
        retryable: bool = True,
        details: Any = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(type, message)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.details = details
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Handler:
    """One operation's function, ready to be called."""

    __slots__ = ("_allowed", "_any_name", "_executor", "_required", "_task_only", "function", "is_async", "operation")

    def __init__(
        self, operation: str, function: Callable[..., Any], executor: Callable[[], ThreadPoolExecutor]
    ) -> None:
        self.operation = operation
        self.function = function
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
        )
        self._executor = executor
        parameters = _parameters(operation, function)
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self._allowed = frozenset(names)
        self._required = frozenset(p.name for p in parameters if p.name in names and p.default is p.empty)
        self._any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._task_only = not names and not self._any_name

    async def invoke(self, task: HandlerTask) -> Value:
        """Do the task. The input's members become the arguments of the same names; a handler whose only parameter is
        the task gets just that. Raises what the handler raises, and `TaskError` where input or result do not fit."""
        arguments = {} if self._task_only else self._bind(task.input)
        if self.is_async:
            result = await cast(Coroutine[Any, Any, Any], self.function(task, **arguments))
        else:
            result = await self._in_thread(task, arguments)
        try:
            return dict(result) if _is_plain(result) else check_value(result)
        except ValueRefused as error:
            raise TaskError(INVALID_RESULT, f"the result of {self.operation}: {error}", retryable=False) from None

    def _bind(self, value: Any) -> dict[str, Any]:
        if value is None and not self._required:
            return {}
        if not isinstance(value, dict):
            raise self._mismatch(f"the input is no object, and the handler takes {_listed(self._required)}")
        members = cast(dict[str, Any], value)
        names = members.keys()
        if not self._required <= names:
            raise self._mismatch(f"the input lacks {_listed(self._required - names)}")
        if not self._any_name and not names <= self._allowed:
            raise self._mismatch(f"the handler does not take {_listed(names - self._allowed)}")
        return members

    def _mismatch(self, message: str) -> TaskError:
        return TaskError(INPUT_MISMATCH, f"{self.operation}: {message}", retryable=False)

    async def _in_thread(self, task: HandlerTask, arguments: dict[str, Any]) -> Any:
        call = partial(contextvars.copy_context().run, self.function, task, **arguments)
        result = await asyncio.get_running_loop().run_in_executor(self._executor(), call)
        # A plain function may still return an awaitable: it is awaited on the loop.
        return await result if inspect.isawaitable(result) else result


class Operations:
    """A registry of handlers by operation.

    operations = Operations()

    @operations.operation("inventory.reserve")
    async def reserve(task, sku: str, qty: int) -> dict: ...
    """

    def __init__(self, threads_max: int = 32) -> None:
        self._threads_max = threads_max
        self._handlers: dict[str, Handler] = {}
        self._pool: ThreadPoolExecutor | None = None

    def operation(self, name: str) -> Callable[[Function], Function]:
        """Register the decorated function for `service.operation`. One that is not async runs in one of at most
        `threads_max` threads. Raises ValueError for a bad or repeated name, TypeError for a function that cannot take
        a task."""

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
        """Let the threads end; does not wait for what they do."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="callboard-handler")
        return self._pool


def failure_of(error: BaseException) -> Failure:
    """What a handler raised, as a failure with its chain of causes. A `TaskError` of any package says it itself; a
    cancelled handler is `Cancelled`; everything else is named after its class and may be tried again."""
    return _failure(error, _FAILURE_DEPTH_MAX)


def _failure(error: BaseException, depth_left: int) -> Failure:
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = _failure(inner, depth_left - 1) if inner is not None and depth_left > 1 else None
    if isinstance(error, asyncio.CancelledError):
        return Failure(CANCELLED, "the handler was cancelled", retryable=False)
    if not _says_how(error):
        return Failure(type(error).__name__, _shortened(str(error)), cause=cause)
    said = cast(TaskError, error)
    seconds = getattr(said, "retry_after", None)
    return Failure(
        said.type,
        _shortened(str(getattr(said, "message", ""))),
        _details(getattr(said, "details", None)),
        cause,
        bool(said.retryable),
        None if seconds is None else max(0, round(float(seconds) * _MICROSECONDS)),
    )


def _says_how(error: BaseException) -> bool:
    """A `TaskError`, also that of the client package, which this one does not know."""
    if isinstance(error, TaskError):
        return True
    told = isinstance(getattr(error, "type", None), str) and isinstance(getattr(error, "retryable", None), bool)
    return type(error).__name__ == "TaskError" and told


def _is_plain(value: object) -> TypeGuard[dict[str, Any]]:
    """A flat object of ASCII texts, integers, flags and nulls, as most results are: sure to be a value."""
    if type(value) is not dict:
        return False
    members = cast(dict[object, object], value)
    if len(members) > _PLAIN_MEMBERS_MAX or OPAQUE_KEY in members or SEALED_KEY in members:
        return False
    for key, item in members.items():
        if type(key) is not str or not key.isascii():
            return False
        if type(item) is str:
            if not item.isascii():
                return False
        elif type(item) is int:
            if not INT64_MIN <= item <= INT64_MAX:
                return False
        elif type(item) is not bool and item is not None:
            return False
    return True


def _details(details: Any) -> Value:
    try:
        return check_value(details)
    except ValueRefused:
        return _shortened(repr(details))


def _shortened(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MESSAGE_CHARACTERS_MAX else clean[:_MESSAGE_CHARACTERS_MAX] + " ..."


def _parameters(operation: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters after the task."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise TypeError(f"the handler of {operation} takes the task as its first parameter")
    rest = parameters[1:]
    for parameter in rest:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"the handler of {operation}: {parameter.name} is positional-only and cannot be given by name"
            )
    return rest


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none of it"
