"""Answers of workers: from a token and a result to an ack, through the execution and its commit.

One item is one matter: whatever is wrong with it, the others of its frame are not touched. The answers of one frame
are put to their executions at the same time, so that they share a commit; for each there is a future and a callback,
and no task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from msgspec import UNSET

from .board import Delivery, Seat
from .core.commands import CompleteTask, FailTask
from .core.refusals import Kind, Refusal
from .deliveries import Deliveries
from .offers import Ask, put, refusal_of
from .rows import ExecutionRecord, ExecutionRef
from .tasks import Ack, DispatcherSettings, Disposition, Heartbeat, TaskResult
from .tokens import Token

log = logging.getLogger(__name__)

Report: TypeAlias = Callable[[Ack], None]
Answered: TypeAlias = Callable[[ExecutionRef, str, int], Awaitable[bool]]
"""Whether the attempt of the step at this path was answered by a worker, as its execution's history says."""

# A name of its own: looking the member up in its class costs as much as a call.
_ACCEPTED: Final = Disposition.ACCEPTED
_STALE_KINDS: Final = frozenset({Kind.RACE, Kind.STATE, Kind.NOT_FOUND})
_RETRY_KINDS: Final = frozenset({Kind.BUSY, Kind.UNAVAILABLE, Kind.DEADLINE})
_STALE_MESSAGE: Final = "the task was delivered again, or its step has ended"
_DUPLICATE_MESSAGE: Final = "an answer to this delivery was accepted before"
_FORGED_MESSAGE: Final = "this is not a task token of this server and tenant"
_GENERATION_MESSAGE: Final = "the token was issued before the store was restored from a backup"


class KeyedExecutions(Protocol):
    """The one read that a token needs whose task is not open any more."""

    async def execution_by_key(self, key: int) -> ExecutionRecord | None:
        """The stored execution with this key, or None."""
        ...


