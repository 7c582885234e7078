"""Publishing, retracting and reverting over the wire, and by the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.scenarios.kit import Api, refusal_of, refused, value
from tests.scenarios.lifecycle import DEFINITION, text

from callboard.client.cli import main
from callboard.v1 import definition_service_pb2 as pb2
from callboard.v1 import violations_pb2


async def retract(api: Api, definition_id: str = DEFINITION, **more: Any) -> Any:
    request = pb2.RetractDefinitionRequest(definition_id=definition_id, **more)
    return await api.definitions.RetractDefinition(request, metadata=api.metadata)


async def revert(api: Api, version: int, definition_id: str = DEFINITION, **more: Any) -> Any:
    request = pb2.RevertDefinitionRequest(definition_id=definition_id, version=version, **more)
    return await api.definitions.RevertDefinition(request, metadata=api.metadata)


async def put_draft(api: Api, number: int) -> Any:
    source = violations_pb2.SourceText(name="flow.yaml", text=text(number))
    return await api.definitions.PutDraft(pb2.PutDraftRequest(source=source), metadata=api.metadata)


async def summary(api: Api) -> Any:
    request = pb2.GetDefinitionRequest(definition_id=DEFINITION)
    return (await api.definitions.GetDefinition(request, metadata=api.metadata)).definition


async def versions(api: Api) -> list[tuple[int, str]]:
    """Number and state, the newest first."""
    request = pb2.ListDefinitionVersionsRequest(definition_id=DEFINITION)
    found = (await api.definitions.ListDefinitionVersions(request, metadata=api.metadata)).versions
    return [(one.version, pb2.DefinitionState.Name(one.state).removeprefix("DEFINITION_STATE_")) for one in found]


async def events(api: Api, page_size: int = 0, **more: Any) -> list[Any]:
    found: list[Any] = []
    request = pb2.ListDefinitionEventsRequest(definition_id=DEFINITION, page_size=page_size, **more)
    while True:
        page = await api.definitions.ListDefinitionEvents(request, metadata=api.metadata)
        assert not page_size or len(page.events) <= page_size
        found += page.events
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


# Retracting


async def test_after_a_retract_nothing_starts_and_what_runs_finishes(api: Api) -> None:
    published = await api.publish(text(1))
    await api.start(DEFINITION, "x-1")
    answer = await retract(api)
    assert [stage.name for stage in answer.stages] == ["load", "decide", "record", "invalidate", "announce"]
    assert (answer.changed, answer.impact.previous_version) == (True, 1)
    assert answer.revision == answer.definition.revision == published.revision + 1
    assert (answer.definition.published_version, answer.definition.latest_version) == (0, 1)
    assert await versions(api) == [(1, "RETRACTED")]
    for version in (0, 1):
        refusal = await refused(api.start(DEFINITION, version=version))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "DEFINITION_RETRACTED")
    await api.submit("x-1", "go")
    assert value((await api.ended("x-1")).output) == {"number": 1}


async def test_a_retracted_definition_is_published_again_as_the_next_version(api: Api) -> None:
    await api.publish(text(1))
    await retract(api)
    again = await api.publish(text(1))
    assert (again.version, again.changed) == (2, True)
    assert (await api.start(DEFINITION, "x-1")).execution.version == 2
    assert await versions(api) == [(2, "PUBLISHED"), (1, "SUPERSEDED")]


async def test_retracting_once_more_changes_nothing(api: Api) -> None:
    await api.publish(text(1))
    first = await retract(api)
    again = await retract(api)
    assert (again.changed, again.revision, again.definition.etag) == (False, first.revision, first.definition.etag)
    assert len(await events(api)) == 2


async def test_what_cannot_be_retracted_is_refused(api: Api) -> None:
    nowhere = await refused(retract(api))
    assert (nowhere.code, nowhere.reason) == ("NOT_FOUND", "DEFINITION_NOT_FOUND")
    await put_draft(api, 1)
    draft = await refused(retract(api))
    assert (draft.code, draft.reason) == ("FAILED_PRECONDITION", "DEFINITION_NOT_PUBLISHED")
    nameless = await refused(retract(api, ""))
    assert (nameless.code, nameless.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "definition_id" in nameless.fields
    await api.publish(text(1))
    stale = await refused(retract(api, etag="7"))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert await versions(api) == [(1, "PUBLISHED")]


async def test_a_retract_can_be_tried_out(api: Api) -> None:
    await api.publish(text(1))
    tried = await retract(api, validate_only=True)
    assert [stage.name for stage in tried.stages] == ["load", "decide"]
    assert (tried.changed, tried.impact.previous_version, tried.definition.published_version) == (True, 1, 1)
    assert await versions(api) == [(1, "PUBLISHED")]
    assert (await api.start(DEFINITION, "x-1")).started


async def test_a_repeated_retract_does_not_take_back_what_came_after_it(api: Api) -> None:
    await api.publish(text(1))
    first = await retract(api, request_id="r-1")
    await api.publish(text(2))
    again = await retract(api, request_id="r-1")
    assert (again.changed, again.definition.published_version) == (True, 2)
    assert again.revision == first.revision + 1
    other = await refused(retract(api, request_id="r-1", validate_only=False, etag="2"))
    assert (other.code, other.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_retract_leaves_the_draft_and_other_tenants_alone(api: Api) -> None:
    other = api.of("other")
    for one in (api, other):
        await one.publish(text(1))
    await put_draft(api, 2)
    answer = await retract(api)
    assert answer.definition.has_draft
    assert await versions(other) == [(1, "PUBLISHED")]
    assert (await other.start(DEFINITION, "x-1")).started


# Reverting


async def test_a_revert_publishes_an_old_content_as_the_next_version(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    await put_draft(api, 3)
    answer = await revert(api, 1)
    names = ["load", "validate", "compile", "decide", "record", "invalidate", "announce"]
    assert [stage.name for stage in answer.stages] == names
    assert (answer.definition_version.version, answer.changed, answer.impact.previous_version) == (3, True, 2)
    assert await versions(api) == [(3, "PUBLISHED"), (2, "SUPERSEDED"), (1, "SUPERSEDED")]
    assert (await summary(api)).has_draft
    assert answer.etag == (await summary(api)).etag
    await api.start(DEFINITION, "x-1")
    await api.submit("x-1", "go")
    ended = await api.ended("x-1")
    assert (ended.version, value(ended.output)) == (3, {"number": 1})


async def test_a_revert_publishes_what_was_retracted(api: Api) -> None:
    await api.publish(text(1))
    await retract(api)
    assert (await revert(api, 1)).definition_version.version == 2
    assert (await api.start(DEFINITION, "x-1")).execution.version == 2


async def test_reverting_to_what_is_published_changes_nothing(api: Api) -> None:
    for number in (1, 2, 1):
        await api.publish(text(number))
    for version in (3, 1):
        answer = await revert(api, version)
        assert (answer.definition_version.version, answer.changed, answer.revision) == (3, False, 3)


async def test_a_revert_can_be_tried_out(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    tried = await revert(api, 1, validate_only=True)
    assert [stage.name for stage in tried.stages] == ["load", "validate", "compile", "decide"]
    assert (tried.definition_version.version, tried.changed, tried.etag) == (3, True, "2")
    assert await versions(api) == [(2, "PUBLISHED"), (1, "SUPERSEDED")]


async def test_what_cannot_be_reverted_to_is_refused(api: Api) -> None:
    assert (await refused(revert(api, 1))).reason == "DEFINITION_NOT_FOUND"
    await api.publish(text(1))
    assert (await refused(revert(api, 2))).reason == "VERSION_NOT_FOUND"
    missing = await refused(revert(api, 0))
    assert (missing.code, set(missing.fields)) == ("INVALID_ARGUMENT", {"version"})
    assert (await refused(revert(api, 1, etag="7"))).reason == "ETAG_MISMATCH"
    migrate = pb2.PUBLISH_RUNNING_EXECUTIONS_MIGRATE
    assert (await refused(revert(api, 1, running_executions=migrate))).reason == "UNSUPPORTED"


async def test_a_repeated_revert_has_its_effect_once(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    assert (await revert(api, 1, request_id="r-1")).definition_version.version == 3
    await api.publish(text(4))
    again = await revert(api, 1, request_id="r-1")
    assert (again.definition_version.version, again.changed, again.revision) == (3, True, 4)
    assert (await versions(api))[0] == (4, "PUBLISHED")


# Racing


async def test_of_concurrent_publishes_one_wins_and_the_others_are_aborted(api: Api) -> None:
    """All were decided on the same standing, as their etag says."""
    etag = (await api.publish(text(0))).etag
    for turn in range(1, 6):
        calls = [api.publish(text(turn * 10 + number), etag=etag) for number in range(4)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [refusal_of(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)]
        (won,) = [each for each in answers if not isinstance(each, BaseException)]
        assert [refusal.code for refusal in refusals] == ["ABORTED"] * 3
        assert {refusal.reason for refusal in refusals} <= {"ETAG_MISMATCH", "LOST_RACE"}
        assert won.version == turn + 1
        assert [number for number, state in await versions(api) if state == "PUBLISHED"] == [won.version]
        etag = won.etag


# The history


async def test_the_history_says_who_did_what_and_when(api: Api) -> None:
    ann, bob = api.of(user="ann"), api.of(user="bob")
    await put_draft(ann, 1)
    await ann.publish(text(1))
    await bob.publish(text(2))
    await ann.publish(text(2))
    await bob.definitions.RevertDefinition(
        pb2.RevertDefinitionRequest(definition_id=DEFINITION, version=1), metadata=bob.metadata
    )
    await retract(ann)
    found = await events(api)
    assert [(one.sequence, one.event_name, one.version, one.revision, one.user_id) for one in found] == [
        (1, "DefinitionDrafted", 0, 1, "ann"),
        (2, "DefinitionPublished", 1, 2, "ann"),
        (3, "DefinitionPublished", 2, 3, "bob"),
        (4, "DefinitionPublished", 3, 4, "bob"),
        (5, "DefinitionRetracted", 3, 5, "ann"),
    ]
    assert [one.event_id for one in found] == [f"{DEFINITION}/{number}" for number in range(1, 6)]
    moments = [one.created_at.ToDatetime() for one in found]
    assert moments == sorted(moments)
    payloads = [value(one.payload) for one in found]
    assert payloads[0]["content"]["id"] == DEFINITION
    assert [payload.get("reverts_to") for payload in payloads] == [None, None, None, 1, None]
    assert [payload.get("previous") for payload in payloads] == [None, None, 1, 2, None]
    assert [stage["name"] for stage in payloads[3]["stages"]] == ["load", "validate", "compile", "decide"]
    assert [stage["name"] for stage in payloads[4]["stages"]] == ["load", "decide"]


async def test_the_history_comes_in_pages(api: Api) -> None:
    for number in range(5):
        await api.publish(text(number))
    whole = await events(api)
    assert [one.sequence for one in whole] == [1, 2, 3, 4, 5]
    for page_size in (1, 2, 5):
        assert await events(api, page_size) == whole
    assert await events(api, 2, after_revision=2) == whole[2:]
    assert await events(api, after_revision=5) == []


async def test_a_history_that_cannot_be_read_is_refused(api: Api) -> None:
    assert (await refused(events(api))).reason == "DEFINITION_NOT_FOUND"
    await api.publish(text(1))
    assert (await refused(events(api.of("other")))).reason == "DEFINITION_NOT_FOUND"
    assert (await refused(events(api, page_token="x"))).reason == "INVALID_PAGE_TOKEN"
    assert (await refused(events(api, after_revision=-1))).reason == "INVALID_REQUEST"


# The command line


async def command(api: Api, *arguments: str) -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, main, ["--address", api.server.address, *arguments], env={"CALLBOARD_USER": "ann"}
    )


async def test_the_command_line_retracts_reverts_and_shows_the_history(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    assert (await command(api, "retract", DEFINITION, "--dry-run")).stdout.splitlines()[0] == (
        "would retract version 2 of flow"
    )
    assert (await command(api, "retract", DEFINITION)).stdout == "retracted version 2 of flow (revision 3)\n"
    assert (await command(api, "retract", DEFINITION)).stdout == "flow is retracted already\n"
    tried = await command(api, "revert", DEFINITION, "--to", "1", "--dry-run")
    assert tried.stdout.splitlines()[0] == "would publish flow version 3 with the content of version 1"
    done = await command(api, "revert", DEFINITION, "--to", "1")
    assert done.stdout == "published flow version 3 with the content of version 1 (revision 4)\n"
    again = await command(api, "revert", DEFINITION, "--to", "1")
    assert again.stdout == "flow version 3, with the content of version 1, is published already\n"
    history = [
        line.split("\t") for line in (await command(api, "definitions", DEFINITION, "--history")).stdout.splitlines()
    ]
    assert [line[:4] for line in history[1:]] == [
        ["1", "DefinitionPublished", "1", "1"],
        ["2", "DefinitionPublished", "2", "2"],
        ["3", "DefinitionRetracted", "2", "3"],
        ["4", "DefinitionPublished", "3", "4"],
    ]
    assert history[4][5:] == ["ann", '{"reverts_to": 1}']


async def test_the_command_line_speaks_json(api: Api) -> None:
    for number in (1, 2):
        await api.publish(text(number))
    reverted = json.loads((await command(api, "revert", DEFINITION, "--to", "1", "--json")).stdout)
    assert (reverted["definition_version"]["version"], reverted["changed"]) == (3, True)
    retracted = json.loads((await command(api, "retract", DEFINITION, "--json")).stdout)
    assert (retracted["changed"], retracted["definition"]["state"], retracted["revision"]) == (True, "RETRACTED", 4)
    found = json.loads((await command(api, "definitions", DEFINITION, "--history", "--json")).stdout)
    assert [one["sequence"] for one in found] == [1, 2, 3, 4]
    assert found[2]["payload"]["reverts_to"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("retract", "nowhere"), 1, "DEFINITION_NOT_FOUND"),
        (("retract", DEFINITION, "--etag", "7"), 1, "ETAG_MISMATCH"),
        (("revert", DEFINITION, "--to", "9"), 1, "VERSION_NOT_FOUND"),
        (("revert", DEFINITION), 2, "--to"),
        (("revert", DEFINITION, "--to", "0"), 2, "--to"),
        (("definitions", "nowhere", "--history"), 1, "DEFINITION_NOT_FOUND"),
    ],
)
async def test_the_command_line_says_why_not(api: Api, arguments: tuple[str, ...], code: int, said: str) -> None:
    await api.publish(text(1))
    result = await command(api, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
