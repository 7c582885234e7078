"""Stages of the user's own, from their names in the configuration to the answers of the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.client import SINGLE, Stubs, refused

from callboard.server.config import ServerConfig, StageSpec
from callboard.server.loading import MisconfiguredError, load_stages
from callboard.server.wiring import serving

MODULE = """
def no_single(value):
    raise ValueError("names must not be single")

async def look(value):
    return None

def tell(value):
    raise ConnectionError("nobody answers")
"""
Serve = Callable[..., Any]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serves with stages of a module in the working directory."""
    (tmp_path / "stages_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    @asynccontextmanager
    async def serve(place: str, function: str, *, after: bool = False) -> AsyncIterator[Stubs]:
        spec = StageSpec("publish", after, place, "stages_of_mine", function)
        config = ServerConfig(data=tmp_path / "data", listen="127.0.0.1:0", drain_seconds=2, stages=(spec,))
        async with (
            serving(config, stages=load_stages(config.stages)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            yield Stubs(channel, server)

    return serve


async def test_a_stage_that_raises_before_record_refuses_the_change_in_its_own_words(served: Serve) -> None:
    async with served("record", "no_single") as stubs:
        error = await refused(stubs.publish(SINGLE))
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STAGE_FAILED")
        assert "names must not be single" in error.message
        assert error.metadata["stage"] == "stages_of_mine:no_single"
        assert error.metadata["stored"] == "false"
        assert (await refused(stubs.start("single"))).reason == "DEFINITION_NOT_FOUND"


async def test_a_stage_that_agrees_is_named_where_it_ran(served: Serve) -> None:
    async with served("decide", "look", after=True) as stubs:
        names = [stage.name for stage in (await stubs.publish(SINGLE)).stages]
        assert names[names.index("decide") + 1] == "stages_of_mine:look"
        assert names[names.index("decide") + 2] == "record"


async def test_a_stage_that_fails_after_record_is_reported_and_the_change_stands(served: Serve) -> None:
    async with served("announce", "tell", after=True) as stubs:
        published = await stubs.publish(SINGLE)
        assert (published.version, published.changed) == (1, True)
        *others, last = published.stages
        assert (last.name, last.error) == ("stages_of_mine:tell", "ConnectionError: nobody answers")
        assert not any(stage.error for stage in others)
        assert (await stubs.start("single")).started


async def test_a_stage_at_no_place_ends_the_start_with_the_places_there_are(served: Serve) -> None:
    with pytest.raises(MisconfiguredError) as error:
        async with served("recrod", "look"):
            pass
    text = str(error.value)
    assert text.startswith("--stage: ")
    assert "'recrod'" in text
    assert "decide, record, invalidate" in text
    assert "\n" not in text
