"""The form in which definitions are carried elsewhere: JSON Lines, the first line of which names the form.

    {"format":"callboard.definitions/1","tenant":"acme","revision":17}
    {"definition_id":"flow","version":3,"fingerprint":"9f86...","paused":[],"definition":{...}}

One line a definition, the published content in its canonical spelling with its SHA-256. What is not published is left
out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from ..catalog import DefinitionSource, not_found
from ..core.lifecycle import stored_content
from ..core.refusals import Kind, Refusal, Refused
from ..lifecycle_rows import DefinitionHead

FORMAT: Final = "callboard.definitions/1"
HEADS_PAGE: Final = 100
"""Definitions that are looked at together."""


class ExportReads(DefinitionSource, Protocol):
    """What is read here; a Store has it."""

    async def definitions(self, tenant: str, after: str, limit: int) -> list[DefinitionHead]:
        """Definitions by id, after this one."""
        ...


class ExportHeader(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    tenant: str = ""
    """Where it was written."""
    revision: int = 0
    """When it was begun."""


class ExportLine(msgspec.Struct, frozen=True):
    """One definition."""

    definition_id: str
    version: int
    """Its number where it was written."""
    fingerprint: str
    """SHA-256 of the canonical content, in hexadecimal."""
    definition: msgspec.Raw
    paused: tuple[str, ...] = ()
    """Triggers that were paused."""


class ExportPage(msgspec.Struct, frozen=True):
    """Some lines of an export."""

    lines: tuple[str, ...]
    """Without their ends. The first page begins with the header."""
    next_after: str
    """What to ask the next page with; empty: this was the last."""


async def export(
    store: ExportReads, tenant: str, definition_ids: tuple[str, ...], after: str, bytes_max: int
) -> ExportPage:
    """One page: the published definitions (all, or these) with ids after one, as many as fit into `bytes_max`, and at
    least one. Raises Refused: DEFINITION_NOT_FOUND, DEFINITION_NOT_PUBLISHED for one that was named.
    """
    lines: list[str] = []
    if not after:
        header = ExportHeader(FORMAT, tenant, await store.revision(tenant))
        lines.append(msgspec.json.encode(header).decode())
    size, last = sum(map(len, lines)), ""
    heads = _named(store, tenant, definition_ids, after) if definition_ids else _all(store, tenant, after)
    async for head in heads:
        line = await _line(store, head)
        if line is None:
            continue
        size += len(line)
        if last and size > bytes_max:
            return ExportPage(tuple(lines), last)
        lines.append(line.decode())
        last = head.definition_id
    return ExportPage(tuple(lines), "")


async def _all(store: ExportReads, tenant: str, after: str) -> AsyncIterator[DefinitionHead]:
    while heads := await store.definitions(tenant, after, HEADS_PAGE):
        for head in heads:
            if head.published:
                yield head
        after = heads[-1].definition_id


async def _named(
    store: ExportReads, tenant: str, definition_ids: tuple[str, ...], after: str
) -> AsyncIterator[DefinitionHead]:
    for definition_id in sorted({one for one in definition_ids if one > after}):
        head = await store.definition(tenant, definition_id)
        if head is None:
            raise not_found(definition_id)
        if not head.published:
            message = f"definition {definition_id!r} has no published version to export"
            raise Refused(
                Refusal(
                    Kind.STATE,
                    "DEFINITION_NOT_PUBLISHED",
                    message,
                    resource_type="definition",
                    resource=definition_id,
                )
            )
        yield head


async def _line(store: ExportReads, head: DefinitionHead) -> bytes | None:
    """The line of a definition; None where its version has gone since."""
    stored = await store.definition_version(head.tenant, head.definition_id, head.published)
    if stored is None:
        return None
    own = {trigger.id for trigger in stored_content(stored.content).definition.triggers}
    return msgspec.json.encode(
        ExportLine(
            head.definition_id,
            stored.version,
            stored.fingerprint.hex(),
            msgspec.Raw(stored.content),
            tuple(trigger_id for trigger_id in head.paused if trigger_id in own),
        )
    )
