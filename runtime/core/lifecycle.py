"""Deciding about definitions: what a lifecycle change comes to, as events of the definition's own stream.

The rules, all of them:

- A draft is replaced as often as anyone likes; the same content again changes nothing.
- Publishing makes the next version, uses up the draft, and leaves exactly one version published.
- The content of the *published* version again changes nothing; after a retract it makes the next version.
- Reverting publishes the content of an old version by the same rules; the draft is somebody's work and stays.
- Importing publishes by the same rules, and pauses the triggers that were paused where it was exported.
- Retracting leaves no version published, and everything else as it is; once more it changes nothing.
- Deleting a version puts it among those that are gone; was it published, then no version is any more.
- Deleting the whole definition makes all its versions gone, and the draft. Where running executions are cancelled
  first, it is DELETING until they have ended, and nothing else is done to it meanwhile; then it is DELETED.
- A DELETED definition is revived by a draft or a publish; version numbers go on, what is gone stays gone.
- A trigger that is paused stays so through later versions, until it is resumed or the definition is deleted.
- A change expects the stream where it was read; another one means that a concurrent change won (the store says so).

The functions named `decide_...` give a Decision, `evolve` applies an event, a Decision is the fold of its events.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, Union, get_args

import msgspec

from .definition import Definition
from .impact import Impact as Impact  # noqa: PLC0414 - it is part of a Decision, and found here by who reads one
from .impact import impact_of_end, impact_of_publish
from .refusals import Kind, Refusal, Violation

DELETING: Final = "DELETING"
DELETED: Final = "DELETED"


class StageRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stage of a lifecycle chain that has run, and how long it took."""

    name: str
    duration_us: int
    error: str = ""
    """Why a user's stage after `record` failed every time it was tried; the change stands. Empty: it succeeded."""


class Content(msgspec.Struct, frozen=True):
    """A definition with its one spelling, by which contents are compared."""

    definition: Definition
    data: bytes
    """Canonical JSON: absent fields left out, the keys of free objects sorted."""
    fingerprint: bytes
    """SHA-256 of `data`."""


def content_of(definition: Definition) -> Content:
    """The content of a definition that was read."""
    data = msgspec.json.encode(definition, order="deterministic")
    return Content(definition, data, hashlib.sha256(data).digest())


def stored_content(data: bytes) -> Content:
    """The content of bytes that `content_of` made."""
    return Content(msgspec.json.decode(data, type=Definition), data, hashlib.sha256(data).digest())


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The base of all events of a definition; who and when stand beside them in the store."""

    stages: tuple[StageRun, ...] = ()
    """The stages of the chain up to `record`."""


class DefinitionDrafted(_Event, frozen=True):
    """A draft was put; its whole content is here, for a later draft replaces it everywhere else."""

    content: msgspec.Raw


class DefinitionPublished(_Event, frozen=True):
    """A version was made and published."""

    version: int
    fingerprint: str
    """SHA-256 of the version's content, in hexadecimal."""
    previous: int = 0
    """The version that was published until then; 0: none."""
    reverts_to: int = 0
    """The old version whose content it is; 0: it is no revert."""
    imported: bool = False
    """It comes from an export."""


class DefinitionRetracted(_Event, frozen=True):
    """The published version was taken back: nothing new starts, what runs goes on."""

    version: int
    """The version that was published until then."""


class DefinitionVersionDeleted(_Event, frozen=True):
    """One version is gone: nothing starts from it. What runs on it ends as was asked for."""

    version: int


class DefinitionDeleting(_Event, frozen=True):
    """The whole definition is to be deleted, once a job has seen the end of what runs of it."""

    job_id: str
    cancel: bool
    """Whether it cancels them; else it waits for their ends."""


class DefinitionDeleted(_Event, frozen=True):
    """The whole definition is deleted. The stream stays, and goes on should it be published again."""

    versions: tuple[int, ...] = ()
    """The versions that went with it."""


class TriggerPaused(_Event, frozen=True):
    """A trigger starts nothing until it is resumed."""

    trigger_id: str


class TriggerResumed(_Event, frozen=True):
    """A trigger starts executions again; what it missed is not made up for."""

    trigger_id: str


DefinitionFact: TypeAlias = Union[  # noqa: UP007
    DefinitionDrafted,
    DefinitionPublished,
    DefinitionRetracted,
    DefinitionVersionDeleted,
    DefinitionDeleting,
    DefinitionDeleted,
    TriggerPaused,
    TriggerResumed,
]

_FACTS: Final[dict[str, type[DefinitionFact]]] = {kind.__name__: kind for kind in get_args(DefinitionFact)}


def fact_of(name: str, payload: bytes) -> DefinitionFact:
    """The event that was stored under this name with this payload (JSON)."""
    return msgspec.json.decode(payload, type=_FACTS[name])


