"""Events stored in an older shape are read as the current one; what is stored stays, and its hashes hold."""

from typing import Any

import pytest
from tests.core.flow import START, TASK, Flow, of_steps

from callboard.runtime.core import events as ev
from callboard.runtime.core.chain import Chain
from callboard.runtime.core.decide import Accepted
from callboard.runtime.core.evolve import evolve
from callboard.runtime.core.state import State
from callboard.runtime.core.upcasts import UPCASTS, is_current, plain_name, shown, stored_name
from callboard.runtime.core.values import Opaque, decode, encode
from callboard.runtime.replay import HistoryDamagedError, apply, read_event, seal
from callboard.runtime.rows import StoredEvent

RAW = Opaque("image/png", b"\x89")


def stored(name: str, **fields: Any) -> StoredEvent:
    return StoredEvent(1, name, encode(fields), START, b"")


@pytest.fixture
def three_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """StepSkipped as if it had been stored with `where`, then with `path`, and now with `step` and `kind`, too."""
    monkeypatch.setitem(
        UPCASTS,
        "StepSkipped",
        (
            lambda fields: {"path": fields.pop("where"), **fields},
            lambda fields: {"step": fields["path"].rpartition("/")[2], "kind": "task", **fields},
        ),
    )


@pytest.mark.usefixtures("three_shapes")
@pytest.mark.parametrize(
    "older",
    [
        stored("StepSkipped", where="a/b", closes=True),
        stored("StepSkipped.2", path="a/b", closes=True),
        stored("StepSkipped.3", path="a/b", step="b", kind="task", closes=True),
    ],
)
def test_every_shape_is_read_as_the_current_one(older: StoredEvent) -> None:
    assert read_event(older) == ev.StepSkipped(path="a/b", step="b", kind="task", closes=True)
    name, payload = shown(older.name, older.payload)
    assert name == "StepSkipped"
    assert decode(payload) == {"path": "a/b", "step": "b", "kind": "task", "closes": True}


@pytest.mark.usefixtures("three_shapes")
def test_payloads_that_are_not_json_survive_an_upcast() -> None:
    event = read_event(stored("StepSkipped", where="a", collected=RAW))
    assert isinstance(event, ev.StepSkipped) and event.collected == RAW
    assert decode(shown("StepSkipped", encode({"where": "a", "collected": RAW}))[1]) == {
        "step": "a", "kind": "task", "path": "a", "collected": RAW
    }  # fmt: skip


@pytest.mark.usefixtures("three_shapes")
def test_names_say_the_shape() -> None:
    assert [stored_name("StepSkipped"), stored_name("TimerSet")] == ["StepSkipped.3", "TimerSet"]
    assert [is_current(name) for name in ("StepSkipped", "StepSkipped.2", "StepSkipped.3", "TimerSet")] == [
        False, False, True, True
    ]  # fmt: skip
    assert plain_name("StepSkipped.3") == "StepSkipped"


@pytest.mark.parametrize("name", ["TimerSet.2", "TimerSet.0", "TimerSet.x", "NeverHeardOf", "NeverHeardOf.2"])
def test_a_shape_of_a_newer_version_is_damage_that_is_named(name: str) -> None:
    with pytest.raises(HistoryDamagedError) as caught:
        read_event(stored(name, path="a", timer="wait", due=1))
    assert caught.value.sequence == 1


def test_a_history_of_an_older_version_replays_and_verifies_under_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow(of_steps(f"id: a, {TASK}", "id: b, wait: {duration: 3s}")).start()
    flow.complete("a", 5)
    state, history = State(execution_id="x-1"), list[StoredEvent]()
    for event, at, _ in flow.history[:-1]:
        evolve(state, event, at)
        history += seal(state, Accepted([event], {}, [], {}, {}), at, b"{}", "acme")

    def without_words(fields: dict[str, Any]) -> dict[str, Any]:
        return {("timer" if name == "named" else name): value for name, value in fields.items()}

    monkeypatch.setitem(UPCASTS, "TimerSet", (without_words,))
    assert flow.names[-1] == "TimerSet"
    last, at, _ = flow.history[-1]
    evolve(state, last, at)
    (newest,) = seal(state, Accepted([last], {}, [], {}, {}), at, b"{}", "acme")
    assert newest.name == "TimerSet.2"
    replayed, chain = State(execution_id="x-1"), Chain("acme", "x-1")
    for row in [*history, newest]:
        apply(replayed, row)
        assert not chain.take(row)
    assert replayed == state
