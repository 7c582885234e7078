"""One server, for scenarios that do not restart it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.scenarios.kit import Api, serve


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """A server on the machine's clock."""
    async with serve(tmp_path) as api:
        yield api
