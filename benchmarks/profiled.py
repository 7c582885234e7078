"""The server with a profiler in it that is switched on and off from outside, so that only the load is profiled.

`python -m benchmarks.profiled FILE ARGUMENTS...` is `callboard serve ARGUMENTS...`; SIGUSR1 begins, SIGUSR2 writes the
file. Only the event loop's thread is seen: the thread that writes to the store is not.
"""

from __future__ import annotations

import cProfile
import signal
import sys

from callboard.server.commands import serve_command


def main(path: str, arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    profiler = cProfile.Profile()

    def finish(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(path)

    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, finish)
    serve_command(args=arguments, prog_name="python -m benchmarks.profiled")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
