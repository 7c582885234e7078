"""What callers ask of executions: start, send events, look, wait, list, control. Each call is one transaction.

Everything raises `Refused` with a published reason; nothing is answered before its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .batch import not_found, request_reused
from .catalog import Catalog, Published
from .core.commands import (
    KEY_LINE,
    TRIGGER_LINE,
    Cancel,
    Command,
    Join,
    Resolve,
    ResolveAction,
    Start,
    Submit,
    Terminate,
)
from .core.failures import Failure
from .core.refusals import Kind, Refusal, Refused
from .core.state import Status
from .core.values import Value
from .dispatcher import Dispatcher
from .erasing import Erasing
from .feeds import Feeds, HistoryEvent
from .generations import check_revision
from .ports import Clock, Ids, Store
from .requests import (
    Caller,
    StartRequest,
    UniquePolicy,
    check_event_name,
    check_id,
    check_labels,
    check_length,
    check_sequence,
    check_size,
    invalid,
)
from .roles import Writer
from .rows import (
    DeadLetter,
    DiscardLetter,
    ExecutionRecord,
    ExecutionRef,
    InboxInsert,
    LineClaim,
    Request,
    RequeueLetter,
    StoreInfo,
)
from .settings import Settings
from .supervisor import Supervisor
from .views import ExecutionView, IncidentView
from .writes import Committed, Lost, Outcome, Why

POISON_SHOWN_MAX = 100
"""Dead letters of one execution that are looked at for its incidents."""
START_TRIES_MAX = 20
"""How often a start is decided again because its definition, or who holds its unique key, changed while it was being
committed."""


class Started(msgspec.Struct, frozen=True):
    """The answer to a start."""

    view: ExecutionView
    started: bool
    """Whether this request began it (a repeat of the same request did, too)."""


class Submitted(msgspec.Struct, frozen=True):
    """The answer to a submitted event, once it has been processed."""

    view: ExecutionView
    event_id: str
    sequence: int
    """Of its EventReceived event; 0: it was a repeat."""
    duplicate: bool
    kept: bool
    """No `receive` has taken it yet."""


class Enqueued(msgspec.Struct, frozen=True):
    """The answer to an enqueued event, once it is durable."""

    event_id: str
    duplicate: bool
    accepted_at: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What executions are made of; put together by engine.py."""

    info: StoreInfo
    store: Store
    journal: Writer
    catalog: Catalog
    supervisor: Supervisor
    dispatcher: Dispatcher
    feeds: Feeds
    erasing: Erasing
    clock: Clock
    ids: Ids
    settings: Settings