class Answers:
    """Takes results and heartbeats."""

    def __init__(
        self,
        deliveries: Deliveries,
        ask: Ask,
        answered: Answered,
        store: KeyedExecutions,
        settings: DispatcherSettings,
    ) -> None:
        self._deliveries = deliveries
        self._ask = ask
        self._answered = answered
        self._store = store
        self._settings = settings
        self._lookups: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        """Answers that are before their executions now."""

    def result(self, tenant: str, result: TaskResult, seat: Seat | None, report: Report) -> None:
        """Take one result; `report` gets its ack, at once or after the commit."""
        delivery = self._deliveries.live.get(result.token)
        if delivery is None:
            self._late(tenant, result, seat, report)
        elif delivery.entry.ref.tenant != tenant:
            report(_invalid(result.token, _FORGED_MESSAGE))
        elif result.fault or (result.failure is None and result.output is UNSET):
            self._deliveries.doubt(delivery)
            report(_faulty(result))
        elif delivery.asked:
            delivery.waiting = delivery.waiting or []
            delivery.waiting.append(report)
        else:
            self._put(delivery, result, report)

    def heartbeat(self, tenant: str, beat: Heartbeat, seat: Seat | None) -> Ack:
        """Take one heartbeat."""
        token = beat.token
        delivery = self._deliveries.live.get(token)
        if delivery is None and seat is not None:
            delivery = self._deliveries.claim(token, seat)
        if delivery is None or delivery.entry.ref.tenant != tenant:
            tokens = self._deliveries.tokens
            if tokens.is_other_generation(token):
                return _invalid(token, _GENERATION_MESSAGE, "OTHER_GENERATION", heartbeat=True)
            known = delivery is None and (
                self._deliveries.settled.get(token) or tokens.is_local(token) or tokens.read(token)
            )
            if not known:
                return _invalid(token, _FORGED_MESSAGE, heartbeat=True)
            return Ack(token, Disposition.STALE, _STALE_MESSAGE, True, "STALE_TOKEN", heartbeat=True)
        if beat.progress is not UNSET and beat.progress_bytes <= self._settings.progress_bytes_max:
            delivery.entry.progress = beat.progress
        return Ack(token, Disposition.ACCEPTED, cancel_requested=delivery.entry.cancel_requested, heartbeat=True)

    async def close(self) -> None:
        """Give up what is still being looked up."""
        for lookup in tuple(self._lookups):
            lookup.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)

    # The way through the execution

    def _put(self, delivery: Delivery, result: TaskResult, report: Report) -> None:
        entry = delivery.entry
        command = (
            CompleteTask(entry.path, entry.attempt, result.output)
            if result.failure is None
            else FailTask(entry.path, entry.attempt, result.failure)
        )
        delivery.asked = True
        self.in_flight += 1
        put(self._ask, entry.ref, command).add_done_callback(partial(self._decided, delivery, report))

    def _decided(self, delivery: Delivery, report: Report, reply: asyncio.Future[Any]) -> None:
        self.in_flight -= 1
        delivery.asked = False
        waiting, delivery.waiting = delivery.waiting, None
        refusal = refusal_of(reply)
        ack = Ack(delivery.token, _ACCEPTED) if refusal is None else _ack_of(delivery.token, refusal)
        if refusal is None or ack.disposition is Disposition.STALE:
            self._deliveries.settle(delivery, accepted=refusal is None)
        else:
            if ack.disposition is Disposition.INVALID:
                self._deliveries.doubt(delivery)
            self._deliveries.resume(delivery)
        report(ack)
        for other in waiting or ():
            other(_repeat(delivery.token) if refusal is None else ack)

    # Tokens that are not live

    def _late(self, tenant: str, result: TaskResult, seat: Seat | None, report: Report) -> None:
        token = result.token
        settled = self._deliveries.settled.get(token)
        if settled is not None:
            self._let_go(seat, token)
            report(_repeat(token) if settled is Disposition.DUPLICATE else _stale(token))
            return
        read = self._deliveries.tokens.read(token)
        if read is None and self._deliveries.tokens.is_local(token):
            self._let_go(seat, token)
            report(_stale(token))
        elif self._deliveries.tokens.is_other_generation(token):
            report(_invalid(token, _GENERATION_MESSAGE, "OTHER_GENERATION"))
        elif read is None or read.boot > self._deliveries.tokens.boot:
            report(_invalid(token, _FORGED_MESSAGE))
        elif result.fault:
            report(_faulty(result))
        elif (entry := self._deliveries.revivable(read, tenant)) is not None:
            self._deliveries.adopt(entry, token, seat)
            self.result(tenant, result, seat, report)
        else:
            self._let_go(seat, token)
            self._look_up(tenant, read, token, report)

    def _let_go(self, seat: Seat | None, token: bytes) -> None:
        if seat is not None:
            self._deliveries.release(seat, token)

    def _look_up(self, tenant: str, read: Token, token: bytes, report: Report) -> None:
        """The task ended before this boot, or so long ago that its token is forgotten: history knows."""
        lookup = asyncio.get_running_loop().create_task(self._from_history(tenant, read, token, report))
        self._lookups.add(lookup)
        lookup.add_done_callback(self._lookups.discard)

    async def _from_history(self, tenant: str, read: Token, token: bytes, report: Report) -> None:
        try:
            record = await self._store.execution_by_key(read.key)
            if record is not None and record.ref.tenant != tenant:
                report(_invalid(token, _FORGED_MESSAGE))
                return
            answered = record is not None and await self._answered(record.ref, read.path, read.attempt)
        except Exception:
            log.exception("whether a task was answered could not be read")
            report(Ack(token, Disposition.RETRY, "the history could not be read", reason="STORAGE_UNAVAILABLE"))
            return
        self._deliveries.settled.add(token, Disposition.DUPLICATE if answered else Disposition.STALE)
        report(_repeat(token) if answered else _stale(token))


def _ack_of(token: bytes, refusal: Refusal) -> Ack:
    if refusal.kind in _STALE_KINDS:
        return Ack(token, Disposition.STALE, refusal.message, reason="STALE_TOKEN")
    disposition = Disposition.RETRY if refusal.kind in _RETRY_KINDS else Disposition.INVALID
    return Ack(token, disposition, refusal.message, reason=refusal.reason, retry_after_us=refusal.retry_after_us)


def _repeat(token: bytes) -> Ack:
    return Ack(token, Disposition.DUPLICATE, _DUPLICATE_MESSAGE)


def _stale(token: bytes) -> Ack:
    return Ack(token, Disposition.STALE, _STALE_MESSAGE, reason="STALE_TOKEN")


def _invalid(token: bytes, message: str, reason: str = "INVALID_TOKEN", heartbeat: bool = False) -> Ack:
    return Ack(token, Disposition.INVALID, message, reason=reason, heartbeat=heartbeat)


def _faulty(result: TaskResult) -> Ack:
    message = result.fault or "the result holds neither an output nor a failure"
    return _invalid(result.token, message, result.fault_reason if result.fault else "INVALID_REQUEST")
