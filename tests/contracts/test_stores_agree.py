"""The adapters against each other: whatever is written, in whatever batches, both answer and hold the same."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.store_contract_secrets import commitment, sealed
from tests.contracts.store_kit import DAY, NOW, append, change, enqueue, event, head, listening, ref, schedule, start

from callboard.runtime.core.effects import (
    CloseExecution,
    CloseTask,
    CloseWait,
    Continue,
    EmitEvent,
    LeaveLine,
    OpenTask,
    OpenWait,
    SetTimer,
)
from callboard.runtime.feed_rows import (
    FeedPruning,
    SubscriptionAck,
    SubscriptionCreation,
    SubscriptionDeletion,
    SubscriptionRow,
)
from callboard.runtime.ports import Store
from callboard.runtime.retention_rows import ExecutionDeletion, ExecutionPruning, ExpiredQuery
from callboard.runtime.rows import (
    BuryInbox,
    DefinitionGuard,
    DiscardLetter,
    Erasure,
    LineClaim,
    RequeueLetter,
    Secrets,
    Snapshot,
)
from callboard.runtime.stores.memory import MemoryStore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.trigger_rows import (
    EventAcceptance,
    EventExpansion,
    SlotStep,
    TriggerFiring,
    TriggerPause,
    TriggerStart,
)
from callboard.runtime.writes import Write

NAMES = ("x0", "x1", "x2", "x3")
CLAIMS = (
    (),
    (LineClaim("key:k"),),
    (LineClaim("key:k", behind=True),),
    (LineClaim("key:k", behind=True, cancels=True, length_max=2),),
    (LineClaim("trigger:s"), LineClaim("key:k", behind=True)),
)
EFFECTS = (
    OpenTask("step", "s.op", 1, 1),
    CloseTask("step"),
    SetTimer("step", "t", NOW),
    OpenWait("step", ("paid", "sent"), "k"),
    OpenWait("other", ("paid",), "k"),
    CloseWait("step"),
    EmitEvent(1, "paid", "k", {"n": 1}),
    Continue(),
)
END = (CloseWait("step"), CloseWait("other"), LeaveLine("key:k"), LeaveLine("trigger:s"), CloseExecution())
TRIGGERS = (None, (), (listening(),), (schedule(), listening()), (schedule(spec=b"hourly"), listening("u", "sent")))

names = st.sampled_from(NAMES)
small = st.integers(0, 2)
starts = st.tuples(names, st.sampled_from(CLAIMS), st.lists(st.sampled_from(EFFECTS), max_size=2).map(tuple))
commands = st.one_of(
    st.tuples(st.just("start"), starts),
    st.tuples(st.just("append"), names, st.lists(st.sampled_from(EFFECTS), max_size=3).map(tuple)),
    st.tuples(st.just("snapshot"), names, small),
    st.tuples(st.just("seal"), names, st.booleans(), st.lists(small, max_size=3)),
    st.tuples(st.just("erase"), names),
    st.tuples(st.just("end"), names),
    st.tuples(st.just("enqueue"), names, st.sampled_from(("e", "f", ""))),
    st.tuples(st.just("accept"), small, st.booleans(), st.lists(starts, max_size=2), small, st.booleans()),
    st.tuples(st.just("expand"), small),
    st.tuples(st.just("change"), st.sampled_from(TRIGGERS), st.sampled_from((None, (), (1,)))),
    st.tuples(st.just("pause"), st.sampled_from(("s", "t")), st.booleans()),
    st.tuples(st.just("fire"), starts, st.booleans()),
    st.tuples(st.just("bury"), names),
    st.tuples(st.just("letter"), st.booleans()),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("prune"), st.lists(names, max_size=3), st.booleans()),
    st.tuples(st.just("feed"), st.sampled_from(("make", "ack", "delete", "prune")), small),
)


class Author:
    """Makes writes that mostly hold: it reads what a store has before each batch and counts on within it.

    Like an actor, it writes no more to an execution that has ended.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sequences: dict[str, int] = {}
        self._ended: set[str] = set()
        self._definition = 0
        self._versions = 0

    async def batch(self, asked: Sequence[tuple[Any, ...]]) -> list[Write]:
        for name in NAMES:
            record = await self._store.execution(ref(name))
            self._sequences[name] = record.head.sequence if record is not None else 0
            self._ended.discard(name)
            if record is not None and record.head.ended_at:
                self._ended.add(name)
        definition = await self._store.definition("acme", "d")
        self._definition = definition.sequence if definition is not None else 0
        self._versions = definition.latest if definition is not None else 0
        made = [await getattr(self, f"_{kind}")(*fields) for kind, *fields in asked]
        return [write for write in made if write is not None]

    async def _start(self, what: tuple[str, tuple[LineClaim, ...], tuple[Any, ...]]) -> Write:
        name, claims, effects = what
        return start(ref(name), *effects, claims=claims)

    async def _append(self, name: str, effects: tuple[Any, ...], **fields: Any) -> Write | None:
        record = await self._store.execution(ref(name))
        if record is None or name in self._ended:
            return None
        sequence = self._sequences[name]
        self._sequences[name] += 1
        return append(record.key, sequence, *effects, ref=ref(name), **fields)

    async def _snapshot(self, name: str, more: int) -> Write | None:
        """After so many events, and one."""
        last = self._sequences[name] + more + 1
        taken = Snapshot(last, 1, b"state", b"c" * 32, NOW + last)
        events = tuple(event(number) for number in range(last - more, last + 1))
        write = await self._append(name, (), events=events, snapshot=taken)
        self._sequences[name] += more if write is not None else 0
        return write

    async def _seal(self, name: str, with_key: bool, numbers: Sequence[int]) -> Write | None:
        return await self._append(name, (), secrets=Secrets(b"key" if with_key else b"", sealed(*numbers)))

    async def _erase(self, name: str) -> Write | None:
        """Also of one that has ended, with the first dead letter there is, whosever it is."""
        record = await self._store.execution(ref(name))
        letters = await self._store.dead_letters("acme", "", 0, 1)
        if record is None:
            return None
        self._sequences[name] += 1
        erasure = Erasure(tuple((letter.id, b"null") for letter in letters))
        sequence, ended = self._sequences[name], NOW if name in self._ended else 0
        written = head(sequence, "COMPLETED" if ended else "RUNNING", ended_at=ended)
        return append(record.key, sequence - 1, ref=ref(name), head=written, erases=erasure)

    async def _end(self, name: str) -> Write | None:
        done = head(self._sequences[name] + 1, "COMPLETED", ended_at=NOW)
        write = await self._append(name, END, head=done, expires_at=NOW + 5)
        self._ended.add(name)
        return write

    async def _enqueue(self, name: str, event_id: str) -> Write:
        return enqueue(event_id, ref(name))

    async def _accept(self, number: int, keyed: bool, begun: Sequence[Any], offers_max: int, emitted: bool) -> Write:
        revision, _ = await self._store.listeners("acme", "paid")
        rows = await self._store.outbox(0, 1)
        return EventAcceptance(
            "acme",
            f"p-{number}",
            "paid",
            "k" if keyed else "",
            b"1",
            b'{"user":"u"}',
            NOW,
            NOW + DAY,
            revision,
            tuple(TriggerStart("t", start(ref(name), *effects, claims=claims)) for name, claims, effects in begun),
            offers_max=offers_max,
            job_id=f"j-{number}",
            outbox=rows[0].id if rows and emitted else 0,
        )

    async def _expand(self, number: int) -> Write | None:
        job = await self._store.job("acme", f"j-{number}")
        waits = await self._store.waits("acme", "paid", "k", 0, 2**62, 2)
        if job is None:
            return None
        moved = msgspec.structs.replace(job, done=job.done + len(waits))
        return EventExpansion(moved, f"p-{number}", "paid", b"1", b"{}", NOW, tuple(waits))

    async def _change(self, triggers: Any, idle: Any) -> Write:
        self._definition, self._versions = self._definition + 1, self._versions + 1
        return change(self._definition - 1, published=self._versions, triggers=triggers, idle=idle)

    async def _pause(self, trigger_id: str, paused: bool) -> Write:
        self._definition += 1
        pauses = (TriggerPause(trigger_id, paused, NOW + 9, NOW + 10),)
        names = (trigger_id,) if paused else ()
        return change(self._definition - 1, version=None, published=self._versions, pauses=pauses, paused=names)

    async def _fire(self, what: Any, by_hand: bool) -> Write:
        row = await self._store.trigger("acme", "d", "s")
        slot = row.next_slot if row is not None else 0
        step = None if by_hand else SlotStep(slot, slot + 100, slot + 105, 1)
        definition = await self._store.definition("acme", "d")
        guard = DefinitionGuard("d", definition.revision if definition is not None else 0)
        name, claims, effects = what
        return TriggerFiring("acme", "d", "s", NOW, guard, start(ref(name), *effects, claims=claims), step)

    async def _bury(self, name: str) -> Write | None:
        record = await self._store.execution(ref(name))
        rows = await self._store.inbox(record.key, 2) if record is not None else []
        if record is None:
            return None
        return BuryInbox(ref(name), record.key, tuple(row.id for row in rows), "POISONED", "it raised", NOW)

    async def _letter(self, back: bool) -> Write | None:
        letters = await self._store.dead_letters("acme", "", 0, 1)
        if not letters:
            return None
        return RequeueLetter("acme", letters[0].id, NOW) if back else DiscardLetter("acme", letters[0].id)

    async def _delete(self, name: str) -> Write:
        return ExecutionDeletion(ref(name), NOW)

    async def _prune(self, some: Sequence[str], patient: bool) -> Write:
        records = [await self._store.execution(ref(name)) for name in some]
        return ExecutionPruning("acme", tuple(record.key for record in records if record is not None), NOW, patient)

    async def _feed(self, what: str, number: int) -> Write:
        match what:
            case "make":
                return SubscriptionCreation(SubscriptionRow("acme", f"s-{number}", "", number, 0, NOW), 2)
            case "ack":
                return SubscriptionAck("acme", "s-1", number, number, NOW + number)
            case "delete":
                return SubscriptionDeletion("acme", f"s-{number}")
            case _:
                return FeedPruning("acme", number)


