"""The rules of lifecycle changes: all of one with one revision, or nothing of it."""

from __future__ import annotations

import msgspec

from ..lifecycle_rows import DefinitionChange, DefinitionHead, LifecycleChange
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books
from .unit_triggers import listen
from .wanted import DefinitionPlace, Known


def change_definitions(books: Books, write: LifecycleChange) -> Outcome:
    """Judge all parts on what is stored, then take all of them in."""
    known, changes = books.known, books.changes
    # One that changes nothing, and only checks, purges, or remembers its request, leaves the revision as it is.
    changed = any(change.events for change in write.changes)
    # After a restore, those of a tenant that has had none begin where the row without a name says.
    revision = known.revisions.get(write.tenant, known.revisions.get("", 0)) + (1 if changed else 0)
    heads: dict[DefinitionPlace, DefinitionHead] = {}
    for change in write.changes:
        place = (write.tenant, change.definition_id)
        stored = heads.get(place) or known.definitions.get(place)
        lost = _refuse(known, write, change, stored)
        if lost is not None:
            return lost
        if change.events:
            heads[place] = _head(change, stored, revision)
    known.definitions.update(heads)
    changes.definitions.update(heads)
    if changed:
        known.revisions[write.tenant] = changes.revisions[write.tenant] = revision
    for change in write.changes:
        _take_in(books, change, revision)
    if write.job is not None:
        changes.jobs[write.job.tenant, write.job.job_id] = write.job
    return Committed(revision=revision)


def _refuse(
    known: Known, write: LifecycleChange, change: DefinitionChange, stored: DefinitionHead | None
) -> Lost | None:
    if change.tenant != write.tenant:
        return Lost(Why.ROW, f"a change of {change.tenant!r} stands among those of {write.tenant!r}")
    sequence = stored.sequence if stored is not None else 0
    if change.expected != sequence:
        return Lost(
            Why.SEQUENCE, f"expected change {change.expected} of {change.definition_id!r}, stored is {sequence}"
        )
    latest = stored.latest if stored is not None else 0
    if change.version is not None and change.version.version != latest + 1:
        return Lost(Why.ROW, f"version {change.version.version} of {change.definition_id!r} does not follow {latest}")
    for name, expected in change.listeners:
        revision = known.listeners.get((change.tenant, name), 0)
        if revision != expected:
            return Lost(Why.LISTENERS, f"listeners of {name!r} expected at {expected}, stored is {revision}")
    if change.idle is not None:
        return _refuse_busy(known, change, change.idle or (0,))
    return None


def _refuse_busy(known: Known, change: DefinitionChange, versions: tuple[int, ...]) -> Lost | None:
    for version in versions:
        if known.open[change.tenant, change.definition_id, version]:
            told = f"version {version} of " if version else ""
            return Lost(Why.IN_USE, f"executions of {told}{change.definition_id!r} have not ended")
    return None


def _head(change: DefinitionChange, stored: DefinitionHead | None, revision: int) -> DefinitionHead:
    latest = stored.latest if stored is not None else 0
    return DefinitionHead(
        change.tenant,
        change.definition_id,
        change.events[-1].sequence,
        change.published,
        change.version.version if change.version is not None else latest,
        revision,
        change.draft,
        stored.created_at if stored is not None else change.at,
        change.at,
        change.state,
        change.gone,
        change.paused,
    )


def _take_in(books: Books, change: DefinitionChange, revision: int) -> None:
    changes, place = books.changes, (change.tenant, change.definition_id)
    if change.version is not None:
        changes.versions.append((*place, change.version))
    changes.versions_gone += ((*place, version) for version in change.purged)
    stamped = (msgspec.structs.replace(event, revision=revision) for event in change.events)
    changes.definition_events += ((*place, event) for event in stamped)
    if change.triggers is not None or change.pauses:
        listen(books, change, revision)
