"""The chain of RevertDefinition: the content of an old version becomes the next version, published.

    load -> validate -> compile -> decide -> record -> invalidate -> announce

From `validate` on it is a publish like any other, by the same stages: what this program would no longer publish is not
reverted to either. The draft is left alone.
"""

from __future__ import annotations

import msgspec

from ..catalog import not_found, version_not_found
from ..core.lifecycle import check_state
from ..core.refusals import Refused
from .chain import Chain, first
from .contents import published_content, read_stored
from .extensions import extended
from .publishing import (
    Decided,
    Loaded,
    Publish,
    PublishAnswer,
    Publishing,
    RunningExecutions,
    answer_to,
    compile_content,
)
from .recording import Announced, LifecycleStore, Origin, standing_of


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
        chain: Chain[Revert, Announced[Decided]] = (
            first("load", self._load)
            .map("validate", publishing.validate)
            .map("compile", compile_content)
            .map("decide", publishing.decide)
            .commit("record", publishing.ending.record)
            .then("invalidate", publishing.ending.invalidate)
            .then("announce", publishing.ending.announce)
        )
        self.chain = extended(chain, "publish", publishing.user_stages, publishing.clock)

    async def revert(self, command: Revert) -> PublishAnswer:
        """Publish the content of an old version. Raises Refused: DEFINITION_NOT_FOUND, VERSION_NOT_FOUND, and what
        publishing raises."""
        publishing, tenant = self._publishing, command.origin.tenant
        return await publishing.ending.carry_out(
            self.chain, command, answer_to, lambda done: publishing.as_it_is(tenant, done.identity, done.changed[0])
        )

    async def _load(self, command: Revert) -> Loaded:
        tenant, definition_id, version = command.origin.tenant, command.definition_id, command.version
        head = await self._store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        refusal = check_state(standing_of(head), definition_id, revives=True)
        if refusal is not None:
            raise Refused(refusal)
        stored = None
        if version not in head.gone:
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
        reading = read_stored(stored.content)
        return await self._publishing.look_around(publish, head, published, reading, reverts_to=version)
