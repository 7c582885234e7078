"""Sensitive values of executions for people: never shown, and erased for good when that is asked for.

Events hold commitments only, so nothing has to be done for histories. What was accepted and never became an event (a
dead letter) is stored as it came: it is shown without its sensitive fields, and loses them with an erasure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from .batch import not_found
from .catalog import Catalog
from .core.commands import Erase
from .core.decide import not_erasable
from .core.plan import Plan
from .core.refusals import Refused
from .core.values import decode, encode
from .ports import Clock, Ids, Store
from .requests import Caller, check_id
from .rows import DeadLetter, ExecutionRecord, ExecutionRef
from .settings import Settings
from .supervisor import Supervisor
from .vaults import ExecutionVault
from .views import ExecutionView

_LETTERS_READ: Final = 100


class Erasing:
    """Erases and redacts."""

    def __init__(
        self, *, store: Store, catalog: Catalog, supervisor: Supervisor, clock: Clock, ids: Ids, settings: Settings
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._supervisor = supervisor
        self._clock = clock
        self._ids = ids
        self._settings = settings

    async def erase(self, caller: Caller, execution_id: str, reason: str = "") -> ExecutionView:
        """Erase the sensitive values of an execution that has ended. Its history stays, says so, and still verifies.

        One that has none, or has lost them already, is answered as it is. Raises Refused EXECUTION_NOT_FOUND,
        EXECUTION_NOT_ENDED.
        """
        check_id("execution_id", execution_id)
        ref = ExecutionRef(caller.tenant, execution_id)
        record = await self._store.execution(ref)
        if record is None:
            raise Refused(not_found(ref))
        if not record.head.ended_at:  # only of one that has ended all dead letters are there
            raise Refused(not_erasable(execution_id, record.head.status))
        plan = await self._plan(record)
        if plan is not None and not plan.sensitive:
            return await self._supervisor.view(ref)
        reply = await self._supervisor.ask(
            ref,
            Erase(reason, await self._emptied(record, plan)),
            context=caller.context,
            request=caller.remembered(execution_id, self._clock.now(), self._settings),
            wants_view=True,
        )
        assert reply.view is not None
        return reply.view

    async def redacted(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Dead letters without the sensitive fields of their payloads."""
        plans: dict[ExecutionRef, Plan | None] = {}
        for letter in letters:
            if letter.ref not in plans:
                record = await self._store.execution(letter.ref)
                plans[letter.ref] = None if record is None else await self._plan(record)
        return [msgspec.structs.replace(letter, payload=self._without(letter, plans[letter.ref])) for letter in letters]

    async def _plan(self, record: ExecutionRecord) -> Plan | None:
        """The plan of an execution; None: it is not there any more, so that nobody knows what was sensitive."""
        try:
            return await self._catalog.plan(record.ref.tenant, record.head.definition_id, record.head.version)
        except Refused:
            return None

    async def _emptied(self, record: ExecutionRecord, plan: Plan | None) -> tuple[tuple[int, bytes], ...]:
        """The dead letters of an execution that have sensitive payloads, and what takes the place of these."""
        after, found = 0, list[tuple[int, bytes]]()
        tenant, execution_id = record.ref
        while letters := await self._store.dead_letters(tenant, execution_id, after, _LETTERS_READ):
            after = letters[-1].id
            emptied = ((letter, self._without(letter, plan)) for letter in letters)
            found += [(letter.id, payload) for letter, payload in emptied if payload != letter.payload]
        return tuple(found)

    def _without(self, letter: DeadLetter, plan: Plan | None) -> bytes:
        """The payload of a dead letter with its sensitive fields sealed into nowhere."""
        vault = ExecutionVault(self._ids.random_bytes)
        if plan is None:
            return encode(vault.seal(None))
        schema = plan.events.get(letter.name)
        if schema is None or schema.seal is None:
            return letter.payload
        return encode(schema.seal(decode(letter.payload), vault))
