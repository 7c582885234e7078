"""Every stage of every chain fails, and every boundary between two stages is the last thing that happens.

The stages are asked of the chains themselves: a new stage is covered without a new test. A new chain is missed by
`test_there_is_a_wish_for_every_chain` until it has one.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.runtime.engine_kit import engine
from tests.scenarios.kit import Api, refused
from tests.scenarios.lifecycle import DEFINITION, TENANT, Standing, chains, standing, text

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.batching import BatchItem, PublishBatch
from callboard.runtime.lifecycle.chain import Chain, Report, Stage
from callboard.runtime.lifecycle.contents import Given, SourceText
from callboard.runtime.lifecycle.deleting import Delete
from callboard.runtime.lifecycle.drafting import PutDraft
from callboard.runtime.lifecycle.exporting import export
from callboard.runtime.lifecycle.importing import Import
from callboard.runtime.lifecycle.pausing import PauseTrigger
from callboard.runtime.lifecycle.publishing import Publish
from callboard.runtime.lifecycle.recording import Origin
from callboard.runtime.lifecycle.retracting import Retract
from callboard.runtime.lifecycle.reverting import Revert
from callboard.runtime.rows import Request
from callboard.v1 import definition_service_pb2 as pb2

Run = Callable[[Any, Report], Awaitable[Any]]
Wish = Callable[[Runtime, Origin], Awaitable[Any]]

WISHES: Final[dict[str, Wish]] = {
    "publishing": lambda runtime, origin: runtime.publishing.publish(Publish(origin, given=given(4))),
    "drafting": lambda runtime, origin: runtime.drafting.put(PutDraft(origin, given(5))),
    "retracting": lambda runtime, origin: runtime.retracting.retract(Retract(origin, DEFINITION)),
    "reverting": lambda runtime, origin: runtime.reverting.revert(Revert(origin, DEFINITION, 1)),
    "batching": lambda runtime, origin: runtime.batching.publish(PublishBatch(origin, (BatchItem(given(6)),))),
    "deleting": lambda runtime, origin: runtime.deleting.delete(Delete(origin, DEFINITION)),
    "deleting/version": lambda runtime, origin: runtime.deleting.delete(Delete(origin, DEFINITION, 1)),
    "importing": lambda runtime, origin: runtime.importing.import_bundle(Import(origin, BUNDLE)),
    "pausing": lambda runtime, origin: runtime.pausing.pause(PauseTrigger(origin, DEFINITION, "nightly", True)),
}
"""At least one change for each chain, of a definition with two versions and a draft; behind a stroke, another one."""


async def _bundle() -> str:
    """What an export of the definition with another content wrote."""
    async with engine() as runtime:
        await runtime.publish(text(7))
        return "\n".join((await export(runtime.store, TENANT, (), "", 1_000_000)).lines)


BUNDLE: Final = asyncio.run(_bundle())


def given(number: int) -> Given:
    return Given(source=SourceText("flow.yaml", text(number)))


def origin(request_id: str = "") -> Origin:
    return Origin(TENANT, "ann", Request(TENANT, request_id, b"f", "", 2**60) if request_id else None)


async def prepare(runtime: Runtime) -> Standing:
    """Two versions and a draft, and a cache that knows them."""
    for number in (1, 2):
        await runtime.publish(text(number))
    await runtime.drafting.put(PutDraft(origin(), given(3)))
    return await standing(runtime)


async def _places() -> list[tuple[str, str]]:
    async with engine() as runtime:
        known = chains(runtime)
        return [(name, stage.name) for name in WISHES for stage in part_of(known, name).chain.stages]


def part_of(known: dict[str, Any], name: str) -> Any:
    return known[name.partition("/")[0]]


PLACES: Final = asyncio.run(_places())
everywhere = pytest.mark.parametrize(
    ("chain", "stage"), PLACES, ids=["-".join(place).replace("/", "_") for place in PLACES]
)
with_or_without = pytest.mark.parametrize("request_id", ["", "r-1"], ids=["plain", "with_a_request_id"])


def replaced(chain: Chain[Any, Any], name: str, make: Callable[[Stage], Run]) -> Chain[Any, Any]:
    """The same chain with another function at one stage."""
    return Chain(tuple(Stage(s.name, make(s) if s.name == name else s.run, s.durable) for s in chain.stages))


def is_after_the_disk(chain: Chain[Any, Any], name: str) -> bool:
    """Whether the durable stage lies before this one."""
    names = [stage.name for stage in chain.stages]
    (durable,) = (stage.name for stage in chain.stages if stage.durable)
    return names.index(name) > names.index(durable)


async def unhindered(chain: str, request_id: str) -> tuple[Standing, Standing]:
    """Before and after a change that nothing disturbs."""
    async with engine() as runtime:
        before = await prepare(runtime)
        await WISHES[chain](runtime, origin(request_id))
        after = await standing(runtime)
    assert before != after
    return before, after


async def test_there_is_a_wish_for_every_chain() -> None:
    async with engine() as runtime:
        assert {name.partition("/")[0] for name in WISHES} == set(chains(runtime))


@everywhere
@with_or_without
async def test_a_stage_that_raises_is_named_and_leaves_it_old_or_new(
    tmp_path: Path, chain: str, stage: str, request_id: str
) -> None:
    old, new = await unhindered(chain, request_id)

    def explode(_: Stage) -> Run:
        async def run(value: Any, stages: Report) -> Any:
            raise OSError("pulled the plug")

        return run

    async with engine(tmp_path / "data.db") as runtime:
        assert await prepare(runtime) == old
        part = part_of(chains(runtime), chain)
        whole = part.chain
        part.chain = replaced(whole, stage, explode)
        with pytest.raises(Refused) as raised:
            await WISHES[chain](runtime, origin(request_id))
        refusal = raised.value.refusal
        stored = is_after_the_disk(whole, stage)
        assert refusal.reason == "STAGE_FAILED"
        assert refusal.metadata == {"stage": stage, "cause": "OSError", "stored": str(stored).lower()}
        assert "pulled the plug" in refusal.message
        assert await standing(runtime) == (new if stored else old)
        part.chain = whole
        await WISHES[chain](runtime, origin(request_id))
        assert await standing(runtime) == new


class Killed(BaseException):
    """The process ends here."""


@everywhere
@with_or_without
async def test_a_kill_after_a_stage_leaves_it_old_or_new(
    tmp_path: Path, chain: str, stage: str, request_id: str
) -> None:
    """What a killed process leaves is its files as they are at that moment: they are copied, and opened elsewhere."""
    old, new = await unhindered(chain, request_id)
    alive, dead = tmp_path / "alive", tmp_path / "dead"
    alive.mkdir()

    def die(killed: Stage) -> Run:
        async def run(value: Any, stages: Report) -> Any:
            await killed.run(value, stages)
            shutil.copytree(alive, dead)
            raise Killed

        return run

    async with engine(alive / "data.db") as runtime:
        assert await prepare(runtime) == old
        part = part_of(chains(runtime), chain)
        durable = next(place.name for place in part.chain.stages if place.durable)
        stored = stage == durable or is_after_the_disk(part.chain, stage)
        part.chain = replaced(part.chain, stage, die)
        with pytest.raises(Killed):
            await WISHES[chain](runtime, origin(request_id))
    for left in (dead, alive):
        async with engine(left / "data.db") as runtime:
            assert await standing(runtime) == (new if stored else old)
            await WISHES[chain](runtime, origin(request_id))
            assert await standing(runtime) == new


async def test_the_callers_status_names_the_stage_and_its_cause(api: Api) -> None:
    await api.publish(text(1))

    def explode(_: Stage) -> Run:
        async def run(value: Any, stages: Report) -> Any:
            raise OSError("pulled the plug")

        return run

    retracting = api.server.runtime.retracting
    request = pb2.RetractDefinitionRequest(definition_id=DEFINITION, request_id="r-1")
    whole = retracting.chain
    for name, stored in (("load", "false"), ("decide", "false"), ("record", "false"), ("invalidate", "true")):
        retracting.chain = replaced(whole, name, explode)
        refusal = await refused(api.definitions.RetractDefinition(request))
        assert (refusal.code, refusal.reason) == ("INTERNAL", "STAGE_FAILED")
        assert refusal.metadata == {"stage": name, "cause": "OSError", "stored": stored}
        retracting.chain = whole
    answer = await api.definitions.RetractDefinition(request)
    assert (answer.changed, answer.definition.published_version, answer.revision) == (True, 0, 2)
