"""A whole server in the test's own process, on a free port, with its stubs."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.server.client import Stubs

from callboard.server.config import ServerConfig
from callboard.server.wiring import serving


@pytest.fixture
async def stubs(tmp_path: Path) -> AsyncIterator[Stubs]:
    config = ServerConfig(data=tmp_path / "data", listen="127.0.0.1:0", drain_seconds=2)
    async with serving(config) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Stubs(channel, server)
