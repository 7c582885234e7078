"""The processes of a measurement: starting them, talking to them, reading what they cost, ending them.

Everything measured runs in a process of its own, so that each one's CPU and memory can be told apart. What a process
costs is read from /proc; where there is none, those figures are absent and all others still stand.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
_ADDRESS = re.compile(r"127\.0\.0\.1:([1-9]\d*)")
_STDERR_LINES_KEPT = 40


class ProcessFailedError(Exception):
    """A process of the harness did not do its part; the message holds the last it said on stderr."""


class Usage(NamedTuple):
    """What a process has cost so far."""

    cpu_seconds: float
    written_bytes: int
    """Bytes it caused to be written to disk."""


class Process:
    """One child process, told apart by name; its output is read by threads, so that it never blocks on a full pipe."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.started = time.perf_counter()
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._popen = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: queue.Queue[str | None] = queue.Queue()
        self._last_errors: deque[str] = deque(maxlen=_STDERR_LINES_KEPT)
        for stream, lines in ((self._popen.stdout, self._lines), (self._popen.stderr, self._errors)):
            assert stream is not None
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    def _read(self, stream: IO[str], lines: queue.Queue[str | None]) -> None:
        for line in stream:
            if lines is self._errors:
                self._last_errors.append(line)
            lines.put(line)
        lines.put(None)

    @property
    def pid(self) -> int:
        """The id it is measured and ended by."""
        return self._popen.pid

    def send(self, command: Mapping[str, Any]) -> None:
        """One line of JSON to its stdin."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(command) + "\n")
            self._popen.stdin.flush()
        except OSError as error:
            raise self._failed(f"is gone: {error}") from error

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next line of its stdout, as JSON. Raises ProcessFailedError when there is none in time."""
        reply: dict[str, Any] = json.loads(self._next(self._lines, timeout))
        if "error" in reply:
            raise self._failed(str(reply["error"]))
        return reply

    def address(self, timeout: float = START_SECONDS_MAX) -> str:
        """The address in the line with which a server says that it serves, on stderr."""
        deadline = time.perf_counter() + timeout
        while True:
            found = _ADDRESS.search(self._next(self._errors, deadline - time.perf_counter()))
            if found is not None:
                return found.group(0)

    def _next(self, lines: queue.Queue[str | None], timeout: float) -> str:
        try:
            line = lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            raise self._failed("did not answer in time") from None
        if line is None:
            self._popen.wait(STOP_SECONDS_MAX)
            raise self._failed(f"ended with exit code {self._popen.returncode}")
        return line

    def _failed(self, what: str) -> ProcessFailedError:
        said = "".join(self._last_errors).rstrip()
        return ProcessFailedError(f"{self.name} {what}" + (f"; it said:\n{said}" if said else ""))

    def usage(self) -> Usage | None:
        """What it has cost so far; None where there is no /proc or no such process."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            io = _table(Path(f"/proc/{self.pid}/io"))
        except (OSError, IndexError, ValueError):
            return None
        return Usage(cpu, int(io.get("write_bytes", "0")))

    def memory_mb(self, *, peak: bool = False) -> float | None:
        """Its resident memory in MB (10^6 bytes), now or at most so far; None where there is no /proc."""
        try:
            entry = _table(Path(f"/proc/{self.pid}/status"))["VmHWM" if peak else "VmRSS"]
        except (OSError, KeyError):
            return None
        return int(entry.split()[0]) * 1024 / 1e6

    def signal(self, number: signal.Signals) -> None:
        """Any other signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it without a word, as a power cut would."""
        self._popen.kill()
        self._popen.wait(STOP_SECONDS_MAX)

    def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(OSError):
                if self._popen.stdin is not None:
                    self._popen.stdin.close()
            try:
                self._popen.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()


def _table(path: Path) -> dict[str, str]:
    rows = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in rows}


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """The process, stopped at the end whatever happens."""
    try:
        yield process
    finally:
        process.stop()


def serve(data: Path, *, handlers: str = "", profile: Path | None = None) -> Process:
    """`callboard serve` on a free port of the loopback, over this data directory."""
    module = ["benchmarks.profiled", str(profile)] if profile is not None else ["callboard.server"]
    arguments = [sys.executable, "-m", *module]
    arguments += ["--data", str(data), "--listen", "127.0.0.1:0"]
    if handlers:
        arguments += ["--handlers", handlers]
    return Process("server", arguments)


def echo() -> Process:
    """The server of the bounds."""
    return Process("echo", [sys.executable, "-m", "benchmarks.bounds"])


def driver() -> Process:
    """The one client process of a measurement."""
    return Process("client", [sys.executable, "-m", "benchmarks.driver"])


def worker(address: str, kind: str) -> Process:
    """The one worker process of a measurement; waits until it is connected."""
    process = Process("worker", [sys.executable, "-m", "benchmarks.worker", "--address", address, "--kind", kind])
    try:
        process.answer(START_SECONDS_MAX)
    except ProcessFailedError:
        process.stop()
        raise
    return process
