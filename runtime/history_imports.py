"""Taking in an exported execution: it begins here as it was there, with a history of its own that says so.

The content of its definition is looked for here by its fingerprint, and may have another number. An ended one stays
ended, and if the content is here, is kept as long as that says. Another goes on by itself, which takes the content.
"""

from __future__ import annotations

from .core.commands import ForkOrigin
from .core.forking import Inheritance
from .core.refusals import Kind, Refusal, Refused
from .forking import Forking, input_of
from .history_files import Brought, HistoryReader
from .ports import Clock, Store
from .replay import read_snapshot
from .requests import Caller, check_id
from .rows import ExecutionRef
from .settings import Settings
from .views import ExecutionView

_VERSIONS_PAGE = 20


class HistoryImports:
    """Makes executions from exports."""

    def __init__(self, store: Store, forking: Forking, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._forking = forking
        self._clock = clock
        self._settings = settings

    def reader(self) -> HistoryReader:
        """For one export, piece by piece."""
        return HistoryReader(self._settings.import_line_bytes_max)

    async def take_in(self, caller: Caller, brought: Brought, execution_id: str = "") -> ExecutionView:
        """Begin an execution as the exported one is, under this id (empty: its own); a repeat of the request answers
        with the same one.

        Raises Refused: EXECUTION_ALREADY_EXISTS, LIMIT_EXCEEDED; DEFINITION_NOT_FOUND, VERSION_NOT_FOUND where it is
        to go on and its definition is not here.
        """
        chosen = execution_id or brought.header.execution_id
        check_id("execution_id", chosen)
        if (earlier := await self._forking.earlier(caller)) is not None:
            return earlier
        found = await self._version(caller.tenant, brought)

        async def load() -> Inheritance:
            return self._inherited(brought, found or brought.header.version)

        return await self._forking.begin(caller, ExecutionRef(caller.tenant, chosen), load, defined=bool(found))

    def _inherited(self, brought: Brought, version: int) -> Inheritance:
        header, state = brought.header, read_snapshot(brought.snapshot)
        assert state is not None, "it was encoded a moment ago"
        state.version = version
        origin = ForkOrigin(header.execution_id, header.sequence, bytes.fromhex(header.hash), imported=True)
        self._forking.check_size(len(brought.snapshot.data) + sum(map(len, brought.payloads.values())))
        inputs = {path: input_of(payload) for path, payload in brought.payloads.items()}
        return Inheritance(origin, state, inputs, moment=self._clock.now())

    async def _version(self, tenant: str, brought: Brought) -> int:
        """The number that the definition's content has here; 0: none, and it is not needed. Raises Refused."""
        definition_id = brought.header.definition_id
        if found := await self._number(tenant, brought):
            return found
        if brought.ended:
            return 0
        if await self._store.definition(tenant, definition_id) is None:
            raise _not_here("DEFINITION_NOT_FOUND", brought, f"there is no definition {definition_id!r} here")
        what = f"no version of definition {definition_id!r} here has the content that it ran with"
        raise _not_here("VERSION_NOT_FOUND", brought, what)

    async def _number(self, tenant: str, brought: Brought) -> int:
        header = brought.header
        wanted, definition_id = bytes.fromhex(header.fingerprint), header.definition_id
        same = await self._store.definition_version(tenant, definition_id, header.version)
        if wanted and same is not None and same.fingerprint == wanted:
            return same.version
        below = 0
        while wanted and (page := await self._store.definition_versions(tenant, definition_id, below, _VERSIONS_PAGE)):
            for stored in page:
                if stored.fingerprint == wanted:
                    return stored.version
            below = page[-1].version
        return 0


def _not_here(reason: str, brought: Brought, what: str) -> Refused:
    header = brought.header
    how = (
        "publish it first: the first line of the export holds it"
        if header.fingerprint
        else "the export does not hold it either, as it was deleted there"
    )
    message = f"execution {header.execution_id} has not ended, so it would go on here, but {what}; {how}"
    known = {"definition_id": header.definition_id, "version": str(header.version), "fingerprint": header.fingerprint}
    resource = f"{header.definition_id}@{header.version}"
    return Refused(Refusal(Kind.NOT_FOUND, reason, message, known, resource_type="definition", resource=resource))
