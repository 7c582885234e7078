"""How answers look: JSON for programs, tables and colours for people at a terminal, tabs where there is none."""

import base64
import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, cast

import click

_STYLES = {
    "COMPLETED": "green",
    "SUCCEEDED": "green",
    "PUBLISHED": "green",
    "RUNNING": "cyan",
    "FAILED": "red",
    "REVERT_FAILED": "red",
    "REVERTED": "yellow",
    "REVERTING": "yellow",
    "PARKED": "yellow",
    "CANCELLED": "magenta",
    "TERMINATED": "magenta",
    "DELETING": "yellow",
    "DELETED": "magenta",
    "paused": "yellow",
}
_FOLDED_WIDTH_MIN = 10
"""Characters in a line of a cell that is folded."""
_SIGNS = {"+": "green", "~": "yellow", "-": "red"}


@dataclasses.dataclass(frozen=True)
class Output:
    """Standard output, for one command."""

    as_json: bool = False

    @property
    def at_terminal(self) -> bool:
        """Whether a person is looking."""
        return not self.as_json and sys.stdout.isatty()

    def document(self, value: Any) -> None:
        """One JSON document: over several lines at a terminal, else in one."""
        click.echo(to_json(value, indent=2 if sys.stdout.isatty() else None))

    def line(self, value: Any) -> None:
        """One JSON document of several, in one line."""
        click.echo(to_json(value))
        sys.stdout.flush()

    async def array(self, values: AsyncIterator[Any]) -> None:
        """One JSON array, one member a line, printed as they come."""
        before = "["
        async for value in values:
            click.echo(f"{before}\n{to_json(value)}", nl=False)
            before = ","
        click.echo("\n]" if before == "," else "[]")

    def say(self, text: str) -> None:
        """A sentence for people; nothing where JSON was asked for."""
        if not self.as_json:
            click.echo(text)

    def styled(self, word: str) -> str:
        """A status, in its colour where a person is looking."""
        return click.style(word, fg=_STYLES.get(word)) if self.at_terminal else word

    def moment(self, moment: datetime | None) -> str:
        """A time: as people say it at a terminal, else RFC 3339."""
        if moment is None:
            return ""
        return ago(moment) if self.at_terminal else rfc3339(moment)

    def clock(self, moment: datetime | None) -> str:
        """A time of the day where a person is looking, else RFC 3339."""
        if moment is None:
            return ""
        return moment.astimezone().strftime("%H:%M:%S.%f")[:-3] if self.at_terminal else rfc3339(moment)

    def slot(self, moment: datetime | None) -> str:
        """A nominal time: local, with its zone, and how far away it is, where a person is looking, else RFC 3339."""
        if moment is None:
            return ""
        return f"{local(moment)} ({ago(moment)})" if self.at_terminal else rfc3339(moment)

    def coming(self, moment: datetime) -> str:
        """As `slot`, of a time that should be in the future."""
        late = (datetime.now(UTC) - moment).total_seconds()
        if late < 1 or not self.at_terminal:
            return self.slot(moment)
        return f"{local(moment)} (late by {length(late)})"

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
        """Rows under headings: a table at a terminal, without the columns that are empty, else lines with tabs between.
        `empty` is said to people where there are no rows."""
        listed = list(rows)
        if empty and not listed:
            click.echo(empty, err=not self.at_terminal)
            if self.at_terminal:
                return
        if not self.at_terminal:
            for row in [columns, *listed]:
                click.echo("\t".join(_flat(cell) for cell in row))
            return
        from rich.console import Console  # noqa: PLC0415 - slow to import, and only for people
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        cells = [[_flat(cell) for cell in row] for row in listed]
        told = [place for place in range(len(columns)) if not cells or any(row[place] for row in cells)]
        whole = _whole([max(len(row[place]) for row in [columns, *cells]) for place in told])
        table = Table(box=None, header_style="bold", pad_edge=False)
        for number, place in enumerate(told):
            table.add_column(columns[place], overflow="fold", no_wrap=number in whole)
        for row in cells:
            table.add_row(*[Text(row[place], style=_STYLES.get(row[place], "")) for place in told])
        Console().print(table)

    def records(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, titles: int, empty: str) -> None:
        """Rows with many columns: as `table` has them, but where a person's terminal is too narrow one below the other.
        Then the first `titles` columns are the heading of each row."""
        cells = [[_flat(cell) for cell in row] for row in rows]
        wide = sum(max(map(len, column)) + 2 for column in zip(columns, *cells, strict=True))
        if not cells or not self.at_terminal or wide <= shutil.get_terminal_size().columns:
            self.table(columns, cells, empty=empty)
            return
        for row in cells:
            click.secho(" ".join(row[:titles]), bold=True)
            named = zip(columns[titles:], row[titles:], strict=True)
            self.details((column.lower(), cell) for column, cell in named if cell)

    def facts(self, facts: Iterable[tuple[str, object]]) -> None:
        """Names with what they are, those that are nothing left out."""
        shown = [(name, _flat(value)) for name, value in facts if value not in ("", None, {}, ())]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            click.echo(f"{name.ljust(width)}  {self.styled(value)}")

    def details(self, rows: Iterable[tuple[str, str]]) -> None:
        """What there is to know about the sentence before: names with what they are, indented. A name that is empty
        goes on with the one before; a value that begins with +, ~ or - has its colour."""
        listed = list(rows)
        width = max(8, *(len(name) for name, _ in listed)) + 2 if listed else 0
        columns = shutil.get_terminal_size().columns
        for name, value in listed:
            lead = f"  {name.ljust(width)}"
            style = _SIGNS.get(value[:1]) if value[1:2] == " " else None
            parts = [_flat(value)]
            if self.at_terminal and columns > 2 * len(lead):
                parts = textwrap.wrap(_flat(value), columns - len(lead) - 2, subsequent_indent="  ") or [""]
            for part in parts:
                self.say(lead + (click.style(part, fg=style) if self.at_terminal else part))
                lead = " " * len(lead)


