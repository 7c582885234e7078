"""Refusals on the wire: the code, one ErrorInfo with a published reason, and the details that fit."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from callboard.runtime.core.refusals import Kind, Refusal, Violation
from callboard.server.status import REASONS, STATUS_BYTES_MAX, code_of, status_of, trailer_of
from callboard.v1 import violations_pb2


def detail(status: Any, message: Any) -> Any:
    [found] = [one for one in status.details if one.Is(message.DESCRIPTOR)]
    found.Unpack(message)
    return message


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_the_code_it_is_named_after(kind: Kind) -> None:
    status = status_of(Refusal(kind, "INTERNAL", "because"))
    assert code_of(Refusal(kind, "INTERNAL", "because")).name == kind.value
    assert status.code == grpc.StatusCode[kind.value].value[0]
    assert status.message == "because"


@pytest.mark.parametrize("kind", list(Kind))
def test_a_reason_that_is_not_published_becomes_one_that_is(kind: Kind) -> None:
    info = detail(status_of(Refusal(kind, "SOMETHING_INTERNAL", "because")), error_details_pb2.ErrorInfo())
    assert info.reason in REASONS
    assert info.metadata["cause"] == "SOMETHING_INTERNAL"


def test_damaged_history_is_data_loss() -> None:
    assert code_of(Refusal(Kind.INTERNAL, "HISTORY_DAMAGED", "broken")) is grpc.StatusCode.DATA_LOSS


def test_violations_are_located() -> None:
    violation = Violation("steps[0].tusk", "unknown field", "UNKNOWN_FIELD", "order.yaml", 4, 5)
    status = status_of(Refusal(Kind.INVALID, "INVALID_DEFINITION", "no", violations=(violation,)))
    [field] = detail(status, error_details_pb2.BadRequest()).field_violations
    assert (field.field, field.description) == ("steps[0].tusk", "order.yaml:4:5: unknown field")
    [located] = detail(status, violations_pb2.DefinitionViolations()).violations
    assert (located.line, located.column, located.code) == (4, 5, "UNKNOWN_FIELD")


def test_a_request_without_a_definition_has_no_definition_violations() -> None:
    status = status_of(Refusal(Kind.INVALID, "INVALID_REQUEST", "no", violations=(Violation("name", "is required"),)))
    assert not [one for one in status.details if one.type_url.endswith("DefinitionViolations")]


def test_many_violations_are_cut_to_what_peers_take() -> None:
    violations = tuple(Violation(f"steps[{number}]", "wrong" * 10) for number in range(500))
    status = status_of(Refusal(Kind.INVALID, "INVALID_DEFINITION", "x" * 5_000, violations=violations))
    info = detail(status, error_details_pb2.ErrorInfo())
    shown = detail(status, error_details_pb2.BadRequest()).field_violations
    assert len(trailer_of(status)[0][1]) <= STATUS_BYTES_MAX
    assert info.metadata["violations_total"] == "500"
    assert info.metadata["violations_shown"] == str(len(shown))
    assert len(shown) > 10


def test_busy_says_when_to_come_back_and_what_is_exhausted() -> None:
    busy = Refusal(Kind.BUSY, "MAILBOX_FULL", "full", {"limit_name": "mailbox_commands_max"}, retry_after_us=2_500_000)
    status = status_of(busy)
    assert detail(status, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 2_500
    assert detail(status, error_details_pb2.QuotaFailure()).violations[0].subject == "mailbox_commands_max"
    unsaid = status_of(Refusal(Kind.BUSY, "SERVER_BUSY", "busy"))
    assert detail(unsaid, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 1_000


def test_a_state_that_forbids_names_the_resource() -> None:
    ended = Refusal(Kind.STATE, "EXECUTION_ENDED", "ended", resource_type="execution", resource="e1")
    status = status_of(ended)
    [broken] = detail(status, error_details_pb2.PreconditionFailure()).violations
    assert (broken.type, broken.subject) == ("EXECUTION_ENDED", "execution/e1")
    assert detail(status, error_details_pb2.ResourceInfo()).resource_name == "e1"


def test_executions_that_stand_in_the_way_are_listed_one_by_one() -> None:
    ids = [f"e-{number}-{'x' * 250}" for number in range(10)]
    metadata = {"running": "12", "execution_ids": ",".join(ids)}
    in_use = Refusal(Kind.STATE, "DEFINITION_IN_USE", "x" * 5_000, metadata, resource_type="definition", resource="d")
    status = status_of(in_use)
    first, *listed = detail(status, error_details_pb2.PreconditionFailure()).violations
    assert first.subject == "definition/d"
    assert {one.type for one in listed} == {"DEFINITION_IN_USE"}
    assert [one.subject for one in listed] == [f"execution/{name}" for name in ids[: len(listed)]]
    assert len(listed) > 1
    assert len(trailer_of(status)[0][1]) <= STATUS_BYTES_MAX
