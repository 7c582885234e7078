"""Executions that begin as another one was: forks, and what an import takes in.

    read what is inherited -> the plan, where it goes on -> decide (core/forking.py) -> commit -> adopt

No actor is asked: a fork reads committed history only, and the new execution is written like a birth (births.py). It
carries the revision of its definition, so that none begins from a version whose contents are being taken away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import msgspec

from .batch import expiry, head_of, not_found, request_reused, start_refusal
from .births import Adopt, outcome_of
from .catalog import Catalog
from .causes import FORK, IMPORT, caused
from .core import events as ev
from .core.commands import Facts, ForkOrigin
from .core.forking import Inheritance, decide_fork, open_tasks
from .core.plan import Plan
from .core.refusals import Kind, Refusal, Refused, Violation
from .core.sealing import ErasedError
from .core.state import IllegalTransition, State
from .core.values import decode, encode, sealed_in
from .ports import Clock, Ids, Store
from .replay import PAGE_BYTES, HistoryDamagedError, read_event, replay, seal
from .requests import Caller, check_id
from .roles import Writer
from .rows import DefinitionGuard, ExecutionAppend, ExecutionRecord, ExecutionRef, Request, StoredEvent
from .settings import Settings
from .vaults import ExecutionVault, load_vault
from .views import ExecutionView, state_view
from .writes import Committed, Lost, Why

TRIES_MAX = 20
"""How often it is decided again because the definition changed while it was being committed."""
INPUTS_READ_MAX = 64
"""Inputs of tasks read at one time."""
_REST_EVENTS_READ = 1_000

Load = Callable[[], Awaitable[Inheritance]]
"""Makes what is inherited, afresh each time."""


class StoredHistories(Protocol):
    """Where events come from as they are stored (part of the Store port)."""

    async def stored_events(self, key: int, after: int, limit: int, bytes_max: int) -> list[StoredEvent]:
        """Events after a sequence."""
        ...


class Look(Protocol):
    """Where an execution can be looked at: the supervisor."""

    async def __call__(self, ref: ExecutionRef) -> ExecutionView:
        """What it looks like now; raises Refused EXECUTION_NOT_FOUND."""
        ...


class ForkRequest(msgspec.Struct, frozen=True):
    """What to fork, and where."""

    execution_id: str
    at_sequence: int | None = None
    """After the event with this sequence; with `at_time` None, too: as it is now."""
    at_time: int | None = None
    """After the last event recorded at or before this time, in microseconds since the epoch."""
    new_execution_id: str = ""
    """Empty: made by the engine (from the request id, where there is one)."""


class Forking:
    """Makes executions from the past of others."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Writer,
        catalog: Catalog,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        adopt: Adopt,
        look: Look,
    ) -> None:
        self._store = store
        self._journal = journal
        self._catalog = catalog
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._adopt = adopt
        self._look = look

    async def fork(self, caller: Caller, request: ForkRequest) -> ExecutionView:
        """Begin an execution as another one was at some moment; a repeat of the request answers with the same one.

        Raises Refused: EXECUTION_NOT_FOUND, SEQUENCE_OUT_OF_RANGE, EXECUTION_ALREADY_EXISTS, HISTORY_DAMAGED,
        VERSION_NOT_FOUND or DEFINITION_DELETED where it would go on and its definition is not there any more.
        """
        check_id("execution_id", request.execution_id)
        if request.new_execution_id:
            check_id("new_execution_id", request.new_execution_id)
        if (earlier := await self.earlier(caller)) is not None:
            return earlier
        ref = ExecutionRef(caller.tenant, request.execution_id)
        record = await self._store.execution(ref)
        if record is None:
            raise Refused(not_found(ref))
        sequence = await self._sequence(record, request)
        moment = await self._moment(record, request, sequence)
        chosen = request.new_execution_id or caller.derived_id("fork") or self._ids.new()
        return await self.begin(
            caller,
            ExecutionRef(caller.tenant, chosen),
            lambda: self._inherited(caller, record, sequence, moment),
            secrets_of=record.key,
        )

    # Which event, and when

    async def _sequence(self, record: ExecutionRecord, request: ForkRequest) -> int:
        last = record.head.sequence
        if request.at_time is not None:
            found = await sequence_at(self._store, record.key, last, request.at_time)
            if not found:
                await self._check_there(record)
                raise _out_of_range(record, "it had no event at that time yet")
            return found
        if request.at_sequence is None:
            return last
        if not 1 <= request.at_sequence <= last:
            raise _out_of_range(record, f"there is no event {request.at_sequence}; its last one is {last}")
        return request.at_sequence

    async def _moment(self, record: ExecutionRecord, request: ForkRequest, sequence: int) -> int:
        """The time that the beginning of the fork stands for: what was to come so long after it comes so long after."""
        now = self._clock.now()
        if request.at_time is not None:
            return min(request.at_time, now)
        if request.at_sequence is None:
            return now
        found = await self._store.stored_events(record.key, sequence - 1, 1, 1)
        return min(found[0].created_at, now) if found else now

    # What is inherited

    async def _inherited(self, caller: Caller, record: ExecutionRecord, sequence: int, moment: int) -> Inheritance:
        try:
            state, _ = await replay(self._store, record.ref, record.key, until=sequence)
            inputs = await self._inputs(record.key, open_tasks(state))
            rest = await self._rest(record.key, sequence)
        except HistoryDamagedError as error:
            await self._check_there(record)
            raise _damaged(str(error)) from error
        await self._check_there(record)
        origin = ForkOrigin(record.ref.execution_id, sequence, state.hash)
        state.trace = caller.trace or state.trace
        return Inheritance(origin, state, inputs, rest, moment)

    async def _check_there(self, record: ExecutionRecord) -> None:
        """Raises Refused EXECUTION_NOT_FOUND where it was deleted: then what was read of it may not be all."""
        if await self._store.execution_by_key(record.key) is None:
            raise Refused(not_found(record.ref))

    async def _inputs(self, key: int, wanted: dict[str, int]) -> dict[str, Any]:
        paths, found, size = list(wanted), dict[str, Any](), 0
        for start in range(0, len(paths), INPUTS_READ_MAX):
            some = paths[start : start + INPUTS_READ_MAX]
            payloads = await self._store.task_inputs([(key, wanted[path]) for path in some])
            for path, payload in zip(some, payloads, strict=True):
                if payload is None:
                    number = wanted[path]
                    raise HistoryDamagedError(f"event {number}, with the input of {path}, is missing", number)
                size += len(payload)
                self.check_size(size)
                found[path] = input_of(payload)
        return found

    async def _rest(self, key: int, sequence: int) -> tuple[ev.Event, ...]:
        """What the command of this event led to after it."""
        rest: list[ev.Event] = []
        while page := await self._store.stored_events(key, sequence, _REST_EVENTS_READ, PAGE_BYTES):
            for stored in page:
                if stored.context is not None:
                    return tuple(rest)
                rest.append(read_event(stored))
            sequence = page[-1].sequence
        return tuple(rest)

    def check_size(self, size: int) -> None:
        """Raises Refused LIMIT_EXCEEDED where more is taken over than `fork_bytes_max`."""
        limit = self._settings.fork_bytes_max
        if size > limit:
            raise Refused(
                Refusal(
                    Kind.INVALID,
                    "LIMIT_EXCEEDED",
                    f"its state and the inputs of its open tasks have more than fork_bytes_max, {limit} bytes",
                    {"limit": str(limit), "limit_name": "fork_bytes_max"},
                )
            )

    # The new one

    async def earlier(self, caller: Caller) -> ExecutionView | None:
        """What the same request was answered with before, as it is now; raises Refused if it was another request."""
        if not caller.request_id:
            return None
        found = await self._store.requests(caller.tenant, [caller.request_id], self._clock.now())
        stored = found.get(caller.request_id)
        return None if stored is None else await self._repeat(caller, stored)

    async def _repeat(self, caller: Caller, stored: Request) -> ExecutionView:
        if stored.fingerprint != caller.fingerprint:
            raise Refused(request_reused(caller.request_id))
        return await self._look(ExecutionRef(caller.tenant, stored.identity))

    async def begin(
        self, caller: Caller, ref: ExecutionRef, load: Load, *, defined: bool = True, secrets_of: int = 0
    ) -> ExecutionView:
        """Commit a new execution with what it inherits. Raises Refused, as for `fork`.

        Not `defined`: it has ended, and what is stored here under the number of its version is not what it ran.
        `secrets_of`: the key of the execution whose sensitive values it takes over; 0: nobody here has them.
        """
        remembered = caller.remembered(ref.execution_id, self._clock.now(), self._settings)
        for _ in range(TRIES_MAX):
            inheritance = await load()
            plan, guard = await self._runs(ref.tenant, inheritance.state) if defined else (None, None)
            vault = await self._vault(inheritance, plan, secrets_of)
            outcome = await self._commit(caller, ref, inheritance, plan, guard, remembered, vault)
            if isinstance(outcome, ExecutionView):
                return outcome
            if outcome.why is Why.DUPLICATE_REQUEST and outcome.stored is not None:
                return await self._repeat(caller, outcome.stored)
            if outcome.why is Why.EXISTS and (earlier := await self.earlier(caller)) is not None:
                return earlier
            if outcome.why is not Why.REVISION:
                raise Refused(start_refusal(ref, outcome))
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", "the definition keeps changing; try again"))

    async def _runs(self, tenant: str, state: State) -> tuple[Plan | None, DefinitionGuard | None]:
        """The plan of one that goes on, and that its definition has not changed since it was looked at. Of one that has
        ended the plan only says how long it is kept, and need not be there."""
        definition_id, version = state.definition_id, state.version
        if state.status.ended:
            try:
                return await self._catalog.plan(tenant, definition_id, version), None
            except Refused:
                return None, None
        head = await self._store.definition(tenant, definition_id)
        if head is not None and head.state == "DELETING":
            raise _gone(
                "DEFINITION_DELETED", Kind.STATE, f"definition {definition_id!r} is being deleted", definition_id
            )
        stored = head and await self._store.definition_version(tenant, definition_id, version)
        if head is None or stored is None:
            message = (
                f"version {version} of definition {definition_id!r} is not stored any more; only an execution that has "
                "ended can be taken over without it"
            )
            raise _gone("VERSION_NOT_FOUND", Kind.NOT_FOUND, message, f"{definition_id}@{version}")
        plan = await self._catalog.plan(tenant, definition_id, version)
        return plan, DefinitionGuard(definition_id, head.revision)

    async def _vault(self, inheritance: Inheritance, plan: Plan | None, secrets_of: int) -> ExecutionVault | None:
        """The sensitive values that it goes on with, under a key of its own, so that they are erased by themselves. One
        that has ended needs none. Raises Refused SENSITIVE_VALUES_ERASED where it needs some that are gone."""
        if plan is None or not plan.sensitive or inheritance.state.status.ended:
            return None
        needed = [inheritance.state, dict(inheritance.inputs), list(inheritance.rest)]
        commitments = sealed_in(encode(cast(Any, needed)))
        try:
            origin = await load_vault(self._store, secrets_of, commitments, self._ids.random_bytes)
            return origin.copied(commitments)
        except ErasedError:
            raise _without_values(inheritance.origin.execution_id) from None

    async def _commit(
        self,
        caller: Caller,
        ref: ExecutionRef,
        inheritance: Inheritance,
        plan: Plan | None,
        guard: DefinitionGuard | None,
        remembered: Request | None,
        vault: ExecutionVault | None,
    ) -> ExecutionView | Lost:
        state = State(execution_id=ref.execution_id)
        facts = Facts(self._clock.now(), self._ids.chance(), vault=vault)
        try:
            decided = decide_fork(state, plan, inheritance, facts, self._settings.decisions)
        except Exception as error:
            if inheritance.origin.imported:  # its hashes hold, and whoever made them up can make up anything
                raise _made_up(error) from error
            if isinstance(error, IllegalTransition):
                raise _damaged(str(error)) from error
            raise
        context = caused(caller.context, IMPORT if inheritance.origin.imported else FORK)
        events = seal(state, decided, facts.now, context, ref.tenant)
        self.check_size(sum(len(event.payload) for event in events))
        head = head_of(state)
        append = ExecutionAppend(
            ref=ref,
            key=0,
            expected=0,
            events=tuple(events),
            head=head,
            effects=tuple(decided.effects),
            requests=(remembered,) if remembered is not None else (),
            guard=guard,
            expires_at=expiry(head, plan),
            secrets=vault.unwritten() if vault is not None else None,
        )
        begun: list[ExecutionView] = []

        def take_over(committed: Committed) -> None:
            begun.append(state_view(state, ref, committed.key))
            if vault is not None:
                vault.written()
            if not state.status.ended:
                self._adopt(ref, committed.key, state, cast(Plan, plan), decided.left, vault)

        outcome = await outcome_of(self._journal.write(append), take_over)
        return outcome if isinstance(outcome, Lost) else begun[0]


