"""One line an event, in both forms."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from callboard.server import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before, level = logging.root.handlers[:], logging.root.level
    yield io.StringIO()
    logging.root.handlers[:] = before
    logging.root.setLevel(level)


def test_a_line_for_people(stream: io.StringIO) -> None:
    logs.configure("text", "info", stream)
    logging.getLogger("callboard.x").info("worker %s came", "w1", extra={"tenant": "acme", "why": "two words"})
    line = stream.getvalue()
    assert line.endswith("Z INFO callboard.x: worker w1 came tenant=acme why='two words'\n")


def test_a_line_for_programs_holds_the_traceback(stream: io.StringIO) -> None:
    logs.configure("json", "info", stream)
    try:
        raise ValueError("no\nway")
    except ValueError:
        logging.getLogger("callboard.x").exception("it failed", extra={"incident": "i1"})
    [line] = stream.getvalue().splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"], said["incident"]) == ("ERROR", "it failed", "i1")
    assert "ValueError" in said["traceback"]


def test_what_is_below_the_level_is_not_there(stream: io.StringIO) -> None:
    logs.configure("text", "warning", stream)
    logging.getLogger("callboard.x").info("nothing")
    assert stream.getvalue() == ""
