"""kill -9 at every line of a restore: the directory holds what was there, or the restored store, and no mixture."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from tests.contracts.store_kit import change, ref, start, written

from callboard.runtime.stores import schema, sqlite_restore
from callboard.runtime.stores.sqlite import SqliteStore
from callboard.runtime.stores.sqlite_restore import restore

TRACED = (sqlite_restore.__file__, schema.__file__)
LINES_MAX = 2_000


class Held(NamedTuple):
    """What a database holds."""

    generation: int
    executions: tuple[str, ...]


OLD = Held(1, (*(f"later-{number:02}" for number in range(20)), "the-first"))
NEW = Held(2, ("the-first",))


@pytest.fixture
async def house(tmp_path: Path) -> Path:
    """A backup, and beside it a store as a kill leaves it, with much that is in its log only."""
    path = tmp_path / "living" / "s.db"
    path.parent.mkdir()
    store = SqliteStore(path)
    await store.open()
    await written(store, start(ref("the-first")), change())
    await store.back_up(tmp_path / "backup")
    for name in OLD.executions[:-1]:
        await written(store, start(ref(name)))
    (tmp_path / "killed").mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", tmp_path / "killed" / f"s.db{suffix}")
    await store.close()
    return tmp_path


def killed_at(line: int, work: Callable[[], Any]) -> bool:
    """Do it in a process that dies at the line with this number; False: it came to its end before."""
    child = os.fork()
    if not child:
        seen = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename not in TRACED:
                return None
            seen += event == "line"
            if seen >= line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def held(path: Path) -> Held:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (generation,) = connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        names = connection.execute("SELECT execution_id FROM executions ORDER BY execution_id").fetchall()
    return Held(generation, tuple(sorted(name for (name,) in names)))


@pytest.mark.parametrize("there", [False, True], ids=["into an empty directory", "over a store that was killed"])
def test_a_restore_is_whole_or_has_not_been(house: Path, there: bool) -> None:
    backup, seen = house / "backup", set[Held | None]()
    for line in range(1, LINES_MAX):
        path = house / str(line) / "s.db"
        if there:
            shutil.copytree(house / "killed", path.parent)
        if not killed_at(line, lambda path=path: restore(backup, path, replace=there)):  # type: ignore[misc]
            break
        seen.add(held(path) if path.exists() else None)
        assert seen <= ({OLD, NEW} if there else {None, NEW}), line
        again = restore(backup, path, replace=True)
        assert held(path) == NEW._replace(generation=again.generation)
        assert {file.name for file in path.parent.iterdir()} <= {"s.db", "s.db.lock"}
        shutil.rmtree(path.parent)
    else:
        raise AssertionError("it has more lines than that")
    assert seen == ({OLD, NEW} if there else {None, NEW})
