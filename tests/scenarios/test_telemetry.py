"""What an operator sees of a command: its way through the parts as one trace, and the figures beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.scenarios.kit import HOLD, LINEAR, WAITING, Api, refused, serve, worker

from callboard.runtime.tasks import DispatcherSettings
from callboard.server.telemetry import Telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
SUBMIT = "callboard.v1.ExecutionService/SubmitEvent"
START = "callboard.v1.ExecutionService/StartExecution"


class Observed:
    """A telemetry whose exporters keep everything in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        traces = TracerProvider()
        traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(traces, MeterProvider([self.reader]))

    def spans(self, trace: str = TRACE) -> list[ReadableSpan]:
        """All ended spans of a trace."""
        finished: Any = self.exporter.get_finished_spans()
        return [span for span in finished if f"{span.context.trace_id:032x}" == trace]

    def metrics(self) -> dict[str, Any]:
        """All metrics by name, with their unit and data points."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def observed() -> Observed:
    return Observed()


def traced(api: Api) -> Api:
    """The same server for a caller with a trace."""
    other = api.of()
    other.metadata = (("traceparent", CALLER),)
    return other


def way(spans: Iterable[Any], leaf: str) -> list[str]:
    """The names from the outermost span down to one."""
    known = {span.context.span_id: span for span in spans}
    span = next(span for span in known.values() if span.name == leaf)
    names = [span.name]
    while span.parent is not None and span.parent.span_id in known:
        span = known[span.parent.span_id]
        names.insert(0, span.name)
    return names


async def test_the_path_of_one_command_is_its_spans(tmp_path: Path, observed: Observed) -> None:
    async with serve(tmp_path, telemetry=observed.telemetry) as api:
        await api.publish(WAITING)
        await api.start("waiting", "x-1")
        await traced(api).submit("x-1", "go", 1)
    assert way(observed.spans(), "callboard.flush") == [SUBMIT, "callboard.route", "callboard.turn", "callboard.flush"]
    assert sorted(span.name for span in observed.spans()) == [
        *("callboard.flush", "callboard.route", "callboard.turn", SUBMIT),
    ]
    route = next(span for span in observed.spans() if span.name == "callboard.route")
    assert route.attributes is not None
    assert route.attributes["callboard.execution_id"] == "x-1"
    assert route.attributes["callboard.command"] == "Submit"


async def test_one_trace_runs_from_the_caller_to_the_workers_also_through_a_restart(
    tmp_path: Path, observed: Observed
) -> None:
    async with serve(tmp_path, telemetry=observed.telemetry) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: 1 if task.step_path == "one" else HOLD) as stub:
            await traced(api).start("linear", "x-1")
            await stub.seen(2)
            assert {task.trace_context.traceparent.split("-")[1] for task in stub.tasks} == {TRACE}
            tokens = [stub.tasks[1].task_token]
        assert {event.trace_context.traceparent.split("-")[1] for event in (await api.history("x-1"))[:2]} == {TRACE}
    first = observed.spans()
    assert {START, "callboard.route", "callboard.turn", "callboard.flush", "callboard.task"} <= {
        span.name for span in first
    }
    assert way(first, "callboard.task")[0] == START
    after = Observed()
    async with serve(tmp_path, telemetry=after.telemetry) as api:
        async with worker(api, lambda task: 1, holding=tokens) as stub:
            await stub.answer(tokens[0], 2)
            await api.ended("x-1")
        traces = [event.trace_context.traceparent.split("-")[1] for event in await api.history("x-1")]
        assert set(traces) == {TRACE}
    second = {span.name for span in after.spans()}
    assert second == {"callboard.route", "callboard.turn", "callboard.flush"}


async def test_a_task_of_an_earlier_boot_is_delivered_in_its_trace(tmp_path: Path) -> None:
    before, after = Observed(), Observed()
    async with serve(tmp_path, telemetry=before.telemetry) as api:
        await api.publish(LINEAR)
        await traced(api).start("linear", "x-1")
    grace = DispatcherSettings(reconnect_grace_seconds=0.01)
    async with (
        serve(tmp_path, telemetry=after.telemetry, dispatching=grace) as api,
        worker(api, lambda task: 1) as stub,
    ):
        await api.ended("x-1")
        assert {task.trace_context.traceparent.split("-")[1] for task in stub.tasks} == {TRACE}
    assert [span.name for span in after.spans() if span.name == "callboard.task"] == ["callboard.task"] * 2


async def test_what_is_counted_has_its_unit(tmp_path: Path, observed: Observed) -> None:
    async with serve(tmp_path, telemetry=observed.telemetry) as api:
        await api.publish(LINEAR)
        async with worker(api, lambda task: 1):
            await api.start("linear", "x-1", wait=10)
            await api.start("linear", "x-2", wait=10)
        await api.start("linear", "x-3")
        metrics = observed.metrics()
    units = {name: metric.unit for name, metric in metrics.items()}
    expected = {
        "callboard.commands": "{command}",
        "callboard.turn.commands": "{command}",
        "callboard.flush.writes": "{write}",
        "callboard.flush.duration": "s",
        "callboard.actors.live": "{actor}",
        "callboard.mailbox.depth": "{command}",
        "callboard.tasks.open": "{task}",
        "callboard.task.queue.duration": "s",
        "callboard.task.deliveries": "{delivery}",
    }
    assert expected.items() <= units.items()
    deliveries = {
        point.attributes["callboard.operation"]: point.value
        for point in metrics["callboard.task.deliveries"].data.data_points
    }
    assert deliveries == {"s.one": 2, "s.two": 2}
    queued = {
        (point.attributes["callboard.operation"], point.attributes["callboard.state"]): point.value
        for point in metrics["callboard.tasks.open"].data.data_points
    }
    assert queued["s.one", "queued"] == 1


async def test_a_refused_call_is_seen_as_what_it_is(tmp_path: Path, observed: Observed) -> None:
    async with serve(tmp_path, telemetry=observed.telemetry) as api:
        await refused(traced(api).submit("nobody", "go"))
    names = {span.name: span for span in observed.spans()}
    assert (names["callboard.route"].attributes or {})["callboard.outcome"] == "EXECUTION_NOT_FOUND"


async def test_without_telemetry_the_trace_of_the_caller_still_reaches_the_worker(api: Api) -> None:
    await api.publish(LINEAR)
    async with worker(api, lambda task: 1) as stub:
        await traced(api).start("linear", "x-1")
        await api.ended("x-1")
        assert {task.trace_context.traceparent for task in stub.tasks} == {CALLER}
