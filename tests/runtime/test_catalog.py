"""The catalog: cached answers, single flight, and every order in which a change and a read can meet."""

import asyncio
from typing import Any

import msgspec
import pytest

from callboard.runtime.catalog import Catalog, CatalogLimits
from callboard.runtime.clock import ManualClock
from callboard.runtime.core.lifecycle import content_of
from callboard.runtime.core.nodes import tree
from callboard.runtime.core.reader import read_definition
from callboard.runtime.core.refusals import Refused
from callboard.runtime.lifecycle_rows import DefinitionHead, DefinitionVersion

HEAD = DefinitionHead("acme", "flow", 0, 0, 0, 0, None, 0, 0)


class Shelf:
    """A store that counts its reads and can hold them up."""

    def __init__(self) -> None:
        self.heads: dict[str, DefinitionHead] = {}
        self.stored: dict[tuple[str, int], DefinitionVersion] = {}
        self.now = 0
        self.reads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def publish(self, definition_id: str = "flow", **fields: Any) -> int:
        """Publish the next version; its revision."""
        self.now += 1
        head = self.heads.get(definition_id, HEAD)
        version = head.latest + 1
        plain = {"id": definition_id, "steps": [{"id": "end", "finish": {}}], **fields}
        content = content_of(read_definition(tree(plain)).definition)
        self.stored[definition_id, version] = DefinitionVersion(version, content.data, content.fingerprint, 0, "")
        self.heads[definition_id] = DefinitionHead(
            "acme", definition_id, head.sequence + 1, version, version, self.now, None, 0, 0
        )
        return self.now

    def retract(self, definition_id: str = "flow") -> int:
        self.now += 1
        head = self.heads[definition_id]
        self.heads[definition_id] = msgspec.structs.replace(head, published=0, revision=self.now)
        return self.now

    async def definition(self, tenant: str, definition_id: str) -> DefinitionHead | None:
        self.reads.append("head")
        found = self.heads.get(definition_id)
        await self.gate.wait()
        return found

    async def definition_version(self, tenant: str, definition_id: str, version: int) -> DefinitionVersion | None:
        self.reads.append("version")
        await self.gate.wait()
        return self.stored.get((definition_id, version))

    async def revision(self, tenant: str) -> int:
        self.reads.append("revision")
        return self.now


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def catalog(shelf: Shelf, clock: ManualClock) -> Catalog:
    return Catalog(shelf, clock, CatalogLimits(versions_seconds_max=60, pointers_seconds_max=60))


async def version_of(catalog: Catalog, definition_id: str = "flow") -> int:
    return (await catalog.published("acme", definition_id)).compiled.version


async def reason(awaited: Any) -> str:
    with pytest.raises(Refused) as raised:
        await awaited
    return raised.value.refusal.reason


