"""Stages of the user's own, before or after a named stage of a chain.

A user's stage is given the frozen value of its place (before a stage: what that stage is given; after it: what that
stage has made) and returns nothing. Before `record`, one that raises refuses the change; it also runs with
`validate_only`, so it should look and not act. After `record` the change stands: one that raises is tried again, and
what it said the last time is reported with the stages of the answer. Where nothing has changed (the same content once
more) it is not called there.

A chain over several definitions calls it once for each of them. Whatever it raises, and however long it takes,
concerns its own change only: a plain function has a thread of its own, and the process does not wait for it to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..core.refusals import Kind, Refusal, Refused
from ..ports import Clock
from .chain import Chain, Report, Stage
from .each import check_none
from .recording import Several

CHAINS: Final = ("publish", "draft", "retract", "delete", "pause")
"""What a user's stage may name. `publish` means every chain that publishes: of one definition or several, a revert, an
import."""

RETRIES_MAX: Final = 3
RETRY_SECONDS: Final = 0.1
"""The pause before the first retry; each one after it is twice as long."""
SECONDS_MAX: Final = 30.0
"""How long one call may take."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class UserStage:
    """One stage, and where it goes."""

    chain: str
    """One of `CHAINS`."""
    place: str
    """The name of a stage of that chain."""
    after: bool
    """Whether it comes after that stage, else before it."""
    name: str
    """What reports and spans call it; no other stage of the chain may have it."""
    call: Callable[[Any], object]
    """May be a coroutine function. A plain function runs in a thread, so that it may block."""
    seconds_max: float = SECONDS_MAX
    """One call of it that takes longer has failed: a coroutine is cancelled, a thread goes on unheard. An engine puts
    its `stage_seconds_max` here."""


class StageGaveUpError(Exception):
    """A user's function raised what would end more than its own change: SystemExit, a cancellation, StopIteration."""


def extended(chain: Chain[In, Out], name: str, stages: Sequence[UserStage], clock: Clock) -> Chain[In, Out]:
    """The chain of this name with the user's stages that are meant for it.

    Raises ValueError where a stage names no chain, no place of this chain, has the name of another, or is a generator
    function, which does nothing when it is called.
    """
    _check_chains(stages)
    own = [stage for stage in stages if stage.chain == name]
    places = [stage.name for stage in chain.stages]
    _check_places(own, name, places)
    durable = next(number for number, stage in enumerate(chain.stages) if stage.durable)
    for place, after in dict.fromkeys((stage.place, stage.after) for stage in own):
        stored = places.index(place) + after > durable
        here = tuple(_stage(one, stored, clock) for one in own if (one.place, one.after) == (place, after))
        chain = chain.extended(here, place, after=after)
    return chain


def _check_chains(stages: Sequence[UserStage]) -> None:
    for stage in stages:
        if stage.chain not in CHAINS:
            raise ValueError(
                f"stage {stage.name!r}: there is no chain {stage.chain!r}; the chains are {', '.join(CHAINS)}"
            )


def _check_places(stages: Sequence[UserStage], chain: str, places: list[str]) -> None:
    taken = set(places)
    for stage in stages:
        if stage.place not in places:
            raise ValueError(
                f"stage {stage.name!r}: the chain {chain!r} has no place {stage.place!r}; "
                f"its places are {', '.join(places)}"
            )
        if not stage.name or stage.name in taken:
            raise ValueError(f"stage {stage.name!r}: the chain {chain!r} needs another name for it, for it is taken")
        taken.add(stage.name)
        if any(map(_generates, (stage.call, type(stage.call).__call__))):
            raise ValueError(f"stage {stage.name!r}: {stage.call!r} is a generator function; take the `yield` out")


def _stage(stage: UserStage, stored: bool, clock: Clock) -> Stage:
    async def judge(value: Any, _: Report) -> Any:
        await _judge(stage, value, clock)
        return value

    async def tell(value: Any, _: Report) -> Any:
        for _place, single in _singles(value):
            if _happened(single):
                await _insist(stage, single, clock)
        return value

    return Stage(stage.name, tell if stored else judge, optional=stored)


