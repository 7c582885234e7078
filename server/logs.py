"""Logs: one line per event of operation on stderr, for people or, on request, as JSON.

A line is the message and whatever fields were given with it (`extra`). What happens inside executions is in their
history, not here.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes every record has; all others are fields of the event."""


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO callboard.server: serving address=127.0.0.1:7519`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below where there is one."""
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        message = record.getMessage().replace("\n", "\\n")
        line = f"{_moment(record)} {record.levelname} {record.name}: {message}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        } | _fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send the whole process's logs to `stream` (stderr) in this form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # grpc.aio logs what its users raise; here every failure has become a status, and is logged once, before that.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _shown(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
