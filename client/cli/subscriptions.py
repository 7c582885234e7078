"""The command about durable subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..feed_models import EventBatch, Subscription
from .events import print_batch
from .refusals import complain
from .session import REFUSED, Length, Session, connected, fail

if TYPE_CHECKING:
    from ..client import Client

_COLUMNS = ["ID", "LAG", "CREATED", "USED", "FILTER"]


@click.command()
@click.argument("subscription_id", default="", metavar="[ID]")
@click.option("--create", "action", flag_value="create", default=None, help="Make it; it begins now.")
@click.option("--pull", "action", flag_value="pull", help="Print its next events; they come again until --ack.")
@click.option("--ack", "acked", metavar="POSITION", default="", help="Events up to this position are taken care of.")
@click.option("--delete", "action", flag_value="delete", help="Delete it.")
@click.option("--filter", "filter_", default="", metavar="CEL", help="With --create: only events that match.")
@click.option("--from-start", is_flag=True, help="With --create: begin with the oldest event.")
@click.option("--position", default="", help="With --create: begin after this position.")
@click.option("--max", "max_events", type=click.IntRange(1, 1000), help="With --pull: so many events at most [100].")
@click.option("--wait", type=Length(), metavar="TIME", help="With --pull: wait so long for the first event.")
@connected
async def subscriptions(
    client: Client,
    session: Session,
    subscription_id: str,
    action: str | None,
    acked: str,
    filter_: str,
    from_start: bool,
    position: str,
    max_events: int | None,
    wait: float | None,
) -> int:
    """List durable subscriptions, show one, or make, pull, acknowledge or delete it.

    \b
    callboard subscriptions billing --create --filter 'event_name == "ExecutionCompleted"'
    callboard subscriptions billing --pull --wait 30s
    callboard subscriptions billing --ack POSITION
    """
    action = "ack" if acked and action is None else action
    if acked and action != "ack":
        fail(f"--ack and --{action} exclude each other")
    if action is not None and not subscription_id:
        fail(f"--{action} needs the ID of a subscription")
    if (filter_ or from_start or position) and action != "create":
        fail("--filter, --from-start and --position go with --create")
    if (max_events is not None or wait is not None) and action != "pull":
        fail("--max and --wait go with --pull")
    match action:
        case "create":
            made = await client.create_subscription(
                subscription_id, filter=filter_, from_start=from_start, position=position
            )
            _show(session, made)
        case "pull":
            _print_batch(session, await client.pull(subscription_id, max_events=max_events or 0, wait=wait))
        case "ack":
            _show(session, await client.ack(subscription_id, acked))
        case "delete":
            await client.delete_subscription(subscription_id)
            session.output.say(f"{subscription_id} is deleted")
        case _ if subscription_id:
            return await _one(client, session, subscription_id)
        case _:
            await _list(client, session)
    return 0


async def _list(client: Client, session: Session) -> None:
    output = session.output
    if output.as_json:
        await output.array(client.subscriptions())
        return
    rows = [
        [one.id, one.lag_events, output.moment(one.created_at), output.moment(one.used_at), one.filter]
        async for one in client.subscriptions()
    ]
    output.table(_COLUMNS, rows, empty="there are no subscriptions")


async def _one(client: Client, session: Session, subscription_id: str) -> int:
    async for one in client.subscriptions():
        if one.id == subscription_id:
            _show(session, one)
            return 0
    complain(f"SUBSCRIPTION_NOT_FOUND: there is no subscription {subscription_id!r}")
    return REFUSED


def _show(session: Session, subscription: Subscription) -> None:
    output = session.output
    if output.as_json:
        output.document(subscription)
        return
    output.facts(
        [
            ("subscription", subscription.id),
            ("filter", subscription.filter),
            ("position", subscription.position),
            ("lag", f"{subscription.lag_events} events"),
            ("created", output.moment(subscription.created_at)),
            ("used", output.moment(subscription.used_at)),
        ]
    )


def _print_batch(session: Session, batch: EventBatch) -> None:
    if session.output.as_json:
        session.output.document(batch)
        return
    print_batch(session, batch)
    session.output.facts([("position", batch.position)])
