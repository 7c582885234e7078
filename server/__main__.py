"""`python -m callboard.server`: the same as `callboard serve`."""

from __future__ import annotations

from .commands import serve_command

if __name__ == "__main__":
    serve_command(prog_name="python -m callboard.server")
