"""Tasks in workers' hands: handing out, claiming, time-outs, losses, and which token is good.

Rules
- A token is *live* from its delivery until its delivery ends: by an answer that was committed, by the end of the task,
  by a time-out or a loss. After that it is *settled*: a repeat of an accepted answer, or stale.
- Only the newest delivery of a task is live. A token of an earlier boot becomes live when it is shown, as long as
  this boot has not delivered the attempt itself.
- A delivery that ends without an answer leaves its entry in phase ENDING, and its execution is told (LoseDelivery,
  FailTask) until the effects of its decision come back through the journal.
- The slot of an ended delivery is free again when the worker has answered it, or after a lease: the worker may still
  be busy with it.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Callable
from typing import Final, Protocol

from opentelemetry.trace import Span

from .alarms import Alarms
from .board import Delivery, Entry, Phase, Seat
from .core.commands import FailTask, LoseDelivery
from .core.failures import TIMEOUT, Failure
from .core.refusals import Kind, Refusal
from .offers import Offers
from .ports import Clock
from .rows import StoreInfo
from .tasks import CancelNotice, Delivered, DispatcherSettings, Disposition
from .telemetry import traceparent_of
from .tokens import Token, Tokens

log = logging.getLogger(__name__)

INPUT_LOST: Final = "InputLost"
"""Type of the failure of a task whose stored input is damaged."""

# Members in names of their own: looking one up in its class costs as much as a call.
_HELD: Final = Phase.HELD
_ACCEPTED_BEFORE: Final = Disposition.DUPLICATE
_KEY_PARTS: Final = struct.Struct(">qI")
_MICROSECONDS: Final = 1_000_000
_GONE: Final = frozenset({Kind.RACE, Kind.STATE, Kind.NOT_FOUND})
"""Refusals by which an execution says that it no longer has this attempt."""

Observe = Callable[[str, float], None]
"""Told the operation of every delivered task and the seconds it was queued."""

TaskSpans = Callable[[str, str, int, str], Span]
"""Begins the span of a delivery: (operation, path, attempt, traceparent of the execution)."""


class Board(Protocol):
    """Where entries wait, as the deliveries need it."""

    def find(self, key: int, path: str) -> Entry | None:
        """The open task."""
        ...

    def withdraw(self, entry: Entry) -> None:
        """Take it out of where it waits."""
        ...

    def forget(self, entry: Entry) -> None:
        """It is not open any more."""
        ...

    def freed(self, seat: Seat) -> None:
        """A slot may be free."""
        ...


class SettledTokens:
    """The tokens of the last deliveries that ended, and how a repeat of their answer is answered; bounded."""

    def __init__(self, tokens_max: int) -> None:
        self._half = max(1, tokens_max // 2)
        self._young: dict[bytes, Disposition] = {}
        self._old: dict[bytes, Disposition] = {}

    def add(self, token: bytes, disposition: Disposition) -> None:
        """Remember it, at the cost of those that ended longest ago."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[token] = disposition

    def get(self, token: bytes) -> Disposition | None:
        """How it ended; None: not known (any more)."""
        return self._young.get(token) or self._old.get(token)


