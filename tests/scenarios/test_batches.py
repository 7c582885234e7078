"""Several definitions in one change: published, exported, imported; and the stages that users add to the chains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scenarios.kit import Api, refused, serve
from tests.scenarios.lifecycle import text

from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import violations_pb2


def named(name: str, number: int = 1) -> str:
    return text(number).replace("id: flow", f"id: {name}")


def item(name: str, content: str, **more: Any) -> pb2.BatchPublishItem:
    return pb2.BatchPublishItem(source=violations_pb2.SourceText(name=f"{name}.yaml", text=content), **more)


async def batch(api: Api, *items: pb2.BatchPublishItem, **more: Any) -> Any:
    return await api.definitions.BatchPublish(pb2.BatchPublishRequest(items=items, **more), metadata=api.metadata)


async def versions(api: Api) -> dict[str, int]:
    found = await api.definitions.ListDefinitions(pb2.ListDefinitionsRequest(), metadata=api.metadata)
    return {one.definition_id: one.published_version for one in found.definitions}


async def all_events(api: Api, page_size: int = 0) -> list[tuple[str, str, int]]:
    """Of the whole tenant: definition, event, revision."""
    request, found = pb2.ListDefinitionEventsRequest(page_size=page_size), []
    while True:
        page = await api.definitions.ListDefinitionEvents(request, metadata=api.metadata)
        found += [(event.definition_id, event.event_name, event.revision) for event in page.events]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_batch_is_published_with_one_revision(api: Api) -> None:
    await api.publish(named("b"))
    answer = await batch(api, item("a", named("a")), item("b", named("b", 2)), item("c", named("c")))
    assert [one.definition_version.definition_id for one in answer.definitions] == ["a", "b", "c"]
    assert await versions(api) == {"a": 1, "b": 2, "c": 1}
    assert answer.revision == 2
    assert await all_events(api) == [
        ("b", "DefinitionPublished", 1),
        ("a", "DefinitionPublished", 2),
        ("b", "DefinitionPublished", 2),
        ("c", "DefinitionPublished", 2),
    ]
    assert await all_events(api, page_size=1) == await all_events(api)
    names = [stage.name for stage in answer.stages]
    assert names == ["load", "validate", "compile", "decide", "record", "invalidate", "announce"]


async def test_where_the_third_of_five_is_invalid_none_is_published(api: Api) -> None:
    broken = named("c").replace("event: go", "event: go, colour: red")
    contents = {name: broken if name == "c" else named(name) for name in "abcde"}
    refusal = await refused(batch(api, *(item(name, content) for name, content in contents.items())))
    assert refusal.code == "INVALID_ARGUMENT"
    (violation,) = refusal.violations
    assert "colour" in violation.path
    assert violation.source_name == "c.yaml"
    assert violation.line > 1
    assert await versions(api) == {}


async def test_all_that_is_wrong_in_a_batch_is_told_at_once(api: Api) -> None:
    broken = "id: {}\nsteps: [{{id: got, task: {{service: s, operation: one, input: '${{nowhere}}'}}}}]"
    refusal = await refused(
        batch(api, item("a", broken.format("a")), item("b", named("b")), item("c", broken.format("c")))
    )
    assert {violation.source_name for violation in refusal.violations} == {"a.yaml", "c.yaml"}
    assert await versions(api) == {}


async def test_a_batch_is_refused_whole_for_one_old_etag(api: Api) -> None:
    await api.publish(named("b"))
    refusal = await refused(batch(api, item("a", named("a")), item("b", named("b", 2), etag="7")))
    assert (refusal.code, refusal.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert await versions(api) == {"b": 1}


async def test_a_definition_comes_once_in_a_batch(api: Api) -> None:
    refusal = await refused(batch(api, item("a", named("a")), item("b", named("a", 2))))
    assert refusal.code == "INVALID_ARGUMENT"
    assert "'a'" in refusal.message
    assert (await refused(batch(api))).code == "INVALID_ARGUMENT"


async def test_a_repeated_batch_answers_with_the_same_versions(api: Api) -> None:
    items = (item("a", named("a")), item("b", named("b")))
    first = await batch(api, *items, request_id="r-1")
    await api.publish(named("a", 2))
    again = await batch(api, *items, request_id="r-1")
    assert [one.definition_version.version for one in again.definitions] == [1, 1]
    assert len(first.definitions) == 2
    assert await versions(api) == {"a": 2, "b": 1}


async def test_a_dry_run_of_a_batch_tells_the_impact_and_changes_nothing(api: Api) -> None:
    await api.publish(named("a"))
    await api.start("a", "x")
    answer = await batch(api, item("a", named("a", 2)), item("b", named("b")), validate_only=True)
    first, second = answer.definitions
    assert (first.changed, first.impact.previous_version, first.impact.running_executions) == (True, 1, 1)
    assert list(second.impact.triggers_added) == ["placed", "nightly"]
    assert await versions(api) == {"a": 1}


# Export and import


async def export(api: Api, *ids: str) -> str:
    lines: list[str] = []
    request = pb2.ExportDefinitionsRequest(definition_ids=ids)
    while True:
        page = await api.definitions.ExportDefinitions(request, metadata=api.metadata)
        lines += page.lines
        if not page.next_page_token:
            return "\n".join(lines)
        request.page_token = page.next_page_token


async def test_what_was_exported_is_published_elsewhere(tmp_path: Path) -> None:
    async with serve(tmp_path / "here") as api:
        await batch(api, item("a", named("a")), item("b", named("b", 2)))
        await api.definitions.PauseTrigger(pb2.PauseTriggerRequest(definition_id="b", trigger_id="placed"))
        bundle = await export(api)
        assert len((await export(api, "a")).splitlines()) == 2
    async with serve(tmp_path / "there") as api:
        request = pb2.ImportDefinitionsRequest(text=bundle)
        answer = await api.definitions.ImportDefinitions(request)
        assert [one.changed for one in answer.definitions] == [True, True]
        assert await versions(api) == {"a": 1, "b": 1}
        again = await api.definitions.ImportDefinitions(request)
        assert [one.changed for one in again.definitions] == [False, False]
        assert (await export(api)).splitlines()[1:] == bundle.splitlines()[1:]
        found = (await api.definitions.ListTriggers(pb2.ListTriggersRequest(definition_id="b"))).triggers
        assert {one.trigger.id: one.paused for one in found} == {"nightly": False, "placed": True}


async def test_a_bundle_that_was_changed_is_refused_at_its_line(api: Api) -> None:
    await api.publish(named("a"))
    bundle = await export(api)
    for broken in (bundle.replace("number", "nimber"), bundle.replace("callboard.definitions/1", "other/1"), "{", ""):
        refusal = await refused(api.definitions.ImportDefinitions(pb2.ImportDefinitionsRequest(text=broken)))
        assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_EXPORT")
    assert json.loads(bundle.splitlines()[1])["definition_id"] == "a"


# The past


async def test_a_definition_as_it_was(api: Api) -> None:
    await api.publish(named("a", 1))
    await api.publish(named("a", 2))
    await api.definitions.RetractDefinition(pb2.RetractDefinitionRequest(definition_id="a"))
    found = []
    for sequence in (1, 2, 3):
        request = pb2.GetDefinitionRequest(definition_id="a", at_sequence=sequence)
        answer = await api.definitions.GetDefinition(request)
        found.append((answer.definition.published_version, answer.definition_version.version))
    assert found == [(1, 1), (2, 2), (0, 0)]
    refusal = await refused(api.definitions.GetDefinition(pb2.GetDefinitionRequest(definition_id="a", at_sequence=4)))
    assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "SEQUENCE_OUT_OF_RANGE")


# Clashes


async def test_two_definitions_that_would_start_the_same_execution_are_found_at_publish(api: Api) -> None:
    choosing = """
id: {}
triggers: [{{id: t, event: {{name: e, execution_id: "'x-' + event.id"}}}}]
steps: [{{id: a, set: {{n: 1}}}}]
"""
    await api.publish(choosing.format("first"))
    refusal = await refused(api.publish(choosing.format("second")))
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.violations[0].path.startswith("triggers[0]")
    assert "first" in refusal.violations[0].message
    await api.publish(choosing.format("first").replace("n: 1", "n: 2"))
    await api.definitions.RetractDefinition(pb2.RetractDefinitionRequest(definition_id="first"))
    await api.publish(choosing.format("second"))
