"""Deciding about definitions: what a lifecycle change comes to, as events of the definition's own stream.

The rules, all of them:

- A draft is replaced as often as anyone likes; the same content again changes nothing.
- Publishing makes the next version, uses up the draft, and leaves exactly one version published.
- The content of the *published* version again changes nothing; after a retract it makes the next version.
- Reverting publishes the content of an old version by the same rules; the draft is somebody's work and stays.
- Retracting leaves no version published, and everything else as it is; once more it changes nothing.
- A change expects the stream where it was read; another one means that a concurrent change won (the store says so).

The functions named `decide_...` give a Decision, `evolve` applies an event, a Decision is the fold of its events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeGuard, Union

import msgspec

from .definition import Definition, Step
from .refusals import Kind, Refusal, Violation


class StageRun(msgspec.Struct, frozen=True):
    """One stage of a lifecycle chain that has run, and how long it took."""

    name: str
    duration_us: int


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


class DefinitionRetracted(_Event, frozen=True):
    """The published version was taken back: nothing new starts, what runs goes on."""

    version: int
    """The version that was published until then."""


DefinitionFact: TypeAlias = Union[DefinitionDrafted, DefinitionPublished, DefinitionRetracted]  # noqa: UP007


class Standing(msgspec.Struct, frozen=True):
    """Where a definition stands: the fold of its events."""

    sequence: int = 0
    """Of its last event; 0: there is no such definition."""
    published: int = 0
    latest: int = 0
    draft: bytes | None = None

    @property
    def etag(self) -> str:
        """Names this standing; opaque to callers."""
        return str(self.sequence)


class Impact(msgspec.Struct, frozen=True):
    """What a change does against the published version."""

    version: int = 0
    """The version that is published afterwards; 0: none."""
    previous_version: int = 0
    """0: none was published."""
    steps_added: tuple[str, ...] = ()
    steps_removed: tuple[str, ...] = ()
    steps_changed: tuple[str, ...] = ()
    """A scope counts as changed where it got, lost or reordered steps of its own."""
    triggers_added: tuple[str, ...] = ()
    triggers_removed: tuple[str, ...] = ()
    triggers_changed: tuple[str, ...] = ()


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
    sequence = standing.sequence + 1
    match event:
        case DefinitionDrafted():
            return Standing(sequence, standing.published, standing.latest, bytes(event.content))
        case DefinitionPublished():
            return Standing(sequence, event.version, event.version, standing.draft if event.reverts_to else None)
        case DefinitionRetracted():
            return Standing(sequence, 0, standing.latest, standing.draft)


def decide_draft(standing: Standing, content: Content) -> Decision:
    """A new draft."""
    if standing.draft == content.data:
        return Decision(standing, standing)
    return _decision(standing, (DefinitionDrafted(content=msgspec.Raw(content.data)),))


def decide_publish(standing: Standing, content: Content, published: Content | None, reverts_to: int = 0) -> Decision:
    """A new version, published; `published` is the content of the version that is published now, `reverts_to` the old
    version that the content is taken from, if it is."""
    if published is not None and published.fingerprint == content.fingerprint:
        impact = Impact(version=standing.published, previous_version=standing.published)
        return Decision(standing, standing, impact=impact)
    event = DefinitionPublished(
        version=standing.latest + 1,
        fingerprint=content.fingerprint.hex(),
        previous=standing.published,
        reverts_to=reverts_to,
    )
    return _decision(standing, (event,), _impact(event, content, published))


def decide_retract(standing: Standing, published: Content | None) -> Decision:
    """No version published; `published` is the content of the version that is published now."""
    if not standing.published:
        return Decision(standing, standing)
    triggers = tuple(_triggers(published.definition)) if published is not None else ()
    impact = Impact(previous_version=standing.published, triggers_removed=triggers)
    return _decision(standing, (DefinitionRetracted(version=standing.published),), impact)


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


def _impact(event: DefinitionPublished, content: Content, published: Content | None) -> Impact:
    old = published.definition if published is not None else Definition()
    steps = _compared(_steps(old), _steps(content.definition))
    triggers = _compared(_triggers(old), _triggers(content.definition))
    return Impact(event.version, event.previous, *steps, *triggers)


_Names: TypeAlias = tuple[str, ...]


def _compared(old: dict[str, bytes], new: dict[str, bytes]) -> tuple[_Names, _Names, _Names]:
    """Names added, removed, changed."""
    return (
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and new[name] != old[name]),
    )


def _triggers(definition: Definition) -> dict[str, bytes]:
    return {trigger.id: _spelling(trigger) for trigger in definition.triggers}


def _steps(definition: Definition) -> dict[str, bytes]:
    """Every step by id, spelled without the steps within it."""
    return {step.id: _spelling(_bare(step) if _holds_steps(step) else step) for step in _within(definition)}


def _holds_steps(step: Step) -> bool:
    return any(inner is not step for inner in _within(step))


def _spelling(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _within(part: Any) -> Iterator[Step]:
    """All steps in a part of a definition, each before those within it."""
    if isinstance(part, Step):
        yield part
    for value in _parts(part):
        if isinstance(value, msgspec.Struct | tuple):
            yield from _within(value)


def _is_list(part: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(part, tuple)


def _parts(part: Any) -> Iterable[Any]:
    if isinstance(part, msgspec.Struct):
        return (getattr(part, name) for name in part.__struct_fields__)
    return part if _is_list(part) else ()


def _bare(part: Any) -> Any:
    """A part of a definition as plain values, with the ids of inner steps in their place."""
    if isinstance(part, msgspec.Struct):
        values = (getattr(part, name) for name in part.__struct_fields__)
        return [value.id if isinstance(value, Step) else _bare(value) for value in values]
    if _is_list(part):
        return [entry.id if isinstance(entry, Step) else _bare(entry) for entry in part]
    return part