def input_of(payload: bytes) -> Any:
    """The input in an event that gives a task its own."""
    content = decode(payload)
    return content.get("input") if isinstance(content, dict) else None


async def sequence_at(source: StoredHistories, key: int, last: int, at: int) -> int:
    """The last event recorded at or before this time; 0: there is none. Times never run backwards in a history."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        found = await source.stored_events(key, middle - 1, 1, 1)
        if found and found[0].created_at <= at:
            low = middle
        else:
            high = middle - 1
    return low


def _out_of_range(record: ExecutionRecord, message: str) -> Refused:
    known = {"first": "1", "last": str(record.head.sequence)}
    name = record.ref.execution_id
    text = f"execution {name}: {message}"
    refusal = Refusal(Kind.RANGE, "SEQUENCE_OUT_OF_RANGE", text, known, resource_type="execution", resource=name)
    return Refused(refusal)


def _damaged(message: str) -> Refused:
    return Refused(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", message))


def _without_values(name: str) -> Refused:
    message = (
        f"execution {name} would go on with sensitive values that are not here: they were erased, or it was imported, "
        "and exports do not hold them"
    )
    refusal = Refusal(Kind.STATE, "SENSITIVE_VALUES_ERASED", message, resource_type="execution", resource=name)
    return Refused(refusal)


def _made_up(error: Exception) -> Refused:
    what = f"the state that its history adds up to cannot go on under its definition: {type(error).__name__}: {error}"
    violation = Violation("", what, "INVALID_EXPORT", "export", 1, 1)
    return Refused(Refusal(Kind.INVALID, "INVALID_EXPORT", violation.located, violations=(violation,)))


def _gone(reason: str, kind: Kind, message: str, resource: str) -> Refused:
    return Refused(Refusal(kind, reason, message, resource_type="definition", resource=resource))
