"""The part of `ServerService` that streams a copy of the whole store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from callboard.runtime.engine import Runtime
from callboard.v1 import server_service_pb2 as pb2

from ..calls import Call, Calls
from ..codec import timestamp_of

_PIECE_BYTES: Final = 512 * 1024


class BackupCalls:
    """Backups over gRPC; a base of `ServerService`.

    The copy is made beside the store first, so that a slow receiver never holds a moment of the past in the store.
    """

    _runtime: Runtime
    _calls: Calls

    async def Backup(self, call: Call, _request: pb2.BackupRequest) -> AsyncIterator[pb2.BackupResponse]:
        with self._calls.waits.waiting():
            async with self._runtime.backups.lent() as backup:
                copy, info = backup.copy, backup.info
                header = pb2.BackupHeader(
                    store_id=info.store_id,
                    generation=info.generation,
                    schema_version=copy.schema_version,
                    created_at=timestamp_of(backup.created_at),
                    size_bytes=copy.size_bytes,
                )
                yield pb2.BackupResponse(header=header)
                with copy.path.open("rb") as file:
                    while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                        yield pb2.BackupResponse(data=piece)
                yield pb2.BackupResponse(trailer=pb2.BackupTrailer(size_bytes=copy.size_bytes, sha256=copy.sha256))
