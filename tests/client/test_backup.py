import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.command_line import at_terminal, run

from callboard.client import CallboardError, SyncClient
from callboard.v1 import server_service_pb2 as pb
from callboard.v1 import server_service_pb2_grpc as server_grpc

PIECES = (b"SQLite " * 10_000, b"", b"the end")
WHOLE = b"".join(PIECES)
HEADER = pb.BackupHeader(
    store_id="s-1", generation=3, schema_version=2, created_at=Timestamp(seconds=1_700_000_000), size_bytes=len(WHOLE)
)
TRAILER = pb.BackupTrailer(size_bytes=len(WHOLE), sha256=hashlib.sha256(WHOLE).digest())


class Store(server_grpc.ServerServiceServicer):
    """Streams what the test tells it to."""

    def __init__(self) -> None:
        self.address = ""
        self.trailer: pb.BackupTrailer | None = TRAILER

    def Backup(self, request: pb.BackupRequest, context: Any) -> Iterator[pb.BackupResponse]:
        yield pb.BackupResponse(header=HEADER)
        for piece in PIECES:
            yield pb.BackupResponse(data=piece)
        if self.trailer is not None:
            yield pb.BackupResponse(trailer=self.trailer)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    server = grpc.server(ThreadPoolExecutor(2))
    server_grpc.add_ServerServiceServicer_to_server(store, server)
    store.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield store
    server.stop(None).wait()


def test_a_backup_is_written_whole(store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with SyncClient(store.address) as client:
        made = client.backup(tmp_path / "file", progress=lambda done, total: told.append((done, total)))
    assert made.path.read_bytes() == WHOLE
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert (made.size_bytes, made.sha256) == (len(WHOLE), hashlib.sha256(WHOLE).hexdigest())
    assert (made.store_id, made.generation, made.schema_version) == ("s-1", 3, 2)
    assert told == [(done, len(WHOLE)) for done in (0, 70_000, 70_000, len(WHOLE))]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "trailer",
    [
        None,
        pb.BackupTrailer(size_bytes=len(WHOLE) + 1, sha256=TRAILER.sha256),
        pb.BackupTrailer(size_bytes=len(WHOLE), sha256=b"x" * 32),
    ],
)
def test_what_is_not_whole_is_not_kept(store: Store, tmp_path: Path, trailer: pb.BackupTrailer | None) -> None:
    store.trailer = trailer
    (tmp_path / "file").write_text("the one before")
    with SyncClient(store.address) as client, pytest.raises(CallboardError, match="nothing was kept"):
        client.backup(tmp_path / "file", overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the one before"]


def test_the_command_says_what_it_made(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    result = run(cast(Any, store), "backup", str(file), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["size_bytes"] == len(WHOLE)
    again = run(cast(Any, store), "backup", str(file))
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    forced = run(cast(Any, store), "backup", str(file), "--force")
    assert forced.stdout.splitlines()[1] == f"sha256 {hashlib.sha256(WHOLE).hexdigest()}"
    nowhere = run(cast(Any, store), "backup", str(tmp_path / "nowhere" / "file"))
    assert (nowhere.exit_code, "No such file" in nowhere.stderr) == (1, True)


def test_a_person_sees_how_far_it_is(store: Store, tmp_path: Path) -> None:
    code, seen = at_terminal(cast(Any, store), "backup", str(tmp_path / "file"))
    assert code == 0
    assert "the server makes its copy" in seen or "receiving" in seen
    assert f"{len(WHOLE)} bytes" in " ".join(seen.split())
