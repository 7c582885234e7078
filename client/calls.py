"""What the parts of the client have in common: one connection, and ids that make repeats harmless."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from .channel import Connection

T = TypeVar("T")


class Calls:
    """A part of the client: calls over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


def new_request_id() -> str:
    """An id for one wish of the caller's: every repeat of the same call carries the same one."""
    return uuid.uuid4().hex


async def each(
    pages: AsyncIterator[Any], items: Callable[[Any], Iterable[Any]], make: Callable[[Any], T]
) -> AsyncIterator[T]:
    """The values of all items of all pages."""
    async for page in pages:
        for item in items(page):
            yield make(item)
