"""Values through messages and back."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.definition import to_tree
from callboard.runtime.core.failures import Failure
from callboard.runtime.core.reader import read_definition
from callboard.runtime.core.refusals import Refused
from callboard.runtime.core.values import REDACTED, Opaque, Sealed, encode
from callboard.runtime.lifecycle.contents import Given, read_given
from callboard.runtime.loader import load
from callboard.server import codec
from callboard.server.codec_definitions import message_of, tree_of
from callboard.v1 import definitions_pb2, failure_pb2, payload_pb2

LIMIT = 1_000_000
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
)


@given(values)
def test_a_value_survives_as_json(value: Any) -> None:
    payload = codec.payload_of(value)
    assert encode(codec.read_payload(payload, LIMIT)) == encode(value)
    assert codec.payload_of_json(encode(value)) == payload


def test_other_content_passes_through_whole() -> None:
    payload = payload_pb2.Payload(content_type="image/png", data=b"\x00\xff")
    value = codec.read_payload(payload, LIMIT)
    assert value == Opaque("image/png", b"\x00\xff")
    assert codec.payload_of(value) == payload
    assert codec.payload_of_json(encode(value)) == payload


@given(values, st.lists(st.sampled_from(["a", "b", 0]), max_size=3))
def test_sensitive_values_are_shown_as_redacted_and_all_else_as_it_is(value: Any, place: list[str | int]) -> None:
    held: Any = Sealed("commitment")
    shown: Any = REDACTED
    for key in place:
        held, shown = (
            ([value, held], [value, shown]) if key == 0 else ({key: held, "v": value}, {key: shown, "v": value})
        )
    assert codec.payload_of(held).json == encode(shown).decode()
    assert codec.payload_of_json(encode(held)) == codec.payload_of(held)
    failure = codec.failure_of(Failure("Declined", "no", details=held, cause=Failure("Other", "", details=held)))
    assert json_format.MessageToJson(failure).count("redacted") == 2
    assert "commitment" not in str(failure)


@pytest.mark.parametrize("text", ["$callboard.sensitive", "[redacted]", '"$callboard.sensitive"'])
def test_a_text_that_looks_like_a_sensitive_value_is_a_text(text: str) -> None:
    value = {"a": [text, 1.0, 2**53 + 1, -0.0], "b": Opaque("image/png", b"x")}
    assert codec.payload_of(value).json == encode(value).decode()
    assert codec.read_payload(codec.payload_of([text]), LIMIT) == [text]


def test_an_absent_body_is_null() -> None:
    assert codec.read_payload(payload_pb2.Payload(), LIMIT) is None


@pytest.mark.parametrize("text", ["{", '{"a":1,"a":2}', "9223372036854775808", "NaN", r'"\ud800"', ""])
def test_what_is_not_json_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Refused) as refused:
        codec.value_of(payload_pb2.Payload(json=text), "input", LIMIT)
    assert refused.value.refusal.reason == "INVALID_JSON"
    assert refused.value.refusal.violations[0].path == "input"


def test_a_payload_over_the_limit_is_refused_with_the_numbers() -> None:
    with pytest.raises(Refused) as refused:
        codec.value_of(payload_pb2.Payload(json='"' + "x" * 99 + '"'), "payload", 100)
    assert refused.value.refusal.reason == "PAYLOAD_TOO_LARGE"
    assert refused.value.refusal.metadata == {"limit_name": "payload_bytes_max", "limit": "100", "size": "101"}


def test_a_failure_survives_with_its_causes() -> None:
    failure = Failure("Declined", "no", {"code": 7}, Failure("Timeout", retryable=False), True, 1_500_000)
    assert codec.read_failure(codec.failure_of(failure), LIMIT) == failure


def test_a_failure_without_a_word_about_it_may_be_retried() -> None:
    assert codec.read_failure(failure_pb2.Failure(type="X"), LIMIT).retryable is True


def test_a_long_chain_of_causes_is_cut() -> None:
    failure = failure_pb2.Failure(type="first")
    inner = failure
    for number in range(40):
        inner.cause.type = f"cause{number}"
        inner = inner.cause
    depth, cause = 0, codec.read_failure(failure, LIMIT)
    while cause is not None:
        depth, cause = depth + 1, cause.cause  # type: ignore[assignment]
    assert depth == codec.CAUSES_MAX


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "flows").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_definition_is_the_same_as_text_and_as_message(path: Path) -> None:
    from_text = read_definition(load(path.name, path.read_text("utf-8"))).definition
    stored = to_tree(from_text)
    message = message_of(stored)
    sent = definitions_pb2.Definition.FromString(message.SerializeToString())
    reading = read_given(Given(definition=tree_of(sent)), _limits())
    assert not reading.violations
    assert to_tree(reading.definition) == stored


def _limits() -> Any:
    from callboard.runtime.core.nodes import DefinitionLimits

    return DefinitionLimits()


def test_schemas_are_the_same_as_text_and_as_message() -> None:
    task = {"service": "s", "operation": "o", "result_schema": {"type": "number", "maximum": 3}}
    schemas = {"paid": {"properties": {"pin": {"sensitive": True}}}, "sent": {}}
    tree = {"id": "a", "event_schemas": schemas, "steps": [{"id": "b", "task": task}]}
    message = message_of(tree)
    assert tree_of(message) == tree
    assert to_tree(read_given(Given(definition=tree_of(message)), _limits()).definition) == tree


def test_literals_without_fraction_are_integers() -> None:
    message = definitions_pb2.Definition(id="a")
    json_format.ParseDict({"a": 3, "b": 2.5, "c": [None, True, {"d": "x"}]}, message.output.struct_value)
    assert tree_of(message)["output"] == {"a": 3, "b": 2.5, "c": [None, True, {"d": "x"}]}
    assert type(tree_of(message)["output"]["a"]) is int


def test_enums_lose_their_prefix_and_unknown_ones_are_left_to_be_refused() -> None:
    message = definitions_pb2.Definition(id="a", on_failure=definitions_pb2.ON_FAILURE_PARK)
    assert tree_of(message)["on_failure"] == "PARK"
    message = definitions_pb2.Definition.FromString(b"\x48\x63")
    assert tree_of(message)["on_failure"] == 99
    assert read_given(Given(definition=tree_of(message)), _limits()).violations


def test_times_keep_their_microseconds() -> None:
    moment = codec.timestamp_of(1_700_000_000_123_456)
    assert moment is not None
    assert moment.ToMicroseconds() == 1_700_000_000_123_456
    assert codec.timestamp_of(0) is None
    assert codec.duration_us(codec.duration_of(1_500_001)) == 1_500_001
