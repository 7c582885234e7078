"""`callboard list`: what it asks for, and what it counts."""

import json

import pytest
from tests.client.command_line import run
from tests.client.fakes import FakeServer

from callboard.v1 import execution_service_pb2 as pb

GROUPS = [pb.ExecutionGroup(value="RUNNING", count=1_234), pb.ExecutionGroup(value="FAILED", count=5)]


def test_the_filter_and_the_order_are_passed_on(threaded: FakeServer) -> None:
    threaded.unary.on("ListExecutions", pb.ListExecutionsResponse())
    assert run(threaded, "list", "--filter", "incident", "--order-by", "ended_at desc", "--limit", "7").exit_code == 0
    [request] = threaded.unary.asked("ListExecutions")
    assert (request.filter, request.order_by, request.page_size) == ("incident", "ended_at desc", 7)


def test_pages_without_executions_are_passed_over(threaded: FakeServer) -> None:
    found = pb.ListExecutionsResponse(next_page_token="3")
    found.executions.add(execution_id="e1", definition_id="order", version=1, status="EXECUTION_STATUS_RUNNING")
    empty = pb.ListExecutionsResponse(next_page_token="2")
    threaded.unary.on("ListExecutions", empty, found, pb.ListExecutionsResponse())
    assert [item["id"] for item in json.loads(run(threaded, "list", "--json").stdout)] == ["e1"]
    assert [request.page_token for request in threaded.unary.asked("ListExecutions")] == ["", "2", "3"]


def test_executions_are_counted(threaded: FakeServer) -> None:
    threaded.unary.on("CountExecutions", pb.CountExecutionsResponse(count=1_239))
    assert run(threaded, "list", "--count", "--filter", "incident").stdout == "1239\n"
    assert json.loads(run(threaded, "list", "--count", "--json").stdout) == {"count": 1_239}
    assert [request.filter for request in threaded.unary.asked("CountExecutions")] == ["incident", ""]


@pytest.mark.parametrize("flags", [("--count", "--by", "status"), ("--by", "status")])
def test_executions_are_counted_by_a_field(threaded: FakeServer, flags: tuple[str, ...]) -> None:
    threaded.unary.on("CountExecutions", pb.CountExecutionsResponse(count=1_239, groups=GROUPS))
    assert run(threaded, "list", *flags).stdout.splitlines() == ["STATUS\tCOUNT", "RUNNING\t1234", "FAILED\t5"]
    assert json.loads(run(threaded, "list", *flags, "--json").stdout) == {"groups": {"RUNNING": 1_234, "FAILED": 5}}
    assert {request.group_by for request in threaded.unary.asked("CountExecutions")} == {"status"}


@pytest.mark.parametrize("flags", [("--count", "--limit", "3"), ("--by", "status", "--order-by", "ended_at")])
def test_a_count_has_no_order_and_no_limit(threaded: FakeServer, flags: tuple[str, ...]) -> None:
    assert run(threaded, "list", *flags).exit_code == 2
