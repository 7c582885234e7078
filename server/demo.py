"""`callboard demo`: a real server on a free port, the example's worker in it, one order through gRPC, every event told.

People at a terminal get colours, everybody else plain lines.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
import msgspec
from rich.console import Console
from rich.markup import escape

from callboard.v1 import definition_service_pb2 as definitions_pb2
from callboard.v1 import definition_service_pb2_grpc as definitions_grpc
from callboard.v1 import execution_events_pb2 as events_pb2
from callboard.v1 import execution_service_pb2 as executions_pb2
from callboard.v1 import execution_service_pb2_grpc as executions_grpc
from callboard.v1 import payload_pb2, violations_pb2
from callboard.v1.executions_pb2 import EXECUTION_STATUS_COMPLETED, ExecutionStatus
from callboard.v1.history_pb2 import WorkflowEvent

from .config import ServerConfig
from .loading import load_handlers
from .wiring import serving

EXAMPLE: Final = "callboard.examples.orders"
WORKER: Final = f"{EXAMPLE}.worker"
ORDER: Final = {"order_id": "o-1", "sku": "lamp", "qty": 2, "cents": 4990}
AWAITED: Final = "approved"
_WORDS_CHARACTERS_MAX: Final = 70
_STYLES: Final = {
    "execution": "bold cyan",
    "step": "green",
    "message": "magenta",
    "event": "magenta",
    "timer": "yellow",
}


async def run(data: Path | None) -> int:
    """Run the demo; 0 when the order is completed. Raises ServeError."""
    console = Console(highlight=False, soft_wrap=True)
    with _directory(data) as folder:
        config = ServerConfig(data=folder, listen="127.0.0.1:0", drain_seconds=5)
        async with (
            serving(config, registered=load_handlers((WORKER,))) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            console.print(f"A server on [bold]{server.address}[/], its data in {escape(str(folder))}")
            return await _Demo(console, channel, f"o-{server.runtime.info.boot}").run()


@contextmanager
def _directory(data: Path | None) -> Generator[Path]:
    if data is not None:
        yield data
        return
    with TemporaryDirectory(prefix="callboard-demo-") as folder:
        yield Path(folder)


class _Demo:
    """One order, told."""

    def __init__(self, console: Console, channel: grpc.aio.Channel, execution_id: str) -> None:
        self._console = console
        self._definitions: Any = definitions_grpc.DefinitionServiceStub(channel)
        self._executions: Any = executions_grpc.ExecutionServiceStub(channel)
        self._id = execution_id

    async def run(self) -> int:
        await self._publish()
        await self._executions.StartExecution(
            executions_pb2.StartExecutionRequest(definition_id="order", execution_id=self._id, input=_payload(ORDER))
        )
        self._console.print(f"Started the order [bold]{self._id}[/]; every event as it happens:\n")
        async for frame in self._executions.WatchExecution(events_pb2.WatchExecutionRequest(execution_id=self._id)):
            for event in frame.events:
                await self._tell(event)
        return await self._result()

    async def _publish(self) -> None:
        text = resources.files(EXAMPLE).joinpath("order.yaml").read_text("utf-8")
        source = violations_pb2.SourceText(name="order.yaml", text=text)
        published = await self._definitions.PublishDefinition(definitions_pb2.PublishDefinitionRequest(source=source))
        stages = " > ".join(stage.name for stage in published.stages)
        self._console.print(f"Published [bold]order[/] version {published.version}: {stages}")

    async def _tell(self, event: WorkflowEvent) -> None:
        said = msgspec.json.decode(event.payload.json)
        style = _STYLES.get(event.event_type, "white")
        name = f"[{style}]{event.event_name:<20}[/]"
        self._console.print(
            f"{event.sequence:>4}  {name}  {_words(event, said):<{_WORDS_CHARACTERS_MAX}} [dim]{event.to_state}[/]"
        )
        if AWAITED in said.get("events", ()):
            await self._approve()

    async def _approve(self) -> None:
        """The flow waits for somebody; the demo is that somebody."""
        self._console.print(f"      [bold]it waits for `{AWAITED}`: submitting that event now[/]")
        await self._executions.SubmitEvent(
            events_pb2.SubmitEventRequest(execution_id=self._id, name=AWAITED, payload=_payload({"by": "the demo"})),
            metadata=(("callboard-user", "demo"),),
        )

    async def _result(self) -> int:
        request = executions_pb2.GetExecutionRequest(execution_id=self._id)
        execution = (await self._executions.GetExecution(request)).execution
        completed = execution.status == EXECUTION_STATUS_COMPLETED
        result = execution.output.json if completed else f"{execution.failure.type}: {execution.failure.message}"
        status = ExecutionStatus.Name(execution.status).removeprefix("EXECUTION_STATUS_")
        self._console.print(f"\nThe order is [bold]{status}[/]: {escape(result)}\n\nWhat to try next:")
        for number, (words, command) in enumerate(_hints(), 1):
            self._console.print(f"  {number}. {words}\n     [bold]{escape(command)}[/]")
        return 0 if completed else 1


def _words(event: WorkflowEvent, said: dict[str, Any]) -> str:
    """What is worth a glance: where, and with what."""
    failure = said.get("failure")
    for value in (
        f"{failure['type']}: {failure.get('message', '')}" if failure else None,
        said.get("operation"),
        said.get("name"),
        said.get("result"),
        said.get("output"),
        said.get("input"),
    ):
        if value:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            return escape(_short(f"{said.get('path', '')} {text}".strip()))
    return escape(str(said.get("path", "")))


def _hints() -> tuple[tuple[str, str], ...]:
    """What to try next, and how."""
    order = Path(str(resources.files(EXAMPLE).joinpath("order.yaml")))
    shown = order.relative_to(Path.cwd()) if order.is_relative_to(Path.cwd()) else order
    started = f"callboard start order --id o-1 --input '{msgspec.json.encode(ORDER).decode()}'"
    approved = f"callboard submit o-1 {AWAITED} --payload " + """'{"by": "you"}'"""
    return (
        ("serve for yourself, with the same worker", f"callboard serve --handlers {WORKER}"),
        ("publish the order flow, and start an order", f"callboard publish {shown} && {started}"),
        ("kill -9 the server while the order waits, start it again, approve: it goes on", approved),
    )


def _short(text: str) -> str:
    return text if len(text) <= _WORDS_CHARACTERS_MAX else text[: _WORDS_CHARACTERS_MAX - 3] + "..."


def _payload(value: Any) -> payload_pb2.Payload:
    return payload_pb2.Payload(json=msgspec.json.encode(value).decode())
