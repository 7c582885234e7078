"""The rows that effects ask for, kept by hand: what the store would hold beside the events."""

from __future__ import annotations

from collections.abc import Iterable

from callboard.runtime.core.effects import (
    BuryEvent,
    ClearTimer,
    CloseExecution,
    CloseTask,
    Continue,
    Effect,
    OpenTask,
    RequestCancel,
    SetTimer,
)
from callboard.runtime.core.state import State, StepState


class Rows:
    """Open tasks by path with their attempts, timers by path and name with their due times."""

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}
        self.timers: dict[tuple[str, str], int] = {}
        self.buried: list[BuryEvent] = []
        self.told: list[str] = []
        """Paths whose workers were told to stop."""

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out the effects, in order."""
        for effect in effects:
            match effect:
                case OpenTask():
                    self.tasks[effect.path] = effect.attempt
                case CloseTask():
                    self.tasks.pop(effect.path, None)
                case RequestCancel():
                    assert effect.path in self.tasks
                    self.told.append(effect.path)
                case SetTimer():
                    self.timers[effect.path, effect.timer] = effect.due
                case ClearTimer():
                    for key in list(self.timers):
                        if key[0] == effect.path and effect.timer in ("", key[1]):
                            del self.timers[key]
                case CloseExecution():
                    self.tasks.clear()
                    self.timers.clear()
                case BuryEvent():
                    self.buried.append(effect)
                case Continue():
                    pass

    def agree_with(self, state: State) -> None:
        """They are exactly what the state says is open."""
        tasks = {
            path: run.attempt for path, run in state.runs.items() if run.operation and run.state is StepState.SCHEDULED
        }
        timers = {(path, name): due for path, run in state.runs.items() for name, due in run.timers.items()}
        timers |= {("", name): due for name, due in state.timers.items()}
        assert self.tasks == tasks
        assert self.timers == timers
        if state.status.ended:
            assert not (tasks or timers or state.listening or state.incidents or state.awaiting)
