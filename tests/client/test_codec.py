import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.client import (
    DefinitionState,
    Execution,
    Failure,
    JobKind,
    JobState,
    NotJson,
    Opaque,
    Overlap,
    Status,
    StepState,
    WaitingOn,
    errors,
)
from callboard.client.codec import decode_payload, encode_duration, encode_payload
from callboard.client.decoding import decode
from callboard.v1 import definition_service_pb2, definitions_pb2, executions_pb2, jobs_pb2
from callboard.v1.errors_pb2 import ErrorReason
from callboard.v1.payload_pb2 import Payload

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_every_json_value_comes_back_as_it_went(value: Any) -> None:
    again = decode_payload(Payload.FromString(encode_payload(value).SerializeToString()))
    assert again == value
    assert json.dumps(again) == json.dumps(value)


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, 2.0, -0.0, 1e308, "", "no", "${x}", [[[[]]]]])
def test_values_others_lose(value: Any) -> None:
    assert repr(decode_payload(encode_payload(value))) == repr(value)


def test_opaque_payloads_pass_through() -> None:
    opaque = Opaque(b"\x00\xff", "image/png")
    assert decode_payload(encode_payload(opaque)) == opaque
    assert decode_payload(Payload(data=b"x")) == Opaque(b"x")
    assert decode_payload(Payload()) is None


def test_everyday_types_have_their_obvious_form() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    payload = encode_payload({"at": moment, "status": Status.FAILED, "error": Failure("T", "m").type})
    assert payload.json == '{"at":"2026-01-02T03:04:05Z","status":"FAILED","error":"T"}'


@pytest.mark.parametrize("value", [b"bytes", object(), float("nan"), float("inf"), {1, 2}])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(NotJson):
        encode_payload(value)


def test_a_lone_surrogate_reaches_the_server_which_refuses_it() -> None:
    assert encode_payload("\ud800").json == '"\\ud800"'


def test_durations_are_seconds_or_timedeltas() -> None:
    for given_length in (1.5, timedelta(seconds=1.5)):
        duration = encode_duration(given_length)
        assert duration is not None
        assert (duration.seconds, duration.nanos) == (1, 500_000_000)
    assert encode_duration(None) is None
    with pytest.raises(ValueError, match="negative"):
        encode_duration(-1)


def test_an_execution_is_read_by_the_names_of_its_fields() -> None:
    message = executions_pb2.Execution(
        execution_id="e1",
        status=executions_pb2.EXECUTION_STATUS_RUNNING,
        state="working",
        labels={"a": "b"},
        open_steps=[
            executions_pb2.OpenStep(path="a", state="STEP_STATE_PARKED", waiting_on="WAITING_ON_RESOLUTION", attempt=2)
        ],
    )
    message.failure.type = "Boom"
    message.failure.cause.type = "Inner"
    message.created_at.FromJsonString("2026-01-02T03:04:05Z")
    execution = decode(Execution, message, started=True)
    assert (execution.id, execution.status, execution.state) == ("e1", Status.RUNNING, "working")
    assert execution.error is not None
    assert execution.error.cause is not None
    assert (execution.error.type, execution.error.cause.type, execution.error.cause.cause) == ("Boom", "Inner", None)
    assert execution.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert execution.ended_at is None
    assert execution.open_steps[0].state is StepState.PARKED
    assert execution.open_steps[0].waiting_on is WaitingOn.RESOLUTION
    assert execution.started is True
    assert not execution.ended


def test_the_enums_have_the_names_of_the_contract() -> None:
    def short(enum: Any) -> list[str]:
        unspecified, *names = enum.keys()
        return [name.removeprefix(unspecified.removesuffix("UNSPECIFIED")) for name in names]

    assert [*Status] == short(executions_pb2.ExecutionStatus)
    assert [*StepState] == short(executions_pb2.StepState)
    assert [*WaitingOn] == short(executions_pb2.WaitingOn)
    assert [*DefinitionState] == short(definition_service_pb2.DefinitionState)
    assert [*Overlap] == short(definitions_pb2.Overlap)
    assert [*JobKind] == short(jobs_pb2.JobKind)
    assert [*JobState] == short(jobs_pb2.JobState)
    assert {status for status in Status if not status.ended} == {Status.PENDING, Status.RUNNING, Status.REVERTING}


def test_every_published_reason_has_its_exception() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in dict(ErrorReason.items())} - {"UNSPECIFIED"}
    assert set(errors.BY_REASON) == reasons
    assert errors.ExecutionEnded is errors.BY_REASON["EXECUTION_ENDED"]
    assert issubclass(errors.StorageFull, errors.CallboardError)
