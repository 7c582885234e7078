"""Telemetry: off and free, on by the standard variables, clear where it cannot be."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callboard.server.calls import Call
from callboard.server.config import ConfigError
from callboard.server.telemetry import Tracing, configure, exporter_of


def test_off_by_default_and_when_told_so() -> None:
    assert configure({}, "1").tracing is None
    assert configure({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}, "1").tracing is None


def test_off_does_not_load_the_sdk() -> None:
    code = "import sys, callboard.server.commands; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x:4317"}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_TRACES_EXPORTER": "none"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_the_exporter_is_what_the_variables_say(environment: dict[str, str], exporter: str) -> None:
    assert exporter_of(environment, "TRACES") == exporter


def test_what_cannot_be_exported_to_is_said() -> None:
    with pytest.raises(ConfigError, match="zipkin"):
        configure({"OTEL_TRACES_EXPORTER": "zipkin"}, "1")
    with pytest.raises(ConfigError, match="grpc only"):
        configure({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "1")


def test_otlp_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"callboard\[otlp\]"):
        configure({"OTEL_TRACES_EXPORTER": "otlp"}, "1")


def test_a_call_is_a_span_in_the_callers_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caller = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    call = Call("callboard.v1.ExecutionService/SubmitEvent", "acme", "", caller, lambda: "peer")
    with Tracing(provider.get_tracer("test")).call(call):
        assert call.trace.startswith("00-" + "a" * 32)
        assert call.trace != caller
    [span] = exporter.get_finished_spans()
    assert span.name == "callboard.v1.ExecutionService/SubmitEvent"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b" * 16
    assert span.attributes is not None
    assert span.attributes["callboard.tenant"] == "acme"
