"""Execution id -> actor: wake, route, evict, contain.

Rules
- There is at most one actor per execution; it is entered before it is loaded, so waking is single-flight.
- Beyond `live_actors_max`, idle actors go to sleep, least recently used first; a sleeping one costs disk only.
- An actor that failed has thrown its state away; the next command to it starts from the disk.
- Who waits for the end of an execution is told by the commit that ended it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Sequence

from .actor import Actor, World
from .alarms import Alarms
from .core.commands import Command, Start
from .core.plan import Plan
from .core.refusals import Kind, Refusal, Refused
from .core.state import State, StepState
from .mailbox import Letter, Reply
from .ports import Clock, Ids, Store
from .replay import HistoryDamagedError, was_answered
from .roles import Plans, Writer
from .rows import (
    BuryInbox,
    DefinitionGuard,
    ExecutionAppend,
    ExecutionRef,
    InboxInsert,
    LineClaim,
    Request,
    RequeueLetter,
)
from .settings import Settings
from .suspects import Suspects
from .telemetry import Telemetry
from .vaults import ExecutionVault
from .views import ExecutionView
from .writes import Committed, Write

log = logging.getLogger("callboard.supervisor")

INBOX_PAGE = 1_000


class Supervisor:
    """All live executions."""

    def __init__(
        self,
        store: Store,
        journal: Writer,
        plans: Plans,
        clock: Clock,
        ids: Ids,
        alarms: Alarms,
        settings: Settings,
        delivered: Callable[[int], Container[str]],
        telemetry: Telemetry | None = None,
        suspects: Suspects | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._telemetry = telemetry
        self._store = store
        self._journal = journal
        self._clock = clock
        self._alarms = alarms
        self._actors: dict[ExecutionRef, Actor] = {}
        self._ends: dict[ExecutionRef, list[asyncio.Future[ExecutionView | None]]] = {}
        self._waiting = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._world = World(
            loop=self._loop,
            store=store,
            journal=journal,
            plans=plans,
            clock=clock,
            ids=ids,
            settings=settings,
            telemetry=telemetry,
            suspects=suspects or Suspects(),
            delivered=delivered,
            bury=self._bury,
            retry_inbox=self._retry_inbox,
            retired=self._retired,
            activations=asyncio.Semaphore(settings.activations_max),
        )

    @property
    def live(self) -> int:
        """How many executions are in memory."""
        return len(self._actors)

    @property
    def busy(self) -> bool:
        """Whether any execution is in the middle of something."""
        return any(not actor.idle for actor in self._actors.values())

    @property
    def waiting_commands(self) -> int:
        """Commands in all mailboxes."""
        return sum(len(actor.mailbox) for actor in self._actors.values())

    # Commands

    def ask(
        self,
        ref: ExecutionRef,
        command: Command,
        *,
        context: bytes = b"{}",
        event_id: str = "",
        request: Request | None = None,
        expected_sequence: int | None = None,
        wants_view: bool = False,
    ) -> asyncio.Future[Reply]:
        """Put a command into the mailbox of its execution; the future holds the reply after the commit, or raises
        Refused."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        letter = Letter(command, future, context, event_id, request, expected_sequence, wants_view=wants_view)
        if self._telemetry is not None:
            self._telemetry.route(ref, letter, future)
        actor = self._touch(ref) or self._admit(Actor(ref, self._world))
        if actor is None:
            letter.refuse(self._full())
        else:
            actor.offer(letter)
        return future

    def start(
        self,
        ref: ExecutionRef,
        command: Start,
        plan: Plan,
        guard: DefinitionGuard,
        *,
        context: bytes = b"{}",
        request: Request | None = None,
        claims: tuple[LineClaim, ...] = (),
    ) -> asyncio.Future[Reply]:
        """Begin a new execution; raises Refused: EXECUTION_ALREADY_EXISTS, DUPLICATE_REQUEST, LOST_RACE,
        UNIQUE_KEY_TAKEN (batch.start_refusal)."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        letter = Letter(command, future, context, request=request, guard=guard, claims=claims, wants_view=True)
        if self._telemetry is not None:
            self._telemetry.route(ref, letter, future)
        if ref in self._actors:
            letter.refuse(Refusal(Kind.EXISTS, "EXECUTION_ALREADY_EXISTS", f"execution {ref.execution_id} exists"))
            return future
        actor = self._admit(Actor(ref, self._world))
        if actor is None:
            letter.refuse(self._full())
        else:
            actor.born(plan)
            actor.offer(letter)
        return future

    def adopt(
        self,
        ref: ExecutionRef,
        key: int,
        state: State,
        plan: Plan,
        left: dict[str, None],
        vault: ExecutionVault | None = None,
    ) -> None:
        """Take in a new execution whose start was just committed without an actor; `left` is what a cut decision has
        still to look at. It stays asleep where there is no room, and one that is awake already is not touched."""
        if ref not in self._actors and not state.status.ended:
            actor = self._admit(Actor(ref, self._world))
            if actor is not None:
                actor.adopted(key, state, plan, left, vault)
        if left:
            self.inbox_waits(ref)

    async def view(self, ref: ExecutionRef, full: bool = False) -> ExecutionView:
        """What an execution looks like now, as far as it is on disk; raises Refused EXECUTION_NOT_FOUND."""
        actor = await self._settled(ref)
        view = actor.full_view() if full else actor.view()
        if view is None:
            raise Refused(Refusal(Kind.UNAVAILABLE, "SERVER_BUSY", "the execution is being reloaded; try again"))
        return view

    async def snapshot(self, ref: ExecutionRef) -> ExecutionAppend:
        """An append of a snapshot of an execution as it is on disk, good until it changes: to be written at once.
        Raises Refused EXECUTION_NOT_FOUND."""
        append = (await self._settled(ref)).snapshot()
        if append is None:
            raise Refused(Refusal(Kind.UNAVAILABLE, "SERVER_BUSY", "the execution is being reloaded; try again"))
        return append

    async def awake(self, ref: ExecutionRef) -> State | None:
        """The live state, not ahead of the disk, to be looked at before anything else is awaited; None: it sleeps."""
        while (actor := self._actors.get(ref)) is not None and actor.ahead:
            await actor.caught_up()
        return actor.state if actor is not None else None

    async def ended_view(self, ref: ExecutionRef) -> ExecutionView | None:
        """What an execution looks like, if it has ended; raises Refused EXECUTION_NOT_FOUND."""
        actor = await self._settled(ref)
        return actor.view() if actor.state is not None and actor.state.status.ended else None

    async def _settled(self, ref: ExecutionRef) -> Actor:
        """The actor, with a state that is not ahead of the disk."""
        while (actor := self._touch(ref)) is not None and actor.ahead:
            await actor.caught_up()
        return actor if actor is not None and actor.state is not None else await self._read(ref)

    async def _read(self, ref: ExecutionRef) -> Actor:
        """Load an execution to look at it; one that goes on stays in memory, unless somebody else has woken it."""
        actor = Actor(ref, self._world)
        try:
            await actor.load()
        except HistoryDamagedError as error:
            raise Refused(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", str(error))) from error
        if actor.state is not None and not actor.state.status.ended and ref not in self._actors:
            self._admit(actor)
        return actor

    async def answered(self, ref: ExecutionRef, path: str, attempt: int) -> bool:
        """Whether this attempt ended with a worker's answer, as the history says."""
        actor = await self._settled(ref)
        run = actor.state.runs.get(path) if actor.state is not None else None
        if run is not None and run.attempt == attempt and run.error is None:
            return run.state is StepState.SUCCEEDED
        return bool(actor.key) and await was_answered(self._store, actor.key, path, attempt)

    def end_of(self, ref: ExecutionRef) -> asyncio.Future[ExecutionView | None]:
        """A future that the commit which ends this execution resolves; cancel it to stop waiting.

        It does not see an end that has been committed before: look at the execution after asking for it.
        """
        if self._waiting >= self._settings.waiting_calls_max:
            limit = self._settings.waiting_calls_max
            raise Refused(
                Refusal(
                    Kind.BUSY,
                    "SERVER_BUSY",
                    f"{limit} calls wait for the end of an execution already (waiting_calls_max)",
                    {"limit": str(limit)},
                    retry_after_us=1_000_000,
                )
            )
        future: asyncio.Future[ExecutionView | None] = self._loop.create_future()
        self._ends.setdefault(ref, []).append(future)
        self._waiting += 1
        return future

    def forget_end(self, ref: ExecutionRef, future: asyncio.Future[ExecutionView | None]) -> None:
        """Stop waiting."""
        waiting = self._ends.get(ref)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            self._waiting -= 1
            if not waiting:
                del self._ends[ref]

    # What the journal says

    def committed(self, writes: Sequence[tuple[Write, Committed]]) -> None:
        """The journal's listener: wake what was addressed, tell who waits for an end."""
        for write, committed in writes:
            for ref in committed.woken:
                self.inbox_waits(ref)
            for ref in committed.pruned:
                self._gone(ref)
            if type(write) is ExecutionAppend:
                if write.head.ended_at:
                    self._ended(write.ref)
            elif type(write) is InboxInsert:
                self.inbox_waits(write.ref)
            elif type(write) is RequeueLetter and committed.ref is not None:
                self.inbox_waits(committed.ref)

    def _gone(self, ref: ExecutionRef) -> None:
        """An ended execution was taken away; one that is being looked at is let go of when that is over."""
        actor = self._actors.get(ref)
        if actor is not None and actor.idle:
            del self._actors[ref]

    def _ended(self, ref: ExecutionRef) -> None:
        waiting = self._ends.pop(ref, None)
        if not waiting:
            return
        self._waiting -= len(waiting)
        actor = self._actors.get(ref)
        view = actor.view() if actor is not None else None
        for future in waiting:
            if not future.done():
                future.set_result(view)

    def inbox_waits(self, ref: ExecutionRef) -> None:
        """See that this execution works off its inbox."""
        actor = self._touch(ref) or self._admit(Actor(ref, self._world))
        if actor is None:
            self._retry_inbox(ref)
        else:
            actor.inbox_waits()

    async def recover(self) -> None:
        """At start: wake the executions with accepted items that were not worked off."""
        after = 0
        while page := await self._store.inbox_executions(after, INBOX_PAGE):
            for key, ref in page:
                self.inbox_waits(ref)
                after = key
            await asyncio.sleep(0)

    def _retry_inbox(self, ref: ExecutionRef) -> None:
        self._alarms.at(self._clock.monotonic() + self._settings.inbox_retry_seconds, lambda: self.inbox_waits(ref))

    async def _bury(self, ref: ExecutionRef, key: int, inbox_id: int, refusal: Refusal) -> None:
        if self._telemetry is not None:
            self._telemetry.buried(refusal.reason)
        await self._journal.write(
            BuryInbox(ref, key, (inbox_id,), refusal.reason, refusal.message, died_at=self._clock.now())
        )

    # Coming and going

    def _touch(self, ref: ExecutionRef) -> Actor | None:
        actor = self._actors.pop(ref, None)
        if actor is not None:
            self._actors[ref] = actor
        return actor

    def _admit(self, actor: Actor) -> Actor | None:
        """Enter a new actor, if there is room or room can be made."""
        if len(self._actors) >= self._settings.live_actors_max and not self._evict():
            return None
        self._actors[actor.ref] = actor
        return actor

    def _evict(self) -> bool:
        """Send the idle actor that was used least recently to sleep."""
        idle = next((actor for actor in self._actors.values() if actor.idle), None)
        if idle is None:
            return False
        del self._actors[idle.ref]
        if (farewell := idle.going_to_sleep()) is not None:
            self._spawn(self._write_farewell(farewell))
        return True

    async def _write_farewell(self, append: ExecutionAppend) -> None:
        try:
            await self._journal.write(append)
        except Refused:  # the disk is full: the snapshot only saves time
            log.info("snapshot not written", extra={"execution": append.ref.execution_id})

    def _retired(self, actor: Actor) -> None:
        """An actor came to rest: one that has ended or has no state is not kept."""
        ended = actor.state is None or actor.state.status.ended
        if ended and actor.idle and self._actors.get(actor.ref) is actor:
            del self._actors[actor.ref]

    def _full(self) -> Refusal:
        limit = self._settings.live_actors_max
        return Refusal(
            Kind.BUSY,
            "SERVER_BUSY",
            f"{limit} executions are busy (live_actors_max)",
            {"limit": str(limit)},
            retry_after_us=200_000,
        )

    def _spawn(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let every turn that has begun come to its end."""
        while busy := [actor.task for actor in self._actors.values() if actor.running and actor.task is not None]:
            await asyncio.gather(*busy, return_exceptions=True)
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
