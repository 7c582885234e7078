"""The journal: who waits for what, who is told when, and what a failing disk does to everyone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from tests.contracts.store_contract import ExecutionRef, append, enqueue, start

from callboard.runtime.core.refusals import Kind, Refused
from callboard.runtime.journal import Journal
from callboard.runtime.ports import StorageFailedError, StorageFullError
from callboard.runtime.rows import ExecutionAppend, InboxInsert
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.trigger_rows import (
    EventAcceptance,
    EventExpansion,
    JobKind,
    JobRow,
    JobState,
    TriggerStart,
    WaitRow,
)
from callboard.runtime.writes import Committed, Lost, Outcome, Why, Write


class Steps:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep_until(self, deadline: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((deadline, waiting))
        await waiting

    async def advance(self, seconds: float) -> None:
        await settle()
        self.seconds += seconds
        for deadline, waiting in self._sleepers:
            if deadline <= self.seconds and not waiting.done():
                waiting.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Disk(MemoryStore):
    """A store whose flushes can be held back and made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Write]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.error: Exception | None = None
        self.probes = 0

    async def write(self, batch: Sequence[Write]) -> list[Outcome]:
        self.batches.append(list(batch))
        await self.free.wait()
        if self.error is not None:
            raise self.error
        return await super().write(batch)

    async def probe(self) -> bool:
        self.probes += 1
        if isinstance(self.error, StorageFailedError):
            raise self.error
        return self.error is None


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> Steps:
    return Steps()


@pytest.fixture
def fatal() -> list[BaseException]:
    return []


@pytest.fixture
async def journal(disk: Disk, clock: Steps, fatal: list[BaseException]) -> AsyncIterator[Journal]:
    journal = Journal(disk, clock, on_fatal=fatal.append)
    yield journal
    disk.free.set()
    await journal.close()


def starts(count: int) -> list[Write]:
    return [start(ExecutionRef("acme", f"x{number}")) for number in range(count)]


async def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


async def test_a_lone_write_is_committed_without_a_timer(journal: Journal, disk: Disk) -> None:
    outcome = await journal.write(start())
    assert isinstance(outcome, Committed) and outcome.key == 1
    assert len(disk.batches) == 1


async def test_what_comes_during_a_flush_goes_into_the_next_one(journal: Journal, disk: Disk) -> None:
    disk.free.clear()
    first, *others = starts(5)
    answers = [journal.submit(first)]
    await settle()
    answers += [journal.submit(write) for write in others]
    disk.free.set()
    assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*answers))
    assert disk.batches == [[first], others]


async def test_a_flush_is_bounded_in_number_and_bytes(disk: Disk, clock: Steps) -> None:
    journal = Journal(disk, clock, flush_appends_max=4)
    await asyncio.gather(*[journal.submit(write) for write in starts(10)])
    assert [len(batch) for batch in disk.batches] == [4, 4, 2]
    disk.batches.clear()
    heavy = Journal(disk, clock, flush_bytes_max=10)
    inserts = [InboxInsert(ExecutionRef("acme", "x0"), f"e{n}", "n", b'"123456"', b"{}", 1) for n in range(4)]
    await asyncio.gather(*[heavy.submit(write) for write in inserts])
    assert [len(batch) for batch in disk.batches] == [2, 2]


