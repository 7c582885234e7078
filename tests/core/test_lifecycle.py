"""The rules of definitions: given a standing, when something is asked for, then these events and that standing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from callboard.runtime.core.definition import Definition, EventTrigger, Step, Trigger
from callboard.runtime.core.lifecycle import (
    DELETED,
    DELETING,
    Content,
    Decision,
    DefinitionDeleted,
    DefinitionDeleting,
    DefinitionDrafted,
    DefinitionFact,
    DefinitionPublished,
    DefinitionRetracted,
    DefinitionVersionDeleted,
    OnDelete,
    Standing,
    TriggerPaused,
    TriggerResumed,
    check_state,
    content_of,
    decide_delete,
    decide_deleted,
    decide_draft,
    decide_pause,
    decide_publish,
    decide_retract,
    evolve,
    fact_of,
    refuse_in_use,
)


def content(number: int = 1, *triggers: str) -> Content:
    steps = (Step(id=f"step_{number}"),)
    listening = tuple(Trigger(id=name, event=EventTrigger(name="placed")) for name in triggers)
    return content_of(Definition(id="flow", steps=steps, triggers=listening))


def fold(*events: DefinitionFact, standing: Standing | None = None) -> Standing:
    standing = standing or Standing()
    for event in events:
        standing = evolve(standing, event)
    return standing


def published(version: int = 1, **fields: Any) -> DefinitionPublished:
    return DefinitionPublished(version=version, fingerprint=content().fingerprint.hex(), **fields)


def names(decision: Decision) -> list[str]:
    return [type(event).__name__ for event in decision.events]


def test_a_publish_makes_the_next_version_and_uses_up_the_draft() -> None:
    decision = decide_publish(fold(DefinitionDrafted(content=msgspec.Raw(b"{}"))), content(), None)
    assert decision.events == (published(),)
    assert decision.after == Standing(sequence=2, published=1, latest=1)


def test_the_published_content_again_changes_nothing_but_after_a_retract_it_does() -> None:
    standing = fold(published())
    assert not decide_publish(standing, content(), content()).changed
    decision = decide_publish(fold(DefinitionRetracted(version=1), standing=standing), content(), None)
    assert decision.events == (published(2),)


def test_a_revert_keeps_the_draft() -> None:
    standing = fold(published(), published(2), DefinitionDrafted(content=msgspec.Raw(b'{"id":"flow"}')))
    decision = decide_publish(standing, content(), content(2), reverts_to=1)
    assert decision.events == (published(3, previous=2, reverts_to=1),)
    assert decision.after.draft == standing.draft


def test_an_import_pauses_what_was_paused_also_where_the_content_is_the_same() -> None:
    fresh = decide_publish(Standing(), content(), None, imported=True, paused=("a", "b"))
    assert fresh.events == (published(imported=True), TriggerPaused(trigger_id="a"), TriggerPaused(trigger_id="b"))
    again = decide_publish(fold(published(), TriggerPaused(trigger_id="b")), content(), content(), paused=("a", "b"))
    assert again.events == (TriggerPaused(trigger_id="a"),)
    assert again.after.paused == ("a", "b")


def test_a_retract_takes_the_triggers_away_and_once_more_changes_nothing() -> None:
    decision = decide_retract(fold(published()), content(1, "t"), running=3)
    assert decision.events == (DefinitionRetracted(version=1),)
    assert (decision.impact.triggers_removed, decision.impact.running_executions) == (("t",), 3)
    assert not decide_retract(decision.after, None).changed


def test_a_deleted_version_is_gone_and_others_stay() -> None:
    standing = fold(published(), published(2))
    decision = decide_delete(standing, 1, OnDelete.REFUSE, content(2, "t"))
    assert decision.events == (DefinitionVersionDeleted(version=1),)
    assert decision.after == Standing(sequence=3, published=2, latest=2, gone=(1,))
    assert (decision.impact.version, decision.impact.previous_version, decision.impact.triggers_removed) == (2, 2, ())
    assert not decide_delete(decision.after, 1, OnDelete.REFUSE, content(2)).changed


def test_with_the_published_version_no_version_is_published() -> None:
    decision = decide_delete(fold(published()), 1, OnDelete.CANCEL, content(1, "t"), running=2, job_id="j")
    assert decision.events == (DefinitionVersionDeleted(version=1),)
    assert (decision.after.published, decision.after.gone, decision.after.state) == (0, (1,), "")
    assert decision.impact.triggers_removed == ("t",)


@pytest.mark.parametrize(
    ("running", "on_running", "event"),
    [
        (0, OnDelete.REFUSE, DefinitionDeleted(versions=(2,))),
        (0, OnDelete.CANCEL, DefinitionDeleted(versions=(2,))),
        (2, OnDelete.KEEP, DefinitionDeleted(versions=(2,))),
        (2, OnDelete.CANCEL, DefinitionDeleting(job_id="j", cancel=True)),
    ],
)
def test_a_whole_definition_is_deleted_at_once_or_by_a_job(
    running: int, on_running: OnDelete, event: DefinitionFact
) -> None:
    standing = fold(
        published(),
        published(2),
        DefinitionVersionDeleted(version=1),
        TriggerPaused(trigger_id="t"),
        DefinitionDrafted(content=msgspec.Raw(b"{}")),
    )
    decision = decide_delete(standing, 0, on_running, content(2), running=running, job_id="j")
    assert decision.events == (event,)
    state = DELETING if isinstance(event, DefinitionDeleting) else DELETED
    assert decision.after == Standing(sequence=6, latest=2, state=state, gone=(1, 2))
    assert not decide_delete(decision.after, 0, on_running, None, running=running, job_id="other").changed


def test_deleting_ends_in_deleted_once() -> None:
    standing = fold(published(), DefinitionDeleting(job_id="j", cancel=True))
    decision = decide_deleted(standing, (1,))
    assert decision.events == (DefinitionDeleted(versions=(1,)),)
    assert decision.after.state == DELETED
    assert not decide_deleted(decision.after, (1,)).changed


def test_what_is_deleted_comes_back_with_the_next_version() -> None:
    standing = fold(published(), DefinitionDeleted(versions=(1,)))
    revived = decide_publish(standing, content(), None).after
    assert revived == Standing(sequence=3, published=2, latest=2, gone=(1,))
    drafted = decide_draft(standing, content()).after
    assert (drafted.state, drafted.published, drafted.latest) == ("", 0, 1)


@pytest.mark.parametrize(
    ("state", "revives", "refused"),
    [("", False, False), ("", True, False), (DELETING, True, True), (DELETED, True, False), (DELETED, False, True)],
)
def test_nothing_is_done_to_what_is_being_deleted(state: str, revives: bool, refused: bool) -> None:
    refusal = check_state(Standing(state=state), "flow", revives=revives)
    assert (refusal is not None) == refused
    if refusal is not None:
        assert (refusal.reason, refusal.metadata) == ("DEFINITION_DELETED", {"state": state})


def test_a_pause_lasts_through_versions_until_it_is_resumed() -> None:
    paused = decide_pause(fold(published()), "t", paused=True)
    assert paused.events == (TriggerPaused(trigger_id="t"),)
    assert not decide_pause(paused.after, "t", paused=True).changed
    later = decide_publish(paused.after, content(2), content()).after
    assert later.paused == ("t",)
    resumed = decide_pause(later, "t", paused=False)
    assert (resumed.events, resumed.after.paused) == ((TriggerResumed(trigger_id="t"),), ())


def test_who_is_in_the_way_is_named() -> None:
    refusal = refuse_in_use("flow", 2, 12, ["x-1", "x-2"])
    assert "12 executions of version 2 of definition 'flow' have not ended: x-1, x-2, ..." in refusal.message
    assert refusal.metadata == {"running": "12", "execution_ids": "x-1,x-2"}


def test_the_impact_says_what_changes() -> None:
    impact = decide_publish(fold(published()), content(2, "a", "b"), content(1, "b", "c"), running=4).impact
    assert (impact.version, impact.previous_version, impact.running_executions) == (2, 1, 4)
    assert (impact.steps_added, impact.steps_removed) == (("step_2",), ("step_1",))
    assert (impact.triggers_added, impact.triggers_removed, impact.triggers_changed) == (("a",), ("c",), ())


def _decided(standing: Standing, wish: tuple[str, int]) -> Decision:
    """One of everything that can be asked for; the number varies it."""
    kind, number = wish
    held = content(standing.published) if standing.published else None
    match kind:
        case "draft":
            return decide_draft(standing, content(number))
        case "publish":
            return decide_publish(standing, content(standing.latest + 1), held, paused=("b",) * (number == 1))
        case "retract":
            return decide_retract(standing, held)
        case "delete":
            version = min(number, standing.latest)
            return decide_delete(standing, version, OnDelete.CANCEL, held, running=number, job_id="j")
        case "deleted":
            return decide_deleted(standing, standing.gone)
        case _:
            return decide_pause(standing, "ab"[number % 2], paused=number > 1)


WISHES = st.tuples(st.sampled_from(["draft", "publish", "retract", "delete", "deleted", "pause"]), st.integers(0, 3))


@drawn(st.lists(WISHES, max_size=20))
def test_every_decision_is_the_fold_of_its_events_as_they_are_stored(wishes: list[tuple[str, int]]) -> None:
    standing = Standing()
    for wish in wishes:
        if check_state(standing, "flow", revives=wish[0] in ("draft", "publish")) and wish[0] not in (
            "delete",
            "deleted",
        ):
            continue
        decision = _decided(standing, wish)
        stored = [fact_of(type(event).__name__, msgspec.json.encode(event)) for event in decision.events]
        assert decision.before == standing
        assert fold(*stored, standing=standing) == decision.after
        assert decision.changed == (decision.after != standing)
        standing = decision.after
        assert standing.published not in standing.gone
        assert standing.state == "" or standing.published == 0


@pytest.mark.parametrize("name", ["sequence", "parallel", "graph", "switch", "foreach", "loop", "on_error"])
def test_the_impact_sees_the_steps_within_every_kind_of_scope(name: str) -> None:
    inner = {"id": "inner", "set": {"a": 1}}
    scopes: dict[str, Any] = {
        "parallel": {"branches": [{"id": "b", "steps": [inner]}]},
        "switch": {"cases": [{"when": "true", "steps": [inner]}]},
        "on_error": [{"steps": [inner]}],
    }
    given = {"id": "flow", "steps": [{"id": "outer", name: scopes.get(name, {"steps": [inner]})}]}
    scope = content_of(msgspec.convert(given, Definition))
    assert decide_publish(Standing(), scope, None).impact.steps_added == ("outer", "inner")
    inner["set"] = {"a": 2}
    other = content_of(msgspec.convert(given, Definition))
    impact = decide_publish(fold(published()), other, scope).impact
    assert (impact.steps_changed, impact.steps_added, impact.steps_removed) == (("inner",), (), ())
