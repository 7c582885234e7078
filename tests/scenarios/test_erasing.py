"""What was sensitive is erased for good, and what remains of an execution is whole: it reads, replays and verifies."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.kit import Api, eventually, payload, refused, serve, status, value, worker
from tests.scenarios.sensitive import (
    EVENT,
    FLOW,
    HIDDEN,
    INPUT,
    PAYLOAD,
    WHOLE,
    erase,
    exported,
    files,
    leaks,
    past,
    replay,
    rows,
    rule,
    run_through,
    seen,
    snapshot,
    verify,
    waits,
)
from tests.scenarios.test_backups import back_up
from tests.scenarios.test_forks import fork
from tests.scenarios.test_history_files import brought, wrong
from tests.scenarios.test_retention import delete, pruned

from callboard.runtime.settings import Settings
from callboard.runtime.stores.sqlite_restore import restore
from callboard.v1 import execution_events_pb2 as events_pb2

CHANGED_BY_ERASING = {"erased_at", "updated_at", "sequence", "head_hash"}


def fields(message: Any) -> dict[str, Any]:
    return {field.name: found for field, found in message.ListFields() if field.name not in CHANGED_BY_ERASING}


async def started(api: Api, execution_id: str = "o-1") -> None:
    """An execution that waits for its event, with values in it."""
    await api.publish(FLOW)
    async with worker(api, rule):
        await api.start("pay", execution_id, input=payload(INPUT))
        await waits(api, "got", execution_id)


async def finished(api: Api, execution_id: str) -> list[Any]:
    """The rest of it; the tasks of the worker."""
    async with worker(api, rule) as stub:
        await api.submit(execution_id, "go", PAYLOAD)
        assert (await api.ended(execution_id)).status == status("COMPLETED")
    return stub.tasks


async def test_values_are_erased_and_all_else_stays(api: Api, tmp_path: Path) -> None:
    await run_through(api)
    await snapshot(api, "o-1")
    before, history, lines = await api.get("o-1"), await api.history("o-1"), await exported(api, "o-1")
    states = [await past(api, "o-1", event.sequence) for event in history]
    replayed = await replay(api, "o-1", debug=True)
    assert await verify(api, "o-1") == []
    assert rows(tmp_path)[0] == 1
    answer = await erase(api.of(user="ann"), "o-1", reason="asked for")
    assert rows(tmp_path) == (0, 0)
    assert answer.erased_at.seconds and answer.execution_id == "o-1"
    after, later = await api.get("o-1"), await api.history("o-1")
    assert fields(after) == fields(before)
    assert after.erased_at == answer.erased_at == after.updated_at
    assert (later[:-1], after.head_hash) == (history, later[-1].hash)
    last = later[-1]
    assert (last.event_name, last.event_type, last.user_id) == ("ExecutionErased", "control", "ann")
    assert value(last.payload)["reason"] == "asked for"
    assert last.from_state == last.to_state == before.state
    assert await verify(api, "o-1") == []
    assert [await past(api, "o-1", event.sequence) for event in history] == states
    again = await replay(api, "o-1", until_sequence=len(history), debug=True)
    assert (again.state, again.steps) == (replayed.state, replayed.steps)
    assert [place.mark for place in again.sensitive_places] == [place.mark for place in replayed.sensitive_places]
    kept = [line for line in (await exported(api, "o-1")).splitlines() if b"v1.ExecutionErased" not in line]
    assert kept[1:-1] == lines.splitlines()[1:-1]
    assert leaks(await seen(api, "o-1")) == []


async def test_only_what_has_ended_is_erased_and_once(api: Api) -> None:
    await started(api)
    refusal = await refused(erase(api, "o-1"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "EXECUTION_NOT_ENDED")
    assert refusal.metadata["status"] == "RUNNING"
    tasks = await finished(api, "o-1")
    assert value(tasks[-1].input) == WHOLE
    assert (await refused(erase(api, "o-9"))).reason == "EXECUTION_NOT_FOUND"
    too_long = await refused(erase(api, "o-1", reason="x" * 1_025))
    assert (too_long.reason, list(too_long.fields)) == ("INVALID_REQUEST", ["reason"])
    first = await erase(api, "o-1", reason="x" * 1_024, request_id="r-1")
    repeats = [
        await erase(api, "o-1", reason="x" * 1_024, request_id="r-1"),
        await erase(api, "o-1", request_id="r-2"),
        await erase(api, "o-1"),
    ]
    assert repeats == [first, first, first]
    assert (await refused(erase(api, "o-1", request_id="r-1"))).reason == "REQUEST_ID_REUSED"
    assert (await api.names("o-1")).count("ExecutionErased") == 1


async def test_one_without_sensitive_values_is_answered_as_it_is(api: Api) -> None:
    await api.publish("id: plain\nsteps: [{id: a, set: {b: 1}}]")
    ended = (await api.start("plain", "x-1", wait=30)).execution
    assert await erase(api, "x-1", request_id="r-1") == ended
    assert "ExecutionErased" not in await api.names("x-1")


async def test_an_erased_execution_is_watched_to_its_very_end(tmp_path: Path) -> None:
    """Also where the page of its end is full."""
    async with serve(tmp_path) as api:
        await run_through(api)
        await erase(api, "o-1")
        names = await api.names("o-1")
    async with serve(tmp_path, settings=Settings(page_items_max=len(names) - 1)) as api:
        watch = api.executions.WatchExecution(events_pb2.WatchExecutionRequest(execution_id="o-1"))
        assert [event.event_name async for page in watch for event in page.events] == names
        watch = api.executions.WatchExecution(
            events_pb2.WatchExecutionRequest(execution_id="o-1", after_sequence=len(names) - 1)
        )
        assert [event.event_name async for page in watch for event in page.events] == ["ExecutionErased"]


async def test_erased_values_are_in_no_file_and_stay_away(tmp_path: Path) -> None:
    """With a dead letter that holds one as it was sent."""
    async with serve(tmp_path) as api:
        await started(api)
        await api.enqueue("o-1", "go", {"token": ["wrong", EVENT, "x" * 20_000]})
        await eventually(lambda: api.dead_letters("o-1"))
        await finished(api, "o-1")
        assert files(tmp_path) != [], "the letter is kept as it was sent"
        await erase(api, "o-1")
        (letter,) = await api.dead_letters("o-1")
        assert value(letter.payload) == {"token": HIDDEN}

        async def clean() -> bool:
            return not files(tmp_path)

        await eventually(clean)
        assert await verify(api, "o-1") == []
    assert files(tmp_path) == []
    async with serve(tmp_path) as api:
        assert rows(tmp_path) == (0, 0)
        await erase(api, "o-1")
        assert value((await api.dead_letters("o-1"))[0].payload) == {"token": HIDDEN}
        assert (await api.get("o-1")).erased_at.seconds


async def test_a_fork_takes_the_values_over_and_keeps_them_when_the_other_is_erased(api: Api, tmp_path: Path) -> None:
    await started(api)
    history = await api.history("o-1")
    await fork(api, "o-1", at_sequence=len(history), new_execution_id="f-1")
    assert rows(tmp_path)[0] == 2
    await finished(api, "o-1")
    await fork(api, "o-1", new_execution_id="f-2")
    await erase(api, "o-1")
    refusal = await refused(fork(api, "o-1", at_sequence=len(history), new_execution_id="f-3"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SENSITIVE_VALUES_ERASED")
    assert (await refused(api.get("f-3"))).reason == "EXECUTION_NOT_FOUND"
    assert value((await finished(api, "f-1"))[-1].input) == WHOLE
    assert (await fork(api, "o-1", new_execution_id="f-4")).erased_at.seconds
    for execution_id in ("f-1", "f-2", "f-4"):
        assert await verify(api, execution_id) == []
        assert leaks(await seen(api, execution_id)) == []
    await erase(api, "f-1")
    assert rows(tmp_path) == (0, 0)
    assert await verify(api, "f-1") == []


async def test_an_export_holds_no_values_and_verifies_elsewhere(tmp_path: Path) -> None:
    async with serve(tmp_path / "a") as old, serve(tmp_path / "b") as new:
        await new.publish(FLOW)
        await started(old)
        open_one = await exported(old, "o-1")
        refusal = await wrong(new, open_one)
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SENSITIVE_VALUES_ERASED")
        await finished(old, "o-1")
        data = await exported(old, "o-1")
        assert leaks([("the export", data.decode())]) == []
        await brought(new, data)
        before, after = await old.get("o-1"), await new.get("o-1")
        assert (after.status, after.input, after.output) == (before.status, before.input, before.output)
        assert await verify(new, "o-1") == []
        assert rows(tmp_path / "b") == (0, 0)
        assert (await erase(new, "o-1")).erased_at.seconds
        assert await verify(new, "o-1") == []
        assert await new.names("o-1") == ["ExecutionForked", "ExecutionErased"]
        await old.start("pay", "o-2", input=payload(INPUT))
        assert (await wrong(new, await exported(old, "o-2"))).reason == "SENSITIVE_VALUES_ERASED"


@pytest.mark.parametrize("way", ["delete", "prune"])
async def test_what_is_deleted_takes_its_values_with_it(api: Api, tmp_path: Path, way: str) -> None:
    await run_through(api)
    await run_through(api, "o-2")
    keys, values = rows(tmp_path)
    assert (keys, values % 2) == (2, 0)
    await delete(api, "o-1") if way == "delete" else await pruned(api, 'definition_id == "pay"', max_count=1)

    async def gone() -> bool:
        return rows(tmp_path) == (1, values // 2)

    await eventually(gone)


async def test_erasing_does_not_change_how_long_an_execution_is_kept(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await api.publish(FLOW.replace("id: pay\n", "id: pay\nretention: 30d\n"))
        async with worker(api, rule):
            await api.start("pay", "o-1", input=payload(INPUT))
            await api.submit("o-1", "go", PAYLOAD)
            await api.ended("o-1")
        kept = expiry(tmp_path)
        assert kept is not None
        await erase(api, "o-1")
        assert expiry(tmp_path) == kept


def expiry(data: Path) -> Any:
    with closing(sqlite3.connect(data / "callboard.db")) as connection:
        return connection.execute("SELECT expires_at FROM retention").fetchone()


async def test_a_restored_backup_goes_on_with_the_values(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with serve(old) as api:
        await started(api)
        await back_up(api, tmp_path / "backup")
    assert leaks([("the backup", (tmp_path / "backup").read_bytes().decode("latin-1"))]) == []
    restore(tmp_path / "backup", new / "callboard.db")
    async with serve(new) as api:
        assert value((await finished(api, "o-1"))[-1].input) == WHOLE
        assert await verify(api, "o-1") == []


async def test_another_tenant_erases_nothing(api: Api, tmp_path: Path) -> None:
    await run_through(api.of("ours"))
    kept = rows(tmp_path)
    assert (await refused(erase(api.of("theirs"), "o-1"))).reason == "EXECUTION_NOT_FOUND"
    await run_through(api.of("theirs"))
    await erase(api.of("theirs"), "o-1")
    assert rows(tmp_path) == kept
    assert not (await api.of("ours").get("o-1")).HasField("erased_at")


Damage = Callable[[sqlite3.Connection], object]
DAMAGES: dict[str, Damage] = {
    "a value is gone": lambda file: file.execute(
        "DELETE FROM sealed_values WHERE commitment = (SELECT min(commitment) FROM sealed_values)"
    ),
    "a value is another one": lambda file: file.execute(
        "UPDATE sealed_values SET ciphertext = (SELECT max(ciphertext) FROM sealed_values)"
        " WHERE ciphertext = (SELECT min(ciphertext) FROM sealed_values)"
    ),
    "a byte is missing": lambda file: file.execute(
        "UPDATE sealed_values SET ciphertext = substr(ciphertext, 2)"
        " WHERE commitment = (SELECT min(commitment) FROM sealed_values)"
    ),
    "a value is no value": lambda file: file.execute(
        "UPDATE sealed_values SET ciphertext = 'text' WHERE commitment = (SELECT min(commitment) FROM sealed_values)"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_value_is_found(tmp_path: Path, damage: Damage) -> None:
    async with serve(tmp_path) as api:
        await run_through(api)
    with closing(sqlite3.connect(tmp_path / "callboard.db")) as file:
        damage(file)
        file.commit()
    async with serve(tmp_path) as api:
        (problem,) = await verify(api, "o-1")
        assert problem[0] == "SEALED_VALUE"
        event = (await api.history("o-1"))[problem[1] - 1]
        assert HIDDEN in event.payload.json


async def test_a_lost_key_is_found_for_every_value_and_one_that_should_be_gone(tmp_path: Path) -> None:
    async with serve(tmp_path) as api:
        await run_through(api)
    with closing(sqlite3.connect(tmp_path / "callboard.db")) as file:
        ((key, secret),) = file.execute("SELECT execution, key FROM secrets").fetchall()
        file.execute("DELETE FROM secrets")
        file.commit()
    async with serve(tmp_path) as api:
        found = await verify(api, "o-1")
        assert {kind for kind, _ in found} == {"SEALED_VALUE"} and len(found) > len(WHOLE)
        await erase(api, "o-1")
        assert await verify(api, "o-1") == []
        erased = (await api.get("o-1")).sequence
    with closing(sqlite3.connect(tmp_path / "callboard.db")) as file:
        file.execute("INSERT INTO secrets VALUES (?, ?)", (key, secret))
        file.commit()
    async with serve(tmp_path) as api:
        assert await verify(api, "o-1") == [("SEALED_VALUE", erased)]
