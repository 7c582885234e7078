"""What led to an event stands in its context, in few bytes, and is read back by name."""

import msgspec
import pytest

from callboard.runtime.causes import TRIGGER, caused, letters_of, name_of
from callboard.runtime.core import commands as cmd


@pytest.mark.parametrize("context", [b"{}", b'{"user":"u","trace":"t"}'])
def test_a_context_keeps_what_it_has(context: bytes) -> None:
    told = msgspec.json.decode(caused(context, "t"))
    assert told == {"by": "t", **msgspec.json.decode(context)}
    assert caused(context, "") == context


def test_every_command_has_a_name() -> None:
    commands: tuple[cmd.Command, ...] = (
        cmd.Start("d", 1),
        cmd.Submit("go"),
        cmd.Submit("go", enqueued=True),
        cmd.Offer("a", "go"),
        cmd.CompleteTask("a", 1),
        cmd.FireTimer("a", "wait", 1),
        cmd.Cancel(),
        cmd.Proceed(),
    )
    names = ["StartExecution", "SubmitEvent", "EnqueueEvent", "published_event", "task_result", "timer"]
    assert [name_of(letters_of(command)) for command in commands] == [*names, "CancelExecution", "continue"]
    assert (name_of(TRIGGER), name_of("?"), name_of("")) == ("trigger", "", "")
