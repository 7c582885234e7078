"""Random definitions from a small grammar, and random lives of their executions, for property tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias, TypeVar, cast

from hypothesis import strategies as st
from tests.core.flow import SECOND, Flow

from callboard.runtime.core import commands as cmd
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.state import Status, StepState
from callboard.runtime.core.values import Opaque

INPUT = {"yes": True, "no": False, "list": [3, 1, 2], "empty": [], "word": "w", "raw": Opaque("x/y", b"\0\1")}
CONDITIONS = ["input.yes", "input.yes", "input.no", "input.missing", "input.word"]
VALUES = ["${input.word}", "${input.raw}", {"a": [1.0, "${input.list}"]}, "${vars.x}", "${input.missing}", 7]
KEYS = ["input.word", "input.missing", "''", "input.list"]
ERRORS = ["Broken", "Other", "Timeout"]

T = TypeVar("T")
_Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]


class _Grammar:
    """Draws steps with ids of their own; `depth` bounds the nesting."""

    def __init__(self, draw: _Draw, lively: bool = False) -> None:
        self.draw = draw
        self.lively = lively
        self.count = 0

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def rarely(self) -> bool:
        return bool(self.draw(st.integers(0, 3)) == 3)

    def name(self) -> str:
        self.count += 1
        return f"s{self.count}"

    def steps(self, depth: int) -> list[dict[str, Any]]:
        return [self.step(depth) for _ in range(self.draw(st.integers(1, 3)))]

    def step(self, depth: int) -> dict[str, Any]:
        step: dict[str, Any] = {"id": self.name()}
        kinds = [*["task"] * (6 if self.lively else 3), "set", "wait", "receive", "emit"]
        kinds += ["receive", "wait"] if self.lively else ["fail"]
        if depth:
            kinds += ["sequence", "switch", *["parallel", "foreach"] * (4 if self.lively else 2)]
        kind = "finish" if self.draw(st.integers(0, 40)) == 40 else self.pick(*kinds)
        step[kind] = getattr(self, f"_{kind}")(depth - 1)
        if kind == "task":
            self._policies(step)
        if self.rarely():
            step["when"] = "input.yes" if self.lively else self.pick(*CONDITIONS)
        if self.rarely():
            step["set_state"] = self.name()
        if kind != "finish" and self.rarely():
            step["output"] = self.pick("${result}", "${result.missing}", {"r": "${result}"})
        if self.draw(st.integers(0, 4)) == 4:
            match = self.pick([], ["Broken"], ["Timeout", "ExpressionError"])
            step["on_error"] = [{"match": match, "steps": self.steps(max(depth - 1, 0))}]
        return step

    def _policies(self, step: dict[str, Any]) -> None:
        if self.rarely():
            attempts = self.pick(1, 2, 3)
            step["retry"] = {"max_attempts": attempts, "on_exhausted": self.pick("FAIL", "PARK")}
        if self.rarely():
            name = self.pick("queue", "attempt", "total", "cancel_grace")
            step["timeouts"] = {name: self.pick("5s", "${input.missing}")}

    def _task(self, _: int) -> dict[str, Any]:
        return {"service": "s", "operation": "o", "input": {"v": self.pick(*VALUES)}}

    def _set(self, _: int) -> dict[str, Any]:
        return {"x": self.pick(*VALUES)}

    def _wait(self, _: int) -> Any:
        return self.pick({"duration": "3s"}, {"until": "2020-01-01T00:00:00Z"}, {"until": "input.word"})

    def _receive(self, _: int) -> Any:
        return self.pick(
            {"event": "go"},
            {"event": "go", "timeout": "4s"},
            {"event": "go", "filter": "event.ok", "timeout": "4s", "on_timeout": "CONTINUE"},
            {"any_of": [{"event": "go", "filter": "event == 1"}, {"event": "stop"}]},
            {"event": "go", "key": "input.word", "timeout": "4s"},
            {"any_of": [{"event": "go", "filter": "event.ok"}, {"event": "stop"}], "key": self.pick(*KEYS)},
        )

    def _emit(self, _: int) -> Any:
        return self.pick(
            {"name": "told"},
            {"name": "told", "key": "1"},
            {"name": "told", "key": "input.word", "payload": {"v": self.pick(*VALUES)}},
        )

    def _fail(self, _: int) -> dict[str, Any]:
        return {"type": self.pick("Broken", "Other"), "message": self.pick("m", "${input.missing}")}

    def _finish(self, _: int) -> dict[str, Any]:
        return {"output": self.pick("${input.word}", "${input.missing}")}

    def _sequence(self, depth: int) -> dict[str, Any]:
        return {"steps": self.steps(depth)}

    def _parallel(self, depth: int) -> dict[str, Any]:
        branches = [{"id": self.name(), "steps": self.steps(depth)} for _ in range(self.pick(1, 2, 3))]
        return {"branches": branches, "fail_fast": self.pick(True, False)}

    def _switch(self, depth: int) -> dict[str, Any]:
        cases = [{"when": self.pick(*CONDITIONS), "steps": self.steps(depth)} for _ in range(self.pick(1, 2))]
        return {"cases": cases} | ({"default": self.steps(depth)} if self.pick(True, False) else {})

    def _foreach(self, depth: int) -> dict[str, Any]:
        item = self.name()
        each: dict[str, Any] = {
            "items": self.pick("input.list", "input.list", "input.empty", "input.word"),
            "as": item,
            "steps": self.steps(depth),
        }
        if self.rarely():
            each["collect"] = self.pick(f"${{[{item}, index, result]}}", "${result.missing}")
        if self.rarely():
            each["max_concurrency"] = self.pick(1, 2)
        if self.pick(True, False):
            each["on_item_error"] = "CONTINUE"
            if self.rarely():
                each["max_failures"] = self.pick("0", "1", "input.word")
        return each


@st.composite
def definitions(draw: st.DrawFn, lively: bool = False) -> str:
    """The text of a definition that compiles; `lively`: of which most executions do not end at once."""
    grammar = _Grammar(draw, lively)
    text: dict[str, Any] = {"id": "d", "steps": [*grammar.steps(3), *(grammar.steps(2) if lively else ())]}
    if lively or grammar.rarely():
        text["on_failure"] = "PARK"
    if grammar.rarely():
        text["output"] = grammar.pick("${input.word}", "${input.missing}")
    return json.dumps(text)


class Dice:
    """Chance, as hypothesis has it: what fails is made smaller."""

    def __init__(self, draw: _Draw) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return cast(T, self._draw(st.sampled_from(options)))

    def number(self, most: int) -> int:
        """From 0 on."""
        return cast(int, self._draw(st.integers(0, most)))

    def share(self) -> float:
        """At least 0, less than 1."""
        return cast(float, self._draw(st.floats(0, 1, exclude_max=True)))


class QuickDice(Dice):
    """Chance from a seed, at a tenth of the price: for many lives of one definition."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def number(self, most: int) -> int:
        return self._random.randint(0, most)

    def share(self) -> float:
        return self._random.random()


