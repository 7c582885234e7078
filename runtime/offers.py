"""Putting a command to an actor until it is taken.

Internal sources (a timer that is due, a delivery that was lost) drop an item only when the append that consumes it
has been committed; until then they offer it again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from .alarms import Alarms
from .core.commands import Command
from .core.refusals import Kind, Refusal, Refused
from .rows import ExecutionRef

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[ExecutionRef, Command], "asyncio.Future[Any]"]
"""Put a command to an execution's actor. The future is resolved after the commit: with the reply, or with `Refused`.
May also raise `Refused` at once."""

Wanted: TypeAlias = Callable[[], bool]
"""Whether a command still has to be carried out; asked before every offer after the first."""

Answered: TypeAlias = Callable[[Refusal | None], None]
"""Hears how each offer was answered (None: carried out); may make the command unwanted."""


class OfferSettings(msgspec.Struct, frozen=True):
    """How long to wait between offers of the same command."""

    first_seconds: float = 0.1
    factor: float = 2.0
    longest_seconds: float = 30.0


class Offers:
    """Offers commands until whoever offers them is content."""

    def __init__(self, ask: Ask, alarms: Alarms, settings: OfferSettings | None = None) -> None:
        self._ask = ask
        self._alarms = alarms
        self._settings = settings or OfferSettings()

    def offer(self, ref: ExecutionRef, command: Command, wanted: Wanted, answered: Answered) -> None:
        """Put `command` now, and again after a pause for as long as it is wanted: also where it was carried out and
        what it was to change has not changed."""
        self._put(ref, command, wanted, answered, self._settings.first_seconds)

    def _put(self, ref: ExecutionRef, command: Command, wanted: Wanted, answered: Answered, pause: float) -> None:
        longer = min(pause * self._settings.factor, self._settings.longest_seconds)

        def once_more() -> None:
            if wanted():
                self._put(ref, command, wanted, answered, longer)

        def replied(reply: asyncio.Future[Any]) -> None:
            answered(refusal_of(reply))
            if wanted():
                self._alarms.after(pause, once_more)

        put(self._ask, ref, command).add_done_callback(replied)


def put(ask: Ask, ref: ExecutionRef, command: Command) -> asyncio.Future[Any]:
    """`ask`, with what it raises at once in the future as well."""
    try:
        return ask(ref, command)
    except Exception as error:  # noqa: BLE001 - it is handed on in the future
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed


def refusal_of(reply: asyncio.Future[Any]) -> Refusal | None:
    """How a finished ask was refused; None where it was carried out. What is no refusal becomes one: UNAVAILABLE,
    because nothing is known to be wrong with the command."""
    if reply.cancelled():
        return Refusal(Kind.UNAVAILABLE, "SERVER_DRAINING", "the server stopped before it could answer")
    error = reply.exception()
    if error is None:
        return None
    if isinstance(error, Refused):
        return error.refusal
    log.warning("a command failed without a refusal", exc_info=error)
    return Refusal(Kind.UNAVAILABLE, "STORAGE_UNAVAILABLE", f"the command could not be carried out: {error}")
