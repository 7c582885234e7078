"""The composition root of the embedded engine: what there is, what feeds what, and in which order it starts and stops.

    Runtime ─ Supervisor ─ one Actor an execution        commands in, appends out
            ─ Journal ─ Store                            appends in, commits out
            ─ Dispatcher ─ worker sessions               effects of commits in, tasks out
            ─ Timers, Feeds, Catalog                     listeners of commits, too
            ─ TenantFeeds, Subscriptions                 what is committed, told to whoever follows a tenant
            ─ EventBus, Outbox                           events in; starts and offers in one commit
            ─ Schedules                                  slots in, starts out
            ─ Publishing, Drafting, Retracting, ...      the lifecycle chains
            ─ Jobs                                       what a commit has begun and goes on in the background
            ─ Retention, RetentionSweeps                 ended executions go: asked for, or in time
            ─ Alarms                                     the one clockwork

Everything but the store can be thrown away at any moment and is rebuilt from it at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from .alarms import Alarms
from .backups import Backups
from .births import Births
from .catalog import Catalog, CatalogLimits
from .clock import SystemClock, SystemIds
from .core.commands import Cancel
from .core.refusals import Kind, Refusal, Refused
from .definitions import Definitions
from .dispatcher import Dispatcher
from .erasing import Erasing
from .event_bus import EventBus
from .event_expansion import EventExpander
from .executions import Executions, Parts
from .feeds import Feeds
from .firing import Firings
from .forking import Forking
from .generations import check_revision
from .handlers import Operations
from .histories import Histories
from .history_imports import HistoryImports
from .jobs import Jobs
from .journal import Journal
from .lifecycle.batching import Batching
from .lifecycle.contents import Given, SourceText
from .lifecycle.deleting import Deleting
from .lifecycle.drafting import Drafting
from .lifecycle.extensions import UserStage
from .lifecycle.importing import Importing
from .lifecycle.pausing import Pausing
from .lifecycle.publishing import Publish, PublishAnswer, Publishing
from .lifecycle.recording import Origin
from .lifecycle.retracting import Retract, RetractAnswer, Retracting
from .lifecycle.reverting import Revert, Reverting
from .listeners import Listeners
from .listings import Listings
from .local_worker import LocalWorker
from .offers import Offers
from .outbox import Outbox
from .ports import Clock, Ids, Store
from .positions import Positions
from .requests import Caller
from .retention import Retention
from .retention_sweeps import RetentionSweeps
from .rows import Counts, ExecutionRef, StoreInfo
from .schedules import Schedules
from .settings import Settings
from .slot_decisions import SlotDecisions
from .stores.memory import MemoryStore
from .stores.sqlite import SqliteStore
from .subscriptions import Subscriptions
from .supervisor import Supervisor
from .suspects import Suspects
from .tasks import DispatcherSettings, QueueInfo, WorkerInfo
from .telemetry import Telemetry
from .tenant_feeds import TenantFeeds
from .timers import Timers
from .trigger_rows import JobKind
from .triggers import Triggers

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
        stages: Sequence[UserStage] = (),
    ) -> None:
        self.info = info
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.store = store
        self.alarms = Alarms(clock)
        self.journal = Journal(store, clock, on_fatal=on_fatal, observe=telemetry.flushed if telemetry else None)
        self._open_executions(dispatching, telemetry, suspects)
        self.feeds = Feeds(store, settings)
        self.listings = Listings(store, info, settings)
        self.backups = Backups(store, info, clock)
        self._open_feeds()
        self._open_lifecycle(stages)
        self._open_triggers(telemetry)
        self._open_histories()
        self._open_forking()
        self._open_retention()
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
                erasing=self.erasing,
                clock=clock,
                ids=ids,
                settings=settings,
            )
        )

    def _open_feeds(self) -> None:
        """The feeds of whole tenants: watched, or pulled from by subscriptions."""
        self.tenant_feeds = TenantFeeds(self.store, self.settings, self.feeds.seats, Positions(self.info))
        self.subscriptions = Subscriptions(self.store, self.journal, self.tenant_feeds, self.clock, self.settings)

    def _open_executions(
        self, dispatching: DispatcherSettings, telemetry: Telemetry | None, suspects: Suspects
    ) -> None:
        """The actors, and what feeds them: plans, timers, workers' answers."""
        limits = CatalogLimits(self.settings.plans_cached_max, self.settings.plans_cached_seconds)
        self.catalog = Catalog(self.store, self.clock, limits)
        self.supervisor = Supervisor(
            self.store,
            self.journal,
            self.catalog,
            self.clock,
            self.ids,
            self.alarms,
            self.settings,
            delivered=self._delivered,
            telemetry=telemetry,
            suspects=suspects,
        )
        self.suspects = suspects
        self._workers: list[asyncio.Task[None]] = []
        offers = Offers(self.supervisor.ask, self.alarms)
        self.dispatcher = Dispatcher(
            info=self.info,
            store=self.store,
            ask=self.supervisor.ask,
            answered=self.supervisor.answered,
            clock=self.clock,
            alarms=self.alarms,
            offers=offers,
            settings=dispatching,
            observe=telemetry.delivered if telemetry else None,
            spans=telemetry.task if telemetry else None,
        )
        self.timers = Timers(
            store=self.store, clock=self.clock, alarms=self.alarms, offers=offers, premature=self._premature
        )

    def _open_lifecycle(self, stages: Sequence[UserStage]) -> None:
        """The chains, and what goes on after them in the background."""
        known = (self.store, self.journal, self.catalog, self.clock)
        seconds_max = self.settings.stage_seconds_max
        stages = [replace(stage, seconds_max=seconds_max) for stage in stages]
        self.jobs = Jobs(self.store, self.journal, self.clock, self.settings.jobs_kept_seconds)
        self.publishing = Publishing(*known, event_triggers_max=self.settings.event_triggers_max, user_stages=stages)
        self.drafting = Drafting(*known, user_stages=stages)
        self.retracting = Retracting(*known, user_stages=stages)
        self.reverting = Reverting(self.store, self.publishing)
        self.batching = Batching(self.publishing)
        self.importing = Importing(self.publishing, self.batching)
        self.pausing = Pausing(*known, user_stages=stages)
        self.deleting = Deleting(*known, ids=self.ids, cancel=self._cancel_for_good, user_stages=stages)
        self.jobs.register(JobKind.DELETE_DEFINITION, self.deleting.finish)
        self.definitions = Definitions(self.store)

    async def _cancel_for_good(self, ref: ExecutionRef, reason: str) -> None:
        await self.supervisor.ask(ref, Cancel(reason))

    def _open_histories(self) -> None:
        self.histories = Histories(
            store=self.store,
            journal=self.journal,
            living=self.supervisor,
            plans=self.catalog,
            pages=self.feeds,
            clock=self.clock,
            settings=self.settings,
        )

    def _open_triggers(self, telemetry: Telemetry | None) -> None:
        """Published events and schedules: both start executions outside any actor."""
        births = Births(self.clock, self.ids, self.settings, adopt=self.supervisor.adopt)
        self.listeners = Listeners(self.store, self.catalog, self.clock)
        self.events = EventBus(
            store=self.store,
            journal=self.journal,
            listeners=self.listeners,
            births=births,
            clock=self.clock,
            ids=self.ids,
            settings=self.settings,
            observe=telemetry.event_accepted if telemetry else None,
        )
        self.outbox = Outbox(self.store, self.events.deliver, self.alarms)
        expander = EventExpander(self.store, self.journal, self.clock, self.settings)
        self.jobs.register(JobKind.EXPAND_EVENT, expander.run)
        firings = Firings(
            store=self.store,
            journal=self.journal,
            catalog=self.catalog,
            births=births,
            clock=self.clock,
            settings=self.settings,
        )
        decisions = SlotDecisions(
            firings=firings,
            clock=self.clock,
            settings=self.settings,
            observe=telemetry.slot_decided if telemetry else None,
        )
        self.schedules = Schedules(store=self.store, clock=self.clock, alarms=self.alarms, decisions=decisions)
        self.triggers = Triggers(
            store=self.store,
            firings=firings,
            look=self.supervisor.view,
            clock=self.clock,
            ids=self.ids,
            settings=self.settings,
        )

    def _open_forking(self) -> None:
        """Executions that begin as another one was."""
        self.forking = Forking(
            store=self.store,
            journal=self.journal,
            catalog=self.catalog,
            clock=self.clock,
            ids=self.ids,
            settings=self.settings,
            adopt=self.supervisor.adopt,
            look=self.supervisor.view,
        )
        self.history_imports = HistoryImports(self.store, self.forking, self.clock, self.settings)

    def _open_retention(self) -> None:
        """What takes ended executions away, or what was sensitive in them."""
        self.retention = Retention(self.store, self.journal, self.jobs, self.clock, self.ids, self.settings)
        self.jobs.register(JobKind.PRUNE, self.retention.run)
        self.erasing = Erasing(
            store=self.store,
            catalog=self.catalog,
            supervisor=self.supervisor,
            clock=self.clock,
            ids=self.ids,
            settings=self.settings,
        )
        self.retention_sweeps = RetentionSweeps(self.store, self.journal, self.clock, self.settings)

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
        stages: Sequence[UserStage] = (),
    ) -> AsyncGenerator[Runtime, None]:
        """Open a store, recover what is open in it, run until the context ends, and close in order.

        `path` is the database file; `:memory:` keeps everything in this process and loses it with it. `stages` are
        callables of yours at places of the lifecycle chains; raises ValueError where there is no such place. Raises
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
            stages=stages,
        )
        try:
            await runtime.start_up()
            yield runtime
        finally:
            await runtime.close()

    async def start_up(self) -> None:
        """Take up what is open: costs O(open work), not O(executions)."""
        parts = (self.dispatcher, self.timers, self.catalog, self.listeners, self.supervisor, self.feeds)
        for listener in (*parts, self.tenant_feeds, self.outbox, self.schedules, self.jobs, self.retention_sweeps):
            self.journal.subscribe(listener.committed)
        self.suspects.open()
        self.alarms.start()
        await self.dispatcher.recover()
        await self.timers.start()
        await self.supervisor.recover()
        self.outbox.start()
        await self.schedules.start()
        await self.jobs.start()
        self.retention_sweeps.start()

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
        self.tenant_feeds.close()
        deadline = self.clock.monotonic() + deadline_seconds
        while self.dispatcher.answers_in_flight or self.supervisor.busy:
            if self.clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """Stop in order: no new work, then the turns under way, then the journal, then the store."""
        self.feeds.close()
        self.tenant_feeds.close()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self.retention_sweeps.close()
        await self.jobs.close()
        await self.schedules.close()
        await self.outbox.close()
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
        """Wait until the tenant's definitions are at least at this revision; raises Refused REVISION_NOT_REACHED, and
        OTHER_GENERATION where a restore has lost it."""
        await check_revision(self.store, self.info.generation, tenant, min_revision)
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