async def test_what_events_start_and_are_offered_to_counts_in_bytes(disk: Disk, clock: Steps) -> None:
    journal = Journal(disk, clock, flush_bytes_max=1_000)
    (begun,) = starts(1)
    assert isinstance(begun, ExecutionAppend)
    many = (TriggerStart("t", begun),) * (600 // sum(len(event.payload) for event in begun.events))
    event = EventAcceptance("acme", "p", "n", "", b"1", b"{}", 1, 2, 0, many)
    await asyncio.gather(*[journal.submit(event) for _ in range(4)])
    assert [len(batch) for batch in disk.batches] == [2, 2]
    disk.batches.clear()
    job = JobRow("acme", "j", JobKind.EXPAND_EVENT, JobState.RUNNING, "n", b"{}")
    waits = tuple(WaitRow(number, ExecutionRef("acme", "x"), 1, "s") for number in range(2))
    expansion = EventExpansion(job, "p", "n", b"1", b"{}", 1, waits)
    await asyncio.gather(*[journal.submit(expansion) for _ in range(4)])
    assert [len(batch) for batch in disk.batches] == [2, 2]


async def test_listeners_hear_of_commits_in_order_and_before_the_callers(journal: Journal) -> None:
    heard: list[str] = []
    journal.subscribe(lambda commits: heard.extend(f"first {outcome.key}" for _, outcome in commits))
    journal.subscribe(lambda commits: heard.extend(f"second {outcome.key}" for _, outcome in commits))
    answers = [journal.submit(write) for write in starts(2)]
    answers[0].add_done_callback(lambda _: heard.append("answer"))
    lost = journal.submit(append(99, 1))
    await asyncio.gather(*answers, lost)
    await settle()
    assert heard == ["first 1", "first 2", "second 1", "second 2", "answer"]
    assert lost.result() == Lost(Why.NOT_FOUND, "there is no execution 'a'")


async def test_a_listener_that_raises_keeps_nobody_from_the_commit(journal: Journal) -> None:
    heard: list[int] = []

    def broken(commits: object) -> None:
        raise RuntimeError("defect")

    journal.subscribe(broken)
    journal.subscribe(lambda commits: heard.append(len(commits)))
    assert isinstance(await journal.write(start()), Committed)
    assert heard == [1]


async def test_a_caller_that_gives_up_does_not_take_its_write_back(journal: Journal, disk: Disk) -> None:
    disk.free.clear()
    callers = [asyncio.ensure_future(journal.write(write)) for write in starts(3)]
    await settle()
    late = asyncio.ensure_future(journal.write(enqueue("e-1", ExecutionRef("acme", "x1"))))
    await settle()
    callers[1].cancel()
    late.cancel()
    await settle()
    disk.free.set()
    assert isinstance(await callers[0], Committed)
    assert isinstance(await callers[2], Committed)
    await journal.close()
    record = await disk.execution(ExecutionRef("acme", "x1"))
    assert record is not None
    assert len(await disk.inbox(record.key, 10)) == 1


async def test_a_full_disk_refuses_all_and_goes_on_by_itself(journal: Journal, disk: Disk, clock: Steps) -> None:
    disk.error = StorageFullError("full")
    disk.free.clear()
    answers = [journal.submit(write) for write in starts(2)]
    await settle()
    answers.append(journal.submit(start()))
    disk.free.set()
    for refused in await asyncio.gather(*answers, return_exceptions=True):
        assert isinstance(refused, Refused)
        assert (refused.refusal.kind, refused.refusal.reason) == (Kind.BUSY, "STORAGE_FULL")
        assert refused.refusal.retry_after_us == 1_000_000
    assert len(disk.batches) == 1
    assert journal.full
    assert (await refusal(lambda: journal.submit(start()))).refusal.reason == "STORAGE_FULL"
    await clock.advance(1)
    assert (disk.probes, journal.full) == (1, True)
    disk.error = None
    await clock.advance(1)
    assert (disk.probes, journal.full) == (2, False)
    assert isinstance(await journal.write(start()), Committed)


async def test_a_failed_commit_is_final(journal: Journal, disk: Disk, fatal: list[BaseException]) -> None:
    disk.error = StorageFailedError("fsync")
    disk.free.clear()
    answers = [journal.submit(write) for write in starts(2)]
    await settle()
    answers.append(journal.submit(start()))
    disk.free.set()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [StorageFailedError] * 3
    disk.error = None
    with pytest.raises(StorageFailedError):
        await journal.write(start())
    assert [str(error) for error in fatal] == ["fsync"]
    assert len(disk.batches) == 1


async def test_a_defect_in_the_store_is_final_too(journal: Journal, disk: Disk, fatal: list[BaseException]) -> None:
    disk.error = KeyError("defect")
    with pytest.raises(StorageFailedError, match="defect"):
        await journal.write(start())
    assert len(fatal) == 1


async def test_a_probe_that_finds_the_storage_broken_is_final(
    journal: Journal, disk: Disk, clock: Steps, fatal: list[BaseException]
) -> None:
    disk.error = StorageFullError("full")
    with pytest.raises(Refused):
        await journal.write(start())
    disk.error = StorageFailedError("gone")
    await clock.advance(1)
    assert [str(error) for error in fatal] == ["gone"]
    with pytest.raises(StorageFailedError):
        await journal.write(start())


async def test_closing_answers_what_waits_and_takes_no_more(journal: Journal, disk: Disk) -> None:
    disk.free.clear()
    answers = [journal.submit(write) for write in starts(3)]
    closing = asyncio.create_task(journal.close())
    await settle()
    assert (await refusal(lambda: journal.submit(start()))).refusal.reason == "SERVER_DRAINING"
    assert not closing.done()
    disk.free.set()
    await closing
    assert all(isinstance(answer.result(), Committed) for answer in answers)


async def test_closing_while_the_disk_is_full(journal: Journal, disk: Disk) -> None:
    disk.error = StorageFullError("full")
    with pytest.raises(Refused):
        await journal.write(start())
    await journal.close()
    assert not journal.full


async def test_flushes_are_observed_with_size_and_seconds(disk: Disk, clock: Steps) -> None:
    seen: list[tuple[int, float]] = []
    journal = Journal(disk, clock, observe=lambda size, seconds: seen.append((size, seconds)))
    disk.free.clear()
    answers = [journal.submit(write) for write in starts(3)]
    await settle()
    clock.seconds += 0.5
    disk.free.set()
    await asyncio.gather(*answers)
    assert seen == [(3, 0.5)]