async def _judge(stage: UserStage, value: Any, clock: Clock) -> None:
    """Before `record`: whatever it raises refuses the change."""
    refused: list[tuple[str, Refusal]] = []
    for place, single in _singles(value):
        try:
            await _call(stage, single, clock)
        except Exception as error:
            if not place:
                raise Refused(_refusal(stage, error)) from error
            refused.append((place, _refusal(stage, error)))
    check_none(refused)


async def _insist(stage: UserStage, value: Any, clock: Clock) -> None:
    """After `record`: once more, and again, before giving up."""
    for retry in range(RETRIES_MAX):
        try:
            await _call(stage, value, clock)
        except Exception:  # noqa: BLE001 - whatever a user's function raises, it is called again
            await clock.sleep_until(clock.monotonic() + RETRY_SECONDS * 2**retry)
        else:
            return
    await _call(stage, value, clock)


async def _call(stage: UserStage, value: Any, clock: Clock) -> None:
    """Call it, as long as it may take. Raises what it raises, StageGaveUpError, TimeoutError."""
    calling = asyncio.create_task(_contained(stage, value))
    limit = asyncio.create_task(_sleep(clock, stage.seconds_max))
    try:
        await asyncio.wait((calling, limit), return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            raise TimeoutError(f"it has not ended within {stage.seconds_max:g} seconds")
    finally:
        calling.cancel()
        limit.cancel()
        await asyncio.wait((calling, limit), timeout=0)
    failure = calling.result()
    if failure is not None:
        raise failure


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep_until(clock.monotonic() + seconds)


async def _contained(stage: UserStage, value: Any) -> Exception | None:
    """Call it; what it raised. This is a task of its own, so that a cancellation is told from one of the caller."""
    try:
        made = stage.call(value) if _waits(stage.call) else await _in_thread(stage.call, value)
        if inspect.isawaitable(made):
            await made
    except BaseException as error:  # noqa: BLE001 - it is handed over, and a policy that exits must not stop the server
        return _tamed(error)
    return None


def _tamed(error: BaseException) -> Exception:
    """As an exception that ends nothing but its own change, and that a future takes."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return StageGaveUpError(f"{type(error).__name__}: {error}".rstrip(": "))


def _in_thread(call: Callable[[Any], object], value: Any) -> Awaitable[object]:
    """Call a function that may block, in a thread of its own: however many of them hang, nobody waits for a free one,
    and the process ends without them."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[object] = loop.create_future()
    context = contextvars.copy_context()

    def settle(made: object, error: BaseException | None) -> None:
        if called.done():
            return
        if error is None:
            called.set_result(made)
        else:
            called.set_exception(_tamed(error))

    def run() -> None:
        made, error = None, None
        try:
            made = context.run(call, value)
        except BaseException as raised:  # noqa: BLE001 - it is handed over, not dropped
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, made, error)

    threading.Thread(target=run, name="callboard-user-stage", daemon=True).start()
    return called


def _generates(call: object) -> bool:
    return inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)


def _waits(call: Callable[[Any], object]) -> bool:
    """Whether it is a coroutine function, or an object that is called like one."""
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def _refusal(stage: UserStage, error: Exception) -> Refusal:
    if isinstance(error, Refused):
        return error.refusal
    message = f"stage {stage.name!r} of this server refuses the change: {str(error) or type(error).__name__}"
    metadata = {"stage": stage.name, "cause": type(error).__name__, "stored": "false"}
    return Refusal(Kind.STATE, "STAGE_FAILED", message, metadata)


def _happened(value: object) -> bool:
    """After `record` there is something to tell only where something has changed."""
    return bool(getattr(value, "changed", True))


def _singles(value: object) -> Iterator[tuple[str, object]]:
    """The value of a place; in a chain over several, that of each of them, with where it stands in the request."""
    return value.singles() if isinstance(value, Several) else iter([("", value)])
