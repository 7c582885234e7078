"""The mailbox of an actor: bounded, first in first out, each letter with the future its sender waits on."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
from opentelemetry.trace import Span

from .core.commands import Cancel, Command, Offer, Proceed, Release, Submit
from .core.refusals import Kind, Refusal, Refused
from .core.values import decode
from .rows import DefinitionGuard, InboxKind, InboxRow, LineClaim, Request
from .views import ExecutionView

NO_CONTEXT = b"{}"
"""The context of a command that nobody outside has caused."""


class Reply(msgspec.Struct, frozen=True):
    """What an accepted command is answered with, after its commit."""

    view: ExecutionView | None = None
    """The execution after the turn, where the sender asked for it."""
    sequence: int = 0
    """Of the last event the command made; 0: it made none."""
    duplicate: bool = False
    """It had been carried out before (same event id or request id), and nothing happened now."""
    kept: bool = False
    """A submitted event that no `receive` took yet."""


class Letter(msgspec.Struct, eq=False):
    """A command on its way."""

    command: Command
    future: asyncio.Future[Reply]
    context: bytes = NO_CONTEXT
    """JSON of {user, trace, request}: who caused it."""
    event_id: str = ""
    request: Request | None = None
    expected_sequence: int | None = None
    """The sequence that the execution has to be at when it is decided; None: any."""
    guard: DefinitionGuard | None = None
    claims: tuple[LineClaim, ...] = ()
    """A start's places in lines."""
    inbox_id: int = 0
    """The inbox row it came from; 0: none."""
    wants_view: bool = False
    routed_at: int = 0
    """When it was sent, in nanoseconds since the epoch; 0: nobody wants to know."""
    span: Span | None = None
    """Of its way from the supervisor to its answer, where there is telemetry."""
    reruns: int = 0

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a no."""
        if not self.future.done():
            self.future.set_exception(Refused(refusal))

    def answer(self, reply: Reply) -> None:
        """Answer with what happened."""
        if not self.future.done():
            self.future.set_result(reply)


def command_of(row: InboxRow, left: dict[str, None] | None) -> Command:
    """What an inbox row asks; `left` is what is known of a decision that was cut."""
    match row.kind:
        case InboxKind.EVENT:
            return Submit(row.name, decode(row.payload), row.event_id, enqueued=True)
        case InboxKind.CONTINUE:
            return Proceed(left)
        case InboxKind.OFFER:
            return Offer(row.path, row.name, decode(row.payload), row.published_id)
        case InboxKind.RELEASE:
            return Release()
        case InboxKind.CANCEL:
            return Cancel(f"execution {row.name} takes its place")


class Mailbox:
    """Letters in the order of their arrival, at most `mailbox_commands_max`."""

    __slots__ = ("_letters", "_limit")

    def __init__(self, limit: int) -> None:
        self._letters: deque[Letter] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter) -> None:
        """Take a letter, or refuse it when the mailbox is full."""
        if len(self._letters) >= self._limit:
            letter.refuse(
                Refusal(
                    Kind.BUSY,
                    "MAILBOX_FULL",
                    f"{self._limit} commands wait for this execution already (mailbox_commands_max)",
                    {"limit": str(self._limit)},
                    retry_after_us=100_000,
                )
            )
            return
        self._letters.append(letter)

    def put_back(self, letters: list[Letter]) -> None:
        """Put letters back in front, in their order; they have been admitted before."""
        self._letters.extendleft(reversed(letters))

    def take(self, limit: int) -> list[Letter]:
        """The next letters, up to `limit`."""
        letters = self._letters
        return [letters.popleft() for _ in range(min(limit, len(letters)))]

    def clear(self) -> list[Letter]:
        """All letters; nothing is left."""
        letters = list(self._letters)
        self._letters.clear()
        return letters
