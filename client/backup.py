"""Fetching a backup of the whole store into a file, while the server goes on."""

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from grpc import aio

from callboard.v1 import server_service_pb2 as pb
from callboard.v1.server_service_pb2_grpc import ServerServiceStub

from .calls import Calls
from .channel import Connection
from .codec import decode_timestamp
from .errors import CallboardError


@dataclasses.dataclass(frozen=True, slots=True)
class Backup:
    """A backup in a file, for `callboard restore`."""

    path: Path
    size_bytes: int
    sha256: str
    """In hexadecimal, over the file."""
    store_id: str
    generation: int
    schema_version: int
    created_at: datetime
    """All that was acknowledged before is in it."""


class BackupCalls(Calls):
    """The call that copies the store."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._backing = ServerServiceStub(connection.channel)

    async def backup(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Backup:
        """Writes a consistent copy of the whole store, of all tenants, to a file on this machine, and checks it.

        The bytes go to `<path>.part`, which takes the name when it is whole; nothing is left of one that fails.
        `progress` is told how many bytes have come of how many. Raises `FileExistsError` unless `overwrite`, other
        OSErrors where the file cannot be written, and `CallboardError`; it is not repeated by itself.
        """
        target = Path(path)
        _refuse_existing(target, overwrite)
        part = target.with_name(f"{target.name}.part")
        call = self._backing.Backup(pb.BackupRequest(), metadata=self._connection.metadata())
        try:
            with _for_us_alone(part) as file:
                backup = await _receive(call, file, target, progress or _ignore)
                await asyncio.to_thread(os.fsync, file.fileno())
            _refuse_existing(target, overwrite)
            part.replace(target)
        except aio.AioRpcError as error:
            raise self._connection.explain(error) from None
        finally:
            call.cancel()
            part.unlink(missing_ok=True)
        return backup


async def _receive(
    call: "aio.UnaryStreamCall[pb.BackupRequest, pb.BackupResponse]",
    file: BinaryIO,
    target: Path,
    progress: Callable[[int, int], None],
) -> Backup:
    header, digest, size = pb.BackupHeader(), hashlib.sha256(), 0
    async for answer in call:
        if answer.HasField("header"):
            header = answer.header
        elif answer.HasField("trailer"):
            return _whole(header, answer.trailer, digest.digest(), size, target)
        else:
            file.write(answer.data)
            digest.update(answer.data)
            size += len(answer.data)
        progress(size, header.size_bytes)
    raise _cut(f"the backup ended after {size} bytes, without its trailer")


def _whole(header: pb.BackupHeader, trailer: pb.BackupTrailer, sha256: bytes, size: int, target: Path) -> Backup:
    if (trailer.size_bytes, trailer.sha256) != (size, sha256):
        raise _cut(f"the {size} bytes that have come are not the {trailer.size_bytes} that were sent")
    return Backup(
        path=target,
        size_bytes=size,
        sha256=sha256.hex(),
        store_id=header.store_id,
        generation=header.generation,
        schema_version=header.schema_version,
        created_at=decode_timestamp(header.created_at),
    )


def _cut(message: str) -> CallboardError:
    return CallboardError(f"{message}; nothing was kept", reason="DATA_LOSS", code="DATA_LOSS")


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise FileExistsError(17, "is there already", str(target))


def _for_us_alone(path: Path) -> BinaryIO:
    """A backup holds everything of all tenants, and the store's secret."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _ignore(_done: int, _total: int) -> None:
    """Nobody asked."""
