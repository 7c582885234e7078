"""Random definitions from a small grammar, and random lives of their executions, for property tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias, cast

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

_Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]


class _Grammar:
    """Draws steps with ids of their own; `depth` bounds the nesting."""

    def __init__(self, draw: _Draw) -> None:
        self.draw = draw
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
        kinds = ["task", "task", "task", "set", "wait", "receive", "emit", "fail"]
        if depth:
            kinds += ["sequence", "parallel", "parallel", "switch", "foreach", "foreach"]
        kind = "finish" if self.draw(st.integers(0, 40)) == 40 else self.pick(*kinds)
        step[kind] = getattr(self, f"_{kind}")(depth - 1)
        if kind == "task":
            self._policies(step)
        if self.rarely():
            step["when"] = self.pick(*CONDITIONS)
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
def definitions(draw: st.DrawFn) -> str:
    """The text of a definition that compiles."""
    grammar = _Grammar(draw)
    text: dict[str, Any] = {"id": "d", "steps": grammar.steps(3)}
    if grammar.rarely():
        text["on_failure"] = "PARK"
    if grammar.rarely():
        text["output"] = grammar.pick("${input.word}", "${input.missing}")
    return json.dumps(text)


def one_command(flow: Flow, draw: _Draw) -> cmd.Command:
    """A command that somebody might give now, sensible or not."""
    runs = flow.state.runs
    options: list[st.SearchStrategy[Any]] = [
        st.sampled_from([cmd.Submit("go", {"ok": True}), cmd.Submit("go", 1, "e"), cmd.Submit("stop", INPUT["raw"])]),
        st.sampled_from([cmd.Proceed(), cmd.Release(), cmd.Join()]),
        st.sampled_from([cmd.Offer("s1", "go", 1, "p"), cmd.Offer("no/such", "go"), cmd.Offer("s2", "other", 1, "q")]),
        st.sampled_from([cmd.CompleteTask("no/such", 1), cmd.FireTimer("s1", "wait", 5), cmd.LoseDelivery("s1", 9)]),
    ]
    for path, attempt in flow.rows.tasks.items():
        answers = [
            cmd.CompleteTask(path, attempt, draw(st.sampled_from([None, 5, {"missing": 1}, INPUT["raw"]]))),
            cmd.FailTask(path, attempt, Failure(draw(st.sampled_from(ERRORS)), retryable=draw(st.booleans()))),
            cmd.LoseDelivery(path, attempt),
        ]
        options += [st.sampled_from(answers)] * 2
    if flow.rows.timers:
        (path, timer), due = draw(st.sampled_from(sorted(flow.rows.timers.items())))
        options.append(st.just(cmd.FireTimer(path, timer, due)))
    if flow.rows.waits:
        path, (names, _) = draw(st.sampled_from(sorted(flow.rows.waits.items())))
        payload = draw(st.sampled_from([None, 1, {"ok": True}, {"ok": False}, INPUT["raw"]]))
        options += [st.builds(cmd.Offer, st.just(path), st.sampled_from(names), st.just(payload), st.just("p"))] * 2
    for path in flow.state.incidents:
        options.append(st.sampled_from([cmd.Resolve(path, action, 3) for action in cmd.ResolveAction]))
    if runs and draw(st.integers(0, 15)) == 0:
        options = [st.sampled_from([cmd.Cancel("enough"), cmd.Cancel(), cmd.Terminate("now"), cmd.Start("d", 1)])]
    return cast(cmd.Command, draw(st.one_of(options)))


def live(flow: Flow, draw: _Draw, commands: int) -> None:
    """Some time in the life of an execution: commands, deliveries to workers, time that passes."""
    for _ in range(commands):
        if flow.status.ended:
            return
        if flow.left and draw(st.booleans()):
            left, flow.left = flow.left, {}
            flow.do(cmd.Proceed(draw(st.sampled_from([None, left]))))
            continue
        if flow.rows.tasks and draw(st.booleans()):
            flow.held |= set(draw(st.lists(st.sampled_from(sorted(flow.rows.tasks)))))
        command = one_command(flow, draw)
        if isinstance(command, cmd.FireTimer):
            flow.now = max(flow.now, command.due)
        elif isinstance(command, cmd.CompleteTask | cmd.FailTask | cmd.LoseDelivery):
            flow.held.discard(command.path)
        flow.now += draw(st.integers(0, SECOND))
        flow.held &= flow.rows.tasks.keys()
        flow.do(command, draw(st.floats(0, 1, exclude_max=True)))


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
