"""`callboard serve` as a process: the ready line, signals, and a clear line for each way of not starting."""

import os
import queue
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.server.client import SINGLE

from callboard.v1 import (
    definition_service_pb2,
    definition_service_pb2_grpc,
    execution_service_pb2,
    execution_service_pb2_grpc,
    violations_pb2,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("CALLBOARD_", "OTEL_"))}


class Process:
    """A server as a process; its stderr is read line by line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "callboard.server", "--listen", "127.0.0.1:0", *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def ready(self) -> str:
        """Wait for the ready line; the address in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"ready.*address\W+(127\.0\.0\.1:\d+)", line):
                return found[1]
        raise AssertionError(f"it never was ready: {self.lines}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        self.lines += rest.splitlines()
        return self.process.returncode


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Process]:
    process = Process(folder, *arguments)
    watchdog = threading.Timer(60, process.process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate()


def serve(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callboard.server", *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_makes_its_directory_is_ready_and_stops(tmp_path: Path, number: int) -> None:
    with running(tmp_path) as server:
        address = server.ready()
        assert not address.endswith(":0")
        assert (tmp_path / "callboard-data" / "callboard.db").exists()
        assert server.stop(number) == 0


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "--drain-seconds", "60") as server:
        address = server.ready()
        with grpc.insecure_channel(address) as channel:
            stub: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
            definitions: Any = definition_service_pb2_grpc.DefinitionServiceStub(channel)
            executions: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
            source = violations_pb2.SourceText(name="a.yaml", text=SINGLE)
            definitions.PublishDefinition(definition_service_pb2.PublishDefinitionRequest(source=source))
            hello = worker_service_pb2.WorkerHello(worker_id="w", operations=["demo.echo"], max_in_flight=1)
            said = queue.Queue[Any]()
            said.put(worker_service_pb2.WorkRequest(hello=hello))
            frames = stub.Work(iter(said.get, None))
            executions.StartExecution(execution_service_pb2.StartExecutionRequest(definition_id="single"))
            while not next(frames).tasks:
                pass
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert server.process.poll() is None, "it waits for the task that the worker holds"
            assert server.stop() == 128 + signal.SIGTERM
            said.put(None)


def test_a_failed_storage_ends_the_process_at_once() -> None:
    code = "from callboard.server.process import _fatal; _fatal(OSError('gone')); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (70, "")


def test_the_demo_shows_an_order_from_start_to_end(tmp_path: Path) -> None:
    code = "from callboard.server.commands import demo_command; demo_command()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ExecutionStarted" in done.stdout
    assert "The order is COMPLETED" in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_the_ready_line_as_json(tmp_path: Path) -> None:
    with running(tmp_path, "--log-format", "json") as server:
        server.ready()
        assert server.lines[-1].startswith("{")


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.ready()
        done = serve(tmp_path, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"in use by process {server.process.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = serve(tmp_path, "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.ready()
        server.stop()
    with closing(sqlite3.connect(tmp_path / "callboard-data" / "callboard.db")) as connection:
        connection.execute("UPDATE meta SET value = 999 WHERE name = 'schema_version'")
        connection.commit()
    for arguments in ((), ("--check",)):
        done = serve(tmp_path, "--listen", "127.0.0.1:0", *arguments)
        assert done.returncode == 1
        assert "schema version 999" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = serve(tmp_path, "--data", "file/data")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_check_prints_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    done = serve(tmp_path, "--check")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith(".sql")
    assert not (tmp_path / "callboard-data").exists()


def test_configuration_and_handlers_that_are_wrong_are_told(tmp_path: Path) -> None:
    done = serve(tmp_path, "--log-format", "xml", CALLBOARD_DRAIN_SECONDS="soon")
    assert done.returncode == 2
    assert "--log-format" in done.stderr
    assert "CALLBOARD_DRAIN_SECONDS" in done.stderr
    (tmp_path / "empty.py").write_text("")
    for module, words in (("nope", "cannot be imported"), ("empty", "has no `operations`")):
        done = serve(tmp_path, "--handlers", module)
        assert done.returncode == 2
        assert words in done.stderr
    done = serve(tmp_path, "--listen", "127.0.0.1:0", "--stage", "publish:after:recrod=builtins:print")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "'recrod'" in done.stderr


def test_handlers_run_in_the_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from callboard.runtime.handlers import Operations\n"
        "operations = Operations()\n"
        "@operations.operation('demo.echo')\n"
        "async def echo(task): return task.input\n"
    )
    with running(tmp_path, "--handlers", "mine") as server:
        address = server.ready()
        code = (
            "import grpc, sys\n"
            "from callboard.v1 import definition_service_pb2 as d, definition_service_pb2_grpc as dg\n"
            "from callboard.v1 import execution_service_pb2 as e, execution_service_pb2_grpc as eg\n"
            "channel = grpc.insecure_channel(sys.argv[1])\n"
            "source = {'name': 'a.yaml', 'text': sys.argv[2]}\n"
            "dg.DefinitionServiceStub(channel).PublishDefinition(d.PublishDefinitionRequest(source=source))\n"
            "request = e.StartExecutionRequest(definition_id='single', input={'json': '7'}, wait={'seconds': 10})\n"
            "print(eg.ExecutionServiceStub(channel).StartExecution(request).execution.output.json)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, address, SINGLE], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.strip() == "7", done.stderr
        assert server.stop() == 0
