"""The command line as programs run it, and as people see it at a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from click.testing import CliRunner, Result
from tests.client.fakes import FakeServer

from callboard.client.cli import main

COLUMNS = 80


def run(server: FakeServer | None, *arguments: str, stdin: str = "") -> Result:
    """Runs a command in this process, without a terminal."""
    where = {"CALLBOARD_ADDRESS": server.address if server else "127.0.0.1:1", "CALLBOARD_TENANT": "acme"}
    return CliRunner().invoke(main, list(arguments), env=where, input=stdin)


def at_terminal(server: FakeServer, *arguments: str, typed: str = "") -> tuple[int, str]:
    """The exit code of a command and what a person sees of it, on a terminal of `COLUMNS` columns, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"CALLBOARD_ADDRESS": server.address, "TERM": "xterm-256color", "TZ": "Europe/Berlin"}
    command = [sys.executable, "-m", "callboard.client.cli", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux says so when the last one at the other side has gone.
        return b""
