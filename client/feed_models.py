"""What the client answers with about the events of a whole tenant: small frozen values.

Each field has the name of the message's field, or says it as `wire`; `decoding` needs nothing more.
"""

import dataclasses
from datetime import datetime

from .decoding import value_of
from .execution_models import Event


@value_of("PullSubscriptionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of a tenant, in order for each execution, and the position after them.

    A batch without events only moves the position on. Positions are opaque: keep them, and hand them in again.
    """

    events: tuple[Event, ...]
    position: str


@value_of("Subscription")
@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """A durable position in the events of a tenant. `lag_events` estimates how many come after it, unfiltered."""

    id: str = dataclasses.field(metadata={"wire": "subscription_id"})
    filter: str
    position: str
    created_at: datetime | None
    used_at: datetime | None
    lag_events: int
