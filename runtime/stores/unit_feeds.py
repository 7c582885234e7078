"""The rules of subscriptions, and of the mark up to which a tenant's feed has been pruned."""

from __future__ import annotations

import msgspec

from ..feed_rows import FeedPruning, SubscriptionAck, SubscriptionCreation, SubscriptionDeletion
from ..writes import Committed, Lost, Outcome, Why
from .changes import Books


def subscribe(books: Books, write: SubscriptionCreation) -> Outcome:
    """A new subscription, where its id is free and the tenant may have one more."""
    row, known = write.row, books.known
    place = (row.tenant, row.subscription_id)
    if place in known.subscriptions:
        return Lost(Why.EXISTS, f"subscription {row.subscription_id!r} exists")
    count = known.subscription_counts[row.tenant]
    if count >= write.subscriptions_max:
        return Lost(Why.LIMIT, f"the tenant has {count} subscriptions already")
    known.subscriptions[place] = books.changes.subscriptions[place] = row
    known.subscription_counts[row.tenant] = count + 1
    return Committed()


def acknowledge(books: Books, write: SubscriptionAck) -> Outcome:
    """The subscription goes forward, or stays where it is."""
    place = (write.tenant, write.subscription_id)
    row = books.known.subscriptions.get(place)
    if row is None:
        return Lost(Why.NOT_FOUND, f"there is no subscription {write.subscription_id!r}")
    books.known.subscriptions[place] = books.changes.subscriptions[place] = msgspec.structs.replace(
        row,
        position=max(row.position, write.position),
        pruned=max(row.pruned, write.pruned),
        used_at=max(row.used_at, write.at),
    )
    return Committed()


def unsubscribe(books: Books, write: SubscriptionDeletion) -> Outcome:
    """The subscription goes; its id is free again."""
    place = (write.tenant, write.subscription_id)
    if place not in books.known.subscriptions:
        return Lost(Why.NOT_FOUND, f"there is no subscription {write.subscription_id!r}")
    del books.known.subscriptions[place]
    books.known.subscription_counts[write.tenant] -= 1
    books.changes.subscriptions[place] = None
    return Committed()


def prune_feed(books: Books, write: FeedPruning) -> Outcome:
    """The mark goes forward, in the commit that takes the events away."""
    marks = books.changes.feeds_pruned
    marks[write.tenant] = max(marks.get(write.tenant, 0), write.position)
    return Committed()
