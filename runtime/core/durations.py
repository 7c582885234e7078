"""Durations and timestamps as text, and as the engine's one unit of time: integer microseconds (names end in `_us`).

Integers because a sum of doubles drifts; microseconds because that is what every neighbour keeps (Python, protobuf
clients, SQLite columns). Nothing in here reads a clock.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

MILLISECOND_US: Final = 1_000
SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US

DURATION_MAX_US: Final = 10_000 * 365 * DAY_US
"""Longer than any timestamp can reach: a longer duration is a slip of the pen."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TimeTextError(ValueError):
    """The text is no duration or timestamp; the message quotes the part that is wrong."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column
        """1-based, the character of the text at which reading stopped."""


def parse_duration(text: str) -> int:
    """Microseconds of `250ms`, `10s`, `1.5s`, `1h30m`, `30d`, `2w`, `PT72H`, `P1DT2H`; a day is 24 h, a week 7 d."""
    if text.startswith("P"):
        total_us = _sum_parts(text, _ISO_PART, 1)
    else:
        total_us = _sum_parts(text, _PART, 0)
    if total_us > DURATION_MAX_US:
        raise TimeTextError(f"{text!r} is longer than 10,000 years", 1)
    return total_us


def format_duration(duration_us: int) -> str:
    """The shortest text that `parse_duration` reads back: `1h30m`, `2d`, `250ms`, `0s`; a minus in front of a past."""
    rest_us = abs(duration_us)
    text = ""
    for unit, size_us in (("d", DAY_US), ("h", HOUR_US), ("m", MINUTE_US)):
        count, rest_us = divmod(rest_us, size_us)
        text += f"{count}{unit}" if count else ""
    if 0 < rest_us < SECOND_US:
        text += f"{_decimal(rest_us, MILLISECOND_US, 3)}ms"
    elif rest_us or not text:
        text += f"{_decimal(rest_us, SECOND_US, 6)}s"
    return f"-{text}" if duration_us < 0 else text


def format_seconds(duration_us: int) -> str:
    """The protobuf and CEL spelling, seconds alone: `5400s`, `1.500s`, `-0.000001s`."""
    seconds, rest_us = divmod(abs(duration_us), SECOND_US)
    return f"{'-' if duration_us < 0 else ''}{seconds}{_fraction(rest_us)}s"


def parse_timestamp(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 timestamp; digits beyond microseconds are cut off."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise TimeTextError(f"{text!r} is not an RFC 3339 timestamp such as 2026-01-31T08:00:00Z", 1)
    *numbers, fraction, sign, offset_hours, offset_minutes = match.groups(default="0")
    year, month, day, hour, minute, second = map(int, numbers)
    if int(offset_hours) > 23 or int(offset_minutes) > 59:
        raise TimeTextError(f"{text!r} has an offset outside of a day", match.start(8) + 1)
    offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
    try:
        local = datetime(year, month, day, hour, minute, second, int(fraction[:6].ljust(6, "0")), tzinfo=UTC)
        return from_datetime(local + offset if sign == "-" else local - offset)
    except (ValueError, OverflowError) as error:
        raise TimeTextError(f"{text!r} is not a time of the calendar: {error}", 1) from None


def format_timestamp(time_us: int) -> str:
    """RFC 3339 in UTC with 0, 3 or 6 digits after the second, as protobuf and CEL write it."""
    seconds, rest_us = divmod(time_us, SECOND_US)
    moment = EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f"{_fraction(rest_us)}Z"


def to_datetime(time_us: int) -> datetime:
    """The moment as an aware UTC datetime, exact to the microsecond; OverflowError outside of the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=time_us)


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - EPOCH) // _ONE_US


_ONE_US: Final = timedelta(microseconds=1)
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_PART: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?(ms|[wdhms])(?![a-z])")
_ISO_PART: Final = re.compile(r"(?:(T)(?=[0-9]))?([0-9]{1,18})(?:[.,]([0-9]{1,9}))?([WDHMS])")
_SIZES_US: Final = {"w": WEEK_US, "d": DAY_US, "h": HOUR_US, "m": MINUTE_US, "s": SECOND_US, "ms": MILLISECOND_US}
_EXPECTED: Final = "a duration is written as 250ms, 10s, 5m, 1h30m, 30d, 2w or PT72H"


def _sum_parts(text: str, part: re.Pattern[str], start: int) -> int:
    """Add up the parts from `start` on; units must go from large to small, each once, and only the last is broken."""
    total_us, position, last_size_us, in_time = 0, start, WEEK_US + 1, False
    while position < len(text) or position == start:
        match = part.match(text, position)
        if match is None:
            raise _bad_part(text, position)
        *marker, number, fraction, unit = match.groups()
        in_time = in_time or marker == ["T"]
        if marker and (unit in "HMS") != in_time:
            raise _bad_part(text, match.start(len(marker) + 3))
        size_us = _SIZES_US[unit.lower()]
        if size_us >= last_size_us:
            raise TimeTextError(f"{text!r}: units go from large to small, each once; {_EXPECTED}", position + 1)
        last_size_us = size_us
        total_us += int(number) * size_us + _part_of(text, fraction, size_us, position)
        position = match.end()
        if fraction and position < len(text):
            raise TimeTextError(f"{text!r}: only the last unit may have a fraction", position + 1)
    return total_us


def _part_of(text: str, fraction: str | None, size_us: int, position: int) -> int:
    if not fraction:
        return 0
    scale: int = 10 ** len(fraction)
    part_us, rest = divmod(int(fraction) * size_us, scale)
    if rest:
        raise TimeTextError(f"{text!r} is finer than a microsecond", position + 1)
    return part_us


def _bad_part(text: str, position: int) -> TimeTextError:
    if not text.strip():
        return TimeTextError(f"an empty duration; {_EXPECTED}", 1)
    if text.startswith("-"):
        return TimeTextError(f"{text!r}: a duration is never negative", 1)
    rest = text[position:]
    if re.match(r"P[^T]*[0-9][YM]", text):
        return TimeTextError(f"{text!r}: months and years have no fixed length; use days", position + 1)
    if re.fullmatch(r"[0-9.]+", rest):
        return TimeTextError(f"{text!r} has no unit after {rest!r}; {_EXPECTED}", len(text) + 1)
    return TimeTextError(f"{text!r} is not a duration at {rest!r}; {_EXPECTED}", position + 1)


def _decimal(amount_us: int, unit_us: int, digits: int) -> str:
    whole, rest = divmod(amount_us, unit_us)
    return f"{whole}.{rest:0{digits}}".rstrip("0") if rest else str(whole)


def _fraction(rest_us: int) -> str:
    if not rest_us:
        return ""
    milliseconds, finer_us = divmod(rest_us, MILLISECOND_US)
    return f".{rest_us:06}" if finer_us else f".{milliseconds:03}"
