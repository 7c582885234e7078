"""The command about triggers: when they fire next, pausing, resuming and firing them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ..definition_models import Trigger, TriggerInfo
from .executions import started
from .impact import warn
from .refusals import complain
from .session import REFUSED, JsonValue, Moment, Session, connected, fail

if TYPE_CHECKING:
    from ..client import Client

_COLUMNS = ["DEFINITION", "TRIGGER", "ON", "STATE", "NEXT", "LAST SLOT", "LAST EXECUTION", "SKIPPED", "WAITING"]


@click.command()
@click.argument("definition_id", default="", metavar="[ID]")
@click.argument("trigger_id", default="", metavar="[TRIGGER]")
@click.option("--event", "event_name", default="", metavar="NAME", help="Only those that listen to this event.")
@click.option("--pause", "action", flag_value="pause", default=None, help="Let TRIGGER start nothing until --resume.")
@click.option("--resume", "action", flag_value="resume", help="Let it start again; what it missed is not made up for.")
@click.option("--fire", "action", flag_value="fire", help="Start an execution now, as if its event or slot had come.")
@click.option("--payload", type=JsonValue(), metavar="JSON|@FILE|-", help="With --fire: the event's payload.")
@click.option("--slot", type=Moment(), metavar="TIME", help="With --fire: the slot to stand for; now where not given.")
@connected
async def triggers(
    client: Client,
    session: Session,
    definition_id: str,
    trigger_id: str,
    event_name: str,
    action: str | None,
    payload: Any,
    slot: datetime | None,
) -> int:
    """List the triggers of published definitions with their next firings: all, those of ID, or TRIGGER of ID alone.

    \b
    callboard triggers nightly-import nightly --pause
    callboard triggers nightly-import nightly --fire --slot 2026-01-31T04:30:00Z
    """
    if (payload is not None or slot is not None) and action != "fire":
        fail("--payload and --slot go with --fire")
    if action is not None and not trigger_id:
        fail(f"--{action} needs the ID of a definition and the TRIGGER")
    if event_name and trigger_id:
        fail("--event is for the list of triggers")
    match action:
        case "pause" | "resume":
            await _switch(client, session, definition_id, trigger_id, action)
        case "fire":
            await _fire(client, session, definition_id, trigger_id, payload, slot)
        case _ if trigger_id:
            return await _one(client, session, definition_id, trigger_id)
        case _:
            await _list(client, session, definition_id, event_name)
    return 0


async def _switch(client: Client, session: Session, definition_id: str, trigger_id: str, action: str) -> None:
    switch = client.pause_trigger if action == "pause" else client.resume_trigger
    answer = await switch(definition_id, trigger_id)
    warn((), answer.stages)
    if session.output.as_json:
        session.output.document(answer)
        return
    state = _state(answer.trigger) + ("" if answer.changed else " already")
    following = answer.trigger.next_slots
    then = f"; next {session.output.coming(following[0])}" if action == "resume" and following else ""
    session.output.say(f"{definition_id} {trigger_id} is {state}{then}")


async def _fire(
    client: Client, session: Session, definition_id: str, trigger_id: str, payload: Any, slot: datetime | None
) -> None:
    execution = await client.fire_trigger(definition_id, trigger_id, payload, slot=slot)
    if session.output.as_json:
        session.output.document(execution)
    else:
        session.output.say(started(execution))


async def _one(client: Client, session: Session, definition_id: str, trigger_id: str) -> int:
    async for item in client.triggers(definition_id):
        if item.id == trigger_id:
            if session.output.as_json:
                session.output.document(item)
            else:
                _show(session, item)
            return 0
    complain(f"TRIGGER_NOT_FOUND: definition {definition_id!r}, as it is published, has no trigger {trigger_id!r}")
    return REFUSED


def _show(session: Session, item: TriggerInfo) -> None:
    output, trigger = session.output, item.trigger
    event, schedule = trigger.event, trigger.schedule
    facts: list[tuple[str, object]] = [
        ("trigger", trigger.id),
        ("definition", f"{item.definition_id} version {item.version}"),
        ("on", _on(trigger)),
        ("filter", event.filter if event else ""),
        ("execution", event.execution_id if event else ""),
        ("unique key", trigger.unique_key),
        ("overlap", (schedule.overlap or "SKIP") if schedule else ""),
        ("catch up", schedule.catch_up if schedule else ""),
        ("jitter", schedule.jitter if schedule else ""),
        ("state", _state(item)),
        *(("" if number else "next", output.coming(slot)) for number, slot in enumerate(item.next_slots)),
        ("last slot", output.slot(item.last_slot)),
        ("last execution", item.last_execution_id),
        ("started", output.moment(item.last_started_at)),
        ("waiting", item.waiting or ""),
        ("skipped", _skipped(session, item)),
    ]
    output.facts(facts)


def _skipped(session: Session, item: TriggerInfo) -> str:
    if not item.skipped:
        return ""
    last = f", the last {session.output.slot(item.last_skipped_slot)}" if item.last_skipped_slot else ""
    return f"{item.skipped} slot{'' if item.skipped == 1 else 's'}{last}"


async def _list(client: Client, session: Session, definition_id: str, event_name: str) -> None:
    found = client.triggers(definition_id, event_name=event_name)
    if session.output.as_json:
        await session.output.array(found)
        return
    rows = [_row(session, item) async for item in found]
    of = f" of {definition_id}" if definition_id else ""
    on = f" for the event {event_name}" if event_name else ""
    session.output.records(_COLUMNS, rows, titles=2, empty=f"no trigger{of} is published{on}")


def _row(session: Session, item: TriggerInfo) -> list[object]:
    following = [session.output.coming(slot) for slot in item.next_slots]
    # Programs get all of them; a person the next one, and the others with `triggers ID TRIGGER`.
    shown = following[0] if following and session.output.at_terminal else " ".join(following)
    return [
        item.definition_id,
        item.id,
        _on(item.trigger),
        _state(item),
        shown,
        session.output.moment(item.last_slot),
        item.last_execution_id,
        item.skipped or "",
        item.waiting or "",
    ]


def _state(item: TriggerInfo) -> str:
    return "paused" if item.paused else "active"


def _on(trigger: Trigger) -> str:
    """What a trigger listens to, in the words of its definition."""
    if trigger.event is not None:
        return f"event {trigger.event.name}"
    schedule = trigger.schedule
    if schedule is None:
        return ""
    times = {"cron": schedule.cron, "every": schedule.every, "at": schedule.at}
    said = next((f"{name} {value}" for name, value in times.items() if value is not None), "")
    return f"{said} {schedule.time_zone}".rstrip()
