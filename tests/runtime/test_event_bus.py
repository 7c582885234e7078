import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.engine_kit import ME, started, until
from tests.runtime.event_kit import (
    EMITTING,
    KEYED,
    WatchedMemory,
    WatchedStore,
    World,
    listening,
    no_room_for_emitted,
    watched,
    who,
    world,
)

from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.values import Opaque
from callboard.runtime.event_bus import EventAnswer, derived_id
from callboard.runtime.lifecycle_rows import DefinitionVersion
from callboard.runtime.ports import StorageFullError
from callboard.runtime.requests import StartRequest
from callboard.runtime.settings import Settings
from callboard.runtime.trigger_rows import EventExpansion, OfferedWait, StartedByTrigger
from callboard.runtime.writes import Write

Open = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(params=["memory", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], WatchedStore]:
    """Gives a store; of the one in memory always the same, of the one on disk a new one over the same file."""
    memory = watched()
    return lambda: memory if request.param == "memory" else watched(tmp_path / "events.db")


@pytest.fixture
async def one() -> AsyncIterator[World]:
    async with world() as opened:
        yield opened


def ids(answer: EventAnswer) -> list[str]:
    return [each.execution_id for each in answer.outcome.started]


def reason(refused: pytest.ExceptionInfo[Refused]) -> str:
    return refused.value.refusal.reason


# What listens


async def test_an_event_starts_what_listens_with_its_input_origin_and_context(one: World) -> None:
    await one.definitions(listening(), listening(2, "also"))
    answer = await one.publish(who(), "order.placed", payload={"id": 7}, event_id="e-1")
    execution_id = derived_id("listening", "placed", "e-1")
    assert execution_id.startswith("listening-placed-")
    assert (answer.event_id, answer.duplicate) == ("e-1", False)
    assert (answer.outcome.started_count, answer.outcome.offered_count, answer.outcome.warnings) == (2, 0, ())
    assert StartedByTrigger("listening", "placed", execution_id, 1) in answer.outcome.started
    event = await one.started_event(execution_id)
    assert event["input"] == {"order": 7}
    assert event["origin"] == {"trigger_id": "placed", "event_id": "e-1"}
    assert event["trace"] == who().trace
    assert event["context"] == {"by": "g", "user": "ann", "trace": who().trace}


async def test_without_an_input_template_the_payload_is_the_input(one: World) -> None:
    await one.definitions("id: plain\ntriggers: [{id: t, event: {name: go}}]\nsteps: [{id: w, receive: {event: x}}]")
    (first,) = ids(await one.publish(ME, "go", payload=[1, "two"]))
    assert (await one.runtime.get(ME, first)).input == [1, "two"]
    (second,) = ids(await one.publish(ME, "go", payload=Opaque("image/png", b"\x89")))
    assert (await one.runtime.get(ME, second)).input == Opaque("image/png", b"\x89")


async def test_other_names_tenants_and_filters_that_say_no_start_nothing(one: World) -> None:
    await one.definitions(listening().replace("order.placed}", 'order.placed, filter: "event.id > 5"}'))
    for answer in (
        await one.publish(ME, "order.paid", payload={"id": 7}),
        await one.publish(who(tenant="other"), "order.placed", payload={"id": 7}),
        await one.publish(ME, "order.placed", payload={"id": 5}),
    ):
        assert answer.outcome == type(answer.outcome)()
    assert await one.executions() == []
    assert (await one.publish(ME, "order.placed", payload={"id": 6})).outcome.started_count == 1


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (("order.placed}", 'order.placed, filter: "event.missing == 1"}'), "event.filter: "),
        (('"${event.id}"', '"${event.missing}"'), "missing"),
        (("steps:", 'labels: {of: "${input.missing}"}\nsteps:'), "a label cannot be made"),
        (("steps:", "input_schema: {properties: {order: {type: boolean}}}\nsteps:"), "does not fit input_schema"),
        (("    input:", '    unique_key: "event.list"\n    input:'), "unique_key: "),
        (("order.placed}", "order.placed, execution_id: \"'no id: ' + event.text\"}"), "event.execution_id: "),
        (('"${event.id}"', '"${event.text + event.text}"'), "payload_bytes_max"),
    ],
)
async def test_a_trigger_that_cannot_start_is_a_located_warning_and_harms_nobody(
    mistake: tuple[str, str], said: str
) -> None:
    async with world(settings=Settings(payload_bytes_max=1_000)) as one:
        await one.definitions(listening(1, "wrong").replace(*mistake), listening(2, "right"))
        payload = {"id": 7, "list": [1], "text": "x" * 600}
        answer = await one.publish(ME, "order.placed", payload=payload, event_id="e-1")
        assert [each.definition_id for each in answer.outcome.started] == ["right"]
        (warning,) = answer.outcome.warnings
        assert warning.startswith("wrong@1 triggers[placed]: ")
        assert said in warning
        again = await one.publish(ME, "order.placed", payload=payload, event_id="e-1")
        assert (again.duplicate, again.outcome) == (True, answer.outcome)


