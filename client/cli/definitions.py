"""Commands that list definitions, and those that take them back or delete them."""

from __future__ import annotations

import dataclasses
import functools
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import click

from ..definition_models import DefinitionEvent, DefinitionState, DefinitionSummary, Deleted
from ..job_models import JobState
from .impact import running_text, warn, withdrawal_rows
from .jobs import job_code, show_failures, show_job, wait_for
from .output import compact
from .session import Session, asks, confirm, connected, fail, wait_option

if TYPE_CHECKING:
    from ..client import Client
    from ..definitions import OnDelete

# Columns of their own, or what only programs care for; --json has it all.
_UNTOLD = frozenset({"version", "stages", "content", "fingerprint"})
_COLUMNS = ["ID", "STATE", "PUBLISHED", "LATEST", "UPDATED", "DESCRIPTION"]
_ID = click.argument("definition_id", metavar="ID")
_ETAG = click.option("--etag", default="", help="Refuse where the definition has changed since it had this etag.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be; nothing changes.")
_FATES = {
    "REFUSE": ("has not ended", "have not ended"),
    "CANCEL": ("is cancelled first", "are cancelled first"),
    "KEEP": ("goes on to its end", "go on to their ends"),
}


@click.command()
@_ID
@_ETAG
@_DRY_RUN
@connected
async def retract(client: Client, session: Session, definition_id: str, etag: str, dry_run: bool) -> None:
    """Take the published version of a definition back: nothing new starts from it, running executions go on.

    Its triggers stop. `callboard revert` publishes it again.
    """
    retracted = await client.retract(definition_id, etag=etag, validate_only=dry_run)
    warn((), retracted.stages)
    if session.output.as_json:
        session.output.document(retracted)
        return
    if not retracted.changed:
        session.output.say(f"{definition_id} is retracted already")
        return
    impact = retracted.impact
    # A repeat of a request that was carried out says nothing of what it changed.
    what = (
        f"version {impact.previous_version} of {definition_id}" if impact and impact.previous_version else definition_id
    )
    revision = f" (revision {retracted.revision})"
    session.output.say(f"would retract {what}" if dry_run else f"retracted {what}{revision}")
    if dry_run:
        session.output.details(withdrawal_rows(impact, ("would go on", "would go on")))


@click.command()
@_ID
@click.option("--version", type=click.IntRange(min=1), default=None, metavar="N", help="Only this version.")
@click.option(
    "--running",
    type=click.Choice(["refuse", "cancel", "keep"], case_sensitive=False),
    default="refuse",
    show_default=True,
    help="What becomes of executions that have not ended: they stand in the way, are cancelled first, or go on.",
)
@wait_option("Wait until it is done, so long at the most. Without a time (then after ID): however long it takes.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, where a person is at the terminal.")
@_ETAG
@_DRY_RUN
@connected
async def delete(
    client: Client,
    session: Session,
    definition_id: str,
    version: int | None,
    running: str,
    wait: float | None,
    yes: bool,
    etag: str,
    dry_run: bool,
) -> int:
    """Delete a definition with all its versions, or one version of it. Its history stays.

    Where executions have to be cancelled first, a job does it and then deletes: `callboard jobs` shows it, --wait waits
    for it.

    \b
    callboard delete order --version 2 --running keep
    callboard delete order --running cancel --wait --yes
    """
    what = f"version {version} of {definition_id}" if version else definition_id
    fate = cast("OnDelete", running.upper())
    call = functools.partial(client.delete_definition, definition_id, version=version or 0, running=fate)
    if dry_run:
        _show_deletion(session, what, fate, await call(etag=etag, validate_only=True), dry_run=True)
        return 0
    if not yes and asks():
        tried = await call(etag=etag, validate_only=True)
        confirm(_question(what, fate, tried))
        # What was shown is what is deleted.
        etag = etag or tried.definition.etag
    deleted = await call(etag=etag)
    warn((), deleted.stages)
    if wait is None or not deleted.job_id:
        _show_deletion(session, what, fate, deleted)
        return 0
    return await _finish(client, session, deleted, what, wait)


def _question(what: str, fate: OnDelete, tried: Deleted) -> str:
    stops = tried.impact.triggers_removed if tried.impact else ()
    parts = [f"stops {', '.join(stops)}" if stops else "", running_text(tried.impact, _FATES[fate])]
    because = "; ".join(part for part in parts if part)
    return f"delete {what}" + (f" ({because})" if because else "") + "?"


def _show_deletion(session: Session, what: str, fate: OnDelete, deleted: Deleted, *, dry_run: bool = False) -> None:
    if session.output.as_json:
        session.output.document(deleted)
    elif not deleted.changed:
        session.output.say(f"{what} is {_word(deleted)} already")
    elif dry_run:
        session.output.say(f"would delete {what}")
        session.output.details(withdrawal_rows(deleted.impact, _FATES[fate]))
    elif deleted.job_id and fate == "CANCEL":
        count = running_text(deleted.impact, _FATES[fate])
        session.output.say(f"deleting {what} (revision {deleted.revision}): {count or 'its executions end first'}")
        session.output.say(f"job {deleted.job_id} does it: callboard jobs {deleted.job_id}")
    else:
        running = running_text(deleted.impact, _FATES[fate])
        session.output.say(f"deleted {what} (revision {deleted.revision})" + (f"; {running}" if running else ""))


