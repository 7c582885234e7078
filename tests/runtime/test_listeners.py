import asyncio
from typing import Any

import msgspec
import pytest

from callboard.runtime.catalog import CompiledVersion
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.plan import Block, EventSource, Plan, TriggerPlan
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.lifecycle_rows import LifecycleChange
from callboard.runtime.listeners import SECONDS_MAX, Listeners
from callboard.runtime.trigger_rows import TriggerRow
from callboard.runtime.writes import Committed

ROW = TriggerRow("acme", "d", "t", 1, "go", "", active=True, paused=False, spec=b"")


class World:
    """What the cache reads: rows at a revision, and versions that may not compile."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.revision = 1
        self.rows = [ROW]
        self.reads: list[tuple[str, str]] = []
        self.broken: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.listening = Listeners(self, self, self.clock, names_max=2)

    async def listeners(self, tenant: str, event_name: str) -> tuple[int, list[TriggerRow]]:
        self.reads.append((tenant, event_name))
        found = (self.revision, list(self.rows))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return found

    async def version(self, tenant: str, definition_id: str, version: int) -> CompiledVersion:
        if version in self.broken:
            raise Refused(Refusal(Kind.INTERNAL, "INTERNAL", "it does not compile"))
        trigger = TriggerPlan("t", EventSource("go"))
        plan = Plan(definition_id, version, Block(), {}, triggers=(trigger,))
        return CompiledVersion(definition_id, version, plan, None, b"", b"")

    def changed(self, tenant: str = "acme") -> None:
        self.revision += 1
        self.listening.committed([(LifecycleChange(tenant, (), 0), Committed(revision=self.revision))])


def row(**more: Any) -> TriggerRow:
    return msgspec.structs.replace(ROW, **more)


@pytest.fixture
def w() -> World:
    return World()


async def test_a_name_is_read_once_and_then_known_also_where_nobody_listens(w: World) -> None:
    w.rows = []
    assert (await w.listening.of("acme", "go")).listeners == ()
    assert (await w.listening.of("acme", "go")).revision == 1
    assert w.reads == [("acme", "go")]


async def test_many_who_ask_at_once_share_one_read_and_giving_up_concerns_nobody_else(w: World) -> None:
    w.gate.clear()
    asking = [asyncio.create_task(w.listening.of("acme", "go")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    w.gate.set()
    found = await asyncio.gather(*asking[1:])
    assert len(w.reads) == 1
    assert all(each is found[0] for each in found)


async def test_paused_triggers_do_not_listen(w: World) -> None:
    w.rows = [row(paused=True), row(definition_id="other")]
    hearing = await w.listening.of("acme", "go")
    assert [each.compiled.definition_id for each in hearing.listeners] == ["other"]
    assert hearing.warnings == ()


async def test_a_version_that_does_not_compile_is_a_warning(w: World) -> None:
    w.rows = [row(version=7), row(definition_id="other"), row(definition_id="odd", trigger_id="unknown")]
    w.broken = {7}
    hearing = await w.listening.of("acme", "go")
    assert [each.compiled.definition_id for each in hearing.listeners] == ["other"]
    first, second = hearing.warnings
    assert first == "d@7 triggers[t]: it does not compile"
    assert second.startswith("odd@1 triggers[unknown]: ")


async def test_a_change_of_the_tenant_drops_what_is_known_of_it_alone(w: World) -> None:
    await w.listening.of("acme", "go")
    w.changed("other")
    assert w.listening.cached("acme", "go") is not None
    w.changed("acme")
    assert w.listening.cached("acme", "go") is None
    assert (await w.listening.of("acme", "go")).revision == 3


async def test_what_was_being_read_while_it_changed_is_not_kept(w: World) -> None:
    w.gate.clear()
    early = asyncio.create_task(w.listening.of("acme", "go"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    w.changed()
    late = asyncio.create_task(w.listening.of("acme", "go"))
    await asyncio.sleep(0)
    w.gate.set()
    assert ((await early).revision, (await late).revision) == (1, 2)
    kept = w.listening.cached("acme", "go")
    assert kept is not None
    assert kept.revision == 2


async def test_forgetting_an_old_revision_spares_a_newer_one(w: World) -> None:
    w.revision = 5
    await w.listening.of("acme", "go")
    w.listening.forget("acme", "go", 4)
    assert w.listening.cached("acme", "go") is not None
    w.listening.forget("acme", "go", 5)
    assert w.listening.cached("acme", "go") is None


async def test_a_failed_read_is_told_and_not_kept(w: World) -> None:
    w.fault = OSError("the disk is away")
    with pytest.raises(OSError, match="away"):
        await w.listening.of("acme", "go")
    w.fault = None
    assert (await w.listening.of("acme", "go")).revision == 1


async def test_number_and_age_are_bounded(w: World) -> None:
    for name in ("a", "b", "c"):
        await w.listening.of("acme", name)
    assert w.listening.cached("acme", "a") is None
    assert w.listening.cached("acme", "c") is not None
    await w.clock.advance(SECONDS_MAX + 1)
    assert w.listening.cached("acme", "c") is None
