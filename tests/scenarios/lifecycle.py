"""What the scenarios of definitions share: contents that differ in one number, and where a definition stands."""

from __future__ import annotations

from typing import Any, NamedTuple

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.chain import Chain
from callboard.runtime.lifecycle_rows import DefinitionEvent, DefinitionHead, DefinitionVersion
from callboard.runtime.rows import Request
from callboard.runtime.trigger_rows import TriggerRow

TENANT = "default"
DEFINITION = "flow"


def text(number: int) -> str:
    """A definition with an event trigger and a schedule, whose executions come to rest at a `receive` and then say
    this number."""
    return f"""
id: {DEFINITION}
triggers:
  - {{id: placed, event: {{name: order.placed}}, input: {{number: {number}}}}}
  - {{id: nightly, schedule: {{cron: "30 4 * * *", time_zone: Europe/Berlin}}, input: "${{trigger.slot}}"}}
steps:
  - {{id: got, receive: {{event: go}}}}
output: {{number: {number}}}
"""


class Standing(NamedTuple):
    """All there is to know about a definition."""

    head: DefinitionHead | None
    versions: list[DefinitionVersion]
    events: list[DefinitionEvent]
    revision: int
    request: Request | None
    """What is remembered of request `r-1`."""
    starts: int | str
    """The version that a start would run, as the caches know it; else why there is none."""
    triggers: list[TriggerRow | None]
    """Active or not."""
    listeners: tuple[int, list[TriggerRow]]
    """Of the event, with their revision."""
    due: list[TriggerRow]
    """Schedules that will fire."""


async def standing(runtime: Runtime) -> Standing:
    """Where the definition stands."""
    store, now = runtime.store, runtime.clock.now()
    try:
        starts: int | str = (await runtime.catalog.published(TENANT, DEFINITION)).compiled.version
    except Refused as refused:
        starts = refused.refusal.reason
    return Standing(
        await store.definition(TENANT, DEFINITION),
        await store.definition_versions(TENANT, DEFINITION, 0, 100),
        await store.definition_events(TENANT, DEFINITION, 0, 0, 100, 1_000_000),
        await store.revision(TENANT),
        (await store.requests(TENANT, ["r-1"], now)).get("r-1"),
        starts,
        [await store.trigger(TENANT, DEFINITION, trigger) for trigger in ("placed", "nightly")],
        await store.listeners(TENANT, "order.placed"),
        await store.due_triggers(2**62, 100),
    )


def chains(runtime: Runtime) -> dict[str, Any]:
    """Every part of a runtime that has a chain, by name. Nobody keeps a list of them: a new one is found."""
    return {name: part for name, part in vars(runtime).items() if isinstance(getattr(part, "chain", None), Chain)}
