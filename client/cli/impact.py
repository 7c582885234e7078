"""What a change of a definition touches, as rows for people to read, and what standard error says about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from ..definition_models import PublishImpact, StageRun, Violation

IDS_MAX = 20
"""How many steps or triggers are named before the rest is counted; --json names them all."""


GO_ON = ("would go on with its version", "would go on with their versions")
"""What a publish makes of executions that have not ended: of one, of several."""


def impact_rows(impact: PublishImpact | None) -> list[tuple[str, str]]:
    """All that a publish would touch, what it leaves alone included."""
    if impact is None:
        return []
    return [
        ("version", f"{impact.previous_version or 'none'} -> {impact.version or 'none'}"),
        *_signed("steps", impact.steps_added, impact.steps_changed, impact.steps_removed),
        *_signed("triggers", impact.triggers_added, impact.triggers_changed, impact.triggers_removed),
        ("running", running_text(impact, GO_ON) or "none"),
    ]


def withdrawal_rows(impact: PublishImpact | None, running: tuple[str, str]) -> list[tuple[str, str]]:
    """What taking a definition back or deleting it would touch, and nothing where it touches nothing."""
    if impact is None:
        return []
    triggers = [("triggers", f"- {_named(impact.triggers_removed)}")] if impact.triggers_removed else []
    text = running_text(impact, running)
    return [*triggers, ("running", text)] if text else triggers


def running_text(impact: PublishImpact | None, running: tuple[str, str]) -> str:
    """How many executions have not ended, and what becomes of one, or of several; empty where there are none."""
    count = impact.running_executions if impact else 0
    if not count:
        return ""
    return f"1 execution {running[0]}" if count == 1 else f"{count} executions {running[1]}"


def stage_times(stages: Iterable[StageRun]) -> str:
    """The stages run, with their times."""
    return ", ".join(
        f"{stage.name} {stage.duration.total_seconds() * 1000:.1f}ms" if stage.duration is not None else stage.name
        for stage in stages
    )


def warn(warnings: Iterable[Violation], stages: Iterable[StageRun] = ()) -> None:
    """Says on standard error what is likely not meant so, and which stages failed although the change stands."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    for stage in stages:
        if stage.error:
            click.echo(f"warning: the change stands, but its stage {stage.name} failed: {stage.error}", err=True)


def _signed(name: str, added: Sequence[str], changed: Sequence[str], removed: Sequence[str]) -> list[tuple[str, str]]:
    groups = (("+", added), ("~", changed), ("-", removed))
    lines = [f"{sign} {_named(ids)}" for sign, ids in groups if ids] or ["no change"]
    return [("" if number else name, line) for number, line in enumerate(lines)]


def _named(ids: Sequence[str]) -> str:
    named = ", ".join(ids[:IDS_MAX])
    return named if len(ids) <= IDS_MAX else f"{named} and {len(ids) - IDS_MAX} more"
