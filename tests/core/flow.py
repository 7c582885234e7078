"""A harness for the core: an execution decided and evolved by hand, without a loop, a clock or a store."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tests.core.rows import Rows

from callboard.runtime.clock import ManualIds
from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.compiler import compile_definition
from callboard.runtime.core.decide import Accepted, decide
from callboard.runtime.core.effects import Continue, Effect
from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.plan import Plan
from callboard.runtime.core.reader import read_definition
from callboard.runtime.core.refusals import Refusal
from callboard.runtime.core.state import Run, State, Status
from callboard.runtime.core.turn import Limits
from callboard.runtime.loader import load
from callboard.runtime.schemas import misfits_of
from callboard.runtime.vaults import ExecutionVault

START = 1_750_000_000_000_000
SECOND = 1_000_000
TASK = "task: {service: s, operation: o}"


@lru_cache(maxsize=16)
def plan_of(text: str) -> Plan:
    """The plan of a definition in YAML; what is wrong with it fails the test."""
    compiled = compile_definition(read_definition(load("test.yaml", text), "test.yaml"), 1, misfits_of=misfits_of)
    assert compiled.plan is not None, [violation.located for violation in compiled.violations]
    return compiled.plan


def of_steps(*lines: str, rest: str = "") -> str:
    """The text of a definition with these steps, each the inside of a flow mapping."""
    return "id: d\n" + rest + "\nsteps:\n" + "\n".join(f"  - {{{line}}}" for line in lines)


class Flow:
    """One execution: commands in, events and effects out; the replayed state and the rows are compared after each."""

    def __init__(self, text: str, limits: Limits | None = None, execution_id: str = "x-1") -> None:
        self.plan = plan_of(text)
        self.vault = ExecutionVault(ManualIds().random_bytes) if self.plan.sensitive else None
        self.limits = limits or Limits()
        self.state = State(execution_id=execution_id)
        self.now = START
        self.held: set[str] = set()
        self.history: list[tuple[ev.Event, int, str]] = []
        self.effects: list[Effect] = []
        self.last: list[ev.Event] = []
        self.rows = Rows()
        self.left: dict[str, None] = {}

    def do(self, command: cmd.Command, chance: float = 0.5) -> Accepted | Refusal:
        """Decide one command; checks that live state and replayed state, and state and rows, are equal."""
        before = self.state.sequence
        facts = cmd.Facts(self.now, chance, frozenset(self.held), self.vault)
        decision = decide(self.state, self.plan, command, facts, self.limits)
        if isinstance(decision, Accepted):
            self.last = decision.events
            self.history += [
                (event, self.now, decision.event_ids.get(n, "")) for n, event in enumerate(decision.events)
            ]
            self.effects = decision.effects
            self.rows.apply(decision.effects)
            self.left |= decision.left
            assert bool(decision.left) == (Continue() in decision.effects)
            self.rows.agree_with(self.state)
        else:
            assert self.state.sequence == before
        assert self.replayed() == self.state
        return decision

    def replayed(self) -> State:
        """The state that the events alone give."""
        state = State(execution_id=self.state.execution_id)
        for event, at, event_id in self.history:
            evolve(state, event, at, event_id)
        return state

    def start(self, input: Any = None, **labels: str) -> Flow:
        """Begin."""
        assert isinstance(self.do(cmd.Start(self.plan.definition_id, 1, input, labels)), Accepted)
        return self

    def pend(self, *lines: str, behind: str = "x-0", input: Any = None) -> Flow:
        """Be accepted behind another execution, with a place in these lines."""
        assert isinstance(self.do(cmd.Start(self.plan.definition_id, 1, input, lines=lines, behind=behind)), Accepted)
        return self

    def release(self) -> Flow:
        """Come to the front of the line."""
        assert isinstance(self.do(cmd.Release()), Accepted)
        return self

    def offer(self, path: str, name: str, payload: Any = None, published_id: str = "p-1") -> Flow:
        """A published event for a step that waited for it."""
        assert isinstance(self.do(cmd.Offer(path, name, payload, published_id)), Accepted)
        return self

    def proceed(self, forgetful: bool = False) -> Flow:
        """Go on with a decision that was cut, in as many turns as it takes; as after a restart if `forgetful`."""
        while self.left:
            left, self.left = self.left, {}
            assert isinstance(self.do(cmd.Proceed(None if forgetful else left)), Accepted)
        return self

    def complete(self, path: str, output: Any = None) -> Flow:
        """A worker's good answer to the attempt that is out."""
        attempt = self.attempt(path)
        self.held.discard(path)
        assert isinstance(self.do(cmd.CompleteTask(path, attempt, output)), Accepted)
        return self

    def fail(self, path: str, kind: str = "Broken", chance: float = 0.5, **more: Any) -> Flow:
        """A worker's failure."""
        failure = Failure(kind, f"{path} broke", **more)
        attempt = self.attempt(path)
        self.held.discard(path)
        assert isinstance(self.do(cmd.FailTask(path, attempt, failure), chance), Accepted)
        return self

    def lose(self, path: str) -> Flow:
        """The worker that has the task is gone."""
        self.held.discard(path)
        assert isinstance(self.do(cmd.LoseDelivery(path, self.attempt(path), "w")), Accepted)
        return self

    def submit(self, name: str, payload: Any = None, event_id: str = "") -> Flow:
        """An event from outside."""
        assert isinstance(self.do(cmd.Submit(name, payload, event_id)), Accepted)
        return self

    def resolve(self, path: str, action: str, result: Any = None) -> Flow:
        """An operator's decision."""
        assert isinstance(self.do(cmd.Resolve(path, cmd.ResolveAction(action), result)), Accepted)
        return self

    def fire(self, path: str, timer: str) -> Flow:
        """Go to the moment a timer is due, and let it fire."""
        due = self.rows.timers[path, timer]
        self.now = max(self.now, due)
        assert isinstance(self.do(cmd.FireTimer(path, timer, due)), Accepted)
        return self

    def hold(self, *paths: str) -> Flow:
        """These tasks are now in a worker's hands."""
        assert all(path in self.rows.tasks for path in paths)
        self.held |= set(paths)
        return self

    def attempt(self, path: str) -> int:
        """The attempt that is out."""
        return self.state.runs[path].attempt

    def run(self, path: str) -> Run:
        """A step run."""
        return self.state.runs[path]

    @property
    def status(self) -> Status:
        """Where the execution stands."""
        return self.state.status

    @property
    def error(self) -> Failure:
        """What it failed with."""
        assert self.state.failure is not None
        return self.state.failure

    @property
    def open(self) -> list[str]:
        """Paths of the tasks that workers can have."""
        return list(self.rows.tasks)

    @property
    def names(self) -> list[str]:
        """The names of the last command's events."""
        return [type(event).__name__ for event in self.last]
