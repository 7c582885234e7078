"""The dispatcher: committed effects in, tasks to workers out, answers back.

It is fed by the journal after each commit and rebuilt from the open tasks at start; it holds no truth of its own.
Queues and seats are in board.py, who gets what in matching.py, what is in workers' hands in deliveries.py, answers in
answers.py, connected workers in sessions.py. Here is what ties them together: effects, inputs, recovery, and the
worker's way in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import UNSET

from .alarms import Alarms
from .answers import Answered, Answers
from .board import Delivery, Entry, Phase, ReadyQueue, Seat
from .core import values
from .core.effects import CloseExecution, CloseTask, OpenTask, RequestCancel
from .core.refusals import Kind as RefusalKind
from .core.refusals import Refusal, Refused
from .core.sealing import ErasedError
from .deliveries import Deliveries, Observe, TaskSpans
from .inspection import queue_infos, worker_infos
from .matching import Matching
from .offers import Ask, Offers
from .ports import Clock
from .rows import ExecutionAppend, ExecutionRecord, ExecutionRef, StoreInfo, TaskRecord
from .sessions import Kind, WorkerSession
from .tasks import (
    Ack,
    Delivered,
    DispatcherSettings,
    Frame,
    Heartbeat,
    QueueInfo,
    TaskResult,
    WorkerHello,
    WorkerInfo,
    check_hello,
)
from .vaults import SecretsSource, revealed_json
from .writes import Committed, Write

log = logging.getLogger(__name__)


class TaskStore(SecretsSource, Protocol):
    """What the dispatcher reads."""

    async def open_tasks(self, after: tuple[int, str], limit: int) -> list[TaskRecord]:
        """Open tasks in the order of (key, path), after this place."""
        ...

    async def task_inputs(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Payloads of the StepScheduled events at these (key, sequence)."""
        ...

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """The stored execution with this key, or None."""
        ...


class _Scheduled(msgspec.Struct):
    """The fields of a StepScheduled event that a worker gets."""

    input: msgspec.Raw = msgspec.Raw(b"null")
    trace: str = ""


_scheduled = msgspec.json.Decoder(_Scheduled)


_NOTHING: Final[frozenset[str]] = frozenset()
# Members in names of their own: looking one up in its class costs as much as a call.
_QUEUED: Final = Phase.QUEUED
_HELD: Final = Phase.HELD
_CLOSED: Final = Phase.CLOSED


class _InHands:
    """The paths of one execution's tasks that are, or may be, with a worker; looked at while a decision is made."""

    __slots__ = ("_entries",)

    def __init__(self, entries: dict[str, Entry]) -> None:
        self._entries = entries

    def __contains__(self, path: object) -> bool:
        entry = self._entries.get(cast(str, path))
        return entry is not None and entry.phase is not _QUEUED


