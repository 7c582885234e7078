"""One execution: take -> decide -> append -> evolve -> perform -> answer.

Rules
- The actor alone changes its state; everything reaches it through its mailbox or the execution's inbox rows.
- One *turn* takes what waits, decides it in order on the evolving state, and hands ONE append to the journal. It
  answers only when that is on disk; refusals and duplicates wait with the rest, as they were decided on it.
- Memory is never ahead of the disk: if anything about an append fails, the state is thrown away and replayed.
- If deciding raises, nothing is appended, and the letters of that turn run again one by one, so that only the one
  that raises alone is answered with INTERNAL.
- It has no task of its own while idle: a dormant actor is a state and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from .batch import Batch, expiry, head_of, not_found, overtaken, refused_row, repeated, start_refusal
from .causes import caused, letters_of
from .core.commands import Erase, Facts, Start, Submit
from .core.decide import Accepted, decide
from .core.plan import Plan
from .core.refusals import Kind, Refusal, Refused
from .core.sealing import wordless
from .core.state import State
from .core.values import encode, sealed_in
from .mailbox import NO_CONTEXT, Letter, Mailbox, Reply, command_of
from .ports import Clock, Ids, StorageFailedError, Store
from .replay import HistoryDamagedError, replay, seal, take_snapshot
from .roles import Plans, Writer
from .rows import Erasure, ExecutionAppend, ExecutionRef, InboxKind, InboxRow, Request, Snapshot
from .settings import Settings
from .suspects import Suspects
from .tails import Tail
from .telemetry import Telemetry
from .vaults import ExecutionVault, load_vault
from .views import ExecutionView, full_view, state_view
from .writes import Committed, Lost, Why

log = logging.getLogger("callboard.actor")

RERUNS_MAX = 3
WARY_TURNS = 64
"""Turns for which ids are looked up before deciding, after one was a repeat: repeats come in swarms."""
NOTHING_STORED: tuple[set[str], dict[str, Request]] = (set(), {})


@dataclass(frozen=True, slots=True)
class World:
    """What all actors share."""

    loop: asyncio.AbstractEventLoop
    """Kept, for asking asyncio for it costs a system call."""
    store: Store
    journal: Writer
    plans: Plans
    clock: Clock
    ids: Ids
    settings: Settings
    telemetry: Telemetry | None
    suspects: Suspects
    delivered: Callable[[int], Container[str]]
    """Paths of an execution's tasks (by its key) that workers hold."""
    bury: Callable[[ExecutionRef, int, int, Refusal], Awaitable[None]]
    """Make an inbox row of an execution a dead letter, with its cause."""
    retry_inbox: Callable[[ExecutionRef], None]
    """Come back to this execution's inbox a little later."""
    retired: Callable[[Actor], None]
    """The actor is idle, or gone."""
    activations: asyncio.Semaphore
    """Bounds how many executions are read at one time."""


