"""Commands that publish: from files, from an export, an old version again. And the export itself."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..definition_models import PublishedDefinition, PublishImpact, Source, StageRun, Violation
from ..errors import CallboardError, Unreachable
from .forking import export_history, import_history, is_history
from .impact import impact_rows, stage_times, warn
from .refusals import complain, refuse
from .session import REFUSED, USAGE, Session, connected, fail, read_text

if TYPE_CHECKING:
    from ..client import Client

_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be, with its impact; nothing changes.")


@dataclasses.dataclass(frozen=True)
class _Change:
    """One definition that was published, or would be, as people are told of it."""

    source: str
    definition_id: str
    version: int
    changed: bool
    impact: PublishImpact | None
    warnings: tuple[Violation, ...]


@click.command()
@_FILES
@_DRY_RUN
@connected
async def publish(client: Client, session: Session, files: tuple[str, ...], dry_run: bool) -> int:
    """Publish definitions from files (`-`: standard input), each as its next version.

    Several files are one change: all of them are published, with one revision, or none is. --dry-run shows what would
    come (+), change (~) and go (-), what is running, and warnings.

    \b
    callboard publish order.yaml refund.yaml --dry-run
    """
    sources = _sources(files)
    if len(sources) < len(files):
        if sources:
            click.echo("none of the files is published", err=True)
        return USAGE
    try:
        if len(sources) == 1:
            await _publish_one(client, session, sources[0], dry_run)
        else:
            await _publish_all(client, session, sources, dry_run)
    except Unreachable:
        raise
    except CallboardError as error:
        refuse(error, sources[0].name if len(sources) == 1 else "")
        if len(sources) > 1 and error.code == "INVALID_ARGUMENT":
            click.echo("none of the files is published", err=True)
        return REFUSED
    return 0


@click.command()
@_FILES
@connected
async def validate(client: Client, session: Session, files: tuple[str, ...]) -> int:
    """Check definitions in files (`-`: standard input), each by itself: what publishing it would do or refuse.

    Nothing changes. `callboard publish FILE... --dry-run` checks them together and shows the impact.
    """
    sources = _sources(files)
    code = 0 if len(sources) == len(files) else USAGE
    for source in sources:
        try:
            published = await client.validate(source)
        except Unreachable:
            raise
        except CallboardError as error:
            refuse(error, source.name)
            code = code or REFUSED
            continue
        warn(published.warnings)
        if session.output.as_json:
            session.output.line(published)
            continue
        what = f"{published.definition_id} version {published.version}"
        would = f"would be {what}" if published.changed else f"is {what} already"
        session.output.say(f"{source.name}: valid; {would}")
    return code


def _sources(files: tuple[str, ...]) -> list[Source]:
    """The texts of files; standard error says why where one cannot be read."""
    if files.count("-") > 1:
        fail("standard input can be read once")
    found: list[Source] = []
    for name in files:
        try:
            found.append(Source("stdin" if name == "-" else name, read_text(name)))
        except (OSError, UnicodeDecodeError) as error:
            complain(f"{name}: {getattr(error, 'strerror', None) or error}")
    return found


async def _publish_one(client: Client, session: Session, source: Source, dry_run: bool) -> None:
    answer = await client.publish(source, validate_only=dry_run)
    change = _Change(source.name, answer.definition_id, answer.version, answer.changed, answer.impact, answer.warnings)
    _show(session, answer, [change], answer.stages, answer.revision, dry_run)


async def _publish_all(client: Client, session: Session, sources: list[Source], dry_run: bool) -> None:
    answer = await client.publish_all(sources, validate_only=dry_run)
    pairs = zip(sources, answer.definitions, strict=True)
    changes = [_changed(one, source.name) for source, one in pairs]
    _show(session, answer, changes, answer.stages, answer.revision, dry_run)


def _changed(one: PublishedDefinition, source: str = "") -> _Change:
    version = one.definition_version
    return _Change(source, version.definition_id, version.version, one.changed, one.impact, one.warnings)


def _show(
    session: Session,
    answer: object,
    changes: Sequence[_Change],
    stages: Sequence[StageRun],
    revision: int,
    dry_run: bool,
) -> None:
    """What was published, or would be. Of a dry run the warnings are part of the answer."""
    told_apart = session.output.as_json or not dry_run
    warn([warning for change in changes for warning in change.warnings] if told_apart else (), stages)
    if session.output.as_json:
        session.output.document(answer)
        return
    for change in changes:
        _show_one(session, change, revision, dry_run)
        if dry_run:
            _show_impact(session, change, stages if len(changes) == 1 else ())
    if dry_run and len(changes) > 1:
        session.output.say(f"stages: {stage_times(stages)}")


def _show_impact(session: Session, change: _Change, stages: Sequence[StageRun]) -> None:
    rows = impact_rows(change.impact) if change.changed else []
    rows += [("warning", str(warning)) for warning in change.warnings]
    session.output.details([*rows, ("stages", stage_times(stages))] if stages else rows)


def _show_one(session: Session, change: _Change, revision: int, dry_run: bool) -> None:
    begin = f"{change.source}: " if change.source else ""
    what = f"{change.definition_id} version {change.version}"
    if not change.changed:
        session.output.say(f"{begin}{what} is published already")
    elif dry_run:
        session.output.say(f"{begin}would publish {what}")
    else:
        session.output.say(f"{begin}published {what} (revision {revision})")


@click.command()
@click.argument("definition_id", metavar="ID")
@click.option("--to", "version", type=click.IntRange(min=1), required=True, metavar="VERSION", help="The old version.")
@click.option("--etag", default="", help="Refuse where the definition has changed since it had this etag.")
@_DRY_RUN
@connected
async def revert(client: Client, session: Session, definition_id: str, version: int, etag: str, dry_run: bool) -> None:
    """Publish the content of an old version of a definition as its next version.

    \b
    callboard revert order --to 3
    """
    reverted = await client.revert(definition_id, version, etag=etag, validate_only=dry_run)
    warn(reverted.warnings, reverted.stages)
    if session.output.as_json:
        session.output.document(reverted)
        return
    what = f"{definition_id} version {reverted.definition_version.version}"
    if not reverted.changed:
        session.output.say(f"{what}, with the content of version {version}, is published already")
    elif dry_run:
        session.output.say(f"would publish {what} with the content of version {version}")
        rows = impact_rows(reverted.impact)
        session.output.details([*rows, ("stages", stage_times(reverted.stages))] if reverted.stages else rows)
    else:
        session.output.say(f"published {what} with the content of version {version} (revision {reverted.revision})")


@click.command("export")
@click.argument("definition_ids", nargs=-1, metavar="[ID...]")
@click.option("--output", "-o", "path", metavar="FILE", help="Write to this file; else to standard output.")
@click.option("--execution", "execution_id", metavar="EXEC", help="Write this execution down, with its whole history.")
@connected
async def export_definitions(
    client: Client, session: Session, definition_ids: tuple[str, ...], path: str | None, execution_id: str | None
) -> int:
    """Write published definitions (none named: all) down for `callboard import`, one JSON document a line; or an
    execution with its history, as CloudEvents.

    \b
    callboard export order refund --output flows.jsonl
    callboard export --execution o-17 --output o-17.jsonl
    """
    if execution_id is not None:
        if definition_ids:
            fail("--execution is exported alone, without definitions")
        return await export_history(client, session, execution_id, path)
    text = await client.export_definitions(definition_ids)
    # The first line is the head.
    count = max(0, text.count("\n") - 1)
    if path is None:
        click.echo(text, nl=False)
    elif not _written(path, text):
        return USAGE
    if path is not None or not count:
        said = f"exported {count} definition{'' if count == 1 else 's'}" + (f" to {path}" if path is not None else "")
        click.echo(said if count else "no definition is published", err=True)
    return 0


def _written(path: str, text: str) -> bool:
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        complain(f"{path}: {error.strerror or error}")
        return False
    return True


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--id", "new_id", default="", metavar="ID", help="Of an execution: another id than it had.")
@_DRY_RUN
@connected
async def import_definitions(client: Client, session: Session, file: str, new_id: str, dry_run: bool) -> int:
    """Publish the definitions that `callboard export` wrote (`-`: standard input): all of them, or none. Or take in the
    execution that it wrote, once its history is checked.

    A definition that is published with the same content already stays as it is. An execution that has not ended goes
    on here, and its definition has to be here.

    \b
    callboard export -a old:7519 | callboard import -a new:7519 -
    """
    try:
        with click.open_file(file, encoding="utf-8") as lines:
            first = lines.readline()
            if is_history(first):
                if dry_run:
                    fail("--dry-run is for definitions")
                return await import_history(client, session, itertools.chain([first], lines), new_id)
            text = first + lines.read()
    except (OSError, UnicodeDecodeError) as error:
        complain(f"{file}: {getattr(error, 'strerror', None) or error}")
        return USAGE
    if new_id:
        fail("--id is for an execution; this is an export of definitions")
    answer = await client.import_definitions(text, validate_only=dry_run)
    changes = [_changed(one) for one in answer.definitions]
    _show(session, answer, changes, answer.stages, answer.revision, dry_run)
    return 0
