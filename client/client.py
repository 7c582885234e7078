"""The client: one method for each call of the contract, plain Python values in and small frozen values out."""

from types import TracebackType

from .backup import BackupCalls
from .channel import CALL_SECONDS, DEFAULT_ADDRESS, DEFAULT_TENANT, Connection
from .codec import Seconds
from .definitions import DefinitionCalls
from .feeds import FeedCalls
from .forking import ForkingCalls
from .histories import HistoryCalls
from .jobs import JobCalls
from .retention import RetentionCalls
from .server_calls import ServerCalls
from .streams import StreamCalls
from .triggers import TriggerCalls


class Client(
    DefinitionCalls,
    TriggerCalls,
    StreamCalls,
    JobCalls,
    ServerCalls,
    FeedCalls,
    HistoryCalls,
    ForkingCalls,
    RetentionCalls,
    BackupCalls,
):
    """Speaks to a server on behalf of one tenant. Make it, and use it, inside a running event loop.

        async with Client("127.0.0.1:7519", tenant="acme") as client:
            execution = await client.start("fulfil-order", input={"order_id": "o-1"}, wait=30)

    `user` is recorded as the doer of what is asked, unless the server authenticates its callers. `timeout` is how long
    a call may take, repeats included; each method takes another one. While the server is away, calls wait for it until
    then, or until `retry_for` is over where that is shorter. All times are seconds, or timedeltas.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str = DEFAULT_TENANT,
        user: str = "",
        timeout: Seconds = CALL_SECONDS,
        retry_for: Seconds | None = None,
    ) -> None:
        connection = Connection(address, tenant=tenant, user=user, timeout=timeout, retry_for=retry_for)
        DefinitionCalls.__init__(self, connection)
        TriggerCalls.__init__(self, connection)
        StreamCalls.__init__(self, connection)
        JobCalls.__init__(self, connection)
        ServerCalls.__init__(self, connection)
        FeedCalls.__init__(self, connection)
        ForkingCalls.__init__(self, connection)
        RetentionCalls.__init__(self, connection)
        HistoryCalls.__init__(self, connection)
        BackupCalls.__init__(self, connection)

    @property
    def address(self) -> str:
        """The server's address."""
        return self._connection.address

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._connection.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
