"""OpenTelemetry from the standard `OTEL_*` variables. Off by default, and then the SDK is not even loaded.

It is on as soon as one of the variables asks for it: an exporter (`OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`) or
an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` and its two specialised forms). `OTEL_SDK_DISABLED=true` turns it off.
OTLP needs the extra `callboard[otlp]`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from callboard.runtime.telemetry import Telemetry as EngineTelemetry

from .config import ConfigError

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXPORTERS: Final = ("otlp", "console", "none")
_TRACEPARENT: Final = "traceparent"


class TracedCall(Protocol):
    """What a span needs to know of a call."""

    method: str
    tenant: str
    trace: str
    """W3C `traceparent`: of the caller before, of the span within."""


class Tracing:
    """Spans around calls."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def call(self, call: TracedCall) -> Generator[None]:
        """A span around one call, in the caller's trace; what the call causes belongs to the span."""
        parent = self._propagator.extract({_TRACEPARENT: call.trace}) if call.trace else None
        service, _, method = call.method.rpartition("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "callboard.tenant": call.tenant,
        }
        with self._tracer.start_as_current_span(call.method, parent, SpanKind.SERVER, attributes):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            call.trace = carrier.get(_TRACEPARENT, call.trace)
            yield


class Provider(Protocol):
    """What has to be ended at the end."""

    def shutdown(self) -> None:
        """Flush and end; blocks for as long as that takes."""
        ...


class Telemetry:
    """What was set up; `close` sends what is left."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        providers: tuple[Provider, ...] = (),
    ) -> None:
        self.tracing = Tracing(tracer_provider.get_tracer("callboard.server")) if tracer_provider is not None else None
        """Spans around calls; None: off."""
        on = tracer_provider is not None or meter_provider is not None
        self.engine = EngineTelemetry(tracer_provider, meter_provider) if on else None
        """Spans and metrics within the engine; None: off, and then free."""
        self._providers = providers

    def close(self) -> None:
        """Flush and end the exporters; blocks for as long as they take."""
        for provider in self._providers:
            provider.shutdown()


def configure(environment: Mapping[str, str], version: str) -> Telemetry:
    """Set up what the variables ask for, for the whole process. Raises ConfigError."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Telemetry()
    traces, metrics = exporter_of(environment, "TRACES"), exporter_of(environment, "METRICS")
    if traces == "none" and metrics == "none":
        return Telemetry()
    from . import telemetry_sdk as sdk  # noqa: PLC0415 - the SDK costs memory and time; off means free

    resource = sdk.resource(environment, version)
    tracer_provider = sdk.tracing(traces, environment, resource) if traces != "none" else None
    meter_provider = sdk.metering(metrics, environment, resource) if metrics != "none" else None
    providers = tuple(one for one in (tracer_provider, meter_provider) if one is not None)
    return Telemetry(tracer_provider, meter_provider, providers)


def exporter_of(environment: Mapping[str, str], signal: str) -> str:
    """The exporter asked for; without a word about it, OTLP where there is an endpoint and otherwise none."""
    variable = f"OTEL_{signal}_EXPORTER"
    asked = environment.get(variable, "").strip().lower()
    if not asked:
        endpoints = (_ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        return "otlp" if any(environment.get(name, "").strip() for name in endpoints) else "none"
    if asked not in _EXPORTERS:
        raise ConfigError(f"{variable}={asked}: this server knows {', '.join(_EXPORTERS)}")
    return asked
