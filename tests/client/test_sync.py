import inspect

import pytest
from tests.client.fakes import FakeServer

from callboard.client import Client, SyncClient, errors
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2


def test_it_has_every_method_of_the_client() -> None:
    public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in public if not hasattr(SyncClient, name)} == set()


def test_calls_block_and_iterators_iterate(threaded: FakeServer) -> None:
    running = executions_pb2.Execution(execution_id="e1", status="EXECUTION_STATUS_RUNNING")
    threaded.unary.on("GetExecution", pb.GetExecutionResponse(execution=running))
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse(executions=[running, running]))
    with SyncClient(threaded.address) as client:
        assert client.get("e1").id == "e1"
        assert [item.id for item in client.list()] == ["e1", "e1"]
        with pytest.raises(errors.Unsupported):
            client.cancel("e1")
    client.close()