async def held(store: Store) -> list[object]:
    """All that the store says of the rows that the commands can reach."""
    records = [await store.execution(ref(name)) for name in NAMES]
    keys = [record.key for record in records if record is not None]
    return [
        records,
        [await store.events(key, 0, 100, 100_000) for key in keys],
        [await store.snapshots(key) for key in keys],
        [await store.snapshot(key, until) for key in keys for until in (2, 4, None)],
        [await store.sealed_values(key, "", 100) for key in keys],
        [await store.secrets(key, [commitment(number) for number in (2, 0, 1)]) for key in keys],
        [await store.inbox(key, 100) for key in keys],
        await store.inbox_executions(0, 100),
        await store.dead_letters("acme", "", 0, 100),
        await store.open_tasks((0, ""), 100),
        sorted((timer.key, timer.path, timer.due) for timer in await store.timers(2**62, 100)),
        [await store.waits("acme", name, "k", 0, 2**62, 100) for name in ("paid", "sent")],
        [await store.line("acme", "d", line, 100) for line in ("key:k", "trigger:s")],
        await store.outbox(0, 100),
        await store.definition("acme", "d"),
        await store.definition_versions("acme", "d", 0, 100),
        await store.tenant_definition_events("acme", (0, "", 0), 100, 100_000),
        [await store.trigger("acme", "d", trigger_id) for trigger_id in ("s", "t", "u")],
        [await store.listeners("acme", name) for name in ("paid", "sent")],
        await store.triggers("acme", "", "", ("", ""), 100),
        await store.due_triggers(2**62, 100),
        [await store.published_event("acme", f"p-{number}", NOW) for number in range(3)],
        [msgspec.structs.replace(job, number=0) for job in await store.jobs("acme", 0, 100)],
        await store.open_executions("acme", "d", 0, 0, 100),
        [await store.open_count("acme", "d", version) for version in (0, 1, 2)],
        await store.counts(),
        [await store.tenant_events("acme", after, scan, 3, 1_000) for after in (0, 3, 9) for scan in (2, 100)],
        await store.before([(key, sequence) for key in keys for sequence in (1, 2, 4)]),
        [await store.feed_bounds("acme"), await store.tenant_count("acme", 1, 5)],
        await store.subscriptions("acme", "", 10),
        await store.expired(ExpiredQuery("acme", NOW + 9, acknowledged=3, waited_until=NOW)),
        await store.first_expiries(),
    ]


