"""The composition root of the embedded engine: what there is, what feeds what, and in which order it starts and stops.

    Runtime ─ Supervisor ─ one Actor an execution        commands in, appends out
            ─ Journal ─ Store                            appends in, commits out
            ─ Dispatcher ─ worker sessions               effects of commits in, tasks out
            ─ Timers, Feeds, Catalog                     listeners of commits, too
            ─ Publishing, Drafting, Retracting, ...      the lifecycle chains
            ─ Alarms                                     the one clockwork

Everything but the store can be thrown away at any moment and is rebuilt from it at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Container
from contextlib import asynccontextmanager
from pathlib import Path

from .alarms import Alarms
from .catalog import Catalog, CatalogLimits
from .clock import SystemClock, SystemIds
from .core.refusals import Kind, Refusal, Refused
from .definitions import Definitions
from .dispatcher import Dispatcher
from .executions import Executions, Parts
from .feeds import Feeds
from .handlers import Operations
from .journal import Journal
from .lifecycle.contents import Given, SourceText
from .lifecycle.drafting import Drafting
from .lifecycle.publishing import Publish, PublishAnswer, Publishing
from .lifecycle.recording import Origin
from .lifecycle.retracting import Retract, RetractAnswer, Retracting
from .lifecycle.reverting import Revert, Reverting
from .local_worker import LocalWorker
from .offers import Offers
from .ports import Clock, Counts, Ids, Store, StoreInfo
from .requests import Caller
from .settings import Settings
from .stores.memory import MemoryStore
from .stores.sqlite import SqliteStore
from .supervisor import Supervisor
from .suspects import Suspects
from .tasks import DispatcherSettings, QueueInfo, WorkerInfo
from .telemetry import Telemetry
from .timers import Timers

_EMBEDDED = Caller()


class Runtime(Executions):
    """A running engine. Make one with `Runtime.open`."""

    def __init__(
        self,
        store: Store,
        info: StoreInfo,
        *,
        settings: Settings,
        dispatching: DispatcherSettings,
        clock: Clock,
        ids: Ids,
        on_fatal: Callable[[BaseException], None] | None,
        telemetry: Telemetry | None,
        suspects: Suspects,
    ) -> None:
        self.info = info
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.store = store
        self.alarms = Alarms(clock)
        self.journal = Journal(store, clock, on_fatal=on_fatal, observe=telemetry.flushed if telemetry else None)
        limits = CatalogLimits(settings.plans_cached_max, settings.plans_cached_seconds)
        self.catalog = Catalog(store, clock, limits)
        self.supervisor = Supervisor(
            store,
            self.journal,
            self.catalog,
            clock,
            ids,
            self.alarms,
            settings,
            delivered=self._delivered,
            telemetry=telemetry,
            suspects=suspects,
        )
        self.suspects = suspects
        self._workers: list[asyncio.Task[None]] = []
        offers = Offers(self.supervisor.ask, self.alarms)
        self.dispatcher = Dispatcher(
            info=info,
            store=store,
            ask=self.supervisor.ask,
            answered=self.supervisor.answered,
            clock=clock,
            alarms=self.alarms,
            offers=offers,
            settings=dispatching,
            observe=telemetry.delivered if telemetry else None,
            spans=telemetry.task if telemetry else None,
        )
        self.timers = Timers(store=store, clock=clock, alarms=self.alarms, offers=offers, premature=self._premature)
        self.feeds = Feeds(store, settings)
        self.publishing = Publishing(store, self.journal, self.catalog, clock)
        self.drafting = Drafting(store, self.journal, self.catalog, clock)
        self.retracting = Retracting(store, self.journal, self.catalog, clock)
        self.reverting = Reverting(store, self.publishing)
        self.definitions = Definitions(store)
        if telemetry is not None:
            telemetry.watch(self)
            self.catalog.observe(telemetry.meter)
        super().__init__(
            Parts(
                info=info,
                store=store,
                journal=self.journal,
                catalog=self.catalog,
                supervisor=self.supervisor,
                dispatcher=self.dispatcher,
                feeds=self.feeds,
                clock=clock,
                ids=ids,
                settings=settings,
            )
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | Path = ":memory:",
        *,
        settings: Settings | None = None,
        dispatching: DispatcherSettings | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        store: Store | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
        telemetry: Telemetry | None = None,
        backup_before_migration: bool = True,
    ) -> AsyncGenerator[Runtime, None]:
        """Open a store, recover what is open in it, run until the context ends, and close in order.

        `path` is the database file; `:memory:` keeps everything in this process and loses it with it. Raises
        StoreRefusedError when the store is in other hands or newer than this program.
        """
        own_clock = clock or SystemClock()
        own_store = store or _store_at(path, backup_before_migration)
        runtime = cls(
            own_store,
            await own_store.open(),
            settings=settings or Settings(),
            dispatching=dispatching or DispatcherSettings(),
            clock=own_clock,
            ids=ids or SystemIds(own_clock),
            on_fatal=on_fatal,
            telemetry=telemetry,
            suspects=Suspects(None if store is not None or str(path) == ":memory:" else Path(f"{path}-deciding")),
        )
        try:
            await runtime.start_up()
            yield runtime
        finally:
            await runtime.close()

    async def start_up(self) -> None:
        """Take up what is open: costs O(open work), not O(executions)."""
        for listener in (self.dispatcher, self.timers, self.catalog, self.supervisor, self.feeds):
            self.journal.subscribe(listener.committed)
        self.suspects.open()
        self.alarms.start()
        await self.dispatcher.recover()
        await self.timers.start()
        await self.supervisor.recover()

    def _delivered(self, key: int) -> Container[str]:
        """Supervisor and dispatcher need each other: this is asked only once both are there."""
        return self.dispatcher.delivered(key)

    def _premature(self, key: int, path: str, timer: str) -> bool:
        """A queue time-out cannot be judged while it is not known whether a worker has the task."""
        return timer == "queue" and self.dispatcher.uncertain(key, path)

    async def drain(self, deadline_seconds: float) -> bool:
        """Hand out no more tasks, end the watches, and wait for answers that are under way; False: time was up."""
        self.dispatcher.drain()
        self.feeds.close()
        deadline = self.clock.monotonic() + deadline_seconds
        while self.dispatcher.answers_in_flight or self.supervisor.busy:
            if self.clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """Stop in order: no new work, then the turns under way, then the journal, then the store."""
        self.feeds.close()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self.dispatcher.close()
        await self.timers.close()
        await self.supervisor.close()
        await self.journal.close()
        await self.alarms.close()
        self.suspects.close()
        await self.store.close()

    def work(self, operations: Operations, *, tenant: str = "default", max_in_flight: int = 256) -> LocalWorker:
        """Run handlers in this process until it closes, or until the worker is told to `drain`."""
        worker = LocalWorker(
            operations,
            self.dispatcher,
            self.alarms,
            tenant=tenant,
            worker_id=f"in-process-{len(self._workers) + 1}",
            max_in_flight=max_in_flight,
        )
        self._workers.append(asyncio.get_running_loop().create_task(worker.run(), name="callboard-handlers"))
        return worker

    # Definitions, in plain words

    async def publish(self, text: str, name: str = "definition.yaml", caller: Caller = _EMBEDDED) -> PublishAnswer:
        """Publish a definition from its text (YAML or JSON)."""
        given = Given(source=SourceText(name, text))
        return await self.publishing.publish(Publish(self.origin(caller), given=given))

    async def retract(self, definition_id: str, caller: Caller = _EMBEDDED) -> RetractAnswer:
        """Take the published version back: nothing new starts, what runs goes on."""
        return await self.retracting.retract(Retract(self.origin(caller), definition_id))

    async def revert(self, definition_id: str, version: int, caller: Caller = _EMBEDDED) -> PublishAnswer:
        """Publish the content of an old version as the next one."""
        return await self.reverting.revert(Revert(self.origin(caller), definition_id, version))

    def origin(self, caller: Caller) -> Origin:
        """Whose lifecycle change it is."""
        return Origin(caller.tenant, caller.user_id, caller.remembered("", self.clock.now(), self.settings))

    async def reached(self, tenant: str, min_revision: int, timeout_seconds: float) -> None:
        """Wait until the tenant's definitions are at least at this revision; raises Refused REVISION_NOT_REACHED."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.catalog.at_least(tenant, min_revision)
        except TimeoutError:
            raise Refused(
                Refusal(
                    Kind.UNAVAILABLE,
                    "REVISION_NOT_REACHED",
                    f"revision {min_revision} has not been reached; this server is at {self.catalog.known(tenant)}",
                    {"revision": str(self.catalog.known(tenant))},
                )
            ) from None

    # For operators

    def live_actors(self) -> int:
        """Executions in memory."""
        return self.supervisor.live

    def waiting_commands(self) -> int:
        """Commands in mailboxes."""
        return self.supervisor.waiting_commands

    def backlog(self, visit: Callable[[str, str, int, int], None]) -> None:
        """Call `visit(tenant, operation, queued, running)` for every queue."""
        self.dispatcher.backlog(visit)

    async def counts(self) -> Counts:
        """How much the store holds."""
        return await self.store.counts()

    def queues(self, tenant: str) -> list[QueueInfo]:
        """The queues of a tenant."""
        return self.dispatcher.queues(tenant)

    def workers(self, tenant: str) -> list[WorkerInfo]:
        """The connected workers of a tenant."""
        return self.dispatcher.workers(tenant)


def _store_at(path: str | Path, backup_before_migration: bool) -> Store:
    if str(path) == ":memory:":
        return MemoryStore()
    return SqliteStore(path, backup_before_migration=backup_before_migration)
