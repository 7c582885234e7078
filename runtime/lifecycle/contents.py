"""What a caller hands over as a definition, read: a source text, or the plain values of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..catalog import DefinitionSource
from ..core.definition import Definition
from ..core.language import DEFINITION_ID
from ..core.lifecycle import Content, stored_content
from ..core.nodes import DefinitionLimits, Node, tree
from ..core.reader import Reading, read_definition
from ..core.refusals import Violation
from ..lifecycle_rows import DefinitionHead
from ..loader import load


class SourceText(msgspec.Struct, frozen=True):
    """A definition as YAML or JSON."""

    name: str
    """What error messages call it."""
    text: str


class Given(msgspec.Struct, frozen=True):
    """A definition as it was handed over: exactly one of the two."""

    source: SourceText | None = None
    definition: Mapping[str, Any] | None = None
    """The canonical tree of a message: plain JSON values by the names of the file form."""


def read_given(given: Given, limits: DefinitionLimits) -> Reading:
    """Read it. Raises Refused where it has no tree at all (a syntax error, a doubled key)."""
    if given.source is not None:
        return read_definition(load(given.source.name, given.source.text, limits), given.source.name)
    return read_definition(tree(given.definition, limits))


def read_stored(data: bytes) -> Reading:
    """Read the canonical JSON of a draft or version."""
    return Reading(msgspec.json.decode(data, type=Definition), Node(None))


async def published_content(store: DefinitionSource, head: DefinitionHead | None) -> Content | None:
    """The content of the published version; None: there is none."""
    if head is None or not head.published:
        return None
    stored = await store.definition_version(head.tenant, head.definition_id, head.published)
    return stored_content(stored.content) if stored is not None else None


def usable_id(definition_id: str) -> str:
    """The id, if it can be one; else empty."""
    return definition_id if DEFINITION_ID.fullmatch(definition_id) else ""


def other_id(reading: Reading, wanted: str) -> tuple[Violation, ...]:
    """What is wrong where the request names another definition than the content does."""
    found = reading.definition.id
    if not wanted or not found or wanted == found:
        return ()
    return (Violation("id", f"is {found!r}, but the request names {wanted!r}", "ID_MISMATCH", reading.source),)
