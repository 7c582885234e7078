"""What is refused before anything is asked."""

import pytest
from google.protobuf.duration_pb2 import Duration

from callboard.runtime.core.refusals import Refused
from callboard.server.requests import Faults, Unknown, decoder, lenient_decoder, unsupported, wait_us
from callboard.v1 import definition_service_pb2, execution_service_pb2, worker_service_pb2

START = execution_service_pb2.StartExecutionRequest


def varint_field(number: int) -> bytes:
    key = number << 3
    return bytes([key & 0x7F | 0x80, key >> 7, 1])


def test_a_request_is_read_as_it_is() -> None:
    request = START(definition_id="a", labels={"x": "y", "z": ""})
    assert decoder(START)(request.SerializeToString()) == request


def test_another_spelling_of_a_message_is_not_unknown() -> None:
    explicit_zero = b"\x10\x00"
    twice = START(definition_id="a").SerializeToString() * 2
    assert decoder(START)(explicit_zero) == START()
    assert decoder(START)(twice) == START(definition_id="a")


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        decoder(START)(b"\xff\xff\xff")
    assert refused.value.refusal.reason == "INVALID_REQUEST"


def test_an_unknown_field_is_refused_with_its_place_and_number() -> None:
    kind = definition_service_pb2.PublishDefinitionRequest
    request = kind()
    request.definition.steps.add(id="a").task.MergeFromString(varint_field(900))
    with pytest.raises(Refused) as refused:
        decoder(kind)(request.SerializeToString())
    [violation] = refused.value.refusal.violations
    assert refused.value.refusal.reason == "UNKNOWN_FIELD"
    assert violation.path == "steps[0].task"
    assert "900" in violation.message


def test_a_lenient_reader_says_where_unknown_fields_were() -> None:
    request = worker_service_pb2.WorkRequest()
    request.results.add(task_token=b"good")
    request.results.add(task_token=b"odd").MergeFromString(varint_field(77))
    message, unknown = lenient_decoder(worker_service_pb2.WorkRequest)(request.SerializeToString())
    assert unknown == (Unknown("results[1]", 77),)
    assert [one.task_token for one in message.results] == [b"good", b"odd"]


def test_all_mistakes_are_told_at_once() -> None:
    faults = Faults()
    faults.execution_id("")
    faults.definition_id("Not Good")
    faults.name("name", "x" * 300)
    faults.not_negative("version", -1)
    faults.enum("conflict_policy", 99, execution_service_pb2.ConflictPolicy)
    with pytest.raises(Refused) as refused:
        faults.settle()
    fields = [violation.path for violation in refused.value.refusal.violations]
    assert fields == ["execution_id", "definition_id", "name", "version", "conflict_policy"]


def test_a_wait_is_cut_and_never_negative() -> None:
    faults = Faults()
    assert wait_us(faults, "wait", Duration(seconds=1, nanos=500_000_000), 60) == 1_500_000
    assert wait_us(faults, "wait", Duration(seconds=600), 60) == 60_000_000
    wait_us(faults, "wait", Duration(seconds=-1), 60)
    with pytest.raises(Refused):
        faults.settle()


def test_a_field_that_is_not_done_yet_is_refused_by_name() -> None:
    with pytest.raises(Refused) as refused:
        unsupported(START(definition_id="a", unique_key="k"), "unique_key")
    assert refused.value.refusal.reason == "UNSUPPORTED"
    assert "unique_key" in refused.value.refusal.message
    unsupported(START(definition_id="a"), "unique_key")
