"""The client's calls that take executions away or erase their values, and the commands `prune` and `erase`."""

import json
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import at_terminal, run
from tests.client.fakes import FakeServer, status

from callboard.client import Client, JobKind
from callboard.v1 import execution_control_pb2 as control_pb
from callboard.v1 import execution_service_pb2 as pb
from callboard.v1 import executions_pb2, jobs_pb2


def job(state: str = "RUNNING", done: int = 0) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        job_id="j-1", kind="JOB_KIND_PRUNE", state=f"JOB_STATE_{state}", target="true", total_count=3, done_count=done
    )


BEGUN = control_pb.PruneExecutionsResponse(job=job(), matched_count=3)
ENDED = control_pb.GetJobResponse(job=job("SUCCEEDED", 3))

EXECUTION = executions_pb2.Execution(
    execution_id="x-1", definition_id="order", version=1, status="EXECUTION_STATUS_COMPLETED", state="completed"
)
ERASED_AT = Timestamp(seconds=1_700_000_000)


def erased(moment: Timestamp | None = ERASED_AT) -> control_pb.EraseExecutionResponse:
    answer = control_pb.EraseExecutionResponse(execution=EXECUTION)
    if moment is not None:
        answer.execution.erased_at.CopyFrom(moment)
    return answer


async def test_pruning_answers_with_a_job_or_a_count(server: FakeServer) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    server.unary.on("PruneExecutions", BEGUN, control_pb.PruneExecutionsResponse(matched_count=3))
    server.unary.on("DeleteExecution", pb.DeleteExecutionResponse())
    async with Client(server.address, timeout=5) as client:
        begun = await client.prune(filter="true", ended_before=moment, max_count=7)
        counted = await client.prune(validate_only=True)
        await client.delete_execution("x-1")
    assert begun.job is not None
    assert (begun.job.kind, begun.matched_count) == (JobKind.PRUNE, 3)
    assert (counted.job, counted.matched_count) == (None, 3)
    first, second = server.unary.asked("PruneExecutions")
    assert (first.filter, first.max_count, first.ended_before.ToDatetime(UTC)) == ("true", 7, moment)
    assert (second.validate_only, second.HasField("ended_before"), second.filter) == (True, False, "")
    (deleted,) = server.unary.asked("DeleteExecution")
    assert deleted.execution_id == "x-1"
    assert deleted.request_id and first.request_id


def test_a_dry_run_counts(threaded: FakeServer) -> None:
    threaded.unary.on("PruneExecutions", control_pb.PruneExecutionsResponse(matched_count=3))
    assert run(threaded, "prune", "--dry-run").stdout == "3 executions would be deleted\n"
    assert json.loads(run(threaded, "prune", "--dry-run", "--json").stdout) == {"matched_count": 3}
    assert [asked.validate_only for asked in threaded.unary.asked("PruneExecutions")] == [True, True]


def test_older_than_means_all_that_ended_before(threaded: FakeServer) -> None:
    threaded.unary.on("PruneExecutions", BEGUN)
    threaded.unary.on("GetJob", ENDED)
    result = run(threaded, "prune", "--older-than", "30d", "--max", "5", "--wait", "10s", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (0, "SUCCEEDED")
    (asked,) = threaded.unary.asked("PruneExecutions")
    ago = datetime.now(UTC) - asked.ended_before.ToDatetime(UTC)
    assert timedelta(days=30) <= ago < timedelta(days=30, minutes=1)
    assert (asked.filter, asked.max_count, asked.validate_only) == ("true", 5, False)
    result = run(threaded, "prune", "--filter", "incident", "--before", "2026-01-31T00:00:00Z")
    assert "j-1" in result.stdout
    asked = threaded.unary.asked("PruneExecutions")[-1]
    assert (asked.filter, asked.ended_before.ToDatetime(UTC)) == ("incident", datetime(2026, 1, 31, tzinfo=UTC))


def test_one_execution_is_deleted_by_its_id(threaded: FakeServer) -> None:
    refusal = status(grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_NOT_ENDED")
    threaded.unary.on("DeleteExecution", pb.DeleteExecutionResponse(), pb.DeleteExecutionResponse(), refusal)
    assert run(threaded, "prune", "x-1").stdout == "x-1 is deleted\n"
    assert json.loads(run(threaded, "prune", "x-1", "--json").stdout) == {"deleted": "x-1"}
    result = run(threaded, "prune", "x-1")
    assert result.exit_code == 1
    assert "EXECUTION_NOT_ENDED" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("x-1", "--filter", "true"),
        ("x-1", "--dry-run"),
        ("--older-than", "1d", "--before", "2026-01-31T00:00:00Z"),
        ("--dry-run", "--wait", "1s"),
    ],
)
def test_wrong_usage(threaded: FakeServer, arguments: tuple[str, ...]) -> None:
    assert run(threaded, "prune", *arguments).exit_code == 2
    assert threaded.unary.requests == []


async def test_erasing_answers_with_the_execution(server: FakeServer) -> None:
    server.unary.on("EraseExecution", erased(), erased(None))
    async with Client(server.address, timeout=5) as client:
        gone = await client.erase("x-1", reason="asked for")
        assert (gone.id, gone.erased_at) == ("x-1", ERASED_AT.ToDatetime(UTC))
        assert (await client.erase("x-1")).erased_at is None
    first, second = server.unary.asked("EraseExecution")
    assert (first.execution_id, first.reason, second.reason) == ("x-1", "asked for", "")
    assert first.request_id and first.request_id != second.request_id


def test_values_are_erased_by_a_command(threaded: FakeServer) -> None:
    refusal = status(grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_NOT_ENDED")
    threaded.unary.on("EraseExecution", erased(), erased(None), erased(), refusal)
    said = run(threaded, "erase", "x-1", "--reason", "asked for").stdout
    assert said == "x-1: sensitive values erased 2023-11-14T22:13:20Z\n"
    assert run(threaded, "erase", "x-1").stdout == "x-1: no sensitive values\n"
    told = json.loads(run(threaded, "erase", "x-1", "--json", "--yes").stdout)
    assert (told["id"], told["erased_at"]) == ("x-1", "2023-11-14T22:13:20Z")
    result = run(threaded, "erase", "x-1")
    assert (result.exit_code, "EXECUTION_NOT_ENDED" in result.stderr) == (1, True)
    assert [asked.reason for asked in threaded.unary.asked("EraseExecution")] == ["asked for", "", "", ""]
    assert run(threaded, "erase").exit_code == 2


def test_a_person_is_asked_before_values_are_erased(threaded: FakeServer) -> None:
    threaded.unary.on("EraseExecution", erased(), erased())
    code, seen = at_terminal(threaded, "erase", "x-1", typed="n\n")
    assert (code, "Nothing brings them back" in seen) == (1, True)
    assert threaded.unary.requests == []
    code, seen = at_terminal(threaded, "erase", "x-1", typed="y\n")
    assert (code, "x-1: sensitive values erased" in seen) == (0, True)
    code, seen = at_terminal(threaded, "erase", "x-1", "--yes")
    assert (code, "Nothing brings them back" in seen) == (0, False)


def test_an_erased_execution_is_shown_as_such(threaded: FakeServer) -> None:
    threaded.unary.on("GetExecution", *[pb.GetExecutionResponse(execution=erased().execution)] * 2)
    assert "erased      2023-11-14T22:13:20Z\n" in run(threaded, "get", "x-1").stdout
    assert json.loads(run(threaded, "get", "x-1", "--json").stdout)["erased_at"] == "2023-11-14T22:13:20Z"
