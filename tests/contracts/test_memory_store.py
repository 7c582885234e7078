from collections.abc import AsyncIterator

import pytest
from tests.contracts.store_contract import StoreContract

from callboard.runtime.ports import Store
from callboard.runtime.stores.memory import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()
