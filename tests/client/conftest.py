"""What the tests of the client share."""

from collections.abc import AsyncIterator

import pytest

from tests.client.fakes import FakeServer


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server in the test's own loop."""
    fake = await FakeServer().start()
    yield fake
    await fake.stop()