async def test_a_second_lookup_reads_nothing(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish()
    assert catalog.cached_published("acme", "flow") is None
    assert await version_of(catalog) == 1
    assert shelf.reads == ["revision", "head", "version"]
    published = catalog.cached_published("acme", "flow")
    assert published is not None
    assert (published.guard.definition_id, published.guard.revision) == ("flow", 1)
    assert published.compiled.plan.version == 1
    assert len(shelf.reads) == 3
    assert (catalog.counts.hits, catalog.counts.misses, catalog.counts.stale) == (1, 2, 0)


async def test_inputs_are_checked_by_the_version(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish(input_schema={"type": "object", "required": ["sku"]})
    compiled = (await catalog.published("acme", "flow")).compiled
    assert compiled.input_violations({"sku": "x"}) == ()
    assert [found.path for found in compiled.input_violations({})] == ["input"]


async def test_many_ask_and_one_reads(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish()
    shelf.gate.clear()
    asking = [asyncio.create_task(version_of(catalog)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    shelf.gate.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 19
    assert shelf.reads == ["revision", "head", "version"]


async def test_a_change_is_seen_at_once(shelf: Shelf, catalog: Catalog) -> None:
    catalog.changed("acme", "flow", shelf.publish())
    assert await version_of(catalog) == 1
    catalog.changed("acme", "flow", shelf.publish())
    assert catalog.cached_published("acme", "flow") is None
    assert await version_of(catalog) == 2


async def test_a_change_of_one_leaves_the_others_cached(shelf: Shelf, catalog: Catalog) -> None:
    catalog.changed("acme", "flow", shelf.publish())
    await version_of(catalog)
    catalog.changed("acme", "other", shelf.publish("other"))
    assert catalog.cached_published("acme", "flow") is not None
    assert catalog.counts.stale == 0


async def test_a_change_during_a_read_makes_it_read_again(shelf: Shelf, catalog: Catalog) -> None:
    catalog.changed("acme", "flow", shelf.publish())
    shelf.gate.clear()
    asking = asyncio.create_task(version_of(catalog))
    await asyncio.sleep(0.001)
    catalog.changed("acme", "flow", shelf.publish())
    shelf.gate.set()
    assert await asking == 2
    assert shelf.reads == ["revision", "head", "revision", "head", "version"]


async def test_a_revision_from_elsewhere_puts_everything_older_in_doubt(shelf: Shelf, catalog: Catalog) -> None:
    catalog.changed("acme", "flow", shelf.publish())
    await version_of(catalog)
    shelf.publish()
    catalog.changed("acme", "other", shelf.publish("other"))
    assert catalog.cached_published("acme", "flow") is None
    assert await version_of(catalog) == 2
    assert catalog.counts.stale == 1


@pytest.mark.parametrize("order", [[1, 2, 3], [1, 3, 2], [3, 1, 2], [3, 3], [2, 2, 3, 1], [1, 2, 3, 3, 1]])
async def test_late_and_repeated_news_converge(shelf: Shelf, catalog: Catalog, order: list[int]) -> None:
    shelf.publish()
    await version_of(catalog)
    shelf.publish()
    shelf.publish()
    for revision in order:
        catalog.changed("acme", "flow", revision)
        assert await version_of(catalog) >= revision
    assert await version_of(catalog) == 3
    assert catalog.known("acme") == 3


async def test_absence_is_not_cached(shelf: Shelf, catalog: Catalog) -> None:
    assert await reason(catalog.published("acme", "flow")) == "DEFINITION_NOT_FOUND"
    shelf.publish()
    assert await version_of(catalog) == 1
    assert await reason(catalog.version("acme", "flow", 2)) == "VERSION_NOT_FOUND"
    shelf.publish()
    assert (await catalog.version("acme", "flow", 2)).version == 2


async def test_nothing_starts_from_a_retracted_definition(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish()
    catalog.changed("acme", "flow", shelf.retract())
    assert await reason(catalog.published("acme", "flow")) == "DEFINITION_RETRACTED"
    assert await reason(catalog.published("acme", "flow", 1)) == "DEFINITION_RETRACTED"
    assert (await catalog.plan("acme", "flow", 1)).version == 1
    with pytest.raises(Refused, match="DEFINITION_RETRACTED"):
        catalog.cached_published("acme", "flow")


async def test_a_draft_alone_starts_nothing(shelf: Shelf, catalog: Catalog) -> None:
    shelf.heads["flow"] = msgspec.structs.replace(HEAD, sequence=1, draft=b"{}")
    assert await reason(catalog.published("acme", "flow")) == "DEFINITION_NOT_PUBLISHED"


async def test_an_older_version_can_be_started_by_number(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish()
    shelf.publish()
    published = await catalog.published("acme", "flow", 1)
    assert (published.compiled.version, published.revision) == (1, 2)


async def test_nothing_stays_longer_than_its_time_even_if_used(
    shelf: Shelf, catalog: Catalog, clock: ManualClock
) -> None:
    shelf.publish()
    await version_of(catalog)
    await clock.advance(40)
    assert catalog.cached_published("acme", "flow") is not None
    await clock.advance(40)
    assert catalog.cached_published("acme", "flow") is None


async def test_a_revision_is_waited_for(shelf: Shelf, catalog: Catalog) -> None:
    shelf.publish()
    await catalog.at_least("acme", 1)
    waiting = asyncio.create_task(catalog.at_least("acme", 2))
    await asyncio.sleep(0.001)
    assert not waiting.done()
    catalog.changed("acme", "flow", shelf.publish())
    await waiting
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(catalog.at_least("acme", 9), 0.001)
    assert catalog.known("acme") == 2


async def test_a_revision_of_the_store_that_nobody_told_is_found(shelf: Shelf, catalog: Catalog) -> None:
    catalog.changed("acme", "flow", shelf.publish())
    await version_of(catalog)
    shelf.publish()
    await catalog.at_least("acme", 2)
    assert await version_of(catalog) == 2
