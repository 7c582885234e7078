"""Chains of named stages: `Chain[In, Out]`, in which a type checker proves the order.

Each stage takes the value that the stage before has made, so that a value is the evidence of its stage. `then` touches
the world, `map` only thinks, and `commit` is the one durable stage: before it nothing has changed, after it the rest
can be repeated at will. It alone is given the report of the stages before it, to write it down. From it on, a caller
who gives up waiting stops nothing.

A chain is immutable and its stages are data; what is not here is any knowledge of what they do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, overload

from opentelemetry import trace

from ..core.lifecycle import StageRun
from ..core.refusals import Kind, Refusal, Refused
from ..ports import StorageFailedError, StorageFullError

In = TypeVar("In")
Out = TypeVar("Out")
Next = TypeVar("Next")
Report: TypeAlias = tuple[StageRun, ...]

_tracer = trace.get_tracer("callboard")
log = logging.getLogger("callboard.lifecycle")


@dataclass(frozen=True, slots=True)
class Stage:
    """A named place in a chain. What its values are is known to the chain's type only."""

    name: str
    run: Callable[[Any, Report], Awaitable[Any]]
    durable: bool = False
    optional: bool = False
    """Its failure is reported, and the value goes on as it was."""


class Interrupted(Refused):
    """A stage failed after the change was stored. `Chain.finish` goes on from there."""

    def __init__(self, refusal: Refusal, stage: str, value: object) -> None:
        super().__init__(refusal)
        self.stage = stage
        """The one that failed."""
        self.value = value
        """What it was given."""


@dataclass(frozen=True, slots=True)
class Ran(Generic[Out]):
    """What a chain made, and the stages that ran."""

    value: Out
    stages: Report


class Chain(Generic[In, Out]):
    """Stages from a value of `In` to a value of `Out`."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        names = [stage.name for stage in stages]
        assert len(set(names)) == len(names), f"two stages have one name: {names}"
        self.stages = stages

    def then(self, name: str, effect: Callable[[Out], Awaitable[Next]]) -> Chain[In, Next]:
        """Go on with a stage that touches the world."""
        return Chain((*self.stages, Stage(name, lambda value, _: effect(value))))

    def map(self, name: str, pure: Callable[[Out], Next]) -> Chain[In, Next]:
        """Go on with a stage that only thinks."""

        async def run(value: Out, _: Report) -> Next:
            return pure(value)

        return Chain((*self.stages, Stage(name, run)))

    def commit(self, name: str, effect: Callable[[Out, Report], Awaitable[Next]]) -> Chain[In, Next]:
        """Go on with the durable stage, which is given the report of the stages before it."""
        assert not any(stage.durable for stage in self.stages), "a chain has one durable stage"
        return Chain((*self.stages, Stage(name, effect, durable=True)))

    def extended(self, stages: tuple[Stage, ...], place: str, *, after: bool) -> Chain[In, Out]:
        """The same chain with more stages before or after a named place; each hands on the value it is given."""
        at = self._position(place) + after
        return Chain((*self.stages[:at], *stages, *self.stages[at:]))

    @overload
    async def run(self, value: In, *, until: None = None, monotonic: Callable[[], float] = ...) -> Ran[Out]: ...

    @overload
    async def run(self, value: In, *, until: str, monotonic: Callable[[], float] = ...) -> Ran[object]: ...

    async def run(
        self, value: In, *, until: str | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> Ran[Any]:
        """Run the stages, at most up to and with `until`; `monotonic` gives seconds.

        Raises Refused, which names its stage in a note; any other exception becomes the refusal STAGE_FAILED.
        """
        stages = self.stages if until is None else self.stages[: self._position(until) + 1]
        durable = next((n for n, stage in enumerate(stages) if stage.durable), len(stages))
        ran = await _run_all(stages[:durable], Ran(value, ()), monotonic, stored=False)
        if durable == len(stages):
            return ran
        # The change may be on its way to the disk: whoever asked for it cannot take it back by going away.
        rest = asyncio.create_task(_run_all(stages[durable:], ran, monotonic, stored=False))
        rest.add_done_callback(_fetch)
        return await asyncio.shield(rest)

    async def rehearse(self, value: In, *, monotonic: Callable[[], float] = time.monotonic) -> Ran[object]:
        """Run what comes before the durable stage, so that nothing changes. Raises as `run` does."""
        durable = next(n for n, stage in enumerate(self.stages) if stage.durable)
        return await _run_all(self.stages[:durable], Ran(value, ()), monotonic, stored=False)

    async def finish(self, left: Interrupted, *, monotonic: Callable[[], float] = time.monotonic) -> Ran[Out]:
        """Run the stages that were left when one of them failed, that one first. Raises as `run` does."""
        stages = self.stages[self._position(left.stage) :]
        return await _run_all(stages, Ran(left.value, ()), monotonic, stored=True)

    def _position(self, name: str) -> int:
        return [stage.name for stage in self.stages].index(name)


def first(name: str, effect: Callable[[In], Awaitable[Out]]) -> Chain[In, Out]:
    """A chain of one stage, to go on from."""
    return Chain((Stage(name, lambda value, _: effect(value)),))


async def _run_all(
    stages: tuple[Stage, ...], ran: Ran[Any], monotonic: Callable[[], float], *, stored: bool
) -> Ran[Any]:
    """Go on from what has run; `stored`: the change is on disk already."""
    for stage in stages:
        begun = monotonic()
        with _tracer.start_as_current_span("callboard.stage", attributes={"callboard.stage": stage.name}) as span:
            value, error = await _run(stage, ran, stored)
            if error:
                span.set_status(trace.StatusCode.ERROR, error)
        run = StageRun(stage.name, round((monotonic() - begun) * 1_000_000), error)
        ran = Ran(value, (*ran.stages, run))
        stored = stored or stage.durable
        # A stage may think hard about a large definition; others get their turn before the next one does.
        await asyncio.sleep(0)
    return ran


async def _run(stage: Stage, ran: Ran[Any], stored: bool) -> tuple[Any, str]:
    """What one stage makes, and how an optional one failed."""
    try:
        return await stage.run(ran.value, ran.stages), ""
    except (Refused, StorageFullError, StorageFailedError) as error:
        if stage.optional:
            return ran.value, _told(stage, error)
        error.add_note(f"in stage {stage.name!r}")
        raise
    except Exception as error:
        if stage.optional:
            return ran.value, _told(stage, error)
        written = "the change is stored; the stages from here on can be repeated" if stored else "nothing has changed"
        message = f"stage {stage.name!r} failed ({written}): {type(error).__name__}: {error}"
        metadata = {"stage": stage.name, "cause": type(error).__name__, "stored": str(stored).lower()}
        refusal = Refusal(Kind.INTERNAL, "STAGE_FAILED", message, metadata)
        raise (Interrupted(refusal, stage.name, ran.value) if stored else Refused(refusal)) from error


def _told(stage: Stage, error: Exception) -> str:
    log.error("stage %r failed; the change is stored and stands", stage.name, exc_info=error)
    return f"{type(error).__name__}: {error}"


def _fetch(rest: asyncio.Task[Ran[Any]]) -> None:
    """Of a run that nobody waits for any more, a failure is not reported as forgotten."""
    if not rest.cancelled():
        rest.exception()
