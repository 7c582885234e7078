"""When a schedule fires: the arithmetic of slots, without a clock.

A slot is a nominal instant in microseconds since the epoch; 0 is no slot. `every` has its slots at the multiples of
its length since 1970-01-01T00:00:00Z, `at` has one. Of `cron`, the library cronsim reads the five fields and finds the
matching times of a wall clock that never changes; what the changes of a real one do to them is decided here, as in
Debian's cron:

- Times that are fixed (neither minute nor hour begins with `*`) fire once a day they match. One that the clock jumps
  over (02:30 where 02:00 is followed by 03:00) fires at the moment of the jump, together with all others it jumps over,
  as one slot. One that comes twice fires at the first pass only.
- Times of a pattern (minute or hour begins with `*`) follow the clock: what it jumps over does not happen, and what it
  shows twice fires twice, an hour (or how much it was put back) apart.

cronsim itself would do the same from a start far away, but in zones that change by half an hour it loses slots, and
asked from within the second pass it gives an instant of the first again.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from .core.durations import DAY_US, SECOND_US, format_timestamp, from_datetime, to_datetime
from .core.nodes import Path, Problems
from .core.plan import ScheduleSource
from .core.reader import Reading
from .core.refusals import Violation

SLOT_MAX: Final = from_datetime(datetime(9999, 12, 30, tzinfo=UTC))
"""No slot is later: the calendar ends."""

CRON_CHARACTERS_MAX: Final = 255
ZONE_CHARACTERS_MAX: Final = 64
"""Of the name of a time zone."""

_FIELDS: Final = "minute hour day-of-month month day-of-week"
_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_RANGES: Final = ("0 to 59", "0 to 23", "1 to 31, or L or LW", "1 to 12, or JAN to DEC", "0 to 7, or SUN to SAT")
_LIBRARY_FIELDS: Final = ("minute", "hour", "day-of-month", "month", "day-of-week")
_ANY_WALL: Final = datetime(2000, 1, 1)
_NEAR_US: Final = 4 * DAY_US
"""How far around a slot a change of the clock can matter: no zone changes twice within it, none by more than a day."""


def check_schedules(reading: Reading) -> tuple[Violation, ...]:
    """Cron texts that never fire or mean nothing, and time zones that nobody knows; located where there was a text."""
    problems = Problems(reading.root, reading.source)
    for number, trigger in enumerate(reading.definition.triggers):
        if trigger.schedule is None:
            continue
        path: Path = ("triggers", number, "schedule")
        cron, zone = trigger.schedule.cron, trigger.schedule.time_zone
        if zone and "${" not in zone:
            _check_zone(zone, (*path, "time_zone"), problems)
        if cron and "${" not in cron:
            _check_cron(cron, (*path, "cron"), problems)
    return problems.found


class Slots:
    """The slots of one schedule. Raises ValueError for a source that `check_schedules` finds fault with."""

    def __init__(self, source: ScheduleSource) -> None:
        self._source = source
        self._zone = time_zone(source.time_zone)
        self._next: Callable[[int], int] = self._at
        if source.every:
            self._next = self._every
        if source.cron:
            self._next = _Cron(source.cron, self._zone).next_after

    def next_after(self, moment: int) -> int:
        """The first slot strictly after a moment; 0: there is none."""
        slot = self._next(moment)
        return slot if slot <= SLOT_MAX else 0

    def local(self, slot: int) -> str:
        """A slot as the schedule's time zone writes it: RFC 3339 with the offset."""
        return to_datetime(slot).astimezone(self._zone).isoformat()

    def due(self, place: str, slot: int) -> int:
        """When the slot fires: itself and its jitter, a hash of the slot and of `place`, which names the trigger."""
        if not self._source.jitter:
            return slot
        digest = hashlib.blake2b(f"{place}\0{slot}".encode(), digest_size=8).digest()
        return slot + int.from_bytes(digest, "big") % self._source.jitter

    @property
    def fingerprint(self) -> bytes:
        """The same for schedules with the same slots and jitter."""
        source = self._source
        times = (source.cron, source.every, source.at, source.time_zone, source.jitter)
        return hashlib.blake2b(repr(times).encode(), digest_size=16).digest()

    def _every(self, moment: int) -> int:
        return (moment // self._source.every + 1) * self._source.every

    def _at(self, moment: int) -> int:
        return self._source.at if self._source.at > moment else 0


def slot_text(slot: int) -> str:
    """A slot for people and expressions: 2026-11-21T02:00:00Z."""
    return format_timestamp(slot)


def slot_name(slot: int) -> str:
    """A slot as part of an execution's id: 20261121T020000Z."""
    return f"{to_datetime(slot):%Y%m%dT%H%M%SZ}"


@functools.lru_cache(maxsize=1_024)
def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name. Raises ValueError for any other text."""
    if name == "UTC":
        return UTC
    with contextlib.suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if name.partition("/")[0] not in _NO_ZONES and len(name) <= ZONE_CHARACTERS_MAX:
            return ZoneInfo(name)
    raise ValueError(f"{name[:ZONE_CHARACTERS_MAX]!r} is not the name of a time zone")


_NO_ZONES: Final = frozenset({"posix", "right", "localtime", "posixrules", "Factory"})
"""What stands beside the IANA zones in the files of some systems: another count of seconds, or the machine's own."""


class _Cron:
    """The slots of five fields in a zone."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        minute, hour, *_ = text.split()
        self._zone = zone
        self._fixed = not (minute.startswith("*") or hour.startswith("*"))
        self._fields = _read(text)

    def next_after(self, moment: int) -> int:
        # Fixed times are not repeated in a second pass, so the search begins at the same wall time of the first.
        floor = moment - self._repeated(moment) if self._fixed else moment
        slot = self._step(floor)
        while 0 < slot <= moment:
            slot = self._step(slot)
        return slot

    def _step(self, after: int) -> int:
        """The first slot after an instant; for fixed times one that is not in a second pass."""
        floor, wall = after, self._wall(after)
        while (match := self._match(wall)) is not None:
            slot = max(match - self._offset(floor), floor)
            if slot > SLOT_MAX:
                break
            change = self._change(floor, min(slot, floor + _NEAR_US))
            if change:
                shown, goes_on = change + self._offset(change - SECOND_US), change + self._offset(change)
                floor, wall = change, (shown if self._fixed else goes_on) - SECOND_US
            elif slot > floor + _NEAR_US:
                floor = slot - _NEAR_US // 2
                wall = self._wall(floor)
            else:
                return slot
        return 0

    def _match(self, wall: int) -> int | None:
        """The first matching wall time strictly after one; both as if the wall clock showed UTC."""
        walls = copy.copy(self._fields)
        walls.dt = to_datetime(wall).replace(microsecond=0, tzinfo=None)
        try:
            return from_datetime(next(walls).replace(tzinfo=UTC))
        except (StopIteration, OverflowError):
            return None

    def _wall(self, instant: int) -> int:
        return instant + self._offset(instant)

    def _offset(self, instant: int) -> int:
        """What the wall clock is ahead of UTC at an instant."""
        offset = datetime.fromtimestamp(instant // SECOND_US, self._zone).utcoffset()
        return (offset or timedelta()) // timedelta(microseconds=1)

    def _repeated(self, instant: int) -> int:
        """How far back the wall clock has shown the same time before; 0: it has not."""
        local = datetime.fromtimestamp(instant // SECOND_US, self._zone)
        if not local.fold:
            return 0
        before = local.replace(fold=0).utcoffset() or timedelta()
        return (before - (local.utcoffset() or timedelta())) // timedelta(microseconds=1)

    def _change(self, after: int, until: int) -> int:
        """The first instant after one, up to another, at which the clock is put to another offset; 0: none."""
        low, until = after // SECOND_US * SECOND_US, until // SECOND_US * SECOND_US
        offset = self._offset(low)
        while low < until and self._offset(min(low + DAY_US, until)) == offset:
            low += DAY_US
        if low >= until:
            return 0
        high = min(low + DAY_US, until)
        while high - low > SECOND_US:
            middle = (low + high) // 2 // SECOND_US * SECOND_US
            low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
        return high


@functools.lru_cache(maxsize=1_024)
def _read(text: str) -> CronSim:
    """The five fields, read; whoever looks for a time of them makes a copy. Raises ValueError."""
    try:
        return CronSim(text, _ANY_WALL)
    except CronSimError as error:
        raise ValueError(str(error)) from None


def _check_zone(name: str, path: Path, problems: Problems) -> None:
    try:
        time_zone(name)
    except ValueError as error:
        near = difflib.get_close_matches(name[:ZONE_CHARACTERS_MAX], sorted(available_timezones()), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; an IANA name is needed, such as 'Europe/Berlin'"
        problems.add(path, f"{error}{hint}", "UNKNOWN_TIME_ZONE")


def _check_cron(text: str, path: Path, problems: Problems) -> None:
    fields = text.split()
    if len(text) > CRON_CHARACTERS_MAX:
        problems.add(path, f"is longer than {CRON_CHARACTERS_MAX} characters", "OUT_OF_RANGE")
        return
    if len(fields) != 5:
        problems.add(path, _five_fields(text, len(fields)), "INVALID_CRON")
        return
    try:
        walls = copy.copy(_read(" ".join(fields)))
    except ValueError as error:
        problems.add(path, _in_words(str(error), fields), "INVALID_CRON")
        return
    if next(walls, None) is None:
        problems.add(path, f"{text!r} never fires: such a day does not come within 50 years", "INVALID_CRON")


def _five_fields(text: str, count: int) -> str:
    nickname = _NICKNAMES.get(text.strip().lower())
    if nickname is not None:
        return f"{text!r} is written as {nickname!r}: a cron has five fields ({_FIELDS})"
    hint = "; for seconds use `every`" if count == 6 else ""
    return f"a cron has five fields ({_FIELDS}), this one has {count}{hint}"


def _in_words(error: str, fields: list[str]) -> str:
    """The library's refusal with what stands in the field that it names."""
    name = error.removeprefix("Bad ")
    if name not in _LIBRARY_FIELDS:
        return error
    number = _LIBRARY_FIELDS.index(name)
    if number == 2 and all(part.isdigit() for part in fields[2].replace("-", ",").split(",")):
        return f"the {name} {fields[2]!r} does not exist, or in none of the months {fields[3]!r}: it never fires"
    return f"the {name} {fields[number]!r} is not understood; it takes {_RANGES[number]}, with `*`, `-`, `,` and `/`"
