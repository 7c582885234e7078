"""Generations of a store: what a restore from a backup leaves behind must be refused, never misread.

Tokens and positions carry the generation that issued them. Revisions are plain numbers: those of each generation have
a range of their own, so that one that was issued by what a restore has lost is told from one that is still there.
"""

from __future__ import annotations

from typing import Final, Protocol

from .core.refusals import Kind, Refusal, Refused
from .lifecycle_rows import DefinitionEvent

REVISIONS_PER_GENERATION: Final = 10**12
"""The first generation has the revisions below it, the second those from it on, and so forth."""


class RevisedDefinitions(Protocol):
    """The one read that an old revision needs."""

    async def tenant_definition_events(
        self, tenant: str, after: tuple[int, str, int], limit: int, bytes_max: int
    ) -> list[tuple[str, DefinitionEvent]]:
        """What happened to all definitions of a tenant, in the order of its revisions, after this place."""
        ...


def first_revision(generation: int) -> int:
    """What the revisions of a generation are counted from."""
    return (generation - 1) * REVISIONS_PER_GENERATION


def is_earlier(claimed: int, generation: int) -> bool:
    """Whether something says that an earlier generation issued it. A restore renews the secret, so that this cannot
    be checked; it may be believed, because all that follows from it is a refusal."""
    return 0 < claimed < generation


def other_generation(what: str, issued: int, now: int, hint: str) -> Refused:
    """The refusal of what another generation has issued."""
    message = (
        f"the {what} was issued by generation {issued} of the store, which is now at {now}: it was restored from a "
        f"backup; {hint}"
    )
    return Refused(Refusal(Kind.STATE, "OTHER_GENERATION", message, {"generation": str(now)}))


async def check_revision(store: RevisedDefinitions, generation: int, tenant: str, revision: int) -> None:
    """Raises Refused OTHER_GENERATION for a revision that this store does not hold, and that its own numbers will never
    stand for: of a change that a restore has lost."""
    issued = revision // REVISIONS_PER_GENERATION + 1
    if issued == generation:
        return
    # An earlier generation's revision is in the store if that, or a later one of the same generation, is.
    held = await store.tenant_definition_events(tenant, (revision, "", 0), 1, 1) if issued < generation else []
    if not any(event.revision // REVISIONS_PER_GENERATION + 1 == issued for _, event in held):
        raise other_generation("revision", issued, generation, "look at what is published now")
