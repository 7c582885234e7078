"""The rows of definitions, and the one write that changes them.

Everything a lifecycle change comes to (versions, flags, triggers, events, a job) is in one `LifecycleChange`.
"""

from __future__ import annotations

import msgspec

from .rows import Request
from .trigger_rows import JobRow, TriggerChange, TriggerPause


class DefinitionEvent(msgspec.Struct, frozen=True):
    """One fact in a definition's own stream."""

    sequence: int
    name: str
    payload: bytes
    user_id: str
    created_at: int
    revision: int = 0
    """Given by the store."""


class DefinitionVersion(msgspec.Struct, frozen=True):
    """One immutable version."""

    version: int
    content: bytes
    """Canonical JSON of the definition."""
    fingerprint: bytes
    """SHA-256 of `content`."""
    created_at: int
    user_id: str


class DefinitionHead(msgspec.Struct, frozen=True):
    """Where a definition stands."""

    tenant: str
    definition_id: str
    sequence: int
    """Of its own event stream: the etag, and what a change expects."""
    published: int
    """The published version; 0: none."""
    latest: int
    """The highest version ever published; 0: none."""
    revision: int
    """The tenant-wide number of its last change."""
    draft: bytes | None
    """Canonical JSON of the draft, if there is one."""
    created_at: int
    updated_at: int
    state: str = ""
    """`DELETING`, `DELETED`, or empty."""
    gone: tuple[int, ...] = ()
    """Versions that were deleted: nothing starts from them, though executions of them may still run."""
    paused: tuple[str, ...] = ()
    """Triggers that start nothing until they are resumed, of whatever version."""


class DefinitionChange(msgspec.Struct, frozen=True):
    """What becomes of one definition. Lost: SEQUENCE, LISTENERS, IN_USE.

    Without events the definition stays as it is, its revision included: what is expected is checked all the same, and
    versions that have gone may be purged.
    """

    tenant: str
    definition_id: str
    expected: int
    """`DefinitionHead.sequence` it was decided on; 0: the definition is new."""
    published: int
    draft: bytes | None
    version: DefinitionVersion | None
    """A new version to store."""
    events: tuple[DefinitionEvent, ...]
    at: int
    state: str = ""
    gone: tuple[int, ...] = ()
    paused: tuple[str, ...] = ()
    triggers: tuple[TriggerChange, ...] | None = None
    """The triggers that listen from now on, all of them (the store keeps what it knows of those that stay: the last
    slot, what is paused, the next slot where `spec` is the same); None: they stay as they are."""
    pauses: tuple[TriggerPause, ...] = ()
    listeners: tuple[tuple[str, int], ...] = ()
    """(event name, revision of its listeners): these must not have changed since, for they were looked at."""
    idle: tuple[int, ...] | None = None
    """Versions of which no execution may be open (an empty tuple: none of any version); None: not asked."""
    purged: tuple[int, ...] = ()
    """Versions whose contents are no longer needed and go."""


class LifecycleChange(msgspec.Struct, frozen=True):
    """One lifecycle change: all of it with one revision, or nothing. Lost: what its parts are lost for."""

    tenant: str
    changes: tuple[DefinitionChange, ...]
    at: int
    requests: tuple[Request, ...] = ()
    job: JobRow | None = None
    """A job that it begins or ends."""