class Dispatcher:
    """Everything between committed effects and workers. Lives on one event loop."""

    def __init__(
        self,
        *,
        info: StoreInfo,
        store: TaskStore,
        ask: Ask,
        answered: Answered,
        clock: Clock,
        alarms: Alarms,
        offers: Offers,
        settings: DispatcherSettings | None = None,
        observe: Observe | None = None,
        spans: TaskSpans | None = None,
    ) -> None:
        self.settings = settings or DispatcherSettings()
        self._store = store
        self._clock = clock
        self._alarms = alarms
        self._deliveries = Deliveries(self, info, clock, alarms, offers, self.settings, observe, spans)
        self._answers = Answers(self._deliveries, ask, answered, store, self.settings)
        self._entries: dict[int, dict[str, Entry]] = {}
        self._queues: dict[tuple[str, str], ReadyQueue] = {}
        self._sessions: dict[tuple[str, str], WorkerSession] = {}
        self._withheld: deque[Entry] = deque()
        self._closed_meanwhile: set[tuple[int, str]] | None = None
        self._input_bytes = 0
        self._open_tasks = 0
        self._matching = Matching(self._drop_unused)
        self._draining = False

    # Effects

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """Act on what has just been committed; called by the journal, in commit order."""
        now = self._clock.now()
        for write, outcome in writes:
            if type(write) is ExecutionAppend and write.effects:
                self._perform(write, outcome.key, now)

    def _perform(self, write: ExecutionAppend, key: int, now: int) -> None:
        for effect in write.effects:
            if isinstance(effect, OpenTask):
                self._open(write, key, effect, now)
            elif isinstance(effect, CloseTask):
                self._close(key, effect.path)
            elif isinstance(effect, RequestCancel):
                if (entry := self.find(key, effect.path)) is not None:
                    self._deliveries.cancel(entry)
            elif isinstance(effect, CloseExecution):
                for path in tuple(self._entries.get(key, ())):
                    self._close(key, path)
                if self._closed_meanwhile is not None:
                    self._closed_meanwhile.add((key, ""))

    def _open(self, write: ExecutionAppend, key: int, task: OpenTask, now: int) -> None:
        """Queue the attempt. One that was open already, and whose delivery was lost, has had its turn: it comes first
        and keeps its age."""
        entry = self.find(key, task.path)
        again = entry is not None and entry.attempt == task.attempt
        if entry is None:
            entry = self._enter(write.ref, key, task.path, task.operation)
        else:
            self.withdraw(entry, "the task was opened anew")
        if not again:
            entry.since = now
            entry.delivered = entry.cancel_requested = False
        entry.attempt = task.attempt
        entry.scheduled = task.scheduled
        entry.priority = task.priority
        entry.attempt_timeout = task.attempt_timeout
        entry.trace = task.trace or entry.trace
        if task.input is not UNSET:
            payload = values.encode(cast(Any, task.input))
            if values.SEALED_MARK not in payload:  # what is sensitive is opened when it is delivered
                self._keep(entry, payload)
        self._queue(entry, first=again)

    def _close(self, key: int, path: str) -> None:
        if self._closed_meanwhile is not None:
            self._closed_meanwhile.add((key, path))
        if (entry := self.find(key, path)) is not None:
            self.withdraw(entry, "the task is no longer wanted")
            self.forget(entry)

    # Entries

    def find(self, key: int, path: str) -> Entry | None:
        """The open task."""
        entries = self._entries.get(key)
        return entries.get(path) if entries is not None else None

    def _enter(self, ref: ExecutionRef, key: int, path: str, operation: str) -> Entry:
        entry = Entry(ref, key, path, operation, self._queue_of(ref.tenant, operation))
        self._entries.setdefault(key, {})[path] = entry
        self._open_tasks += 1
        entry.queue.entries += 1
        return entry

    def forget(self, entry: Entry) -> None:
        """It is not open any more; it must not be waiting."""
        entry.phase = _CLOSED
        entry.ended = None
        if entry.input is not None:
            self.spill(entry)
        entries = self._entries.get(entry.key)
        if entries is not None and entries.get(entry.path) is entry:
            del entries[entry.path]
            self._open_tasks -= 1
            entry.queue.entries -= 1
            if not entries:
                del self._entries[entry.key]
        self._drop_unused(entry.queue)

    def withdraw(self, entry: Entry, reason: str = "the task is with another worker") -> None:
        """Take the task out of wherever it is: a queue, the hands of a worker, or an end that is being asked for."""
        phase = entry.phase
        if phase is _HELD and entry.delivery is not None:
            self._deliveries.end(entry.delivery, reason)
        elif phase is _QUEUED:
            entry.queue.remove(entry)
        elif phase is Phase.WITHHELD:
            entry.queue.withheld -= 1
        elif phase is Phase.ASSIGNED and entry.seat is not None:
            seat = entry.seat
            seat.unassign(entry)
            self.freed(seat)
        elif entry.delivery is not None:
            self._deliveries.end(entry.delivery, reason)
        entry.ended = None
        entry.phase = _CLOSED

    def requeue(self, entry: Entry) -> None:
        """Let a task wait again, before others."""
        self._queue(entry, first=True)

    def _queue(self, entry: Entry, first: bool = False) -> None:
        entry.phase = _QUEUED
        entry.queue.put(entry, first)
        self._matching.touched(entry.queue)

    def _queue_of(self, tenant: str, operation: str) -> ReadyQueue:
        queue = self._queues.get((tenant, operation))
        if queue is None:
            queue = self._queues[(tenant, operation)] = ReadyQueue(tenant, operation)
        return queue

    def _drop_unused(self, queue: ReadyQueue) -> None:
        """Operations come and go; a queue without tasks or workers is made again when it is needed."""
        if queue.unused:
            self._queues.pop((queue.tenant, queue.operation), None)

    # Inputs in memory

    def _keep(self, entry: Entry, payload: bytes) -> None:
        """Keep the input in memory while there is room; without it, it is read again at the delivery."""
        if entry.input is not None:
            self.spill(entry)
        if self._input_bytes + len(payload) <= self.settings.ready_input_bytes_max:
            entry.input = payload
            self._input_bytes += len(payload)

    def spill(self, entry: Entry) -> bytes | None:
        """Take the task's input out of memory, if it is there."""
        payload = entry.input
        if payload is not None:
            entry.input = None
            self._input_bytes -= len(payload)
        return payload

    async def load(self, entries: Sequence[Entry]) -> None:
        """Read the inputs of assigned tasks. A task without one fails: its history is damaged."""
        wanted = [(entry.key, entry.scheduled) for entry in entries]
        events = [
            await self._revealed(entry, event)
            for entry, event in zip(entries, await self._store.task_inputs(wanted), strict=True)
        ]
        for entry, place, event in zip(entries, wanted, events, strict=True):
            if entry.phase is not Phase.ASSIGNED or entry.scheduled != place[1] or entry.input is not None:
                continue
            if (scheduled := _read(event)) is not None:
                entry.input = bytes(scheduled.input)
                entry.trace = scheduled.trace
                self._input_bytes += len(entry.input)
            else:
                log.error("the input of task %s of %s is not in the store", entry.path, entry.ref)
                self.withdraw(entry)
                self._deliveries.unreadable(entry)

    async def _revealed(self, entry: Entry, event: bytes | None) -> bytes | None:
        """The event with its sensitive values in the clear; None: they are not there, or it is damaged."""
        try:
            return event and await revealed_json(self._store, entry.key, event)
        except (ErasedError, msgspec.MsgspecError, ValueError):
            return None

    def freed(self, seat: Seat) -> None:
        """The seat may take a task again."""
        self._matching.freed(seat)

    # Workers: the way in and out

    def connect(self, hello: WorkerHello, local: bool = False) -> WorkerSession:
        """A worker has come; one with the same id that was here before is replaced. `local`: it lives in this
        process, so it can neither fall silent nor lose its connection. Raises `Refused`."""
        return self._join(hello, Kind.LOCAL if local else Kind.STREAM)

    async def poll(self, hello: WorkerHello, wait_seconds: float) -> Frame:
        """Wait for tasks: up to `hello.max_in_flight` of them. Raises `Refused`."""
        key = (hello.tenant, hello.worker_id)
        session = self._sessions.get(key)
        if session is None or session.kind is not Kind.POLL or session.operations != _distinct(hello):
            session = self._join(hello, Kind.POLL)
        else:
            self._check(hello)
            session.rejoin(hello)
            self._claim(session, hello.holding)
        wait_seconds = min(max(0.0, wait_seconds), self.settings.poll_wait_seconds_max)
        tasks_max = min(hello.max_in_flight, self.settings.tasks_per_frame_max)
        return await session.poll(tasks_max, wait_seconds)

    async def answer(self, tenant: str, worker_id: str, results: Sequence[TaskResult]) -> list[Ack]:
        """Take results; one ack for each, in their order, when all are decided and committed."""
        session = self._heard(tenant, worker_id)
        acks: list[Any] = [None] * len(results)
        missing = len(results)
        done = asyncio.get_running_loop().create_future()

        def report(place: int, ack: Ack) -> None:
            nonlocal missing
            acks[place] = ack
            missing -= 1
            if not missing and not done.done():
                done.set_result(None)

        for place, result in enumerate(results):
            self._answers.result(tenant, result, session, partial(report, place))
        if results:
            await done
        return cast(list[Ack], acks)

    def heartbeat(self, tenant: str, worker_id: str, beats: Sequence[Heartbeat]) -> list[Ack]:
        """Take heartbeats; one ack for each, in their order."""
        session = self._heard(tenant, worker_id)
        return [self._answers.heartbeat(tenant, beat, session) for beat in beats]

    def _heard(self, tenant: str, worker_id: str) -> WorkerSession | None:
        session = self._sessions.get((tenant, worker_id))
        if session is not None:
            session.touch()
        return session

    def _check(self, hello: WorkerHello) -> None:
        check_hello(hello, self.settings)
        if self._draining:
            raise Refused(Refusal(RefusalKind.UNAVAILABLE, "SERVER_DRAINING", "the server is shutting down"))

    def _join(self, hello: WorkerHello, kind: Kind) -> WorkerSession:
        self._check(hello)
        window = min(hello.max_in_flight, self.settings.tasks_per_worker_max)
        hello = msgspec.structs.replace(hello, max_in_flight=window)
        session = WorkerSession(hello, kind, self, self._clock, self._alarms, self.settings)
        key = (hello.tenant, hello.worker_id)
        old = self._sessions.get(key)
        self._sessions[key] = session
        session.kept = self._claim(session, hello.holding)
        if old is not None:
            self._hand_over(old, session)
        for operation in session.operations:
            queue = self._queue_of(session.tenant, operation)
            queue.seats += 1
            session.parked[queue] = None
        self.freed(session)
        return session

    def _hand_over(self, old: WorkerSession, new: WorkerSession) -> None:
        """The same worker is here again. One that polls keeps what it has: its list of what it holds is optional."""
        if old.kind is Kind.POLL and new.kind is Kind.POLL:
            for token in tuple(old.held):
                self._deliveries.claim(token, new)
        old.close(self.settings.reconnect_grace_seconds)

    def _claim(self, session: WorkerSession, holding: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(token for token in holding if self._claim_one(session, token))

    def _claim_one(self, session: WorkerSession, token: bytes) -> bool:
        if self._deliveries.claim(token, session) is not None:
            return True
        session.stop(token)
        return False

    def left(self, session: WorkerSession, grace_seconds: float) -> None:
        """A session is over; called by the session."""
        key = (session.tenant, session.worker_id)
        if self._sessions.get(key) is session:
            del self._sessions[key]
        self._matching.left(session)
        for operation in session.operations:
            queue = self._queue_of(session.tenant, operation)
            queue.seats -= 1
            queue.idle.pop(session, None)
            self._drop_unused(queue)
        if grace_seconds > 0 and session.held:
            self._alarms.after(grace_seconds, partial(self._give_back, session))
        else:
            self._give_back(session)

    def _give_back(self, session: WorkerSession) -> None:
        """What nobody has claimed goes to others; while draining it is left to the next boot, which withholds it."""
        if self._draining:
            return
        for delivery in tuple(session.held.values()):
            self._deliveries.lose(delivery)

    # What sessions call

    def deliver(self, entry: Entry, seat: Seat, payload: bytes, monotonic: float) -> Delivered:
        """Hand an assigned task out."""
        return self._deliveries.deliver(entry, seat, payload, monotonic)

    def result(self, session: WorkerSession, result: TaskResult) -> None:
        """Take a result; its ack goes into a frame."""
        self._answers.result(session.tenant, result, session, session.acknowledge)

    def beat(self, session: WorkerSession, beat: Heartbeat) -> Ack:
        """Take a heartbeat."""
        return self._answers.heartbeat(session.tenant, beat, session)

    def lose(self, delivery: Delivery) -> None:
        """The worker is gone with this task."""
        self._deliveries.lose(delivery)

    # Start and end

    async def recover(self) -> int:
        """Take up the open tasks of earlier boots; returns how many. They are withheld until their workers have had
        the grace to claim them. Effects may be committed meanwhile."""
        closed = self._closed_meanwhile = set[tuple[int, str]]()
        limit = self.settings.recovery_page_tasks
        after = (0, "")
        while page := await self._store.open_tasks(after, limit):
            for record in page:
                if (record.key, record.path) not in closed and (record.key, "") not in closed:
                    self._restore(record)
            after = (page[-1].key, page[-1].path)
            if len(page) < limit:
                break
        self._closed_meanwhile = None
        if self._withheld:
            self._alarms.after(self.settings.reconnect_grace_seconds, self._queue_withheld)
        return len(self._withheld)

    def _restore(self, record: TaskRecord) -> None:
        if self.find(record.key, record.path) is not None:
            return
        entry = self._enter(record.ref, record.key, record.path, record.operation)
        entry.attempt = record.attempt
        entry.scheduled = record.scheduled
        entry.priority = record.priority
        entry.attempt_timeout = record.attempt_timeout
        entry.since = record.since
        entry.cancel_requested = record.cancel_requested
        entry.phase = Phase.WITHHELD
        entry.queue.withheld += 1
        self._withheld.append(entry)

    def _queue_withheld(self) -> None:
        """The grace is over. In portions, so that a long queue holds nobody up."""
        for _ in range(min(len(self._withheld), self.settings.recovery_page_tasks)):
            entry = self._withheld.popleft()
            if entry.phase is Phase.WITHHELD:
                entry.queue.withheld -= 1
                self._queue(entry)
        if self._withheld:
            self._alarms.after(0, self._queue_withheld)

    def drain(self, reason: str = "the server is shutting down") -> None:
        """Hand nothing out any more and send the workers away; answers are still taken."""
        self._draining = True
        self._matching.stop()
        for session in tuple(self._sessions.values()):
            session.ask_reconnect(reason)

    async def close(self) -> None:
        """End all sessions. Nothing is reported lost: the next boot withholds what is open until it is claimed."""
        self._draining = True
        self._matching.stop()
        for session in tuple(self._sessions.values()):
            session.held.clear()
            session.close(0.0)
        await self._answers.close()

    # Looking in

    @property
    def answers_in_flight(self) -> int:
        """Answers that are before their executions now; a drain waits for none."""
        return self._answers.in_flight

    @property
    def open_tasks(self) -> int:
        """Open tasks of all tenants."""
        return self._open_tasks

    def delivered(self, key: int) -> Container[str]:
        """The paths of this execution's tasks that are, or may be, in a worker's hands."""
        entries = self._entries.get(key)
        return _InHands(entries) if entries is not None else _NOTHING

    def uncertain(self, key: int, path: str) -> bool:
        """Whether a task of an earlier boot is still waiting to be claimed: soon it is known who has it."""
        entry = self.find(key, path)
        return entry is not None and entry.phase is Phase.WITHHELD

    def holder(self, key: int, path: str) -> str:
        """The worker that has the task; empty: none."""
        entry = self.find(key, path)
        delivery = entry.delivery if entry is not None else None
        return delivery.seat.worker_id if delivery is not None and delivery.seat is not None else ""

    def workers(self, tenant: str) -> list[WorkerInfo]:
        """The connected workers of a tenant, by id."""
        return worker_infos(session for (owner, _), session in self._sessions.items() if owner == tenant)

    def queues(self, tenant: str) -> list[QueueInfo]:
        """The queues of a tenant, by operation: of all operations that have tasks or workers."""
        sessions = [session for (owner, _), session in self._sessions.items() if owner == tenant]
        queues = [queue for (owner, _), queue in self._queues.items() if owner == tenant]
        return queue_infos(queues, sessions, self._clock.now())

    def backlog(self, visit: Callable[[str, str, int, int], None]) -> None:
        """Call `visit(tenant, operation, queued, running)` for every queue: for gauges."""
        for (tenant, operation), queue in self._queues.items():
            visit(tenant, operation, queue.queued + queue.withheld, queue.running)


def _read(event: bytes | None) -> _Scheduled | None:
    """What a worker gets of the payload of a StepScheduled event; None: it is damaged."""
    try:
        return _scheduled.decode(event) if event is not None else None
    except msgspec.DecodeError:
        return None


def _distinct(hello: WorkerHello) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hello.operations))
