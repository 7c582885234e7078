"""Feeds of tenants within the engine: no loss and no repeat, no reading in vain, nothing held for who is slow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contracts.store_kit import append, event, head, start
from tests.runtime.engine_kit import ME, WAITING, engine, started, until

from callboard.runtime import tenant_feeds
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.event_filters import EventFacts, event_filter
from callboard.runtime.feed_rows import FeedPruning, TenantPage
from callboard.runtime.feeds import Seats
from callboard.runtime.journal import Journal
from callboard.runtime.ports import Store
from callboard.runtime.positions import Position, Positions
from callboard.runtime.requests import Caller
from callboard.runtime.rows import ExecutionRef, StoreInfo
from callboard.runtime.settings import Settings
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.subscriptions import Subscriptions
from callboard.runtime.tenant_feeds import FeedPage, TenantFeeds
from callboard.runtime.writes import Committed

ALL = event_filter("")
SMALL = Settings(feed_scan_events_max=7, page_items_max=3, watchers_max=20)
INFO = StoreInfo("store", 3, 1, 1, b"s" * 32)
START = Position(0)


class House:
    """A journal over a store, its feeds, and executions that get events."""

    def __init__(self, store: Store, settings: Settings = SMALL) -> None:
        self.store = store
        self.journal = Journal(store, ManualClock())
        self.feeds = TenantFeeds(store, settings, Seats(settings.watchers_max), Positions(INFO))
        self.journal.subscribe(self.feeds.committed)
        self.heads: dict[ExecutionRef, tuple[int, int]] = {}
        self.written: dict[str, list[tuple[str, int]]] = {}

    async def happen(self, tenant: str, name: str, count: int = 1, **fields: Any) -> None:
        """So many more events of an execution, in one commit."""
        ref = ExecutionRef(tenant, name)
        key, sequence = self.heads.get(ref, (0, 0))
        events = tuple(event(sequence + number, **fields) for number in range(1, count + 1))
        last = head(sequence + count)
        write = append(key, sequence, ref=ref, events=events, head=last) if key else start(ref, events=events)
        outcome = await self.journal.write(write)
        assert isinstance(outcome, Committed), outcome
        self.heads[ref] = (outcome.key, sequence + count)
        self.written.setdefault(tenant, []).extend((name, each.sequence) for each in events)


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "feeds.db")
    await store.open()
    made = House(store)
    yield made
    await made.journal.close()
    await store.close()


def seen(pages: Sequence[FeedPage]) -> list[tuple[str, int]]:
    return [(found.execution_id, found.event.stored.sequence) for page in pages for found in page.events]


async def follow(feeds: TenantFeeds, tenant: str, count: int, position: Position = START) -> list[tuple[str, int]]:
    """The first `count` events of a watch."""
    pages: list[FeedPage] = []
    async with asyncio.timeout(30):
        async for page in feeds.watch(tenant, position, ALL):
            pages.append(page)
            if len(seen(pages)) >= count:
                break
    return seen(pages)


def by_execution(events: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, sequence in events:
        found.setdefault(name, []).append(sequence)
    return found


async def test_nothing_is_lost_or_repeated_while_tenants_write_at_once(house: House) -> None:
    chance = random.Random(7)
    tenants = ("a", "b", "c")
    each = 150

    async def write(tenant: str) -> None:
        for number in range(each):
            await house.happen(tenant, f"x{chance.randrange(5)}")
            if number % 40 == 0:
                await asyncio.sleep(0)

    watching = [asyncio.create_task(follow(house.feeds, tenant, each)) for tenant in tenants for _ in range(3)]
    await asyncio.gather(*(write(tenant) for tenant in tenants))
    for number, events in enumerate(await asyncio.gather(*watching)):
        assert events == house.written[tenants[number // 3]]
        assert all(found == sorted(found) for found in by_execution(events).values())


async def test_a_reader_goes_on_at_every_position(house: House) -> None:
    for number in range(6):
        await house.happen("a", "x", 2)
        await house.happen("b", f"y{number}", 3)
    with house.feeds.reading("a", START, ALL) as reader:
        positions, pages = [reader.position], []
        while not (pages and pages[-1].end):
            pages.append(await reader.read(1, 1_000_000))
            positions.append(reader.position)
    assert seen(pages) == house.written["a"]
    for place, position in enumerate(positions):
        rest = seen(pages[place:])
        assert await follow(house.feeds, "a", len(rest), position) == rest


async def test_who_is_at_the_end_does_not_look_at_the_events_of_others(house: House) -> None:
    await house.happen("a", "x")
    with house.feeds.reading("a", START, ALL) as reader:
        assert (await reader.read(10, 1_000_000)).end
        for _ in range(4):
            await house.happen("b", "y", 10)
        await reader.rest(0.0)
        assert reader.position.number == 41
        await house.happen("b", "y", 10)
        await house.happen("a", "x")
        await house.happen("b", "y", 10)
        await reader.rest(30)
        assert reader.position.number == 51
        assert seen([await reader.read(10, 1_000_000)]) == [("x", 2)]


async def test_a_commit_between_the_read_and_the_rest_is_not_slept_over(house: House) -> None:
    with house.feeds.reading("a", START, ALL) as reader:
        assert (await reader.read(10, 1_000_000)).end
        await house.happen("a", "x")
        async with asyncio.timeout(10):
            await reader.rest(3_600)
        assert seen([await reader.read(10, 1_000_000)]) == [("x", 1)]


async def test_a_kind_of_write_that_is_not_known_rings_for_everybody(house: House) -> None:
    class Novelty:
        pass

    with house.feeds.reading("a", START, ALL) as reader:
        await reader.read(10, 1_000_000)
        house.feeds.committed([(Novelty(), Committed())])  # type: ignore[list-item]
        async with asyncio.timeout(10):
            await reader.rest(3_600)
        assert reader.position == START


async def test_nobody_watching_costs_nothing(house: House) -> None:
    class Untouched(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("it was looked at")

    house.feeds.committed(Untouched())
    with house.feeds.reading("a", START, ALL), pytest.raises(AssertionError):
        house.feeds.committed(Untouched())
    house.feeds.committed(Untouched())


async def test_watches_have_seats(house: House) -> None:
    watches = [house.feeds.watch("a", START, ALL) for _ in range(SMALL.watchers_max + 1)]
    for watch in watches[:-1]:
        await anext(watch)
    with pytest.raises(Refused) as refused:
        await anext(watches[-1])
    assert refused.value.refusal.reason == "SERVER_BUSY"
    for watch in watches:
        await watch.aclose()
    assert await follow(house.feeds, "a", 0) == []


async def test_what_is_stored_once_is_filled_in_wherever_a_page_begins(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_feeds, "_KNOWN_MAX", 1)
    await house.happen("a", "x", context=b'{"user":"ann","request":"r"}', to_state="running")
    await house.happen("a", "y", context=b"{}", to_state="waiting")
    await house.happen("a", "x", 4)
    await house.happen("a", "y", 2)
    for begin in range(9):
        page = await house.feeds.read("a", Position(begin), ALL, 2, 1_000_000)
        for found in page.events:
            own = found.event
            first = own.stored.sequence == 1
            expected = ("running", "ann") if found.execution_id == "x" else ("waiting", "")
            assert (own.to_state, own.user_id) == expected
            assert own.from_state == ("pending" if first else expected[0])


async def test_a_pruning_is_told_to_who_has_missed_something(house: House) -> None:
    await house.happen("a", "x", 5)
    await house.journal.write(FeedPruning("a", 3))
    assert await house.feeds.begin("a", Position(3)) == Position(3)
    assert await house.feeds.begin("a", from_start=True) == Position(0, 3)
    assert await house.feeds.begin("a") == Position(5, 3)
    with pytest.raises(Refused) as refused:
        await house.feeds.begin("a", Position(2))
    refusal = refused.value.refusal
    assert (refusal.kind, refusal.reason) == (Kind.RANGE, "POSITION_PRUNED")
    assert Positions(INFO).read("a", refusal.metadata["oldest_position"]) == Position(2, 3)
    with house.feeds.reading("a", Position(0, 3), ALL) as reader:
        await reader.read(1, 1)
        await house.journal.write(FeedPruning("a", 4))
        with pytest.raises(Refused):
            await reader.read(1, 1)


# -- filters ---------------------------------------------------------------------------------------------------

FACTS = EventFacts("StepCompleted", "step", "o-1", "order", "running", "ann")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('event_name == "StepCompleted"', True),
        ('event_type in ["timer", "event"]', False),
        ('execution_id.startsWith("o-") && definition_id == "order" && to_state != "done" && user_id == "ann"', True),
        ('event_name.split("X")[3] == "a"', False),
        ("true", True),
        ('${user_id == "bob"}', False),
    ],
)
def test_filters(text: str, expected: bool) -> None:
    assert event_filter(text).matches(FACTS) is expected


@pytest.mark.parametrize("text", ["event_name", "1 + 1", "input.x == 1", "steps.a.result", "event_name ==", '"x"'])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        event_filter(text)
    refusal = refused.value.refusal
    assert refusal.reason == "INVALID_FILTER" and refusal.violations[0].path == "filter"


# -- positions -------------------------------------------------------------------------------------------------


def test_positions_come_back_as_they_were() -> None:
    positions = Positions(INFO)
    for position in (Position(0), Position(2**40, 2**30)):
        assert positions.read("a", positions.make("a", position)) == position


@pytest.mark.parametrize(
    ("info", "tenant", "reason"),
    [
        (INFO, "b", "INVALID_REQUEST"),
        (msgspec.structs.replace(INFO, secret=b"t" * 32), "a", "INVALID_REQUEST"),
        (msgspec.structs.replace(INFO, generation=4), "a", "OTHER_GENERATION"),
        (msgspec.structs.replace(INFO, generation=4, secret=b"t" * 32), "a", "OTHER_GENERATION"),
        (msgspec.structs.replace(INFO, store_id="another"), "a", "OTHER_GENERATION"),
    ],
)
def test_positions_of_others_are_refused(info: StoreInfo, tenant: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        Positions(info).read(tenant, Positions(INFO).make("a", Position(5)))
    assert refused.value.refusal.reason == reason


def test_a_position_that_was_tampered_with_is_refused() -> None:
    text = Positions(INFO).make("a", Position(5))
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        if changed[:-1] == text[:-1]:
            continue  # the last character has bits that carry nothing
        with pytest.raises(Refused):
            Positions(INFO).read("a", changed)
    for nonsense in ("", "x", "ä", "A" * 1_000):
        with pytest.raises(Refused):
            Positions(INFO).read("a", nonsense)


# -- subscriptions ---------------------------------------------------------------------------------------------


async def test_a_pull_is_noted_once_a_minute_and_works_where_nothing_can_be_written(house: House) -> None:
    clock = ManualClock()
    subscriptions = Subscriptions(house.store, house.journal, house.feeds, clock, SMALL)
    caller = Caller("a")
    await house.happen("a", "x", 3)
    await subscriptions.create(caller, "s", from_start=True)
    began = clock.now()
    await subscriptions.pull(caller, "s", 10, 1_000_000)
    await house.happen("b", "y")
    clock.jump(30.0)
    await subscriptions.pull(caller, "s", 10, 1_000_000)
    assert (await subscriptions.get("a", "s")).row.used_at == began
    clock.jump(40.0)
    await subscriptions.pull(caller, "s", 10, 1_000_000)
    await house.happen("b", "y")  # committed after the note
    assert (await subscriptions.get("a", "s")).row.used_at == clock.now()

    class Full:
        def submit(self, write: Any) -> Any:
            raise Refused(Refusal(Kind.BUSY, "STORAGE_FULL", "full"))

        write = submit

    clock.jump(100.0)
    full = Subscriptions(house.store, Full(), house.feeds, clock, SMALL)
    page = await full.pull(caller, "s", 10, 1_000_000)
    assert len(page.events) == 3


async def test_lag_is_counted_where_it_is_short_and_estimated_where_it_is_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.runtime.subscriptions._LAG_SAMPLE_EVENTS", 10)
    subscriptions = Subscriptions(house.store, house.journal, house.feeds, ManualClock(), SMALL)
    assert (await subscriptions.create(Caller("a"), "s")).lag_events == 0
    for _ in range(4):
        await house.happen("a", "x")
        await house.happen("b", "y")
    assert (await subscriptions.get("a", "s")).lag_events == 4
    for _ in range(40):
        await house.happen("a", "x")
        await house.happen("b", "y")
    assert (await subscriptions.get("a", "s")).lag_events == 44


async def test_a_pull_that_waits_is_sent_home_when_the_engine_closes(house: House) -> None:
    subscriptions = Subscriptions(house.store, house.journal, house.feeds, ManualClock(), SMALL)
    await subscriptions.create(Caller("a"), "s")
    pulling = asyncio.create_task(subscriptions.pull(Caller("a"), "s", 10, 1_000_000, 3_600_000_000))
    watching = asyncio.create_task(follow(house.feeds, "a", 1))
    await until(lambda: len(house.feeds._bells.get("a", ())) == 2)
    house.feeds.close()
    async with asyncio.timeout(10):
        assert (await pulling).events == []
        assert await watching == []


async def test_a_long_search_for_a_rare_event_ends_and_can_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.runtime.subscriptions._SEARCH_SECONDS", 0.0)
    subscriptions = Subscriptions(house.store, house.journal, house.feeds, ManualClock(), SMALL)
    caller = Caller("a")
    await house.happen("b", "y", 20)
    await house.happen("a", "x")
    await subscriptions.create(caller, "s", from_start=True)
    page = await subscriptions.pull(caller, "s", 10, 1_000_000)
    assert (page.events, page.position.number, page.end) == ([], 7, False)
    while not page.events:
        await subscriptions.acknowledge(caller, "s", page.position)
        page = await subscriptions.pull(caller, "s", 10, 1_000_000)
    assert seen([page]) == [("x", 1)]


# -- single executions -----------------------------------------------------------------------------------------


async def test_a_watch_of_one_execution_is_its_history_from_wherever_it_begins(tmp_path: Path) -> None:
    async with engine(tmp_path / "w.db", settings=Settings(page_items_max=3)) as runtime:
        await runtime.publish(WAITING)
        await started(runtime, "waiting", "x-1")
        record = await runtime.store.execution(ExecutionRef("default", "x-1"))
        assert record is not None

        async def watched(after: int) -> list[Any]:
            pages = runtime.feeds.watch(ExecutionRef("default", "x-1"), record.key, after)
            # The context is filled in where a page begins, and is in the other fields everywhere.
            return [
                msgspec.structs.replace(found, stored=msgspec.structs.replace(found.stored, context=None))
                async for page in pages
                for found in page
            ]

        early = [asyncio.create_task(watched(after)) for after in range(4)]
        for number in range(25):
            await runtime.submit(ME, "x-1", "nobody" if number % 3 else "other", number)
        await runtime.submit(ME, "x-1", "go", 1)
        await runtime.submit(ME, "x-1", "more", 2)
        everything = await watched(0)
        assert [found.stored.sequence for found in everything] == list(range(1, len(everything) + 1))
        assert everything[-1].is_last
        for after, found in enumerate(await asyncio.gather(*early)):
            assert found == everything[after:]
        for after in range(4, len(everything)):
            assert await watched(after) == everything[after:]


class _Counting(MemoryStore):
    """Counts the reads of feeds."""

    reads = 0

    async def tenant_events(self, tenant: str, after: int, scan_max: int, limit: int, bytes_max: int) -> TenantPage:
        self.reads += 1
        return await super().tenant_events(tenant, after, scan_max, limit, bytes_max)


async def test_watchers_do_not_read_for_the_commits_of_other_tenants() -> None:
    store = _Counting()
    await store.open()
    house = House(store)
    watches = [asyncio.create_task(follow(house.feeds, "a", 1)) for _ in range(5)]
    await until(lambda: store.reads == 5)
    for _ in range(50):
        await house.happen("b", "y", 3)
    assert store.reads == 5
    await house.happen("a", "x")
    assert await asyncio.gather(*watches) == [[("x", 1)]] * 5
    assert store.reads == 10
