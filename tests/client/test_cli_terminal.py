"""What a person sees at a terminal of 80 columns."""

import time

from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import COLUMNS, at_terminal
from tests.client.fakes import FakeServer

from callboard.v1 import definition_service_pb2 as definition_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1.executions_pb2 import Execution

LONG_ID = "order-created-28611cfa918549f1eea3f10b1b5c53e8"


def now() -> Timestamp:
    """Not when the module is read: `a minute ago` takes another width."""
    return Timestamp(seconds=int(time.time()))


def execution(status: str, state: str, execution_id: str = LONG_ID) -> Execution:
    return Execution(
        execution_id=execution_id,
        definition_id="nightly",
        version=12,
        status=f"EXECUTION_STATUS_{status}",
        state=state,
        created_at=now(),
        updated_at=now(),
    )


def test_only_long_cells_are_folded(threaded: FakeServer) -> None:
    waiting = execution("RUNNING", "awaiting_approval")
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse(executions=[waiting]))
    code, seen = at_terminal(threaded, "list")
    head, *rows = seen.splitlines()
    assert (code, head.split()) == (0, ["ID", "DEFINITION", "VERSION", "STATUS", "STATE", "STARTED", "UPDATED"])
    assert max(map(len, [head, *rows])) <= COLUMNS
    assert rows[0].split()[1:5] == ["nightly", "12", "RUNNING", "awaiting_approval"]
    assert "".join(row[: head.index("DEFINITION")].strip() for row in rows) == LONG_ID


def test_a_state_that_says_the_status_once_more_is_left_out(threaded: FakeServer) -> None:
    found = [execution("RUNNING", "running"), execution("COMPLETED", "completed", "nightly-often-20261121T220605Z")]
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse(executions=found))
    _, seen = at_terminal(threaded, "list")
    assert seen.split()[:6] == ["ID", "DEFINITION", "VERSION", "STATUS", "STARTED", "UPDATED"]
    assert "completed" not in seen


def test_names_of_events_stay_whole(threaded: FakeServer) -> None:
    event = definition_pb.DefinitionEvent(
        definition_id="nightly-import",
        sequence=4,
        event_name="DefinitionVersionDeleted",
        version=1,
        revision=6,
        created_at=now(),
    )
    threaded.unary.on("ListDefinitionEvents", definition_pb.ListDefinitionEventsResponse(events=[event]))
    code, seen = at_terminal(threaded, "definitions", "--history")
    assert code == 0
    assert max(map(len, seen.splitlines())) <= COLUMNS
    assert "DefinitionVersionDeleted" in seen
