"""`callboard serve` whose machine fails at a chosen moment: `python -m tests.crash.faulty_server FAULT EVENT ...`.

FAULT is `kill` or `fail` (the storage reports that it failed), and `before` or `after`: whether the commit that holds
the first event named EVENT has happened by then. All other arguments are those of `serve`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from callboard.runtime.ports import StorageFailedError
from callboard.runtime.rows import ExecutionAppend
from callboard.runtime.stores.sqlite_writer import Writer
from callboard.runtime.writes import Outcome, Write
from callboard.server.commands import serve_command


def _break(fault: str, event: str) -> None:
    """Make the writer fail once it is given a batch with the event."""
    how, _, moment = fault.partition("-")
    flush = Writer.flush

    def faulty(self: Writer, batch: Sequence[Write]) -> list[Outcome]:
        meant = any(
            stored.name == event for write in batch if isinstance(write, ExecutionAppend) for stored in write.events
        )
        if not meant:
            return flush(self, batch)
        if moment == "after":
            flush(self, batch)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise StorageFailedError("the disk is gone (on purpose)")

    Writer.flush = faulty  # type: ignore[method-assign]


if __name__ == "__main__":
    _break(sys.argv[1], sys.argv[2])
    serve_command(args=sys.argv[3:])
