"""Both clients erase with the same typed call."""

from datetime import datetime

from callboard.client import Client, Execution, SyncClient


async def erased(client: Client, execution_id: str) -> datetime | None:
    """When it was erased."""
    execution: Execution = await client.erase(execution_id, reason="asked for", timeout=5)
    return execution.erased_at


def erased_now(client: SyncClient, execution_id: str) -> datetime | None:
    """The same without a loop."""
    return client.erase(execution_id).erased_at
