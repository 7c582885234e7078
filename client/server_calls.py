"""Calls for those who run the server: what it is, its queues, its workers."""

from collections.abc import AsyncIterator
from operator import attrgetter

from callboard.v1 import server_service_pb2 as pb
from callboard.v1.server_service_pb2_grpc import ServerServiceStub

from .calls import Calls, each, new_request_id
from .channel import Connection
from .codec import Seconds
from .decoding import decode
from .server_models import Queue, ServerInfo, WorkerInfo


class ServerCalls(Calls):
    """The calls about the server itself."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._server = ServerServiceStub(connection.channel)

    async def info(self, *, timeout: Seconds | None = None) -> ServerInfo:
        """What the server is, its limits and its counts."""
        answer = await self._connection.unary(self._server.GetServerInfo, pb.GetServerInfoRequest(), timeout)
        return decode(ServerInfo, answer)

    def queues(self, *, operation: str = "", page_size: int = 0) -> AsyncIterator[Queue]:
        """The queues of the tenant's operations: those with tasks, with workers, or paused."""
        request = pb.ListQueuesRequest(operation=operation, page_size=page_size)
        pages = self._connection.pages(self._server.ListQueues, request)
        return each(pages, attrgetter("queues"), lambda item: decode(Queue, item))

    def workers(self, *, operation: str = "", page_size: int = 0) -> AsyncIterator[WorkerInfo]:
        """The workers of the tenant that are connected, by id."""
        request = pb.ListWorkersRequest(operation=operation, page_size=page_size)
        pages = self._connection.pages(self._server.ListWorkers, request)
        return each(pages, attrgetter("workers"), lambda item: decode(WorkerInfo, item))

    async def drain_worker(self, worker_id: str, *, timeout: Seconds | None = None) -> WorkerInfo:
        """Gives a worker no more tasks; what it has it finishes."""
        request = pb.DrainWorkerRequest(worker_id=worker_id, request_id=new_request_id())
        answer = await self._connection.unary(self._server.DrainWorker, request, timeout)
        return decode(WorkerInfo, answer.worker)
