"""The OpenTelemetry SDK, put together; loaded only where telemetry is asked for (telemetry.py)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from .config import ConfigError


def resource(environment: Mapping[str, str], version: str) -> Resource:
    """Who sends: `callboard`, unless the variables name it otherwise."""
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes = {"service.version": version} | ({} if named else {"service.name": "callboard"})
    return Resource.create(attributes)


def tracing(exporter: str, environment: Mapping[str, str], resource: Resource) -> TracerProvider:
    """Traces, for the whole process."""
    provider = TracerProvider(resource=resource)
    made = ConsoleSpanExporter() if exporter == "console" else _otlp("TRACES", environment)
    provider.add_span_processor(BatchSpanProcessor(made))
    trace.set_tracer_provider(provider)
    return provider


def metering(exporter: str, environment: Mapping[str, str], resource: Resource) -> MeterProvider:
    """Metrics, for the whole process."""
    made = ConsoleMetricExporter() if exporter == "console" else _otlp("METRICS", environment)
    provider = MeterProvider([PeriodicExportingMetricReader(made)], resource)
    metrics.set_meter_provider(provider)
    return provider


def _otlp(signal: str, environment: Mapping[str, str]) -> Any:
    """The exporter of the extra `otlp`; it reads endpoint, headers and time-outs from the variables itself."""
    general = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", general)
    if protocol != "grpc":
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: this server exports over grpc only")
    module, name = {
        "TRACES": ("trace_exporter", "OTLPSpanExporter"),
        "METRICS": ("metric_exporter", "OTLPMetricExporter"),
    }[signal]
    try:
        found = importlib.import_module(f"opentelemetry.exporter.otlp.proto.grpc.{module}")
    except ImportError:
        message = "telemetry over OTLP is asked for but not installed: pip install 'callboard[otlp]'"
        raise ConfigError(f"{message}, or set OTEL_SDK_DISABLED=true") from None
    return getattr(found, name)()