async def test_a_trigger_that_raises_costs_the_others_nothing(
    one: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = "input_schema: {properties: {order: {sensitive: true}}}\n"
    await one.definitions(listening(1, "broken"), listening(2, "right"), hidden + listening(3, "hiding"))
    prepare = one.bus._births.prepare

    def breaking(ref: Any, command: Any, *rest: Any, **more: Any) -> Any:
        if command.definition_id == "broken":
            raise ZeroDivisionError("a defect")
        if command.definition_id == "hiding":
            raise KeyError(f"what to do with {command.input}")
        return prepare(ref, command, *rest, **more)

    monkeypatch.setattr(one.bus._births, "prepare", breaking)
    answer = await one.publish(ME, "order.placed", payload={"id": "hidden-from-all"})
    assert [each.definition_id for each in answer.outcome.started] == ["right"]
    assert sorted(answer.outcome.warnings) == [
        "broken@1 triggers[placed]: ZeroDivisionError: a defect",
        "hiding@1 triggers[placed]: RuntimeError: KeyError, its words are withheld",
    ]
    assert "a trigger raised" in caplog.text
    assert "hidden-from-all" not in caplog.text


async def test_equal_events_start_an_execution_with_a_chosen_id_once(one: World) -> None:
    await one.definitions(listening().replace("order.placed}", "order.placed, execution_id: \"'order-' + event.id\"}"))
    first, second = await asyncio.gather(
        one.publish(ME, "order.placed", payload={"id": "7"}), one.publish(ME, "order.placed", payload={"id": "7"})
    )
    assert sorted(ids(first) + ids(second)) == ["order-7"]
    assert first.outcome.warnings == second.outcome.warnings == ()


async def test_a_unique_key_is_held_until_its_execution_has_ended(one: World) -> None:
    await one.definitions(listening().replace("    input:", '    unique_key: "event.id"\n    input:'))
    (first,) = ids(await one.publish(ME, "order.placed", payload={"id": "a"}))
    taken = await one.publish(ME, "order.placed", payload={"id": "a"})
    assert (ids(taken), taken.outcome.warnings) == ([], ())
    assert len(ids(await one.publish(ME, "order.placed", payload={"id": "b"}))) == 1
    assert (await one.runtime.get(ME, first)).unique_key == "a"
    await one.runtime.submit(ME, first, "done")
    assert len(ids(await one.publish(ME, "order.placed", payload={"id": "a"}))) == 1


# Races with lifecycle changes


async def test_the_version_is_the_one_published_at_the_acceptance(one: World) -> None:
    await one.definitions(listening(1))

    async def overtake() -> bool:
        await one.definitions(listening(2))
        return False

    one.store.on_listeners = overtake
    answer = await one.publish(ME, "order.placed", payload={"id": 7})
    assert [each.version for each in answer.outcome.started] == [2]
    assert [record.head.version for record in await one.executions()] == [2]


async def test_a_retract_that_overtakes_leaves_nothing_to_start(one: World) -> None:
    await one.definitions(listening())

    async def overtake() -> bool:
        await one.runtime.retract("listening")
        return False

    one.store.on_listeners = overtake
    assert ids(await one.publish(ME, "order.placed", payload={"id": 7})) == []
    assert await one.executions() == []


async def test_what_is_remembered_of_listeners_is_never_right_by_itself(one: World) -> None:
    """Entries that nobody dropped when their definition changed, as by another server."""
    await one.definitions(listening(1))
    assert [each.version for each in (await one.publish(ME, "order.placed", payload={"id": 1})).outcome.started] == [1]
    remembered = one.bus._listeners.cached("default", "order.placed")
    assert remembered is not None
    await one.definitions(listening(2))
    one.bus._listeners._heard["default", "order.placed"] = remembered
    assert [each.version for each in (await one.publish(ME, "order.placed", payload={"id": 1})).outcome.started] == [2]
    await one.runtime.retract("listening")
    one.bus._listeners._heard["default", "order.placed"] = remembered
    assert ids(await one.publish(ME, "order.placed", payload={"id": 1})) == []


async def test_listeners_that_never_stop_changing_are_a_lost_race(one: World) -> None:
    await one.definitions(listening(1))
    version = 1

    async def overtake() -> bool:
        nonlocal version
        version += 1
        await one.definitions(listening(version))
        return True

    one.store.on_listeners = overtake
    with pytest.raises(Refused) as refused:
        await one.publish(ME, "order.placed", payload={"id": 7}, event_id="e-1")
    assert reason(refused) == "LOST_RACE"
    assert await one.executions() == []
    one.store.on_listeners = None
    assert not (await one.publish(ME, "order.placed", payload={"id": 7}, event_id="e-1")).duplicate


# Repeats


async def test_the_same_event_is_accepted_once(one: World) -> None:
    await one.definitions(listening())
    answers = await asyncio.gather(
        *(one.publish(ME, "order.placed", payload={"id": 7}, event_id="e-1") for _ in range(5))
    )
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True, True]
    assert len({answer.outcome.started for answer in answers}) == 1
    assert len(await one.executions()) == 1


