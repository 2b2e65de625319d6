"""Versions, times and ages: what is one, what it means, and what is refused with the grammar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.core.moments import GRAMMAR, Moment, as_iso_utc, read_at
from virke.errors import Invalid

NOW_MS = 1_700_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms(year: int, month: int, day: int, *clock: int) -> int:
    hour, minute, second, *_ = (*clock, 0, 0, 0)
    return int((datetime(year, month, day, hour, minute, second, tzinfo=UTC) - EPOCH).total_seconds() * 1000)


@pytest.mark.parametrize("at", [12, "12", " 12 "])
def test_a_whole_number_is_a_version(at: int | str) -> None:
    assert read_at(at, NOW_MS) == 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27", ms(2026, 11, 27)),
        ("2026-11-27T03:00", ms(2026, 11, 27, 3)),
        ("2026-11-27 03:00:05 UTC", ms(2026, 11, 27, 3, 0, 5)),
        ("2026-11-27T03:00:05.25Z", ms(2026, 11, 27, 3, 0, 5) + 250),
        ("2026-11-27T03:00+01:30", ms(2026, 11, 27, 1, 30)),
        ("2024-02-29T23:59:59-0100", ms(2024, 3, 1, 0, 59, 59)),
    ],
)
def test_a_time_is_iso_8601_and_utc_without_an_offset(text: str, expected: int) -> None:
    assert read_at(text, NOW_MS) == Moment(expected, text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("-2h", 7200), ("3d", 3 * 86400), ("1w", 7 * 86400)]
)
def test_an_age_is_so_long_before_now(text: str, seconds: int) -> None:
    assert read_at(text, NOW_MS) == Moment(NOW_MS - seconds * 1000, text)


@pytest.mark.parametrize(
    "at",
    [
        "",
        "now",
        "yesterday",
        "2 hours ago",
        "+2h",
        "²",
        "2026-02-29",
        "2026-13-01",
        "2026-11-27T24:00",
        "2026-11-27T03",
        "1.5",
        "0000-01-01",
        "x2h",
        True,
        1.5,
        None,
        b"12",
    ],
)
def test_everything_else_is_refused_with_the_grammar(at: object) -> None:
    with pytest.raises(Invalid) as caught:
        read_at(at, NOW_MS)  # type: ignore[arg-type]
    assert caught.value.context["hint"] == f"write {GRAMMAR}"


def test_a_datetime_needs_a_time_zone() -> None:
    moment = datetime(2026, 11, 27, 3, tzinfo=timezone(timedelta(hours=1)))
    found = read_at(moment, NOW_MS)
    assert isinstance(found, Moment)
    assert found.time_ms == ms(2026, 11, 27, 2)
    with pytest.raises(Invalid, match="no time zone"):
        read_at(moment.replace(tzinfo=None), NOW_MS)


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_the_calendar_is_pythons(moment: datetime) -> None:
    """Written and read without `datetime`, which is slow to import."""
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    time_ms = int((moment - EPOCH).total_seconds()) * 1000
    assert read_at(moment.isoformat(), NOW_MS) == Moment(time_ms, moment.isoformat())
    assert read_at(as_iso_utc(time_ms), NOW_MS) == Moment(time_ms, as_iso_utc(time_ms))
