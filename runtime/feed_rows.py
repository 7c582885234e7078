"""The rows of the feeds of whole tenants and of durable subscriptions, and the writes that concern them.

A position counts the events of all tenants in the order in which they were committed. It never leaves the server as a
bare number: see positions.py.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .rows import Request, StoredEvent


class TenantEvent(NamedTuple):
    """A stored event, and whose it is."""

    execution_id: str
    definition_id: str
    key: int
    """The execution's."""
    stored: StoredEvent


class TenantPage(NamedTuple):
    """Events of one tenant after a position, by position."""

    events: list[TenantEvent]
    position: int
    """How far was looked: up to here, `events` is all that is stored of the tenant."""
    end: bool
    """Whether nothing was stored after `position`, of whatever tenant."""
    pruned: int
    """Events of the tenant up to this position have been pruned, at the time of the read or after; 0: none."""


class Before(NamedTuple):
    """What holds where an event is recorded."""

    state: str
    """The execution's `state` after the event before."""
    context: bytes | None
    """That of the command which the event before belongs to."""


class FeedBounds(NamedTuple):
    """Between which positions a tenant's feed lies."""

    pruned: int
    """Events up to here have been pruned; 0: none."""
    last: int
    """Position of the last event of all tenants; 0: there was none."""


class SubscriptionRow(msgspec.Struct, frozen=True):
    """A durable subscription as it is stored."""

    tenant: str
    subscription_id: str
    filter: str
    """CEL; empty: everything."""
    position: int
    """Events up to here are acknowledged."""
    pruned: int
    """What had been pruned when the subscriber last agreed to that: a later pruning beyond `position` is a gap."""
    created_at: int
    used_at: int = 0
    """The last pull (to the minute) or acknowledgement; 0: never."""


class SubscriptionCreation(msgspec.Struct, frozen=True):
    """A new subscription. Lost: EXISTS, LIMIT, DUPLICATE_REQUEST."""

    row: SubscriptionRow
    subscriptions_max: int
    """How many the tenant may have, this one included."""
    requests: tuple[Request, ...] = ()


class SubscriptionAck(msgspec.Struct, frozen=True):
    """Events up to a position are taken care of; one behind the stored position does not move it. Lost: NOT_FOUND,
    DUPLICATE_REQUEST."""

    tenant: str
    subscription_id: str
    position: int
    """0: only `at` counts, for it was pulled from."""
    pruned: int
    at: int
    requests: tuple[Request, ...] = ()


class SubscriptionDeletion(msgspec.Struct, frozen=True):
    """A subscription goes. Lost: NOT_FOUND, DUPLICATE_REQUEST."""

    tenant: str
    subscription_id: str
    requests: tuple[Request, ...] = ()


class FeedPruning(msgspec.Struct, frozen=True):
    """Events of a tenant up to a position are no longer all there. The mark never goes back."""

    tenant: str
    position: int
