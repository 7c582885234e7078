"""What led to an event: the name of the command, kept with the context of its append in a few bytes.

Every append has a context, so a command's name costs each of them; one or two letters stand for it. Histories hold
them: a letter never changes its meaning.
"""

from __future__ import annotations

from typing import Final

from .core import commands as cmd

BY: Final = "by"
"""The member of a context that holds the letters."""
TRIGGER: Final = "g"
"""A start that a trigger has made."""
FORK: Final = "y"
IMPORT: Final = "m"

_NAMES: Final[dict[str, str]] = {
    "s": "StartExecution",
    TRIGGER: "trigger",
    "r": "release",
    "e": "SubmitEvent",
    "q": "EnqueueEvent",
    "p": "published_event",
    "t": "task_result",
    "l": "delivery_lost",
    "f": "timer",
    "c": "continue",
    "x": "CancelExecution",
    "k": "TerminateExecution",
    "v": "ResolveStep",
    FORK: "ForkExecution",
    IMPORT: "ImportExecution",
}
_LETTERS: Final[dict[type[cmd.Command], str]] = {
    cmd.Start: "s",
    cmd.Join: "s",
    cmd.Release: "r",
    cmd.Submit: "e",
    cmd.Offer: "p",
    cmd.CompleteTask: "t",
    cmd.FailTask: "t",
    cmd.LoseDelivery: "l",
    cmd.FireTimer: "f",
    cmd.Proceed: "c",
    cmd.Cancel: "x",
    cmd.Terminate: "k",
    cmd.Resolve: "v",
}


def letters_of(command: cmd.Command) -> str:
    """What stands for a command; empty: nothing does."""
    if type(command) is cmd.Submit and command.enqueued:
        return "q"
    return _LETTERS.get(type(command), "")


def caused(context: bytes, by: str) -> bytes:
    """A context, a JSON object, with what caused it in front of its members."""
    if not by:
        return context
    head = b'{"by":"%s"' % by.encode()
    return head + b"}" if context == b"{}" else head + b"," + context[1:]


def name_of(by: str) -> str:
    """The name of a command in a context; empty where it was stored without, or by a newer version."""
    return _NAMES.get(by, "")
