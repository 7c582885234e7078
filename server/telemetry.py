"""OpenTelemetry: the SDK, set up from the standard `OTEL_*` variables. Off by default, and then nothing is loaded.

It is on as soon as one of the variables asks for it: an exporter (`OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`) or
an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` and its two specialised forms). `OTEL_SDK_DISABLED=true` turns it off.
OTLP needs the extra `callboard[otlp]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from .calls import Call

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXPORTERS: Final = ("otlp", "console", "none")


class TelemetryError(Exception):
    """Telemetry was asked for in a way that cannot be met; the message says what to change."""


class Tracing:
    """Spans around calls."""

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._kind = SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def call(self, call: Call) -> Iterator[None]:
        """A span around one call, in the caller's trace; what the call causes belongs to the span."""
        parent = self._propagator.extract({"traceparent": call.trace}) if call.trace else None
        service, _, method = call.method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "tenant": call.tenant}
        with self._tracer.start_as_current_span(call.method, parent, self._kind, attributes):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            call.trace = carrier.get("traceparent", call.trace)
            yield


class Telemetry:
    """What was set up; `close` sends what is left."""

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        self._providers = [provider for provider in (tracer_provider, meter_provider) if provider is not None]
        self.tracing = Tracing(tracer_provider.get_tracer("callboard.server")) if tracer_provider else None

    def close(self) -> None:
        """Flush and end the exporters; blocks for as long as they take."""
        for provider in self._providers:
            provider.shutdown()


def configure(environment: Mapping[str, str], version: str) -> Telemetry:
    """Set up what the variables ask for, for the whole process. Raises TelemetryError."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Telemetry()
    traces = _exporter(environment, "TRACES")
    metrics = _exporter(environment, "METRICS")
    if traces == "none" and metrics == "none":
        return Telemetry()
    resource = _resource(environment, version)
    return Telemetry(
        _traces(traces, environment, resource) if traces != "none" else None,
        _metrics(metrics, environment, resource) if metrics != "none" else None,
    )


def _exporter(environment: Mapping[str, str], signal: str) -> str:
    """The exporter asked for; without a word about it, OTLP where there is an endpoint and otherwise none."""
    variable = f"OTEL_{signal}_EXPORTER"
    asked = environment.get(variable, "").strip().lower()
    if not asked:
        endpoints = (_ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        return "otlp" if any(environment.get(name, "").strip() for name in endpoints) else "none"
    if asked not in _EXPORTERS:
        raise TelemetryError(f"{variable}={asked}: this server knows {', '.join(_EXPORTERS)}")
    return asked


def _resource(environment: Mapping[str, str], version: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes = {"service.version": version} | ({} if named else {"service.name": "callboard"})
    return Resource.create(attributes)


def _traces(exporter: str, environment: Mapping[str, str], resource: Any) -> Any:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    provider = TracerProvider(resource=resource)
    made = ConsoleSpanExporter() if exporter == "console" else _otlp("TRACES", environment)
    provider.add_span_processor(BatchSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return provider


def _metrics(exporter: str, environment: Mapping[str, str], resource: Any) -> Any:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    made = ConsoleMetricExporter() if exporter == "console" else _otlp("METRICS", environment)
    provider = MeterProvider([PeriodicExportingMetricReader(made)], resource)
    metrics.set_meter_provider(provider)
    return provider


def _otlp(signal: str, environment: Mapping[str, str]) -> Any:
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    if protocol != "grpc":
        raise TelemetryError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: this server exports over grpc only")
    try:
        if signal == "TRACES":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter()
    except ImportError:
        message = "telemetry over OTLP is asked for but not installed: pip install 'callboard[otlp]'"
        raise TelemetryError(f"{message}, or set OTEL_SDK_DISABLED=true") from None