_ANY_TIME: list[cmd.Command] = [
    *(cmd.Submit("go", {"ok": True}), cmd.Submit("go", 1, "e"), cmd.Submit("stop", INPUT["raw"])),
    *(cmd.Proceed(), cmd.Release(), cmd.Join()),
    *(cmd.Offer("s1", "go", 1, "p"), cmd.Offer("no/such", "go"), cmd.Offer("s2", "other", 1, "q")),
    *(cmd.CompleteTask("no/such", 1), cmd.FireTimer("s1", "wait", 5), cmd.LoseDelivery("s1", 9)),
]
_RARELY: list[cmd.Command] = [cmd.Cancel("enough"), cmd.Cancel(), cmd.Terminate("now"), cmd.Start("d", 1)]


def one_command(flow: Flow, dice: Dice) -> cmd.Command:
    """A command that somebody might give now, sensible or not."""
    if flow.state.runs and dice.number(15) == 15:
        return dice.pick(_RARELY)
    options: list[Callable[[], cmd.Command]] = [lambda: dice.pick(_ANY_TIME)] * 2
    tasks, timers, waits = sorted(flow.rows.tasks.items()), sorted(flow.rows.timers.items()), sorted(flow.rows.waits)
    if tasks:
        options += [lambda: _answer(*dice.pick(tasks), dice)] * 4
    if timers:
        options += [lambda: _fired(*dice.pick(timers))]
    if waits:
        options += [lambda: _offered(flow, dice.pick(waits), dice)] * 2
    if incidents := list(flow.state.incidents):
        options += [lambda: cmd.Resolve(dice.pick(incidents), dice.pick(list(cmd.ResolveAction)), 3)]
    return dice.pick(options)()


def _answer(path: str, attempt: int, dice: Dice) -> cmd.Command:
    match dice.number(2):
        case 0:
            return cmd.CompleteTask(path, attempt, dice.pick([None, 5, {"missing": 1}, INPUT["raw"]]))
        case 1:
            failure = Failure(dice.pick(ERRORS), retryable=dice.pick([True, False]))
            return cmd.FailTask(path, attempt, failure)
        case _:
            return cmd.LoseDelivery(path, attempt)


def _fired(place: tuple[str, str], due: int) -> cmd.Command:
    return cmd.FireTimer(*place, due)


def _offered(flow: Flow, path: str, dice: Dice) -> cmd.Command:
    names, _ = flow.rows.waits[path]
    payload = dice.pick([None, 1, {"ok": True}, {"ok": False}, INPUT["raw"]])
    return cmd.Offer(path, dice.pick(names), payload, "p")


def live(flow: Flow, dice: Dice, commands: int) -> None:
    """Some time in the life of an execution: commands, deliveries to workers, time that passes."""
    for _ in range(commands):
        if flow.status.ended:
            return
        if flow.left and dice.pick([True, False]):
            left, flow.left = flow.left, {}
            flow.do(cmd.Proceed(dice.pick([None, left])))
            continue
        for path in sorted(flow.rows.tasks):
            if dice.number(3) == 3:
                flow.held.add(path)
        command = one_command(flow, dice)
        if isinstance(command, cmd.FireTimer):
            flow.now = max(flow.now, command.due)
        elif isinstance(command, cmd.CompleteTask | cmd.FailTask | cmd.LoseDelivery):
            flow.held.discard(command.path)
        flow.now += dice.number(SECOND)
        flow.held &= flow.rows.tasks.keys()
        flow.do(command, dice.share())


def bring_to_an_end(flow: Flow, turns_max: int = 3_000) -> None:
    """Everybody does their part until it has ended; that it always does is a promise of its own."""
    for _ in range(turns_max):
        flow.held.clear()
        if flow.status.ended:
            return
        if flow.status is Status.PENDING:
            flow.release()
        elif flow.left:
            flow.proceed()
        elif flow.rows.tasks:
            flow.complete(next(iter(flow.rows.tasks)))
        elif flow.rows.timers:
            flow.fire(*next(iter(flow.rows.timers)))
        elif flow.state.incidents:
            path = next(iter(flow.state.incidents))
            assert not path or flow.run(path).state is StepState.PARKED
            flow.resolve(path, "SKIP")
        else:
            assert flow.state.listening, "nothing is open, nothing is awaited, and still it has not ended"
            flow.do(cmd.Submit(next(iter(flow.state.listening)), 1))
            flow.do(cmd.Submit("go", {"ok": True}))
    raise AssertionError("it does not end")
