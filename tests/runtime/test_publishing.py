"""The chains of PutDraft and PublishDefinition over a journal and a store in memory."""

import asyncio
from typing import Any

import pytest
from tests.runtime.lifecycle_house import STAGES, House, draft, flow, given, origin, publish, refused

from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.definitions import DefinitionState
from callboard.runtime.lifecycle.chain import Chain, Report, Stage
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.lifecycle.publishing import RunningExecutions
from callboard.runtime.lifecycle.recording import Announcement


@pytest.fixture
async def house() -> House:
    house = House()
    await house.store.open()
    return house


# Publishing


async def test_a_definition_is_drafted_and_published_in_one(house: House) -> None:
    answer = await house.publishing.publish(publish())
    assert (answer.definition_id, answer.version, answer.revision, answer.etag) == ("flow", 1, 1, "1")
    assert answer.changed
    assert [stage.name for stage in answer.stages] == STAGES
    assert answer.impact.steps_added == ("end",)
    head = await house.head()
    assert (head.published, head.latest, head.draft, head.revision) == (1, 1, None, 1)


async def test_the_event_says_who_when_and_how_it_came_to_be(house: House) -> None:
    await house.publishing.publish(publish())
    (event,) = house.store.changes[0].changes[0].events
    assert (event.name, event.sequence, event.user_id) == ("DefinitionPublished", 1, "ann")
    assert event.created_at == ManualClock().now()
    assert event.payload.startswith(b'{"version":1,"fingerprint":"')
    assert [name for name in STAGES if f'"{name}"'.encode() in event.payload] == STAGES[:4]


async def test_everybody_is_told_after_the_disk(house: House) -> None:
    await house.publishing.publish(publish())
    assert house.told == [Announcement("acme", "flow", ("DefinitionPublished",), 1, 1, "ann")]
    assert (await house.catalog.published("acme", "flow")).guard.revision == 1


async def test_a_source_text_is_read_and_its_mistakes_are_located(house: House) -> None:
    text = "id: flow\nsteps:\n  - id: end\n    finish: {}\n  - id: Bad\n    fnish: {}\n"
    with pytest.raises(Refused) as raised:
        await house.publishing.publish(publish(given=Given(SourceText("flow.yaml", text))))
    refusal = raised.value.refusal
    assert refusal.reason == "INVALID_DEFINITION"
    assert {(found.source, found.line, found.code) for found in refusal.violations} >= {
        ("flow.yaml", 6, "UNKNOWN_FIELD"),
        ("flow.yaml", 5, "INVALID_ID"),
    }
    assert await house.store.definition("acme", "flow") is None


async def test_form_structure_and_schema_are_refused_at_once(house: House) -> None:
    wrong = given(labels={"x": "${steps.nowhere.result}"}, input_schema={"type": 7}, colour="red")
    with pytest.raises(Refused) as raised:
        await house.publishing.publish(publish(given=wrong, definition_id="other"))
    codes = {found.code for found in raised.value.refusal.violations}
    assert {"ID_MISMATCH", "UNKNOWN_FIELD", "INVALID_SCHEMA"} < codes


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"colour": "red"}, (Kind.INVALID, "UNKNOWN_FIELD")),
        ({"factory": {"callable": "a:b"}}, (Kind.UNSUPPORTED, "UNSUPPORTED")),
        ({"steps": []}, (Kind.INVALID, "INVALID_DEFINITION")),
    ],
)
async def test_the_reason_names_the_only_kind_of_mistake(
    house: House, fields: dict[str, Any], answer: tuple[Kind, str]
) -> None:
    assert await refused(house.publishing.publish(publish(given=given(**fields)))) == answer


async def test_the_same_content_changes_nothing(house: House) -> None:
    first = await house.publishing.publish(publish())
    again = await house.publishing.publish(publish())
    assert (again.version, again.revision, again.etag, again.changed) == (1, 1, first.etag, False)
    assert len(house.store.changes) == 1
    assert len(house.told) == 1


async def test_other_content_is_the_next_version_and_says_what_it_changes(house: House) -> None:
    old = [{"id": "kept", "set": {"a": 1}}, {"id": "gone", "finish": {}}, {"id": "other", "set": {"a": 1}}]
    new = [{"id": "kept", "set": {"a": 1}}, {"id": "other", "set": {"a": 2}}, {"id": "fresh", "finish": {}}]
    await house.publishing.publish(publish(given=given(steps=old)))
    answer = await house.publishing.publish(publish(given=given(steps=new)))
    impact = answer.impact
    assert (answer.version, impact.version, impact.previous_version) == (2, 2, 1)
    assert (impact.steps_added, impact.steps_removed, impact.steps_changed) == (("fresh",), ("gone",), ("other",))


