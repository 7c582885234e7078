"""The chain of RevertDefinition: the content of an old version becomes the next version, published.

    load -> validate -> compile -> decide -> record -> invalidate -> announce

From `validate` on it is a publish like any other, by the same stages: what this program would no longer publish is not
reverted to either. The draft is left alone.
"""

from __future__ import annotations

import msgspec

from ..catalog import not_found, version_not_found
from .chain import Chain, first
from .contents import published_content, read_stored
from .publishing import (
    Announced,
    Loaded,
    Publish,
    PublishAnswer,
    Publishing,
    RunningExecutions,
    compile_content,
    decide,
)
from .recording import LifecycleStore, Origin


class Revert(msgspec.Struct, frozen=True):
    """What is asked for."""

    origin: Origin
    definition_id: str
    version: int
    """The version to go back to."""
    etag: str = ""
    """The standing it was decided on; empty: whatever it is."""
    validate_only: bool = False
    running: RunningExecutions = RunningExecutions.PIN


class Reverting:
    """Goes back to old versions."""

    def __init__(self, store: LifecycleStore, publishing: Publishing) -> None:
        self._store = store
        self._publishing = publishing
        self.chain: Chain[Revert, Announced] = (
            first("load", self._load)
            .map("validate", publishing.validate)
            .map("compile", compile_content)
            .map("decide", decide)
            .commit("record", publishing.record)
            .then("invalidate", publishing.invalidate)
            .then("announce", publishing.announce)
        )

    async def revert(self, command: Revert) -> PublishAnswer:
        """Publish the content of an old version. Raises Refused: DEFINITION_NOT_FOUND, VERSION_NOT_FOUND, and what
        publishing raises."""
        return await self._publishing.carry_out(self.chain, command)

    async def _load(self, command: Revert) -> Loaded:
        tenant, definition_id, version = command.origin.tenant, command.definition_id, command.version
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        stored = await self._store.definition_version(tenant, definition_id, version)
        if stored is None:
            raise version_not_found(definition_id, version)
        publish = Publish(
            command.origin,
            definition_id,
            etag=command.etag,
            validate_only=command.validate_only,
            running=command.running,
        )
        published = await published_content(self._store, head)
        return Loaded(publish, head, published, read_stored(stored.content), reverts_to=version)
