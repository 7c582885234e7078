"""Chains: order, reports, failures that name their stage, and what a span shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from callboard.runtime.core.lifecycle import StageRun
from callboard.runtime.core.refusals import Kind, Refusal, Refused
from callboard.runtime.lifecycle import chain as chains
from callboard.runtime.lifecycle.chain import Chain, Report, first
from callboard.runtime.ports import StorageFullError


async def read(text: str) -> list[str]:
    return text.split()


def count(words: list[str]) -> int:
    return len(words)


async def store(number: int, stages: Report) -> str:
    return f"{number} after {' '.join(stage.name for stage in stages)}"


async def tell(stored: str) -> str:
    return stored + "!"


CHAIN: Chain[str, str] = first("read", read).map("count", count).commit("store", store).then("tell", tell)


class Ticks:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.5
        return self.seconds


async def test_the_stages_run_in_order_and_are_reported() -> None:
    ran = await CHAIN.run("one two", monotonic=Ticks())
    assert ran.value == "2 after read count!"
    assert ran.stages == tuple(StageRun(name, 500_000) for name in ("read", "count", "store", "tell"))


async def test_a_run_can_end_early() -> None:
    ran = await CHAIN.run("one two", until="count")
    assert ran.value == 2
    assert [stage.name for stage in ran.stages] == ["read", "count"]


async def test_a_chain_is_its_stages_and_never_changes() -> None:
    begun = first("read", read)
    begun.map("count", count)
    assert [stage.name for stage in begun.stages] == ["read"]
    assert [stage.name for stage in CHAIN.stages if stage.durable] == ["store"]


def test_two_stages_with_one_name_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="two stages"):
        first("read", read).map("read", count)


async def test_a_refusal_passes_and_names_its_stage() -> None:
    refusal = Refusal(Kind.NOT_FOUND, "DRAFT_NOT_FOUND", "there is none")

    def refuse(words: list[str]) -> int:
        raise Refused(refusal)

    with pytest.raises(Refused) as raised:
        await first("read", read).map("check", refuse).run("one")
    assert raised.value.refusal is refusal
    assert raised.value.__notes__ == ["in stage 'check'"]


@pytest.mark.parametrize("stage", ["read", "count", "store", "tell"])
async def test_an_exception_becomes_a_refusal_that_names_its_stage(stage: str) -> None:
    async def explode(value: Any, stages: Report) -> Any:
        raise OSError("no")

    broken: Chain[str, str] = Chain(
        tuple(chains.Stage(s.name, explode if s.name == stage else s.run, s.durable) for s in CHAIN.stages)
    )
    with pytest.raises(Refused) as raised:
        await broken.run("one")
    refusal = raised.value.refusal
    assert (refusal.kind, refusal.reason) == (Kind.INTERNAL, "STAGE_FAILED")
    assert refusal.metadata == {"stage": stage, "cause": "OSError", "stored": str(stage == "tell").lower()}
    assert isinstance(raised.value.__cause__, OSError)


async def test_a_full_disk_passes_as_it_is() -> None:
    async def full(number: int, stages: Report) -> str:
        raise StorageFullError

    with pytest.raises(StorageFullError) as raised:
        await first("read", read).map("count", count).commit("store", full).run("one")
    assert raised.value.__notes__ == ["in stage 'store'"]


async def test_each_stage_is_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    class Tracer:
        @contextmanager
        def start_as_current_span(self, name: str, attributes: dict[str, str]) -> Iterator[None]:
            seen.append((name, attributes))
            yield

    monkeypatch.setattr(chains, "_tracer", Tracer())
    await CHAIN.run("one")
    assert seen == [("callboard.stage", {"callboard.stage": name}) for name in ("read", "count", "store", "tell")]
