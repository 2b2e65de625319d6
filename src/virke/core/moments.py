"""Which earlier state is meant: a version, a moment, or an age.

Pure: what time it is now comes in as an argument. Knows no history.

1. A whole number is a version: `12`, as a number or as text.
2. A moment is ISO 8601: `2026-11-27`, `2026-11-27T03:00`, `2026-11-27 03:00:05.250Z`, `2026-11-27T03:00+01:00`. Without
   an offset it is UTC, as all times are that Virke prints. A `datetime` needs a time zone.
3. An age is a whole number and a unit, `s`, `m`, `h`, `d` or `w`: `90s`, `2h`, and `-2h` too, are so long before now.
4. Everything else is `Invalid`, with the grammar as its hint. No `datetime` is imported for it: that is slow at the edge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from virke.core.ids import Version
from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

if TYPE_CHECKING:
    from datetime import datetime

    At = int | str | datetime

GRAMMAR: Final = "a version (12), a time as ISO 8601 (2026-11-27T03:00, UTC unless it has an offset), or an age (90s, 15m, 2h, 3d, 1w)"
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE: Final = pattern(r"-?(\d{1,9})([smhdw])")
_MOMENT: Final = pattern(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|UTC|[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in Unix milliseconds, and the text that it was written as."""

    time_ms: int
    text: str


def read_at(at: At, now_ms: int) -> Version | Moment:
    """What `at` means, now that it is `now_ms`.

    Raises:
        Invalid: it is neither a version nor a time.
    """
    if isinstance(at, bool):
        raise _not_one(at)
    if isinstance(at, int):
        return Version(at)
    if not isinstance(at, str):
        if not hasattr(at, "utcoffset"):
            raise _not_one(at)
        if at.utcoffset() is None:
            raise Invalid(f"{at} has no time zone", hint="pass an aware datetime: datetime.now(UTC), for example")
        return Moment(int(at.timestamp() * 1000), str(at))
    text = at.strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        return Version(int(text))
    if age := _AGE.fullmatch(text):
        return Moment(now_ms - int(age[1]) * _UNITS_S[age[2]] * 1000, text)
    if (found := _MOMENT.fullmatch(text)) and (time_ms := _time_of(found)) is not None:
        return Moment(time_ms, text)
    raise _not_one(at)


def _not_one(at: object) -> Invalid:
    return Invalid(f"{at!r} is neither a version nor a time", hint=f"write {GRAMMAR}")


def _time_of(found: re.Match[str]) -> int | None:
    """Unix milliseconds; None if no calendar or clock shows that."""
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    hour, minute, second = (int(found[at] or 0) for at in (4, 5, 6))
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] or (month == 2 and day == 29 and not is_leap):
        return None
    if hour > 23 or minute > 59 or second > 59 or year < 1:
        return None
    offset, zone = 0, (found[8] or "Z").upper().replace(":", "")
    if zone not in ("Z", "UTC"):
        if int(zone[1:3]) > 23 or int(zone[3:5]) > 59:
            return None
        offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * (-1 if zone[0] == "-" else 1)
    of_day = ((hour * 60 + minute - offset) * 60 + second) * 1000 + int((found[7] or "0").ljust(3, "0")[:3])
    return _days_since_1970(year, month, day) * 86_400_000 + of_day


def _days_since_1970(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 on, by the Gregorian calendar; a year begins in March here, so that its leap day comes last."""
    year -= month < 3
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468


def as_iso_utc(time_ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC, to the second."""
    days, of_day = divmod(time_ms // 1000, 86400)
    days += 719_468
    era, of_era = divmod(days, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march = (5 * of_year + 2) // 153
    day, month = of_year - (153 * march + 2) // 5 + 1, march + 3 if march < 10 else march - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}T{of_day // 3600:02}:{of_day // 60 % 60:02}:{of_day % 60:02}Z"
