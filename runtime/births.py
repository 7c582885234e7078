"""The first turn of an execution that is started from within: decided outside any actor, committed with its cause.

A trigger's start belongs into the commit of what triggers it (an event's acceptance, a schedule's slot), so it cannot
be a command to an actor. `prepare` makes the same append that an actor would make of a Start; once that is on disk,
`adopt` hands over the state, and the next command to the execution needs no replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from .batch import expiry, head_of
from .causes import TRIGGER, caused
from .core.commands import Facts, Start
from .core.decide import decide
from .core.plan import Plan
from .core.refusals import Refusal, Refused
from .core.state import State
from .ports import Clock, Ids
from .replay import seal
from .rows import DefinitionGuard, ExecutionAppend, ExecutionRef, LineClaim, Request
from .settings import Settings
from .vaults import ExecutionVault
from .writes import Committed, Outcome


class Adopt(Protocol):
    """Where states of new executions go: the supervisor."""

    def __call__(
        self,
        ref: ExecutionRef,
        key: int,
        state: State,
        plan: Plan,
        left: dict[str, None],
        vault: ExecutionVault | None = None,
    ) -> None:
        """A new execution, whose start was just committed, becomes live. It does nothing where it is awake already or
        there is no room. `left`, where it is not empty, is what the CONTINUE row in its inbox stands for."""
        ...


@dataclass(frozen=True, slots=True)
class Birth:
    """A start that has been decided and not been committed yet. Its state is of no use unless it is committed."""

    append: ExecutionAppend
    state: State
    plan: Plan
    left: dict[str, None]
    """What the decision was cut before."""
    vault: ExecutionVault | None = None
    """Its sensitive values, where its definition knows such."""


class Births:
    """Prepares first turns, and hands over what was committed."""

    def __init__(self, clock: Clock, ids: Ids, settings: Settings, adopt: Adopt) -> None:
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._adopt = adopt

    def prepare(
        self,
        ref: ExecutionRef,
        command: Start,
        plan: Plan,
        *,
        context: bytes,
        request: Request | None = None,
        guard: DefinitionGuard | None = None,
        claims: tuple[LineClaim, ...] = (),
    ) -> Birth:
        """Decide the start. The execution records the lines that it claims. Raises Refused, as the decision does."""
        if claims:
            command = msgspec.structs.replace(command, lines=tuple(claim.line for claim in claims))
        state = State(execution_id=ref.execution_id)
        vault = ExecutionVault(self._ids.random_bytes) if plan.sensitive else None
        facts = Facts(self._clock.now(), self._ids.chance(), vault=vault)
        decision = decide(state, plan, command, facts, self._settings.decisions)
        if isinstance(decision, Refusal):
            raise Refused(decision)
        events = seal(state, decision, facts.now, caused(context, TRIGGER), ref.tenant)
        head = head_of(state)
        append = ExecutionAppend(
            ref=ref,
            key=0,
            expected=0,
            events=tuple(events),
            head=head,
            effects=tuple(decision.effects),
            requests=(request,) if request is not None else (),
            guard=guard,
            claims=claims,
            expires_at=expiry(head, plan),
            secrets=vault.unwritten() if vault is not None else None,
        )
        return Birth(append, state, plan, decision.left, vault)

    def adopt(self, birth: Birth, committed: Committed) -> None:
        """Its append is on disk, as `committed` says: the execution goes on from the state at hand.

        To be called before anything else can have been committed for it, that is, at once.
        """
        if birth.vault is not None:
            birth.vault.written()
        self._adopt(birth.append.ref, committed.key, birth.state, birth.plan, birth.left, birth.vault)


async def outcome_of(writing: Awaitable[Outcome], take_over: Callable[[Committed], None]) -> Outcome:
    """What became of a write. `take_over` gets its commit at once, also where whoever waits here has given up: what was
    started then must not lie asleep with a decision that was cut."""

    def tell(written: asyncio.Future[Outcome]) -> None:
        outcome = None if written.cancelled() or written.exception() is not None else written.result()
        if isinstance(outcome, Committed):
            take_over(outcome)

    written = asyncio.ensure_future(writing)
    written.add_done_callback(tell)
    return await asyncio.shield(written)
