"""What the tests of the client share."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.client.fakes import FakeServer


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server in the test's own loop."""
    fake = await FakeServer().start()
    yield fake
    await fake.stop()


@pytest.fixture
def threaded() -> Iterator[FakeServer]:
    """A server with a loop in a thread of its own, for callers that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def make() -> FakeServer:
        return await FakeServer().start()

    server = asyncio.run_coroutine_threadsafe(make(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
