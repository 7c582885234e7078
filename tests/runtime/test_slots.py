"""Slots against a second reading of the same rules: minute by minute, on the calendar of each zone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis import strategies as st

from callboard.runtime.core.durations import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    from_datetime,
    parse_timestamp,
    to_datetime,
)
from callboard.runtime.core.plan import ScheduleSource
from callboard.runtime.core.reader import Reading, read_definition
from callboard.runtime.loader import load
from callboard.runtime.slots import Slots, check_schedules, slot_name, slot_text, time_zone

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
ZONES = [BERLIN, NEW_YORK, LORD_HOWE]
START, END = parse_timestamp("2026-01-01T00:00:00Z"), parse_timestamp("2028-01-01T00:00:00Z")

CHANGES = {
    BERLIN: ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"],
    NEW_YORK: ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"],
    LORD_HOWE: ["2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"],
    "Antarctica/Troll": ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"],
    "Africa/Casablanca": ["2026-02-15T02:00:00Z", "2026-03-22T02:00:00Z"],
    "Pacific/Apia": ["2011-12-30T10:00:00Z"],
    "UTC": ["2026-03-29T01:00:00Z"],
}
"""Zones with moments at which their clocks were put forward or back: by an hour, half an hour, two, a day, none."""


def slots(cron: str, zone: str, start: int = START, end: int = END) -> list[int]:
    """All slots within [start, end)."""
    source = Slots(ScheduleSource(cron=cron, time_zone=zone))
    found: list[int] = []
    slot = source.next_after(start - 1)
    while 0 < slot < end:
        found.append(slot)
        slot = source.next_after(slot)
    return found


def texts(cron: str, zone: str, start: str, count: int) -> list[str]:
    """The first slots from a moment on, in local time."""
    source = Slots(ScheduleSource(cron=cron, time_zone=zone))
    slot, found = parse_timestamp(start) - 1, list[str]()
    for _ in range(count):
        slot = source.next_after(slot)
        found.append(source.local(slot))
    return found


def instant(day: date, at: time, zone: str) -> int:
    """When a wall clock first shows a time; if it jumps over it, the moment of the jump."""
    local = datetime.combine(day, at, ZoneInfo(zone))
    moment = local.astimezone(UTC)
    if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local.replace(tzinfo=None):
        return from_datetime(moment)
    before = moment - timedelta(days=1)
    offset = before.astimezone(ZoneInfo(zone)).utcoffset()
    minutes = (before + timedelta(minutes=number) for number in range(2 * 24 * 60))
    return from_datetime(next(each for each in minutes if each.astimezone(ZoneInfo(zone)).utcoffset() != offset))


def days(start: date, end: date) -> Iterator[date]:
    return (start + timedelta(days=number) for number in range((end - start).days))


# Years


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("cron", "at", "on"),
    [
        ("30 2 * * *", time(2, 30), lambda day: True),
        ("15 2 * * *", time(2, 15), lambda day: True),
        ("30 4 * * *", time(4, 30), lambda day: True),
        ("45 1 * * *", time(1, 45), lambda day: True),
        ("0 3 * * 1-5", time(3), lambda day: day.weekday() < 5),
        ("0 0 1 * *", time(), lambda day: day.day == 1),
    ],
)
def test_two_years_of_a_fixed_time_fire_once_on_each_of_its_days(
    zone: str, cron: str, at: time, on: Callable[[date], bool]
) -> None:
    wanted = [instant(day, at, zone) for day in days(date(2025, 12, 31), date(2028, 1, 3)) if on(day)]
    found = slots(cron, zone)
    assert found == [slot for slot in wanted if START <= slot < END]
    assert all(earlier < later for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_quarters_of_an_hour_is_as_long_as_the_year(zone: str) -> None:
    """Every zone here is a whole number of quarters from UTC, so the clock shows one in each quarter that passes."""
    end = parse_timestamp("2027-01-01T00:00:00Z")
    assert slots("*/15 * * * *", zone, START, end) == list(range(START, end, 15 * MINUTE_US))


@pytest.mark.parametrize("zone", ZONES)
def test_the_29th_of_february_comes_every_four_years(zone: str) -> None:
    wanted = [instant(date(year, 2, 29), time(), zone) for year in (2028, 2032, 2036, 2040)]
    assert slots("0 0 29 2 *", zone, START, parse_timestamp("2041-01-01T00:00:00Z")) == wanted


def test_a_day_that_comes_once_in_forty_years_is_found() -> None:
    assert texts("0 0 * 2 MON#5", NEW_YORK, "2073-01-01T00:00:00Z", 1) == ["2112-02-29T00:00:00-05:00"]


# The two days of a year


def test_a_fixed_time_that_the_clock_jumps_over_fires_at_the_jump() -> None:
    assert texts("30 2 * * *", BERLIN, "2026-03-28T00:00:00Z", 3) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_all_that_the_clock_jumps_over_is_one_slot() -> None:
    assert texts("0,20,40 2,3 * * *", NEW_YORK, "2026-03-08T06:00:00Z", 4) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-08T03:20:00-04:00",
        "2026-03-08T03:40:00-04:00",
        "2026-03-09T02:00:00-04:00",
    ]


def test_a_fixed_time_that_comes_twice_fires_at_the_first() -> None:
    assert texts("30 2 * * *", BERLIN, "2026-10-24T00:00:00Z", 3) == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_within_the_second_pass_a_fixed_time_of_the_first_is_over(minute: int) -> None:
    asked = parse_timestamp("2026-10-25T01:00:00Z") + minute * MINUTE_US
    assert Slots(ScheduleSource(cron="30 2 * * *", time_zone=BERLIN)).next_after(asked) == parse_timestamp(
        "2026-10-26T01:30:00Z"
    )


def test_a_pattern_follows_the_clock() -> None:
    assert texts("*/30 2 * * *", BERLIN, "2026-03-28T00:00:00Z", 3) == [
        "2026-03-28T02:00:00+01:00",
        "2026-03-28T02:30:00+01:00",
        "2026-03-30T02:00:00+02:00",
    ]
    assert texts("*/30 2 * * *", BERLIN, "2026-10-25T00:00:00Z", 5) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-26T02:00:00+01:00",
    ]


def test_half_an_hour_is_jumped_over_and_repeated_at_lord_howe() -> None:
    assert texts("15 2 * * *", LORD_HOWE, "2026-10-03T00:00:00Z", 2) == [
        "2026-10-04T02:30:00+11:00",
        "2026-10-05T02:15:00+11:00",
    ]
    assert texts("30 * * * *", LORD_HOWE, "2026-04-04T14:00:00Z", 3) == [
        "2026-04-05T01:30:00+11:00",
        "2026-04-05T01:30:00+10:30",
        "2026-04-05T02:30:00+10:30",
    ]


def test_a_day_that_a_zone_leaves_out_fires_once_when_it_would_have_begun() -> None:
    assert texts("30 4 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3) == [
        "2011-12-29T04:30:00-10:00",
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T04:30:00+14:00",
    ]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0,20,40 1-3 * * *", "*/20 2 * * *", "15 */3 * * SUN", "5 2 1-7 * *"])
def test_the_library_itself_says_the_same_where_it_starts_far_from_a_change(zone: str, cron: str) -> None:
    theirs = CronSim(cron, (to_datetime(START) - timedelta(minutes=1)).astimezone(ZoneInfo(zone)))
    ends = itertools.takewhile(lambda slot: slot < END, (from_datetime(each.astimezone(UTC)) for each in theirs))
    assert slots(cron, zone) == sorted(set(ends))


# Any cron, any moment near a change


class Field(NamedTuple):
    """One field of a cron and what it means."""

    text: str
    values: frozenset[int]


def fields(limit: int) -> st.SearchStrategy[Field]:
    every = st.sampled_from([2, 5, 7, 10, 15, 20]).map(lambda n: Field(f"*/{n}", frozenset(range(0, limit, n))))
    listed = st.sets(st.integers(0, limit - 1), min_size=1, max_size=5).map(
        lambda given: Field(",".join(map(str, sorted(given))), frozenset(given))
    )
    return st.one_of(st.just(Field("*", frozenset(range(limit)))), every, listed, listed)


class Cron(NamedTuple):
    """A cron for times of any day."""

    minute: Field
    hour: Field

    @property
    def text(self) -> str:
        return f"{self.minute.text} {self.hour.text} * * *"

    def fires(self, moment: datetime, zone: ZoneInfo) -> bool:
        """Whether it fires at a whole minute, by the rules at the top of slots.py."""
        local = moment.astimezone(zone)
        if self.minute.text.startswith("*") or self.hour.text.startswith("*"):
            return self._shows(local)
        before = (moment - timedelta(minutes=1)).astimezone(zone)
        jumped = int((local.replace(tzinfo=None) - before.replace(tzinfo=None)) / timedelta(minutes=1))
        over = (before.replace(tzinfo=None) + timedelta(minutes=number) for number in range(1, jumped))
        return (self._shows(local) and not local.fold) or any(self._shows(wall) for wall in over)

    def _shows(self, wall: datetime) -> bool:
        return wall.minute in self.minute.values and wall.hour in self.hour.values


NIGHT = Field("1,2", frozenset({1, 2}))
moments = st.sampled_from([(zone, text) for zone, found in CHANGES.items() for text in found])


@given(
    st.builds(Cron, fields(60), st.one_of(st.just(NIGHT), fields(24))),
    moments,
    st.integers(-30 * HOUR_US, 5 * HOUR_US),
)
@example(Cron(Field("30", frozenset({30})), NIGHT), (LORD_HOWE, "2026-04-04T15:00:00Z"), -MINUTE_US)
@example(Cron(Field("0,30", frozenset({0, 30})), NIGHT), (BERLIN, "2026-10-25T01:00:00Z"), 10 * MINUTE_US)
def test_the_next_slot_is_the_first_minute_that_fires(cron: Cron, change: tuple[str, str], distance: int) -> None:
    zone, text = change
    asked = parse_timestamp(text) + distance
    minutes = (to_datetime(asked // MINUTE_US * MINUTE_US) + timedelta(minutes=n) for n in range(1, 60 * 60))
    first = next((each for each in minutes if cron.fires(each, ZoneInfo(zone))), None)
    assert first is not None, "every cron here fires within a day or two"
    assert Slots(ScheduleSource(cron=cron.text, time_zone=zone)).next_after(asked) == from_datetime(first)


crons = st.builds(
    lambda minute, hour, rest: f"{minute.text} {hour.text} {rest}",
    fields(60),
    fields(24),
    st.sampled_from(["* * *", "1,15 * *", "L * *", "* */3 *", "* * 1-5", "13 * 5", "LW 6,12 *", "* * SUN#2", "29 2 *"]),
)
sources = st.one_of(
    st.builds(lambda cron, zone: ScheduleSource(cron=cron, time_zone=zone), crons, st.sampled_from(sorted(CHANGES))),
    st.builds(lambda every: ScheduleSource(every=every * SECOND_US), st.integers(1, 10**7)),
)


@given(sources, st.integers(START, END), st.integers(0, 10**6))
def test_slots_grow_and_there_is_none_between_two(source: ScheduleSource, moment: int, share: int) -> None:
    slots = Slots(source)
    first = slots.next_after(moment)
    second = slots.next_after(first)
    assert moment < first < second
    assert first % SECOND_US == 0
    assert slots.next_after(moment + (first - 1 - moment) * share // 10**6) == first
    assert slots.next_after(first + (second - 1 - first) * share // 10**6) == second


# Intervals, single instants, texts


def test_intervals_are_counted_from_1970_whatever_the_clocks_do() -> None:
    source = Slots(ScheduleSource(every=90 * MINUTE_US, time_zone=BERLIN))
    slot = parse_timestamp("2026-03-28T22:30:00Z")
    found: list[int] = []
    for _ in range(4):
        slot = source.next_after(slot)
        found.append(slot)
    assert [slot_text(each)[11:] for each in found] == ["00:00:00Z", "01:30:00Z", "03:00:00Z", "04:30:00Z"]
    assert [source.local(each)[11:] for each in found] == [
        "01:00:00+01:00",
        "03:30:00+02:00",
        "05:00:00+02:00",
        "06:30:00+02:00",
    ]
    assert source.next_after(found[0] - 1) == found[0]


def test_an_instant_comes_once() -> None:
    at = parse_timestamp("2026-11-21T03:00:00+01:00")
    source = Slots(ScheduleSource(at=at, time_zone=NEW_YORK))
    assert [source.next_after(moment) for moment in (0, at - 1, at, at + 1)] == [at, at, 0, 0]
    assert (slot_text(at), slot_name(at)) == ("2026-11-21T02:00:00Z", "20261121T020000Z")
    assert source.local(at) == "2026-11-20T21:00:00-05:00"


def test_beyond_the_calendar_there_is_no_slot() -> None:
    late = parse_timestamp("9999-12-01T00:00:00Z")
    assert Slots(ScheduleSource(cron="0 0 1 1 *", time_zone=BERLIN)).next_after(late) == 0
    assert Slots(ScheduleSource(every=9_000 * 365 * DAY_US)).next_after(late) == 0


def test_the_offset_of_utc_is_written_in_numbers() -> None:
    assert Slots(ScheduleSource(every=HOUR_US)).local(HOUR_US) == "1970-01-01T01:00:00+00:00"


@given(st.integers(START, END), st.integers(1, DAY_US), st.text(max_size=20))
def test_jitter_stays_within_its_bounds_and_is_the_same_again(slot: int, jitter: int, place: str) -> None:
    source = ScheduleSource(every=HOUR_US, jitter=jitter)
    due = Slots(source).due(place, slot)
    assert slot <= due < slot + jitter
    assert Slots(source).due(place, slot) == due


def test_jitter_spreads_triggers_and_slots() -> None:
    source = Slots(ScheduleSource(every=HOUR_US, jitter=HOUR_US))
    delays = [source.due(f"acme/flow/t{number}", START) - START for number in range(200)]
    assert len(set(delays)) == 200
    quarters = [
        sum(start <= delay < start + HOUR_US // 4 for delay in delays) for start in range(0, HOUR_US, HOUR_US // 4)
    ]
    assert min(quarters) > 25
    slots = range(START, START + 200 * HOUR_US, HOUR_US)
    assert len({source.due("acme/flow/t", slot) - slot for slot in slots}) == 200
    assert Slots(ScheduleSource(every=HOUR_US)).due("acme/flow/t", START) == START


def test_a_fingerprint_is_of_the_times_alone() -> None:
    first = ScheduleSource(cron="0 3 * * *", time_zone=BERLIN)
    same = ScheduleSource(cron="0 3 * * *", time_zone=BERLIN, catch_up=HOUR_US)
    others = [
        ScheduleSource(cron="0 3 * * *"),
        ScheduleSource(cron="0 4 * * *", time_zone=BERLIN),
        ScheduleSource(cron="0 3 * * *", time_zone=BERLIN, jitter=1),
        ScheduleSource(every=HOUR_US, time_zone=BERLIN),
        ScheduleSource(at=HOUR_US, time_zone=BERLIN),
    ]
    assert Slots(first).fingerprint == Slots(same).fingerprint
    assert len({Slots(source).fingerprint for source in [first, *others]}) == 6


# What is wrong with a schedule


def read(*schedules: str) -> Reading:
    lines = [f"  - {{id: t{number}, schedule: {{{text}}}}}" for number, text in enumerate(schedules)]
    text = "\n".join(["id: d", "triggers:", *lines, "steps: [{id: a, set: {}}]"])
    return read_definition(load("f.yaml", text), "f.yaml")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("cron: '* * * *'", "five fields (minute hour day-of-month month day-of-week), this one has 4"),
        ("cron: '0 * * * * *'", "this one has 6; for seconds use `every`"),
        ("cron: '@daily'", "'@daily' is written as '0 0 * * *'"),
        ("cron: '@reboot'", "this one has 1"),
        ("cron: '60 * * * *'", "the minute '60' is not understood; it takes 0 to 59"),
        ("cron: '0 24 * * *'", "the hour '24' is not understood; it takes 0 to 23"),
        ("cron: '0 0 0 * *'", "the day-of-month '0'"),
        ("cron: '0 0 * 13 *'", "the month '13' is not understood"),
        ("cron: '0 0 * * MOON'", "the day-of-week 'MOON' is not understood; it takes 0 to 7, or SUN to SAT"),
        ("cron: '*/0 * * * *'", "the minute '*/0'"),
        ("cron: '5-1 * * * *'", "the minute '5-1'"),
        ("cron: '0 0 30 2 *'", "the day-of-month '30' does not exist, or in none of the months '2': it never fires"),
        ("cron: '0 0 31 4,6 *'", "in none of the months '4,6'"),
        ("cron: '* * */20 * 1L'", "never fires: such a day does not come within 50 years"),
        (f"cron: '{'9' * 240} * * * *'", "is not understood"),
        (f"cron: '{'9' * 5_000} * * * *'", "is longer than 255 characters"),
        ("every: 1h, time_zone: Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("every: 1h, time_zone: CEST!", "'CEST!' is not the name of a time zone"),
        ("every: 1h, time_zone: Europe", "'Europe' is not the name of a time zone"),
        ("every: 1h, time_zone: ../UTC", "is not the name of a time zone"),
        ("every: 1h, time_zone: right/Europe/Berlin", "is not the name of a time zone"),
        ("every: 1h, time_zone: localtime", "is not the name of a time zone"),
        (f"every: 1h, time_zone: {'x' * 5_000}", "is not the name of a time zone"),
    ],
)
def test_what_can_never_fire_is_told_with_its_place(schedule: str, message: str) -> None:
    (violation,) = check_schedules(read("every: 1h", schedule))
    assert message in violation.message
    field = "cron" if "cron" in schedule else "time_zone"
    assert violation.path == f"triggers[1].schedule.{field}"
    line = f"  - {{id: t1, schedule: {{{schedule}}}}}"
    written = line.partition(f"{field}: ")[0] + f"{field}: "
    assert (violation.source, violation.line, violation.column) == ("f.yaml", 4, len(written) + 1)


def test_everything_is_told_at_once() -> None:
    found = check_schedules(read("cron: '* *', time_zone: Nowhere", "cron: '61 * * * *'"))
    assert [(one.path, one.code) for one in found] == [
        ("triggers[0].schedule.time_zone", "UNKNOWN_TIME_ZONE"),
        ("triggers[0].schedule.cron", "INVALID_CRON"),
        ("triggers[1].schedule.cron", "INVALID_CRON"),
    ]


def test_what_means_something_is_left_alone() -> None:
    cron = ["30 4 * * *", "*/5 8-18/2 * * MON-FRI", "0 0 L * *", "0 0 * feb mon#5", "  0   3 * * 7 ", "0 12 LW * *"]
    assert check_schedules(read(*(f"cron: '{text}', time_zone: Asia/Kolkata" for text in cron), "at: x")) == ()


@given(st.text(alphabet="0123456789*/,-#LWMONJAN@ ²", max_size=24))
def test_any_text_is_either_told_or_fires(text: str) -> None:
    quoted = text.replace("'", "''")
    if check_schedules(read(f"cron: '{quoted}'")) or not text.strip():
        return
    assert Slots(ScheduleSource(cron=text, time_zone=BERLIN)).next_after(START) > START


def test_a_source_that_was_not_checked_is_refused() -> None:
    with pytest.raises(ValueError, match="Bad minute"):
        Slots(ScheduleSource(cron="61 * * * *"))
    with pytest.raises(ValueError, match="time zone"):
        Slots(ScheduleSource(every=HOUR_US, time_zone="Mars/Olympus"))
    assert time_zone("UTC") is UTC
