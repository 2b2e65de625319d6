"""The settings of a database, stored in its root and so the same for every node.

Pure. The only list of keys, defaults and limits; PRODUCT's table in code.

1. A setting that is not in `Settings` does not exist; a value outside its bounds is never stored.
2. Unknown keys read from a root of a newer Virke are kept as they are.
3. A default that changes must not change a database that exists: `FORMAT_1_DEFAULTS` are what roots of format 1 mean
   by saying nothing, and are stored with the root from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass
from virke.nearest import meant_hint

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "durability": ("sync", "deferred"),
    "read_consistency": ("session", "strong", "bounded"),
    "tier": ("auto", "kv", "object"),
    "foreign_keys": ("on", "off"),
}
WORDS: Final[dict[str, tuple[str, ...]]] = {"commit_window_ms": ("auto",)}
"""What a setting with bounds may be instead of a number."""
FORMAT_1_DEFAULTS: Final[dict[str, str]] = {"foreign_keys": "off"}
BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "flush_interval_ms": (1, 3_600_000),
    "commit_window_ms": (0, 10_000),
    "max_staleness_ms": (0, 86_400_000),
    "max_attempts": (1, 1000),
    "promote_at_mb": (1, 1_000_000),
    "history_days": (0, 3650),
    "query_timeout_ms": (1, 3_600_000),
    "max_result_mb": (1, 4096),
    "stale_if_down_ms": (0, 86_400_000),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults; times in milliseconds, sizes in MiB. Meanings: docs/settings.md."""

    durability: str = "sync"
    flush_interval_ms: int = 1000
    commit_window_ms: int | str = "auto"
    read_consistency: str = "session"
    max_staleness_ms: int = 1000
    max_attempts: int = 8
    promote_at_mb: int = 20
    tier: str = "auto"
    history_days: int = 7
    query_timeout_ms: int = 30000
    max_result_mb: int = 64
    stale_if_down_ms: int = 0
    foreign_keys: str = "on"
    unknown: tuple[tuple[str, str], ...] = ()

    def changed(self, changes: Mapping[str, str | int]) -> Settings:
        """These settings with `changes` applied.

        Raises:
            Invalid: an unknown key, or a value out of its bounds; the message lists the valid ones.
        """
        return replace(self, **{key: _parsed_value(key, value) for key, value in changes.items()})  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, str | int]:
        """Every known key with its value, in the documented order."""
        return {key: getattr(self, key) for key in KEYS}

    def stored(self) -> dict[str, str]:
        """What the root keeps: values that differ from the default, and unknown keys, as text."""
        default = Settings()
        kept = {key: str(getattr(self, key)) for key in KEYS if getattr(self, key) != getattr(default, key)}
        return kept | dict(self.unknown)


KEYS: Final = tuple(field.name for field in fields(Settings) if field.name != "unknown")


def load_settings(stored: Mapping[str, str]) -> Settings:
    """The settings that a root keeps as `stored`."""
    known = {key: _parsed_value(key, value) for key, value in stored.items() if key in KEYS}
    unknown = tuple(sorted((key, value) for key, value in stored.items() if key not in KEYS))
    return Settings(**known, unknown=unknown)  # type: ignore[arg-type]


def _parsed_value(key: str, value: str | int) -> str | int:
    if key in CHOICES:
        if value not in CHOICES[key]:
            raise Invalid(f"{key} must be one of {', '.join(CHOICES[key])}, not {value!r}")
        return value
    if key not in BOUNDS:
        raise Invalid(f"unknown setting {key!r}; valid settings: {', '.join(KEYS)}", **meant_hint(key, KEYS))
    low, high = BOUNDS[key]
    words = WORDS.get(key, ())
    if value in words:
        return value
    try:
        number = int(value) if type(value) in (str, int) else low - 1
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise Invalid(f"{key} must be {' or '.join((*words, 'a whole number'))} from {low} to {high}, not {value!r}")
    return number
