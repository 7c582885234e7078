"""Spans and metrics of the engine, through the OpenTelemetry API; whoever runs the engine configures the SDK.

An engine without a `Telemetry` pays nothing for it. With one, a command's way shows as spans named as in the README's
table: `callboard.route` (supervisor), `callboard.turn` (actor), `callboard.flush` (journal), `callboard.stage` (a
lifecycle chain), `callboard.task` (a worker's attempt). They are put around the parts, never into decisions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, SpanKind, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .core.commands import Command
from .core.refusals import Refused
from .rows import ExecutionRef
from .trigger_rows import EventOutcome

SCOPE = "callboard"

_propagator = TraceContextTextMapPropagator()


class Traced(Protocol):
    """A letter, as far as telemetry knows it."""

    command: Command
    routed_at: int
    span: trace.Span | None


class Gauges(Protocol):
    """What can be looked at at any moment."""

    def live_actors(self) -> int:
        """Executions in memory."""
        ...

    def waiting_commands(self) -> int:
        """Commands in mailboxes."""
        ...

    def backlog(self, visit: Callable[[str, str, int, int], None]) -> None:
        """Call `visit(tenant, operation, queued, running)` for every queue."""
        ...


class Telemetry:
    """The engine's tracer and instruments."""

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self.meter = meter
        self._commands = meter.create_counter("callboard.commands", "{command}", "Commands, by what became of them")
        self._turns = meter.create_histogram("callboard.turn.commands", "{command}", "Commands in one turn of an actor")
        self._flushes = meter.create_histogram("callboard.flush.writes", "{write}", "Writes in one commit")
        self._flush_times = meter.create_histogram("callboard.flush.duration", "s", "How long one commit took")
        self._queue_times = meter.create_histogram(
            "callboard.task.queue.duration", "s", "How long a task was queued before its delivery, by operation"
        )
        self._attempts = meter.create_counter("callboard.task.deliveries", "{delivery}", "Attempts given to workers")
        self._events = meter.create_counter(
            "callboard.events.accepted", "{event}", "Published events that were accepted"
        )
        self._matches = meter.create_counter(
            "callboard.events.matches", "{match}", "What published events came to: started, offered, warning"
        )
        self._slots = meter.create_counter("callboard.slots", "{slot}", "Slots of schedules, by what became of them")
        self._passed_over = meter.create_counter(
            "callboard.snapshots.passed_over", "{snapshot}", "Damaged snapshots that an execution was not woken from"
        )
        self._dead = meter.create_counter("callboard.dead_letters", "{letter}", "Items that became dead letters")

    def watch(self, gauges: Gauges) -> None:
        """Show what there is, whenever somebody reads the metrics."""
        meter = self.meter
        meter.create_observable_gauge(
            "callboard.actors.live", [_reading(gauges.live_actors)], "{actor}", "Executions in memory"
        )
        meter.create_observable_gauge(
            "callboard.mailbox.depth", [_reading(gauges.waiting_commands)], "{command}", "Commands in mailboxes"
        )
        meter.create_observable_gauge(
            "callboard.tasks.open", [_backlog(gauges)], "{task}", "Open tasks, by operation and state"
        )

    # Spans

    def route(self, ref: ExecutionRef, letter: Traced, answer: asyncio.Future[Any]) -> None:
        """A span from here until the command is answered. One that is not part of a call (an answer of a worker, a
        timer) gets its span when its execution is at hand, in the trace of that."""
        letter.routed_at = time.time_ns()
        if trace.get_current_span().get_span_context().is_valid:
            self._begin_route(ref, letter, None)

        def answered(future: asyncio.Future[Any]) -> None:
            error = None if future.cancelled() else future.exception()
            outcome = error.refusal.reason if isinstance(error, Refused) else "OK"
            if letter.span is not None:
                letter.span.set_attribute("callboard.outcome", outcome)
                letter.span.end()
            name = type(letter.command).__name__
            self._commands.add(1, {"callboard.command": name, "callboard.outcome": outcome})

        answer.add_done_callback(answered)

    def _begin_route(self, ref: ExecutionRef, letter: Traced, parent: otel_context.Context | None) -> None:
        attributes = _who(ref) | {"callboard.command": type(letter.command).__name__}
        letter.span = self.tracer.start_span(
            "callboard.route", parent, attributes=attributes, start_time=letter.routed_at
        )

    @contextmanager
    def turn(self, ref: ExecutionRef, letters: Sequence[Traced], traceparent: str) -> Generator[None, None, None]:
        """One turn: in the trace of its first command, linked to those of the others. `traceparent` is that of the
        execution."""
        self._turns.record(len(letters))
        own = _remote(traceparent)
        for letter in letters:
            if letter.span is None and letter.routed_at:
                self._begin_route(ref, letter, own)
        spans = [letter.span for letter in letters if letter.span is not None]
        parent = trace.set_span_in_context(spans[0]) if spans else own
        links = [Link(span.get_span_context()) for span in spans[1:]]
        attributes = _who(ref) | {"callboard.commands": len(letters)}
        with self.tracer.start_as_current_span("callboard.turn", parent, attributes=attributes, links=links):
            yield

    @contextmanager
    def flush(self) -> Generator[None, None, None]:
        """The wait of an append for its commit."""
        with self.tracer.start_as_current_span("callboard.flush"):
            yield

    def task(self, operation: str, path: str, attempt: int, traceparent: str) -> trace.Span:
        """A span for an attempt in a worker's hands, in the trace of its execution."""
        parent = _remote(traceparent)
        attributes: dict[str, str | int] = {
            "callboard.operation": operation,
            "callboard.path": path,
            "callboard.attempt": attempt,
        }
        return self.tracer.start_span("callboard.task", parent, SpanKind.PRODUCER, attributes)

    # Metrics

    def event_accepted(self, outcome: EventOutcome) -> None:
        """An event was published."""
        self._events.add(1)
        found = (("started", outcome.started_count), ("offered", outcome.offered_count))
        for name, count in (*found, ("warning", len(outcome.warnings))):
            if count:
                self._matches.add(count, {"callboard.match": name})

    def slot_decided(self, outcome: str) -> None:
        """A slot was decided."""
        self._slots.add(1, {"callboard.outcome": outcome})

    def flushed(self, writes: int, seconds: float) -> None:
        """One commit was made."""
        self._flushes.record(writes)
        self._flush_times.record(seconds)

    def delivered(self, operation: str, queued_seconds: float) -> None:
        """A task was given to a worker."""
        attributes = {"callboard.operation": operation}
        self._queue_times.record(queued_seconds, attributes)
        self._attempts.add(1, attributes)

    def passed_over(self) -> None:
        """A snapshot could not be read, or failed its check."""
        self._passed_over.add(1)

    def buried(self, cause: str) -> None:
        """An item became a dead letter."""
        self._dead.add(1, {"callboard.cause": cause})


def traceparent_of(span: trace.Span) -> str:
    """The `traceparent` that makes others children of this span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def _remote(traceparent: str) -> otel_context.Context:
    """The context of a span that was begun elsewhere; a new trace where there is none."""
    return _propagator.extract({"traceparent": traceparent}) if traceparent else otel_context.Context()


def _who(ref: ExecutionRef) -> dict[str, str | int]:
    return {"callboard.tenant": ref.tenant, "callboard.execution_id": ref.execution_id}


def _reading(read: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]


def _backlog(gauges: Gauges) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        found: list[Observation] = []

        def visit(tenant: str, operation: str, queued: int, running: int) -> None:
            who = {"callboard.tenant": tenant, "callboard.operation": operation}
            found.append(Observation(queued, who | {"callboard.state": "queued"}))
            found.append(Observation(running, who | {"callboard.state": "running"}))

        gauges.backlog(visit)
        return found

    return observe
