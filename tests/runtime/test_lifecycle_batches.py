"""Several definitions at once: as a batch, and as what an export wrote."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.runtime.lifecycle_house import STAGES, House, draft, flow, origin, publish, refusal, refused

from callboard.runtime.core.refusals import Kind
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.chain import Chain, Stage
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.lifecycle.deleting import Delete
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle.retracting import Retract

PLACED = {"id": "placed", "event": {"name": "order.placed"}}


@pytest.fixture
async def house() -> House:
    house = House()
    await house.store.open()
    return house


def item(definition_id: str, etag: str = "", **fields: Any) -> BatchItem:
    return BatchItem(Given(definition={**flow(**fields), "id": definition_id}), etag=etag)


def batch(*items: BatchItem, **fields: Any) -> PublishBatch:
    return PublishBatch(**{"origin": origin(), "items": items, **fields})


async def bundle(house: House, *definition_ids: str) -> str:
    return "\n".join((await export(house.store, "acme", definition_ids, "", 1_000_000)).lines)


# Batches


async def test_all_are_published_with_one_revision(house: House) -> None:
    await house.publishing.publish(publish())
    answer = await house.batching.publish(batch(item("a"), item("flow", description="new"), item("b")))
    assert [(one.definition_id, one.version, one.revision, one.changed) for one in answer.definitions] == [
        ("a", 1, 2, True),
        ("flow", 2, 2, True),
        ("b", 1, 2, True),
    ]
    assert answer.revision == 2
    assert [stage.name for stage in answer.stages] == STAGES
    assert [(one.definition_id, one.revision) for one in house.told[1:]] == [("a", 2), ("flow", 2), ("b", 2)]
    assert [(await house.catalog.published("acme", name)).compiled.version for name in ("a", "flow", "b")] == [1, 2, 1]


async def test_what_is_published_already_stays_as_it_is(house: House) -> None:
    await house.publishing.publish(publish())
    answer = await house.batching.publish(batch(item("flow"), item("a")))
    assert [(one.version, one.revision, one.changed) for one in answer.definitions] == [(1, 1, False), (1, 2, True)]
    assert (await house.head()).revision == 1
    again = await house.batching.publish(batch(item("flow"), item("a")))
    assert (again.revision, len(house.store.changes)) == (2, 2)


async def test_what_stays_as_it_is_must_still_be_so_when_the_others_change(house: House) -> None:
    """All of a batch is published at its revision, or none."""
    await house.publishing.publish(publish())
    record = next(stage for stage in house.batching.chain.stages if stage.durable)

    async def late(value: Any, report: Any) -> Any:
        await house.retracting.retract(Retract(origin(), "flow"))
        return await record.run(value, report)

    stages = (Stage(one.name, late if one.durable else one.run, one.durable) for one in house.batching.chain.stages)
    house.batching.chain = Chain(tuple(stages))
    assert await refused(house.batching.publish(batch(item("flow"), item("a")))) == (Kind.RACE, "LOST_RACE")
    assert await house.store.definition("acme", "a") is None


async def test_others_get_their_turn_while_many_are_published(house: House) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    answer = await house.batching.publish(batch(*(item(f"d-{number}") for number in range(500))))
    counting.cancel()
    assert len(answer.definitions) == 500
    assert turns > 4 * 500


async def test_everything_that_is_wrong_is_told_at_once_with_its_place(house: House) -> None:
    text = Given(SourceText("b.yaml", "id: b\nsteps:\n  - id: end\n    fnish: {}\n"))
    wrong = batch(item("a"), BatchItem(text), item("c", input_schema={"type": 7}))
    found = await refusal(house.batching.publish(wrong))
    assert (found.kind, found.reason) == (Kind.INVALID, "INVALID_DEFINITION")
    assert {one.path.partition(".")[0] for one in found.violations} == {"items[1]", "items[2]"}
    assert ("b.yaml", 4) in {(one.source, one.line) for one in found.violations}
    assert "items[1] (b): " in found.message
    assert "items[2] (c): " in found.message
    assert found.metadata["items"] == "items[1],items[2]"
    assert await house.store.definitions("acme", "", 10) == []


async def test_a_text_that_cannot_be_read_is_named_too(house: House) -> None:
    found = await refusal(house.batching.publish(batch(item("a"), BatchItem(Given(SourceText("b.yaml", "{"))))))
    assert found.violations[0].path == "items[1]"
    assert found.violations[0].source == "b.yaml"


async def test_one_etag_that_does_not_match_refuses_all(house: House) -> None:
    await house.publishing.publish(publish())
    found = await refusal(house.batching.publish(batch(item("a"), item("flow", "7", description="new"))))
    assert (found.kind, found.reason, found.resource) == (Kind.RACE, "ETAG_MISMATCH", "flow")
    assert found.message.startswith("items[1] (flow): ")
    assert await house.store.definition("acme", "a") is None


async def test_each_definition_stands_there_once(house: House) -> None:
    found = await refusal(house.batching.publish(batch(item("a"), item("b"), item("a"))))
    assert [(one.path, one.code) for one in found.violations] == [("items[2].id", "DUPLICATE_ID")]
    assert await refused(house.batching.publish(batch())) == (Kind.INVALID, "INVALID_REQUEST")


async def test_drafts_are_published_together(house: House) -> None:
    await house.drafting.put(draft())
    answer = await house.batching.publish(batch(BatchItem(definition_id="flow"), item("a")))
    assert [one.version for one in answer.definitions] == [1, 1]
    missing = await refusal(house.batching.publish(batch(BatchItem(definition_id="nowhere"))))
    assert (missing.reason, missing.message.partition(":")[0]) == ("DRAFT_NOT_FOUND", "items[0] (nowhere)")


async def test_a_rehearsal_says_everything_and_changes_nothing(house: House) -> None:
    answer = await house.batching.publish(batch(item("a"), item("b"), validate_only=True))
    assert [(one.version, one.revision, one.changed) for one in answer.definitions] == [(1, 0, True), (1, 0, True)]
    assert [stage.name for stage in answer.stages] == STAGES[:4]
    assert house.store.changes == []


async def test_a_repeated_request_is_answered_with_its_versions(house: House) -> None:
    command = batch(item("a"), item("b"), origin=origin("r-1"))
    await house.batching.publish(command)
    await house.batching.publish(batch(item("a", description="later")))
    again = await house.batching.publish(command)
    assert [(one.definition_id, one.version, one.revision) for one in again.definitions] == [("a", 1, 2), ("b", 1, 1)]
    assert (again.revision, again.stages) == (2, ())


async def test_triggers_of_one_batch_have_to_go_together(house: House) -> None:
    trigger = {"id": "placed", "event": {"name": "order.placed", "execution_id": "event.id"}}
    found = await refusal(house.batching.publish(batch(item("a", triggers=[trigger]), item("b", triggers=[trigger]))))
    assert [(one.path, one.code) for one in found.violations] == [
        ("items[0].triggers[0].event.execution_id", "TRIGGER_CLASH"),
        ("items[1].triggers[0].event.execution_id", "TRIGGER_CLASH"),
    ]
    assert "trigger 'placed' of definition 'b'" in found.violations[0].message


async def test_a_trigger_moves_from_one_definition_to_another_in_one_batch(house: House) -> None:
    trigger = {"id": "placed", "event": {"name": "order.placed", "execution_id": "event.id"}}
    await house.batching.publish(batch(item("a", triggers=[trigger]), item("b")))
    await house.batching.publish(batch(item("a"), item("b", triggers=[trigger])))
    _, rows = await house.store.listeners("acme", "order.placed")
    assert [row.definition_id for row in rows] == ["b"]


# Exports and imports


async def test_an_import_publishes_what_was_exported(house: House) -> None:
    await house.batching.publish(batch(item("b", triggers=[PLACED]), item("a"), item("c")))
    await house.retracting.retract(Retract(origin(), "c"))
    await house.pausing.pause(PauseTrigger(origin(), "b", "placed", paused=True))
    text = await bundle(house)
    other = House()
    await other.store.open()
    answer = await other.importing.import_bundle(Import(origin(), text))
    assert [(one.definition_id, one.version, one.changed) for one in answer.definitions] == [
        ("a", 1, True),
        ("b", 1, True),
    ]
    assert answer.revision == 1
    assert [stage.name for stage in answer.stages] == ["read", *STAGES]
    assert (await other.head("b")).paused == ("placed",)
    row = await other.store.trigger("acme", "b", "placed")
    assert row is not None
    assert (row.active, row.paused) == (True, True)
    (event, _) = await other.store.definition_events("acme", "b", 0, 0, 10, 10_000)
    assert msgspec.json.decode(event.payload)["imported"] is True
    lines = (await bundle(other)).split("\n")
    assert lines[1:] == text.split("\n")[1:]


async def test_importing_again_changes_nothing(house: House) -> None:
    await house.batching.publish(batch(item("a"), item("b", triggers=[PLACED])))
    await house.pausing.pause(PauseTrigger(origin(), "b", "placed", paused=True))
    text = await bundle(house)
    changes = len(house.store.changes)
    answer = await house.importing.import_bundle(Import(origin(), text))
    assert not any(one.changed for one in answer.definitions)
    await house.pausing.pause(PauseTrigger(origin(), "b", "placed", paused=False))
    paused = await house.importing.import_bundle(Import(origin(), text))
    assert [one.changed for one in paused.definitions] == [False, True]
    assert (await house.head("b")).paused == ("placed",)
    assert len(house.store.changes) == changes + 2


async def test_an_export_comes_in_pages_of_the_size_that_is_wanted(house: House) -> None:
    await house.batching.publish(batch(*(item(f"d{number}", description="x" * 200) for number in range(7))))
    whole = (await bundle(house)).split("\n")
    lines: list[str] = []
    after, pages = "", 0
    while True:
        page = await export(house.store, "acme", (), after, 900)
        lines += page.lines
        pages += 1
        if not (after := page.next_after):
            break
        assert sum(map(len, page.lines)) <= 900
    assert lines == whole
    assert len(whole) == 8
    assert pages > 2
    tiny = await export(house.store, "acme", (), "d3", 1)
    assert (len(tiny.lines), tiny.next_after) == (1, "d4")


async def test_an_export_of_named_definitions(house: House) -> None:
    await house.batching.publish(batch(item("a"), item("b"), item("c")))
    lines = (await bundle(house, "c", "a", "c")).split("\n")
    assert [msgspec.json.decode(line)["definition_id"] for line in lines[1:]] == ["a", "c"]
    assert await refused(export(house.store, "acme", ("nowhere",), "", 1)) == (Kind.NOT_FOUND, "DEFINITION_NOT_FOUND")
    await house.deleting.delete(Delete(origin(), "b"))
    assert await refused(export(house.store, "acme", ("b",), "", 1)) == (Kind.STATE, "DEFINITION_NOT_PUBLISHED")


@pytest.mark.parametrize(
    ("change", "line", "path"),
    [
        (lambda lines: [lines[0].replace("/1", "/2"), *lines[1:]], 1, "format"),
        (lambda lines: lines[1:], 1, ""),
        (lambda lines: [lines[0], "{", *lines[1:]], 2, ""),
        (lambda lines: [lines[0], lines[1].replace('"finish"', '"fail"')], 2, "fingerprint"),
        (lambda lines: [lines[0], lines[1].replace('_id":"a"', '_id":"z"')], 2, "definition.id"),
        (lambda lines: [lines[0], lines[1], "", lines[1]], 4, "definition_id"),
        (lambda lines: [lines[0], lines[1].replace('"paused":[]', '"paused":["x"]')], 2, "paused"),
        (lambda lines: lines[:1], 1, ""),
        (lambda lines: [], 1, ""),
    ],
    ids=["format", "no-header", "no-json", "changed", "other-id", "twice", "paused", "nothing", "empty"],
)
async def test_what_no_export_has_written_is_refused_with_its_line(
    house: House, change: Any, line: int, path: str
) -> None:
    await house.batching.publish(batch(item("a"), item("b")))
    changes = len(house.store.changes)
    text = "\n".join(change((await bundle(house)).split("\n")))
    found = await refusal(house.importing.import_bundle(Import(origin(), text)))
    assert (found.kind, found.reason) == (Kind.INVALID, "INVALID_EXPORT")
    assert (found.violations[0].line, found.violations[0].path) == (line, path)
    assert f"export:{line}:1: " in found.message
    assert len(house.store.changes) == changes


async def test_all_wrong_lines_are_told_at_once(house: House) -> None:
    await house.batching.publish(batch(*(item(f"d{number}") for number in range(6))))
    text = (await bundle(house)).replace('"finish"', '"fail"')
    found = await refusal(house.importing.import_bundle(Import(origin(), text)))
    assert [one.line for one in found.violations] == [2, 3, 4, 5, 6, 7]
    assert found.message.endswith("; and 3 more")


async def test_a_field_that_this_program_does_not_know_is_located_by_its_line(house: House) -> None:
    await house.batching.publish(batch(item("a")))
    text = (await bundle(house)).replace('"finish":{}', '"finish":{},"colour":"red"')
    found = await refusal(house.importing.import_bundle(Import(origin(), text)))
    assert (found.reason, found.violations[0].path) == ("UNKNOWN_FIELD", "lines[2].steps[0].colour")
