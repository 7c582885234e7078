"""State machines as data: the tables are whole, every event is applied, and stored names do not change."""

from typing import Any, get_args

import pytest

from callboard.runtime.core import commands as cmd
from callboard.runtime.core import events as ev
from callboard.runtime.core.decide import _DECIDE
from callboard.runtime.core.effects import Effect
from callboard.runtime.core.evolve import _APPLY, evolve
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.plan import Body, StepKind
from callboard.runtime.core.react import _REACT
from callboard.runtime.core.state import (
    ENDED,
    OPEN,
    STATUS_TRANSITIONS,
    STEP_TRANSITIONS,
    IllegalTransition,
    State,
    Status,
    StepState,
    numbers_in,
)
from callboard.runtime.core.steps import _BEGIN

NAMES = """
ExecutionStarted StepScheduled StepCompleted StepSkipped StepRetryScheduled StepDeliveryLost StepFailed StepParked
StepCancelled ScopeClosing StepResolved BranchChosen TimerSet TimerFired EventReceived WarningRaised ExecutionParked
ExecutionCancelling ExecutionCompleted ExecutionFailed ExecutionCancelled ExecutionTerminated
ExecutionReleased EventEmitted EventMissed ExecutionForked StepInherited ExecutionErased
"""


def test_stored_names_are_stable() -> None:
    assert list(ev.TYPES) == NAMES.split(), "a stored name never changes or goes; new ones may come at the end"


def test_every_event_is_applied() -> None:
    assert {*_APPLY, ev.EventReceived} == set(ev.TYPES.values())
    assert set(_REACT) <= set(ev.TYPES.values())


def test_every_command_is_decided_and_every_kind_begins() -> None:
    assert set(_DECIDE) == set(get_args(cmd.Command))
    assert set(_BEGIN) == set(get_args(Body))
    assert len(_BEGIN) == len(StepKind)


def test_every_state_stands_in_its_table() -> None:
    assert set(STATUS_TRANSITIONS) == set(Status)
    assert set(STEP_TRANSITIONS) == set(StepState)


def test_ends_are_ends() -> None:
    assert {status for status, following in STATUS_TRANSITIONS.items() if not following} == ENDED
    for state, following in STEP_TRANSITIONS.items():
        assert not (state not in OPEN and following & OPEN), "what has ended does not open again"


def test_every_status_can_be_reached() -> None:
    assert set().union(*STATUS_TRANSITIONS.values()) == set(Status) - {Status.PENDING}


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("ExecutionStarted", "execution"),
        ("StepFailed", "step"),
        ("BranchChosen", "step"),
        ("TimerSet", "timer"),
        ("EventReceived", "event"),
        ("EventEmitted", "event"),
        ("EventMissed", "event"),
        ("ExecutionReleased", "execution"),
        ("StepResolved", "control"),
        ("ExecutionTerminated", "control"),
        ("WarningRaised", "step"),
    ],
)
def test_events_have_a_type_for_people(name: str, category: str) -> None:
    assert ev.category(name) == category


def scheduled() -> State:
    state = State()
    evolve(state, ev.ExecutionStarted(definition_id="d", version=1), 1)
    evolve(state, ev.StepScheduled(path="a", step="a", kind="task", operation="s.o"), 2)
    return state


@pytest.mark.parametrize(
    "event",
    [
        ev.ExecutionStarted(definition_id="d", version=1),
        ev.StepScheduled(path="a", step="a", kind="task"),
        ev.StepCompleted(path="b"),
        ev.TimerFired(path="a", timer="retry"),
        ev.ExecutionStarted(definition_id="d", version=1, behind="x"),
        ev.ExecutionReleased(),
    ],
)
def test_an_event_that_does_not_fit_is_refused(event: ev.Event) -> None:
    with pytest.raises(IllegalTransition):
        evolve(scheduled(), event, 3) if not isinstance(event, ev.TimerFired) else evolve(completed(), event, 4)


def completed() -> State:
    state = scheduled()
    evolve(state, ev.StepCompleted(path="a", result=1), 3)
    return state


@pytest.mark.parametrize(
    "event",
    [
        ev.StepCompleted(path="a"),
        ev.StepFailed(path="a", failure=Failure("X")),
        ev.StepRetryScheduled(path="a", attempt=1, failure=Failure("X"), due=9),
        ev.StepDeliveryLost(path="a", attempt=1),
    ],
)
def test_a_step_ends_once(event: ev.Event) -> None:
    with pytest.raises(IllegalTransition):
        evolve(completed(), event, 4)


@pytest.mark.parametrize(("path", "numbers"), [("a", ()), ("a[3]/b[1]/c", (3, 1)), ("s/each[10]/p/x", (10,))])
def test_the_numbers_of_items_stand_in_the_path(path: str, numbers: tuple[int, ...]) -> None:
    assert numbers_in(path) == numbers


def test_effects_are_a_closed_list() -> None:
    names = "OpenTask CloseTask RequestCancel SetTimer ClearTimer Continue BuryEvent OpenWait CloseWait EmitEvent"
    assert [kind.__name__ for kind in get_args(Effect)] == [*names.split(" "), "LeaveLine", "CloseExecution"]


def test_events_are_stored_without_defaults() -> None:
    from callboard.runtime.core.values import encode

    value: Any = ev.StepCompleted(path="a")
    assert encode(value) == b'{"path":"a"}'