def _word(deleted: Deleted) -> str:
    return "being deleted" if deleted.definition.state is DefinitionState.DELETING else "deleted"


async def _finish(client: Client, session: Session, deleted: Deleted, what: str, wait: float) -> int:
    """Waits for the job of a deletion; the exit code is that of its end."""
    job = await wait_for(client, session, deleted.job_id, wait)
    if session.output.as_json:
        fields = {field.name: getattr(deleted, field.name) for field in dataclasses.fields(deleted)}
        session.output.document(fields | {"job": job})
    elif job.state is JobState.SUCCEEDED:
        session.output.say(f"deleted {what} (revision {deleted.revision})")
        show_failures(session, job)
    else:
        show_job(session, job)
    return job_code(job)


@click.command()
@click.argument("definition_id", default="", metavar="[ID]")
@click.option("--history", is_flag=True, help="What happened to it, or without an ID to all of them, the oldest first.")
@click.option(
    "--at-sequence", type=click.IntRange(min=1), metavar="SEQUENCE", help="As it was after this event of its history."
)
@click.option("--all", "all_", is_flag=True, help="Those that are deleted as well.")
@connected
async def definitions(
    client: Client, session: Session, definition_id: str, history: bool, at_sequence: int | None, all_: bool
) -> None:
    """List definitions; with an ID, its versions, its history, or how it stood in the past.

    \b
    callboard definitions order --history
    callboard definitions order --at-sequence 4
    """
    if history and at_sequence:
        fail("--history and --at-sequence exclude each other")
    if at_sequence and not definition_id:
        fail("--at-sequence needs the ID of a definition")
    if all_ and (definition_id or history):
        fail("--all is for the list of definitions")
    if history:
        await _history(client, session, definition_id)
    elif at_sequence:
        await _as_of(client, session, definition_id, at_sequence)
    elif definition_id:
        await _versions(client, session, definition_id)
    else:
        await _list(client, session, all_)


async def _list(client: Client, session: Session, all_: bool) -> None:
    found = [item async for item in client.definitions()]
    if all_:
        found += [item async for item in client.definitions(state=DefinitionState.DELETED)]
        found.sort(key=attrgetter("id"))
    if session.output.as_json:
        session.output.document(found)
        return
    session.output.table(_COLUMNS, [_row(session, item) for item in found], empty="there are no definitions")


def _row(session: Session, item: DefinitionSummary) -> list[object]:
    updated = session.output.moment(item.updated_at)
    return [item.id, item.state, item.published_version or "", item.latest_version, updated, item.description]


async def _versions(client: Client, session: Session, definition_id: str) -> None:
    found = [item async for item in client.versions(definition_id)]
    if session.output.as_json:
        session.output.document(found)
        return
    rows = [[item.version, item.state, session.output.moment(item.created_at), item.user_id] for item in found]
    session.output.table(["VERSION", "STATE", "CREATED", "BY"], rows, empty=f"{definition_id} has no versions")


async def _as_of(client: Client, session: Session, definition_id: str, sequence: int) -> None:
    read = await client.definition(definition_id, at_sequence=sequence)
    if session.output.as_json:
        session.output.document(read)
        return
    then = read.summary
    output = session.output
    content = read.definition or {}
    output.facts(
        [
            ("definition", definition_id),
            ("as of", f"event {sequence}"),
            ("state", str(then.state) if then else ""),
            ("published", f"version {then.published_version}" if then and then.published_version else "none"),
            ("latest", f"version {then.latest_version}" if then and then.latest_version else "none"),
            ("draft", "yes" if then and then.has_draft else ""),
            ("changed", output.moment(then.updated_at) if then else ""),
            ("revision", then.revision if then else ""),
            ("description", read.description),
            ("content", "deleted since" if then and then.published_version and not content else ""),
            ("steps", ", ".join(step["id"] for step in content.get("steps", ()))),
            ("triggers", ", ".join(trigger["id"] for trigger in content.get("triggers", ()))),
        ]
    )


async def _history(client: Client, session: Session, definition_id: str) -> None:
    events = client.definition_events(definition_id)
    if session.output.as_json:
        await session.output.array(events)
        return
    columns = ["SEQUENCE", "EVENT", "VERSION", "REVISION", "WHEN", "BY", "MORE"]
    if definition_id:
        rows = [_event_row(session, event) async for event in events]
    else:
        columns = ["ID", *columns]
        rows = [[event.definition_id, *_event_row(session, event)] async for event in events]
    session.output.table(columns, rows, empty="nothing has happened to any definition")


def _event_row(session: Session, event: DefinitionEvent) -> list[object]:
    # By the contract an event's payload is an object.
    known = cast("dict[str, Any]", event.payload or {})
    rest = {name: value for name, value in known.items() if name not in _UNTOLD}
    when, more = session.output.moment(event.created_at), compact(rest, 120) if rest else ""
    return [event.sequence, event.event_name, event.version or "", event.revision, when, event.user_id, more]
