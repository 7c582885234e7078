"""What standard error says of a command that did not do what it was asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..definition_models import Violation
    from ..errors import CallboardError

_TEXT_PLACE = re.compile(r"[^\s:]+:\d+:\d+: ")
"""How a message begins that names a place in a text."""
_COUNTS = frozenset({"violations_shown", "violations_total"})
"""What the metadata says where an answer has not had the room for all violations."""


def complain(message: str) -> None:
    """Says on standard error what is wrong."""
    click.echo(f"error: {message}", err=True)


def refuse(error: CallboardError, source: str = "") -> None:
    """Says on standard error why the server refused: violations one a line, as compilers do, and nothing twice.

    `source` is the file that was refused; it is named where no violation names a text.
    """
    message, shown = error.message, list(error.violations)
    if any(violation.line or _TEXT_PLACE.match(violation.message) for violation in shown):
        # The message would say the same once more, in one long line.
        message = _counted(shown, error.metadata)
    else:
        shown = [violation for violation in shown if violation.message not in message]
    for violation in _by_place(shown):
        click.echo(str(violation), err=True)
    said = "\n".join([message, *map(str, shown)])
    more = {name: value for name, value in error.metadata.items() if name not in _COUNTS}
    if all(_names(said, value) for value in more.values()):
        more = {}
    listed = ", ".join(f"{name}={value}" for name, value in sorted(more.items()))
    about = f"{source}: " if source and not any(violation.source_name for violation in error.violations) else ""
    complain(f"{about}{error.reason}: {message}" + (f" ({listed})" if listed else ""))


def _counted(shown: Sequence[Violation], metadata: Mapping[str, str]) -> str:
    total = max(len(shown), int(metadata.get("violations_total", 0)))
    first = f", of which these are the first {len(shown)}" if total > len(shown) else ""
    return f"{total} violation{'' if total == 1 else 's'}{first}"


def _by_place(violations: Sequence[Violation]) -> list[Violation]:
    """From the top of each text to its end, the texts in the order in which they come."""
    names = list(dict.fromkeys(violation.source_name for violation in violations))
    return sorted(violations, key=lambda one: (names.index(one.source_name), one.line, one.column))


def _names(said: str, value: str) -> bool:
    """Whether what is said names a value, or each member of a list, as words of their own."""
    return all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", said) for part in value.split(",") if part)
