"""`ServerService` and `OperationService`: for those who run the server.

Nothing of OperationService is done by this version; the service is published, and every call of it is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from callboard.runtime.core.nodes import DefinitionLimits
from callboard.runtime.engine import Runtime
from callboard.runtime.listing import PageTokens, scope_of
from callboard.v1 import server_service_pb2 as pb2

from ..calls import Call, Calls
from ..codec import timestamp_of
from ..codec_workers import queue_of, worker_of
from ..requests import invalid
from .backup import BackupCalls
from .workers import TASKS_PER_CALL_MAX

_PAGE_ITEMS_DEFAULT: Final = 100
_PAGE_ITEMS_MAX: Final = 1_000


class OperationService:
    """The registered operations. This version knows them by their queues only (`ListQueues`)."""


class ServerService(BackupCalls):
    """The server itself over gRPC."""

    def __init__(self, runtime: Runtime, calls: Calls, version: str, draining: Callable[[], bool]) -> None:
        self._runtime = runtime
        self._calls = calls
        self._version = version
        self._draining = draining
        self._started_at = runtime.clock.now()
        self._tokens = PageTokens(runtime.info.secret, runtime.info.generation)

    async def GetServerInfo(self, call: Call, _request: pb2.GetServerInfoRequest) -> pb2.GetServerInfoResponse:
        info, counts = self._runtime.info, await self._runtime.counts()
        return pb2.GetServerInfoResponse(
            version=self._version,
            schema_version=info.schema_version,
            store_id=info.store_id,
            generation=info.generation,
            boot=info.boot,
            started_at=timestamp_of(self._started_at),
            limits=limits_of(self._runtime),
            counts=pb2.ServerCounts(
                live_executions=self._runtime.supervisor.live,
                open_executions=counts.open_executions,
                open_tasks=counts.open_tasks,
                timers=counts.timers,
                inbox=counts.inbox,
                dead_letters=counts.dead_letters,
                workers=len(self._runtime.workers(call.tenant)),
                waiting_commands=self._runtime.supervisor.waiting_commands,
            ),
            revision=await self._runtime.store.revision(call.tenant),
            draining=self._draining(),
            storage="sqlite",
        )

    async def ListQueues(self, call: Call, request: pb2.ListQueuesRequest) -> pb2.ListQueuesResponse:
        queues = [one for one in self._runtime.queues(call.tenant) if request.operation in ("", one.operation)]
        page, token = self._page("ListQueues", call, request, queues, lambda queue: queue.operation)
        return pb2.ListQueuesResponse(queues=[queue_of(queue) for queue in page], next_page_token=token)

    async def ListWorkers(self, call: Call, request: pb2.ListWorkersRequest) -> pb2.ListWorkersResponse:
        workers = self._runtime.workers(call.tenant)
        offering = [one for one in workers if not request.operation or request.operation in one.operations]
        page, token = self._page("ListWorkers", call, request, offering, lambda worker: worker.worker_id)
        return pb2.ListWorkersResponse(workers=[worker_of(worker) for worker in page], next_page_token=token)

    def _page(
        self, method: str, call: Call, request: Any, items: Sequence[Any], key: Callable[[Any], str]
    ) -> tuple[Sequence[Any], str]:
        """One page of what is in memory, in the order of its key."""
        if request.page_size < 0:
            raise invalid("page_size", f"is {request.page_size}; it must not be negative")
        limit = min(request.page_size or _PAGE_ITEMS_DEFAULT, _PAGE_ITEMS_MAX)
        scope = scope_of(method, call.tenant, request.operation)
        after = self._tokens.read(scope, request.page_token)
        left = [item for item in items if not after or key(item) > after]
        token = self._tokens.make(scope, key(left[limit - 1])) if len(left) > limit else ""
        return left[:limit], token


def limits_of(runtime: Runtime) -> list[pb2.Limit]:
    """Every limit and time of the server by its name, which ends in `_max` or in its unit."""
    settings, dispatching = runtime.settings, runtime.dispatcher.settings
    named: dict[str, Any] = {}
    for part in (settings.decisions, settings, dispatching):
        named |= {field.name: getattr(part, field.name) for field in msgspec.structs.fields(part)}
    named |= {name: getattr(DefinitionLimits(), name) for name in DefinitionLimits.__dataclass_fields__}
    named["tasks_per_call_max"] = TASKS_PER_CALL_MAX
    found = (limit_of(name, value) for name, value in sorted(named.items()) if isinstance(value, int | float))
    return list(found)


def limit_of(name: str, value: float) -> pb2.Limit:
    """One limit; times with fractions of a second are given in milliseconds."""
    if name.endswith("_us"):
        return pb2.Limit(name=name, value=round(value / 1_000), unit="milliseconds")
    if "_seconds" in name:
        if value != round(value):
            return pb2.Limit(name=name, value=round(value * 1_000), unit="milliseconds")
        return pb2.Limit(name=name, value=round(value), unit="seconds")
    return pb2.Limit(name=name, value=round(value), unit="bytes" if "_bytes" in name else "count")
