"""SQL in named statements: read from the .sql files beside this module, and run for many rows in few steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any

_ROWS_EXACT_MAX = 32
_ROWS_PER_STATEMENT_MAX = 64


@cache
def statements(file: str) -> Mapping[str, str]:
    """The statements of one file by name; each begins after a line `-- name: <name>`."""
    text = resources.files(__name__.rpartition(".")[0]).joinpath(file).read_text("utf-8")
    parts = text.split("-- name: ")[1:]
    return {name.strip(): body.strip() for name, _, body in (part.partition("\n") for part in parts)}


def _chunk_size(left: int) -> int:
    if left >= _ROWS_PER_STATEMENT_MAX:
        return _ROWS_PER_STATEMENT_MAX
    return min(left, _ROWS_EXACT_MAX)


class Many:
    """A statement whose part between the marks is repeated once a row: a list (`rows`) or alternatives (`any`).

    Each execution of a statement costs the interpreter's lock several times, so that up to 32 rows go in one, of a
    shape of its own. More go by 64 and 32 first: a prepared row takes about a kilobyte for as long as it is kept.
    """

    def __init__(self, text: str) -> None:
        mark, self._between = ("/*any*/", " OR ") if "/*any*/" in text else ("/*rows*/", ",")
        self._head, _, rest = text.partition(mark)
        self._row, _, self._tail = rest.partition("/*end*/")
        self._texts: dict[int, str] = {}

    @staticmethod
    def marked(text: str) -> bool:
        """Whether the statement has such a part."""
        return "/*end*/" in text

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Carry it out for all rows."""
        for text, values in self._chunks(rows):
            connection.execute(text, values)

    def query(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """What it finds for all rows together, in no promised order."""
        found: list[tuple[Any, ...]] = []
        for text, values in self._chunks(rows):
            found += connection.execute(text, values).fetchall()
        return found

    def _chunks(self, rows: Sequence[Sequence[Any]]) -> Iterable[tuple[str, list[Any]]]:
        start, left = 0, len(rows)
        while left:
            size = _chunk_size(left)
            chunk = rows[start : start + size] if size < len(rows) else rows
            yield self.text(size), list(chain.from_iterable(chunk))
            start, left = start + size, left - size

    def text(self, size: int) -> str:
        """The statement for this many rows."""
        text = self._texts.get(size)
        if text is None:
            text = self._texts[size] = self._head + self._between.join([self._row] * size) + self._tail
        return text
