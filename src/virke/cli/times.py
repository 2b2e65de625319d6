"""Instants and texts of several lines, as they are printed."""

from __future__ import annotations

from datetime import UTC, datetime


def instant_text(unix_ms: int) -> str:
    """Unix milliseconds for people; one that no calendar has, as it is."""
    try:
        moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return f"{unix_ms} ms"
    return moment.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def moment_text(unix_ms: int) -> str:
    """As `instant`, to the millisecond: so that it can be given to `--at`, and means what it was printed for."""
    return instant_text(unix_ms).replace(" UTC", f".{unix_ms % 1000:03} UTC")


def one_line(text: str) -> str:
    """A text without line ends."""
    return " ".join(text.split())