class Deliveries:
    """All deliveries of this boot, and those of earlier boots that were claimed."""

    def __init__(
        self,
        board: Board,
        info: StoreInfo,
        clock: Clock,
        alarms: Alarms,
        offers: Offers,
        settings: DispatcherSettings,
        observe: Observe | None = None,
        spans: TaskSpans | None = None,
    ) -> None:
        self._board = board
        self._clock = clock
        self._alarms = alarms
        self._offers = offers
        self._settings = settings
        self._observe = observe
        self._spans = spans
        self._count = 0
        self._key_base = hashlib.sha256(info.store_id.encode() + b"\0")
        self._run_key = self.idempotency_key
        self.tokens = Tokens(info)
        self.live: dict[bytes, Delivery] = {}
        self.settled = SettledTokens(settings.settled_tokens_max)

    # Beginnings

    def deliver(self, entry: Entry, seat: Seat, payload: bytes, monotonic: float) -> Delivered:
        """Hand the assigned task to the worker, with the JSON of its input."""
        self._count += 1
        if seat.local:
            token = self.tokens.issue_local(self._count)
        else:
            token = self.tokens.issue(entry.key, entry.path, entry.attempt, self._count)
        entry.delivered = True
        entry.seat = None
        delivery = Delivery(token, entry, seat, monotonic)
        self._begin(delivery)
        seat.held[token] = delivery
        if self._observe is not None:
            self._observe(entry.operation, max(0, self._clock.now() - entry.since) / _MICROSECONDS)
        tenant, execution_id = entry.ref
        return Delivered(
            token,
            tenant,
            execution_id,
            entry.path,
            entry.attempt,
            entry.key,
            self._run_key,
            entry.operation,
            payload,
            self._clock.now() + entry.attempt_timeout if entry.attempt_timeout else 0,
            entry.progress,
            traceparent_of(delivery.span) if delivery.span is not None else entry.trace,
            entry.cancel_requested,
        )

    def claim(self, token: bytes, seat: Seat) -> Delivery | None:
        """The worker says that it has this task. None: it is not (any more) the worker's, and it should stop."""
        delivery = self.live.get(token)
        if delivery is not None:
            if delivery.entry.ref.tenant != seat.tenant:
                return None
            self._move(delivery, seat)
            return delivery
        read = self.tokens.read(token)
        entry = self.revivable(read, seat.tenant) if read is not None else None
        return self.adopt(entry, token, seat) if entry is not None else None

    def revivable(self, read: Token, tenant: str) -> Entry | None:
        """The open task that a token of an earlier boot still stands for."""
        entry = self._board.find(read.key, read.path)
        if entry is None or entry.ref.tenant != tenant or entry.attempt != read.attempt:
            return None
        if read.generation != self.tokens.generation or read.boot >= self.tokens.boot or entry.delivered:
            return None
        return entry if entry.phase in (Phase.QUEUED, Phase.WITHHELD, Phase.ASSIGNED) else None

    def adopt(self, entry: Entry, token: bytes, seat: Seat | None) -> Delivery:
        """Take a delivery of an earlier boot for the newest one. How long it has been running is not stored, so that
        its time-out begins anew."""
        self._board.withdraw(entry)
        delivery = Delivery(token, entry, None, self._clock.monotonic())
        self._begin(delivery)
        if seat is not None:
            self._move(delivery, seat)
        return delivery

    def _begin(self, delivery: Delivery) -> None:
        entry = delivery.entry
        entry.phase = _HELD
        entry.delivery = delivery
        entry.queue.running += 1
        self.live[delivery.token] = delivery
        if self._spans is not None and entry.delivered:  # one that an earlier boot delivered was begun by that
            delivery.span = self._spans(entry.operation, entry.path, entry.attempt, entry.trace)
        if entry.attempt_timeout:
            seconds = entry.attempt_timeout / _MICROSECONDS
            delivery.alarm = self._alarms.after(seconds, lambda: self.expire(delivery))

    def _move(self, delivery: Delivery, seat: Seat) -> None:
        if delivery.seat is not seat:
            if (old := delivery.seat) is not None:
                self.release(old, delivery.token)
            delivery.seat = seat
            delivery.at = self._clock.monotonic()
            seat.held[delivery.token] = delivery
            seat.used += 1
        if delivery.entry.cancel_requested:
            self._stop(delivery, "cancellation was requested")

    # Ends

    def end(self, delivery: Delivery, reason: str) -> None:
        """The delivery is not the newest any more. Where an answer is before the execution, that says the rest;
        otherwise the token is stale from now on and the worker is told to stop."""
        entry = delivery.entry
        entry.delivery = None
        entry.queue.running -= 1
        self._disarm(delivery)
        if not delivery.asked:
            self._stale(delivery)
            self._stop(delivery, reason)
            self._release_later(delivery)

    def settle(self, delivery: Delivery, accepted: bool) -> None:
        """The execution has decided on an answer: it took it, or it no longer has the attempt."""
        self.live.pop(delivery.token, None)
        self.settled.add(delivery.token, _ACCEPTED_BEFORE if accepted else Disposition.STALE)
        self._disarm(delivery)
        entry = delivery.entry
        if entry.delivery is delivery:
            entry.delivery = None
            entry.queue.running -= 1
            entry.phase = Phase.ENDING
            entry.ended = delivery
            if not accepted:
                self._tell_lost(delivery)
        if delivery.seat is not None:
            self.release(delivery.seat, delivery.token)

    def resume(self, delivery: Delivery) -> None:
        """An answer was not taken, for now: the delivery goes on, unless it should have ended in the meantime."""
        if delivery.entry.delivery is not delivery:
            self._stale(delivery)
            self._release_later(delivery)
        elif delivery.overdue == "timeout":
            self.expire(delivery)
        elif delivery.overdue:
            self.lose(delivery)
        elif delivery.seat is None:
            # Of an earlier boot, and its worker is not connected: it has a lease's time to send the answer again.
            self.doubt(delivery)

    def lose(self, delivery: Delivery) -> None:
        """Its worker is gone or silent: the execution is told, and has it delivered again."""
        if delivery.asked:
            delivery.overdue = delivery.overdue or "lost"
            return
        if delivery.entry.delivery is not delivery:
            return
        self._conclude(delivery, "its lease ended")
        if delivery.seat is not None:
            self.release(delivery.seat, delivery.token)
        self._tell_lost(delivery)

    def expire(self, delivery: Delivery) -> None:
        """The attempt took too long: it fails with Timeout."""
        if delivery.asked:
            delivery.overdue = "timeout"
            return
        if delivery.entry.delivery is not delivery:
            return
        entry = delivery.entry
        self._conclude(delivery, "the attempt timed out")
        limit = entry.attempt_timeout / _MICROSECONDS
        failure = Failure(TIMEOUT, f"the attempt took longer than {limit:g} s")
        self._insist(delivery, FailTask(entry.path, entry.attempt, failure))

    def doubt(self, delivery: Delivery) -> None:
        """The worker sent something unreadable and may believe that it is done: unless it sends something better
        within a lease, the task is taken from it."""
        if delivery.doubted:
            return
        delivery.doubted = True
        self._alarms.after(self._settings.lease_seconds, lambda: self.lose(delivery))

    def unreadable(self, entry: Entry) -> None:
        """The task's input is not in the store as it should be: the step cannot be done, and says so."""
        entry.phase = Phase.ENDING
        entry.ended = delivery = Delivery(b"", entry, None, 0.0)
        failure = Failure(INPUT_LOST, "the stored input of the task cannot be read", retryable=False)
        self._insist(delivery, FailTask(entry.path, entry.attempt, failure))

    def release(self, seat: Seat, token: bytes) -> None:
        """The worker has let go of this task: its slot is free."""
        if seat.held.pop(token, None) is not None:
            seat.used -= 1
            self._board.freed(seat)
            seat.let_go()

    def cancel(self, entry: Entry) -> None:
        """Ask the worker that has the task to stop; its answer still counts."""
        entry.cancel_requested = True
        if entry.delivery is not None:
            self._stop(entry.delivery, "cancellation was requested")

    def idempotency_key(self, key: int, path: str, incarnation: int = 1) -> str:
        """One for each step run; the same in every attempt, delivery and boot."""
        digest = self._key_base.copy()
        digest.update(_KEY_PARTS.pack(key, incarnation) + path.encode())
        return digest.hexdigest()[:32]

    # Steps of the above

    def _conclude(self, delivery: Delivery, reason: str) -> None:
        self.end(delivery, reason)
        delivery.entry.phase = Phase.ENDING
        delivery.entry.ended = delivery

    def _stale(self, delivery: Delivery) -> None:
        self.live.pop(delivery.token, None)
        self.settled.add(delivery.token, Disposition.STALE)

    def _disarm(self, delivery: Delivery) -> None:
        if delivery.alarm is not None:
            delivery.alarm.cancel()
            delivery.alarm = None
        if delivery.span is not None:
            delivery.span.end()
            delivery.span = None

    def _stop(self, delivery: Delivery, reason: str) -> None:
        if delivery.seat is not None and not delivery.cancelled:
            delivery.cancelled = True
            delivery.seat.cancels.append(CancelNotice(delivery.token, reason))
            delivery.seat.wake()

    def _release_later(self, delivery: Delivery) -> None:
        seat, token = delivery.seat, delivery.token
        if seat is not None:
            self._alarms.after(self._settings.lease_seconds, lambda: self.release(seat, token))

    def _tell_lost(self, delivery: Delivery) -> None:
        entry = delivery.entry
        worker_id = delivery.seat.worker_id if delivery.seat is not None else ""
        self._insist(delivery, LoseDelivery(entry.path, entry.attempt, worker_id))

    def _insist(self, delivery: Delivery, command: FailTask | LoseDelivery) -> None:
        entry = delivery.entry

        def wanted() -> bool:
            return entry.ended is delivery

        def answered(refusal: Refusal | None) -> None:
            if refusal is not None and refusal.kind in _GONE and wanted():
                log.info("task %s of %s is no longer open: %s", entry.path, entry.ref, refusal.message)
                self._board.forget(entry)

        self._offers.offer(entry.ref, command, wanted, answered)