async def test_the_same_request_is_the_same_event(one: World) -> None:
    await one.definitions(listening())
    first = await one.publish(who("r-1", 1), "order.placed", payload={"id": 1})
    again = await one.publish(who("r-1", 1), "order.placed", payload={"id": 1})
    assert again == msgspec.structs.replace(first, duplicate=True)
    with pytest.raises(Refused) as refused:
        await one.publish(who("r-1", 2), "order.placed", payload={"id": 2})
    assert reason(refused) == "REQUEST_ID_REUSED"
    assert len(await one.executions()) == 1


async def test_a_request_that_was_used_for_something_else_is_refused(one: World) -> None:
    await one.definitions(listening())
    await one.runtime.start(who("r-1", "start"), StartRequest("listening"))
    with pytest.raises(Refused) as refused:
        await one.publish(who("r-1", "event"), "order.placed", payload={"id": 2}, event_id="e-2")
    assert reason(refused) == "REQUEST_ID_REUSED"
    assert len(await one.executions()) == 1


async def test_the_same_request_with_the_ids_of_its_event_is_answered_by_what_it_matched(one: World) -> None:
    await one.definitions(listening())
    first = await one.publish(who("r-1", 1), "order.placed", payload={"id": 1}, event_id="e-1")
    again = await one.publish(who("r-1", 1), "order.placed", payload={"id": 1}, event_id="e-1")
    assert (again.event_id, again.duplicate, again.outcome) == ("e-1", True, first.outcome)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": ""}, "INVALID_REQUEST"),
        ({"name": "a b"}, "INVALID_REQUEST"),
        ({"key": "k" * 256}, "INVALID_REQUEST"),
        ({"event_id": "e" * 256}, "INVALID_REQUEST"),
        ({"event_id": "emit:1:2"}, "INVALID_REQUEST"),
        ({"payload": "x" * 100}, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_what_no_event_may_be_is_refused(given: dict[str, str], why: str) -> None:
    async with world(settings=Settings(payload_bytes_max=100)) as one:
        with pytest.raises(Refused) as refused:
            await one.publish(ME, **{"name": "go", **given})
        assert reason(refused) == why
        assert one.store.commits == 0


async def test_a_full_disk_is_said_and_nothing_is_accepted(one: World) -> None:
    await one.definitions(listening())
    one.store.before_write = _no_room
    with pytest.raises(Refused) as refused:
        await one.publish(ME, "order.placed", payload={"id": 7}, event_id="e-1")
    assert reason(refused) == "STORAGE_FULL"
    assert await one.executions() == []
    assert one.runtime.supervisor.live == 0


async def _no_room(batch: object) -> Any:
    raise StorageFullError("there is no room")


# What it costs


async def test_an_event_costs_one_commit_and_no_read(one: World) -> None:
    await one.definitions(listening())
    await one.publish(ME, "order.placed", payload={"id": 1})
    await one.publish(ME, "nobody.listens", key="k", payload={"id": 1})
    commits = one.store.commits
    one.store.reads.clear()
    assert len(ids(await one.publish(ME, "order.placed", payload={"id": 2}))) == 1
    assert (one.store.commits, dict(one.store.reads)) == (commits + 1, {})
    assert ids(await one.publish(ME, "nobody.listens", key="k", payload={"id": 2})) == []
    assert (one.store.commits, dict(one.store.reads)) == (commits + 2, {})


async def test_what_an_event_started_takes_its_first_command_without_a_read(one: World) -> None:
    await one.definitions(listening())
    (execution_id,) = ids(await one.publish(ME, "order.placed", payload={"id": 1}))
    one.store.reads.clear()
    assert (await one.runtime.submit(ME, execution_id, "done")).view.output == 1
    assert not one.store.reads


async def test_an_execution_is_taken_over_though_the_caller_has_gone(one: World) -> None:
    await one.definitions(listening())
    writing, gone = asyncio.Event(), asyncio.Event()

    async def wait(batch: object) -> None:
        writing.set()
        await gone.wait()

    one.store.before_write = wait
    calling = asyncio.create_task(one.publish(ME, "order.placed", payload={"id": 1}))
    await writing.wait()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    gone.set()
    await one.settled(lambda records: len(records) == 1)
    assert calling.cancelled()
    assert one.runtime.supervisor.live == 1


async def test_many_clients_at_once_share_commits_and_start_everything_once(
    stored: Callable[[], WatchedStore],
) -> None:
    async with world(stored()) as one:
        await one.definitions(listening())
        before = one.store.commits

        async def client(number: int) -> list[EventAnswer]:
            return [
                await one.publish(ME, "order.placed", payload={"id": place}, event_id=f"e-{number}-{place}")
                for place in range(25)
            ]

        answers = [answer for own in await asyncio.gather(*map(client, range(8))) for answer in own]
        assert len({execution_id for answer in answers for execution_id in ids(answer)}) == 200
        assert len(await one.executions()) == 200
        assert one.store.commits - before < 100


class Spoilt(WatchedMemory):
    """Holds a definition in a form that this program does not understand."""

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        found = await super().definition_version(tenant, definition_id, version)
        if found is None or definition_id != "spoilt":
            return found
        return msgspec.structs.replace(found, content=b'{"id": 7}')


async def test_a_definition_that_cannot_be_read_any_more_costs_the_others_nothing() -> None:
    store = Spoilt()
    async with world(store) as one:
        await one.definitions(listening(definition_id="spoilt"), listening())
    async with world(store) as one:
        answer = await one.publish(ME, "order.placed", payload={"id": "o-1"})
        assert [start.definition_id for start in answer.outcome.started] == ["listening"]
        (warning,) = answer.outcome.warnings
        assert warning.startswith("spoilt@1 triggers[placed]: version 1 of definition 'spoilt' does not compile")


# What waits


async def test_a_key_reaches_its_one_waiter_and_wakes_nobody_else(stored: Callable[[], WatchedStore]) -> None:
    async with world(stored()) as one:
        await one.definitions(KEYED)
        for number in range(100):
            await started(one.runtime, "keyed", f"e-{number}", {"order": f"o-{number}"})
    async with world(stored()) as one:
        assert one.runtime.supervisor.live == 0
        answer = await one.publish(ME, "payment", key="o-42", payload={"cents": 5}, event_id="p-1")
        assert (answer.outcome.offered_count, answer.outcome.offered) == (1, (OfferedWait("e-42", "paid"),))
        assert answer.outcome.job_id == ""
        await one.settled(lambda records: records[42].head.status == "COMPLETED")
        await until(lambda: one.runtime.supervisor.live == 0)
        assert one.store.reads["snapshot"] == 1  # of the one that was woken
        assert [record.head.status for record in await one.executions()].count("RUNNING") == 99
        assert (await one.runtime.get(ME, "e-42")).output == 5


async def test_a_filter_of_a_waiter_is_judged_by_its_execution(one: World) -> None:
    await one.definitions(KEYED)
    await started(one.runtime, "keyed", "e-1", {"order": "o-1"})
    answer = await one.publish(ME, "payment", key="o-1", payload={"cents": 0})
    assert answer.outcome.offered_count == 1
    assert (await one.publish(ME, "payment", key="o-1", payload={"cents": 3})).outcome.offered_count == 1
    await one.settled(lambda records: records[0].head.status == "COMPLETED")
    assert (await one.runtime.get(ME, "e-1")).output == 3
    assert (await one.publish(ME, "payment", key="o-1", payload={"cents": 4})).outcome.offered_count == 0


async def test_more_waiters_than_one_commit_takes_are_reached_by_a_job(stored: Callable[[], WatchedStore]) -> None:
    async with world(stored(), settings=Settings(event_offers_max=10)) as one:
        await one.definitions(KEYED)
        for number in range(35):
            await started(one.runtime, "keyed", f"e-{number}", {"order": "same"})
        answer = await one.publish(who(), "payment", key="same", payload={"cents": 5})
        assert (answer.outcome.offered_count, len(answer.outcome.offered)) == (10, 10)
        await started(one.runtime, "keyed", "late", {"order": "same"})
        await one.settled(lambda records: [record.head.status for record in records].count("COMPLETED") == 35)
        job = await one.runtime.store.job("default", answer.outcome.job_id)
        assert job is not None
        assert (job.state, job.target, job.user_id, job.done, job.failed) == ("SUCCEEDED", "payment", "ann", 25, 0)
        assert (await one.runtime.get(ME, "late")).status == "RUNNING"


@pytest.mark.parametrize("events", [1, 3])
async def test_large_events_reach_their_waiters_a_few_at_a_time(
    stored: Callable[[], WatchedStore], events: int
) -> None:
    async with world(stored()) as one:
        await one.definitions(KEYED)
        for number in range(20):
            await started(one.runtime, "keyed", f"e-{number}", {"order": "same"})
        heaviest = 0

        async def weigh(batch: Sequence[Write]) -> None:
            nonlocal heaviest
            heaviest = max(heaviest, *(len(write.offers) for write in batch if isinstance(write, EventExpansion)), 0)

        one.store.before_write = weigh
        payload = {"cents": 5, "note": "x" * 1_000_000}
        answers = await asyncio.gather(
            *(one.publish(ME, "payment", key="same", payload=payload) for _ in range(events))
        )
        # So much for one commit, and at least one step for each event.
        assert [answer.outcome.offered_count for answer in answers] == [8, 1, 1][:events]
        await one.settled(lambda records: [record.head.status for record in records].count("COMPLETED") == 20)
        assert 0 < heaviest <= 8


# What executions emit


async def test_an_emitted_event_starts_what_listens_in_the_trace_of_its_sender(one: World) -> None:
    await one.definitions(listening(), EMITTING)
    await one.runtime.start(who("r-1", 1), StartRequest("emitting", execution_id="e-1", input={"id": "o-1"}))
    await one.settled(lambda records: len(records) == 2)
    (record,) = await one.executions(definition_id="listening")
    event = await one.started_event(record.ref.execution_id)
    assert event["input"] == {"order": "o-1"}
    assert event["origin"]["event_id"].startswith("emit:")
    assert event["trace"] == who().trace
    assert event["context"] == {"by": "g", "user": "ann", "trace": who().trace}
    assert await one.runtime.store.outbox(0, 10) == []


async def test_an_emission_survives_a_restart_and_is_accepted_once(stored: Callable[[], WatchedStore]) -> None:
    store = stored()
    async with world(store) as one:
        await one.definitions(listening(), EMITTING)
        store.before_write = no_room_for_emitted
        await started(one.runtime, "emitting", "e-1", {"id": "o-1"})
        assert len(await one.runtime.store.outbox(0, 10)) == 1
    store = stored()
    store.before_write = None
    async with world(store) as one:
        await one.settled(lambda records: len(records) == 2)
        assert await one.runtime.store.outbox(0, 10) == []
    async with world(stored()) as one:
        assert len(await one.executions()) == 2


async def test_emissions_of_one_execution_are_accepted_in_order(one: World) -> None:
    many = """
id: many
steps:
  - id: each
    foreach: {items: "input", max_concurrency: 1, steps: [{id: say, emit: {name: said, payload: "${item}"}}]}
"""
    hearing = "id: hearing\ntriggers: [{id: t, event: {name: said}}]\nsteps: [{id: w, receive: {event: x}}]"
    await one.definitions(many, hearing)
    await started(one.runtime, "many", "e-1", list(range(20)))
    await one.settled(lambda records: len(records) == 21)
    heard = [record.ref.execution_id for record in await one.executions(definition_id="hearing")]
    assert [(await one.runtime.get(ME, each)).input for each in heard] == list(range(20))


async def test_what_an_event_starts_may_emit_in_its_first_turn(one: World) -> None:
    chained = EMITTING.replace("steps:", "triggers: [{id: t, event: {name: begin}}]\nsteps:")
    await one.definitions(listening(), chained)
    assert len(ids(await one.publish(ME, "begin", payload={"id": "o-9"}))) == 1
    await one.settled(lambda records: len(records) == 2)
    (record,) = await one.executions(definition_id="listening")
    assert (await one.runtime.get(ME, record.ref.execution_id)).input == {"order": "o-9"}