def _whole(widths: Sequence[int]) -> set[int]:
    """The columns that are not folded at a terminal: the narrow ones, as long as there is room for what the others
    need, for what is broken in two is hard to read."""
    least = [min(width, _FOLDED_WIDTH_MIN) for width in widths]
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1) - sum(least)
    whole: set[int] = set()
    for place in sorted(range(len(widths)), key=lambda place: widths[place]):
        room -= widths[place] - least[place]
        if room < 0:
            break
        whole.add(place)
    return whole


def _flat(value: object) -> str:
    return "" if value is None else str(value).replace("\t", " ").replace("\n", " ")


def rfc3339(moment: datetime) -> str:
    """A moment in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def local(moment: datetime) -> str:
    """A moment on the clock of whoever is looking, with its zone; the year where it is another one, seconds where there
    are any."""
    there = moment.astimezone()
    day = there.strftime("%a %d %b" if there.year == datetime.now(UTC).year else "%a %d %b %Y")
    return f"{day} {there.strftime('%H:%M:%S %Z' if there.second or there.microsecond else '%H:%M %Z')}"


def ago(moment: datetime) -> str:
    """How far a moment is from now, as people say it."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {length(-seconds)}" if seconds < 0 else f"{length(seconds)} ago"


def length(seconds: float) -> str:
    """A length of time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{whole}s"


def compact(value: Any, limit: int = 100) -> str:
    """A value as JSON in one line, cut for people."""
    text = to_json(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of an answer: integers as numbers, times in RFC 3339, lengths of time such as `1.5s`, bytes that are
    hashes in hexadecimal, other bytes in base64."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime():
            return rfc3339(value)
        case timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case bytes():
            return value.hex()
        case dict():
            members = cast("dict[str, Any]", value)
            return {str(name): _plain(item) for name, item in members.items()}
        case list() | tuple():
            return [_plain(item) for item in cast("list[Any]", value)]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _record(value)
        case _:
            return value


def _record(value: Any) -> dict[str, Any]:
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if type(value).__name__ == "Opaque":
        return {"content_type": fields["content_type"], "data_base64": base64.b64encode(fields["data"]).decode()}
    return {name: _plain(item) for name, item in fields.items()}