async def test_a_scope_is_changed_by_its_own_list_only(house: House) -> None:
    def scope(*steps: dict[str, Any]) -> Given:
        return given(steps=[{"id": "outer", "sequence": {"steps": list(steps)}}])

    await house.publishing.publish(publish(given=scope({"id": "a", "set": {"x": 1}})))
    inner = await house.publishing.publish(publish(given=scope({"id": "a", "set": {"x": 2}})))
    assert inner.impact.steps_changed == ("a",)
    longer = await house.publishing.publish(
        publish(given=scope({"id": "a", "set": {"x": 2}}, {"id": "b", "finish": {}}))
    )
    assert (longer.impact.steps_changed, longer.impact.steps_added) == (("outer",), ("b",))


async def test_validate_only_says_what_would_be_and_changes_nothing(house: House) -> None:
    await house.publishing.publish(publish())
    answer = await house.publishing.publish(publish(given=given(description="new"), validate_only=True))
    assert (answer.version, answer.revision, answer.etag, answer.changed) == (2, 1, "1", True)
    assert [stage.name for stage in answer.stages] == STAGES[:4]
    assert len(house.store.changes) == 1


async def test_warnings_come_with_the_answer(house: House) -> None:
    steps = [
        {"id": "maybe", "when": "input.go", "set": {"a": 1}},
        {"id": "uses", "set": {"b": "${steps.maybe.result.a}"}},
    ]
    answer = await house.publishing.publish(publish(given=given(steps=steps)))
    assert answer.warnings
    assert all(warning.warning for warning in answer.warnings)


async def test_an_etag_of_another_standing_is_refused(house: House) -> None:
    await house.publishing.publish(publish())
    other = publish(given=given(description="new"), etag="7")
    assert await refused(house.publishing.publish(other)) == (Kind.RACE, "ETAG_MISMATCH")
    assert (await house.publishing.publish(publish(given=given(description="new"), etag="1"))).version == 2


async def test_of_concurrent_publishes_one_wins(house: House) -> None:
    commands = [publish(given=given(description=f"number {number}")) for number in range(5)]
    answers = await asyncio.gather(*map(house.publishing.publish, commands), return_exceptions=True)
    lost = [answer.refusal.reason for answer in answers if isinstance(answer, Refused)]
    assert lost == ["LOST_RACE"] * 4
    head = await house.head()
    assert (head.published, head.latest) == (1, 1)


async def test_migration_of_running_executions_is_refused_by_name(house: House) -> None:
    command = publish(running=RunningExecutions.MIGRATE)
    assert await refused(house.publishing.publish(command)) == (Kind.UNSUPPORTED, "UNSUPPORTED")


@pytest.mark.parametrize("broken", STAGES)
async def test_a_failure_at_any_stage_leaves_it_old_or_new_and_calling_again_succeeds(
    house: House, broken: str
) -> None:
    await house.publishing.publish(publish())
    whole = house.publishing.chain

    async def explode(value: Any, stages: Report) -> Any:
        raise OSError("pulled the plug")

    house.publishing.chain = Chain(
        tuple(Stage(s.name, explode if s.name == broken else s.run, s.durable) for s in whole.stages)
    )
    new = publish(given=given(description="new"))
    assert await refused(house.publishing.publish(new)) == (Kind.INTERNAL, "STAGE_FAILED")
    done = STAGES.index(broken) > STAGES.index("record")
    assert (await house.catalog.published("acme", "flow")).compiled.version == (2 if done else 1)
    house.publishing.chain = whole
    assert (await house.publishing.publish(new)).version == 2


# Requests that come twice


async def test_a_repeated_request_has_its_effect_once(house: House) -> None:
    first = publish(origin=origin("r1"), etag="0")
    assert (await house.publishing.publish(first)).version == 1
    await house.publishing.publish(publish(given=given(description="new")))
    again = await house.publishing.publish(first)
    assert (again.definition_id, again.version, again.revision, again.etag, again.stages) == ("flow", 1, 2, "2", ())
    assert len(house.store.changes) == 2


async def test_a_request_id_with_another_content_is_refused(house: House) -> None:
    await house.publishing.publish(publish(origin=origin("r1")))
    other = publish(origin=origin("r1", b"g"), given=given(description="new"))
    assert await refused(house.publishing.publish(other)) == (Kind.INVALID, "REQUEST_ID_REUSED")


async def test_the_same_request_twice_at_one_time_is_one(house: House) -> None:
    command = publish(origin=origin("r1"))
    answers = await asyncio.gather(*(house.publishing.publish(command) for _ in range(3)))
    assert [answer.version for answer in answers] == [1, 1, 1]
    head = await house.head()
    assert head.sequence == 1


# Drafts