async def compare(path: Path, batches: Sequence[Sequence[tuple[Any, ...]]]) -> None:
    memory, sqlite = MemoryStore(), SqliteStore(path)
    await memory.open()
    await sqlite.open()
    try:
        author = Author(memory)
        for asked in batches:
            batch = await author.batch(asked)
            assert await sqlite.write(batch) == await memory.write(batch)
            assert await held(sqlite) == await held(memory)
    finally:
        await sqlite.close()


@given(st.lists(st.lists(commands, min_size=1, max_size=6), min_size=1, max_size=8))
@settings(max_examples=60)
def test_the_stores_agree(batches: list[list[tuple[Any, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder) / "orders.db", batches))


@given(st.lists(commands, min_size=1, max_size=12))
@settings(max_examples=30)
def test_a_batch_comes_to_the_same_as_its_writes_one_by_one(asked: list[tuple[Any, ...]]) -> None:
    asyncio.run(_one_by_one(asked))


async def _one_by_one(asked: Sequence[tuple[Any, ...]]) -> None:
    prepared = [[("start", (name, (), ())), ("change", TRIGGERS[3], None)] for name in NAMES[:2]]
    together, apart = MemoryStore(), MemoryStore()
    for batch in prepared:
        for store in (together, apart):
            await store.write(await Author(store).batch(batch))
    batch = await Author(together).batch(asked)
    assert await together.write(batch) == [(await apart.write([write]))[0] for write in batch]
    assert await held(together) == await held(apart)