class Standing(msgspec.Struct, frozen=True):
    """Where a definition stands: the fold of its events."""

    sequence: int = 0
    """Of its last event; 0: there is no such definition."""
    published: int = 0
    latest: int = 0
    draft: bytes | None = None
    state: str = ""
    """`DELETING`, `DELETED`, or empty."""
    gone: tuple[int, ...] = ()
    """Versions that were deleted, in their order."""
    paused: tuple[str, ...] = ()
    """Triggers that are paused, in the order of their ids."""

    @property
    def etag(self) -> str:
        """Names this standing; opaque to callers."""
        return str(self.sequence)

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that are not gone."""
        gone = set(self.gone)
        return tuple(version for version in range(1, self.latest + 1) if version not in gone)


class OnDelete(enum.Enum):
    """What becomes of running executions when what they run is deleted."""

    REFUSE = "REFUSE"
    """Nothing is deleted where there are any."""
    CANCEL = "CANCEL"
    """They are cancelled."""
    KEEP = "KEEP"
    """They go on to their ends."""


class Decision(msgspec.Struct, frozen=True):
    """What a change comes to; without events nothing changes."""

    before: Standing
    after: Standing
    events: tuple[DefinitionFact, ...] = ()
    impact: Impact = Impact()

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.events)


def evolve(standing: Standing, event: DefinitionFact) -> Standing:
    """The standing after one more event."""
    then = msgspec.structs.replace(standing, sequence=standing.sequence + 1)
    match event:
        case DefinitionDrafted():
            return msgspec.structs.replace(then, state="", draft=bytes(event.content))
        case DefinitionPublished():
            draft = standing.draft if event.reverts_to else None
            return msgspec.structs.replace(then, state="", published=event.version, latest=event.version, draft=draft)
        case DefinitionRetracted():
            return msgspec.structs.replace(then, published=0)
        case DefinitionVersionDeleted():
            published = 0 if event.version == standing.published else standing.published
            return msgspec.structs.replace(then, published=published, gone=_sorted(*standing.gone, event.version))
        case DefinitionDeleting():
            return _ended(then, DELETING, standing.versions)
        case DefinitionDeleted():
            return _ended(then, DELETED, event.versions)
        case TriggerPaused():
            return msgspec.structs.replace(then, paused=tuple(sorted({*standing.paused, event.trigger_id})))
        case TriggerResumed():
            paused = tuple(other for other in standing.paused if other != event.trigger_id)
            return msgspec.structs.replace(then, paused=paused)


def _ended(then: Standing, state: str, versions: Sequence[int]) -> Standing:
    return Standing(then.sequence, 0, then.latest, None, state, _sorted(*then.gone, *versions))


def _sorted(*versions: int) -> tuple[int, ...]:
    return tuple(sorted(set(versions)))


def decide_draft(standing: Standing, content: Content) -> Decision:
    """A new draft."""
    if standing.draft == content.data:
        return Decision(standing, standing)
    return _decision(standing, (DefinitionDrafted(content=msgspec.Raw(content.data)),))


def decide_publish(
    standing: Standing,
    content: Content,
    published: Content | None,
    *,
    reverts_to: int = 0,
    imported: bool = False,
    paused: Iterable[str] = (),
    running: int = 0,
) -> Decision:
    """A new version, published.

    `published` is the content of the version that is published now, `reverts_to` the old version that the content is
    taken from, if it is. With `imported`, the triggers `paused` are paused along. `running` counts the executions of
    the definition that have not ended.
    """
    pauses = tuple(TriggerPaused(trigger_id=trigger_id) for trigger_id in paused if trigger_id not in standing.paused)
    if published is not None and published.fingerprint == content.fingerprint:
        same = standing.published
        return _decision(standing, pauses, Impact(version=same, previous_version=same, running_executions=running))
    event = DefinitionPublished(
        version=standing.latest + 1,
        fingerprint=content.fingerprint.hex(),
        previous=standing.published,
        reverts_to=reverts_to,
        imported=imported,
    )
    old = published.definition if published is not None else None
    impact = impact_of_publish(event.version, event.previous, content.definition, old, running)
    return _decision(standing, (event, *pauses), impact)


def decide_retract(standing: Standing, published: Content | None, running: int = 0) -> Decision:
    """No version published; `published` is the content of the version that is published now."""
    if not standing.published:
        return Decision(standing, standing, impact=Impact(running_executions=running))
    impact = impact_of_end(standing.published, published.definition if published is not None else None, running)
    return _decision(standing, (DefinitionRetracted(version=standing.published),), impact)


def decide_delete(
    standing: Standing,
    version: int,
    on_running: OnDelete,
    published: Content | None,
    *,
    running: int = 0,
    job_id: str = "",
) -> Decision:
    """One version gone, or (`version` 0) the whole definition.

    `published` is the content of the version that is published now, `running` counts the executions that stand in the
    way, and `job_id` names the job that will see to them. That REFUSE leaves nothing running is the caller's to check.
    """
    if standing.state or version in standing.gone:
        return Decision(standing, standing, impact=Impact(version=standing.published, running_executions=running))
    if version and version != standing.published:
        impact = Impact(standing.published, standing.published, running_executions=running)
    else:
        impact = impact_of_end(standing.published, published.definition if published is not None else None, running)
    if version:
        return _decision(standing, (DefinitionVersionDeleted(version=version),), impact)
    if running and on_running is OnDelete.CANCEL:
        return _decision(standing, (DefinitionDeleting(job_id=job_id, cancel=True),), impact)
    return _decision(standing, (DefinitionDeleted(versions=standing.versions),), impact)


def decide_deleted(standing: Standing, versions: tuple[int, ...]) -> Decision:
    """The end of DELETING: these versions went."""
    if standing.state != DELETING:
        return Decision(standing, standing)
    return _decision(standing, (DefinitionDeleted(versions=versions),))


def decide_pause(standing: Standing, trigger_id: str, paused: bool) -> Decision:
    """A trigger paused, or resumed."""
    if (trigger_id in standing.paused) == paused:
        return Decision(standing, standing)
    kind = TriggerPaused if paused else TriggerResumed
    return _decision(standing, (kind(trigger_id=trigger_id),))


def check_state(standing: Standing, definition_id: str, *, revives: bool = False) -> Refusal | None:
    """The refusal of a change to a definition that is deleted, or about to be; with `revives`, the deleted one may be
    changed: it comes back."""
    if not standing.state or (revives and standing.state == DELETED):
        return None
    if standing.state == DELETING:
        message = f"definition {definition_id!r} is being deleted: a job ends its executions first"
    else:
        message = f"definition {definition_id!r} is deleted; publish it, and it goes on with the next version"
    return Refusal(
        Kind.STATE,
        "DEFINITION_DELETED",
        message,
        {"state": standing.state},
        resource_type="definition",
        resource=definition_id,
    )


def refuse_in_use(definition_id: str, version: int, running: int, first: Sequence[str]) -> Refusal:
    """The refusal to delete what runs; `first` are some of the executions."""
    what = f"version {version} of definition {definition_id!r}" if version else f"definition {definition_id!r}"
    which = ", ".join(first) + (", ..." if running > len(first) else "")
    verb = "execution of {} has" if running == 1 else "executions of {} have"
    message = f"{running or 'some'} {verb.format(what)} not ended{': ' if first else ''}{which}"
    return Refusal(
        Kind.STATE,
        "DEFINITION_IN_USE",
        f"{message}; let them end, or delete with CANCEL or KEEP",
        {"running": str(running), "execution_ids": ",".join(first)},
        resource_type="definition",
        resource=definition_id,
    )


def check_etag(standing: Standing, etag: str, definition_id: str) -> Refusal | None:
    """The refusal of a change that was decided on another standing than the present one."""
    if not etag or etag == standing.etag:
        return None
    return Refusal(
        Kind.RACE,
        "ETAG_MISMATCH",
        f"definition {definition_id!r} has changed since it was read: its etag is {standing.etag}, not {etag}",
        {"etag": standing.etag},
        resource_type="definition",
        resource=definition_id,
    )


_REASONS = {
    "UNKNOWN_FIELD": (Kind.INVALID, "UNKNOWN_FIELD"),
    "LIMIT": (Kind.INVALID, "LIMIT_EXCEEDED"),
    "UNSUPPORTED_FEATURE": (Kind.UNSUPPORTED, "UNSUPPORTED"),
}
"""What a refusal says where all its violations are of one kind."""

_SPELLED_OUT = 3


def refuse_content(violations: Iterable[Violation], definition_id: str = "") -> Refusal:
    """The refusal that tells everything that is wrong with a definition."""
    found = tuple(violations)
    codes = {violation.code for violation in found}
    kind, reason = _REASONS.get(codes.pop() if len(codes) == 1 else "", (Kind.INVALID, "INVALID_DEFINITION"))
    more = f"; and {len(found) - _SPELLED_OUT} more" if len(found) > _SPELLED_OUT else ""
    return Refusal(
        kind,
        reason,
        "; ".join(violation.located for violation in found[:_SPELLED_OUT]) + more,
        violations=found,
        resource_type="definition",
        resource=definition_id,
    )


def _decision(standing: Standing, events: tuple[DefinitionFact, ...], impact: Impact | None = None) -> Decision:
    after = standing
    for event in events:
        after = evolve(after, event)
    return Decision(standing, after, events, impact or Impact())