class Executions:
    """All executions of one engine."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # Starting

    async def start(self, caller: Caller, request: StartRequest) -> Started:
        """Begin an execution, or answer with the one that has its id or its unique key."""
        self._check_start(request)
        parts = self._parts
        chosen = request.execution_id or caller.derived_id("execution") or parts.ids.new()
        ref = ExecutionRef(caller.tenant, chosen)
        behind = ""
        for _ in range(START_TRIES_MAX):
            try:
                return Started(await self._begin(caller, request, ref, behind), started=True)
            except Refused as refused:
                answer = await self._refused(caller, request, ref, refused.refusal)
            if isinstance(answer, Started):
                return answer
            behind = answer
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", "other starts keep coming between; try again"))

    async def _refused(
        self, caller: Caller, request: StartRequest, ref: ExecutionRef, refusal: Refusal
    ) -> Started | str:
        """What a refused start is answered with, or, where it is to be tried again, the id of the execution to wait
        for (empty: none). Raises Refused.

        The same request before goes before the same id, and that before the unique key.
        """
        if refusal.metadata.get("line") == "empty":
            return ""
        there = await self._there(ref) if refusal.kind in _WHERE_EXISTING_COUNTS else None
        existing = await self._existing(caller, request, ref, there)
        if existing is not None:
            return existing
        if refusal.kind is not Kind.EXISTS or there is not None:
            raise Refused(refusal)
        if refusal.reason == "UNIQUE_KEY_TAKEN":
            return await self._taken(caller, request, refusal)
        return ""  # the start that was before this one has come to nothing

    async def _taken(self, caller: Caller, request: StartRequest, refusal: Refusal) -> Started | str:
        """What to do where another execution holds the unique key; as for `_refused`."""
        holder = refusal.metadata["holder"]
        match request.unique_policy:
            case UniquePolicy.RETURN_EXISTING:
                view = await self._join(caller, ExecutionRef(caller.tenant, holder))
                return "" if view is None else Started(view, started=False)
            case UniquePolicy.CANCEL_EXISTING:
                return holder
            case UniquePolicy.REJECT:
                message = f"execution {holder} holds the unique key {request.unique_key!r}"
                raise Refused(msgspec.structs.replace(refusal, message=message))

    async def _join(self, caller: Caller, holder: ExecutionRef) -> ExecutionView | None:
        """The execution that holds a unique key, once the caller's request is remembered as answered with it; None: it
        has ended meanwhile, or the request was answered otherwise."""
        parts = self._parts
        remembered = caller.remembered(holder.execution_id, parts.clock.now(), parts.settings)
        try:
            if remembered is None:
                view = await parts.supervisor.view(holder)
                return None if view.ended else view
            reply = await parts.supervisor.ask(
                holder, Join(), context=caller.context, request=remembered, wants_view=True
            )
            return None if reply.duplicate else reply.view
        except Refused as refused:
            if refused.refusal.kind in (Kind.STATE, Kind.NOT_FOUND):
                return None
            raise

    async def _there(self, ref: ExecutionRef) -> ExecutionView | None:
        """The execution with this id; where it is being started just now, once that is on disk."""
        try:
            return await self._parts.supervisor.view(ref)
        except Refused:
            return None

    def _check_start(self, request: StartRequest) -> None:
        if request.execution_id:
            check_id("execution_id", request.execution_id)
        if request.version < 0:
            raise invalid("version", "is below 0")
        check_length("unique_key", request.unique_key)
        check_labels(request.labels, self._parts.settings)
        check_size("input", request.input, self._parts.settings)

    async def _begin(self, caller: Caller, request: StartRequest, ref: ExecutionRef, behind: str) -> ExecutionView:
        parts = self._parts
        line = KEY_LINE + request.unique_key
        claims = (LineClaim(line, behind=bool(behind), cancels=bool(behind)),) if request.unique_key else ()
        lines = tuple(claim.line for claim in claims)
        if request.min_revision:
            await check_revision(parts.store, parts.info.generation, caller.tenant, request.min_revision)
            await parts.catalog.at_least(caller.tenant, request.min_revision)
        remembered = caller.remembered(ref.execution_id, parts.clock.now(), parts.settings)
        for _ in range(START_TRIES_MAX):
            published = await self._published(caller.tenant, request)
            _check_input(published, request.input)
            plan = published.compiled.plan
            command = Start(
                plan.definition_id, plan.version, request.input, request.labels, caller.trace, lines, behind
            )
            try:
                reply = await parts.supervisor.start(
                    ref, command, plan, published.guard, context=caller.context, request=remembered, claims=claims
                )
            except Refused as refused:
                if refused.refusal.reason != "LOST_RACE" or refused.refusal.metadata:
                    raise
                continue
            assert reply.view is not None
            return reply.view
        raise Refused(Refusal(Kind.RACE, "LOST_RACE", "the definition keeps changing; try again"))

    async def _published(self, tenant: str, request: StartRequest) -> Published:
        catalog = self._parts.catalog
        known = catalog.cached_published(tenant, request.definition_id, request.version)
        return known or await catalog.published(tenant, request.definition_id, request.version)

    async def _existing(
        self, caller: Caller, request: StartRequest, ref: ExecutionRef, view: ExecutionView | None
    ) -> Started | None:
        """What a refused start is answered with, where the same request or the same id was there before."""
        earlier = await self._earlier(caller)
        if earlier is not None:
            begun = await self._parts.supervisor.view(ExecutionRef(caller.tenant, earlier.identity))
            return Started(begun, started=earlier.identity == ref.execution_id)
        if request.reject_existing or not request.execution_id or view is None:
            return None
        if view.definition_id != request.definition_id:
            raise Refused(
                Refusal(
                    Kind.EXISTS,
                    "EXECUTION_ALREADY_EXISTS",
                    f"execution {view.ref.execution_id} exists, and runs {view.definition_id}",
                    {"definition_id": view.definition_id},
                    resource_type="execution",
                    resource=view.ref.execution_id,
                )
            )
        return Started(view, started=False)

    async def _earlier(self, caller: Caller) -> Request | None:
        """The stored request with the caller's id; raises Refused if it was another request."""
        if not caller.request_id:
            return None
        now = self._parts.clock.now()
        found = (await self._parts.store.requests(caller.tenant, [caller.request_id], now)).get(caller.request_id)
        if found is not None and found.fingerprint != caller.fingerprint:
            raise Refused(request_reused(caller.request_id))
        return found

    # Events from outside

    async def submit(
        self,
        caller: Caller,
        execution_id: str,
        name: str,
        payload: Value = None,
        event_id: str = "",
        expected_sequence: int | None = None,
    ) -> Submitted:
        """Send an event and wait until it has been processed. With `expected_sequence` only if the execution is at
        that sequence then; else it raises Refused SEQUENCE_MISMATCH, and nothing has happened."""
        self._check_event(execution_id, name, payload, event_id)
        check_sequence("expected_sequence", expected_sequence)
        known = event_id or caller.derived_id("event") or self._parts.ids.new()
        reply = await self._parts.supervisor.ask(
            ExecutionRef(caller.tenant, execution_id),
            Submit(name, payload, known),
            context=caller.context,
            event_id=event_id,
            request=caller.remembered(execution_id, self._parts.clock.now(), self._parts.settings),
            expected_sequence=expected_sequence,
            wants_view=True,
        )
        assert reply.view is not None
        return Submitted(reply.view, known, reply.sequence, reply.duplicate, reply.kept)

    async def enqueue(
        self, caller: Caller, execution_id: str, name: str, payload: Value = None, event_id: str = ""
    ) -> Enqueued:
        """Accept an event durably; it is processed in the order of acceptance."""
        self._check_event(execution_id, name, payload, event_id)
        now = self._parts.clock.now()
        known = event_id or caller.derived_id("event") or self._parts.ids.new()
        request = caller.remembered(execution_id, now, self._parts.settings)
        ref = ExecutionRef(caller.tenant, execution_id)
        row = InboxInsert(
            ref,
            known,
            name,
            check_size("payload", payload, self._parts.settings),
            caller.context,
            now,
            (request,) if request else (),
        )
        outcome = await self._parts.journal.write(row)
        if isinstance(outcome, Lost) and outcome.why is Why.DUPLICATE_EVENT:
            return Enqueued(known, duplicate=True, accepted_at=now)
        duplicate = self._repeated(caller, outcome, ref)
        return Enqueued(known, duplicate, now)

    def _check_event(self, execution_id: str, name: str, payload: Value, event_id: str) -> None:
        check_id("execution_id", execution_id)
        check_event_name(name)
        check_length("event_id", event_id)
        check_size("payload", payload, self._parts.settings)

    def _repeated(self, caller: Caller, outcome: Outcome, ref: ExecutionRef | None = None) -> bool:
        """Whether a write was a repeat of the caller's; raises Refused where it was not carried out."""
        if isinstance(outcome, Committed):
            return False
        match outcome.why:
            case Why.DUPLICATE_REQUEST:
                if outcome.stored is not None and outcome.stored.fingerprint != caller.fingerprint:
                    raise Refused(request_reused(caller.request_id))
                return True
            case Why.NOT_FOUND if ref is not None:
                raise Refused(not_found(ref))
            case Why.NOT_FOUND:
                raise Refused(Refusal(Kind.NOT_FOUND, "DEAD_LETTER_NOT_FOUND", "there is no such dead letter"))
            case Why.ENDED:
                raise Refused(
                    Refusal(
                        Kind.STATE,
                        "EXECUTION_ENDED",
                        "the execution has ended",
                        resource_type="execution",
                        resource=ref.execution_id if ref else "",
                    )
                )
            case _:
                raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", outcome.message or outcome.why.value))

    # Looking

    async def get(self, caller: Caller, execution_id: str, full: bool = False) -> ExecutionView:
        """One execution as it is now; `full` shows its open steps and who works on them."""
        check_id("execution_id", execution_id)
        view = await self._parts.supervisor.view(ExecutionRef(caller.tenant, execution_id), full)
        if view.status is Status.PENDING:
            view = await self._in_line(view)
        if not full:
            return view
        incidents = view.incidents + await self._poison(caller, execution_id)
        return msgspec.structs.replace(
            view,
            open_steps=tuple(self._held(view.key, one) for one in view.open_steps),
            incidents=incidents,
            incident_count=len(incidents),
        )

    async def _in_line(self, view: ExecutionView) -> ExecutionView:
        """With the execution that it waits for now: the one that it was accepted behind may have ended."""
        origin = view.origin
        line = TRIGGER_LINE + origin.trigger_id if origin is not None else KEY_LINE + view.unique_key
        front = await self._parts.store.line(view.ref.tenant, view.definition_id, line, 1)
        return msgspec.structs.replace(view, behind=front[0].execution_id if front else "")

    async def _poison(self, caller: Caller, execution_id: str) -> tuple[IncidentView, ...]:
        """What broke the execution: it stands beside the state, for an actor that cannot decide cannot record it."""
        letters = await self._parts.store.dead_letters(caller.tenant, execution_id, 0, POISON_SHOWN_MAX)
        return tuple(
            IncidentView("", letter.died_at, Failure(letter.cause, letter.message, retryable=False), letter.id)
            for letter in letters
            if letter.cause == "EXECUTION_POISONED"
        )

    def _held(self, key: int, step: Any) -> Any:
        worker = self._parts.dispatcher.holder(key, step.path) if step.operation else ""
        return msgspec.structs.replace(step, worker_id=worker, waiting_on="worker-answer") if worker else step

    async def wait_ended(self, ref: ExecutionRef, timeout_us: int) -> ExecutionView | None:
        """The execution once it has ended; None: it did not in time. Raises Refused EXECUTION_NOT_FOUND."""
        supervisor = self._parts.supervisor
        ended = supervisor.end_of(ref)
        try:
            if (view := await supervisor.ended_view(ref)) is not None:
                return view
            try:
                return await asyncio.wait_for(ended, timeout_us / 1_000_000) or await supervisor.view(ref)
            except TimeoutError:
                return None
        finally:
            supervisor.forget_end(ref, ended)

    async def _record(self, caller: Caller, execution_id: str) -> ExecutionRecord:
        check_id("execution_id", execution_id)
        ref = ExecutionRef(caller.tenant, execution_id)
        record = await self._parts.store.execution(ref)
        if record is None:
            raise Refused(not_found(ref))
        return record

    async def history(
        self, caller: Caller, execution_id: str, after_sequence: int = 0, limit: int = 1_000, bytes_max: int = 3_145_728
    ) -> Sequence[HistoryEvent]:
        """One page of an execution's events."""
        record = await self._record(caller, execution_id)
        page = await self._parts.feeds.history(record.key, after_sequence, limit, bytes_max)
        if not page and after_sequence < record.head.sequence:
            await self._check_there(record)
        return page

    async def watch(
        self, caller: Caller, execution_id: str, after_sequence: int = 0
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """Events as they come, from after a sequence; ends after the last. Raises Refused SEQUENCE_OUT_OF_RANGE where
        more follow and that is behind the last one there is: what the caller has seen was lost, as by a restore."""
        record = await self._record(caller, execution_id)
        if after_sequence > record.head.sequence and not record.head.ended_at:
            raise Refused(_behind(record, after_sequence))
        async for page in self._parts.feeds.watch(record.ref, record.key, after_sequence):
            yield page

    async def _check_there(self, record: ExecutionRecord) -> None:
        """Raises Refused EXECUTION_NOT_FOUND where it was deleted: no page is the end of its history then."""
        if await self._parts.store.execution_by_key(record.key) is None:
            raise Refused(not_found(record.ref))

    # Control

    async def cancel(self, caller: Caller, execution_id: str, reason: str = "") -> ExecutionView:
        """End it in order."""
        return await self._control(caller, execution_id, Cancel(reason))

    async def terminate(self, caller: Caller, execution_id: str, reason: str = "") -> ExecutionView:
        """End it at once."""
        return await self._control(caller, execution_id, Terminate(reason))

    async def resolve(
        self,
        caller: Caller,
        execution_id: str,
        path: str,
        action: ResolveAction,
        result: Value = None,
        reason: str = "",
        failure: Failure | None = None,
        expected_sequence: int | None = None,
    ) -> ExecutionView:
        """Decide what becomes of a parked step (`path` empty: of the execution's own end); `expected_sequence` as for
        `submit`."""
        check_size("result", result, self._parts.settings)
        command = Resolve(path, action, result, reason, failure)
        return await self._control(caller, execution_id, command, expected_sequence)

    async def _control(
        self, caller: Caller, execution_id: str, command: Command, expected_sequence: int | None = None
    ) -> ExecutionView:
        check_id("execution_id", execution_id)
        check_sequence("expected_sequence", expected_sequence)
        reply = await self._parts.supervisor.ask(
            ExecutionRef(caller.tenant, execution_id),
            command,
            context=caller.context,
            request=caller.remembered(execution_id, self._parts.clock.now(), self._parts.settings),
            expected_sequence=expected_sequence,
            wants_view=True,
        )
        assert reply.view is not None
        return reply.view

    # Dead letters

    async def dead_letters(
        self, caller: Caller, execution_id: str = "", after: int = 0, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Items that could not be processed, oldest first."""
        limit = min(limit, self._parts.settings.page_items_max)
        letters = await self._parts.store.dead_letters(caller.tenant, execution_id, after, limit)
        return await self._parts.erasing.redacted(letters)

    async def requeue_dead_letter(self, caller: Caller, letter: int) -> None:
        """Put one back into its execution's inbox."""
        now = self._parts.clock.now()
        request = caller.remembered(str(letter), now, self._parts.settings)
        write = RequeueLetter(caller.tenant, letter, now, (request,) if request else ())
        self._repeated(caller, await self._parts.journal.write(write))

    async def discard_dead_letter(self, caller: Caller, letter: int) -> None:
        """Remove one."""
        request = caller.remembered(str(letter), self._parts.clock.now(), self._parts.settings)
        write = DiscardLetter(caller.tenant, letter, (request,) if request else ())
        self._repeated(caller, await self._parts.journal.write(write))


_WHERE_EXISTING_COUNTS = frozenset({Kind.EXISTS, Kind.STATE, Kind.NOT_FOUND})
"""A start that is refused for these is answered with the execution that has its id, if there is one."""


def _behind(record: ExecutionRecord, sequence: int) -> Refusal:
    name, last = record.ref.execution_id, record.head.sequence
    message = f"execution {name} has no event {sequence}; its last one is {last}"
    known = {"first": "1", "last": str(last)}
    return Refusal(Kind.RANGE, "SEQUENCE_OUT_OF_RANGE", message, known, resource_type="execution", resource=name)


def _check_input(published: Published, value: Value) -> None:
    violations = published.compiled.input_violations(value)
    if violations:
        raise Refused(
            Refusal(
                Kind.INVALID,
                "SCHEMA_MISMATCH",
                f"the input does not fit input_schema: {violations[0].located}",
                violations=violations,
            )
        )
