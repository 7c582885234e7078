"""What the scenarios of definitions share: contents that differ in one number, and where a definition stands."""

from __future__ import annotations

from typing import Any, NamedTuple

from callboard.runtime.core.refusals import Refused
from callboard.runtime.engine import Runtime
from callboard.runtime.lifecycle.chain import Chain
from callboard.runtime.ports import DefinitionEvent, DefinitionHead, DefinitionVersion, Request

TENANT = "default"
DEFINITION = "flow"


def text(number: int) -> str:
    """A definition whose executions come to rest at a `receive` and then say this number."""
    return f"""
id: {DEFINITION}
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
    )


def chains(runtime: Runtime) -> dict[str, Any]:
    """Every part of a runtime that has a chain, by name. Nobody keeps a list of them: a new one is found."""
    return {name: part for name, part in vars(runtime).items() if isinstance(getattr(part, "chain", None), Chain)}
