"""Durations and timestamps: text to microseconds and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.durations import (
    TimeTextError,
    format_duration,
    format_seconds,
    format_timestamp,
    parse_duration,
    parse_timestamp,
)


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("250ms", 250_000),
        ("10s", 10_000_000),
        ("1.5s", 1_500_000),
        ("5m", 300_000_000),
        ("1h30m", 5_400_000_000),
        ("30d", 2_592_000_000_000),
        ("2w", 1_209_600_000_000),
        ("PT72H", 259_200_000_000),
        ("P1DT2H", 93_600_000_000),
        ("P2W", 1_209_600_000_000),
        ("PT1M", 60_000_000),
        ("PT0.5S", 500_000),
        ("0s", 0),
        ("5400s", 5_400_000_000),
    ],
)
def test_a_duration_is_read(text: str, duration_us: int) -> None:
    assert parse_duration(text) == duration_us


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [
        ("", "empty", 1),
        ("10", "no unit", 3),
        ("10 s", "not a duration", 1),
        ("-5s", "never negative", 1),
        ("1m1h", "large to small", 3),
        ("1h1h", "large to small", 3),
        ("1.5h3m", "only the last", 5),
        ("1h5x", "not a duration", 3),
        ("P1M", "months and years", 3),
        ("P1Y2D", "months and years", 2),
        ("P", "not a duration", 2),
        ("PT", "not a duration", 2),
        ("P1H", "not a duration", 3),
        ("0.0000001s", "finer than a microsecond", 1),
        ("99999999w", "10,000 years", 1),
    ],
)
def test_what_is_no_duration_says_why_and_where(text: str, says: str, column: int) -> None:
    with pytest.raises(TimeTextError, match=says) as error:
        parse_duration(text)
    assert error.value.column == column


@given(st.integers(0, 10**15))
def test_both_spellings_of_a_duration_are_read_back(duration_us: int) -> None:
    assert parse_duration(format_duration(duration_us)) == duration_us
    assert parse_duration(format_seconds(duration_us)) == duration_us


def test_a_duration_is_short_for_people() -> None:
    assert [format_duration(us) for us in (0, 1500, 5_400_000_000, -1_000_000)] == ["0s", "1.5ms", "1h30m", "-1s"]


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_every_timestamp_is_read_back(time_us: int) -> None:
    assert parse_timestamp(format_timestamp(time_us)) == time_us


@pytest.mark.parametrize(
    ("text", "in_utc"),
    [
        ("2026-01-31T08:00:00.5+02:00", "2026-01-31T06:00:00.500Z"),
        ("1970-01-01t00:00:00z", "1970-01-01T00:00:00Z"),
        ("2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00.123456Z"),
    ],
)
def test_offsets_and_fractions_are_understood(text: str, in_utc: str) -> None:
    assert format_timestamp(parse_timestamp(text)) == in_utc


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-02-30T00:00:00Z",
        "2026-01-31T08:00:00",
        "2026-01-31T08:00:00+25:00",
        "0001-01-01T00:00:00+01:00",
        "tomorrow",
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(TimeTextError):
        parse_timestamp(text)
