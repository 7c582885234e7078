"""The command line, `callboard`. What a command needs is loaded when that command runs, so that each starts quickly."""

from .group import main

__all__ = ["main"]
