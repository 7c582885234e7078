"""The rows that effects ask for, kept by hand: what the store would hold beside the events."""

from __future__ import annotations

from collections.abc import Iterable

from callboard.runtime.core.effects import (
    BuryEvent,
    ClearTimer,
    CloseExecution,
    CloseTask,
    CloseWait,
    Continue,
    Effect,
    EmitEvent,
    LeaveLine,
    OpenTask,
    OpenWait,
    RequestCancel,
    SetTimer,
)
from callboard.runtime.core.state import State, StepState


class Rows:
    """Open tasks by path with their attempts, timers by path and name with their due times, waits by path with their
    names and key."""

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}
        self.timers: dict[tuple[str, str], int] = {}
        self.waits: dict[str, tuple[tuple[str, ...], str]] = {}
        self.emitted: list[EmitEvent] = []
        self.lines_left: list[str] = []
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
                case OpenWait():
                    assert effect.path not in self.waits and effect.key and effect.names
                    self.waits[effect.path] = (effect.names, effect.key)
                case CloseWait():
                    del self.waits[effect.path]
                case EmitEvent():
                    self.emitted.append(effect)
                case LeaveLine():
                    self.lines_left.append(effect.line)
                case CloseExecution():
                    assert not self.waits
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
        assert self.waits == {path: (run.events, run.key) for path, run in state.runs.items() if run.key}
        assert not any(run.offered for run in state.runs.values()), "what was offered is taken or gone"
        assert all(path in state.listening[name] for path, (names, _) in self.waits.items() for name in names)
        assert self.lines_left == (list(state.lines) if state.status.ended else [])
        if state.status.ended:
            assert not (tasks or timers or state.listening or state.incidents or state.awaiting)