class Actor:
    """One live execution."""

    __slots__ = (
        "_alone",
        "_caught_up",
        "_inbox_waits",
        "_left",
        "_page_full",
        "_past_events",
        "_tail",
        "_wary",
        "_world",
        "ahead",
        "key",
        "mailbox",
        "plan",
        "ref",
        "running",
        "state",
        "task",
        "vault",
    )

    def __init__(self, ref: ExecutionRef, world: World) -> None:
        self.ref = ref
        self.key = 0
        self.state: State | None = None
        self.plan: Plan | None = None
        self.vault: ExecutionVault | None = None
        """Its sensitive values, where its definition knows such."""
        self.mailbox = Mailbox(world.settings.mailbox_commands_max)
        self.running = False
        self.task: asyncio.Task[None] | None = None
        self.ahead = False
        """The state is ahead of the disk: nobody may be shown it."""
        self._caught_up: asyncio.Future[None] | None = None
        self._world = world
        self._inbox_waits = False
        self._page_full = False
        """There may be inbox rows behind those that were read last."""
        self._past_events = False
        """The enqueued events at the front of the inbox cannot be taken now: only what else is there is read next."""
        self._left: dict[str, None] | None = None
        self._alone = 0
        """Letters that have to run one by one, as a turn with them together raised."""
        self._tail = Tail()
        self._wary = 0
        """Turns for which callers' ids are looked up before deciding."""

    # From outside

    def born(self, plan: Plan) -> None:
        """Make it a new execution that waits for its Start."""
        self.plan = plan
        self.state = State(execution_id=self.ref.execution_id)
        self.vault = ExecutionVault(self._world.ids.random_bytes) if plan.sensitive else None
        self.ahead = True

    def adopted(
        self, key: int, state: State, plan: Plan, left: dict[str, None], vault: ExecutionVault | None = None
    ) -> None:
        """Make it an execution that was started without an actor and is on disk in this state."""
        self.key, self.state, self.plan, self.vault = key, state, plan, vault
        self._left = left or None
        self._tail.begin(state.sequence)

    def offer(self, letter: Letter) -> None:
        """Put a letter into the mailbox and see that someone reads it."""
        self.mailbox.put(letter)
        self._run_soon()

    def inbox_waits(self) -> None:
        """There are inbox rows to work off."""
        self._inbox_waits = True
        self._run_soon()

    @property
    def idle(self) -> bool:
        """Whether it may go to sleep."""
        return not self.running and not self.mailbox

    def view(self) -> ExecutionView | None:
        """What it looks like now; None while it is not loaded."""
        return None if self.state is None else state_view(self.state, self.ref, self.key)

    def full_view(self) -> ExecutionView | None:
        """With its open steps."""
        if self.state is None:
            return None
        return full_view(self.state, self.ref, self.key, self.plan, self._world.settings.open_steps_max)

    def going_to_sleep(self) -> ExecutionAppend | None:
        """A snapshot worth writing before the state leaves memory, if any."""
        state = self.state
        worth = self._tail.events >= self._world.settings.sleep_tail_events_min
        if state is None or not worth or state.status.ended or not self.key:
            return None
        return self._append(state, Batch(), state.sequence, take_snapshot(state, self._world.clock.now()))

    def snapshot(self) -> ExecutionAppend | None:
        """A snapshot of the execution as it is; None: it is not loaded."""
        state, now = self.state, self._world.clock.now()
        return None if state is None else self._append(state, Batch(), state.sequence, take_snapshot(state, now))

    # The loop

    def _run_soon(self) -> None:
        if not self.running:
            self.running = True
            self.task = self._world.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self.mailbox or self._inbox_waits:
                if self.state is None:
                    await self.load()
                await self._turn()
        except Refused as refused:
            self._give_up(refused.refusal)
        except HistoryDamagedError as error:
            log.error("execution cannot be replayed", extra={"execution": self.ref.execution_id, "cause": str(error)})
            self._give_up(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", str(error)))
        except StorageFailedError as error:
            self._give_up(Refusal(Kind.UNAVAILABLE, "STORAGE_UNAVAILABLE", f"the storage failed: {error}"))
        except Exception as error:
            log.exception("actor failed", extra={"execution": self.ref.execution_id})
            self._give_up(Refusal(Kind.INTERNAL, "INTERNAL", f"{type(error).__name__}: {error}"))
        finally:
            self.running = False
            if not self.key:  # a start that was refused: it never was
                self._forget()
            self._appended()
            self._world.retired(self)

    def _give_up(self, refusal: Refusal) -> None:
        """Nobody who waits can be served; the next letter starts afresh."""
        self._forget()
        if self._inbox_waits:
            self._inbox_waits = False
            if refusal.kind is not Kind.NOT_FOUND:
                self._world.retry_inbox(self.ref)
        for letter in self.mailbox.clear():
            letter.refuse(refusal)

    def _forget(self) -> None:
        self.state = self.vault = None
        self._left = None
        self._past_events = False

    async def load(self) -> None:
        """Replay the state from the store; raises Refused EXECUTION_NOT_FOUND, HistoryDamagedError."""
        async with self._world.activations:
            await self._load()

    async def _load(self) -> None:
        world = self._world
        record = await world.store.execution(self.ref)
        if record is None:
            raise Refused(not_found(self.ref))
        self.key = record.key
        if record.key == world.suspects.parked:
            raise Refused(world.suspects.refusal())
        try:
            state, applied = await replay(
                world.store, self.ref, record.key, until=record.head.sequence, on_damaged=self._passed_over
            )
        except HistoryDamagedError:
            if await world.store.execution_by_key(record.key) is None:  # it was pruned while it was read
                raise Refused(not_found(self.ref)) from None
            raise
        if not state.status.ended:
            self.plan = await world.plans.plan(self.ref.tenant, state.definition_id, state.version)
            if self.plan.sensitive:
                sealed = sealed_in(encode(cast(Any, state)))
                self.vault = await load_vault(world.store, record.key, sealed, world.ids.random_bytes)
        self._tail.begin(applied)
        self.state = state

    def _passed_over(self, snapshot: Snapshot) -> None:
        known = {"execution": self.ref.execution_id, "sequence": snapshot.sequence}
        log.warning("a snapshot is damaged and was passed over", extra=known)
        if self._world.telemetry is not None:
            self._world.telemetry.passed_over()

    # One turn

    async def _turn(self) -> None:
        letters = await self._take_with_inbox() if self._inbox_waits and self.key else self._take()
        if not letters:
            return
        telemetry = self._world.telemetry
        try:
            if telemetry is None:
                await self._work_off(letters)
            else:
                with telemetry.turn(self.ref, letters, self.state.trace if self.state is not None else ""):
                    await self._work_off(letters)
        except Exception:
            self._broken_off(letters)
            raise

    def _broken_off(self, letters: list[Letter]) -> None:
        """Part of a turn failed: nobody may be left without an answer."""
        self._forget()
        self._inbox_waits = self._inbox_waits or any(letter.inbox_id for letter in letters)
        self.mailbox.put_back([letter for letter in letters if not (letter.inbox_id or letter.future.done())])

    async def _work_off(self, letters: list[Letter]) -> None:
        stored = await self._stored(letters) if self._wary else NOTHING_STORED
        self._wary = max(0, self._wary - 1)
        state = self.state
        if state is None:
            return
        before = state.sequence
        batch = Batch()
        suspects = self._world.suspects
        suspects.deciding(self.key)
        try:
            for letter in letters:
                self._decide(letter, state, batch, stored)
        except Exception as error:  # noqa: BLE001 - whatever a decision raises concerns its own letters only
            await self._raised(letters, error)
            return
        finally:
            suspects.deciding(0)
        if batch.writes and not await self._commit(letters, state, before, batch):
            return
        await self._answer(batch)
        if not self.key:  # a start that was refused: there may be an execution on disk all the same
            self._forget()

    def _take(self) -> list[Letter]:
        """The next letters."""
        self._page_full = False
        letters = self.mailbox.take(self._letters_max)
        self._alone = max(0, self._alone - len(letters))
        return letters

    async def _take_with_inbox(self) -> list[Letter]:
        """Inbox rows that were accepted before, then what is in the mailbox."""
        limit = self._letters_max
        self._inbox_waits = False  # what is accepted while they are read sets it again
        try:
            rows = await self._world.store.inbox(self.key, limit, events=not self._past_events)
        except BaseException:
            self._inbox_waits = True
            raise
        self._page_full = len(rows) == limit
        if self.vault is not None and (sealed := [one for row in rows for one in sealed_in(row.payload)]):
            self.vault.add(await self._world.store.secrets(self.key, sealed))
        letters = [self._from_inbox(row) for row in rows]
        letters += self.mailbox.take(limit - len(letters))
        self._alone = max(0, self._alone - len(letters))
        return letters

    @property
    def _letters_max(self) -> int:
        """How many letters the next turn takes. A start goes alone: if it turns out that the execution exists, those
        behind it are meant for that one."""
        return 1 if self._alone or not self.key else self._world.settings.turn_commands_max

    def _from_inbox(self, row: InboxRow) -> Letter:
        future: asyncio.Future[Reply] = self._world.loop.create_future()
        future.add_done_callback(_seen)
        event_id = row.event_id if row.kind is InboxKind.EVENT else ""
        left = self._left
        if row.kind is InboxKind.CONTINUE:
            self._left = {}
        return Letter(command_of(row, left), future, row.context, event_id=event_id, inbox_id=row.id)

    async def _stored(self, letters: Sequence[Letter]) -> tuple[set[str], dict[str, Request]]:
        """Which of the callers' ids are stored already.

        New ones are the rule, so at first nothing is read before a decision: a repeat that is accepted loses its append
        to the unique index, and the turn, and those after it, look before they decide. A repeat that is refused is
        looked up before it is told.
        """
        event_ids = [one.event_id for one in letters if one.event_id]
        request_ids = [one.request.request_id for one in letters if one.request and type(one.command) is not Start]
        store, now = self._world.store, self._world.clock.now()
        known = await store.known_events(self.key, event_ids) if event_ids and self.key else set[str]()
        requests = await store.requests(self.ref.tenant, request_ids, now) if request_ids else {}
        return known, requests

    def _decide(self, letter: Letter, state: State, batch: Batch, stored: tuple[set[str], dict[str, Request]]) -> None:
        if (
            batch.stalled
            and letter.inbox_id
            and type(letter.command) is Submit
            and letter.command.name in batch.stalled
        ):
            return
        repeat = repeated(letter, batch, *stored)
        if repeat is not None:
            self._wary = WARY_TURNS
            batch.refused = batch.refused or isinstance(repeat, Refusal)
            batch.answers.append((letter, repeat))
            if letter.inbox_id:
                batch.consumed.append(letter.inbox_id)
            return
        world = self._world
        now, vault = max(world.clock.now(), state.updated_at), self.vault
        sealed = vault.unwritten_count if vault is not None else 0
        facts = Facts(now, world.ids.chance(), world.delivered(self.key), vault)
        decision = overtaken(letter, state) or decide(
            state, cast(Plan, self.plan), letter.command, facts, world.settings.decisions
        )
        if isinstance(decision, Refusal):
            if vault is not None:
                vault.drop(sealed)
            batch.refused = True
            batch.answers.append((letter, decision))
            if letter.inbox_id:
                refused_row(letter, batch, decision)
            return
        self._accept(letter, state, batch, decision, facts.now)

    def _accept(self, letter: Letter, state: State, batch: Batch, accepted: Accepted, now: int) -> None:
        # What nobody outside has caused (an answer, a timer) belongs to the trace that began the execution.
        own = letter.context == NO_CONTEXT and state.trace
        context = caused(encode({"trace": state.trace}) if own else letter.context, letters_of(letter.command))
        batch.events += seal(state, accepted, now, context, self.ref.tenant)
        batch.effects += accepted.effects
        if accepted.left:
            batch.cut = True
            self._left = {**(self._left or {}), **accepted.left}
        if letter.inbox_id:
            batch.consumed.append(letter.inbox_id)
        if letter.request is not None:
            batch.requests.append(letter.request)
        if letter.event_id:
            batch.event_ids.add(letter.event_id)
        batch.guard = letter.guard or batch.guard
        batch.claims = letter.claims or batch.claims
        if type(letter.command) is Erase and accepted.events:
            batch.erases = Erasure(letter.command.letters)
        sequence = state.sequence - len(accepted.events) + 1 if accepted.events else 0
        kept = type(letter.command) is Submit and sequence in state.kept
        batch.answers.append((letter, Reply(sequence=sequence, kept=kept)))

    async def _commit(self, letters: list[Letter], state: State, before: int, batch: Batch) -> bool:
        """Append and say whether it is on disk; if not, the letters have been taken care of."""
        append = self._append(state, batch, before, self._snapshot_due(state, batch))
        self.ahead = True
        try:
            telemetry = self._world.telemetry
            if telemetry is None:
                outcome = await self._world.journal.write(append)
            else:
                with telemetry.flush():
                    outcome = await self._world.journal.write(append)
        finally:
            self._appended()
        if isinstance(outcome, Committed):
            self.key = outcome.key
            self._tidy_vault(state)
            if batch.cut:
                self._inbox_waits = True
            return True
        self._lost(letters, outcome)
        return False

    def _tidy_vault(self, state: State) -> None:
        """What was sealed is on disk. In memory stays what expressions may still ask for."""
        vault = self.vault
        if vault is None:
            return
        vault.written()
        if state.status.ended:
            self.vault = None
        elif vault.crowded:
            vault.keep(sealed_in(encode(cast(Any, state))))

    def _appended(self) -> None:
        self.ahead = False
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None

    async def caught_up(self) -> None:
        """Return once the state is not ahead of the disk; it may be ahead again soon after."""
        if self.ahead:
            self._caught_up = self._caught_up or self._world.loop.create_future()
            await asyncio.shield(self._caught_up)

    def _append(self, state: State, batch: Batch, before: int, snapshot: Snapshot | None) -> ExecutionAppend:
        head = head_of(state)
        return ExecutionAppend(
            ref=self.ref,
            key=self.key,
            expected=before,
            events=tuple(batch.events),
            head=head,
            effects=tuple(batch.effects),
            consumed=tuple(batch.consumed),
            requests=tuple(batch.requests),
            snapshot=snapshot,
            guard=batch.guard,
            claims=batch.claims,
            # An erasure comes after the end, which has said how long the execution is kept.
            expires_at=expiry(head, self.plan) if batch.events and batch.erases is None else 0,
            secrets=self.vault.unwritten() if self.vault is not None else None,
            erases=batch.erases,
        )

    def _snapshot_due(self, state: State, batch: Batch) -> Snapshot | None:
        """A snapshot, where enough has come since the last one."""
        self._tail.grow(batch.events)
        if state.status.ended or not self._tail.is_long(self._world.settings.snapshot_events_min):
            return None
        snapshot = take_snapshot(state, self._world.clock.now())
        self._tail.end(len(snapshot.data))
        if self.vault is not None:
            self.vault.keep(sealed_in(snapshot.data))
        return snapshot

    async def _answer(self, batch: Batch) -> None:
        stored = NOTHING_STORED
        if batch.refused:
            stored = await self._stored([letter for letter, answer in batch.answers if isinstance(answer, Refusal)])
        view: ExecutionView | None = None
        for letter, decided in batch.answers:
            answer = (repeated(letter, Batch(), *stored) or decided) if isinstance(decided, Refusal) else decided
            if isinstance(answer, Refusal):
                letter.refuse(answer)
            elif letter.wants_view:
                view = view or self.view()
                letter.answer(msgspec.structs.replace(answer, view=view))
            else:
                letter.answer(answer)
        for inbox_id, refusal in batch.buried:
            await self._world.bury(self.ref, self.key, inbox_id, refusal)
        if batch.stalled:
            self._world.retry_inbox(self.ref)
        self._past_events = self._page_full and (self._past_events or bool(batch.stalled))
        self._inbox_waits = self._inbox_waits or self._page_full

    # When it does not work

    def _lost(self, letters: list[Letter], lost: Lost) -> None:
        """The append was taken out of its flush: the state in memory is void."""
        self._forget()
        if not self.key:  # a Start: whoever sent it knows what to do
            for letter in letters:
                letter.refuse(start_refusal(self.ref, lost))
            return
        again = lost.why in (Why.DUPLICATE_EVENT, Why.DUPLICATE_REQUEST, Why.SEQUENCE)
        self._wary = WARY_TURNS
        for letter in letters:
            letter.reruns += 1
        retried = [letter for letter in letters if again and letter.reruns <= RERUNS_MAX]
        rows = any(letter.inbox_id for letter in retried)
        self._inbox_waits = self._inbox_waits or rows or self._page_full
        self.mailbox.put_back([letter for letter in retried if not letter.inbox_id])
        for letter in letters:
            if letter not in retried:
                letter.refuse(Refusal(Kind.INTERNAL, "INTERNAL", f"the append was refused: {lost.message or lost.why}"))

    async def _raised(self, letters: list[Letter], error: Exception) -> None:
        """Deciding raised: run the letters one by one, or, if it was alone, answer it."""
        self._forget()
        if len(letters) > 1:
            self._alone = len(letters)
            self._inbox_waits = self._inbox_waits or any(letter.inbox_id for letter in letters)
            self.mailbox.put_back([letter for letter in letters if not letter.inbox_id])
            return
        letter = letters[0]
        if self.plan is not None and self.plan.sensitive:
            error = wordless(error)
        refusal = Refusal(Kind.INTERNAL, "EXECUTION_POISONED", f"{type(error).__name__}: {error}")
        known = {"execution": self.ref.execution_id, "command": type(letter.command).__name__}
        log.error("command raised", exc_info=error, extra=known)
        letter.refuse(refusal)
        if letter.inbox_id:
            await self._world.bury(self.ref, self.key, letter.inbox_id, refusal)
            self._inbox_waits = True


def _seen(future: asyncio.Future[Any]) -> None:
    """Nobody waits for this one: its exception has been dealt with."""
    if not future.cancelled():
        future.exception()
