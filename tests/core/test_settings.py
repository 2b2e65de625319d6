"""Settings: their defaults, and what a root keeps of them."""

from __future__ import annotations

import pytest

from virke.core.settings import FORMAT_1_DEFAULTS, Settings, load_settings
from virke.errors import Invalid


def test_a_new_database_checks_foreign_keys_and_chooses_its_commit_window_itself() -> None:
    """The defaults; a root stores none of them."""
    settings = Settings()
    assert (settings.foreign_keys, settings.commit_window_ms) == ("on", "auto")
    assert settings.stored() == {}


def test_what_a_database_of_format_1_did_not_say_stays_what_it_was() -> None:
    """Foreign keys were off where nothing was said; a value that was stored is read as it is."""
    assert load_settings(FORMAT_1_DEFAULTS).stored() == {"foreign_keys": "off"}
    assert load_settings({**FORMAT_1_DEFAULTS, "commit_window_ms": "7"}).commit_window_ms == 7


@pytest.mark.parametrize("value", ["auto", 0, "0", 10_000])
def test_a_commit_window_is_auto_or_a_number(value: str | int) -> None:
    """Both are stored as text, and read as they were set."""
    changed = Settings().changed({"commit_window_ms": value})
    assert changed.commit_window_ms == (value if value == "auto" else int(value))
    assert load_settings(changed.stored()) == changed


@pytest.mark.parametrize("value", ["never", -1, 10_001, "", "on"])
def test_a_commit_window_that_is_neither_says_what_is_valid(value: str | int) -> None:
    """The message lists the word and the bounds."""
    with pytest.raises(Invalid, match="commit_window_ms must be auto or a whole number from 0 to 10000"):
        Settings().changed({"commit_window_ms": value})


def test_foreign_keys_are_on_or_off() -> None:
    """Nothing else."""
    assert Settings().changed({"foreign_keys": "off"}).stored() == {"foreign_keys": "off"}
    with pytest.raises(Invalid, match="foreign_keys must be one of on, off"):
        Settings().changed({"foreign_keys": "1"})