async def test_a_draft_is_put_and_then_published(house: House) -> None:
    drafted = await house.drafting.put(draft())
    assert (drafted.definition_id, drafted.etag, drafted.changed, drafted.violations) == ("flow", "1", True, ())
    answer = await house.publishing.publish(publish(given=None, definition_id="flow", etag=drafted.etag))
    assert (answer.version, answer.etag) == (1, "2")
    head = await house.head()
    assert head.draft is None


async def test_publishing_the_draft_again_changes_nothing(house: House) -> None:
    await house.drafting.put(draft())
    command = publish(given=None, definition_id="flow")
    await house.publishing.publish(command)
    again = await house.publishing.publish(command)
    assert (again.version, again.changed) == (1, False)


async def test_there_may_be_no_draft_to_publish(house: House) -> None:
    command = publish(given=None, definition_id="flow")
    assert await refused(house.publishing.publish(command)) == (Kind.NOT_FOUND, "DRAFT_NOT_FOUND")
    nameless = publish(given=None)
    assert await refused(house.publishing.publish(nameless)) == (Kind.INVALID, "INVALID_REQUEST")


async def test_a_draft_may_be_wrong_but_not_in_its_form(house: House) -> None:
    incomplete = await house.drafting.put(draft(given=given(steps=[])))
    assert {found.code for found in incomplete.violations} == {"REQUIRED"}
    unknown = draft(given=given(colour="red"))
    assert await refused(house.drafting.put(unknown)) == (Kind.INVALID, "UNKNOWN_FIELD")
    nameless = draft(given=Given(definition={"steps": []}))
    assert await refused(house.drafting.put(nameless)) == (Kind.INVALID, "INVALID_DEFINITION")


async def test_the_same_draft_changes_nothing(house: House) -> None:
    await house.drafting.put(draft())
    again = await house.drafting.put(draft())
    assert (again.changed, again.revision, again.etag) == (False, 1, "1")


async def test_a_draft_leaves_the_published_version_alone(house: House) -> None:
    await house.publishing.publish(publish())
    await house.drafting.put(draft(given=given(description="next")))
    published = await house.catalog.published("acme", "flow")
    assert (published.compiled.version, published.revision) == (1, 2)
    rehearsed = await house.drafting.put(draft(given=given(description="later"), validate_only=True))
    assert (rehearsed.changed, rehearsed.etag) == (True, "2")
    lost = draft(given=given(description="later"), etag="1")
    assert await refused(house.drafting.put(lost)) == (Kind.RACE, "ETAG_MISMATCH")


async def test_a_repeated_draft_request_has_its_effect_once(house: House) -> None:
    command = draft(origin=origin("r1"))
    await house.drafting.put(command)
    await house.drafting.put(draft(given=given(description="next")))
    again = await house.drafting.put(command)
    assert (again.definition_id, again.etag) == ("flow", "2")


# Reading


async def test_definitions_are_read_as_they_stand(house: House) -> None:
    await house.publishing.publish(publish(given=given(description="one")))
    await house.publishing.publish(publish(given=given(description="two")))
    await house.drafting.put(draft(given=given(description="three")))
    await house.drafting.put(draft(given=Given(definition={**flow(), "id": "another"})))
    summaries = await house.definitions.summaries("acme")
    assert [(s.definition_id, s.state, s.description, s.has_draft) for s in summaries] == [
        ("another", DefinitionState.DRAFT, "", True),
        ("flow", DefinitionState.PUBLISHED, "two", True),
    ]
    assert [s.definition_id for s in await house.definitions.summaries("acme", "another")] == ["flow"]
    versions = await house.definitions.versions("acme", "flow")
    assert [(v.version, v.state, v.description) for v in versions] == [
        (2, DefinitionState.PUBLISHED, "two"),
        (1, DefinitionState.SUPERSEDED, "one"),
    ]
    assert (await house.definitions.get("acme", "flow")).version == 2
    assert (await house.definitions.get("acme", "flow", 1)).tree == flow(description="one")
    assert (await house.definitions.get("acme", "flow", draft=True)).description == "three"


async def test_what_is_not_there_is_said_so(house: House) -> None:
    await house.drafting.put(draft())
    get = house.definitions.get
    assert await refused(get("acme", "nowhere")) == (Kind.NOT_FOUND, "DEFINITION_NOT_FOUND")
    assert await refused(get("other", "flow")) == (Kind.NOT_FOUND, "DEFINITION_NOT_FOUND")
    assert await refused(get("acme", "flow", 3)) == (Kind.NOT_FOUND, "VERSION_NOT_FOUND")
    assert await refused(get("acme", "flow")) == (Kind.STATE, "DEFINITION_NOT_PUBLISHED")
    await house.publishing.publish(publish())
    assert await refused(get("acme", "flow", draft=True)) == (Kind.NOT_FOUND, "DRAFT_NOT_FOUND")
