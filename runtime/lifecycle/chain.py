"""Chains of named stages: `Chain[In, Out]`, in which a type checker proves the order.

Each stage takes the value that the stage before has made, so that a value is the evidence of its stage. `then` touches
the world, `map` only thinks, and `commit` is the one durable stage: before it nothing has changed, after it the rest
can be repeated at will. It alone is given the report of the stages before it, to write it down.

A chain is immutable and its stages are data; what is not here is any knowledge of what they do.
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Stage:
    """A named place in a chain. What its values are is known to the chain's type only."""

    name: str
    run: Callable[[Any, Report], Awaitable[Any]]
    durable: bool = False


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
        made: Any = value
        report: Report = ()
        durable = False
        for stage in self._up_to(until):
            begun = monotonic()
            with _tracer.start_as_current_span("callboard.stage", attributes={"callboard.stage": stage.name}):
                made = await _run(stage, made, report, durable)
            report = (*report, StageRun(stage.name, round((monotonic() - begun) * 1_000_000)))
            durable = durable or stage.durable
        return Ran(made, report)

    def _up_to(self, until: str | None) -> tuple[Stage, ...]:
        if until is None:
            return self.stages
        names = [stage.name for stage in self.stages]
        return self.stages[: names.index(until) + 1]


def first(name: str, effect: Callable[[In], Awaitable[Out]]) -> Chain[In, Out]:
    """A chain of one stage, to go on from."""
    return Chain((Stage(name, lambda value, _: effect(value)),))


async def _run(stage: Stage, value: Any, report: Report, durable: bool) -> Any:
    """Run one stage; `durable`: the change is on disk already."""
    try:
        return await stage.run(value, report)
    except (Refused, StorageFullError, StorageFailedError) as error:
        error.add_note(f"in stage {stage.name!r}")
        raise
    except Exception as error:
        written = "the change is stored; the stages from here on can be repeated" if durable else "nothing has changed"
        message = f"stage {stage.name!r} failed ({written}): {type(error).__name__}: {error}"
        metadata = {"stage": stage.name, "cause": type(error).__name__, "stored": str(durable).lower()}
        raise Refused(Refusal(Kind.INTERNAL, "STAGE_FAILED", message, metadata)) from error
